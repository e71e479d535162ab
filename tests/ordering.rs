//! Replies in order on a connection, connections apart from each other, and nothing lost at the end.

use crate::support::{HostBuilder, eventually, machine};

const GIB: u64 = 1 << 30;

#[test]
fn ten_thousand_pipelined_lines_are_answered_in_order() {
    let host = HostBuilder::new().start();
    let mut client = host.connect();
    let lines: String = (0..10_000).map(|number| format!("echo {number}\n")).collect();
    let replies: String = (0..10_000).map(|number| format!("{number}\n")).collect();
    let sending = client.send_aside(lines.into_bytes());
    client.expect(replies);
    sending.join().expect("no panic").expect("the host takes all lines");
    client.finish_sending();
    client.expect_end();
}

#[test]
fn replies_of_one_connection_never_interleave() {
    let builder =
        HostBuilder::new().fixture("spawn").fixture("flood").may_run("/usr/bin/seq", "[{ int = [1, 100000] }]");
    let host = builder.start();
    let mut client = host.connect();
    // The first two take longer than the ones behind them.
    client.send("spawn /usr/bin/seq 20000\nflood 2000\nnonsense\necho last\n");
    for number in 1..=20_000 {
        client.expect(format!("{number}\n"));
    }
    client.expect("status: exited 0\n");
    for number in 1..=2000 {
        client.expect(format!("line {number}\n"));
    }
    client.expect("Command not found.\nlast\n");
}

#[test]
fn a_long_hash_on_one_connection_does_not_hold_another() {
    let builder = HostBuilder::new().command("comphash").limit("timeout = \"10m\"").server("hash-jobs = 1");
    let files = builder.files();
    let huge = machine::sparse_file(files.join("huge"), 16 * GIB);
    let host = builder.may_hash(files).start();

    let mut hashing = host.connect();
    hashing.send(format!("comphash {}\n", huge.display()));
    eventually("the file is being hashed", || machine::times_open(host.pid(), &huge) == 1);

    let mut other = host.connect();
    for number in 0..100 {
        other.reply(format!("echo {number}")).is([number.to_string().as_str()]);
    }
    assert_eq!(machine::times_open(host.pid(), &huge), 1, "the hash was done before a hundred lines were");
    assert!(hashing.is_silent());
}

#[test]
fn exit_loses_nothing_that_came_before_it() {
    let host = HostBuilder::new().fixture("flood").command("exit").start();
    let mut client = host.connect();
    let mut input = "flood 20000\nexit\n".to_owned();
    // Input that nobody reads any more must not reset the connection before the reply is out.
    input.push_str(&"echo late\n".repeat(10_000));
    let sending = client.send_aside(input.into_bytes());
    let expected: String = (1..=20_000).map(|number| format!("line {number}\n")).collect();
    client.expect(expected);
    client.expect_end();
    let _ = sending.join();
}

#[test]
fn half_close_loses_nothing() {
    let host = HostBuilder::new().fixture("flood").fixture("spawn").may_run("/bin/sleep", "[\"0.2\"]").start();
    let mut client = host.connect();
    client.send("spawn /bin/sleep 0.2\nflood 20000\necho last\n");
    client.finish_sending();
    let mut expected = "status: exited 0\n".to_owned();
    expected.extend((1..=20_000).map(|number| format!("line {number}\n")));
    expected.push_str("last\n");
    client.expect(expected);
    client.expect_end();
}

#[test]
fn many_connections_at_once_get_their_own_replies() {
    let host = HostBuilder::new().start();
    let mut clients: Vec<_> = (0..50).map(|_| host.connect()).collect();
    for round in 0..20 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("echo {number} {round}\n"));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            client.expect(format!("{number} {round}\n"));
        }
    }
}
