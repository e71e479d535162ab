//! The load generator against its own echo, and against servers that are wrong. Counts and texts only: how fast it was is
//! nobody's business here.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_wasmline-bench");

/// The echo, which ends with the test.
struct Echo {
    child: Child,
    address: SocketAddr,
}

impl Echo {
    fn start() -> Echo {
        let mut child = Command::new(BENCH).arg("echo").stdout(Stdio::piped()).spawn().expect("the echo starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on ").expect("an address").parse().expect("an address");
        Echo { child, address }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn load(address: SocketAddr, arguments: &[&str]) -> Output {
    let mut command = Command::new(BENCH);
    command.arg("load").arg(address.to_string()).args(["--seconds", "0.2", "--reply", "echo {}"]).args(arguments);
    command.output().expect("the load generator runs")
}

fn found(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "it failed: {stderr}");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// A server that answers every read with `reply`, once.
fn wrong(reply: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = socket.read(&mut buffer) {
            if socket.write_all(&reply(&buffer[..count])).is_err() {
                break;
            }
        }
    });
    address
}

fn refused(reply: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> String {
    let output = load(wrong(reply), &["--connections", "1"]);
    assert!(!output.status.success(), "it took wrong replies for right ones");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn lines_are_counted_in_a_closed_loop() {
    let echo = Echo::start();
    let pid = echo.child.id().to_string();
    let output = load(echo.address, &["--connections", "5", "--in-flight", "7", "--pid", &pid]);
    let found = found(&output);
    assert!(found["lines"].as_u64().is_some_and(|lines| lines > 0), "{found}");
    assert!(found["cpu_us_per_line"].as_f64().is_some_and(|cpu| cpu >= 0.0), "{found}");
}

#[test]
fn an_open_loop_sends_at_its_rate_and_gets_every_reply() {
    let echo = Echo::start();
    let found = found(&load(echo.address, &["--connections", "3", "--rate", "1000"]));
    // 200 ms of them, whenever they were sent and answered.
    assert!(matches!(found["lines"].as_u64(), Some(199..=201)), "{found}");
    let at = |part: &str| found[part].as_f64().expect("a figure");
    assert!(at("p50_us") <= at("p99_us") && at("p99_us") <= at("p999_us"), "{found}");
}

#[test]
fn wrong_replies_are_found() {
    let flipped = refused(|line| line.iter().map(|byte| if *byte == b'0' { b'1' } else { *byte }).collect());
    assert!(flipped.contains("a reply is wrong: `echo 1"), "{flipped}");
    let twice = refused(|line| [line, line].concat());
    assert!(twice.contains("nobody had asked for") || twice.contains("a reply is wrong"), "{twice}");
    let upper = refused(<[u8]>::to_ascii_uppercase);
    assert!(upper.contains("`ECHO"), "{upper}");
}
