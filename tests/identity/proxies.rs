//! The PROXY protocol: a proxy that is trusted says who its client is.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::tenants;
use crate::support::{Authority, Client, Host, HostBuilder, eventually, pipe_into, program, quoted, wasmline};

const KEYS: &str = "address = \"127.0.0.1:0\"\nproxy-protocol = true\ntrusted-proxies = [\"127.0.0.2/32\"]";

/// A host behind the proxy 127.0.0.2.
fn behind_a_proxy() -> HostBuilder {
    tenants().listener_with(&format!("{KEYS}\ntenant = \"alice\""))
}

fn proxy(host: &Host) -> Client {
    Client::connect_from("127.0.0.2", host.address())
}

fn v1(client: &str) -> Vec<u8> {
    let family = if client.contains(':') { "TCP6 {} ::1" } else { "TCP4 {} 192.0.2.200" };
    format!("PROXY {} 40000 9999\r\n", family.replace("{}", client)).into_bytes()
}

/// A header of version 2, written out by hand: signature, PROXY over TCP4, addresses, ports, a TLV with a host name.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x17".to_vec();
    header.extend([203, 0, 113, 9, 192, 0, 2, 200, 0x9c, 0x40, 0x27, 0x0f]);
    header.extend(b"\x02\0\x08test.org");
    header
}

#[track_caller]
fn peer(mut client: Client, header: &[u8]) -> String {
    client.send(header);
    client.reply("whoami").lines[1].clone()
}

#[test]
fn both_versions_name_the_client() {
    let host = behind_a_proxy().start();
    assert_eq!(peer(proxy(&host), &v1("203.0.113.7")), "peer 203.0.113.7:40000");
    assert_eq!(peer(proxy(&host), &v1("2001:db8::7")), "peer [2001:db8::7]:40000");
    assert_eq!(peer(proxy(&host), &v2()), "peer 203.0.113.9:40000");
    for peer in ["peer=203.0.113.7:40000", "peer=[2001:db8::7]:40000", "peer=203.0.113.9:40000"] {
        host.wait_for_log(&["connection made", peer, "tenant=alice"]);
        host.wait_for_log(&["line received", peer]);
    }
}

#[test]
fn a_header_in_pieces_is_read_and_nothing_behind_it() {
    let host = behind_a_proxy().start();
    for header in [v1("203.0.113.7"), v2()] {
        let mut client = proxy(&host);
        for byte in &header {
            client.send([*byte]);
        }
        client.send("echo one\necho two\n");
        client.expect("one\ntwo\n");
        // All at once, with lines and the end of the input behind it.
        let mut client = proxy(&host);
        client.send([&header[..], b"echo one\necho two\n"].concat());
        client.finish_sending();
        client.expect("one\ntwo\n");
        client.expect_end();
    }
}

#[test]
fn a_proxy_that_speaks_for_itself_is_served_as_itself() {
    let host = behind_a_proxy().start();
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let client = proxy(&host);
        let address = client.address();
        assert_eq!(peer(client, header), format!("peer {address}"));
    }
}

#[test]
fn whoever_is_no_proxy_is_refused() {
    let host = behind_a_proxy().start();
    let mut client = host.connect();
    client.send([&v1("203.0.113.7")[..], b"whoami\n"].concat());
    assert_eq!(client.expect_error("denied"), "this listener is for proxies");
    client.expect_end();
    host.wait_for_log(&["client refused", &format!("peer={}", client.address())]);
    assert!(!host.log().contains("203.0.113.7"), "the address was believed");
}

#[test]
fn a_proxy_that_sends_no_header_is_refused() {
    let host = behind_a_proxy().server("handshake-timeout = \"500ms\"").start();
    let too_long = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".as_slice(), &[0; 5000]].concat();
    for bytes in [&b"whoami\n"[..], b"PROXY TCP4 somewhere\r\n", b"PROXY", b"PROXY UNKNOWN", &[b' '; 5000], &too_long] {
        let mut client = proxy(&host);
        client.send(bytes);
        client.wait_until_cut();
    }
    let mut dripping = proxy(&host);
    dripping.send_dripping(b"PROXY UNKNOWN ", std::time::Duration::from_millis(20));
    dripping.wait_until_cut();
    let mut ended = proxy(&host);
    ended.send("PROXY TCP4 203");
    ended.finish_sending();
    ended.wait_until_cut();
    assert!(!host.log().contains("connection made"), "{}", host.log());
    assert_eq!(peer(proxy(&host), &v2()), "peer 203.0.113.9:40000");
}

#[test]
fn a_plain_listener_believes_no_header() {
    let host = tenants().start();
    let mut client = host.connect();
    client.send([&v1("203.0.113.7")[..], b"whoami\n"].concat());
    client.expect("Command not found.\ntenant default\npeer 127.0.0.1:");
}

#[test]
fn connections_count_for_the_client_and_not_for_its_proxy() {
    let host = behind_a_proxy().server("max-connections-per-source = 1").start();
    let connect = |client: &str| {
        let mut proxied = proxy(&host);
        proxied.send(v1(client));
        proxied
    };
    let mut served: Vec<Client> = ["203.0.113.7", "203.0.113.8", "2001:db8::1", "2001:db8:0:1::1"].map(connect).into();
    for client in &mut served {
        assert!(client.is_served());
    }
    // An IPv6 client has 64 bits of its own, whichever of them it shows.
    for full in ["203.0.113.7", "2001:db8::ffff:1", "2001:db8:0:1:2:3:4:5"] {
        let mut client = connect(full);
        client.expect("Too many connections. bye !\n");
        client.expect_end();
    }
}

#[test]
fn half_open_handshakes_count_for_the_client_and_not_for_its_proxy() {
    let made = pipe_into(wasmline().args(["token", "ci"]), "").exited(0).out();
    let token = made.lines().next().expect("a token");
    let builder = tenants().tenant(made.lines().last().expect("the line for the configuration"));
    let builder = builder.server("max-handshakes-per-source = 2").server("handshake-timeout = \"10m\"");
    let host = builder.listener_with(&format!("{KEYS}\nauth = \"token\"")).start();
    let connect = |client: &str| {
        let mut proxied = proxy(&host);
        proxied.send(v1(client));
        proxied
    };
    let _others: Vec<Client> = ["203.0.113.8", "203.0.113.9"].map(connect).into();
    // Of three of the same source one is turned away, whichever header comes last.
    let mut three = ["203.0.113.7"; 3].map(connect);
    let mut told = None;
    eventually("one is told so", || {
        told = three.iter_mut().position(|client| !client.is_silent());
        told.is_some()
    });
    let told = &mut three[told.expect("one is told")];
    told.expect("Too many connections. bye !\n");
    told.expect_end();
    let mut other = connect("203.0.113.10");
    other.send(format!("auth {token}\n"));
    other.expect("ok\n");
}

/// A proxy as they are: takes clients of its own, and passes their bytes on behind a header.
fn relay(to: SocketAddr, header: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.2:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let pass = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        })
    };
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).expect("the proxy's address");
            socket.connect(&to.into()).expect("the host accepts");
            let mut host = TcpStream::from(socket);
            io::Write::write_all(&mut host, &header).expect("the host takes the header");
            pass(client.try_clone().expect("a handle"), host.try_clone().expect("a handle"));
            pass(host, client);
        }
    });
    address
}

#[test]
fn tls_and_tokens_come_behind_the_header() {
    let authority = Authority::new();
    let own = authority.issue("localhost");
    let tls = format!(
        "[listener.tls]\ncertificate = {}\nkey = {}\nclient-ca = {}\nclients = [{{ cn = \"carol\", tenant = \"bob\" }}]",
        quoted(&own.certificate),
        quoted(&own.key),
        quoted(&authority.certificate())
    );
    let made = pipe_into(wasmline().args(["token", "ci"]), "").exited(0).out();
    let token = made.lines().next().expect("a token");
    let builder = tenants().tenant(made.lines().last().expect("the line for the configuration"));
    let host =
        builder.listener_with(&format!("{KEYS}\n{tls}")).listener_with(&format!("{KEYS}\nauth = \"token\"")).start();

    let carol = authority.issue("carol");
    let relayed = relay(host.addresses()[0], v1("203.0.113.7")).to_string();
    let mut client = program("openssl");
    client.args(["s_client", "-quiet", "-connect", &relayed, "-cert"]).arg(&carol.certificate).arg("-key");
    let out = pipe_into(client.arg(&carol.key), "whoami\nexit\n").exited(0).out();
    assert_eq!(out, "tenant bob\npeer 203.0.113.7:40000\n");

    let relayed = relay(host.addresses()[1], v2());
    let nc = ["-N", "127.0.0.2", &relayed.port().to_string()];
    let out = pipe_into(program("nc").args(nc), format!("auth {token}\nwhoami\n")).exited(0).out();
    assert_eq!(out, "ok\ntenant default\npeer 203.0.113.9:40000\n");
}

#[test]
fn wrong_tokens_slow_the_client_down_and_not_its_proxy() {
    let made = pipe_into(wasmline().args(["token", "ci"]), "").exited(0).out();
    let token = made.lines().next().expect("a token");
    let builder = tenants().tenant(made.lines().last().expect("the line for the configuration"));
    let builder = builder.server("handshake-timeout = \"100ms\"").listener_with(&format!("{KEYS}\nauth = \"token\""));
    let host = builder.start();
    let show = |source: &str, token: &str| {
        let mut client = proxy(&host);
        client.send(v1(source));
        client.send(format!("auth {token}\n"));
        client.line()
    };
    eventually("a client is slowed down", || {
        show("203.0.113.7", "wl_wrong").starts_with("error: denied: too many wrong tokens")
    });
    assert_eq!(show("203.0.113.8", token), "ok");
}
