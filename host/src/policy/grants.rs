//! Grants as they are written in TOML, by an operator for a tenant and by an author for a command.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::directories::{self, DirectoryGrant, DirectoryWish};
use super::environment;

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
}

/// What a command's sidecar asks for. It has the tables of [`Grants`], and leaves to the tenant what only that can know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct Wishes {
    /// The programs that it wants to spawn.
    pub process: Vec<ProcessGrant>,
    /// The files that it wants to hash.
    pub digest: DigestGrant,
    /// The directories that it wants to find open.
    #[serde(deserialize_with = "directories::wishes")]
    pub directory: Vec<DirectoryWish>,
    /// The names of the environment variables that it wants to find.
    #[serde(deserialize_with = "environment::names")]
    pub environment: Vec<String>,
}

/// A program that may be spawned, with the shape of its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct ProcessGrant {
    /// The program's absolute path, spelled as a guest has to spell it.
    #[serde(deserialize_with = "program")]
    pub program: PathBuf,
    /// One slot for each argument. With none the program gets no arguments.
    #[serde(default)]
    pub args: Vec<Slot>,
}

/// The files that may be hashed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct DigestGrant {
    /// The directories beneath which they are, as absolute paths.
    #[serde(deserialize_with = "roots")]
    pub read: Vec<PathBuf>,
}

/// What one argument may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// Exactly this, `"-n"`.
    Literal(String),
    /// A whole number in plain decimal digits, `{ int = [1, 1000] }`. Both bounds belong to it.
    Int {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// One of these words, `{ one-of = ["a", "b"] }`.
    OneOf(Vec<String>),
    /// An absolute path beneath one of these directories, `{ path-under = ["/var/log"] }`.
    PathUnder(Vec<PathBuf>),
    /// Any text that is no option, `{ any = true }`.
    Any,
}

impl<'de> Deserialize<'de> for Slot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SlotVisitor)
    }
}

struct SlotVisitor;

impl<'de> Visitor<'de> for SlotVisitor {
    type Value = Slot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text in quotes, or a slot such as { int = [1, 10] }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Slot, E> {
        Ok(Slot::Literal(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Slot, A::Error> {
        let kinds = SlotKinds::deserialize(MapAccessDeserializer::new(map))?;
        kinds.into_slot().map_err(A::Error::custom)
    }
}

/// A slot's table as it may be typed. A struct of options, and not an enum, so that each mistake gets its own words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SlotKinds {
    int: Option<[i64; 2]>,
    one_of: Option<Vec<String>>,
    #[serde(default, deserialize_with = "some_roots")]
    path_under: Option<Vec<PathBuf>>,
    any: Option<bool>,
}

impl SlotKinds {
    fn into_slot(self) -> Result<Slot, String> {
        let given = [self.int.map(int), self.one_of.map(one_of), self.path_under.map(path_under), self.any.map(any)];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(slot), None) => slot,
            _ => Err("a slot has exactly one of the keys `int`, `one-of`, `path-under` and `any`".to_owned()),
        }
    }
}

fn int([min, max]: [i64; 2]) -> Result<Slot, String> {
    if min > max {
        return Err(format!("no number is from {min} to {max}; the least comes first"));
    }
    Ok(Slot::Int { min, max })
}

fn one_of(words: Vec<String>) -> Result<Slot, String> {
    if words.is_empty() {
        return Err("`one-of` without words allows nothing".to_owned());
    }
    Ok(Slot::OneOf(words))
}

fn path_under(roots: Vec<PathBuf>) -> Result<Slot, String> {
    if roots.is_empty() {
        return Err("`path-under` without directories allows nothing".to_owned());
    }
    Ok(Slot::PathUnder(roots))
}

fn any(yes: bool) -> Result<Slot, String> {
    if !yes {
        return Err("`any = false` allows nothing; it is `any = true` or another kind of slot".to_owned());
    }
    Ok(Slot::Any)
}

fn program<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Root::deserialize(deserializer).map(|Root(path)| path)
}

fn roots<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let roots = Vec::<Root>::deserialize(deserializer)?;
    Ok(roots.into_iter().map(|Root(path)| path).collect())
}

fn some_roots<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<PathBuf>>, D::Error> {
    roots(deserializer).map(Some)
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
        let document = Document::new(Path::new("g"), text.as_bytes()).unwrap();
        document.parse().map_err(|error| error.to_string())
    }

    fn slots(args: &str) -> Result<Vec<Slot>, String> {
        let text = format!("[[process]]\nprogram = '/p'\nargs = {args}");
        parse(&text).map(|mut grants| grants.process.remove(0).args)
    }

    #[test]
    fn every_kind_of_slot_is_read() {
        let text =
            "['-n', { int = [-1, 1000] }, { one-of = ['a', 'b'] }, { path-under = ['/a', '/b'] }, { any = true }]";
        assert_eq!(
            slots(text).unwrap(),
            [
                Slot::Literal("-n".to_owned()),
                Slot::Int { min: -1, max: 1000 },
                Slot::OneOf(vec!["a".to_owned(), "b".to_owned()]),
                Slot::PathUnder(vec!["/a".into(), "/b".into()]),
                Slot::Any,
            ]
        );
    }

    #[test]
    fn nothing_is_granted_by_what_is_absent() {
        assert_eq!(parse(""), Ok(Grants::default()));
        assert_eq!(parse("[digest]"), Ok(Grants::default()));
        assert_eq!(parse("[[process]]\nprogram = '/p'").unwrap().process[0].args, []);
    }

    #[test]
    fn bad_slots_are_explained() {
        for (args, explanation) in [
            ("[{ intt = [1, 2] }]", "g:3:11: unknown key `intt` in [process.args]; did you mean `int`?"),
            ("[{ path_under = [] }]", "g:3:11: unknown key `path_under` in [process.args]; did you mean `path-under`?"),
            (
                "[5]",
                "g:3:9: process.args: invalid type: integer `5`, expected text in quotes, or a slot such as { int = [1, 10] }",
            ),
            ("[{ int = [2, 1] }]", "g:3:9: process.args: no number is from 2 to 1; the least comes first"),
            ("[{ int = [1] }]", "g:3:17: process.args.int: invalid length 1, expected an array of length 2"),
            ("[{ one-of = [] }]", "g:3:9: process.args: `one-of` without words allows nothing"),
            ("[{ path-under = [] }]", "g:3:9: process.args: `path-under` without directories allows nothing"),
            (
                "[{ any = false }]",
                "g:3:9: process.args: `any = false` allows nothing; it is `any = true` or another kind of slot",
            ),
            ("[{}]", "g:3:9: process.args: a slot has exactly one of the keys `int`, `one-of`, `path-under` and `any`"),
            (
                "[{ any = true, int = [1, 2] }]",
                "g:3:9: process.args: a slot has exactly one of the keys `int`, `one-of`, `path-under` and `any`",
            ),
        ] {
            assert_eq!(slots(args).unwrap_err(), explanation, "{args}");
        }
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
        let error = slots("[{ path-under = ['log'] }]").unwrap_err();
        assert!(error.contains("`log` is not an absolute path"), "{error}");
    }
}
