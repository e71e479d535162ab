//! What lines and connections cost the machine, in counts: system calls, page faults, memory, descriptors, threads. What they
//! cost in time is for the bench to say: a count is the same on a busy machine.

use crate::support::{Client, HostBuilder, Trace, components, eventually, machine};

/// Lines whose cost is looked at, and those before them, after which the host has what it keeps from line to line.
const LINES: usize = 5_000;
const WARM_UP: usize = 2_000;
/// Commands that are used in turn.
const MANY: usize = 150;

/// What changes the page tables, or asks for what they are about to be changed.
const PAGE_TABLES: &[&str] = &["brk", "mmap", "munmap", "mremap", "mprotect", "madvise"];
/// What a connection is read, written and waited for with.
const SOCKETS: &[&str] = &[
    "read",
    "readv",
    "recvfrom",
    "recvmsg",
    "write",
    "writev",
    "sendto",
    "sendmsg",
    "epoll_wait",
    "epoll_pwait",
    "epoll_ctl",
];

/// Of so many lines one may have such a call. A batch of lines shares its reads and writes, and a busy machine makes batches
/// shorter.
const ONE_OF: usize = 4;
/// The same for calls that no line is to have: threads that start and allocators that look for room make some.
const ONE_OF_MANY: usize = 50;
/// The same where a few have to be expected.
const ONE_OF_SOME: usize = 10;

/// Connections whose memory is looked at, and those before them, after which the host has what all of them share.
const IDLE: usize = 1_000;
const FIRST: usize = 50;
/// Bytes that one may take. In a release build it is at most 1.5 KiB, by the bench; a debug build lays out its futures less
/// tightly. What this is to find is a buffer, or the future of a running line, that stays with each connection.
const BYTES_PER_CONNECTION: u64 = 2560;

/// Looks in a row, ten milliseconds apart, at which a thread has not gone on before it counts as one that stands still. The
/// host's clock goes a thousand times a second.
const STILL: usize = 20;

/// Sends lines in one piece and reads their replies.
fn run(client: &mut Client, line: &str, reply: &str, count: usize) {
    let sending = client.send_aside(format!("{line}\n").repeat(count).into_bytes());
    client.expect(format!("{reply}\n").repeat(count));
    sending.join().expect("no panic").expect("the host takes all lines");
}

/// A host whose log does not have a record of each line.
fn quiet() -> HostBuilder {
    HostBuilder::new().env("RUST_LOG", "warn")
}

/// Looks at what a host calls while it runs requests of so many lines each, one of which needs so many calls of `ioctl`.
#[track_caller]
fn assert_calls(builder: HostBuilder, request: &str, reply: &str, lines: usize, ioctls: usize) {
    let trace = Trace::into(builder.files().join("trace"));
    let host = builder.traced(&trace).start();
    let mut client = host.connect();
    run(&mut client, request, reply, WARM_UP / lines);
    let before = trace.calls();
    run(&mut client, request, reply, LINES / lines);
    let calls = trace.calls().since(&before);
    println!("{LINES} lines of {request:.100?}: {calls:?}");
    assert!(calls.of(SOCKETS) > 0, "nothing was traced: {calls:?}");
    assert!(calls.of(SOCKETS) < LINES / ONE_OF, "lines do not share what they are read and sent with: {calls:?}");
    // Each thread finds its own slots, so among many commands one may come to a slot of another's now and then.
    let one_of = if lines < MANY { ONE_OF_MANY } else { ONE_OF_SOME };
    assert!(calls.of(PAGE_TABLES) < LINES / one_of, "a line changes the page tables: {calls:?}");
    let most = ioctls * (LINES / lines) + LINES / ONE_OF_MANY;
    assert!(calls.of(&["ioctl"]) < most, "a request makes more than {ioctls} calls of ioctl: {calls:?}");
}

#[test]
fn a_line_of_a_small_command_makes_no_system_call_of_its_own() {
    assert_calls(quiet(), "echo words", "words", 1, 0);
}

#[test]
fn a_line_of_an_unknown_command_makes_no_system_call_of_its_own() {
    assert_calls(quiet(), "nothing", "Command not found.", 1, 0);
}

#[test]
fn a_line_of_a_large_command_makes_one_system_call_of_its_own_at_most() {
    // It has no reply of its own.
    assert_calls(quiet().guest("large", components::large()), "large\necho words", "words", 2, 1);
}

/// More than the engine keeps slots for by default: then each line makes two calls. Each command has contents of its own, which
/// another's slot does not have.
#[test]
fn a_line_of_one_of_many_commands_makes_no_system_call_of_its_own() {
    let data = |number: usize| format!("(data (i32.const 4096) \"{number}\")");
    let of = |number| components::command(&[components::MEMORY, components::REALLOC, components::RUN, &data(number)]);
    let commands = (0..MANY).map(|number| (format!("c{number}"), of(number)));
    let builder = commands.fold(quiet(), |builder, (name, wasm)| builder.guest(&name, wasm));
    let each_once: Vec<String> = (0..MANY).map(|number| format!("c{number}\n")).collect();
    // They have no reply of their own.
    assert_calls(builder, &format!("{}echo words", each_once.concat()), "words", MANY + 1, 0);
}

#[test]
fn a_line_makes_no_page_fault() {
    let host = quiet().fixture("wasi-hello").guest("large", components::large()).start();
    for (line, reply) in [
        ("echo words", "words"),
        ("nothing", "Command not found."),
        ("wasi-hello you", "hello you"),
        ("large\necho words", "words"),
    ] {
        let mut client = host.connect();
        run(&mut client, line, reply, WARM_UP);
        let before = machine::page_faults(host.pid());
        run(&mut client, line, reply, LINES);
        let faults = machine::page_faults(host.pid()) - before;
        println!("{LINES} lines of {line:?}: {faults} page faults");
        assert!(faults < LINES / ONE_OF_MANY, "{LINES} lines of {line:?} made {faults} page faults");
    }
}

#[test]
fn lines_take_no_descriptors_and_no_threads() {
    let host = quiet().start();
    let mut client = host.connect();
    run(&mut client, "echo words", "words", WARM_UP);
    let count = || (machine::open_descriptors(host.pid()), machine::threads(host.pid()));
    let before = count();
    run(&mut client, "echo words", "words", LINES);
    assert_eq!(count(), before, "descriptors and threads");
}

#[test]
fn a_connection_that_waits_takes_little_memory() {
    machine::raise_own_descriptors();
    let most = FIRST + IDLE;
    let bounds = [format!("max-connections = {most}"), format!("max-connections-per-source = {most}")];
    let host = bounds.iter().fold(quiet(), |builder, bound| builder.server(bound)).start();
    let open = |count| {
        let connected = (0..count).map(|_| {
            let mut client = host.connect();
            run(&mut client, "echo words", "words", 1);
            client
        });
        connected.collect::<Vec<Client>>()
    };
    let memory = || machine::memory_kib(host.pid(), "RssAnon") + machine::memory_kib(host.pid(), "RssShmem");
    let _first = open(FIRST);
    let before = memory();
    let _idle = open(IDLE);
    let each = memory().saturating_sub(before) * 1024 / IDLE as u64;
    println!("{each} bytes for each of {IDLE} idle connections");
    assert!(each < BYTES_PER_CONNECTION, "{each} bytes for each of {IDLE} idle connections");
}

#[test]
fn a_command_that_waits_wakes_nobody() {
    let host = HostBuilder::new().fixture("midway").limit("cpu = \"100ms\"").start();
    let mut client = host.connect();
    client.send("midway read spin\n");
    client.expect("begun read\n");
    let (mut last, mut still) = (0, 0);
    eventually("the clock stands still", || {
        let switches = machine::switches(host.pid(), "epoch");
        still = if switches == last { still + 1 } else { 0 };
        last = switches;
        still == STILL
    });
    // It goes again for a guest that goes on, which nothing else would stop.
    client.send("on\n");
    client.expect("got on\nbegun spin\n");
    client.expect_error("cpu");
}
