//! `wasmline suggest`: from audit records to the grants that the recorded lines needed, for the operator to read and paste.

mod generalise;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::cli::{self, Suggest};
use crate::policy::{Access, Grants};

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
    for (number, line) in BufReader::new(File::open(file).map_err(unreadable)?).split(b'\n').enumerate() {
        let line = line.map_err(unreadable)?;
        let record: Record = match serde_json::from_slice(&line) {
            Ok(record) => record,
            Err(error) => {
                // A host that was killed may have left half a line, which may end within a character.
                let place = format!("{}:{}", file.display(), number + 1);
                cli::complain(format_args!("{place}: passed over, for it is no record: {error}"));
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
}

/// The grants in a record's `grant`, which is TOML of this host's own making.
fn grants_in(text: &str, tenant: &str) -> Option<Grants> {
    let document: toml::Table = toml::from_str(text).ok()?;
    document.get("tenants")?.get(tenant)?.get("grants")?.clone().try_into().ok()
}
