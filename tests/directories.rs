//! Directories and variables for programs of WASI: nothing unless granted, and nothing beyond that.

mod confinement;
mod reach;
mod sidecars;
mod variables;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::support::{Client, Host, HostBuilder, eventually, machine, quoted};

/// A host whose tenant grants the program the directory `data`, and what else `more` says of it.
fn granting(more: &str) -> (HostBuilder, PathBuf) {
    let builder = HostBuilder::new().fixture("wasi-files");
    let data = builder.files().join("data");
    fs::create_dir_all(data.join("sub")).expect("directories");
    fs::write(data.join("note"), "in data").expect("a file");
    fs::write(data.join("sub/note"), "in sub").expect("a file");
    let grant = format!("[[tenants.default.grants.directory]]\npath = {}\n{more}", quoted(&data));
    (builder.more(&grant), data)
}

struct Program {
    client: Client,
}

impl Program {
    fn of(host: &Host) -> Program {
        Program { client: host.connect() }
    }

    #[track_caller]
    fn does(&mut self, act: &str, path: impl AsRef<Path>) -> String {
        self.line(&format!("{act} {}", path.as_ref().display()))
    }

    #[track_caller]
    fn line(&mut self, act: &str) -> String {
        self.client.reply(format!("wasi-files {act}")).lines.join("\n")
    }
}

/// Asserts that each was refused, and that the directory is as it was.
#[track_caller]
fn refuses_changes(host: &Host, name: &Path, data: &Path) {
    let before = snapshot(data);
    let mut program = Program::of(host);
    let (note, sub, new) = (name.join("note"), name.join("sub"), name.join("new"));
    let acts = [
        format!("write {} x", note.display()),
        format!("write {} x", new.display()),
        format!("append {} x", note.display()),
        format!("create {}", new.display()),
        format!("truncate {}", note.display()),
        format!("rename {} {}", note.display(), new.display()),
        format!("remove {}", note.display()),
        format!("mkdir {}", new.display()),
        format!("rmdir {}", sub.display()),
        format!("link {} {}", note.display(), new.display()),
        "symlink note new".to_owned(),
        "touch note".to_owned(),
        "open-to-write note".to_owned(),
        "set-size note".to_owned(),
        "rewrite note".to_owned(),
        "retime note".to_owned(),
        "stream-to note".to_owned(),
        "append-to note".to_owned(),
    ];
    for act in acts {
        let answer = program.line(&act);
        assert!(answer.starts_with("refused: "), "{act}: {answer}");
        assert_eq!(snapshot(data), before, "{act} changed something");
    }
}

/// Every name beneath a directory, with its contents and the time of its last change.
fn snapshot(directory: &Path) -> Vec<(PathBuf, Vec<u8>, i64)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("an entry").path();
        let status = fs::symlink_metadata(&path).expect("it is there");
        if status.is_dir() {
            all.extend(snapshot(&path));
        }
        all.push((path.clone(), fs::read(&path).unwrap_or_default(), status.mtime()));
    }
    all.sort();
    all
}

#[test]
fn nothing_is_there_without_a_grant() {
    let host = HostBuilder::new().fixture("wasi-files").start();
    let mut program = Program::of(&host);
    assert_eq!(program.line("directories"), "");
    assert_eq!(program.line("variables"), "");
    for act in ["list /", "read /etc/passwd", "write /tmp/x y", "mkdir x", "list ."] {
        assert!(program.line(act).starts_with("refused: "), "{act}");
    }
}

#[test]
fn a_granted_directory_is_read_and_not_written() {
    let (builder, data) = granting("");
    let host = builder.start();
    let mut program = Program::of(&host);
    assert_eq!(program.line("directories"), data.display().to_string());
    assert_eq!(program.does("list", &data), "note\nsub");
    assert_eq!(program.does("read", data.join("note")), "in data");
    assert_eq!(program.does("read", data.join("sub/note")), "in sub");
    assert_eq!(program.does("size", data.join("note")), "7");
    assert_eq!(program.line("open sub/note"), "done");
    refuses_changes(&host, &data, &data);
    host.wait_for_log(&["denied", "the tenant would need: [[tenants.default.grants.directory]]", "write = true"]);
}

#[test]
fn a_directory_granted_for_writing_is_written() {
    let (builder, data) = granting("write = true");
    let host = builder.start();
    let mut program = Program::of(&host);
    let path = |name: &str| data.join(name).display().to_string();
    for act in [
        format!("write {} hello", path("new")),
        format!("append {} -world", path("new")),
        format!("create {}", path("empty")),
        format!("truncate {}", path("note")),
        format!("mkdir {}", path("more")),
        format!("rename {} {}", path("new"), path("more/moved")),
        format!("link {} {}", path("more/moved"), path("linked")),
        format!("remove {}", path("empty")),
        "symlink note pointer".to_owned(),
        "touch note".to_owned(),
        format!("remove {}", path("sub/note")),
        format!("rmdir {}", path("sub")),
    ] {
        assert_eq!(program.line(&act), "done", "{act}");
    }
    let names: Vec<PathBuf> = snapshot(&data).into_iter().map(|(name, _, _)| name).collect();
    let expected = ["linked", "more", "more/moved", "note", "pointer"].map(|name| data.join(name));
    assert_eq!(names, expected);
    assert_eq!(fs::read_to_string(data.join("linked")).expect("a file"), "hello-world");
    assert_eq!(fs::metadata(data.join("note")).expect("a file").mtime(), 1_000_000);
    assert_eq!(fs::metadata(data.join("note")).expect("a file").len(), 0);
}

#[test]
fn every_function_of_a_descriptor_does_what_it_says() {
    let (builder, data) = granting("write = true");
    let host = builder.start();
    let mut program = Program::of(&host);
    assert_eq!(
        program.line("about note"),
        "DescriptorType::RegularFile of 7 bytes, DescriptorFlags { bits: 1 }\nDescriptorType::Directory \
         DescriptorFlags { bits: 33 }\nsame: true true true, of another: false"
    );
    // Ten bytes from the fifth on, of which three are left.
    assert_eq!(program.line("descriptor new"), "10 [0, 48, 49, 50] false [] true 1");
    assert_eq!(fs::read(data.join("new")).expect("a file"), b"\0\0\0\0\x00012");
    // Without the `a`, which is skipped, and with `bc` at the end, where it was copied to.
    let read = r"65536 0 0 \x00\x00\x00\x00deendbc invalid";
    assert_eq!(program.line("streams stream"), read);
    assert_eq!(fs::read(data.join("stream")).expect("a file"), b"\0\0abc\0\0deendbc");
    assert_eq!(program.line("unflushed late written"), "done");
    assert_eq!(fs::read_to_string(data.join("late")).expect("a file"), "written");
    for refused in ["about none", "descriptor sub", "rewrite note", "stream-to sub"] {
        assert!(program.line(refused).starts_with("refused: "), "{refused}");
    }
}

#[test]
fn what_is_written_without_asking_ends_the_program() {
    let (builder, data) = granting("write = true");
    let host = builder.start();
    let mut client = host.connect();
    client.reply("wasi-files unasked once 65536 1").is(["Ok(())"]);
    assert_eq!(fs::metadata(data.join("once")).expect("a file").len(), 65_536);
    // More than is ever permitted, and more while the first is still being written.
    client.reply("wasi-files unasked long 65537 1").fails_with("trap");
    client.reply("wasi-files unasked twice 65536 2").fails_with("trap");
    assert_eq!(fs::metadata(data.join("long")).expect("a file").len(), 0);
}

#[test]
fn a_directory_may_have_another_name() {
    let (builder, data) = granting("as = \"/data\"");
    let host = builder.start();
    let mut program = Program::of(&host);
    assert_eq!(program.line("directories"), "/data");
    assert_eq!(program.line("read /data/note"), "in data");
    assert!(program.does("read", data.join("note")).starts_with("refused: "));
}

#[test]
fn relative_paths_work_where_the_root_is_granted() {
    let (builder, _) = granting("as = \"/\"");
    let host = builder.start();
    assert_eq!(Program::of(&host).line("read sub/note"), "in sub");
}

#[test]
fn a_directory_that_is_not_there_is_missing_until_it_comes() {
    let builder = HostBuilder::new().fixture("wasi-files");
    let data = builder.files().join("later");
    let grant = format!("[[tenants.default.grants.directory]]\npath = {}", quoted(&data));
    let host = builder.more(&grant).start();
    let mut program = Program::of(&host);
    assert_eq!(program.line("directories"), "");
    host.wait_for_log(&["a granted directory is missing", "no such directory"]);
    fs::create_dir(&data).expect("a directory");
    assert_eq!(program.line("directories"), data.display().to_string());
}

#[test]
fn a_large_directory_is_listed_whole() {
    let (builder, data) = granting("");
    let many = data.join("many");
    fs::create_dir(&many).expect("a directory");
    for number in 0..1000 {
        fs::write(many.join(format!("{number:0200}")), "").expect("a file");
    }
    let host = builder.start();
    assert_eq!(Program::of(&host).does("count", &many), "1000");
}

#[test]
fn a_long_file_is_read_to_where_the_program_wants() {
    let (builder, data) = granting("");
    machine::sparse_file(data.join("endless"), 1 << 40);
    let host = builder.start();
    let mut program = Program::of(&host);
    assert_eq!(program.does("head", data.join("endless")), "16 bytes");
    // Reading it whole ends at a limit of the tenant's.
    let reply = host.connect().reply(format!("wasi-files read {}", data.join("endless").display()));
    assert!(
        reply.lines.last().is_some_and(|line| line.starts_with("refused: ") || line.starts_with("error: ")),
        "{reply:?}"
    );
    eventually("the file is closed", || machine::times_open(host.pid(), &data.join("endless")) == 0);
}

#[test]
fn a_grant_that_is_taken_back_is_gone() {
    let (builder, data) = granting("as = \"/data\"");
    let host = builder.start();
    let mut program = Program::of(&host);
    assert_eq!(program.line("read /data/note"), "in data");
    host.edit_config("as = \"/data\"", "as = \"/other\"");
    host.signal(rustix::process::Signal::HUP);
    eventually("the grant is gone", || program.line("directories") == "/other");
    assert!(program.line("read /data/note").starts_with("refused: "), "{}", data.display());
}
