//! Makes text safe for a client's terminal.
//!
//! A log line, a file name or a command's output may hold control characters that drive the terminal it is printed
//! on. On the plain wire every one of them is shown as `\xNN` instead: C0 but TAB and LF, DEL, and C1. Everything
//! else passes as it is, bytes that are no UTF-8 included.

use std::str;

/// The longest beginning of a UTF-8 sequence that is not the whole of it.
const MAX_HELD: usize = 3;

/// How many bytes are looked at together. The compiler turns the check of a block into a few vector instructions.
const BLOCK: usize = 16;

/// Escapes a stream of bytes that comes in pieces of any size.
///
/// All it remembers between two pieces is the beginning of a UTF-8 sequence whose end has yet to come.
#[derive(Debug, Default)]
pub struct Escaper {
    held: [u8; MAX_HELD],
    held_len: usize,
}

impl Escaper {
    /// Appends `input`, made safe, to `out`.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let mut rest = self.complete_held(input, out);
        while !rest.is_empty() {
            let error = match str::from_utf8(rest) {
                Ok(_) => return escape_valid(rest, out),
                Err(error) => error,
            };
            let (valid, after) = rest.split_at(error.valid_up_to());
            escape_valid(valid, out);
            let Some(invalid) = error.error_len() else {
                return self.hold(after);
            };
            let (invalid, next) = after.split_at(invalid);
            escape_invalid(invalid, out);
            rest = next;
        }
    }

    /// Ends the stream: a UTF-8 sequence that was begun will not be completed.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        escape_invalid(&self.held[..self.held_len], out);
        self.held_len = 0;
    }

    /// Goes on with the sequence that is held, and returns what of `input` comes after it.
    fn complete_held<'a>(&mut self, mut input: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        while self.held_len > 0
            && let Some((&byte, rest)) = input.split_first()
        {
            let mut sequence = [0; MAX_HELD + 1];
            sequence[..self.held_len].copy_from_slice(&self.held[..self.held_len]);
            sequence[self.held_len] = byte;
            let sequence = &sequence[..=self.held_len];
            match str::from_utf8(sequence) {
                Ok(_) => {
                    escape_valid(sequence, out);
                    self.held_len = 0;
                }
                Err(error) if error.error_len().is_none() => self.hold(sequence),
                // The byte does not belong to the sequence, which ends there; what the byte begins is seen later.
                Err(_) => {
                    self.finish(out);
                    return input;
                }
            }
            input = rest;
        }
        input
    }

    fn hold(&mut self, sequence: &[u8]) {
        self.held[..sequence.len()].copy_from_slice(sequence);
        self.held_len = sequence.len();
    }
}

/// The first line of `text`, fit to stand in a line of the host's own.
///
/// An error's text comes from a guest, and it gets one line: what follows its first line is dropped, and a TAB is
/// escaped like every other control character, so that nothing in it looks like the host's layout.
pub fn escape_line(text: &str) -> String {
    escape_all(text.lines().next().unwrap_or_default())
}

/// All of `text` on one line, with every control character in it escaped, line ends too.
pub fn escape_all(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if character.is_control() {
            escaped.push_str(&format!("\\x{:02x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Escapes bytes that are known to be UTF-8.
fn escape_valid(mut text: &[u8], out: &mut Vec<u8>) {
    loop {
        let (plain, rest) = text.split_at(plain_prefix(text));
        out.extend_from_slice(plain);
        text = match *rest {
            [] => return,
            // The only sequences that begin so and are C1; all others that begin so are printable.
            [0xc2, second @ 0x80..=0x9f, ref rest @ ..] => {
                push_escape(second, out);
                rest
            }
            [0xc2, second, ref rest @ ..] => {
                out.extend_from_slice(&[0xc2, second]);
                rest
            }
            [control, ref rest @ ..] => {
                push_escape(control, out);
                rest
            }
        };
    }
}

/// Escapes bytes that are no part of a UTF-8 sequence. A terminal that does not speak UTF-8 takes 0x80 to 0x9f for C1.
fn escape_invalid(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            0x80..=0x9f => push_escape(byte, out),
            _ => out.push(byte),
        }
    }
}

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| HEX[usize::from(nibble & 0xf)];
    out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte)]);
}

/// How many bytes at the front of UTF-8 text need no second look.
fn plain_prefix(text: &[u8]) -> usize {
    let (blocks, _) = text.as_chunks::<BLOCK>();
    // Every byte of a block is looked at, without an early end: that is what makes it fast.
    let is_plain_block = |block: &[u8; BLOCK]| block.iter().fold(true, |all, &byte| all & is_plain(byte));
    let checked = BLOCK * blocks.iter().take_while(|block| is_plain_block(block)).count();
    let after = text[checked..].iter().take_while(|&&byte| is_plain(byte));
    checked + after.count()
}

/// Whether a byte of UTF-8 text passes without a look at its neighbours: it is no control character, and does not
/// begin a sequence that may be one.
fn is_plain(byte: u8) -> bool {
    (byte >= 0x20 && byte != 0x7f && byte != 0xc2) || byte == b'\t' || byte == b'\n'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escape_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut escaper = Escaper::default();
        let mut out = Vec::new();
        for piece in pieces {
            escaper.push(piece, &mut out);
        }
        escaper.finish(&mut out);
        out
    }

    #[track_caller]
    fn check(input: &[u8], expected: &[u8]) {
        let found = escape_pieces([input]);
        assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    #[test]
    fn every_control_character_but_tab_and_lf_is_escaped() {
        for code in 0..0x100_u32 {
            let character = char::from_u32(code).unwrap();
            let text = format!("before {character} after");
            let shown = match character {
                '\t' | '\n' => text.clone(),
                _ if character.is_control() => format!("before \\x{code:02x} after"),
                _ => text.clone(),
            };
            check(text.as_bytes(), shown.as_bytes());
        }
    }

    #[test]
    fn the_usual_tricks_are_shown() {
        check(b"\x1b[2J\x07", b"\\x1b[2J\\x07");
        check(b"good\rbad", b"good\\x0dbad");
        check("\u{9b}31m".as_bytes(), b"\\x9b31m");
        check(b"\x9b31m", b"\\x9b31m");
        check(b"\x7f\0", b"\\x7f\\x00");
    }

    #[test]
    fn text_passes() {
        let text = "plain, tab\tand line\n, \u{a0}ÿ é ß 日本語 🦀 \u{2028} \\x1b";
        check(text.as_bytes(), text.as_bytes());
    }

    #[test]
    fn bytes_that_are_no_utf8_pass_but_for_c1() {
        check(b"a\xffb\xa0\xc0\xfe", b"a\xffb\xa0\xc0\xfe");
        check(b"\x80\x85\x9f\xa0", b"\\x80\\x85\\x9f\xa0");
        check(b"\xc2", b"\xc2");
        check(b"\xc2a", b"\xc2a");
        check(b"\xe2\x82", b"\xe2\\x82");
        check(b"\xe2\x82\x1b", b"\xe2\\x82\\x1b");
        check(b"\xed\xa0\x80", b"\xed\xa0\\x80");
        check(b"\xe2\xc2\x9b", b"\xe2\\x9b");
        check(b"\xf0\x9f\xa6\xf0\x9f\xa6\x80", b"\xf0\\x9f\xa6\xf0\x9f\xa6\x80");
    }

    #[test]
    fn pieces_make_no_difference() {
        const ALPHABET: &[u8] = b"a\n\x1b\x7f\xc2\x9b\xc3\xa9\xe2\x82\xac\xf0\x9f\xa6\x80\xff\x85";
        let mut state = 1_u64;
        let mut number = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % below
        };
        for _ in 0..5000 {
            let length = number(80);
            let input: Vec<u8> = (0..length).map(|_| ALPHABET[number(ALPHABET.len())]).collect();
            let whole = escape_pieces([input.as_slice()]);
            assert_eq!(escape_pieces(input.chunks(1)), whole, "{input:?}");
            assert_eq!(escape_pieces(input.chunks(1 + number(9))), whole, "{input:?}");
            assert_eq!(whole, expected(&input), "{input:?}");
        }
    }

    /// The rules in their plainest form, by the standard library's own view of where a sequence ends.
    fn expected(input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for chunk in input.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() && character != '\t' && character != '\n' {
                    out.extend_from_slice(format!("\\x{:02x}", u32::from(character)).as_bytes());
                } else {
                    out.extend_from_slice(character.to_string().as_bytes());
                }
            }
            for &byte in chunk.invalid() {
                match byte {
                    0x80..=0x9f => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
                    _ => out.push(byte),
                }
            }
        }
        out
    }

    #[test]
    fn a_finished_escaper_starts_afresh() {
        let mut escaper = Escaper::default();
        let mut out = Vec::new();
        escaper.push(b"\xc3", &mut out);
        assert!(out.is_empty());
        escaper.finish(&mut out);
        escaper.push(b"\xa9", &mut out);
        assert_eq!(out, b"\xc3\xa9");
        escaper.push(b"\xe2\x82", &mut out);
        escaper.push(b"\xac\x1b", &mut out);
        assert_eq!(out, b"\xc3\xa9\xe2\x82\xac\\x1b");
    }

    #[test]
    fn a_line_of_the_hosts_own_stays_one_line() {
        assert_eq!(escape_line("no such file"), "no such file");
        assert_eq!(escape_line("bad\x1b[2J\tthing\nerror: forged"), "bad\\x1b[2J\\x09thing");
        assert_eq!(escape_line("dos\r\nline"), "dos");
        assert_eq!(escape_line("é\u{85}\u{7f}"), "é\\x85\\x7f");
        assert_eq!(escape_line(""), "");
    }
}
