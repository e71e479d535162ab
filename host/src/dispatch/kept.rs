//! The instances that a connection keeps for its next lines, one of a command at most.

use std::sync::{Arc, Mutex};

use crate::capabilities::Call;
use crate::error::{Code, Failure};
use crate::lock::lock;
use crate::registry::{Command, Lifetime};
use crate::sandbox::Instance;
use crate::tenants::{Place, Tenant};

/// An instance that is kept, with the command that it is of: once another has taken that one's place in the table it is of
/// no more use.
pub struct Kept {
    command: Arc<Command>,
    /// `None` while a line runs, whose it then is.
    pub instance: Option<Instance>,
    _place: Place,
}

impl Kept {
    /// Whether a line that names the command would find the one that this is of.
    fn is_current(&self, tenant: &Tenant) -> bool {
        tenant.command(&self.command.name).is_some_and(|command| Arc::ptr_eq(&command, &self.command))
    }
}

/// Those of one connection, while no lines have taken them.
pub type Shelf = Mutex<Vec<Kept>>;

/// Lets go of those on a shelf that are of no more use to a connection of this tenant, if it is still there. What lines have
/// taken is looked at by the next of them.
pub fn let_go(shelf: &Shelf, tenant: Option<&Tenant>) {
    let is_of_use = |kept: &mut Kept| tenant.is_some_and(|tenant| kept.is_current(tenant));
    let of_no_use: Vec<Kept> = lock(shelf).extract_if(.., |kept| !is_of_use(kept)).collect();
    // Taking an instance down takes a while.
    drop(of_no_use);
}

/// The same while lines run. What is left is put back when they have.
pub struct Keeper<'a> {
    shelf: &'a Shelf,
    /// There from the first line on that asks for one: few do.
    taken: Option<Vec<Kept>>,
}

impl<'a> Keeper<'a> {
    /// Takes nothing yet.
    pub fn new(shelf: &'a Shelf) -> Keeper<'a> {
        Keeper { shelf, taken: None }
    }

    /// The instance that was kept for the line's command, or a place for a new one to be kept in, where the command asks for
    /// that. It is never left to chance whether a line finds what the one before has left.
    ///
    /// # Errors
    /// When there is no place.
    pub fn take(&mut self, call: &Call) -> Result<Option<Kept>, Failure> {
        if call.command.sidecar.instance == Lifetime::Line {
            return Ok(None);
        }
        let kept = self.kept();
        // What has been replaced meanwhile goes with its place.
        kept.retain(|kept| kept.command.name != call.command.name || Arc::ptr_eq(&kept.command, &call.command));
        if let Some(index) = kept.iter().position(|kept| Arc::ptr_eq(&kept.command, &call.command)) {
            return Ok(Some(kept.swap_remove(index)));
        }
        // None of the others may hold a place that is of no more use to it.
        kept.retain(|kept| kept.is_current(call.tenant()));
        let place = call.tenant().part().kept.try_acquire();
        let place = place.ok_or_else(|| Failure::new(Code::Overloaded, "too many instances are kept; try again"))?;
        Ok(Some(Kept { command: Arc::clone(&call.command), instance: None, _place: place }))
    }

    /// Keeps the instance for the next line. Where there is none, because the guest did not come to its own end or has left
    /// something open, its place is given back.
    pub fn keep(&mut self, kept: Kept, instance: Option<Instance>) {
        if instance.is_some() {
            self.kept().push(Kept { instance, ..kept });
        }
    }

    fn kept(&mut self) -> &mut Vec<Kept> {
        self.taken.get_or_insert_with(|| std::mem::take(&mut *lock(self.shelf)))
    }
}

impl Drop for Keeper<'_> {
    fn drop(&mut self) {
        if let Some(taken) = &mut self.taken {
            // Nothing was put there meanwhile, so this takes no room of its own.
            let mut shelf = lock(self.shelf);
            std::mem::swap(&mut *shelf, taken);
            shelf.append(taken);
        }
    }
}
