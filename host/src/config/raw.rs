//! The configuration as it was typed: the shape of the file, with every value read but none related to another.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::{Spanned, Value};

use super::units::{Name, Settings};
use super::{Limits, Server};
use crate::policy::Grants;

/// A whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct RawConfig {
    pub server: Server,
    pub listener: Vec<RawListener>,
    pub tenants: BTreeMap<Name, Spanned<RawTenant>>,
}

/// One `[[listener]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct RawListener {
    pub address: Spanned<Address>,
    pub tenant: Spanned<String>,
}

/// One `[tenants.NAME]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct RawTenant {
    pub commands: Vec<PathBuf>,
    pub raw_output: bool,
    pub operator: bool,
    pub grants: Grants,
    pub limits: Limits,
    pub settings: BTreeMap<Name, Settings>,
}

/// A listener's address.
#[derive(Debug, Clone, Copy)]
pub struct Address(pub SocketAddr);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let address = value.as_str().and_then(|text| text.parse().ok());
        address.map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "{value} is no address; write an IP address and a port, \"127.0.0.1:9999\" or \"[::1]:9999\""
            ))
        })
    }
}
