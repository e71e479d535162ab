//! The files of a configuration, the main one and those that it includes, put together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::listener::{Listener, RawListener, listeners};
use super::load::{ConfigError, Document};
use super::raw::{RawConfig, RawTenant};
use super::units::Name;
use super::{Audit, DEFAULT_FILE, Server};

/// One file of a configuration, as it was typed.
pub struct Part<'a> {
    /// Its text.
    pub document: Document<'a>,
    /// What relative paths in it are relative to.
    pub directory: &'a Path,
    /// The file, where there is one.
    pub file: Option<&'a Path>,
    /// Its listeners.
    pub listener: Vec<Spanned<RawListener>>,
    /// Its tenants.
    pub tenants: BTreeMap<Name, Spanned<RawTenant>>,
}

/// What only the main file says.
pub struct Common {
    /// What concerns all tenants together.
    pub server: Server,
    /// The audit file.
    pub audit: Option<Audit>,
    /// Directories of further files.
    pub include: Vec<PathBuf>,
}

impl RawConfig {
    /// What the main file shares with others, and what it alone says.
    pub fn take_apart<'a>(
        self,
        document: Document<'a>,
        directory: &'a Path,
        file: Option<&'a Path>,
    ) -> (Part<'a>, Common) {
        let part = Part { document, directory, file, listener: self.listener, tenants: self.tenants };
        (part, Common { server: self.server, audit: self.audit, include: self.include })
    }
}

/// A tenant as it was typed.
pub struct Typed {
    /// The part that it stands in.
    pub part: usize,
    /// What was typed.
    pub tenant: Spanned<RawTenant>,
}

/// All tenants as they were typed.
pub type RawTenants = BTreeMap<Name, Typed>;

/// All tenants, each in one file only.
///
/// # Errors
/// When two files have the same one.
pub fn tenants_of(parts: &mut [Part<'_>]) -> Result<RawTenants, ConfigError> {
    let mut all = RawTenants::new();
    for part in 0..parts.len() {
        for (name, tenant) in std::mem::take(&mut parts[part].tenants) {
            if let Some(other) = all.get(&name) {
                let elsewhere = parts[other.part].file.unwrap_or(Path::new(DEFAULT_FILE)).display();
                let text = format!("tenants.{}: this tenant stands in {elsewhere} already", name.0);
                return Err(parts[part].document.error(tenant.span(), text));
            }
            all.insert(name, Typed { part, tenant });
        }
    }
    Ok(all)
}

/// All listeners, each in a place of its own.
///
/// # Errors
/// When one is not valid by itself, or two have the same place.
pub fn listeners_of(parts: &mut [Part<'_>], tenants: &RawTenants) -> Result<Vec<Listener>, ConfigError> {
    let mut all: Vec<Listener> = Vec::new();
    for part in parts {
        let listeners = listeners(&part.document, std::mem::take(&mut part.listener), tenants, part.directory)?;
        let taken = |listener: &&Listener| all.iter().any(|other| other.place.is_same(&listener.place));
        if let Some(listener) = listeners.iter().find(taken) {
            let file = part.file.unwrap_or(Path::new(DEFAULT_FILE)).display();
            return Err(ConfigError::Unfit(format!(
                "{file}: {} is taken by a listener of another file",
                listener.place
            )));
        }
        all.extend(listeners);
    }
    Ok(all)
}

/// The path without needless parts. A relative one is relative to `directory`.
pub fn absolute(directory: &Path, path: &Path) -> PathBuf {
    directory.join(path).components().collect()
}
