//! Replies of several connections that go out together.
//!
//! Sending a reply may wake its reader, which on a busy machine costs as much as running a small command. So an event loop
//! sends the first reply of a round at once, and the others when it has run all the lines that came with it: their readers
//! then find several. A round ends before the loop waits. A loop that never does looks after those that wait whenever it
//! begins a line that may compute, and between the turns of connections that only send.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Wire;

/// Replies that wait at most.
const MOST: usize = 32;
/// How long a reply may wait already when one more line is begun.
const LATE: Duration = Duration::from_micros(100);

thread_local! {
    /// There is one on each event loop.
    static OUTBOX: RefCell<Option<Outbox>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Outbox {
    /// Whether a reply was sent in this round.
    has_sent: bool,
    waiting: Vec<Arc<Wire>>,
    /// When the first of those that wait had been asked for.
    since: Option<Instant>,
}

/// Gives this thread an outbox.
pub fn open() {
    OUTBOX.set(Some(Outbox::default()));
}

/// Has a reply to a line that came at `asked` wait until [`end_round`]. False where it is to be sent at once, as always on a
/// thread without an outbox.
pub fn defer(wire: &Arc<Wire>, asked: Instant) -> bool {
    hurry(asked);
    OUTBOX.with_borrow_mut(|outbox| {
        let Some(outbox) = outbox.as_mut().filter(|outbox| outbox.has_sent && outbox.waiting.len() < MOST) else {
            if let Some(outbox) = outbox {
                outbox.has_sent = true;
            }
            return false;
        };
        outbox.since.get_or_insert(asked);
        outbox.waiting.push(Arc::clone(wire));
        true
    })
}

/// Sends what waits if that has waited for long.
pub fn hurry(now: Instant) {
    let is_late = |outbox: &Outbox| outbox.since.is_some_and(|since| now.saturating_duration_since(since) > LATE);
    if OUTBOX.with_borrow(|outbox| outbox.as_ref().is_some_and(is_late)) {
        end_round();
    }
}

/// Takes out a connection that goes on elsewhere. What it waited with goes with what it writes there.
pub fn take_out(wire: &Arc<Wire>) {
    let waited = OUTBOX.with_borrow_mut(|outbox| {
        let waiting = &mut outbox.as_mut()?.waiting;
        let place = waiting.iter().position(|other| Arc::ptr_eq(other, wire))?;
        Some(waiting.swap_remove(place))
    });
    if let Some(wire) = waited {
        wire.wait_no_more();
    }
}

/// Sends all that waits. Called before the loop waits for more.
pub fn end_round() {
    let mut waiting = OUTBOX.with_borrow_mut(|outbox| {
        let Some(outbox) = outbox else { return Vec::new() };
        outbox.has_sent = false;
        outbox.since = None;
        std::mem::take(&mut outbox.waiting)
    });
    for wire in waiting.drain(..) {
        wire.send_waiting();
    }
    // The room is kept for the next round.
    OUTBOX.with_borrow_mut(|outbox| {
        if let Some(outbox) = outbox.as_mut().filter(|outbox| outbox.waiting.is_empty()) {
            outbox.waiting = waiting;
        }
    });
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::config;

    fn wire() -> (Arc<Wire>, UnixStream) {
        let (here, there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        there.set_nonblocking(true).unwrap();
        let here = tokio::net::UnixStream::from_std(here).unwrap();
        (Arc::new(Wire::new(here, "test", Arc::new(config::Server::default()))), there)
    }

    /// What has come: a socket of this kind has it as soon as it is sent.
    fn received(mut client: &UnixStream) -> Option<String> {
        let mut bytes = [0; 64];
        match client.read(&mut bytes) {
            Ok(read) => Some(String::from_utf8_lossy(&bytes[..read]).into_owned()),
            Err(error) => (error.kind() != ErrorKind::WouldBlock).then(|| error.to_string()),
        }
    }

    /// Replies to two clients in one round: the first goes at once, the second waits.
    async fn round() -> (Arc<Wire>, UnixStream) {
        open();
        let [(first, one), (second, other)] = [wire(), wire()];
        // The runtime learns that they can be written to.
        tokio::task::yield_now().await;
        for wire in [&first, &second] {
            wire.say("one\n");
            wire.send_soon(Instant::now()).unwrap();
        }
        assert_eq!(received(&one).as_deref(), Some("one\n"));
        assert_eq!(received(&other), None);
        (second, other)
    }

    #[tokio::test]
    async fn the_second_reply_of_a_round_goes_at_its_end() {
        let (_wire, client) = round().await;
        end_round();
        assert_eq!(received(&client).as_deref(), Some("one\n"));
    }

    /// A session that waits for the socket does so through the round's end, which asks for the same socket.
    #[tokio::test]
    async fn whoever_waits_for_a_slow_client_is_woken_after_a_round_has_ended() {
        open();
        let [(first, _one), (second, other)] = [wire(), wire()];
        tokio::task::yield_now().await;
        first.say("one\n");
        first.send_soon(Instant::now()).unwrap();
        let reply = "x".repeat(8 * 1024 * 1024);
        second.say(&reply);
        second.send_soon(Instant::now()).unwrap();
        let waiting = tokio::spawn({
            let second = Arc::clone(&second);
            async move { second.flush().await }
        });
        // It has been polled, and the socket has taken what it can hold.
        while received(&other).is_none() {
            tokio::task::yield_now().await;
        }
        end_round();
        let client = tokio::net::UnixStream::from_std(other).unwrap();
        let read = async {
            let mut left = reply.len() - 64;
            let mut bytes = vec![0; 65536];
            while left > 0 {
                client.readable().await.unwrap();
                left -= client.try_read(&mut bytes).unwrap_or(0);
            }
        };
        let both = async { (tokio::join!(read, waiting)).1 };
        let ended = tokio::time::timeout(Duration::from_secs(60), both).await.expect("nobody is left waiting");
        assert!(ended.unwrap().is_ok());
    }

    #[tokio::test]
    async fn what_goes_on_elsewhere_is_not_sent_from_here() {
        let (wire, client) = round().await;
        take_out(&wire);
        wire.say("tried");
        end_round();
        assert_eq!(received(&client), None);
        wire.send_now().unwrap();
        assert_eq!(received(&client).as_deref(), Some("one\ntried"));
    }
}
