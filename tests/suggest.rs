//! From a run in audit mode to the grants that it needed: what `wasmline suggest` prints is what a host then runs with.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::{Host, HostBuilder, eventually, pipe_into, quoted, wasmline};

fn audited(builder: HostBuilder) -> (HostBuilder, PathBuf) {
    let directory = builder.files().with_file_name("audit");
    fs::create_dir(&directory).expect("a directory");
    let file = directory.join("audit.jsonl");
    let builder = builder.more(&format!("[audit]\nfile = {}\n", quoted(&file)));
    (builder, file)
}

#[track_caller]
fn suggested(audit: &Path) -> String {
    let mut command = wasmline();
    command.arg("suggest").args(["--tenant", "default"]).arg(audit);
    pipe_into(&mut command, "").exited(0).out()
}

/// Runs the lines and waits until the last of them is in the audit file. Returns their replies.
#[track_caller]
fn run(host: &Host, audit: &Path, lines: &[String]) -> Vec<Vec<String>> {
    let mut client = host.connect();
    let replies = lines.iter().map(|line| client.reply(line).lines).collect();
    client.reply("echo last-of-all");
    eventually("the last line is recorded", || {
        fs::read_to_string(audit).is_ok_and(|text| text.contains("last-of-all"))
    });
    replies
}

/// The fixture asks in its sidecar for all that its lines need, and the tenant grants nothing.
#[test]
fn what_an_audited_run_was_denied_is_what_the_next_one_needs() {
    let prepare = |mode: &str| {
        let builder = HostBuilder::new().fixture("spawn").fixture("hash").fixture("wasi-files").tenant(mode);
        let data = "/usr/share/doc";
        let asks = format!("[grants]\nenvironment = [\"LANG\"]\n[[grants.directory]]\npath = \"{data}\"\n");
        builder.sidecar("wasi-files", &asks)
    };
    let lines: Vec<String> = [
        "spawn /bin/echo a 5",
        "spawn /bin/echo b 70",
        "hash sha1 /etc/hostname",
        "hash sha1 /etc/hosts",
        "wasi-files directories",
        "wasi-files variables",
    ]
    .map(str::to_owned)
    .into();

    let (builder, audit) = audited(prepare("mode = \"audit\""));
    let host = builder.start();
    let replies = run(&host, &audit, &lines);
    // The mode itself allows nothing.
    assert!(replies[..4].iter().all(|reply| reply[0].starts_with("denied")), "{replies:?}");
    assert_eq!(&replies[4..], [[""], [""]]);
    let text = suggested(&audit);
    for expected in [
        "[[tenants.default.grants.process]]   # was denied\nprogram = \"/bin/echo\"\n\
         args = [{ one-of = [\"a\", \"b\"] }, { int = [5, 70] }]\n",
        "[tenants.default.grants.digest]\nread = [\n  \"/etc\",   # was denied\n]\n",
        "[[tenants.default.grants.directory]]   # was denied\npath = \"/usr/share/doc\"\n",
        "\"LANG\" = \"\"   # was denied\n",
    ] {
        assert!(text.contains(expected), "no {expected:?} in:\n{text}");
    }
    drop(host);

    let (builder, audit) = audited(prepare("mode = \"enforce\"").more(&text));
    let host = builder.start();
    let replies = run(&host, &audit, &lines);
    assert_eq!(replies[0], ["a 5", "status: exited 0"]);
    assert_eq!(replies[1], ["b 70", "status: exited 0"]);
    assert!(replies[2..4].iter().all(|reply| reply[0].len() == 40), "{replies:?}");
    assert_eq!((&*replies[4][0], &*replies[5][0]), ("/usr/share/doc", "LANG="));
    // What is used is suggested again, and no longer marked, but for what nothing was done with.
    let again = suggested(&audit);
    assert!(again.contains("{ one-of = [\"a\", \"b\"] }") && !again.contains("was denied"), "{again}");
}

/// The sidecar asks to write all there is, and its line only looks.
#[test]
fn what_was_only_read_is_not_to_be_written() {
    let builder = HostBuilder::new().fixture("wasi-files").tenant("mode = \"audit\"");
    let builder = builder.sidecar("wasi-files", "[[grants.directory]]\npath = \"/\"\nwrite = true\n");
    let (builder, audit) = audited(builder);
    let data = builder.files();
    let grants = [&data, Path::new("/usr/share")]
        .map(|path| format!("[[tenants.default.grants.directory]]\npath = {}\n", quoted(path)));
    let host = builder.more(&grants.concat()).start();
    run(&host, &audit, &[format!("wasi-files list {}", data.display())]);
    let text = suggested(&audit);
    let read = format!("[[tenants.default.grants.directory]]\npath = \"{}\"\n#", data.display());
    assert!(text.contains(&read) && !text.contains("\nwrite = true") && !text.contains("was denied"), "{text}");
    assert!(text.contains("# A sidecar asks for more: path = \"/usr/share\", write = true\n"), "{text}");
}

/// Were a directory taken for a file that was used, its parent would be what is suggested.
#[test]
fn a_directory_that_was_hashed_in_vain_widens_nothing() {
    let (builder, audit) = audited(HostBuilder::new().fixture("hash").may_hash("/usr/share/doc"));
    let host = builder.start();
    let replies = run(&host, &audit, &["hash sha1 /usr/share/doc".to_owned()]);
    assert_eq!(replies, [["not a file"]]);
    let text = suggested(&audit);
    assert!(!text.contains("/usr/share"), "{text}");
}

/// A denied link must not come back as a literal word, which is followed wherever it leads.
#[test]
fn a_link_that_was_denied_stays_denied() {
    let files = |builder: &HostBuilder| {
        let log = builder.files().join("log");
        fs::create_dir(&log).expect("a directory");
        builder.file("secret", "a secret\n");
        builder.file("log/good", "good\n");
        symlink("../secret", log.join("evil")).expect("a link");
        log
    };
    let builder = HostBuilder::new().fixture("spawn");
    let log = files(&builder);
    let lines = |names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("spawn /bin/cat {}", log.join(name).display())).collect()
    };
    let (builder, audit) = audited(builder.may_run("/bin/cat", &format!("[{{ path-under = [{}] }}]", quoted(&log))));
    let host = builder.start();
    let replies = run(&host, &audit, &lines(&["evil", "none"]));
    assert!(replies[0][0].starts_with("denied") && replies[1][0].starts_with("not found"), "{replies:?}");
    let text = suggested(&audit);
    assert!(!text.contains("[tenants"), "{text}");

    let mut replies = run(&host, &audit, &lines(&["good", "evil"]));
    assert_eq!(replies.remove(0)[0], "good");
    eventually("all of it is recorded", || {
        fs::read_to_string(&audit).is_ok_and(|text| text.matches("last-of-all").count() == 2)
    });
    let text = suggested(&audit);
    assert!(text.contains("path-under") && !text.contains("/log/"), "{text}");

    // The links stay where they are, and another host takes the grant.
    let host = HostBuilder::new().fixture("spawn").more(&text).start();
    let mut client = host.connect();
    client.reply(&lines(&["good"])[0]).is(["good", "status: exited 0"]);
    let denied = client.reply(&lines(&["evil"])[0]);
    assert!(denied.lines[0].starts_with("denied"), "{denied:?}");
}

#[test]
fn a_sidecars_own_wants_are_apart() {
    let builder = HostBuilder::new().fixture("hash").sidecar("hash", "[grants]\n").may_hash("/etc");
    let (builder, audit) = audited(builder);
    let host = builder.start();
    run(&host, &audit, &["hash sha1 /etc/hostname".to_owned()]);
    let text = suggested(&audit);
    assert!(
        text.contains("# The sidecar of `hash` does not ask for this, and would need:\n#   [grants.digest]\n"),
        "{text}"
    );
    assert!(!text.contains("\n[tenants"), "{text}");
}

#[test]
fn what_is_no_record_is_passed_over() {
    let builder = HostBuilder::new();
    let whole = "{\"event\":\"invocation\",\"tenant\":\"default\"}\n";
    // A host that goes on with a file ends what another has left in it, which may be half a character.
    let torn = [whole.as_bytes(), b"{\"event\":\"\xc3\n", whole.as_bytes(), b"{\"event\":\"invo"].concat();
    let file = builder.file("audit.jsonl", torn);
    let mut command = wasmline();
    let outcome = pipe_into(command.arg("suggest").arg(&file), "").exited(0);
    assert!(outcome.out().contains("# 2 recorded lines of the tenant `default` needed nothing.\n"), "{outcome}");
    outcome.says(&["audit.jsonl:2: passed over", "audit.jsonl:4: passed over"]);
    let mut command = wasmline();
    pipe_into(command.arg("suggest").args(["--tenant", "other"]).arg(&file), "").exited(1).says(&["tenant `other`"]);
    let mut command = wasmline();
    pipe_into(command.arg("suggest").arg(file.with_file_name("none")), "").exited(1).says(&["none: cannot be read"]);
}
