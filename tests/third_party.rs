//! Programs that nobody wrote for wasmline, run as they are: a core module of WASI preview 1, and components.

use crate::languages::install;
use crate::support::HostBuilder;

#[track_caller]
fn with(name: &str) -> HostBuilder {
    and(HostBuilder::new(), name)
}

#[track_caller]
fn and(builder: HostBuilder, name: &str) -> HostBuilder {
    install(builder, "WASMLINE_TEST_THIRD_PARTY", "third-party", name)
}

#[test]
fn words_are_arguments_and_output_is_the_reply() {
    let host = with("jaq").start();
    let mut client = host.connect();
    client.reply("jaq -n '[range(3)] | map(. * 2) | add'").is(["6"]);
    client
        .reply(r#"jaq -n -c --arg name Ada '{name: $name, length: ($name | length)}'"#)
        .is([r#"{"name":"Ada","length":3}"#]);
    client.reply("jaq -n -r '\"Zoë\\n\", 1'").is(["Zoë", "", "1"]);
}

#[test]
fn what_a_program_fails_with_is_its_status() {
    let host = and(with("jaq"), "rg").start();
    let mut client = host.connect();
    let reply = client.reply("jaq -n '1 +'");
    let told = reply.fails_with("exit");
    assert!(told.iter().any(|line| line.contains("unexpected end of input")), "{reply:?}");
    client.reply("rg").fails_with("exit");
    let version = client.reply("rg --version");
    assert_eq!(version.lines[0], "ripgrep 15.2.0");
}

#[test]
fn a_program_sees_no_file_that_is_not_granted() {
    let host = with("rg").start();
    let reply = host.connect().reply("rg root /etc/passwd");
    assert!(!reply.lines.iter().any(|line| line.contains("/bin/")), "{reply:?}");
    reply.fails_with("exit");
}

#[test]
fn a_filter_reads_the_lines_that_follow() {
    let host = with("jaq").start();
    let mut client = host.connect();
    client.send("jaq -c .name\n{\"name\": \"Ada\"}\n");
    // It answers before its input has ended.
    client.expect("\"Ada\"\n");
    client.send("{\"name\":\n[1, 2]}\n.\n");
    client.expect("[1,2]\n");
    client.reply("echo on").is(["on"]);
}

#[test]
fn an_interpreter_is_an_interactive_session() {
    let host = with("scheme").start();
    let mut client = host.connect();
    client.send("scheme\n(define (twice x) (* 2 x))\n(twice 21)\n");
    // The prompt, which has no line end, and the answers.
    client.expect("> #f\n> 42\n> ");
    client.send("(twice (twice 21))\n");
    client.expect("84\n> ");
    client.send(".\n");
    client.reply("echo on");

    // Every session is new.
    client.send("scheme\n(twice 21)\n.\n");
    let reply = client.reply("echo on");
    assert!(!reply.lines.iter().any(|line| line.contains("42")), "{reply:?}");
}

#[test]
fn an_interpreter_that_does_not_end_is_stopped() {
    let host = with("scheme").limit("cpu = \"1s\"").start();
    let mut client = host.connect();
    client.send("scheme\n(define (forever) (forever))\n(forever)\n");
    client.expect("> #f\n> \n");
    client.expect_error("cpu");
    client.reply("echo on").is(["on"]);
}
