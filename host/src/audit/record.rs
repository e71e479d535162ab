//! The audit records, a JSON object in a line each.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::ledger::{Denied, Entries};
use super::refusals::Counted;
use super::writer::Lines;
use crate::config::{Arguments, Mode};
use crate::identity::Identity;
use crate::policy::{Access, Key, Unmet};

/// What all records of one line have in common.
pub struct Origin<'a> {
    /// On whose behalf it ran.
    pub tenant: &'a str,
    /// Whether what would be needed is recorded too.
    pub mode: Mode,
    /// Who sent it.
    pub identity: &'a Identity,
    /// The invocation's number since the host started.
    pub invocation: u64,
    /// The command.
    pub command: &'a str,
    /// BLAKE3 of its `.wasm` file.
    pub digest: blake3::Hash,
    /// Whether arguments are written out.
    pub arguments: Arguments,
}

/// How an invocation went.
pub struct Course<'a> {
    /// The words after the command's name.
    pub args: &'a [String],
    /// What it was allowed and denied.
    pub entries: Entries,
    /// What its sidecar asks for in vain.
    pub unmet: Vec<Unmet>,
    /// `ok`, the code of an error line, or `cancelled`.
    pub outcome: &'a str,
    /// What the log says of the reason.
    pub cause: Option<&'a str>,
    /// CPU time, as far as it is known.
    pub cpu: Duration,
    /// Time from its start to its end.
    pub wall: Duration,
    /// Bytes of the reply.
    pub bytes: u64,
    /// The most memory in use, in bytes.
    pub memory: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Head<'a> {
    time: String,
    event: &'static str,
    tenant: &'a str,
    identity: String,
    listener: &'a str,
    source: &'a str,
    invocation: u64,
    command: &'a str,
    digest: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Invocation<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    #[serde(flatten)]
    arguments: Words<'a>,
    grants: Vec<Named<'a>>,
    #[serde(skip_serializing_if = "is_none")]
    more_grants: u64,
    denials: u64,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    cpu_seconds: f64,
    wall_seconds: f64,
    bytes: u64,
    peak_memory: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Denial<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    key: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<Named<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
    times: u64,
}

#[derive(Serialize)]
struct Refusal<'a> {
    time: String,
    event: &'static str,
    listener: &'a str,
    source: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Counts<'a> {
    time: String,
    event: &'static str,
    tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(flatten)]
    word: Word<'a>,
    outcome: &'static str,
    times: u64,
}

#[derive(Serialize)]
enum Word<'a> {
    #[serde(rename = "command")]
    Full(&'a str),
    #[serde(rename = "command-blake3")]
    Hash(String),
}

#[derive(Serialize)]
struct Lost {
    time: String,
    event: &'static str,
    records: u64,
}

/// An access as it is recorded: whole, or with what the client may have typed replaced by its hash.
#[derive(Serialize)]
#[serde(untagged)]
enum Named<'a> {
    Full(&'a Access),
    #[serde(rename_all = "kebab-case")]
    Process {
        kind: &'static str,
        program: &'a str,
        arguments_blake3: String,
    },
    #[serde(rename_all = "kebab-case")]
    Unknown {
        kind: &'static str,
        program_blake3: String,
        arguments_blake3: String,
    },
    #[serde(rename_all = "kebab-case")]
    Digest {
        kind: &'static str,
        path_blake3: String,
    },
}

#[derive(Serialize)]
enum Words<'a> {
    #[serde(rename = "arguments")]
    Full(&'a [String]),
    #[serde(rename = "arguments-blake3")]
    Hash(String),
}

/// The records of one invocation: one for each denial, and then its own.
pub fn lines(origin: &Origin<'_>, course: &Course<'_>) -> Lines {
    let now = now();
    let mut lines = Lines { bytes: Vec::new(), count: 0 };
    for denied in &course.entries.denials {
        push(&mut lines, &denial(origin, denied));
    }
    if origin.mode == Mode::Audit {
        for unmet in &course.unmet {
            push(&mut lines, &in_vain(origin, unmet, now));
        }
    }
    let denied: u64 = course.entries.denials.iter().map(|denied| denied.times).sum();
    let record = Invocation {
        head: head(origin, "invocation", now),
        arguments: match origin.arguments {
            Arguments::Full => Words::Full(course.args),
            Arguments::Hash => Words::Hash(hash_words(course.args)),
        },
        grants: course.entries.uses.iter().map(|access| named(origin, access)).collect(),
        more_grants: course.entries.more_uses,
        denials: denied + course.entries.more_denials,
        outcome: course.outcome,
        // A command's own words may repeat its arguments.
        cause: course.cause.filter(|_| origin.arguments == Arguments::Full),
        cpu_seconds: course.cpu.as_secs_f64(),
        wall_seconds: course.wall.as_secs_f64(),
        bytes: course.bytes,
        peak_memory: course.memory,
    };
    push(&mut lines, &record);
    lines
}

/// The record of a client that was not let in.
pub fn refusal(listener: &str, source: &str, reason: &str) -> Lines {
    let mut lines = Lines { bytes: Vec::new(), count: 0 };
    push(&mut lines, &Refusal { time: stamp(now()), event: "refused", listener, source, reason });
    lines
}

/// The records of lines that did not begin, by tenant.
pub fn counts(counted: &HashMap<String, Vec<Counted>>, arguments: Arguments) -> Lines {
    let mut lines = Lines { bytes: Vec::new(), count: 0 };
    for (tenant, counted) in counted {
        for Counted { time, identity, command, outcome, times } in counted {
            let record = Counts {
                time: stamp(*time),
                event: "line-refused",
                tenant,
                identity: identity.as_ref().map(|identity| identity.credential.to_string()),
                listener: identity.as_ref().map(|identity| &*identity.listener),
                source: identity.as_ref().map(|identity| &*identity.peer),
                // Nobody knows whether it is a command's name, so it is what somebody typed.
                word: match arguments {
                    Arguments::Full => Word::Full(command),
                    Arguments::Hash => Word::Hash(hash_words(std::slice::from_ref(command))),
                },
                outcome,
                times: *times,
            };
            push(&mut lines, &record);
        }
    }
    lines
}

/// The time as records have it.
#[expect(clippy::disallowed_methods, reason = "records are read by people, and nothing is decided by it")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// A record of records that were lost.
pub fn lost(time: SystemTime, records: u64) -> Vec<u8> {
    let mut lines = Lines { bytes: Vec::new(), count: 0 };
    push(&mut lines, &Lost { time: stamp(time), event: "lost", records });
    lines.bytes
}

fn denial<'a>(origin: &'a Origin<'_>, denied: &'a Denied) -> Denial<'a> {
    let full = origin.arguments == Arguments::Full;
    let grant = denied.access.as_ref().zip(denied.key).filter(|_| full);
    Denial {
        head: head(origin, event(origin), denied.time),
        key: denied.key.map(key_name),
        access: denied.access.as_ref().map(|access| match (origin.arguments, access) {
            // No grant names the program, so it is what somebody typed.
            (Arguments::Hash, Access::Process { program, args }) => Named::Unknown {
                kind: "process",
                program_blake3: hash_words(std::slice::from_ref(program)),
                arguments_blake3: hash_words(args),
            },
            _ => named(origin, access),
        }),
        reason: full.then(|| denied.reason.clone()),
        grant: grant.map(|(access, key)| access.grant(key, &table(origin, key))),
        times: denied.times,
    }
}

fn in_vain<'a>(origin: &'a Origin<'_>, unmet: &Unmet, time: SystemTime) -> Denial<'a> {
    Denial {
        head: head(origin, event(origin), time),
        key: Some(key_name(Key::Tenant)),
        access: None,
        reason: Some(unmet.to_string()),
        grant: Some(unmet.grant(&table(origin, Key::Tenant))),
        times: 1,
    }
}

fn event(origin: &Origin<'_>) -> &'static str {
    match origin.mode {
        Mode::Enforce => "denial",
        Mode::Audit => "would-be-denied",
    }
}

fn key_name(key: Key) -> &'static str {
    match key {
        Key::Tenant => "tenant",
        Key::Sidecar => "sidecar",
    }
}

/// The table that a grant belongs in.
fn table(origin: &Origin<'_>, key: Key) -> String {
    match key {
        Key::Tenant => format!("tenants.{}.grants", origin.tenant),
        Key::Sidecar => "grants".to_owned(),
    }
}

fn named<'a>(origin: &Origin<'_>, access: &'a Access) -> Named<'a> {
    match (origin.arguments, access) {
        (Arguments::Hash, Access::Process { program, args }) => {
            Named::Process { kind: "process", program, arguments_blake3: hash_words(args) }
        }
        (Arguments::Hash, Access::Digest { path }) => {
            Named::Digest { kind: "digest", path_blake3: hash_words(std::slice::from_ref(path)) }
        }
        // A directory's and a variable's name are the operator's words.
        _ => Named::Full(access),
    }
}

fn head<'a>(origin: &Origin<'a>, event: &'static str, time: SystemTime) -> Head<'a> {
    Head {
        time: stamp(time),
        event,
        tenant: origin.tenant,
        identity: origin.identity.credential.to_string(),
        listener: &origin.identity.listener,
        source: &origin.identity.peer,
        invocation: origin.invocation,
        command: origin.command,
        digest: origin.digest.to_hex().to_string(),
    }
}

/// RFC 3339, in UTC.
fn stamp(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(time).to_string()
}

/// BLAKE3 of words, each preceded by its length in eight bytes, so that different lists have different hashes.
fn hash_words(words: &[String]) -> String {
    let mut hasher = blake3::Hasher::new();
    for word in words {
        hasher.update(&(word.len() as u64).to_le_bytes());
        hasher.update(word.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn push(lines: &mut Lines, record: &impl Serialize) {
    match serde_json::to_string(record) {
        Ok(text) => {
            lines.bytes.extend_from_slice(visible(&text).as_bytes());
            lines.bytes.push(b'\n');
            lines.count += 1;
        }
        // Nothing here can fail to be JSON.
        Err(error) => tracing::error!(%error, "an audit record could not be made"),
    }
}

/// JSON in which no character drives a terminal or breaks a line. It leaves some as they are that do, in strings alone.
fn visible(json: &str) -> Cow<'_, str> {
    if json.is_ascii() && !json.contains('\u{7f}') {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => text.push(character),
        }
    }
    Cow::Owned(text)
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
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
            unmet: vec![Unmet::Variable("LANG".to_owned())],
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
    fn different_words_have_different_hashes() {
        let hash = |words: &[&str]| hash_words(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_ne!(hash(&[""]), hash(&[]));
    }

    #[test]
    fn the_audit_mode_records_what_is_asked_for_in_vain() {
        let lines = lines(&origin(&identity(), Arguments::Full, Mode::Audit), &course(&[], &ledger()));
        let records = parse(&lines);
        assert_eq!(records[0]["event"], "would-be-denied");
        assert_eq!(records[1]["event"], "would-be-denied");
        assert_eq!(records[1]["grant"], "[tenants.t.grants.environment]\n\"LANG\" = \"\"");
        assert_eq!(records[2]["event"], "invocation");
    }
}
