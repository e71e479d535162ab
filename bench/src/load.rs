//! The load generator: one thread, one epoll, and every byte that comes back compared with what had to come.

mod closed;
mod connection;
mod one_by_one;
mod open;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::Result;
use crate::script::Template;
use connection::Connection;

pub use closed::Closed;
pub use one_by_one::{Exchange, connect_and_ask};
pub use open::Open;

/// The longest that anything may take that a server is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Sockets that are looked at for each call of the kernel.
const EVENTS: usize = 1024;
/// Bytes that are read at once.
const READ: usize = 64 << 10;

/// Connections to one server, all of which send lines of one template.
pub struct Connections {
    poll: rustix::fd::OwnedFd,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    all: Vec<Connection>,
}

impl Connections {
    /// Opens connections that have at most `in_flight` lines under way each, and has every one of them run a line, so that the
    /// server is known to have accepted it.
    pub fn open(address: SocketAddr, count: usize, in_flight: usize, template: &Template) -> Result<Connections> {
        let mut connections = Connections::open_unused(address, count, in_flight, template)?;
        for connection in &mut connections.all {
            connection.send(1)?;
        }
        connections.drain(PATIENCE)?;
        Ok(connections)
    }

    /// Opens connections and sends nothing on them.
    pub fn open_unused(
        address: SocketAddr,
        count: usize,
        in_flight: usize,
        template: &Template,
    ) -> Result<Connections> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("no epoll: {error}"))?;
        let mut all = Vec::with_capacity(count);
        for index in 0..count {
            let connection = Connection::open(address, template, index, in_flight)?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&poll, connection.socket(), data, epoll::EventFlags::IN)
                .map_err(|error| format!("cannot watch a connection: {error}"))?;
            all.push(connection);
        }
        Ok(Connections { poll, events: Vec::with_capacity(EVENTS), buffer: vec![0; READ], all })
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Sends one line on each connection, and waits for nothing.
    pub fn send_on_each(&mut self) -> Result {
        self.all.iter_mut().try_for_each(|connection| connection.send(1))
    }

    /// Lines that are under way.
    pub fn outstanding(&self) -> usize {
        self.all.iter().map(Connection::outstanding).sum()
    }

    /// Reads what has arrived, within the time at most, and tells of each connection that has got whole replies: which one it is,
    /// and how many. What is told may send on it.
    fn turn(&mut self, timeout: Duration, mut replied: impl FnMut(usize, &mut Connection, usize) -> Result) -> Result {
        self.events.clear();
        let timeout = Timespec::try_from(timeout).map_err(|error| error.to_string())?;
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("cannot wait for replies: {error}")),
        }
        for event in &self.events {
            let index = event.data.u64() as usize;
            let connection = &mut self.all[index];
            let replies = connection.read(&mut self.buffer)?;
            if replies > 0 {
                replied(index, connection, replies)?;
            }
        }
        Ok(())
    }

    /// Waits for all replies that are due, which are counted and compared as well.
    pub fn drain(&mut self, patience: Duration) -> Result<usize> {
        let deadline = Instant::now() + patience;
        let (due, mut left) = (self.outstanding(), self.outstanding());
        while left > 0 {
            let Some(time) = deadline.checked_duration_since(Instant::now()) else {
                return Err(format!("{left} of {due} replies did not come within {} s", patience.as_secs()));
            };
            self.turn(time, |_, _, replies| {
                left -= replies;
                Ok(())
            })?;
        }
        Ok(due)
    }
}
