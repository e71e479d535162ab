//! What a listener asks of whoever connects, and whom it takes them for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use tokio_rustls::TlsAcceptor;

use super::tls;
use crate::config::{CertificateName, Listener, Proof};
use crate::error::{Code, Failure};
use crate::identity::{Credential, Source};

/// A listener's rules, ready for use. A reload makes new ones; connections that are made keep what they are.
pub struct Entrance {
    /// The listener, as its readiness line has it.
    pub listener: Arc<str>,
    /// The networks of its proxies, if it is for proxies.
    pub proxies: Option<Vec<IpNet>>,
    /// What shakes hands, if it speaks TLS.
    pub tls: Option<TlsAcceptor>,
    proof: Proof,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An address.
    Tcp(SocketAddr),
    /// A process of this machine.
    User {
        /// The user that it ran as when it connected.
        uid: u32,
        /// Its number, where it is visible from here.
        pid: Option<i32>,
    },
}

/// What there is to tell by before the first line.
pub enum Recognised {
    /// This tenant's client.
    As(Credential, Arc<str>),
    /// Nobody yet: a token decides, of this tenant if one is named.
    ByToken {
        /// The only tenant whose tokens are accepted.
        only: Option<Arc<str>>,
    },
}

impl Entrance {
    /// The rules of a listener at `place`. Reads its certificates.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn new(place: &str, listener: &Listener) -> Result<Entrance, String> {
        Ok(Entrance {
            listener: place.into(),
            proxies: listener.proxies.clone(),
            tls: listener.tls.as_ref().map(tls::load).transpose()?,
            proof: listener.proof.clone(),
        })
    }

    /// The rules of a listener as it is to be, with the certificates that this one has. `None` where one of the two has none.
    pub fn with_rules_of(&self, listener: &Listener) -> Option<Entrance> {
        let tls = self.tls.clone().filter(|_| listener.tls.is_some())?;
        let (proxies, proof) = (listener.proxies.clone(), listener.proof.clone());
        Some(Entrance { listener: Arc::clone(&self.listener), proxies, tls: Some(tls), proof })
    }

    /// The rules of a listener that is gone: nobody is anyone's client there.
    pub fn closed(place: &str) -> Entrance {
        let proof = Proof::Certificate { tenants: Vec::new(), otherwise: None };
        Entrance { listener: place.into(), proxies: None, tls: None, proof }
    }

    /// Whether something has to be read before it is known whose a connection is.
    pub fn needs_handshake(&self) -> bool {
        self.proxies.is_some() || self.tls.is_some() || matches!(self.proof, Proof::Token { .. })
    }

    /// Whether an address is one of the listener's proxies.
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.proxies.iter().flatten().any(|network| network.contains(&address))
    }

    /// Whose a connection is, by where it comes from and by the names in its certificate.
    ///
    /// # Errors
    /// When it is nobody's here.
    pub fn recognise(&self, origin: Origin, names: &[CertificateName]) -> Result<Recognised, Failure> {
        let denied = |text| Failure::new(Code::Denied, text);
        match (&self.proof, origin) {
            (Proof::Listener { tenant }, _) => Ok(Recognised::As(Credential::Listener, tenant.clone())),
            (Proof::Token { only }, _) => Ok(Recognised::ByToken { only: only.clone() }),
            (Proof::Peers { tenants, otherwise }, Origin::User { uid, .. }) => {
                let known = tenants.iter().find(|(user, _)| *user == uid).map(|(_, tenant)| tenant);
                let tenant = known.or(otherwise.as_ref()).ok_or_else(|| denied("this socket is not for your user"))?;
                Ok(Recognised::As(Credential::User(uid), tenant.clone()))
            }
            (Proof::Peers { .. }, Origin::Tcp(_)) => Err(denied("this listener is for users of its machine")),
            (Proof::Certificate { tenants, otherwise }, _) => {
                let known = tenants.iter().find(|(name, _)| names.contains(name));
                let (name, tenant) = match (known, otherwise) {
                    (Some((name, tenant)), _) => (name.to_string(), tenant),
                    (None, Some(tenant)) => {
                        (names.first().map_or("without a name".to_owned(), ToString::to_string), tenant)
                    }
                    (None, None) => {
                        let shown: Vec<_> = names.iter().map(ToString::to_string).collect();
                        let cause = format!("its names are {:?}", shown.join(" "));
                        return Err(denied("your certificate is not known here").because(cause));
                    }
                };
                Ok(Recognised::As(Credential::Certificate(name), tenant.clone()))
            }
        }
    }
}

impl Origin {
    /// The source that it counts for.
    pub fn source(self) -> Source {
        match self {
            Origin::Tcp(address) => Source::of(address.ip()),
            Origin::User { uid, .. } => Source::User(uid),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Tcp(address) => write!(f, "{address}"),
            Origin::User { uid, pid: Some(pid) } => write!(f, "unix:uid={uid},pid={pid}"),
            Origin::User { uid, pid: None } => write!(f, "unix:uid={uid}"),
        }
    }
}
