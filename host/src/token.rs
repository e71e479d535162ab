//! Tokens: how one is made, and what the host keeps of it.

use std::fmt::Write;

use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest, Sha256};

use crate::cli::{self, Token};

/// What every token begins with, so that people and programs that look for secrets know one when they see it. It also
/// keeps a token from being taken for a hash.
const PREFIX: &str = "wl_";
/// Random bytes in a token. Nobody guesses so many, which is why a plain hash keeps them: a slow one is for secrets that
/// people choose.
const BYTES: usize = 32;

/// Prints a fresh token, and what goes into the configuration.
///
/// # Errors
/// When there is none, or nobody reads it.
pub fn run(arguments: &Token) -> Result<(), String> {
    cli::print(&announcement(&arguments.name.0, &make()?))
}

/// A fresh token.
///
/// # Errors
/// When the machine has no random bytes.
fn make() -> Result<String, String> {
    let mut bytes = [0; BYTES];
    // So few bytes come whole or not at all (getrandom(2)).
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|error| format!("cannot get random bytes: {error}"))?;
    Ok(format!("{PREFIX}{}", hex(&bytes)))
}

/// What the configuration has of a token.
pub fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// What is printed: the token, and the line that makes a tenant accept it.
fn announcement(name: &str, token: &str) -> String {
    format!("{token}\n\ntokens = [{{ name = \"{name}\", sha256 = \"{}\" }}]\n", hex(&hash(token)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tokens_are_the_same() {
        let (one, two) = (make().unwrap(), make().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), PREFIX.len() + 2 * BYTES);
    }

    #[test]
    fn the_hash_is_what_sha256sum_prints() {
        // printf %s abc | sha256sum
        let shown = announcement("ci", "abc");
        assert!(shown.contains("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"), "{shown}");
    }
}
