//! What a command asks for and its tenant does not grant: it will be denied whatever it is called with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::access::Access;
use super::denial::{Key, quoted, toml_string};
use super::directories::{DirectoryGrant, DirectoryWish, around};
use super::grants::ProcessGrant;
use super::{Asked, Effective};

/// Different things that a command asks for in vain of which the records of a line tell.
const MAX_TOLD: usize = 64;
/// Bytes of the grants that all of these would need: every line of the command has them in its records, which must not push
/// out what others have left in the file.
const MAX_TOLD_BYTES: usize = 32 * 1024;

/// One thing that a command asks for in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// To run a program.
    Process(ProcessGrant),
    /// To hash files beneath a directory.
    Digest(PathBuf),
    /// To find a directory open.
    Directory(DirectoryWish),
    /// To write in a directory that it may only read.
    Writing {
        /// What it asks for.
        wish: DirectoryWish,
        /// The grants that the tenant would have to have for it: of what it asks for, and of no more.
        grants: Vec<DirectoryGrant>,
    },
    /// To find an environment variable.
    Variable(String),
    /// To see running commands, or to stop them.
    Tasks {
        /// Whether it is to stop them.
        stop: bool,
    },
}

/// What a command asks for in vain, as the records of its lines tell it.
#[derive(Debug, Clone, Default)]
pub struct InVain {
    /// What has a record in each of its lines.
    pub told: Vec<Unmet>,
    /// How much there is beyond that.
    pub more: u64,
}

impl InVain {
    /// Takes of these what has room. What would need the same grant is taken once.
    pub fn of(all: Vec<Unmet>) -> InVain {
        let (mut in_vain, mut seen, mut bytes) = (InVain::default(), BTreeSet::new(), 0);
        for unmet in all {
            let grant = unmet.grant("");
            let size = grant.len();
            if !seen.insert(grant) {
                continue;
            }
            if in_vain.told.len() < MAX_TOLD && bytes + size <= MAX_TOLD_BYTES {
                bytes += size;
                in_vain.told.push(unmet);
            } else {
                in_vain.more += 1;
            }
        }
        in_vain
    }
}

impl Effective {
    /// What the records of a line tell of what [`Effective::unmet`] finds. It is found once, for all of the command's lines.
    pub fn in_vain(&self) -> &InVain {
        self.in_vain.get_or_init(|| InVain::of(self.unmet()))
    }

    /// What the command asks for and its tenant grants nothing of.
    pub fn unmet(&self) -> Vec<Unmet> {
        let Asked::Only(asked) = &self.asked else { return Vec::new() };
        let granted = &self.tenant;
        let programs = asked.process.iter();
        let programs = programs.filter(|wish| granted.process.iter().all(|grant| grant.program != wish.program));
        let overlaps = |root: &Path, other: &Path| root.starts_with(other) || other.starts_with(root);
        let apart = |root: &&PathBuf| !granted.digest.read.iter().any(|other| overlaps(root, other));
        let roots = asked.digest.read.iter().filter(apart);
        let directories = asked.directory.iter().filter_map(|wish| directory(&granted.directory, wish));
        let variables = asked.environment.iter().filter(|name| !granted.environment.contains_key(*name));
        let wanted = |stop: &bool| asked.tasks.allows(*stop) && !granted.tasks.allows(*stop);
        let tasks = [false, true].into_iter().filter(wanted);
        programs
            .map(|wish| Unmet::Process(wish.clone()))
            .chain(roots.map(|root| Unmet::Digest(root.clone())))
            .chain(directories)
            .chain(variables.map(|name| Unmet::Variable(name.clone())))
            .chain(tasks.map(|stop| Unmet::Tasks { stop }))
            .collect()
    }
}

fn directory(granted: &[DirectoryGrant], wish: &DirectoryWish) -> Option<Unmet> {
    let within = granted.iter().filter(|grant| grant.name().starts_with(&wish.path)).cloned();
    let around = around(granted, &wish.path).filter(|(_, relative)| !relative.as_os_str().is_empty());
    let part = around.map(|(grant, relative)| DirectoryGrant {
        path: grant.path.join(relative),
        name: grant.name.as_ref().map(|name| name.join(relative)),
        write: grant.write,
    });
    let touched: Vec<DirectoryGrant> = within.chain(part).collect();
    match touched.iter().any(|grant| grant.write) {
        _ if touched.is_empty() => Some(Unmet::Directory(wish.clone())),
        false if wish.write => Some(Unmet::Writing { wish: wish.clone(), grants: touched }),
        _ => None,
    }
}

impl Unmet {
    /// What the tenant's table `grants` would need, as lines of TOML.
    pub fn grant(&self, grants: &str) -> String {
        let directory = |path: &Path, name: Option<&Path>, write: bool| {
            let shown = |path: &Path| path.to_string_lossy().into_owned();
            let access =
                Access::Directory { path: shown(name.unwrap_or(path)), host: name.map(|_| shown(path)), write };
            access.grant(Key::Tenant, grants)
        };
        match self {
            Unmet::Process(wish) => format!("[[{grants}.process]]\n{}", wish.entries().join("\n")),
            Unmet::Digest(root) => format!("[{grants}.digest]\nread = [{}]", toml_string(&root.to_string_lossy())),
            Unmet::Directory(wish) => directory(&wish.path, None, wish.write),
            Unmet::Writing { grants, .. } => {
                let wanted = grants.iter().map(|grant| directory(&grant.path, grant.name.as_deref(), true));
                wanted.collect::<Vec<_>>().join("\n")
            }
            Unmet::Variable(name) => Access::Variable { name: name.clone() }.grant(Key::Tenant, grants),
            Unmet::Tasks { stop } => Access::Tasks { stop: *stop }.grant(Key::Tenant, grants),
        }
    }

    /// For people: what is asked for, and what the tenant of that name needs.
    pub fn told(&self, tenant: &str) -> String {
        let grants = Key::Tenant.table(tenant);
        match self {
            Unmet::Process(wish) => {
                let program = wish.program.display();
                format!("asks to run {program}; the tenant needs a [[{grants}.process]] with this program")
            }
            Unmet::Digest(root) => {
                format!("asks to hash files beneath {}; the tenant needs it in {grants}.digest.read", root.display())
            }
            Unmet::Directory(wish) => {
                let path = wish.path.display();
                format!("asks for the directory {path}; the tenant needs a [[{grants}.directory]] with this path")
            }
            Unmet::Writing { wish, .. } => {
                let path = wish.path.display();
                format!("asks to write in {path}; the tenant's [[{grants}.directory]] needs write = true")
            }
            Unmet::Variable(name) => {
                format!("asks for the variable {}; the tenant needs it in {grants}.environment", quoted(name))
            }
            Unmet::Tasks { stop } => {
                let (does, key) = if *stop { ("stop", "stop") } else { ("see", "list") };
                format!("asks to {does} running commands; the tenant needs `{key} = true` in {grants}.tasks")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn unmet(tenant: &str, asked: &str) -> Vec<Unmet> {
        let asked = Asked::Only(toml::from_str(asked).unwrap());
        Effective::new(Arc::new(toml::from_str(tenant).unwrap()), asked).unmet()
    }

    #[test]
    fn what_overlaps_is_not_unmet() {
        let tenant = "directory = [{ path = '/d' }, { path = '/w', write = true }]\ndigest.read = ['/etc/ssl']";
        for asked in [
            "directory = [{ path = '/d/x' }]",
            "directory = [{ path = '/', write = true }]",
            "directory = [{ path = '/w/x', write = true }]",
            "digest.read = ['/etc']",
            "digest.read = ['/etc/ssl/certs']",
            "",
        ] {
            assert_eq!(unmet(tenant, asked), [], "{asked}");
        }
    }

    #[test]
    fn what_is_told_of_it_is_bounded() {
        let variables = |names: Vec<String>| InVain::of(names.into_iter().map(Unmet::Variable).collect());
        let same = variables(vec!["A".to_owned(); 1000]);
        assert_eq!((same.told.len(), same.more), (1, 0));
        let many = variables((0..100).map(|number| format!("V{number}")).collect());
        assert_eq!((many.told.len(), many.more), (MAX_TOLD, 100 - 64));
        let mut long: Vec<String> = (0..60).map(|number| format!("{number}{}", "x".repeat(1000))).collect();
        long.insert(0, "x".repeat(MAX_TOLD_BYTES));
        let long = variables(long);
        assert!(long.told.len() < 33 && long.told.len() as u64 + long.more == 61, "{} told", long.told.len());
        assert!(!long.told.is_empty());
    }

    #[test]
    fn what_is_unmet_comes_with_what_would_do() {
        let tenant = "directory = [{ path = '/srv/d', as = '/d' }]";
        let asked = "environment = ['LANG']\ndigest.read = ['/etc']\n\
                     directory = [{ path = '/e' }, { path = '/d/x', write = true }]\n\
                     process = [{ program = '/p', args = ['-n', { int = [1, 9] }] }]";
        let shown: Vec<String> = unmet(tenant, asked).iter().map(|unmet| unmet.grant("g")).collect();
        assert_eq!(
            shown,
            [
                "[[g.process]]\nprogram = \"/p\"\nargs = [\"-n\", { int = [1, 9] }]",
                "[g.digest]\nread = [\"/etc\"]",
                "[[g.directory]]\npath = \"/e\"",
                "[[g.directory]]\npath = \"/srv/d/x\"\nas = \"/d/x\"\nwrite = true",
                "[g.environment]\n\"LANG\" = \"\"",
            ]
        );
    }
}
