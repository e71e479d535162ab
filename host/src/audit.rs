//! The audit file: a JSON record for each invocation and each denial, complete and in whole lines.
//!
//! The host's log may lose records rather than hold up service; this is the other way round. A line begins only when there
//! is a place for its record, so the end of the line, or its being cut off, never has to wait for one.

mod file;
mod ledger;
mod record;
mod refusals;
mod strangers;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as control;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

pub use ledger::{Entry, Ledger};
pub use refusals::Refusal;
pub use writer::Lines;

use crate::capabilities::Call;
use crate::config::{self, Mode};
use crate::error::{Code, Failure};
use crate::identity::Identity;
use file::AuditFile;
use record::{Course, Origin};
use refusals::Refusals;
use strangers::Strangers;
use writer::{Request, Writer};

/// Records that may wait to be written, beside one for each line that runs.
const QUEUE: usize = 1024;
/// How often lines that did not begin are written, which are counted meanwhile.
const COUNTING: Duration = Duration::from_secs(1);
/// How long a request to the thread may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The audit file of a running host.
pub struct Audit {
    records: mpsc::Sender<Lines>,
    requests: control::Sender<Request>,
    settings: ArcSwap<config::Audit>,
    refusing: Arc<AtomicBool>,
    refusals: Refusals,
    strangers: Strangers,
}

/// The audit file of a host, if it has one: a reload may change that. Where there is none, looking costs next to nothing.
#[derive(Default)]
pub struct Auditing {
    is_on: AtomicBool,
    audit: ArcSwapOption<Audit>,
}

impl Auditing {
    /// The audit file as it is now.
    pub fn load(&self) -> Option<Arc<Audit>> {
        // The swap takes 16 ns to look into, which shows where a line does no more than name a command that there is not.
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        self.audit.load_full()
    }

    /// Has another one, or none, from now on.
    pub fn store(&self, audit: Option<Arc<Audit>>) {
        self.is_on.store(audit.is_some(), Ordering::Relaxed);
        self.audit.store(audit);
    }
}

impl From<Option<Audit>> for Auditing {
    fn from(audit: Option<Audit>) -> Auditing {
        Auditing { is_on: audit.is_some().into(), audit: ArcSwapOption::from(audit.map(Arc::new)) }
    }
}

/// A line's place for its record. Whatever becomes of the line, its record is written.
pub struct Account {
    place: Option<mpsc::OwnedPermit<Lines>>,
    call: Arc<Call>,
    identity: Identity,
    arguments: config::Arguments,
    began: Instant,
}

impl Audit {
    /// Opens the file and starts the thread that writes it; `running` lines have a place for their record beside the queue.
    ///
    /// # Errors
    /// When the file cannot be opened, or there is no thread.
    pub fn start(settings: &config::Audit, running: usize) -> Result<Audit, String> {
        let file = AuditFile::open(&settings.file, settings.max_size, settings.keep)
            .map_err(|error| format!("audit.file: {}", unopened(&settings.file, &error)))?;
        let (records, queue) = mpsc::channel(running.saturating_add(QUEUE));
        let (requests, asked) = control::channel();
        let refusing = Arc::new(AtomicBool::new(false));
        let writer = Writer::new(queue, asked, settings.clone(), file, Arc::clone(&refusing));
        let thread = std::thread::Builder::new().name("audit".into());
        thread.spawn(move || writer.run()).map_err(|error| format!("cannot start a thread: {error}"))?;
        let settings = ArcSwap::from_pointee(settings.clone());
        let (refusals, strangers) = (Refusals::default(), Strangers::default());
        Ok(Audit { records, requests, settings, refusing, refusals, strangers })
    }

    /// Why no line may run now, if that is so.
    pub fn refusal(&self) -> Option<Failure> {
        let refusing = self.refusing.load(Ordering::Relaxed);
        refusing
            .then(|| Failure::new(Code::Unavailable, "the host cannot keep its records at present; try again later"))
    }

    /// Waits for a place for the record of a line that is about to run.
    pub async fn begin(&self, call: &Arc<Call>, identity: &Identity) -> Account {
        let place = self.records.clone().reserve_owned().await.ok();
        let settings = self.settings.load();
        if place.is_none() {
            // It ends after everybody who could ask for a place, so something has gone badly wrong with it.
            tracing::error!(path = %settings.file.display(), "the thread that writes the audit file has ended");
            self.refusing.store(settings.on_failure == config::OnFailure::Refuse, Ordering::Relaxed);
        }
        Account {
            place,
            call: Arc::clone(call),
            identity: identity.clone(),
            arguments: settings.arguments,
            began: Instant::now(),
        }
    }

    /// Counts a line that did not begin. Within a second that is written.
    pub fn count(self: &Arc<Audit>, refusal: &Refusal<'_>) {
        if self.refusals.count(refusal) {
            tokio::spawn(Arc::clone(self).write_each_second(Audit::counts));
        }
    }

    /// Writes what is counted until nothing comes any more.
    async fn write_each_second(self: Arc<Audit>, counted: fn(&Audit) -> Option<Lines>) {
        loop {
            tokio::time::sleep(COUNTING).await;
            let Some(lines) = counted(&self) else { return };
            if lines.count > 0 {
                self.hand_over(lines).await;
            }
        }
    }

    /// The records of clients that have none of their own, if any was not let in.
    fn strangers(&self) -> Option<Lines> {
        self.strangers.take().map(|beyond| record::strangers(&beyond))
    }

    /// The records of what was counted, if there is anything.
    fn counts(&self) -> Option<Lines> {
        let counted = self.refusals.take();
        (!counted.is_empty()).then(|| record::counts(&counted, self.settings.load().arguments))
    }

    /// Records that a client was not let in, or counts it where many come at once.
    ///
    /// # Errors
    /// When there is no place for its record now. [`Audit::hand_over`] waits for one.
    pub fn refused(self: &Arc<Audit>, listener: &str, source: &str, reason: &str) -> Result<(), Lines> {
        let turned = self.strangers.count(listener);
        if turned.is_first {
            tokio::spawn(Arc::clone(self).write_each_second(Audit::strangers));
        }
        if !turned.is_told {
            return Ok(());
        }
        self.records.try_send(record::refusal(listener, source, reason)).map_err(TrySendError::into_inner)
    }

    /// Waits for a place for records.
    pub async fn hand_over(&self, lines: Lines) {
        if self.records.send(lines).await.is_err() {
            tracing::error!("the thread that writes the audit file has ended");
        }
    }

    /// The settings as they are now.
    pub fn settings(&self) -> Arc<config::Audit> {
        self.settings.load_full()
    }

    /// Takes over other settings, and opens the file anew, which may have been moved. When that fails the old one goes on.
    ///
    /// # Errors
    /// With the reason.
    pub async fn reopen(&self, settings: &config::Audit) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let reopened = self.ask(Request::Reopen(settings.clone(), answer), answered).await;
        match reopened {
            Some(Ok(())) => {
                self.settings.store(Arc::new(settings.clone()));
                Ok(())
            }
            Some(Err(error)) => Err(format!("audit.file: {}", unopened(&settings.file, &error))),
            None => Err("the thread that writes the audit file does not answer".to_owned()),
        }
    }

    /// Waits until everything is written that was handed over, for a bounded time. What could not be is told to the log.
    pub async fn flush(&self) {
        let (answer, answered) = oneshot::channel();
        let path = self.settings.load().file.display().to_string();
        for lines in [self.counts(), self.strangers()].into_iter().flatten() {
            let count = lines.count;
            if tokio::time::timeout(ANSWER_TIME, self.hand_over(lines)).await.is_err() {
                tracing::error!(path, records = count, "audit records could not be written");
            }
        }
        match self.ask(Request::Flush(answer), answered).await {
            Some(0) => {}
            Some(records) => tracing::error!(path, records, "audit records could not be written"),
            None => tracing::error!(path, "the audit file was not written in time; its last records may be missing"),
        }
    }

    async fn ask<T>(&self, request: Request, answered: oneshot::Receiver<T>) -> Option<T> {
        let ask = async {
            self.requests.send(request).ok()?;
            // The thread looks for requests when it has taken records.
            self.records.send(Lines { bytes: Vec::new(), count: 0 }).await.ok()?;
            answered.await.ok()
        };
        tokio::time::timeout(ANSWER_TIME, ask).await.ok().flatten()
    }
}

/// Why the file could not be opened, without making it.
pub fn problem(settings: &config::Audit) -> Option<String> {
    let error = file::check(&settings.file).err()?;
    Some(unopened(&settings.file, &error))
}

fn unopened(path: &Path, error: &io::Error) -> String {
    // The file itself need not be there.
    let what = if error.kind() == io::ErrorKind::NotFound { "its directory is not there" } else { &error.to_string() };
    format!("{} cannot be opened: {what}", path.display())
}

impl Account {
    /// Writes the record of a line that has come to its end.
    pub fn finish(mut self, outcome: &str, cause: Option<&str>, bytes: u64) {
        self.write(outcome, cause, bytes);
    }

    fn write(&mut self, outcome: &str, cause: Option<&str>, bytes: u64) {
        let Some(place) = self.place.take() else { return };
        let call = &self.call;
        let origin = Origin {
            tenant: &call.tenant().name,
            mode: call.tenant().mode(),
            identity: &self.identity,
            invocation: call.task.id,
            command: &call.command.name,
            digest: call.command.code.digest,
            arguments: self.arguments,
        };
        for access in call.directories.accesses(&call.command.grants) {
            call.ledger.used(access);
        }
        let course = Course {
            args: &call.task.args,
            entries: call.ledger.take(),
            in_vain: match call.tenant().mode() {
                Mode::Enforce => None,
                Mode::Audit => Some(call.command.grants.in_vain()),
            },
            outcome,
            cause,
            cpu: call.task.cpu(),
            wall: self.began.elapsed(),
            bytes,
            memory: call.task.peak_memory(),
        };
        place.send(record::lines(&origin, &course));
    }
}

/// A line that is dropped is one that was cut off: its client is gone, or the host does not wait any longer.
impl Drop for Account {
    fn drop(&mut self) {
        if self.place.is_some() {
            let outcome = if std::thread::panicking() { Code::Internal.as_str() } else { "cancelled" };
            let bytes = self.call.wire.end_reply(None);
            self.write(outcome, None, bytes);
        }
    }
}
