//! Grants as they are written in TOML, by an operator for a tenant and by an author for a command.

use std::collections::BTreeMap;
use std::path::{Component, PathBuf};

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::denial::toml_string;
use super::directories::{self, DirectoryGrant, DirectoryWish};
use super::environment;
use super::slots::{self, Slot};

/// Programs, directories to hash in, and variables that one sidecar asks for, so many of each. What it asks for in vain is
/// looked for, and recorded.
const MAX_WISHES: usize = 256;

/// What a tenant's commands may do to the machine. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct Grants {
    /// The programs that may be spawned.
    pub process: Vec<ProcessGrant>,
    /// The files that may be hashed.
    pub digest: DigestGrant,
    /// The directories that programs of WASI find open.
    #[serde(deserialize_with = "directories::grants")]
    pub directory: Vec<DirectoryGrant>,
    /// The environment variables that programs of WASI find.
    #[serde(deserialize_with = "environment::variables")]
    pub environment: BTreeMap<String, String>,
    /// What may be done with the tenant's running commands.
    pub tasks: TasksGrant,
}

/// What a command's sidecar asks for. It has the tables of [`Grants`], and leaves to the tenant what only that can know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct Wishes {
    /// The programs that it wants to spawn.
    #[serde(deserialize_with = "programs")]
    pub process: Vec<ProcessGrant>,
    /// The files that it wants to hash.
    #[serde(deserialize_with = "files")]
    pub digest: DigestGrant,
    /// The directories that it wants to find open.
    #[serde(deserialize_with = "directories::wishes")]
    pub directory: Vec<DirectoryWish>,
    /// The names of the environment variables that it wants to find.
    #[serde(deserialize_with = "environment::names")]
    pub environment: Vec<String>,
    /// What it wants to do with the tenant's running commands.
    pub tasks: TasksGrant,
}

/// What may be done with the tenant's running commands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct TasksGrant {
    /// Whether they may be seen.
    pub list: bool,
    /// Whether they may be stopped.
    pub stop: bool,
}

impl TasksGrant {
    /// Whether they may be stopped, or else seen.
    pub fn allows(self, stop: bool) -> bool {
        if stop { self.stop } else { self.list }
    }
}

/// A program that may be spawned, with the shape of its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct ProcessGrant {
    /// The program's absolute path, spelled as a guest has to spell it.
    #[serde(deserialize_with = "program")]
    pub program: PathBuf,
    /// One slot for each argument; the last may repeat. With none the program gets no arguments.
    #[serde(default, deserialize_with = "slots::slots")]
    pub args: Vec<Slot>,
}

impl ProcessGrant {
    /// Its keys with their values, as TOML has them.
    pub fn entries(&self) -> [String; 2] {
        let args: Vec<String> = self.args.iter().map(ToString::to_string).collect();
        let program = toml_string(&self.program.to_string_lossy());
        [format!("program = {program}"), format!("args = [{}]", args.join(", "))]
    }

    /// The most arguments that it takes.
    pub fn most_args(&self) -> usize {
        self.args.iter().map(Slot::most_args).fold(0, usize::saturating_add)
    }

    /// The most arguments that it takes for paths.
    pub fn most_paths(&self) -> usize {
        self.args.iter().map(Slot::most_paths).fold(0, usize::saturating_add)
    }
}

/// The files that may be hashed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct DigestGrant {
    /// The directories beneath which they are, as absolute paths.
    #[serde(deserialize_with = "roots")]
    pub read: Vec<PathBuf>,
}

/// Refuses more of something than one sidecar may ask for. What it has twice stays: `explain` counts the items as they are
/// written.
pub fn bounded<T, E: Error>(wishes: Vec<T>, what: &str) -> Result<Vec<T>, E> {
    match wishes.len() {
        0..=MAX_WISHES => Ok(wishes),
        many => Err(E::custom(format!("{many} {what} are too many; there may be {MAX_WISHES}"))),
    }
}

fn programs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ProcessGrant>, D::Error> {
    bounded(Vec::deserialize(deserializer)?, "programs")
}

fn files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DigestGrant, D::Error> {
    let DigestGrant { read } = DigestGrant::deserialize(deserializer)?;
    Ok(DigestGrant { read: bounded(read, "directories")? })
}

fn program<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Root::deserialize(deserializer).map(|Root(path)| path)
}

/// Reads directories of the machine.
pub fn roots<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let roots = Vec::<Root>::deserialize(deserializer)?;
    Ok(roots.into_iter().map(|Root(path)| path).collect())
}

/// A path of the machine that means the same to everyone who reads it.
#[derive(Deserialize)]
#[serde(try_from = "PathBuf")]
pub struct Root(pub PathBuf);

impl TryFrom<PathBuf> for Root {
    type Error = String;

    fn try_from(path: PathBuf) -> Result<Self, String> {
        let shown = path.display();
        if !path.is_absolute() {
            return Err(format!("`{shown}` is not an absolute path; write it from `/` on"));
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(format!("`{shown}` has a `..` in it; write the path that is meant"));
        }
        Ok(Self(path))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Document;

    fn parse(text: &str) -> Result<Grants, String> {
        parse_as(text)
    }

    fn parse_as<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
        let document = Document::new(Path::new("g"), text.as_bytes()).unwrap();
        document.parse().map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_granted_by_what_is_absent() {
        assert_eq!(parse(""), Ok(Grants::default()));
        assert_eq!(parse("[digest]"), Ok(Grants::default()));
        assert_eq!(parse("[[process]]\nprogram = '/p'").unwrap().process[0].args, []);
    }

    #[test]
    fn directories_and_variables_are_read() {
        let grants = parse(
            "[[directory]]\npath = '/srv//data/'\nas = '/data'\nwrite = true\n[environment]\nLANG = 'C'\nEMPTY = ''",
        );
        let grants = grants.unwrap();
        assert_eq!(grants.directory[0].name(), Path::new("/data"));
        assert_eq!((&*grants.directory[0].path, grants.directory[0].write), (Path::new("/srv/data"), true));
        assert_eq!(
            grants.environment,
            [("EMPTY", ""), ("LANG", "C")].map(|(a, b)| (a.to_owned(), b.to_owned())).into()
        );
    }

    #[test]
    fn bad_directories_and_variables_are_explained() {
        for (text, explanation) in [
            (
                "[[directory]]\npath = '/a'\nwritable = true",
                "g:3:1: unknown key `writable` in [directory]; known are `path`, `as`, `write`",
            ),
            ("[[directory]]\nwrite = true", "g:1:1: directory: the key `path` is missing"),
            ("[[directory]]\npath = 'a'", "g:2:8: directory.path: `a` is not an absolute path; write it from `/` on"),
            ("[environment]\nN = 1", "g:2:5: environment.N: a variable's value is text; put it in quotes: \"1\""),
            ("[environment]\nN = ['a']", "g:2:5: environment.N: a variable's value is text in quotes"),
            ("[environment]\nN = \"a\\u0000\"", "g:2:5: environment.N: a variable's value has no NUL in it"),
            (
                "[environment]\n'A=B' = 'x'",
                "g:2:1: environment: `A=B` names no variable; a name has at least one character, and no `=` or NUL",
            ),
            ("environment = ['A']", "g:1:15: environment: invalid type: array, expected a table"),
        ] {
            assert_eq!(parse(text).unwrap_err(), explanation);
        }
    }

    #[test]
    fn a_sidecar_asks_for_so_much_of_a_kind() {
        let many = |count: usize, item: &str| vec![item; count].join(", ");
        for (key, item, what) in [
            ("environment", "'A'", "variables"),
            ("digest.read", "'/a'", "directories"),
            ("process", "{ program = '/p' }", "programs"),
        ] {
            let asked = |count: usize| parse_as::<Wishes>(&format!("{key} = [{}]", many(count, item)));
            assert!(asked(MAX_WISHES).is_ok(), "{key}");
            let error = asked(MAX_WISHES + 1).unwrap_err();
            assert!(error.ends_with(&format!("257 {what} are too many; there may be 256")), "{error}");
        }
    }

    #[test]
    fn paths_are_absolute_and_plain() {
        for (text, explanation) in [
            (
                "[[process]]\nprogram = 'tail'",
                "g:2:11: process.program: `tail` is not an absolute path; write it from `/` on",
            ),
            ("[[process]]\nargs = []", "g:1:1: process: the key `program` is missing"),
            (
                "[digest]\nread = ['/etc', 'var']",
                "g:2:8: digest.read: `var` is not an absolute path; write it from `/` on",
            ),
            (
                "[digest]\nread = ['/etc/../root']",
                "g:2:8: digest.read: `/etc/../root` has a `..` in it; write the path that is meant",
            ),
            ("[digest]\nread = '/etc'", "g:2:8: digest.read: invalid type: string \"/etc\", expected an array"),
        ] {
            assert_eq!(parse(text).unwrap_err(), explanation);
        }
    }
}
