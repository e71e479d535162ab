//! What a tenant's lines use all together is bounded, and what one tenant does is no other's business.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::audit::records_in;
use crate::support::{Client, Follower, Host, HostBuilder, eventually, eventually_some, machine, pipe_into, quoted};

const OTHER: &str = "[tenants.other]\ncommands = [\"commands\"]";

/// A host whose two tenants have the same commands. The limits are the first one's.
fn two_tenants(builder: HostBuilder) -> Host {
    builder.listener("default").listener("other").more(OTHER).start()
}

fn other(host: &Host) -> Client {
    Client::connect(host.addresses()[1])
}

#[test]
fn lines_in_a_second_are_bounded() {
    let host = two_tenants(HostBuilder::new().limit("lines-per-second = 1"));
    let mut client = host.connect();
    client.send("echo x\n".repeat(50));
    let lines: Vec<String> = (0..50).map(|_| client.line()).collect();
    assert_eq!(lines[0], "x");
    let refused = lines.iter().filter(|line| line.starts_with("error: overloaded: too many lines in a second")).count();
    let served = lines.iter().filter(|line| *line == "x").count();
    assert!(refused > 0 && served + refused == 50, "{lines:?}");
    // It recovers, and nobody else has noticed.
    let mut other = other(&host);
    other.send("echo y\n".repeat(50));
    other.expect("y\n".repeat(50));
    eventually("it is served again", || client.is_served());
}

#[test]
fn memory_in_use_is_bounded_for_all_lines_together() {
    let builder = HostBuilder::new().fixture("hog").limit("memory = \"24MiB\"").limit("memory-in-use = \"32MiB\"");
    let host = two_tenants(builder);
    let mut holder = host.connect();
    holder.send("hog 16 hold\n");
    holder.expect("ok\n");
    let mut second = host.connect();
    assert!(second.reply("hog 20").fails_with("overloaded").is_empty());
    second.reply("hog 4").is(["ok"]);
    other(&host).reply("hog 20").is(["ok"]);
    holder.send("\n");
    eventually("what is given back can be had", || second.reply("hog 20").lines == ["ok"]);
    // A host that counted wrongly would run out in the end.
    for _ in 0..20 {
        second.reply("hog 20").is(["ok"]);
    }
}

/// What a reload gives one tenant of another's share it may not have before the other's lines have given it back.
#[test]
fn memory_counts_whose_tenant_is_gone() {
    let second =
        "[tenants.other]\ncommands = [\"commands\"]\n[tenants.other.limits]\nconcurrency = 2\nmemory = \"24MiB\"";
    let builder = HostBuilder::new().fixture("hog").limit("concurrency = 2").limit("memory = \"24MiB\"");
    let host = builder.server("memory = \"64MiB\"").listener("default").listener("other").more(second).start();
    let hold = |mut client: Client| {
        client.send("hog 20 hold\n");
        client.expect("ok\n");
        client
    };
    let mut gone = hold(other(&host));
    host.edit_config("[[listener]]\naddress = \"127.0.0.1:0\"\ntenant = \"other\"", "");
    host.edit_config(second, "");
    host.reload();
    // Its share is for two such lines now, of which there is room for one.
    let _held = hold(host.connect());
    let mut client = host.connect();
    assert!(client.reply("hog 20").fails_with("overloaded").is_empty());
    client.reply("hog 2").is(["ok"]);
    gone.send("\n");
    eventually("what is given back can be had", || client.reply("hog 20").lines == ["ok"]);
}

#[test]
fn cpu_time_of_children_counts() {
    let busy = "while :; do :; done";
    let builder = HostBuilder::new().fixture("spawn").limit("cpu = \"1s\"").may_run_script(busy);
    let host = builder.start();
    let mut client = host.connect();
    client.reply(format!("spawn /bin/sh -c '{busy}'")).fails_with("cpu");
    host.wait_until_gone(busy);
    client.reply("echo on").is(["on"]);
}

#[test]
fn a_reload_forgives_no_cpu_time() {
    let busy = "while :; do :; done";
    let builder = HostBuilder::new().fixture("spawn").limit("cpu = \"1s\"").limit("cpu-share = 0.01");
    let host = two_tenants(builder.limit("timeout = \"3s\"").may_run_script(busy));
    let mut client = host.connect();
    client.send(format!("spawn /bin/sh -c '{busy}'\n"));
    // By its budget, or on a busy machine by its timeout.
    let ended = client.line();
    assert!(ended.starts_with("error: "), "{ended}");
    host.wait_until_gone(busy);
    host.edit_config("cpu-share = 0.01", "cpu-share = 0.02");
    host.reload();
    // What it used takes the better part of a minute to come in, in which its lines stand still.
    client.send("echo on\n");
    client.expect_error("timeout");
    other(&host).reply("echo on").is(["on"]);
}

#[test]
fn cpu_time_of_hash_jobs_counts() {
    let builder = HostBuilder::new().fixture("hash").limit("cpu = \"200ms\"").limit("digest-size = \"2TiB\"");
    let file = machine::sparse_file(builder.files().join("sparse"), 1 << 40);
    let files = builder.files();
    let host = builder.may_hash(files).start();
    let mut client = host.connect();
    client.reply(format!("hash sha1 {}", file.display())).fails_with("cpu");
    eventually("the job has ended", || machine::times_open(host.pid(), &file) == 0);
}

/// Where the kernel does the work: a thousand steps to where one is.
fn long_path() -> String {
    "sub/../".repeat(500) + "."
}

/// A host whose first tenant finds a directory open, and keeps records.
fn with_files(builder: HostBuilder) -> (HostBuilder, PathBuf) {
    let builder = builder.fixture("wasi-files");
    let (data, audit) = (builder.files().join("data"), builder.files().with_file_name("audit.jsonl"));
    fs::create_dir_all(data.join("sub")).expect("directories");
    let grant = format!("[[tenants.default.grants.directory]]\npath = {}\nas = \"/d\"", quoted(&data));
    (builder.more(&grant).more(&format!("[audit]\nfile = {}", quoted(&audit))), audit)
}

#[test]
fn cpu_time_of_file_operations_counts() {
    let (builder, audit) = with_files(HostBuilder::new());
    let host = builder.limit("cpu = \"10m\"").limit("timeout = \"10m\"").start();
    let mut client = host.connect();
    // Until it is a matter of seconds, however fast the machine is.
    let mut times = 500;
    let (used, charged) = loop {
        let before = machine::cpu_ticks(host.pid());
        let line = format!("wasi-files resolve {} {times}", long_path());
        client.reply(&line).is(["done"]);
        let used = machine::cpu_ticks(host.pid()) - before;
        if used >= 200 {
            let word = times.to_string();
            let of_line = |record: &Value| record["arguments"][2] == word;
            let record = eventually_some("there is a record of it", || records_in(&audit).into_iter().find(of_line));
            break (f64::from(used) / 100.0, record["cpu-seconds"].as_f64().expect("seconds"));
        }
        times *= 4;
    };
    println!("{times} operations: the host used {used} s, the line was charged {charged} s");
    // By itself the program computes for a tenth of it.
    assert!(charged > used / 3.0, "of {used} seconds {charged} were charged");
}

#[test]
fn a_line_ends_whose_file_operations_used_up_its_time() {
    let (builder, _) = with_files(HostBuilder::new());
    let host = builder.limit("cpu = \"300ms\"").limit("timeout = \"10m\"").start();
    let mut client = host.connect();
    client.reply(format!("wasi-files resolve {} 1000000000", long_path())).fails_with("cpu");
    client.reply("echo on").is(["on"]);
}

#[test]
fn another_tenants_files_are_served_meanwhile() {
    let (builder, _) = with_files(HostBuilder::new().server("file-jobs = 2"));
    fs::write(builder.files().join("data/note"), "in data").expect("a file");
    let grant = format!(
        "[[tenants.other.grants.directory]]\npath = {}\nas = \"/d\"\n[tenants.other.limits]\nconcurrency = 4",
        quoted(&builder.files().join("data"))
    );
    let builder = builder.limit("cpu = \"10m\"").limit("timeout = \"10m\"").limit("concurrency = 32").more(&grant);
    let host = two_tenants(builder);
    let mut clients: Vec<Client> = (0..32).map(|_| host.connect()).collect();
    for client in &mut clients {
        client.send(format!("wasi-files resolve {} 1000000000\n", long_path()));
    }
    for client in &clients {
        host.wait_for_log(&["line received", &client.address().to_string()]);
    }
    for _ in 0..20 {
        other(&host).reply("wasi-files read /d/note").is(["in data"]);
    }
    assert!(clients.iter_mut().all(Client::is_silent), "one of them has ended");
    clients.into_iter().for_each(Client::vanish);
    eventually("the first tenant's files are served again", || {
        host.connect().reply("wasi-files read /d/note").lines == ["in data"]
    });
}

#[test]
fn a_share_of_the_processors_is_kept() {
    let builder = HostBuilder::new().fixture("spin").limit("cpu = \"300ms\"").limit("cpu-share = 0.1");
    let host = two_tenants(builder);
    let began = Instant::now();
    host.connect().send("spin\n");
    let mut client = host.connect();
    client.send("spin\n");
    client.expect_error("cpu");
    // Two lines of 300 ms at a tenth of a core, of which a second's worth is forgiven: some five seconds.
    assert!(began.elapsed() > Duration::from_secs(2), "it took {:?} only", began.elapsed());
    other(&host).reply("echo on").is(["on"]);
}

#[test]
fn one_line_has_so_many_children() {
    let builder = HostBuilder::new().fixture("brood").limit("children-per-line = 2").limit("children = 3");
    let host = builder.may_run("/bin/sleep", "[\"971\"]").start();
    let mut client = host.connect();
    // Again and again, for the places have to come back.
    for _ in 0..5 {
        client.reply("brood 3 /bin/sleep 971").is(["started", "started", "too many children"]);
    }
    host.wait_until_gone("/bin/sleep 971");
}

/// A client whose child runs, or was not to be had, with what it was told.
fn with_child(host: &Host, follower: &Follower, listener: usize) -> (Client, String) {
    let mut client = Client::connect(host.addresses()[listener]);
    client.send(follower.request("spawn") + "\n");
    let answer = client.line();
    (client, answer)
}

#[test]
fn children_of_all_tenants_together_are_bounded() {
    let builder = HostBuilder::new().fixture("spawn").server("max-children = 2");
    let (mut builder, follower) = Follower::granted(builder.listener("default"));
    for tenant in ["second", "third"] {
        let grant = follower.grant(tenant);
        let more = format!("[tenants.{tenant}]\ncommands = [\"commands\"]\n{grant}");
        builder = builder.listener(tenant).more(&more);
    }
    let host = builder.start();
    let child = |listener| with_child(&host, &follower, listener);
    let (first, told) = child(0);
    assert_eq!(told, "first");
    // One tenant does not get all that there are.
    assert_eq!(child(0).1, "too many children");
    let (second, told) = child(1);
    assert_eq!(told, "first");
    // Two is all, though this one has none.
    assert_eq!(child(2).1, "too many children");
    assert_eq!(follower.processes().len(), 2);
    first.vanish();
    let third = eventually_some("it can have one now", || Some(child(2)).filter(|(_, told)| told == "first"));
    second.vanish();
    third.0.vanish();
    host.wait_until_gone(&follower.file);
}

#[test]
fn how_many_children_there_may_be_changes_with_a_reload() {
    let builder = HostBuilder::new().fixture("spawn").server("max-children = 1");
    let (builder, follower) = Follower::granted(builder);
    let host = builder.start();
    let child = || with_child(&host, &follower, 0);
    let (first, told) = child();
    assert_eq!(told, "first");
    assert_eq!(child().1, "too many children");
    host.edit_config("max-children = 1", "max-children = 3");
    host.reload();
    let (second, third) = (child(), child());
    assert_eq!([&*second.1, &*third.1], ["first", "first"]);
    assert_eq!(child().1, "too many children");
    // Nobody loses a child that runs, and they count.
    host.edit_config("max-children = 3", "max-children = 1");
    host.reload();
    assert_eq!(follower.processes().len(), 3);
    second.0.vanish();
    third.0.vanish();
    eventually("two of them are gone", || machine::children(host.pid()).len() == 1);
    assert_eq!(child().1, "too many children");
    first.vanish();
    let last = eventually_some("there is a place again", || Some(child()).filter(|(_, told)| told == "first"));
    last.0.vanish();
    host.wait_until_gone(&follower.file);
}

#[test]
fn a_command_that_crashes_again_and_again_is_put_aside_for_its_tenant() {
    let host = two_tenants(HostBuilder::new().fixture("panic"));
    let mut client = host.connect();
    for _ in 0..8 {
        client.reply("panic now").fails_with("trap");
    }
    client.send("panic now\n");
    let text = client.expect_error("unavailable");
    assert!(text.contains("put aside for 1 s"), "{text}");
    host.wait_for_log(&["put aside", "command=panic", "tenant=default"]);
    client.reply("echo on").is(["on"]);
    // To another tenant it is a command like any other.
    other(&host).reply("panic now").fails_with("trap");
    eventually("it gets another chance", || {
        let line = &client.reply("panic now").lines[0];
        line.starts_with("error: trap: ")
    });
    client.send("panic now\n");
    let text = client.expect_error("unavailable");
    assert!(text.contains("put aside for 2 s"), "{text}");
}

fn with_ps(builder: HostBuilder) -> HostBuilder {
    builder.command("ps").command("kill").fixture("sleeper").fixture("spin")
}

const MAY_SEE_AND_STOP: &str = "[tenants.default.grants.tasks]\nlist = true\nstop = true";

/// The number that `ps` shows beside the command.
fn number(client: &mut Client, command: &str) -> String {
    eventually_some(&format!("{command:?} runs"), || {
        let lines = client.reply("ps").lines;
        let line = lines.iter().find(|line| line.ends_with(command));
        line.and_then(|line| line.split_whitespace().next().map(str::to_owned))
    })
}

#[test]
fn running_commands_are_seen_and_stopped() {
    let host = two_tenants(with_ps(HostBuilder::new()).more(MAY_SEE_AND_STOP).limit("cpu = \"10m\""));
    let mut client = host.connect();
    for command in ["sleeper 600000", "spin"] {
        let mut running = host.connect();
        running.send(format!("{command}\n"));
        let id = number(&mut client, command);
        let line = client.reply("ps").lines.into_iter().find(|line| line.ends_with(command)).expect("it runs still");
        assert!(line.contains(&running.address().to_string()), "{line}");
        client.reply(format!("kill {id}")).is([]);
        running.expect("error: failed: the command was stopped\n");
        running.reply("echo on").is(["on"]);
        assert!(!client.reply("ps").lines.iter().any(|line| line.ends_with(command)));
        assert!(client.reply(format!("kill {id}")).fails_with("failed").is_empty());
    }
    assert!(client.reply("kill me").fails_with("failed").is_empty());
}

#[test]
fn nobody_sees_or_stops_what_is_not_granted() {
    let host = two_tenants(with_ps(HostBuilder::new()).more("[tenants.default.grants.tasks]\nlist = true"));
    let mut running = host.connect();
    running.send("sleeper 600000\n");
    let mut client = host.connect();
    let id = number(&mut client, "sleeper 600000");
    assert_eq!(client.reply(format!("kill {id}")).lines, ["error: failed: not permitted"]);
    host.wait_for_log(&["denied", "command=kill", "[tenants.default.grants.tasks] stop = true"]);
    let mut other = other(&host);
    assert_eq!(other.reply("ps").lines, ["error: failed: not permitted"]);
    assert_eq!(other.reply(format!("kill {id}")).lines, ["error: failed: not permitted"]);
    assert_eq!(client.reply("ps").lines.len(), 3, "the heading, the sleeper, and `ps` itself");
}

#[test]
fn another_tenants_commands_are_out_of_sight() {
    let more = "[tenants.other.grants.tasks]\nlist = true\nstop = true";
    let host = two_tenants(with_ps(HostBuilder::new()).more(MAY_SEE_AND_STOP).more(more));
    // Each tenant counts its own lines: this one gets ahead, so that the number is none that the other will have.
    for _ in 0..20 {
        host.connect().reply("echo x").is(["x"]);
    }
    let mut running = host.connect();
    running.send("sleeper 600000\n");
    let id = number(&mut host.connect(), "sleeper 600000");
    let mut other = other(&host);
    assert_eq!(other.reply("ps").lines.len(), 2, "the heading and `ps` itself");
    assert!(other.reply(format!("kill {id}")).lines[0].contains("no command with the number"));
    assert_eq!(number(&mut host.connect(), "sleeper 600000"), id);
}

#[test]
fn a_sidecar_that_does_not_ask_for_tasks_gets_none() {
    let host = with_ps(HostBuilder::new()).more(MAY_SEE_AND_STOP).sidecar("ps", "[grants]").start();
    assert_eq!(host.connect().reply("ps").lines, ["error: failed: not permitted"]);
    host.wait_for_log(&["denied", "the command's sidecar would need: [grants.tasks] list = true"]);
}

#[test]
fn a_sidecar_that_asks_to_see_tasks_stops_none() {
    let builder = with_ps(HostBuilder::new()).more(MAY_SEE_AND_STOP);
    let host = builder.sidecar("kill", "[grants.tasks]\nlist = true\n").start();
    let mut running = host.connect();
    running.send("sleeper 600000\n");
    let mut client = host.connect();
    let id = number(&mut client, "sleeper 600000");
    assert_eq!(client.reply(format!("kill {id}")).lines, ["error: failed: not permitted"]);
    host.wait_for_log(&["denied", "the command's sidecar would need: [grants.tasks] stop = true"]);
    assert_eq!(number(&mut client, "sleeper 600000"), id, "it runs on");
}

#[test]
fn bounds_that_the_machine_cannot_keep_are_refused() {
    let refused = |builder: HostBuilder, words: &[&str]| {
        let (_directory, mut command) = builder.into_command();
        pipe_into(&mut command, "").exited(1).prints("").says(words);
    };
    refused(HostBuilder::new().descriptors(64), &["64 descriptors", "1024 for server.max-connections", "LimitNOFILE="]);
    // Shells do not agree on the letter.
    let few = HostBuilder::new().after("ulimit -u 9 2>/dev/null || ulimit -p 9");
    refused(few, &["9 processes and threads", "server.hash-jobs", "server.compile-jobs", "TasksMax="]);
    refused(HostBuilder::new().server("memory = \"1EiB\""), &["server.memory", "lower it"]);
    refused(HostBuilder::new().limit("memory = \"1EiB\""), &["tenants.default.limits.memory", "share"]);
    let children = HostBuilder::new().server("max-children = 1000000").limit("children = 1000000");
    refused(children.descriptors(4096), &["server.max-children"]);
    refused(HostBuilder::new().server("max-invocations = 500000"), &["server.max-invocations", "vm.max_map_count"]);
}

/// One tenant computes for all that it is worth, another sends a line at a time, and is served. Prints how long that takes:
/// the figures are for the README.
#[test]
fn a_tenant_at_its_limits_leaves_another_served() {
    let host = two_tenants(HostBuilder::new().fixture("spin").limit("cpu = \"10m\"").limit("timeout = \"10m\""));
    let mut client = other(&host);
    let mut latency = |what: &str| {
        let mut times: Vec<Duration> = (0..500)
            .map(|_| {
                let began = Instant::now();
                client.send("echo x\n");
                client.expect("x\n");
                began.elapsed()
            })
            .collect();
        times.sort();
        println!("a line of another tenant, {what}: median {:?}, 99 of 100 {:?}", times[250], times[495]);
    };
    latency("nobody else");
    let mut busy: Vec<Client> = (0..64).map(|_| host.connect()).collect();
    for client in &mut busy {
        client.send("spin\n");
    }
    eventually("they run", || machine::cpu_ticks(host.pid()) > 20);
    latency("64 lines of the first compute");
    let mut busier: Vec<Client> = (0..64).map(|_| host.connect()).collect();
    for client in &mut busier {
        client.send("spin\n");
    }
    latency("and 64 more wait");
    let mut last = host.connect();
    last.send("spin\n");
    last.expect_error("overloaded");
    // A client that only closes has half-closed for all that the host can tell; one that resets is gone.
    busy.into_iter().chain(busier).for_each(Client::vanish);
    eventually("there is room again", || host.connect().is_served());
}
