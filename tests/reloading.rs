//! What a reload meets: files that are gone, or that never end, and a host that has to end meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, PipeReader, Write, pipe};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Client, Host, HostBuilder, eventually, eventually_some, machine, pipe_into, quoted, wasmline};

#[test]
fn a_configuration_that_is_gone_leaves_the_old_one_in_force() {
    // Without the file the host would start too: with nothing granted, on another address.
    let builder = HostBuilder::new().fixture("settings").without_config_flag();
    let host = builder.more("[tenants.default.settings.settings]\ncolour = \"red\"").start();
    fs::remove_file(host.config()).expect("it can be removed");
    host.signal(Signal::HUP);
    host.wait_for_log(&["not reloaded", "wasmline.toml is not there any more"]);
    host.connect().reply("settings colour").is(["red"]);
}

#[test]
fn a_pipe_in_the_place_of_an_included_file_is_refused() {
    let host = HostBuilder::new().top("include = [\"tenants.d\"]");
    let directory = host.commands().with_file_name("tenants.d");
    fs::create_dir(&directory).expect("a directory");
    let host = host.start();
    machine::fifo(&directory.join("alice.toml"));
    host.signal(Signal::HUP);
    host.wait_for_log(&["not reloaded", "alice.toml", "no regular file"]);
    host.connect().reply("echo fine").is(["fine"]);
}

/// Nothing comes out of it, and it does not end.
#[test]
fn a_host_ends_while_its_configuration_is_being_read() {
    let mut host = HostBuilder::new().start();
    fs::remove_file(host.config()).expect("it can be removed");
    machine::fifo(&host.config());
    // Open for both, for otherwise this would wait for the host.
    let _silent = OpenOptions::new().read(true).write(true).open(host.config()).expect("a pipe");
    host.signal(Signal::HUP);
    let reads = || machine::times_open(host.pid(), &host.config()) > 0;
    eventually("it reads the pipe", reads);
    host.connect().reply("echo fine").is(["fine"]);
    host.signal(Signal::TERM);
    assert_eq!(host.wait_for_exit().code(), Some(0));
}

#[test]
fn a_pipe_can_be_the_configuration() {
    let (dir, _) = HostBuilder::new().into_command();
    let text = fs::read_to_string(dir.path().join("wasmline.toml")).expect("the configuration");
    let text = text.replace("\"commands\"", &quoted(&dir.path().join("commands")));
    let mut check = wasmline();
    check.args(["check", "--config", "/dev/stdin"]).current_dir(dir.path());
    pipe_into(&mut check, &text).exited(0);
}

/// A full pipe, as standard output is for whoever has been started by somebody that stopped reading.
fn full_pipe() -> (Stdio, PipeReader) {
    let (reader, writer) = pipe().expect("a pipe");
    let file = File::from(OwnedFd::from(writer));
    fcntl_setfl(&file, OFlags::NONBLOCK).expect("it can be set");
    loop {
        match (&file).write(&[b'x'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("cannot fill a pipe: {error}"),
        }
    }
    fcntl_setfl(&file, OFlags::empty()).expect("it can be set");
    (file.into(), reader)
}

#[test]
fn a_standard_output_that_nobody_reads_keeps_no_listener_from_serving() {
    let (dir, mut command) = HostBuilder::new().into_command();
    let (stdout, _unread) = full_pipe();
    let log = dir.path().join("host.log");
    command.stdin(Stdio::null()).stdout(stdout).stderr(File::create(&log).expect("a log"));
    let mut child = command.spawn().expect("the host starts");
    let address = eventually_some("the host listens", || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        let (_, rest) = log.split_once("listening address=\"")?;
        rest.split_once('"')?.0.parse().ok()
    });
    Client::connect(address).reply("echo served").is(["served"]);
    kill_process(Pid::from_child(&child), Signal::TERM).expect("the host runs");
    let status = eventually_some("the host ends", || child.try_wait().expect("it can be waited for"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_socket_that_somebody_removed_is_there_again_after_a_reload() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("wasmline.sock");
    let host: Host = HostBuilder::new()
        .listener("default")
        .listener_with(&format!("unix = {}\ntenant = \"default\"", quoted(&path)))
        .start();
    let mut before = Client::connect_unix(&path);
    fs::remove_file(&path).expect("it can be removed");
    let log = host.reload();
    assert!(log.contains("somebody had removed the socket"), "{log}");
    Client::connect_unix(&path).reply("echo new").is(["new"]);
    before.reply("echo old").is(["old"]);
    // Where nothing was lost nothing is made anew.
    let log = host.reload();
    assert!(!log.contains("somebody had removed"), "{log}");
}
