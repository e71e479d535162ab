//! Programs that never heard of wasmline: their words, their streams, their clocks, their exit.

use crate::support::{HostBuilder, guests};

#[test]
fn standard_input_is_empty_unless_asked_for() {
    let host = HostBuilder::new().fixture("wasi-copy").start();
    host.connect().reply("wasi-copy").is(["0 lines"]);
}

#[test]
fn standard_input_is_the_connection_where_the_sidecar_says_so() {
    let host = HostBuilder::new().fixture("wasi-copy").sidecar("wasi-copy", "stdin = \"connection\"\n").start();
    let mut client = host.connect();
    client.send("wasi-copy\none\n");
    client.expect("1 one\n");
    client.send("two words\n");
    client.expect("2 two words\n");
    // The lone dot ends the program's input, and what follows is commands again.
    client.send(".\necho after\n");
    client.expect("2 lines\nafter\n");
    client.send("wasi-copy\nlast\n");
    client.expect("1 last\n");
    client.finish_sending();
    client.expect("1 lines\n");
    client.expect_end();
}

/// Were it the end of the program's input, what follows would be run as commands.
#[test]
fn a_line_that_is_no_utf8_is_bytes_to_a_program() {
    let host = HostBuilder::new().fixture("wasi-count").sidecar("wasi-count", "stdin = \"connection\"\n").start();
    let mut client = host.connect();
    client.send(b"wasi-count\ncaf\xe9\necho data\n.\necho after\n");
    client.expect("15 bytes\nafter\n");
}

/// A program that stores what it reads must not take half for the whole.
#[test]
fn input_that_breaks_off_is_an_error_to_a_program() {
    let host = HostBuilder::new().fixture("wasi-count").sidecar("wasi-count", "stdin = \"connection\"\n").start();
    let mut client = host.connect();
    client.send("wasi-count\nwhole\nhalf");
    client.finish_sending();
    let told = client.rest();
    let told = String::from_utf8_lossy(&told);
    assert!(told.starts_with("cannot read: ") && told.contains("error: incomplete-line: "), "{told}");
}

#[test]
fn standard_error_goes_to_the_log_where_the_sidecar_says_so() {
    let host = HostBuilder::new().fixture("wasi-copy").sidecar("wasi-copy", "stderr = \"log\"\n").start();
    host.connect().reply("wasi-copy").is([]);
    host.wait_for_log(&["guest", "command=wasi-copy", "0 lines"]);
}

#[test]
fn an_unknown_stream_is_refused_with_the_known_ones() {
    let host = HostBuilder::new().fixture("wasi-copy").sidecar("wasi-copy", "stdin = \"conection\"\n").start();
    let line = host.wait_for_log(&["refused", "wasi-copy.toml:1"]);
    assert!(line.contains("conection") && line.contains("connection"), "{line}");
    host.connect().reply("wasi-copy").is(["Command not found."]);
}

/// A program's interfaces are called by the version that its tools had; every 0.2 means the same to the host.
#[test]
fn any_version_of_preview_2_runs() {
    let built = guests::fixture_bytes("wasi-hello");
    let at = built.windows(5).position(|window| window == b"@0.2.").expect("it imports WASI");
    let own = built[at..at + 6].to_vec();
    for patch in [b'0', b'3', b'9'] {
        let mut other = built.clone();
        let places: Vec<usize> = (0..other.len() - 6).filter(|&place| other[place..place + 6] == own[..]).collect();
        for place in places {
            other[place + 5] = patch;
        }
        let host = HostBuilder::new().guest("hello", &other).start();
        host.connect().reply("hello you").is(["hello you"]);
    }
}

#[test]
fn what_a_program_prints_arrives_before_it_is_answered() {
    let host = HostBuilder::new().fixture("wasi-files").sidecar("wasi-files", "stdin = \"connection\"\n").start();
    let mut client = host.connect();
    client.send("wasi-files ask\n");
    client.expect("name? ");
    client.send("Ada\n");
    client.expect("hello Ada\n");
    client.reply("echo on").is(["on"]);
}

#[test]
fn clocks_and_randomness_work() {
    let host = HostBuilder::new().fixture("wasi-files").start();
    let mut client = host.connect();
    let mut says = |act: &str| client.reply(format!("wasi-files {act}")).lines.join("\n");
    let seconds: u64 = says("clock").parse().expect("a number");
    assert!(seconds > 1_700_000_000, "{seconds}");
    let (one, two) = (says("random"), says("random"));
    assert!(one.len() >= 32 && one != two, "{one} {two}");
}
