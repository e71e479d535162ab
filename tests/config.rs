//! The configuration: what is refused and how it is told, and which of flag, environment and file wins.

use std::fs;

use crate::support::{Client, Host, HostBuilder, pipe_into, wasmline};

/// Asserts that the configuration is refused with all of the texts in the message. `@` stands for the file's name.
#[track_caller]
fn is_refused(toml: &str, texts: &[&str]) {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("typo.toml");
    fs::write(&config, toml).expect("the configuration can be written");
    fs::create_dir(dir.path().join("commands")).expect("a directory");
    let mut command = wasmline();
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&config).current_dir(dir.path());
    let texts: Vec<String> = texts.iter().map(|text| text.replace('@', "typo.toml")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    pipe_into(&mut command, "").exited(1).prints("").says(&texts);
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest_one() {
    is_refused("[server]\nmax-conections = 2\n", &["@:2", "max-conections", "max-connections"]);
    is_refused("[sever]\nmax-connections = 2\n", &["@:1", "sever", "server"]);
    is_refused("\n\n[[listener]]\nadress = \"127.0.0.1:0\"\n", &["@:4", "adress", "address"]);
    is_refused("[tenants.default]\ncommand = []\n", &["@:2", "command", "commands"]);
    is_refused("[tenants.default.limits]\nmemry = \"1MiB\"\n", &["@:2", "memry", "memory"]);
    is_refused("[tenants.default.grants.digets]\nread = []\n", &["@:1", "digets", "digest"]);
    is_refused("[tenants.default.grants.digest]\nraed = []\n", &["@:2", "raed", "read"]);
    is_refused(
        "[[tenants.default.grants.process]]\nprogram = \"/bin/true\"\nargs = []\nenvironment = []\n",
        &["@:4", "environment"],
    );
    is_refused(
        "[[tenants.default.grants.process]]\nprogram = \"/bin/true\"\nargs = [{ one_of = [\"a\"] }]\n",
        &["@:3", "one_of", "one-of"],
    );
}

#[test]
fn a_bad_unit_is_refused() {
    is_refused("[tenants.default.limits]\nmemory = \"64 parsecs\"\n", &["@:2", "memory", "64 parsecs"]);
    is_refused("[tenants.default.limits]\ntimeout = \"soon\"\n", &["@:2", "timeout", "soon"]);
    is_refused("[server]\nmax-line = \"-1KiB\"\n", &["@:2", "max-line"]);
    is_refused("[server]\ndrain-timeout = \"10 MiB\"\n", &["@:2", "drain-timeout"]);
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    is_refused("[server]\nmax-connections = \"two\"\n", &["@:2", "max-connections"]);
    is_refused("[server]\nmax-connections = -1\n", &["@:2", "max-connections"]);
    is_refused("[tenants.default]\ncommands = \"commands\"\n", &["@:2", "commands"]);
}

#[test]
fn what_is_no_toml_is_refused_with_its_line() {
    is_refused("[server]\nmax-connections = \n", &["@:2"]);
    is_refused("[server\n", &["@:1"]);
}

#[test]
fn a_listener_for_an_unknown_tenant_is_refused() {
    is_refused("[[listener]]\naddress = \"127.0.0.1:0\"\ntenant = \"defualt\"\n[tenants.default]\n", &["defualt", "@"]);
}

#[test]
fn an_address_that_is_none_is_refused() {
    is_refused("[[listener]]\naddress = \"localhost\"\ntenant = \"default\"\n", &["@:2", "address", "localhost"]);
}

#[test]
fn grants_that_cannot_be_meant_are_refused() {
    let program = |program: &str, args: &str| {
        format!("[[tenants.default.grants.process]]\nprogram = {program:?}\nargs = {args}\n")
    };
    is_refused(&program("tail", "[]"), &["@", "tail", "absolute"]);
    is_refused(&program("/usr/bin/tail", "[{ int = [5, 1] }]"), &["@", "5 to 1"]);
    is_refused(&program("/usr/bin/tail", "[{ int = [1] }]"), &["@", "int"]);
    is_refused(&program("/usr/bin/tail", "[{}]"), &["@"]);
}

#[test]
fn a_missing_configuration_is_named() {
    let mut command = wasmline();
    command.args(["serve", "--listen", "127.0.0.1:0", "--config", "/nowhere/wasmline.toml"]);
    pipe_into(&mut command, "").exited(1).says(&["/nowhere/wasmline.toml"]);
}

/// How many clients at once the host serves, which shows the `max-connections` in force.
fn capacity(host: &Host) -> usize {
    let mut served = Vec::new();
    loop {
        let mut client = host.connect();
        if !client.is_served() {
            return served.len();
        }
        served.push(client);
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = || HostBuilder::new().server("max-connections = 3");
    assert_eq!(capacity(&file().start()), 3);
    assert_eq!(capacity(&file().env("WASMLINE_MAX_CONNECTIONS", "2").start()), 2);
    let all = file().env("WASMLINE_MAX_CONNECTIONS", "2").arg("--max-connections").arg("1");
    assert_eq!(capacity(&all.start()), 1);
}

#[test]
fn listen_addresses_follow_the_same_order() {
    let ips = |host: &Host| host.addresses().iter().map(|address| address.ip().to_string()).collect::<Vec<_>>();
    assert_eq!(ips(&HostBuilder::new().start()), ["127.0.0.1"]);
    let by_env = || HostBuilder::new().env("WASMLINE_LISTEN", "127.0.0.2:0,127.0.0.3:0").listening(2);
    assert_eq!(ips(&by_env().start()), ["127.0.0.2", "127.0.0.3"]);
    let by_flag = by_env().arg("--listen").arg("127.0.0.4:0").arg("--listen").arg("127.0.0.5:0");
    let host = by_flag.start();
    assert_eq!(ips(&host), ["127.0.0.4", "127.0.0.5"]);
    Client::connect(host.addresses()[1]).reply("echo served").is(["served"]);
}

#[test]
fn the_commands_directory_follows_the_same_order() {
    let elsewhere = tempfile::tempdir().expect("a directory");
    let echo = HostBuilder::new().commands().join("echo.wasm");
    let empty = || HostBuilder::new().without_commands();
    fs::copy(HostBuilder::new().commands().join("echo.wasm"), elsewhere.path().join("repeat.wasm"))
        .unwrap_or_else(|error| panic!("{}: {error}", echo.display()));
    let place = elsewhere.path().to_str().expect("UTF-8");

    let answers = |host: Host| -> Vec<u8> {
        let mut client = host.connect();
        client.send("repeat word\n");
        client.finish_sending();
        client.rest()
    };
    assert_eq!(answers(empty().start()), b"Command not found.\n");
    assert_eq!(answers(empty().env("WASMLINE_COMMANDS", place).start()), b"word\n");
    let by_flag = empty().env("WASMLINE_COMMANDS", "/nowhere").arg("--commands").arg(place);
    assert_eq!(answers(by_flag.start()), b"word\n");
}

#[test]
fn the_configuration_is_found_in_the_current_directory() {
    let host = HostBuilder::new().server("max-connections = 1").without_config_flag().start();
    assert_eq!(capacity(&host), 1);
}

#[test]
fn the_environment_names_the_configuration() {
    let elsewhere = HostBuilder::new().server("max-connections = 1");
    let path = elsewhere.file("elsewhere.toml", elsewhere.config()).display().to_string();
    let commands = elsewhere.commands().display().to_string();
    let host = HostBuilder::new().without_config_flag().env("WASMLINE_CONFIG", &path).arg("--commands").arg(&commands);
    assert_eq!(capacity(&host.start()), 1);
}

#[test]
fn without_a_configuration_nothing_is_granted() {
    let builder =
        HostBuilder::new().fixture("spawn").fixture("hash").without_config().arg("--listen").arg("127.0.0.1:0");
    let commands = builder.commands().display().to_string();
    let host = builder.arg("--commands").arg(&commands).start();
    let mut client = host.connect();
    client.reply("hash sha1 /etc/hostname").is(["denied"]);
    client.reply("spawn /bin/true").begins("denied: ");
    client.reply("echo works").is(["works"]);
}

#[test]
fn a_relative_commands_directory_is_relative_to_the_configuration() {
    let builder = HostBuilder::new().in_directory("/");
    builder.start().connect().reply("echo found").is(["found"]);
}

#[test]
fn each_listener_has_its_tenant() {
    let builder = HostBuilder::new().fixture("whoami").listener("default").listener("red").listener("blue");
    let builder = builder.more("[tenants.red]\ncommands = [\"commands\"]\n[tenants.blue]\ncommands = [\"commands\"]");
    let host = builder.start();
    for (address, tenant) in host.addresses().iter().zip(["default", "red", "blue"]) {
        let lines = Client::connect(*address).reply("whoami").lines;
        assert_eq!(lines[0], format!("tenant {tenant}"));
    }
}

#[test]
fn grants_of_one_tenant_are_not_anothers() {
    let builder = HostBuilder::new().fixture("hash").listener("default").listener("other");
    let file = builder.file("file", "abc");
    let files = builder.files();
    let host = builder.may_hash(files).more("[tenants.other]\ncommands = [\"commands\"]").start();
    let request = format!("hash sha1 {}", file.display());
    Client::connect(host.addresses()[0]).reply(&request).is(["a9993e364706816aba3e25717850c26c9cd0d89d"]);
    Client::connect(host.addresses()[1]).reply(&request).is(["denied"]);
}
