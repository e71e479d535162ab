//! What flags replace.

use std::fs;
use std::path::{Path, PathBuf};

use super::{TWO, directory, listener, load, load_with};
use crate::config::{Config, Overrides};

fn listen(addresses: &[&str]) -> Overrides {
    Overrides { listen: addresses.iter().map(|address| address.parse().unwrap()).collect(), ..Overrides::default() }
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
