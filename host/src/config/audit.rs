//! The audit file, `[audit]`, and a tenant's part in it.

use std::path::PathBuf;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::units;

/// The most old files that are kept. Each is renamed when a new one is begun.
const MAX_KEPT: usize = 1000;

/// Where records of what was done go, and what they hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct Audit {
    /// The file. It has mode 0600.
    pub file: PathBuf,
    /// Bytes at which it is renamed and a new one begun.
    #[serde(default = "max_size", deserialize_with = "units::bytes")]
    pub max_size: u64,
    /// Old files that are kept.
    #[serde(default = "keep", deserialize_with = "kept")]
    pub keep: usize,
    /// Whether what clients type is written out.
    #[serde(default)]
    pub arguments: Arguments,
    /// What happens to lines while records cannot be written.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// What is recorded of what clients type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arguments {
    /// All of it.
    #[default]
    Full,
    /// A hash, by which the same can be known again.
    Hash,
}

/// What happens to lines while records cannot be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// They run, and their records are lost.
    #[default]
    Continue,
    /// They are refused, and no record is lost.
    Refuse,
}

/// How a tenant's grants are recorded. It changes nothing of what is allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Denials alone.
    #[default]
    Enforce,
    /// Also what a command's sidecar asks for in vain, so that `wasmline suggest` finds all that its commands need.
    Audit,
}

fn max_size() -> u64 {
    64 << 20
}

fn keep() -> usize {
    5
}

fn kept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match units::count_or_zero(deserializer)? {
        kept if kept <= MAX_KEPT => Ok(kept),
        kept => Err(D::Error::custom(format!("{kept} is out of range; write a whole number from 0 to {MAX_KEPT}"))),
    }
}
