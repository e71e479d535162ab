//! Directories for programs of WASI: what the tenant grants, what a sidecar asks for, and what comes of the two.
//!
//! A grant has two paths: where the directory is on the machine, and what programs call it. A sidecar speaks of the
//! latter, for that is all an author can know; where the tenant gives a directory no other name, the two are the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use super::access::Access;
use super::grants::Root;

/// Directories that one tenant grants, or one sidecar asks for. Each takes one of an invocation's host objects.
const MAX_DIRECTORIES: usize = 64;

/// A directory that a tenant grants.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct DirectoryGrant {
    /// Where it is on the machine, an absolute path.
    #[serde(deserialize_with = "directory")]
    pub path: PathBuf,
    /// What programs call it, an absolute path; `path` where nothing is said.
    #[serde(rename = "as", default, deserialize_with = "some_directory")]
    pub name: Option<PathBuf>,
    /// Whether what is beneath it may be changed.
    #[serde(default)]
    pub write: bool,
}

/// A directory that a command asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct DirectoryWish {
    /// What the command calls it, an absolute path.
    #[serde(deserialize_with = "directory")]
    pub path: PathBuf,
    /// Whether the command wants to change what is beneath it.
    #[serde(default)]
    pub write: bool,
}

/// A directory that a command finds open when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preopen {
    /// The tenant's directory. It is the operator's word, so symbolic links on the way to it are fine.
    pub root: PathBuf,
    /// The way down from it to what the sidecar asks for; empty where that is all of it.
    pub relative: PathBuf,
    /// What the command calls it.
    pub name: String,
    /// Whether what is beneath it may be changed.
    pub write: bool,
    /// Whether the tenant would allow that.
    pub writable: bool,
}

impl Preopen {
    /// The access that it gives.
    pub fn access(&self, write: bool) -> Access {
        let host: PathBuf = self.root.join(&self.relative).components().collect();
        let host = Some(host.display().to_string()).filter(|host| *host != self.name);
        Access::Directory { path: self.name.clone(), host, write }
    }
}

impl DirectoryGrant {
    /// What programs call it.
    pub fn name(&self) -> &Path {
        self.name.as_deref().unwrap_or(&self.path)
    }
}

/// What a command finds open: the tenant's directories, narrowed to what the sidecar asks for if it says anything.
pub fn effective(granted: &[DirectoryGrant], asked: Option<&[DirectoryWish]>) -> Vec<Preopen> {
    let Some(asked) = asked else {
        return granted.iter().map(|grant| preopen(grant, Path::new(""), grant.write)).collect();
    };
    let mut found: BTreeMap<String, Preopen> = BTreeMap::new();
    let mut add = |preopen: Preopen| {
        let write = preopen.write;
        found.entry(preopen.name.clone()).or_insert(preopen).write |= write;
    };
    for wish in asked {
        for grant in granted.iter().filter(|grant| grant.name().starts_with(&wish.path)) {
            add(preopen(grant, Path::new(""), grant.write && wish.write));
        }
        if let Some((grant, relative)) = around(granted, &wish.path)
            && !relative.as_os_str().is_empty()
        {
            add(preopen(grant, relative, grant.write && wish.write));
        }
    }
    found.into_values().collect()
}

/// The deepest grant that `name` is or lies beneath, and the way down from there.
pub fn around<'a>(granted: &'a [DirectoryGrant], name: &'a Path) -> Option<(&'a DirectoryGrant, &'a Path)> {
    let around = granted.iter().filter_map(|grant| Some((grant, name.strip_prefix(grant.name()).ok()?)));
    around.min_by_key(|(_, relative)| relative.components().count())
}

fn preopen(grant: &DirectoryGrant, relative: &Path, write: bool) -> Preopen {
    // Joining nothing would leave a slash at the end.
    let name: PathBuf = grant.name().join(relative).components().collect();
    Preopen {
        root: grant.path.clone(),
        relative: relative.to_owned(),
        // A path out of a TOML file is UTF-8.
        name: name.display().to_string(),
        write,
        writable: grant.write,
    }
}

/// Reads a tenant's directories, and finds whether they make sense together.
pub fn grants<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DirectoryGrant>, D::Error> {
    let grants = bounded(Vec::<DirectoryGrant>::deserialize(deserializer)?)?;
    for (index, grant) in grants.iter().enumerate() {
        let (_, others) = grants.split_at(index + 1);
        if others.iter().any(|other| other.name() == grant.name()) {
            return Err(serde::de::Error::custom(format!(
                "two directories are called `{}`; give one of them another name with `as`",
                grant.name().display()
            )));
        }
        let within = |other: &&DirectoryGrant| other.write && grant.path.starts_with(&other.path);
        if let Some(outer) = grants.iter().filter(|_| !grant.write).find(within) {
            return Err(serde::de::Error::custom(format!(
                "`{}` is no read-only directory, for it lies in `{}`, where all may be written",
                grant.path.display(),
                outer.path.display()
            )));
        }
    }
    Ok(grants)
}

/// Reads a sidecar's directories.
pub fn wishes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DirectoryWish>, D::Error> {
    bounded(Vec::<DirectoryWish>::deserialize(deserializer)?)
}

fn bounded<T, E: serde::de::Error>(directories: Vec<T>) -> Result<Vec<T>, E> {
    match directories.len() {
        0..=MAX_DIRECTORIES => Ok(directories),
        many => Err(E::custom(format!("{many} directories are too many; there may be {MAX_DIRECTORIES}"))),
    }
}

/// Reads a directory's path, and drops what says nothing in it, such as a slash at the end.
fn directory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Root::deserialize(deserializer).map(|Root(path)| path.components().collect())
}

fn some_directory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    directory(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(text: &str) -> Vec<DirectoryGrant> {
        read(text).unwrap()
    }

    fn read(text: &str) -> Result<Vec<DirectoryGrant>, String> {
        #[derive(Debug, Deserialize)]
        struct Table(#[serde(deserialize_with = "one")] Vec<DirectoryGrant>);
        fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DirectoryGrant>, D::Error> {
            #[derive(Deserialize)]
            struct Key {
                #[serde(deserialize_with = "grants")]
                directory: Vec<DirectoryGrant>,
            }
            Key::deserialize(deserializer).map(|key| key.directory)
        }
        let table = toml::from_str(&format!("directory = [{text}]"));
        table.map(|Table(grants)| grants).map_err(|error| error.message().to_owned())
    }

    fn wish(path: &str, write: bool) -> DirectoryWish {
        DirectoryWish { path: path.into(), write }
    }

    /// Root, way down, name and permission of each.
    fn found(granted: &[DirectoryGrant], asked: &[DirectoryWish]) -> Vec<(String, String, String, bool)> {
        let text = |path: &Path| path.display().to_string();
        let shown = |open: Preopen| (text(&open.root), text(&open.relative), open.name, open.write);
        effective(granted, Some(asked)).into_iter().map(shown).collect()
    }

    fn row(root: &str, relative: &str, name: &str, write: bool) -> (String, String, String, bool) {
        (root.to_owned(), relative.to_owned(), name.to_owned(), write)
    }

    #[test]
    fn nothing_is_open_unless_both_say_so() {
        let data = granted("{ path = '/srv/data' }");
        assert_eq!(found(&[], &[wish("/srv/data", true)]), []);
        assert_eq!(found(&data, &[]), []);
        assert_eq!(found(&data, &[wish("/srv/database", false), wish("/data", false)]), []);
        assert_eq!(effective(&data, None)[0].name, "/srv/data");
    }

    #[test]
    fn the_narrower_path_counts() {
        let data = granted("{ path = '/srv/data' }");
        assert_eq!(found(&data, &[wish("/srv/data/a/b", false)]), [row("/srv/data", "a/b", "/srv/data/a/b", false)]);
        assert_eq!(found(&data, &[wish("/", false)]), [row("/srv/data", "", "/srv/data", false)]);
        assert_eq!(found(&data, &[wish("/srv/data", false)]), [row("/srv/data", "", "/srv/data", false)]);
    }

    #[test]
    fn a_sidecar_speaks_of_the_programs_names() {
        let data =
            granted("{ path = '/srv/tenants/a', as = '/data', write = true }, { path = '/usr/share', as = '/s' }");
        assert_eq!(found(&data, &[wish("/data/in", true)]), [row("/srv/tenants/a", "in", "/data/in", true)]);
        assert_eq!(found(&data, &[wish("/srv/tenants/a", true)]), []);
        let all = [row("/srv/tenants/a", "", "/data", true), row("/usr/share", "", "/s", false)];
        assert_eq!(found(&data, &[wish("/", true)]), all);
    }

    #[test]
    fn writing_takes_two_keys() {
        let read_only = granted("{ path = '/d' }");
        let writable = granted("{ path = '/d', write = true }");
        assert!(!found(&read_only, &[wish("/d", true)])[0].3);
        assert!(!found(&writable, &[wish("/d", false)])[0].3);
        assert!(found(&writable, &[wish("/d", true)])[0].3);
        // A part of a directory may be asked for with more than the whole.
        let parts = [row("/d", "", "/d", false), row("/d", "out", "/d/out", true)];
        assert_eq!(found(&writable, &[wish("/d", false), wish("/d/out", true)]), parts);
    }

    #[test]
    fn the_deepest_grant_serves_what_lies_beneath_several() {
        let nested = granted("{ path = '/srv' }, { path = '/srv/out', write = true }");
        assert_eq!(found(&nested, &[wish("/srv/out/x", true)]), [row("/srv/out", "x", "/srv/out/x", true)]);
        assert_eq!(found(&nested, &[wish("/srv/out", true)]), [row("/srv/out", "", "/srv/out", true)]);
        assert_eq!(found(&nested, &[wish("/srv", true)]).len(), 2);
    }

    #[test]
    fn directories_that_do_not_go_together_are_refused() {
        for (text, words) in [
            ("{ path = '/a' }, { path = '/a' }", "two directories are called `/a`"),
            ("{ path = '/a' }, { path = '/b', as = '/a' }", "two directories are called `/a`"),
            ("{ path = '/a/b' }, { path = '/a', write = true }", "`/a/b` is no read-only directory"),
            ("{ path = 'a' }", "not an absolute path"),
            ("{ path = '/a', as = '../b' }", "not an absolute path"),
            ("{ path = '/a', as = '/b/..' }", "has a `..` in it"),
            ("{ as = '/a' }", "missing field `path`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(read("{ path = '/a' }, { path = '/b', as = '/a/b' }").is_ok());
        let many: String = (0..65).map(|number| format!("{{ path = '/{number}' }},")).collect();
        assert_eq!(read(&many).unwrap_err(), "65 directories are too many; there may be 64");
    }
}
