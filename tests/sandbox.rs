//! What a guest finds around it: a fresh instance for each line, and nothing of the machine.

use crate::support::{HostBuilder, components};

#[test]
fn nothing_survives_a_line() {
    let host = HostBuilder::new().fixture("counter").start();
    let mut client = host.connect();
    for _ in 0..10 {
        client.reply("counter").is(["1"]);
    }
}

#[test]
fn nothing_survives_a_line_that_failed() {
    let host = HostBuilder::new().fixture("counter").fixture("hog").limit("memory = \"32MiB\"").start();
    let mut client = host.connect();
    client.reply("hog 100").fails_with("memory");
    client.reply("counter").is(["1"]);
}

#[test]
fn wasi_shows_nothing_of_the_machine() {
    // The variable is in the host's environment, and must not be in the guest's.
    let host = HostBuilder::new().fixture("wasi-look").env("SECRET_OF_THE_HOST", "hidden").start();
    let lines = host.connect().reply("wasi-look").lines;
    for line in ["variables: 0", "directories: 0"] {
        assert!(lines.iter().any(|found| found == line), "no line {line:?} in {lines:#?}");
    }
    let tried: Vec<&String> =
        lines.iter().filter(|line| line.contains(": granted") || line.contains(": refused")).collect();
    assert!(tried.len() >= 4 && tried.iter().all(|line| line.contains(": refused")), "{lines:#?}");
}

#[test]
fn a_wasi_command_component_runs() {
    let host = HostBuilder::new().fixture("wasi-hello").start();
    let mut client = host.connect();
    client.reply("wasi-hello you").is(["hello you"]);
    client.reply("wasi-hello").fails_with("exit");
}

#[test]
fn a_core_module_of_preview_1_runs() {
    let guest = components::preview1("hello from preview 1", 0);
    let host = HostBuilder::new().guest("old", guest).start();
    let mut client = host.connect();
    client.reply("old").is(["hello from preview 1"]);
    client.reply("old").is(["hello from preview 1"]);
}
