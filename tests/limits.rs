//! The limits of an invocation: each ends it with its error line, and the connection goes on.
//!
//! `Client::reply` sends a request for `echo` behind every other request, so each test here shows both.

use std::time::{Duration, Instant};

use crate::support::{Client, Host, HostBuilder, components, eventually, machine};

fn with(fixture: &str) -> HostBuilder {
    HostBuilder::new().fixture(fixture)
}

#[track_caller]
fn fails(host: &Host, request: &str, code: &str) {
    let mut client = host.connect();
    // Twice, because the first one must leave nothing behind for the second.
    client.reply(request).fails_with(code);
    client.reply(request).fails_with(code);
    client.reply("echo goes on").is(["goes on"]);
}

#[test]
fn cpu() {
    let host = with("spin").limit("cpu = \"100ms\"").start();
    fails(&host, "spin", "cpu");
}

#[test]
fn a_guest_that_computes_leaves_its_event_loop() {
    let host = HostBuilder::new().fixture("spin").limit("cpu = \"3s\"").start();
    let mut client = host.connect();
    client.send("spin\n");
    client.expect_error("cpu");
    let [loops, workers] = ["loop-", "tokio-rt-worker"].map(|name| machine::cpu_ticks_of(host.pid(), name));
    assert!(workers > 10 * loops, "{workers} ticks of the workers, {loops} of the loops");
}

#[test]
fn a_line_behind_one_that_was_cut_has_its_own_time() {
    let timeout = Duration::from_millis(30);
    let host = with("spin").limit("timeout = \"30ms\"").limit("cpu-share = 0.001").start();
    let mut client = host.connect();
    // What this computes is worth half a second or more, in which the tenant's lines stand still.
    client.send("spin\n");
    client.expect_error("timeout");
    let began = Instant::now();
    client.send("spin\nspin\n");
    client.expect_error("timeout");
    client.expect_error("timeout");
    assert!(began.elapsed() >= 2 * timeout, "{:?}", began.elapsed());
}

#[test]
fn cpu_is_not_spent_by_sleeping() {
    let host = with("sleeper").limit("cpu = \"100ms\"").start();
    host.connect().reply("sleeper 500").is(["slept"]);
}

#[test]
fn wall_clock() {
    let host = with("sleeper").limit("timeout = \"300ms\"").start();
    fails(&host, "sleeper 600000", "timeout");
    host.connect().reply("sleeper 10").is(["slept"]);
}

#[test]
fn wall_clock_of_a_child() {
    let builder = with("spawn").limit("timeout = \"300ms\"").may_run("/bin/sleep", "[\"6543\"]");
    let host = builder.start();
    fails(&host, "spawn /bin/sleep 6543", "timeout");
}

#[test]
fn wall_clock_of_a_hash() {
    let builder = with("hash").limit("timeout = \"300ms\"").limit("digest-size = \"2TiB\"");
    let files = builder.files();
    let endless = machine::sparse_file(files.join("endless"), 1 << 40);
    let host = builder.may_hash(files).start();
    fails(&host, &format!("hash sha1 {}", endless.display()), "timeout");
    eventually("the hash job has stopped", || machine::times_open(host.pid(), &endless) == 0);
}

#[test]
fn wall_clock_of_a_wait_for_the_client() {
    let host = with("readback").limit("timeout = \"300ms\"").start();
    let mut client = host.connect();
    client.send("readback\n");
    client.expect_error("timeout");
    client.reply("echo goes on").is(["goes on"]);
}

#[test]
fn memory() {
    let host = with("hog").limit("memory = \"32MiB\"").start();
    fails(&host, "hog 100", "memory");
    host.connect().reply("hog 16").is(["ok"]);
}

#[test]
fn output() {
    let host = with("chatter").limit("output = \"64KiB\"").start();
    let mut client = host.connect();
    let reply = client.reply("chatter");
    let printed: usize = reply.fails_with("output-limit").iter().map(|line| line.len() + 1).sum();
    assert!((1..=65_537).contains(&printed), "{printed} bytes came before the error line");
    fails(&host, "chatter", "output-limit");
}

#[test]
fn output_up_to_the_limit_is_fine() {
    // `line 1` to `line 9` are 7 bytes each.
    let host = with("flood").limit("output = \"63B\"").start();
    let mut client = host.connect();
    assert_eq!(client.reply("flood 9").lines.len(), 9);
    client.reply("flood 10").fails_with("output-limit");
}

#[test]
fn an_error_line_begins_on_a_line_of_its_own() {
    let host = with("flood").limit("output = \"10B\"").start();
    let mut client = host.connect();
    client.send("flood 2\n");
    client.expect("line 1\nlin\n");
    client.expect_error("output-limit");
}

#[test]
fn a_trap() {
    let host = with("panic").start();
    fails(&host, "panic at the guest", "trap");
}

#[test]
fn endless_recursion() {
    let host = with("recurse").start();
    fails(&host, "recurse", "trap");
}

#[test]
fn a_failure_of_its_own() {
    let host = with("fail").start();
    let mut client = host.connect();
    client.reply("fail 'no such thing'").is(["error: failed: no such thing"]);
}

#[test]
fn only_the_first_line_of_a_failures_text_is_shown() {
    let host = HostBuilder::new().guest("failing", components::failing("first\nsecond")).start();
    host.connect().reply("failing").is(["error: failed: first"]);
}

#[test]
fn an_error_line_after_an_unfinished_line() {
    let host = with("mumble").start();
    host.connect().reply("mumble half a line").is(["half a line", "error: failed: mumbled"]);
}

#[test]
fn an_exit_status() {
    let builder = HostBuilder::new().guest("good", components::preview1("bye", 0));
    let host = builder.guest("bad", components::preview1("bye", 42)).start();
    let mut client = host.connect();
    client.reply("good").is(["bye"]);
    let reply = client.reply("bad");
    assert_eq!(reply.fails_with("exit"), ["bye"]);
    assert_eq!(reply.lines[1], "error: exit: status 42");
}

#[test]
fn handles_and_host_objects() {
    let host = with("pollables").limit("handles = 100").start();
    fails(&host, "pollables 1000", "memory");
    host.connect().reply("pollables 50").is(["50"]);
}

#[test]
fn host_call_memory() {
    let host = with("biglog").start();
    let mut client = host.connect();
    client.reply("biglog 16").fails_with("memory");
    client.reply("echo goes on").is(["goes on"]);
}

/// A connection whose command holds its turn until it is told to stop.
fn holding(host: &Host, listener: usize) -> Client {
    let mut client = Client::connect(host.addresses()[listener]);
    client.send("readback\nheld\n");
    client.expect("got: held\n");
    client
}

#[test]
fn concurrency_and_its_queue() {
    let host = with("readback").limit("concurrency = 1").limit("queue = 1").start();
    let mut holder = holding(&host, 0);
    let (mut one, mut two) = (host.connect(), host.connect());
    one.send("echo served\n");
    two.send("echo served\n");
    eventually("one of the two is refused", || !one.is_silent() || !two.is_silent());
    let (mut refused, mut waiting) = if one.is_silent() { (two, one) } else { (one, two) };
    refused.expect_error("overloaded");
    assert!(waiting.is_silent(), "both were answered while the only turn was taken");

    holder.send(".\necho over\n");
    holder.expect("done\nover\n");
    waiting.expect("served\n");
    refused.reply("echo again").is(["again"]);
}

/// Two tenants may have four lines together, and what one may have follows when a reload gives the other more.
#[test]
fn places_follow_what_others_may_have() {
    let builder = with("readback").server("max-invocations = 4").limit("concurrency = 3");
    let more = "[tenants.other]\ncommands = [\"commands\"]\n[tenants.other.limits]\nconcurrency = 1";
    let host = builder.listener("default").listener("other").more(more).start();
    let mut held: Vec<Client> = (0..3).map(|_| holding(&host, 0)).collect();
    // Now they may have seven, of which there is half for each.
    host.edit_config("concurrency = 1", "concurrency = 4");
    host.reload();
    let mut done = held.pop().expect("three are held");
    done.send(".\n");
    done.expect("done\n");
    let mut third = host.connect();
    third.send("readback\nheld\n");
    host.wait_for_log(&["line received", &third.address().to_string()]);
    let others = [holding(&host, 1), holding(&host, 1)];
    assert!(third.is_silent(), "it has a place that is another tenant's");
    // And back.
    host.edit_config("concurrency = 4", "concurrency = 1");
    host.reload();
    let [one, two] = others;
    one.vanish();
    third.expect("got: held\n");
    // Of the other tenant's places there is one, and it is taken.
    let mut waiting = Client::connect(host.addresses()[1]);
    waiting.send("echo served\n");
    host.wait_for_log(&["line received", &waiting.address().to_string()]);
    held.pop().expect("two are held").vanish();
    holding(&host, 0);
    assert!(waiting.is_silent(), "it has a place more than its tenant");
    two.vanish();
    waiting.expect("served\n");
}

#[test]
fn a_busy_tenant_leaves_another_prompt() {
    let builder = with("readback").limit("concurrency = 1").limit("queue = 0").listener("default").listener("other");
    let host = builder.more("[tenants.other]\ncommands = [\"commands\"]").start();
    let _holder = holding(&host, 0);
    let mut busy = Client::connect(host.addresses()[0]);
    busy.send("echo x\n");
    busy.expect_error("overloaded");
    Client::connect(host.addresses()[1]).reply("echo prompt").is(["prompt"]);
}

#[test]
fn spinning_guests_leave_another_tenant_prompt() {
    let builder = with("spin").limit("cpu = \"10m\"").limit("timeout = \"10m\"").listener("default").listener("other");
    let host = builder.more("[tenants.other]\ncommands = [\"commands\"]").start();
    let mut spinning: Vec<Client> = (0..16).map(|_| host.connect()).collect();
    for client in &mut spinning {
        client.send("spin\n");
        host.wait_for_log(&["line received", &client.address().to_string()]);
    }
    let mut other = Client::connect(host.addresses()[1]);
    for number in 0..20 {
        other.reply(format!("echo {number}")).is([number.to_string().as_str()]);
    }
    assert!(spinning.iter_mut().all(Client::is_silent), "a spinning guest ended");
    spinning.into_iter().for_each(Client::vanish);
}
