//! `wasmline inspect` says what a file is before anybody runs it.

use std::fs;
use std::path::Path;

use crate::support::{Outcome, components, guests, pipe_into, wasmline};

fn inspect(file: &Path, more: &[&str]) -> Outcome {
    pipe_into(wasmline().arg("inspect").arg(file).args(more), "")
}

#[test]
fn a_command_with_the_grants_it_needs() {
    let out = inspect(&guests::command("lastlog"), &[]).exited(0).out();
    let grant = "[[tenants.default.grants.process]]\nprogram = \"/usr/bin/tail\"\n";
    for words in ["command (wasmline:command)", "wasmline:command/process@0.1.0", grant, "run"] {
        assert!(out.contains(words), "no {words:?} in:\n{out}");
    }
    assert!(!out.contains("grants.digest"), "{out}");
    let strange = tempfile::tempdir().expect("a directory");
    let file = strange.path().join("strange.wasm");
    fs::write(&file, components::importing("acme:warp/drive@1.0.0")).expect("a file");
    let out = inspect(&file, &[]).exited(0).out();
    assert!(out.contains("unfit    imports acme:warp/drive@1.0.0"), "{out}");
    assert!(inspect(&guests::command("echo"), &[]).exited(0).out().contains("It needs no grants."));
}

#[test]
fn programs_of_wasi() {
    let out = inspect(&guests::fixture("wasi-hello"), &[]).exited(0).out();
    assert!(out.contains("WASI preview 2") && out.contains("wasi:cli/"), "{out}");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("old.wasm");
    fs::write(&file, components::preview1("hello", 0)).expect("a file");
    let out = inspect(&file, &[]).exited(0).out();
    assert!(out.contains("WASI preview 1"), "{out}");
}

#[test]
fn json_for_programs() {
    let out = inspect(&guests::command("comphash"), &["-o", "json"]).exited(0).out();
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["initial_memory"], 65_536);
    assert_eq!(report["blake3"].as_str().map(str::len), Some(64));
    assert!(report["imports"].as_array().is_some_and(|imports| !imports.is_empty()), "{out}");
}

#[test]
fn what_is_no_program_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("x.wasm");
    let refused = |bytes: &[u8], words: &str| {
        fs::write(&file, bytes).expect("a file");
        inspect(&file, &[]).exited(1).says(&["x.wasm", words]);
    };
    refused(b"(module)", "is text");
    refused(b"", "is empty");
    refused(&guests::command_bytes("echo")[..5000], "is damaged");
    refused(&components::core_module_without_start(), "no program of WASI preview 1");
    inspect(&dir.path().join("none.wasm"), &[]).exited(1).says(&["none.wasm", "No such file"]);
}
