//! Running the host: readiness, signals, draining, reloading, exit codes.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Follower, HostBuilder, eventually, guests, machine, pipe_into, quoted, wasmline, wasmline_after};

#[test]
fn standard_output_has_the_readiness_lines_and_nothing_else() {
    let host = HostBuilder::new().listener("default").listener("default").start();
    host.connect().reply("echo x").is(["x"]);
    let expected: Vec<String> = host.addresses().iter().map(|address| format!("listening on {address}")).collect();
    assert_eq!(host.stdout(), expected);
    assert!(host.addresses().iter().all(|address| address.port() != 0));
}

#[test]
fn sigterm_and_sigint_end_an_idle_host() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut host = HostBuilder::new().start();
        let mut idle = host.connect();
        idle.reply("echo served").is(["served"]);
        host.signal(signal);
        idle.expect_end();
        assert_eq!(host.wait_for_exit().code(), Some(0));
    }
}

#[test]
fn sigterm_lets_a_running_command_finish() {
    let mut host = HostBuilder::new().fixture("sleeper").server("drain-timeout = \"1m\"").start();
    let mut client = host.connect();
    client.send("sleeper 1500\necho not run any more\n");
    host.wait_for_log(&["line received", "sleeper 1500"]);
    host.signal(Signal::TERM);
    eventually("no new client is accepted", || {
        TcpStream::connect_timeout(&host.address(), Duration::from_secs(1)).is_err()
    });
    client.expect("slept\n");
    client.rest();
    assert_eq!(host.wait_for_exit().code(), Some(0));
}

#[test]
fn a_second_signal_cuts_what_does_not_finish() {
    let mut host = HostBuilder::new().fixture("sleeper").server("drain-timeout = \"1h\"").start();
    let mut client = host.connect();
    client.send("sleeper 600000\n");
    host.wait_for_log(&["line received", "sleeper"]);
    host.signal(Signal::INT);
    host.wait_for_log(&["draining", "at_most=3600s"]);
    host.signal(Signal::INT);
    client.wait_until_cut();
    host.wait_for_log(&["cutting off", "asked to stop again"]);
    assert_eq!(host.wait_for_exit().code(), Some(0));
}

#[test]
fn the_drain_deadline_cuts_what_does_not_finish() {
    let builder = HostBuilder::new().fixture("spawn").server("drain-timeout = \"500ms\"").limit("timeout = \"10m\"");
    let (builder, follower) = Follower::granted(builder);
    let mut host = builder.start();
    let mut client = host.connect();
    client.send(follower.request("spawn") + "\n");
    client.expect("first\n");
    host.signal(Signal::TERM);
    client.wait_until_cut();
    assert_eq!(host.wait_for_exit().code(), Some(0));
    host.wait_until_gone(&follower.file);
}

#[test]
fn the_drain_deadline_cuts_a_client_that_does_not_read() {
    let builder =
        HostBuilder::new().fixture("chatter").server("drain-timeout = \"500ms\"").server("write-timeout = \"10m\"");
    let mut host = builder.limit("output = \"1TiB\"").limit("timeout = \"10m\"").limit("cpu = \"10m\"").start();
    let mut client = host.connect();
    client.send("chatter\n");
    client.line();
    host.signal(Signal::TERM);
    assert_eq!(host.wait_for_exit().code(), Some(0));
}

#[test]
fn sighup_reads_the_configuration_again() {
    let builder = HostBuilder::new().fixture("settings").fixture("hash");
    let file = builder.file("file", "abc");
    let grant = format!("[tenants.default.grants.digest]\nread = [{}]\n", quoted(&builder.files()));
    let host = builder.more("[tenants.default.settings.settings]\ncolour = \"red\"").start();
    // A connection that is open already goes on, under what is in force when a line comes.
    let mut client = host.connect();
    client.reply("settings colour").is(["red"]);
    client.reply(format!("hash sha1 {}", file.display())).is(["denied"]);

    host.edit_config("\"red\"", &format!("\"green\"\n{grant}"));
    host.signal(Signal::HUP);
    eventually("the new setting is in force", || client.reply("settings colour").lines == ["green"]);
    client.reply(format!("hash sha1 {}", file.display())).is(["a9993e364706816aba3e25717850c26c9cd0d89d"]);

    host.edit_config(&grant, "");
    host.signal(Signal::HUP);
    eventually("the grant is withdrawn", || client.reply(format!("hash sha1 {}", file.display())).lines == ["denied"]);
}

#[test]
fn a_broken_configuration_leaves_the_old_one_in_force() {
    let builder = HostBuilder::new().fixture("settings");
    let host = builder.more("[tenants.default.settings.settings]\ncolour = \"red\"").start();
    let mut client = host.connect();
    client.reply("settings colour").is(["red"]);
    let good = fs::read_to_string(host.config()).expect("the configuration");

    let broken = [
        ("[server]", "[sever]", "sever"),
        ("colour = \"red\"", "colour = ", "wasmline.toml:"),
        ("[[listener]]", "[[listener]]\nport = 1", "port"),
        // As it looks when somebody has begun to write it.
        (&good, "", "empty"),
    ];
    for (round, (from, to, told)) in broken.into_iter().enumerate() {
        host.edit_config(from, to);
        host.signal(Signal::HUP);
        let refusals = || host.log().matches("configuration not reloaded").count();
        eventually("this reload is refused too", || refusals() > round);
        let line = host.wait_for_log(&["ERROR", told]);
        assert!(line.contains("wasmline.toml"), "{line}");
        client.reply("settings colour").is(["red"]);
        fs::write(host.config(), &good).expect("the configuration can be written");
    }

    host.edit_config("\"red\"", "\"green\"");
    host.signal(Signal::HUP);
    eventually("a good one is taken again", || client.reply("settings colour").lines == ["green"]);
}

#[test]
fn bad_usage_exits_with_2() {
    for args in [&["serve", "--frobnicate"][..], &["serve", "--max-connections", "many"], &["frobnicate"], &[]] {
        let outcome = pipe_into(wasmline().args(args), "").exited(2);
        assert!(!outcome.err().is_empty(), "{outcome}");
    }
}

#[test]
fn help_and_version_read_well() {
    let help = pipe_into(wasmline().arg("--help"), "").exited(0).out();
    assert!(help.contains("Usage: wasmline") && help.contains("serve"), "{help}");
    let help = pipe_into(wasmline().args(["serve", "--help"]), "").exited(0).out();
    for flag in ["--config", "--listen", "--commands", "--max-connections", "--cache", "--log-format"] {
        assert!(help.contains(flag), "no {flag} in:\n{help}");
        let variable = format!("WASMLINE_{}", flag.trim_start_matches("--").to_uppercase().replace('-', "_"));
        assert!(help.contains(&variable), "no {variable} in:\n{help}");
    }
    let version = pipe_into(wasmline().arg("--version"), "").exited(0).out();
    assert!(version.starts_with("wasmline 0."), "{version}");
}

#[test]
fn a_second_start_uses_the_compiled_commands() {
    let cache = tempfile::tempdir().expect("a directory");
    let place = cache.path().join("cache").display().to_string();
    let [first, second] = [(); 2].map(|()| {
        let mut host = HostBuilder::new().env("WASMLINE_CACHE", &place).without_cache_flag().start();
        host.connect().reply("echo x").is(["x"]);
        host.signal(Signal::TERM);
        assert_eq!(host.wait_for_exit().code(), Some(0));
        machine::compiled(&place)
    });
    assert!(!first.is_empty(), "nothing was cached in {place}");
    assert_eq!(first, second, "what was compiled is used again, and not made anew");
}

/// Nothing but the sum tells code from code that was changed: both are loaded and run alike.
#[test]
fn a_cache_that_is_removed_is_made_again() {
    let cache = tempfile::tempdir().expect("a directory");
    let place = cache.path().join("cache");
    let host = HostBuilder::new().env("WASMLINE_CACHE", &place.display().to_string()).without_cache_flag().start();
    fs::remove_dir_all(&place).expect("it can be removed");
    host.install("words.wasm", &guests::fixture_bytes("words"));
    host.wait_for_log(&["commands loaded", "new=words"]);
    assert_eq!(fs::metadata(&place).expect("the cache").permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_directory_that_is_gone_is_not_missed_by_who_names_absolute_paths() {
    // As after a new release was put in the place of the one that the shell stands in.
    let host = HostBuilder::new().after("mkdir gone && cd gone && rmdir ../gone").start();
    host.connect().reply("echo fine").is(["fine"]);
    host.reload();
    let outcome = pipe_into(wasmline_after("mkdir gone && cd gone && rmdir ../gone").args(["check"]), "").exited(1);
    assert!(outcome.err().contains("current directory") && outcome.err().contains("--config"), "{outcome}");
}

#[test]
fn a_damaged_cache_is_made_anew() {
    const NOTICED: &str = "cache entry is damaged; compiling again";
    let change: fn(&mut Vec<u8>) = |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    let cut: fn(&mut Vec<u8>) = |bytes| bytes.truncate(bytes.len() / 2);
    for (damage, files) in [(change, &["cwasm"][..]), (cut, &["cwasm", "b3"])] {
        let cache = tempfile::tempdir().expect("a directory");
        let place = cache.path().join("cache");
        let start = || {
            let host =
                HostBuilder::new().env("WASMLINE_CACHE", &place.display().to_string()).without_cache_flag().start();
            host.connect().reply("echo x").is(["x"]);
            // The record of any damage comes before this one.
            host.wait_for_log(&["INFO", "listening"]);
            host.log()
        };
        assert!(!start().contains(NOTICED), "nothing is damaged yet");
        let code = machine::code_in(&place).pop().expect("echo was compiled");
        for file in files.iter().map(|kind| code.with_extension(kind)) {
            let mut bytes = fs::read(&file).expect("a cached file");
            damage(&mut bytes);
            fs::write(file, bytes).expect("a damaged file");
        }
        let damaged = fs::read(&code).expect("the code");
        let log = start();
        let noticed = |line: &str| line.contains(NOTICED) && line.contains(&code.display().to_string());
        assert!(log.lines().any(|line| line.contains("WARN") && noticed(line)), "{log}");
        assert!(fs::read(&code).expect("the code is made anew") != damaged, "the same bytes are there still");
        // The entry is whole again: it is taken as it is.
        let anew = machine::compiled(&place);
        let log = start();
        assert!(!log.contains(NOTICED), "{log}");
        assert_eq!(machine::compiled(&place), anew, "what was made anew is used");
    }
}
