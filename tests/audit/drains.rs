//! A host that ends: every line that began has its record.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;

use rustix::process::Signal;
use serde_json::json;

use super::{audited, records_in};
use crate::support::{Follower, Host, HostBuilder, PATIENCE, eventually};

/// A client that sends lines as fast as they are taken, and counts the replies that it reads until the host ends the
/// connection. Returns the address that the host sees it at too.
fn hammer(host: &Host) -> thread::JoinHandle<(String, usize)> {
    let stream = TcpStream::connect(host.address()).expect("the host accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let source = stream.local_addr().expect("an address").to_string();
    let mut sending = stream.try_clone().expect("a second handle");
    // It ends when the host does.
    thread::spawn(move || while sending.write_all(b"echo x\necho y\n").is_ok() {});
    thread::spawn(move || {
        let replies = BufReader::new(stream).lines().map_while(Result::ok).filter(|line| line == "x" || line == "y");
        (source, replies.count())
    })
}

#[test]
fn a_drain_under_load_leaves_a_record_for_every_reply() {
    let (builder, audit) =
        audited(HostBuilder::new().limit("concurrency = 8").limit("queue = 1000"), "max-size = \"1GiB\"");
    let mut host = builder.start();
    let clients: Vec<_> = (0..8).map(|_| hammer(&host)).collect();
    eventually("a thousand lines have run", || fs::metadata(&audit).is_ok_and(|file| file.len() > 300_000));
    host.signal(Signal::TERM);
    assert!(host.wait_for_exit().success());
    let mut recorded: BTreeMap<String, usize> = BTreeMap::new();
    let mut numbers = BTreeSet::new();
    for record in records_in(&audit) {
        *recorded.entry(record["source"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        assert!(numbers.insert(record["invocation"].as_u64()), "twice: {record}");
    }
    let mut total = 0;
    for client in clients {
        let (source, replies) = client.join().expect("the client has counted");
        let recorded = recorded.get(&source).copied().unwrap_or_default();
        assert!(recorded >= replies, "{source}: {replies} replies, {recorded} records");
        total += replies;
    }
    assert!(total > 1000, "{total}");
}

#[test]
fn what_a_drain_cuts_off_is_recorded() {
    let builder = HostBuilder::new().fixture("spawn").server("drain-timeout = \"100ms\"").limit("timeout = \"10m\"");
    let (builder, follower) = Follower::granted(builder);
    let (builder, audit) = audited(builder, "");
    let mut host = builder.start();
    let mut client = host.connect();
    client.send(follower.request("spawn") + "\n");
    client.expect("first\n");
    host.signal(Signal::TERM);
    assert!(host.wait_for_exit().success());
    let records = records_in(&audit);
    assert_eq!(records.len(), 1, "{records:#?}");
    assert_eq!((&records[0]["outcome"], &records[0]["bytes"]), (&json!("cancelled"), &json!(6)));
    assert_eq!(records[0]["grants"][0]["program"], "/usr/bin/tail");
}
