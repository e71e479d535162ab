//! A disk that takes nothing: lines go on without records or wait for it, as the operator says.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use super::{audited, records_in, refused};
use crate::support::{Client, Host, HostBuilder, eventually};

/// A host whose audit file is on a small file system of its own, which is full once `filler` is written there.
struct Full {
    host: Host,
    audit: PathBuf,
    filler: PathBuf,
}

fn on_a_small_disk(settings: &str) -> Full {
    let (builder, audit) = audited(HostBuilder::new(), settings);
    let directory = audit.parent().expect("a directory").to_owned();
    let host = builder.tmpfs(directory.clone(), "64k").start();
    let (audit, filler) = (host.sees(&audit), host.sees(&directory.join("filler")));
    Full { host, audit, filler }
}

impl Full {
    fn fill(&self) {
        let mut filler = fs::File::create(&self.filler).expect("a file");
        while filler.write_all(&[0; 1024]).is_ok() {}
    }

    fn empty(&self) {
        // Truncated and not removed: a process that another test is just starting may have it open for a moment.
        fs::write(&self.filler, "").expect("it is there");
    }

    /// Makes room, ends the host, and returns what is in its file then.
    fn end_with_room(&mut self) -> String {
        // Its file system goes when the host does, but not what somebody has open.
        let mut audit = fs::File::open(&self.audit).expect("the file is there");
        self.empty();
        self.host.signal(Signal::TERM);
        assert!(self.host.wait_for_exit().success());
        let mut text = String::new();
        audit.read_to_string(&mut text).expect("it can still be read");
        text
    }

    /// The records by their arguments, and how many were lost.
    fn told(&self) -> (Vec<String>, u64) {
        let records = records_in(&self.audit);
        let lost =
            records.iter().filter(|record| record["event"] == "lost").filter_map(|record| record["records"].as_u64());
        let lines = records.iter().filter(|record| record["event"] == "invocation");
        (lines.map(|record| record["arguments"][0].as_str().unwrap_or_default().to_owned()).collect(), lost.sum())
    }
}

/// Sends `echo N` for each number and returns those that were answered; others were refused.
fn answered(client: &mut Client, numbers: std::ops::Range<usize>) -> Vec<String> {
    let answered = numbers.filter(|number| {
        client.send(format!("echo {number}\n"));
        let line = client.line();
        if line.starts_with("error: ") {
            assert!(line.starts_with("error: unavailable: "), "{line}");
        }
        line == number.to_string()
    });
    answered.map(|number| number.to_string()).collect()
}

#[test]
fn a_full_disk_is_told_and_lines_go_on_where_that_is_wanted() {
    let full = on_a_small_disk("on-failure = \"continue\"");
    let mut client = full.host.connect();
    assert_eq!(answered(&mut client, 0..10).len(), 10);
    eventually("they are recorded", || full.told().0.len() == 10);
    full.fill();
    // Beyond what is left of the last page.
    let many = 10..500;
    assert_eq!(answered(&mut client, many).len(), 490);
    full.host.wait_for_log(&["ERROR", "audit records cannot be written and are lost"]);
    full.empty();
    assert_eq!(answered(&mut client, 500..510).len(), 10);
    eventually("the last is recorded", || full.told().0.last().is_some_and(|last| last == "509"));
    full.host.wait_for_log(&["audit records are written again"]);
    let (recorded, lost) = full.told();
    assert!(lost > 0);
    assert_eq!(recorded.len() as u64 + lost, 510);
    assert!(fs::read_to_string(&full.audit).expect("it is there").ends_with('\n'), "the last is not whole");
}

#[test]
fn a_full_disk_stops_lines_where_that_is_wanted() {
    let full = on_a_small_disk("on-failure = \"refuse\"");
    let mut client = full.host.connect();
    full.fill();
    let mut answers = answered(&mut client, 0..500);
    assert!(answers.len() < 500);
    full.host.wait_for_log(&["ERROR", "audit records cannot be written; lines are refused"]);
    assert_eq!(answered(&mut client, 500..505), Vec::<String>::new());
    full.empty();
    let mut asked = 505;
    eventually("lines run again", || {
        asked += 1;
        let more = answered(&mut client, 505..506);
        answers.extend(more.iter().cloned());
        !more.is_empty()
    });
    full.host.wait_for_log(&["audit records are written again"]);
    eventually("everything is recorded", || full.told().0.len() == answers.len());
    // Nothing was lost, and what was refused has not run, but was counted.
    let refused_lines = asked - answers.len() as u64;
    eventually("what was refused is counted", || refused(&full.audit, "unavailable") == refused_lines);
    assert_eq!(full.told(), (answers, 0));
}

#[test]
fn a_host_that_ends_says_what_it_could_not_record() {
    let mut full = on_a_small_disk("on-failure = \"refuse\"");
    let mut client = full.host.connect();
    full.fill();
    assert!(answered(&mut client, 0..500).len() < 500);
    full.host.signal(Signal::TERM);
    assert!(full.host.wait_for_exit().success());
    full.host.wait_for_log(&["ERROR", "audit records could not be written"]);
}

#[test]
fn a_host_that_ends_tells_the_gap_where_there_is_room_again() {
    let mut full = on_a_small_disk("on-failure = \"continue\"");
    let mut client = full.host.connect();
    full.fill();
    assert_eq!(answered(&mut client, 0..500).len(), 500);
    full.host.wait_for_log(&["audit records cannot be written and are lost"]);
    let text = full.end_with_room();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a record"));
    let (gaps, lines): (Vec<_>, Vec<_>) = records.partition(|record| record["event"] == "lost");
    let lost: u64 = gaps.iter().filter_map(|gap| gap["records"].as_u64()).sum();
    assert_eq!(lines.len() as u64 + lost, 500);
}

#[test]
fn what_waits_to_be_written_is_written_before_the_host_ends() {
    let mut full = on_a_small_disk("on-failure = \"refuse\"");
    let mut client = full.host.connect();
    full.fill();
    let answers = answered(&mut client, 0..500);
    full.host.wait_for_log(&["audit records cannot be written"]);
    let text = full.end_with_room();
    assert_eq!(text.matches("\"outcome\":\"ok\"").count(), answers.len());
}
