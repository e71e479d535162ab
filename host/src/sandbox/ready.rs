//! An instance that is ready before its line comes.
//!
//! To make an instance takes longer than most small lines need for all else. An event loop has time for that while it waits:
//! before it does, it makes one for the command whose line was tried last, and the next line of that command finds it. Each
//! instance still has one line, and no code of the guest's has run in it before that (`sandbox/trial.rs`).
//!
//! There is one for each loop at most. It is made when a line has found none, so a loop that never waits for long makes as many
//! as without.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use super::Program;
use super::trial::Trial;
use crate::registry::Command;

/// Tries of other commands in a row for which an instance stays. Then it makes room.
const PASSED_OVER: u32 = 8;

thread_local! {
    /// There is one on each event loop.
    static STOCK: RefCell<Option<Stock>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Stock {
    ready: Option<Ready>,
    /// Tries since it was made, none of which had a use for it.
    passed_over: u32,
    /// The command that one is to be made of.
    wanted: Option<Weak<Command>>,
}

/// An instance, and the command that it is of. It keeps nothing of that but the code.
struct Ready {
    command: Weak<Command>,
    trial: Trial,
}

fn is_same(weak: &Weak<Command>, command: &Arc<Command>) -> bool {
    weak.as_ptr() == Arc::as_ptr(command)
}

/// Has this thread make instances ahead.
pub fn open() {
    STOCK.set(Some(Stock::default()));
}

/// Takes the instance that is ready for a line of this command, if there is one.
pub fn take(command: &Arc<Command>) -> Option<Trial> {
    STOCK.with_borrow_mut(|stock| {
        let stock = stock.as_mut()?;
        stock.passed_over = stock.passed_over.saturating_add(1);
        Some(stock.ready.take_if(|ready| is_same(&ready.command, command))?.trial)
    })
}

/// Takes note that a line of this command was tried with success, so that its next is worth an instance.
pub fn want(command: &Arc<Command>) {
    STOCK.with_borrow_mut(|stock| {
        let Some(stock) = stock else { return };
        let has_room = stock.ready.is_none() || stock.passed_over > PASSED_OVER;
        if has_room && stock.wanted.as_ref().is_none_or(|wanted| !is_same(wanted, command)) {
            stock.wanted = Some(Arc::downgrade(command));
        }
    });
}

/// Makes the instance that is wanted. Called before the loop waits.
pub fn prepare() {
    let Some(command) = STOCK.with_borrow_mut(|stock| stock.as_mut()?.wanted.take()?.upgrade()) else { return };
    let Program::Command { attempt: Some(attempt), .. } = &command.code.program else { return };
    // First, for the pool has room for one.
    put(None);
    if let Some(trial) = attempt.ahead() {
        tracing::debug!(command = %command.name, "instance made ahead of its line");
        put(Some(Ready { command: Arc::downgrade(&command), trial }));
    }
}

/// Lets go of an instance whose command nobody has any more.
pub fn let_go() {
    let went = |ready: &Ready| ready.command.strong_count() == 0;
    if STOCK.with_borrow(|stock| stock.as_ref().and_then(|stock| stock.ready.as_ref()).is_some_and(went)) {
        put(None);
    }
}

/// Whether one is ready.
#[cfg(test)]
pub fn has_any() -> bool {
    STOCK.with_borrow(|stock| stock.as_ref().is_some_and(|stock| stock.ready.is_some()))
}

/// Whether one of this command is ready.
#[cfg(test)]
pub fn has(command: &Arc<Command>) -> bool {
    let is_of_it = |ready: &Ready| is_same(&ready.command, command);
    STOCK.with_borrow(|stock| stock.as_ref().and_then(|stock| stock.ready.as_ref()).is_some_and(is_of_it))
}

/// Replaces what is ready, which is dropped once the stock is not in use.
fn put(ready: Option<Ready>) {
    let _before = STOCK.with_borrow_mut(|stock| {
        let stock = stock.as_mut()?;
        stock.passed_over = 0;
        std::mem::replace(&mut stock.ready, ready)
    });
}
