//! The capability `process`: how an approved program runs, and that nothing of it is left.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Client, Follower, Host, HostBuilder, eventually, eventually_some, machine};

/// A host that may run the shell on the one script; the fixture `spawn` runs it.
fn with_script(script: &str) -> (Host, String) {
    let host = HostBuilder::new().fixture("spawn").may_run_script(script).start();
    (host, format!("spawn /bin/sh -c '{script}'"))
}

#[track_caller]
fn runs(program: &str, expected: &[&str]) {
    let host = HostBuilder::new().fixture("spawn").may_run(program, "[]").start();
    assert_eq!(host.connect().reply(format!("spawn {program}")).lines, expected);
}

#[test]
fn its_environment_is_empty() {
    runs("/usr/bin/env", &["status: exited 0"]);
}

#[test]
fn its_directory_is_the_root() {
    runs("/bin/pwd", &["/", "status: exited 0"]);
}

#[test]
fn its_input_is_empty() {
    runs("/bin/cat", &["status: exited 0"]);
}

#[test]
fn it_has_no_descriptor_but_the_three() {
    let (host, request) = with_script("ls -l /proc/self/fd | wc -l");
    // A line for each of 0, 1, 2 and the directory that `ls` reads, and one for the total.
    host.connect().reply(request).is(["5", "status: exited 0"]);
}

#[test]
fn it_leads_a_process_group_of_its_own() {
    let (builder, follower) = Follower::granted(HostBuilder::new().fixture("spawn"));
    let host = builder.start();
    let mut client = host.connect();
    client.send(follower.request("spawn") + "\n");
    client.expect("first\n");
    let children = follower.processes();
    assert_eq!(children.len(), 1);
    assert_eq!(machine::process_group(children[0]), Some(children[0]));
    client.vanish();
    host.wait_until_gone(&follower.file);
}

#[test]
fn its_status_is_told() {
    let (host, request) = with_script("exit 7");
    host.connect().reply(request).is(["status: exited 7"]);
    let (host, request) = with_script("kill -9 $$");
    host.connect().reply(request).is(["status: signaled 9"]);
}

#[test]
fn its_standard_error_is_kept_and_reported() {
    let (host, request) = with_script("echo out; echo problem >&2; exit 3");
    host.connect().reply(request).is(["out", "stderr: problem", "status: exited 3"]);
}

#[test]
fn it_never_blocks_on_its_standard_error() {
    let (host, request) = with_script("seq 1 100000 >&2; echo done");
    let lines = host.connect().reply(request).lines;
    assert_eq!(lines.first().map(String::as_str), Some("done"));
    assert_eq!(lines.last().map(String::as_str), Some("status: exited 0"));
    // The host keeps the first 65,536 bytes that nobody has read.
    let kept: usize = lines[1..lines.len() - 1].iter().map(|line| line.trim_start_matches("stderr: ").len() + 1).sum();
    assert!(lines.get(1).is_some_and(|line| line == "stderr: 1"), "{:?}", lines.get(1));
    assert!(kept <= 65_536 + 16, "{kept} bytes of standard error were kept");
}

#[test]
fn its_output_comes_whole_through_many_chunks() {
    let builder = HostBuilder::new().fixture("spawn").may_run("/usr/bin/seq", "[\"100000\"]");
    let host = builder.start();
    let mut client = host.connect();
    client.send("spawn /usr/bin/seq 100000\n");
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    client.expect(expected + "status: exited 0\n");
}

#[test]
fn a_child_left_behind_by_its_parent_is_killed() {
    let builder = HostBuilder::new().fixture("spawn");
    let file = builder.file("followed", "");
    let script = format!("trap \"\" TERM HUP; tail -f {} >/dev/null 2>&1 & echo left", file.display());
    let host = builder.may_run_script(&script).start();
    host.connect().reply(format!("spawn /bin/sh -c '{script}'")).is(["left", "status: exited 0"]);
    host.wait_until_gone(&file);
}

/// A script that has something follow the file when it has ended itself, and the request that runs it.
fn leaving(file: &Path, how: &str) -> (String, String) {
    let script = how.replace("FOLLOW", &format!("tail -f {} >/dev/null 2>&1", file.display()));
    let request = format!("spawn /bin/sh -c '{script}'");
    (script, request)
}

#[test]
fn what_makes_a_session_of_its_own_is_ended_too() {
    for how in [
        "setsid FOLLOW & echo left",
        // As daemons do, so that nothing of its parents is left.
        "(setsid FOLLOW &); echo left",
        "(setsid sh -c \"(setsid FOLLOW &); FOLLOW\" >/dev/null 2>&1 &); echo left",
    ] {
        let builder = HostBuilder::new().fixture("spawn");
        let file = builder.file("followed", "");
        let (script, request) = leaving(&file, how);
        let host = builder.may_run_script(&script).start();
        host.connect().reply(request).is(["left", "status: exited 0"]);
        host.wait_until_gone(&file);
    }
}

#[test]
fn nothing_that_runs_is_taken_for_what_was_left_behind() {
    let builder = HostBuilder::new().fixture("spawn").limit("children = 16").limit("concurrency = 16");
    let file = builder.file("followed", "");
    let how = "(setsid FOLLOW &); (/bin/true &); sh -c \"/bin/true; exit 3\" || echo three; echo left";
    let (script, request) = leaving(&file, how);
    let host = builder.may_run_script(&script).start();
    let mut clients: Vec<Client> = (0..8).map(|_| host.connect()).collect();
    for client in &mut clients {
        client.send(format!("{request}\n").repeat(25));
    }
    for client in &mut clients {
        client.expect("three\nleft\nstatus: exited 0\n".repeat(25));
    }
    host.wait_until_gone(&file);
}

#[test]
fn what_may_belong_to_a_line_that_runs_is_left_alone() {
    let (builder, follower) = Follower::granted(HostBuilder::new().fixture("spawn").fixture("sleeper"));
    let file = builder.file("helper", "");
    let (script, request) = leaving(&file, "(setsid FOLLOW &); echo helped; exec sleep 3600");
    let host = builder.may_run_script(&script).may_run("/bin/true", "[]").start();
    let mut helped = host.connect();
    helped.send(request + "\n");
    helped.expect("helped\n");
    let text = file.to_str().expect("UTF-8");
    let helpers = || machine::processes_with(&format!("tail -f {text}"));
    eventually("the helper has no parent but the host", || {
        helpers().iter().any(|helper| machine::children(host.pid()).contains(helper))
    });
    // Another line's program that has begun later, and ends; and one that ends after it.
    let mut other = host.connect();
    other.send(follower.request("spawn") + "\n");
    other.expect("first\n");
    host.connect().reply("spawn /bin/true").is(["status: exited 0"]);
    other.vanish();
    host.wait_until_gone(&follower.file);
    assert_eq!(helpers().len(), 1);
    helped.vanish();
    host.wait_until_gone(&file);
}

/// Whoever started something and then became the host may have started anything, which is not the host's to end.
#[test]
fn what_was_there_before_the_host_is_left_alone() {
    let builder = HostBuilder::new().fixture("spawn").may_run("/bin/true", "[]");
    let file = builder.file("before", "");
    let script = format!("tail -f {} >/dev/null 2>&1 &", file.display());
    let host = builder.after(&script).start();
    host.wait_for_log(&["this process had children when it began"]);
    host.connect().reply("spawn /bin/true").is(["status: exited 0"]);
    assert_eq!(machine::processes_with(file.to_str().expect("UTF-8")).len(), 1);
}

#[test]
fn what_was_there_before_the_host_is_reaped_when_it_has_ended() {
    let builder = HostBuilder::new().fixture("spawn").may_run_script("exit 3");
    let file = builder.file("before", "");
    // One that has ended by then, as a rule, and one that has not.
    let script = format!("/bin/true & tail -f {} >/dev/null 2>&1 &", file.display());
    let host = builder.after(&script).start();
    let tail = eventually_some("the first is reaped", || {
        let tails = machine::processes_with(&format!("tail -f {}", file.display()));
        (tails.len() == 1 && tails == machine::children(host.pid())).then(|| tails[0])
    });
    kill(tail);
    eventually("the other as well", || machine::children(host.pid()).is_empty());
    // Nobody takes away what a line waits for.
    let mut client = host.connect();
    client.send("spawn /bin/sh -c 'exit 3'\n".repeat(50));
    client.expect("status: exited 3\n".repeat(50));
}

/// There whatever loses its parent becomes a child of the host, from wherever it is.
#[test]
fn the_first_process_of_a_container_reaps_and_ends_nothing() {
    let builder = HostBuilder::new().fixture("spawn");
    let file = builder.file("followed", "");
    // The word comes out of the session of its own: what is still on its way there is of the process group.
    let (script, request) =
        leaving(&file, "(setsid sh -c \"echo left; exec FOLLOW\" &); (sleep 3600 &) >/dev/null 2>&1");
    let host = builder.may_run_script(&script).in_container().start();
    for _ in 0..3 {
        host.connect().reply(&request).is(["left", "status: exited 0"]);
    }
    let [init] = machine::children(host.pid())[..] else { panic!("it has one child") };
    eventually("those of the process group are reaped", || {
        let children = machine::children(init);
        children.len() == 3 && !children.into_iter().any(machine::is_zombie)
    });
    assert_eq!(machine::processes_with(&format!("tail -f {}", file.display())).len(), 3);
}

/// Not only when a granted program ends, for what comes to it has nothing to do with these.
#[test]
fn the_first_process_of_a_container_reaps_at_any_time() {
    let builder = HostBuilder::new().fixture("spawn");
    let [file, late, fifo] = ["followed", "late", "fifo"].map(|name| builder.file(name, ""));
    fs::remove_file(&fifo).expect("it is there");
    machine::fifo(&fifo);
    // What is left behind leaves something behind itself, long after the line, and lives on.
    let how = format!(
        "(setsid sh -c \"echo left; exec >/dev/null 2>&1; read x < {}; (tail -f \\$x &); exec FOLLOW\" &)",
        fifo.display()
    );
    let (script, request) = leaving(&file, &how);
    let host = builder.may_run_script(&script).in_container().start();
    host.connect().reply(&request).is(["left", "status: exited 0"]);
    let [init] = machine::children(host.pid())[..] else { panic!("it has one child") };
    fs::write(&fifo, format!("{}\n", late.display())).expect("somebody reads");
    let comes = || {
        let late = machine::processes_with(&format!("tail -f {}", late.display()));
        late.into_iter().find(|late| machine::children(init).contains(late))
    };
    let late = eventually_some("it comes to the first process", comes);
    kill(late);
    eventually("it is reaped", || !machine::children(init).contains(&late));
}

#[track_caller]
fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not the kernel");
    kill_process(pid, Signal::KILL).expect("it runs");
}

#[test]
fn a_child_that_holds_the_pipe_open_ends_with_the_invocation() {
    let builder = HostBuilder::new().fixture("spawn").limit("timeout = \"1s\"");
    let file = builder.file("followed", "");
    let script = format!("trap \"\" TERM; tail -f {} & echo left", file.display());
    let host = builder.may_run_script(&script).start();
    let mut client = host.connect();
    let reply = client.reply(format!("spawn /bin/sh -c '{script}'"));
    assert_eq!(reply.fails_with("timeout"), ["left"]);
    host.wait_until_gone(&file);
}

#[test]
fn a_child_dies_with_the_guest_that_traps() {
    let (builder, follower) = Follower::granted(HostBuilder::new().fixture("trapchild"));
    let host = builder.start();
    assert_eq!(host.connect().reply(follower.request("trapchild")).fails_with("trap"), ["first"]);
    host.wait_until_gone(&follower.file);
}

#[test]
fn a_child_dies_with_the_guest_that_forgets_it() {
    let (builder, follower) = Follower::granted(HostBuilder::new().fixture("abandon"));
    let host = builder.start();
    host.connect().reply(follower.request("abandon")).is(["first"]);
    host.wait_until_gone(&follower.file);
}

#[test]
fn a_guest_can_kill_its_child() {
    let (builder, follower) = Follower::granted(HostBuilder::new().fixture("killchild"));
    let host = builder.start();
    host.connect().reply(follower.request("killchild")).is(["first", "status: signaled 9"]);
    host.wait_until_gone(&follower.file);
}

#[test]
fn children_are_counted_for_the_whole_tenant() {
    let (builder, follower) = Follower::granted(HostBuilder::new().fixture("spawn").limit("children = 2"));
    let host = builder.start();
    let start = || {
        let mut client = host.connect();
        client.send(follower.request("spawn") + "\n");
        let answer = client.line();
        (client, answer)
    };
    let (first, second, third) = (start(), start(), start());
    assert_eq!([first.1, second.1, third.1], ["first", "first", "too many children"]);
    first.0.vanish();
    eventually("a place for a child is free again", || start().1 == "first");
    second.0.vanish();
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let host = HostBuilder::new().fixture("spawn").may_run("/nowhere/program", "[]").start();
    let reply = host.connect().reply("spawn /nowhere/program");
    assert!(reply.begins("not found: ").contains("program"), "{reply:?}");
}

#[test]
fn a_file_that_is_no_program_is_an_error_value() {
    let builder = HostBuilder::new().fixture("spawn");
    let file = builder.file("no-program", "just text");
    let host = builder.may_run(file.to_str().expect("UTF-8"), "[]").start();
    host.connect().reply(format!("spawn {}", file.display())).begins("io: ");
}

#[test]
fn a_thousand_children_one_after_the_other_leave_nothing() {
    let host = HostBuilder::new().fixture("spawn").may_run("/bin/true", "[]").start();
    let mut client = host.connect();
    client.reply("spawn /bin/true").is(["status: exited 0"]);
    let before = machine::open_descriptors(host.pid());
    client.send("spawn /bin/true\n".repeat(1000));
    client.expect("status: exited 0\n".repeat(1000));
    client.reply("echo done").is(["done"]);
    let after = machine::open_descriptors(host.pid());
    assert!(after <= before + 2, "{before} descriptors became {after}");
    assert!(!machine::children(host.pid()).into_iter().any(machine::is_zombie), "dead children were not reaped");
}
