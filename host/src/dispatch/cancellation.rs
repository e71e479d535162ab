//! A line that is dropped leaves nothing behind but its record, wherever it was: each line here is run to its end, and then again and
//! again, dropped after its first poll, its second, and so on. A client that vanishes does no more than that to its line.

pub(super) mod world;

use std::fs;
use std::sync::Arc;

use crate::error::Code;
use crate::registry::Command;
use crate::sandbox::ready;
use world::{World, line};

#[test]
fn a_child_that_is_read_and_waited_for() {
    let grant =
        "[[tenants.default.grants.process]]\nprogram = '/bin/sh'\nargs = ['-c', { any = true }, { any = true }]\n";
    let world = World::new(&[("spawn", ""), ("killchild", ""), ("trapchild", ""), ("brood", "")], grant);
    // The last word marks the children among all processes.
    let mark = world.path("child");
    let counts = format!("for i in 1 2 3; do seq 20000; sleep 0.01; done; exit 7; : {mark}");
    let polls = world.survives(&line(&format!("spawn /bin/sh -c '{counts}' {mark}"), "status: exited 7\n"));
    assert!(polls > 5, "it took {polls} polls only");
    let stubborn = format!("trap \"\" TERM HUP; echo x; while :; do sleep 1000; done; : {mark}");
    world.survives(&line(&format!("killchild /bin/sh -c '{stubborn}' {mark}"), "status: signaled 9\n"));
    world.survives(&line(&format!("trapchild /bin/sh -c '{stubborn}' {mark}"), "").failing(Code::Trap));
    world.survives(&line(&format!("brood 3 /bin/sh -c '{stubborn}' {mark}"), "started\nstarted\n"));
    let loud = format!("yes {mark} >&2 & sleep 0.05; kill $!; exit 3");
    world.survives(&line(&format!("spawn /bin/sh -c '{loud}' {mark}"), "status: exited 3\n"));
}

#[test]
fn a_hash() {
    let config = "[tenants.default.grants.digest]\nread = ['%/data']\n[tenants.default.limits]\ndigest-size = '2TiB'\n\
                  hash-jobs = 1\ntimeout = '20ms'\n";
    let world = World::new(&[("hash", "")], config);
    let (file, endless) = (world.path("file"), world.path("endless"));
    fs::write(&file, "abc").unwrap();
    fs::File::create(&endless).unwrap().set_len(1 << 40).unwrap();
    let sum = "a9993e364706816aba3e25717850c26c9cd0d89d\n";
    // The thread for jobs is there already, and may be done with so little within the poll that asks it.
    let mut attempts = (0..100).map(|_| world.survives(&line(&format!("hash sha1 {file}"), sum)));
    assert!(attempts.any(|polls| polls > 1), "it was never waited for");
    world.survives(&line(&format!("hash blake3 {endless}"), "").failing(Code::Timeout));
}

#[test]
fn a_hash_that_waits_for_its_turn() {
    let config = "[tenants.default.grants.digest]\nread = ['%/data']\n[tenants.default.limits]\ndigest-size = '2TiB'\n\
                  hash-jobs = 1\ntimeout = '100ms'\n";
    let world = World::new(&[("hash", "")], config);
    let endless = world.path("endless");
    fs::File::create(&endless).unwrap().set_len(1 << 40).unwrap();
    let request = format!("hash sha1 {endless}");
    world.survives(&line(&request, "").failing(Code::Timeout).beside(&request));
}

#[test]
fn a_line_in_an_instance_that_is_kept() {
    let kept = "instance = 'connection'\n";
    let world = World::new(&[("midway", kept), ("counter", kept)], "[tenants.default.limits]\ncpu = '50ms'\n");
    world.survives(&line("midway read log read", "done\n").sending(&["one\n", "two\n"]).behind("midway log"));
    world.survives(&line("counter", "1\n"));
    world.survives(&line("counter", "1\n2\n").behind("counter"));
    world.survives(&line("counter spin", "").failing(Code::Cpu).behind("counter"));
}

#[test]
fn output_beyond_what_is_kept_for_a_client() {
    let world = World::new(&[("flood", ""), ("words", "")], "");
    let polls = world.survives(&line("flood 60000", "line 60000\n"));
    assert!(polls > 10, "it took {polls} polls only");
    world.survives(&line("words a b", "[a]\n[b]\n"));
}

#[test]
fn lines_that_are_waited_for() {
    let world = World::new(&[("readback", "")], "[tenants.default.limits]\ntimeout = '50ms'\n");
    let sent = ["a\n", "b", "c\n", "\n", ".\n"];
    let polls = world.survives(&line("readback", "got: bc\ngot: \ndone\n").sending(&sent));
    assert!(polls >= sent.len(), "it took {polls} polls only");
    world.survives(&line("readback", "").sending(&["a\n"]).failing(Code::Timeout));
}

#[test]
fn files_and_streams_of_wasi() {
    let config = "[[tenants.default.grants.directory]]\npath = '%/data'\nas = '/d'\nwrite = true\n";
    let stdin = "stdin = 'connection'\n";
    let world = World::new(&[("wasi-files", stdin), ("wasi-copy", stdin)], config);
    fs::create_dir(world.path("many")).unwrap();
    fs::write(world.path("note"), "in data").unwrap();
    fs::write(world.path("long"), vec![b'x'; 300_000]).unwrap();
    for number in 0..300 {
        fs::write(world.path(&format!("many/{number}")), "").unwrap();
    }
    for (request, end) in [
        ("read /d/note", "in data\n"),
        ("read /d/long", "x\n"),
        ("count /d/many", "300\n"),
        ("write /d/written text", "done\n"),
        ("append /d/written text", "done\n"),
        ("truncate /d/written", "done\n"),
        ("size /d/note", "7\n"),
        ("touch note", "done\n"),
        ("about note", "another: false\n"),
        ("descriptor changed", "true 1\n"),
        ("streams streamed", " invalid\n"),
        ("unflushed late written", "done\n"),
        ("random", "]\n"),
        ("directories", "/d\n"),
    ] {
        world.survives(&line(&format!("wasi-files {request}"), end));
    }
    let polls = world.survives(&line("wasi-files ask", "hello you\n").sending(&["y", "ou\n"]));
    assert!(polls > 2, "it took {polls} polls only");
    world.survives(&line("wasi-copy", "2 b\n2 lines\n").sending(&["a\nb", "\n", ".\n"]));
}

#[test]
fn file_operations_that_wait_for_their_turn() {
    let config = "[[tenants.default.grants.directory]]\npath = '%/data'\nas = '/d'\nwrite = true\n\
                  [tenants.default.limits]\nfile-jobs = 1\ntimeout = '10s'\n";
    let world = World::new(&[("wasi-files", "")], config);
    fs::write(world.path("note"), "in data").unwrap();
    for (request, end) in [("read /d/note", "in data\n"), ("streams streamed", " invalid\n")] {
        world.survives(&line(&format!("wasi-files {request}"), end).beside("wasi-files resolve . 1000000000"));
    }
}

#[test]
fn a_file_operation_whose_turn_does_not_come() {
    let config = "[[tenants.default.grants.directory]]\npath = '%/data'\nas = '/d'\n\
                  [tenants.default.limits]\nfile-jobs = 1\ntimeout = '50ms'\n";
    let world = World::new(&[("wasi-files", "")], config);
    fs::write(world.path("note"), "in data").unwrap();
    let _held = world.tenant.part().file_jobs.try_acquire().unwrap();
    world.survives(&line("wasi-files read /d/note", "").failing(Code::Timeout));
}

#[test]
fn clocks_memory_and_processors() {
    let limits = "[tenants.default.limits]\ncpu = '200ms'\nmemory = '32MiB'\ntimeout = '10s'\n";
    let world = World::new(&[("sleeper", ""), ("hog", ""), ("spin", ""), ("panic", "")], limits);
    world.survives(&line("sleeper 5", "slept\n"));
    world.survives(&line("hog 4 hold", "ok\n").sending(&["on\n"]));
    world.survives(&line("hog", "").failing(Code::Memory));
    // On a machine that stands still for so long a whole budget goes within one poll.
    let mut attempts = (0..20).map(|_| world.survives(&line("spin", "").failing(Code::Cpu)));
    assert!(attempts.any(|polls| polls > 5), "it never took more than 5 polls");
    world.survives(&line("panic", "").failing(Code::Trap));
}

#[test]
fn tasks_and_those_that_need_no_grant() {
    let config = "settings.settings = { colour = 'red' }\n[tenants.default.grants.tasks]\nlist = true\nstop = true\n";
    let shipped = [("ps", ""), ("kill", ""), ("sleeper", "")];
    let plain = [("catalog", ""), ("logger", ""), ("settings", ""), ("whoami", "")];
    let world = World::new(&[&shipped[..], &plain[..]].concat(), config);
    world.survives(&line("ps", "ps\n").beside("sleeper 600000"));
    world.survives(&line("kill %ID", "").beside("sleeper 600000"));
    for (request, end) in
        [("catalog", "whoami\t\n"), ("logger info x", "ok\n"), ("settings colour", "red\n"), ("whoami", "peer test\n")]
    {
        world.survives(&line(request, end));
    }
}

#[test]
fn a_line_that_is_only_tried() {
    let world = World::new(&[("midway", "")], "");
    let tries = &world.tenant.command("midway").expect("it is there").tries;
    // A busy machine may interrupt a try.
    let tried = || {
        let mut lines = (0..100).map(|_| world.survives(&line("midway", "done\n")));
        assert!(lines.any(|polls| polls == 1 && tries.in_vain() == 0), "it was not tried, or in vain");
    };
    tried();
    world.survives(&line("midway log", "done\n"));
    assert!(tries.in_vain() > 0);
    tried();
}

#[test]
fn a_line_whose_instance_was_made_ahead() {
    let world = World::new(&[("midway", ""), ("words", "")], "");
    let [midway, words] = ["midway", "words"].map(|name| world.tenant.command(name).expect("it is there"));
    let run = |request: &str, end: &str| {
        world.survives(&line(request, end));
        ready::prepare();
    };
    // A busy machine may interrupt a try, and then there is nothing to make one for.
    let make = |command: &Arc<Command>, request: &str, end: &str| {
        assert!((0..100).any(|_| {
            run(request, end);
            ready::has(command)
        }));
    };
    ready::open();
    assert!(!ready::has_any());
    make(&midway, "midway", "done\n");
    // It is gone with its line, whatever became of the try.
    world.survives(&line("midway log", "done\n"));
    assert!(!ready::has(&midway));
    make(&midway, "midway", "done\n");
    // Some lines of another command leave it where it is, and then it makes room.
    run("words a b", "[a]\n[b]\n");
    assert!(ready::has(&midway));
    make(&words, "words a b", "[a]\n[b]\n");
    // It is let go of when nobody else has its command.
    ready::let_go();
    assert!(ready::has(&words));
    drop((midway, words, world));
    ready::let_go();
    assert!(!ready::has_any());
}

#[test]
fn a_place_that_is_waited_for() {
    let world = World::new(&[("sleeper", "")], "[tenants.default.limits]\nconcurrency = 1\ntimeout = '100ms'\n");
    // Held by the test itself: a line beside would time out at the same moment as the one that waits.
    let _held = Arc::clone(&world.tenant.slots).try_acquire_owned().unwrap();
    world.survives(&line("sleeper 1", "").failing(Code::Overloaded));
}
