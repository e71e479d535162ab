//! The clients that people use, each as it comes from its package.

use std::process::Command;

use crate::support::{Host, HostBuilder, nc, pipe_into, program, type_into};

fn host() -> Host {
    HostBuilder::new().command("exit").fixture("flood").start()
}

/// The program with the host's address behind its flags, as `nc`, `ncat` and `telnet` take it.
fn client(name: &str, flags: &[&str], host: &Host) -> Command {
    let mut command = program(name);
    command.args(flags).args(["127.0.0.1", &host.address().port().to_string()]);
    command
}

fn socat(host: &Host, options: &str) -> Command {
    let mut command = program("socat");
    command.args(["-t", "60", "-", &format!("TCP:{}{options}", host.address())]);
    command
}

fn many_lines() -> (String, String) {
    let input = (0..5000).map(|number| format!("echo {number}\n")).collect();
    let output = (0..5000).map(|number| format!("{number}\n")).collect();
    (input, output)
}

#[test]
fn nc_half_closes_and_gets_everything() {
    let host = host();
    let (input, output) = many_lines();
    pipe_into(&mut nc(&host), input).exited(0).prints(&output);
}

#[test]
fn nc_gets_a_long_reply_after_its_half_close() {
    let host = host();
    let expected: String = (1..=50_000).map(|number| format!("line {number}\n")).collect();
    pipe_into(&mut nc(&host), "flood 50000\n").exited(0).prints(&expected);
}

#[test]
fn nc_is_closed_by_exit() {
    let host = host();
    pipe_into(&mut nc(&host), "echo one\nexit\necho two\n").exited(0).prints("one\n");
}

#[test]
fn nc_sends_crlf_where_asked() {
    let host = host();
    pipe_into(&mut client("nc", &["-N", "-C"], &host), "echo one\necho two\n").exited(0).prints("one\ntwo\n");
}

#[test]
fn nc_is_told_of_an_incomplete_line() {
    let host = host();
    let out = pipe_into(&mut nc(&host), "echo one\necho two").exited(0).out();
    assert!(out.starts_with("one\nerror: incomplete-line: "), "{out}");
}

#[test]
fn ncat_half_closes_and_gets_everything() {
    let host = host();
    let (input, output) = many_lines();
    pipe_into(&mut client("ncat", &[], &host), input).exited(0).prints(&output);
}

#[test]
fn ncat_sends_crlf_where_asked() {
    let host = host();
    pipe_into(&mut client("ncat", &["-C"], &host), "echo one\necho two\n").exited(0).prints("one\ntwo\n");
}

#[test]
fn ncat_is_closed_by_exit() {
    let host = host();
    pipe_into(&mut client("ncat", &[], &host), "echo one\nexit\necho two\n").exited(0).prints("one\n");
}

#[test]
fn telnet_talks_until_exit() {
    let host = host();
    let outcome = type_into(&mut client("telnet", &[], &host), "echo one\necho 'two  words'\nexit\n");
    let out = outcome.out().replace('\r', "");
    assert!(out.contains("\none\ntwo  words\n"), "{outcome}");
}

#[test]
fn socat_half_closes_and_gets_everything() {
    let host = host();
    let (input, output) = many_lines();
    pipe_into(&mut socat(&host, ""), input).exited(0).prints(&output);
}

#[test]
fn socat_sends_crlf_where_asked() {
    let host = host();
    pipe_into(&mut socat(&host, ",crnl"), "echo one\necho two\n").exited(0).prints("one\ntwo\n");
}
