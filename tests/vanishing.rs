//! Clients that vanish: their command ends, their children die, their hash jobs stop, and the others go on.

use crate::support::{Client, Follower, Host, HostBuilder, eventually, machine};

const TIB: u64 = 1 << 40;

fn following() -> (Host, Follower) {
    let builder = HostBuilder::new().fixture("spawn").limit("timeout = \"10m\"");
    let (builder, follower) = Follower::granted(builder);
    (builder.start(), follower)
}

/// A client whose child runs.
#[track_caller]
fn with_child(host: &Host, follower: &Follower) -> Client {
    let mut client = host.connect();
    client.send(follower.request("spawn") + "\n");
    client.expect("first\n");
    client
}

#[test]
fn a_reset_kills_the_clients_child() {
    let (host, follower) = following();
    let client = with_child(&host, &follower);
    let address = client.address().to_string();
    assert_eq!(follower.processes().len(), 1);

    client.vanish();
    host.wait_until_gone(&follower.file);
    host.wait_for_log(&["connection lost", &address]);
    host.connect().reply("echo others go on").is(["others go on"]);
}

#[test]
fn a_failed_write_kills_the_clients_child() {
    let builder = HostBuilder::new().fixture("spawn").limit("timeout = \"10m\"").limit("output = \"1TiB\"");
    let marker = format!("yes-{}", builder.files().display());
    let host = builder.may_run("/usr/bin/yes", &format!("[{marker:?}]")).start();
    let mut client = host.connect();
    client.send(format!("spawn /usr/bin/yes {marker}\n"));
    client.expect(format!("{marker}\n"));
    // An ordinary close. The host learns of it by what it can no longer send.
    drop(client);
    host.wait_until_gone(&marker);
}

#[test]
fn a_reset_ends_a_child_that_ignores_requests_to_end() {
    let builder = HostBuilder::new().fixture("spawn").limit("timeout = \"10m\"");
    let file = builder.file("followed", "first\n");
    let script = format!("trap \"\" TERM HUP INT; tail -f {0} & tail -f {0}; wait", file.display());
    let host = builder.may_run_script(&script).start();
    let mut client = host.connect();
    client.send(format!("spawn /bin/sh -c '{script}'\n"));
    client.expect("first\nfirst\n");
    client.vanish();
    host.wait_until_gone(&file);
}

#[test]
fn a_reset_stops_the_clients_hash_job() {
    let builder = HostBuilder::new().command("comphash").limit("timeout = \"10m\"").limit("digest-size = \"2TiB\"");
    let files = builder.files();
    let endless = machine::sparse_file(files.join("endless"), TIB);
    let small = builder.file("small", "abc");
    let host = builder.may_hash(files).server("hash-jobs = 1").start();

    let mut client = host.connect();
    client.send(format!("comphash {}\n", endless.display()));
    eventually("the file is being hashed", || machine::times_open(host.pid(), &endless) == 1);
    client.vanish();
    eventually("the hash job has stopped", || machine::times_open(host.pid(), &endless) == 0);

    // The one job that the host runs at once is free again.
    let reply = host.connect().reply(format!("comphash {}", small.display()));
    reply.is(["File hash is : a9993e364706816aba3e25717850c26c9cd0d89d"]);
}

/// Runs the request on a tenant that may run one command at a time, and vanishes: the turn must come free.
#[track_caller]
fn frees_its_turn(fixture: &str, request: &str) {
    let builder = HostBuilder::new().fixture(fixture).limit("concurrency = 1").limit("queue = 1");
    let host = builder.limit("timeout = \"10m\"").limit("cpu = \"10m\"").start();
    let mut client = host.connect();
    client.send(format!("{request}\n"));
    let address = client.address().to_string();
    host.wait_for_log(&["line received", &address]);

    let mut waiting = host.connect();
    waiting.send("echo it has ended\n");
    host.wait_for_log(&["line received", &waiting.address().to_string()]);
    client.vanish();
    waiting.expect("it has ended\n");
    host.wait_for_log(&["connection lost", &address]);
}

#[test]
fn a_reset_ends_a_sleeping_command() {
    frees_its_turn("sleeper", "sleeper 600000");
}

#[test]
fn a_reset_ends_a_busy_command() {
    frees_its_turn("spin", "spin");
}

#[test]
fn a_reset_ends_a_command_that_waits_for_a_line() {
    frees_its_turn("readback", "readback");
}

#[test]
fn half_close_cancels_nothing() {
    let (host, follower) = following();
    let mut client = with_child(&host, &follower);
    client.finish_sending();
    host.connect().reply("echo time passes").is(["time passes"]);
    // What is appended now still arrives, so the child and the command go on.
    follower.append("second\n");
    client.expect("second\n");
    client.vanish();
    host.wait_until_gone(&follower.file);
}

#[test]
fn nothing_is_left_after_a_hundred_vanished_clients() {
    let (host, follower) = following();
    host.connect().reply("echo warm").is(["warm"]);
    let before = machine::open_descriptors(host.pid());
    for round in 0..100 {
        let mut client = host.connect();
        client.send(follower.request("spawn") + "\n");
        if round % 2 == 0 {
            client.expect("first\n");
        }
        client.vanish();
    }
    host.wait_until_gone(&follower.file);
    eventually("the host has as few descriptors open as before", || {
        machine::open_descriptors(host.pid()) <= before + 2
    });
}
