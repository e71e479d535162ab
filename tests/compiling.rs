//! Compiling cannot hurt the host: what is slow, killed or out of disk holds up nobody, and comes right by itself.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    COMPILING, Client, Host, HostBuilder, components, eventually, eventually_some, eventually_within, guests, machine,
    pipe_into, wasmline,
};

/// A component that takes the compiler long enough to be met at work.
fn slow() -> Vec<u8> {
    let body = "local.get 0 i64.const 3 i64.mul i64.const 7 i64.add local.set 0 ".repeat(40);
    let function = format!("(func (param i64) (result i64) {body} local.get 0)");
    components::command(&[components::MEMORY, components::REALLOC, components::RUN, &function.repeat(3000)])
}

/// A host with an empty cache of its own and two tenants, whose directories come with it.
fn two_tenants(builder: HostBuilder) -> (Host, PathBuf, PathBuf) {
    let (mine, other) = (builder.commands(), builder.commands().with_file_name("other"));
    fs::create_dir(&other).expect("a directory");
    fs::copy(guests::command("echo"), other.join("echo.wasm")).expect("a copy");
    let cache = builder.files().join("cache");
    let builder = builder.without_cache_flag().server(&format!("cache = {cache:?}"));
    let builder = builder.listener("default").listener("other").more("[tenants.other]\ncommands = [\"other\"]");
    (builder.start(), mine, other)
}

/// The compiling children of a host.
fn compilers(host: &Host) -> Vec<Pid> {
    let children = machine::children_with(host.pid(), "compile-for-host").into_iter();
    children.filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).collect()
}

fn the_compiler(host: &Host) -> Pid {
    eventually_some("the compiler runs", || compilers(host).first().copied())
}

fn signal(pid: Pid, signal: Signal) {
    kill_process(pid, signal).expect("the compiler is there");
}

#[test]
fn a_slow_compilation_holds_up_nobody() {
    let (host, mine, other) = two_tenants(HostBuilder::new());
    guests::install(&mine, "slow.wasm", &slow());
    let compiler = the_compiler(&host);
    // It is not slow now: it stands still.
    signal(compiler, Signal::STOP);
    let mut client = Client::connect(host.addresses()[1]);
    guests::install(&other, "words.wasm", &guests::fixture_bytes("words"));
    eventually("another tenant's command is taken up meanwhile", || client.reply("words a").lines == ["[a]"]);
    // The same tenant's other commands change, too, as far as they need no compiler.
    guests::install(&mine, "again.wasm", &guests::command_bytes("echo"));
    let mut client = host.connect();
    eventually("its own command as well", || client.reply("again a").lines == ["a"]);
    client.reply("slow").is(["Command not found."]);
    host.signal(Signal::HUP);
    host.wait_for_log(&["configuration reloaded"]);
    client.reply("echo still").is(["still"]);
    signal(compiler, Signal::CONT);
    eventually("it comes when it is done", || client.reply("slow").lines.is_empty());
}

#[test]
fn a_compiler_that_was_killed_is_tried_again() {
    let (host, mine, _) = two_tenants(HostBuilder::new().fixture("words"));
    let mut client = host.connect();
    guests::install(&mine, "words.wasm", &slow());
    signal(the_compiler(&host), Signal::KILL);
    let line = host.wait_for_log(&["refused", "words.wasm", "was killed"]);
    assert!(line.contains("retry_in"), "{line}");
    client.reply("words a").is(["[a]"]);
    eventually("the new version serves by itself", || client.reply("words a").lines.is_empty());
}

#[test]
fn a_compiler_ends_with_its_host() {
    let (host, mine, _) = two_tenants(HostBuilder::new());
    guests::install(&mine, "slow.wasm", &slow());
    let compiler = the_compiler(&host);
    let pid = u32::try_from(compiler.as_raw_pid()).expect("a pid");
    // Whoever has computed for so long has bound itself to its host before.
    eventually("it is at work", || machine::cpu_ticks(pid) > 10);
    signal(compiler, Signal::STOP);
    host.signal(Signal::KILL);
    eventually("no orphan is left", || !machine::processes_with("compile-for-host").contains(&pid));
}

#[test]
fn a_file_cut_short_anywhere_leaves_the_old_version_serving() {
    let whole = guests::fixture_bytes("words");
    let mut builder = HostBuilder::new();
    let names: Vec<String> = (0..64).map(|part| format!("words{part}")).collect();
    for name in &names {
        builder = builder.guest(name, &whole);
    }
    let host = builder.start();
    for (part, name) in names.iter().enumerate() {
        host.install(&format!("{name}.wasm"), &whole[..whole.len() * part / 64]);
    }
    let mut client = host.connect();
    for name in &names {
        host.wait_for_log(&["refused", &format!("/{name}.wasm")]);
        client.reply(format!("{name} a")).is(["[a]"]);
    }
}

#[test]
fn code_compiled_elsewhere_is_refused() {
    let (host, mine, _) = two_tenants(HostBuilder::new());
    let native = machine::code_in(host.files().join("cache")).pop().expect("echo was compiled");
    guests::install(&mine, "native.wasm", &fs::read(native).expect("it can be read"));
    let line = host.wait_for_log(&["refused", "native.wasm"]);
    assert!(line.contains("compiled ahead of time") && line.contains("give the .wasm"), "{line}");
    host.connect().reply("native").is(["Command not found."]);
}

#[test]
fn a_full_disk_is_told_and_comes_right() {
    let host = HostBuilder::new().tmpfs_cache("2m").start();
    // The file system is the host's own, seen through it.
    let ballast = Path::new("/proc")
        .join(host.pid().to_string())
        .join("root")
        .join(host.files().join("cache").strip_prefix("/").expect("an absolute path"));
    let ballast = ballast.join("ballast");
    let written = fs::write(&ballast, vec![1; 4 << 20]);
    assert!(written.is_err(), "the disk is full now");
    host.install("words.wasm", &guests::fixture_bytes("words"));
    let line = host.wait_for_log(&["refused", "words.wasm", "cannot be stored"]);
    assert!(line.contains("No space left"), "{line}");
    let mut client = host.connect();
    client.reply("echo on").is(["on"]);
    client.reply("words a").is(["Command not found."]);
    fs::remove_file(ballast).expect("it can be removed");
    eventually("there is room again", || client.reply("words a").lines == ["[a]"]);
}

/// The compiler's own bounds are higher than what the host was started with, which it cannot raise.
#[test]
fn a_host_that_was_started_with_lower_limits_compiles_within_them() {
    let (host, mine, _) = two_tenants(HostBuilder::new().after("ulimit -f 2048; ulimit -t 25"));
    host.connect().reply("echo compiled").is(["compiled"]);
    // Its code holds what is in its memory at first.
    let memory = r#"(memory (export "memory") 80)"#;
    let data = format!("(data (i32.const 4096) \"{}\")", "x".repeat(4 << 20));
    guests::install(&mine, "big.wasm", &components::command(&[memory, components::REALLOC, components::RUN, &data]));
    let line = host.wait_for_log(&["refused", "big.wasm", "is too much for the compiler"]);
    // Shells count in blocks of 512 bytes or of a KiB.
    assert!(["1.0 MiB", "2.0 MiB"].iter().any(|size| line.contains(&format!("code has more than {size}"))), "{line}");
    assert!(host.connect().is_served());
}

#[test]
fn the_operator_is_told_what_is_refused() {
    let builder = HostBuilder::new().command("help").guest("text", "(module)").tenant("operator = true");
    let (host, mine, other) = two_tenants(builder);
    fs::copy(guests::command("help"), other.join("help.wasm")).expect("a copy");
    guests::install(&other, "empty.wasm", b"");
    host.wait_for_log(&["refused", "empty.wasm"]);
    let text = format!("refused for default: {}: is text", mine.join("text.wasm").display());
    let empty = format!("refused for other: {}: is empty", other.join("empty.wasm").display());
    let told = |address, line: &str| {
        let lines = Client::connect(address).reply("help").lines;
        lines.iter().any(|told| told.starts_with(line))
    };
    eventually("both are listed", || told(host.addresses()[0], &text) && told(host.addresses()[0], &empty));
    eventually("the other has `help`", || told(host.addresses()[1], "help"));
    // Another tenant is told neither of others' files nor of its own.
    assert!(!told(host.addresses()[1], "refused"));
}

#[test]
fn a_compile_bomb_ends_in_a_reason_while_another_tenant_is_served() {
    let (host, mine, _) = two_tenants(HostBuilder::new());
    let mut client = Client::connect(host.addresses()[1]);
    let bombs = [("blocks", nested("block", 15_000)), ("locals", locals(50_000)), ("loops", nested("loop", 11_000))];
    for (name, text) in bombs {
        let bomb = components::command(&[components::MEMORY, components::REALLOC, components::RUN, &text]);
        guests::install(&mine, &format!("{name}.wasm"), &bomb);
        // It may compile or not; it must come to an end, and nobody may notice meanwhile.
        let ended = |line: &str| line.contains(&format!("{name}.wasm")) || line.contains(&format!("new={name}"));
        eventually_within(COMPILING, "the bomb compiles, or is refused with a reason", || {
            client.reply("echo prompt").is(["prompt"]);
            host.log().lines().any(ended)
        });
    }
    assert!(host.connect().is_served());
}

fn nested(kind: &str, depth: usize) -> String {
    format!("(func {} {})", format!("{kind} ").repeat(depth), "end ".repeat(depth))
}

fn locals(count: usize) -> String {
    format!("(func (local {}))", "i64 ".repeat(count))
}

/// Prints how long a start takes with a thousand commands, cold and warm. Only that all of them are there is tested.
#[test]
fn a_thousand_commands_at_the_start() {
    let small = components::command(&[components::MEMORY, components::REALLOC, components::RUN]);
    let cache = tempfile::tempdir().expect("a directory");
    let start = |what: &str| {
        let mut builder = HostBuilder::new().command("help").without_cache_flag();
        for number in 0..1000 {
            builder = builder.guest(
                &format!("c{number}"),
                components::with_custom_section(&small, format!("{number:04}").as_bytes()),
            );
        }
        let builder = builder.server(&format!("cache = {:?}", cache.path().join("cache")));
        let began = std::time::Instant::now();
        let host = builder.start();
        println!("a start with 1,000 commands, {what}: {:?}", began.elapsed());
        assert_eq!(host.connect().reply("help").lines.len(), 1002, "and `echo` and `help`");
        host.connect().reply("c999").is([]);
        host.log().lines().find(|line| line.contains("compiling what is not in the cache yet")).map(str::to_owned)
    };
    let told = start("nothing in the cache").expect("it says so");
    assert!(told.contains("files=1002") && told.contains(" c0 c1 c10 ") && told.contains(" …\""), "{told}");
    assert_eq!(start("all in the cache"), None);
}

/// Prints how long it takes from a rename to the first reply. A figure for the README, not a threshold.
#[test]
fn from_rename_to_first_reply() {
    let (host, mine, _) = two_tenants(HostBuilder::new());
    // Some 100 KiB, a tenth of it code that is compiled.
    let padded = |tag: u8| {
        let component = guests::fixture_bytes("words");
        let padding = (100 << 10) - component.len().min(100 << 10);
        components::with_custom_section(&component, &vec![tag; padding])
    };
    let mut client = host.connect();
    let mut first_reply = |name: &str, bytes: &[u8]| {
        let aside = mine.with_extension("aside");
        fs::write(&aside, bytes).expect("a file can be written");
        let began = std::time::Instant::now();
        fs::rename(aside, mine.join(format!("{name}.wasm"))).expect("it can be renamed");
        loop {
            client.send(format!("{name} a\n"));
            if client.line() == "[a]" {
                return began.elapsed().as_millis();
            }
            assert!(began.elapsed().as_secs() < 60, "{name} does not come");
        }
    };
    let mut figures = |what: &str, cold: bool| {
        let mut times: Vec<u128> =
            (0..7).map(|round| first_reply(&format!("{what}{round}"), &padded(if cold { round } else { 0 }))).collect();
        times.sort();
        println!("from rename to first reply, {what}: median {} ms ({}-{} ms)", times[3], times[0], times[6]);
    };
    figures("cold", true);
    figures("cached", false);
}

#[test]
fn a_command_is_instantiated_without_the_module_between_it_and_its_imports() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("cache");
    let bare = |flags: &[&str], file: &str| {
        let mut command = wasmline();
        command.args(["bare", "--calls", "10", "--cache"]).arg(&cache).args(flags).arg(guests::fixture(file)).arg("x");
        pipe_into(command.current_dir(&directory), "")
    };
    // There is no such import in this loop, and the trap tells who called it.
    let callers = |flags: &[&str]| bare(flags, "settings").exited(1).err().matches("<wasm function ").count();
    let [usual, as_written] = [callers(&[]), callers(&["--as-written"])];
    assert_eq!((usual > 0, as_written), (true, usual + 1));
    // Each is found again in the cache as what it is.
    assert_eq!([callers(&[]), callers(&["--as-written"])], [usual, as_written]);
    for flags in [&[][..], &["--as-written"]] {
        let out = bare(flags, "words").exited(0).out();
        assert!(out.contains("cpu_us_per_call"), "{out}");
    }
}
