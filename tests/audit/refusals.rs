//! Lines that do not begin: they are counted, and records tell how many they were.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{audited, records_in, refused, steady};
use crate::support::{HostBuilder, eventually};

#[test]
fn lines_that_do_not_begin_are_counted() {
    let (builder, audit) = audited(HostBuilder::new().limit("lines-per-second = 5"), "");
    let host = builder.start();
    let began = Instant::now();
    let mut client = host.connect();
    client.send("echo x\n".repeat(500));
    let served = (0..500).filter(|_| client.line() == "x").count();
    assert!(served < 500);
    let too_many = 500 - served as u64;
    eventually("all of them are told", || refused(&audit, "overloaded") == too_many);
    let records = records_in(&audit);
    let told: Vec<&Value> = records.iter().filter(|record| record["event"] == "line-refused").collect();
    assert!(told.len() as u64 <= began.elapsed().as_secs() + 1, "more than one in a second: {told:#?}");
    assert_eq!(records.len(), served + told.len());
    let mut first = steady(told[0]);
    first.as_object_mut().expect("an object").remove("times");
    assert_eq!(
        first,
        json!({
            "event": "line-refused", "tenant": "default", "identity": "listener",
            "listener": host.address().to_string(), "source": client.address().to_string(), "command": "echo",
            "outcome": "overloaded",
        })
    );
}

#[test]
fn commands_that_there_are_not_are_counted_and_a_drain_tells_of_the_last() {
    let (builder, audit) = audited(HostBuilder::new(), "");
    let mut host = builder.start();
    let mut clients = [host.connect(), host.connect()];
    for client in &mut clients {
        client.send("unheard-of\n".repeat(100));
        client.expect("Command not found.\n".repeat(100));
    }
    // Sooner or later than it would have been written anyway.
    host.signal(Signal::TERM);
    assert!(host.wait_for_exit().success());
    assert_eq!(refused(&audit, "not-found"), 200);
    let records = records_in(&audit);
    assert!(records.iter().all(|record| record["command"] == "unheard-of"), "{records:#?}");
    for client in &clients {
        assert!(records.iter().any(|record| record["source"] == client.address().to_string()), "{records:#?}");
    }
}

#[test]
fn lines_that_are_none_count_as_lines_and_are_counted() {
    let (builder, audit) = audited(HostBuilder::new().limit("lines-per-second = 5"), "");
    let host = builder.start();
    let mut client = host.connect();
    for bad in [&b"echo 'never closed\n"[..], b"\xff\xfe\n"] {
        client.send(bad.repeat(100));
    }
    let replies: Vec<String> = (0..200).map(|_| client.line()).collect();
    let of = |code: &str| replies.iter().filter(|line| line.starts_with(&format!("error: {code}: "))).count() as u64;
    assert!(of("overloaded") > 0 && of("failed") > 0, "{replies:?}");
    for outcome in ["failed", "bad-encoding", "overloaded"] {
        eventually("all of them are told", || refused(&audit, outcome) == of(outcome));
    }
    assert!(records_in(&audit).iter().any(|record| record["outcome"] == "failed" && record["command"] == "echo"));
}

/// Who has nothing to show must not push out of the file what others have left.
#[test]
fn clients_that_are_not_let_in_are_counted_where_they_are_many() {
    const CLIENTS: u64 = 60;
    let builder = HostBuilder::new().listener_with("address = \"127.0.0.1:0\"\nauth = \"token\"");
    let token = format!("tokens = [{{ name = \"a\", sha256 = \"{}\" }}]", "0".repeat(64));
    let (builder, audit) = audited(builder.tenant(&token), "");
    let host = builder.start();
    let began = Instant::now();
    for _ in 0..CLIENTS {
        let mut client = host.connect();
        client.send("auth wrong\n");
        client.expect_error("denied");
    }
    let times = |record: &Value| record.get("times").map_or(1, |times| times.as_u64().expect("a number"));
    eventually("all of them are told", || records_in(&audit).iter().map(times).sum::<u64>() == CLIENTS);
    let records = records_in(&audit);
    assert!(
        records.iter().all(|record| record["event"] == "refused" && record["listener"].is_string()),
        "{records:#?}"
    );
    assert!(records.len() as u64 <= 9 * (began.elapsed().as_secs() + 1), "{} records", records.len());
}
