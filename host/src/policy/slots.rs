//! What one argument of a program may be.

use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::denial::toml_string;
use super::grants::roots;

/// The most arguments that one slot takes.
const MAX_REPEAT: usize = 1000;

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
    PathUnder {
        /// The directories.
        roots: Vec<PathBuf>,
        /// What the program gets for it, `pass = "text"`; `None` where nothing is said.
        pass: Option<PassedAs>,
    },
    /// Any text that is no option, `{ any = true }`.
    Any,
    /// Several arguments, `{ repeat = { any = true }, most = 16 }`. Only the last slot repeats.
    Repeat {
        /// What each of them may be; no repetition itself.
        each: Box<Slot>,
        /// The fewest there may be.
        least: usize,
        /// The most there may be.
        most: usize,
    },
}

impl Slot {
    /// The most arguments that it takes.
    pub fn most_args(&self) -> usize {
        if let Slot::Repeat { most, .. } = self { *most } else { 1 }
    }

    /// What each of its arguments has to be.
    pub fn one(&self) -> &Slot {
        if let Slot::Repeat { each, .. } = self { each } else { self }
    }

    /// The most arguments that it takes for paths.
    pub fn most_paths(&self) -> usize {
        match self {
            Slot::PathUnder { .. } => 1,
            Slot::Repeat { each, most, .. } => each.most_paths().saturating_mul(*most),
            Slot::Literal(_) | Slot::Int { .. } | Slot::OneOf(_) | Slot::Any => 0,
        }
    }
}

/// What a program gets for a path that was found beneath its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassedAs {
    /// A name of what was found and nothing else, whatever becomes of the path meanwhile.
    Descriptor,
    /// The path as the command spelled it, which the program looks up again.
    Text,
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
    pass: Option<PassedAs>,
    any: Option<bool>,
    repeat: Option<Box<Slot>>,
    least: Option<usize>,
    most: Option<usize>,
}

impl SlotKinds {
    fn into_slot(self) -> Result<Slot, String> {
        if self.pass.is_some() && self.path_under.is_none() {
            return Err("`pass` goes with `path-under`".to_owned());
        }
        if (self.least.is_some() || self.most.is_some()) && self.repeat.is_none() {
            return Err("`least` and `most` go with `repeat`".to_owned());
        }
        let given = [
            self.int.map(int),
            self.one_of.map(one_of),
            self.path_under.map(|roots| path_under(roots, self.pass)),
            self.any.map(any),
            self.repeat.map(|each| repeat(each, self.least, self.most)),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(slot), None) => slot,
            _ => Err("a slot has exactly one of the keys `int`, `one-of`, `path-under`, `any` and `repeat`".to_owned()),
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

fn path_under(roots: Vec<PathBuf>, pass: Option<PassedAs>) -> Result<Slot, String> {
    if roots.is_empty() {
        return Err("`path-under` without directories allows nothing".to_owned());
    }
    Ok(Slot::PathUnder { roots, pass })
}

fn repeat(each: Box<Slot>, least: Option<usize>, most: Option<usize>) -> Result<Slot, String> {
    if matches!(*each, Slot::Repeat { .. }) {
        return Err("what repeats cannot itself be a `repeat`".to_owned());
    }
    let least = least.unwrap_or(1);
    match most {
        Some(most) if (least.max(1)..=MAX_REPEAT).contains(&most) => Ok(Slot::Repeat { each, least, most }),
        Some(most) => Err(format!("`most` is {most}; it is a number from {} to {MAX_REPEAT}", least.max(1))),
        None => Err("a `repeat` has a `most`, the number of arguments that it takes at most".to_owned()),
    }
}

fn any(yes: bool) -> Result<Slot, String> {
    if !yes {
        return Err("`any = false` allows nothing; it is `any = true` or another kind of slot".to_owned());
    }
    Ok(Slot::Any)
}

/// Reads the slots of a program, of which only the last may repeat.
pub fn slots<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Slot>, D::Error> {
    let slots = Vec::<Slot>::deserialize(deserializer)?;
    let before_last = slots.iter().rev().skip(1);
    if before_last.filter(|slot| matches!(slot, Slot::Repeat { .. })).count() > 0 {
        return Err(D::Error::custom("only the last slot may be a `repeat`"));
    }
    Ok(slots)
}

fn some_roots<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<PathBuf>>, D::Error> {
    roots(deserializer).map(Some)
}

/// A slot as it is written in TOML.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |words: &mut dyn Iterator<Item = &str>| words.map(toml_string).collect::<Vec<_>>().join(", ");
        match self {
            Slot::Literal(word) => f.write_str(&toml_string(word)),
            Slot::Int { min, max } => write!(f, "{{ int = [{min}, {max}] }}"),
            Slot::OneOf(words) => write!(f, "{{ one-of = [{}] }}", list(&mut words.iter().map(String::as_str))),
            Slot::PathUnder { roots, pass } => {
                let roots = list(&mut roots.iter().filter_map(|root| root.to_str()));
                let pass = match pass {
                    Some(PassedAs::Text) => ", pass = \"text\"",
                    Some(PassedAs::Descriptor) => ", pass = \"descriptor\"",
                    None => "",
                };
                write!(f, "{{ path-under = [{roots}]{pass} }}")
            }
            Slot::Any => f.write_str("{ any = true }"),
            Slot::Repeat { each, least: 1, most } => write!(f, "{{ repeat = {each}, most = {most} }}"),
            Slot::Repeat { each, least, most } => {
                write!(f, "{{ repeat = {each}, least = {least}, most = {most} }}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Document;
    use crate::policy::Grants;

    fn slots(args: &str) -> Result<Vec<Slot>, String> {
        let text = format!("[[process]]\nprogram = '/p'\nargs = {args}");
        let document = Document::new(Path::new("g"), text.as_bytes()).unwrap();
        let grants = document.parse::<Grants>().map_err(|error| error.to_string());
        grants.map(|mut grants| grants.process.remove(0).args)
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
                Slot::PathUnder { roots: vec!["/a".into(), "/b".into()], pass: None },
                Slot::Any,
            ]
        );
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
            (
                "[{}]",
                "g:3:9: process.args: a slot has exactly one of the keys `int`, `one-of`, `path-under`, `any` and `repeat`",
            ),
            (
                "[{ any = true, int = [1, 2] }]",
                "g:3:9: process.args: a slot has exactly one of the keys `int`, `one-of`, `path-under`, `any` and `repeat`",
            ),
        ] {
            assert_eq!(slots(args).unwrap_err(), explanation, "{args}");
        }
    }

    #[test]
    fn a_slot_is_shown_as_it_is_written() {
        let text = r#"["-n", { int = [-1, 1000] }, { one-of = ["a", "b\"c"] }, { path-under = ["/a"], pass = "text" }, { any = true }, { repeat = { path-under = ["/a", "/b"] }, least = 0, most = 16 }]"#;
        let shown: Vec<String> = slots(text).unwrap().iter().map(Slot::to_string).collect();
        assert_eq!(format!("[{}]", shown.join(", ")), text);
        assert_eq!(slots("[{ repeat = 'x', most = 2 }]").unwrap()[0].to_string(), r#"{ repeat = "x", most = 2 }"#);
    }

    #[test]
    fn bad_repetitions_are_explained() {
        for (args, explanation) in [
            ("[{ repeat = { any = true } }]", "a `repeat` has a `most`, the number of arguments that it takes at most"),
            ("[{ repeat = { any = true }, most = 0 }]", "`most` is 0; it is a number from 1 to 1000"),
            ("[{ repeat = { any = true }, least = 5, most = 4 }]", "`most` is 4; it is a number from 5 to 1000"),
            ("[{ repeat = { any = true }, most = 1001 }]", "`most` is 1001; it is a number from 1 to 1000"),
            ("[{ repeat = { repeat = 'x', most = 2 }, most = 2 }]", "what repeats cannot itself be a `repeat`"),
            ("[{ any = true, most = 2 }]", "`least` and `most` go with `repeat`"),
            ("[{ any = true, pass = 'text' }]", "`pass` goes with `path-under`"),
        ] {
            assert_eq!(slots(args).unwrap_err(), format!("g:3:9: process.args: {explanation}"), "{args}");
        }
        let error = slots("[{ repeat = 'x', most = 2 }, 'y']").unwrap_err();
        assert_eq!(error, "g:3:8: process.args: only the last slot may be a `repeat`");
        let error = slots("[{ path-under = ['/a'], pass = 'txt' }]").unwrap_err();
        assert!(error.contains("unknown variant `txt`, expected `descriptor` or `text`"), "{error}");
    }
}
