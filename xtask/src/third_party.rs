//! Programs that nobody wrote for wasmline, built as they are from their published crates: what shows that any WASI program is a
//! command. Only the tests need them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::publish::publish;
use crate::shell::{self, Result};
use crate::stamp;
use crate::tools;
use crate::tree::{Tree, WASM_TARGET};

/// WASI preview 1: what comes out is a core module, which the host adapts.
const PREVIEW_1: &str = "wasm32-wasip1";

/// A program, at the one version that is built, with the dependencies that its own lock file names.
struct Program {
    /// The crate and its version.
    package: &'static str,
    /// The file that cargo installs.
    binary: &'static str,
    /// The command's name.
    name: &'static str,
    target: &'static str,
    args: &'static [&'static str],
}

const PROGRAMS: &[Program] = &[
    // Not the newest: 3.1.2 needs the crate `fd-lock`, which does not compile for WASI; and 1.6.0 needs preview 1, as one
    // of its dependencies uses what is unstable in Rust's std for preview 2.
    Program {
        package: "jaq@1.6.0",
        binary: "jaq.wasm",
        name: "jaq",
        target: PREVIEW_1,
        args: &["--no-default-features"],
    },
    Program { package: "ripgrep@15.2.0", binary: "rg.wasm", name: "rg", target: WASM_TARGET, args: &[] },
    Program { package: "stak-repl@0.12.33", binary: "stak-repl.wasm", name: "scheme", target: WASM_TARGET, args: &[] },
];

/// Builds the programs and lays them, with the sidecars written for them here, into `target/third-party`.
pub fn build(tree: &Tree) -> Result {
    let work = tree.third_party().join("work");
    let mut files = BTreeMap::new();
    for program in PROGRAMS {
        tools::ensure_target(tree, program.target)?;
        let root = work.join(program.name);
        let wanted = format!("{} {} {:?}", program.package, program.target, program.args);
        let built = stamp::build_once(&root, &[], &wanted, || {
            install(tree, program, &root, &work.join("cargo"))?;
            Ok(root.join("bin").join(program.binary))
        })?;
        files.insert(format!("{}.wasm", program.name), built);
        let sidecar = format!("{}.toml", program.name);
        files.insert(sidecar.clone(), tree.guests().join("third-party").join(sidecar));
    }
    publish(&tree.third_party(), &files)
}

/// In the host's directory: the guests' own configuration would give the programs a stack that is too small for them.
fn install(tree: &Tree, program: &Program, root: &Path, target_dir: &Path) -> Result {
    let mut cargo = tree.cargo();
    cargo.args(["install", "--locked", "--force", "--target", program.target, "--root"]).arg(root);
    cargo.arg("--target-dir").arg(target_dir).args(program.args).arg(program.package);
    // Some keep debugging information in their release builds, which makes them ten times as large.
    shell::run(cargo.env("CARGO_PROFILE_RELEASE_STRIP", "true").env("CARGO_PROFILE_RELEASE_DEBUG", "false"))
}
