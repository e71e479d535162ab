//! What is written of an invocation, and what is not.

use super::*;
use crate::audit::Ledger;
use crate::identity::Credential;
use crate::policy;

fn identity() -> Identity {
    let credential = Credential::Token("ci".to_owned());
    Identity { credential, listener: "127.0.0.1:1".into(), peer: "127.0.0.1:5".into() }
}

fn origin(identity: &Identity, arguments: Arguments, mode: Mode) -> Origin<'_> {
    Origin { tenant: "t", mode, identity, invocation: 7, command: "c", digest: blake3::hash(b"x"), arguments }
}

fn course<'a>(args: &'a [String], ledger: &Ledger) -> Course<'a> {
    Course {
        args,
        entries: ledger.take(),
        in_vain: None,
        outcome: "failed",
        cause: Some("why"),
        cpu: Duration::from_micros(1500),
        wall: Duration::from_secs(2),
        bytes: 3,
        memory: 65_536,
    }
}

fn parse(lines: &Lines) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(&lines.bytes).unwrap();
    assert_eq!(text.lines().count() as u64, lines.count);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ledger() -> Ledger {
    let ledger = Ledger::default();
    ledger.used(Access::Process { program: "/p".to_owned(), args: vec!["a".to_owned()] });
    ledger.denied(&policy::Denial::link("/x", Access::Digest { path: "/x".to_owned() }));
    ledger
}

#[test]
fn an_invocation_is_one_line_and_each_denial_another() {
    let args = ["a b".to_owned(), "\n{\"forged\":1}\u{9b}".to_owned()];
    let lines = lines(&origin(&identity(), Arguments::Full, Mode::Enforce), &course(&args, &ledger()));
    assert!(!lines.bytes.iter().any(|byte| byte.is_ascii_control() && *byte != b'\n'));
    assert!(!String::from_utf8_lossy(&lines.bytes).contains('\u{9b}'));
    let [denial, invocation] = &parse(&lines)[..] else { panic!("{}", lines.count) };
    assert_eq!(denial["event"], "denial");
    assert_eq!(denial["access"], serde_json::json!({"kind": "digest", "path": "/x"}));
    assert_eq!((&denial["key"], &denial["times"]), (&serde_json::Value::Null, &serde_json::json!(1)));
    let mut expected = serde_json::json!({
        "event": "invocation", "tenant": "t", "identity": "token ci", "listener": "127.0.0.1:1", "source": "127.0.0.1:5", "invocation": 7,
        "command": "c", "digest": blake3::hash(b"x").to_hex().to_string(), "arguments": args,
        "grants": [{"kind": "process", "program": "/p", "args": ["a"]}], "denials": 1, "outcome": "failed",
        "cause": "why", "cpu-seconds": 0.0015, "wall-seconds": 2.0, "bytes": 3, "peak-memory": 65_536,
    });
    expected["time"] = invocation["time"].clone();
    assert_eq!(*invocation, expected);
    let time = invocation["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && humantime::parse_rfc3339(time).is_ok(), "{time}");
}

#[test]
fn nothing_that_was_typed_is_in_a_record_with_hashes() {
    let args = ["secret".to_owned()];
    let ledger = Ledger::default();
    ledger.used(Access::Process { program: "/p".to_owned(), args: args.to_vec() });
    ledger.used(Access::Digest { path: "/secret".to_owned() });
    ledger.denied(&policy::Denial::link("/secret", Access::Digest { path: "/secret".to_owned() }));
    let program = Access::Process { program: "/secret".to_owned(), args: vec![] };
    ledger.denied(&policy::Denial::link("/secret", program));
    let mut course = course(&args, &ledger);
    course.cause = Some("secret");
    let lines = lines(&origin(&identity(), Arguments::Hash, Mode::Enforce), &course);
    assert!(!String::from_utf8_lossy(&lines.bytes).contains("secret"));
    let invocation = &parse(&lines)[2];
    assert_eq!(invocation["arguments-blake3"], hash_words(&args));
    assert_eq!(invocation["grants"][0]["arguments-blake3"].as_str().map(str::len), Some(64));
}

#[test]
fn the_audit_mode_records_what_is_asked_for_in_vain() {
    let in_vain = InVain { told: vec![Unmet::Variable("LANG".to_owned())], more: 7 };
    let ledger = ledger();
    let course = Course { in_vain: Some(&in_vain), ..course(&[], &ledger) };
    let lines = lines(&origin(&identity(), Arguments::Full, Mode::Audit), &course);
    let records = parse(&lines);
    assert_eq!(records[0]["event"], "would-be-denied");
    assert_eq!(records[1]["event"], "would-be-denied");
    assert_eq!(records[1]["grant"], "[tenants.t.grants.environment]\n\"LANG\" = \"\"");
    assert_eq!((&records[2]["event"], &records[2]["more-unmet"]), (&"invocation".into(), &7.into()));
}
