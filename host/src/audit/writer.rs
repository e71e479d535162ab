//! The thread that writes the audit file. It alone touches the file, so lines never mix.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as control;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::file::AuditFile;
use super::record;
use crate::config;

/// Bytes that are gathered for one write.
const BATCH: usize = 64 * 1024;
/// How long to wait before a write is tried again that failed.
const RETRY: Duration = Duration::from_secs(1);
/// How often the log is told while records are lost.
const COMPLAINT: Duration = Duration::from_secs(60);

/// Whole records that belong together, a line each, and how many they are.
pub struct Lines {
    /// The lines.
    pub bytes: Vec<u8>,
    /// Their number.
    pub count: u64,
}

/// What the thread is asked for besides writing.
pub enum Request {
    /// To take over other settings and open the file anew.
    Reopen(config::Audit, oneshot::Sender<io::Result<()>>),
    /// To write everything that has been handed over. The answer is how many records could not be written.
    Flush(oneshot::Sender<u64>),
}

/// The thread's end of the queues.
pub struct Writer {
    records: mpsc::Receiver<Lines>,
    requests: control::Receiver<Request>,
    settings: config::Audit,
    file: AuditFile,
    /// Set while records cannot be written and lines are to be refused therefore.
    refusing: Arc<AtomicBool>,
    /// What could not be written yet.
    pending: Vec<u8>,
    pending_count: u64,
    /// Records that were given up since the last one that was written.
    lost: u64,
    /// When the log was last told that records cannot be written; `None` while they can.
    complained: Option<Instant>,
}

impl Writer {
    /// A writer to a file that is open.
    pub fn new(
        records: mpsc::Receiver<Lines>,
        requests: control::Receiver<Request>,
        settings: config::Audit,
        file: AuditFile,
        refusing: Arc<AtomicBool>,
    ) -> Writer {
        Writer {
            records,
            requests,
            settings,
            file,
            refusing,
            pending: Vec::new(),
            pending_count: 0,
            lost: 0,
            complained: None,
        }
    }

    /// Writes until nobody can hand over anything any more.
    pub fn run(mut self) {
        while let Some(lines) = self.records.blocking_recv() {
            self.gather(lines);
            self.write_gathered();
            while let Ok(request) = self.requests.try_recv() {
                self.serve(request);
            }
            // What must not be lost is tried until it is written. Meanwhile lines are refused, and a request is served.
            while !self.pending.is_empty() {
                match self.requests.recv_timeout(RETRY) {
                    Ok(request) => self.serve(request),
                    Err(control::RecvTimeoutError::Timeout) => {}
                    // The host is gone.
                    Err(control::RecvTimeoutError::Disconnected) => return,
                }
                self.write_gathered();
            }
        }
    }

    /// Takes what is there, as far as it goes into one file and one write.
    fn gather(&mut self, first: Lines) {
        self.take(first);
        while self.pending.len() < BATCH
            && let Ok(lines) = self.records.try_recv()
        {
            self.take(lines);
        }
    }

    fn take(&mut self, lines: Lines) {
        let length = (self.pending.len() + lines.bytes.len()) as u64;
        if length > self.file.room() && !self.pending.is_empty() && self.complained.is_none() {
            self.write_gathered();
        }
        self.pending.extend_from_slice(&lines.bytes);
        self.pending_count += lines.count;
    }

    /// Writes what was gathered. When that fails, it is kept or given up as the settings say.
    fn write_gathered(&mut self) {
        // A gap is told even where nothing follows it.
        if self.pending.is_empty() && self.lost == 0 {
            return;
        }
        let lost = self.lost;
        match self.try_write() {
            Ok(()) => {
                self.pending.clear();
                self.pending_count = 0;
                if self.complained.take().is_some() {
                    tracing::warn!(path = %self.settings.file.display(), lost, "audit records are written again");
                }
                self.refusing.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                let refuse = self.settings.on_failure == config::OnFailure::Refuse;
                self.refusing.store(refuse, Ordering::Relaxed);
                if !refuse {
                    self.lost += self.pending_count;
                    self.pending.clear();
                    self.pending_count = 0;
                }
                self.complain(&error, refuse);
            }
        }
    }

    fn try_write(&mut self) -> io::Result<()> {
        // A gap is told in the file itself, before what follows it.
        if self.lost > 0 {
            self.file.append(&record::lost(record::now(), self.lost))?;
            self.lost = 0;
        }
        self.file.append(&self.pending)
    }

    fn complain(&mut self, error: &io::Error, refuse: bool) {
        if self.complained.is_some_and(|time| time.elapsed() < COMPLAINT) {
            return;
        }
        self.complained = Some(Instant::now());
        let path = self.settings.file.display();
        if refuse {
            tracing::error!(%path, %error, "audit records cannot be written; lines are refused until they can");
        } else {
            tracing::error!(%path, %error, lost = self.lost, "audit records cannot be written and are lost");
        }
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Reopen(settings, answer) => {
                let reopened = self.reopen(settings);
                // There may be room where it is now.
                self.write_gathered();
                // Whoever asked may have given up.
                let _ = answer.send(reopened);
            }
            Request::Flush(answer) => {
                while let Ok(lines) = self.records.try_recv() {
                    self.take(lines);
                }
                self.write_gathered();
                let synced = self.file.sync();
                if let Err(error) = synced {
                    tracing::error!(path = %self.settings.file.display(), %error, "audit records may not be on the disk");
                }
                let _ = answer.send(self.pending_count + self.lost);
            }
        }
    }

    /// Opens the file anew, which may have been moved or be another one now. When that fails the old one goes on.
    fn reopen(&mut self, settings: config::Audit) -> io::Result<()> {
        let same = std::fs::metadata(&settings.file).is_ok_and(|there| self.file.is(&there));
        if same {
            self.file.set_bounds(settings.max_size, settings.keep);
        } else {
            self.file = AuditFile::open(&settings.file, settings.max_size, settings.keep)?;
        }
        self.settings = settings;
        Ok(())
    }
}
