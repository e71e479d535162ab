//! What is within the reach of a line that is only tried: nothing that waits, and nothing that leaves a trace but in the reply.

use std::sync::LazyLock;

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};

use super::View;
use super::bindings::wasmline::command::connection::{Error, Host};
use crate::sandbox::{NotAtOnce, Tried};
use crate::wire::PIECE;

/// The interface that every command knows.
pub const CONNECTION: &str = "wasmline:command/connection@0.1.0";

/// The settings of nobody: without a line there is nobody to read them.
static NONE: LazyLock<WasiConfigVariables> = LazyLock::new(WasiConfigVariables::new);

/// Gives it these; whatever else it calls ends the try.
///
/// # Errors
/// When an interface is offered twice, which would be a mistake here.
pub fn add_to_linker(linker: &mut Linker<Tried>) -> wasmtime::Result<()> {
    let mut connection = linker.instance(CONNECTION)?;
    connection.func_wrap("write", |store: StoreContextMut<'_, Tried>, (bytes,): (Vec<u8>,)| {
        let wire = &store.data().call()?.wire;
        if wire.is_closing() {
            return Ok((Err(Error::Closed),));
        }
        // Otherwise it would have to wait for the client, or has written too much.
        let fits = bytes.len() <= PIECE && matches!(wire.write(&bytes), Ok(false));
        if fits { Ok((Ok(()),)) } else { Err(NotAtOnce.into()) }
    })?;
    connection.func_wrap("peer", |store, (): ()| Ok((View { call: store.data().call()? }.peer()?,)))?;
    connection.func_wrap("tenant", |store, (): ()| Ok((View { call: store.data().call()? }.tenant()?,)))?;
    wasmtime_wasi_config::add_to_linker(linker, |tried| {
        WasiConfig::from(tried.call().map_or(&*NONE, |call| &call.command.settings))
    })
}
