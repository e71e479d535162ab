//! What a host is started with by whoever starts it, signals and descriptors: it keeps the host from nothing, and goes no
//! further.

use rustix::process::Signal;

use crate::support::{HostBuilder, guests, pipe_into, wasmline_after};

/// Has the host started by `env` with these flags, and with an empty cache of its own.
fn started_by_env(builder: HostBuilder, flags: &str) -> HostBuilder {
    let cache = builder.files().join("cache");
    let builder = builder.without_cache_flag().server(&format!("cache = {cache:?}"));
    builder.after(&format!("exec env {flags} \"$0\" \"$@\""))
}

#[test]
fn children_are_waited_for_though_their_death_was_ignored() {
    let busy = "while :; do :; done";
    let builder = HostBuilder::new().fixture("spawn").limit("cpu = \"1s\"");
    let builder = builder.may_run_script("exit 7").may_run_script(busy);
    let host = started_by_env(builder, "--ignore-signal=CHLD").start();
    let mut client = host.connect();
    client.reply("echo compiled").is(["compiled"]);
    client.reply("spawn /bin/sh -c 'exit 7'").is(["status: exited 7"]);
    client.reply(format!("spawn /bin/sh -c '{busy}'")).fails_with("cpu");
    host.wait_until_gone(busy);
}

#[test]
fn a_host_is_ended_though_the_signal_was_blocked() {
    let mut host = started_by_env(HostBuilder::new(), "--block-signal=TERM").start();
    host.signal(Signal::TERM);
    assert_eq!(host.wait_for_exit().code(), Some(0));
}

#[test]
fn a_program_begins_with_no_signal_blocked_or_ignored() {
    let told = |flags: &str| {
        let status = "[\"-E\", \"^Sig(Blk|Ign)\", \"/proc/self/status\"]";
        let builder = HostBuilder::new().fixture("spawn").may_run("/bin/grep", status);
        let host = started_by_env(builder, flags).start();
        host.connect().reply("spawn /bin/grep -E '^Sig(Blk|Ign)' /proc/self/status").lines
    };
    let lines = told("--block-signal=USR1,TERM --ignore-signal=CHLD,HUP,QUIT,USR2,XFSZ,RTMAX");
    assert_eq!(lines[0], "SigBlk:\t0000000000000000");
    // The C library may have programs ignore signals that are its own.
    assert_eq!(lines, told("--default-signal"));
}

#[test]
fn a_program_that_is_run_once_has_no_descriptor_either() {
    let builder = HostBuilder::new().may_run("/bin/ls", "[\"/proc/self/fd\"]");
    let config = builder.file("run.toml", builder.config());
    let mut run = wasmline_after("exec 7</etc/passwd");
    run.arg("run").arg("--config").arg(config).arg("--cache").arg(HostBuilder::shared_cache());
    run.arg(guests::fixture("spawn")).args(["/bin/ls", "/proc/self/fd"]);
    // The last one is what `ls` reads.
    pipe_into(&mut run, "").exited(0).prints("0\n1\n2\n3\nstatus: exited 0\n");
}

/// Whoever reads no reason reads the status.
#[test]
fn the_status_is_as_documented_where_nobody_takes_the_reason() {
    let builder = HostBuilder::new().guest("text", "(module)").without_cache_flag();
    let cache = builder.files().join("cache").display().to_string();
    let config = builder.file("full.toml", format!("[tenants.default]\ncommands = [{:?}]\n", builder.commands()));
    let broken = builder.file("broken.toml", "[tenants.default.limitz]\n").display().to_string();
    let (config, records) = (config.display().to_string(), builder.file("audit.jsonl", "no record\n"));
    let said_nothing = |args: &[&str], status: i32| {
        pipe_into(wasmline_after("exec 2>/dev/full").args(args), "").exited(status);
    };
    said_nothing(&["check", "--config", &config, "--cache", &cache], 1);
    said_nothing(&["serve", "--config", &broken, "--cache", &cache], 1);
    said_nothing(&["suggest", &records.display().to_string()], 1);
    said_nothing(&["explain", "--config", &broken, "echo", "digest", "/etc/hostname"], 2);
    let mut bare = wasmline_after("exec >/dev/full");
    bare.args(["bare", "--calls", "10", "--cache", &cache]).arg(guests::fixture("words"));
    pipe_into(&mut bare, "").exited(1).says(&["cannot write"]);
}
