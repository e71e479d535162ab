//! Which rule decides: what `wasmline explain` says of an access, by the same matching that decides in the server.

use std::path::Path;

use super::access::Access;
use super::denial::{Denial, Key, quoted};
use super::directories::{DirectoryGrant, DirectoryWish};
use super::fit;
use super::grants::{DigestGrant, ProcessGrant, TasksGrant};
use super::{Asked, Effective};

/// What one of the two keys says of an access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whose word it is.
    pub key: Key,
    /// The rule that decides, or came closest to allowing it, as a place in that key's `grants` table.
    pub rule: Option<Vec<Step>>,
    /// Why it is not allowed; `None` where it is.
    pub denial: Option<Denial>,
}

/// One step down a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To a key of a table.
    Key(String),
    /// To an item of an array, counted from 0.
    Item(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Step {
        Step::Key(key.to_owned())
    }
}

impl Effective {
    /// What the tenant says of an access, and then the sidecar, if it says anything.
    pub fn explain(&self, access: &Access) -> Vec<Verdict> {
        let tenant = match access {
            Access::Process { program, args } => process(Key::Tenant, &self.tenant.process, program, args),
            Access::Digest { path } => digest(Key::Tenant, &self.tenant.digest, path),
            Access::Directory { path, write, .. } => {
                directory(Key::Tenant, self.tenant.directory.iter().map(seen), path, *write)
            }
            Access::Variable { name } => {
                let known = self.tenant.environment.contains_key(name);
                variable(Key::Tenant, known.then(|| Step::Key(name.clone())), name)
            }
            Access::Tasks { stop } => tasks(Key::Tenant, self.tenant.tasks, *stop),
        };
        let Asked::Only(wishes) = &self.asked else { return vec![tenant] };
        let sidecar = match access {
            Access::Process { program, args } => {
                let mut sidecar = process(Key::Sidecar, &wishes.process, program, args);
                // Each may allow it, and both together make too many paths of it.
                if tenant.denial.is_none() && sidecar.denial.is_none() {
                    sidecar.denial = self.spawn(program, args).err();
                }
                sidecar
            }
            Access::Digest { path } => digest(Key::Sidecar, &wishes.digest, path),
            Access::Directory { path, write, .. } => {
                directory(Key::Sidecar, wishes.directory.iter().map(asked), path, *write)
            }
            Access::Variable { name } => {
                let item = wishes.environment.iter().position(|known| known == name);
                variable(Key::Sidecar, item.map(Step::Item), name)
            }
            Access::Tasks { stop } => tasks(Key::Sidecar, wishes.tasks, *stop),
        };
        vec![tenant, sidecar]
    }
}

fn process(key: Key, grants: &[ProcessGrant], program: &str, args: &[String]) -> Verdict {
    let (rule, denial) = match fit::spawn(grants, program, args) {
        Ok(fit) => (Some(fit.rule), None),
        Err(unfit) => (unfit.closest, Some(key.denies_spawn(&unfit.misfit, program, args))),
    };
    Verdict { key, rule: rule.map(|rule| vec!["process".into(), Step::Item(rule)]), denial }
}

fn digest(key: Key, grant: &DigestGrant, path: &str) -> Verdict {
    match fit::beneath(path, &grant.read) {
        Ok(place) => {
            let item = grant.read.iter().position(|root| *root == place.root).unwrap_or_default();
            Verdict { key, rule: Some(vec!["digest".into(), "read".into(), Step::Item(item)]), denial: None }
        }
        Err(fault) => Verdict { key, rule: None, denial: Some(key.denies_digest(fault, path)) },
    }
}

/// A directory that one of the keys speaks of.
struct Known<'a> {
    name: &'a Path,
    host: Option<&'a Path>,
    write: bool,
}

fn seen(grant: &DirectoryGrant) -> Known<'_> {
    Known { name: grant.name(), host: Some(&grant.path), write: grant.write }
}

fn asked(wish: &DirectoryWish) -> Known<'_> {
    Known { name: &wish.path, host: None, write: wish.write }
}

/// The deepest directory that holds a path decides, for that is where a program looks for it.
fn directory<'a>(key: Key, directories: impl Iterator<Item = Known<'a>>, path: &str, write: bool) -> Verdict {
    let holding = directories.enumerate().filter(|(_, known)| Path::new(path).starts_with(known.name));
    let deepest = holding.max_by_key(|(_, known)| known.name.components().count());
    let denial = match &deepest {
        Some((_, known)) if known.write || !write => None,
        Some((_, known)) => {
            let host = known.host.map(|host| host.display().to_string());
            let access = Access::Directory { path: known.name.display().to_string(), host, write };
            Some(key.denies(format!("{} may only be read", quoted(path)), access))
        }
        None => {
            let access = Access::Directory { path: path.to_owned(), host: None, write };
            Some(key.denies(format!("{} is in no directory {}", quoted(path), key.participle()), access))
        }
    };
    Verdict { key, rule: deepest.map(|(item, _)| vec!["directory".into(), Step::Item(item)]), denial }
}

fn tasks(key: Key, grant: TasksGrant, stop: bool) -> Verdict {
    let rule = grant.allows(stop).then(|| vec!["tasks".into(), if stop { "stop" } else { "list" }.into()]);
    let denial = rule.is_none().then(|| key.denies_tasks(stop));
    Verdict { key, rule, denial }
}

fn variable(key: Key, found: Option<Step>, name: &str) -> Verdict {
    let denial = found.is_none().then(|| {
        key.denies(
            format!("the variable {} is not {}", quoted(name), key.participle()),
            Access::Variable { name: name.to_owned() },
        )
    });
    Verdict { key, rule: found.map(|step| vec!["environment".into(), step]), denial }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn explain(tenant: &str, sidecar: Option<&str>, access: &Access) -> Vec<(Option<Vec<Step>>, Option<String>)> {
        let asked = sidecar.map_or(Asked::Everything, |asked| Asked::Only(toml::from_str(asked).unwrap()));
        let effective = Effective::new(Arc::new(toml::from_str(tenant).unwrap()), asked);
        let verdicts = effective.explain(access).into_iter();
        verdicts.map(|verdict| (verdict.rule, verdict.denial.map(|denial| denial.guest))).collect()
    }

    fn at(name: &str, item: usize) -> Option<Vec<Step>> {
        Some(vec![name.into(), Step::Item(item)])
    }

    #[test]
    fn the_rule_that_decides_is_named() {
        let grants = "process = [{ program = '/p' }, { program = '/p', args = ['a', 'b'] }]\ndigest.read = ['/', '/etc']\n\
                      directory = [{ path = '/d' }, { path = '/w', write = true }]\nenvironment = { LANG = 'C' }";
        let process = |args: &[&str]| Access::Process {
            program: "/p".to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
        };
        assert_eq!(explain(grants, None, &process(&["a", "b"])), [(at("process", 1), None)]);
        let closest = explain(grants, None, &process(&["a", "c"])).remove(0);
        assert_eq!(closest.0, at("process", 1));
        assert!(closest.1.unwrap().starts_with("argument 2"));
        let digest = explain(grants, None, &Access::Digest { path: "/etc/x".to_owned() }).remove(0);
        assert_eq!(digest, (Some(vec!["digest".into(), "read".into(), Step::Item(1)]), None));
        let directory = |path: &str, write| Access::Directory { path: path.to_owned(), host: None, write };
        assert_eq!(explain(grants, None, &directory("/d/x", false)), [(at("directory", 0), None)]);
        assert_eq!(explain(grants, None, &directory("/w/x", true)), [(at("directory", 1), None)]);
        let read_only = explain(grants, None, &directory("/d/x", true)).remove(0);
        assert_eq!(read_only, (at("directory", 0), Some("\"/d/x\" may only be read".to_owned())));
        let variable = explain(grants, None, &Access::Variable { name: "LANG".to_owned() }).remove(0);
        assert_eq!(variable, (Some(vec!["environment".into(), "LANG".into()]), None));
    }

    #[test]
    fn both_keys_have_their_say() {
        let variable = Access::Variable { name: "LANG".to_owned() };
        let both = explain("environment.LANG = 'C'", Some("environment = ['HOME', 'LANG']"), &variable);
        assert_eq!(both[1], (at("environment", 1), None));
        let neither = explain("", Some(""), &variable);
        assert_eq!(neither.len(), 2);
        assert!(neither.iter().all(|(rule, denial)| rule.is_none() && denial.is_some()), "{neither:?}");
    }
}
