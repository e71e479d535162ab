//! What an operator or an author gets wrong: a clear error, and all else goes on.

use std::fs;
use std::net::TcpListener;

use crate::support::{HostBuilder, components, guests, pipe_into};

/// Asserts that the file is no command, that the log says why, and that the other commands are served.
#[track_caller]
fn is_refused(bytes: &[u8], reasons: &[&str]) {
    let host = HostBuilder::new().guest("suspect", bytes).start();
    host.connect().reply("suspect").is(["Command not found."]);
    let line = host.wait_for_log(&["suspect", "refused"]);
    assert!(reasons.iter().all(|reason| line.contains(reason)), "the log does not say {reasons:?}:\n{line}");
    assert!(line.contains("WARN") || line.contains("ERROR"), "{line}");
}

#[test]
fn text_is_refused() {
    is_refused(b"#!/bin/sh\necho hello\n", &["is text, not WebAssembly"]);
}

#[test]
fn an_empty_file_is_refused() {
    is_refused(b"", &["empty"]);
}

#[test]
fn a_native_program_is_refused() {
    is_refused(&fs::read("/bin/true").expect("a program"), &["is a native program"]);
}

#[test]
fn a_picture_is_refused() {
    is_refused(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &["is not WebAssembly"]);
}

#[test]
fn a_truncated_component_is_refused() {
    let whole = guests::command_bytes("echo");
    is_refused(&whole[..whole.len() / 2], &["failed to parse", "out of bounds"]);
    is_refused(&whole[..12], &["failed to parse", "unexpected end-of-file"]);
}

#[test]
fn a_damaged_component_is_refused() {
    let mut damaged = guests::command_bytes("echo");
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    is_refused(&damaged, &["failed to "]);
}

#[test]
fn an_import_that_nobody_offers_is_named() {
    is_refused(&components::importing("acme:warp/drive@1.0.0"), &["acme:warp/drive@1.0.0"]);
}

#[test]
fn a_component_without_run_is_refused() {
    is_refused(&components::without_run(), &["run"]);
}

#[test]
fn what_a_refused_file_has_to_say_is_bounded() {
    let host = HostBuilder::new().guest("suspect", components::exporting_names(8, 90_000)).start();
    host.wait_for_log(&["suspect", "refused", "exports x"]);
    assert!(host.log().len() < 20_000, "the log has {} bytes", host.log().len());
}

#[test]
fn a_core_module_that_is_no_program_is_refused() {
    is_refused(&components::core_module_without_start(), &["does not export `_start`"]);
}

#[test]
fn a_sidecar_with_an_unknown_key_is_refused_with_its_command() {
    let host = HostBuilder::new().fixture("words").sidecar("words", "summary = \"x\"\nusge = \"words\"\n").start();
    host.connect().reply("words a").is(["Command not found."]);
    let line = host.wait_for_log(&["words.toml", "usge"]);
    assert!(line.contains("usage") && line.contains("words.toml:2"), "{line}");
}

#[test]
fn a_sidecar_that_is_no_toml_is_refused_with_its_command() {
    let host = HostBuilder::new().fixture("words").sidecar("words", "summary = \n").start();
    host.connect().reply("words a").is(["Command not found."]);
    host.wait_for_log(&["words.toml:1"]);
}

#[test]
fn a_file_whose_name_is_no_command_name_is_refused() {
    let echo = guests::command_bytes("echo");
    let host = HostBuilder::new().guest("Upper", &echo).guest("with space", &echo).guest("-flag", &echo).start();
    let mut client = host.connect();
    for request in ["Upper x", "'with space' x", "-flag x"] {
        client.reply(request).is(["Command not found."]);
    }
    for file in ["Upper.wasm", "with space.wasm", "-flag.wasm"] {
        host.wait_for_log(&["command file refused", file, "a name is made of"]);
    }
}

#[test]
fn a_missing_commands_directory_is_named() {
    let (_dir, mut command) = HostBuilder::new().arg("--commands").arg("/nowhere/commands").into_command();
    pipe_into(&mut command, "").exited(1).says(&["/nowhere/commands"]);
}

#[test]
fn a_commands_directory_that_is_a_file_is_named() {
    let builder = HostBuilder::new();
    let file = builder.file("no-directory", "").display().to_string();
    let (_dir, mut command) = builder.arg("--commands").arg(&file).into_command();
    pipe_into(&mut command, "").exited(1).says(&[&file]);
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (_dir, mut command) = HostBuilder::new().arg("--listen").arg(&address).into_command();
    pipe_into(&mut command, "").exited(1).says(&[&address, "in use"]);
}

#[test]
fn an_address_of_another_machine_is_named() {
    // 192.0.2.0/24 is for documentation; no machine has it.
    let (_dir, mut command) = HostBuilder::new().arg("--listen").arg("192.0.2.1:0").into_command();
    pipe_into(&mut command, "").exited(1).says(&["192.0.2.1:0"]);
}
