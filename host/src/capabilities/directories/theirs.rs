//! Has wasmtime do what it does with descriptors in a job of ours.
//!
//! By itself it would go to the blocking pool, without a place and on nobody's account. Descriptors are therefore made so that
//! it works on the thread that calls it, and it is called in a job, with copies of the descriptors.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::filesystem::{WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use super::link::{Answer, Handle};
use crate::capabilities::jobs;
use crate::sandbox::State;

/// That wasmtime works on the thread that calls it. Whatever is done with a descriptor has to be done in a job.
pub const ON_THIS_THREAD: bool = true;

/// Does something with descriptors by wasmtime's functions.
///
/// # Errors
/// When one of them is not there, or the line's CPU budget is used up. The inner one is what the program is told.
pub async fn theirs<const N: usize, T: Send + 'static>(
    state: &mut State,
    mut descriptors: [Handle; N],
    act: impl FnOnce(&mut WasiFilesystemCtxView<'_>, [Handle; N]) -> Option<FsResult<T>> + Send + 'static,
) -> wasmtime::Result<(Answer<T>,)> {
    let mut table = ResourceTable::new();
    for descriptor in &mut descriptors {
        *descriptor = table.push(state.objects.get(descriptor)?.clone())?;
    }
    let job = move || {
        let mut view = WasiFilesystemCtxView { ctx: &mut WasiFilesystemCtx::default(), table: &mut table };
        act(&mut view, descriptors)
    };
    match jobs::run(&state.call, job).await?.flatten() {
        Some(result) => answer(result),
        None => Ok((Err(ErrorCode::Io),)),
    }
}

/// What the program is told of a result of wasmtime's.
///
/// # Errors
/// When it is to end the program.
pub fn answer<T>(result: FsResult<T>) -> wasmtime::Result<(Answer<T>,)> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

/// What a future comes to that does not wait. `None` if it does, which no function on descriptors does that are
/// [`ON_THIS_THREAD`].
pub fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}
