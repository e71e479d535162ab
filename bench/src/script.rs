//! What a connection sends and what has to come back, byte by byte.
//!
//! Both are rings of whole lines, each with a number of its own, so that a reply which is lost, repeated, cut, out of order or
//! somebody else's cannot pass for the right one. All lines have one length, which makes sending some of them, and comparing
//! whatever has arrived, a matter of one slice each.

use std::ops::Range;

use crate::Result;

/// The shape of a line and of its reply. `{}` stands for the line's number.
#[derive(Debug, Clone)]
pub struct Template {
    /// Without its line end.
    pub request: String,
    /// With its line end.
    pub reply: String,
}

impl Template {
    pub fn new(request: &str, reply: &str) -> Template {
        Template { request: request.to_owned(), reply: reply.to_owned() }
    }

    /// A single line, and the reply to it.
    pub fn line(&self, connection: usize, line: usize) -> (String, String) {
        let number = format!("{:04x}{:04x}", connection & 0xffff, line & 0xffff);
        (self.request.replace("{}", &number) + "\n", self.reply.replace("{}", &number))
    }
}

/// The rings of one connection.
#[derive(Debug)]
pub struct Script {
    requests: Ring,
    replies: Ring,
}

#[derive(Debug)]
struct Ring {
    /// The lines, and behind them the first of them again, so that no slice has to go round.
    bytes: Vec<u8>,
    line: usize,
    lines: usize,
}

impl Script {
    /// Rings for a connection that never has more than `most` lines under way.
    pub fn new(template: &Template, connection: usize, most: usize) -> Script {
        let lines = (2 * most).max(16);
        let numbers = (0..lines + most + 1).map(|line| template.line(connection, line % lines));
        let (requests, replies): (Vec<String>, Vec<String>) = numbers.unzip();
        Script { requests: Ring::new(&requests, lines), replies: Ring::new(&replies, lines) }
    }

    /// The bytes of `count` lines, of which the first is line number `from`.
    pub fn requests(&self, from: u64, count: usize) -> &[u8] {
        let start = self.requests.line_at(from);
        &self.requests.bytes[start..start + count * self.requests.line]
    }

    /// Bytes of a reply.
    pub fn reply_len(&self) -> usize {
        self.replies.line
    }

    /// Compares what has arrived after `received` bytes of replies.
    ///
    /// # Errors
    /// When it is not what had to arrive; the text shows both.
    pub fn verify(&self, received: u64, arrived: &[u8]) -> Result {
        let Range { start, end } = self.replies.span(received, arrived.len());
        let Some(expected) = self.replies.bytes.get(start..end) else {
            return Err(format!("{} bytes arrived, which is more than was asked for", arrived.len()));
        };
        if arrived == expected {
            return Ok(());
        }
        let at = arrived.iter().zip(expected).position(|(one, other)| one != other).unwrap_or(0);
        let shown = |bytes: &[u8]| {
            let from = at.saturating_sub(self.replies.line);
            bytes[from..bytes.len().min(at + 2 * self.replies.line)].escape_ascii().to_string()
        };
        Err(format!("a reply is wrong: `{}` came instead of `{}`", shown(arrived), shown(expected)))
    }
}

impl Ring {
    fn new(all: &[String], lines: usize) -> Ring {
        Ring { bytes: all.concat().into_bytes(), line: all[0].len(), lines }
    }

    fn line_at(&self, number: u64) -> usize {
        (number % self.lines as u64) as usize * self.line
    }

    fn span(&self, byte: u64, count: usize) -> Range<usize> {
        let start = (byte % (self.lines * self.line) as u64) as usize;
        start..start + count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        Template::new("echo {}", "{}\n")
    }

    #[test]
    fn lines_have_numbers_of_their_own() {
        assert_eq!(template().line(3, 10), ("echo 0003000a\n".to_owned(), "0003000a\n".to_owned()));
        let script = Script::new(&template(), 1, 2);
        assert_eq!(script.requests(0, 2), b"echo 00010000\necho 00010001\n");
        // There are 16 lines, so the last is followed by the first.
        assert_eq!(script.requests(15, 2), b"echo 0001000f\necho 00010000\n");
        assert_eq!(script.requests(16, 1), b"echo 00010000\n");
    }

    #[test]
    fn replies_are_compared_wherever_they_are_cut() {
        let script = Script::new(&template(), 1, 64);
        let whole: String = (0..300).map(|line| template().line(1, line % 128).1).collect();
        let mut received = 0;
        for piece in whole.as_bytes().chunks(31) {
            script.verify(received, piece).unwrap();
            received += piece.len() as u64;
        }
    }

    #[test]
    fn a_wrong_reply_is_found() {
        let script = Script::new(&template(), 1, 2);
        script.verify(0, b"00010000\n").unwrap();
        for wrong in ["00010001\n", "00020000\n", "00010000\n00010000\n", "0001000x\n"] {
            let error = script.verify(0, wrong.as_bytes()).unwrap_err();
            assert!(error.contains("instead of"), "{error}");
        }
        let more = "00010000\n".repeat(50);
        assert!(script.verify(0, more.as_bytes()).unwrap_err().contains("more than was asked for"));
    }
}
