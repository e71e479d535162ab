//! Where clients are accepted, and what shows on whose behalf each is served: `[[listener]]`.

mod raw;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use toml::Spanned;

pub use self::raw::{AN_ADDRESS, RawListener};
use self::raw::{Client, Mode, Network, Peer, RawTls};
use super::load::{ConfigError, Document};
use super::nearest;
use super::parts::{RawTenants, absolute};

/// Bytes of the longest path that a Unix socket can have (`sun_path` in unix(7), without its NUL).
const MAX_SOCKET_PATH: usize = 107;
/// Who may connect to a Unix socket unless something else is said: the user that the host runs as.
const DEFAULT_MODE: u32 = 0o600;

/// A place at which clients are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where it is.
    pub place: Endpoint,
    /// The networks of the proxies that speak here for clients. With `None` clients speak for themselves.
    pub proxies: Option<Vec<IpNet>>,
    /// What TLS is spoken with, if it is.
    pub tls: Option<Tls>,
    /// What shows on whose behalf a client is served.
    pub proof: Proof,
}

/// Where a listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address. Port 0 leaves the choice to the machine.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix {
        /// Its path, absolute.
        path: PathBuf,
        /// Its permission bits. Who may write to it may connect.
        mode: u32,
    },
}

/// The files that TLS is spoken with, as absolute paths. They are read when the listener opens, and at each reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The host's certificate and those that vouch for it, PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, PEM.
    pub key: PathBuf,
    /// The certificates that clients' ones must come from, PEM. Without it clients are not asked for one.
    pub client_ca: Option<PathBuf>,
}

/// What shows on whose behalf a client is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// That it reached the listener.
    Listener {
        /// The listener's tenant.
        tenant: Arc<str>,
    },
    /// The user at the other end of a Unix socket, by the kernel's word.
    Peers {
        /// Tenants by user.
        tenants: Vec<(u32, Arc<str>)>,
        /// The tenant of all other users. With `None` they are refused.
        otherwise: Option<Arc<str>>,
    },
    /// A name in its certificate.
    Certificate {
        /// Tenants by name. The first that fits counts.
        tenants: Vec<(CertificateName, Arc<str>)>,
        /// The tenant of all other certificates of the client CA. With `None` they are refused.
        otherwise: Option<Arc<str>>,
    },
    /// A token of the tenant's, on the first line.
    Token {
        /// The only tenant whose tokens are accepted here.
        only: Option<Arc<str>>,
    },
}

/// A name in a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateName {
    /// The common name of its subject.
    Cn(String),
    /// A DNS name among its alternative ones, in lower case.
    Dns(String),
    /// A URI among its alternative names, such as a SPIFFE ID.
    Uri(String),
    /// A mail address among its alternative names.
    Email(String),
}

impl Listener {
    /// A TCP listener all of whose clients are served for the tenant.
    pub fn plain(address: SocketAddr, tenant: &str) -> Self {
        let proof = Proof::Listener { tenant: tenant.into() };
        Self { place: Endpoint::Tcp(address), proxies: None, tls: None, proof }
    }

    /// Whether somebody may be served there for a tenant of which this is true.
    pub fn is_for_one_of(&self, is_one: impl Fn(&str) -> bool) -> bool {
        match &self.proof {
            Proof::Listener { tenant } => is_one(tenant),
            Proof::Peers { tenants, otherwise } => {
                tenants.iter().map(|(_, tenant)| tenant).chain(otherwise).any(|tenant| is_one(tenant))
            }
            Proof::Certificate { tenants, otherwise } => {
                tenants.iter().map(|(_, tenant)| tenant).chain(otherwise).any(|tenant| is_one(tenant))
            }
            Proof::Token { only } => only.as_ref().is_none_or(|tenant| is_one(tenant)),
        }
    }
}

impl Endpoint {
    /// Whether it is the same wherever and whenever it is asked for, as a port of the machine's choice is not.
    pub fn is_fixed(&self) -> bool {
        !matches!(self, Self::Tcp(address) if address.port() == 0)
    }

    /// Whether two listeners cannot both be there.
    pub fn is_same(&self, other: &Endpoint) -> bool {
        self.is_fixed() && self.to_string() == other.to_string()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cn(name) => write!(f, "cn:{name}"),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(name) => write!(f, "uri:{name}"),
            Self::Email(name) => write!(f, "email:{name}"),
        }
    }
}

/// The listeners of the file, each in a place of its own and for tenants that there are.
///
/// # Errors
/// When two have one place, or a key does not fit the others.
pub fn listeners(
    document: &Document,
    raw: Vec<Spanned<RawListener>>,
    tenants: &RawTenants,
    directory: &Path,
) -> Result<Vec<Listener>, ConfigError> {
    let reader = Reader { document, tenants, directory };
    let mut lines = HashMap::new();
    let mut listeners = Vec::new();
    for raw in raw {
        let (whole, raw) = (raw.span(), raw.into_inner());
        let (key, span) = match (&raw.address, &raw.unix) {
            (Some(address), None) => ("address", address.span()),
            (None, Some(path)) => ("unix", path.span()),
            (Some(_), Some(path)) => {
                return Err(document.error(path.span(), "listener.unix: a listener has either an `address` or this"));
            }
            (None, None) => {
                return Err(document.error(whole, "listener: it needs an `address`, or `unix` with a socket's path"));
            }
        };
        let listener = reader.listener(whole, raw)?;
        let line = document.line(span.clone());
        // The machine gives every listener on port 0 a port of its own.
        if listener.place.is_fixed()
            && let Some(other) = lines.insert(listener.place.to_string(), line)
        {
            let text = format!("listener.{key}: {} is taken by the listener on line {other}", listener.place);
            return Err(document.error(span, text));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Listeners that stand in no file, all for one tenant.
///
/// # Errors
/// When two have one place.
pub fn flag_listeners(addresses: &[SocketAddr], tenant: &str) -> Result<Vec<Listener>, ConfigError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for &address in addresses {
        let listener = Listener::plain(address, tenant);
        if listeners.iter().any(|other| other.place.is_same(&listener.place)) {
            return Err(ConfigError::Unfit(format!("--listen names {address} twice")));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

/// What a listener's keys are related to.
struct Reader<'a> {
    document: &'a Document<'a>,
    tenants: &'a RawTenants,
    directory: &'a Path,
}

type Span = std::ops::Range<usize>;

impl Reader<'_> {
    fn listener(&self, whole: Span, raw: RawListener) -> Result<Listener, ConfigError> {
        self.check_that_keys_fit(&raw)?;
        let proxies = self.proxies(raw.proxy_protocol, raw.trusted_proxies)?;
        let (tls, clients) = match raw.tls {
            Some(tls) => self.tls(tls)?,
            None => (None, None),
        };
        let otherwise = raw.tenant.map(|tenant| self.tenant("listener.tenant", tenant)).transpose()?;
        let asks_for_certificate = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let proof = if raw.auth.is_some() {
            Proof::Token { only: otherwise }
        } else if let Some(peers) = raw.peers {
            let tenant = |Peer { uid, tenant }| Ok((uid, self.tenant("listener.peers", tenant)?));
            Proof::Peers { tenants: peers.into_inner().into_iter().map(tenant).collect::<Result<_, _>>()?, otherwise }
        } else if asks_for_certificate && (clients.is_some() || otherwise.is_some()) {
            let tenant = |Client { name, tenant }| Ok((name, self.tenant("listener.tls.clients", tenant)?));
            let tenants = clients.unwrap_or_default().into_iter().map(tenant).collect::<Result<_, _>>()?;
            Proof::Certificate { tenants, otherwise }
        } else if let Some(tenant) = otherwise {
            Proof::Listener { tenant }
        } else {
            return Err(self.document.error(whole, "listener: the key `tenant` is missing"));
        };
        let place = match (raw.address, raw.unix) {
            (Some(address), _) => Endpoint::Tcp(address.into_inner().0),
            (None, Some(path)) => self.unix(path, raw.mode)?,
            (None, None) => return Err(self.document.error(whole, "listener: the key `address` is missing")),
        };
        Ok(Listener { place, proxies, tls, proof })
    }

    /// Whether every key belongs to the kind of listener that it stands in, and no two ask for different proofs.
    fn check_that_keys_fit(&self, raw: &RawListener) -> Result<(), ConfigError> {
        let only_unix = [("mode", span(&raw.mode)), ("peers", span(&raw.peers))];
        let only_tcp = [
            ("tls", span(&raw.tls)),
            ("proxy-protocol", span(&raw.proxy_protocol)),
            ("trusted-proxies", span(&raw.trusted_proxies)),
        ];
        let (misplaced, needed) =
            if raw.unix.is_some() { (&only_tcp[..], "address") } else { (&only_unix[..], "unix") };
        if let Some((key, Some(place))) = misplaced.iter().find(|(_, place)| place.is_some()) {
            let text = format!("listener.{key}: this is for listeners with `{needed}`");
            return Err(self.document.error(place.clone(), text));
        }
        let clients = raw.tls.as_ref().and_then(|tls| span(&tls.get_ref().clients));
        let proofs = [("peers", span(&raw.peers)), ("tls.clients", clients)];
        if raw.auth.is_some()
            && let Some((key, Some(place))) = proofs.iter().find(|(_, place)| place.is_some())
        {
            let text = format!("listener.{key}: `auth = \"token\"` names the tenant already; remove one of the two");
            return Err(self.document.error(place.clone(), text));
        }
        Ok(())
    }

    fn proxies(
        &self,
        spoken: Option<Spanned<bool>>,
        trusted: Option<Spanned<Vec<Network>>>,
    ) -> Result<Option<Vec<IpNet>>, ConfigError> {
        match (spoken.filter(|spoken| *spoken.get_ref()), trusted) {
            (Some(_), Some(trusted)) if !trusted.get_ref().is_empty() => {
                Ok(Some(trusted.into_inner().into_iter().map(|Network(network)| network).collect()))
            }
            (Some(spoken), _) => Err(self.document.error(
                spoken.span(),
                "listener.proxy-protocol: anyone could claim any address; name the proxies, \
                 trusted-proxies = [\"192.0.2.7\"]",
            )),
            (None, Some(trusted)) => Err(self.document.error(
                trusted.span(),
                "listener.trusted-proxies: they say nothing here without `proxy-protocol = true`",
            )),
            (None, None) => Ok(None),
        }
    }

    fn tls(&self, raw: Spanned<RawTls>) -> Result<(Option<Tls>, Option<Vec<Client>>), ConfigError> {
        let RawTls { certificate, key, client_ca, clients } = raw.into_inner();
        if client_ca.is_none()
            && let Some(clients) = &clients
        {
            let text = "listener.tls.clients: clients show no certificate without `client-ca`";
            return Err(self.document.error(clients.span(), text));
        }
        let path = |path: PathBuf| absolute(self.directory, &path);
        let tls = Tls { certificate: path(certificate), key: path(key), client_ca: client_ca.map(path) };
        Ok((Some(tls), clients.map(Spanned::into_inner)))
    }

    fn unix(&self, path: Spanned<PathBuf>, mode: Option<Spanned<Mode>>) -> Result<Endpoint, ConfigError> {
        let place = path.span();
        let path = absolute(self.directory, path.get_ref());
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_PATH {
            let text = format!("listener.unix: the path has {length} bytes; a socket's may have {MAX_SOCKET_PATH}");
            return Err(self.document.error(place, text));
        }
        let mode = mode.map_or(DEFAULT_MODE, |mode| mode.into_inner().0);
        Ok(Endpoint::Unix { path, mode })
    }

    /// The name of a tenant that there is.
    fn tenant(&self, key: &str, tenant: Spanned<String>) -> Result<Arc<str>, ConfigError> {
        let names = || self.tenants.keys().map(|name| name.0.as_str());
        let wanted = tenant.get_ref();
        if !names().any(|name| name == wanted) {
            let text = format!("{key}: there is no tenant `{wanted}`; {}", nearest::suggestion(wanted, names()));
            return Err(self.document.error(tenant.span(), text));
        }
        Ok(tenant.into_inner().into())
    }
}

fn span<T>(value: &Option<Spanned<T>>) -> Option<Span> {
    value.as_ref().map(Spanned::span)
}

#[cfg(test)]
mod tests;
