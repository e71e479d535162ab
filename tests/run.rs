//! `wasmline run` runs one command for its author, on the terms of the server.

use std::fs;
use std::path::Path;

use crate::support::{HostBuilder, Outcome, components, guests, pipe_into, wasmline, wasmline_after};

/// Runs a file under the builder's configuration. Its commands directory has nothing to do with it.
fn run(builder: &HostBuilder, file: &Path, args: &[&str], input: &str) -> Outcome {
    run_with(builder, &[], file, args, input)
}

fn run_with(builder: &HostBuilder, flags: &[&str], file: &Path, args: &[&str], input: &str) -> Outcome {
    let config = builder.files().join("run.toml");
    fs::write(&config, builder.config()).expect("the configuration can be written");
    let mut command = wasmline();
    command.arg("run").arg("--config").arg(config).arg("--cache").arg(HostBuilder::shared_cache());
    pipe_into(command.args(flags).arg(file).args(args), input)
}

#[test]
fn a_command_prints_what_a_client_would_read() {
    let builder = HostBuilder::new();
    run(&builder, &guests::command("echo"), &["one  word", "-n"], "").exited(0).prints("one  word -n\n");
    run(&builder, &guests::command("comphash"), &[], "").exited(0).prints("Please provide a path.\n");
}

#[test]
fn grants_settings_and_limits_are_the_tenants() {
    let builder = HostBuilder::new();
    let file = builder.file("abc", "abc");
    let args = [file.to_str().expect("a plain path")];
    let denied = run(&builder, &guests::command("comphash"), &args, "").exited(0);
    denied.prints("An error occured : Not permitted\n").says(&["denied", "[tenants.default.grants.digest] read = "]);
    let builder = builder.may_hash("/").more("[tenants.default.settings.settings]\ncolour = 'red'");
    let sum = "File hash is : a9993e364706816aba3e25717850c26c9cd0d89d\n";
    run(&builder, &guests::command("comphash"), &args, "").exited(0).prints(sum);
    run(&builder, &guests::fixture("settings"), &["colour"], "").exited(0).prints("red\n");
    let builder = builder.limit("cpu = \"20ms\"");
    let spun = run(&builder, &guests::fixture("spin"), &[], "").exited(1);
    assert!(spun.out().starts_with("error: cpu: "), "{spun}");
}

#[test]
fn another_tenant_may_be_named() {
    let builder = HostBuilder::new().more("[tenants.other]\ncommands = [\"x\"]");
    let whoami = guests::fixture("whoami");
    let out = run_with(&builder, &["--tenant", "other"], &whoami, &[], "").exited(0).out();
    assert!(out.contains("other") && out.contains("local"), "{out}");
    run_with(&builder, &["--tenant", "othr"], &whoami, &[], "").exited(1).says(&["`othr`", "did you mean `other`?"]);
}

#[test]
fn a_programs_status_is_its_own() {
    let builder = HostBuilder::new();
    let hello = guests::fixture("wasi-hello");
    run(&builder, &hello, &["you"], "").exited(0).prints("hello you\n");
    // Preview 2 knows success and failure only; a program of preview 1 has its number.
    run(&builder, &hello, &[], "").exited(1).prints("usage: wasi-hello NAME…\nerror: exit: status 1\n");
    let old = builder.file("old.wasm", components::preview1("gone", 7));
    run(&builder, &old, &[], "").exited(7).prints("gone\nerror: exit: status 7\n");
    let failed = run(&builder, &guests::fixture("fail"), &[], "").exited(1);
    assert!(failed.out().contains("error: failed: "), "{failed}");
}

#[test]
fn standard_input_is_the_following_lines() {
    let builder = HostBuilder::new();
    let copied = builder.files().join("copy.wasm");
    fs::copy(guests::fixture("wasi-copy"), &copied).expect("a copy");
    run(&builder, &copied, &[], "unasked\n").exited(0).prints("0 lines\n");
    fs::write(copied.with_extension("toml"), "stdin = 'connection'").expect("a sidecar");
    run(&builder, &copied, &[], "one\ntwo\n").exited(0).prints("1 one\n2 two\n2 lines\n");
}

/// Runs a file in place of a shell that has run this script, which may put something else in place of what it reads and writes.
fn run_after(script: &str, builder: &HostBuilder, file: &Path) -> Outcome {
    let config = builder.files().join("run.toml");
    fs::write(&config, builder.config()).expect("the configuration can be written");
    let mut command = wasmline_after(script);
    command.arg("run").arg("--config").arg(config).arg("--cache").arg(HostBuilder::shared_cache());
    pipe_into(command.arg(file), "")
}

#[test]
fn what_cannot_be_printed_is_said() {
    let builder = HostBuilder::new();
    // With a line break at its end or without.
    for text in ["all of it\n", "some of it"] {
        let program = builder.file("program.wasm", components::preview1_printing(text, 0));
        run_after("exec >/dev/full", &builder, &program).exited(1).says(&["cannot write: No space left on device"]);
    }
}

/// A directory can be opened, and not be read.
#[test]
fn an_input_that_cannot_be_read_has_no_end() {
    let builder = HostBuilder::new();
    let copied = builder.files().join("count.wasm");
    fs::copy(guests::fixture("wasi-count"), &copied).expect("a copy");
    // Who reads nothing is not concerned.
    run_after("exec </", &builder, &copied).exited(0).prints("0 bytes\n");
    fs::write(copied.with_extension("toml"), "stdin = 'connection'").expect("a sidecar");
    run_after("exec </dev/null", &builder, &copied).exited(0).prints("0 bytes\n");
    let failed = run_after("exec </", &builder, &copied).exited(1);
    failed.prints("").says(&["cannot read standard input: Is a directory"]);
}

#[test]
fn what_is_no_command_is_said() {
    let builder = HostBuilder::new();
    let text = builder.file("x.wasm", "(module)");
    run(&builder, &text, &[], "").exited(1).prints("").says(&["x.wasm", "is text"]);
    let unnamed = builder.file("Upper.wasm", "");
    run(&builder, &unnamed, &[], "").exited(1).says(&["Upper.wasm", "cannot name a command"]);
    let strange = builder.file("strange.wasm", components::importing("acme:warp/drive@1.0.0"));
    run(&builder, &strange, &[], "").exited(1).says(&["strange.wasm: imports acme:warp/drive@1.0.0", "it offers"]);
    run(&builder, &builder.files().join("none.wasm"), &[], "").exited(1).says(&["none.wasm", "No such file"]);
}
