//! Clients that mean harm: they send what is no line, read nothing, or come in thousands.

use crate::support::{Client, HostBuilder, machine};

use super::harness::Siege;

#[test]
fn a_gigabyte_without_a_line_end() {
    Siege::of(HostBuilder::new()).withstands(|siege| {
        let pid = siege.host.pid();
        machine::reset_peak_memory(pid);
        let before = machine::memory_kib(pid, "VmRSS");
        let mut client = siege.connect();
        let sending = client.send_endlessly(&[b'x'; 65_536], 1 << 30);
        client.expect_error("line-too-long");
        client.wait_until_cut();
        siege.other_is_served();
        drop(client);
        let sent = sending.join().expect("no panic");
        assert!(sent < 64 << 20, "the host took {sent} bytes of it");
        let grown = machine::memory_kib(pid, "VmHWM").saturating_sub(before);
        assert!(grown < 16 * 1024, "the host grew by {grown} KiB");
    });
}

/// Bytes from a generator of no quality, and therefore always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn bytes_that_are_no_text() {
    Siege::of(HostBuilder::new()).withstands(|siege| {
        let mut client = siege.connect();
        // A NUL and a lone CR are characters of the word like any other.
        client.send("echo a\0b\rc\n");
        client.expect("a\\x00b\\x0dc\n");
        let noise = noise(1 << 20);
        // With a line end now and then; none of it is a line that runs.
        let lines = noise.chunks(1000).map(|chunk| [b"\xff", chunk, b"\n"].concat());
        let sending = client.send_aside(lines.collect::<Vec<_>>().concat());
        siege.other_is_served();
        client.expect_error("bad-encoding");
        sending.join().expect("no panic").expect("the host takes all of it");
        client.send("\necho all is well\n");
        while client.line() != "all is well" {}
    });
}

#[test]
fn lines_whose_replies_nobody_reads() {
    let builder = HostBuilder::new().fixture("flood").server("write-timeout = \"1s\"");
    Siege::of(builder).withstands(|siege| {
        let mut clients: Vec<Client> = (0..8).map(|_| Client::with_small_window(siege.host.address())).collect();
        for client in &mut clients {
            client.send("flood 10000\n".repeat(64));
        }
        siege.other_is_served();
        // None of them reads, and the host cuts them all.
        for client in &mut clients {
            siege.host.wait_for_log(&["connection lost", &client.address().to_string()]);
        }
        clients.iter_mut().for_each(Client::wait_until_cut);
    });
}

#[test]
fn two_thousand_connections_from_one_address() {
    machine::raise_own_descriptors();
    Siege::of(HostBuilder::new()).withstands(|siege| {
        let address = siege.host.address();
        let mut clients: Vec<Client> = (0..2000).map(|_| Client::connect_from("127.0.0.9", address)).collect();
        siege.other_is_served();
        // The first has its place; the last has been told, or just cut, and in any case not been served.
        assert!(clients[0].is_served());
        clients.last_mut().expect("two thousand").wait_until_cut();
        let served = clients[..300].iter_mut().map(Client::is_silent).filter(|silent| *silent).count();
        assert!(served <= 256, "{served} connections of one address have a place");
        siege.other_is_served();
        clients.into_iter().for_each(Client::vanish);
    });
}

#[test]
fn connections_that_come_and_go() {
    let builder = HostBuilder::new().fixture("sleeper");
    Siege::of(builder).withstands(|siege| {
        for round in 0..200 {
            let mut client = siege.connect();
            match round % 4 {
                0 => client.send("sleeper 600000\n"),
                1 => client.send("echo never read\n".repeat(100)),
                2 => client.send("no line end"),
                _ => client.finish_sending(),
            }
            client.vanish();
        }
    });
}
