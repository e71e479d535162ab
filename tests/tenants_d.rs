//! Tenants in files of their own: they come, change and go without touching the others.

use std::fs;
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;

use crate::support::{Client, Host, HostBuilder, eventually, guests, pipe_into, wasmline};

/// A host that includes `tenants.d`, with this file in it.
fn host_with(name: &str, toml: &str) -> Host {
    let builder = HostBuilder::new().top("include = [\"tenants.d\"]");
    let directory = builder.commands().with_file_name("tenants.d");
    fs::create_dir(&directory).expect("a directory");
    write(&directory.join(name), toml);
    builder.listening(2).start()
}

fn write(path: &std::path::Path, toml: &str) {
    fs::write(path, toml).expect("a file can be written");
}

fn tenant(name: &str, more: &str) -> String {
    format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntenant = \"{name}\"\n\n[tenants.{name}]\ncommands = [\"../commands\"]\n{more}"
    )
}

/// Waits until the host listens in so many places, counted from its start, and returns the last.
fn listening(host: &Host, count: usize) -> SocketAddr {
    eventually(&format!("it has announced {count} listeners"), || host.listening_on().len() == count);
    host.listening_on()[count - 1].parse().expect("an address")
}

#[test]
fn tenants_come_change_and_go_without_touching_the_others() {
    let host = host_with("alice.toml", &tenant("alice", ""));
    let directory = host.commands().with_file_name("tenants.d");
    let mut default = host.connect();
    let mut alice = Client::connect(host.addresses()[1]);
    default.reply("echo default").is(["default"]);
    alice.reply("echo alice").is(["alice"]);

    // One comes.
    write(&directory.join("bob.toml"), &tenant("bob", ""));
    host.signal(Signal::HUP);
    let mut bob = Client::connect(listening(&host, 3));
    bob.reply("echo bob").is(["bob"]);
    // One changes: its connection goes on under the new terms.
    write(&directory.join("bob.toml"), &tenant("bob", "[tenants.bob.limits]\noutput = 4\n"));
    host.signal(Signal::HUP);
    eventually("the new limit holds", || {
        bob.send("echo much too long\n");
        bob.line() != "much too long"
    });
    default.reply("echo default").is(["default"]);
    alice.reply("echo alice").is(["alice"]);
    // One goes.
    fs::remove_file(directory.join("bob.toml")).expect("it can be removed");
    host.signal(Signal::HUP);
    host.wait_for_log(&["no longer listening"]);
    default.reply("echo default").is(["default"]);
    alice.reply("echo alice").is(["alice"]);
}

#[test]
fn a_listener_goes_with_its_tenant_whatever_becomes_of_others() {
    let host = host_with("alice.toml", &tenant("alice", ""));
    let [default, alice] = [0, 1].map(|listener| host.addresses()[listener]);
    fs::remove_file(host.commands().with_file_name("tenants.d").join("alice.toml")).expect("it can be removed");
    let plain = "tenant = \"default\"";
    host.edit_config(plain, &format!("{plain}\ntls = {{ certificate = \"missing.pem\", key = \"missing.pem\" }}"));
    let log = host.reload();
    assert!(log.contains("listener not closed") && log.contains("no longer listening"), "{log}");
    Client::connect(default).reply("echo default").is(["default"]);
    assert!(TcpStream::connect(alice).is_err(), "it accepts clients that nobody serves");
}

#[test]
fn a_broken_file_leaves_all_as_it_was() {
    let host = host_with("alice.toml", &tenant("alice", ""));
    let directory = host.commands().with_file_name("tenants.d");
    write(&directory.join("bob.toml"), "[tenants.bob]\ncomands = []\n");
    host.signal(Signal::HUP);
    host.wait_for_log(&["not reloaded", "bob.toml:2:1", "comands", "commands"]);
    Client::connect(host.addresses()[1]).reply("echo alice").is(["alice"]);
    // What is hidden or called otherwise is none of its business.
    fs::rename(directory.join("bob.toml"), directory.join(".bob.toml")).expect("it can be renamed");
    write(&directory.join("notes.txt"), "no TOML");
    host.signal(Signal::HUP);
    host.wait_for_log(&["configuration reloaded"]);
}

#[test]
fn mistakes_between_files_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let main = directory.path().join("main.toml");
    let check = |alice: &str, bob: &str, words: &[&str]| {
        let included = directory.path().join("tenants.d");
        fs::create_dir_all(&included).expect("a directory");
        write(&included.join("alice.toml"), alice);
        write(&included.join("bob.toml"), bob);
        write(&main, "include = [\"tenants.d\"]\n");
        let mut command = wasmline();
        command.arg("check").arg("--config").arg(&main).arg("--cache").arg(directory.path().join("cache"));
        pipe_into(&mut command, "").exited(1).says(words);
    };
    check(&tenant("alice", ""), &tenant("alice", ""), &["bob.toml:5:1", "tenants.alice", "alice.toml already"]);
    check(&tenant("alice", ""), "[server]\nmax-line = 5\n", &["bob.toml:1:2", "unknown key `server`"]);
    let fixed = |name: &str| tenant(name, "").replace("127.0.0.1:0", "127.0.0.1:9998");
    check(&fixed("alice"), &fixed("bob"), &["bob.toml", "127.0.0.1:9998 is taken"]);
}

#[test]
fn a_tenants_own_command_goes_before_the_shared_one() {
    let builder = HostBuilder::new().fixture("words");
    let own = builder.commands().with_file_name("own");
    fs::create_dir(&own).expect("a directory");
    // The shared directory has `echo` and `words`; the tenant has another `words`.
    fs::copy(guests::fixture("counter"), own.join("words.wasm")).expect("a copy");
    let other = "[tenants.other]\ncommands = [\"commands\", \"own\"]";
    let host = builder.listener("default").listener("other").more(other).start();
    let mut second = Client::connect(host.addresses()[1]);
    second.reply("words a").is(["1"]);
    second.reply("echo shared").is(["shared"]);
    host.connect().reply("words a").is(["[a]"]);
    // Without its own it has the shared one, and with it again its own.
    fs::remove_file(own.join("words.wasm")).expect("it can be removed");
    eventually("the shared one is back", || second.reply("words a").lines == ["[a]"]);
}
