//! `wasmline new` writes a project. That each of them builds, and what comes out is a command, is for `languages`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Outcome, pipe_into, wasmline};

fn new(directory: &Path, words: &[&str]) -> Outcome {
    pipe_into(wasmline().current_dir(directory).arg("new").args(words), "")
}

fn list(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("the directory is there");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn a_project_in_rust_where_nothing_else_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let told = new(dir.path(), &["say-hello"]).exited(0).out();
    for line in ["cd say-hello", "cargo build --release", "wasmline run say-hello.wasm", "say-hello/README.md says"] {
        assert!(told.contains(line), "no {line:?} in:\n{told}");
    }
    let project = dir.path().join("say-hello");
    assert_eq!(list(&project), [".cargo", ".gitignore", "Cargo.toml", "README.md", "say-hello.toml", "src", "wit"]);
    let manifest = fs::read_to_string(project.join("Cargo.toml")).expect("a manifest");
    assert!(manifest.contains("name = \"say-hello\""), "{manifest}");
}

#[test]
fn a_project_in_each_language_at_a_place_of_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    for (language, file) in [("rust", "src/lib.rs"), ("c", "command.c"), ("js", "hi.js"), ("python", "app.py")] {
        let place = format!("a place/{language}");
        let told = new(dir.path(), &["hi", "--lang", language, "--path", &place]).exited(0).out();
        assert!(told.contains(&format!("cd 'a place/{language}'")), "{told}");
        for file in [file, "hi.toml", "wit/world.wit"] {
            assert!(dir.path().join(&place).join(file).is_file(), "no {file} for {language}");
        }
    }
}

#[test]
fn what_is_there_already_is_not_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("mine")).expect("a directory");
    fs::write(dir.path().join("mine/notes"), "keep").expect("a file");
    new(dir.path(), &["mine"]).exited(1).says(&["mine is not empty", "--path DIR"]);
    assert_eq!(list(&dir.path().join("mine")), ["notes"]);
    fs::remove_file(dir.path().join("mine/notes")).expect("it can be removed");
    new(dir.path(), &["mine"]).exited(0);
}

#[test]
fn a_bad_name_or_language_is_refused_with_what_would_do() {
    let dir = tempfile::tempdir().expect("a directory");
    for bad in ["Hello", "-x", "a b", "a/b", "..", ""] {
        new(dir.path(), &["--", bad]).exited(2).says(&["is no name", "a to z, 0 to 9"]);
    }
    new(dir.path(), &["x", "--lang", "cobol"]).exited(2).says(&["rust, c, js, python"]);
    new(dir.path(), &["1x"]).exited(1).says(&["1x", "a Rust package"]);
    assert_eq!(list(dir.path()), [""; 0]);
}

#[test]
fn a_disk_that_fills_up_leaves_nothing_half_written() {
    let dir = tempfile::tempdir().expect("a directory");
    // A bound of 4 KiB on each file stands for the disk: the bindings of C do not fit.
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" new big --lang c --path deep/down"]);
    shell.arg(env!("CARGO_BIN_EXE_wasmline")).current_dir(dir.path());
    pipe_into(&mut shell, "").exited(1).says(&["cannot write deep/down/bindings/command.c", "too large"]);
    assert_eq!(list(dir.path()), [""; 0]);
}
