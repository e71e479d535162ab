//! `wasmline check` says what would not serve, and why, without serving.

use std::fs;
use std::path::Path;

use crate::support::{Authority, HostBuilder, pipe_into, quoted, wasmline};

fn check(builder: &HostBuilder, more: &str) -> crate::support::Outcome {
    let dir = builder.files();
    let config = dir.join("check.toml");
    let text = format!("[tenants.default]\ncommands = [{:?}]\n{more}", builder.commands());
    fs::write(&config, text).expect("a configuration can be written");
    let mut command = wasmline();
    command.arg("check").arg("--config").arg(config).arg("--cache").arg(dir.join("cache"));
    pipe_into(&mut command, "")
}

#[test]
fn all_is_well() {
    let builder = HostBuilder::new().command("comphash");
    let outcome = check(&builder, "[tenants.default.grants.digest]\nread = [\"/etc\"]\n").exited(0);
    let out = outcome.out();
    assert!(out.contains("tenant default") && out.contains("comphash") && !out.contains("refused"), "{out}");
}

#[test]
fn what_is_refused_is_named_with_its_reason() {
    let builder = HostBuilder::new().guest("text", "(module)").guest("empty", "");
    let outcome = check(&builder, "").exited(1);
    let out = outcome.out();
    for words in ["text.wasm: is text", "empty.wasm: is empty", "ok"] {
        assert!(out.contains(words), "no {words:?} in:\n{out}");
    }
}

#[test]
fn what_is_asked_for_and_not_granted_is_named() {
    let builder = HostBuilder::new().command("lastlog").command("comphash");
    let outcome = check(&builder, "").exited(1);
    let out = outcome.out();
    for words in [
        "lastlog: asks to run /usr/bin/tail; the tenant needs a [[tenants.default.grants.process]] with this program",
        "comphash: asks to hash files beneath /; the tenant needs it in tenants.default.grants.digest.read",
    ] {
        assert!(out.contains(words), "no {words:?} in:\n{out}");
    }
}

#[test]
fn a_socket_has_a_directory() {
    let builder = HostBuilder::new();
    let listener = |path: &str| format!("[[listener]]\nunix = \"{path}\"\ntenant = \"default\"\n");
    let outcome = check(&builder, &listener("/no/directory/socket")).exited(1);
    assert!(outcome.out().contains("there is no directory for /no/directory/socket"), "{}", outcome.out());
    check(&builder, &listener(&builder.files().join("socket").display().to_string())).exited(0);
}

#[test]
fn a_listener_that_asks_for_tokens_needs_one() {
    let builder = HostBuilder::new();
    let listener = |more: &str| format!("[[listener]]\naddress = \"127.0.0.1:9998\"\nauth = \"token\"\n{more}");
    let commands = builder.files().display().to_string();
    let token = format!(
        "[tenants.other]\ncommands = [\"{commands}\"]\ntokens = [{{ name = \"a\", sha256 = \"{}\" }}]\n",
        "0".repeat(64)
    );
    for (more, who) in
        [("", ", and no tenant has one;"), ("tenant = \"default\"\n", " of the tenant default, which has none;")]
    {
        let with_token = if more.is_empty() { String::new() } else { token.clone() };
        let outcome = check(&builder, &(listener(more) + &with_token)).exited(1);
        assert!(outcome.out().contains(&format!("it asks for a token{who}")), "{}", outcome.out());
    }
    check(&builder, &(listener("") + &token)).exited(0);
}

#[test]
fn an_address_of_another_machine_is_named() {
    let builder = HostBuilder::new();
    let listener = |address: &str| format!("[[listener]]\naddress = \"{address}:9998\"\ntenant = \"default\"\n");
    // From a block that is for documentation, RFC 5737.
    let outcome = check(&builder, &listener("192.0.2.1")).exited(0);
    let told = "listener 192.0.2.1:9998\n  absent     this machine does not have the address\n";
    assert!(outcome.out().contains(told), "{}", outcome.out());
    assert!(!check(&builder, &listener("127.0.0.1")).exited(0).out().contains("absent"));
}

/// Its author has misspelt a name, and the command does as if nobody had said anything.
#[test]
fn a_sidecar_of_no_command_is_named() {
    let builder = HostBuilder::new().sidecar("ech0", "instance = \"connection\"\n");
    let stray = builder.commands().join("ech0.toml").display().to_string();
    let outcome = check(&builder, "").exited(0);
    let told = format!("  ok         echo\n  unused     {stray}: there is no ech0.wasm beside it\n");
    assert!(outcome.out().contains(&told), "{}", outcome.out());
}

#[test]
fn what_is_granted_and_not_there_is_named() {
    let builder = HostBuilder::new();
    let grants = "[tenants.default.grants]\ndigest.read = [\"/etc\", \"/no/sums\"]\n\
                  directory = [{ path = \"/no/data\", as = \"/data\" }, { path = \"/srv\" }]\n\
                  process = [{ program = \"/no/tail\", args = [{ path-under = [\"/no/logs\", \"/var\"] }] }]\n";
    // Another machine may have it, so it is no reason against the configuration.
    let outcome = check(&builder, grants).exited(0);
    let absent: Vec<_> = outcome.out().lines().filter(|line| line.contains("absent")).map(str::to_owned).collect();
    let named = |key: &str, path: &str| format!("  absent     {path}, which grants.{key} names");
    let expected =
        [("digest", "/no/sums"), ("directory", "/no/data"), ("process", "/no/logs"), ("process", "/no/tail")];
    assert_eq!(absent, expected.map(|(key, path)| named(key, path)));
}

#[test]
fn directories_and_variables_that_are_not_granted_are_named() {
    let sidecar = "[grants]\nenvironment = [\"LANG\"]\n[[grants.directory]]\npath = \"/data\"\n\
                   [[grants.directory]]\npath = \"/usr/share\"\nwrite = true\n";
    let builder = HostBuilder::new().fixture("wasi-files").sidecar("wasi-files", sidecar);
    let outcome = check(&builder, "[[tenants.default.grants.directory]]\npath = \"/usr\"\n").exited(1);
    let out = outcome.out();
    for words in ["the directory /data", "to write in /usr/share", "the variable \"LANG\""] {
        assert!(out.contains(words), "no {words:?} in:\n{out}");
    }
    let granted = "[tenants.default.grants.environment]\nLANG = \"C\"\n[[tenants.default.grants.directory]]\n\
                   path = \"/usr\"\nwrite = true\n[[tenants.default.grants.directory]]\npath = \"/srv\"\nas = \"/data\"\n";
    check(&builder, granted).exited(0);
}

#[test]
fn an_audit_file_that_could_not_be_opened_is_named() {
    let builder = HostBuilder::new();
    let file = builder.files().join("audit.jsonl");
    check(&builder, &format!("[audit]\nfile = {file:?}\n")).exited(0);
    assert!(!file.exists(), "a check leaves nothing behind");
    let missing = builder.files().join("missing/audit.jsonl");
    let out = check(&builder, &format!("[audit]\nfile = {missing:?}\n")).exited(1).out();
    assert!(out.contains("audit file\n  refused    ") && out.contains("missing/audit.jsonl cannot be opened"), "{out}");
}

#[test]
fn a_broken_configuration_is_located() {
    let builder = HostBuilder::new();
    check(&builder, "[tenants.default.limitz]\n").exited(1).says(&["check.toml:3", "limitz", "limits"]);
}

#[test]
fn a_listeners_certificate_that_cannot_be_used_is_named() {
    let builder = HostBuilder::new();
    let authority = Authority::new();
    let own = authority.issue("localhost");
    let listener = |key: &Path| {
        format!(
            "[[listener]]\naddress = \"127.0.0.1:7001\"\ntenant = \"default\"\n[listener.tls]\ncertificate = {}\nkey = {}\n",
            quoted(&own.certificate),
            quoted(key)
        )
    };
    let out = check(&builder, &listener(&own.key)).exited(0).out();
    assert!(!out.contains("refused"), "{out}");
    let out = check(&builder, &listener(&own.key.with_file_name("missing.key"))).exited(1).out();
    assert!(out.contains("listener 127.0.0.1:7001\n  refused    ") && out.contains("missing.key"), "{out}");
}
