//! What can be said of the configuration's listeners without opening any.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::entrance::Entrance;
use crate::config::{Config, Endpoint, Proof};

/// What keeps the configuration's listeners from serving anybody, without opening any.
pub fn check(config: &Config) -> Vec<(&Endpoint, String)> {
    let mut problems = Vec::new();
    for listener in &config.listeners {
        let entrance = Entrance::new("", listener).err();
        let found = [no_directory(&listener.place), entrance, nobody_has_a_token(config, &listener.proof)];
        problems.extend(found.into_iter().flatten().map(|problem| (&listener.place, problem)));
    }
    problems
}

fn no_directory(place: &Endpoint) -> Option<String> {
    let Endpoint::Unix { path, .. } = place else { return None };
    let is_missing = path.parent()?.try_exists().is_ok_and(|exists| !exists);
    is_missing.then(|| format!("there is no directory for {}", path.display()))
}

fn nobody_has_a_token(config: &Config, proof: &Proof) -> Option<String> {
    let Proof::Token { only } = proof else { return None };
    let mut tenants = config.tenants.values().filter(|tenant| only.as_ref().is_none_or(|only| **only == *tenant.name));
    tenants.all(|tenant| tenant.tokens.is_empty()).then(|| {
        let what = match only {
            Some(only) => format!("a token of the tenant {only}, which has none"),
            None => "a token, and no tenant has one".to_owned(),
        };
        format!("it asks for {what}; `wasmline token` makes one")
    })
}

/// Addresses of the configuration's listeners that this machine does not have.
pub fn foreign(config: &Config) -> Vec<&Endpoint> {
    // On a port of the machine's choice, for a host may serve on that of the listener.
    let bind = |address: &SocketAddr| TcpListener::bind((address.ip(), 0));
    let is_foreign = |place: &&Endpoint| match place {
        Endpoint::Tcp(address) => bind(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable),
        Endpoint::Unix { .. } => false,
    };
    config.listeners.iter().map(|listener| &listener.place).filter(is_foreign).collect()
}
