//! From a file's bytes to a typed value, and from an error to the line and key that it is about.
//!
//! The configuration and the commands' sidecars are read by the same code, so that both explain themselves in the
//! same words.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::{nearest, suggestion};
use crate::escape::escape_line;
use crate::policy::{Step, toml_string};

/// The longest configuration file. A real one is far shorter; this is against reading a device by mistake.
const MAX_FILE: u64 = 1024 * 1024;

/// The parser's words for a key, or a table, that stands twice in a file.
const DUPLICATE: &str = "duplicate key";
/// serde's words for things that TOML calls something else.
const SERDES_WORDS: [(&str, &str); 4] = [
    ("expected a sequence", "expected an array"),
    ("expected a map", "expected a table"),
    ("invalid type: sequence", "invalid type: array"),
    ("invalid type: map", "invalid type: table"),
];

/// Why a configuration or a sidecar cannot be used. The text names the file, the line and column where they are
/// known, the key, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read at all.
    #[error("{}: cannot be read: {source}", .file.display())]
    Unreadable {
        /// The file, as it was named.
        file: PathBuf,
        /// What the machine says about it.
        source: io::Error,
    },
    /// Something in the file is wrong.
    #[error("{}:{line}:{column}: {text}", .file.display())]
    Invalid {
        /// The file, as it was named.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column in characters, counted from 1.
        column: usize,
        /// What is wrong, and what would be right.
        text: String,
    },
    /// Something outside a file is wrong, or between a file and the flags.
    #[error("{0}")]
    Unfit(String),
}

/// A file's text, with the name by which its errors call it.
#[derive(Debug)]
pub struct Document<'a> {
    file: &'a Path,
    text: &'a str,
}

impl<'a> Document<'a> {
    /// The document in `bytes`, which errors call `file`.
    ///
    /// # Errors
    /// When they are not UTF-8.
    pub fn new(file: &'a Path, bytes: &'a [u8]) -> Result<Self, ConfigError> {
        str::from_utf8(bytes).map(|text| Self { file, text }).map_err(|error| {
            let (valid, _) = bytes.split_at(error.valid_up_to());
            let text = String::from_utf8_lossy(valid);
            Document { file, text: &text }.error(text.len()..text.len(), "the file is not UTF-8 from here on")
        })
    }

    /// Reads the whole document as a `T`.
    ///
    /// # Errors
    /// When it is no TOML, or not that of a `T`; the text has the line and what was meant.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|error| {
            let place = error.span().unwrap_or(0..0);
            let text = explain::<T>(error);
            // Which one it is, the parser leaves to the place.
            match self.text.get(place.clone()).filter(|_| text == DUPLICATE) {
                Some(key) => self.error(place, format!("{text} `{key}`; it may be given once")),
                None => self.error(place, text),
            }
        })
    }

    /// An error about the part of the document at `place`.
    pub fn error(&self, place: Range<usize>, text: impl AsRef<str>) -> ConfigError {
        let (line, column) = self.position(place.start);
        // The text quotes the document, which in a sidecar's case is a stranger's: it must not forge a log line.
        let text = escape_line(&text.as_ref().replace('\n', " "));
        ConfigError::Invalid { file: self.file.to_owned(), line, column, text }
    }

    /// The number of the line that `place` begins on.
    pub fn line(&self, place: Range<usize>) -> usize {
        self.position(place.start).0
    }

    /// The number of the line where a value stands; `None` where there is none.
    pub fn line_of(&self, steps: &[Step]) -> Option<usize> {
        let document = DeTable::parse(self.text).ok()?;
        let mut value = &Spanned::new(document.span(), DeValue::Table(document.into_inner()));
        for step in steps {
            value = match (value.get_ref(), step) {
                (DeValue::Table(table), Step::Key(key)) => {
                    table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)?
                }
                (DeValue::Array(array), Step::Item(item)) => array.get(*item)?,
                _ => return None,
            };
        }
        Some(self.line(value.span()))
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        (line, column)
    }
}

/// Reads a configuration file, which errors call `name`. It may be a pipe: `--config <(…)`.
pub fn read_file(path: &Path, name: &Path) -> Result<Vec<u8>, ConfigError> {
    open_at_once(path)
        .and_then(read_bounded)
        .map_err(|source| ConfigError::Unreadable { file: name.to_owned(), source })
}

/// Reads a file that the configuration names. It must be a regular one, for another might have the host wait for ever.
///
/// # Errors
/// When it is something else, longer than 1 MiB, or cannot be read.
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_at_once(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    read_bounded(file)
}

/// Opens a file without waiting for whoever writes it: a pipe that nobody writes is empty.
fn open_at_once(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    // What somebody does write may take its time.
    fcntl_setfl(&file, fcntl_getfl(&file)?.difference(OFlags::NONBLOCK))?;
    Ok(file)
}

fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("it is longer than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

/// Puts serde's message into words for the person who wrote the file, which was to be a `T`.
fn explain<T: DeserializeOwned>(mut error: toml::de::Error) -> String {
    let message = error.message().to_owned();
    // Without its input the error is shown as its message and the keys that lead to its place, which are not to be
    // had otherwise.
    error.set_input(None);
    let shown = error.to_string();
    let keys = shown.strip_prefix(&message).and_then(|rest| rest.trim().strip_prefix("in `")?.strip_suffix('`'));

    if let Some((unknown, known)) = unknown_key(&message) {
        let known: Vec<&str> = known.collect();
        let table = match keys {
            Some(keys) => format!("in [{keys}]"),
            None => "at the top of the file".to_owned(),
        };
        // TOML has no way back out of a table.
        let remedy = if keys.is_some() && nearest(unknown, &known).is_none() && is_before_tables::<T>(unknown) {
            "it belongs at the top of the file, before any [table]".to_owned()
        } else {
            suggestion(unknown, known)
        };
        return format!("unknown key `{unknown}` {table}; {remedy}");
    }
    let message = match message.strip_prefix("missing field ") {
        Some(field) => format!("the key {field} is missing"),
        None => SERDES_WORDS.iter().fold(message, |text, (theirs, ours)| text.replace(theirs, ours)),
    };
    match keys {
        Some(keys) => format!("{keys}: {message}"),
        None => message,
    }
}

/// Whether a `T` has that key outside all tables, and it is none itself.
fn is_before_tables<T: DeserializeOwned>(key: &str) -> bool {
    // Whatever is wrong with these values, it is not that their key is unknown, or that they are no tables.
    ["0", "[0]"].iter().all(|value| match toml::from_str::<T>(&format!("{} = {value}", toml_string(key))) {
        Ok(_) => true,
        Err(error) => {
            let message = error.message();
            unknown_key(message).is_none()
                && !message.contains("expected a table")
                && !message.contains("expected a map")
        }
    })
}

/// Takes serde's message about an unknown key apart: the key, and the known ones.
fn unknown_key(message: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let (unknown, known) = message.strip_prefix("unknown field `")?.rsplit_once("`, expected ")?;
    // `a` or `b`; one of `a`, `b`, `c`: every second piece between the backquotes is a key.
    Some((unknown, known.split('`').skip(1).step_by(2)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
    struct Top {
        one_table: Table,
        many: Vec<Table>,
        named: BTreeMap<String, Table>,
        plain: u8,
        paths: Vec<PathBuf>,
        word: u8,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
    #[expect(dead_code, reason = "only what is said of a bad value matters here")]
    struct Table {
        number: u8,
        #[serde(default)]
        words: Vec<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "as above")]
    struct Single {
        only: Option<u8>,
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let document = Document::new(Path::new("f.toml"), text.as_bytes()).unwrap();
        assert_eq!(document.parse::<Top>().unwrap_err().to_string(), expected);
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest() {
        check(
            "[one-table]\nnumber = 1\nword = []",
            "f.toml:3:1: unknown key `word` in [one-table]; did you mean `words`?",
        );
        check(
            "# comment\n\n  [one-tabel]\n",
            "f.toml:3:4: unknown key `one-tabel` at the top of the file; did you mean `one-table`?",
        );
        check(
            "[[many]]\nnumber = 1\n[[many]]\ncolour = 1",
            "f.toml:4:1: unknown key `colour` in [many]; known are `number`, `words`",
        );
        check(
            "[named.x]\nnumber = 1\nnumbr = 1",
            "f.toml:3:1: unknown key `numbr` in [named.x]; did you mean `number`?",
        );
        check(
            "zebra = 1",
            "f.toml:1:1: unknown key `zebra` at the top of the file; known are `one-table`, `many`, `named`, `plain`, \
             `paths`, `word`",
        );
    }

    #[test]
    fn a_key_below_a_table_that_belongs_before_it_is_told() {
        let unknown = |key: &str| format!("f.toml:3:1: unknown key `{key}` in [named.x]; ");
        let place = "it belongs at the top of the file, before any [table]";
        for (key, remedy) in [
            ("plain", place),
            ("paths", place),
            // Tables stand anywhere.
            ("named", "known are `number`, `words`"),
            ("many", "known are `number`, `words`"),
            ("neither", "known are `number`, `words`"),
            // What is near is meant.
            ("word", "did you mean `words`?"),
        ] {
            check(&format!("[named.x]\nnumber = 1\n{key} = 1"), &(unknown(key) + remedy));
        }
    }

    #[test]
    fn a_single_known_key_is_found_in_serdes_message() {
        let document = Document::new(Path::new("f.toml"), b"onyl = 1").unwrap();
        assert_eq!(
            document.parse::<Single>().unwrap_err().to_string(),
            "f.toml:1:1: unknown key `onyl` at the top of the file; did you mean `only`?"
        );
    }

    #[test]
    fn a_key_cannot_break_its_message() {
        check(
            "[one-table]\n\"a`, expected `b`\\n\\u001b[2J\" = 1",
            "f.toml:2:1: unknown key `a`, expected `b` \\x1b[2J` in [one-table]; known are `number`, `words`",
        );
    }

    #[test]
    fn a_wrong_value_is_named_by_its_key() {
        check("[one-table]\nnumber = 'x'", "f.toml:2:10: one-table.number: invalid type: string \"x\", expected u8");
        check(
            "named.'é'.words = 'x'\nnamed.'é'.number = 1",
            "f.toml:1:19: named.é.words: invalid type: string \"x\", expected an array",
        );
        check("one-table = 5", "f.toml:1:13: one-table: invalid type: integer `5`, expected a table");
        check("\n[[many]]\nwords = []", "f.toml:2:1: many: the key `number` is missing");
    }

    #[test]
    fn broken_toml_is_located() {
        check("[one-table\nnumber = 1", "f.toml:1:11: unclosed table, expected `]`");
        check("[one-table]\nnumber = 1\nnumber = 2", "f.toml:3:1: duplicate key `number`; it may be given once");
        check("[one-table]\n[one-table]", "f.toml:2:2: duplicate key `one-table`; it may be given once");
    }

    #[test]
    fn values_are_found() {
        let text = b"a = 1\n[t.u]\nlist = [\n 'x',\n 'y',\n]\n[[t.many]]\nn = 1\n\n[[t.many]]\nn = 2\n";
        let document = Document::new(Path::new("f.toml"), text).unwrap();
        let (key, item) = (|key: &str| Step::from(key), Step::Item);
        assert_eq!(document.line_of(&[key("t"), key("u"), key("list"), item(1)]), Some(5));
        assert_eq!(document.line_of(&[key("t"), key("many"), item(1)]), Some(10));
        assert_eq!(document.line_of(&[key("t"), key("many"), item(1), key("n")]), Some(11));
        for missing in [vec![key("b")], vec![key("t"), key("many"), item(2)], vec![key("a"), item(0)]] {
            assert_eq!(document.line_of(&missing), None, "{missing:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_text_is_located() {
        let error = Document::new(Path::new("f.toml"), b"a = 1\nb = \xff").unwrap_err();
        assert_eq!(error.to_string(), "f.toml:2:5: the file is not UTF-8 from here on");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_as_typed() {
        let directory = tempfile::tempdir().unwrap();
        let error = read_file(&directory.path().join("none.toml"), Path::new("none.toml")).unwrap_err();
        assert!(error.to_string().starts_with("none.toml: cannot be read: "), "{error}");
        let error = read_file(Path::new("/dev/zero"), Path::new("zero")).unwrap_err();
        assert_eq!(error.to_string(), "zero: cannot be read: it is longer than 1048576 bytes");
    }
}
