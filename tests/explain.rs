//! `wasmline explain` names the rule that decides, with its file and line, and decides as the server does.

use std::path::PathBuf;

use crate::support::{HostBuilder, Outcome, pipe_into, quoted, wasmline};

struct Explained {
    builder: HostBuilder,
    config: PathBuf,
}

/// A configuration whose grants stand on lines that the tests know, and a command with these lines for a sidecar.
fn with(grants: &str, sidecar: Option<&str>) -> Explained {
    let mut builder = HostBuilder::new();
    if let Some(sidecar) = sidecar {
        builder = builder.sidecar("echo", sidecar);
    }
    let config = builder.files().join("explained.toml");
    let text = format!("[tenants.web]\ncommands = [{}]\n{grants}", quoted(&builder.commands()));
    std::fs::write(&config, text).expect("a configuration can be written");
    Explained { builder, config }
}

impl Explained {
    #[track_caller]
    fn of(&self, words: &str) -> Outcome {
        let mut command = wasmline();
        command.arg("explain").arg("--config").arg(&self.config).args(["--tenant", "web", "echo"]);
        pipe_into(command.args(words.split(' ')), "")
    }

    #[track_caller]
    fn says(&self, words: &str, status: i32, lines: &[&str]) {
        let outcome = self.of(words).exited(status);
        let config = self.config.display().to_string();
        let sidecar = self.builder.commands().join("echo.toml").display().to_string();
        let printed = outcome.out().replace(&config, "CONFIG").replace(&sidecar, "SIDECAR");
        assert_eq!(printed.lines().collect::<Vec<_>>(), lines, "{words}");
    }
}

const GRANTS: &str = "\
[[tenants.web.grants.process]]
program = \"/bin/date\"
[[tenants.web.grants.process]]
program = \"/usr/bin/tail\"
args = [\"-n\", { int = [1, 100] }, { path-under = [\"/var/log\"] }]
[tenants.web.grants.digest]
read = [
  \"/etc\",
  \"/srv\",
]
[[tenants.web.grants.directory]]
path = \"/srv/web\"
as = \"/data\"
[tenants.web.grants.environment]
LANG = \"C\"
[tenants.web.grants.tasks]
list = true
";

#[test]
fn what_is_allowed_is_allowed_by_a_line() {
    let explained = with(GRANTS, None);
    let asks = "  command `echo`: asks for whatever the tenant allows";
    for (words, place) in [
        ("process /bin/date", "CONFIG:3, tenants.web.grants.process[0]"),
        ("process /usr/bin/tail -n 5 /var/log/x", "CONFIG:5, tenants.web.grants.process[1]"),
        ("digest /srv/x/y", "CONFIG:11, tenants.web.grants.digest.read[1]"),
        ("directory /data/x", "CONFIG:13, tenants.web.grants.directory[0]"),
        ("variable LANG", "CONFIG:17, tenants.web.grants.environment.LANG"),
        ("tasks list", "CONFIG:19, tenants.web.grants.tasks.list"),
    ] {
        explained.says(words, 0, &["allowed", &format!("  tenant `web`: allows it by {place}"), asks]);
    }
}

#[test]
fn what_is_denied_is_denied_with_the_lines_that_would_allow_it() {
    let explained = with(GRANTS, None);
    let asks = "  command `echo`: asks for whatever the tenant allows";
    explained.says(
        "process /usr/bin/tail -n 500 /var/log/x",
        1,
        &[
            "denied",
            "  tenant `web`: argument 2 of \"/usr/bin/tail\" is not a whole number from 1 to 100; the closest rule is \
             CONFIG:5, tenants.web.grants.process[1]",
            "    this would allow it in CONFIG, together with what stands at CONFIG:3:",
            "      [[tenants.web.grants.process]]",
            "      program = \"/usr/bin/tail\"",
            "      args = [\"-n\", \"500\", \"/var/log/x\"]",
            asks,
        ],
    );
    explained.says(
        "digest /root/x",
        1,
        &[
            "denied",
            "  tenant `web`: \"/root/x\" is beneath no directory granted for it",
            "    this would allow it in CONFIG, together with what stands at CONFIG:8:",
            "      [tenants.web.grants.digest]",
            "      read = [\"/root\"]",
            asks,
        ],
    );
    explained.says(
        "directory /data/x write",
        1,
        &[
            "denied",
            "  tenant `web`: \"/data/x\" may only be read; the closest rule is CONFIG:13, \
             tenants.web.grants.directory[0]",
            "    this would allow it in CONFIG, in place of CONFIG:13, tenants.web.grants.directory[0]:",
            "      [[tenants.web.grants.directory]]",
            "      path = \"/srv/web\"",
            "      as = \"/data\"",
            "      write = true",
            asks,
        ],
    );
    explained.says(
        "tasks stop",
        1,
        &[
            "denied",
            "  tenant `web`: running commands may not be stopped here",
            "    this would allow it in CONFIG, together with what stands at CONFIG:18:",
            "      [tenants.web.grants.tasks]",
            "      stop = true",
            asks,
        ],
    );
    explained.of("variable HOME").exited(1);
}

#[test]
fn both_keys_are_explained() {
    let sidecar = "[grants]\nenvironment = [\"LANG\"]\n[[grants.process]]\nprogram = \"/bin/date\"\nargs = [\"-u\"]\n";
    let explained = with(GRANTS, Some(sidecar));
    explained.says(
        "variable LANG",
        0,
        &[
            "allowed",
            "  tenant `web`: allows it by CONFIG:17, tenants.web.grants.environment.LANG",
            "  command `echo`: allows it by SIDECAR:2, grants.environment[0]",
        ],
    );
    explained.says(
        "process /bin/date",
        1,
        &[
            "denied",
            "  tenant `web`: allows it by CONFIG:3, tenants.web.grants.process[0]",
            "  command `echo`: \"/bin/date\" takes more than 0 arguments here; the closest rule is SIDECAR:3, \
             grants.process[0]",
            "    this would allow it in SIDECAR, together with what stands at SIDECAR:3:",
            "      [[grants.process]]",
            "      program = \"/bin/date\"",
            "      args = []",
        ],
    );
}

#[test]
fn a_table_that_is_there_is_not_proposed_anew() {
    let explained = with("grants.environment.HOME = \"/\"\n", Some("[grants]\ndigest.read = [\"/etc\"]\n"));
    explained.says(
        "variable HOME",
        1,
        &[
            "denied",
            "  tenant `web`: allows it by CONFIG:3, tenants.web.grants.environment.HOME",
            "  command `echo`: the variable \"HOME\" is not asked for by this command",
            "    this would allow it in SIDECAR, together with what stands at SIDECAR:1:",
            "      [grants]",
            "      environment = [\"HOME\"]",
        ],
    );
}

#[test]
fn what_cannot_be_said_is_neither() {
    let explained = with("", None);
    for (words, text) in [
        ("process", "process PROGRAM"),
        ("digest /a /b", "digest FILE"),
        ("directory /a wrte", "directory PATH [write]"),
        ("tasks see", "tasks list|stop"),
        ("files /a", "invalid value 'files'"),
    ] {
        explained.of(words).exited(2).says(&[text]);
    }
    let mut command = wasmline();
    command.arg("explain").arg("--config").arg(&explained.config).args(["none", "digest", "/a"]);
    pipe_into(&mut command, "").exited(2).says(&["the tenant `web` has no command `none`"]);
    let mut command = wasmline();
    command.arg("explain").arg("--config").arg(&explained.config).args(["--tenant", "wed", "echo", "digest", "/a"]);
    pipe_into(&mut command, "").exited(2).says(&["there is no tenant `wed`", "web"]);
}
