//! What a directory that commands may write must have nothing to do with.
//!
//! Each grant is fine by itself; together with what the host reads, or what another grant relies on, a writable directory
//! could widen what was granted.

use std::path::{Path, PathBuf};

use super::{Config, Tenant};
use crate::policy::text_roots;

/// Finds whether every directory that may be written is out of reach of what must not be.
///
/// # Errors
/// With the first that is not, and why.
pub fn check(config: &Config) -> Result<(), String> {
    for tenant in config.tenants.values() {
        for grant in tenant.grants.directory.iter().filter(|grant| grant.write) {
            if let Some((path, why)) = within_reach(config, tenant, &grant.path) {
                return Err(format!(
                    "tenants.{}.grants.directory: `{}` may be written, and {} {why}",
                    tenant.name,
                    grant.path.display(),
                    relation(&grant.path, path)
                ));
            }
        }
    }
    Ok(())
}

/// Something that commands of the tenant must not be able to change, and can by way of `written`.
fn within_reach<'a>(config: &'a Config, owner: &Tenant, written: &Path) -> Option<(&'a Path, String)> {
    let written = real(written);
    let reached = |path: &&Path| {
        let path = real(path);
        path.starts_with(&written) || written.starts_with(&path)
    };
    let cache = Some(config.server.cache.as_path()).filter(reached);
    if let Some(cache) = cache {
        return Some((cache, "from which the host loads compiled code".to_owned()));
    }
    if let Some(source) = config.source.as_deref().filter(reached) {
        return Some((source, "which says what is granted".to_owned()));
    }
    for tenant in config.tenants.values() {
        let mut commands = tenant.commands.iter().map(PathBuf::as_path);
        if tenant.name != owner.name
            && let Some(commands) = commands.find(reached)
        {
            return Some((commands, format!("where the commands of the tenant `{}` are", tenant.name)));
        }
        if let Some(root) = text_roots(&tenant.grants).find(reached) {
            let name = &tenant.name;
            let why =
                format!("whose paths `tenants.{name}.grants.process` passes on as text; leave out pass = \"text\"");
            return Some((root, why));
        }
    }
    None
}

fn relation(written: &Path, other: &Path) -> String {
    match real(other).starts_with(real(written)) {
        true => format!("holds `{}`,", other.display()),
        false => format!("lies in `{}`,", other.display()),
    }
}

/// Where a path leads, as far as that is there already.
fn real(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return real.join(rest);
        }
    }
    path.to_owned()
}
