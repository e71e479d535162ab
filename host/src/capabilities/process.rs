//! Child processes: approved programs only, each in a process group of its own that never outlives its invocation.

mod arguments;
mod child;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use wasmtime::component::Resource;

use super::bindings::wasmline::command::process::{Error, Host, HostChild, Status};
use super::{Call, ObjectView, kind};
use crate::policy::{Access, Denial};
use crate::sandbox::{Stop, cpu};
use arguments::Arguments;
pub use child::Child;
use child::ChildPlaces;

/// How long a spawn waits for a place among the children of its tenant and of all: as long as it takes to reap those just
/// killed, which still hold theirs.
const PLACE_TIME: Duration = Duration::from_millis(250);

/// Why no program was started.
enum Unspawned {
    /// The operator has to know.
    Denied(Box<Denial>),
    /// The same: the machine did not do it.
    Failed(io::Error),
    /// The command alone has to.
    Told(Error),
}

impl From<Error> for Unspawned {
    fn from(error: Error) -> Unspawned {
        Unspawned::Told(error)
    }
}

impl Host for ObjectView<'_> {
    async fn spawn(&mut self, program: String, args: Vec<String>) -> wasmtime::Result<Result<Resource<Child>, Error>> {
        let plan = match self.call.command.grants.spawn(&program, &args) {
            Ok(plan) => plan,
            Err(denial) => {
                self.call.log_denial(&denial);
                return Ok(Err(Error::Denied(denial.guest)));
            }
        };
        let task = Arc::clone(&self.call.task);
        let Some(line) = task.place_for_child() else { return Ok(Err(Error::TooManyChildren)) };
        let place = task.tenant().children.clone().acquire();
        let Ok(place) = tokio::time::timeout(PLACE_TIME, place).await else {
            return Ok(Err(Error::TooManyChildren));
        };
        let places = ChildPlaces::new(line, place);
        let name = program.clone();
        let access = Access::Process { program: program.clone(), args: args.clone() };
        // Beforehand, for the line may end while it is under way.
        let is_new = self.call.ledger.used(access.clone());
        // Starting a program takes the better part of a millisecond, in which a worker could serve a hundred lines.
        let part = task.tenant().part();
        let started = part.aside.run(move || {
            let account = Arc::clone(&task);
            let (started, used) = cpu::measure_aside(|| {
                let args = Arguments::confine(&program, args, &plan.paths)?;
                Child::spawn(&program, args, task, places).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => Error::NotFound(program.clone()).into(),
                    _ => Unspawned::Failed(error),
                })
            });
            account.charge(used);
            started
        });
        let started = started.await;
        // Nothing was started. `suggest` grants what was, and a path that was denied for a link must not come back as a word.
        if is_new && matches!(started, Ok(Err(_))) {
            self.call.ledger.not_used(&access);
        }
        self.call.check_cpu()?;
        match started {
            Ok(Ok(child)) => Ok(Ok(self.objects.push(child)?)),
            Ok(Err(Unspawned::Told(error))) => Ok(Err(error)),
            Ok(Err(Unspawned::Failed(error))) => Ok(Err(self.call.io_error("start a program", &name, &error))),
            Ok(Err(Unspawned::Denied(denial))) => {
                self.call.log_denial(&denial);
                Ok(Err(Error::Denied(denial.guest)))
            }
            Err(_) => Ok(Err(Error::Io("the host is stopping".to_owned()))),
        }
    }
}

impl HostChild for ObjectView<'_> {
    async fn read(&mut self, child: Resource<Child>, max: u32) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        let read = self.objects.get_mut(&child)?.read(max as usize).await;
        Ok(read.map_err(|error| self.call.io_error("read from a program", "", &error)))
    }

    async fn read_stderr(
        &mut self,
        child: Resource<Child>,
        max: u32,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        Ok(Ok(self.objects.get_mut(&child)?.read_stderr(max as usize).await))
    }

    async fn wait(&mut self, child: Resource<Child>) -> wasmtime::Result<Result<Status, Error>> {
        let status = self.objects.get_mut(&child)?.wait().await;
        self.call.check_cpu()?;
        if status.as_ref().is_ok_and(|status| status.signal() == Some(Signal::XCPU.as_raw())) {
            return Err(Stop::Cpu(self.call.tenant().limits.cpu).into());
        }
        let status = status.map(|status| match (status.code(), status.signal()) {
            (Some(code), _) => Status::Exited(code),
            (None, signal) => Status::Signaled(signal.unwrap_or_default()),
        });
        Ok(status.map_err(|error| self.call.io_error("wait for a program", "", &error)))
    }

    async fn kill(&mut self, child: Resource<Child>) -> wasmtime::Result<()> {
        self.objects.get(&child)?.kill();
        Ok(())
    }

    async fn drop(&mut self, child: Resource<Child>) -> wasmtime::Result<()> {
        self.objects.delete(child)?;
        Ok(())
    }
}

impl Call {
    fn io_error(&self, what: &'static str, name: &str, error: &io::Error) -> Error {
        self.log_failure(what, name, error);
        Error::Io(kind(error))
    }
}
