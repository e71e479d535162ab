//! Guests and clients that mean harm. For all of them: the host lives, and others are served as before.

use crate::support::components::{self, MEMORY, REALLOC, RUN};
use crate::support::{Host, HostBuilder, eventually, machine};

fn with(guest: Vec<u8>) -> Host {
    HostBuilder::new().guest("hostile", guest).limit("cpu = \"100ms\"").limit("memory = \"64MiB\"").start()
}

/// Asserts that the command fails with the code, twice, and that the connection goes on.
#[track_caller]
fn fails(guest: Vec<u8>, code: &str) {
    let host = with(guest);
    let mut client = host.connect();
    client.reply("hostile a b").fails_with(code);
    client.reply("hostile").fails_with(code);
    host.connect().reply("echo fine").is(["fine"]);
}

/// Asserts that the command is refused when it is loaded or fails when it is run; which of the two is the host's choice.
#[track_caller]
fn does_no_harm(guest: Vec<u8>) {
    let host = with(guest);
    let reply = host.connect().reply("hostile");
    let last = reply.lines.last().map(String::as_str).unwrap_or_default();
    assert!(last == "Command not found." || last.starts_with("error: "), "{reply:?}");
    host.connect().reply("echo fine").is(["fine"]);
}

#[test]
fn an_inert_component_from_text_runs() {
    // The twin of all others here: without the harm, the same frame is a command.
    let host = with(components::command(&[MEMORY, REALLOC, RUN]));
    host.connect().reply("hostile a b").is([]);
}

#[test]
fn a_loop_in_the_start_function() {
    let start = "(func $spin (loop $again (br $again))) (start $spin)";
    fails(components::command(&[MEMORY, REALLOC, RUN, start]), "cpu");
}

#[test]
fn a_loop_in_the_allocator() {
    let realloc = r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32)
        (loop $again (br $again)) unreachable)"#;
    let host = with(components::command(&[MEMORY, realloc, RUN]));
    host.connect().reply("hostile a b").fails_with("cpu");
}

#[test]
fn an_allocator_that_points_nowhere() {
    let realloc = r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const -16)"#;
    let host = with(components::command(&[MEMORY, realloc, RUN]));
    host.connect().reply("hostile a b").fails_with("trap");
}

#[test]
fn a_result_that_points_nowhere() {
    let run = r#"(func (export "run") (param i32 i32) (result i32) i32.const -16)"#;
    fails(components::command(&[MEMORY, REALLOC, run]), "trap");
}

#[test]
fn recursion_without_end() {
    let run = r#"(func $deep (param i32) (result i32) (call $deep (i32.add (local.get 0) (i32.const 1))))
        (func (export "run") (param i32 i32) (result i32) (call $deep (local.get 0)))"#;
    fails(components::command(&[MEMORY, REALLOC, run]), "trap");
}

/// A `run` that grows each of four memories by this many pages, and traps when it cannot.
fn growing_four_memories(pages: u32) -> Vec<u8> {
    let grow = |memory: u32| {
        format!("(if (i32.eq (memory.grow {memory} (i32.const {pages})) (i32.const -1)) (then unreachable))")
    };
    let grown: String = (0..4).map(grow).collect();
    let run = format!(r#"(func (export "run") (param i32 i32) (result i32) {grown} i32.const 16)"#);
    components::command(&[MEMORY, "(memory 0) (memory 0) (memory 0)", REALLOC, &run])
}

#[test]
fn memories_are_added_up() {
    // Each is within the 64 MiB, and so are two of them; four are not.
    fails(growing_four_memories(20 * 16), "memory");
    let host = with(growing_four_memories(10 * 16));
    host.connect().reply("hostile").is([]);
}

#[test]
fn tables_count_as_memory() {
    let run = r#"(table $t 0 funcref)
        (func (export "run") (param i32 i32) (result i32)
            (if (i32.eq (table.grow $t (ref.null func) (i32.const 50000)) (i32.const -1)) (then unreachable))
            i32.const 16)"#;
    let guest = components::command(&[MEMORY, REALLOC, run]);
    let host = HostBuilder::new().guest("hostile", &guest).limit("memory = \"256KiB\"").start();
    host.connect().reply("hostile").fails_with("memory");
    with(guest).connect().reply("hostile").is([]);
}

#[test]
fn a_memory_that_begins_beyond_the_limit() {
    does_no_harm(components::command(&[r#"(memory (export "memory") 2000)"#, REALLOC, RUN]));
}

#[test]
fn a_shared_memory() {
    does_no_harm(components::command(&[MEMORY, "(memory 1 1 shared)", REALLOC, RUN]));
}

#[test]
fn a_thousand_core_instances() {
    does_no_harm(components::with_core_instances(1000));
}

#[test]
fn host_objects_without_end() {
    let host = with(components::hoarding_host_objects());
    let mut client = host.connect();
    client.reply("hostile").fails_with("memory");
    client.reply("hostile").fails_with("memory");
}

#[test]
fn a_record_of_fifty_megabytes() {
    let host = with(components::logging_zeros(50_000_000));
    host.connect().reply("echo warm").is(["warm"]);
    machine::reset_peak_memory(host.pid());
    let before = machine::memory_kib(host.pid(), "VmRSS");
    let reply = host.connect().reply("hostile");
    assert!(reply.lines.last().is_some_and(|line| line.starts_with("error: ")), "{reply:?}");
    let grown = machine::memory_kib(host.pid(), "VmHWM").saturating_sub(before);
    assert!(grown < 32 * 1024, "the host grew by {grown} KiB");
    assert!(host.log().len() < 1_000_000, "the log has {} bytes", host.log().len());
}

#[test]
fn fifty_megabytes_without_a_line_end() {
    let host = HostBuilder::new().start();
    host.connect().reply("echo warm").is(["warm"]);
    machine::reset_peak_memory(host.pid());
    let before = machine::memory_kib(host.pid(), "VmRSS");
    let mut client = host.connect();
    let sending = client.send_aside(vec![b'x'; 50_000_000]);
    client.wait_until_cut();
    drop(client);
    assert!(sending.join().expect("no panic").is_err(), "the host took all of it");
    let grown = machine::memory_kib(host.pid(), "VmHWM").saturating_sub(before);
    assert!(grown < 16 * 1024, "the host grew by {grown} KiB");
}

#[test]
fn no_descriptors_left() {
    let host = HostBuilder::new().start();
    // Below what it had at the start, which it has been told fits.
    machine::bound_descriptors(host.pid(), 64);
    // The machine completes more connections than the host can accept.
    let mut clients: Vec<_> = (0..100).map(|_| host.connect()).collect();
    clients[0].reply("echo served").is(["served"]);
    drop(clients);
    eventually("new clients are served", || host.connect().is_served());
    let mut client = host.connect();
    client.reply("echo all is well").is(["all is well"]);
}

#[test]
fn sixty_connections_that_come_and_go() {
    let host = HostBuilder::new().fixture("sleeper").start();
    host.connect().reply("echo warm").is(["warm"]);
    let before = machine::open_descriptors(host.pid());
    for round in 0..60 {
        let mut client = host.connect();
        match round % 4 {
            0 => client.send("sleeper 600000\n"),
            1 => client.send("echo never read\n".repeat(100)),
            2 => client.send("no line end"),
            _ => client.finish_sending(),
        }
        client.vanish();
    }
    eventually("nothing of them is left", || machine::open_descriptors(host.pid()) <= before + 1);
    host.connect().reply("echo fine").is(["fine"]);
}
