//! The capabilities that need no grant: `catalog`, `log`, and the settings of `wasi:config/store`.

use std::fs;

use crate::support::{Client, Host, HostBuilder, components, guests};

/// Two tenants, each with commands of its own. The second tenant's directory is `other`.
fn two_tenants() -> Host {
    let builder = HostBuilder::new().command("help").listener("default").listener("other");
    let other = builder.commands().with_file_name("other");
    fs::create_dir(&other).expect("a directory");
    for name in ["help", "echo"] {
        for kind in ["wasm", "toml"] {
            let file = format!("{name}.{kind}");
            fs::copy(builder.commands().join(&file), other.join(&file)).expect("a copy");
        }
    }
    let builder = builder.fixture("settings").more("[tenants.other]\ncommands = [\"other\"]");
    builder.start()
}

fn names(help: &[String]) -> Vec<&str> {
    let known = |name: &&str| ["echo", "help", "settings"].contains(name);
    help.iter().filter_map(|line| line.split_whitespace().next()).filter(known).collect()
}

#[test]
fn the_catalog_has_the_tenants_own_commands_only() {
    let host = two_tenants();
    let mut first = Client::connect(host.addresses()[0]);
    let mut second = Client::connect(host.addresses()[1]);
    assert_eq!(names(&first.reply("help").lines), ["echo", "help", "settings"]);
    assert_eq!(names(&second.reply("help").lines), ["echo", "help"]);
}

#[test]
fn another_tenants_command_is_not_found() {
    let host = two_tenants();
    let mut second = Client::connect(host.addresses()[1]);
    second.reply("settings x").is(["Command not found."]);
}

#[test]
fn a_record_carries_tenant_and_command() {
    let host = HostBuilder::new().fixture("logger").start();
    let mut client = host.connect();
    client.reply("logger info 'all is well'").is(["ok"]);
    let line = host.wait_for_log(&["all is well", "command=logger"]);
    assert!(line.contains("INFO") && line.contains("command=logger"), "{line}");
    client.reply("logger warn 'not so well'").is(["ok"]);
    assert!(host.wait_for_log(&["not so well", "command=logger"]).contains("WARN"));
}

#[test]
fn a_record_cannot_forge_another_nor_drive_a_terminal() {
    let guest = components::logging("first\nINFO forged record \u{1b}[2J\r\u{9b}2J");
    let host = HostBuilder::new().guest("forger", guest).start();
    host.connect().reply("forger").is([]);
    let line = host.wait_for_log(&["forged record"]);
    assert!(line.contains("first"), "the record was broken in two: {line}");
    assert!(!host.log().contains(['\r', '\x1b', '\u{9b}']), "control characters reached the log: {line:?}");
}

#[test]
fn a_long_record_is_cut() {
    let host = HostBuilder::new().fixture("logger").start();
    let text = "x".repeat(10_000);
    host.connect().reply(format!("logger info {text}")).is(["ok"]);
    host.wait_for_log(&[&"x".repeat(4096), "command=logger"]);
    let longest = host.log().lines().filter(|line| line.contains("command=logger")).map(str::len).max();
    assert!(longest.is_some_and(|length| length < 8192), "the record has {longest:?} bytes");
}

#[test]
fn a_line_has_its_share_of_the_log_and_no_more() {
    let host = HostBuilder::new().fixture("biglog").fixture("logger").limit("host-call-memory = \"4MiB\"").start();
    let mut client = host.connect();
    client.reply("biglog 1 100").is(["ok"]);
    let told = host.wait_for_log(&["WARN", "filled its share of the log", "command=biglog"]);
    // It is each line's own: the next has another, and its record comes after all that were dropped.
    client.reply("logger info 'as before'").is(["ok"]);
    host.wait_for_log(&["as before", "command=logger"]);
    let log = host.log();
    let records = log.lines().filter(|line| line.contains("command=biglog") && line.contains("xxxx")).count();
    assert_eq!(records, 16, "64 KiB of records of 4 KiB, and {told}");
}

#[test]
fn settings_come_from_the_sidecar_and_the_tenant_overrides_them() {
    let sidecar = "[settings]\nplace = \"sidecar\"\nshared = \"sidecar\"\n";
    let builder = HostBuilder::new().fixture("settings").sidecar("settings", sidecar);
    let host = builder.more("[tenants.default.settings.settings]\nshared = \"tenant\"\nown = \"tenant\"").start();
    let mut client = host.connect();
    client.reply("settings place").is(["sidecar"]);
    client.reply("settings shared").is(["tenant"]);
    client.reply("settings own").is(["tenant"]);
    client.reply("settings missing").is(["unset"]);
}

#[test]
fn another_tenants_settings_are_not_seen() {
    let builder = HostBuilder::new().fixture("settings").listener("default").listener("other");
    let others = "[tenants.other]\ncommands = [\"commands\"]\nsettings.settings = { secret = \"other\" }";
    let host = builder.more("[tenants.default.settings.settings]\nown = \"default\"").more(others).start();
    let [mut default, mut other] = [0, 1].map(|listener| Client::connect(host.addresses()[listener]));
    for (client, own, secret) in [(&mut default, "default", "unset"), (&mut other, "unset", "other")] {
        client.reply("settings own").is([own]);
        client.reply("settings secret").is([secret]);
    }
}

#[test]
fn another_commands_settings_are_not_seen() {
    let builder = HostBuilder::new().fixture("settings");
    let host = builder.more("[tenants.default.settings.echo]\nsecret = \"hidden\"").start();
    host.connect().reply("settings secret").is(["unset"]);
}

#[test]
fn a_description_in_the_file_serves_where_there_is_no_summary() {
    let described = |text: &str| {
        let mut bytes = guests::fixture_bytes("words");
        let section = [b"\x0bdescription", text.as_bytes()].concat();
        bytes.extend([0, u8::try_from(section.len()).expect("a short section")]);
        bytes.extend(section);
        bytes
    };
    let builder = HostBuilder::new().command("help").guest("plain", described("Says words"));
    let builder = builder.guest("both", described("Hidden")).sidecar("both", "summary = \"Shown\"");
    let lines = builder.start().connect().reply("help").lines;
    let shows = |name: &str, summary: &str| lines.iter().any(|line| line.starts_with(name) && line.ends_with(summary));
    assert!(shows("plain", "Says words") && shows("both", "Shown"), "{lines:?}");
}
