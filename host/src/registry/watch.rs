//! Notices that a commands directory may have changed. What has changed is for a rescan to find out.
//!
//! The machine's events come at once, but they can be lost, merged or unavailable, so directories are looked at from time
//! to time without any. The parent of a directory is watched too: a directory that is deleted takes its watch with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

/// How long events are gathered before a rescan: copying a file makes dozens.
const GATHER: Duration = Duration::from_millis(20);
/// How soon a directory in which a file is being written is looked at again.
const SOON: Duration = Duration::from_millis(60);
/// How often directories are looked at without any event.
const ANYWAY: Duration = Duration::from_secs(5);
/// The same where the machine gives no events, for lack of watches or by the kind of file system.
const UNWATCHED: Duration = Duration::from_millis(500);

/// Watches directories.
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    hints: Receiver<()>,
    complete: bool,
}

impl Watch {
    /// A watch on nothing yet.
    pub fn new() -> Watch {
        let (sender, hints) = channel(1);
        let watcher = notify::recommended_watcher(move |event| hint(&sender, &event));
        if let Err(error) = &watcher {
            tracing::warn!(%error, "directories cannot be watched; they are looked at twice a second instead");
        }
        Watch { watcher: watcher.ok(), watched: BTreeSet::new(), hints, complete: false }
    }

    /// Watches these directories and their parents, and nothing else. A directory that came back is watched anew.
    pub fn set(&mut self, directories: impl IntoIterator<Item = PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted: BTreeSet<PathBuf> = directories
            .into_iter()
            .flat_map(|directory| [directory.parent().map(Path::to_owned), Some(directory)])
            .flatten()
            .collect();
        for gone in self.watched.difference(&wanted) {
            // It may be gone from the disk as well, and its watch with it.
            let _ = watcher.unwatch(gone);
        }
        self.complete = true;
        for path in &wanted {
            // Watching what is watched already changes nothing, unless it is another directory by now.
            if let Err(error) = watcher.watch(path, RecursiveMode::NonRecursive) {
                tracing::debug!(path = %path.display(), %error, "directory not watched");
                self.complete = false;
            }
        }
        self.watched = wanted;
    }

    /// Waits until it is worth looking. `again` when a file was being written at the last look.
    pub async fn hint(&mut self, again: bool) {
        let patience = match (again, self.complete) {
            (true, _) => SOON,
            (false, true) => ANYWAY,
            (false, false) => UNWATCHED,
        };
        if timeout(patience, self.hints.recv()).await.is_ok() {
            tokio::time::sleep(GATHER).await;
            // What came meanwhile is about the same changes.
            let _ = self.hints.try_recv();
        }
    }
}

/// Passes on that something happened. One hint waiting is as good as many.
fn hint(sender: &Sender<()>, event: &notify::Result<notify::Event>) {
    // Reading a file is no change, and a rescan reads.
    if !matches!(event, Ok(event) if matches!(event.kind, EventKind::Access(_))) {
        let _ = sender.try_send(());
    }
}
