//! What listeners mean, and what is said about those that cannot be used.

use std::fs;

use super::super::{Config, DEFAULT_FILE, Overrides};
use super::*;

const TENANTS: &str = "[tenants.a]\ncommands = ['c']\n[tenants.b]\ncommands = ['c']\n";
/// The line on which a test's listener begins.
const FIRST: usize = 5;

fn load(listeners: &str) -> Result<Vec<Listener>, String> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(DEFAULT_FILE), format!("{TENANTS}{listeners}")).unwrap();
    let loaded = Config::load_in(directory.path(), None, &Overrides::default());
    let beside = directory.path().display().to_string();
    loaded.map(|config| config.listeners).map_err(|error| error.to_string().replace(&beside, ""))
}

#[track_caller]
fn one(keys: &str) -> Listener {
    let mut listeners = load(&format!("[[listener]]\n{keys}")).unwrap();
    assert_eq!(listeners.len(), 1);
    listeners.remove(0)
}

/// Asserts that a listener with these keys is refused at a line, counted from the listener's first, and a column.
#[track_caller]
fn check_refused(keys: &str, (line, column): (usize, usize), expected: &str) {
    let line = FIRST + line;
    assert_eq!(
        load(&format!("[[listener]]\n{keys}")).unwrap_err(),
        format!("wasmline.toml:{line}:{column}: {expected}")
    );
}

fn names(pairs: &[(CertificateName, &str)]) -> Vec<(CertificateName, Arc<str>)> {
    pairs.iter().map(|(name, tenant)| (name.clone(), (*tenant).into())).collect()
}

#[test]
fn a_unix_socket_is_the_hosts_own_unless_said_otherwise() {
    let listener = one("unix = '/run/w.sock'\ntenant = 'a'");
    assert_eq!(listener.place, Endpoint::Unix { path: "/run/w.sock".into(), mode: 0o600 });
    assert_eq!(listener.proof, Proof::Listener { tenant: "a".into() });
    assert_eq!(listener.place.to_string(), "unix:/run/w.sock");
    let listener = one("unix = '/run/../run/w.sock'\nmode = '0660'\ntenant = 'a'");
    assert!(matches!(listener.place, Endpoint::Unix { mode: 0o660, .. }));
}

#[test]
fn peers_name_their_tenants() {
    let root = "{ user = 'root', tenant = 'a' }";
    let listener = one(&format!("unix = '/s'\npeers = [{root}, {{ uid = 1000, tenant = 'b' }}]"));
    let tenants = vec![(0, "a".into()), (1000, "b".into())];
    assert_eq!(listener.proof, Proof::Peers { tenants: tenants.clone(), otherwise: None });
    let listener = one(&format!("unix = '/s'\ntenant = 'b'\npeers = [{root}, {{ uid = 1000, tenant = 'b' }}]"));
    assert_eq!(listener.proof, Proof::Peers { tenants, otherwise: Some("b".into()) });
}

#[test]
fn certificates_name_their_tenants() {
    let listener =
        one("address = '127.0.0.1:1'\n[listener.tls]\ncertificate = '/c'\nkey = '/k'\nclient-ca = '/ca'\nclients = [
            { cn = 'Alice', tenant = 'a' }, { dns = 'CI.example', tenant = 'b' },
            { uri = 'spiffe://x/y', tenant = 'a' }, { email = 'a@b', tenant = 'b' }]");
    let tenants = names(&[
        (CertificateName::Cn("Alice".to_owned()), "a"),
        (CertificateName::Dns("ci.example".to_owned()), "b"),
        (CertificateName::Uri("spiffe://x/y".to_owned()), "a"),
        (CertificateName::Email("a@b".to_owned()), "b"),
    ]);
    assert_eq!(listener.proof, Proof::Certificate { tenants, otherwise: None });
    let files = Tls { certificate: "/c".into(), key: "/k".into(), client_ca: Some("/ca".into()) };
    assert_eq!(listener.tls, Some(files));
}

#[test]
fn tls_by_itself_says_nothing_of_the_client() {
    let tls = "[listener.tls]\ncertificate = '/c'\nkey = '/k'\n";
    let listener = one(&format!("address = '127.0.0.1:1'\ntenant = 'a'\n{tls}"));
    assert_eq!(listener.proof, Proof::Listener { tenant: "a".into() });
    let listener = one(&format!("address = '127.0.0.1:1'\nauth = 'token'\n{tls}"));
    assert_eq!(listener.proof, Proof::Token { only: None });
    // Every certificate of the client CA is good enough where that is said.
    let listener = one(&format!("address = '127.0.0.1:1'\ntenant = 'a'\n{tls}client-ca = '/ca'"));
    assert_eq!(listener.proof, Proof::Certificate { tenants: Vec::new(), otherwise: Some("a".into()) });
}

#[test]
fn proxies_are_networks_or_addresses() {
    let listener =
        one("address = '127.0.0.1:1'\ntenant = 'a'\nproxy-protocol = true\ntrusted-proxies = ['10.0.0.0/8', '::1']");
    let proxies: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    assert_eq!(listener.proxies, Some(proxies));
    assert_eq!(one("address = '127.0.0.1:1'\ntenant = 'a'\nproxy-protocol = false").proxies, None);
}

#[test]
fn keys_belong_to_their_kind_of_listener() {
    check_refused("tenant = 'a'", (0, 1), "listener: it needs an `address`, or `unix` with a socket's path");
    check_refused(
        "address = '127.0.0.1:1'\nunix = '/s'\ntenant = 'a'",
        (2, 8),
        "listener.unix: a listener has either an `address` or this",
    );
    check_refused(
        "address = '127.0.0.1:1'\nmode = '0600'\ntenant = 'a'",
        (2, 8),
        "listener.mode: this is for listeners with `unix`",
    );
    check_refused(
        "address = '127.0.0.1:1'\npeers = []\ntenant = 'a'",
        (2, 9),
        "listener.peers: this is for listeners with `unix`",
    );
    check_refused(
        "unix = '/s'\nproxy-protocol = true\ntenant = 'a'",
        (2, 18),
        "listener.proxy-protocol: this is for listeners with `address`",
    );
    check_refused(
        "unix = '/s'\nauth = 'token'\npeers = []",
        (3, 9),
        "listener.peers: `auth = \"token\"` names the tenant already; remove one of the two",
    );
    check_refused("address = '127.0.0.1:1'", (0, 1), "listener: the key `tenant` is missing");
}

#[test]
fn proxies_that_anyone_could_be_are_refused() {
    let expected =
        "listener.proxy-protocol: anyone could claim any address; name the proxies, trusted-proxies = [\"192.0.2.7\"]";
    check_refused("address = '127.0.0.1:1'\ntenant = 'a'\nproxy-protocol = true", (3, 18), expected);
    check_refused(
        "address = '127.0.0.1:1'\ntenant = 'a'\nproxy-protocol = true\ntrusted-proxies = []",
        (3, 18),
        expected,
    );
    check_refused(
        "address = '127.0.0.1:1'\ntenant = 'a'\ntrusted-proxies = ['::1']",
        (3, 19),
        "listener.trusted-proxies: they say nothing here without `proxy-protocol = true`",
    );
    check_refused(
        "address = '127.0.0.1:1'\ntenant = 'a'\nproxy-protocol = true\ntrusted-proxies = ['haproxy']",
        (4, 19),
        "listener.trusted-proxies: \"haproxy\" is no network; write one such as \"10.0.0.0/8\" or \"192.0.2.7\"",
    );
}

#[test]
fn bad_values_are_shown_with_good_ones() {
    for mode in ["600", "'0o600'", "'rw-------'", "'1777'"] {
        let error = load(&format!("[[listener]]\nunix = '/s'\ntenant = 'a'\nmode = {mode}")).unwrap_err();
        assert!(error.contains("is no mode; write its octal digits in quotes, such as \"0660\""), "{error}");
    }
    check_refused(
        &format!("unix = '/{}'\ntenant = 'a'", "x".repeat(107)),
        (1, 8),
        "listener.unix: the path has 108 bytes; a socket's may have 107",
    );
    check_refused(
        "unix = '/s'\npeers = [{ user = 'nobody-of-that-name', tenant = 'a' }]",
        (2, 9),
        "listener.peers: this machine has no user `nobody-of-that-name`; write a name or a `uid` it knows",
    );
    check_refused(
        "unix = '/s'\npeers = [{ tenant = 'a' }]",
        (2, 9),
        "listener.peers: a peer has exactly one of the keys `uid` and `user`",
    );
    check_refused(
        "unix = '/s'\npeers = [{ uid = 1, tenant = 'aa' }]",
        (2, 30),
        "listener.peers: there is no tenant `aa`; did you mean `a`?",
    );
    let tls = "address = '127.0.0.1:1'\n[listener.tls]\ncertificate = '/c'\nkey = '/k'\n";
    check_refused(
        &format!("{tls}clients = [{{ cn = 'x', tenant = 'a' }}]"),
        (5, 11),
        "listener.tls.clients: clients show no certificate without `client-ca`",
    );
    check_refused(
        &format!("{tls}client-ca = '/ca'\nclients = [{{ cn = 'x', dns = 'y', tenant = 'a' }}]"),
        (6, 11),
        "listener.tls.clients: a client has exactly one of the keys `cn`, `dns`, `uri` and `email`",
    );
    check_refused(
        "address = '127.0.0.1:1'\nauth = 'password'",
        (2, 8),
        "listener.auth: unknown variant `password`, expected `token`",
    );
}

#[test]
fn two_listeners_need_two_paths() {
    let twice = "[[listener]]\nunix = '/s'\ntenant = 'a'\n[[listener]]\nunix = '//./s'\ntenant = 'b'";
    assert_eq!(
        load(twice).unwrap_err(),
        "wasmline.toml:9:8: listener.unix: unix:/s is taken by the listener on line 6"
    );
}
