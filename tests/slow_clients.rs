//! Clients that do not read: held back by backpressure, cut by the write deadline, at no cost in memory.

use crate::support::{Client, Host, HostBuilder, eventually, eventually_some, machine};

/// What the host may grow by while a client does not read.
const GROWTH_KIB: u64 = 32 * 1024;

/// Bytes that a child may write before its client has read any: what pipe, host and kernel take are some 64 KiB each.
const AHEAD: u64 = 512 * 1024;

/// So many numbers are more than a MiB.
const MANY: u32 = 200_000;

/// A host whose `spawn` can print without end. The word printed marks the child among all processes.
fn endless(write_timeout: &str) -> (Host, String) {
    let builder = HostBuilder::new()
        .fixture("spawn")
        .server(&format!("write-timeout = {write_timeout:?}"))
        .limit("timeout = \"10m\"")
        .limit("output = \"1TiB\"");
    let marker = format!("yes-{}", builder.files().display());
    let host = builder.may_run("/usr/bin/yes", &format!("[{marker:?}]")).start();
    (host, marker)
}

#[test]
fn a_client_that_never_reads_is_cut_and_costs_no_memory() {
    let (host, marker) = endless("1s");
    host.connect().reply("echo warm").is(["warm"]);
    machine::reset_peak_memory(host.pid());
    let before = machine::memory_kib(host.pid(), "VmRSS");

    let mut client = Client::with_small_window(host.address());
    let address = client.address().to_string();
    client.send(format!("spawn /usr/bin/yes {marker}\n"));
    host.wait_for_log(&["connection lost", &address]);
    host.wait_until_gone(&marker);

    let peak = machine::memory_kib(host.pid(), "VmHWM");
    assert!(peak < before + GROWTH_KIB, "the host grew from {before} KiB to {peak} KiB");
    client.wait_until_cut();
}

#[test]
fn pipelined_lines_of_a_client_that_never_reads_cost_no_memory() {
    let host = HostBuilder::new().server("write-timeout = \"1s\"").start();
    host.connect().reply("echo warm").is(["warm"]);
    machine::reset_peak_memory(host.pid());
    let before = machine::memory_kib(host.pid(), "VmRSS");

    let client = Client::with_small_window(host.address());
    let address = client.address().to_string();
    let line = format!("echo {}\n", "x".repeat(10_000));
    let sending = client.send_aside(line.repeat(6_000).into_bytes());
    host.wait_for_log(&["connection lost", &address]);
    assert!(sending.join().expect("no panic").is_err(), "the host took 60 MB of lines from a client that never reads");

    let peak = machine::memory_kib(host.pid(), "VmHWM");
    assert!(peak < before + GROWTH_KIB, "the host grew from {before} KiB to {peak} KiB");
}

#[test]
fn a_late_reader_holds_the_child_back_and_still_gets_every_byte() {
    let numbers: String = (1..=MANY).map(|number| format!("{number}\n")).collect();
    let builder = HostBuilder::new().fixture("spawn").server("write-timeout = \"10m\"").limit("timeout = \"10m\"");
    let host = builder.limit("output = \"64MiB\"").may_run("/usr/bin/seq", &format!("[\"{MANY}\"]")).start();
    let mut client = Client::with_small_window(host.address());
    client.send(format!("spawn /usr/bin/seq {MANY}\n"));
    let child = || machine::children_with(host.pid(), "/usr/bin/seq").first().copied();
    let child = eventually_some("the child runs", child);
    // It is held back once it writes nothing more, though the host runs: another client's conversation passes between two
    // looks, and all that before the first byte is read.
    let mut other = host.connect();
    let mut before = None;
    eventually("the child is held back", || {
        let written = machine::bytes_written(child).expect("the child is there");
        for number in 0..100 {
            other.reply(format!("echo {number}")).is([number.to_string().as_str()]);
        }
        written > 0 && before.replace(written) == Some(written)
    });
    let written = before.expect("it was looked at");
    assert!(written < AHEAD, "of a client that has read nothing the child has written {written} bytes");
    assert_eq!(machine::children_with(host.pid(), "/usr/bin/seq"), [child]);
    client.expect(numbers + "status: exited 0\n");
}

#[test]
fn others_are_served_while_a_client_does_not_read() {
    let (host, marker) = endless("10m");
    let mut stuck = Client::with_small_window(host.address());
    stuck.send(format!("spawn /usr/bin/yes {marker}\n"));
    stuck.expect(format!("{marker}\n"));
    let mut other = host.connect();
    for number in 0..100 {
        other.reply(format!("echo {number}")).is([number.to_string().as_str()]);
    }
    stuck.vanish();
    host.wait_until_gone(&marker);
}
