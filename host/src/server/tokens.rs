//! The tokens of all tenants, and what becomes of connections when one is taken back.

use std::sync::Arc;

use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config};
use crate::token;

/// All tokens that are accepted.
#[derive(Debug, Default)]
pub struct Tokens {
    all: Vec<Arc<Token>>,
}

/// A token that is accepted.
#[derive(Debug)]
pub struct Token {
    /// The tenant that it is for.
    pub tenant: String,
    /// The token itself, as far as it is known.
    config: config::Token,
    /// Cancelled once it is not accepted any more.
    pub revoked: CancellationToken,
}

impl Token {
    /// What the log calls it.
    pub fn name(&self) -> &str {
        &self.config.name
    }
}

impl Tokens {
    /// The tokens of a configuration. Those that were known before stay the same, and those that are gone are revoked.
    pub fn succeed(&self, config: &Config) -> Tokens {
        let wanted = config.tenants.values().flat_map(|tenant| tenant.tokens.iter().map(|token| (&tenant.name, token)));
        let token = |(tenant, config): (&String, &config::Token)| {
            let known = self.all.iter().find(|known| known.tenant == *tenant && known.config == *config);
            known.cloned().unwrap_or_else(|| {
                Arc::new(Token { tenant: tenant.clone(), config: config.clone(), revoked: CancellationToken::new() })
            })
        };
        let all: Vec<_> = wanted.map(token).collect();
        for gone in self.all.iter().filter(|old| !all.iter().any(|kept| Arc::ptr_eq(old, kept))) {
            gone.revoked.cancel();
        }
        Tokens { all }
    }

    /// The token that was presented, if it is accepted: by the tenant `only`, where one is named. Every token is looked
    /// at, so the time that it takes tells nothing of how much was right.
    pub fn find(&self, presented: &str, only: Option<&str>) -> Option<Arc<Token>> {
        let hash = token::hash(presented);
        let mut found = None;
        for token in &self.all {
            let same: bool = token.config.sha256.ct_eq(&hash).into();
            if same && only.is_none_or(|tenant| token.tenant == tenant) {
                found = Some(Arc::clone(token));
            }
        }
        found
    }
}
