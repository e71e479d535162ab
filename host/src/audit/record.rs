//! The audit records, a JSON object in a line each.

mod shape;
mod text;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use self::shape::{Counts, Denial, Head, Invocation, Lost, Named, Refusal, Strangers, Word, Words};
use self::text::{hash_words, stamp, visible};
use super::ledger::{Denied, Entries};
use super::refusals::Counted;
use super::strangers::Beyond;
use super::writer::Lines;
use crate::config::{Arguments, Mode};
use crate::identity::Identity;
use crate::policy::{Access, InVain, Key, Unmet};

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
    /// What its sidecar asks for in vain, where that is recorded.
    pub in_vain: Option<&'a InVain>,
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

/// The records of one invocation: one for each denial, and then its own.
pub fn lines(origin: &Origin<'_>, course: &Course<'_>) -> Lines {
    let now = now();
    let mut lines = Lines { bytes: Vec::new(), count: 0 };
    for denied in &course.entries.denials {
        push(&mut lines, &denial(origin, denied));
    }
    for unmet in course.in_vain.iter().flat_map(|in_vain| &in_vain.told) {
        push(&mut lines, &in_vain(origin, unmet, now));
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
        more_unmet: course.in_vain.map_or(0, |in_vain| in_vain.more),
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

/// The records of clients that were not let in and have none of their own, by listener.
pub fn strangers(beyond: &[(String, Beyond)]) -> Lines {
    let mut lines = Lines { bytes: Vec::new(), count: 0 };
    for (listener, Beyond { time, times }) in beyond {
        push(&mut lines, &Strangers { time: stamp(*time), event: "refused", listener, times: *times });
    }
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
        grant: grant
            .filter(|(access, _)| access.can_be_granted())
            .map(|(access, key)| access.grant(key, &key.table(origin.tenant))),
        times: denied.times,
    }
}

fn in_vain<'a>(origin: &'a Origin<'_>, unmet: &Unmet, time: SystemTime) -> Denial<'a> {
    Denial {
        head: head(origin, event(origin), time),
        key: Some(key_name(Key::Tenant)),
        access: None,
        reason: Some(unmet.told(origin.tenant)),
        grant: Some(unmet.grant(&Key::Tenant.table(origin.tenant))),
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

#[cfg(test)]
mod tests;
