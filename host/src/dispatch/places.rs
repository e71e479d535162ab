//! The places that a running line holds.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::Size;
use crate::error::{Code, Failure};
use crate::tenants::{self, Pass, Place, Tenant};
use crate::wire::{Gone, Wire};

/// A line's places among those admitted and those running of its tenant, and in the pools.
pub struct LinePlaces {
    /// Whose they are.
    tenant: Arc<Tenant>,
    _admission: Pass,
    _slot: Pass,
    _instance: OwnedSemaphorePermit,
    large: Option<Place>,
}

impl LinePlaces {
    /// Takes a place among the tenant's lines, then one in the pool. Where all are taken it waits for as long as an
    /// invocation may take; where as many wait as may, the answer is `overloaded` at once. Fails itself only when the client
    /// is gone.
    pub async fn take(
        instances: &Arc<Semaphore>,
        tenant: &Arc<Tenant>,
        size: Size,
        wire: &Wire,
    ) -> Result<Result<LinePlaces, Failure>, Gone> {
        let Ok(admission) = Arc::clone(&tenant.admissions).try_acquire_owned() else {
            return overloaded("too many commands are running; try again");
        };
        let large = (size == Size::Large).then(|| tenant.part().large.clone());
        if let Ok(slot) = Arc::clone(&tenant.slots).try_acquire_owned()
            && let Ok(instance) = Arc::clone(instances).try_acquire_owned()
            && let Some(large) = large.clone().map_or(Some(None), |large| large.try_acquire().map(Some))
        {
            let tenant = Arc::clone(tenant);
            return Ok(Ok(LinePlaces { tenant, _admission: admission, _slot: slot, _instance: instance, large }));
        }
        // On the heap, for few lines wait.
        Box::pin(LinePlaces::wait(instances, tenant, admission, large, wire)).await
    }

    /// Those of a small command, if they are free.
    #[cfg(test)]
    pub fn for_test(tenant: &Arc<Tenant>, instances: &Arc<Semaphore>) -> Option<LinePlaces> {
        Some(LinePlaces {
            tenant: Arc::clone(tenant),
            _admission: Arc::clone(&tenant.admissions).try_acquire_owned().ok()?,
            _slot: Arc::clone(&tenant.slots).try_acquire_owned().ok()?,
            _instance: Arc::clone(instances).try_acquire_owned().ok()?,
            large: None,
        })
    }

    /// Whether they are this tenant's.
    pub fn are_of(&self, tenant: &Arc<Tenant>) -> bool {
        Arc::ptr_eq(&self.tenant, tenant)
    }

    /// Whether somebody may be waiting for a place of the tenant's. Those of large commands are few.
    pub fn are_wanted(&self) -> bool {
        self.large.is_some() || self.tenant.admissions.is_full() || self.tenant.slots.is_full()
    }

    async fn wait(
        instances: &Arc<Semaphore>,
        tenant: &Arc<Tenant>,
        admission: Pass,
        large: Option<tenants::Quota>,
        wire: &Wire,
    ) -> Result<Result<LinePlaces, Failure>, Gone> {
        let places = async {
            let slot = Arc::clone(&tenant.slots).acquire_owned().await;
            let large = match large {
                Some(large) => Some(large.acquire().await),
                None => None,
            };
            let instance = Arc::clone(instances).acquire_owned().await.ok()?;
            let tenant = Arc::clone(tenant);
            Some(LinePlaces { tenant, _admission: admission, _slot: slot, _instance: instance, large })
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

fn overloaded(why: &str) -> Result<Result<LinePlaces, Failure>, Gone> {
    Ok(Err(Failure::new(Code::Overloaded, why)))
}
