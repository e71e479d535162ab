//! Notices that a commands directory may have changed. What has changed is for a rescan to find out.
//!
//! The machine's events come at once, but they can be lost, merged or unavailable, so directories are looked at from time
//! to time without any. The parent of a directory is watched too: a directory that is deleted takes its watch with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{Receiver, channel};
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
    /// The directories that matter, for the watcher's own thread.
    directories: Arc<ArcSwap<BTreeSet<PathBuf>>>,
    hints: Receiver<()>,
    complete: bool,
}

impl Watch {
    /// A watch on nothing yet.
    pub fn new() -> Watch {
        let (sender, hints) = channel(1);
        let directories = Arc::<ArcSwap<BTreeSet<PathBuf>>>::default();
        let known = Arc::clone(&directories);
        let watcher = notify::recommended_watcher(move |event| {
            if matters(&event, &known.load()) {
                // One hint waiting is as good as many.
                let _ = sender.try_send(());
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "directories cannot be watched; they are looked at twice a second instead");
        }
        Watch { watcher: watcher.ok(), watched: BTreeSet::new(), directories, hints, complete: false }
    }

    /// Watches these directories and their parents, and nothing else. A directory that came back is watched anew.
    pub fn set(&mut self, directories: impl IntoIterator<Item = PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let directories: BTreeSet<PathBuf> = directories.into_iter().collect();
        let parents = directories.iter().filter_map(|directory| directory.parent().map(Path::to_owned));
        let wanted: BTreeSet<PathBuf> = parents.chain(directories.iter().cloned()).collect();
        self.directories.store(Arc::new(directories));
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

/// Whether an event may be about the commands. Reading is no change, and a rescan reads; what happens beside a directory
/// shows up in its parent, and is nobody's business.
fn matters(event: &notify::Result<Event>, directories: &BTreeSet<PathBuf>) -> bool {
    let Ok(event) = event else { return true };
    let is_known = |path: &Path| directories.contains(path);
    let concerns = |path: &PathBuf| is_known(path) || path.parent().is_some_and(is_known);
    !matches!(event.kind, EventKind::Access(_)) && (event.paths.is_empty() || event.paths.iter().any(concerns))
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind, RemoveKind};

    use super::*;

    #[test]
    fn only_the_directories_and_what_is_in_them_matter() {
        let directories = BTreeSet::from([PathBuf::from("/srv/commands")]);
        let event = |kind, path: &str| Ok(Event::new(kind).add_path(path.into()));
        let created = EventKind::Create(CreateKind::File);
        assert!(matters(&event(created, "/srv/commands/x.wasm"), &directories));
        assert!(matters(&event(EventKind::Remove(RemoveKind::Folder), "/srv/commands"), &directories));
        assert!(matters(&Err(notify::Error::generic("lost")), &directories));
        assert!(!matters(&event(created, "/srv/other"), &directories));
        assert!(!matters(&event(EventKind::Access(AccessKind::Read), "/srv/commands/x.wasm"), &directories));
    }
}
