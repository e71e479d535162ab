//! Preparing a host: a directory of its own with a configuration, commands, and files for the commands to work on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::guests;
use super::host::{self, Host};
use super::programs::{wasmline, wasmline_after, wasmline_as_init, wasmline_with_tmpfs};
use super::trace::Trace;

/// A host to be started. Its tenant `default` has the shipped `echo`, and nothing is granted to it.
pub struct HostBuilder {
    dir: TempDir,
    top: Vec<String>,
    server: Vec<String>,
    listeners: Vec<String>,
    tenant: Vec<String>,
    limits: Vec<String>,
    may_hash: Vec<PathBuf>,
    more: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// How many readiness lines to wait for, where the listeners are not the configuration's.
    listening: Option<usize>,
    writes_config: bool,
    config_flag: bool,
    cache_flag: bool,
    directory: Option<PathBuf>,
    launcher: Launcher,
}

/// Who starts the host's program.
enum Launcher {
    /// The test itself.
    Test,
    /// A shell, which first runs this script.
    Shell(String),
    /// What makes the host the first process of a namespace of its own.
    Namespace,
    /// What mounts a file system of this size there that nobody else sees.
    Tmpfs(PathBuf, String),
    /// strace, which writes down its system calls.
    Strace(Trace),
}

impl HostBuilder {
    #[track_caller]
    pub fn new() -> HostBuilder {
        let dir = tempfile::Builder::new().prefix("wasmline-test-").tempdir().expect("a directory");
        for part in ["commands", "files"] {
            fs::create_dir(dir.path().join(part)).expect("a directory");
        }
        let builder = HostBuilder {
            dir,
            top: Vec::new(),
            server: Vec::new(),
            listeners: Vec::new(),
            tenant: Vec::new(),
            limits: Vec::new(),
            may_hash: Vec::new(),
            more: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            listening: None,
            writes_config: true,
            config_flag: true,
            cache_flag: true,
            directory: None,
            launcher: Launcher::Test,
        };
        builder.command("echo")
    }

    /// One cache for all hosts of the suite, so that each guest is compiled once.
    pub fn shared_cache() -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
    }

    /// The directory for files that commands work on.
    pub fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// Creates a file for commands to work on.
    #[track_caller]
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.files().join(name);
        fs::write(&path, contents).expect("the file can be written");
        path
    }

    /// Adds a shipped command, with its sidecar.
    #[track_caller]
    pub fn command(self, name: &str) -> HostBuilder {
        let built = guests::command(name);
        self.install(name, &built)
    }

    /// Adds a test guest, with its sidecar if it has one.
    #[track_caller]
    pub fn fixture(self, name: &str) -> HostBuilder {
        let built = guests::fixture(name);
        self.install(name, &built)
    }

    /// Adds a command in another language, with its sidecar.
    #[track_caller]
    pub fn language(self, name: &str) -> HostBuilder {
        let built = guests::language(name);
        self.install(name, &built)
    }

    /// Adds a program that was not written for wasmline, with the sidecar that was.
    #[track_caller]
    pub fn third_party(self, name: &str) -> HostBuilder {
        let built = guests::third_party(name);
        self.install(name, &built)
    }

    #[track_caller]
    fn install(self, name: &str, built: &Path) -> HostBuilder {
        let sidecar = fs::read_to_string(built.with_extension("toml"));
        let builder = self.guest(name, fs::read(built).expect("the guest can be read"));
        match sidecar {
            Ok(sidecar) => builder.sidecar(name, &sidecar),
            Err(_) => builder,
        }
    }

    /// Puts these bytes into the commands directory as `NAME.wasm`, whatever they are.
    #[track_caller]
    pub fn guest(self, name: &str, bytes: impl AsRef<[u8]>) -> HostBuilder {
        fs::write(self.commands().join(format!("{name}.wasm")), bytes).expect("the guest can be written");
        self
    }

    /// Gives a command this sidecar, in place of the one it may have.
    #[track_caller]
    pub fn sidecar(self, name: &str, toml: &str) -> HostBuilder {
        fs::write(self.commands().join(format!("{name}.toml")), toml).expect("the sidecar can be written");
        self
    }

    /// The commands directory of the tenant `default`.
    pub fn commands(&self) -> PathBuf {
        self.dir.path().join("commands")
    }

    /// A line before all tables.
    pub fn top(mut self, line: &str) -> HostBuilder {
        self.top.push(line.to_owned());
        self
    }

    /// A line of `[server]`.
    pub fn server(mut self, line: &str) -> HostBuilder {
        self.server.push(line.to_owned());
        self
    }

    /// A listener for the tenant. Without any there is one, for `default`.
    pub fn listener(self, tenant: &str) -> HostBuilder {
        self.listener_with(&format!("address = \"127.0.0.1:0\"\ntenant = {tenant:?}"))
    }

    /// A listener with these keys, and tables of its own.
    pub fn listener_with(mut self, toml: &str) -> HostBuilder {
        self.listeners.push(toml.to_owned());
        self
    }

    /// A line of `[tenants.default]`.
    pub fn tenant(mut self, line: &str) -> HostBuilder {
        self.tenant.push(line.to_owned());
        self
    }

    /// A line of `[tenants.default.limits]`.
    pub fn limit(mut self, line: &str) -> HostBuilder {
        self.limits.push(line.to_owned());
        self
    }

    /// Grants the tenant `default` to hash what is below the directory.
    pub fn may_hash(mut self, dir: impl Into<PathBuf>) -> HostBuilder {
        self.may_hash.push(dir.into());
        self
    }

    /// Grants the tenant `default` to run the program with arguments of this shape, a TOML array.
    pub fn may_run(self, program: &str, args: &str) -> HostBuilder {
        self.more(&format!("[[tenants.default.grants.process]]\nprogram = {program:?}\nargs = {args}"))
    }

    /// Grants the tenant `default` to run the shell on this one script.
    pub fn may_run_script(self, script: &str) -> HostBuilder {
        self.may_run("/bin/sh", &format!("[\"-c\", {}]", toml_literal(script)))
    }

    /// More of the configuration, as it stands.
    pub fn more(mut self, toml: &str) -> HostBuilder {
        self.more.push(toml.to_owned());
        self
    }

    /// One more argument of `wasmline serve`.
    pub fn arg(mut self, arg: &str) -> HostBuilder {
        self.args.push(arg.to_owned());
        self
    }

    /// An environment variable of `wasmline serve`.
    pub fn env(mut self, name: &str, value: &str) -> HostBuilder {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The number of listeners, where flags or the environment name them.
    pub fn listening(mut self, count: usize) -> HostBuilder {
        self.listening = Some(count);
        self
    }

    /// Removes the commands again.
    #[track_caller]
    pub fn without_commands(self) -> HostBuilder {
        fs::remove_dir_all(self.commands()).expect("the directory can be removed");
        fs::create_dir(self.commands()).expect("a directory");
        self
    }

    /// Writes the configuration, but leaves it to the host to find it.
    pub fn without_config_flag(mut self) -> HostBuilder {
        self.config_flag = false;
        self
    }

    /// Starts the host without any configuration.
    pub fn without_config(mut self) -> HostBuilder {
        self.writes_config = false;
        self.without_config_flag()
    }

    /// Leaves the suite's shared cache aside.
    pub fn without_cache_flag(mut self) -> HostBuilder {
        self.cache_flag = false;
        self
    }

    /// Starts the host in this directory, not in its own.
    pub fn in_directory(mut self, dir: &str) -> HostBuilder {
        self.directory = Some(dir.into());
        self
    }

    /// Starts the host with so many file descriptors at most.
    pub fn descriptors(self, limit: u32) -> HostBuilder {
        self.after(&format!("ulimit -n {limit}"))
    }

    /// Has the host take the place of a shell that has run this script.
    pub fn after(mut self, script: &str) -> HostBuilder {
        self.launcher = Launcher::Shell(script.to_owned());
        self
    }

    /// Makes the host the first process of a container, a child of the process that the test starts.
    pub fn in_container(mut self) -> HostBuilder {
        self.launcher = Launcher::Namespace;
        self
    }

    /// Gives the host a cache of its own, `files/cache`, on a file system of this size that nobody else sees.
    pub fn tmpfs_cache(self, size: &str) -> HostBuilder {
        let cache = self.files().join("cache");
        fs::create_dir(&cache).expect("a directory");
        self.without_cache_flag().server(&format!("cache = {}", quoted(&cache))).tmpfs(cache, size)
    }

    /// Lets the host find at `place` an empty file system of this size that nobody else sees.
    pub fn tmpfs(mut self, place: PathBuf, size: &str) -> HostBuilder {
        self.launcher = Launcher::Tmpfs(place, size.to_owned());
        self
    }

    /// Has the host's system calls written down.
    pub fn traced(mut self, trace: &Trace) -> HostBuilder {
        self.launcher = Launcher::Strace(trace.clone());
        self
    }

    /// The configuration as it will be written.
    pub fn config(&self) -> String {
        let mut parts = self.top.clone();
        parts.push("[server]".to_owned());
        if !self.server.iter().any(|line| line.starts_with("startup-timeout")) {
            // Tests call what they have installed, however busy the machine is.
            parts.push("startup-timeout = \"15m\"".to_owned());
        }
        parts.extend(self.server.iter().cloned());
        let default = [String::from("address = \"127.0.0.1:0\"\ntenant = \"default\"")];
        let listeners = if self.listeners.is_empty() { &default[..] } else { &self.listeners };
        parts.extend(listeners.iter().map(|keys| format!("\n[[listener]]\n{keys}")));
        parts.push("\n[tenants.default]\ncommands = [\"commands\"]".to_owned());
        parts.extend(self.tenant.iter().cloned());
        parts.push("\n[tenants.default.limits]".to_owned());
        parts.extend(self.limits.iter().cloned());
        if !self.may_hash.is_empty() {
            let dirs: Vec<String> = self.may_hash.iter().map(|dir| quoted(dir)).collect();
            parts.push(format!("\n[tenants.default.grants.digest]\nread = [{}]", dirs.join(", ")));
        }
        parts.extend(self.more.iter().map(|toml| format!("\n{toml}")));
        parts.join("\n") + "\n"
    }

    /// Starts the host and waits until it listens.
    #[track_caller]
    pub fn start(self) -> Host {
        let listeners = self.listening.unwrap_or(self.listeners.len().max(1));
        let (dir, command) = self.into_command();
        Host::start(dir, command, listeners)
    }

    /// `wasmline serve` as it would be started, for a host that is not going to listen. The directory lives as long as
    /// what is returned with it.
    #[track_caller]
    pub fn into_command(self) -> (TempDir, Command) {
        let config = self.dir.path().join(host::CONFIG);
        if self.writes_config {
            fs::write(&config, self.config()).expect("the configuration can be written");
        }
        let mut command = match &self.launcher {
            Launcher::Test => wasmline(),
            Launcher::Shell(script) => wasmline_after(script),
            Launcher::Namespace => wasmline_as_init(),
            Launcher::Tmpfs(place, size) => wasmline_with_tmpfs(place, size),
            Launcher::Strace(trace) => trace.wasmline(),
        };
        command.arg("serve");
        if self.config_flag {
            command.arg("--config").arg(config);
        }
        if self.cache_flag {
            command.arg("--cache").arg(HostBuilder::shared_cache());
        }
        command.args(self.args).envs(self.env);
        command.current_dir(self.directory.as_deref().unwrap_or(self.dir.path()));
        (self.dir, command)
    }
}

/// A path as a TOML string.
pub fn quoted(path: &Path) -> String {
    toml_literal(path.to_str().expect("the tests' paths are UTF-8"))
}

fn toml_literal(text: &str) -> String {
    assert!(!text.contains("'''"), "cannot be a TOML literal string: {text}");
    format!("'''{text}'''")
}
