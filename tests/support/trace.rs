//! The system calls of a host, written down by strace as they are made.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::programs::unconfigured;

/// What a host is traced into.
#[derive(Debug, Clone)]
pub struct Trace {
    file: PathBuf,
}

/// How often each system call was begun.
#[derive(Debug, Default)]
pub struct Calls(BTreeMap<String, usize>);

impl Trace {
    pub fn into(file: PathBuf) -> Trace {
        Trace { file }
    }

    /// The host's binary under strace, which is no ancestor of it: the child that is started is the host itself.
    pub fn wasmline(&self) -> Command {
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-qq", "--signal=none", "-s", "0", "-o"]).arg(&self.file);
        command.arg(env!("CARGO_BIN_EXE_wasmline"));
        unconfigured(command)
    }

    /// The calls of all threads so far.
    pub fn calls(&self) -> Calls {
        Calls::parse(&fs::read(&self.file).expect("strace runs"))
    }
}

impl Calls {
    /// A line has the thread's number, then `NAME(`, or `<... NAME resumed>` for the end of a call that began before.
    fn parse(trace: &[u8]) -> Calls {
        let mut calls = BTreeMap::new();
        for line in String::from_utf8_lossy(trace).lines() {
            let Some((name, _)) = line.split_whitespace().nth(1).and_then(|call| call.split_once('(')) else {
                continue;
            };
            *calls.entry(name.to_owned()).or_default() += 1;
        }
        Calls(calls)
    }

    /// What came since an earlier look.
    pub fn since(&self, earlier: &Calls) -> Calls {
        let new = |(name, count): (&String, &usize)| {
            let count = count - earlier.0.get(name).copied().unwrap_or(0);
            (count > 0).then(|| (name.clone(), count))
        };
        Calls(self.0.iter().filter_map(new).collect())
    }

    /// How many there were of these.
    pub fn of(&self, names: &[&str]) -> usize {
        names.iter().filter_map(|name| self.0.get(*name)).sum()
    }
}
