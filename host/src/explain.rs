//! `wasmline explain`: which rule allows or denies what a command wants, without running anything.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::{self, Explain};
use crate::config::{Document, Tenant};
use crate::policy::{Access, Asked, Effective, Key, Step, Verdict};
use crate::registry::sidecar::Sidecar;

/// The exit status where there is no answer.
const CANNOT_SAY: u8 = 2;

/// What is to be said of an access.
struct Answer {
    /// Whether both keys allow it.
    allowed: bool,
    /// The reasons, with the files and lines that they stand in.
    text: String,
}

/// Prints the explanation. The status is 0 for what is allowed, 1 for what is denied, 2 where that cannot be said.
pub fn run(arguments: &Explain) -> ExitCode {
    let written = explain(arguments).and_then(|answer| {
        cli::print(&answer.text)?;
        Ok(answer.allowed)
    });
    match written {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            cli::complain(error);
            ExitCode::from(CANNOT_SAY)
        }
    }
}

fn explain(arguments: &Explain) -> Result<Answer, String> {
    let access = access(&arguments.kind, &arguments.words)?;
    let config = cli::config(arguments.config.as_deref(), None)?;
    let tenant = config.tenant_named(arguments.tenant.as_deref())?;
    let sidecar = sidecar(tenant, &arguments.command)?;
    let asked = sidecar.as_ref().map_or(Asked::Everything, |file| file.sidecar.asked.clone());
    let effective = Effective::new(Arc::new(tenant.grants.clone()), asked);

    let operator = match &tenant.file {
        Some(path) => Some(Source::read(path)?),
        None => None,
    };
    let verdicts = effective.explain(&access);
    let allowed = verdicts.iter().all(|verdict| verdict.denial.is_none());
    let mut text = String::from(if allowed { "allowed\n" } else { "denied\n" });
    for verdict in &verdicts {
        let (owner, source, table) = match verdict.key {
            Key::Tenant => {
                let table = vec![Step::from("tenants"), Step::from(&*tenant.name), Step::from("grants")];
                (format!("tenant `{}`", tenant.name), operator.as_ref(), table)
            }
            Key::Sidecar => {
                let source = sidecar.as_ref().map(|file| &file.source);
                (format!("command `{}`", arguments.command), source, vec![Step::from("grants")])
            }
        };
        describe(&mut text, verdict, &owner, source, table);
    }
    if verdicts.len() == 1 {
        let _ = writeln!(text, "  command `{}`: asks for whatever the tenant allows", arguments.command);
    }
    Ok(Answer { allowed, text })
}

fn describe(text: &mut String, verdict: &Verdict, owner: &str, source: Option<&Source>, table: Vec<Step>) {
    let named = shown(&table);
    let there = verdict.denial.as_ref().and_then(|denial| {
        let key = denial.access.table(verdict.key).map(Step::from);
        source?.place(&table.iter().cloned().chain(key).collect::<Vec<_>>())
    });
    let place = verdict.rule.as_ref().map(|rule| {
        let steps: Vec<Step> = table.into_iter().chain(rule.iter().cloned()).collect();
        match source.and_then(|source| source.place(&steps)) {
            Some(place) => format!("{place}, {}", shown(&steps)),
            None => shown(&steps),
        }
    });
    // Writing to a string does not fail.
    let _ = match (&verdict.denial, &place) {
        (None, Some(place)) => writeln!(text, "  {owner}: allows it by {place}"),
        (None, None) => writeln!(text, "  {owner}: allows it"),
        (Some(denial), Some(place)) => writeln!(text, "  {owner}: {}; the closest rule is {place}", denial.guest),
        (Some(denial), None) => writeln!(text, "  {owner}: {}", denial.guest),
    };
    let Some(denial) = &verdict.denial else { return };
    if let Some(obstacle) = denial.access.obstacle() {
        let _ = writeln!(text, "    {obstacle}");
    } else {
        let file = source.map_or_else(String::new, |source| format!(" in {}", source.path.display()));
        // What is pasted without a look at what is there may be refused: one directory of a name, one table of a name, and no
        // further item of an array that stands in one line.
        let how = match (&denial.access, place, there) {
            (Access::Directory { .. }, Some(place), _) => format!(", in place of {place}"),
            (_, _, Some(there)) => format!(", together with what stands at {there}"),
            _ => String::new(),
        };
        let _ = writeln!(text, "    this would allow it{file}{how}:");
        for line in denial.access.grant(verdict.key, &named).lines() {
            let _ = writeln!(text, "      {line}");
        }
    }
}

/// The place of a rule as keys of TOML.
fn shown(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        let _ = match step {
            Step::Key(key) if text.is_empty() => write!(text, "{key}"),
            Step::Key(key) => write!(text, ".{key}"),
            Step::Item(item) => write!(text, "[{item}]"),
        };
    }
    text
}

/// What the words describe.
fn access(kind: &str, words: &[String]) -> Result<Access, String> {
    match (kind, words) {
        ("process", [program, args @ ..]) => Ok(Access::Process { program: program.clone(), args: args.to_vec() }),
        ("digest", [path]) => Ok(Access::Digest { path: path.clone() }),
        ("directory", [path]) => Ok(Access::Directory { path: path.clone(), host: None, write: false }),
        ("directory", [path, word]) if word == "write" => {
            Ok(Access::Directory { path: path.clone(), host: None, write: true })
        }
        ("tasks", [word]) if word == "list" => Ok(Access::Tasks { stop: false }),
        ("tasks", [word]) if word == "stop" => Ok(Access::Tasks { stop: true }),
        ("variable", [name]) => Ok(Access::Variable { name: name.clone() }),
        _ => Err("after the command comes `process PROGRAM [ARG]…`, `digest FILE`, `directory PATH [write]`, \
                  `tasks list|stop` or `variable NAME`"
            .to_owned()),
    }
}

/// A command's sidecar and where it lies.
struct SidecarFile {
    sidecar: Sidecar,
    source: Source,
}

/// Reads the sidecar of a command, which need not have one.
fn sidecar(tenant: &Tenant, command: &str) -> Result<Option<SidecarFile>, String> {
    // A later directory wins, as in the server.
    let directory = tenant.commands.iter().rev().find(|directory| directory.join(format!("{command}.wasm")).exists());
    let directory = directory.ok_or_else(|| format!("the tenant `{}` has no command `{command}`", tenant.name))?;
    let path = directory.join(format!("{command}.toml"));
    if !path.exists() {
        return Ok(None);
    }
    let source = Source::read(&path)?;
    let sidecar = Sidecar::parse(&path, &source.bytes).map_err(|error| error.to_string())?;
    Ok(Some(SidecarFile { sidecar, source }))
}

/// A file with rules in it.
struct Source {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Source {
    fn read(path: &Path) -> Result<Source, String> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        Ok(Source { path: path.to_owned(), bytes })
    }

    /// `FILE:LINE` of something in it.
    fn place(&self, steps: &[Step]) -> Option<String> {
        let line = Document::new(&self.path, &self.bytes).ok()?.line_of(steps)?;
        Some(format!("{}:{line}", self.path.display()))
    }
}
