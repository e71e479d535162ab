//! The running commands of the calling tenant: seen, and stopped.

use std::time::Duration;

use super::View;
use super::bindings::wasmline::command::tasks::{Error, Host, Task as Shown};
use crate::policy::Access;
use crate::task::Task;

impl View<'_> {
    /// Whether the command may see the tenant's tasks, or stop one.
    fn may(&self, stop: bool) -> Result<(), Error> {
        self.call.command.grants.tasks(stop).map_err(|denial| {
            self.call.log_denial(&denial);
            Error::Denied
        })?;
        self.call.ledger.used(Access::Tasks { stop });
        Ok(())
    }
}

impl Host for View<'_> {
    fn running(&mut self) -> wasmtime::Result<Result<Vec<Shown>, Error>> {
        let tasks = self.may(false).map(|()| self.call.tenant().tasks.list());
        Ok(tasks.map(|tasks| tasks.iter().map(|task| shown(task)).collect()))
    }

    fn stop(&mut self, id: u64) -> wasmtime::Result<Result<(), Error>> {
        if let Err(denied) = self.may(true) {
            return Ok(Err(denied));
        }
        let stopped = self.call.tenant().tasks.stop(id);
        if stopped {
            let (tenant, by, peer) = (&self.call.tenant().name, self.call.task.id, self.call.wire.peer());
            tracing::info!(%tenant, invocation = id, by, %peer, "command stopped by another");
        }
        Ok(if stopped { Ok(()) } else { Err(Error::NotFound) })
    }
}

fn shown(task: &Task) -> Shown {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Shown {
        id: task.id,
        command: task.subject.command.to_string(),
        args: task.args.clone(),
        peer: task.subject.peer.to_string(),
        age: milliseconds(task.began.elapsed()),
        cpu: milliseconds(task.cpu()),
        memory: task.memory() as u64,
    }
}
