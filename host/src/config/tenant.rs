//! One of the parties that share the host, `[tenants.NAME]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::audit::Mode;
use super::limits::Limits;
use super::load::{ConfigError, Document};
use super::parts::{Part, absolute};
use super::raw::{RawTenant, RawToken};
use super::units::{Name, Settings, Sha256};
use crate::policy::Grants;

/// Where the commands of the tenant are that there is when the file has none.
const DEFAULT_COMMANDS: &str = "commands";

/// One of the parties that share the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// The name by which listeners and the log refer to it.
    pub name: String,
    /// The file that it stands in.
    pub file: Option<PathBuf>,
    /// The directories with its commands, as absolute paths. There is at least one.
    pub commands: Vec<PathBuf>,
    /// Whether a command that asks for raw output gets it.
    pub raw_output: bool,
    /// Whether it is the operator's own: its commands are told which files of all tenants do not serve.
    pub operator: bool,
    /// How its grants are recorded.
    pub mode: Mode,
    /// What its commands may do to the machine.
    pub grants: Grants,
    /// How much its commands may use.
    pub limits: Limits,
    /// What shows that a client is the tenant's, where a listener asks for a token.
    pub tokens: Vec<Token>,
    /// Settings by command, over those of the command's sidecar.
    pub settings: BTreeMap<String, BTreeMap<String, String>>,
}

/// A token, of which only the hash is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What the log calls it.
    pub name: String,
    /// The token's SHA-256.
    pub sha256: [u8; 32],
}

/// The tenant that there is when the file has none.
pub fn default_tenant() -> Spanned<RawTenant> {
    let tenant = RawTenant { commands: vec![DEFAULT_COMMANDS.into()], ..RawTenant::default() };
    Spanned::new(0..0, tenant)
}

/// A tenant as it is valid.
///
/// # Errors
/// When it has no commands, or two of its tokens have one name.
pub fn tenant(part: &Part<'_>, name: String, raw: Spanned<RawTenant>) -> Result<Tenant, ConfigError> {
    let (document, directory) = (&part.document, part.directory);
    let place = raw.span();
    let raw = raw.into_inner();
    if raw.commands.is_empty() {
        return Err(document.error(
            place,
            format!("tenants.{name}: it has no commands; name their directories, commands = [\"{DEFAULT_COMMANDS}\"]"),
        ));
    }
    Ok(Tenant {
        name,
        file: part.file.map(Path::to_owned),
        commands: raw.commands.iter().map(|path| absolute(directory, path)).collect(),
        raw_output: raw.raw_output,
        operator: raw.operator,
        mode: raw.mode,
        grants: raw.grants,
        limits: raw.limits,
        tokens: tokens(document, raw.tokens)?,
        settings: raw.settings.into_iter().map(|(Name(command), Settings(settings))| (command, settings)).collect(),
    })
}

/// A tenant's tokens, each under a name of its own.
fn tokens(document: &Document, raw: Vec<Spanned<RawToken>>) -> Result<Vec<Token>, ConfigError> {
    let mut tokens: Vec<Token> = Vec::new();
    for raw in raw {
        let place = raw.span();
        let RawToken { name: Name(name), sha256: Sha256(sha256) } = raw.into_inner();
        if tokens.iter().any(|token| token.name == name) {
            return Err(document.error(place, format!("two tokens of one tenant are called `{name}`")));
        }
        tokens.push(Token { name, sha256 });
    }
    Ok(tokens)
}

/// A token shows one tenant.
///
/// # Errors
/// When two tenants, or two names, have the same.
pub fn check_that_tokens_differ(tenants: &BTreeMap<String, Tenant>) -> Result<(), ConfigError> {
    let mut seen = BTreeMap::new();
    for tenant in tenants.values() {
        for token in &tenant.tokens {
            let this = format!("`{}` of the tenant `{}`", token.name, tenant.name);
            if let Some(other) = seen.insert(token.sha256, this.clone()) {
                return Err(ConfigError::Unfit(format!("the tokens {other} and {this} are the same; make one anew")));
            }
        }
    }
    Ok(())
}
