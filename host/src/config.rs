//! What the operator wants: `wasmline.toml` and the flags that override it, made into one valid value.
//!
//! It goes in two steps. [`raw`] has the shape of the file and reads every value by itself, so that an error points at
//! the value. This module relates them to one another: listeners to tenants, paths to the file's directory, flags to
//! what they replace. Whoever holds a [`Config`] need not check it again.

mod audit;
mod include;
mod limits;
mod listener;
mod load;
mod nearest;
mod parts;
mod raw;
mod reach;
mod units;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

pub use self::audit::{Arguments, Audit, Mode, OnFailure};
pub use self::limits::Limits;
use self::listener::flag_listeners;
pub use self::listener::{CertificateName, Listener, Place, Proof, Tls};
pub use self::load::{ConfigError, Document};
use self::parts::{Part, RawTenants, Typed, listeners_of, tenants_of};
use self::raw::{RawConfig, RawIncluded, RawTenant, RawToken};
use self::units::{MAX_COUNT, Settings, Sha256};
pub use self::units::{Name, is_name, settings};
use crate::policy::Grants;

/// The file that is used when none is named.
const DEFAULT_FILE: &str = "wasmline.toml";
/// The tenant that there is when the file has none, and that flags are about when it has several.
const DEFAULT_TENANT: &str = "default";
/// Where that tenant's commands are unless something else is said.
const DEFAULT_COMMANDS: &str = "commands";
/// Threads for blocking work that has no place of its own among the jobs: starting children, which is short, and reading the
/// commands directories.
const BLOCKING_THREADS: usize = 512;
/// Invocations at once for which there is room however few the tenants may have, so that tenants can be added.
const FEWEST_INVOCATIONS: usize = 256;
/// The fewest file operations at once that are the default: a tenant whose file system hangs must not have the only place.
const FEWEST_FILE_JOBS: usize = 2;
/// The address of the listener that there is when none is named.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9999);

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

/// What concerns all tenants together, `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct Server {
    /// Connections at once, all listeners together.
    #[serde(deserialize_with = "units::count")]
    pub max_connections: usize,
    /// Connections at once from one source: an IPv4 address, an IPv6 network of 64 bits, a user of this machine.
    #[serde(deserialize_with = "units::count")]
    pub max_connections_per_source: usize,
    /// Connections at once that still have to show whose they are, all listeners together.
    #[serde(deserialize_with = "units::count")]
    pub max_handshakes: usize,
    /// The same from one source.
    #[serde(deserialize_with = "units::count")]
    pub max_handshakes_per_source: usize,
    /// How long a client may take to show whose it is: PROXY header, TLS and token together.
    #[serde(deserialize_with = "units::duration")]
    pub handshake_timeout: Duration,
    /// The longest line in bytes, without LF and one CR before it.
    #[serde(deserialize_with = "units::bytes")]
    pub max_line: usize,
    /// How long a connection may be silent between two lines.
    #[serde(deserialize_with = "units::duration")]
    pub idle_timeout: Duration,
    /// How long a line may take from its first byte to its LF.
    #[serde(deserialize_with = "units::duration")]
    pub line_timeout: Duration,
    /// How long a client may take to accept what is buffered for it.
    #[serde(deserialize_with = "units::duration")]
    pub write_timeout: Duration,
    /// How long running commands may go on once the server is told to stop.
    #[serde(deserialize_with = "units::duration")]
    pub drain_timeout: Duration,
    /// Invocations at once, all tenants together. Without it, as many as all tenants may have, and no fewer than 256.
    #[serde(deserialize_with = "units::some_count")]
    pub max_invocations: Option<usize>,
    /// Child processes at once, all tenants together. Without it, as many as all tenants may have, and no more than half of
    /// the processes that the machine gives the host.
    #[serde(deserialize_with = "units::some_count")]
    pub max_children: Option<usize>,
    /// Instances that are kept for their connections' next lines, all tenants together.
    #[serde(deserialize_with = "units::count")]
    pub kept_instances: usize,
    /// Bytes of memory that all commands together may have. Without it, three quarters of the machine's.
    #[serde(deserialize_with = "units::some_bytes")]
    pub memory: Option<usize>,
    /// Hash jobs at once, all tenants together.
    #[serde(deserialize_with = "units::count")]
    pub hash_jobs: usize,
    /// File operations of WASI programs at once, all tenants together.
    #[serde(deserialize_with = "units::count")]
    pub file_jobs: usize,
    /// Compilations at once, all tenants together.
    #[serde(deserialize_with = "units::count")]
    pub compile_jobs: usize,
    /// How long the start waits for commands to be compiled before the host serves without them.
    #[serde(deserialize_with = "units::duration")]
    pub startup_timeout: Duration,
    /// A directory of the host's own for compiled commands.
    pub cache: PathBuf,
    /// Bytes of compiled code that are kept there.
    #[serde(deserialize_with = "units::bytes")]
    pub cache_size: u64,
    /// Whether instances are made as the engine makes them by default. A flag says it, never a file.
    #[serde(skip)]
    pub engine_defaults: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_connections_per_source: 256,
            max_handshakes: 512,
            max_handshakes_per_source: 128,
            handshake_timeout: Duration::from_secs(10),
            max_line: 16 * 1024,
            idle_timeout: Duration::from_mins(30),
            line_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            max_invocations: None,
            kept_instances: 256,
            max_children: None,
            memory: None,
            hash_jobs: cores(),
            file_jobs: cores().max(FEWEST_FILE_JOBS),
            compile_jobs: cores(),
            startup_timeout: Duration::from_secs(60),
            cache: default_cache(env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")),
            cache_size: 4 << 30,
            engine_defaults: false,
        }
    }
}

impl Config {
    /// Reads the file at `path`, or `wasmline.toml` in the current directory if there is one, and applies `overrides`.
    ///
    /// With no file at all there is one tenant with nothing granted.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let directory = env::current_dir()
            .map_err(|error| ConfigError::Unfit(format!("the current directory is not to be had: {error}")))?;
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
        let common = Common { server: raw.server, audit: raw.audit, include: raw.include };
        let part = Part { document, directory, file: None, listener: raw.listener, tenants: raw.tenants };
        Self::validate(vec![part], common, directory, &Overrides::default()).expect("a valid configuration")
    }

    /// Invocations at once, all tenants together.
    pub fn invocations(&self) -> usize {
        let wanted = || self.tenants.values().map(|tenant| tenant.limits.concurrency).sum::<usize>();
        self.server.max_invocations.unwrap_or_else(|| wanted().max(FEWEST_INVOCATIONS))
    }

    /// Threads that may block: so many that whoever has a place for a job has a thread for it.
    pub fn blocking_threads(&self) -> usize {
        BLOCKING_THREADS + self.server.hash_jobs + self.server.file_jobs
    }

    /// The tenant of that name; where none is given, the one that is meant.
    ///
    /// # Errors
    /// When there is no such tenant; the text names those there are.
    pub fn tenant_named<'a>(&'a self, name: Option<&'a str>) -> Result<&'a str, String> {
        let only = self.tenants.keys().next().filter(|_| self.tenants.len() == 1);
        let wanted = name.or(only.map(String::as_str)).unwrap_or(DEFAULT_TENANT);
        match self.tenants.contains_key(wanted) {
            true => Ok(wanted),
            false => {
                let names = self.tenants.keys().map(String::as_str);
                Err(format!("there is no tenant `{wanted}`; {}", nearest::suggestion(wanted, names)))
            }
        }
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
                let mut parts = vec![Part {
                    document,
                    directory: beside,
                    file: Some(&file),
                    listener: raw.listener,
                    tenants: raw.tenants,
                }];
                for file in &included {
                    let document = Document::new(&file.path, &file.bytes)?;
                    let RawIncluded { listener, tenants } = document.parse()?;
                    let directory = file.path.parent().unwrap_or(beside);
                    parts.push(Part { document, directory, file: Some(&file.path), listener, tenants });
                }
                let common = Common { server: raw.server, audit: raw.audit, include: raw.include };
                let config = Self::validate(parts, common, beside, &overrides)?;
                reach::check(&config).map_err(|why| ConfigError::Unfit(format!("{}: {why}", name.display())))?;
                Ok(config)
            }
            Err(ConfigError::Unreadable { source, .. })
                if path.is_none() && source.kind() == io::ErrorKind::NotFound =>
            {
                let (document, raw) = (Document::new(name, b"")?, RawConfig::default());
                let common = Common { server: raw.server, audit: raw.audit, include: raw.include };
                let part = Part { document, directory, file: None, listener: raw.listener, tenants: raw.tenants };
                Self::validate(vec![part], common, directory, &overrides)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes what was typed into what is valid. The first part is the main file, which lies in `directory`.
    fn validate(
        mut parts: Vec<Part<'_>>,
        common: Common,
        directory: &Path,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let mut raw_tenants = tenants_of(&mut parts)?;
        if raw_tenants.is_empty() {
            raw_tenants.insert(Name(DEFAULT_TENANT.to_owned()), Typed { part: 0, tenant: default_tenant() });
        }
        if let Some(commands) = &overrides.commands {
            let tenant = main_tenant(&mut raw_tenants, "--commands")?.1;
            tenant.get_mut().commands = vec![commands.clone()];
        }
        let server = server(common.server, directory, overrides)?;
        let mut listeners = listeners_of(&mut parts, &raw_tenants)?;
        if !overrides.listen.is_empty() {
            let tenant = main_tenant(&mut raw_tenants, "--listen")?.0;
            listeners = flag_listeners(&overrides.listen, tenant)?;
        } else if listeners.is_empty() {
            let tenant = main_tenant(&mut raw_tenants, "a file without a [[listener]]")?.0;
            listeners = flag_listeners(&[DEFAULT_ADDRESS], tenant)?;
        }
        let mut tenants = BTreeMap::new();
        for (Name(name), Typed { part, tenant: raw }) in raw_tenants {
            tenants.insert(name.clone(), tenant(&parts[part], name, raw)?);
        }
        check_that_tokens_differ(&tenants)?;
        let audit = common.audit.map(|audit| Audit { file: absolute(directory, &audit.file), ..audit });
        let include = common.include.iter().map(|path| absolute(directory, path)).collect();
        Ok(Self { source: parts[0].file.map(Path::to_owned), include, server, listeners, tenants, audit })
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

/// What only the main file says.
struct Common {
    server: Server,
    audit: Option<Audit>,
    include: Vec<PathBuf>,
}

fn default_tenant() -> Spanned<RawTenant> {
    let tenant = RawTenant { commands: vec![DEFAULT_COMMANDS.into()], ..RawTenant::default() };
    Spanned::new(0..0, tenant)
}

/// The tenant that is meant where none is named: the only one there is, or else the one called `default`.
fn main_tenant<'a>(
    tenants: &'a mut RawTenants,
    asked_by: &str,
) -> Result<(&'a str, &'a mut Spanned<RawTenant>), ConfigError> {
    let only = tenants.len() == 1;
    let names = nearest::list(tenants.keys().map(|Name(name)| name.as_str()));
    let mut meant = tenants.iter_mut().filter(|(Name(name), _)| only || name == DEFAULT_TENANT);
    meant.next().map(|(Name(name), typed)| (name.as_str(), &mut typed.tenant)).ok_or_else(|| {
        ConfigError::Unfit(format!(
            "{asked_by} is about the only tenant, or the one called `{DEFAULT_TENANT}`; the tenants here are {names}"
        ))
    })
}

fn server(server: Server, directory: &Path, overrides: &Overrides) -> Result<Server, ConfigError> {
    let max_connections = overrides.max_connections.unwrap_or(server.max_connections);
    if !(1..=MAX_COUNT).contains(&max_connections) {
        return Err(ConfigError::Unfit(format!(
            "--max-connections is {max_connections}; it must be a whole number from 1 to {MAX_COUNT}"
        )));
    }
    let cache = overrides.cache.as_ref().unwrap_or(&server.cache);
    let engine_defaults = overrides.engine_defaults;
    Ok(Server { max_connections, cache: absolute(directory, cache), engine_defaults, ..server })
}

fn tenant(part: &Part<'_>, name: String, raw: Spanned<RawTenant>) -> Result<Tenant, ConfigError> {
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

/// How many processors the host may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
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
fn check_that_tokens_differ(tenants: &BTreeMap<String, Tenant>) -> Result<(), ConfigError> {
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

/// The path without needless parts. A relative one is relative to `directory`.
fn absolute(directory: &Path, path: &Path) -> PathBuf {
    directory.join(path).components().collect()
}

/// Where compiled commands are kept when the operator does not say: the user's cache directory, or the machine's for
/// a service that has no home.
fn default_cache(cache_home: Option<OsString>, home: Option<OsString>) -> PathBuf {
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(cache_home)
        .or_else(|| absolute(home).map(|home| home.join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/var/cache"))
        .join("wasmline")
}

#[cfg(test)]
mod tests;
