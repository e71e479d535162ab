//! What a configuration means, and what is said about one that cannot be used.

use super::*;

fn load(text: &str) -> Result<Config, String> {
    load_with(text, &Overrides::default())
}

fn load_with(text: &str, overrides: &Overrides) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wasmline.toml");
    std::fs::write(&file, text).unwrap();
    let prefix = format!("{}/", directory.path().display());
    Config::load(Some(&file), overrides).map_err(|error| error.to_string().replace(&prefix, ""))
}

const TENANT: &str = "[tenants.a]\ncommands = ['here']";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn nothing_is_granted_without_a_file() {
    let config = Config::load(None, &Overrides::default()).unwrap();
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address, address("127.0.0.1:9999"));
    let tenant = &config.tenants["default"];
    assert_eq!(tenant.grants, Grants::default());
    assert!(tenant.commands[0].is_absolute() && tenant.commands[0].ends_with("commands"));
    assert_eq!(tenant.limits, Limits::default());
}

#[test]
fn a_full_file_is_read() {
    let config = load(
        r#"
        [server]
        max-connections = 7
        max-line = "1KiB"
        write-timeout = "250ms"
        [[listener]]
        address = "127.0.0.1:0"
        tenant = "a"
        [tenants.a]
        commands = ["mine", "/srv/shared"]
        raw-output = true
        [tenants.a.limits]
        memory = "2MiB"
        cpu = "1m 30s"
        output = 4096
        [tenants.a.settings.lastlog]
        file = "/var/log/syslog"
        [tenants.b]
        commands = ['theirs']
        "#,
    )
    .unwrap();
    assert_eq!((config.server.max_connections, config.server.max_line), (7, 1024));
    assert_eq!(config.server.write_timeout, Duration::from_millis(250));
    let tenant = &config.tenants["a"];
    assert!(tenant.commands[0].is_absolute() && tenant.commands[0].ends_with("mine"));
    assert_eq!(tenant.commands[1], Path::new("/srv/shared"));
    assert_eq!((tenant.limits.memory, tenant.limits.output), (2 << 20, 4096));
    assert_eq!(tenant.limits.cpu, Duration::from_secs(90));
    assert_eq!(tenant.limits.timeout, Limits::default().timeout);
    assert_eq!(tenant.settings["lastlog"]["file"], "/var/log/syslog");
    assert!(tenant.raw_output && !config.tenants["b"].raw_output);
}

#[test]
fn flags_go_over_the_file() {
    let overrides = Overrides {
        listen: vec![address("127.0.0.1:1"), address("127.0.0.1:2")],
        commands: Some("/elsewhere".into()),
        max_connections: Some(2),
        cache: Some("/cache".into()),
    };
    let text = "[server]\nmax-connections = 9\n[[listener]]\naddress = '127.0.0.1:3'\ntenant = 'only'\n\
                [tenants.only]\ncommands = ['here']";
    let config = load_with(text, &overrides).unwrap();
    assert_eq!(config.server.max_connections, 2);
    assert_eq!(config.server.cache, Path::new("/cache"));
    let listeners: Vec<_> = config.listeners.iter().map(|listener| (listener.address, &*listener.tenant)).collect();
    assert_eq!(listeners, [(address("127.0.0.1:1"), "only"), (address("127.0.0.1:2"), "only")]);
    assert_eq!(config.tenants["only"].commands, [Path::new("/elsewhere")]);

    let two = "[tenants.a]\ncommands = ['x']\n[tenants.b]\ncommands = ['y']\n[[listener]]\naddress = '127.0.0.1:3'\ntenant = 'a'";
    let error = load_with(two, &overrides).unwrap_err();
    assert!(error.contains("default"), "{error}");
}

#[test]
fn mistakes_are_located_and_explained() {
    for (text, place, words) in [
        ("[server]\nmax-conections = 1", "wasmline.toml:2:1", &["max-conections", "max-connections"][..]),
        ("[tenants.a.limits]\nmemori = '1MiB'", "wasmline.toml:2:1", &["memori", "memory"]),
        ("[tenants.a.limits]\nmemory = '64MiBs'", "wasmline.toml:2:10", &["memory", "64MiBs", "64MiB"]),
        ("[tenants.a.limits]\ncpu = 'soon'", "wasmline.toml:2:7", &["cpu", "soon"]),
        ("[tenants.a.limits]\nconcurrency = 0", "wasmline.toml:2:15", &["concurrency"]),
        ("[[listener]]\naddress = 'localhost'\ntenant = 'a'\n[tenants.a]", "wasmline.toml:2:11", &["localhost"]),
        ("[[listener]]\naddress = '127.0.0.1:1'\ntenant = 'b'\n[tenants.a]", "wasmline.toml:3:10", &["`b`", "`a`"]),
        ("[tenants.'A b']", "wasmline.toml:1:", &["A b"]),
        ("[tenants.a.settings.x]\nlines = 3", "wasmline.toml:2:9", &["quotes"]),
        ("[tenants.a\n", "wasmline.toml:1:", &[]),
    ] {
        let error = load(text).unwrap_err();
        assert!(error.starts_with(place), "{text:?}: {error}");
        for word in words {
            assert!(error.contains(word), "{text:?}: {error}");
        }
    }
}

#[test]
fn an_address_has_one_listener() {
    let listener = "[[listener]]\naddress = '127.0.0.1:5'\ntenant = 'a'\n";
    let error = load(&format!("{listener}{listener}{TENANT}")).unwrap_err();
    assert!(error.contains("127.0.0.1:5"), "{error}");
    // Port 0 is a different port each time.
    let any = "[[listener]]\naddress = '127.0.0.1:0'\ntenant = 'a'\n";
    assert_eq!(load(&format!("{any}{any}{TENANT}")).unwrap().listeners.len(), 2);
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Some(Path::new("/nonexistent/w.toml")), &Overrides::default()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/w.toml"), "{error}");
}
