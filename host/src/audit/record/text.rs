//! How values stand in a record: times, hashes, and text in which nothing drives a terminal.

use std::borrow::Cow;
use std::time::SystemTime;

/// RFC 3339, in UTC.
pub fn stamp(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(time).to_string()
}

/// BLAKE3 of words, each preceded by its length in eight bytes, so that different lists have different hashes.
pub fn hash_words(words: &[String]) -> String {
    let mut hasher = blake3::Hasher::new();
    for word in words {
        hasher.update(&(word.len() as u64).to_le_bytes());
        hasher.update(word.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// JSON in which no character drives a terminal or breaks a line. It leaves some as they are that do, in strings alone.
pub fn visible(json: &str) -> Cow<'_, str> {
    if json.is_ascii() && !json.contains('\u{7f}') {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => text.push(character),
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_words_have_different_hashes() {
        let hash = |words: &[&str]| hash_words(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_ne!(hash(&[""]), hash(&[]));
    }
}
