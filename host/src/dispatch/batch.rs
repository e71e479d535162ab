//! What lines that come right behind one another on a connection leave to the next, which so need not get it anew.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, Cache};
use tokio::sync::Semaphore;

use super::places::Places;
use crate::engine::Size;
use crate::sandbox::cpu;
use crate::tenants::{Tenant, Tenants};

/// What the lines so far have left.
pub struct Batch<'a> {
    /// Each line sees the tenants as they are when it comes; to look whether they are others costs next to nothing.
    tenants: Cache<&'a ArcSwap<Tenants>, Arc<Tenants>>,
    /// The connection's tenant, and where it was found.
    tenant: Option<(Arc<Tenants>, Arc<Tenant>)>,
    reserved: Option<Reserved>,
    /// The pool that all tenants' lines run in.
    instances: &'a Semaphore,
}

/// The places of a line that has ended.
struct Reserved {
    places: Places,
    ended: Option<Instant>,
}

impl<'a> Batch<'a> {
    /// That of a first line.
    pub fn new(tenants: &'a ArcSwap<Tenants>, instances: &'a Semaphore) -> Batch<'a> {
        Batch { tenants: Cache::new(tenants), tenant: None, reserved: None, instances }
    }

    /// The tenant of this name, if there is one now.
    pub fn tenant(&mut self, name: &str) -> Option<Arc<Tenant>> {
        let tenants = self.tenants.load();
        let (_, tenant) = match self.tenant.take() {
            Some(known) if Arc::ptr_eq(&known.0, tenants) => self.tenant.insert(known),
            _ => self.tenant.insert((Arc::clone(tenants), Arc::clone(tenants.get(name)?))),
        };
        Some(Arc::clone(tenant))
    }

    /// When the line before came to its end, unless something was waited for since.
    pub fn since(&self) -> Option<Instant> {
        self.reserved.as_ref()?.ended
    }

    /// Gives the places back. Whoever is going to wait for something has to, for places are for lines that run.
    pub fn give_back(&mut self) {
        self.reserved = None;
    }

    /// Takes the places for another line, where they are what that needs.
    pub fn take(&mut self, tenant: &Arc<Tenant>, size: Size) -> Option<Places> {
        let Reserved { places, .. } = self.reserved.take()?;
        (size == Size::Small && places.are_of(tenant)).then_some(places)
    }

    /// Keeps the places of a line that has ended just now, unless somebody may be waiting for one of them.
    pub fn keep(&mut self, places: Places) {
        let is_wanted = places.are_wanted() || self.instances.available_permits() == 0;
        self.reserved = (!is_wanted).then(|| Reserved { places, ended: cpu::last_end() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(tenant: &Arc<Tenant>, instances: &Arc<Semaphore>) -> Places {
        Places::for_test(tenant, instances).expect("they are free")
    }

    #[test]
    fn places_are_left_to_the_next_line_of_the_same_tenant() {
        let tenant = || Arc::new(Tenant::for_test("concurrency = 2", 1 << 30));
        let (one, other, instances) = (tenant(), tenant(), Arc::new(Semaphore::new(2)));
        let tenants = ArcSwap::default();
        let mut batch = Batch::new(&tenants, &instances);
        assert!(batch.take(&one, Size::Small).is_none());
        for (next, size, fits) in [(&one, Size::Small, true), (&one, Size::Large, false), (&other, Size::Small, false)]
        {
            batch.keep(places(&one, &instances));
            assert_eq!(instances.available_permits(), 1);
            assert_eq!(batch.take(next, size).is_some(), fits, "{size:?}");
            assert_eq!((instances.available_permits(), one.slots.available_permits()), (2, 2));
        }
        batch.keep(places(&one, &instances));
        batch.give_back();
        assert_eq!((instances.available_permits(), one.slots.available_permits()), (2, 2));
    }

    #[test]
    fn places_that_somebody_may_wait_for_are_given_back() {
        let tenant = |concurrency| Arc::new(Tenant::for_test(&format!("concurrency = {concurrency}"), 1 << 30));
        for (concurrency, instances) in [(1, 2), (2, 1)] {
            let (tenant, instances) = (tenant(concurrency), Arc::new(Semaphore::new(instances)));
            let tenants = ArcSwap::default();
            let mut batch = Batch::new(&tenants, &instances);
            batch.keep(places(&tenant, &instances));
            assert!(batch.take(&tenant, Size::Small).is_none());
            assert_eq!(tenant.slots.available_permits(), concurrency);
        }
    }

    #[test]
    fn each_line_sees_the_tenants_as_they_are() {
        let tenant = || Arc::new(Tenant::for_test("", 1 << 30));
        let (tenants, instances) = (ArcSwap::default(), Semaphore::new(1));
        let mut batch = Batch::new(&tenants, &instances);
        assert!(batch.tenant("one").is_none());
        for one in [tenant(), tenant()] {
            tenants.store(Arc::new(Tenants::from([("one".to_owned(), Arc::clone(&one))])));
            for _ in 0..2 {
                assert!(batch.tenant("one").is_some_and(|found| Arc::ptr_eq(&found, &one)));
            }
        }
        tenants.store(Arc::default());
        assert!(batch.tenant("one").is_none());
    }
}
