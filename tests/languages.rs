//! Commands in other languages: the worked examples of `guest-commands/`, and what the templates of `wasmline new` build.

use crate::support::{HostBuilder, pipe_into, program, quoted, wasmline};

#[track_caller]
fn with(name: &str) -> HostBuilder {
    HostBuilder::new().language(name)
}

#[test]
fn c_sums_files() {
    let builder = with("sums");
    let (abc, empty) = (builder.file("abc", "abc"), builder.file("empty", ""));
    let files = builder.files();
    let host = builder.may_hash(files).start();
    let mut client = host.connect();
    let (abc, empty) = (abc.display(), empty.display());
    client.reply(format!("sums {abc} {empty}")).is([
        &*format!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  {abc}"),
        &*format!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  {empty}"),
    ]);
    client.reply(format!("sums -a sha1 {abc}")).is([&*format!("a9993e364706816aba3e25717850c26c9cd0d89d  {abc}")]);
    let sha512 = client.reply(format!("sums -a sha512 {abc}"));
    assert_eq!(sha512.lines[0].find("  "), Some(128), "{sha512:?}");
}

#[test]
fn c_goes_on_after_a_file_that_cannot_be_summed() {
    let builder = with("sums");
    let abc = builder.file("abc", "abc");
    let files = builder.files();
    let host = builder.may_hash(files).start();
    let reply = host.connect().reply(format!("sums -a sha1 /etc/hostname {}", abc.display()));
    let sum = format!("a9993e364706816aba3e25717850c26c9cd0d89d  {}", abc.display());
    assert_eq!(reply.fails_with("failed"), ["sums: /etc/hostname: not permitted", &*sum]);
    let mut client = host.connect();
    for request in ["sums", "sums -a md5 /etc/hostname", "sums -a sha1"] {
        assert!(client.reply(request).fails_with("failed").is_empty());
    }
}

#[test]
fn c_without_a_word_of_wasmline_in_it() {
    let host = with("cal").start();
    let mut client = host.connect();
    client.reply("cal 2 2024").is([
        "   February 2024",
        "Mo Tu We Th Fr Sa Su",
        "          1  2  3  4",
        " 5  6  7  8  9 10 11",
        "12 13 14 15 16 17 18",
        "19 20 21 22 23 24 25",
        "26 27 28 29",
    ]);
    client.reply("cal 13 2024").is(["usage: cal [MONTH YEAR], the year from 1583 to 9999", "error: exit: status 1"]);
    // It reads the clock of the machine.
    let this_month = pipe_into(program("date").args(["--utc", "+%B %Y"]), "").exited(0).out();
    let reply = client.reply("cal");
    let title = reply.lines[0].trim();
    // Midnight may have passed between the two.
    let next = pipe_into(program("date").args(["--utc", "+%B %Y"]), "").exited(0).out();
    assert!([this_month.trim(), next.trim()].contains(&title), "{reply:?}");
}

#[test]
fn javascript_counts_the_programs_in_the_log() {
    let builder = with("logtop");
    let log = builder.file(
        "syslog",
        "Nov 23 10:00:00 host sshd[12]: a\nNov  3 10:00:00 host sshd[13]: b\n\
         2026-11-23T10:00:01.5+00:00 host cron: c\nno record\n\nNov 23 10:00:02 host sshd[12]: d: e\n",
    );
    let host = builder
        .may_run("/usr/bin/tail", &format!("[\"-n\", {{ int = [1, 1000] }}, {}]", quoted(&log)))
        .more(&format!("[tenants.default.settings.logtop]\nfile = {}", quoted(&log)))
        .start();
    let mut client = host.connect();
    let most = "#".repeat(30);
    let third = "#".repeat(10);
    client.reply("logtop").is([
        &*format!("sshd     3  {most}"),
        &*format!("(other)  1  {third}"),
        &*format!("cron     1  {third}"),
    ]);
    client.reply("logtop 1").is([&*format!("sshd  3  {most}")]);
    assert!(client.reply("logtop many").fails_with("failed").is_empty());
}

#[test]
fn javascript_is_told_that_it_is_denied() {
    let host = with("logtop").start();
    let reply = host.connect().reply("logtop");
    let told = reply.begins("error: failed: denied: ");
    assert!(!told.is_empty(), "{reply:?}");
}

#[test]
fn python_summarises_a_csv_file() {
    let builder = with("csvstat");
    let file = builder.file("cities.csv", "city,people,note\nRome,100,a\nParis,300,b\n\"New, York\",200,a\n,,\n");
    let empty = builder.file("empty.csv", "");
    let files = builder.files();
    let host = builder.more(&format!("[[tenants.default.grants.directory]]\npath = {}", quoted(&files))).start();
    let mut client = host.connect();
    client.reply(format!("csvstat {}", file.display())).is([
        "4 rows, 3 columns",
        "city    3 texts, 3 different",
        "people  3 numbers, from 100 to 300, mean 200, median 200",
        "note    3 texts, 2 different",
    ]);
    client.reply(format!("csvstat {}", empty.display())).is(["error: failed: the file is empty"]);
    client.reply("csvstat").is(["error: failed: usage: csvstat FILE"]);
    let missing = files.join("missing").display().to_string();
    for unseen in [&*missing, "/etc/passwd"] {
        let reply = client.reply(format!("csvstat {unseen}"));
        reply.is([&*format!("error: failed: {unseen}: No such file or directory")]);
    }
}

#[test]
fn python_sees_no_file_without_a_grant() {
    let builder = with("csvstat");
    let file = builder.file("cities.csv", "city\nRome\n").display().to_string();
    let host = builder.start();
    let reply = host.connect().reply(format!("csvstat {file}"));
    reply.is([&*format!("error: failed: {file}: No such file or directory")]);
}

/// What `wasmline new` writes is the same command in every language, and so is its test.
#[track_caller]
fn greets(name: &str) {
    let host = with(name).start();
    let mut client = host.connect();
    client.reply(format!("{name} Ada")).is(["Hello, Ada!"]);
    let address = client.address();
    client.reply(name).is([&*format!("Hello, {address}!")]);
    client.reply(format!("{name} a b")).is([&*format!("error: failed: usage: {name} [NAME]")]);

    let setting = format!("[tenants.default.settings.{name}]\ngreeting = \"Good day\"");
    let host = with(name).more(&setting).start();
    host.connect().reply(format!("{name} Zoë")).is(["Good day, Zoë!"]);

    // Its README says to try it so before it is installed.
    let mut run = wasmline();
    run.arg("run").arg("--cache").arg(HostBuilder::shared_cache()).arg(host.commands().join(format!("{name}.wasm")));
    pipe_into(run.arg("Ada"), "").exited(0).prints("Hello, Ada!\n");
}

#[test]
fn a_new_project_in_rust_builds_a_command() {
    greets("greet-rust");
    // A page of memory, not the seventeen of the linker's own stack, all of which the host would have to look after.
    let builder = with("greet-rust");
    let mut inspect = wasmline();
    inspect.arg("inspect").arg(builder.commands().join("greet-rust.wasm"));
    let told = pipe_into(&mut inspect, "").exited(0).out();
    assert!(told.contains(", 65536 bytes of memory at the start"), "{told}");
}

#[test]
fn a_new_project_in_c_builds_a_command() {
    greets("greet-c");
}

#[test]
fn a_new_project_in_javascript_builds_a_command() {
    greets("greet-js");
}

#[test]
fn a_new_project_in_python_builds_a_command() {
    greets("greet-python");
}
