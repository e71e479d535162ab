//! Splits a stream of bytes into lines, in bounded memory. Pure: the reader is a closure.

use alloc::vec::Vec;

/// The longest piece of a line, in bytes.
pub const LINE_BOUND: usize = 4096;

/// A line, or a part of one that is longer than [`LINE_BOUND`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The bytes, with the line feed if it ends here. Never empty.
    pub bytes: Vec<u8>,
    /// Does a line begin here? If not, this goes on where the piece before it stopped.
    pub starts_line: bool,
}

impl Piece {
    /// Does the line end here? Only the last line of a stream can lack its end.
    pub fn ends_line(&self) -> bool {
        self.bytes.ends_with(b"\n")
    }
}

/// The pieces of the stream that `read` gives chunk by chunk, until it gives `None`.
pub(crate) struct Pieces<R> {
    read: R,
    chunk: Vec<u8>,
    /// How much of `chunk` has been given out.
    taken: usize,
    starts_line: bool,
}

impl<R> Pieces<R> {
    pub(crate) fn new(read: R) -> Pieces<R> {
        Pieces { read, chunk: Vec::new(), taken: 0, starts_line: true }
    }
}

impl<R, E> Iterator for Pieces<R>
where
    R: FnMut() -> Result<Option<Vec<u8>>, E>,
{
    type Item = Result<Piece, E>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        while bytes.len() < LINE_BOUND && !bytes.ends_with(b"\n") {
            if self.taken == self.chunk.len() {
                // Freed before the read, so that two chunks never need memory at once.
                self.chunk = Vec::new();
                self.taken = 0;
                match (self.read)() {
                    Ok(Some(chunk)) => self.chunk = chunk,
                    Ok(None) => break,
                    Err(error) => return Some(Err(error)),
                }
            }
            let rest = &self.chunk[self.taken..];
            let rest = &rest[..rest.len().min(LINE_BOUND - bytes.len())];
            let length = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1);
            bytes.extend_from_slice(&rest[..length]);
            self.taken += length;
        }
        if bytes.is_empty() {
            return None;
        }
        let piece = Piece { bytes, starts_line: self.starts_line };
        self.starts_line = piece.ends_line();
        Some(Ok(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;

    fn pieces(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut chunks = chunks.iter();
        Pieces::new(|| Ok::<_, Infallible>(chunks.next().map(|chunk| chunk.to_vec())))
            .map(|piece| piece.unwrap_or_else(|never| match never {}))
            .map(|piece| (piece.bytes, piece.starts_line))
            .collect()
    }

    #[test]
    fn no_output_has_no_lines() {
        assert_eq!(pieces(&[]), []);
        assert_eq!(pieces(&[b"", b""]), []);
    }

    #[test]
    fn lines_are_split_wherever_the_chunks_are() {
        let lines = [(b"one\n".to_vec(), true), (b"\n".to_vec(), true), (b"three".to_vec(), true)];
        assert_eq!(pieces(&[b"one\n\nthree"]), lines);
        assert_eq!(pieces(&[b"on", b"e", b"\n\nth", b"", b"ree"]), lines);
        assert_eq!(pieces(&[b"o", b"n", b"e", b"\n", b"\n", b"t", b"h", b"r", b"e", b"e"]), lines);
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        let mut text = alloc::vec![b'x'; LINE_BOUND + 1];
        text.extend_from_slice(b"\nnext\n");
        let expected = [(alloc::vec![b'x'; LINE_BOUND], true), (b"x\n".to_vec(), false), (b"next\n".to_vec(), true)];
        assert_eq!(pieces(&[&text]), expected);
        assert_eq!(pieces(&text.chunks(1000).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn an_error_is_passed_on() {
        let mut pieces = Pieces::new(|| Err("gone"));
        assert_eq!(pieces.next(), Some(Err("gone")));
    }
}
