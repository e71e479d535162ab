//! What lines that come right behind one another on a connection leave to the next, which so need not get it anew.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, Cache};

use super::Host;
use super::kept::{Keeper, Shelf};
use super::places::LinePlaces;
use crate::engine::{Pulse, Size};
use crate::registry::Command;
use crate::sandbox::cpu;
use crate::task::Subject;
use crate::tenants::{Tenant, Tenants};

/// What the lines so far have left.
pub struct Batch<'a> {
    host: &'a Host,
    /// The client's address.
    peer: &'a Arc<str>,
    /// Each line sees the tenants as they are when it comes; to look whether they are others costs next to nothing.
    tenants: Cache<&'a ArcSwap<Tenants>, Arc<Tenants>>,
    /// The connection's tenant, and where it was found.
    tenant: Option<(Arc<Tenants>, Arc<Tenant>)>,
    /// The command of the line before, and the number of the table that it is in.
    found: Option<(usize, Found)>,
    reserved: Option<Reserved>,
    /// The clock that interrupts guests.
    pub pulse: Pulse<'a>,
    /// The instances that the connection keeps.
    pub kept: Keeper<'a>,
}

/// A command, and who has it run.
#[derive(Clone)]
pub struct Found {
    /// The command.
    pub command: Arc<Command>,
    /// Who, and its name.
    pub subject: Arc<Subject>,
}

/// The places of a line that has ended.
struct Reserved {
    places: LinePlaces,
    ended: Option<Instant>,
}

impl<'a> Batch<'a> {
    /// That of a first line of a connection, whose client has this address and whose instances are kept on this shelf.
    pub fn new(host: &'a Host, peer: &'a Arc<str>, shelf: &'a Shelf) -> Batch<'a> {
        let (tenants, pulse, kept) = (Cache::new(&host.tenants), host.sandbox.pulse(), Keeper::new(shelf));
        Batch { host, peer, tenants, tenant: None, found: None, reserved: None, pulse, kept }
    }

    /// The connection's tenant, which is of this name, if there is one now.
    pub fn tenant(&mut self, name: &str) -> Option<&Arc<Tenant>> {
        let tenants = self.tenants.load();
        if self.tenant.as_ref().is_none_or(|known| !Arc::ptr_eq(&known.0, tenants)) {
            (self.tenant, self.found) = (None, None);
            self.tenant = Some((Arc::clone(tenants), Arc::clone(tenants.get(name)?)));
        }
        self.tenant.as_ref().map(|(_, tenant)| tenant)
    }

    /// The command of this name of the tenant that was found.
    pub fn command(&mut self, name: &str) -> Option<Found> {
        let (_, tenant) = self.tenant.as_ref()?;
        let number = tenant.table_number();
        if let Some((_, found)) =
            self.found.as_ref().filter(|(of, found)| *of == number && *found.command.name == *name)
        {
            return Some(found.clone());
        }
        let command = tenant.command(name)?;
        let subject =
            Subject { tenant: Arc::clone(tenant), command: Arc::clone(&command.name), peer: Arc::clone(self.peer) };
        let found = Found { command, subject: Arc::new(subject) };
        self.found = Some((number, found.clone()));
        Some(found)
    }

    /// When the line before came to its end, unless something was waited for since.
    pub fn since(&self) -> Option<Instant> {
        self.reserved.as_ref()?.ended
    }

    /// Gives the places back, and needs the clock no more. Whoever is going to wait for something has to, for places are for
    /// lines that run.
    pub fn give_back(&mut self) {
        self.reserved = None;
        self.pulse.rest();
    }

    /// Takes the places for another line, where they are what that needs.
    pub fn take(&mut self, tenant: &Arc<Tenant>, size: Size) -> Option<LinePlaces> {
        let Reserved { places, .. } = self.reserved.take()?;
        (size == Size::Small && places.are_of(tenant)).then_some(places)
    }

    /// Keeps the places of a line that has ended just now, unless somebody may be waiting for one of them.
    pub fn keep(&mut self, places: LinePlaces) {
        let is_wanted = places.are_wanted() || self.host.instances.available_permits() == 0;
        self.reserved = (!is_wanted).then(|| Reserved { places, ended: cpu::last_end() });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::audit::Auditing;
    use crate::dispatch::cancellation::world::World;
    use crate::sandbox::Sandbox;

    fn peer() -> Arc<str> {
        "peer".into()
    }

    fn host(instances: usize) -> Host {
        Host {
            tenants: ArcSwap::default(),
            sandbox: Arc::new(Sandbox::for_test(1, 1 << 16)),
            instances: Arc::new(Semaphore::new(instances)),
            audit: Auditing::default(),
        }
    }

    fn places(tenant: &Arc<Tenant>, host: &Host) -> LinePlaces {
        LinePlaces::for_test(tenant, &host.instances).expect("they are free")
    }

    #[test]
    fn places_are_left_to_the_next_line_of_the_same_tenant() {
        let tenant = || Arc::new(Tenant::for_test("concurrency = 2", 1 << 30));
        let (one, other, host, peer, shelf) = (tenant(), tenant(), host(2), peer(), Shelf::default());
        let mut batch = Batch::new(&host, &peer, &shelf);
        assert!(batch.take(&one, Size::Small).is_none());
        for (next, size, fits) in [(&one, Size::Small, true), (&one, Size::Large, false), (&other, Size::Small, false)]
        {
            batch.keep(places(&one, &host));
            assert_eq!(host.instances.available_permits(), 1);
            assert_eq!(batch.take(next, size).is_some(), fits, "{size:?}");
            assert_eq!((host.instances.available_permits(), one.slots.available_permits()), (2, 2));
        }
        batch.keep(places(&one, &host));
        batch.give_back();
        assert_eq!((host.instances.available_permits(), one.slots.available_permits()), (2, 2));
    }

    #[test]
    fn places_that_somebody_may_wait_for_are_given_back() {
        let tenant = |concurrency| Arc::new(Tenant::for_test(&format!("concurrency = {concurrency}"), 1 << 30));
        for (concurrency, instances) in [(1, 2), (2, 1)] {
            let (tenant, host, peer, shelf) = (tenant(concurrency), host(instances), peer(), Shelf::default());
            let mut batch = Batch::new(&host, &peer, &shelf);
            batch.keep(places(&tenant, &host));
            assert!(batch.take(&tenant, Size::Small).is_none());
            assert_eq!(tenant.slots.available_permits(), concurrency);
        }
    }

    #[test]
    fn each_line_sees_the_tenants_as_they_are() {
        let tenant = || Arc::new(Tenant::for_test("", 1 << 30));
        let (host, peer, shelf) = (host(1), peer(), Shelf::default());
        let mut batch = Batch::new(&host, &peer, &shelf);
        assert!(batch.tenant("one").is_none());
        for one in [tenant(), tenant()] {
            host.tenants.store(Arc::new(Tenants::from([("one".to_owned(), Arc::clone(&one))])));
            for _ in 0..2 {
                assert!(batch.tenant("one").is_some_and(|found| Arc::ptr_eq(found, &one)));
            }
        }
        host.tenants.store(Arc::default());
        assert!(batch.tenant("one").is_none());
    }

    #[test]
    fn each_line_sees_the_commands_as_they_are() {
        let (world, peer, shelf) = (World::new(&[("echo", ""), ("exit", "")], ""), peer(), Shelf::default());
        let mut batch = Batch::new(&world.host, &peer, &shelf);
        let mut find = |name| {
            assert!(batch.tenant("default").is_some());
            batch.command(name)
        };
        let first = find("echo").unwrap();
        assert!(Arc::ptr_eq(&first.subject, &find("echo").unwrap().subject), "it is looked for once");
        assert_eq!(&*find("exit").unwrap().subject.command, "exit");
        assert!(find("nope").is_none());
        assert_eq!(&*find("echo").unwrap().command.name, "echo");
        let before = world.tenant.swap(Arc::default());
        assert!(find("echo").is_none());
        world.tenant.swap(before);
        assert!(Arc::ptr_eq(&first.command, &find("echo").unwrap().command));
    }

    #[test]
    fn another_tenant_of_the_name_has_commands_of_its_own() {
        let (world, peer, shelf) = (World::new(&[("echo", "")], ""), peer(), Shelf::default());
        let mut batch = Batch::new(&world.host, &peer, &shelf);
        assert!(batch.tenant("default").is_some() && batch.command("echo").is_some());
        let other = Arc::new(Tenant::for_test("", 1 << 30));
        other.swap(Arc::default());
        assert_eq!(other.table_number(), world.tenant.table_number(), "this alone must not tell them apart");
        world.host.tenants.store(Arc::new(Tenants::from([("default".to_owned(), other)])));
        assert!(batch.tenant("default").is_some() && batch.command("echo").is_none());
    }
}
