//! What a chore needs from outside the repository: rustup's parts and the machine's programs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{self, Result};
use crate::tree::{Tree, WASM_TARGET};

/// A program that the tests need, and the Debian package that has it.
struct Program {
    name: &'static str,
    package: &'static str,
}

const TEST_PROGRAMS: &[Program] = &[
    Program { name: "nc", package: "netcat-openbsd" },
    Program { name: "ncat", package: "ncat" },
    Program { name: "socat", package: "socat" },
    Program { name: "telnet", package: "inetutils-telnet" },
    Program { name: "openssl", package: "openssl" },
    Program { name: "sha1sum", package: "coreutils" },
    Program { name: "strace", package: "strace" },
];

/// What the commands in other languages are built with; see languages.rs.
const LANGUAGE_PROGRAMS: &[Program] = &[
    Program { name: "make", package: "make" },
    Program { name: "clang", package: "clang" },
    Program { name: "wasm-ld", package: "lld" },
    Program { name: WASI_LIBC, package: "wasi-libc" },
    Program { name: COMPILER_RT, package: "libclang-rt-dev-wasm32" },
    Program { name: "python3", package: "python3-venv" },
];

/// The oldest version of Node.js that the tools of JavaScript run on.
const NODE: u32 = 20;

/// Not programs, but what one compiles programs with: found by a file.
const WASI_LIBC: &str = "wasi-libc";
const COMPILER_RT: &str = "compiler-rt for wasm32";

/// Adds the guests' target to the toolchain in use, if it is not there.
pub fn ensure_wasm_target(tree: &Tree) -> Result {
    ensure_target(tree, WASM_TARGET)
}

/// Adds a target to the toolchain in use, if it is not there.
pub fn ensure_target(tree: &Tree, target: &str) -> Result {
    // Asked of rustc and not of rustup, so that a toolchain from elsewhere serves as well.
    let libraries = shell::ask(in_root(tree, "rustc").args(["--print", "target-libdir", "--target", target]));
    if libraries.is_some_and(|dir| Path::new(&dir).is_dir()) {
        return Ok(());
    }
    shell::run(in_root(tree, "rustup").args(["target", "add", target])).map_err(|error| {
        format!("{error}\nThe guests need the Rust target {target}; add it with `rustup target add {target}`")
    })
}

/// Adds a rustup component if its cargo subcommand is not there; a minimal toolchain lacks some.
pub fn ensure_component(tree: &Tree, component: &str, subcommand: &str) -> Result {
    if shell::ask(tree.cargo().args([subcommand, "--version"])).is_some() {
        return Ok(());
    }
    shell::run(in_root(tree, "rustup").args(["component", "add", component]))
}

/// The tool of the toolchain in use that puts profiles together, added if it is not there.
///
/// # Errors
/// When there is none, as with a toolchain that is not rustup's.
pub fn ensure_profdata(tree: &Tree) -> Result<PathBuf> {
    let libraries = shell::output(in_root(tree, "rustc").args(["--print", "target-libdir"]))?;
    // The tools lie beside the libraries.
    let tool = Path::new(libraries.trim()).with_file_name("bin").join("llvm-profdata");
    if !tool.is_file() {
        shell::run(in_root(tree, "rustup").args(["component", "add", "llvm-tools"])).map_err(|error| {
            format!("{error}\nProfiles need the toolchain's own llvm-profdata, which is in rustup's llvm-tools")
        })?;
    }
    if tool.is_file() { Ok(tool) } else { Err(format!("the toolchain in use has no {}", tool.display())) }
}

/// The target that the toolchain in use builds for by itself.
///
/// # Errors
/// When it does not say.
pub fn host_target(tree: &Tree) -> Result<String> {
    let version = shell::output(in_root(tree, "rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not say what it builds for".to_owned())
}

/// Installs the programs that the tests drive, where this user can; else says which command to run.
pub fn ensure_test_programs() -> Result {
    ensure(TEST_PROGRAMS)
}

/// The same for what the commands in other languages are built with.
pub fn ensure_language_programs() -> Result {
    ensure(LANGUAGE_PROGRAMS)
}

/// Whether the machine has a Node.js that the tools of JavaScript run on. Debian 12, for one, has an older one.
pub fn has_node() -> bool {
    // It says `v20.1.2`.
    let version = shell::ask(Command::new("node").arg("--version")).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major >= NODE) && on_path("npm")
}

fn ensure(programs: &[Program]) -> Result {
    let missing: Vec<&Program> = programs.iter().filter(|program| !is_installed(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|program| program.name).collect();
    let packages: Vec<&str> = missing.iter().map(|program| program.package).collect();
    let (names, typed) = (names.join(", "), packages.join(" "));
    if !on_path("apt-get") {
        return Err(format!("missing for this: {names}; install them (Debian's {typed})"));
    }
    if shell::ask(Command::new("id").arg("-u")).as_deref() != Some("0") {
        return Err(format!(
            "missing for this: {names}\n\
             Install them with: sudo apt-get update && sudo apt-get install --yes --no-install-recommends {typed}"
        ));
    }
    // The machine's package lists may be missing or too old to install from; they are fetched only then.
    if install(&packages).is_err() {
        shell::run(apt_get().arg("update"))?;
        install(&packages)?;
    }
    match missing.iter().find(|program| !is_installed(program)) {
        Some(program) => Err(format!("installed {}, yet {} is still missing", program.package, program.name)),
        None => Ok(()),
    }
}

fn install(packages: &[&str]) -> Result {
    shell::run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "DPkg::Lock::Timeout=120"]);
    command
}

fn is_installed(program: &Program) -> bool {
    match program.name {
        // `nc` may be another netcat, whose flags differ; Debian calls this one `nc.openbsd` too.
        "nc" => on_path("nc.openbsd"),
        // Debian's `python3` comes without the module that makes virtual environments.
        "python3" => shell::ask(Command::new("python3").args(["-m", "ensurepip", "--version"])).is_some(),
        WASI_LIBC => Path::new("/usr/include/wasm32-wasi/stdlib.h").is_file(),
        COMPILER_RT => {
            let library = ["--target=wasm32-wasi", "--rtlib=compiler-rt", "--print-libgcc-file-name"];
            shell::ask(Command::new("clang").args(library)).is_some_and(|file| Path::new(&file).is_file())
        }
        name => on_path(name),
    }
}

fn on_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

fn in_root(tree: &Tree, program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(tree.root());
    command
}
