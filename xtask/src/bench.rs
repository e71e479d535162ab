//! `cargo xtask bench`: builds what is measured, and has `wasmline-bench` measure it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{self, Result};
use crate::stamp::build_once;
use crate::tree::Tree;
use crate::{guests, profiled};

/// The argument that has other servers measured too.
const PEERS: &str = "--peers";
/// The argument that puts what was found into the documentation.
const PUBLISH: &str = "--publish";
/// Arguments with which only a part is measured, or too little.
const PARTIAL: &[&str] = &["--only", "--quick"];
/// Around the tables in the documentation.
const MARKS: (&str, &str) = ("<!-- tables: begin -->\n", "<!-- tables: end -->\n");

/// Builds host, guests and bench, and runs it. The arguments go to `wasmline-bench run`, but for those that are for here.
pub fn bench(tree: &Tree, args: &[String]) -> Result {
    let (publishing, args): (Vec<String>, Vec<String>) = args.iter().cloned().partition(|arg| arg == PUBLISH);
    let is_partial =
        |arg: &String| PARTIAL.iter().any(|partial| arg == partial || arg.starts_with(&format!("{partial}=")));
    if let (false, Some(partial)) = (publishing.is_empty(), args.iter().find(|arg| is_partial(arg))) {
        return Err(format!("{PUBLISH} is for a run of everything, not with {partial}"));
    }
    measure(tree, &args)?;
    if publishing.is_empty() { Ok(()) } else { publish(tree.root(), &tree.bench_output()) }
}

/// Puts the tables and the chart of the last run where readers find them.
fn publish(root: &Path, output: &Path) -> Result {
    let (page, chart) = (root.join("docs/performance.md"), root.join("docs/performance.svg"));
    let read =
        |path: &Path| fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    let write = |path: &Path, text: &str| {
        fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    let text = between_marks(&read(&page)?, &read(&output.join("tables.md"))?)
        .ok_or_else(|| format!("{} has no place for tables", page.display()))?;
    write(&page, &text)?;
    write(&chart, &read(&output.join("chart.svg"))?)?;
    eprintln!("Put the tables into {} and the chart into {}", page.display(), chart.display());
    Ok(())
}

/// The page with other tables.
fn between_marks(page: &str, tables: &str) -> Option<String> {
    let (before, rest) = page.split_once(MARKS.0)?;
    let (_, after) = rest.split_once(MARKS.1)?;
    Some([before, MARKS.0, tables.trim(), "\n", MARKS.1, after].concat())
}

/// The bench on a host, without what it is to measure.
pub fn command(tree: &Tree, host: &Path, output: &Path) -> Command {
    let mut bench = Command::new(tree.bench_binary());
    bench.arg("run").arg("--host").arg(host);
    bench.arg("--commands").arg(tree.commands()).arg("--fixtures").arg(tree.fixtures());
    bench.arg("--output").arg(output);
    bench
}

fn measure(tree: &Tree, args: &[String]) -> Result {
    guests::build(tree)?;
    let shown =
        ["cargo", "xtask", "bench"].into_iter().chain(args.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    let (profiling, args): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| *arg == profiled::PROFILED);
    let host = if profiling.is_empty() {
        shell::run(tree.cargo().args(["build", "--release", "--package", "wasmline", "--package", "wasmline-bench"]))?;
        tree.host_binary()
    } else {
        profiled::build(tree)?
    };

    let peers = tree.root().join("bench/peers");
    let mut bench = command(tree, &host, &tree.bench_output());
    bench.arg("--revision").arg(revision(tree.root())).arg("--shown-as").arg(shown);
    if args.iter().any(|arg| *arg == PEERS) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_replace_those_between_the_marks() {
        let page = "# P\n<!-- tables: begin -->\nold\n<!-- tables: end -->\nmore\n";
        let text = between_marks(page, "\nnew\n\n").unwrap();
        assert_eq!(text, "# P\n<!-- tables: begin -->\nnew\n<!-- tables: end -->\nmore\n");
        assert_eq!(between_marks("# P\n", "new"), None);
    }

    #[test]
    fn the_page_has_its_marks() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md");
        assert!(between_marks(&fs::read_to_string(page).unwrap(), "new").is_some());
    }
}
