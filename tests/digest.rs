//! The capability `digest`: the sums of regular files below the granted directories, and of nothing else.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::support::{Host, HostBuilder, eventually, machine, pipe_into, program};

fn builder() -> HostBuilder {
    let builder = HostBuilder::new().fixture("hash");
    let files = builder.files();
    builder.may_hash(files)
}

#[track_caller]
fn answers(host: &Host, path: impl AsRef<Path>, expected: &str) {
    let path = path.as_ref().display();
    let reply = host.connect().reply(format!("hash sha1 '{path}'"));
    let case = reply.lines.first().map(|line| line.split(':').next().unwrap_or(line));
    assert_eq!(case, Some(expected), "for {path}: {reply:?}");
}

#[track_caller]
fn sum(tool: &str, file: &Path) -> String {
    let printed = pipe_into(program(tool).arg(file), "").exited(0).out();
    printed.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn every_algorithm_agrees_with_the_known_sums() {
    let builder = builder();
    let contents: Vec<u8> = (0..1_000_003_u32).map(|number| (number * 31) as u8).collect();
    // So long that it is read ahead, and no part of it is like another.
    let words = (0..5_000_000_u32).flat_map(|number| number.wrapping_mul(0x9e37_79b1).to_le_bytes());
    let longest: Vec<u8> = words.chain(*b"end").collect();
    let files = [builder.file("abc", "abc"), builder.file("long", contents), builder.file("longest", longest)];
    let host = builder.start();
    let mut client = host.connect();
    for file in &files {
        for algorithm in ["sha1", "sha256", "sha512"] {
            let expected = sum(&format!("{algorithm}sum"), file);
            client.reply(format!("hash {algorithm} {}", file.display())).is([expected.as_str()]);
        }
    }
    // From the test vectors that BLAKE3 was published with.
    let expected = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
    client.reply(format!("hash blake3 {}", files[0].display())).is([expected]);
}

#[test]
fn files_below_the_grant_are_hashed_however_deep() {
    let builder = builder();
    std::fs::create_dir_all(builder.files().join("a/b/c")).expect("directories");
    let deep = builder.file("a/b/c/file", "abc");
    let host = builder.start();
    answers(&host, deep, "a9993e364706816aba3e25717850c26c9cd0d89d");
}

#[test]
fn nothing_is_hashed_without_a_grant() {
    let builder = HostBuilder::new().fixture("hash");
    let file = builder.file("file", "abc");
    let host = builder.start();
    answers(&host, file, "denied");
}

#[test]
fn nothing_is_hashed_that_the_sidecar_does_not_ask_for() {
    let builder = builder().sidecar("hash", "[grants.digest]\nread = [\"/nowhere\"]\n");
    let file = builder.file("file", "abc");
    let host = builder.start();
    answers(&host, file, "denied");
}

#[test]
fn a_sidecar_that_asks_for_more_gets_what_the_tenant_allows() {
    let builder = builder().sidecar("hash", "[grants.digest]\nread = [\"/\"]\n");
    let file = builder.file("file", "abc");
    let host = builder.start();
    answers(&host, file, "a9993e364706816aba3e25717850c26c9cd0d89d");
    answers(&host, "/etc/hostname", "denied");
}

#[test]
fn files_outside_the_grant_are_denied() {
    let builder = builder();
    let files = builder.files();
    std::fs::create_dir(files.with_file_name("files-beside")).expect("a directory");
    std::fs::write(files.with_file_name("files-beside").join("file"), "x").expect("a file");
    let host = builder.start();
    answers(&host, "/etc/hostname", "denied");
    answers(&host, "/dev/zero", "denied");
    answers(&host, "/proc/self/environ", "denied");
    // The grant is for a directory, and not for every name that begins as it does.
    answers(&host, files.with_file_name("files-beside").join("file"), "denied");
    answers(&host, files.join("../wasmline.toml"), "denied");
}

#[test]
fn symbolic_links_lead_nowhere() {
    let builder = builder();
    let files = builder.files();
    symlink("/etc/hostname", files.join("to-file")).expect("a link");
    symlink("/etc", files.join("to-directory")).expect("a link");
    symlink("/proc/self/root", files.join("to-root")).expect("a link");
    let host = builder.start();
    answers(&host, files.join("to-file"), "denied");
    answers(&host, files.join("to-directory/hostname"), "denied");
    answers(&host, files.join("to-root/etc/hostname"), "denied");
}

#[test]
fn a_missing_file_is_not_found() {
    let host = builder().start();
    answers(&host, host.files().join("missing"), "not found");
    answers(&host, host.files().join("missing/file"), "not found");
}

#[test]
fn only_absolute_paths_without_nul_are_paths() {
    let host = builder().start();
    answers(&host, "file", "bad path");
    answers(&host, "", "bad path");
    answers(&host, host.files().join("a\0b"), "bad path");
}

#[test]
fn only_regular_files_are_hashed() {
    let builder = builder().may_hash("/dev");
    let files = builder.files();
    machine::fifo(&files.join("fifo"));
    let _socket = UnixListener::bind(files.join("socket")).expect("a socket");
    std::fs::create_dir(files.join("directory")).expect("a directory");
    let host = builder.start();
    answers(&host, files.join("directory"), "not a file");
    answers(&host, &files, "not a file");
    answers(&host, files.join("fifo"), "not a file");
    answers(&host, files.join("socket"), "not a file");
    answers(&host, "/dev/zero", "not a file");
}

#[test]
fn a_file_beyond_the_bound_is_too_large() {
    let builder = builder().limit("digest-size = \"1KiB\"");
    let fits = builder.file("fits", [b'x'; 1024]);
    let larger = builder.file("larger", [b'x'; 1025]);
    let host = builder.start();
    answers(&host, &fits, &sum("sha1sum", &fits));
    host.connect().reply(format!("hash sha1 {}", larger.display())).is(["too large: 1024"]);
}

#[test]
fn odd_file_names_are_only_names() {
    let builder = builder();
    let names = ["--help", "-", ";id", "a b", "ä", "$(id)"];
    for name in names {
        builder.file(name, "abc");
    }
    let host = builder.start();
    for name in names {
        answers(&host, host.files().join(name), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }
}

#[test]
fn a_job_beyond_the_bound_waits_for_its_turn() {
    let builder = builder().server("hash-jobs = 1").limit("timeout = \"10m\"").limit("digest-size = \"2TiB\"");
    let endless = machine::sparse_file(builder.files().join("endless"), 1 << 40);
    let small = builder.file("small", "abc");
    let host = builder.start();
    let mut first = host.connect();
    first.send(format!("hash sha1 {}\n", endless.display()));
    eventually("the only job is taken", || machine::times_open(host.pid(), &endless) == 1);

    let mut second = host.connect();
    second.send(format!("hash sha1 {}\n", small.display()));
    host.wait_for_log(&["line received", &second.address().to_string()]);
    host.connect().reply("echo prompt").is(["prompt"]);
    assert!(second.is_silent(), "a second job ran beside the only one allowed");

    first.vanish();
    second.expect("a9993e364706816aba3e25717850c26c9cd0d89d\n");
}
