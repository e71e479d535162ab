//! What concerns all tenants together, `[server]`.

use std::env;
use std::ffi::OsString;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::Overrides;
use super::load::ConfigError;
use super::parts::absolute;
use super::units::{self, MAX_COUNT};

/// The fewest file operations at once that are the default: a tenant whose file system hangs must not have the only place.
const FEWEST_FILE_JOBS: usize = 2;

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

/// What the file says, and the flags over it. Relative paths in the file are relative to `directory`.
///
/// # Errors
/// When a flag is out of range.
pub fn server(server: Server, directory: &Path, overrides: &Overrides) -> Result<Server, ConfigError> {
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

/// How many processors the host may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
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
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_in_the_users_cache_directory() {
        let path = |text: &str| Some(OsString::from(text));
        assert_eq!(default_cache(path("/x"), path("/home/u")), PathBuf::from("/x/wasmline"));
        assert_eq!(default_cache(path("x"), path("/home/u")), PathBuf::from("/home/u/.cache/wasmline"));
        assert_eq!(default_cache(None, path("/home/u")), PathBuf::from("/home/u/.cache/wasmline"));
        assert_eq!(default_cache(None, None), PathBuf::from("/var/cache/wasmline"));
    }
}
