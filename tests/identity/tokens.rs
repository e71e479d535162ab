//! Tokens: the first line of a connection, where the listener asks for it.

use std::path::Path;

use super::tenants;
use crate::support::{Authority, Client, Host, HostBuilder, eventually, nc, pipe_into, program, quoted, wasmline};

/// A token and the line that makes a tenant accept it, as `wasmline token` prints them.
#[track_caller]
fn make(name: &str) -> (String, String) {
    let out = pipe_into(wasmline().args(["token", name]), "").exited(0).out();
    let lines: Vec<&str> = out.lines().collect();
    let [token, "", line] = lines[..] else { panic!("not a token and a line: {out}") };
    (token.to_owned(), line.to_owned())
}

/// A listener that asks for tokens, and a token each of alice's and of bob's.
fn asking() -> (HostBuilder, String, String) {
    let (alice, alices) = make("ci");
    let (bob, bobs) = make("laptop");
    let builder = HostBuilder::new().command("exit").fixture("whoami").fixture("readback");
    let tenant = |name: &str, line: &str| format!("[tenants.{name}]\ncommands = [\"commands\"]\n{line}");
    let builder = builder.more(&tenant("alice", &alices)).more(&tenant("bob", &bobs));
    (builder.listener_with("address = \"127.0.0.1:0\"\nauth = \"token\""), alice, bob)
}

#[track_caller]
fn authenticated(host: &Host, token: &str) -> Client {
    let mut client = host.connect();
    client.send(format!("auth {token}\n"));
    client.expect("ok\n");
    client
}

/// Asserts that this is answered by a denial and the end of the connection; returns the denial's text.
#[track_caller]
fn is_denied(mut client: Client, input: &str) -> String {
    client.send(input);
    let text = client.expect_error("denied");
    client.expect_end();
    text
}

#[test]
fn a_token_is_worth_its_tenant() {
    let (builder, alice, bob) = asking();
    let host = builder.start();
    for (token, tenant) in [(alice, "alice"), (bob, "bob")] {
        let input = format!("auth {token}\r\nwhoami\n");
        let out = pipe_into(&mut nc(&host), input).exited(0).out();
        assert!(out.starts_with(&format!("ok\ntenant {tenant}\npeer 127.0.0.1:")), "{out}");
    }
    host.wait_for_log(&["connection made", "tenant=alice", "identity=token ci on 127.0.0.1:"]);
    host.wait_for_log(&["connection made", "tenant=bob", "identity=token laptop on 127.0.0.1:"]);
}

#[test]
fn nothing_is_accepted_before_the_token() {
    let (builder, alice, _) = asking();
    let host = builder.start();
    let text = "the first line here is `auth TOKEN`";
    for input in ["whoami\n", "auth\n", "auth \n", "AUTH x\n", "\n", " auth x\n", "auth\tx\n"] {
        assert_eq!(is_denied(host.connect(), input), text, "{input:?}");
    }
    assert_eq!(is_denied(host.connect(), &format!("echo late\nauth {alice}\necho x\n")), text);
    let mut client = host.connect();
    client.send(b"\xff\xfe\n");
    assert_eq!(client.expect_error("denied"), text);
    assert!(!host.log().contains("line received"), "a stranger's line was run:\n{}", host.log());
}

#[test]
fn a_wrong_token_is_denied() {
    let (builder, alice, _) = asking();
    let host = builder.start();
    for wrong in [&alice[..alice.len() - 1], &format!("{alice}0"), &alice.to_uppercase(), "wl_", "x"] {
        assert_eq!(is_denied(host.connect(), &format!("auth {wrong}\nwhoami\n")), "this token is not accepted here");
    }
    // The hash that the configuration has is no token.
    let config = std::fs::read_to_string(host.config()).expect("the configuration");
    let hash = config.split("sha256 = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a hash").to_owned();
    is_denied(host.connect(), &format!("auth {hash}\n"));
    host.wait_for_log(&["client refused", "reason=\"this token is not accepted here\""]);
    assert!(!host.log().contains("line received"), "a stranger's line was run");
}

#[test]
fn no_token_is_ever_logged() {
    let (builder, alice, _) = asking();
    let host = builder.env("RUST_LOG", "trace").start();
    let mut client = authenticated(&host, &alice);
    client.reply("echo logged").is(["logged"]);
    is_denied(host.connect(), "auth wl_5ec5e7\n");
    host.wait_for_log(&["client refused"]);
    host.wait_for_log(&["line received", "echo logged"]);
    let log = host.log();
    assert!(!log.contains(&alice) && !log.contains("5ec5e7"), "a token is in the log");
}

#[test]
fn a_listener_may_be_for_one_tenants_tokens() {
    let (builder, alice, bob) = asking();
    let host = builder.listener_with("address = \"127.0.0.1:0\"\nauth = \"token\"\ntenant = \"bob\"").start();
    let mut client = Client::connect(host.addresses()[1]);
    client.send(format!("auth {bob}\n"));
    client.expect("ok\n");
    client.reply("whoami").begins_with("tenant bob");
    assert_eq!(
        is_denied(Client::connect(host.addresses()[1]), &format!("auth {alice}\n")),
        "this token is not accepted here"
    );
    authenticated(&host, &alice);
}

/// Shows wrong tokens until the source has to wait so long that it is told to come back, for this many seconds at least.
#[track_caller]
fn make_wait(connect: impl Fn() -> Client, seconds: u64) {
    eventually("the source has to wait", || {
        let mut client = connect();
        client.send("auth wl_wrong\n");
        let text = client.expect_error("denied");
        let wait = text.strip_prefix("too many wrong tokens came from where you are; try again in ");
        let wait = wait.and_then(|wait| wait.strip_suffix('s')?.parse::<u64>().ok());
        wait.is_some_and(|wait| wait >= seconds)
    });
}

#[test]
fn wrong_tokens_slow_their_source_down_and_nobody_else() {
    let (builder, alice, _) = asking();
    // A wait is sat out as far as the handshake may take, so a short one gives the answer at once.
    let host = builder.server("handshake-timeout = \"100ms\"").start();
    make_wait(|| Client::connect_from("127.0.0.2", host.address()), 8);
    // Now even the right one is not looked at.
    let text = is_denied(Client::connect_from("127.0.0.2", host.address()), &format!("auth {alice}\n"));
    assert!(text.starts_with("too many wrong tokens"), "{text}");
    for source in ["127.0.0.1", "127.0.0.3"] {
        let mut client = Client::connect_from(source, host.address());
        client.send(format!("auth {alice}\n"));
        client.expect("ok\n");
        client.reply("echo served").is(["served"]);
    }
}

#[test]
fn a_source_that_was_slowed_down_is_served_after_its_wait() {
    let (builder, alice, _) = asking();
    let host = builder.server("handshake-timeout = \"10m\"").start();
    // The answers come one after the other, each after its wait.
    let mut clients: Vec<Client> = (0..4).map(|_| host.connect()).collect();
    for client in &mut clients {
        client.send("auth wl_wrong\n");
    }
    let mut right = host.connect();
    right.send(format!("auth {alice}\n"));
    right.expect("ok\n");
    for mut client in clients {
        client.expect_error("denied");
    }
}

#[test]
fn a_client_that_shows_nothing_is_let_go() {
    let (builder, _, _) = asking();
    let host = builder.server("handshake-timeout = \"300ms\"").start();
    let mut silent = host.connect();
    assert_eq!(silent.expect_error("denied"), "no token came in time");
    silent.expect_end();
    // Bytes that drip do not put it off.
    let mut dripping = host.connect();
    dripping.send_dripping(b"a", std::time::Duration::from_millis(20));
    dripping.wait_until_cut();
    host.wait_for_log(&["client refused", &format!("peer={}", dripping.address())]);
    let mut endless = host.connect();
    drop(endless.send_aside(vec![b'a'; 1 << 20]));
    endless.wait_until_cut();
}

#[test]
fn a_token_that_is_taken_back_ends_its_connections() {
    let (builder, alice, bob) = asking();
    let host = builder.start();
    let (mut alices, mut bobs) = (authenticated(&host, &alice), authenticated(&host, &bob));
    alices.reply("whoami").begins_with("tenant alice");
    bobs.reply("whoami").begins_with("tenant bob");
    let config = std::fs::read_to_string(host.config()).expect("the configuration");
    let tokens = config.lines().find(|line| line.contains("\"ci\"")).expect("alice's tokens").to_owned();
    host.edit_config(&tokens, "tokens = []");
    host.reload();
    alices.wait_until_cut();
    host.wait_for_log(&["connection lost", "tenant=alice", "the configuration does not know the client any more"]);
    bobs.reply("whoami").begins_with("tenant bob");
    assert_eq!(is_denied(host.connect(), &format!("auth {alice}\n")), "this token is not accepted here");
    // Given again, it is good again.
    host.edit_config("tokens = []", &tokens);
    host.reload();
    eventually("the token is accepted", || {
        let mut client = host.connect();
        client.send(format!("auth {alice}\n"));
        client.line() == "ok"
    });
}

#[test]
fn tokens_go_over_tls_and_unix_sockets_too() {
    let (builder, alice, bob) = asking();
    let authority = Authority::new();
    let own = authority.issue("localhost");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let tls = format!(
        "address = \"127.0.0.1:0\"\nauth = \"token\"\n[listener.tls]\ncertificate = {}\nkey = {}",
        quoted(&own.certificate),
        quoted(&own.key)
    );
    let unix = format!("unix = {}\nauth = \"token\"", quoted(&path));
    let host = builder.listener_with(&tls).listener_with(&unix).start();

    let connect = host.addresses()[1].to_string();
    let input = format!("auth {bob}\nwhoami\nexit\n");
    let mut client = program("openssl");
    client.args(["s_client", "-quiet", "-verify_return_error", "-connect", &connect, "-CAfile"]);
    let out = pipe_into(client.arg(authority.certificate()), input).exited(0).out();
    assert!(out.starts_with("ok\ntenant bob\n"), "{out}");

    let input = format!("auth {alice}\nwhoami\n");
    let out = pipe_into(program("nc").arg("-NU").arg(&path), input).exited(0).out();
    assert!(out.starts_with("ok\ntenant alice\npeer unix:uid="), "{out}");
    is_denied(Client::connect_unix(Path::new(&path)), "auth wl_wrong\n");
}

#[test]
fn a_host_with_plain_listeners_asks_for_nothing() {
    let host = tenants().start();
    host.connect().reply("auth wl_x").is(["Command not found."]);
}
