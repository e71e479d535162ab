//! From what was typed to what is valid: every listener has its tenant, every path is absolute, and the flags are applied.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use toml::Spanned;

use super::listener::flag_listeners;
use super::load::ConfigError;
use super::parts::{Common, Part, RawTenants, Typed, absolute, listeners_of, tenants_of};
use super::raw::RawTenant;
use super::server::server;
use super::tenant::{check_that_tokens_differ, default_tenant, tenant};
use super::units::Name;
use super::{Audit, Config, DEFAULT_TENANT, Overrides, nearest};

/// The address of the listener that there is when none is named.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9999);

/// Makes what was typed into what is valid. The first part is the main file, which lies in `directory`.
///
/// # Errors
/// When what was typed does not fit together, or the flags do not fit it.
pub fn validate(
    mut parts: Vec<Part<'_>>,
    common: Common,
    directory: &Path,
    overrides: &Overrides,
) -> Result<Config, ConfigError> {
    let mut raw_tenants = tenants_of(&mut parts)?;
    if raw_tenants.is_empty() {
        raw_tenants.insert(Name(DEFAULT_TENANT.to_owned()), Typed { part: 0, tenant: default_tenant() });
    }
    if let Some(commands) = &overrides.commands {
        let tenant = main_tenant(&mut raw_tenants, "--commands")?.1;
        tenant.get_mut().commands = vec![commands.clone()];
    }
    let server = server(common.server, directory, overrides)?;
    let mut listeners = listeners_of(&mut parts, &raw_tenants)?;
    if !overrides.listen.is_empty() {
        let tenant = main_tenant(&mut raw_tenants, "--listen")?.0;
        listeners = flag_listeners(&overrides.listen, tenant)?;
    } else if listeners.is_empty() {
        let tenant = main_tenant(&mut raw_tenants, "a file without a [[listener]]")?.0;
        listeners = flag_listeners(&[DEFAULT_ADDRESS], tenant)?;
    }
    let mut tenants = BTreeMap::new();
    for (Name(name), Typed { part, tenant: raw }) in raw_tenants {
        tenants.insert(name.clone(), tenant(&parts[part], name, raw)?);
    }
    check_that_tokens_differ(&tenants)?;
    let audit = common.audit.map(|audit| Audit { file: absolute(directory, &audit.file), ..audit });
    let include = common.include.iter().map(|path| absolute(directory, path)).collect();
    Ok(Config { source: parts[0].file.map(Path::to_owned), include, server, listeners, tenants, audit })
}

/// The tenant that is meant where none is named: the only one there is, or else the one called `default`.
fn main_tenant<'a>(
    tenants: &'a mut RawTenants,
    asked_by: &str,
) -> Result<(&'a str, &'a mut Spanned<RawTenant>), ConfigError> {
    let only = tenants.len() == 1;
    let names = nearest::list(tenants.keys().map(|Name(name)| name.as_str()));
    let mut meant = tenants.iter_mut().filter(|(Name(name), _)| only || name == DEFAULT_TENANT);
    meant.next().map(|(Name(name), typed)| (name.as_str(), &mut typed.tenant)).ok_or_else(|| {
        ConfigError::Unfit(format!(
            "{asked_by} is about the only tenant, or the one called `{DEFAULT_TENANT}`; the tenants here are {names}"
        ))
    })
}
