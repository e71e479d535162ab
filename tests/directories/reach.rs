//! Grants that are refused at the start: those with mistakes, and those of what the host itself relies on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{HostBuilder, pipe_into, quoted, wasmline};

#[test]
fn mistakes_in_grants_are_located() {
    for (grant, words) in [
        ("[[tenants.default.grants.directory]]\npath = \"data\"", "not an absolute path"),
        ("[[tenants.default.grants.directory]]\npath = \"/d\"\nmode = \"rw\"", "unknown key `mode`"),
        ("[tenants.default.grants]\nenvironment = [\"LANG\"]", "expected a table"),
    ] {
        let (_dir, mut command) = HostBuilder::new().more(grant).into_command();
        pipe_into(&mut command, "").exited(1).says(&["wasmline.toml:", words]);
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
        let mut command = wasmline();
        command.arg("check").arg("--config").arg(&config).arg("--cache").arg(env!("CARGO_TARGET_TMPDIR"));
        pipe_into(&mut command, "").exited(1).says(&["may be written, and", words]);
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
        let mut command = wasmline();
        command.arg("check").arg("--config").arg(&config).arg("--cache").arg(env!("CARGO_TARGET_TMPDIR"));
        pipe_into(&mut command, "").exited(1).says(&[words]);
    }
}

/// What lies in a directory that may be written can be replaced by a link, which the host would follow: a grant's own
/// directory is the operator's word.
#[test]
fn no_grant_begins_where_commands_may_write() {
    // So few lines that the descriptors for their files are there on any machine.
    let builder = HostBuilder::new().limit("concurrency = 4");
    let dir = builder.files();
    let (shared, link) = (dir.join("shared"), dir.join("shared/link"));
    fs::create_dir_all(shared.join("pub")).expect("a directory");
    fs::create_dir(dir.join("apart")).expect("a directory");
    symlink(dir.join("apart"), &link).expect("a link");
    let other = format!("[tenants.other]\ncommands = [{}]\nlimits.concurrency = 4\n", quoted(&builder.commands()));
    let base = builder.config() + &other;
    let listeners = "[[listener]]\naddress = \"127.0.0.1:0\"\ntenant = \"default\"\n";
    let written = format!("[[tenants.default.grants.directory]]\npath = {}\nwrite = true\n", quoted(&shared));
    let check = |more: String| {
        let config = dir.with_file_name("wasmline.toml");
        fs::write(&config, format!("{base}{listeners}{written}{more}")).expect("the configuration can be written");
        let mut command = wasmline();
        command.arg("check").arg("--config").arg(&config).arg("--cache").arg(HostBuilder::shared_cache());
        pipe_into(&mut command, "")
    };
    let digest = |tenant: &str, path: &Path| format!("[tenants.{tenant}.grants.digest]\nread = [{}]\n", quoted(path));
    let spawn =
        |slot: String| format!("[[tenants.other.grants.process]]\nprogram = \"/bin/cat\"\nargs = [\"-n\", {slot}]\n");
    let directory = |path: &Path, write: bool| {
        format!("[[tenants.other.grants.directory]]\npath = {}\nwrite = {write}\n", quoted(path))
    };
    let within = shared.join("pub");
    for (more, key) in [
        (digest("default", &within), "tenants.default.grants.digest"),
        (digest("other", &within), "tenants.other.grants.digest"),
        (digest("other", &link), "tenants.other.grants.digest"),
        (spawn(format!("{{ path-under = [{}] }}", quoted(&within))), "tenants.other.grants.process"),
        (spawn(format!("{{ repeat = {}, most = 2 }}", quoted(&within))), "tenants.other.grants.process"),
        (spawn(format!("{{ one-of = [\"a\", {}] }}", quoted(&within.join("file")))), "tenants.other.grants.process"),
        (directory(&within, false), "tenants.other.grants.directory"),
        (directory(&within, true), "tenants.other.grants.directory"),
        (
            format!("[[listener]]\nunix = {}\ntenant = \"other\"\n", quoted(&within.join("socket"))),
            "where clients look",
        ),
    ] {
        check(more).exited(1).says(&["may be written, and", key]);
    }
    // The directory itself cannot be replaced by who may write in it, nor what it lies in.
    for path in [shared.as_path(), &dir, &dir.join("apart")] {
        check(digest("other", path)).exited(0);
    }
    check(directory(&shared, true)).exited(0);
}
