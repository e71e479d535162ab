//! Commands that mean harm: they compute without end, take what there is, or break the rules of their interface.

use super::harness::Siege;
use crate::support::components::{self, MEMORY, REALLOC, RUN};
use crate::support::{Client, HostBuilder, eventually_some, machine};

fn with(guest: Vec<u8>) -> Siege {
    Siege::of(HostBuilder::new().guest("hostile", guest).limit("cpu = \"100ms\"").limit("memory = \"64MiB\""))
}

/// Asserts that the command fails with the code, again and again, and that the connection goes on.
#[track_caller]
fn fails(guest: Vec<u8>, code: &str) {
    with(guest).withstands(|siege| {
        let mut client = siege.connect();
        for _ in 0..3 {
            client.reply("hostile a b").fails_with(code);
            client.reply("hostile a").fails_with(code);
            siege.other_is_served();
        }
    });
}

/// Asserts that the command is refused when it is loaded or fails when it is run; which of the two is the host's choice.
#[track_caller]
fn does_no_harm(guest: Vec<u8>) {
    with(guest).withstands(|siege| {
        let reply = siege.connect().reply("hostile");
        let last = reply.lines.last().map(String::as_str).unwrap_or_default();
        assert!(last == "Command not found." || last.starts_with("error: "), "{reply:?}");
    });
}

#[test]
fn an_inert_component_from_text_runs() {
    // The twin of all others here: without the harm, the same frame is a command.
    with(components::command(&[MEMORY, REALLOC, RUN])).withstands(|siege| siege.connect().reply("hostile a b").is([]));
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
    fails(components::command(&[MEMORY, realloc, RUN]), "cpu");
}

#[test]
fn an_allocator_that_points_nowhere() {
    let realloc = r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const -16)"#;
    fails(components::command(&[MEMORY, realloc, RUN]), "trap");
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
    with(growing_four_memories(10 * 16)).withstands(|siege| siege.connect().reply("hostile").is([]));
}

#[test]
fn tables_count_as_memory() {
    let run = r#"(table $t 0 funcref)
        (func (export "run") (param i32 i32) (result i32)
            (if (i32.eq (table.grow $t (ref.null func) (i32.const 50000)) (i32.const -1)) (then unreachable))
            i32.const 16)"#;
    let guest = components::command(&[MEMORY, REALLOC, run]);
    let bounded = HostBuilder::new().guest("hostile", &guest).limit("memory = \"256KiB\"");
    Siege::of(bounded).withstands(|siege| {
        siege.connect().reply("hostile").fails_with("memory");
    });
    with(guest).withstands(|siege| siege.connect().reply("hostile").is([]));
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
fn recursion_through_a_host_function() {
    fails(components::recursing_through_the_host(), "trap");
}

#[test]
fn host_objects_without_end() {
    fails(components::hoarding_host_objects(), "memory");
}

#[test]
fn an_instruction_that_nothing_interrupts() {
    fails(components::filling_memory(200), "cpu");
}

#[test]
fn a_reason_of_a_megabyte() {
    let builder = HostBuilder::new().guest("hostile", components::failing_at_length(1_000_000));
    let audit = builder.files().join("audit.jsonl");
    let siege = Siege::of(builder.more(&format!("[audit]\nfile = {audit:?}\n")));
    let mut client = siege.connect();
    let before = siege.host.log().len();
    client.reply("hostile").fails_with("failed");
    siege.host.wait_for_log(&["command finished", "hostile", "outcome=failed"]);
    let told = siege.host.log().len() - before;
    assert!(told < 20_000, "the log has {told} bytes of it");
    let record = eventually_some("the record is there", || {
        std::fs::read_to_string(&audit).ok().filter(|records| records.contains("\"failed\"") && records.ends_with('\n'))
    });
    assert!(record.len() < 20_000, "the record has {} bytes", record.len());
}

#[test]
fn more_output_at_once_than_is_ever_permitted() {
    fails(components::writing_unasked(200_000), "trap");
}

#[test]
fn output_that_nobody_has_permitted() {
    let guest = components::writing_unasked(60_000);
    let mut siege = Siege::of(HostBuilder::new().guest("hostile", guest).limit("output = \"1GiB\""));
    siege.withstands(|siege| {
        // This one does not read, so it has to wait, and does not.
        let mut client = Client::with_small_window(siege.host.address());
        client.send("hostile\n");
        let line = siege.host.wait_for_log(&["command finished", "hostile", "outcome=trap"]);
        let bytes = line.split_once(" bytes=").and_then(|(_, rest)| rest.split(' ').next()?.parse::<usize>().ok());
        assert!(bytes.is_some_and(|bytes| bytes < 16 << 20), "{line}");
        client.vanish();
    });
}

#[test]
fn a_record_of_a_hundred_megabytes() {
    let guest = components::logging_zeros(100_000_000);
    let mut siege = Siege::of(HostBuilder::new().guest("hostile", guest).limit("memory = \"128MiB\""));
    siege.withstands(|siege| {
        let pid = siege.host.pid();
        machine::reset_peak_memory(pid);
        let before = machine::memory_kib(pid, "VmRSS");
        siege.connect().reply("hostile").fails_with("memory");
        let grown = machine::memory_kib(pid, "VmHWM").saturating_sub(before);
        assert!(grown < 32 * 1024, "the host grew by {grown} KiB");
        assert!(siege.host.log().len() < 1_000_000, "the log has {} bytes", siege.host.log().len());
    });
}

#[test]
fn reads_of_ten_gigabytes() {
    let builder =
        HostBuilder::new().fixture("wasi-files").fixture("gulp").sidecar("wasi-files", "stdin = \"connection\"");
    let files = builder.files();
    machine::sparse_file(files.join("sparse"), 1 << 40);
    let grant = format!("[[tenants.default.grants.directory]]\npath = {:?}", files);
    let builder = builder.more(&grant).may_run("/usr/bin/yes", "[]").limit("memory = \"128MiB\"");
    Siege::of(builder).withstands(|siege| {
        let pid = siege.host.pid();
        machine::reset_peak_memory(pid);
        let before = machine::memory_kib(pid, "VmRSS");
        let mut client = siege.connect();
        // Each is answered with less, or refused; how much is the host's choice, as long as it is little.
        let acts =
            ["wasi-files gulp sparse", "wasi-files gulp-stream sparse", "wasi-files gulp-random", "gulp /usr/bin/yes"];
        for act in acts {
            let reply = client.reply(act).lines.concat();
            let bytes = reply.strip_suffix(" bytes").map(|bytes| bytes.parse::<u64>().expect("a number"));
            assert!(bytes.is_some_and(|bytes| bytes <= 2 << 20) || reply.contains("error: "), "{act}: {reply}");
            siege.other_is_served();
        }
        client.send("wasi-files gulp-input\nabc\n");
        client.expect("4 bytes\n");
        let grown = machine::memory_kib(pid, "VmHWM").saturating_sub(before);
        assert!(grown < 32 * 1024, "the host grew by {grown} KiB");
    });
}

#[test]
fn a_child_that_prints_without_end() {
    let builder = HostBuilder::new().fixture("spawn");
    let mark = format!("yes-{}", builder.files().display());
    let builder = builder.may_run("/usr/bin/yes", &format!("[{mark:?}]")).limit("output = \"1MiB\"");
    Siege::of(builder).withstands(|siege| {
        let mut client = siege.connect();
        for _ in 0..3 {
            let reply = client.reply(format!("spawn /usr/bin/yes {mark}"));
            assert!(reply.fails_with("output-limit").iter().all(|line| mark.starts_with(line)), "{reply:?}");
        }
        siege.host.wait_until_gone(&mark);
    });
}

/// As many of each kind as the tenant may have, all at once.
#[test]
fn everything_at_once() {
    let builder =
        HostBuilder::new().fixture("spin").fixture("sleeper").fixture("hog").fixture("chatter").fixture("spawn");
    let builder = builder.may_run("/usr/bin/yes", "[]").limit("cpu = \"500ms\"").limit("timeout = \"2s\"");
    Siege::of(builder).withstands(|siege| {
        let lines = ["spin", "sleeper 600000", "hog", "chatter", "spawn /usr/bin/yes"];
        let mut clients: Vec<_> = (0..60).map(|_| siege.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("{}\n", lines[number % lines.len()]).repeat(3));
        }
        siege.other_is_served();
        siege.other_hashes();
        for client in &mut clients {
            client.finish_sending();
            client.rest();
        }
    });
}
