//! A command whose sidecar asks for it goes on in the same instance for the lines of one connection, and for no other's.

use std::fs;

use crate::support::{COMPILING, Client, Host, HostBuilder, eventually, eventually_within, guests, machine};

const KEPT: &str = "instance = \"connection\"\n";

fn kept() -> HostBuilder {
    HostBuilder::new().fixture("counter").sidecar("counter", KEPT)
}

/// Sends `counter WORDS`, and returns the number.
fn count(client: &mut Client, words: &str) -> u32 {
    client.reply(format!("counter {words}")).first().parse().expect("a number")
}

#[test]
fn without_being_asked_for_each_line_has_a_fresh_one() {
    let host = HostBuilder::new().fixture("counter").start();
    let mut client = host.connect();
    assert_eq!([(); 3].map(|()| count(&mut client, "")), [1, 1, 1]);
}

#[test]
fn it_lives_as_long_as_its_connection_and_is_no_other_s() {
    let host = kept().start();
    let (mut one, mut other) = (host.connect(), host.connect());
    assert_eq!([(); 3].map(|()| count(&mut one, "")), [1, 2, 3]);
    assert_eq!(count(&mut other, ""), 1);
    assert_eq!(count(&mut one, ""), 4);
    drop(other);
    assert_eq!(count(&mut host.connect(), ""), 1);
    // An error of its own is an end as good as any.
    one.reply("counter fail").is(["5", "error: failed: asked to"]);
    assert_eq!(count(&mut one, ""), 6);
}

#[test]
fn lines_that_come_at_once_go_on_in_it() {
    let host = kept().start();
    let mut client = host.connect();
    client.send("counter\ncounter\necho x\ncounter trap\ncounter\ncounter\n");
    client.expect("1\n2\nx\n3\n");
    client.expect_error("trap");
    client.expect("1\n2\n");
    assert_eq!(count(&mut client, ""), 3);
}

#[test]
fn another_command_that_comes_leaves_it_alone() {
    let host = kept().start();
    let mut client = host.connect();
    assert_eq!(count(&mut client, ""), 1);
    // The directory is read anew, more than once.
    for name in ["first", "second"] {
        let wasm = guests::fixture_bytes("words");
        guests::install(&host.commands(), &format!("{name}.wasm"), &wasm);
        eventually_within(COMPILING, "it is served", || host.connect().reply(format!("{name} x")).lines == ["[x]"]);
    }
    assert_eq!(count(&mut client, ""), 2);
}

#[test]
fn what_was_cut_off_begins_anew() {
    let host = kept().limit("cpu = \"50ms\"").start();
    let mut client = host.connect();
    for words in ["trap", "spin"] {
        assert_eq!(count(&mut client, ""), 1);
        assert_eq!(client.reply(format!("counter {words}")).first(), "2");
    }
    assert_eq!(count(&mut client, ""), 1);
}

#[test]
fn what_a_line_has_opened_ends_with_it() {
    let grants = "[[grants.process]]\nprogram = \"/bin/cat\"\nargs = [\"/dev/zero\"]\n";
    let host = HostBuilder::new()
        .fixture("counter")
        .sidecar("counter", &format!("{KEPT}{grants}"))
        .may_run("/bin/cat", "[\"/dev/zero\"]")
        .start();
    let mut client = host.connect();
    assert_eq!(count(&mut client, ""), 1);
    assert_eq!(count(&mut client, "open"), 2);
    eventually("its child has ended", || machine::children(host.pid()).is_empty());
    assert_eq!(count(&mut client, ""), 1);
}

#[test]
fn they_are_bounded_and_a_place_comes_back_with_its_connection() {
    let host = kept().limit("kept-instances = 2").start();
    let mut holders = [host.connect(), host.connect()];
    for holder in &mut holders {
        assert_eq!(count(holder, ""), 1);
    }
    let mut late = host.connect();
    late.reply("counter").is(["error: overloaded: too many instances are kept; try again"]);
    for holder in &mut holders {
        assert_eq!(count(holder, ""), 2);
    }
    let [gone, mut stays] = holders;
    gone.vanish();
    eventually("its place is free", || late.reply("counter").first() == "1");
    assert_eq!((count(&mut late, ""), count(&mut stays, "")), (2, 3));
}

#[test]
fn they_take_nothing_from_lines_that_run() {
    let host = kept().server("max-invocations = 2").server("kept-instances = 8").start();
    let mut holders: Vec<Client> = (0..8).map(|_| host.connect()).collect();
    for holder in &mut holders {
        assert_eq!(count(holder, ""), 1);
    }
    assert!(host.connect().is_served());
    assert!(holders.iter_mut().all(|holder| count(holder, "") == 2));
}

/// A connection that sends nothing holds no place for a command that is no more, whatever else has taken its name.
#[test]
fn what_is_replaced_leaves_its_place() {
    let host = kept().server("kept-instances = 2").start();
    let mut holders = [(); 2].map(|()| host.connect());
    assert_eq!(holders.each_mut().map(|holder| count(holder, "")), [1, 1]);
    let mut late = host.connect();
    late.reply("counter").fails_with("overloaded");
    fs::write(host.commands().join("counter.toml"), format!("summary = \"another\"\n{KEPT}")).expect("a sidecar");
    eventually("the places are free", || late.reply("counter").first() == "1");
    // Nor does one that goes on with another command.
    fs::rename(host.commands().join("counter.toml"), host.commands().join("other.toml")).expect("a sidecar");
    fs::rename(host.commands().join("counter.wasm"), host.commands().join("other.wasm")).expect("a command");
    eventually("the place goes over", || late.reply("other").first() == "1");
    let mut more = host.connect();
    assert_eq!(more.reply("other").first(), "1");
}

#[test]
fn its_memory_counts_between_lines() {
    let host = kept().limit("memory-in-use = \"64MiB\"").fixture("hog").start();
    let mut client = host.connect();
    assert_eq!(count(&mut client, "hold 40"), 1);
    let mut other = host.connect();
    other
        .reply("hog 40")
        .is(["error: overloaded: the commands of this service have all the memory that they may; try again"]);
    client.vanish();
    eventually("its memory is free", || other.reply("hog 40").first() == "ok");
}

#[test]
fn a_file_that_is_replaced_begins_anew() {
    let host = kept().start();
    let mut client = host.connect();
    assert_eq!([(); 2].map(|()| count(&mut client, "")), [1, 2]);
    let sidecar = host.commands().join("counter.toml");
    fs::write(&sidecar, format!("summary = \"another\"\n{KEPT}")).expect("a sidecar");
    eventually("the other is there", || count(&mut client, "") == 1);
    assert_eq!(count(&mut client, ""), 2);
    fs::write(&sidecar, "summary = \"not kept\"\n").expect("a sidecar");
    eventually("it is kept no more", || [(); 2].map(|()| count(&mut client, "")) == [1, 1]);
}

#[test]
fn a_program_of_wasi_cannot_be_kept() {
    let host: Host = HostBuilder::new().fixture("wasi-hello").sidecar("wasi-hello", KEPT).start();
    host.connect().reply("wasi-hello").is(["Command not found."]);
    host.wait_for_log(&["command file refused", "begins anew with each line"]);
}
