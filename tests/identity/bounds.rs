//! How many connections there may be: of a source, of a tenant, of everyone, and of those who have not shown whose they
//! are.

use super::tenants;
use crate::support::{Client, Host, HostBuilder, eventually, machine, pipe_into, wasmline};

const FULL: &str = "Too many connections. bye !\n";

#[track_caller]
fn is_turned_away(mut client: Client) {
    client.expect(FULL);
    client.expect_end();
}

#[track_caller]
fn is_served(mut client: Client) -> Client {
    assert!(client.is_served());
    client
}

#[test]
fn a_source_has_its_share_of_connections() {
    let host = HostBuilder::new().server("max-connections-per-source = 2").start();
    let from = |source: &str| Client::connect_from(source, host.address());
    let first = is_served(from("127.0.0.2"));
    let _second = is_served(from("127.0.0.2"));
    is_turned_away(from("127.0.0.2"));
    is_turned_away(from("127.0.0.2"));
    let _other = is_served(from("127.0.0.3"));
    let log = host.wait_for_log(&["too many connections", "of=source 127.0.0.2"]);
    assert!(log.contains("WARN"), "{log}");
    assert_eq!(host.log().matches("too many connections").count(), 1, "one warning for the episode");
    drop(first);
    eventually("its place is free again", || from("127.0.0.2").is_served());
}

#[test]
fn a_tenant_has_its_share_of_connections() {
    let builder = tenants().listener("default").listener("alice").listener("bob").limit("connections = 2");
    let host = builder.server("max-connections = 8").start();
    let [default, alice, bob] = host.addresses() else { panic!("three listeners") };
    let connect = |address: &_| Client::connect(*address);
    let _two = [is_served(connect(default)), is_served(connect(default))];
    is_turned_away(connect(default));
    // Without a limit of its own a tenant that is not alone has half of all.
    let _four: Vec<Client> = (0..4).map(|_| is_served(connect(alice))).collect();
    is_turned_away(connect(alice));
    let _one = is_served(connect(bob));
    let _eighth = is_served(connect(bob));
    is_turned_away(connect(bob));
    host.wait_for_log(&["too many connections", "of=tenant default"]);
    host.wait_for_log(&["too many connections", "of=tenant alice"]);
    host.wait_for_log(&["too many connections", "of=everyone"]);
}

#[test]
fn a_tenant_that_is_alone_has_all_of_them() {
    let host = HostBuilder::new().server("max-connections = 3").start();
    let _three: Vec<Client> = (0..3).map(|_| is_served(host.connect())).collect();
    is_turned_away(host.connect());
}

/// A host that asks for a token, and the token.
fn asking(settings: &[&str]) -> (Host, String) {
    let made = pipe_into(wasmline().args(["token", "ci"]), "").exited(0).out();
    let builder = HostBuilder::new().tenant(made.lines().last().expect("the line for the configuration"));
    let builder = settings.iter().fold(builder, |builder, line| builder.server(line));
    let host = builder
        .limit("connections = 1")
        .listener_with("address = \"127.0.0.1:0\"\nauth = \"token\"")
        .listener("default")
        .start();
    (host, made.lines().next().expect("a token").to_owned())
}

#[track_caller]
fn authenticate(mut client: Client, token: &str) -> Client {
    client.send(format!("auth {token}\n"));
    client.expect("ok\n");
    is_served(client)
}

#[test]
fn half_open_handshakes_keep_nobody_out() {
    let (host, token) = asking(&["handshake-timeout = \"10m\"", "max-connections = 1"]);
    // Neither a place of the tenant, which has one, nor of all, of which there is one.
    let _silent: Vec<Client> = (0..64).map(|_| host.connect()).collect();
    let client = authenticate(host.connect(), &token);
    drop(client);
    eventually("the plain listener is served", || Client::connect(host.addresses()[1]).is_served());
}

#[test]
fn a_flood_of_handshakes_is_bounded_and_over_in_time() {
    let (host, token) = asking(&["max-handshakes = 8", "max-handshakes-per-source = 6", "handshake-timeout = \"10m\""]);
    let from = |source: &str| Client::connect_from(source, host.address());
    let mut six: Vec<Client> = (0..6).map(|_| from("127.0.0.2")).collect();
    is_turned_away(from("127.0.0.2"));
    // Another source does not feel it.
    drop(authenticate(from("127.0.0.3"), &token));
    let _two: Vec<Client> = (0..2).map(|_| from("127.0.0.4")).collect();
    is_turned_away(from("127.0.0.5"));
    // Plain listeners have no part in it.
    eventually("the plain listener is served", || Client::connect(host.addresses()[1]).is_served());
    host.wait_for_log(&["too many handshakes", "of=source 127.0.0.2"]);
    host.wait_for_log(&["too many handshakes", "of=everyone"]);
    // Whoever leaves gives the place back.
    six.clear();
    eventually("there are places again", || {
        let mut client = from("127.0.0.5");
        client.send(format!("auth {token}\n"));
        client.line() == "ok"
    });
}

#[test]
fn handshakes_end_by_themselves() {
    let (host, token) = asking(&["max-handshakes-per-source = 2", "handshake-timeout = \"300ms\""]);
    let mut silent: Vec<Client> = (0..2).map(|_| host.connect()).collect();
    for client in &mut silent {
        client.expect_error("denied");
    }
    authenticate(host.connect(), &token);
}

#[test]
fn a_thousand_that_come_and_vanish_leave_nothing_behind() {
    let (host, token) = asking(&[]);
    drop(authenticate(host.connect(), &token));
    let before = machine::open_descriptors(host.pid());
    for round in 0..1000 {
        let mut client = host.connect();
        match round % 4 {
            0 => {}
            1 => client.send("auth"),
            2 => client.send(format!("auth {token}\n")),
            _ => client.send("nothing of that kind\n"),
        }
        client.vanish();
    }
    eventually("nothing of them is left", || machine::open_descriptors(host.pid()) <= before + 1);
    // The tenant's only place is free again as well.
    eventually("a client is served", || {
        let mut client = host.connect();
        client.send(format!("auth {token}\n"));
        client.expect("ok\n");
        client.is_served()
    });
}

#[test]
fn twenty_thousand_connections_of_one_source_keep_nobody_else_out() {
    const AT_ONCE: usize = 400;
    let host = HostBuilder::new().env("RUST_LOG", "warn").start();
    drop(is_served(host.connect()));
    let before = (machine::open_descriptors(host.pid()), machine::memory_kib(host.pid(), "VmRSS"));
    let mut open: std::collections::VecDeque<Client> = std::collections::VecDeque::new();
    for round in 0..20_000 {
        if open.len() == AT_ONCE {
            // Without a goodbye, so that the machine has its port again at once.
            if let Some(client) = open.pop_front() {
                client.vanish();
            }
        }
        open.push_back(Client::connect_from("127.0.0.2", host.address()));
        if round % 1000 == 0 {
            drop(is_served(host.connect()));
        }
    }
    open.into_iter().for_each(Client::vanish);
    eventually("nothing of them is left", || machine::open_descriptors(host.pid()) <= before.0 + 1);
    drop(is_served(Client::connect_from("127.0.0.2", host.address())));
    let grown = machine::memory_kib(host.pid(), "VmRSS").saturating_sub(before.1);
    assert!(grown < 16 * 1024, "the host grew by {grown} KiB");
}
