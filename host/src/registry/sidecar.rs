//! The sidecar: what the author of `NAME.wasm` says about it in the `NAME.toml` beside it.
//!
//! It describes the command, and it turns the second of the two keys to the machine: a command gets no more than its
//! sidecar asks for, whatever the tenant allows.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::scan;
use crate::config::{self, ConfigError, Document};
use crate::policy::{Asked, Wishes};

/// Longest summary or usage line, in characters: `help` shows them all at once.
const MAX_TEXT: usize = 200;

/// A command's sidecar. The default is what goes for a command without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sidecar {
    /// What the command does, in one line.
    pub summary: Option<String>,
    /// Its words as a client types them.
    pub usage: Option<String>,
    /// Whether it wants its output to reach the client's terminal untouched. The tenant has to allow it.
    pub raw_output: bool,
    /// What a program of WASI reads as its standard input.
    pub stdin: Stdin,
    /// Where the standard error of a program of WASI goes.
    pub stderr: Stderr,
    /// How long one of its instances lives.
    pub instance: Lifetime,
    /// Its settings. The tenant's go over them.
    pub settings: BTreeMap<String, String>,
    /// The grants it asks for.
    pub asked: Asked,
}

/// What a program of WASI reads as its standard input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stdin {
    /// Nothing.
    #[default]
    Empty,
    /// The connection's following lines, until the program ends or a line is a lone `.`.
    Connection,
}

/// Where the standard error of a program of WASI goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stderr {
    /// Into the reply, as it would to a terminal.
    #[default]
    Client,
    /// Into the host's log, as that of a command of our own world always does.
    Log,
}

/// How long an instance of a command lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifetime {
    /// For one line: nothing of it is left for the next.
    #[default]
    Line,
    /// For the lines of one connection.
    Connection,
}

impl Sidecar {
    /// Reads the sidecar of the `.wasm` file at `path`, if there is one, with the grants as they are written in it.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub fn beside(path: &Path) -> Result<Option<(Self, Option<toml::Value>)>, String> {
        let path = path.with_extension("toml");
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let bytes = scan::read(&path, scan::MAX_SIDECAR).map_err(|fault| format!("{}: {fault}", path.display()))?;
        let sidecar = Self::parse(&path, &bytes).map_err(|error| error.to_string())?;
        let mut table: toml::Table = toml::from_slice(&bytes).map_err(|error| error.to_string())?;
        Ok(Some((sidecar, table.remove("grants"))))
    }

    /// Reads the contents of a sidecar, which errors call `file`.
    ///
    /// # Errors
    /// When they are no sidecar; the text has the line and what was meant.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.is_empty() {
            // A file that is being written looks like this, or one that a full disk has cut: taken for a sidecar it would give
            // its command all that the tenant grants.
            let file = file.display();
            return Err(ConfigError::Unfit(format!("{file}: is empty; remove it, or write what the command asks for")));
        }
        let raw: RawSidecar = Document::new(file, bytes)?.parse()?;
        Ok(Self {
            summary: raw.summary,
            usage: raw.usage,
            raw_output: raw.raw_output,
            stdin: raw.stdin,
            stderr: raw.stderr,
            instance: raw.instance,
            settings: raw.settings,
            asked: raw.grants.map_or(Asked::Everything, Asked::Only),
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
struct RawSidecar {
    #[serde(deserialize_with = "one_line")]
    summary: Option<String>,
    #[serde(deserialize_with = "one_line")]
    usage: Option<String>,
    raw_output: bool,
    stdin: Stdin,
    stderr: Stderr,
    instance: Lifetime,
    #[serde(deserialize_with = "config::settings")]
    settings: BTreeMap<String, String>,
    grants: Option<Wishes>,
}

/// Reads text that `help` shows in a line of its own, which must not look like several.
fn one_line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.chars().count() > MAX_TEXT {
        return Err(D::Error::custom(format!("the text is longer than {MAX_TEXT} characters")));
    }
    if text.contains(char::is_control) {
        return Err(D::Error::custom("the text must be one line, without control characters"));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::policy::Slot;

    fn parse(text: &str) -> Result<Sidecar, String> {
        Sidecar::parse(Path::new("lastlog.toml"), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_full_sidecar_is_read() {
        let sidecar = parse(
            r#"
            summary = "Prints the last lines of the system log"
            usage = "lastlog"
            raw-output = true
            [settings]
            file = "/var/log/dpkg.log"
            [[grants.process]]
            program = "/usr/bin/tail"
            args = ["-n", { int = [1, 1000] }, { any = true }]
            [grants.digest]
            read = ["/"]
            "#,
        )
        .unwrap();
        assert_eq!(sidecar.summary.as_deref(), Some("Prints the last lines of the system log"));
        assert_eq!(sidecar.usage.as_deref(), Some("lastlog"));
        assert!(sidecar.raw_output);
        assert_eq!(sidecar.settings["file"], "/var/log/dpkg.log");
        let Asked::Only(grants) = sidecar.asked else { panic!("{:?}", sidecar.asked) };
        assert_eq!(grants.digest.read, [PathBuf::from("/")]);
        assert_eq!(grants.process[0].program, PathBuf::from("/usr/bin/tail"));
        assert_eq!(
            grants.process[0].args,
            [Slot::Literal("-n".to_owned()), Slot::Int { min: 1, max: 1000 }, Slot::Any]
        );
    }

    #[test]
    fn one_that_says_nothing_is_as_good_as_none_and_an_empty_file_is_none() {
        assert_eq!(parse("# nothing\n"), Ok(Sidecar::default()));
        assert!(parse("").unwrap_err().contains("is empty"));
        assert_eq!(Sidecar::default().asked, Asked::Everything);
    }

    #[test]
    fn a_grants_table_without_grants_asks_for_nothing() {
        assert_eq!(parse("[grants]").unwrap().asked, Asked::Only(Wishes::default()));
    }

    #[test]
    fn mistakes_are_located() {
        assert_eq!(
            parse("sumary = 'x'").unwrap_err(),
            "lastlog.toml:1:1: unknown key `sumary` at the top of the file; did you mean `summary`?"
        );
        assert_eq!(
            parse("\n[grants.digests]").unwrap_err(),
            "lastlog.toml:2:9: unknown key `digests` in [grants]; did you mean `digest`?"
        );
        assert_eq!(
            parse("[settings]\nlines = 10").unwrap_err(),
            "lastlog.toml:2:9: settings.lines: a setting is text; put it in quotes: \"10\""
        );
        assert_eq!(
            parse("summary = \"a\\nb\"").unwrap_err(),
            "lastlog.toml:1:11: summary: the text must be one line, without control characters"
        );
    }
}
