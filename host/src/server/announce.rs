//! Tells on standard output where the host listens. A thread of its own does: whoever started the host may have stopped
//! reading, and that is no reason to stop serving.

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// Places that wait to be told, at most.
const MOST: usize = 256;

/// Tells where the host listens.
pub struct Announcer(SyncSender<String>);

impl Announcer {
    /// Begins.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start() -> io::Result<Announcer> {
        let (announcer, places) = sync_channel::<String>(MOST);
        thread::Builder::new().name("announcer".to_owned()).spawn(move || {
            for place in places {
                if let Err(error) = writeln!(io::stdout(), "listening on {place}") {
                    tracing::warn!(%error, "cannot announce a listener on standard output");
                }
            }
        })?;
        Ok(Announcer(announcer))
    }

    /// Tells of a place once what came before it has been read.
    pub fn announce(&self, place: &str) {
        if self.0.try_send(place.to_owned()).is_err() {
            tracing::warn!(place, "listener not announced on standard output, which nobody reads");
        }
    }
}
