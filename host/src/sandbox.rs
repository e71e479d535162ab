//! One invocation: a fresh instance of a component runs one line, within its limits, and leaves nothing behind.

mod attempt;
pub mod cpu;
mod drive;
mod instance;
mod limits;
pub mod ready;
mod trial;
pub mod unfit;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::{Component, Linker, ResourceTable, ResourceTableError};
use wasmtime::{Engine, PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::p2::bindings::CommandPre as WasiPre;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};

use crate::capabilities::{self, Call, CommandPre};
use crate::engine::{self, Clock, PoolSize, Pulse, Size};
use crate::error::{Code, Failure};
use crate::registry::Lifetime;
use crate::task::Task;
use crate::wire::Gone;
use attempt::Attempt;
pub use attempt::NotAtOnce;
use drive::{Cut, drive};
pub use instance::Instance;
use limits::Meter;
use trial::Trial;
pub use trial::Tried;

/// Host objects (children, streams, pollables) that an invocation may hold.
pub const HOST_OBJECTS: usize = 256;

/// How the export begins that makes a component a program of WASI, whatever its version of preview 2.
pub const WASI_RUN: &str = "wasi:cli/run@0.2.";

/// Why the host ended an invocation from inside it.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The CPU budget is used up.
    #[error("the command used up its {0:?} of CPU time")]
    Cpu(Duration),
    /// The memory limit, in bytes, would be passed.
    #[error("the command wanted more than its {} of memory", bytesize::ByteSize(*.0 as u64).display().iec())]
    Memory(usize),
    /// The tenant's commands have as much memory as they may, all together, or all tenants' have.
    #[error("the commands of this service have all the memory that they may; try again")]
    MemoryInUse,
    /// The reply holds as much as it may.
    #[error("the command wrote more than its {} of output", bytesize::ByteSize(*.0).display().iec())]
    Output(u64),
    /// The client is gone, noticed inside a write.
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// What runs commands: an engine for each size of them, and the clock.
pub struct Sandbox {
    small: Pool,
    large: Pool,
    clock: Clock,
    largest_memory: usize,
    /// Whether instances are made before their lines come.
    makes_ahead: bool,
}

/// An engine with its pool of instances, and a linker with every capability.
struct Pool {
    engine: Engine,
    linker: Linker<State>,
    /// One with what lines can reach that are only tried.
    attempts: Linker<Tried>,
}

impl Pool {
    fn new(pool: PoolSize, size: Size) -> wasmtime::Result<Pool> {
        let engine = engine::running(pool, size)?;
        let mut linker = Linker::new(&engine);
        capabilities::add_to_linker(&mut linker)?;
        let mut attempts = Linker::new(&engine);
        capabilities::attempt::add_to_linker(&mut attempts)?;
        Ok(Pool { engine, linker, attempts })
    }
}

/// A component that is ready to be instantiated for a line.
pub enum Program {
    /// A command of our own world.
    Command {
        /// As it is run.
        pre: CommandPre<State>,
        /// As it is tried, where it is small.
        attempt: Option<Attempt>,
    },
    /// A program of WASI that need never have heard of wasmline.
    Wasi(WasiPre<State>),
}

impl Program {
    /// Its size, where `sandbox` prepared it.
    pub fn size(&self, sandbox: &Sandbox) -> Size {
        if Engine::same(self.engine(), &sandbox.small.engine) { Size::Small } else { Size::Large }
    }

    fn engine(&self) -> &Engine {
        match self {
            Program::Command { pre, .. } => pre.engine(),
            Program::Wasi(pre) => pre.engine(),
        }
    }
}

/// What a store holds for one invocation.
pub struct State {
    /// Who called, and what may be done for them.
    pub call: Arc<Call>,
    /// The guest's handles on host objects.
    pub objects: ResourceTable,
    memory: Meter,
    /// Made when the guest first asks for anything of WASI; many never do.
    wasi: Option<Box<WasiCtx>>,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| Box::new(capabilities::stdio::context(&self.call)));
        WasiCtxView { ctx, table: &mut self.objects }
    }
}

/// How an invocation ended, and what it took.
pub struct Finished {
    /// Whether it succeeded.
    pub outcome: Result<(), Failure>,
    /// CPU time used.
    pub cpu: Duration,
    /// The most memory in use, in bytes.
    pub memory: usize,
    /// The instance. Dropped after the reply is on its way, for taking it down needs time that the client need not wait.
    instance: Used,
}

/// An instance that a line has run in.
enum Used {
    /// As any line is run, `is_intact` where the guest came to its own end.
    Run {
        instance: Instance,
        is_intact: bool,
    },
    Tried(#[expect(dead_code, reason = "it is there to be dropped")] Trial),
}

impl Finished {
    /// Takes the instance down, and keeps why it failed.
    pub fn into_failure(self) -> Option<Failure> {
        self.outcome.err()
    }

    /// Leaves the instance for another line, where it can have one, and why it failed.
    pub fn into_kept(self) -> (Option<Failure>, Option<Instance>) {
        let kept = match self.instance {
            Used::Run { instance, is_intact: true } if instance.holds_nothing() => Some(instance),
            _ => None,
        };
        (self.outcome.err(), kept)
    }
}

impl Sandbox {
    /// Sets up the engines.
    ///
    /// # Errors
    /// When the machine gives no address space for the pools, or no thread for the clock.
    pub fn new(pool: PoolSize) -> wasmtime::Result<Sandbox> {
        let (small, large) = (Pool::new(pool, Size::Small)?, Pool::new(pool, Size::Large)?);
        let clock = Clock::start([&small.engine, &large.engine])?;
        Ok(Sandbox { small, large, clock, largest_memory: pool.memory, makes_ahead: pool.ahead > 0 })
    }

    /// One for so many invocations at once, with memories of so many bytes.
    #[cfg(test)]
    pub fn for_test(invocations: usize, memory: usize) -> Sandbox {
        let size =
            PoolSize { invocations, large: invocations, kept: 1, ahead: 1, memory, page_scan: true, on_demand: false };
        Sandbox::new(size).unwrap()
    }

    /// The engine that code has to be loaded into for a command of this size. What is compiled for one fits the other.
    pub fn engine(&self, size: Size) -> &Engine {
        match size {
            Size::Small => &self.small.engine,
            Size::Large => &self.large.engine,
        }
    }

    /// The most memory that there is room for in an instance, in bytes.
    pub fn largest_memory(&self) -> usize {
        self.largest_memory
    }

    /// Resolves a component's imports once, so that a line only instantiates it. `starts` says whether that may run code of it.
    ///
    /// # Errors
    /// When the component imports something that is not offered, or exports neither `run` nor `wasi:cli/run`; the text is
    /// for its author.
    pub fn prepare(&self, component: &Component, starts: bool) -> Result<Program, String> {
        let engine = component.engine();
        let pool = if Engine::same(engine, &self.small.engine) { &self.small } else { &self.large };
        let kind = component.component_type();
        let imports: Vec<&str> = kind.imports(engine).map(|(name, _)| name).collect();
        let exports: Vec<&str> = kind.exports(engine).map(|(name, _)| name).collect();
        unfit::check(&imports, &exports)?;
        let is_wasi = exports.iter().any(|name| name.starts_with(WASI_RUN));
        let prepare = || {
            let pre = pool.linker.instantiate_pre(component)?;
            if is_wasi {
                return Ok(Program::Wasi(WasiPre::new(pre)?));
            }
            // One that cannot be tried is run all the same.
            let is_small = Engine::same(engine, &self.small.engine);
            let attempt = is_small.then(|| Attempt::new(&pool.attempts, component, self.makes_ahead && !starts));
            let attempt = attempt.and_then(Result::ok);
            Ok(Program::Command { pre: CommandPre::new(pre)?, attempt })
        };
        prepare().map_err(|error: wasmtime::Error| {
            format!("does not fit the interfaces of this host; build it against the host's wit/: {error:#}")
        })
    }

    /// For the lines of a connection: the clock that interrupts them.
    pub fn pulse(&self) -> Pulse<'_> {
        Pulse::of(&self.clock)
    }

    /// Runs one line, in the instance that was kept for it, if one was. Fails only when the client is gone; everything else
    /// is an outcome. The pulse is this sandbox's, and goes when a guest has come to its end.
    pub async fn run(
        &self,
        pulse: &mut Pulse<'_>,
        program: &Program,
        call: &Arc<Call>,
        kept: Option<Instance>,
    ) -> Result<Finished, Gone> {
        let mut instance = match kept {
            Some(mut instance) => {
                instance.resume(Arc::clone(call));
                instance
            }
            None => match attempt(pulse, program, call) {
                Some(finished) => return Ok(finished),
                None => Instance::new(program.engine(), Arc::clone(call)),
            },
        };
        let limits = &call.tenant().limits;
        let deadline = Instant::from_std(call.task.began) + limits.timeout;
        let result = {
            let run = pin!(instance.run(program, &call.task.args));
            drive(run, pulse, call, deadline).await
        };
        let is_intact = matches!(result, Ok(Ok(_))) && !cpu::is_overspent(&call.task, limits.cpu);
        let outcome = match result {
            Ok(Ok(result)) => ended(&call.task, result),
            // A program may say that it succeeded by exiting.
            Ok(Err(error)) if error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0) => {
                ended(&call.task, Ok(()))
            }
            Ok(Err(error)) => Err(classify(error)?),
            Err(Cut::Cpu) => Err(used_up(limits.cpu)),
            Err(Cut::Timeout) => {
                Err(Failure::new(Code::Timeout, format!("the command ran for longer than {:?}", limits.timeout)))
            }
            Err(Cut::Stopped) => Err(Failure::new(Code::Failed, "the command was stopped")),
            Err(Cut::Gone(gone)) => return Err(gone),
        };
        let instance = Used::Run { instance, is_intact };
        Ok(Finished { outcome, cpu: call.task.cpu(), memory: call.task.peak_memory(), instance })
    }
}

/// Tries to run a line as a plain call. `None` where it has to be run as any other; then nothing is left of the try.
fn attempt(pulse: &mut Pulse<'_>, program: &Program, call: &Arc<Call>) -> Option<Finished> {
    let Program::Command { attempt: Some(attempt), .. } = program else { return None };
    let (task, tries, tenant) = (&call.task, &call.command.tries, call.tenant());
    let is_kept = call.command.sidecar.instance == Lifetime::Connection;
    if is_kept || tenant.cpu.overdrawn().is_some() || tenant.takes_turns() || tries.holds_up() || !tries.begin_line() {
        return None;
    }
    let time = cpu::YIELD_FROM.min(tenant.limits.cpu);
    let (tried, used) = cpu::on_account(pulse.go(), task, time, || attempt.run(call));
    tries.took(used);
    tries.ended(tried.is_err());
    let Ok((trial, result)) = tried else {
        call.wire.restart_reply();
        return None;
    };
    let (outcome, instance) = (ended(task, result), Used::Tried(trial));
    Some(Finished { outcome, cpu: task.cpu(), memory: task.peak_memory(), instance })
}

/// What it comes to that a guest has come to its own end. An instruction that fills memory is not interrupted, so that may be
/// beyond its budget.
fn ended(task: &Task, result: Result<(), String>) -> Result<(), Failure> {
    let budget = task.tenant().limits.cpu;
    if cpu::is_overspent(task, budget) {
        return Err(used_up(budget));
    }
    result.map_err(|text| Failure::new(Code::Failed, text))
}

fn used_up(budget: Duration) -> Failure {
    Failure::new(Code::Cpu, Stop::Cpu(budget).to_string())
}

/// Finds whose fault an error out of wasmtime is. `Err` when it is the client who is gone.
fn classify(error: wasmtime::Error) -> Result<Failure, Gone> {
    let error = match error.downcast::<Stop>() {
        Ok(Stop::Gone(gone)) => return Err(gone),
        Ok(stop @ Stop::Cpu(_)) => return Ok(Failure::new(Code::Cpu, stop.to_string())),
        Ok(stop @ Stop::MemoryInUse) => return Ok(Failure::new(Code::Overloaded, stop.to_string())),
        Ok(stop @ Stop::Memory(_)) => return Ok(Failure::new(Code::Memory, stop.to_string())),
        Ok(stop @ Stop::Output(_)) => return Ok(Failure::new(Code::OutputLimit, stop.to_string())),
        Err(error) => error,
    };
    if error.is::<PoolConcurrencyLimitError>() {
        return Ok(Failure::new(Code::Overloaded, "the host runs as many commands as it can").because(error));
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Ok(Failure::exit(exit.0));
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return Ok(Failure::new(Code::Trap, trap.to_string()).because(format!("{error:#}")));
    }
    let full = error.is::<ResourceTableError>();
    // wasmtime keeps the types of these two errors to itself; `tests/limits.rs` holds their texts to this.
    let text = format!("{error:#}");
    if full || text.contains("hostcalls has been exhausted") || text.contains("store handle limit exceeded") {
        let told = "the command handed the host more data or held more handles than it may";
        return Ok(Failure::new(Code::Memory, told).because(text));
    }
    if error.is::<std::io::Error>() {
        return Ok(Failure::new(Code::Internal, "the host could not run the command").because(text));
    }
    Ok(Failure::new(Code::Trap, "the command broke the rules of its interface").because(text))
}
