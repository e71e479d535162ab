//! A small line is tried as a plain call before it is run in full: nobody sees anything of a try that was in vain.

use crate::support::components::{self, MEMORY, REALLOC};
use crate::support::{Client, Host, HostBuilder, eventually};

/// More lines than are run before the next one is tried again, while the pauses between tries are short.
const TIMES: usize = 6;

/// How often a text is in the log, once all is there that has to do with the client.
fn logged(host: &Host, client: Client, text: &str) -> usize {
    drop(client);
    host.wait_for_log(&["connection lost"]);
    host.log().matches(text).count()
}

#[test]
fn a_line_that_comes_to_wait_writes_its_reply_once() {
    let host = HostBuilder::new().fixture("midway").start();
    let mut client = host.connect();
    for _ in 0..TIMES {
        client.send("echo before\nmidway read log read\none\ntwo\necho after\n");
        client.expect("before\nbegun read\ngot one\nbegun log\nbegun read\ngot two\ndone\nafter\n");
    }
    assert_eq!(logged(&host, client, "from midway"), TIMES);
}

#[test]
fn a_line_that_has_written_much_or_computed_for_long_writes_its_reply_once() {
    let host = HostBuilder::new().fixture("midway").start();
    let mut client = host.connect();
    let long = format!("begun long\n{}begun compute\ndone\nafter\n", "x".repeat(100_000));
    for _ in 0..TIMES {
        client.send("midway long compute\necho after\n");
        client.expect(&long);
    }
}

#[test]
fn a_line_that_ends_badly_says_so_once() {
    let host = HostBuilder::new().fixture("midway").start();
    let mut client = host.connect();
    for _ in 0..TIMES {
        client.reply("midway fail").is(["begun fail", "error: failed: as asked"]);
        client.send("midway trap\n");
        client.expect("begun trap\n");
        client.expect_error("trap");
    }
    client.send("midway close\n");
    client.expect("begun close\n");
    client.expect_error("failed");
    client.expect_end();
    assert_eq!(logged(&host, client, "panicked at"), TIMES);
}

#[test]
fn output_beyond_its_limit_ends_as_ever() {
    let host = HostBuilder::new().fixture("midway").limit("output = \"20B\"").start();
    let mut client = host.connect();
    for _ in 0..TIMES {
        client.send("midway fail log\n");
        client.expect("begun fail\n");
        client.expect_error("failed");
        client.send("midway log log\n");
        client.expect("begun log\nbegun log\n");
        client.expect_error("output-limit");
    }
}

/// A `run` that fails with the digit at 64.
const TELLS_DIGIT: &str = r#"(func (export "run") (param i32 i32) (result i32) i32.const 16)
    (data (i32.const 16) "\01\00\00\00\40\00\00\00\01\00\00\00")
    (data (i32.const 64) "0")"#;

/// Sends a line by itself, again and again, until an instance was made ahead of one. A busy machine may interrupt a try.
fn until_made_ahead(host: &Host, client: &mut Client, request: &str, reply: &str) {
    let name = request.trim_end();
    eventually(&format!("an instance of {name} is made ahead"), || {
        client.send(request);
        client.expect(reply);
        is_made_ahead(host, name)
    });
}

fn is_made_ahead(host: &Host, name: &str) -> bool {
    let name = format!("command={name}");
    host.log().lines().any(|line| line.contains("made ahead of its line") && line.ends_with(&name))
}

#[test]
fn an_instance_is_made_before_its_line_where_that_runs_no_code() {
    let count = "(func $count (i32.store8 (i32.const 64) (i32.add (i32.load8_u (i32.const 64)) (i32.const 1))))";
    let module = |more: &[&str]| components::command(&[&[MEMORY, REALLOC, TELLS_DIGIT], more].concat());
    let host = HostBuilder::new()
        .guest("begins", module(&[count, "(start $count)"]))
        .guest("wide", module(&["(table 40000 funcref)"]))
        .guest("inert", module(&[count]))
        .env("RUST_LOG", "debug")
        .start();
    let mut client = host.connect();
    for (request, reply) in [("begins\n", "error: failed: 1\n"), ("wide\n", "error: failed: 0\n")] {
        for _ in 0..20 {
            client.send(request);
            client.expect(reply);
        }
    }
    until_made_ahead(&host, &mut client, "inert\n", "error: failed: 0\n");
    assert!(!is_made_ahead(&host, "begins"), "its start function would run");
    assert!(!is_made_ahead(&host, "wide"), "its table is large");
}

#[test]
fn an_instance_that_was_made_ahead_takes_no_place_of_a_line() {
    let host = HostBuilder::new()
        .fixture("words")
        .server("max-invocations = 1")
        .server("kept-instances = 1")
        .limit("concurrency = 1")
        .env("RUST_LOG", "debug")
        .start();
    let mut clients = [host.connect(), host.connect(), host.connect()];
    until_made_ahead(&host, &mut clients[0], "words\n", "");
    for _ in 0..TIMES {
        for client in &mut clients {
            client.reply("words a").is(["[a]"]);
        }
    }
}
