//! wasmline as it is measured: its commands, and a configuration whose bounds are far enough for all workloads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Kind;
use crate::Result;
use crate::run::Bench;
use crate::server::{Server, free_address};

/// Instances that are kept at most: each takes mappings.
const MOST_KEPT: usize = 1100;
/// Shipped commands that are measured, or needed for it.
const COMMANDS: &[&str] = &["comphash", "echo", "lastlog", "ps"];
/// Commands of the tests.
const FIXTURES: &[&str] = &["wasi-hello", SLEEPER];
/// A copy of `echo` whose instance is kept for its connection, and what its sidecar says for that.
pub const KEPT_ECHO: &str = "kept-echo";
const KEPT_SIDECAR: &str = "summary = \"Writes its words back\"\ninstance = \"connection\"\n";
/// It sleeps for as many milliseconds as its argument says, then says `slept`.
pub const SLEEPER: &str = "sleeper";
/// Lines of the log that `lastlog` prints the end of.
pub const LASTLOG_LINES: usize = 2000;

/// How much a host has to take at once.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub connections: usize,
    /// Commands that run at once.
    pub concurrency: usize,
}

impl Bounds {
    /// For workloads whose lines do not wait. Four rows have the same host, and each up to a thousand connections.
    pub const LINES: Bounds = Bounds { connections: 4100, concurrency: 1000 };
}

/// Where the bench keeps what the servers work on.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// Makes the directories, and lays the commands and the log into them.
    pub fn prepare(root: &Path, commands: &Path, fixtures: &Path) -> Result<Files> {
        let files = Files { root: root.to_owned() };
        for dir in [files.commands(), files.many_commands(), files.staging()] {
            // What a run that was broken off has left would be served.
            if dir.exists() {
                fs::remove_dir_all(&dir).map_err(|error| format!("cannot empty {}: {error}", dir.display()))?;
            }
        }
        for dir in [
            files.commands(),
            files.many_commands(),
            files.staging(),
            files.hashed(),
            files.system_log(),
            files.cache(),
            files.logs(),
        ] {
            fs::create_dir_all(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
        }
        private(&files.cache())?;
        let shipped = COMMANDS.iter().map(|name| (commands, name));
        for (from, name) in shipped.chain(FIXTURES.iter().map(|name| (fixtures, name))) {
            copy(&from.join(format!("{name}.wasm")), &files.commands())?;
            let sidecar = from.join(format!("{name}.toml"));
            if sidecar.is_file() {
                copy(&sidecar, &files.commands())?;
            }
        }
        let echo = commands.join("echo.wasm");
        let put = |name: String, bytes: &[u8]| {
            let path = files.commands().join(name);
            fs::write(&path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
        };
        let bytes = fs::read(&echo).map_err(|error| format!("cannot read {}: {error}", echo.display()))?;
        put(format!("{KEPT_ECHO}.wasm"), &bytes)?;
        put(format!("{KEPT_ECHO}.toml"), KEPT_SIDECAR.as_bytes())?;
        let log: String = (0..LASTLOG_LINES)
            .map(|line| {
                format!("2026-11-23 11:{:02}:{:02} status installed package-{line}:amd64\n", line / 60 % 60, line % 60)
            })
            .collect();
        fs::write(files.log(), log).map_err(|error| format!("cannot write {}: {error}", files.log().display()))?;
        Ok(files)
    }

    pub fn commands(&self) -> PathBuf {
        self.root.join("commands")
    }

    /// Served beside the commands by the host that has many.
    pub fn many_commands(&self) -> PathBuf {
        self.root.join("many")
    }

    /// On the same file system as the commands, for files that are renamed in.
    pub fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// For files that are hashed.
    pub fn hashed(&self) -> PathBuf {
        self.root.join("hashed")
    }

    /// What `lastlog` prints the end of.
    pub fn log(&self) -> PathBuf {
        self.system_log().join("lastlog.log")
    }

    /// Apart from the commands: the host watches the directory that they are in.
    fn system_log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The configuration of a host of this kind.
    pub fn configuration(&self, kind: Kind) -> PathBuf {
        self.root.join(format!("{}.toml", stem(kind)))
    }

    /// What the servers print.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }
}

/// Starts the host, on the server's core or on all.
pub fn start(bench: &Bench, kind: Kind, bounds: Bounds) -> Result<Server> {
    let address = free_address()?;
    let file = bench.files.configuration(kind);
    let mut commands = vec![bench.files.commands()];
    if kind == Kind::HostWithManyCommands {
        commands.push(bench.files.many_commands());
    }
    let text = configuration(&bench.files, &commands, &address.to_string(), bounds);
    fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    let mut command = Command::new(&bench.arguments.host);
    // Records of lines would measure the log.
    command.arg("serve").arg("--config").arg(&file).env("RUST_LOG", "warn");
    if kind == Kind::HostWithDefaults {
        command.arg("--engine-defaults");
    }
    let mut cores = vec![bench.cores.server];
    if kind == Kind::HostOnAllCores {
        cores.push(bench.cores.client);
    }
    Server::start(command, address, &cores, &bench.files.logs().join(format!("{}.log", stem(kind))))
}

/// What the files of a host are called.
fn stem(kind: Kind) -> &'static str {
    match kind {
        Kind::HostWithDefaults => "wasmline-defaults",
        Kind::HostWithManyCommands => "wasmline-many",
        Kind::HostOnAllCores => "wasmline-all-cores",
        _ => "wasmline",
    }
}

/// What is not a bound that has to be raised is as it is by default.
fn configuration(files: &Files, commands: &[PathBuf], address: &str, bounds: Bounds) -> String {
    let quoted = |path: PathBuf| format!("'''{}'''", path.display());
    let commands: Vec<String> = commands.iter().map(|path| quoted(path.clone())).collect();
    let Bounds { connections, concurrency } = bounds;
    // One for each connection. Where thousands of commands run at once none is kept, and the mappings are for those.
    let kept = if concurrency > MOST_KEPT { 1 } else { connections.min(MOST_KEPT) };
    format!(
        "\
[server]
max-connections = {connections}
max-connections-per-source = {connections}
max-handshakes = 64
kept-instances = {kept}
cache = {cache}

[[listener]]
address = \"{address}\"
tenant = \"bench\"

[tenants.bench]
commands = [{commands}]

[tenants.bench.limits]
concurrency = {concurrency}
queue = {connections}
host-call-memory = \"512KiB\"
timeout = \"2m\"

[[tenants.bench.grants.process]]
program = \"/usr/bin/tail\"
args = [\"-n\", \"10\", {log}]

[tenants.bench.grants.digest]
read = [{hashed}]

[tenants.bench.grants.tasks]
list = true

[tenants.bench.settings.lastlog]
file = {log}
",
        cache = quoted(files.cache()),
        commands = commands.join(", "),
        hashed = quoted(files.hashed()),
        log = quoted(files.log()),
    )
}

fn copy(file: &Path, dir: &Path) -> Result {
    let name = file.file_name().unwrap_or_default();
    fs::copy(file, dir.join(name)).map_err(|error| format!("cannot copy {}: {error}", file.display()))?;
    Ok(())
}

/// The host refuses a cache that others can look into.
fn private(dir: &Path) -> Result {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        .map_err(|error| format!("cannot close {} to others: {error}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_its_bounds() {
        let files = Files { root: PathBuf::from("/b") };
        let text = configuration(
            &files,
            &["/c".into(), "/d".into()],
            "127.0.0.1:21000",
            Bounds { connections: 8100, concurrency: 1000 },
        );
        for line in [
            "max-connections = 8100",
            "concurrency = 1000",
            "cache = '''/b/cache'''",
            "commands = ['''/c''', '''/d''']",
            "address = \"127.0.0.1:21000\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn what_a_run_has_left_is_not_served() {
        let temp = tempfile::tempdir().unwrap();
        let (root, commands) = (temp.path().join("bench"), temp.path().join("commands"));
        fs::create_dir(&commands).unwrap();
        for name in COMMANDS.iter().chain(FIXTURES) {
            fs::write(commands.join(format!("{name}.wasm")), name).unwrap();
        }
        fs::write(commands.join("echo.toml"), "").unwrap();
        let files = Files::prepare(&root, &commands, &commands).unwrap();
        fs::write(files.commands().join("left.wasm"), "").unwrap();
        let files = Files::prepare(&root, &commands, &commands).unwrap();
        assert!(files.commands().join("echo.toml").is_file());
        let found = fs::read_dir(files.commands()).unwrap().count();
        assert_eq!(found, COMMANDS.len() + FIXTURES.len() + 3);
        assert_eq!(fs::read_to_string(files.log()).unwrap().lines().count(), LASTLOG_LINES);
    }
}
