//! What lines needed as TOML, for a tenant's table and for a sidecar.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Needs, generalise};
use crate::policy::{Access, Grants, Key, ProcessGrant, toml_string};

/// Says of an entry that nobody had it yet.
pub(super) const DENIED: &str = "   # was denied";

/// Begins a note of what a sidecar asks for beside what lines needed.
pub(super) const MORE: &str = "# A sidecar asks for more:";

/// The directories that lines needed, by what a program calls them.
type Directories<'a> = BTreeMap<&'a str, Directory<'a>>;

/// What they needed of it.
struct Directory<'a> {
    /// Where it is on the machine.
    host: &'a str,
    write: bool,
    /// Nobody had as much of it yet.
    was_denied: bool,
}

/// A directory that a sidecar asks for in vain.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    /// What a program calls it.
    name: String,
    /// Where it is on the machine.
    host: String,
    write: bool,
}

impl Needs {
    /// The grants as TOML.
    pub(super) fn text(&self, tenant: &str) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        if self.hashed > 0 {
            let _ = writeln!(text, "# {} accesses are recorded as hashes and are not among it.", self.hashed);
        }
        let table = Key::Tenant.table(tenant);
        self.processes(&mut text, &table);
        self.digests(&mut text, &table);
        self.directories(&mut text, &table);
        self.variables(&mut text, &table);
        self.tasks(&mut text, &table);
        for (command, accesses) in &self.unasked {
            let _ = writeln!(text, "\n# The sidecar of `{}` does not ask for this, and would need:", one_line(command));
            let needed = Needs { used: accesses.clone(), ..Needs::default() };
            for line in needed.sidecar().lines() {
                let _ = writeln!(text, "#   {line}");
            }
        }
        let lines = if self.lines == 1 { "line" } else { "lines" };
        let of_whom = format!("{} recorded {lines} of the tenant `{}`", self.lines, one_line(tenant));
        match text.is_empty() {
            true => format!("# {of_whom} needed nothing.\n"),
            false => format!("# What {of_whom} needed.\n{text}"),
        }
    }

    /// The same for a sidecar, whose table says less.
    fn sidecar(&self) -> String {
        let mut text = String::new();
        self.processes(&mut text, "grants");
        self.digests(&mut text, "grants");
        for access in &self.used {
            if let Access::Directory { .. } | Access::Variable { .. } | Access::Tasks { .. } = access {
                let _ = writeln!(text, "\n{}", access.grant(Key::Sidecar, "grants"));
            }
        }
        text.trim_start().to_owned()
    }

    /// What the lines wanted. Where it tells what they need of a program or a directory, what a sidecar asks for of that is
    /// only noted: its author may not know the machine, and so ask for all of it.
    fn accesses(&self) -> impl Iterator<Item = &Access> {
        self.used.iter().chain(&self.denied)
    }

    fn processes(&self, text: &mut String, table: &str) {
        let runs = |from: &BTreeSet<Access>| {
            let runs = from.iter().filter_map(|access| match access {
                Access::Process { program, args } => Some((program.clone(), args.clone())),
                _ => None,
            });
            let runs: Vec<_> = runs.collect();
            generalise::processes(runs.iter().map(|(program, args)| (&**program, &**args)))
        };
        let used = runs(&self.used);
        let is_told = |wish: &ProcessGrant| {
            self.accesses()
                .any(|access| matches!(access, Access::Process { program, .. } if wish.program == Path::new(program)))
        };
        let (noted, wished): (Vec<_>, Vec<_>) =
            self.wished.iter().flat_map(|grants| &grants.process).cloned().partition(is_told);
        let denied: Vec<ProcessGrant> = runs(&self.denied).into_iter().chain(wished).collect();
        let fresh = denied.iter().filter(|rule| !used.contains(rule));
        for (rule, note) in used.iter().map(|rule| (rule, "")).chain(fresh.map(|rule| (rule, DENIED))) {
            let _ = writeln!(text, "\n[[{table}.process]]{note}\n{}", rule.entries().join("\n"));
        }
        for wish in noted {
            let _ = writeln!(text, "{MORE} {}", wish.entries().join(", "));
        }
    }

    fn digests(&self, text: &mut String, table: &str) {
        let files = |from: &BTreeSet<Access>| {
            let files: Vec<String> = from
                .iter()
                .filter_map(|access| match access {
                    Access::Digest { path } => Some(path.clone()),
                    _ => None,
                })
                .collect();
            generalise::directories(files.iter().map(String::as_str))
        };
        let used = files(&self.used);
        let is_told = |wish: &PathBuf| {
            self.accesses().any(|access| matches!(access, Access::Digest { path } if Path::new(path).starts_with(wish)))
        };
        let (noted, wished): (Vec<_>, Vec<_>) =
            self.wished.iter().flat_map(|grants| &grants.digest.read).cloned().partition(is_told);
        let denied = generalise::outermost(files(&self.denied).into_iter().chain(wished));
        let denied: Vec<_> = denied.iter().filter(|root| !used.iter().any(|used| root.starts_with(used))).collect();
        if used.is_empty() && denied.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n[{table}.digest]\nread = [");
        for (root, note) in used.iter().map(|root| (root, "")).chain(denied.into_iter().map(|root| (root, DENIED))) {
            let _ = writeln!(text, "  {},{note}", toml_string(&root.to_string_lossy()));
        }
        for root in noted {
            let _ = writeln!(text, "  {MORE} {}", toml_string(&root.to_string_lossy()));
        }
        let _ = writeln!(text, "]");
    }

    fn directories(&self, text: &mut String, table: &str) {
        let mut needed = self.needed_directories();
        // What one sidecar asks for with one path comes in one record, for all of the tenant's directories that it reaches. Where
        // a line tells of any of them, what it wants to write was told with it, had it wanted to.
        let is_told = |grants: &&Grants| {
            let reaches = |path: &str| grants.directory.iter().any(|wish| Path::new(path).starts_with(wish.name()));
            self.accesses().any(|access| matches!(access, Access::Directory { path, .. } if reaches(path)))
        };
        let (told, untold): (Vec<_>, Vec<_>) = self.wished.iter().partition(is_told);
        let is_more = |wish: &Wish| needed.get(&*wish.name).is_none_or(|known| wish.write && !known.write);
        let noted: Vec<Wish> = wishes(&told).into_iter().filter(is_more).collect();
        let wished = wishes(&untold);
        for Wish { name, host, write } in &wished {
            let directory = needed.entry(name).or_insert(Directory { host, write: *write, was_denied: true });
            // What is read may not be written yet.
            directory.was_denied |= *write && !directory.write;
            directory.write |= *write;
        }
        for (name, Directory { host, write, was_denied }) in needed {
            let note = if was_denied { DENIED } else { "" };
            let _ = writeln!(text, "\n[[{table}.directory]]{note}\npath = {}", toml_string(host));
            if host != name {
                let _ = writeln!(text, "as = {}", toml_string(name));
            }
            if write {
                let _ = writeln!(text, "write = true");
            }
        }
        for Wish { name, host, write } in noted {
            let named = if host == name { String::new() } else { format!(", as = {}", toml_string(&name)) };
            let written = if write { ", write = true" } else { "" };
            let _ = writeln!(text, "{MORE} path = {}{named}{written}", toml_string(&host));
        }
    }

    /// The directories that lines have used, or were denied.
    fn needed_directories(&self) -> Directories<'_> {
        let mut needed = Directories::new();
        for (from, was_denied) in [(&self.used, false), (&self.denied, true)] {
            for access in from {
                if let Access::Directory { path, host, write } = access {
                    let host = host.as_deref().unwrap_or(path);
                    let directory = needed.entry(path).or_insert(Directory { host, write: false, was_denied });
                    // What was only read so far and wanted for writing is denied in that.
                    directory.was_denied |= was_denied;
                    directory.write |= *write;
                }
            }
        }
        needed
    }

    fn tasks(&self, text: &mut String, table: &str) {
        let wanted = [("list", false), ("stop", true)].into_iter().filter_map(|(key, stop)| {
            let wished = self.wished.iter().any(|grants| grants.tasks.allows(stop));
            match (Access::Tasks { stop }) {
                access if self.used.contains(&access) => Some((key, "")),
                access if self.denied.contains(&access) || wished => Some((key, DENIED)),
                _ => None,
            }
        });
        for (number, (key, note)) in wanted.enumerate() {
            if number == 0 {
                let _ = writeln!(text, "\n[{table}.tasks]");
            }
            let _ = writeln!(text, "{key} = true{note}");
        }
    }

    fn variables(&self, text: &mut String, table: &str) {
        let names = |from: &BTreeSet<Access>| -> BTreeSet<String> {
            from.iter()
                .filter_map(|access| match access {
                    Access::Variable { name } => Some(name.clone()),
                    _ => None,
                })
                .collect()
        };
        let used = names(&self.used);
        let mut denied = names(&self.denied);
        denied.extend(self.wished.iter().flat_map(|grants| grants.environment.keys().cloned()));
        let denied: Vec<_> = denied.difference(&used).collect();
        if used.is_empty() && denied.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n[{table}.environment]   # the values are yours to give");
        for (name, note) in used.iter().map(|name| (name, "")).chain(denied.into_iter().map(|name| (name, DENIED))) {
            let _ = writeln!(text, "{} = \"\"{note}", toml_string(name));
        }
    }
}

/// The directories that sidecars ask for, each once.
fn wishes(asked: &[&Grants]) -> BTreeSet<Wish> {
    let asked = asked.iter().flat_map(|grants| &grants.directory);
    let wishes = asked.map(|grant| Wish {
        name: grant.name().display().to_string(),
        host: grant.path.display().to_string(),
        write: grant.write,
    });
    wishes.collect()
}

/// A name out of a file, in a comment that it must not end.
fn one_line(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).collect()
}
