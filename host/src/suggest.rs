//! `wasmline suggest`: from audit records to the grants that the recorded lines needed, for the operator to read and paste.

mod generalise;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::cli::{self, Suggest};
use crate::policy::{Access, Grants, Key, ProcessGrant, toml_string};

/// Says of an entry that nobody had it yet.
const DENIED: &str = "   # was denied";

/// Begins a note of what a sidecar asks for beside what lines needed.
const MORE: &str = "# A sidecar asks for more:";

/// The records that tell of grants.
const EVENTS: [&str; 3] = ["invocation", "denial", "would-be-denied"];

/// What there is to read of a record.
#[derive(Deserialize)]
struct Record {
    event: String,
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    command: String,
    #[serde(default)]
    grants: Vec<Value>,
    access: Option<Value>,
    key: Option<String>,
    grant: Option<String>,
}

/// What the recorded lines of one tenant needed.
#[derive(Default)]
struct Needs {
    /// How many lines there are.
    lines: u64,
    /// What they were allowed.
    used: BTreeSet<Access>,
    /// What they were denied for want of a grant of the tenant's.
    denied: BTreeSet<Access>,
    /// What their sidecars ask for in vain.
    wished: Vec<Grants>,
    /// What their sidecars do not ask for, by command.
    unasked: BTreeMap<String, BTreeSet<Access>>,
    /// Accesses that are recorded as hashes.
    hashed: u64,
}

/// Prints the grants that were needed.
///
/// # Errors
/// When there is nothing to read of them.
pub fn run(arguments: &Suggest) -> Result<(), String> {
    cli::print(&suggest(&arguments.files, arguments.tenant.as_deref())?)
}

/// The grants that the records in the files tell of, those of one tenant or of all.
///
/// # Errors
/// When a file cannot be read, or there are no records of the tenant.
fn suggest(files: &[PathBuf], tenant: Option<&str>) -> Result<String, String> {
    let mut all: BTreeMap<String, Needs> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for file in files {
        read(file, tenant, &mut all, &mut seen)?;
    }
    if all.is_empty() {
        return Err(match tenant {
            Some(tenant) => format!("there is no record of a line of the tenant `{tenant}`"),
            None => "there is no record of a line".to_owned(),
        });
    }
    let texts = all.iter().map(|(tenant, needs)| needs.text(tenant));
    Ok(texts.collect::<Vec<_>>().join("\n"))
}

fn read(
    file: &Path,
    tenant: Option<&str>,
    all: &mut BTreeMap<String, Needs>,
    seen: &mut BTreeSet<String>,
) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("{}: cannot be read: {error}", file.display());
    for (number, line) in BufReader::new(File::open(file).map_err(unreadable)?).lines().enumerate() {
        let line = line.map_err(unreadable)?;
        let record: Record = match serde_json::from_str(&line) {
            Ok(record) => record,
            Err(error) => {
                // A host that was killed may have left half a line.
                eprintln!("wasmline: {}:{}: passed over, for it is no record: {error}", file.display(), number + 1);
                continue;
            }
        };
        if !EVENTS.contains(&&*record.event) || tenant.is_some_and(|tenant| tenant != record.tenant) {
            continue;
        }
        all.entry(record.tenant.clone()).or_default().add(record, seen);
    }
    Ok(())
}

impl Needs {
    /// Takes a record in. What is asked for in vain is in the records of every run, and taken once.
    fn add(&mut self, record: Record, seen: &mut BTreeSet<String>) {
        if record.event == "invocation" {
            self.lines += 1;
        }
        for grant in record.grants {
            match serde_json::from_value(grant) {
                Ok(access) => drop(self.used.insert(access)),
                Err(_) => self.hashed += 1,
            }
        }
        match (record.access.map(serde_json::from_value::<Access>), record.key.as_deref()) {
            // No grant would have helped.
            (Some(Ok(access)), _) if !access.can_be_granted() => {}
            (Some(Ok(access)), Some("tenant")) => drop(self.denied.insert(access)),
            (Some(Ok(access)), Some("sidecar")) => {
                self.unasked.entry(record.command).or_default().insert(access);
            }
            (Some(Err(_)), _) => self.hashed += 1,
            (None, Some("tenant")) => {
                if let Some(text) = record.grant.filter(|text| !seen.contains(text)) {
                    self.wished.extend(grants_in(&text, &record.tenant));
                    seen.insert(text);
                }
            }
            // No grant would have helped.
            _ => {}
        }
    }

    /// The grants as TOML.
    fn text(&self, tenant: &str) -> String {
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
        // By the program's name: where it is on the machine, whether it is written, and whether that was denied.
        let mut found: BTreeMap<&str, (&str, bool, bool)> = BTreeMap::new();
        for (from, denied) in [(&self.used, false), (&self.denied, true)] {
            for access in from {
                if let Access::Directory { path, host, write } = access {
                    let host = host.as_deref().unwrap_or(path);
                    let entry = found.entry(path).or_insert((host, false, denied));
                    // What was only read so far and wanted for writing is denied in that.
                    entry.2 |= denied;
                    entry.1 |= *write;
                }
            }
        }
        // What one sidecar asks for with one path comes in one record, for all of the tenant's directories that it reaches. Where
        // a line tells of any of them, what it wants to write was told with it, had it wanted to.
        let is_told = |grants: &&Grants| {
            let reaches = |path: &str| grants.directory.iter().any(|wish| Path::new(path).starts_with(wish.name()));
            self.accesses().any(|access| matches!(access, Access::Directory { path, .. } if reaches(path)))
        };
        let (told, untold): (Vec<_>, Vec<_>) = self.wished.iter().partition(is_told);
        let each = |wishes: Vec<&Grants>| -> BTreeSet<(String, String, bool)> {
            let wishes = wishes.into_iter().flat_map(|grants| &grants.directory);
            wishes
                .map(|wish| (wish.name().display().to_string(), wish.path.display().to_string(), wish.write))
                .collect()
        };
        let is_more = |(name, _, write): &(String, String, bool)| {
            found.get(&**name).is_none_or(|(_, is_written, _)| *write && !is_written)
        };
        let noted: Vec<_> = each(told).into_iter().filter(is_more).collect();
        let wished = each(untold);
        for (name, host, write) in &wished {
            let entry = found.entry(name).or_insert((host, *write, true));
            entry.2 |= *write && !entry.1;
            entry.1 |= *write;
        }
        for (name, (host, write, denied)) in found {
            let note = if denied { DENIED } else { "" };
            let _ = writeln!(text, "\n[[{table}.directory]]{note}\npath = {}", toml_string(host));
            if host != name {
                let _ = writeln!(text, "as = {}", toml_string(name));
            }
            if write {
                let _ = writeln!(text, "write = true");
            }
        }
        for (name, host, write) in noted {
            let named = if host == name { String::new() } else { format!(", as = {}", toml_string(&name)) };
            let written = if write { ", write = true" } else { "" };
            let _ = writeln!(text, "{MORE} path = {}{named}{written}", toml_string(&host));
        }
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

/// The grants in a record's `grant`, which is TOML of this host's own making.
fn grants_in(text: &str, tenant: &str) -> Option<Grants> {
    let document: toml::Table = toml::from_str(text).ok()?;
    document.get("tenants")?.get(tenant)?.get("grants")?.clone().try_into().ok()
}

/// A name out of a file, in a comment that it must not end.
fn one_line(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggested(lines: &[Value]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(file.path(), text).unwrap();
        suggest(&[file.path().to_owned()], None).unwrap()
    }

    fn ran(grants: Value) -> Value {
        serde_json::json!({"event": "invocation", "tenant": "t", "command": "c", "grants": grants})
    }

    fn tail(lines: &str, file: &str) -> Value {
        serde_json::json!({"kind": "process", "program": "/usr/bin/tail", "args": ["-n", lines, file]})
    }

    fn denial(access: Value, key: &str) -> Value {
        serde_json::json!({"event": "denial", "tenant": "t", "command": "c", "key": key, "access": access})
    }

    fn vain(grant: &str) -> Value {
        serde_json::json!({"event": "would-be-denied", "tenant": "t", "command": "c", "key": "tenant", "grant": grant})
    }

    #[test]
    fn runs_become_rules() {
        let text = suggested(&[
            ran(serde_json::json!([tail("10", "/var/log/a"), {"kind": "digest", "path": "/etc/hosts"}])),
            ran(serde_json::json!([tail("20", "/var/log/b"), {"kind": "variable", "name": "LANG"}])),
            ran(serde_json::json!([
                {"kind": "directory", "path": "/data", "host": "/srv/t", "write": false},
                {"kind": "directory", "path": "/data", "host": "/srv/t", "write": true},
            ])),
        ]);
        let expected = "# What 3 recorded lines of the tenant `t` needed.\n\n[[tenants.t.grants.process]]\n\
             program = \"/usr/bin/tail\"\nargs = [\"-n\", { int = [10, 20] }, { path-under = [\"/var/log\"] }]\n\n\
             [tenants.t.grants.digest]\nread = [\n  \"/etc\",\n]\n\n[[tenants.t.grants.directory]]\n\
             path = \"/srv/t\"\nas = \"/data\"\nwrite = true\n\n\
             [tenants.t.grants.environment]   # the values are yours to give\n\"LANG\" = \"\"\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_was_denied_is_marked_and_can_be_pasted() {
        let text = suggested(&[
            ran(serde_json::json!([{"kind": "digest", "path": "/etc/hosts"}])),
            denial(serde_json::json!({"kind": "digest", "path": "/root/x"}), "tenant"),
            denial(tail("1", "/x"), "tenant"),
            denial(serde_json::json!({"kind": "digest", "path": "/srv/x"}), "sidecar"),
            vain("[[tenants.t.grants.process]]\nprogram = \"/bin/x\"\nargs = [{ int = [1, 2] }]"),
            vain("[[tenants.t.grants.process]]\nprogram = \"/bin/x\"\nargs = [{ int = [1, 2] }]"),
            vain("[tenants.t.grants.digest]\nread = [\"/opt\"]"),
            vain("[[tenants.t.grants.directory]]\npath = \"/d\"\nwrite = true"),
            vain("[tenants.t.grants.environment]\n\"A B\" = \"\""),
            vain("[tenants.t.grants.tasks]\nlist = true"),
            ran(serde_json::json!([{"kind": "tasks", "stop": true}])),
        ]);
        let grants = grants_in(&text, "t").unwrap_or_else(|| panic!("{text}"));
        assert_eq!(grants.process.len(), 2, "{text}");
        assert_eq!(grants.digest.read, ["/etc", "/opt", "/root"].map(PathBuf::from));
        assert!(grants.directory[0].write && grants.environment.contains_key("A B"));
        assert!(grants.tasks.list && grants.tasks.stop);
        assert_eq!(text.matches(DENIED).count(), 7, "{text}");
        assert!(text.contains("# The sidecar of `c` does not ask for this"), "{text}");
        assert!(text.contains("#   [grants.digest]\n#   read = [\n#     \"/srv\","), "{text}");
    }

    #[test]
    fn what_the_configuration_would_refuse_is_not_suggested() {
        let denied = |path: &str| denial(serde_json::json!({"kind": "digest", "path": path}), "tenant");
        let text = suggested(&[denied("/var/log/../../etc/passwd"), denied("/"), denied("x")]);
        assert!(text.ends_with("needed nothing.\n"), "{text}");
        let text = suggested(&[denied("/vmlinuz"), denied("/var/log/../x")]);
        assert!(text.contains("read = [\n  \"/vmlinuz\",   # was denied\n]"), "{text}");
    }

    #[test]
    fn what_a_sidecar_asks_for_beside_it_is_noted() {
        let narrow = suggested(&[
            denial(serde_json::json!({"kind": "digest", "path": "/root/x"}), "tenant"),
            denial(tail("1", "/x"), "tenant"),
            vain("[tenants.t.grants.digest]\nread = [\"/\"]"),
            vain("[[tenants.t.grants.process]]\nprogram = \"/usr/bin/tail\"\nargs = [{ any = true }]"),
        ]);
        let grants = grants_in(&narrow, "t").unwrap_or_else(|| panic!("{narrow}"));
        assert_eq!(grants.digest.read, [PathBuf::from("/root")], "{narrow}");
        assert!(grants.process.len() == 1 && grants.process[0].args.len() == 3, "{narrow}");
        assert_eq!(narrow.matches(MORE).count(), 2, "{narrow}");
    }

    #[test]
    fn to_write_is_not_proposed_where_nothing_was_written() {
        let directory =
            |path: &str, write: bool| serde_json::json!({"kind": "directory", "path": path, "write": write});
        let both = "[[tenants.t.grants.directory]]\npath = \"/d/data\"\nwrite = true\n\
                    [[tenants.t.grants.directory]]\npath = \"/usr/share\"\nwrite = true";
        let read = suggested(&[ran(serde_json::json!([directory("/d/data", false)])), vain(both)]);
        let grants = grants_in(&read, "t").unwrap_or_else(|| panic!("{read}"));
        assert_eq!((grants.directory.len(), grants.directory[0].write), (1, false), "{read}");
        assert!(!read.contains(DENIED) && read.matches(MORE).count() == 2, "{read}");
        assert!(read.contains(&format!("{MORE} path = \"/usr/share\", write = true\n")), "{read}");
        // What was written, or was to be, is proposed as ever, and nothing of it noted.
        let written = suggested(&[
            ran(serde_json::json!([directory("/d/data", false)])),
            denial(directory("/d/data", true), "tenant"),
            vain("[[tenants.t.grants.directory]]\npath = \"/d/data\"\nwrite = true"),
        ]);
        let grants = grants_in(&written, "t").unwrap_or_else(|| panic!("{written}"));
        assert!(grants.directory.len() == 1 && grants.directory[0].write, "{written}");
        assert!(written.contains(DENIED) && !written.contains(MORE), "{written}");
    }
}
