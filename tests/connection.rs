//! The capability `connection`: writing, reading on, who is there, closing.

use crate::support::{Host, HostBuilder};

fn host() -> Host {
    HostBuilder::new().fixture("readback").fixture("closewrite").fixture("whoami").start()
}

#[test]
fn a_command_knows_its_client_and_its_tenant() {
    let host = host();
    let mut client = host.connect();
    let address = client.address().to_string();
    client.reply("whoami").is(["tenant default", &format!("peer {address}")]);
}

#[test]
fn a_line_that_a_command_reads_is_not_run() {
    let host = host();
    let mut client = host.connect();
    client.send("readback\necho not run\r\n\n.\necho run\n");
    client.expect("got: echo not run\ngot: \ndone\nrun\n");
}

#[test]
fn a_command_waits_for_a_line_and_answers_before_the_next() {
    let host = host();
    let mut client = host.connect();
    client.send("readback\n");
    for word in ["one", "two"] {
        client.send(format!("{word}\n"));
        client.expect(format!("got: {word}\n"));
    }
    client.send(".\necho over\n");
    client.expect("done\nover\n");
}

#[test]
fn a_command_sees_the_end_of_input() {
    let host = host();
    let mut client = host.connect();
    client.send("readback\nlast\nincomplete");
    client.finish_sending();
    client.expect("got: last\nend\n");
    // Whether the bytes that were left earn an error line as well is the session's affair; the reply is whole.
    client.rest();
}

#[test]
fn a_command_sees_that_a_line_is_not_utf8() {
    let host = host();
    let mut client = host.connect();
    client.send(b"readback\n\xff\xfe\nfine\n.\necho over\n");
    client.expect("bad encoding\ngot: fine\ndone\nover\n");
}

#[test]
fn a_command_sees_that_a_line_is_too_long() {
    let host = host();
    let mut client = host.connect();
    client.send("readback\n");
    client.send("x".repeat(20_000));
    client.send("\nnever run\n");
    client.expect("line too long\n");
    // The connection ends after this command.
    let rest = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(!rest.contains("got:") && !rest.contains("not found"), "input after the long line was used: {rest}");
}

#[test]
fn close_sends_what_was_written_and_refuses_to_write_or_read_more() {
    let host = host();
    let mut client = host.connect();
    client.send("closewrite\necho late\n");
    client.expect("before\n");
    client.expect_end();
    // The fixture logs what it was answered after `close`. It is not given the line that is there to be read.
    host.wait_for_log(&["\"after close: the connection is closed\""]);
    host.wait_for_log(&["\"no line after close: the connection is closed\""]);
}
