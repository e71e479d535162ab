//! A command is a file: what is copied, replaced, renamed or deleted takes effect without a restart and without harm.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Client, HostBuilder, components, eventually, guests, machine};

fn answers(client: &mut Client, request: &str, reply: &str) -> bool {
    client.reply(request).lines == [reply]
}

#[track_caller]
fn soon(client: &mut Client, request: &str, reply: &str) {
    eventually(&format!("{request:?} is answered with {reply:?}"), || answers(client, request, reply));
}

#[test]
fn files_come_and_go() {
    let host = HostBuilder::new().start();
    let mut client = host.connect();
    client.reply("words a").is(["Command not found."]);
    host.install("words.wasm", &guests::fixture_bytes("words"));
    soon(&mut client, "words a", "[a]");
    fs::rename(host.commands().join("words.wasm"), host.commands().join("terms.wasm")).expect("it can be renamed");
    soon(&mut client, "terms a", "[a]");
    client.reply("words a").is(["Command not found."]);
    // Replaced by a wholly different one.
    host.install("terms.wasm", &guests::fixture_bytes("counter"));
    soon(&mut client, "terms", "1");
    fs::remove_file(host.commands().join("terms.wasm")).expect("it can be removed");
    soon(&mut client, "terms", "Command not found.");
}

#[test]
fn a_command_that_went_is_not_held_on_to() {
    let host = HostBuilder::new().env("RUST_LOG", "debug").start();
    // Two, so that more than one event loop has to do with it.
    let mut clients = [host.connect(), host.connect()];
    for client in &mut clients {
        client.reply("echo a").is(["a"]);
    }
    let mapped = || machine::times_mapped(host.pid(), &HostBuilder::shared_cache());
    let before = mapped();
    host.install("words.wasm", &guests::fixture_bytes("words"));
    soon(&mut clients[0], "words a", "[a]");
    // By itself, so that an instance is made for the next.
    let made = || host.log().matches("made ahead of its line command=words").count();
    for client in &mut clients {
        let already = made();
        eventually("an instance is made ahead", || {
            client.send("words a\n");
            client.expect("[a]\n");
            made() > already
        });
    }
    assert!(mapped() > before, "its code is mapped from the cache");
    fs::remove_file(host.commands().join("words.wasm")).expect("it can be removed");
    for client in &mut clients {
        eventually("it is not found", || {
            client.send("words a\n");
            client.line() == "Command not found."
        });
    }
    eventually("its code is mapped no more", || mapped() == before);
}

/// Empty files are those that are being written, or that a full disk has cut.
#[test]
fn an_empty_sidecar_is_none() {
    let host = HostBuilder::new().fixture("settings").sidecar("settings", "[settings]\ncolour = 'red'\n").start();
    let mut client = host.connect();
    client.reply("settings colour").is(["red"]);
    host.install("settings.toml", b"");
    host.wait_for_log(&["refused", "settings.toml: is empty"]);
    client.reply("settings colour").is(["red"]);
}

#[test]
fn a_sidecar_is_read_with_its_command() {
    let host = HostBuilder::new().fixture("settings").sidecar("settings", "# says nothing\n").start();
    let mut client = host.connect();
    client.reply("settings colour").is(["unset"]);
    host.install("settings.toml", b"[settings]\ncolour = 'red'\n");
    soon(&mut client, "settings colour", "red");
    host.install("settings.toml", b"[settings]\ncolour = 'blue'\n");
    soon(&mut client, "settings colour", "blue");
    // A broken one leaves the pair as it was, and the log says why.
    host.install("settings.toml", b"[setings]\n");
    host.wait_for_log(&["refused", "settings.toml:1", "setings"]);
    client.reply("settings colour").is(["blue"]);
    fs::remove_file(host.commands().join("settings.toml")).expect("it can be removed");
    soon(&mut client, "settings colour", "unset");
}

#[test]
fn a_bad_version_leaves_the_old_one_serving() {
    let whole = guests::fixture_bytes("words");
    let host = HostBuilder::new().fixture("words").start();
    let mut client = host.connect();
    // One after the other, faster than they can settle; tests/compiling.rs has each of them looked at.
    for part in 0..64 {
        host.install("words.wasm", &whole[..whole.len() * part / 64]);
        client.reply("words still here").is(["[still]", "[here]"]);
    }
    host.wait_for_log(&["refused", "words.wasm"]);
    client.reply("words a").is(["[a]"]);
    host.install("words.wasm", &guests::fixture_bytes("counter"));
    soon(&mut client, "words", "1");
}

#[test]
fn a_file_that_is_still_being_written_is_left_alone() {
    let whole = guests::fixture_bytes("words");
    let host = HostBuilder::new().start();
    let mut client = host.connect();
    let mut file = fs::File::create(host.commands().join("words.wasm")).expect("a file can be made");
    for piece in whole.chunks(whole.len() / 32) {
        std::io::Write::write_all(&mut file, piece).expect("it can be written");
        assert!(client.is_served());
    }
    drop(file);
    soon(&mut client, "words a", "[a]");
}

#[test]
fn hidden_and_temporary_files_are_none_of_its_business() {
    let host = HostBuilder::new().start();
    for name in [".words.wasm", "words.wasm.part", "words.wasm~", "Words.wasm", "words"] {
        host.install(name, &guests::fixture_bytes("words"));
    }
    host.install("marker.wasm", &guests::fixture_bytes("words"));
    let mut client = host.connect();
    soon(&mut client, "marker a", "[a]");
    for name in [".words", "words.wasm", "Words", "words"] {
        client.reply(name).is(["Command not found."]);
    }
    // Only the one that could be meant for a command is told of, and its record comes with the look that finds the others.
    host.wait_for_log(&["refused", "Words.wasm"]);
    let log = host.log();
    assert!([".words.wasm", "words.wasm.part", "words.wasm~"].iter().all(|name| !log.contains(name)), "{log}");
}

#[test]
fn the_directory_itself_may_go_and_come_back() {
    let host = HostBuilder::new().fixture("words").start();
    let mut client = host.connect();
    client.reply("words a").is(["[a]"]);
    for _ in 0..3 {
        fs::remove_dir_all(host.commands()).expect("the directory can be removed");
        eventually("its commands are gone", || {
            client.send("words a\n");
            client.line() == "Command not found."
        });
        fs::create_dir(host.commands()).expect("the directory can be made");
        host.install("echo.wasm", &guests::command_bytes("echo"));
        host.install("words.wasm", &guests::fixture_bytes("words"));
        eventually("its commands are back", || {
            client.send("words a\n");
            client.line() == "[a]"
        });
        soon(&mut client, "echo back", "back");
    }
}

#[test]
fn what_is_no_command_is_refused_and_harms_nothing() {
    let host = HostBuilder::new().start();
    let mut client = host.connect();
    let refused = |name: &str| host.wait_for_log(&["refused", &format!("{name}.wasm")]);
    host.install("text.wasm", b"(module)");
    host.install("elf.wasm", &fs::read("/bin/true").expect("there is /bin/true"));
    host.install("empty.wasm", b"");
    host.install("strange.wasm", &components::importing("acme:warp/drive@1.0.0"));
    std::os::unix::fs::symlink(guests::fixture("words"), host.commands().join("link.wasm")).expect("a link");
    crate::support::machine::fifo(&host.commands().join("fifo.wasm"));
    fs::create_dir(host.commands().join("directory.wasm")).expect("a directory");
    for name in ["text", "elf", "empty", "strange", "link", "fifo", "directory"] {
        refused(name);
    }
    assert!(refused("strange").contains("acme:warp/drive@1.0.0"));
    assert!(refused("link").contains("symbolic link"));
    for name in ["text", "elf", "empty", "strange", "link", "fifo", "directory"] {
        client.reply(name).is(["Command not found."]);
    }
}

#[test]
fn replacements_under_load_lose_no_reply() {
    let host = HostBuilder::new().fixture("words").env("RUST_LOG", "warn").start();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (address, stop) = (host.address(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut replies = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    client.send("words x\n".repeat(50));
                    for _ in 0..50 {
                        let line = client.line();
                        assert!(line == "[x]", "after {replies} replies: {line:?}");
                        replies += 1;
                    }
                }
                replies
            })
        })
        .collect();
    let versions = [
        guests::fixture_bytes("words"),
        components::with_custom_section(&guests::fixture_bytes("words"), &[1]),
        components::with_custom_section(&guests::fixture_bytes("words"), &[2]),
    ];
    for round in 0..10_000 {
        host.install("words.wasm", &versions[round % versions.len()]);
    }
    host.install("words.wasm", &guests::fixture_bytes("counter"));
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.join().expect("no reply was lost") > 0);
    }
    soon(&mut host.connect(), "words", "1");
}

#[test]
fn a_line_runs_on_the_version_that_it_began_with() {
    let host = HostBuilder::new().fixture("readback").start();
    let mut old = host.connect();
    old.send("readback\nfirst\n");
    old.expect("got: first\n");
    host.install("readback.wasm", &guests::fixture_bytes("counter"));
    host.wait_for_log(&["commands loaded", "new=readback"]);
    host.connect().reply("readback").is(["1"]);
    old.send("second\n.\n");
    old.expect("got: second\ndone\n");
    old.reply("readback").is(["1"]);
}

#[test]
fn one_compiled_copy_serves_two_tenants() {
    let builder = HostBuilder::new().listener("default").listener("other").without_cache_flag();
    let cache = builder.files().join("cache");
    let builder = builder.server(&format!("cache = {:?}", cache)).more("[tenants.other]\ncommands = [\"more\"]");
    let more = builder.commands().with_file_name("more");
    fs::create_dir(&more).expect("a directory");
    fs::copy(guests::fixture("words"), more.join("mine.wasm")).expect("a copy");
    let host = builder.fixture("words").start();
    Client::connect(host.addresses()[0]).reply("words a").is(["[a]"]);
    let other = &mut Client::connect(host.addresses()[1]);
    other.send("mine a\n");
    other.expect("[a]\n");
    assert_eq!(machine::code_in(&cache).len(), 2, "`echo` and one copy of `words`");
}
