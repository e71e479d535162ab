//! A program that somebody types into, reading each answer before typing on.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::wait::{PATIENCE, eventually_some};

pub struct Session {
    shown: String,
    child: Child,
    stdin: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    /// Printed, but not looked at yet.
    pending: Vec<u8>,
}

impl Session {
    #[track_caller]
    pub fn start(command: &mut Command) -> Session {
        let shown = format!("{command:?}");
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("cannot run {shown}: {error}; see `cargo xtask test`"));
        let (stdin, mut stdout) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let (send, output) = channel();
        // It ends with the program, whose end closes the pipe.
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut chunk) {
                if send.send(chunk[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Session { shown, child, stdin, output, pending: Vec::new() }
    }

    /// Types a line.
    #[track_caller]
    pub fn types(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it is open until the end");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("the program takes what is typed");
    }

    /// Waits for the next bytes that it prints, which must be these.
    #[track_caller]
    pub fn shows(&mut self, text: &str) {
        while self.pending.len() < text.len() && text.as_bytes().starts_with(&self.pending) {
            match self.output.recv_timeout(PATIENCE) {
                Ok(bytes) => self.pending.extend(bytes),
                Err(error) => panic!("{}: {error}, waiting for {text:?}; so far: {}", self.shown, self.printed()),
            }
        }
        assert!(self.pending.starts_with(text.as_bytes()), "wanted {text:?}, it printed {}", self.printed());
        self.pending.drain(..text.len());
    }

    /// Ends the input, as Ctrl-D does, and asserts that the program ends well, with nothing more to say.
    #[track_caller]
    pub fn ends(mut self) {
        drop(self.stdin.take());
        let status = eventually_some("the program ends", || self.child.try_wait().expect("it can be waited for"));
        self.pending.extend(self.output.iter().flatten());
        assert!(status.success() && self.pending.is_empty(), "{status}, and it printed {}", self.printed());
    }

    fn printed(&self) -> String {
        format!("\"{}\"", self.pending.escape_ascii())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
