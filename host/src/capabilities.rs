//! What a guest can ask of the host. These modules are the only code that acts on the operating system for a guest.
//!
//! Each capability is a view on the invocation's [`Call`]: the behaviour in plain Rust, with the adapter to the
//! interface's generated trait beside it. A denial is a value of the interface; only a broken limit is an error here.

pub mod attempt;
mod catalog;
mod connection;
mod digest;
mod directories;
mod jobs;
mod log;
mod paths;
mod process;
pub mod stdio;
mod tasks;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi_config::WasiConfig;

pub use bindings::wasmline::command::connection::Error as ConnectionError;
pub use bindings::{Command, CommandPre};
pub use directories::Held;
pub use paths::self_test;

use crate::audit::{Entry, Ledger};
use crate::logging::shortened;
use crate::policy::Denial;
use crate::registry;
use crate::sandbox::{State, Stop};
use crate::task::Task;
use crate::tenants::{Tenant, Tenants};
use crate::wire::Wire;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "command",
        imports: {
            "wasmline:command/connection.write": async | trappable,
            "wasmline:command/connection.read-line": async | trappable,
            "wasmline:command/process": async | trappable,
            "wasmline:command/digest": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "wasmline:command/process.child": super::process::Child,
        },
    });
}

/// One line's invocation as the capabilities see it.
pub struct Call {
    /// What is running, on whose behalf, with which words.
    pub task: Arc<Task>,
    /// The command.
    pub command: Arc<registry::Command>,
    /// Everybody's commands, where the tenant is the operator's.
    pub overview: Option<Arc<Tenants>>,
    /// The client.
    pub wire: Arc<Wire>,
    /// Bytes that the guest has put into the host's log.
    pub logged: AtomicU64,
    /// The granted directories that the guest has descriptors of.
    pub directories: Held,
    /// What was allowed and what was denied, for the record.
    pub ledger: Ledger,
}

impl Call {
    /// On whose behalf the command runs.
    pub fn tenant(&self) -> &Arc<Tenant> {
        self.task.tenant()
    }

    /// Ends a command whose time was used up on its behalf: it does not go on to explain that.
    fn check_cpu(&self) -> Result<(), Stop> {
        match self.task.cpu_left() {
            Some(_) => Ok(()),
            None => Err(Stop::Cpu(self.tenant().limits.cpu)),
        }
    }

    /// Tells the operator what the machine did not do for the guest, which learns the kind of error only.
    fn log_failure(&self, what: &'static str, name: &str, error: &io::Error) {
        let (tenant, command) = (&self.tenant().name, &self.command.name);
        match self.ledger.failed(what, error) {
            Entry::New => tracing::warn!(%tenant, %command, name = shortened(name), %error, "cannot {what}"),
            Entry::FirstBeyond => tracing::warn!(%tenant, %command, "more is in vain than is told"),
            Entry::Again | Entry::Beyond => {}
        }
    }

    /// Tells the operator of a denial, which the guest learns of as a value.
    fn log_denial(&self, denial: &Denial) {
        let (tenant, command) = (&self.tenant().name, &self.command.name);
        match self.ledger.denied(denial) {
            Entry::New => tracing::warn!(%tenant, %command, hint = denial.hint(tenant), "denied"),
            Entry::FirstBeyond => tracing::warn!(%tenant, %command, "denied more than is told"),
            // A command that asks again and again does not fill the log with it.
            Entry::Again | Entry::Beyond => {}
        }
    }
}

/// What a guest learns of an error of the machine's: its kind, for the text may hold a path, or tell of the machine.
fn kind(error: &io::Error) -> String {
    error.kind().to_string()
}

/// A view that needs nothing but the call.
pub struct View<'a> {
    call: &'a Call,
}

/// A view that hands out host objects too.
pub struct ObjectView<'a> {
    call: &'a Call,
    objects: &'a mut ResourceTable,
}

struct Plain;
impl HasData for Plain {
    type Data<'a> = View<'a>;
}

struct WithObjects;
impl HasData for WithObjects {
    type Data<'a> = ObjectView<'a>;
}

/// Offers every capability, and WASI, to components.
///
/// # Errors
/// When an interface is offered twice, which would be a mistake here.
pub fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    use bindings::wasmline::command as ours;
    let plain: fn(&mut State) -> View<'_> = |state| View { call: &state.call };
    ours::connection::add_to_linker::<_, Plain>(linker, plain)?;
    ours::digest::add_to_linker::<_, Plain>(linker, plain)?;
    ours::catalog::add_to_linker::<_, Plain>(linker, plain)?;
    ours::log::add_to_linker::<_, Plain>(linker, plain)?;
    ours::tasks::add_to_linker::<_, Plain>(linker, plain)?;
    ours::process::add_to_linker::<_, WithObjects>(linker, |state| ObjectView {
        call: &state.call,
        objects: &mut state.objects,
    })?;
    wasmtime_wasi_config::add_to_linker(linker, |state| WasiConfig::from(&state.call.command.settings))?;
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    directories::add_to_linker(linker)
}
