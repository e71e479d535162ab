//! `cargo xtask bench`: builds what is measured, and has `wasmline-bench` measure it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{self, Result};
use crate::stamp::build_once;
use crate::tree::Tree;
use crate::{guests, tools};

/// The argument that has other servers measured too.
const PEERS: &str = "--peers";

/// Builds host, guests and bench, and runs it. The arguments go to `wasmline-bench run`.
pub fn bench(tree: &Tree, args: &[String]) -> Result {
    tools::ensure_wasm_target(tree)?;
    guests::build_commands(tree)?;
    guests::build_fixtures(tree)?;
    shell::run(tree.cargo().args(["build", "--release", "--package", "wasmline", "--package", "wasmline-bench"]))?;

    let peers = tree.root().join("bench/peers");
    let mut bench = Command::new(tree.bench_binary());
    bench.arg("run").arg("--host").arg(tree.host_binary());
    bench.arg("--commands").arg(tree.commands()).arg("--fixtures").arg(tree.fixtures());
    bench.arg("--output").arg(tree.bench_output());
    bench.arg("--revision").arg(revision(tree.root()));
    bench.arg("--shown-as").arg(
        ["cargo", "xtask", "bench"].into_iter().chain(args.iter().map(String::as_str)).collect::<Vec<_>>().join(" "),
    );
    if args.iter().any(|arg| arg == PEERS) {
        match twisted(tree, &peers) {
            Ok(python) => {
                bench.arg("--python").arg(python).arg("--seed-server").arg(peers.join("seed_server.py"));
            }
            // The other peers are worth measuring without it.
            Err(error) => eprintln!("xtask: {error}\nTwisted needs python3 with its module venv, and PyPI."),
        }
    }
    shell::run(bench.args(args))
}

/// A Python of the bench's own, with Twisted.
fn twisted(tree: &Tree, peers: &Path) -> Result<PathBuf> {
    let place = tree.bench_output().join("venv");
    let requirements = peers.join("requirements.txt");
    let python = place.join("bin/python");
    build_once(&place, &[&requirements], "", || {
        shell::run(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
        shell::run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements))
    })?;
    Ok(python)
}

/// The commit, and whether there are changes since.
fn revision(root: &Path) -> String {
    let git = |args: &[&str]| shell::ask(Command::new("git").arg("-C").arg(root).args(args));
    match (git(&["rev-parse", "--short", "HEAD"]), git(&["status", "--porcelain", "--untracked-files=no"])) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit} with changes"),
        (None, _) => "unknown".to_owned(),
    }
}
