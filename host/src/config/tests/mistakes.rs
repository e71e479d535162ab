//! What is said about a file that cannot be used.

use super::{TWO, check_refused, listener, load};

#[test]
fn mistakes_are_located() {
    for (text, expected) in [
        (
            "\n\n[server]\nmax-line = '1KiB'\n\n\nmax-conections = 3",
            "wasmline.toml:7:1: unknown key `max-conections` in [server]; did you mean `max-connections`?",
        ),
        ("[servers]", "wasmline.toml:1:2: unknown key `servers` at the top of the file; did you mean `server`?"),
        (
            "[tenants.x.limits]\nmemory = '64MiBs'",
            "wasmline.toml:2:10: tenants.x.limits.memory: \"64MiBs\" is no size; \
             write a number of bytes, or a size such as \"64MiB\", \"512KiB\" or \"1GB\"",
        ),
        (
            "[tenants.x.limits]\nconcurrency = 0",
            "wasmline.toml:2:15: tenants.x.limits.concurrency: 0 is out of range; \
             write a whole number from 1 to 1000000",
        ),
        (
            "[server]\nidle-timeout = 30",
            "wasmline.toml:2:16: server.idle-timeout: 30 is no duration; \
             write one with its unit, such as \"30s\", \"500ms\" or \"1m 30s\"",
        ),
        (
            "[[listener]]\naddress = 'localhost:9999'\ntenant = 'default'",
            "wasmline.toml:2:11: listener.address: \"localhost:9999\" is no address; \
             write an IP address and a port, \"127.0.0.1:9999\" or \"[::1]:9999\"",
        ),
        ("[[listener]]\naddress = '127.0.0.1:1'", "wasmline.toml:1:1: listener: the key `tenant` is missing"),
        (
            "[tenants.Acme]\ncommands = ['c']",
            "wasmline.toml:1:10: tenants: `Acme` is no name; \
             a name is made of a to z, 0 to 9, `_` and `-`, and begins with a letter or digit",
        ),
        ("[tenants.x\n", "wasmline.toml:1:11: unclosed table, expected `]`"),
        (
            "[tenants.x]\ncommands = 'c'",
            "wasmline.toml:2:12: tenants.x.commands: invalid type: string \"c\", expected an array",
        ),
        (
            "[tenants.x.settings.lastlog]\nlines = 10",
            "wasmline.toml:2:9: tenants.x.settings.lastlog.lines: a setting is text; put it in quotes: \"10\"",
        ),
        (
            "[[tenants.x.grants.process]]\nprogram = 'tail'",
            "wasmline.toml:2:11: tenants.x.grants.process.program: \
             `tail` is not an absolute path; write it from `/` on",
        ),
        (
            "[tenants.x]\nlimits = 5",
            "wasmline.toml:2:10: tenants.x.limits: invalid type: integer `5`, expected a table",
        ),
        (
            "[tenants.x]\nraw_output = true",
            "wasmline.toml:2:1: unknown key `raw_output` in [tenants.x]; did you mean `raw-output`?",
        ),
    ] {
        check_refused(text, expected);
    }
}

#[test]
fn a_tenant_needs_commands() {
    let expected = |line: usize| {
        format!(
            "wasmline.toml:{line}:1: tenants.x: it has no commands; name their directories, commands = [\"commands\"]"
        )
    };
    check_refused("\n[tenants.x]\nraw-output = true", &expected(2));
    check_refused("[tenants.x]\ncommands = []", &expected(1));
}

#[test]
fn a_listeners_tenant_must_exist() {
    check_refused(
        &format!("{TWO}[[listener]]\naddress = '127.0.0.1:1'\ntenant = 'c'"),
        "wasmline.toml:7:10: listener.tenant: there is no tenant `c`; did you mean `a`?",
    );
    check_refused(
        &format!("{TWO}[[listener]]\naddress = '127.0.0.1:1'\ntenant = 'default'"),
        "wasmline.toml:7:10: listener.tenant: there is no tenant `default`; known are `a`, `b`",
    );
}

#[test]
fn two_listeners_need_two_addresses() {
    let twice = |address: &str| {
        format!(
            "{TWO}[[listener]]\naddress = '{address}'\ntenant = 'a'\n[[listener]]\ntenant = 'b'\naddress = '{address}'"
        )
    };
    check_refused(
        &twice("127.0.0.1:7000"),
        "wasmline.toml:10:11: listener.address: 127.0.0.1:7000 is taken by the listener on line 6",
    );
    assert_eq!(load(&twice("127.0.0.1:0")).unwrap().listeners.len(), 2);
}

#[test]
fn without_listeners_it_must_be_clear_whom_to_serve() {
    assert_eq!(load("[tenants.x]\ncommands = ['c']").unwrap().listeners, [listener("127.0.0.1:9999", "x")]);
    check_refused(
        TWO,
        "a file without a [[listener]] is about the only tenant, or the one called `default`; \
         the tenants here are `a`, `b`",
    );
}
