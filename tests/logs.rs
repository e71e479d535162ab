//! The log on standard error: what is told, in both formats, and that no client can forge a line of it.

use serde_json::Value;

use crate::support::{Host, HostBuilder, pipe_into};

const CODES: [&str; 4] = ["ok", "cpu", "failed", "trap"];

/// Drives one client through the outcomes in `CODES` and returns its address.
fn some_life(host: &Host) -> String {
    let mut client = host.connect();
    let address = client.address().to_string();
    client.reply("echo remarkable").is(["remarkable"]);
    client.reply("spin").fails_with("cpu");
    client.reply("fail x").fails_with("failed");
    client.reply("panic").fails_with("trap");
    client.finish_sending();
    client.expect_end();
    host.wait_for_log(&["connection lost", &address]);
    address
}

fn builder() -> HostBuilder {
    HostBuilder::new().fixture("spin").fixture("fail").fixture("panic").limit("cpu = \"50ms\"")
}

#[test]
fn a_person_can_read_it() {
    let host = builder().start();
    let address = some_life(&host);
    host.wait_for_log(&["INFO", "connection made", &address]);
    host.wait_for_log(&["INFO", "line received", &address, "echo remarkable"]);
    for (command, outcome) in ["echo", "spin", "fail", "panic"].iter().zip(CODES) {
        let texts =
            [&format!("command={command}")[..], &format!("outcome={outcome}"), "tenant=default", "bytes=", "duration"];
        let line = host.wait_for_log(&texts);
        assert!(line.contains("command finished") && line.contains(&address), "{line}");
    }
}

#[test]
fn a_machine_can_read_it() {
    let host = builder().arg("--log-format").arg("json").start();
    let address = some_life(&host);
    let records: Vec<Value> = host
        .log()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}")))
        .collect();
    let of = |message: &str| -> Vec<&Value> {
        let ours = records.iter().map(|record| &record["fields"]);
        ours.filter(|fields| fields["message"] == message && fields["peer"] == address.as_str()).collect()
    };
    assert_eq!(of("connection made").len(), 1);
    assert_eq!(of("connection lost").len(), 1);
    let received = of("line received");
    assert!(received.iter().any(|fields| fields.to_string().contains("echo remarkable")), "{received:#?}");
    let finished = of("command finished");
    for (command, outcome) in ["echo", "spin", "fail", "panic"].iter().zip(CODES) {
        let fields = finished.iter().find(|fields| fields["command"] == *command);
        let fields = fields.unwrap_or_else(|| panic!("no record of {command}: {finished:#?}"));
        assert_eq!(fields["outcome"], outcome, "{fields}");
        assert_eq!(fields["tenant"], "default", "{fields}");
        assert!(fields["bytes"].is_u64(), "{fields}");
        let keys: Vec<&String> = fields.as_object().expect("an object").keys().collect();
        assert!(keys.iter().any(|key| key.starts_with("duration")), "{keys:?}");
    }
}

#[test]
fn the_environment_chooses_the_format() {
    let host = HostBuilder::new().env("WASMLINE_LOG_FORMAT", "json").start();
    host.connect().reply("echo x").is(["x"]);
    let log = host.log();
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{log}");
}

#[test]
fn an_unknown_format_is_bad_usage() {
    let (_dir, mut command) = HostBuilder::new().arg("--log-format").arg("xml").into_command();
    pipe_into(&mut command, "").exited(2).says(&["xml", "json"]);
}

#[test]
fn a_client_cannot_forge_a_line_nor_drive_a_terminal() {
    let host = HostBuilder::new().start();
    let mut client = host.connect();
    client.send("echo begin\rINFO forged\x1b[2J\u{9b}2J end\n");
    client.line();
    let line = host.wait_for_log(&["line received", "begin"]);
    assert!(line.contains("end"), "the record was broken in two: {line}");
    let log = host.log();
    assert!(!log.contains(['\r', '\x1b', '\u{9b}']), "control characters reached the log: {log:?}");
}

#[test]
fn a_denial_is_told_to_the_operator() {
    let host = HostBuilder::new().fixture("spawn").start();
    host.connect().reply("spawn /usr/bin/id").begins("denied: ");
    host.wait_for_log(&["denied", "/usr/bin/id"]);
}

#[test]
fn quieter_logs_are_a_matter_of_rust_log() {
    let host = HostBuilder::new().env("RUST_LOG", "error").start();
    host.connect().reply("echo x").is(["x"]);
    assert_eq!(host.log(), "");
}
