//! An instance of a command: the store that it lives in, and the calls into it. One in which a line is only tried is a
//! [`Trial`](super::trial::Trial).
//!
//! Most live for one line. One whose sidecar asks for it is kept for its connection's next line of the same command, with
//! whatever its memory holds by then; its bounds and its account are each line's own.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::I32Exit;

use super::limits::Meter;
use super::{HOST_OBJECTS, Program, State, cpu};
use crate::capabilities::{self, Call};

/// A store, and what was instantiated in it.
pub struct Instance {
    store: Store<State>,
    /// The command, once it has been instantiated.
    command: Option<capabilities::Command>,
}

impl Instance {
    /// A store for a line, with its bounds. Nothing is instantiated yet.
    pub fn new(engine: &Engine, call: Arc<Call>) -> Instance {
        let handles = call.tenant().limits.handles;
        let mut objects = ResourceTable::new();
        objects.set_max_capacity(HOST_OBJECTS);
        let memory = Meter::of(&call.task);
        let mut store = Store::new(engine, State { call, objects, memory, wasi: None });
        store.limiter(|state| &mut state.memory);
        store.epoch_deadline_callback(cpu::on_tick);
        store.set_max_component_handles(handles);
        let mut instance = Instance { store, command: None };
        instance.bound();
        instance
    }

    /// Goes on with another line of its connection.
    pub fn resume(&mut self, call: Arc<Call>) {
        let state = self.store.data_mut();
        state.memory.pass_on(&call.task);
        state.call = call;
        // Its streams are those of the line before.
        state.wasi = None;
        self.bound();
    }

    /// Sets the bounds of a line. Before instantiation, for a start function is guest code too.
    fn bound(&mut self) {
        let host_call_memory = self.store.data().call.tenant().limits.host_call_memory;
        self.store.set_epoch_deadline(1);
        self.store.set_hostcall_fuel(host_call_memory);
    }

    /// Runs the program on a line's words.
    pub async fn run(&mut self, program: &Program, args: &[String]) -> wasmtime::Result<Result<(), String>> {
        let store = &mut self.store;
        match program {
            Program::Command { pre, .. } => {
                let command = match &self.command {
                    Some(command) => command,
                    None => self.command.insert(pre.instantiate_async(&mut *store).await?),
                };
                command.call_run(store, args).await
            }
            Program::Wasi(pre) => {
                let program = pre.instantiate_async(&mut *store).await?;
                let result = program.wasi_cli_run().call_run(store).await?;
                // A program that returns without success has said why by itself, just as one that exits with 1.
                result.map_err(|()| I32Exit(1).into()).map(Ok)
            }
        }
    }

    /// Whether it holds nothing of the host's: no child, no stream, no file. What a line has opened ends with the line.
    pub fn holds_nothing(&self) -> bool {
        self.store.data().objects.is_empty()
    }
}
