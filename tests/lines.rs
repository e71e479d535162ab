//! What a line is on the wire: its end, its bound, its encoding, its words.

use std::time::Duration;

use crate::support::{Client, Host, HostBuilder};

const MAX_LINE: usize = 16_384;

fn host() -> Host {
    HostBuilder::new().start()
}

/// A host whose `words` shows each word of a line by itself, which `echo` cannot.
fn host_with_words() -> Host {
    HostBuilder::new().fixture("words").start()
}

/// A request for `echo` of the length, and its reply.
fn echo_of_length(length: usize) -> (String, String) {
    let word = "x".repeat(length - "echo ".len());
    (format!("echo {word}"), format!("{word}\n"))
}

#[track_caller]
fn still_works(client: &mut Client) {
    client.send("echo still here\n");
    client.expect("still here\n");
}

#[test]
fn a_line_ends_with_lf_or_crlf() {
    let host = host();
    let mut client = host.connect();
    client.send("echo one\necho two\r\necho three\n");
    client.expect("one\ntwo\nthree\n");
}

#[test]
fn only_one_cr_belongs_to_the_line_end() {
    let host = host();
    let mut client = host.connect();
    client.send("echo one\r\r\n");
    client.expect("one\\x0d\n");
}

#[test]
fn a_lone_cr_ends_nothing() {
    let host = host();
    let mut client = host.connect();
    client.send("echo one\recho two\n");
    client.expect("one\\x0decho two\n");
}

#[test]
fn a_line_may_come_byte_by_byte() {
    let host = host();
    let mut client = host.connect();
    for byte in "echo ä\r\n".bytes() {
        client.send([byte]);
    }
    client.expect("ä\n");
}

#[test]
fn empty_lines_are_ignored() {
    let host = host();
    let mut client = host.connect();
    client.send("\n\r\n\n  \n\t\necho one\n\n");
    client.finish_sending();
    assert_eq!(client.rest().escape_ascii().to_string(), "one\\n");
}

#[test]
fn words_are_quoted_as_in_a_shell() {
    let host = host_with_words();
    let mut client = host.connect();
    client.reply("words").is([]);
    client.reply("words a  b\tc").is(["[a]", "[b]", "[c]"]);
    client.reply("words 'a  b' \"c d\" e\\ f").is(["[a  b]", "[c d]", "[e f]"]);
    client.reply("words '' \"\"").is(["[]", "[]"]);
    client.reply("words a'b'\"c\"d").is(["[abcd]"]);
    client.reply(r#"words "a\"b" 'a\b' a\\b"#).is(["[a\"b]", "[a\\b]", "[a\\b]"]);
    client.reply("words ä 'ß ∑' 🦀").is(["[ä]", "[ß ∑]", "[🦀]"]);
    client.reply("'words' quoted").is(["[quoted]"]);
}

#[test]
fn nothing_is_expanded() {
    let host = host_with_words();
    let mut client = host.connect();
    client
        .reply("words $HOME * ~ a;b `id` $(id) a|b >x")
        .is(["[$HOME]", "[*]", "[~]", "[a;b]", "[`id`]", "[$(id)]", "[a|b]", "[>x]"]);
}

#[test]
fn an_unbalanced_quote_is_an_error_line() {
    let host = host();
    let mut client = host.connect();
    for request in ["echo 'one", "echo \"one", "echo one\\", "'"] {
        client.send(format!("{request}\n"));
        client.expect_error("failed");
        still_works(&mut client);
    }
}

#[test]
fn the_longest_line_is_run() {
    let host = host();
    let mut client = host.connect();
    let (request, reply) = echo_of_length(MAX_LINE);
    client.send(format!("{request}\n"));
    client.expect(&reply);
    // The CR of a line end does not count.
    client.send(format!("{request}\r\n"));
    client.expect(&reply);
    still_works(&mut client);
}

#[test]
fn a_longer_line_is_an_error_and_the_end() {
    let host = host();
    for end in ["\n", "\r\n", ""] {
        let mut client = host.connect();
        let (request, _) = echo_of_length(MAX_LINE + 1);
        client.send(format!("echo before\n{request}{end}"));
        if end.is_empty() {
            // One byte more rules out that it is the CR of a line end which is still to come.
            client.send("x");
        }
        client.expect("before\n");
        client.expect_error("line-too-long");
        client.expect_end();
    }
    host.connect().reply("echo the host lives").is(["the host lives"]);
}

#[test]
fn the_error_reaches_a_client_that_is_still_sending() {
    let host = host();
    let mut client = host.connect();
    let sending = client.send_aside(vec![b'x'; 900_000]);
    client.expect_error("line-too-long");
    client.expect_end();
    let _ = sending.join();
}

#[test]
fn the_bound_is_a_setting() {
    let host = HostBuilder::new().server("max-line = \"100B\"").start();
    let mut client = host.connect();
    let (request, reply) = echo_of_length(100);
    client.send(format!("{request}\n"));
    client.expect(reply);
    client.send(format!("{request}x\n"));
    client.expect_error("line-too-long");
    client.expect_end();
}

#[test]
fn a_line_that_is_not_utf8_is_an_error_line() {
    let host = host();
    let mut client = host.connect();
    let bad: [&[u8]; 5] = [b"echo \xff", b"\x80", b"echo \xc3", b"echo \xed\xa0\x80", b"echo \xf4\x90\x80\x80"];
    for line in bad {
        client.send(line);
        client.send("\n");
        client.expect_error("bad-encoding");
        still_works(&mut client);
    }
}

#[test]
fn bytes_without_a_line_end_are_not_run() {
    let host = host();
    let mut client = host.connect();
    client.send("echo one\necho two");
    client.finish_sending();
    client.expect("one\n");
    client.expect_error("incomplete-line");
    client.expect_end();
}

#[test]
fn a_lone_cr_at_the_end_is_incomplete_too() {
    let host = host();
    let mut client = host.connect();
    client.send("echo one\r");
    client.finish_sending();
    client.expect_error("incomplete-line");
    client.expect_end();
}

#[test]
fn no_input_at_all_is_no_error() {
    let host = host();
    let mut client = host.connect();
    client.finish_sending();
    client.expect_end();
}

#[test]
fn a_line_that_drips_is_cut_at_its_own_deadline() {
    let host = HostBuilder::new().server("line-timeout = \"500ms\"").server("idle-timeout = \"1h\"").start();
    let mut client = host.connect();
    client.reply("echo served").is(["served"]);
    // Byte after byte, so that a deadline that each read pushes on would never come.
    client.send_dripping(b"x", Duration::from_millis(50));
    client.wait_until_cut();
}

#[test]
fn a_silent_connection_is_closed_at_last() {
    let host = HostBuilder::new().server("idle-timeout = \"300ms\"").start();
    let mut client = host.connect();
    client.wait_until_cut();
    host.wait_for_log(&["connection lost", &client.address().to_string()]);
}
