//! What a client has shown, and whether that still counts when the configuration is another.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::entrance::{Entrance, Origin, Recognised};
use super::tokens::{Token, Tokens};
use crate::config::CertificateName;
use crate::identity::Credential;

/// What a connection's client has shown. It is looked at again after each reload, so that who is taken out of the
/// configuration is out.
pub struct Standing {
    /// The listener's rules as they are at any time.
    pub rules: Arc<ArcSwap<Entrance>>,
    /// Where it came from.
    pub origin: Origin,
    /// What it has shown besides.
    pub evidence: Evidence,
    /// What it was recognised by.
    pub credential: Credential,
    /// For whom.
    pub tenant: Arc<str>,
}

/// What a client has shown beside where it comes from.
pub enum Evidence {
    /// Nothing.
    Origin,
    /// The names in its certificate.
    Names(Vec<CertificateName>),
    /// A token.
    Token(Arc<Token>),
}

impl Standing {
    /// Whether a client that showed the same now would be taken for the same.
    pub fn holds(&self, tokens: &Tokens) -> bool {
        let names = match &self.evidence {
            Evidence::Names(names) => names.as_slice(),
            Evidence::Origin | Evidence::Token(_) => &[],
        };
        match (self.rules.load().recognise(self.origin, names), &self.evidence) {
            (Ok(Recognised::As(credential, tenant)), Evidence::Origin | Evidence::Names(_)) => {
                credential == self.credential && tenant == self.tenant
            }
            (Ok(Recognised::ByToken { only }), Evidence::Token(token)) => {
                tokens.has(token) && only.is_none_or(|tenant| tenant == self.tenant)
            }
            _ => false,
        }
    }
}
