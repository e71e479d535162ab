//! Values that are written with a unit or within bounds: sizes, durations, counts, names.
//!
//! Each function reads one value for serde's `deserialize_with`, so that an error points at the very value and a
//! field never holds one that makes no sense. The upper bounds are far beyond any use; they are there so that sums
//! and deadlines made of these values do not overflow.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::Value;

/// The largest size: one EiB.
const MAX_BYTES: u64 = 1 << 60;
/// The longest duration: ten years.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// The largest count of anything.
pub const MAX_COUNT: usize = 1_000_000;

/// Reads a size: a whole number of bytes, or text such as `64MiB`, `512KiB` or `1GB`.
pub fn bytes<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let value = Value::deserialize(deserializer)?;
    let size = match &value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::String(text) => ByteSize::from_str(text).ok().map(|size| size.as_u64()),
        _ => None,
    };
    let size = size.ok_or_else(|| {
        D::Error::custom(format!(
            "{value} is no size; write a number of bytes, or a size such as \"64MiB\", \"512KiB\" or \"1GB\""
        ))
    })?;
    match T::try_from(size) {
        Ok(fitting) if (1..=MAX_BYTES).contains(&size) => Ok(fitting),
        _ => Err(D::Error::custom(format!("{value} is out of range; a size is between 1 byte and 1EiB"))),
    }
}

/// Reads a duration: text such as `30s`, `500ms` or `1m 30s`.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let duration = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
    let duration = duration.ok_or_else(|| {
        D::Error::custom(format!(
            "{value} is no duration; write one with its unit, such as \"30s\", \"500ms\" or \"1m 30s\""
        ))
    })?;
    if duration.is_zero() || duration > MAX_DURATION {
        return Err(D::Error::custom(format!(
            "{value} is out of range; a duration is more than nothing and at most ten years"
        )));
    }
    Ok(duration)
}

/// As [`bytes`], where it may be left out.
pub fn some_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    bytes(deserializer).map(Some)
}

/// As [`count`], where it may be left out.
pub fn some_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    count(deserializer).map(Some)
}

/// A part of the machine's time, in thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub struct Share(pub u32);

impl TryFrom<Value> for Share {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let cores = match &value {
            Value::Integer(cores) => u32::try_from(*cores).ok().map(f64::from),
            Value::Float(cores) => Some(*cores),
            _ => None,
        };
        match cores {
            Some(cores) if (0.001..=1000.0).contains(&cores) => Ok(Self((cores * 1000.0).round() as u32)),
            _ => Err(format!(
                "{value} is no share of a core; write CPU seconds per second, from 0.001 to 1000, such as 0.5 or 2"
            )),
        }
    }
}

/// Reads a count of which there must be at least one.
pub fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    whole_number(deserializer, 1)
}

/// Reads a count that may be zero.
pub fn count_or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    whole_number(deserializer, 0)
}

fn whole_number<'de, D: Deserializer<'de>>(deserializer: D, least: usize) -> Result<usize, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = value.as_integer().and_then(|number| usize::try_from(number).ok());
    match number {
        Some(number) if (least..=MAX_COUNT).contains(&number) => Ok(number),
        _ => {
            Err(D::Error::custom(format!("{value} is out of range; write a whole number from {least} to {MAX_COUNT}")))
        }
    }
}

/// Reads a command's settings. They are text, for that is what a command gets.
pub fn settings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let settings = BTreeMap::<String, Setting>::deserialize(deserializer)?;
    Ok(settings.into_iter().map(|(key, Setting(text))| (key, text)).collect())
}

/// One command's settings, where they are the values of a table themselves.
#[derive(Debug, Deserialize)]
pub struct Settings(#[serde(deserialize_with = "settings")] pub BTreeMap<String, String>);

struct Setting(String);

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Table(_) | Value::Array(_) => Err(D::Error::custom("a setting is text in quotes")),
            value => Err(D::Error::custom(format!("a setting is text; put it in quotes: \"{value}\""))),
        }
    }
}

/// A SHA-256, in hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Sha256(pub [u8; 32]);

impl TryFrom<String> for Sha256 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut hash = [0; 32];
        let digits = text.as_bytes();
        let whole = digits.len() == 2 * hash.len() && digits.iter().all(u8::is_ascii_hexdigit);
        for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
            let pair = text.get(at..at + 2).filter(|_| whole);
            *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(|| {
                // What stands there may be the token itself, so it is not repeated.
                "this is no SHA-256; paste the 64 digits that `wasmline token` prints".to_owned()
            })?;
        }
        Ok(Self(hash))
    }
}

/// What names look like, for whoever has to find another.
pub const NAMES: &str = "a name is made of a to z, 0 to 9, `_` and `-`, and begins with a letter or digit";

/// The name of a tenant or of a command.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(pub String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_name(&text) {
            return Ok(Self(text));
        }
        Err(format!("`{text}` is no name; {NAMES}"))
    }
}

/// Whether `text` can name a tenant or a command: `[a-z0-9][a-z0-9_-]*`.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match text.as_bytes() {
        [first, rest @ ..] => plain(*first) && rest.iter().all(|&byte| plain(byte) || byte == b'_' || byte == b'-'),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Values {
        #[serde(deserialize_with = "bytes")]
        size: u64,
        #[serde(deserialize_with = "bytes")]
        small: u8,
        #[serde(deserialize_with = "duration")]
        time: Duration,
        #[serde(deserialize_with = "count")]
        some: usize,
        #[serde(deserialize_with = "count_or_zero")]
        any: usize,
        #[serde(deserialize_with = "settings")]
        settings: BTreeMap<String, String>,
    }

    fn read(text: &str) -> Values {
        toml::from_str(text).unwrap()
    }

    /// The text of the error, and the part of the document that it points at.
    fn refusal(text: &str) -> (String, &str) {
        let error = toml::from_str::<Values>(text).unwrap_err();
        (error.message().to_owned(), &text[error.span().unwrap()])
    }

    #[test]
    fn sizes_have_units() {
        for (text, size) in [
            ("'64MiB'", 64 << 20),
            ("'512KiB'", 512 << 10),
            ("'1GB'", 1_000_000_000),
            ("'1.5 KiB'", 1536),
            ("'100'", 100),
            ("100", 100),
            ("'1EiB'", 1 << 60),
        ] {
            assert_eq!(read(&format!("size = {text}")).size, size, "{text}");
        }
    }

    #[test]
    fn a_bad_size_is_shown_with_good_ones() {
        let (message, place) = refusal("size = '64MiBs'");
        assert_eq!(
            message,
            "\"64MiBs\" is no size; write a number of bytes, or a size such as \"64MiB\", \"512KiB\" or \"1GB\""
        );
        assert_eq!(place, "'64MiBs'");
        for text in ["-1", "1.5", "true", "''", "'MiB'", "'-1MiB'", "[]"] {
            let (message, _) = refusal(&format!("size = {text}"));
            assert!(message.contains(" is no size"), "{message}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        for text in ["size = 0", "size = '0MiB'", "size = '2EiB'", "size = '99999999EiB'", "small = 256"] {
            let (message, _) = refusal(text);
            assert!(message.contains("out of range"), "{text}: {message}");
        }
        assert_eq!(read("small = 255").small, 255);
    }

    #[test]
    fn durations_have_units() {
        for (text, milliseconds) in [("30s", 30_000), ("500ms", 500), ("1m 30s", 90_000), ("1h", 3_600_000)] {
            let time = read(&format!("time = '{text}'")).time;
            assert_eq!(time, Duration::from_millis(milliseconds), "{text}");
        }
    }

    #[test]
    fn a_bad_duration_is_shown_with_good_ones() {
        for text in ["30", "'30'", "'soon'", "'30 secs and a bit'", "''", "'-1s'"] {
            let (message, _) = refusal(&format!("time = {text}"));
            assert!(message.contains(" is no duration; write one with its unit"), "{message}");
        }
        for text in ["'0s'", "'11y'", "'3000years'"] {
            let (message, _) = refusal(&format!("time = {text}"));
            assert!(message.contains("out of range"), "{message}");
        }
    }

    #[test]
    fn counts_are_bounded() {
        assert_eq!(read("some = 1").some, 1);
        assert_eq!(read("some = 1000000").some, MAX_COUNT);
        assert_eq!(read("any = 0").any, 0);
        for text in ["some = 0", "some = 1000001", "some = -1", "some = '5'", "some = 1.0", "any = -1"] {
            let (message, place) = refusal(text);
            assert!(message.contains("write a whole number from"), "{message}");
            assert!(text.ends_with(place));
        }
    }

    #[test]
    fn settings_are_text() {
        assert_eq!(read("settings.file = '/x'").settings["file"], "/x");
        assert_eq!(refusal("settings.lines = 5"), ("a setting is text; put it in quotes: \"5\"".to_owned(), "5"));
        assert_eq!(refusal("settings.on = true").0, "a setting is text; put it in quotes: \"true\"");
        assert_eq!(refusal("settings.a.b = 'c'").0, "a setting is text in quotes");
    }

    #[test]
    fn names_are_plain() {
        for name in ["a", "0", "default", "web-1", "a_b", "9to5"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "_a", "A", "a.b", "a b", "é", "a/b", "a\n"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
