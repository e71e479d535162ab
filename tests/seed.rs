//! The session of the server that wasmline replaces, text for text.

use std::path::Path;

use crate::support::{HostBuilder, eventually, machine, nc, pipe_into, program, quoted};

/// Lets `lastlog` print the file: by its setting, and by a grant to run `tail` on it.
fn lastlog_of(builder: HostBuilder, log: &Path) -> HostBuilder {
    let files = quoted(&builder.files());
    builder
        .command("lastlog")
        .may_run("/usr/bin/tail", &format!("[\"-n\", {{ int = [1, 1000] }}, {{ path-under = [{files}] }}]"))
        .more(&format!("[tenants.default.settings.lastlog]\nfile = {}", quoted(log)))
}

fn lastlog(contents: &str) -> Vec<String> {
    let builder = HostBuilder::new();
    let log = builder.file("system.log", contents);
    let host = lastlog_of(builder, &log).start();
    host.connect().reply("lastlog").lines
}

fn comphash() -> HostBuilder {
    let builder = HostBuilder::new().command("comphash");
    let files = builder.files();
    builder.may_hash(files)
}

#[track_caller]
fn sha1sum(file: &Path) -> String {
    let printed = pipe_into(program("sha1sum").arg(file), "").exited(0).out();
    printed[..40].to_owned()
}

#[test]
fn the_whole_session_over_nc() {
    let builder = comphash().command("exit").command("help");
    let log = builder.file("system.log", "one\ntwo\n");
    let file = builder.file("hashed", "contents");
    let host = lastlog_of(builder, &log).start();

    let typed = format!("lastlog\ncomphash {0}\ncomphash\nnonsense\necho hello\nexit\necho late\n", file.display());
    pipe_into(&mut nc(&host), typed).exited(0).prints(&format!(
        "Begin lastlog\none\ntwo\nEnd lastlog\n\
         File hash is : {}\nPlease provide a path.\nCommand not found.\nhello\n",
        sha1sum(&file)
    ));
}

#[test]
fn lastlog_prints_the_last_ten_lines() {
    let contents: String = (1..=15).map(|number| format!("line {number}\n")).collect();
    let mut expected = vec!["Begin lastlog".to_owned()];
    expected.extend((6..=15).map(|number| format!("line {number}")));
    expected.push("End lastlog".to_owned());
    assert_eq!(lastlog(&contents), expected);
}

#[test]
fn lastlog_leaves_out_header_lines() {
    let contents = "old\n1\n2\n== header\n4\n5\n ==kept\n7\n==\n9\n=10\n";
    // `old` is the eleventh line from the end: headers are left out of the ten, not before they are counted.
    assert_eq!(lastlog(contents), ["Begin lastlog", "1", "2", "4", "5", " ==kept", "7", "9", "=10", "End lastlog"]);
}

#[test]
fn lastlog_ends_a_last_line_that_has_no_end() {
    assert_eq!(lastlog("one\ntwo"), ["Begin lastlog", "one", "two", "End lastlog"]);
    assert_eq!(lastlog("one\n== header"), ["Begin lastlog", "one", "End lastlog"]);
}

#[test]
fn lastlog_of_an_empty_file() {
    assert_eq!(lastlog(""), ["Begin lastlog", "End lastlog"]);
}

#[test]
fn lastlog_is_whole_though_tail_prints_it_in_many_chunks() {
    // Ten lines of 20,000 bytes do not fit into a pipe at once. A header sign within a line is no header.
    let lines: Vec<String> = (0..10).map(|number| format!("{number}{}", "==".repeat(10_000))).collect();
    let reply = lastlog(&(lines.join("\n") + "\n"));
    assert_eq!(reply.len(), 12, "{:?}", reply.iter().map(String::len).collect::<Vec<_>>());
    assert_eq!(reply[1..11], lines);
}

#[test]
fn lastlog_says_that_the_file_does_not_exist() {
    let builder = HostBuilder::new();
    let missing = builder.files().join("missing.log");
    let host = lastlog_of(builder, &missing).start();
    let reply = host.connect().reply("lastlog").lines.join("\n");
    let told = ["o such file", "not exist", "not found"].iter().any(|text| reply.contains(text));
    assert!(told, "the reply does not say that there is no such file:\n{reply}");
}

#[test]
fn lastlog_without_a_grant_is_denied() {
    let builder = HostBuilder::new().command("lastlog");
    let log = builder.file("system.log", "secret\n");
    let host = builder.more(&format!("[tenants.default.settings.lastlog]\nfile = {}", quoted(&log))).start();
    let reply = host.connect().reply("lastlog").lines.join("\n");
    assert!(!reply.contains("secret"), "the file was shown without a grant:\n{reply}");
    assert!(reply.contains("denied") || reply.contains("not permitted"), "the reply does not say so:\n{reply}");
}

#[test]
fn comphash_agrees_with_sha1sum() {
    let builder = comphash();
    let long: Vec<u8> = (0..3_000_001_u32).map(|number| (number * 7 + number / 256) as u8).collect();
    let files = [
        builder.file("empty", ""),
        builder.file("short", "abc"),
        builder.file("long", long),
        builder.file("name with spaces", "x"),
        builder.file("näme", "y"),
    ];
    let host = builder.start();
    let mut client = host.connect();
    for file in files {
        let reply = client.reply(format!("comphash '{}'", file.display()));
        reply.is([format!("File hash is : {}", sha1sum(&file)).as_str()]);
    }
}

#[test]
fn comphash_needs_exactly_one_path() {
    let host = comphash().start();
    let mut client = host.connect();
    for request in ["comphash", "comphash /etc/hostname /etc/passwd", "comphash a b c"] {
        client.reply(request).is(["Please provide a path."]);
    }
}

#[test]
fn comphash_says_why_it_failed() {
    let builder = comphash();
    let files = builder.files();
    std::os::unix::fs::symlink("/etc/hostname", files.join("link")).expect("a link");
    machine::fifo(&files.join("fifo"));
    let host = builder.start();
    let mut client = host.connect();
    let inside = |name: &str| files.join(name).display().to_string();
    let failures = [
        ("a missing file", inside("missing")),
        ("a directory", files.display().to_string()),
        ("a symbolic link that leads out", inside("link")),
        ("a path that climbs out", inside("../wasmline.toml")),
        ("a FIFO", inside("fifo")),
        ("a file outside the grant", "/etc/hostname".to_owned()),
        ("an endless device", "/dev/zero".to_owned()),
        ("a relative path", "hostname".to_owned()),
        ("an empty path", "''".to_owned()),
        ("a path with a NUL byte", inside("a\0b")),
    ];
    for (what, path) in failures {
        let reply = client.reply(format!("comphash {path}"));
        let reason = reply.begins("An error occured : ");
        assert!(!reason.trim().is_empty(), "no reason is given for {what}");
    }
}

#[test]
fn exit_closes_the_connection() {
    let host = HostBuilder::new().command("exit").start();
    let mut client = host.connect();
    client.send("exit\n");
    client.expect_end();
}

#[test]
fn what_is_no_command_is_not_found() {
    let host = HostBuilder::new().command("exit").start();
    let mut client = host.connect();
    for request in ["nonsense", "EXIT", "Echo x", "exit.wasm", "../commands/exit", "''", "-", "echo.toml"] {
        client.reply(request).is(["Command not found."]);
    }
}

#[test]
fn one_client_too_many_is_told_so() {
    let host = HostBuilder::new().arg("--max-connections").arg("2").start();
    let (mut first, mut second) = (host.connect(), host.connect());
    first.reply("echo one").is(["one"]);
    second.reply("echo two").is(["two"]);

    let mut third = host.connect();
    assert_eq!(third.rest().escape_ascii().to_string(), "Too many connections. bye !\\n");

    first.reply("echo still here").is(["still here"]);
    drop(first);
    eventually("the slot of a client that left is free", || host.connect().is_served());
    second.reply("echo still here").is(["still here"]);
}

#[test]
fn help_lists_every_command_with_its_summary() {
    let host = comphash().command("help").command("exit").command("lastlog").start();
    let mut client = host.connect();
    let listed = client.reply("help").lines;
    for name in ["comphash", "echo", "exit", "help", "lastlog"] {
        let line = listed.iter().find(|line| line.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("help does not list {name}: {listed:#?}"));
        assert!(line.split_whitespace().count() > 1, "help gives no summary: {line:?}");
    }
}

#[test]
fn help_shows_how_a_command_is_used() {
    let host = comphash().command("help").start();
    let mut client = host.connect();
    let shown = client.reply("help comphash").lines.join("\n");
    assert!(shown.contains("comphash PATH"), "help comphash does not show the usage:\n{shown}");
    let unknown = client.reply("help nonsense").lines.join("\n");
    assert!(!unknown.is_empty(), "help says nothing on a name that is no command");
}

#[test]
fn echo_repeats_its_words() {
    let host = HostBuilder::new().start();
    let mut client = host.connect();
    client.reply("echo").is([""]);
    client.reply("echo  one   two").is(["one two"]);
}
