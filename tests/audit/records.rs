//! What stands in the records of a line, and what a client cannot make stand there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::{audited, records, records_in, steady};
use crate::support::{Follower, HostBuilder, eventually, guests, pipe_into, quoted, wasmline};

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

/// All of it stands in the records of each of the command's lines.
#[test]
fn what_a_sidecar_asks_for_in_vain_is_recorded_once_and_bounded() {
    let builder = HostBuilder::new().tenant("mode = \"audit\"");
    let names: String = (0..200).map(|number| format!("\"V{}\", ", number / 2)).collect();
    let (builder, audit) = audited(builder.sidecar("echo", &format!("[grants]\nenvironment = [{names}]\n")), "");
    let host = builder.start();
    let mut client = host.connect();
    client.send("echo x\nexit\n");
    let records = records(&audit, 65);
    let in_vain = records.iter().filter(|record| record["event"] == "would-be-denied").count();
    assert_eq!((in_vain, records.len()), (64, 65));
    assert_eq!((&records[64]["event"], &records[64]["more-unmet"]), (&json!("invocation"), &json!(36)));
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
