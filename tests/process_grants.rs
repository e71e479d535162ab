//! Which programs a command may run: the argument vector against a grant, slot by slot. Each case has its denial twin.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Host, HostBuilder, eventually, machine, pipe_into, quoted};

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
    let inside = builder.file("inside", "one\n");
    fs::create_dir(files.join("deeper")).expect("a directory");
    let deeper = builder.file("deeper/file", "two\n");
    symlink("/etc/hostname", files.join("link-out")).expect("a link");
    symlink("/etc", files.join("dir-out")).expect("a link");
    symlink("inside", files.join("link-in")).expect("a link");
    let beside = files.with_file_name("files-beside");
    fs::write(&beside, "x").expect("a file");
    let shape = format!("[{{ path-under = [{}] }}]", quoted(&files));
    let host = builder.may_run("/bin/cat", &shape).start();
    let mut client = host.connect();

    for (path, contents) in [(inside, "one"), (deeper, "two")] {
        client.reply(format!("spawn /bin/cat {}", path.display())).is([contents, "status: exited 0"]);
    }
    let outside = [
        "/etc/hostname".to_owned(),
        "inside".to_owned(),
        files.join("../wasmline.toml").display().to_string(),
        files.join("link-out").display().to_string(),
        files.join("link-in").display().to_string(),
        files.join("dir-out/hostname").display().to_string(),
        beside.display().to_string(),
        "-x".to_owned(),
        "''".to_owned(),
    ];
    for path in outside {
        let reply = client.reply(format!("spawn /bin/cat {path}"));
        assert!(!reply.begins("denied: ").is_empty(), "{path}: {reply:?}");
    }
    host.wait_for_log(&["denied", "link-out", "leads over a symbolic link", "grant that directory"]);
}

#[test]
fn a_missing_file_under_the_directory_is_not_found() {
    let builder = HostBuilder::new().fixture("spawn");
    let files = builder.files();
    let host = builder.may_run("/bin/echo", &format!("[{{ path-under = [{}] }}]", quoted(&files))).start();
    let reply = host.connect().reply(format!("spawn /bin/echo {}", files.join("missing").display()));
    reply.begins("not found: ");
}

/// A host that runs a shell which prints `ready`, waits until there is a file `go`, and then opens the path it was given.
/// The test changes the path meanwhile, as somebody with less rights than the host would.
fn late_reader(pass: &str) -> (Host, String) {
    let builder = HostBuilder::new().fixture("spawn");
    let files = builder.files();
    let go = files.with_file_name("go");
    let script = format!("echo ready; until [ -e {} ]; do sleep 0.01; done; cat \"$1\"", go.display());
    fs::create_dir(files.join("logs")).expect("a directory");
    builder.file("logs/log", "harmless\n");
    let secrets = files.with_file_name("secrets");
    fs::create_dir(&secrets).expect("a directory");
    fs::write(secrets.join("log"), "secret\n").expect("a file");
    let shape = format!("[\"-c\", {:?}, \"sh\", {{ path-under = [{}]{pass} }}]", script, quoted(&files));
    let host = builder.may_run("/bin/sh", &shape).start();
    let request = format!("spawn /bin/sh -c '{script}' sh {}\n", files.join("logs/log").display());
    (host, request)
}

#[track_caller]
fn swap_directory_under(host: &Host, request: &str) -> String {
    let mut client = host.connect();
    client.send(request);
    client.expect("ready\n");
    let files = host.files();
    fs::rename(files.join("logs"), files.join("moved")).expect("it can be moved");
    symlink("../secrets", files.join("logs")).expect("a link");
    fs::write(files.with_file_name("go"), "").expect("a file");
    let printed = client.line();
    client.expect("status: exited 0\n");
    printed
}

#[test]
fn a_program_reads_what_was_found_whatever_the_path_leads_to_by_then() {
    let (host, request) = late_reader("");
    assert_eq!(swap_directory_under(&host, &request), "harmless");
    // Nothing is kept open for a child that has ended.
    eventually("the file is closed", || machine::times_open(host.pid(), &host.files().join("moved/log")) == 0);
}

/// This is why the text is not what a program gets unless the tenant says so.
#[test]
fn a_program_that_gets_the_text_looks_it_up_again() {
    let (host, request) = late_reader(", pass = \"text\"");
    assert_eq!(swap_directory_under(&host, &request), "secret");
}

#[test]
fn a_program_gets_the_text_where_the_tenant_says_so() {
    let builder = HostBuilder::new().fixture("spawn");
    let file = builder.file("file", "x");
    let shape = |pass: &str| format!("[{{ path-under = [{}]{pass} }}]", quoted(&builder.files()));
    let (text, silent) = (shape(", pass = \"text\""), shape(""));
    let host = builder.may_run("/bin/echo", &text).start();
    allows(&host, &file.display().to_string(), &file.display().to_string());

    let builder = HostBuilder::new().fixture("spawn");
    let host = builder.may_run("/bin/echo", &silent).start();
    let file = file.display().to_string();
    // The first host's directory is still there, so its file is found.
    let reply = host.connect().reply(format!("spawn /bin/echo {file}"));
    assert!(reply.lines[0].starts_with(&format!("/proc/{}/fd/", host.pid())), "{reply:?}");
}

/// Otherwise a command could change the directory under the program's feet.
#[test]
fn text_is_refused_where_commands_may_write() {
    let grant = |root: &str, pass: &str| {
        format!(
            "[[tenants.default.grants.process]]\nprogram = \"/bin/cat\"\nargs = [{{ repeat = {{ path-under = [\"{root}\"]{pass} }}, \
             most = 3 }}]\n[[tenants.default.grants.directory]]\npath = \"/srv\"\nwrite = true\n"
        )
    };
    for (root, pass) in [("/srv/in", ", pass = \"text\""), ("/srv", ", pass = \"text\""), ("/srv/in", "")] {
        let (_dir, mut command) = HostBuilder::new().more(&grant(root, pass)).into_command();
        pipe_into(&mut command, "").exited(1).says(&[
            "tenants.default.grants.directory",
            "`/srv` may be written",
            root,
        ]);
    }
    HostBuilder::new().more(&grant("/srv", "")).start().connect().reply("echo fine").is(["fine"]);
}

#[test]
fn the_last_slot_may_repeat() {
    let builder = HostBuilder::new().fixture("spawn");
    let files = builder.files();
    let paths: Vec<String> =
        (1..=4).map(|number| builder.file(&number.to_string(), format!("{number}\n")).display().to_string()).collect();
    let shape = format!("[\"-u\", {{ repeat = {{ path-under = [{}] }}, most = 3 }}]", quoted(&files));
    let host = builder.may_run("/bin/cat", &shape).start();
    let mut client = host.connect();
    client.reply(format!("spawn /bin/cat -u {}", paths[0])).is(["1", "status: exited 0"]);
    client.reply(format!("spawn /bin/cat -u {}", paths[..3].join(" "))).is(["1", "2", "3", "status: exited 0"]);
    for args in [String::new(), paths.join(" "), format!("{} /etc/hostname", paths[0]), format!("{} -n", paths[0])] {
        let reply = client.reply(format!("spawn /bin/cat -u {args}"));
        assert!(!reply.begins("denied: ").is_empty(), "{reply:?}");
    }
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
