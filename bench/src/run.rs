//! A run: what there is, one workload after another, and the files that come out.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::cores::{self, Cores};
use crate::load::{Closed, Connections, Open};
use crate::machine::{Machine, version};
use crate::peers::{Files, Kind, missing, versions};
use crate::report::{Report, chart, results, tables};
use crate::script::Template;
use crate::workloads::WORKLOADS;
use crate::{Result, cli, peers};

/// Lines after which a closed loop ends, however quick the server is.
pub const MOST_LINES: u64 = 50_000_000;

/// What all workloads share.
pub struct Bench<'a> {
    pub arguments: &'a cli::Run,
    pub cores: Cores,
    pub files: Files,
    /// Descriptors that this process, and each server, may have open.
    pub descriptors: usize,
    /// Servers that are measured.
    kinds: Vec<Kind>,
}

impl Bench<'_> {
    pub fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    pub fn rounds(&self) -> usize {
        usize::from(self.arguments.rounds)
    }

    /// One of two values: for a run that counts, or for one that shows that it works.
    pub fn either<T>(&self, full: T, quick: T) -> T {
        if self.arguments.quick { quick } else { full }
    }

    /// A closed loop of the usual length.
    pub fn closed(&self, in_flight: usize) -> Closed {
        Closed {
            in_flight,
            warm_up: self.either(Duration::from_millis(150), Duration::from_millis(30)),
            measured: self.either(Duration::from_millis(500), Duration::from_millis(100)),
            most_lines: MOST_LINES,
        }
    }
}

/// `wasmline-bench run`.
pub fn run(arguments: &cli::Run) -> Result {
    let chosen = choose(&arguments.only)?;
    let cores = Cores::choose()?;
    let machine = describe(arguments, cores);
    let output =
        std::path::absolute(&arguments.output).map_err(|error| format!("{}: {error}", arguments.output.display()))?;
    let files = Files::prepare(&output, &arguments.commands, &arguments.fixtures)?;
    let mut kinds = Vec::new();
    let mut notes = Vec::new();
    for kind in Kind::ALL.iter().copied() {
        match missing(kind, arguments) {
            None => kinds.push(kind),
            Some(note) => notes.extend((!note.is_empty()).then_some(note)),
        }
    }
    if arguments.quick {
        notes.push("A quick run: the figures say that it works, not how fast it is.".to_owned());
    }
    for note in &notes {
        eprintln!("{note}");
    }
    let bench = Bench { arguments, cores, files, descriptors: raise_descriptors(), kinds };
    cores::pin(&[cores.client])?;

    let mut reports: Vec<Report> = Vec::new();
    let mut failures = 0;
    for (name, workload) in chosen {
        eprintln!("* {name}");
        match workload(&bench) {
            Ok(found) => {
                // What there is already is shown, and kept should a later one fail.
                let shown = tables(&Machine::of([]), &found, &[]);
                println!("{shown}");
                reports.extend(found);
            }
            Err(error) => {
                failures += 1;
                eprintln!("{name} failed: {error}");
                notes.push(format!("`{name}` failed: {error}"));
            }
        }
        write_all(&output, &machine, &reports, &notes)?;
    }
    eprintln!("Wrote tables.md, results.json and, of rates, chart.svg into {}", output.display());
    if failures == 0 { Ok(()) } else { Err(format!("{failures} of the workloads failed")) }
}

/// `wasmline-bench load`.
pub fn load(arguments: &cli::Load) -> Result {
    let seconds = |value: f64| Duration::try_from_secs_f64(value).map_err(|error| format!("{value} seconds: {error}"));
    let template = Template::new(&arguments.request, &format!("{}\n", arguments.reply));
    let (count, in_flight) = (usize::from(arguments.connections), usize::from(arguments.in_flight));
    raise_descriptors();
    let mut connections = Connections::open(arguments.address, count, in_flight, &template)?;
    let (warm_up, measured) = (seconds(arguments.seconds / 10.0)?, seconds(arguments.seconds)?);
    let found = if let Some(rate) = arguments.rate {
        let latencies = Open { rate, warm_up, measured }.run(&mut connections)?;
        let at = |part| latencies.quantile(part);
        json!({ "lines": latencies.count(), "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999) })
    } else {
        let closed = Closed { in_flight, warm_up, measured, most_lines: MOST_LINES };
        let found = closed.run(&mut connections, arguments.pid)?;
        json!({
            "lines": found.lines,
            "lines_per_second": found.lines_per_second(),
            "cpu_us_per_line": found.cpu_per_line(),
        })
    };
    println!("{found}");
    Ok(())
}

type Chosen = Vec<(&'static str, crate::workloads::Workload)>;

fn choose(only: &[String]) -> Result<Chosen> {
    let names = || WORKLOADS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = only.iter().find(|name| !WORKLOADS.iter().any(|(known, _)| known == name)) {
        return Err(format!("no workload is called `{unknown}`; there are {}", names()));
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
    Ok(WORKLOADS.iter().filter(|(name, _)| wanted(name)).copied().collect())
}

fn describe(arguments: &cli::Run, cores: Cores) -> Machine {
    let host = version(&arguments.host.to_string_lossy(), &["--version"]).unwrap_or_default();
    let mut machine = Machine::look([
        ("command", format!("`{}`", arguments.shown_as)),
        ("wasmline", format!("{host}, {}", arguments.revision)),
    ]);
    machine.add("pinned to", format!("core {} (servers) and {} (client)", cores.server, cores.client));
    machine.add("rounds", arguments.rounds.to_string());
    for (name, version) in versions(arguments) {
        machine.add(name, version);
    }
    machine
}

fn write_all(output: &Path, machine: &Machine, reports: &[Report], notes: &[String]) -> Result {
    let write = |name: &str, text: String| {
        let path = output.join(name);
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    write("tables.md", tables(machine, reports, notes))?;
    write("results.json", format!("{:#}\n", results(machine, reports, notes)))?;
    match chart(reports, peers::Peer::Echo.name()) {
        Some(svg) => write("chart.svg", svg),
        // One of an earlier run would be taken for this run's.
        None => match fs::remove_file(output.join("chart.svg")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(format!("cannot remove chart.svg: {error}")),
            _ => Ok(()),
        },
    }
}

/// Raises the soft bound to the hard one, which the servers inherit, and returns what holds then.
fn raise_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let bound = if raised.is_ok() { limit.maximum } else { limit.current };
    bound.and_then(|bound| usize::try_from(bound).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_chosen_by_name() {
        assert_eq!(choose(&[]).unwrap().len(), WORKLOADS.len());
        let names = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|name| name.to_string()).collect();
            choose(&only).map(|chosen| chosen.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["idle", "echo"]).unwrap(), ["echo", "idle"]);
        assert!(names(&["ecko"]).unwrap_err().contains("no workload is called `ecko`; there are echo, "));
    }
}
