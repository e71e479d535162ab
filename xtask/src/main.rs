//! `cargo xtask`: the project's chores, one word each.
//!
//! A newcomer needs nothing but rustup, git and a C compiler; whatever else a chore needs, it installs or names.
//! This file turns arguments into chores; the other modules each do one part of the work.

mod bench;
mod files;
mod guests;
mod languages;
mod profiled;
mod publish;
mod readme;
mod serve;
mod shell;
mod sources;
mod stamp;
mod test;
mod tools;
mod tree;

use std::process::ExitCode;

use shell::Result;
use tree::Tree;

const HELP: &str = "\
Chores of the wasmline repository.

Usage: cargo xtask <CHORE> [ARGS...]

Chores:
  serve [ARGS...]  Build, then serve the shipped commands on 127.0.0.1:9999 with the
                   repository's wasmline.toml. ARGS go to `wasmline serve`, which lists
                   them with `target/serve/wasmline serve --help`.
  build [--profiled]
                   Build the host for speed, to target/release/wasmline, and the shipped
                   commands with their sidecars to target/commands/. --profiled builds it by
                   what a run of it shows, twice and half a minute of load between, which
                   takes half an hour the first time and makes a line a tenth or two
                   cheaper; it says where that host is.
  test [--quick] [ARGS...]
                   Install what the tests need, build commands and fixtures, and run all
                   tests. ARGS go to `cargo test`, so `cargo xtask test lastlog` runs the
                   tests with `lastlog` in their name.
                   Where a test that needs them is going to run, the examples in other
                   languages, what `wasmline new` writes, and programs of others are built
                   too: some five minutes the first time. --quick leaves these tests out.
  bench [--profiled] [--peers] [--publish] [--quick] [--rounds N] [--only WORKLOAD]...
                   Build everything, measure, and leave tables.md, results.json and chart.svg
                   in target/bench/. --peers measures Twisted (installed there from PyPI),
                   Redis, socat and tcpserver too, those that are on PATH. --publish puts the
                   tables and the chart into docs/. --quick shows in half a minute that it
                   works. --profiled measures the host that `build --profiled` makes.
                   How to read it: docs/performance.md.
  lint             Check formatting and run clippy, on the host's side and the guests'.

The wasm32-wasip2 target is added through rustup where it is missing. CARGO_TARGET_DIR is
honoured: everything said of target/ above then happens there.
";

enum Chore {
    Help,
    Serve(Vec<String>),
    Build { profiled: bool },
    Test(Vec<String>),
    Bench(Vec<String>),
    Lint,
}

fn main() -> ExitCode {
    let chore = match parse(std::env::args().skip(1).collect()) {
        Ok(chore) => chore,
        Err(error) => {
            eprint!("xtask: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match perform(chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: Vec<String>) -> Result<Chore> {
    if args.is_empty() {
        return Err("no chore given".to_owned());
    }
    let chore = args.remove(0);
    let first = args.first().map(String::as_str);
    let is_help = |word| matches!(word, "--help" | "-h");
    match (chore.as_str(), first) {
        ("help", _) => Ok(Chore::Help),
        (word, _) if is_help(word) => Ok(Chore::Help),
        ("serve" | "build" | "test" | "bench" | "lint", Some(word)) if is_help(word) => Ok(Chore::Help),
        ("serve", _) => Ok(Chore::Serve(args)),
        ("test", _) => Ok(Chore::Test(args)),
        ("bench", _) => Ok(Chore::Bench(args)),
        ("build", None) => Ok(Chore::Build { profiled: false }),
        ("build", Some(profiled::PROFILED)) if args.len() == 1 => Ok(Chore::Build { profiled: true }),
        ("lint", None) => Ok(Chore::Lint),
        ("build", Some(_)) => Err(format!("build takes {} or nothing, got `{}`", profiled::PROFILED, args.join(" "))),
        ("lint", Some(word)) => Err(format!("lint takes no argument, got `{word}`")),
        _ => Err(format!("no chore is called `{chore}`")),
    }
}

fn perform(chore: Chore) -> Result {
    let tree = Tree::find()?;
    match chore {
        Chore::Help => {
            print!("{HELP}");
            Ok(())
        }
        Chore::Serve(args) => {
            build(&tree, "serve")?;
            serve::serve(&tree, &args)
        }
        Chore::Build { profiled: false } => build(&tree, "release"),
        Chore::Build { profiled: true } => build_profiled(&tree),
        Chore::Test(args) => test::test(&tree, args),
        Chore::Bench(args) => bench::bench(&tree, &args),
        Chore::Lint => lint(&tree),
    }
}

fn build(tree: &Tree, profile: &str) -> Result {
    tools::ensure_wasm_target(tree)?;
    guests::build_commands(tree)?;
    shell::run(tree.cargo().args(["build", "--profile", profile, "--package", "wasmline"]))
}

fn build_profiled(tree: &Tree) -> Result {
    guests::build(tree)?;
    let host = profiled::build(tree)?;
    eprintln!("The host is {}", host.display());
    Ok(())
}

fn lint(tree: &Tree) -> Result {
    tools::ensure_component(tree, "rustfmt", "fmt")?;
    tools::ensure_component(tree, "clippy", "clippy")?;
    tools::ensure_wasm_target(tree)?;
    shell::run(tree.cargo().args(["fmt", "--all", "--check"]))?;
    shell::run(tree.cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ]))?;
    guests::lint(tree)
}
