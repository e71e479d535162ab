//! Files that mean harm: commands that are none, and paths that lead elsewhere or to what has no end.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::harness::{SUM_OF_ABC, Siege};
use crate::support::{
    COMPILING, Client, HostBuilder, components, eventually, eventually_within, guests, machine, quoted,
};

/// A whole picture of one pixel.
const PICTURE: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\0\0\0\nIDATx\x9cc`\0\0\0\x02\0\
    \x01\x48\xaf\xa4\x71\0\0\0\0IEND\xae\x42\x60\x82";

#[test]
fn a_picture_that_is_called_a_command() {
    Siege::of(HostBuilder::new()).withstands(|siege| {
        siege.host.install("picture.wasm", PICTURE);
        siege.host.wait_for_log(&["refused", "picture.wasm", "is not WebAssembly"]);
        siege.connect().reply("picture").is(["Command not found."]);
    });
}

#[test]
fn two_hundred_megabytes_of_custom_sections() {
    let cache = tempfile::tempdir().expect("a directory");
    let builder =
        HostBuilder::new().without_cache_flag().server(&format!("cache = {}", quoted(&cache.path().join("c"))));
    Siege::of(builder).withstands(|siege| {
        let words = guests::fixture_bytes("words");
        siege.host.install("fat.wasm", &components::with_custom_section(&words, &vec![b'x'; 200_000_000]));
        // It may serve or be refused with a reason; meanwhile nobody may notice.
        let mut other = Client::connect(siege.other());
        eventually("it is taken or refused", || {
            other.reply("echo prompt").is(["prompt"]);
            let log = siege.host.log();
            log.contains("new=fat") || log.lines().any(|line| line.contains("refused") && line.contains("fat.wasm"))
        });
        fs::remove_file(siege.host.commands().join("fat.wasm")).expect("it can be removed");
        eventually("it is gone", || siege.connect().reply("fat a").lines == ["Command not found."]);
    });
}

#[test]
fn files_that_take_long_to_read() {
    Siege::of(HostBuilder::new()).withstands(|siege| {
        let commands = siege.host.commands();
        // They look like components, and all together they are more than is read at a look.
        for number in 0..3 {
            let aside = machine::sparse_file(commands.join("aside"), 250 << 20);
            fs::File::options()
                .write(true)
                .open(&aside)
                .and_then(|mut file| file.write_all(b"\0asm\x0d\0\x01\0"))
                .expect("a header");
            fs::rename(aside, commands.join(format!("a{number}.wasm"))).expect("it can be renamed");
        }
        let words = guests::fixture_bytes("words");
        siege.host.install("zz.wasm", &words);
        eventually_within(COMPILING, "the last is served", || siege.connect().reply("zz a").lines == ["[a]"]);
        for number in 0..3 {
            eventually_within(COMPILING, "it is refused", || {
                siege
                    .host
                    .log()
                    .lines()
                    .any(|line| line.contains("refused") && line.contains(&format!("a{number}.wasm")))
            });
            fs::remove_file(commands.join(format!("a{number}.wasm"))).expect("it can be removed");
        }
        fs::remove_file(commands.join("zz.wasm")).expect("it can be removed");
        eventually("it is gone", || siege.connect().reply("zz a").lines == ["Command not found."]);
    });
}

#[test]
fn a_command_of_a_terabyte() {
    Siege::of(HostBuilder::new()).withstands(|siege| {
        let pid = siege.host.pid();
        machine::reset_peak_memory(pid);
        let before = machine::memory_kib(pid, "VmRSS");
        machine::sparse_file(siege.host.commands().join("endless.wasm"), 1 << 40);
        siege.host.wait_for_log(&["refused", "endless.wasm", "is larger than 256.0 MiB"]);
        let grown = machine::memory_kib(pid, "VmHWM").saturating_sub(before);
        assert!(grown < 16 * 1024, "the host grew by {grown} KiB");
    });
}

#[test]
fn a_command_that_is_deleted_while_it_runs() {
    Siege::of(HostBuilder::new().fixture("readback")).withstands(|siege| {
        let mut client = siege.connect();
        client.send("readback\nfirst\n");
        client.expect("got: first\n");
        fs::remove_file(siege.host.commands().join("readback.wasm")).expect("it can be removed");
        siege.host.wait_for_log(&["commands loaded", "lost=readback"]);
        client.send("second\n.\n");
        client.expect("got: second\ndone\n");
        client.reply("readback").is(["Command not found."]);
    });
}

/// A host whose attacker may hash, read with `cat`, and find open as `/d`, what lies in a directory. Beside it lies a file
/// with `secret` in it, in `secrets`.
fn with_files() -> HostBuilder {
    let builder = HostBuilder::new().fixture("hash").fixture("spawn").fixture("wasi-files");
    let open = builder.files().join("open");
    let secrets = builder.files().join("secrets");
    for directory in [&open, &secrets] {
        fs::create_dir(directory).expect("a directory");
    }
    fs::write(secrets.join("file"), "secret").expect("a file");
    let grant = format!("[[tenants.default.grants.directory]]\npath = {}\nas = \"/d\"", quoted(&open));
    let shape = format!("[{{ path-under = [{}] }}]", quoted(&open));
    builder.may_hash(open).may_run("/bin/cat", &shape).more(&grant)
}

#[test]
fn paths_that_lead_elsewhere() {
    let builder = with_files();
    let open = builder.files().join("open");
    fs::write(open.join("file"), "abc").expect("a file");
    symlink("../secrets/file", open.join("link")).expect("a link");
    symlink("../secrets", open.join("directory-link")).expect("a link");
    symlink("loop", open.join("loop")).expect("a link");
    Siege::of(builder).withstands(|siege| {
        let mut client = siege.connect();
        let here = open.display();
        client.reply(format!("hash sha1 {here}/file")).is([SUM_OF_ABC]);
        client.reply(format!("spawn /bin/cat {here}/file")).is(["abcstatus: exited 0"]);
        client.reply("wasi-files read /d/file").is(["abc"]);
        let long = "x/".repeat(3000);
        let paths = [
            "/../secrets/file",
            "/./../secrets/file",
            "/link",
            "/link/",
            "/directory-link/file",
            "/loop",
            "/file/",
            "/file/.",
            "/file\0",
            "/\0",
            "\0",
            "/",
            "//",
            &format!("/{long}"),
        ];
        for path in paths {
            let hashed = client.reply(format!("hash sha1 '{here}{path}'")).lines;
            assert!(hashed.len() == 1 && hashed[0].len() < 40, "hash {path:?}: {hashed:?}");
            // Where `cat` runs at all, it is on the directory itself.
            let printed = client.reply(format!("spawn /bin/cat '{here}{path}'")).lines.join(" ");
            assert!(!printed.contains("secret") && !printed.contains("exited 0"), "cat {path:?}: {printed}");
            let read = client.reply(format!("wasi-files read '/d{path}'")).lines.join(" ");
            assert!(read.starts_with("refused: "), "read {path:?}: {read}");
        }
        for path in ["/etc/hostname", "/proc/self/environ", "/dev/zero", "", ".", "..", "file"] {
            let hashed = client.reply(format!("hash sha1 '{path}'")).lines;
            assert!(hashed == ["denied"] || hashed == ["bad path"], "hash {path:?}: {hashed:?}");
            client.reply(format!("spawn /bin/cat '{path}'")).begins("denied: ");
        }
    });
}

/// Swaps what two names stand for, again and again, until it is told to stop.
fn swap(one: &Path, two: &Path, stop: &Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let (one, two, stop) = (one.to_owned(), two.to_owned(), Arc::clone(stop));
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).expect("both are there");
        }
    })
}

#[test]
fn a_link_that_is_swapped_in_all_the_time() {
    let builder = with_files();
    let open = builder.files().join("open");
    fs::create_dir(open.join("directory")).expect("a directory");
    fs::write(open.join("directory/file"), "abc").expect("a file");
    symlink("../secrets", open.join("link")).expect("a link");
    Siege::of(builder).withstands(|siege| {
        let stop = Arc::new(AtomicBool::new(false));
        let swapping = swap(&open.join("directory"), &open.join("link"), &stop);
        let mut client = siege.connect();
        let here = open.join("directory/file");
        let requests = [
            (format!("hash sha1 {}", here.display()), SUM_OF_ABC),
            (format!("spawn /bin/cat {}", here.display()), "abcstatus: exited 0"),
            ("wasi-files read /d/directory/file".to_owned(), "abc"),
        ];
        for (request, inside) in requests {
            let (mut found, mut refused) = (0, 0);
            // Until the race has been won by either side, and then some.
            eventually("both have been met often", || {
                let lines = client.reply(&request).lines;
                let line = lines[0].as_str();
                let is_refusal = ["denied", "refused", "not found", "io: "].iter().any(|word| line.starts_with(word));
                assert!(line == inside || is_refusal, "{request}: {lines:?}");
                if line == inside {
                    found += 1
                } else {
                    refused += 1
                }
                found >= 20 && refused >= 20
            });
        }
        siege.other_is_served();
        stop.store(true, Ordering::Relaxed);
        swapping.join().expect("no panic");
    });
}

/// Names that a shell, a program or a terminal would take for something else.
const NAMES: [&str; 8] = ["--help", "-", ";id", "$(id)", "`id`", "two\nlines", "\u{1b}[2Jred", "-rf *"];

#[test]
fn file_names_that_look_like_something_else() {
    let builder = with_files();
    let open = builder.files().join("open");
    for name in NAMES {
        fs::write(open.join(name), "abc").expect("a file");
    }
    Siege::of(builder).withstands(|siege| {
        let mut client = siege.connect();
        for name in NAMES.iter().filter(|name| !name.contains('\n')) {
            let path = open.join(name);
            client.reply(format!("hash sha1 '{}'", path.display())).is([SUM_OF_ABC]);
            client.reply(format!("spawn /bin/cat '{}'", path.display())).is(["abcstatus: exited 0"]);
            client.reply(format!("spawn /bin/cat '{name}'")).begins("denied: ");
        }
        let all = client.reply("wasi-files read-all /d").lines.join("\n");
        for name in NAMES {
            let shown = name.replace('\u{1b}', "\\x1b");
            assert!(all.contains(&format!("/d/{shown}: abc")), "{name:?} is not in {all}");
        }
        // As commands they are none, and their names drive nobody's terminal.
        for name in NAMES {
            siege.host.install(&format!("{name}.wasm"), b"(module)");
        }
        siege.host.install("marker.wasm", b"(module)");
        siege.host.wait_for_log(&["refused", "marker.wasm"]);
        client.reply("'--help'").is(["Command not found."]);
        assert!(!siege.host.log().contains('\u{1b}'));
    });
}

#[test]
fn a_thousand_hashes_at_once() {
    machine::raise_own_descriptors();
    let builder = HostBuilder::new()
        .fixture("hash")
        .server("max-connections = 2048")
        .server("max-connections-per-source = 2048")
        .limit("connections = 1500")
        .limit("queue = 1000")
        .limit("digest-size = \"2TiB\"")
        .limit("cpu = \"1h\"")
        .limit("timeout = \"1h\"");
    let endless = machine::sparse_file(builder.files().join("endless"), 1 << 40);
    let files = builder.files();
    Siege::of(builder.may_hash(files)).withstands(|siege| {
        let mut clients: Vec<Client> = (0..1000).map(|_| siege.connect()).collect();
        for client in &mut clients {
            client.send(format!("hash sha1 {}\n", endless.display()));
        }
        for client in &clients {
            siege.host.wait_for_log(&["line received", &client.address().to_string()]);
        }
        eventually("a file is being hashed", || machine::times_open(siege.host.pid(), &endless) > 0);
        for _ in 0..10 {
            siege.other_hashes();
        }
        siege.other_is_served();
        assert!(clients.iter_mut().all(Client::is_silent), "one of them has ended");
        clients.into_iter().for_each(Client::vanish);
        eventually("the jobs have stopped", || machine::times_open(siege.host.pid(), &endless) == 0);
    });
}

#[test]
fn file_operations_without_end() {
    let builder = with_files().server("file-jobs = 2").limit("cpu = \"1h\"").limit("timeout = \"1h\"");
    fs::create_dir(builder.files().join("open/sub")).expect("a directory");
    // A thousand steps to where one is: hardly any of that is the program's own work.
    let request = format!("wasi-files resolve {}. 1000000000\n", "sub/../".repeat(500));
    Siege::of(builder).withstands(|siege| {
        let before = machine::threads(siege.host.pid());
        let mut clients: Vec<Client> = (0..64).map(|_| siege.connect()).collect();
        for client in &mut clients {
            client.send(&request);
        }
        for client in &clients {
            siege.host.wait_for_log(&["line received", &client.address().to_string()]);
        }
        let busy = machine::cpu_ticks(siege.host.pid()) + 50;
        eventually("they are at it", || machine::cpu_ticks(siege.host.pid()) > busy);
        for _ in 0..10 {
            siege.other_hashes();
            // Two for these files, a few for hashes and for reading the commands; not one for each line.
            let threads = machine::threads(siege.host.pid());
            assert!(threads <= before + 10, "{threads} threads, and {before} before");
        }
        siege.other_is_served();
        assert!(clients.iter_mut().all(Client::is_silent), "one of them has ended");
        clients.into_iter().for_each(Client::vanish);
    });
}

#[test]
fn a_file_that_is_deleted_and_cut_while_it_is_hashed() {
    let builder = HostBuilder::new()
        .fixture("hash")
        .limit("digest-size = \"2TiB\"")
        .limit("cpu = \"1h\"")
        .limit("timeout = \"1h\"");
    let endless = machine::sparse_file(builder.files().join("endless"), 1 << 40);
    let files = builder.files();
    Siege::of(builder.may_hash(files)).withstands(|siege| {
        let file = fs::File::options().write(true).open(&endless).expect("the file is there");
        let mut client = siege.connect();
        client.send(format!("hash sha1 {}\n", endless.display()));
        eventually("it is being hashed", || machine::times_open(siege.host.pid(), &endless) == 1);
        fs::remove_file(&endless).expect("it can be removed");
        siege.other_hashes();
        assert!(client.is_silent(), "it went on with what it had opened");
        file.set_len(0).expect("it can be cut");
        // Of what was there until then.
        assert_eq!(client.line().len(), SUM_OF_ABC.len());
    });
}
