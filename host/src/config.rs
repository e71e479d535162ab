//! What the operator wants: `wasmline.toml` and the flags that override it, made into one valid value.
//!
//! It goes in two steps. [`raw`] has the shape of the file and reads every value by itself, so that an error points at
//! the value. [`validate`] relates them to one another: listeners to tenants, paths to the file's directory, flags to what
//! they replace. Whoever holds a [`Config`] need not check it again.

mod audit;
mod include;
mod limits;
mod listener;
mod load;
mod nearest;
mod parts;
mod raw;
mod reach;
mod server;
mod tenant;
mod units;
mod validate;

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use self::audit::{Arguments, Audit, Mode, OnFailure};
pub use self::limits::Limits;
pub use self::listener::{AN_ADDRESS, CertificateName, Endpoint, Listener, Proof, Tls};
pub use self::load::{ConfigError, Document, read_regular};
use self::parts::Part;
use self::raw::{RawConfig, RawIncluded};
pub use self::server::{Server, cores};
pub use self::tenant::{Tenant, Token};
pub use self::units::{NAMES, Name, is_name, settings};
use self::validate::validate;

/// The file that is used when none is named.
const DEFAULT_FILE: &str = "wasmline.toml";
/// The tenant that there is when the file has none, and that flags are about when it has several.
const DEFAULT_TENANT: &str = "default";
/// Threads for blocking work that is no job on a file: starting children, which is short, now and then waiting for one, and
/// reading the commands directories. There are as many as are needed at once.
pub const BLOCKING_THREADS: usize = 512;
/// Invocations at once for which there is room however few the tenants may have, so that tenants can be added.
const FEWEST_INVOCATIONS: usize = 256;

/// A configuration that holds together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from; `None` when there was none.
    pub source: Option<PathBuf>,
    /// The directories of further files, as absolute paths.
    pub include: Vec<PathBuf>,
    /// What concerns all tenants together.
    pub server: Server,
    /// Where clients are accepted. There is at least one.
    pub listeners: Vec<Listener>,
    /// The tenants by their names. Each listener's tenant is among them.
    pub tenants: BTreeMap<String, Tenant>,
    /// Where records of what was done go, if anywhere.
    pub audit: Option<Audit>,
}

/// What the flags and the environment say. It goes over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Replaces all listeners, unless empty.
    pub listen: Vec<SocketAddr>,
    /// Replaces the directories of the tenant that `listen` serves.
    pub commands: Option<PathBuf>,
    /// Replaces `server.max-connections`.
    pub max_connections: Option<usize>,
    /// Replaces `server.cache`.
    pub cache: Option<PathBuf>,
    /// Whether instances are made as the engine makes them by default.
    pub engine_defaults: bool,
}

impl Config {
    /// Reads the file at `path`, or `wasmline.toml` in the current directory if there is one, and applies `overrides`.
    ///
    /// With no file at all there is one tenant with nothing granted.
    ///
    /// # Errors
    /// When the file cannot be read, or does not say what it may; the text has the place.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        // It may have been removed, which is none of the matter of those who name no path that begins there.
        let named = [path, overrides.commands.as_deref(), overrides.cache.as_deref()];
        let is_needed = path.is_none() || named.into_iter().flatten().any(Path::is_relative);
        let directory = match env::current_dir() {
            Err(error) if is_needed => {
                return Err(ConfigError::Unfit(format!(
                    "the current directory is not to be had: {error}; name absolute paths, `--config` first of all"
                )));
            }
            found => found.unwrap_or_else(|_| PathBuf::from("/")),
        };
        Self::load_in(&directory, path, overrides)
    }

    /// The most memory that any tenant allows an invocation, in bytes.
    pub fn largest_memory(&self) -> usize {
        self.tenants.values().map(|tenant| tenant.limits.memory).max().unwrap_or_default()
    }

    /// One tenant with these limits.
    #[cfg(test)]
    pub fn for_test(limits: &str) -> Self {
        let text = format!("[tenants.default]\ncommands = ['c']\n[tenants.default.limits]\n{limits}");
        let document = Document::new(Path::new("test.toml"), text.as_bytes()).expect("text");
        let raw: RawConfig = document.parse().expect("valid limits");
        let directory = Path::new("/");
        let (part, common) = raw.take_apart(document, directory, None);
        validate(vec![part], common, directory, &Overrides::default()).expect("a valid configuration")
    }

    /// Invocations at once, all tenants together.
    pub fn invocations(&self) -> usize {
        let wanted = || self.tenants.values().map(|tenant| tenant.limits.concurrency).sum::<usize>();
        self.server.max_invocations.unwrap_or_else(|| wanted().max(FEWEST_INVOCATIONS))
    }

    /// The tenant of that name; where none is given, the one that is meant.
    ///
    /// # Errors
    /// When there is no such tenant; the text names those there are.
    pub fn tenant_named(&self, name: Option<&str>) -> Result<&Tenant, String> {
        let only = self.tenants.keys().next().filter(|_| self.tenants.len() == 1);
        let wanted = name.or(only.map(String::as_str)).unwrap_or(DEFAULT_TENANT);
        self.tenants.get(wanted).ok_or_else(|| {
            let names = self.tenants.keys().map(String::as_str);
            format!("there is no tenant `{wanted}`; {}", nearest::suggestion(wanted, names))
        })
    }

    fn load_in(directory: &Path, path: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let name = path.unwrap_or(Path::new(DEFAULT_FILE));
        let file = directory.join(name);
        let overrides = overrides.beneath(directory);
        match load::read_file(&file, name) {
            Ok(bytes) => {
                let beside = file.parent().unwrap_or(directory);
                if bytes.is_empty() {
                    // A file that is being written looks like this; taking it for a configuration without grants and
                    // listeners would undo a running one.
                    let file = name.display();
                    return Err(ConfigError::Unfit(format!(
                        "{file}: is empty; remove it to run without a configuration"
                    )));
                }
                let document = Document::new(name, &bytes)?;
                let raw: RawConfig = document.parse()?;
                let included = include::read(&raw.include, beside)?;
                let (main, common) = raw.take_apart(document, beside, Some(&file));
                let mut parts = vec![main];
                for file in &included {
                    let document = Document::new(&file.path, &file.bytes)?;
                    let RawIncluded { listener, tenants } = document.parse()?;
                    let directory = file.path.parent().unwrap_or(beside);
                    parts.push(Part { document, directory, file: Some(&file.path), listener, tenants });
                }
                let config = validate(parts, common, beside, &overrides)?;
                reach::check(&config).map_err(|why| ConfigError::Unfit(format!("{}: {why}", name.display())))?;
                Ok(config)
            }
            Err(ConfigError::Unreadable { source, .. })
                if path.is_none() && source.kind() == io::ErrorKind::NotFound =>
            {
                let (part, common) = RawConfig::default().take_apart(Document::new(name, b"")?, directory, None);
                validate(vec![part], common, directory, &overrides)
            }
            Err(error) => Err(error),
        }
    }
}

impl Overrides {
    /// The same with its paths made absolute: flags are relative to the current directory, not to the file's.
    fn beneath(&self, directory: &Path) -> Self {
        Self {
            commands: self.commands.as_ref().map(|path| directory.join(path)),
            cache: self.cache.as_ref().map(|path| directory.join(path)),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests;
