//! The tokens of all tenants.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::config::{self, Config};
use crate::token;

/// All tokens that are accepted.
#[derive(Debug)]
pub struct Tokens {
    all: Vec<Arc<Token>>,
}

/// A token that is accepted.
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    /// The tenant that it is for.
    pub tenant: Arc<str>,
    /// The token itself, as far as it is known.
    config: config::Token,
}

impl Token {
    /// What the log calls it.
    pub fn name(&self) -> &str {
        &self.config.name
    }
}

impl Tokens {
    /// The tokens of a configuration.
    pub fn of(config: &Config) -> Tokens {
        let tokens = config.tenants.values().flat_map(|tenant| {
            let token = |config: &config::Token| Token { tenant: tenant.name.as_str().into(), config: config.clone() };
            tenant.tokens.iter().map(token)
        });
        Tokens { all: tokens.map(Arc::new).collect() }
    }

    /// The token that was presented, if it is accepted: by the tenant `only`, where one is named. Every token is looked
    /// at, so the time that it takes tells nothing of how much was right.
    pub fn find(&self, presented: &str, only: Option<&str>) -> Option<Arc<Token>> {
        let hash = token::hash(presented);
        let mut found = None;
        for token in &self.all {
            let same: bool = token.config.sha256.ct_eq(&hash).into();
            if same && only.is_none_or(|tenant| *token.tenant == *tenant) {
                found = Some(Arc::clone(token));
            }
        }
        found
    }

    /// Whether a token that was found once is accepted still.
    pub fn has(&self, token: &Token) -> bool {
        self.all.iter().any(|known| **known == *token)
    }
}
