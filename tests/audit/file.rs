//! The file: its settings, its size, and what becomes of it when somebody moves it aside.

use std::fs;

use rustix::process::Signal;

use super::{audited, records, records_in};
use crate::support::{HostBuilder, eventually, pipe_into, quoted};

#[test]
fn the_file_is_renamed_when_it_has_its_size() {
    let (builder, audit) = audited(HostBuilder::new(), "max-size = \"2KiB\"\nkeep = 2");
    let host = builder.start();
    let mut client = host.connect();
    for number in 0..30 {
        client.reply(format!("echo number-{number}"));
    }
    eventually("the last record is written", || {
        records_in(&audit).last().is_some_and(|record| record["invocation"] == 60)
    });
    let directory = audit.parent().expect("a directory");
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]);
    let mut numbers = Vec::new();
    for name in ["audit.jsonl.2", "audit.jsonl.1", "audit.jsonl"] {
        let path = directory.join(name);
        assert!(fs::metadata(&path).expect("it is there").len() <= 2048);
        numbers.extend(records_in(&path).iter().map(|record| record["invocation"].as_u64().unwrap_or_default()));
    }
    // Whole and in order, without a gap where one file ends and the next begins.
    let first = numbers[0];
    assert_eq!(numbers, (first..=60).collect::<Vec<_>>());
}

#[test]
fn a_file_that_was_moved_aside_is_begun_anew_at_a_hang_up() {
    let (builder, audit) = audited(HostBuilder::new(), "");
    let host = builder.start();
    host.connect().reply("echo one");
    records(&audit, 2);
    let aside = audit.with_extension("old");
    fs::rename(&audit, &aside).expect("it can be moved");
    host.signal(Signal::HUP);
    eventually("a new file is begun", || audit.exists());
    host.connect().reply("echo two");
    records(&audit, 2);
    records(&aside, 2);
    // It can become another file, or none.
    host.edit_config("audit.jsonl", "other.jsonl");
    host.signal(Signal::HUP);
    let other = audit.with_file_name("other.jsonl");
    eventually("the other file is begun", || other.exists());
    host.connect().reply("echo three");
    records(&other, 2);
    host.edit_config("other.jsonl", "missing/other.jsonl");
    host.signal(Signal::HUP);
    host.wait_for_log(&["not reloaded", "missing/other.jsonl", "cannot be opened"]);
    host.connect().reply("echo four");
    records(&other, 4);
    // A configuration that cannot be used does not keep a file that was moved aside.
    fs::rename(&other, &aside).expect("it can be moved");
    host.signal(Signal::HUP);
    eventually("the other file is begun anew", || other.exists());
    host.connect().reply("echo five");
    records(&other, 2);
}

/// What something is mounted on cannot be renamed.
#[test]
fn a_file_that_cannot_be_renamed_costs_no_old_one() {
    let (builder, audit) = audited(HostBuilder::new(), "max-size = \"2KiB\"\nkeep = 2");
    let old = [1, 2].map(|number| audit.with_extension(format!("jsonl.{number}")));
    for file in [&audit, &builder.files().join("mounted"), &old[0], &old[1]] {
        fs::write(file, format!("{}\n", file.display())).expect("it can be written");
    }
    let (mounted, on) = (builder.files().join("mounted").display().to_string(), audit.display());
    let mount = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
    let unshare = "exec unshare --user --map-root-user --mount /bin/sh -c";
    let host = builder.after(&format!("{unshare} '{mount}' '{mounted}' '{on}' \"$0\" \"$@\"")).start();
    let mut client = host.connect();
    for _ in 0..30 {
        client.reply("echo something");
    }
    host.wait_for_log(&["ERROR", "audit records cannot be written and are lost", "busy"]);
    for file in old {
        assert_eq!(fs::read_to_string(&file).expect("it is there"), format!("{}\n", file.display()));
    }
}

#[test]
fn a_file_that_was_deleted_is_begun_anew() {
    let (builder, audit) = audited(HostBuilder::new(), "");
    let host = builder.start();
    let mut client = host.connect();
    client.reply("echo one");
    records(&audit, 2);
    fs::remove_file(&audit).expect("it can be removed");
    client.reply("echo two");
    records(&audit, 2);
    host.wait_for_log(&["WARN", "somebody has deleted the audit file", "audit.jsonl"]);
}

#[test]
fn a_host_does_not_start_without_its_audit_file() {
    let builder = HostBuilder::new();
    let missing = builder.files().with_file_name("missing").join("audit.jsonl");
    let (_dir, mut command) = builder.more(&format!("[audit]\nfile = {}\n", quoted(&missing))).into_command();
    pipe_into(&mut command, "").exited(1).says(&[
        "audit.file",
        "missing/audit.jsonl",
        "cannot be opened: its directory is not there",
    ]);

    let (builder, audit) = audited(HostBuilder::new(), "");
    let _host = builder.start();
    let (_dir, mut command) = HostBuilder::new().more(&format!("[audit]\nfile = {}\n", quoted(&audit))).into_command();
    pipe_into(&mut command, "").exited(1).says(&["another process writes to it"]);
}

#[test]
fn mistakes_in_its_settings_are_located() {
    for (text, words) in [
        ("[audit]", "the key `file` is missing"),
        ("[audit]\nfile = \"a\"\nmaxsize = 1", "unknown key `maxsize` in [audit]; did you mean `max-size`?"),
        ("[audit]\nfile = \"a\"\narguments = \"none\"", "expected `full` or `hash`"),
        ("[audit]\nfile = \"a\"\non-failure = \"stop\"", "expected `continue` or `refuse`"),
        ("[audit]\nfile = \"a\"\nkeep = 5000", "5000 is out of range"),
        (
            "[audit]\nfile = \"/var/log/w/a\"\n[[tenants.default.grants.directory]]\npath = \"/var/log\"",
            "`/var/log/w/a` lies in `/var/log`, which tenants.default.grants.directory gives to commands",
        ),
        (
            "[audit]\nfile = \"/var/log/w/a\"\n[[tenants.default.grants.process]]\nprogram = \"/bin/cat\"\n\
             args = [{ path-under = [\"/var/log\"] }]",
            "which tenants.default.grants.process gives to commands",
        ),
    ] {
        let (_dir, mut command) = HostBuilder::new().more(text).into_command();
        pipe_into(&mut command, "").exited(1).says(&["wasmline.toml:", words]);
    }
}
