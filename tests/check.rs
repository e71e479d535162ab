//! `wasmline check` says what would not serve, and why, without serving.

use std::fs;

use crate::support::{HostBuilder, pipe_into, wasmline};

fn check(builder: &HostBuilder, more: &str) -> crate::support::Outcome {
    let dir = builder.files();
    let config = dir.join("check.toml");
    let text = format!("[tenants.default]\ncommands = [{:?}]\n{more}", builder.commands());
    fs::write(&config, text).expect("a configuration can be written");
    let mut command = wasmline();
    command.arg("check").arg("--config").arg(config).arg("--cache").arg(dir.join("cache"));
    pipe_into(&mut command, "")
}

#[test]
fn all_is_well() {
    let builder = HostBuilder::new().command("comphash");
    let outcome = check(&builder, "[tenants.default.grants.digest]\nread = [\"/etc\"]\n").exited(0);
    let out = outcome.out();
    assert!(out.contains("tenant default") && out.contains("comphash") && !out.contains("refused"), "{out}");
}

#[test]
fn what_is_refused_is_named_with_its_reason() {
    let builder = HostBuilder::new().guest("text", "(module)").guest("empty", "");
    let outcome = check(&builder, "").exited(1);
    let out = outcome.out();
    for words in ["text.wasm: is text", "empty.wasm: is empty", "ok"] {
        assert!(out.contains(words), "no {words:?} in:\n{out}");
    }
}

#[test]
fn what_is_asked_for_and_not_granted_is_named() {
    let builder = HostBuilder::new().command("lastlog").command("comphash");
    let outcome = check(&builder, "").exited(1);
    let out = outcome.out();
    for words in ["lastlog: asks to run /usr/bin/tail", "comphash: asks to hash files beneath /"] {
        assert!(out.contains(words), "no {words:?} in:\n{out}");
    }
}

#[test]
fn a_broken_configuration_is_located() {
    let builder = HostBuilder::new();
    check(&builder, "[tenants.default.limitz]\n").exited(1).says(&["check.toml:3", "limitz", "limits"]);
}
