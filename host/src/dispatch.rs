//! One line: find the command, take a place, run it, end the reply, say what happened.

mod batch;
#[cfg(test)]
mod cancellation;
mod kept;
mod places;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::audit::{Account, Auditing, Ledger, Refusal};
use crate::capabilities::{Call, Held};
use crate::error::{Code, Failure};
use crate::identity::Identity;
use crate::line::split_words;
use crate::logging::shortened;
use crate::registry::Command;
use crate::sandbox::{Finished, Sandbox};
use crate::task::{Entry, Task};
use crate::tenants::Tenants;
use crate::wire::{Gone, Wire, outbox};
pub use batch::Batch;
use batch::Found;
use kept::{Kept, Shelf};
use places::LinePlaces;

/// What the audit file calls a line whose command there is not. The client reads no error line.
const NOT_FOUND: &str = "not-found";

/// What all connections share.
pub struct Host {
    /// The tenants as they are now.
    pub tenants: ArcSwap<Tenants>,
    /// What runs commands.
    pub sandbox: Arc<Sandbox>,
    /// Places in the instance pool.
    pub instances: Arc<Semaphore>,
    /// Where what was done is recorded, if anywhere.
    pub audit: Auditing,
}

/// Runs the lines of one connection for its tenant.
pub struct Dispatcher {
    host: Arc<Host>,
    tenant: Arc<str>,
    /// Apart, for the allocator has use for two small pieces between the large ones of a connection, and none for one.
    identity: Box<Identity>,
    /// The instances that are kept for the connection's next lines.
    shelf: Shelf,
}

impl Dispatcher {
    /// A dispatcher for a connection of `tenant`, made by `identity`.
    pub fn new(host: Arc<Host>, tenant: Arc<str>, identity: Identity) -> Dispatcher {
        Dispatcher { host, tenant, identity: Box::new(identity), shelf: Shelf::default() }
    }

    /// For lines that come right behind one another on this wire.
    pub fn batch<'a>(&'a self, wire: &'a Wire) -> Batch<'a> {
        Batch::new(&self.host, wire.peer(), &self.shelf)
    }

    /// Lets go of kept instances of commands that no line of the connection can name any more.
    pub fn let_go(&self) {
        let tenants = self.host.tenants.load();
        kept::let_go(&self.shelf, tenants.get(&*self.tenant).map(|tenant| &**tenant));
    }

    /// Who the client is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The tenant's name.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Runs one line and writes its reply. Fails only when the client is gone.
    pub async fn run_line(&self, wire: &Arc<Wire>, line: &str, batch: &mut Batch<'_>) -> Result<(), Gone> {
        if line.trim().is_empty() {
            return Ok(());
        }
        tracing::info!(peer = %wire.peer(), tenant = %self.tenant, line = shortened(line), "line received");
        let words = match split_words(line) {
            Ok(words) => words,
            Err(error) => {
                let first = line.split_whitespace().next().unwrap_or_default();
                self.refuse(wire, first, Failure::new(Code::Failed, error.to_string()), batch);
                return Ok(());
            }
        };
        self.run_words(wire, words, batch).await.map(drop)
    }

    /// Answers a line that is none of any command, `first` being its first word. It counts as one of its tenant's.
    pub fn refuse(&self, wire: &Wire, first: &str, failure: Failure, batch: &mut Batch<'_>) {
        let may_run = batch.tenant(&self.tenant).is_none_or(|tenant| tenant.admit_line());
        self.turn_away(wire, first, &if may_run { failure } else { too_many_lines() });
    }

    /// Says why a line does not begin, and has it counted.
    fn turn_away(&self, wire: &Wire, first: &str, failure: &Failure) {
        wire.say(&failure.line());
        self.count_refusal(first, failure.code.as_str());
    }

    /// Runs a command with its words, the first of which names it, and writes its reply. Returns its failure, if the
    /// command was found and failed. Fails itself only when the client is gone.
    pub async fn run_words(
        &self,
        wire: &Arc<Wire>,
        words: Vec<String>,
        batch: &mut Batch<'_>,
    ) -> Result<Option<Failure>, Gone> {
        let mut words = words.into_iter();
        let Some(name) = words.next() else { return Ok(None) };
        // The tenant and the command as they are now serve the whole line.
        let Some(tenant) = batch.tenant(&self.tenant) else {
            self.turn_away(wire, &name, &Failure::new(Code::Unavailable, "this service has been withdrawn"));
            return Ok(None);
        };
        if !tenant.admit_line() {
            let failure = too_many_lines();
            self.turn_away(wire, &name, &failure);
            return Ok(Some(failure));
        }
        let Some(found) = batch.command(&name) else {
            wire.say("Command not found.\n");
            self.count_refusal(&name, NOT_FOUND);
            return Ok(None);
        };
        self.run_command(wire, found, words.collect(), batch).await
    }

    /// Runs a command with these arguments, once there is a place for it and, where there is an audit file, for its record.
    async fn run_command(
        &self,
        wire: &Arc<Wire>,
        Found { command, subject }: Found,
        args: Vec<String>,
        batch: &mut Batch<'_>,
    ) -> Result<Option<Failure>, Gone> {
        let tenant = &subject.tenant;
        // A line that was there already begins where the one before it has ended.
        let (now, audit) = (batch.since().unwrap_or_else(Instant::now), self.host.audit.load());
        if let Some(failure) = audit.as_ref().and_then(|audit| audit.refusal()) {
            self.turn_away(wire, &command.name, &failure);
            self.report(wire, &command, now, None, 0, &Outcome::Failed(&failure));
            return Ok(Some(failure));
        }
        let size = command.code.program.size(&self.host.sandbox);
        // Whatever becomes of this line: places are for lines that run, so what the one before has left is taken or given back.
        let left = batch.take(tenant, size);
        let mut began = now;
        let admitted = match (command.health.pause_left(now), left) {
            (Some(pause), _) => Err(put_aside(pause)),
            (None, Some(places)) => Ok(places),
            (None, None) => {
                batch.give_back();
                let admitted = LinePlaces::take(&self.host.instances, tenant, size, wire).await?;
                // What it has waited is none of the line's time.
                began = Instant::now();
                admitted
            }
        };
        let overview = tenant.is_operators().then(|| self.host.tenants.load_full());
        let task = Task::new(tenant.tasks.next_id(), subject, args, began);
        let call = Arc::new(Call {
            task: Arc::new(task),
            overview,
            command,
            wire: Arc::clone(wire),
            logged: AtomicU64::new(0),
            directories: Held::default(),
            ledger: Ledger::default(),
        });
        // A line whose record cannot be taken yet waits for that, and a client that goes meanwhile has run nothing.
        let account = match &audit {
            Some(audit) => {
                batch.pulse.rest();
                tokio::select! {
                    biased;
                    account = audit.begin(&call, &self.identity) => Some(account),
                    gone = wire.failed() => return Err(gone),
                }
            }
            None => None,
        };
        let ready = admitted.and_then(|places| Ok((places, batch.kept.take(&call)?)));
        match ready {
            Ok((places, kept)) => {
                let (failure, places) = self.invoke(wire, call, account, places, kept, batch).await?;
                batch.keep(places);
                Ok(failure)
            }
            Err(failure) => {
                wire.say(&failure.line());
                let outcome = Outcome::Failed(&failure);
                self.report(wire, &call.command, call.task.began, None, 0, &outcome);
                outcome.record(account, 0);
                Ok(Some(failure))
            }
        }
    }

    /// Has a line counted that does not begin, where there is an audit file.
    fn count_refusal(&self, command: &str, outcome: &'static str) {
        if let Some(audit) = self.host.audit.load() {
            audit.count(&Refusal { tenant: &self.tenant, identity: &self.identity, command, outcome });
        }
    }

    async fn invoke(
        &self,
        wire: &Arc<Wire>,
        call: Arc<Call>,
        account: Option<Account>,
        places: LinePlaces,
        mut kept: Option<Kept>,
        batch: &mut Batch<'_>,
    ) -> Result<(Option<Failure>, LinePlaces), Gone> {
        let began = call.task.began;
        let command = &call.command;
        outbox::hurry(began);
        wire.begin_reply(call.tenant().limits.output, command.raw_output);
        let entry = Entry::new(&call.task);
        let instance = kept.as_mut().and_then(|kept| kept.instance.take());
        let finished = match self.host.sandbox.run(&mut batch.pulse, &command.code.program, &call, instance).await {
            Ok(finished) => finished,
            Err(gone) => {
                let bytes = wire.end_reply(None);
                let outcome = Outcome::Cancelled(&gone);
                self.report(wire, command, began, None, bytes, &outcome);
                outcome.record(account, bytes);
                return Err(gone);
            }
        };
        let last_word = finished.outcome.as_ref().err().map(Failure::line);
        let bytes = wire.end_reply(last_word.as_deref());
        drop(entry);
        self.judge(command, finished.outcome.as_ref().err());
        let outcome = finished.outcome.as_ref().map_or_else(Outcome::Failed, |()| Outcome::Ok);
        self.report(wire, command, began, Some(&finished), bytes, &outcome);
        // Before the end of the reply is on its way: a client that has read it finds its record.
        outcome.record(account, bytes);
        // The reply goes first where no other line shares its write: the client need not wait for the instance's end, nor
        // the instance for a client that does not read.
        let sent = if wire.has_line() { Ok(()) } else { wire.send_soon(began) };
        let failure = match kept {
            None => finished.into_failure(),
            Some(kept) => {
                let (failure, instance) = finished.into_kept();
                batch.kept.keep(kept, instance);
                failure
            }
        };
        sent.map(|()| (failure, places))
    }

    /// Puts a command aside that traps again and again.
    fn judge(&self, command: &Command, failure: Option<&Failure>) {
        if failure.is_none_or(|failure| failure.code != Code::Trap) {
            command.health.ended_well();
        } else if let Some(pause) = command.health.trapped(Instant::now()) {
            tracing::warn!(tenant = %self.tenant, command = %command.name, ?pause, "command put aside: it traps again and again");
        }
    }

    fn report(
        &self,
        wire: &Wire,
        command: &Command,
        began: Instant,
        finished: Option<&Finished>,
        bytes: u64,
        outcome: &Outcome<'_>,
    ) {
        // Nothing of a record is made that nobody keeps.
        macro_rules! finished {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    peer = %wire.peer(),
                    tenant = %self.tenant,
                    command = %command.name,
                    outcome = %outcome.as_str(),
                    duration = ?began.elapsed(),
                    cpu = finished.map(|finished| tracing::field::debug(finished.cpu)),
                    bytes,
                    memory = finished.map(|finished| finished.memory),
                    cause = outcome.cause(),
                    "command finished"
                )
            };
        }
        if matches!(outcome, Outcome::Failed(_)) {
            finished!(tracing::Level::WARN);
        } else {
            finished!(tracing::Level::INFO);
        }
    }
}

fn too_many_lines() -> Failure {
    Failure::new(Code::Overloaded, "too many lines in a second; try again")
}

fn put_aside(pause: Duration) -> Failure {
    let text = format!("the command has crashed too often and is put aside for {} s", pause.as_secs() + 1);
    Failure::new(Code::Unavailable, text)
}

/// How a line ended, for the log.
enum Outcome<'a> {
    Ok,
    Failed(&'a Failure),
    Cancelled(&'a Gone),
}

impl Outcome<'_> {
    fn as_str(&self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Failed(failure) => failure.code.as_str(),
            Outcome::Cancelled(_) => "cancelled",
        }
    }

    /// The reason, for the operator.
    fn cause(&self) -> Option<String> {
        match self {
            Outcome::Ok => None,
            Outcome::Failed(failure) => Some(failure.cause.as_ref().unwrap_or(&failure.text).clone()),
            Outcome::Cancelled(gone) => Some(gone.to_string()),
        }
    }

    /// Hands the line's record over to be written.
    fn record(&self, account: Option<Account>, bytes: u64) {
        if let Some(account) = account {
            account.finish(self.as_str(), self.cause().as_deref(), bytes);
        }
    }
}
