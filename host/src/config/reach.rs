//! What a directory that commands may write must have nothing to do with.
//!
//! Each grant is fine by itself; together with what the host reads, or what another grant relies on, a writable directory
//! could widen what was granted.

use std::path::{Component, Path, PathBuf};

use super::{Config, Endpoint, Tenant};
use crate::policy::{PassedAs, path_roots, path_texts};

/// Symbolic links that a path is followed over, as many as the kernel follows.
const MOST_LINKS: usize = 40;

/// Finds whether every directory that may be written is out of reach of what must not be.
///
/// # Errors
/// With the first that is not, and why.
pub fn check(config: &Config) -> Result<(), String> {
    let audit = config.audit.iter().map(|audit| ("audit.file", audit.file.as_path()));
    let keys = config.listeners.iter().filter_map(|listener| Some(("listener.tls.key", &*listener.tls.as_ref()?.key)));
    for (name, secret) in audit.chain(keys) {
        let end = Way::of(secret).end;
        for tenant in config.tenants.values() {
            if let Some((key, path)) = readers(tenant).find(|(_, path)| end.starts_with(Way::of(path).end)) {
                return Err(format!(
                    "{name}: `{}` lies in `{}`, which tenants.{}.grants.{key} gives to commands; keep it elsewhere",
                    secret.display(),
                    path.display(),
                    tenant.name
                ));
            }
        }
    }
    let named: Vec<Named<'_>> = config.tenants.values().flat_map(named).collect();
    for tenant in config.tenants.values() {
        for grant in tenant.grants.directory.iter().filter(|grant| grant.write) {
            if let Some((path, why)) = within_reach(config, &named, tenant, &grant.path) {
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
fn within_reach<'a>(
    config: &'a Config,
    named: &[Named<'a>],
    owner: &Tenant,
    written: &Path,
) -> Option<(&'a Path, String)> {
    let written = Way::of(written).end;
    let reached = |path: &&Path| {
        let way = Way::of(path);
        way.places.iter().any(|place| place.starts_with(&written)) || written.starts_with(way.end)
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
    let mut sockets = config.listeners.iter().filter_map(|listener| match &listener.place {
        Endpoint::Unix { path, .. } => Some(path.as_path()),
        Endpoint::Tcp(_) => None,
    });
    if let Some(socket) = sockets.find(reached) {
        return Some((socket, "where clients look for the host".to_owned()));
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
    // The directory itself stays what it is, whatever is written in it; what lies in it can be replaced by a link.
    let is_within = |place: &PathBuf| place.starts_with(&written) && *place != written;
    let replaced = named.iter().find(|named| named.way.places.iter().any(is_within))?;
    let why = format!(
        "which tenants.{}.grants.{} names: a link in its place would lead anywhere; name the directory that may be \
         written there, or keep the two apart",
        replaced.tenant, replaced.key
    );
    Some((replaced.path, why))
}

/// A path in a tenant's grants that the host, or a program, follows to wherever it leads.
struct Named<'a> {
    tenant: &'a str,
    key: &'static str,
    path: &'a Path,
    way: Way,
}

/// All that a tenant's grants name.
fn named(tenant: &Tenant) -> impl Iterator<Item = Named<'_>> {
    let digests = tenant.grants.digest.read.iter().map(|path| ("digest", path.as_path()));
    let texts = path_texts(&tenant.grants).map(|path| ("process", path));
    let paths = readers(tenant).chain(digests).chain(texts);
    paths.map(|(key, path)| Named { tenant: &tenant.name, key, path, way: Way::of(path) })
}

fn relation(written: &Path, other: &Path) -> String {
    let [written, way] = [written, other].map(Way::of);
    let how = if way.end.starts_with(&written.end) {
        "holds"
    } else if written.end.starts_with(&way.end) {
        "lies in"
    } else {
        "is on the way to"
    };
    format!("{how} `{}`,", other.display())
}

/// Where a path leads, as far as that is there already.
struct Way {
    /// The places that decide it: the path's own parts, and those of the links that it leads over.
    places: Vec<PathBuf>,
    end: PathBuf,
}

impl Way {
    fn of(path: &Path) -> Way {
        let mut way = Way { places: Vec::new(), end: PathBuf::from("/") };
        let mut links = 0;
        // The next part is the last.
        let parts =
            |path: &Path| path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect::<Vec<_>>();
        let mut ahead = parts(path);
        while let Some(part) = ahead.pop() {
            match part.components().next() {
                Some(Component::RootDir) => way.end = PathBuf::from("/"),
                Some(Component::ParentDir) => drop(way.end.pop()),
                Some(Component::Normal(name)) => {
                    let place = way.end.join(name);
                    way.places.push(place.clone());
                    match std::fs::read_link(&place) {
                        Ok(target) if links < MOST_LINKS => {
                            links += 1;
                            ahead.extend(parts(&target));
                        }
                        _ => way.end = place,
                    }
                }
                _ => {}
            }
        }
        way
    }
}
