//! Where the built guests are, and how a file is installed. `cargo xtask test` builds them and says where.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// A command as it is shipped, in `target/commands`.
pub fn command(name: &str) -> PathBuf {
    built("WASMLINE_TEST_COMMANDS", "commands", name)
}

/// A guest that exists for the tests only, in `target/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    built("WASMLINE_TEST_FIXTURES", "fixtures", name)
}

/// The bytes of a shipped command.
#[track_caller]
pub fn command_bytes(name: &str) -> Vec<u8> {
    read(&command(name))
}

/// The bytes of a test guest.
#[track_caller]
pub fn fixture_bytes(name: &str) -> Vec<u8> {
    read(&fixture(name))
}

/// A command in another language, in `target/languages`.
pub fn language(name: &str) -> PathBuf {
    built("WASMLINE_TEST_LANGUAGES", "languages", name)
}

/// A program that was not written for wasmline, in `target/third-party`.
pub fn third_party(name: &str) -> PathBuf {
    built("WASMLINE_TEST_THIRD_PARTY", "third-party", name)
}

/// Puts a file into a commands directory as one should: written elsewhere, then renamed.
#[track_caller]
pub fn install(directory: &Path, name: &str, bytes: &[u8]) {
    let aside = directory.with_extension("aside");
    fs::write(&aside, bytes).expect("a file can be written");
    fs::rename(aside, directory.join(name)).expect("it can be renamed");
}

#[track_caller]
fn read(guest: &Path) -> Vec<u8> {
    fs::read(guest).expect("the guest can be read")
}

#[track_caller]
fn built(variable: &str, dir: &str, name: &str) -> PathBuf {
    let dir = match env::var_os(variable) {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(dir),
    };
    let file = dir.join(format!("{name}.wasm"));
    assert!(file.is_file(), "{} does not exist; run the tests with `cargo xtask test`", file.display());
    file
}
