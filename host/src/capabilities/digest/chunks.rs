//! The bytes of a file, chunk by chunk: read when they are asked for, or by another thread beforehand.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Builder};

use super::Payer;
use crate::sandbox::cpu;

/// Bytes read at once: large enough that the system calls do not show beside the hashing.
const CHUNK: usize = 128 * 1024;
/// The same for a thread that reads ahead: with each chunk one thread wakes the other, which takes some microseconds.
const CHUNK_AHEAD: usize = 512 * 1024;
/// Chunks that there are: one is hashed, one is read, and one lies between them.
const CHUNKS_AHEAD: usize = 3;

/// Where a hash has its bytes from.
pub trait Chunks {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn next(&mut self) -> io::Result<&[u8]>;
}

/// Chunks that are read when they are asked for.
pub struct Direct<R> {
    file: R,
    chunk: Vec<u8>,
}

impl<R: Read> Direct<R> {
    /// Those of this file.
    pub fn new(file: R) -> Direct<R> {
        Direct { file, chunk: vec![0; CHUNK] }
    }
}

impl<R: Read> Chunks for Direct<R> {
    fn next(&mut self) -> io::Result<&[u8]> {
        let read = read(&mut self.file, &mut self.chunk)?;
        Ok(&self.chunk[..read])
    }
}

/// Chunks that a thread of their own reads.
pub struct Ahead {
    chunks: Receiver<io::Result<Chunk>>,
    give_back: SyncSender<Vec<u8>>,
    /// The one that was asked for last.
    current: Option<Chunk>,
}

/// A buffer, and how much of it is filled.
struct Chunk {
    buffer: Vec<u8>,
    filled: usize,
}

impl Ahead {
    /// Runs `work` with the chunks of a file, and returns when nobody reads it any more. The time that reading takes
    /// is charged to `payer`. `None`, with nothing read, where there is no thread to be had.
    pub fn scope<T>(
        file: &mut (impl Read + Send),
        payer: &(impl Payer + Sync),
        work: impl FnOnce(Ahead) -> T,
    ) -> Option<T> {
        // Neither ever waits for room: there are no more chunks than that.
        let (hand_over, chunks) = sync_channel(CHUNKS_AHEAD);
        let (give_back, empty) = sync_channel::<Vec<u8>>(CHUNKS_AHEAD);
        thread::scope(|scope| {
            let reader = move || {
                for mut buffer in empty {
                    let (result, used) = cpu::measure_aside(|| read(file, &mut buffer));
                    payer.charge(used);
                    let is_last = !matches!(result, Ok(1..));
                    // Whoever has had enough does not listen any more.
                    let handed_over = hand_over.send(result.map(|filled| Chunk { buffer, filled }));
                    if is_last || handed_over.is_err() {
                        break;
                    }
                }
            };
            Builder::new().name("job-reader".into()).spawn_scoped(scope, reader).ok()?;
            for _ in 0..CHUNKS_AHEAD {
                let _ = give_back.send(vec![0; CHUNK_AHEAD]);
            }
            Some(work(Ahead { chunks, give_back, current: None }))
        })
    }
}

impl Chunks for Ahead {
    fn next(&mut self) -> io::Result<&[u8]> {
        if let Some(chunk) = self.current.take() {
            // After the last chunk nobody reads on.
            let _ = self.give_back.send(chunk.buffer);
        }
        let chunk = self.chunks.recv().unwrap_or_else(|_| Err(ErrorKind::UnexpectedEof.into()))?;
        let Chunk { buffer, filled } = self.current.insert(chunk);
        Ok(&buffer[..*filled])
    }
}

fn read(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
