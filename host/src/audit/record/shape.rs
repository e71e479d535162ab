//! What stands in a record: its keys, in their order.

use serde::Serialize;

use crate::policy::Access;

/// What begins the records of an invocation.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Head<'a> {
    pub time: String,
    pub event: &'static str,
    pub tenant: &'a str,
    pub identity: String,
    pub listener: &'a str,
    pub source: &'a str,
    pub invocation: u64,
    pub command: &'a str,
    pub digest: String,
}

/// How an invocation went.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Invocation<'a> {
    #[serde(flatten)]
    pub head: Head<'a>,
    #[serde(flatten)]
    pub arguments: Words<'a>,
    pub grants: Vec<Named<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    pub more_grants: u64,
    pub denials: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub more_unmet: u64,
    pub outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'a str>,
    pub cpu_seconds: f64,
    pub wall_seconds: f64,
    pub bytes: u64,
    pub peak_memory: usize,
}

/// What was denied, or would have been.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Denial<'a> {
    #[serde(flatten)]
    pub head: Head<'a>,
    pub key: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Named<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    pub times: u64,
}

/// A client that was not let in.
#[derive(Serialize)]
pub struct Refusal<'a> {
    pub time: String,
    pub event: &'static str,
    pub listener: &'a str,
    pub source: &'a str,
    pub reason: &'a str,
}

/// Clients that were not let in and have no records of their own.
#[derive(Serialize)]
pub struct Strangers<'a> {
    pub time: String,
    pub event: &'static str,
    pub listener: &'a str,
    pub times: u64,
}

/// Lines that did not begin.
#[derive(Serialize)]
pub struct Counts<'a> {
    pub time: String,
    pub event: &'static str,
    pub tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
    #[serde(flatten)]
    pub word: Word<'a>,
    pub outcome: &'static str,
    pub times: u64,
}

/// The first word of a line, which need not be the name of a command.
#[derive(Serialize)]
pub enum Word<'a> {
    #[serde(rename = "command")]
    Full(&'a str),
    #[serde(rename = "command-blake3")]
    Hash(String),
}

/// Records that are not there.
#[derive(Serialize)]
pub struct Lost {
    pub time: String,
    pub event: &'static str,
    pub records: u64,
}

/// An access as it is recorded: whole, or with what the client may have typed replaced by its hash.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Named<'a> {
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

/// The words after a command's name.
#[derive(Serialize)]
pub enum Words<'a> {
    #[serde(rename = "arguments")]
    Full(&'a [String]),
    #[serde(rename = "arguments-blake3")]
    Hash(String),
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
