//! What must not stop the host nor hold up others: floods without a guest, a log that fails, grants taken back,
//! listeners that change hands, clients that never stop sending.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Client, HostBuilder, eventually, eventually_some, machine};

/// The address in the next readiness line.
fn next_address(stdout: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("the host prints lines");
    line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("no readiness line: {line:?}")).to_owned()
}

/// Sends the same line again and again and reads whatever comes, until told to stop.
fn flood(address: std::net::SocketAddr, line: &str, stop: &Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let mut sending = TcpStream::connect(address).expect("the host accepts");
    let mut reading = sending.try_clone().expect("a second handle");
    let lines = line.repeat(4096);
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        thread::spawn(move || while sending.write_all(lines.as_bytes()).is_ok() {});
        let mut replies = vec![0; 1 << 16];
        while !stop.load(Ordering::Relaxed) && reading.read(&mut replies).is_ok_and(|read| read > 0) {}
        let _ = reading.shutdown(std::net::Shutdown::Both);
    })
}

#[test]
fn a_flood_of_unknown_commands_leaves_others_served() {
    let host = HostBuilder::new().env("RUST_LOG", "warn").start();
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..4).map(|_| flood(host.address(), "x\n", &stop)).collect();
    let mut client = host.connect();
    for round in 0..20 {
        client.reply(format!("echo {round}")).is([&*round.to_string()]);
    }
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().expect("no panic");
    }
    assert!(host.connect().is_served());
}

#[test]
fn error_lines_that_nobody_reads_are_held_back() {
    let host = HostBuilder::new().server("write-timeout = \"10m\"").start();
    assert!(host.connect().is_served());
    let before = machine::memory_kib(host.pid(), "VmRSS");
    let clients: Vec<Client> = (0..40).map(|_| host.connect()).collect();
    let sent: Vec<_> = clients.iter().map(|client| client.send_counted(b"\xff\n".repeat(2048))).collect();
    // All have filled what they may once the host takes nothing more of any of them and computes no more, though it runs:
    // it serves somebody else between two looks.
    let (mut counts, mut ticks) = (Vec::new(), 0);
    eventually("the host holds all of them back", || {
        let now: Vec<usize> = sent.iter().map(|sent| sent.load(Ordering::Relaxed)).collect();
        let stands_still = now == counts && machine::cpu_ticks(host.pid()) == ticks;
        assert!(host.connect().is_served());
        (counts, ticks) = (now, machine::cpu_ticks(host.pid()));
        stands_still
    });
    assert!(counts.iter().all(|sent| *sent > 0), "some have sent nothing: {counts:?}");
    let grown = machine::memory_kib(host.pid(), "VmRSS").saturating_sub(before);
    assert!(grown < 40 * 512, "40 clients that never read cost {grown} KiB");
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let (_dir, mut command) = HostBuilder::new().into_command();
    let full = fs::File::options().write(true).open("/dev/full").expect("there is /dev/full");
    let mut host = command.stdout(Stdio::piped()).stderr(full).spawn().expect("the host starts");
    let address = next_address(&mut BufReader::new(host.stdout.take().expect("a pipe")));
    assert!(Client::connect(address.parse().expect("an address")).is_served());
    stop(&mut host);
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let (_dir, mut command) = HostBuilder::new().into_command();
    let (unread, log) = std::io::pipe().expect("a pipe");
    let mut host = command.stdout(Stdio::piped()).stderr(OwnedFd::from(log)).spawn().expect("the host starts");
    drop(command);
    let address = next_address(&mut BufReader::new(host.stdout.take().expect("a pipe")));
    let mut client = Client::connect(address.parse().expect("an address"));
    // Far more records than a pipe holds.
    for _ in 0..2000 {
        client.send(format!("echo {}\n", "x".repeat(1000)));
        client.expect(format!("{}\n", "x".repeat(1000)));
    }
    stop(&mut host);
    drop(unread);
}

#[test]
fn a_closed_standard_output_stops_nothing() {
    let (dir, mut command) = HostBuilder::new().into_command();
    let log = dir.path().join("host.log");
    let written = fs::File::create(&log).expect("a log file");
    let mut host = command.stdout(Stdio::piped()).stderr(written).spawn().expect("the host starts");
    let address = next_address(&mut BufReader::new(host.stdout.take().expect("a pipe")));
    let mut client = Client::connect(address.parse().expect("an address"));
    assert!(client.is_served());
    // A reload that announces one more listener, to nobody.
    let config = dir.path().join("wasmline.toml");
    let more = "\n[[listener]]\naddress = \"127.0.0.1:0\"\ntenant = \"default\"\n";
    let text = fs::read_to_string(&config).expect("a configuration") + more;
    fs::write(&config, text).expect("it can be written");
    kill_process(Pid::from_child(&host), Signal::HUP).expect("the host runs");
    let new = eventually_some("the new listener is open", || {
        let log = fs::read_to_string(&log).expect("the log is there");
        let place = log.lines().filter_map(|line| line.split_once(" listening address=\"")).nth(1)?.1;
        place.split('"').next()?.parse().ok()
    });
    assert!(Client::connect(new).is_served());
    assert!(client.is_served());
    stop(&mut host);
}

/// Ends a host that must end well.
fn stop(host: &mut std::process::Child) {
    kill_process(Pid::from_child(host), Signal::TERM).expect("the host runs");
    let status = eventually_some("the host ends", || host.try_wait().expect("the host can be waited for"));
    assert!(status.success(), "the host ended with {status:?}");
}

#[test]
fn a_grant_that_was_taken_back_is_gone_though_its_command_is_broken() {
    let builder = HostBuilder::new().command("comphash");
    let file = builder.file("file", "abc");
    let host = builder.may_hash(file.parent().expect("a directory")).start();
    let mut client = host.connect();
    let request = format!("comphash {}", file.display());
    client.reply(&request).is(["File hash is : a9993e364706816aba3e25717850c26c9cd0d89d"]);
    fs::write(host.commands().join("comphash.wasm"), "garbage").expect("the file can be written");
    let granted = fs::read_to_string(host.config()).expect("a configuration");
    let line = granted.lines().find(|line| line.starts_with("read = ")).expect("a digest grant").to_owned();
    host.edit_config(&line, "read = []");
    host.signal(Signal::HUP);
    host.wait_for_log(&["configuration reloaded"]);
    client.reply(&request).begins("An error occured : ");
}

#[test]
fn an_address_changes_hands_at_a_reload() {
    let builder = HostBuilder::new().fixture("whoami").more("[tenants.other]\ncommands = [\"commands\"]");
    let host = builder.start();
    for tenant in ["other", "default", "other"] {
        let from = if tenant == "other" { "default" } else { "other" };
        host.edit_config(&format!("tenant = \"{from}\""), &format!("tenant = \"{tenant}\""));
        let announced = host.stdout().len();
        host.signal(Signal::HUP);
        eventually("the listener is announced anew", || host.stdout().len() > announced);
        let line = host.stdout().last().cloned().expect("a readiness line");
        let address = line.strip_prefix("listening on ").expect("an address").parse().expect("an address");
        assert_eq!(Client::connect(address).reply("whoami").lines[0], format!("tenant {tenant}"));
    }
    assert!(!host.log().contains("listener not opened"), "{}", host.log());
}

#[test]
fn a_listener_goes_on_whose_replacement_cannot_be_opened() {
    let host = HostBuilder::new().start();
    let mut before = host.connect();
    let plain = "address = \"127.0.0.1:0\"";
    let no_certificate = format!("{plain}\ntls = {{ certificate = \"missing.pem\", key = \"missing.pem\" }}");
    let taken = TcpListener::bind("127.0.0.1:0").expect("an address");
    let taken = format!("address = \"{}\"", taken.local_addr().expect("an address"));
    for (bad, why) in [(&no_certificate, "missing.pem"), (&taken, "cannot listen on")] {
        host.edit_config(plain, bad);
        let log = host.reload();
        let told = |texts: &[&str]| log.lines().any(|line| texts.iter().all(|text| line.contains(text)));
        assert!(told(&["ERROR", "listener not opened", why]), "{log}");
        assert!(told(&["ERROR", "listener not closed", &host.address().to_string()]), "{log}");
        assert!(!log.contains("no longer listening"), "{log}");
        host.connect().reply("echo served").is(["served"]);
        host.edit_config(bad, plain);
    }
    // One that can be opened takes its place, and whoever is connected goes on.
    host.edit_config(plain, "address = \"127.0.0.2:0\"");
    let log = host.reload();
    assert!(log.contains("no longer listening"), "{log}");
    eventually("the new one is announced", || host.listening_on().len() == 2);
    assert!(TcpStream::connect(host.address()).is_err(), "the old one accepts still");
    before.reply("echo on").is(["on"]);
}

#[test]
fn a_listener_that_is_in_the_way_of_its_replacement_is_not_given_up_in_vain() {
    let host = HostBuilder::new().start();
    let port = host.address().port();
    let is_served = || host.connect().reply("echo served").is(["served"]);
    let bad = "\n[[listener]]\naddress = \"127.0.0.1:0\"\ntenant = \"default\"\n\
               tls = { certificate = \"missing.pem\", key = \"missing.pem\" }\n";
    host.edit_config("127.0.0.1:0", &format!("0.0.0.0:{port}"));
    host.edit_config("\n[tenants.default]\n", &format!("{bad}\n[tenants.default]\n"));
    let log = host.reload();
    assert_eq!(log.matches("listener not opened").count(), 2, "{log}");
    assert!(log.contains("listener not closed"), "{log}");
    is_served();
    host.edit_config(bad, "");
    // What takes part of the new place does not harm the old one.
    let other = TcpListener::bind(("127.0.0.2", port)).expect("an address");
    let log = host.reload();
    assert!(log.contains("listener not opened") && log.contains("listener not closed"), "{log}");
    is_served();
    drop(other);
    let log = host.reload();
    assert!(!log.contains("listener not"), "{log}");
    let places = [host.address().to_string(), format!("0.0.0.0:{port}")];
    eventually("the new one is announced", || host.listening_on() == places);
    is_served();
}

#[test]
fn a_client_that_never_stops_sending_is_drained() {
    let mut host = HostBuilder::new().server("drain-timeout = \"10m\"").env("RUST_LOG", "warn").start();
    let stop = Arc::new(AtomicBool::new(false));
    let flood = flood(host.address(), "echo x\n", &stop);
    assert!(host.connect().is_served());
    host.signal(Signal::TERM);
    assert!(host.wait_for_exit().success());
    stop.store(true, Ordering::Relaxed);
    flood.join().expect("no panic");
}
