//! One connection of the load generator: what it has sent, and what has come back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::PATIENCE;
use crate::Result;
use crate::script::{Script, Template};

pub struct Connection {
    socket: TcpStream,
    script: Script,
    /// Lines sent, and bytes of replies received, since it began.
    sent: u64,
    received: u64,
    most: usize,
}

impl Connection {
    pub fn open(address: SocketAddr, template: &Template, index: usize, most: usize) -> Result<Connection> {
        let socket = connect(address)?;
        socket.set_nonblocking(true).map_err(|error| format!("cannot set up a connection: {error}"))?;
        Ok(Connection { socket, script: Script::new(template, index, most), sent: 0, received: 0, most })
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Lines that may be sent now.
    pub fn room(&self) -> usize {
        self.most - self.outstanding()
    }

    pub fn outstanding(&self) -> usize {
        (self.sent - self.received / self.script.reply_len() as u64) as usize
    }

    /// Sends so many lines, for which there has to be room.
    pub fn send(&mut self, lines: usize) -> Result {
        let mut bytes = self.script.requests(self.sent, lines);
        while !bytes.is_empty() {
            match (&self.socket).write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                // What is under way fits into the buffers of the kernel, so this is a server that does not read.
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait_for_room(&self.socket)?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("cannot send to the server: {error}")),
            }
        }
        self.sent += lines as u64;
        Ok(())
    }

    /// Reads once, and returns how many replies are whole now that were not.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = match (&self.socket).read(buffer) {
            Ok(0) => return Err("the server closed a connection".to_owned()),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(0),
            Err(error) => return Err(format!("cannot read from the server: {error}")),
        };
        self.script.verify(self.received, &buffer[..count])?;
        let length = self.script.reply_len() as u64;
        let whole = self.received / length;
        self.received += count as u64;
        if self.received > self.sent * length {
            return Err("a reply came that nobody had asked for".to_owned());
        }
        Ok((self.received / length - whole) as usize)
    }
}

/// A connection that sends what it is given at once.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let failed = |error| format!("cannot connect to {address}: {error}");
    let socket = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    socket.set_nodelay(true).map_err(failed)?;
    Ok(socket)
}

fn wait_for_room(socket: &TcpStream) -> Result {
    let timeout = Timespec::try_from(PATIENCE).map_err(|error| error.to_string())?;
    match poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&timeout)) {
        Ok(0) => Err("the server does not take what is sent to it".to_owned()),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(format!("cannot wait for the server: {error}")),
    }
}
