//! The audit file: a record for every invocation and every denial, whole, in order, and nothing that a client could forge.

mod drains;
mod file;
mod full_disk;
mod records;
mod refusals;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{HostBuilder, eventually, quoted};

/// A host with an audit file in a directory of its own, and these further settings of it.
fn audited(builder: HostBuilder, settings: &str) -> (HostBuilder, PathBuf) {
    let directory = builder.files().with_file_name("audit");
    fs::create_dir(&directory).expect("a directory");
    let file = directory.join("audit.jsonl");
    let builder = builder.more(&format!("[audit]\nfile = {}\n{settings}\n", quoted(&file)));
    (builder, file)
}

/// The records in a file. One may just be being written at its end: a write that goes over the end of a page is seen in parts.
pub fn records_in(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let (written, _) = text.rsplit_once('\n').unwrap_or_default();
    let whole =
        written.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    whole.collect()
}

/// Waits until there are so many records, and returns them.
#[track_caller]
fn records(file: &Path, count: usize) -> Vec<Value> {
    eventually(&format!("{count} records"), || records_in(file).len() >= count);
    let records = records_in(file);
    assert_eq!(records.len(), count, "{records:#?}");
    records
}

/// A record without what differs from run to run, once that has been looked at.
#[track_caller]
fn steady(record: &Value) -> Value {
    let mut record = record.clone();
    let fields = record.as_object_mut().expect("an object");
    let time = fields.remove("time").expect("a time");
    assert!(humantime::parse_rfc3339(time.as_str().expect("text")).is_ok(), "{time}");
    for (name, least) in [("cpu-seconds", 0.0), ("wall-seconds", 0.0), ("peak-memory", 1.0)] {
        if let Some(value) = fields.remove(name) {
            assert!(value.as_f64().is_some_and(|value| value >= least), "{name}: {value}");
        }
    }
    record
}

/// How many lines did not begin, by the records with this outcome.
fn refused(file: &Path, outcome: &str) -> u64 {
    let records = records_in(file);
    let refused = records.iter().filter(|record| record["event"] == "line-refused" && record["outcome"] == outcome);
    refused.filter_map(|record| record["times"].as_u64()).sum()
}
