//! What a configuration means, and what is said about one that cannot be used.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::policy::Slot;

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

fn listen(addresses: &[&str]) -> Overrides {
    Overrides { listen: addresses.iter().map(|address| address.parse().unwrap()).collect(), ..Overrides::default() }
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
        .filter(|line| {
            let by_machine = ["hash-jobs", "file-jobs", "compile-jobs", "cache"];
            !by_machine.iter().any(|key| line.starts_with(key))
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
fn mistakes_are_located() {
    for (text, expected) in [
        (
            "\n\n[server]\nmax-line = '1KiB'\n\n\nmax-conections = 3",
            "wasmline.toml:7:1: unknown key `max-conections` in [server]; did you mean `max-connections`?",
        ),
        ("[servers]", "wasmline.toml:1:2: unknown key `servers` at the top of the file; did you mean `server`?"),
        (
            "[tenants.x.limits]\nmemory = '64MiBs'",
            "wasmline.toml:2:10: tenants.x.limits.memory: \"64MiBs\" is no size; \
             write a number of bytes, or a size such as \"64MiB\", \"512KiB\" or \"1GB\"",
        ),
        (
            "[tenants.x.limits]\nconcurrency = 0",
            "wasmline.toml:2:15: tenants.x.limits.concurrency: 0 is out of range; \
             write a whole number from 1 to 1000000",
        ),
        (
            "[server]\nidle-timeout = 30",
            "wasmline.toml:2:16: server.idle-timeout: 30 is no duration; \
             write one with its unit, such as \"30s\", \"500ms\" or \"1m 30s\"",
        ),
        (
            "[[listener]]\naddress = 'localhost:9999'\ntenant = 'default'",
            "wasmline.toml:2:11: listener.address: \"localhost:9999\" is no address; \
             write an IP address and a port, \"127.0.0.1:9999\" or \"[::1]:9999\"",
        ),
        ("[[listener]]\naddress = '127.0.0.1:1'", "wasmline.toml:1:1: listener: the key `tenant` is missing"),
        (
            "[tenants.Acme]\ncommands = ['c']",
            "wasmline.toml:1:10: tenants: `Acme` is no name; \
             a name is made of a to z, 0 to 9, `_` and `-`, and begins with a letter or digit",
        ),
        ("[tenants.x\n", "wasmline.toml:1:11: unclosed table, expected `]`"),
        (
            "[tenants.x]\ncommands = 'c'",
            "wasmline.toml:2:12: tenants.x.commands: invalid type: string \"c\", expected an array",
        ),
        (
            "[tenants.x.settings.lastlog]\nlines = 10",
            "wasmline.toml:2:9: tenants.x.settings.lastlog.lines: a setting is text; put it in quotes: \"10\"",
        ),
        (
            "[[tenants.x.grants.process]]\nprogram = 'tail'",
            "wasmline.toml:2:11: tenants.x.grants.process.program: \
             `tail` is not an absolute path; write it from `/` on",
        ),
        (
            "[tenants.x]\nlimits = 5",
            "wasmline.toml:2:10: tenants.x.limits: invalid type: integer `5`, expected a table",
        ),
        (
            "[tenants.x]\nraw_output = true",
            "wasmline.toml:2:1: unknown key `raw_output` in [tenants.x]; did you mean `raw-output`?",
        ),
    ] {
        check_refused(text, expected);
    }
}

#[test]
fn a_tenant_needs_commands() {
    let expected = |line: usize| {
        format!(
            "wasmline.toml:{line}:1: tenants.x: it has no commands; name their directories, commands = [\"commands\"]"
        )
    };
    check_refused("\n[tenants.x]\nraw-output = true", &expected(2));
    check_refused("[tenants.x]\ncommands = []", &expected(1));
}

#[test]
fn a_listeners_tenant_must_exist() {
    check_refused(
        &format!("{TWO}[[listener]]\naddress = '127.0.0.1:1'\ntenant = 'c'"),
        "wasmline.toml:7:10: listener.tenant: there is no tenant `c`; did you mean `a`?",
    );
    check_refused(
        &format!("{TWO}[[listener]]\naddress = '127.0.0.1:1'\ntenant = 'default'"),
        "wasmline.toml:7:10: listener.tenant: there is no tenant `default`; known are `a`, `b`",
    );
}

#[test]
fn two_listeners_need_two_addresses() {
    let twice = |address: &str| {
        format!(
            "{TWO}[[listener]]\naddress = '{address}'\ntenant = 'a'\n[[listener]]\ntenant = 'b'\naddress = '{address}'"
        )
    };
    check_refused(
        &twice("127.0.0.1:7000"),
        "wasmline.toml:10:11: listener.address: 127.0.0.1:7000 is taken by the listener on line 6",
    );
    assert_eq!(load(&twice("127.0.0.1:0")).unwrap().listeners.len(), 2);
}

#[test]
fn without_listeners_it_must_be_clear_whom_to_serve() {
    assert_eq!(load("[tenants.x]\ncommands = ['c']").unwrap().listeners, [listener("127.0.0.1:9999", "x")]);
    check_refused(
        TWO,
        "a file without a [[listener]] is about the only tenant, or the one called `default`; \
         the tenants here are `a`, `b`",
    );
}

#[test]
fn listen_replaces_all_listeners() {
    let file = format!("{TWO}[tenants.default]\ncommands = ['c']\n[[listener]]\naddress = '127.0.0.1:1'\ntenant = 'a'");
    let config = load_with(&file, &listen(&["127.0.0.1:0", "127.0.0.1:0", "[::1]:2"])).unwrap();
    assert_eq!(
        config.listeners,
        [listener("127.0.0.1:0", "default"), listener("127.0.0.1:0", "default"), listener("[::1]:2", "default")]
    );
    let config = load_with("[tenants.x]\ncommands = ['c']", &listen(&["127.0.0.1:2"])).unwrap();
    assert_eq!(config.listeners, [listener("127.0.0.1:2", "x")]);
    assert_eq!(
        load_with(&file, &listen(&["127.0.0.1:2", "127.0.0.1:2"])).unwrap_err(),
        "--listen names 127.0.0.1:2 twice"
    );
}

#[test]
fn flags_need_to_know_their_tenant() {
    let file = format!("{TWO}[[listener]]\naddress = '127.0.0.1:1'\ntenant = 'a'");
    assert!(load(&file).is_ok());
    let clueless = " is about the only tenant, or the one called `default`; the tenants here are `a`, `b`";
    assert_eq!(load_with(&file, &listen(&["127.0.0.1:2"])).unwrap_err(), format!("--listen{clueless}"));
    let commands = Overrides { commands: Some("c".into()), ..Overrides::default() };
    assert_eq!(load_with(&file, &commands).unwrap_err(), format!("--commands{clueless}"));
}

#[test]
fn other_flags_replace_their_keys() {
    let directory = directory("[server]\nmax-connections = 5\ncache = 'x'\n[tenants.x.limits]\nqueue = 1");
    let overrides = Overrides {
        listen: Vec::new(),
        commands: Some("mine".into()),
        max_connections: Some(2),
        cache: Some("/cache".into()),
        engine_defaults: true,
    };
    let config = Config::load_in(directory.path(), None, &overrides).unwrap();
    assert_eq!(config.server.max_connections, 2);
    assert!(config.server.engine_defaults);
    assert_eq!(config.server.cache, PathBuf::from("/cache"));
    assert_eq!(config.tenants["x"].commands, [directory.path().join("mine")]);
    assert_eq!(config.tenants["x"].limits.queue, 1);
}

#[test]
fn flags_are_relative_to_the_current_directory() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("etc")).unwrap();
    fs::write(directory.path().join("etc/w.toml"), "[tenants.x]\ncommands = ['d']").unwrap();
    let overrides = Overrides { commands: Some("mine".into()), cache: Some("kept".into()), ..Overrides::default() };
    let config = Config::load_in(directory.path(), Some(Path::new("etc/w.toml")), &overrides).unwrap();
    assert_eq!(config.tenants["x"].commands, [directory.path().join("mine")]);
    assert_eq!(config.server.cache, directory.path().join("kept"));
}

#[test]
fn a_flag_out_of_range_is_refused() {
    let overrides = Overrides { max_connections: Some(0), ..Overrides::default() };
    assert_eq!(
        load_with("[server]", &overrides).unwrap_err(),
        "--max-connections is 0; it must be a whole number from 1 to 1000000"
    );
}

#[test]
fn the_cache_is_in_the_users_cache_directory() {
    let path = |text: &str| Some(OsString::from(text));
    assert_eq!(default_cache(path("/x"), path("/home/u")), PathBuf::from("/x/wasmline"));
    assert_eq!(default_cache(path("x"), path("/home/u")), PathBuf::from("/home/u/.cache/wasmline"));
    assert_eq!(default_cache(None, path("/home/u")), PathBuf::from("/home/u/.cache/wasmline"));
    assert_eq!(default_cache(None, None), PathBuf::from("/var/cache/wasmline"));
}

#[test]
fn an_empty_file_is_taken_for_one_being_written() {
    let error = load("").unwrap_err();
    assert!(error.contains("is empty"), "{error}");
}

const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn tokens_are_kept_as_hashes() {
    let config =
        load(&format!("[tenants.x]\ncommands = ['c']\ntokens = [{{ name = 'ci', sha256 = '{HASH}' }}]")).unwrap();
    let token = &config.tenants["x"].tokens[0];
    assert_eq!(token.name, "ci");
    assert_eq!(token.sha256[..3], [0xba, 0x78, 0x16]);
}

#[test]
fn a_token_in_place_of_its_hash_is_refused_and_not_repeated() {
    for hash in ["wl_0123", &HASH[1..], &HASH.replace('a', "g")] {
        check_refused(
            &format!("[tenants.x]\ncommands = ['c']\ntokens = [{{ name = 'ci', sha256 = '{hash}' }}]"),
            "wasmline.toml:3:35: tenants.x.tokens.sha256: this is no SHA-256; \
             paste the 64 digits that `wasmline token` prints",
        );
    }
}

#[test]
fn a_token_shows_one_tenant() {
    let token = |name: &str| format!("{{ name = '{name}', sha256 = '{HASH}' }}");
    let (one, two) = (token("one"), token("two"));
    check_refused(
        &format!(
            "[tenants.default]\ncommands = ['c']\ntokens = [{one}]\n[tenants.y]\ncommands = ['c']\ntokens = [{two}]"
        ),
        "the tokens `one` of the tenant `default` and `two` of the tenant `y` are the same; make one anew",
    );
    check_refused(
        &format!("[tenants.x]\ncommands = ['c']\ntokens = [{one}, {one}]"),
        "wasmline.toml:3:106: two tokens of one tenant are called `one`",
    );
}
