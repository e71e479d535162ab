//! What was measured on, and with which versions.

use std::fs;
use std::process::{Command, Stdio};

/// Names and values, for a reader.
#[derive(Debug, Clone)]
pub struct Machine {
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    pub fn of(facts: impl IntoIterator<Item = (&'static str, String)>) -> Machine {
        Machine { facts: facts.into_iter().collect() }
    }

    /// Looks at the machine. `more` comes first.
    pub fn look(more: impl IntoIterator<Item = (&'static str, String)>) -> Machine {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cpu = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let mut machine = Machine::of(more);
        machine.add("CPU", format!("{cores} cores, {cpu}"));
        machine.add("memory", memory);
        machine.add("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned());
        machine
    }

    pub fn add(&mut self, name: &'static str, value: String) {
        self.facts.push((name, value));
    }

    pub fn facts(&self) -> &[(&'static str, String)] {
        &self.facts
    }
}

/// The first line that a program prints about itself; `None` where it is missing.
pub fn version(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned();
    output.status.success().then_some(text)
}
