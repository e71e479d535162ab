//! TLS: clients with certificates, as openssl, ncat and socat bring them.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::tenants;
use crate::support::{
    Authority, Certificate, Client, Host, HostBuilder, eventually, pipe_into, program, quoted, type_into,
};

/// Who is who on the listeners here.
const CLIENTS: &str = r#"clients = [
    { cn = "carol", tenant = "alice" },
    { dns = "ci.example", tenant = "bob" },
    { uri = "spiffe://example/dave", tenant = "alice" },
    { email = "erin@example.org", tenant = "bob" },
]"#;

/// The keys of a listener with this certificate, for clients of the authority.
fn listener(own: &Certificate, authority: &Authority, more: &str) -> String {
    format!(
        "address = \"127.0.0.1:0\"\n[listener.tls]\ncertificate = {}\nkey = {}\nclient-ca = {}\n{more}",
        quoted(&own.certificate),
        quoted(&own.key),
        quoted(&authority.certificate())
    )
}

fn with_clients() -> (HostBuilder, Authority) {
    let authority = Authority::new();
    let own = authority.issue_with("localhost", &["dns:localhost"]);
    (tenants().listener_with(&listener(&own, &authority, CLIENTS)), authority)
}

fn openssl(host: &Host, authority: &Authority, own: Option<&Certificate>) -> Command {
    let mut command = program("openssl");
    command.args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost", "-CAfile"]);
    command.arg(authority.certificate()).args(["-connect", &host.address().to_string()]);
    if let Some(own) = own {
        command.arg("-cert").arg(&own.certificate).arg("-key").arg(&own.key);
    }
    command
}

fn ncat(host: &Host, authority: &Authority, own: &Certificate) -> Command {
    let mut command = program("ncat");
    command.args(["--ssl", "--ssl-verify", "--ssl-servername", "localhost", "--ssl-trustfile"]);
    command.arg(authority.certificate()).arg("--ssl-cert").arg(&own.certificate).arg("--ssl-key").arg(&own.key);
    command.args(["127.0.0.1", &host.address().port().to_string()]);
    command
}

fn socat(host: &Host, authority: &Authority, own: &Certificate) -> Command {
    let files = [&authority.certificate(), &own.certificate, &own.key].map(|file| file.display().to_string());
    let [ca, certificate, key] = files;
    let address = host.address();
    let tls = format!("OPENSSL:{address},cafile={ca},cert={certificate},key={key},commonname=localhost");
    let mut command = program("socat");
    command.args(["-t", "60", "-", &tls]);
    command
}

/// Asserts that nothing is served on the connection that the command makes, and that the log tells of it.
#[track_caller]
fn is_refused(command: &mut Command, host: &Host) {
    let counts = || ["client refused", "line received"].map(|text| host.log().matches(text).count());
    let [refused, lines] = counts();
    let outcome = type_into(command, "whoami\n");
    assert!(!outcome.out().contains("tenant"), "{outcome}");
    eventually("the refusal is logged", || counts()[0] > refused);
    assert_eq!(counts()[1], lines, "a stranger's line was run");
}

#[test]
fn openssl_is_served_for_the_tenant_of_its_certificate() {
    let (builder, authority) = with_clients();
    let host = builder.start();
    let carol = authority.issue("carol");
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = openssl(&host, &authority, Some(&carol));
        let out = pipe_into(client.arg(version), "whoami\nexit\n").exited(0).out();
        assert!(out.starts_with("tenant alice\npeer 127.0.0.1:"), "{out}");
    }
    host.wait_for_log(&["connection made", "tenant=alice", "identity=certificate cn:carol on 127.0.0.1:"]);
}

#[test]
fn ncat_is_served_for_the_tenant_of_its_certificate() {
    let (builder, authority) = with_clients();
    let host = builder.start();
    let carol = authority.issue("carol");
    let out = pipe_into(&mut ncat(&host, &authority, &carol), "whoami\nexit\n").exited(0).out();
    assert!(out.starts_with("tenant alice\npeer 127.0.0.1:"), "{out}");
}

#[test]
fn alternative_names_count_as_well() {
    let (builder, authority) = with_clients();
    let host = builder.start();
    for (name, tenant, log) in [
        ("dns:CI.example", "bob", "certificate dns:ci.example"),
        ("uri:spiffe://example/dave", "alice", "certificate uri:spiffe://example/dave"),
        ("email:erin@example.org", "bob", "certificate email:erin@example.org"),
    ] {
        let own = authority.issue_with("somebody", &["dns:unknown.example", name]);
        let mut client = openssl(&host, &authority, Some(&own));
        let out = pipe_into(&mut client, "whoami\nexit\n").exited(0).out();
        assert!(out.starts_with(&format!("tenant {tenant}\n")), "{name}: {out}");
        host.wait_for_log(&["connection made", log]);
    }
}

#[test]
fn a_certificate_that_is_nobodys_is_told_so() {
    let (builder, authority) = with_clients();
    let host = builder.start();
    // Near ones are nobody's either: a name counts as a whole, and under its own kind.
    for (name, alternatives) in
        [("mallory", &[][..]), ("Carol", &[]), ("ci.example", &["dns:carol", "dns:x.ci.example"])]
    {
        let own = authority.issue_with(name, alternatives);
        let outcome = pipe_into(&mut openssl(&host, &authority, Some(&own)), "whoami\n");
        assert_eq!(outcome.out(), "error: denied: your certificate is not known here\n", "{outcome}");
        host.wait_for_log(&["client refused", &format!("cn:{name}")]);
    }
    assert!(!host.log().contains("line received"), "a stranger's line was run");
}

#[test]
fn the_listeners_tenant_is_for_all_other_certificates_where_it_has_one() {
    let authority = Authority::new();
    let own = authority.issue_with("localhost", &["dns:localhost"]);
    let keys = format!("tenant = \"bob\"\n{}", listener(&own, &authority, CLIENTS));
    let host = tenants().listener_with(&keys).start();
    for (name, tenant) in [("carol", "alice"), ("mallory", "bob")] {
        let own = authority.issue(name);
        let out = pipe_into(&mut openssl(&host, &authority, Some(&own)), "whoami\nexit\n").exited(0).out();
        assert!(out.starts_with(&format!("tenant {tenant}\n")), "{out}");
    }
    host.wait_for_log(&["connection made", "tenant=bob", "identity=certificate cn:mallory"]);
    host.wait_for_log(&["connection lost", "tenant=bob"]);
    is_refused(&mut openssl(&host, &authority, Some(&Authority::new().issue("carol"))), &host);
}

#[test]
fn without_a_good_certificate_nobody_is_served() {
    let (builder, authority) = with_clients();
    let host = builder.start();
    is_refused(&mut openssl(&host, &authority, None), &host);
    is_refused(&mut openssl(&host, &authority, Some(&Authority::new().issue("carol"))), &host);
    is_refused(&mut openssl(&host, &authority, Some(&authority.issue_expired("carol"))), &host);
    let mut old = openssl(&host, &authority, Some(&authority.issue("carol")));
    is_refused(old.args(["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]), &host);
}

#[test]
fn tls_may_ask_for_no_certificate() {
    let authority = Authority::new();
    let own = authority.issue_with("localhost", &["dns:localhost"]);
    let keys = format!(
        "address = \"127.0.0.1:0\"\ntenant = \"bob\"\n[listener.tls]\ncertificate = {}\nkey = {}",
        quoted(&own.certificate),
        quoted(&own.key)
    );
    let host = tenants().listener_with(&keys).start();
    let out = pipe_into(&mut openssl(&host, &authority, None), "whoami\nexit\n").exited(0).out();
    assert!(out.starts_with("tenant bob\n"), "{out}");
}

#[test]
fn a_long_reply_and_many_lines_come_whole() {
    let (builder, authority) = with_clients();
    let host = builder.fixture("flood").start();
    let carol = authority.issue("carol");
    let long: String = (1..=50_000).map(|number| format!("line {number}\n")).collect();
    pipe_into(&mut socat(&host, &authority, &carol), "flood 50000\n").exited(0).prints(&long);
    let lines: String = (0..5000).map(|number| format!("echo {number}\n")).collect();
    let replies: String = (0..5000).map(|number| format!("{number}\n")).collect();
    pipe_into(&mut socat(&host, &authority, &carol), &lines).exited(0).prints(&replies);
    pipe_into(&mut openssl(&host, &authority, Some(&carol)), lines + "exit\n").exited(0).prints(&replies);
}

#[test]
fn the_end_of_input_is_what_tls_says_it_is() {
    let (builder, authority) = with_clients();
    let host = builder.start();
    let carol = authority.issue("carol");
    // socat says that it ends; ncat just closes, as whoever cuts the connection would.
    let out = pipe_into(&mut socat(&host, &authority, &carol), "readback\none\n").exited(0).out();
    assert_eq!(out, "got: one\nend\n");
    host.wait_for_log(&["connection lost", "the client ended its input"]);
    let out = pipe_into(&mut ncat(&host, &authority, &carol), "echo whole\nreadback\none\n").out();
    assert_eq!(out, "whole\ngot: one\n", "a command took a cut for an end");
    host.wait_for_log(&["connection lost", "the client's input was cut off"]);
}

#[test]
fn a_client_that_never_reads_is_cut() {
    let authority = Authority::new();
    let own = authority.issue_with("localhost", &["dns:localhost"]);
    let keys = format!("tenant = \"default\"\n{}", listener(&own, &authority, ""));
    let host = tenants().fixture("chatter").server("write-timeout = \"1s\"").listener_with(&keys);
    let host = host.limit("output = \"1TiB\"").limit("timeout = \"10m\"").limit("cpu = \"10m\"").start();
    let mut client = openssl(&host, &authority, Some(&authority.issue("carol")));
    let mut client =
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("openssl");
    client.stdin.as_mut().expect("piped").write_all(b"chatter\n").expect("openssl reads");
    host.wait_for_log(&["connection lost", "did not read"]);
    client.kill().expect("it can be killed");
    client.wait().expect("it can be waited for");
}

#[test]
fn a_certificate_that_is_taken_out_is_cut_off() {
    let (builder, authority) = with_clients();
    let host = builder.start();
    let mut client = openssl(&host, &authority, Some(&authority.issue("carol")));
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("openssl");
    client.stdin.as_mut().expect("piped").write_all(b"whoami\n").expect("openssl reads");
    host.wait_for_log(&["command finished", "whoami"]);
    host.reload();
    assert!(!host.log().contains("connection lost"), "a reload cut a client that it left where it was");
    host.edit_config("{ cn = \"carol\", tenant = \"alice\" },", "");
    host.reload();
    host.wait_for_log(&["connection lost", "tenant=alice", "does not know the client any more"]);
    client.kill().expect("it can be killed");
    client.wait().expect("it can be waited for");
}

#[test]
fn what_is_no_tls_is_closed() {
    let (builder, authority) = with_clients();
    let host = builder.server("handshake-timeout = \"500ms\"").start();
    let mut plain = host.connect();
    plain.send("whoami\n");
    plain.wait_until_cut();
    let mut silent = host.connect();
    silent.wait_until_cut();
    let mut dripping = host.connect();
    dripping.send_dripping(b"\x16\x03\x01\x40\0", std::time::Duration::from_millis(20));
    dripping.wait_until_cut();
    let carol = authority.issue("carol");
    let out = pipe_into(&mut openssl(&host, &authority, Some(&carol)), "echo fine\nexit\n").exited(0).out();
    assert_eq!(out, "fine\n");
    assert_eq!(host.log().matches("connection made").count(), 1);
}

#[test]
fn half_open_handshakes_keep_nobody_out() {
    let (builder, authority) = with_clients();
    let host = builder.server("handshake-timeout = \"10m\"").start();
    let _silent: Vec<Client> = (0..64).map(|_| host.connect()).collect();
    let carol = authority.issue("carol");
    let out = pipe_into(&mut openssl(&host, &authority, Some(&carol)), "echo served\nexit\n").exited(0).out();
    assert_eq!(out, "served\n");
}

#[test]
fn too_many_are_told_so_over_tls() {
    let (builder, authority) = with_clients();
    let host = builder.server("max-connections = 1").listener("default").start();
    let mut one = Client::connect(host.addresses()[1]);
    assert!(one.is_served());
    let carol = authority.issue("carol");
    let out = pipe_into(&mut openssl(&host, &authority, Some(&carol)), "whoami\n").out();
    assert_eq!(out, "Too many connections. bye !\n");
}

#[test]
fn certificates_are_read_again_at_a_reload_and_bad_ones_are_not_taken() {
    let authority = Authority::new();
    let own = authority.issue_with("localhost", &["dns:localhost"]);
    let carol = authority.issue("carol");
    let host = tenants().listener_with(&listener(&own, &authority, CLIENTS)).start();
    let ask = |trusted: &Authority| {
        let outcome = pipe_into(&mut openssl(&host, trusted, Some(&carol)), "echo served\nexit\n");
        outcome.out() == "served\n"
    };
    assert!(ask(&authority));
    // A port that the machine has chosen is none of another configuration's.
    host.edit_config("127.0.0.1:0", &host.address().to_string());
    host.reload();

    let new = Authority::new();
    own.replace_by(&new.issue_with("localhost", &["dns:localhost"]));
    assert!(ask(&authority), "the certificate was read without being asked to");
    host.reload();
    assert!(ask(&new), "the new certificate was not read");
    assert!(!ask(&authority));

    fs::write(&own.certificate, "-----BEGIN CERTIFICATE-----\nAAAA").expect("a file");
    let log = host.reload();
    assert!(
        log.contains("certificates of a listener not changed") && log.contains(&own.certificate.display().to_string()),
        "{log}"
    );
    assert!(ask(&new), "a bad certificate was taken");

    own.replace_by(&new.issue_with("localhost", &["dns:localhost"]));
    fs::write(&own.key, fs::read(&carol.key).expect("a key")).expect("a file");
    let log = host.reload();
    assert!(log.contains("certificates of a listener not changed"), "a key that does not fit was taken: {log}");
    assert!(ask(&new));
    // Whoever is taken out meanwhile is out all the same.
    host.edit_config("cn = \"carol\"", "cn = \"somebody else\"");
    let log = host.reload();
    assert!(!ask(&new), "a certificate that cannot be read has kept a client in: {log}");
}

#[test]
fn a_host_without_a_usable_certificate_does_not_start() {
    let authority = Authority::new();
    let own = authority.issue("localhost");
    let other = authority.issue("other");
    let empty = own.certificate.with_file_name("empty.pem");
    fs::write(&empty, "").expect("a file");
    let missing = own.certificate.with_file_name("missing.pem");
    let [encrypted, unfit] = ["encrypted.pem", "unfit.pem"].map(|name| own.certificate.with_file_name(name));
    let make = |out: &Path, args: &[&str]| {
        let mut command = program("openssl");
        pipe_into(command.arg("genpkey").args(args).arg("-out").arg(out), "").exited(0);
    };
    make(&encrypted, &["-algorithm", "ed25519", "-aes256", "-pass", "pass:word"]);
    make(&unfit, &["-algorithm", "ed448"]);
    for (certificate, key, ca, told) in [
        (&missing, &own.key, &authority.certificate(), &["missing.pem"][..]),
        (&empty, &own.key, &authority.certificate(), &["empty.pem"]),
        (&own.certificate, &other.key, &authority.certificate(), &["it is not the key of `tls.certificate`"]),
        (
            &own.certificate,
            &own.certificate,
            &authority.certificate(),
            &["localhost.pem cannot be the `tls.key`: no private key"],
        ),
        (&own.certificate, &own.key, &empty, &["empty.pem"]),
        (&own.certificate, &encrypted, &authority.certificate(), &["`tls.key`: it is encrypted"]),
        (&own.certificate, &unfit, &authority.certificate(), &["`tls.key`: it is none of RSA"]),
        // Whoever has to mend several is told of all at once.
        (&missing, &empty, &missing, &["`tls.client-ca`: ", "; ", "`tls.key`: no private key", "`tls.certificate`: "]),
    ] {
        let files = Certificate { certificate: certificate.clone(), key: key.clone() };
        let keys = listener(&files, &authority, CLIENTS)
            .replace(&authority.certificate().display().to_string(), &ca.display().to_string());
        let (_dir, mut command) = tenants().listener_with(&keys).into_command();
        pipe_into(&mut command, "").exited(1).prints("").says(told);
    }
}
