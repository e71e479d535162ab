//! `[[listener]]` as it was typed: every value read, none related to another.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use nix::unistd::User;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::{Spanned, Value};

use super::CertificateName;

/// One `[[listener]]` as it was typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct RawListener {
    pub address: Option<Spanned<Address>>,
    pub unix: Option<Spanned<PathBuf>>,
    pub mode: Option<Spanned<Mode>>,
    pub tenant: Option<Spanned<String>>,
    pub peers: Option<Spanned<Vec<Peer>>>,
    pub auth: Option<Spanned<Auth>>,
    pub proxy_protocol: Option<Spanned<bool>>,
    pub trusted_proxies: Option<Spanned<Vec<Network>>>,
    pub tls: Option<Spanned<RawTls>>,
}

/// `[listener.tls]` as it was typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct RawTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: Option<PathBuf>,
    pub clients: Option<Spanned<Vec<Client>>>,
}

/// `{ user = "bob", tenant = "b" }`
#[derive(Debug, Deserialize)]
#[serde(try_from = "PeerKeys")]
pub struct Peer {
    pub uid: u32,
    pub tenant: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table such as { user = \"bob\", tenant = \"b\" }"
)]
struct PeerKeys {
    uid: Option<u32>,
    user: Option<String>,
    tenant: Spanned<String>,
}

impl TryFrom<PeerKeys> for Peer {
    type Error = String;

    fn try_from(keys: PeerKeys) -> Result<Self, String> {
        let uid = match (keys.uid, keys.user) {
            (Some(uid), None) => uid,
            (None, Some(user)) => match User::from_name(&user) {
                Ok(Some(found)) => found.uid.as_raw(),
                Ok(None) => return Err(format!("this machine has no user `{user}`; write a name or a `uid` it knows")),
                Err(error) => return Err(format!("the user `{user}` cannot be looked up: {error}")),
            },
            _ => return Err("a peer has exactly one of the keys `uid` and `user`".to_owned()),
        };
        Ok(Self { uid, tenant: keys.tenant })
    }
}

/// `{ cn = "alice", tenant = "a" }`
#[derive(Debug, Deserialize)]
#[serde(try_from = "ClientKeys")]
pub struct Client {
    pub name: CertificateName,
    pub tenant: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table such as { cn = \"alice\", tenant = \"a\" }"
)]
struct ClientKeys {
    cn: Option<String>,
    dns: Option<String>,
    uri: Option<String>,
    email: Option<String>,
    tenant: Spanned<String>,
}

impl TryFrom<ClientKeys> for Client {
    type Error = String;

    fn try_from(keys: ClientKeys) -> Result<Self, String> {
        let given = [
            keys.cn.map(CertificateName::Cn),
            keys.dns.map(|name| CertificateName::Dns(name.to_ascii_lowercase())),
            keys.uri.map(CertificateName::Uri),
            keys.email.map(CertificateName::Email),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(name), None) => Ok(Self { name, tenant: keys.tenant }),
            _ => Err("a client has exactly one of the keys `cn`, `dns`, `uri` and `email`".to_owned()),
        }
    }
}

/// What a listener's address is like.
pub const AN_ADDRESS: &str = "write an IP address and a port, \"127.0.0.1:9999\" or \"[::1]:9999\"";

/// A listener's address.
#[derive(Debug, Clone, Copy)]
pub struct Address(pub SocketAddr);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let address = value.as_str().and_then(|text| text.parse().ok());
        address.map(Self).ok_or_else(|| D::Error::custom(format!("{value} is no address; {AN_ADDRESS}")))
    }
}

/// The permission bits of a Unix socket. Text, for a bare `600` would be decimal.
#[derive(Debug, Clone, Copy)]
pub struct Mode(pub u32);

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let mode = value.as_str().and_then(|text| u32::from_str_radix(text, 8).ok()).filter(|mode| *mode <= 0o777);
        mode.map(Self).ok_or_else(|| {
            D::Error::custom(format!("{value} is no mode; write its octal digits in quotes, such as \"0660\""))
        })
    }
}

/// A network, or one address.
#[derive(Debug, Clone, Copy)]
pub struct Network(pub IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = value.as_str().unwrap_or_default();
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network.map(Self).ok_or_else(|| {
            D::Error::custom(format!("{value} is no network; write one such as \"10.0.0.0/8\" or \"192.0.2.7\""))
        })
    }
}

/// What a client has to say first.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    Token,
}
