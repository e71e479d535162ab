//! The places that a running line holds.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::Size;
use crate::error::{Code, Failure};
use crate::tenants::{self, Pass, Place, Tenant};
use crate::wire::{Gone, Wire};

/// A line's places among those admitted and those running of its tenant, and in the pools.
pub struct Places {
    /// Whose they are.
    tenant: Arc<Tenant>,
    _admission: Pass,
    _slot: Pass,
    _instance: OwnedSemaphorePermit,
    large: Option<Place>,
}

impl Places {
    /// Takes a place among the tenant's lines, then one in the pool. Where all are taken it waits for as long as an
    /// invocation may take; where as many wait as may, the answer is `overloaded` at once. Fails itself only when the client
    /// is gone.
    pub async fn take(
        instances: &Arc<Semaphore>,
        tenant: &Arc<Tenant>,
        size: Size,
        wire: &Wire,
    ) -> Result<Result<Places, Failure>, Gone> {
        let Ok(admission) = Arc::clone(&tenant.admissions).try_acquire_owned() else {
            return overloaded("too many commands are running; try again");
        };
        let large = (size == Size::Large).then(|| tenant.part().large.clone());
        if let Ok(slot) = Arc::clone(&tenant.slots).try_acquire_owned()
            && let Ok(instance) = Arc::clone(instances).try_acquire_owned()
            && let Some(large) = large.clone().map_or(Some(None), |large| large.try_acquire().map(Some))
        {
            let tenant = Arc::clone(tenant);
            return Ok(Ok(Places { tenant, _admission: admission, _slot: slot, _instance: instance, large }));
        }
        // On the heap, for few lines wait.
        Box::pin(Places::wait(instances, tenant, admission, large, wire)).await
    }

    async fn wait(
        instances: &Arc<Semaphore>,
        tenant: &Arc<Tenant>,
        admission: Pass,
        large: Option<tenants::Places>,
        wire: &Wire,
    ) -> Result<Result<Places, Failure>, Gone> {
        let places = async {
            let slot = Arc::clone(&tenant.slots).acquire_owned().await.ok()?;
            let large = match large {
                Some(large) => Some(large.acquire().await?),
                None => None,
            };
            let instance = Arc::clone(instances).acquire_owned().await.ok()?;
            let tenant = Arc::clone(tenant);
            Some(Places { tenant, _admission: admission, _slot: slot, _instance: instance, large })
        };
        wire.flush().await?;
        tokio::select! {
            biased;
            places = tokio::time::timeout(tenant.limits.timeout, places) => match places {
                Ok(Some(places)) => Ok(Ok(places)),
                Ok(None) | Err(_) => overloaded("no place became free in time; try again"),
            },
            gone = wire.failed() => Err(gone),
        }
    }
}

fn overloaded(why: &str) -> Result<Result<Places, Failure>, Gone> {
    Ok(Err(Failure::new(Code::Overloaded, why)))
}

/// Places that a line has left to the one right behind it on its connection, which so need not take them anew.
#[derive(Default)]
pub struct Reserved(Option<Places>);

impl Reserved {
    /// Gives them back. Whoever is going to wait for something has to, for places are for lines that run.
    pub fn give_back(&mut self) {
        self.0 = None;
    }

    /// Takes them for another line, where they are what that needs.
    pub fn take(&mut self, tenant: &Arc<Tenant>, size: Size) -> Option<Places> {
        let places = self.0.take()?;
        (size == Size::Small && Arc::ptr_eq(&places.tenant, tenant)).then_some(places)
    }

    /// Keeps them, unless somebody may be waiting for one of them.
    pub fn keep(&mut self, places: Places, instances: &Semaphore) {
        let Places { tenant, large, .. } = &places;
        let is_wanted = large.is_some()
            || tenant.admissions.is_full()
            || tenant.slots.is_full()
            || instances.available_permits() == 0;
        self.0 = (!is_wanted).then_some(places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(tenant: &Arc<Tenant>, instances: &Arc<Semaphore>) -> Places {
        Places {
            tenant: Arc::clone(tenant),
            _admission: Arc::clone(&tenant.admissions).try_acquire_owned().unwrap(),
            _slot: Arc::clone(&tenant.slots).try_acquire_owned().unwrap(),
            _instance: Arc::clone(instances).try_acquire_owned().unwrap(),
            large: None,
        }
    }

    #[test]
    fn places_are_left_to_the_next_line_of_the_same_tenant() {
        let tenant = || Arc::new(Tenant::for_test("concurrency = 2", 1 << 30));
        let (one, other, instances) = (tenant(), tenant(), Arc::new(Semaphore::new(2)));
        let mut reserved = Reserved::default();
        assert!(reserved.take(&one, Size::Small).is_none());
        for (next, size, fits) in [(&one, Size::Small, true), (&one, Size::Large, false), (&other, Size::Small, false)]
        {
            reserved.keep(places(&one, &instances), &instances);
            assert_eq!(instances.available_permits(), 1);
            assert_eq!(reserved.take(next, size).is_some(), fits, "{size:?}");
            assert_eq!((instances.available_permits(), one.slots.available_permits()), (2, 2));
        }
        reserved.keep(places(&one, &instances), &instances);
        reserved.give_back();
        assert_eq!((instances.available_permits(), one.slots.available_permits()), (2, 2));
    }

    #[test]
    fn places_that_somebody_may_wait_for_are_given_back() {
        let tenant = |concurrency| Arc::new(Tenant::for_test(&format!("concurrency = {concurrency}"), 1 << 30));
        for (concurrency, instances) in [(1, 2), (2, 1)] {
            let (tenant, instances) = (tenant(concurrency), Arc::new(Semaphore::new(instances)));
            let mut reserved = Reserved::default();
            reserved.keep(places(&tenant, &instances), &instances);
            assert!(reserved.take(&tenant, Size::Small).is_none());
            assert_eq!(tenant.slots.available_permits(), concurrency);
        }
    }
}
