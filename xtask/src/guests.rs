//! The guests' workspace: its commands, its fixtures, its own tests and lints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::files::list;
use crate::publish::publish;
use crate::shell::{self, Result};
use crate::tools;
use crate::tree::{Tree, WASM_TARGET};

/// Builds the shipped commands and the fixtures, with the target that they need.
pub fn build(tree: &Tree) -> Result {
    tools::ensure_wasm_target(tree)?;
    build_commands(tree)?;
    build_fixtures(tree)
}

/// Builds the shipped commands and lays them, with their sidecars, into `target/commands`.
///
/// A shipped command is a directory `guest-commands/NAME` with a sidecar `NAME.toml` in it.
pub fn build_commands(tree: &Tree) -> Result {
    let mut names = Vec::new();
    for dir in list(&tree.guests())? {
        let name = stem(&dir);
        if dir.join(format!("{name}.toml")).is_file() {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(format!("no command with a sidecar of its own in {}", tree.guests().display()));
    }
    let packages = names.iter().flat_map(|name| ["--package", name]);
    shell::run(tree.guest_cargo().args(["build", "--release", "--target", WASM_TARGET]).args(packages))?;

    let mut files = BTreeMap::new();
    for name in &names {
        files.insert(format!("{name}.wasm"), built(&tree.guest_output(), name)?);
        files.insert(format!("{name}.toml"), tree.guests().join(name).join(format!("{name}.toml")));
    }
    publish(&tree.commands(), &files)
}

/// Builds the fixtures, which are examples of one package, and lays them into `target/fixtures` with the sidecars
/// of those that have one.
fn build_fixtures(tree: &Tree) -> Result {
    let sources = tree.guests().join("fixtures");
    shell::run(tree.guest_cargo().args(["build", "--release", "--target", WASM_TARGET, "--workspace", "--examples"]))?;

    let mut files = BTreeMap::new();
    for source in list(&sources.join("examples"))? {
        let name = stem(&source);
        files.insert(format!("{name}.wasm"), built(&tree.guest_output().join("examples"), &name)?);
    }
    for sidecar in list(&sources.join("sidecars"))? {
        files.insert(format!("{}.toml", stem(&sidecar)), sidecar);
    }
    publish(&tree.fixtures(), &files)
}

/// Runs the SDK's own tests, which need no wasm.
pub fn test_sdk(tree: &Tree) -> Result {
    shell::run(tree.guest_cargo().args(["test", "--package", "wasmline-sdk"]))
}

pub fn lint(tree: &Tree) -> Result {
    shell::run(tree.guest_cargo().args(["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--release", "--workspace", "--examples", "--bins", "--lib", "--target", WASM_TARGET];
    shell::run(tree.guest_cargo().args(clippy).args(["--", "-D", "warnings"]))
}

/// What cargo built under the name. A library's file has underscores where its name has hyphens.
fn built(dir: &Path, name: &str) -> Result<PathBuf> {
    let candidates = [dir.join(format!("{name}.wasm")), dir.join(format!("{}.wasm", name.replace('-', "_")))];
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| format!("cargo built no {name}.wasm in {}", dir.display()))
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
