//! One line at a time: on a connection of its own for each, or on one that stays.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::connection::connect;
use crate::Result;

/// Bytes of a reply that is not known before.
const MOST_REPLY: usize = 1 << 20;

/// A connection on which one line is sent at a time.
pub struct Exchange {
    socket: TcpStream,
}

impl Exchange {
    pub fn open(address: SocketAddr) -> Result<Exchange> {
        let socket = connect(address)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(|error| format!("cannot set up a connection: {error}"))?;
        Ok(Exchange { socket })
    }

    /// Sends a line and waits for a reply of which nothing is known but its last bytes.
    pub fn ask(&mut self, line: &str, last: &[&str]) -> Result<String> {
        self.send(line)?;
        let mut reply = Vec::new();
        while !last.iter().any(|last| reply.ends_with(last.as_bytes())) {
            let mut buffer = [0; 4096];
            let count = self.socket.read(&mut buffer).map_err(|error| failed(line, &reply, &error.to_string()))?;
            if count == 0 || reply.len() > MOST_REPLY {
                return Err(failed(line, &reply, "it ended without what was expected"));
            }
            reply.extend_from_slice(&buffer[..count]);
        }
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }

    /// Sends a line, and fails unless exactly this comes back.
    pub fn expect(&mut self, line: &str, reply: &str) -> Result {
        self.send(line)?;
        let mut buffer = vec![0; reply.len()];
        let mut filled = 0;
        while filled < buffer.len() {
            match self.socket.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(line, &buffer[..filled], &error.to_string())),
            }
            // A reply of another kind may be shorter, and then there is nothing to wait for.
            if buffer[..filled] != reply.as_bytes()[..filled] {
                break;
            }
        }
        if buffer[..filled] == *reply.as_bytes() { Ok(()) } else { Err(failed(line, &buffer[..filled], "it is wrong")) }
    }

    fn send(&mut self, line: &str) -> Result {
        self.socket.write_all(line.as_bytes()).map_err(|error| format!("cannot send to the server: {error}"))
    }
}

/// Connects, asks and closes `most` times, or for so long. Returns how often it was, and how long it took.
pub fn connect_and_ask(
    address: SocketAddr,
    most: usize,
    longest: Duration,
    line: impl Fn(usize) -> (String, String),
) -> Result<(usize, Duration)> {
    let began = Instant::now();
    let mut count = 0;
    while count < most && began.elapsed() < longest {
        let (line, reply) = line(count);
        Exchange::open(address)?.expect(&line, &reply)?;
        count += 1;
    }
    Ok((count, began.elapsed()))
}

fn failed(line: &str, reply: &[u8], why: &str) -> String {
    format!("the reply to `{}` began with `{}`: {why}", line.trim_end(), reply.escape_ascii())
}
