//! Who a client is, as far as the host knows: what it was recognised by, and where it comes from.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What it was recognised by.
    pub credential: Credential,
    /// The listener that it reached, as the readiness line has it.
    pub listener: Arc<str>,
    /// Where it comes from: its address, or that of its process. Behind a proxy it is what the proxy says.
    pub peer: Arc<str>,
}

/// What a client was recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// That it reached the listener.
    Listener,
    /// Its user, by the kernel's word.
    User(u32),
    /// A name in its certificate, with its kind: `cn:alice`.
    Certificate(String),
    /// The name of its token.
    Token(String),
}

/// What counts as one source when connections and mistakes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// An IPv4 address, or an IPv6 network of 64 bits: the smallest that one customer is given.
    Network(IpAddr),
    /// A user of this machine.
    User(u32),
}

impl Source {
    /// The source that an address belongs to.
    pub fn of(address: IpAddr) -> Source {
        Source::Network(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into()),
            v4 => v4,
        })
    }
}

/// One line whatever is in a name, for the log.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.credential {
            Credential::Listener => write!(f, "listener {}", self.listener),
            credential => write!(f, "{credential} on {}", self.listener),
        }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Listener => f.write_str("listener"),
            Credential::User(uid) => write!(f, "uid {uid}"),
            Credential::Certificate(name) => write!(f, "certificate {}", name.escape_debug()),
            Credential::Token(name) => write!(f, "token {name}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Network(address @ IpAddr::V4(_)) => write!(f, "{address}"),
            Source::Network(network) => write!(f, "{network}/64"),
            Source::User(uid) => write!(f, "uid {uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    #[test]
    fn a_source_is_an_address_or_a_network_of_64_bits() {
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:0:0:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        // The same client, whether it reached an IPv4 listener or one for both.
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_eq!(source("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(source("192.0.2.1").to_string(), "192.0.2.1");
    }

    #[test]
    fn a_name_cannot_forge_a_record() {
        let credential = Credential::Certificate("cn:a\nb\x1b[2J".to_owned());
        let identity = Identity { credential, listener: "[::1]:1".into(), peer: "[::1]:2".into() };
        assert_eq!(identity.to_string(), "certificate cn:a\\nb\\u{1b}[2J on [::1]:1");
    }
}
