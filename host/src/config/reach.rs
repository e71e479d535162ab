//! What a directory that commands may write must have nothing to do with.
//!
//! Each grant is fine by itself; together with what the host reads, or what another grant relies on, a writable directory
//! could widen what was granted.

use std::path::{Path, PathBuf};

use super::{Config, Tenant};
use crate::policy::{PassedAs, path_roots};

/// Finds whether every directory that may be written is out of reach of what must not be.
///
/// # Errors
/// With the first that is not, and why.
pub fn check(config: &Config) -> Result<(), String> {
    let audit = config.audit.iter().map(|audit| ("audit.file", audit.file.as_path()));
    let keys = config.listeners.iter().filter_map(|listener| Some(("listener.tls.key", &*listener.tls.as_ref()?.key)));
    for (name, secret) in audit.chain(keys) {
        for tenant in config.tenants.values() {
            if let Some((key, path)) = readers(tenant).find(|(_, path)| real(secret).starts_with(real(path))) {
                return Err(format!(
                    "{name}: `{}` lies in `{}`, which tenants.{}.grants.{key} gives to commands; keep it elsewhere",
                    secret.display(),
                    path.display(),
                    tenant.name
                ));
            }
        }
    }
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

/// The directories in which a tenant's commands can read files, with the key that says so.
fn readers(tenant: &Tenant) -> impl Iterator<Item = (&'static str, &Path)> {
    let directories = tenant.grants.directory.iter().map(|grant| ("directory", grant.path.as_path()));
    directories.chain(path_roots(&tenant.grants).map(|(path, _)| ("process", path)))
}

/// The directories whose paths a tenant's programs get as text.
fn text_roots(tenant: &Tenant) -> impl Iterator<Item = &Path> {
    path_roots(&tenant.grants).filter(|(_, pass)| *pass == PassedAs::Text).map(|(path, _)| path)
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
    let main = config.source.iter().chain(&config.include);
    let mut files = main.chain(config.tenants.values().filter_map(|tenant| tenant.file.as_ref())).map(PathBuf::as_path);
    if let Some(file) = files.find(reached) {
        return Some((file, "which says what is granted".to_owned()));
    }
    let programs = config.tenants.values().flat_map(|tenant| &tenant.grants.process);
    let mut programs = programs.map(|grant| grant.program.as_path());
    if let Some(program) = programs.find(reached) {
        return Some((program, "which a grant allows to be run as the host's user".to_owned()));
    }
    let tls = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let mut proofs = tls.flat_map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]).flatten();
    if let Some(proof) = proofs.find(|path| reached(&path.as_path())) {
        return Some((proof, "which says who is who".to_owned()));
    }
    let audit = config.audit.as_ref().map(|audit| audit.file.as_path());
    if let Some(audit) = audit.filter(reached) {
        return Some((audit, "which records what was done".to_owned()));
    }
    for tenant in config.tenants.values() {
        let mut commands = tenant.commands.iter().map(PathBuf::as_path);
        if tenant.name != owner.name
            && let Some(commands) = commands.find(reached)
        {
            return Some((commands, format!("where the commands of the tenant `{}` are", tenant.name)));
        }
        if let Some(root) = text_roots(tenant).find(reached) {
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
