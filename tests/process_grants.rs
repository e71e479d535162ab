//! Which programs a command may run: the argument vector against a grant, slot by slot. Each case has its denial twin.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Host, HostBuilder, quoted};

/// A host that may run `/bin/echo` with arguments of the shape, a TOML array.
fn echo_with(shape: &str) -> Host {
    HostBuilder::new().fixture("spawn").may_run("/bin/echo", shape).start()
}

#[track_caller]
fn allows(host: &Host, args: &str, printed: &str) {
    host.connect().reply(format!("spawn /bin/echo {args}")).is([printed, "status: exited 0"]);
}

/// Asserts that the guest was answered with `denied`, and a text.
#[track_caller]
fn denies(host: &Host, args: &str) {
    let reply = host.connect().reply(format!("spawn /bin/echo {args}"));
    assert!(!reply.begins("denied: ").is_empty(), "the denial has no text: {reply:?}");
}

#[test]
fn a_literal_is_itself() {
    let host = echo_with("[\"say\", \"two words\"]");
    allows(&host, "say 'two words'", "say two words");
    denies(&host, "say two\\ word");
    denies(&host, "Say 'two words'");
    denies(&host, "'two words' say");
}

#[test]
fn a_literal_may_begin_with_a_hyphen() {
    let host = echo_with("[\"-e\", \"x\"]");
    allows(&host, "-e x", "x");
    denies(&host, "-E x");
}

#[test]
fn an_int_lies_in_its_range() {
    let host = echo_with("[{ int = [1, 1000] }]");
    allows(&host, "1", "1");
    allows(&host, "1000", "1000");
    for args in ["0", "1001", "-1", "1.0", "x", "''", "' 1'", "1x", "+1", "99999999999999999999999999"] {
        denies(&host, args);
    }
}

#[test]
fn one_of_is_one_of() {
    let host = echo_with("[{ one-of = [\"red\", \"green\"] }]");
    allows(&host, "green", "green");
    for args in ["blue", "''", "Red", "redgreen"] {
        denies(&host, args);
    }
}

#[test]
fn any_is_any_but_a_flag() {
    let host = echo_with("[{ any = true }]");
    allows(&host, "'whatever ; $HOME'", "whatever ; $HOME");
    allows(&host, "a-b", "a-b");
    for args in ["-n", "--help", "-"] {
        denies(&host, args);
    }
}

#[test]
fn a_path_lies_under_its_directory() {
    let builder = HostBuilder::new().fixture("spawn");
    let files = builder.files();
    let inside = builder.file("inside", "x");
    fs::create_dir(files.join("deeper")).expect("a directory");
    let deeper = builder.file("deeper/file", "x");
    symlink("/etc/hostname", files.join("link-out")).expect("a link");
    symlink("/etc", files.join("dir-out")).expect("a link");
    let beside = files.with_file_name("files-beside");
    fs::write(&beside, "x").expect("a file");
    let shape = format!("[{{ path-under = [{}] }}]", quoted(&files));
    let host = builder.may_run("/bin/echo", &shape).start();

    for path in [inside, deeper] {
        allows(&host, &path.display().to_string(), &path.display().to_string());
    }
    let outside = [
        "/etc/hostname".to_owned(),
        "inside".to_owned(),
        files.join("../wasmline.toml").display().to_string(),
        files.join("link-out").display().to_string(),
        files.join("dir-out/hostname").display().to_string(),
        beside.display().to_string(),
        "-x".to_owned(),
        "''".to_owned(),
    ];
    for path in outside {
        denies(&host, &path);
    }
}

#[test]
fn a_missing_file_under_the_directory_is_not_found() {
    let builder = HostBuilder::new().fixture("spawn");
    let files = builder.files();
    let host = builder.may_run("/bin/echo", &format!("[{{ path-under = [{}] }}]", quoted(&files))).start();
    let reply = host.connect().reply(format!("spawn /bin/echo {}", files.join("missing").display()));
    reply.begins("not found: ");
}

#[test]
fn the_number_of_arguments_is_exact() {
    let host = echo_with("[\"a\", { any = true }]");
    allows(&host, "a b", "a b");
    for args in ["", "a", "a b c"] {
        denies(&host, args);
    }
    let host = echo_with("[]");
    allows(&host, "", "");
    denies(&host, "''");
}

#[test]
fn any_of_several_grants_will_do() {
    let builder =
        HostBuilder::new().fixture("spawn").may_run("/bin/echo", "[\"a\"]").may_run("/bin/echo", "[\"b\", \"c\"]");
    let host = builder.start();
    allows(&host, "a", "a");
    allows(&host, "b c", "b c");
    denies(&host, "b");
    denies(&host, "a c");
}

#[test]
fn a_program_without_a_grant_is_denied() {
    let host = echo_with("[]");
    let mut client = host.connect();
    for program in ["/usr/bin/id", "echo", "/bin/../bin/echo", "/bin/echo/", "//bin/echo", "/bin", "''"] {
        client.reply(format!("spawn {program}")).begins("denied: ");
    }
}

#[test]
fn nothing_runs_without_any_grant() {
    let host = HostBuilder::new().fixture("spawn").start();
    host.connect().reply("spawn /bin/echo").begins("denied: ");
}

#[test]
fn nothing_runs_that_the_sidecar_does_not_ask_for() {
    let sidecar = "[[grants.process]]\nprogram = \"/bin/echo\"\nargs = [\"a\"]\n";
    let builder = HostBuilder::new().fixture("spawn").sidecar("spawn", sidecar);
    let host = builder.may_run("/bin/echo", "[{ any = true }]").may_run("/usr/bin/id", "[]").start();
    allows(&host, "a", "a");
    denies(&host, "b");
    host.connect().reply("spawn /usr/bin/id").begins("denied: ");
}

#[test]
fn a_sidecar_cannot_grant_what_the_tenant_does_not() {
    let sidecar = "[[grants.process]]\nprogram = \"/bin/echo\"\nargs = [{ any = true }]\n";
    let host = HostBuilder::new().fixture("spawn").sidecar("spawn", sidecar).may_run("/bin/echo", "[\"a\"]").start();
    allows(&host, "a", "a");
    denies(&host, "b");
}

#[test]
fn a_grants_table_without_process_asks_for_no_program() {
    let sidecar = "[grants.digest]\nread = [\"/\"]\n";
    let host = HostBuilder::new().fixture("spawn").sidecar("spawn", sidecar).may_run("/bin/echo", "[]").start();
    denies(&host, "");
}
