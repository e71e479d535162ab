//! Finds what was probably meant by a word that is not known.

use strsim::damerau_levenshtein;

/// The rest of an error text about an unknown word: the known word that comes close, else all the known ones.
pub fn suggestion<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(typed, &known) {
        Some(word) => format!("did you mean `{word}`?"),
        None if known.is_empty() => "none is known here".to_owned(),
        None => format!("known are {}", list(known)),
    }
}

/// Words as they stand in an error text.
pub fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// The known word with the fewest typing mistakes, if they are few enough for the length of what was typed.
pub fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let tolerated = typed.chars().count().max(3) / 3;
    known
        .iter()
        .map(|word| (damerau_levenshtein(typed, word), *word))
        .filter(|(mistakes, _)| *mistakes <= tolerated)
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["max-connections", "max-line", "idle-timeout", "line-timeout"];

    #[test]
    fn a_slip_finds_its_word() {
        for (typed, meant) in [
            ("max-conections", "max-connections"),
            ("max_connections", "max-connections"),
            ("maxline", "max-line"),
            ("max-lien", "max-line"),
            ("lin-timeout", "line-timeout"),
        ] {
            assert_eq!(suggestion(typed, KEYS), format!("did you mean `{meant}`?"));
        }
    }

    #[test]
    fn a_stranger_gets_the_list() {
        assert_eq!(suggestion("colour", ["red", "blue"]), "known are `red`, `blue`");
        assert_eq!(suggestion("x", ["int", "any"]), "known are `int`, `any`");
        assert_eq!(suggestion("x", []), "none is known here");
    }
}
