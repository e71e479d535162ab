//! What a configuration means.

mod flags;
mod mistakes;
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{Config, DEFAULT_FILE, Limits, Listener, Overrides, Server, units};
use crate::policy::{Grants, Slot};

/// A directory of the test's own, with `text` as its `wasmline.toml`.
fn directory(text: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(DEFAULT_FILE), text).unwrap();
    directory
}

fn load_with(text: &str, overrides: &Overrides) -> Result<Config, String> {
    let directory = directory(text);
    Config::load_in(directory.path(), None, overrides).map_err(|error| error.to_string())
}

fn load(text: &str) -> Result<Config, String> {
    load_with(text, &Overrides::default())
}

fn listener(address: &str, tenant: &str) -> Listener {
    Listener::plain(address.parse().unwrap(), tenant)
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    assert_eq!(load(text).unwrap_err(), expected);
}

const TWO: &str = "[tenants.a]\ncommands = ['a']\n[tenants.b]\ncommands = ['b']\n";

#[test]
fn without_a_file_nothing_is_granted() {
    let empty = tempfile::tempdir().unwrap();
    let config = Config::load_in(empty.path(), None, &Overrides::default()).unwrap();
    assert_eq!(config.source, None);
    assert_eq!(config.server, Server::default());
    assert_eq!(config.listeners, [listener("127.0.0.1:9999", "default")]);
    let tenant = &config.tenants["default"];
    assert_eq!(config.tenants.len(), 1);
    assert_eq!(tenant.name, "default");
    assert_eq!(tenant.commands, [empty.path().join("commands")]);
    assert_eq!(tenant.grants, Grants::default());
    assert_eq!(tenant.limits, Limits::default());
    assert!(!tenant.raw_output);
    assert!(tenant.settings.is_empty());
}

#[test]
fn the_shipped_file_is_valid() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wasmline.toml");
    let config = Config::load(Some(&file), &Overrides::default()).unwrap();
    let tenant = &config.tenants["default"];
    assert_eq!(config.listeners, [listener("127.0.0.1:9999", "default")]);
    assert_eq!(config.server, Server::default());
    assert_eq!(tenant.limits, Limits::default());
    assert!(tenant.commands[0].ends_with("target/commands"));
    assert_eq!(tenant.settings["lastlog"]["file"], "/var/log/dpkg.log");
}

/// Each line of the shipped file that shows a default must show the right one. Examples are indented.
#[test]
fn the_shipped_file_shows_the_defaults() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wasmline.toml");
    let text = fs::read_to_string(file).unwrap();
    let shown: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") && !key.starts_with(['{', ' ']) => key,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(shown.contains("\nhandles = 1000") && shown.contains("\nraw-output = false"), "{shown}");
    let config = load(&shown).unwrap();
    assert_eq!(config.server, Server::default());
    assert_eq!(config.tenants["default"].limits, Limits::default());
    assert!(!config.tenants["default"].raw_output);
}

#[test]
fn a_full_file_is_read() {
    let config = load(
        r#"
        [server]
        max-connections = 2
        max-connections-per-source = 8
        max-handshakes = 9
        max-handshakes-per-source = 10
        handshake-timeout = "11s"
        max-line = "1KiB"
        idle-timeout = "1m"
        line-timeout = "2s"
        write-timeout = "3s"
        drain-timeout = "4s"
        max-invocations = 5
        max-children = 12
        kept-instances = 13
        memory = "1GiB"
        hash-jobs = 6
        file-jobs = 4
        compile-jobs = 3
        startup-timeout = "5s"
        cache = "/cache"
        cache-size = "7MiB"

        [[listener]]
        address = "127.0.0.1:0"
        tenant = "a"

        [[listener]]
        address = "[::1]:7000"
        tenant = "b"

        [tenants.a]
        commands = ["own", "/shared"]
        raw-output = true

        [[tenants.a.grants.process]]
        program = "/usr/bin/tail"
        args = ["-n", { int = [1, 10] }]

        [tenants.a.grants.digest]
        read = ["/etc"]

        [tenants.a.limits]
        memory = "1MiB"
        cpu = "100ms"
        timeout = "1m 30s"
        output = 2000
        concurrency = 1
        queue = 0
        children = 3
        kept-instances = 14
        digest-size = "1GB"
        handles = 4
        host-call-memory = "5KiB"
        children-per-line = 6
        memory-in-use = "7MiB"
        lines-per-second = 8
        cpu-share = 0.5
        hash-jobs = 9
        file-jobs = 11
        compile-jobs = 10
        connections = 5

        [tenants.a.settings.lastlog]
        file = "/x"

        [tenants.b]
        commands = ["b"]
        "#,
    )
    .unwrap();
    let seconds = Duration::from_secs;
    assert_eq!(
        config.server,
        Server {
            max_connections: 2,
            max_connections_per_source: 8,
            max_handshakes: 9,
            max_handshakes_per_source: 10,
            handshake_timeout: seconds(11),
            max_line: 1024,
            idle_timeout: seconds(60),
            line_timeout: seconds(2),
            write_timeout: seconds(3),
            drain_timeout: seconds(4),
            max_invocations: Some(5),
            max_children: Some(12),
            kept_instances: 13,
            memory: Some(1 << 30),
            hash_jobs: 6,
            file_jobs: 4,
            compile_jobs: 3,
            startup_timeout: seconds(5),
            cache: "/cache".into(),
            cache_size: 7 << 20,
            engine_defaults: false,
        }
    );
    assert_eq!(config.listeners, [listener("127.0.0.1:0", "a"), listener("[::1]:7000", "b")]);
    let tenant = &config.tenants["a"];
    let beside = config.source.as_ref().unwrap().parent().unwrap();
    assert_eq!(tenant.commands, [beside.join("own"), "/shared".into()]);
    assert!(tenant.raw_output);
    assert_eq!(tenant.grants.process[0].args[1], Slot::Int { min: 1, max: 10 });
    assert_eq!(tenant.grants.digest.read, [PathBuf::from("/etc")]);
    assert_eq!(
        tenant.limits,
        Limits {
            memory: 1 << 20,
            cpu: Duration::from_millis(100),
            timeout: seconds(90),
            output: 2000,
            concurrency: 1,
            queue: 0,
            children: 3,
            kept_instances: Some(14),
            digest_size: 1_000_000_000,
            handles: 4,
            host_call_memory: 5 << 10,
            children_per_line: 6,
            memory_in_use: Some(7 << 20),
            lines_per_second: Some(8),
            cpu_share: Some(units::Share(500)),
            hash_jobs: Some(9),
            file_jobs: Some(11),
            compile_jobs: Some(10),
            connections: Some(5),
        }
    );
    assert_eq!(tenant.settings["lastlog"]["file"], "/x");
    assert_eq!(config.tenants["b"].grants, Grants::default());
}

#[test]
fn paths_are_relative_to_the_files_directory() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("etc")).unwrap();
    let file = directory.path().join("etc/w.toml");
    fs::write(&file, "[server]\ncache = './c'\n[tenants.x]\ncommands = ['./d']").unwrap();
    let config = Config::load_in(directory.path(), Some(Path::new("etc/w.toml")), &Overrides::default()).unwrap();
    assert_eq!(config.source, Some(file));
    assert_eq!(config.server.cache, directory.path().join("etc/c"));
    assert_eq!(config.tenants["x"].commands, [directory.path().join("etc/d")]);
}

#[test]
fn a_named_file_must_exist() {
    let empty = tempfile::tempdir().unwrap();
    let error = Config::load_in(empty.path(), Some(Path::new("w.toml")), &Overrides::default()).unwrap_err();
    assert!(error.to_string().starts_with("w.toml: cannot be read: No such file"), "{error}");
}

#[test]
fn an_unreadable_default_file_is_no_absent_one() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join(DEFAULT_FILE)).unwrap();
    let error = Config::load_in(directory.path(), None, &Overrides::default()).unwrap_err();
    assert!(error.to_string().starts_with("wasmline.toml: cannot be read: "), "{error}");
}

#[test]
fn a_file_without_tenants_has_the_default_one() {
    let config = load("[server]\nmax-connections = 2").unwrap();
    assert_eq!(config.server.max_connections, 2);
    assert!(config.tenants["default"].commands[0].ends_with("commands"));
    assert_eq!(config.listeners, [listener("127.0.0.1:9999", "default")]);
}

#[test]
fn an_empty_file_is_taken_for_one_being_written() {
    let error = load("").unwrap_err();
    assert!(error.contains("is empty"), "{error}");
}
