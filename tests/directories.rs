//! Directories and variables for programs of WASI: nothing unless granted, and nothing beyond that.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
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
    host.wait_for_log(&["denied", "the tenant would need: [[grants.directory]]", "write = true"]);
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
fn a_sidecar_narrows_to_a_part() {
    let (builder, data) = granting("as = \"/data\"\nwrite = true");
    let sidecar = "[[grants.directory]]\npath = \"/data/sub\"\nwrite = true\n";
    let host = builder.sidecar("wasi-files", sidecar).start();
    let mut program = Program::of(&host);
    assert_eq!(program.line("directories"), "/data/sub");
    assert_eq!(program.line("read /data/sub/note"), "in sub");
    assert_eq!(program.line("write /data/sub/new x"), "done");
    assert!(program.line("read /data/note").starts_with("refused: "));
    assert!(program.line("open ../note").starts_with("refused: "));
    assert!(data.join("sub/new").exists());
}

#[test]
fn a_sidecar_that_only_reads_does_not_write() {
    let (builder, data) = granting("write = true");
    let sidecar = format!("[[grants.directory]]\npath = {}\n", quoted(&data));
    let host = builder.sidecar("wasi-files", &sidecar).start();
    assert_eq!(Program::of(&host).does("read", data.join("note")), "in data");
    refuses_changes(&host, &data, &data);
    host.wait_for_log(&["denied", "the command's sidecar would need: [[grants.directory]]", "write = true"]);
}

#[test]
fn a_sidecar_that_asks_for_more_gets_what_the_tenant_allows() {
    let (builder, data) = granting("");
    let host = builder.sidecar("wasi-files", "[[grants.directory]]\npath = \"/\"\nwrite = true\n").start();
    assert_eq!(Program::of(&host).line("directories"), data.display().to_string());
    refuses_changes(&host, &data, &data);
}

#[test]
fn a_sidecar_that_asks_for_nothing_gets_nothing() {
    for sidecar in ["[grants]\n", "[[grants.directory]]\npath = \"/elsewhere\"\n"] {
        let (builder, data) = granting("write = true");
        let host = builder.sidecar("wasi-files", sidecar).start();
        let mut program = Program::of(&host);
        assert_eq!(program.line("directories"), "");
        assert!(program.does("read", data.join("note")).starts_with("refused: "));
    }
}

#[test]
fn nothing_leads_out_of_a_directory() {
    let (builder, data) = granting("write = true");
    builder.file("secret", "out of reach");
    symlink("../secret", data.join("up")).expect("a link");
    symlink("/etc", data.join("absolute")).expect("a link");
    symlink("/proc/self/root/etc", data.join("magic")).expect("a link");
    symlink("sub/note", data.join("inside")).expect("a link");
    let host = builder.start();
    let mut program = Program::of(&host);
    let escapes = [
        "../secret",
        "up",
        "absolute/hostname",
        "magic/hostname",
        "/etc/hostname",
        "sub/../../secret",
        "sub/../up",
        "..",
    ];
    for act in ["open", "open-to-write", "touch"] {
        for path in escapes {
            let answer = program.line(&format!("{act} {path}"));
            assert!(answer.starts_with("refused: "), "{act} {path}: {answer}");
        }
    }
    for path in escapes {
        let path = data.join(path);
        for act in ["read", "list", "remove", "rmdir", "mkdir", "truncate", "size"] {
            // A link itself may be removed; what it leads to may not.
            if act == "remove" && fs::symlink_metadata(&path).is_ok_and(|status| status.is_symlink()) {
                continue;
            }
            let answer = program.does(act, &path);
            assert!(answer.starts_with("refused: "), "{act} {}: {answer}", path.display());
        }
    }
    let outside = data.join("../moved").display().to_string();
    assert!(program.line(&format!("rename {} {outside}", data.join("note").display())).starts_with("refused: "));
    assert!(program.line(&format!("link {} {outside}", data.join("note").display())).starts_with("refused: "));
    assert!(program.line("symlink /etc/hostname absolute-link").starts_with("refused: "));
    assert_eq!(fs::read_to_string(data.join("../secret")).expect("it is there"), "out of reach");
    // A link that stays inside is followed, for programs rely on them.
    assert_eq!(program.does("read", data.join("inside")), "in sub");
}

/// The author of a sidecar must not choose where the way into the tenant's directory leads.
#[test]
fn a_sidecars_part_is_found_without_following_links() {
    let (builder, data) = granting("as = \"/data\"");
    symlink("/etc", data.join("etc")).expect("a link");
    let host = builder.sidecar("wasi-files", "[[grants.directory]]\npath = \"/data/etc\"\n").start();
    assert_eq!(Program::of(&host).line("directories"), "");
    host.wait_for_log(&["a granted directory is missing", "symbolic link"]);
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

/// A FIFO that nobody writes, a device, a socket: each is refused at once, and holds no thread.
#[test]
fn what_is_no_file_is_refused_at_once() {
    let (builder, data) = granting("write = true");
    machine::fifo(&data.join("fifo"));
    let _socket = UnixListener::bind(data.join("socket")).expect("a socket");
    let dev = "[[tenants.default.grants.directory]]\npath = \"/dev\"\nwrite = true";
    let host = builder.more(dev).start();
    let mut program = Program::of(&host);
    for path in [data.join("fifo"), data.join("socket"), "/dev/zero".into(), "/dev/null".into(), "/dev/tty".into()] {
        for act in ["read", "head", "truncate"] {
            let answer = program.does(act, &path);
            assert!(answer.starts_with("refused: "), "{act} {}: {answer}", path.display());
        }
        let answer = program.line(&format!("write {} x", path.display()));
        assert!(answer.starts_with("refused: "), "write {}: {answer}", path.display());
    }
    // Setting its times does not open it.
    assert_eq!(program.line("touch fifo"), "done");
    assert_eq!(program.line("touch socket"), "done");
}

#[test]
fn a_large_directory_is_listed_in_constant_memory() {
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
fn variables_are_the_tenants() {
    let builder = HostBuilder::new().fixture("wasi-files").env("SECRET_OF_THE_HOST", "hidden");
    let grant = "[tenants.default.grants.environment]\nLANG = \"C.UTF-8\"\nGREETING = \"two words\"\n";
    let host = builder.more(grant).start();
    assert_eq!(Program::of(&host).line("variables"), "GREETING=two words\nLANG=C.UTF-8");
}

#[test]
fn a_sidecar_asks_for_variables_by_name() {
    let grant = "[tenants.default.grants.environment]\nLANG = \"C.UTF-8\"\nGREETING = \"two words\"\n";
    for (sidecar, found) in
        [("[grants]\nenvironment = [\"LANG\", \"SECRET_OF_THE_HOST\", \"HOME\"]\n", "LANG=C.UTF-8"), ("[grants]\n", "")]
    {
        let builder = HostBuilder::new().fixture("wasi-files").env("SECRET_OF_THE_HOST", "hidden").more(grant);
        let host = builder.sidecar("wasi-files", sidecar).start();
        assert_eq!(Program::of(&host).line("variables"), found);
    }
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

#[test]
fn clocks_and_randomness_work() {
    let host = HostBuilder::new().fixture("wasi-files").start();
    let mut program = Program::of(&host);
    let seconds: u64 = program.line("clock").parse().expect("a number");
    assert!(seconds > 1_700_000_000, "{seconds}");
    let (one, two) = (program.line("random"), program.line("random"));
    assert!(one.len() >= 32 && one != two, "{one} {two}");
}

#[test]
fn what_a_program_prints_arrives_before_it_is_answered() {
    let host = HostBuilder::new().fixture("wasi-files").sidecar("wasi-files", "stdin = \"connection\"\n").start();
    let mut client = host.connect();
    client.send("wasi-files ask\n");
    client.expect("name? ");
    client.send("Ada\n");
    client.expect("hello Ada\n");
    client.reply("echo on").is(["on"]);
}

#[test]
fn mistakes_in_grants_are_located() {
    for (grant, words) in [
        ("[[tenants.default.grants.directory]]\npath = \"data\"", "not an absolute path"),
        ("[[tenants.default.grants.directory]]\npath = \"/d\"\nmode = \"rw\"", "unknown key `mode`"),
        ("[tenants.default.grants]\nenvironment = [\"LANG\"]", "expected a table"),
    ] {
        let (_dir, mut command) = HostBuilder::new().more(grant).into_command();
        crate::support::pipe_into(&mut command, "").exited(1).says(&["wasmline.toml:", words]);
    }
    let host = HostBuilder::new()
        .fixture("wasi-files")
        .sidecar("wasi-files", "[[grants.directory]]\npath = \"/d\"\nas = \"/e\"\n")
        .start();
    host.wait_for_log(&["refused", "wasi-files.toml:3", "unknown key `as` in [grants.directory]"]);
}

/// What a command may write must not be what the host trusts.
#[test]
fn what_the_host_reads_cannot_be_granted_for_writing() {
    let builder = HostBuilder::new().listener("default").listener("other");
    let own = builder.commands();
    let dir = own.parent().expect("the host's directory").to_owned();
    let others = dir.join("others");
    fs::create_dir(&others).expect("a directory");
    let other = format!("[tenants.other]\ncommands = [{}]\n", quoted(&others));
    let grant = |path: &Path| format!("[[tenants.default.grants.directory]]\npath = {}\nwrite = true\n", quoted(path));
    let link = dir.join("link");
    symlink(&others, &link).expect("a link");
    for (path, words) in [
        (dir.as_path(), "wasmline.toml`, which says what is granted"),
        (Path::new("/"), "from which the host loads compiled code"),
        (&others, "where the commands of the tenant `other` are"),
        (&others.join("deeper"), "where the commands of the tenant `other` are"),
        (&link, "where the commands of the tenant `other` are"),
    ] {
        let text = builder.config() + &other + &grant(path);
        let config = dir.join("wasmline.toml");
        fs::write(&config, text).expect("the configuration can be written");
        let mut command = crate::support::wasmline();
        command.arg("check").arg("--config").arg(&config).arg("--cache").arg(env!("CARGO_TARGET_TMPDIR"));
        crate::support::pipe_into(&mut command, "").exited(1).says(&["may be written, and", words]);
    }
}

#[test]
fn what_says_who_is_who_is_out_of_reach() {
    let builder = HostBuilder::new();
    let base = builder.files();
    let base = base.parent().expect("the host's directory").to_owned();
    fs::create_dir_all(base.join("tls")).expect("a directory");
    fs::create_dir_all(base.join("tenants.d")).expect("a directory");
    let listener = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntenant = \"default\"\n[listener.tls]\ncertificate = {0}\nkey = {1}\n",
        quoted(&base.join("tls/server.pem")),
        quoted(&base.join("tls/server.key"))
    );
    let tenant = format!("[tenants.default]\ncommands = [{}]\n", quoted(&base.join("commands")));
    let grant = |path: &Path, write: bool| {
        format!("[[tenants.default.grants.directory]]\npath = {}\nwrite = {write}\n", quoted(path))
    };
    let config = base.join("config/wasmline.toml");
    fs::create_dir_all(config.parent().expect("a directory")).expect("a directory");
    for (text, words) in [
        (listener.clone() + &tenant + &grant(&base.join("tls"), false), "listener.tls.key: "),
        (listener + &tenant + &grant(&base.join("tls/server.pem"), true), "which says who is who"),
        (
            format!("include = [{}]\n", quoted(&base.join("tenants.d")))
                + &tenant
                + &grant(&base.join("tenants.d"), true),
            "which says what is granted",
        ),
    ] {
        fs::write(&config, text).expect("the configuration can be written");
        let mut command = crate::support::wasmline();
        command.arg("check").arg("--config").arg(&config).arg("--cache").arg(env!("CARGO_TARGET_TMPDIR"));
        crate::support::pipe_into(&mut command, "").exited(1).says(&[words]);
    }
}
