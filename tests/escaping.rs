//! Terminal control characters on the plain wire: nothing that a command prints can drive an operator's terminal.

use crate::support::{Host, HostBuilder};

const ASKS_FOR_RAW: &str = "raw-output = true\n";

/// Has the guest write these bytes, each part by a call of its own, and asserts what arrives.
#[track_caller]
fn arrives(host: &Host, parts: &[&[u8]], expected: &[u8]) {
    let mut client = host.connect();
    let hex = |part: &&[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let words: Vec<String> = parts.iter().map(hex).collect();
    client.send(format!("bytes {}\necho end\n", words.join(" ")));
    client.expect(expected);
    client.expect("end\n");
}

#[test]
fn control_characters_of_a_line_are_escaped() {
    let host = HostBuilder::new().start();
    let mut client = host.connect();
    client.reply("echo a\x1b[31mred\x07 b\0c \x7f").is(["a\\x1b[31mred\\x07 b\\x00c \\x7f"]);
    client.reply("echo a\u{85}b \u{9b}2J").is(["a\\x85b \\x9b2J"]);
}

#[test]
fn all_of_c0_but_tab_and_lf_is_escaped() {
    let host = HostBuilder::new().fixture("bytes").start();
    for byte in (0..0x20).chain([0x7f]) {
        let expected = match byte {
            b'\t' | b'\n' => vec![byte],
            byte => format!("\\x{byte:02x}").into_bytes(),
        };
        arrives(&host, &[&[byte, b'\n']], &[&expected[..], b"\n"].concat());
    }
}

#[test]
fn all_of_c1_is_escaped_in_utf8_and_as_bare_bytes() {
    let host = HostBuilder::new().fixture("bytes").start();
    for code in 0x80..=0x9f_u8 {
        let expected = format!("\\x{code:02x}\n");
        arrives(&host, &[&[0xc2, code], b"\n"], expected.as_bytes());
        arrives(&host, &[&[code], b"\n"], expected.as_bytes());
    }
}

#[test]
fn other_text_and_other_bytes_pass() {
    let host = HostBuilder::new().fixture("bytes").start();
    let text = "a\tb ~ \u{a0} ä ∑ 🦀\n".as_bytes();
    arrives(&host, &[text], text);
    // No UTF-8, but nothing that a terminal obeys.
    arrives(&host, &[b"\xff\xfe \xe4\n"], b"\xff\xfe \xe4\n");
}

#[test]
fn a_character_split_across_two_writes_is_one_character() {
    let host = HostBuilder::new().fixture("bytes").start();
    arrives(&host, &[b"\xc3", b"\xa4\n"], "ä\n".as_bytes());
    arrives(&host, &[b"\xf0", b"\x9f\xa6", b"\x80\n"], "🦀\n".as_bytes());
    // Each of the last two bytes of the crab is a C1 byte by itself.
    arrives(&host, &[b"\xf0\x9f", b"\xa6\x80\n"], "🦀\n".as_bytes());
    arrives(&host, &[b"\xc2", b"\x9b\n"], b"\\x9b\n");
    arrives(&host, &[b"\xc2", b"\x1b\n"], b"\xc2\\x1b\n");
}

#[test]
fn a_character_that_is_never_finished_hides_nothing() {
    let host = HostBuilder::new().fixture("bytes").start();
    arrives(&host, &[b"\xf0\x9f\n"], b"\xf0\\x9f\n");
    arrives(&host, &[b"\xf0\x9f", b"\x1b\n"], b"\xf0\\x9f\\x1b\n");
}

#[test]
fn a_character_cut_off_at_the_end_of_the_reply_keeps_to_its_reply() {
    let host = HostBuilder::new().fixture("bytes").start();
    let mut client = host.connect();
    client.send("bytes 61c3\necho end\n");
    client.expect(b"a\xc3end\n");
}

#[test]
fn output_of_a_child_is_escaped_too() {
    let host = HostBuilder::new().fixture("spawn").may_run_script("printf \"\\033[2Jx\\n\"").start();
    let reply = host.connect().reply(r#"spawn /bin/sh -c 'printf "\033[2Jx\n"'"#);
    reply.is(["\\x1b[2Jx", "status: exited 0"]);
}

#[test]
fn a_failures_text_is_one_escaped_line() {
    let host = HostBuilder::new().fixture("fail").start();
    let mut client = host.connect();
    client.send("fail 'bad \x1b[2J'\necho end\n");
    client.expect("error: failed: bad \\x1b[2J\nend\n");
}

#[test]
fn raw_output_passes_where_command_and_tenant_both_say_so() {
    let host = HostBuilder::new().fixture("bytes").sidecar("bytes", ASKS_FOR_RAW).tenant("raw-output = true").start();
    arrives(&host, &[b"\x1b[31m\x00\x9b\xc2\x9b\r\n"], b"\x1b[31m\x00\x9b\xc2\x9b\r\n");
}

#[test]
fn raw_output_is_escaped_where_the_tenant_does_not_allow_it() {
    let host = HostBuilder::new().fixture("bytes").sidecar("bytes", ASKS_FOR_RAW).start();
    arrives(&host, &[b"\x1b[31m\n"], b"\\x1b[31m\n");
}

#[test]
fn raw_output_is_escaped_where_the_command_does_not_ask_for_it() {
    let host = HostBuilder::new().fixture("bytes").tenant("raw-output = true").start();
    arrives(&host, &[b"\x1b[31m\n"], b"\\x1b[31m\n");
}
