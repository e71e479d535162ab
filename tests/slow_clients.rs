//! Clients that do not read: held back by backpressure, cut by the write deadline, at no cost in memory.

use crate::support::{Client, Host, HostBuilder, machine};

/// What the host may grow by while a client does not read.
const GROWTH_KIB: u64 = 32 * 1024;

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
    let builder = HostBuilder::new().fixture("spawn").limit("output = \"64MiB\"");
    let host = builder.may_run("/usr/bin/seq", "[\"1000000\"]").start();
    let mut client = host.connect();
    client.send("spawn /usr/bin/seq 1000000\n");
    // Another client's conversation passes before the first byte is read.
    let mut other = host.connect();
    for number in 0..100 {
        other.reply(format!("echo {number}")).is([number.to_string().as_str()]);
    }
    let numbers: String = (1..=1_000_000).map(|number| format!("{number}\n")).collect();
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
