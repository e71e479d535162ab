//! The audit file: a record for every invocation and every denial, whole, in order, and nothing that a client could forge.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Client, Follower, Host, HostBuilder, PATIENCE, eventually, guests, pipe_into, quoted, wasmline};

/// A host with an audit file in a directory of its own, and these further settings of it.
fn audited(builder: HostBuilder, settings: &str) -> (HostBuilder, PathBuf) {
    let directory = builder.files().with_file_name("audit");
    fs::create_dir(&directory).expect("a directory");
    let file = directory.join("audit.jsonl");
    let builder = builder.more(&format!("[audit]\nfile = {}\n{settings}\n", quoted(&file)));
    (builder, file)
}

fn records_in(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    whole.collect()
}

/// Waits until there are so many records, and returns them.
#[track_caller]
fn records(file: &Path, count: usize) -> Vec<Value> {
    eventually(&format!("{count} records"), || records_in(file).len() >= count);
    let records = records_in(file);
    assert_eq!(records.len(), count, "{records:#?}");
    records
}

/// A record without what differs from run to run, once that has been looked at.
#[track_caller]
fn steady(record: &Value) -> Value {
    let mut record = record.clone();
    let fields = record.as_object_mut().expect("an object");
    let time = fields.remove("time").expect("a time");
    assert!(humantime::parse_rfc3339(time.as_str().expect("text")).is_ok(), "{time}");
    for (name, least) in [("cpu-seconds", 0.0), ("wall-seconds", 0.0), ("peak-memory", 1.0)] {
        if let Some(value) = fields.remove(name) {
            assert!(value.as_f64().is_some_and(|value| value >= least), "{name}: {value}");
        }
    }
    record
}

#[test]
fn an_invocation_has_one_record() {
    let builder = HostBuilder::new().fixture("fail");
    let (builder, file) = audited(builder, "");
    let host = builder.start();
    let mut client = host.connect();
    client.reply("echo 'two words' and a third").is(["two words and a third"]);
    client.reply("fail 'no luck'").fails_with("failed");
    let source = client.address().to_string();
    // `reply` itself ends each with an `echo`.
    let records = records(&file, 4);
    let digest = |path: &Path| {
        let bytes = fs::read(path).expect("the command is there");
        blake3::hash(&bytes).to_hex().to_string()
    };
    assert_eq!(
        steady(&records[0]),
        json!({
            "event": "invocation", "tenant": "default", "identity": "listener",
            "listener": host.address().to_string(), "source": source, "invocation": 1,
            "command": "echo", "digest": digest(&guests::command("echo")),
            "arguments": ["two words", "and", "a", "third"], "grants": [], "denials": 0, "outcome": "ok", "bytes": 22,
        })
    );
    let failed = steady(&records[2]);
    assert_eq!(failed["digest"], digest(&guests::fixture("fail")));
    assert_eq!((&failed["outcome"], &failed["cause"]), (&json!("failed"), &json!("no luck")));
    let mode = fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn grants_that_were_used_are_named() {
    let builder = HostBuilder::new().fixture("spawn").fixture("hash").fixture("wasi-files");
    let files = builder.files();
    let file = builder.file("file", "abc");
    let data = files.join("data");
    fs::create_dir(&data).expect("a directory");
    let grants = format!(
        "[[tenants.default.grants.directory]]\npath = {}\nas = \"/data\"\nwrite = true\n\
         [[tenants.default.grants.directory]]\npath = \"/usr/share\"\n\
         [tenants.default.grants.environment]\nLANG = \"C\"\n",
        quoted(&data)
    );
    let builder = builder.may_run("/bin/echo", "[{ any = true }]").may_hash(&files).more(&grants);
    let (builder, audit) = audited(builder, "");
    let host = builder.start();
    let mut client = host.connect();
    for line in [
        "spawn /bin/echo x".to_owned(),
        format!("hash sha1 {}", file.display()),
        "wasi-files write /data/new x".to_owned(),
        "wasi-files list /data".to_owned(),
        "wasi-files variables".to_owned(),
        "wasi-files clock".to_owned(),
    ] {
        client.reply(line);
    }
    let used: Vec<Value> = records(&audit, 12).into_iter().step_by(2).map(|record| record["grants"].clone()).collect();
    let directory = |write: bool| json!({"kind": "directory", "path": "/data", "host": data, "write": write});
    assert_eq!(
        used,
        [
            json!([{"kind": "process", "program": "/bin/echo", "args": ["x"]}]),
            json!([{"kind": "digest", "path": file}]),
            json!([directory(true)]),
            json!([directory(false)]),
            json!([{"kind": "variable", "name": "LANG"}]),
            json!([]),
        ]
    );
}

#[test]
fn a_denial_has_a_record_of_its_own() {
    let builder = HostBuilder::new().fixture("spawn").fixture("hash").fixture("wasi-files");
    let sidecar = "[grants.digest]\nread = [\"/srv\"]\n";
    let builder = builder.sidecar("hash", sidecar).may_hash("/etc");
    let data = builder.files().join("data");
    fs::create_dir(&data).expect("a directory");
    let grant = format!("[[tenants.default.grants.directory]]\npath = {}\nas = \"/data\"\n", quoted(&data));
    let (builder, audit) = audited(builder.more(&grant), "");
    let host = builder.start();
    let mut client = host.connect();
    client.send("spawn /usr/bin/id -u\nhash sha1 /etc/hostname\nwasi-files write /data/x y\nexit\n");
    let records = records(&audit, 6);
    let denials: Vec<Value> = records.iter().filter(|record| record["event"] == "denial").map(steady).collect();
    let common = |denial: &Value| (denial["tenant"].clone(), denial["source"].clone(), denial["times"].clone());
    for denial in &denials {
        assert_eq!(common(denial), (json!("default"), json!(client.address().to_string()), json!(1)));
    }
    let told = |denial: &Value| {
        json!([
            denial["command"],
            denial["key"],
            denial["access"],
            denial["reason"],
            denial["grant"],
            denial["invocation"]
        ])
    };
    let wanted: Vec<Value> = denials.iter().map(told).collect();
    assert_eq!(
        wanted,
        [
            json!([
                "spawn", "tenant", {"kind": "process", "program": "/usr/bin/id", "args": ["-u"]},
                "\"/usr/bin/id\" is not granted",
                "[[tenants.default.grants.process]]\nprogram = \"/usr/bin/id\"\nargs = [\"-u\"]", 1
            ]),
            json!([
                "hash", "sidecar", {"kind": "digest", "path": "/etc/hostname"},
                "\"/etc/hostname\" is beneath no directory granted for it",
                "[grants.digest]\nread = [\"/etc\"]", 2
            ]),
            json!([
                "wasi-files", "tenant", {"kind": "directory", "path": "/data", "host": data, "write": true},
                "\"x\" may not be changed in \"/data\"",
                format!("[[tenants.default.grants.directory]]\npath = \"{}\"\nas = \"/data\"\nwrite = true", data.display()), 3
            ]),
        ]
    );
    let counts: Vec<&Value> =
        records.iter().filter(|record| record["event"] == "invocation").map(|record| &record["denials"]).collect();
    assert_eq!(counts, [&json!(1), &json!(1), &json!(1)]);
}

#[test]
fn who_called_and_who_was_not_let_in_is_recorded() {
    let out = pipe_into(wasmline().args(["token", "ci"]), "").exited(0).out();
    let (token, line) = out.split_once("\n\n").expect("a token and a line");
    let builder = HostBuilder::new().listener_with("address = \"127.0.0.1:0\"\nauth = \"token\"").tenant(line);
    let (builder, audit) = audited(builder, "");
    let host = builder.start();
    let mut known = host.connect();
    known.send(format!("auth {token}\necho x\n"));
    known.expect("ok\nx\n");
    let mut stranger = host.connect();
    stranger.send("auth wrong-and-secret\n");
    stranger.expect_error("denied");
    let records = records(&audit, 2);
    assert_eq!((&records[0]["identity"], &records[0]["arguments"]), (&json!("token ci"), &json!(["x"])));
    assert_eq!(
        steady(&records[1]),
        json!({
            "event": "refused", "listener": host.address().to_string(), "source": stranger.address().to_string(),
            "reason": "this token is not accepted here",
        })
    );
    let text = fs::read_to_string(&audit).expect("the file is there");
    assert!(!text.contains(token) && !text.contains("wrong-and-secret"), "{text}");
}

#[test]
fn what_clients_type_can_be_kept_out() {
    let builder = HostBuilder::new().fixture("spawn").fixture("hash").may_run("/bin/echo", "[{ any = true }]");
    let (builder, audit) = audited(builder.may_hash("/etc"), "arguments = \"hash\"");
    let host = builder.start();
    let mut client = host.connect();
    client.send("spawn /bin/echo my-secret\nspawn /bin/my-secret\nhash sha1 /etc/my-secret\nhash sha1 /my-secret\n");
    client.send("my-secret\n");
    client.finish_sending();
    client.rest();
    let records = records(&audit, 7);
    let text = fs::read_to_string(&audit).expect("the file is there");
    assert!(!text.contains("my-secret"), "{text}");
    for record in records.iter().filter(|record| record["event"] == "invocation") {
        assert_eq!(record["arguments-blake3"].as_str().map(str::len), Some(64), "{record}");
        assert_eq!(record.get("arguments"), None);
    }
    assert_eq!(records[0]["grants"][0]["program"], "/bin/echo");
    let unknown = records.iter().find(|record| record["event"] == "line-refused").expect("it is counted");
    assert_eq!(unknown["command-blake3"].as_str().map(str::len), Some(64), "{unknown}");
    assert!(records.iter().all(|record| record.get("reason").is_none() && record.get("grant").is_none()));
}

/// How many lines did not begin, by the records with this outcome.
fn refused(file: &Path, outcome: &str) -> u64 {
    let records = records_in(file);
    let refused = records.iter().filter(|record| record["event"] == "line-refused" && record["outcome"] == outcome);
    refused.filter_map(|record| record["times"].as_u64()).sum()
}

#[test]
fn lines_that_do_not_begin_are_counted() {
    let (builder, audit) = audited(HostBuilder::new().limit("lines-per-second = 5"), "");
    let host = builder.start();
    let began = Instant::now();
    let mut client = host.connect();
    client.send("echo x\n".repeat(500));
    let served = (0..500).filter(|_| client.line() == "x").count();
    assert!(served < 500);
    let too_many = 500 - served as u64;
    eventually("all of them are told", || refused(&audit, "overloaded") == too_many);
    let records = records_in(&audit);
    let told: Vec<&Value> = records.iter().filter(|record| record["event"] == "line-refused").collect();
    assert!(told.len() as u64 <= began.elapsed().as_secs() + 1, "more than one in a second: {told:#?}");
    assert_eq!(records.len(), served + told.len());
    let mut first = steady(told[0]);
    first.as_object_mut().expect("an object").remove("times");
    assert_eq!(
        first,
        json!({
            "event": "line-refused", "tenant": "default", "identity": "listener",
            "listener": host.address().to_string(), "source": client.address().to_string(), "command": "echo",
            "outcome": "overloaded",
        })
    );
}

#[test]
fn commands_that_there_are_not_are_counted_and_a_drain_tells_of_the_last() {
    let (builder, audit) = audited(HostBuilder::new(), "");
    let mut host = builder.start();
    let mut clients = [host.connect(), host.connect()];
    for client in &mut clients {
        client.send("unheard-of\n".repeat(100));
        client.expect("Command not found.\n".repeat(100));
    }
    // Sooner or later than it would have been written anyway.
    host.signal(Signal::TERM);
    assert!(host.wait_for_exit().success());
    assert_eq!(refused(&audit, "not-found"), 200);
    let records = records_in(&audit);
    assert!(records.iter().all(|record| record["command"] == "unheard-of"), "{records:#?}");
    for client in &clients {
        assert!(records.iter().any(|record| record["source"] == client.address().to_string()), "{records:#?}");
    }
}

#[test]
fn every_way_of_ending_is_recorded() {
    let builder = HostBuilder::new().fixture("spin").fixture("panic").fixture("sleeper").fixture("spawn");
    let builder = builder.limit("cpu = \"50ms\"").limit("concurrency = 1").limit("queue = 1");
    let (builder, follower) = Follower::granted(builder);
    let (builder, audit) = audited(builder, "");
    let host = builder.start();
    let mut client = host.connect();
    client.reply("spin").fails_with("cpu");
    client.reply("panic").fails_with("trap");
    let mut busy = host.connect();
    busy.send(follower.request("spawn") + "\n");
    busy.expect("first\n");
    let mut waiting = host.connect();
    waiting.send("echo waiting\n");
    host.wait_for_log(&["line received", "echo waiting"]);
    let mut refused = host.connect();
    refused.send("echo one too many\n");
    refused.expect_error("overloaded");
    eventually("the refusal is recorded", || records_in(&audit).len() >= 5);
    busy.vanish();
    host.wait_until_gone(&follower.file);
    waiting.expect("waiting\n");
    let outcomes: Vec<String> =
        records(&audit, 7).iter().map(|record| record["outcome"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(outcomes, ["cpu", "ok", "trap", "ok", "overloaded", "cancelled", "ok"]);
    let spin = &records_in(&audit)[0];
    assert!(spin["cpu-seconds"].as_f64().is_some_and(|seconds| seconds >= 0.05), "{spin}");
    let cancelled = &records_in(&audit)[5];
    assert_eq!(cancelled["bytes"], 6, "{cancelled}");
    assert!(cancelled["peak-memory"].as_u64().is_some_and(|bytes| bytes >= 65_536), "{cancelled}");
}

#[test]
fn no_client_can_forge_a_record() {
    let (builder, audit) = audited(HostBuilder::new().fixture("spawn"), "");
    let host = builder.start();
    let mut client = host.connect();
    let forged = "{\"event\":\"invocation\",\"tenant\":\"forged\"}";
    client.reply(format!("echo 'x\r{forged}\u{85}\u{2028}{forged}\u{9b}2J\x1b[2J'"));
    client.reply(format!("spawn '/bin/x\\n{forged}'"));
    for record in records(&audit, 5) {
        assert_eq!(record["tenant"], "default");
    }
    let text = fs::read_to_string(&audit).expect("the file is there");
    let control = |character: char| character.is_control() && character != '\n';
    assert!(!text.contains(control) && !text.contains('\u{2028}'), "{text:?}");
}

#[test]
fn the_file_is_renamed_when_it_has_its_size() {
    let (builder, audit) = audited(HostBuilder::new(), "max-size = \"2KiB\"\nkeep = 2");
    let host = builder.start();
    let mut client = host.connect();
    for number in 0..30 {
        client.reply(format!("echo number-{number}"));
    }
    eventually("the last record is written", || {
        records_in(&audit).last().is_some_and(|record| record["invocation"] == 60)
    });
    let directory = audit.parent().expect("a directory");
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]);
    let mut numbers = Vec::new();
    for name in ["audit.jsonl.2", "audit.jsonl.1", "audit.jsonl"] {
        let path = directory.join(name);
        assert!(fs::metadata(&path).expect("it is there").len() <= 2048);
        numbers.extend(records_in(&path).iter().map(|record| record["invocation"].as_u64().unwrap_or_default()));
    }
    // Whole and in order, without a gap where one file ends and the next begins.
    let first = numbers[0];
    assert_eq!(numbers, (first..=60).collect::<Vec<_>>());
}

#[test]
fn a_file_that_was_moved_aside_is_begun_anew_at_a_hang_up() {
    let (builder, audit) = audited(HostBuilder::new(), "");
    let host = builder.start();
    host.connect().reply("echo one");
    records(&audit, 2);
    let aside = audit.with_extension("old");
    fs::rename(&audit, &aside).expect("it can be moved");
    host.signal(Signal::HUP);
    eventually("a new file is begun", || audit.exists());
    host.connect().reply("echo two");
    records(&audit, 2);
    records(&aside, 2);
    // It can become another file, or none.
    host.edit_config("audit.jsonl", "other.jsonl");
    host.signal(Signal::HUP);
    let other = audit.with_file_name("other.jsonl");
    eventually("the other file is begun", || other.exists());
    host.connect().reply("echo three");
    records(&other, 2);
    host.edit_config("other.jsonl", "missing/other.jsonl");
    host.signal(Signal::HUP);
    host.wait_for_log(&["not reloaded", "missing/other.jsonl", "cannot be opened"]);
    host.connect().reply("echo four");
    records(&other, 4);
    // A configuration that cannot be used does not keep a file that was moved aside.
    fs::rename(&other, &aside).expect("it can be moved");
    host.signal(Signal::HUP);
    eventually("the other file is begun anew", || other.exists());
    host.connect().reply("echo five");
    records(&other, 2);
}

#[test]
fn a_host_does_not_start_without_its_audit_file() {
    let builder = HostBuilder::new();
    let missing = builder.files().with_file_name("missing").join("audit.jsonl");
    let (_dir, mut command) = builder.more(&format!("[audit]\nfile = {}\n", quoted(&missing))).into_command();
    pipe_into(&mut command, "").exited(1).says(&["audit.file", "missing/audit.jsonl", "cannot be opened"]);

    let (builder, audit) = audited(HostBuilder::new(), "");
    let _host = builder.start();
    let (_dir, mut command) = HostBuilder::new().more(&format!("[audit]\nfile = {}\n", quoted(&audit))).into_command();
    pipe_into(&mut command, "").exited(1).says(&["another process writes to it"]);
}

#[test]
fn mistakes_in_its_settings_are_located() {
    for (text, words) in [
        ("[audit]", "the key `file` is missing"),
        ("[audit]\nfile = \"a\"\nmaxsize = 1", "unknown key `maxsize` in [audit]; did you mean `max-size`?"),
        ("[audit]\nfile = \"a\"\narguments = \"none\"", "expected `full` or `hash`"),
        ("[audit]\nfile = \"a\"\non-failure = \"stop\"", "expected `continue` or `refuse`"),
        ("[audit]\nfile = \"a\"\nkeep = 5000", "5000 is out of range"),
        (
            "[audit]\nfile = \"/var/log/w/a\"\n[[tenants.default.grants.directory]]\npath = \"/var/log\"",
            "`/var/log/w/a` lies in `/var/log`, which tenants.default.grants.directory gives to commands",
        ),
        (
            "[audit]\nfile = \"/var/log/w/a\"\n[[tenants.default.grants.process]]\nprogram = \"/bin/cat\"\n\
             args = [{ path-under = [\"/var/log\"] }]",
            "which tenants.default.grants.process gives to commands",
        ),
    ] {
        let (_dir, mut command) = HostBuilder::new().more(text).into_command();
        pipe_into(&mut command, "").exited(1).says(&["wasmline.toml:", words]);
    }
}

/// A client that sends lines as fast as they are taken, and counts the replies that it reads until the host ends the
/// connection. Returns the address that the host sees it at too.
fn hammer(host: &Host) -> thread::JoinHandle<(String, usize)> {
    let stream = TcpStream::connect(host.address()).expect("the host accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let source = stream.local_addr().expect("an address").to_string();
    let mut sending = stream.try_clone().expect("a second handle");
    // It ends when the host does.
    thread::spawn(move || while sending.write_all(b"echo x\necho y\n").is_ok() {});
    thread::spawn(move || {
        let replies = BufReader::new(stream).lines().map_while(Result::ok).filter(|line| line == "x" || line == "y");
        (source, replies.count())
    })
}

#[test]
fn a_drain_under_load_leaves_a_record_for_every_reply() {
    let (builder, audit) =
        audited(HostBuilder::new().limit("concurrency = 8").limit("queue = 1000"), "max-size = \"1GiB\"");
    let mut host = builder.start();
    let clients: Vec<_> = (0..8).map(|_| hammer(&host)).collect();
    eventually("a thousand lines have run", || fs::metadata(&audit).is_ok_and(|file| file.len() > 300_000));
    host.signal(Signal::TERM);
    assert!(host.wait_for_exit().success());
    let mut recorded: BTreeMap<String, usize> = BTreeMap::new();
    let mut numbers = BTreeSet::new();
    for record in records_in(&audit) {
        *recorded.entry(record["source"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        assert!(numbers.insert(record["invocation"].as_u64()), "twice: {record}");
    }
    let mut total = 0;
    for client in clients {
        let (source, replies) = client.join().expect("the client has counted");
        let recorded = recorded.get(&source).copied().unwrap_or_default();
        assert!(recorded >= replies, "{source}: {replies} replies, {recorded} records");
        total += replies;
    }
    assert!(total > 1000, "{total}");
}

/// A host whose audit file is on a small file system of its own, which is full once `filler` is written there.
struct Full {
    host: Host,
    audit: PathBuf,
    filler: PathBuf,
}

fn on_a_small_disk(settings: &str) -> Full {
    let (builder, audit) = audited(HostBuilder::new(), settings);
    let directory = audit.parent().expect("a directory").to_owned();
    let host = builder.tmpfs(directory.clone(), "64k").start();
    let (audit, filler) = (host.sees(&audit), host.sees(&directory.join("filler")));
    Full { host, audit, filler }
}

impl Full {
    fn fill(&self) {
        let mut filler = fs::File::create(&self.filler).expect("a file");
        while filler.write_all(&[0; 1024]).is_ok() {}
    }

    fn empty(&self) {
        // Truncated and not removed: a process that another test is just starting may have it open for a moment.
        fs::write(&self.filler, "").expect("it is there");
    }

    /// The records by their arguments, and how many were lost.
    fn told(&self) -> (Vec<String>, u64) {
        let records = records_in(&self.audit);
        let lost =
            records.iter().filter(|record| record["event"] == "lost").filter_map(|record| record["records"].as_u64());
        let lines = records.iter().filter(|record| record["event"] == "invocation");
        (lines.map(|record| record["arguments"][0].as_str().unwrap_or_default().to_owned()).collect(), lost.sum())
    }
}

/// Sends `echo N` for each number and returns those that were answered; others were refused.
fn answered(client: &mut Client, numbers: std::ops::Range<usize>) -> Vec<String> {
    let answered = numbers.filter(|number| {
        client.send(format!("echo {number}\n"));
        let line = client.line();
        if line.starts_with("error: ") {
            assert!(line.starts_with("error: unavailable: "), "{line}");
        }
        line == number.to_string()
    });
    answered.map(|number| number.to_string()).collect()
}

#[test]
fn a_full_disk_is_told_and_lines_go_on_where_that_is_wanted() {
    let full = on_a_small_disk("on-failure = \"continue\"");
    let mut client = full.host.connect();
    assert_eq!(answered(&mut client, 0..10).len(), 10);
    eventually("they are recorded", || full.told().0.len() == 10);
    full.fill();
    // Beyond what is left of the last page.
    let many = 10..500;
    assert_eq!(answered(&mut client, many).len(), 490);
    full.host.wait_for_log(&["ERROR", "audit records cannot be written and are lost"]);
    full.empty();
    assert_eq!(answered(&mut client, 500..510).len(), 10);
    eventually("the last is recorded", || full.told().0.last().is_some_and(|last| last == "509"));
    full.host.wait_for_log(&["audit records are written again"]);
    let (recorded, lost) = full.told();
    assert!(lost > 0);
    assert_eq!(recorded.len() as u64 + lost, 510);
}

#[test]
fn a_full_disk_stops_lines_where_that_is_wanted() {
    let full = on_a_small_disk("on-failure = \"refuse\"");
    let mut client = full.host.connect();
    full.fill();
    let mut answers = answered(&mut client, 0..500);
    assert!(answers.len() < 500);
    full.host.wait_for_log(&["ERROR", "audit records cannot be written; lines are refused"]);
    assert_eq!(answered(&mut client, 500..505), Vec::<String>::new());
    full.empty();
    let mut asked = 505;
    eventually("lines run again", || {
        asked += 1;
        let more = answered(&mut client, 505..506);
        answers.extend(more.iter().cloned());
        !more.is_empty()
    });
    full.host.wait_for_log(&["audit records are written again"]);
    eventually("everything is recorded", || full.told().0.len() == answers.len());
    // Nothing was lost, and what was refused has not run, but was counted.
    let refused_lines = asked - answers.len() as u64;
    eventually("what was refused is counted", || refused(&full.audit, "unavailable") == refused_lines);
    assert_eq!(full.told(), (answers, 0));
}

#[test]
fn a_host_that_ends_says_what_it_could_not_record() {
    let mut full = on_a_small_disk("on-failure = \"refuse\"");
    let mut client = full.host.connect();
    full.fill();
    assert!(answered(&mut client, 0..500).len() < 500);
    full.host.signal(Signal::TERM);
    assert!(full.host.wait_for_exit().success());
    full.host.wait_for_log(&["ERROR", "audit records could not be written"]);
}

#[test]
fn what_a_drain_cuts_off_is_recorded() {
    let builder = HostBuilder::new().fixture("spawn").server("drain-timeout = \"100ms\"").limit("timeout = \"10m\"");
    let (builder, follower) = Follower::granted(builder);
    let (builder, audit) = audited(builder, "");
    let mut host = builder.start();
    let mut client = host.connect();
    client.send(follower.request("spawn") + "\n");
    client.expect("first\n");
    host.signal(Signal::TERM);
    assert!(host.wait_for_exit().success());
    let records = records_in(&audit);
    assert_eq!(records.len(), 1, "{records:#?}");
    assert_eq!((&records[0]["outcome"], &records[0]["bytes"]), (&json!("cancelled"), &json!(6)));
    assert_eq!(records[0]["grants"][0]["program"], "/usr/bin/tail");
}

#[test]
fn what_waits_to_be_written_is_written_before_the_host_ends() {
    let mut full = on_a_small_disk("on-failure = \"refuse\"");
    let mut client = full.host.connect();
    full.fill();
    let answers = answered(&mut client, 0..500);
    full.host.wait_for_log(&["audit records cannot be written"]);
    // Its file system goes when the host does, but not what somebody has open.
    let mut audit = fs::File::open(&full.audit).expect("the file is there");
    full.empty();
    full.host.signal(Signal::TERM);
    assert!(full.host.wait_for_exit().success());
    let mut text = String::new();
    audit.read_to_string(&mut text).expect("it can still be read");
    assert_eq!(text.matches("\"outcome\":\"ok\"").count(), answers.len());
}
