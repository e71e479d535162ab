//! The line codec: bytes in, lines out, and a line into its words.
//!
//! This is the only place that knows what a request looks like on the wire. It does no I/O and knows nothing of
//! commands: the session pushes what it read and takes lines until there are none.

use std::str;

use memchr::{memchr, memchr3};

/// What one line of input turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A line, without its line end. It may be empty.
    Text(String),
    /// A line that is not UTF-8, without its line end. The lines after it are fine.
    BadEncoding(Vec<u8>),
    /// A line longer than the bound. Where the next line would begin is not known, so nothing follows it.
    TooLong,
}

/// Bytes received and not yet taken as lines.
///
/// The caller bounds it: it pushes what one read gives, and only while no whole line is held. What is held is then within a
/// small factor of a read and a line, and nothing at all is held while every line has been taken, so that an idle
/// connection costs no heap.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Where the next line begins. Lines are taken by moving this, not by moving the bytes behind them.
    start: usize,
    /// Where the next LF is, if one is held. It is looked for in what comes, so that no byte is looked at twice however small the
    /// pieces are.
    line_end: Option<usize>,
    max_line: usize,
    too_long: bool,
}

impl LineBuffer {
    /// An empty buffer for lines of at most `max_line` bytes, not counting LF and one CR before it.
    pub fn new(max_line: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, line_end: None, max_line, too_long: false }
    }

    /// Appends bytes as they were received. Ignored once a line has been too long.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.too_long {
            return;
        }
        // Bytes are moved only when at least as many have been taken since, so moving them stays linear overall.
        if self.start >= self.pending() {
            self.bytes.drain(..self.start);
            self.line_end = self.line_end.map(|end| end - self.start);
            self.start = 0;
        }
        let end = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        if self.line_end.is_none() {
            self.look(end);
        }
    }

    /// Takes the next line; `None` while no whole line is held.
    ///
    /// [`Line::TooLong`] comes as soon as it is certain, which may be before the line's end has been received. It
    /// is the answer to every call from then on.
    pub fn next_line(&mut self) -> Option<Line> {
        if self.too_long {
            return Some(Line::TooLong);
        }
        let Some(end) = self.line_end else {
            return self.exceeds(self.bytes.len()).then(|| self.give_up());
        };
        if self.exceeds(end) {
            return Some(self.give_up());
        }
        let bytes = self.line_to(end);
        let line = match str::from_utf8(bytes) {
            Ok(text) => Line::Text(text.to_owned()),
            Err(_) => Line::BadEncoding(bytes.to_owned()),
        };
        self.advance(end + 1);
        Some(line)
    }

    /// Whether [`next_line`](Self::next_line) has a whole line to give at once.
    pub fn has_line(&self) -> bool {
        self.too_long || self.line_end.is_some()
    }

    /// Looks for the next LF. Before `from` there is none.
    fn look(&mut self, from: usize) {
        self.line_end = memchr(b'\n', &self.bytes[from..]).map(|offset| from + offset);
    }

    /// How many bytes are held.
    fn pending(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.pending() == 0
    }

    /// Whether the last bytes held lack their LF. At the end of input that is an incomplete line, which is not run.
    pub fn has_partial(&self) -> bool {
        self.bytes.last().is_some_and(|&byte| byte != b'\n')
    }

    /// The line that ends before `end`, without one CR before that.
    fn line_to(&self, end: usize) -> &[u8] {
        let line = &self.bytes[self.start..end];
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Whether the line that ends at `end`, or goes on there, is too long for certain.
    fn exceeds(&self, end: usize) -> bool {
        self.line_to(end).len() > self.max_line
    }

    fn advance(&mut self, to: usize) {
        self.start = to;
        if self.is_empty() {
            self.release();
        } else {
            self.look(to);
        }
    }

    fn give_up(&mut self) -> Line {
        self.too_long = true;
        self.release();
        Line::TooLong
    }

    fn release(&mut self) {
        self.bytes = Vec::new();
        self.start = 0;
        self.line_end = None;
    }
}

/// What stands between words.
const BLANKS: [char; 3] = [' ', '\t', '\n'];

/// Why a line could not be split into words. The text is fit for the client that typed the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// A `'` or `"` has no partner.
    #[error("a quote is not closed")]
    UnclosedQuote,
    /// The last character is a backslash outside quotes, which quotes nothing.
    #[error("nothing follows the backslash at the end of the line")]
    TrailingBackslash,
}

/// A byte that no UTF-8 text contains.
const HASH_STAND_IN: u8 = 0xff;

/// Splits a line into words as a POSIX shell quotes them. Nothing is expanded, and no operator is special.
///
/// Unlike in a shell, `#` does not begin a comment: a client that types `echo #1` means it. The library takes an
/// unquoted `#` at the start of a word for a comment and cannot be told otherwise, so it is given a stand-in byte
/// that means nothing to it.
pub fn split_words(line: &str) -> Result<Vec<String>, WordsError> {
    // Most lines quote nothing, and then words are what stands between blanks.
    if memchr3(b'\'', b'"', b'\\', line.as_bytes()).is_none() {
        return Ok(line.split(BLANKS).filter(|word| !word.is_empty()).map(str::to_owned).collect());
    }
    let bytes = swap(line.as_bytes(), b'#', HASH_STAND_IN);
    let words = shlex::bytes::split(&bytes).ok_or_else(|| why_unsplit(bytes))?;
    Ok(words.iter().map(|word| word_text(word)).collect())
}

fn word_text(word: &[u8]) -> String {
    // The library cuts at ASCII characters only, so a word of UTF-8 text is UTF-8 and nothing is lost here.
    String::from_utf8_lossy(&swap(word, HASH_STAND_IN, b'#')).into_owned()
}

fn swap(bytes: &[u8], from: u8, to: u8) -> Vec<u8> {
    let swapped = |&byte: &u8| if byte == from { to } else { byte };
    bytes.iter().map(swapped).collect()
}

/// The library does not say which of its two errors it met. One more character cures a trailing backslash, and no
/// open quote.
fn why_unsplit(mut bytes: Vec<u8>) -> WordsError {
    bytes.push(b'x');
    match shlex::bytes::split(&bytes) {
        Some(_) => WordsError::TrailingBackslash,
        None => WordsError::UnclosedQuote,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str) -> Line {
        Line::Text(line.to_owned())
    }

    /// All lines of `input`, pushed in pieces of the sizes that `piece` gives, so many taken in between, and whether a partial
    /// line is left.
    fn lines(input: &[u8], max_line: usize, mut piece: impl FnMut() -> usize) -> (Vec<Line>, bool) {
        let mut buffer = LineBuffer::new(max_line);
        let mut taken = Vec::new();
        let mut rest = input;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
            buffer.push(now);
            rest = later;
            let most = if rest.is_empty() { usize::MAX } else { piece() };
            for _ in 0..most {
                let has_line = buffer.has_line();
                let line = buffer.next_line();
                assert!(if has_line { line.is_some() } else { matches!(line, None | Some(Line::TooLong)) });
                let Some(line) = line else { break };
                let last = line == Line::TooLong;
                taken.push(line);
                if last {
                    return (taken, buffer.has_partial());
                }
            }
        }
        (taken, buffer.has_partial())
    }

    fn whole(input: &[u8], max_line: usize) -> Vec<Line> {
        lines(input, max_line, || usize::MAX).0
    }

    /// What the buffer must say, in the plainest words, for lines that are bounded by `max_line`.
    fn expected(input: &[u8], max_line: usize) -> (Vec<Line>, bool) {
        let mut taken = Vec::new();
        let mut pieces = input.split(|&byte| byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let line = piece.strip_suffix(b"\r").unwrap_or(piece);
            if line.len() > max_line {
                taken.push(Line::TooLong);
                return (taken, false);
            }
            if pieces.peek().is_none() {
                return (taken, !piece.is_empty());
            }
            taken.push(match String::from_utf8(line.to_vec()) {
                Ok(line) => Line::Text(line),
                Err(_) => Line::BadEncoding(line.to_owned()),
            });
        }
        (taken, false)
    }

    /// A small deterministic source of numbers: the tests must fail the same way twice.
    fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % below
        }
    }

    #[test]
    fn one_cr_before_lf_is_dropped() {
        assert_eq!(whole(b"a\nb\r\nc\r\r\n\r\n\nd\re\n", 9), ["a", "b", "c\r", "", "", "d\re"].map(text));
    }

    #[test]
    fn bytes_without_lf_are_no_line() {
        let mut buffer = LineBuffer::new(9);
        assert!(!buffer.has_line());
        buffer.push(b"one\ntwo");
        assert!(buffer.has_line());
        assert_eq!(buffer.next_line(), Some(text("one")));
        assert!(!buffer.has_line());
        assert_eq!(buffer.next_line(), None);
        assert_eq!(buffer.pending(), 3);
        assert!(buffer.has_partial());
        buffer.push(b"\n");
        assert!(!buffer.has_partial());
        assert_eq!(buffer.next_line(), Some(text("two")));
        assert!(buffer.is_empty());
    }

    #[test]
    fn bad_encoding_costs_one_line() {
        assert_eq!(whole(b"a\n\xff\xfe\nb\n", 9), [text("a"), Line::BadEncoding(b"\xff\xfe".to_vec()), text("b")]);
    }

    #[test]
    fn the_bound_counts_neither_lf_nor_its_cr() {
        assert_eq!(whole(b"1234\n", 4), [text("1234")]);
        assert_eq!(whole(b"1234\r\n", 4), [text("1234")]);
        assert_eq!(whole(b"12345\n", 4), [Line::TooLong]);
        assert_eq!(whole(b"1234\r\r\n", 4), [Line::TooLong]);
    }

    #[test]
    fn too_long_comes_as_soon_as_it_is_certain() {
        assert_eq!(whole(b"1234", 4), []);
        assert_eq!(whole(b"1234\r", 4), [], "the CR may be the one before an LF");
        assert_eq!(whole(b"1234\r\r", 4), [Line::TooLong]);
        assert_eq!(whole(b"12345", 4), [Line::TooLong]);
    }

    #[test]
    fn lines_before_one_that_is_too_long_are_given_out() {
        assert_eq!(whole(b"a\nb\n12345", 4), [text("a"), text("b"), Line::TooLong]);
    }

    #[test]
    fn nothing_follows_a_line_that_is_too_long() {
        let mut buffer = LineBuffer::new(4);
        buffer.push(b"12345\nexit\n");
        for _ in 0..3 {
            assert_eq!(buffer.next_line(), Some(Line::TooLong));
            buffer.push(b"exit\n");
        }
        assert_eq!(buffer.pending(), 0);
        assert!(!buffer.has_partial());
    }

    #[test]
    fn an_idle_buffer_holds_no_heap() {
        let mut buffer = LineBuffer::new(16);
        assert_eq!(buffer.bytes.capacity(), 0);
        buffer.push(b"one\ntwo\n");
        buffer.next_line();
        assert_ne!(buffer.bytes.capacity(), 0);
        buffer.next_line();
        assert_eq!(buffer.bytes.capacity(), 0);
        buffer.push(&[b'x'; 100]);
        assert_eq!(buffer.next_line(), Some(Line::TooLong));
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn taking_a_line_moves_no_byte() {
        let mut buffer = LineBuffer::new(16);
        buffer.push(&b"echo hello\n".repeat(10_000));
        let place = buffer.bytes.as_ptr();
        for taken in 1..10_000 {
            assert_eq!(buffer.next_line(), Some(text("echo hello")));
            assert_eq!(buffer.pending(), (10_000 - taken) * 11);
            assert_eq!((buffer.bytes.as_ptr(), buffer.bytes.len()), (place, 110_000));
        }
        assert_eq!(buffer.next_line(), Some(text("echo hello")));
        assert_eq!(buffer.next_line(), None);
    }

    #[test]
    fn what_is_held_stays_near_what_is_pending() {
        let mut buffer = LineBuffer::new(16);
        buffer.push(&b"echo hello\n".repeat(100));
        for _ in 0..100_000 {
            buffer.push(b"echo hello\n");
            assert_eq!(buffer.next_line(), Some(text("echo hello")));
        }
        assert_eq!(buffer.pending(), 1100);
        assert!(buffer.bytes.capacity() <= 8 * 1100, "{}", buffer.bytes.capacity());
    }

    #[test]
    fn pieces_make_no_difference() {
        const ALPHABET: &[u8] = b"ab\n\r\n\xc3\xa9\xff";
        let mut number = numbers(1);
        for round in 0..5000 {
            let length = number(60);
            let input: Vec<u8> = (0..length).map(|_| ALPHABET[number(ALPHABET.len())]).collect();
            let max_line = number(12);
            let longest_piece = 1 + number(20);
            let found = lines(&input, max_line, || number(longest_piece));
            assert_eq!(found, expected(&input, max_line), "round {round}: {input:?}, {max_line}");
        }
    }

    #[test]
    fn words_are_quoted_as_in_a_shell() {
        for (line, words) in [
            ("", &[][..]),
            ("  \t ", &[]),
            ("echo  a\tb ", &["echo", "a", "b"]),
            ("echo 'a  b' \"c d\"", &["echo", "a  b", "c d"]),
            (r#"echo "a\"b" 'c\d' e\ f"#, &["echo", "a\"b", r"c\d", "e f"]),
            (r#"echo "a\b" "\$x""#, &["echo", r"a\b", "$x"]),
            ("echo '' \"\"", &["echo", "", ""]),
            ("echo a'b'\"c\"", &["echo", "abc"]),
            ("echo $HOME ~ * `id` $(id)", &["echo", "$HOME", "~", "*", "`id`", "$(id)"]),
            ("echo a;b | c > d &", &["echo", "a;b", "|", "c", ">", "d", "&"]),
            ("écho \"ü ö\" 日本", &["écho", "ü ö", "日本"]),
            ("a\rb\0c", &["a\rb\0c"]),
        ] {
            assert_eq!(split_words(line).as_deref(), Ok(words.map_owned().as_slice()), "{line}");
        }
    }

    #[test]
    fn a_hash_begins_no_comment() {
        for (line, words) in [
            ("echo #1", &["echo", "#1"][..]),
            ("echo a #b c", &["echo", "a", "#b", "c"]),
            ("#", &["#"]),
            ("echo '#' \"#\" \\# a#b", &["echo", "#", "#", "#", "a#b"]),
            (r##"echo "\#""##, &["echo", r"\#"]),
            ("echo 'ÿ' #ÿ", &["echo", "ÿ", "#ÿ"]),
        ] {
            assert_eq!(split_words(line).as_deref(), Ok(words.map_owned().as_slice()), "{line}");
        }
    }

    #[test]
    fn unbalanced_lines_are_refused() {
        for line in ["echo 'a", "echo \"a", "'", "echo 'a\\", "echo \"a\\", "echo \"a\\\"", "#'"] {
            assert_eq!(split_words(line), Err(WordsError::UnclosedQuote), "{line}");
        }
        for line in ["\\", "echo a\\", "echo 'a' \\", "#\\"] {
            assert_eq!(split_words(line), Err(WordsError::TrailingBackslash), "{line}");
        }
        assert_eq!(WordsError::UnclosedQuote.to_string(), "a quote is not closed");
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl MapOwned for [&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|&word| word.to_owned()).collect()
        }
    }
}
