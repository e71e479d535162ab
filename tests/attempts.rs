//! A small line is tried as a plain call before it is run in full: nobody sees anything of a try that was in vain.

use crate::support::{Client, Host, HostBuilder};

/// More lines than are run before the next one is tried again, while the pauses between tries are short.
const TIMES: usize = 6;

/// How often a text is in the log, once all is there that has to do with the client.
fn logged(host: &Host, client: Client, text: &str) -> usize {
    drop(client);
    host.wait_for_log(&["connection lost"]);
    host.log().matches(text).count()
}

#[test]
fn a_line_that_comes_to_wait_writes_its_reply_once() {
    let host = HostBuilder::new().fixture("midway").start();
    let mut client = host.connect();
    for _ in 0..TIMES {
        client.send("echo before\nmidway read log read\none\ntwo\necho after\n");
        client.expect("before\nbegun read\ngot one\nbegun log\nbegun read\ngot two\ndone\nafter\n");
    }
    assert_eq!(logged(&host, client, "from midway"), TIMES);
}

#[test]
fn a_line_that_has_written_much_or_computed_for_long_writes_its_reply_once() {
    let host = HostBuilder::new().fixture("midway").start();
    let mut client = host.connect();
    let long = format!("begun long\n{}begun compute\ndone\nafter\n", "x".repeat(100_000));
    for _ in 0..TIMES {
        client.send("midway long compute\necho after\n");
        client.expect(&long);
    }
}

#[test]
fn a_line_that_ends_badly_says_so_once() {
    let host = HostBuilder::new().fixture("midway").start();
    let mut client = host.connect();
    for _ in 0..TIMES {
        client.reply("midway fail").is(["begun fail", "error: failed: as asked"]);
        client.send("midway trap\n");
        client.expect("begun trap\n");
        client.expect_error("trap");
    }
    client.send("midway close\n");
    client.expect("begun close\n");
    client.expect_error("failed");
    client.expect_end();
    assert_eq!(logged(&host, client, "panicked at"), TIMES);
}

#[test]
fn output_beyond_its_limit_ends_as_ever() {
    let host = HostBuilder::new().fixture("midway").limit("output = \"20B\"").start();
    let mut client = host.connect();
    for _ in 0..TIMES {
        client.send("midway fail log\n");
        client.expect("begun fail\n");
        client.expect_error("failed");
        client.send("midway log log\n");
        client.expect("begun log\nbegun log\n");
        client.expect_error("output-limit");
    }
}
