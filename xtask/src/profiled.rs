//! `--profiled`: the host, optimised by what a run of it has shown.
//!
//! A line goes through some hundred functions of host, runtime and engine, none of which takes much by itself. What keeps the
//! processor waiting is how they lie and branch, and that the compiler can know only from a run: so the host is built to count,
//! the bench puts load on it for half a minute, and it is built again with the counts. See "profile-guided optimization" in
//! the book of rustc.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{self, Result};
use crate::stamp::build_once;
use crate::tree::Tree;
use crate::{bench, tools};

/// The argument that asks for it.
pub const PROFILED: &str = "--profiled";

/// What the counted host has to do: the lines that most hosts will have most of.
const TRAINING: &[&str] = &["echo", "unknown", "open-loop", "connect", "comphash", "lastlog"];

/// Builds the host, and returns where it is. The commands and the fixtures have to be there.
///
/// # Errors
/// When something cannot be built, or the toolchain has no tool for profiles.
pub fn build(tree: &Tree) -> Result<PathBuf> {
    let (merge, target) = (tools::ensure_profdata(tree)?, tools::host_target(tree)?);
    shell::run(tree.cargo().args(["build", "--release", "--package", "wasmline-bench"]))?;
    let place = tree.profiled();
    let (training, profile) = (place.join("training"), place.join("training/wasmline.profdata"));

    let counts = training.join("counts");
    let counted = build_with(tree, &target, "counting", &format!("-Cprofile-generate={}", counts.display()))?;
    // Good for as long as the host is the same, and what the bench does. Its binary is another each time it is built with others.
    let bench = tree.root().join("bench/src");
    build_once(&training, &[&counted, &bench], &TRAINING.join(" "), || {
        train(tree, &counted, &training.join("bench"))?;
        shell::run(Command::new(&merge).arg("merge").arg("-o").arg(&profile).args(files(&counts)?))
    })?;
    build_with(tree, &target, "optimised", &format!("-Cprofile-use={}", profile.display()))
}

/// Builds the host with a flag more, in a directory of its own. The target is named so that nothing of the build itself, such as
/// build scripts, has that flag. Nothing else may differ between two such builds, not even what would only make one quicker, or
/// functions have other names in them, and the counts are nobody's.
fn build_with(tree: &Tree, target: &str, name: &str, flag: &str) -> Result<PathBuf> {
    let place = tree.profiled().join(name);
    eprintln!("With RUSTFLAGS {flag}:");
    let mut cargo = tree.cargo();
    cargo.args(["build", "--release", "--package", "wasmline", "--target", target, "--target-dir"]).arg(&place);
    shell::run(cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", with_flag(flag)))?;
    Ok(place.join(target).join("release/wasmline"))
}

/// The flags of whoever calls, and one more. Those of cargo's own configuration do not count here.
fn with_flag(flag: &str) -> OsString {
    const BETWEEN: &str = "\u{1f}";
    if let Some(mut flags) = env::var_os("CARGO_ENCODED_RUSTFLAGS").filter(|flags| !flags.is_empty()) {
        flags.push(BETWEEN);
        flags.push(flag);
        return flags;
    }
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    flags.split_whitespace().chain([flag]).collect::<Vec<_>>().join(BETWEEN).into()
}

fn train(tree: &Tree, host: &Path, output: &Path) -> Result {
    let mut bench = bench::command(tree, host, output);
    bench.arg("--quick");
    for workload in TRAINING {
        bench.args(["--only", workload]);
    }
    shell::run(&mut bench)
}

/// The files of a directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| format!("the host has left no counts in {}: {error}", directory.display());
    let entries = fs::read_dir(directory).map_err(failed)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}
