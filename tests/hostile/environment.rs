//! A machine and an operator that do what they should not: descriptors run out, files are half written, signals come.

use std::fs;
use std::io::Write;
use std::time::Duration;

use rustix::process::Signal;

use super::harness::{SUM_OF_ABC, Siege};
use crate::support::{Client, Follower, Host, HostBuilder, eventually, machine, pause, quoted};

#[test]
fn no_descriptors_left() {
    Siege::of(HostBuilder::new()).withstands(|siege| {
        // Below what it had at the start, which it has been told fits.
        machine::bound_descriptors(siege.host.pid(), 64);
        // The machine completes more connections than the host can accept.
        let mut clients: Vec<_> = (0..100).map(|_| siege.connect()).collect();
        clients[0].reply("echo served").is(["served"]);
        siege.host.wait_for_log(&["cannot accept"]);
        drop(clients);
        eventually("new clients are served", || siege.connect().is_served());
    });
}

/// The kernel ends whoever writes beyond such a limit, unless he wants to hear of it.
#[test]
fn a_limit_on_the_size_of_files() {
    const BEYOND: u64 = 64 << 20;
    let builder = HostBuilder::new().fixture("wasi-files");
    let place = |name: &str| builder.files().with_file_name(name);
    let (data, audit) = (place("data"), place("audit"));
    fs::create_dir(&data).expect("a directory");
    fs::create_dir(&audit).expect("a directory");
    let file = machine::sparse_file(data.join("file"), BEYOND);
    let audit = machine::sparse_file(audit.join("audit.jsonl"), BEYOND);
    fs::OpenOptions::new().append(true).open(&audit).and_then(|mut file| file.write_all(b"\n")).expect("a whole line");
    machine::sparse_file(place("host.log"), BEYOND);
    let grant = format!("[[tenants.default.grants.directory]]\npath = {}\nwrite = true", quoted(&data));
    let file_of_records = format!("[audit]\nfile = {}\nmax-size = \"1GiB\"", quoted(&audit));
    let builder = builder.more(&grant).more(&file_of_records).after("ulimit -f 32768");
    Siege::of(builder).withstands(|siege| {
        let mut client = siege.connect();
        for _ in 0..10 {
            client.reply(format!("wasi-files append {} x", file.display())).begins("refused: ");
            client.reply("echo on").is(["on"]);
        }
    });
}

/// The clients learn that their lines were in vain, and the operator learns why.
#[test]
fn no_descriptors_left_for_lines() {
    let builder = HostBuilder::new().fixture("hash").fixture("spawn").may_run("/bin/echo", "[{ any = true }]");
    let file = builder.file("file", "abc");
    let lines = [format!("hash sha1 {}", file.display()), "spawn /bin/echo x".to_owned()];
    let files = builder.files();
    Siege::of(builder.may_hash(files)).withstands(|siege| {
        let mut client = siege.connect();
        client.reply("echo served").is(["served"]);
        machine::without_descriptors(siege.host.pid(), || {
            for line in lines.iter().cycle().take(20) {
                client.reply(line).begins("io: ");
            }
        });
        for (command, what) in [("hash", "cannot hash a file"), ("spawn", "cannot start a program")] {
            let of = format!("command={command}");
            siege.host.wait_for_log(&["WARN", what, "tenant=default", &of, "Too many open files"]);
        }
        client.reply(&lines[0]).is([SUM_OF_ABC]);
        client.reply(&lines[1]).is(["x", "status: exited 0"]);
    });
}

/// The host has not had a job yet, so it has no threads for jobs but what it has begun with.
#[test]
fn no_threads_left() {
    let builder = HostBuilder::new().fixture("hash").fixture("spawn").fixture("wasi-files");
    let builder = builder.may_run("/bin/echo", "[{ any = true }]");
    let files = builder.files();
    let large = machine::sparse_file(files.join("large"), 256 << 20);
    let grant = format!("[[tenants.default.grants.directory]]\npath = {}", quoted(&files));
    let host = builder.may_hash(&files).more(&grant).start();
    let hash = format!("hash sha1 {}", large.display());
    let list = format!("wasi-files list {}", files.display());
    let lines = [&*hash, &hash, "spawn /bin/echo x", &list];
    let mut clients: Vec<_> = (0..3 * lines.len()).map(|_| host.connect()).collect();
    for client in &mut clients {
        client.reply("echo served").is(["served"]);
    }
    machine::without_threads(host.pid(), || {
        for (client, line) in clients.iter_mut().zip(lines.iter().cycle()) {
            client.send(format!("echo before\n{line}\necho after\n"));
        }
        for (client, line) in clients.iter_mut().zip(lines.iter().cycle()) {
            client.expect("before\n");
            match *line {
                line if line == hash => assert_eq!(client.line().len(), SUM_OF_ABC.len()),
                line if line == list => client.expect("large\n"),
                _ => client.expect("x\nstatus: exited 0\n"),
            }
            client.expect("after\n");
        }
    });
    host.connect().reply("spawn /bin/echo x").is(["x", "status: exited 0"]);
}

#[test]
fn a_configuration_that_is_half_written() {
    let builder = HostBuilder::new().fixture("settings");
    Siege::of(builder.more("[tenants.default.settings.settings]\ncolour = \"red\"")).withstands(|siege| {
        let whole = fs::read(siege.host.config()).expect("a configuration");
        let mut client = siege.connect();
        // Whatever comes before the other tenant's table is whole refers to a tenant that is not there.
        let text = String::from_utf8(whole.clone()).expect("text");
        let needed = text.find("commands = [\"others\"]").expect("the other tenant's table");
        for part in 0..16 {
            fs::write(siege.host.config(), &whole[..needed * part / 16]).expect("it can be written");
            siege.host.signal(Signal::HUP);
            let refusals = || siege.host.log().matches("configuration not reloaded").count();
            eventually("this reload is refused too", || refusals() > part);
            client.reply("settings colour").is(["red"]);
        }
        // What is cut in the middle of a value is refused as well, however late.
        for cut in [whole.len() - 2, whole.len() - 5, needed + 12] {
            fs::write(siege.host.config(), &whole[..cut]).expect("it can be written");
            let before = siege.host.log().matches("configuration not reloaded").count();
            siege.host.signal(Signal::HUP);
            let refusals = || siege.host.log().matches("configuration not reloaded").count();
            eventually("this reload is refused too", || refusals() > before);
            client.reply("settings colour").is(["red"]);
        }
        fs::write(siege.host.config(), &whole).expect("it can be written");
        siege.host.reload();
        client.reply("settings colour").is(["red"]);
    });
}

#[test]
fn a_host_that_is_stopped_goes_on() {
    let builder = HostBuilder::new().fixture("spin").limit("cpu = \"100ms\"");
    Siege::of(builder).withstands(|siege| {
        // While it stands still nothing is computed, whatever the clock on the wall says.
        for _ in 0..10 {
            let mut clients: Vec<Client> = (0..8).map(|_| siege.connect()).collect();
            let sending: Vec<_> =
                clients.iter().map(|client| client.send_aside("echo x\n".repeat(3000).into_bytes())).collect();
            clients[0].expect("x\n");
            siege.host.signal(Signal::STOP);
            pause(Duration::from_millis(300));
            siege.host.signal(Signal::CONT);
            clients[0].expect("x\n".repeat(2999));
            for client in &mut clients[1..] {
                client.expect("x\n".repeat(3000));
            }
            sending.into_iter().for_each(|sent| sent.join().expect("no panic").expect("the host takes all of it"));
        }
        siege.connect().reply("spin").fails_with("cpu");
    });
}

/// A host with everything to do at once: the clients, and the file that its children follow.
fn busy(builder: HostBuilder) -> (Host, Follower, Vec<Client>) {
    let builder = builder
        .fixture("spin")
        .fixture("sleeper")
        .fixture("hash")
        .fixture("spawn")
        .fixture("chatter")
        .fixture("readback")
        .limit("cpu = \"1h\"")
        .limit("timeout = \"1h\"")
        .limit("output = \"1TiB\"")
        .limit("digest-size = \"2TiB\"")
        .server("write-timeout = \"1h\"");
    let endless = machine::sparse_file(builder.files().join("endless"), 1 << 40);
    let (builder, follower) = Follower::granted(builder);
    let files = builder.files();
    let host = builder.may_hash(files).start();
    let hash = format!("hash sha1 {}", endless.display());
    let lines = ["spin", "sleeper 600000", &hash, &follower.request("spawn"), "chatter", "readback"];
    let mut clients: Vec<Client> = (0..48).map(|_| host.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("{}\n", lines[number % lines.len()]));
    }
    eventually("children run", || follower.processes().len() == 48 / lines.len());
    eventually("files are hashed", || machine::times_open(host.pid(), &endless) > 0);
    (host, follower, clients)
}

#[test]
fn a_host_that_is_ended_under_load() {
    let (mut host, follower, mut clients) = busy(HostBuilder::new().server("drain-timeout = \"500ms\""));
    host.signal(Signal::TERM);
    assert_eq!(host.wait_for_exit().code(), Some(0));
    clients.iter_mut().for_each(Client::wait_until_cut);
    eventually("no child is left", || follower.processes().is_empty());
}

#[test]
fn a_host_that_is_killed_under_load_and_started_again() {
    let cache = tempfile::tempdir().expect("a directory");
    let place = cache.path().join("cache");
    let builder = HostBuilder::new().without_cache_flag().server(&format!("cache = {}", quoted(&place)));
    let (mut host, follower, mut clients) = busy(builder);
    let before = machine::compiled(&place);
    // Whoever kills it ends its children, as a supervisor does with a control group: it cannot do that any more.
    let children = follower.processes();
    host.kill_and_start_again();
    clients.iter_mut().for_each(Client::wait_until_cut);
    for pid in children.into_iter().filter_map(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    let mut client = host.connect();
    client.reply("echo again").is(["again"]);
    client.reply("sleeper 1").is(["slept"]);
    assert_eq!(machine::compiled(&place), before, "what was compiled is used again, and not made anew");
    assert!(before.len() >= 6, "{before:?}");
}
