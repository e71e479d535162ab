//! `wasmline bare`: what the engine alone needs for a line, which is the limit for what the host makes of it.
//!
//! The command is loaded as the host loads it, into the same engine with the same pool. Each call makes an instance, calls it
//! and drops it; there is no connection, no account and no limit.

use serde_json::json;
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use crate::capabilities::ConnectionError;
use crate::capabilities::attempt::CONNECTION;
use crate::cli::{self, Bare};
use crate::logging::{self, LogFormat};
use crate::registry::Form;
use crate::run;
use crate::sandbox::{Program, cpu};

/// A call may not be interrupted.
const NEVER: u64 = u64::MAX / 2;
/// Calls before the measured ones, in parts of these: caches and pools fill.
const WARM_UP: u32 = 10;

/// Calls the command and prints what a call takes, as JSON.
///
/// # Errors
/// When the file is no command that needs nothing but its connection, and when a call fails.
pub fn run(arguments: &Bare) -> Result<(), String> {
    let _log = logging::start(LogFormat::Human, "warn")?;
    let config = cli::config(arguments.run.config.as_deref(), arguments.run.cache.as_deref())?;
    let tenant = config.tenant_named(arguments.run.tenant.as_deref())?;
    let form = if arguments.as_written { Form::AsWritten } else { Form::Usual };
    let host = run::host(&config, tenant, &arguments.run, form)?;
    let command = arguments.run.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let commands = host.tenants.load().get(&tenant.name).map(|tenant| tenant.commands());
    let command = commands.and_then(|commands| commands.get(&command).cloned()).ok_or("the file is no command")?;
    let Program::Command { pre: program, .. } = &command.code.program else {
        return Err("a program of WASI needs more than a connection".to_owned());
    };
    let caller = Caller::new(program.instance_pre().component()).map_err(|error| format!("{error:#}"))?;
    let reply = caller.call(&arguments.run.args)?;
    let call = || match caller.call(&arguments.run.args)? {
        again if again == reply => Ok(()),
        again => Err(format!(
            "a call wrote {:?}, and another {:?}",
            reply.escape_ascii().to_string(),
            again.escape_ascii().to_string()
        )),
    };
    (0..arguments.calls / WARM_UP).try_for_each(|_| call())?;
    let (called, used) = cpu::measure_aside(|| (0..arguments.calls).try_for_each(|_| call()));
    called?;
    let each = used.as_secs_f64() * 1e6 / f64::from(arguments.calls);
    cli::print(&format!("{}\n", json!({ "calls": arguments.calls, "cpu_us_per_call": each })))
}

/// A command that is ready to be called.
struct Caller {
    program: InstancePre<Vec<u8>>,
    run: ComponentExportIndex,
}

impl Caller {
    fn new(component: &Component) -> wasmtime::Result<Caller> {
        let mut linker: Linker<Vec<u8>> = Linker::new(component.engine());
        linker.instance(CONNECTION)?.func_wrap("write", |mut store, (bytes,): (Vec<u8>,)| {
            store.data_mut().extend(bytes);
            Ok((Ok::<(), ConnectionError>(()),))
        })?;
        linker.define_unknown_imports_as_traps(component)?;
        let run =
            component.get_export_index(None, "run").ok_or_else(|| wasmtime::format_err!("it exports no `run`"))?;
        Ok(Caller { program: linker.instantiate_pre(component)?, run })
    }

    /// Calls a fresh instance, and returns what it wrote.
    fn call(&self, args: &[String]) -> Result<Vec<u8>, String> {
        let call = || {
            let mut store = Store::new(self.program.engine(), Vec::new());
            store.set_epoch_deadline(NEVER);
            let instance = self.program.instantiate(&mut store)?;
            let run = instance.get_typed_func::<(&[String],), (Result<(), String>,)>(&mut store, self.run)?;
            let (result,) = run.call(&mut store, (args,))?;
            Ok((result, store.into_data()))
        };
        let (result, written) = call().map_err(|error: wasmtime::Error| format!("{error:#}"))?;
        result.map(|()| written)
    }
}
