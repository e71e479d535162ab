//! The configuration as it was typed: the shape of the file, with every value read but none related to another.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::listener::RawListener;
use super::units::{Name, Settings, Sha256};
use super::{Audit, Limits, Mode, Server};
use crate::policy::Grants;

/// A whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct RawConfig {
    pub include: Vec<PathBuf>,
    pub server: Server,
    pub listener: Vec<Spanned<RawListener>>,
    pub tenants: BTreeMap<Name, Spanned<RawTenant>>,
    pub audit: Option<Audit>,
}

/// A file of an included directory. What concerns all tenants is none of its business.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct RawIncluded {
    pub listener: Vec<Spanned<RawListener>>,
    pub tenants: BTreeMap<Name, Spanned<RawTenant>>,
}

/// One `[tenants.NAME]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct RawTenant {
    pub commands: Vec<PathBuf>,
    pub raw_output: bool,
    pub operator: bool,
    pub mode: Mode,
    pub grants: Grants,
    pub limits: Limits,
    pub tokens: Vec<Spanned<RawToken>>,
    pub settings: BTreeMap<Name, Settings>,
}

/// One of a tenant's `tokens`.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table such as { name = \"ci\", sha256 = \"…\" }"
)]
pub struct RawToken {
    pub name: Name,
    pub sha256: Sha256,
}
