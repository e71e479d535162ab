//! A client on a raw socket: exact bytes, and never a hang.

use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::wait::PATIENCE;

pub struct Client {
    stream: Socket,
    /// Received, but not handed out yet.
    pending: Vec<u8>,
    replies: usize,
}

/// The lines that one request was answered with.
#[derive(Debug)]
pub struct Reply {
    request: String,
    pub lines: Vec<String>,
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Client {
        Client::over(tcp(address), &address.into())
    }

    /// A client that comes from this address of the machine: any of 127.0.0.0/8 will do.
    #[track_caller]
    pub fn connect_from(source: &str, address: SocketAddr) -> Client {
        let socket = tcp(address);
        let source: IpAddr = source.parse().expect("an address");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("the machine has this address");
        Client::over(socket, &address.into())
    }

    /// A client of a Unix socket.
    #[track_caller]
    pub fn connect_unix(path: &Path) -> Client {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        Client::over(socket, &SockAddr::unix(path).expect("a socket's path"))
    }

    /// A client whose kernel takes only a few KiB that it has not read.
    #[track_caller]
    pub fn with_small_window(address: SocketAddr) -> Client {
        let socket = tcp(address);
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        Client::over(socket, &address.into())
    }

    #[track_caller]
    fn over(stream: Socket, address: &SockAddr) -> Client {
        stream.connect_timeout(address, PATIENCE).expect("the host accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Client { stream, pending: Vec::new(), replies: 0 }
    }

    /// The address that the host sees this client at.
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().ok().and_then(|address| address.as_socket()).expect("a TCP address")
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the host takes what is sent");
    }

    /// Sends from a thread, for input so long that the host holds it back until its replies are read.
    pub fn send_aside(&self, bytes: Vec<u8>) -> JoinHandle<std::io::Result<()>> {
        let mut stream = self.stream.try_clone().expect("a second handle");
        thread::spawn(move || stream.write_all(&bytes))
    }

    /// Sends the same bytes again and again, so many in all at most, until the connection takes no more. Returns how many
    /// it took.
    pub fn send_endlessly(&self, bytes: &'static [u8], most: usize) -> JoinHandle<usize> {
        let mut stream = self.stream.try_clone().expect("a second handle");
        thread::spawn(move || {
            let mut sent = 0;
            while sent < most && stream.write_all(bytes).is_ok() {
                sent += bytes.len();
            }
            sent
        })
    }

    /// Sends the same bytes again and again until the connection takes no more. The number that it took goes up meanwhile.
    pub fn send_counted(&self, bytes: Vec<u8>) -> Arc<AtomicUsize> {
        let mut stream = self.stream.try_clone().expect("a second handle");
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        thread::spawn(move || {
            while stream.write_all(&bytes).is_ok() {
                counter.fetch_add(bytes.len(), Ordering::Relaxed);
            }
        });
        sent
    }

    /// Sends the same bytes again and again, pausing in between, until the connection takes no more.
    pub fn send_dripping(&self, bytes: &'static [u8], pause: Duration) {
        let mut stream = self.stream.try_clone().expect("a second handle");
        thread::spawn(move || {
            while stream.write_all(bytes).is_ok() {
                super::wait::pause(pause);
            }
        });
    }

    /// Sends a request and returns its reply. A request for `echo` follows it, to show where the reply ends and that
    /// the connection goes on.
    #[track_caller]
    pub fn reply(&mut self, request: impl AsRef<str>) -> Reply {
        let request = request.as_ref();
        self.replies += 1;
        let end = format!("-- end of reply {} --", self.replies);
        self.send(format!("{request}\necho '{end}'\n"));
        let mut lines = Vec::new();
        loop {
            match self.next_line() {
                Some(line) if line == end => return Reply { request: request.to_owned(), lines },
                Some(line) => lines.push(line),
                None => panic!("the connection ended within the reply to {request:?}, after {lines:?}"),
            }
        }
    }

    /// Whether the host serves this client; false where it was turned away.
    pub fn is_served(&mut self) -> bool {
        let _ = self.stream.write_all(b"echo served\n");
        self.line() == "served"
    }

    /// The next line, without its line end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.next_line().expect("a line, but the connection ended")
    }

    /// Asserts that the next bytes are these.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let expected = bytes.as_ref();
        while self.pending.len() < expected.len() {
            if !self.receive() {
                break;
            }
        }
        let length = expected.len().min(self.pending.len());
        let received: Vec<u8> = self.pending.drain(..length).collect();
        if received != expected {
            let same = received.iter().zip(expected).take_while(|(got, wanted)| got == wanted).count();
            panic!(
                "after {same} bytes as expected\n  came: {}\nwanted: {}",
                shown(&received[same..]),
                shown(&expected[same..])
            );
        }
    }

    /// Asserts that the next line is an error line with the code; returns its text.
    #[track_caller]
    pub fn expect_error(&mut self, code: &str) -> String {
        let line = self.line();
        error_text(&line, code).unwrap_or_else(|| panic!("expected `error: {code}: …`, got {line:?}"))
    }

    /// All that is left to come until the host ends the connection.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        while self.receive() {}
        std::mem::take(&mut self.pending)
    }

    /// Asserts that the host ends the connection in order, with nothing more on it.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "more came before the end: {:?}", rest.escape_ascii().to_string());
    }

    /// Waits until the host ends or resets the connection; whatever comes before that is dropped.
    #[track_caller]
    pub fn wait_until_cut(&mut self) {
        let mut chunk = [0; 65_536];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the connection was not cut: {error}"),
            }
        }
    }

    /// Whether nothing has come that was not handed out yet.
    #[track_caller]
    pub fn is_silent(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        let peeked = self.stream.peek(&mut [MaybeUninit::uninit()]);
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let nothing =
            matches!(&peeked, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.pending.is_empty() && nothing
    }

    /// Says that no more will be sent, and goes on receiving, as `nc -N` does.
    pub fn finish_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is up");
    }

    /// Vanishes without a goodbye: the host's kernel receives a reset.
    pub fn vanish(self) {
        self.stream.set_linger(Some(Duration::ZERO)).expect("a linger of zero");
    }

    #[track_caller]
    fn next_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.receive() {
                assert!(self.pending.is_empty(), "the connection ended within a line: {:?}", shown(&self.pending));
                return None;
            }
        }
    }

    /// Receives some more bytes; false at the end of the connection.
    #[track_caller]
    fn receive(&mut self) -> bool {
        let mut chunk = [0; 65_536];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(length) => {
                self.pending.extend_from_slice(&chunk[..length]);
                true
            }
            Err(error) => {
                panic!("no more came from the host ({error}); received and not read so far: {:?}", shown(&self.pending))
            }
        }
    }
}

fn tcp(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.set_tcp_nodelay(true).expect("no delay");
    socket
}

impl Reply {
    /// Asserts the whole reply.
    #[track_caller]
    pub fn is<const N: usize>(&self, expected: [&str; N]) {
        assert_eq!(self.lines, expected, "the reply to {:?}", self.request);
    }

    /// The first line of the reply; empty if it has none.
    pub fn first(&self) -> String {
        self.lines.first().cloned().unwrap_or_default()
    }

    /// Asserts the first line of the reply.
    #[track_caller]
    pub fn begins_with(&self, line: &str) {
        assert_eq!(self.lines.first().map(String::as_str), Some(line), "the reply to {:?}", self.request);
    }

    /// Asserts that the reply ends with an error line of the code; returns the lines before it.
    #[track_caller]
    pub fn fails_with(&self, code: &str) -> &[String] {
        let Some((last, before)) = self.lines.split_last() else {
            panic!("expected `error: {code}: …` in reply to {:?}, got nothing", self.request);
        };
        let text = error_text(last, code);
        assert!(
            text.is_some(),
            "expected `error: {code}: …` at the end of the reply to {:?}, got {last:?}",
            self.request
        );
        before
    }

    /// Asserts that the reply is one line that begins so; returns what follows.
    #[track_caller]
    pub fn begins(&self, prefix: &str) -> &str {
        match self.lines.as_slice() {
            [line] if line.starts_with(prefix) => &line[prefix.len()..],
            lines => panic!("expected one line beginning {prefix:?} in reply to {:?}, got {lines:?}", self.request),
        }
    }
}

/// The beginning of what was received, for a message.
fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 2000;
    let cut = if bytes.len() > LONGEST { "…" } else { "" };
    format!("\"{}\"{cut}", bytes[..bytes.len().min(LONGEST)].escape_ascii())
}

/// The text of an error line, if it has the code and the text is not empty.
fn error_text(line: &str, code: &str) -> Option<String> {
    let text = line.strip_prefix("error: ")?.strip_prefix(code)?.strip_prefix(": ")?;
    (!text.trim().is_empty()).then(|| text.to_owned())
}
