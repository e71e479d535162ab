//! A tenant's part of what all share: jobs, children, turns on the processors, CPU time, memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Threads;
use super::bucket::{self, Bucket};
use super::gate::{Gate, Pass};
use crate::config::{self, Limits};
use crate::machine::{COMMANDS, Plan};

/// CPU seconds per second that a tenant may use before its lines have to take turns with others', short ones too.
const UNTURNED: f64 = 0.25;

/// What the tenants share of the host.
#[derive(Clone)]
pub struct Shares {
    hash_jobs: Arc<Gate>,
    most_hash_jobs: usize,
    file_jobs: Arc<Gate>,
    most_file_jobs: usize,
    threads: Arc<Threads>,
    aside: Arc<Threads>,
    most_compile_jobs: usize,
    turns: Arc<Gate>,
    children: Arc<Gate>,
    cores: usize,
    large: Arc<Gate>,
    most_large: usize,
    kept: Arc<Gate>,
    most_kept: usize,
    memory: Arc<AllMemory>,
    plan: Plan,
}

impl Shares {
    /// As many jobs at once as the configuration says, as many turns as there are cores.
    ///
    /// # Errors
    /// When there can be no threads for the jobs.
    pub fn of(server: &config::Server, plan: Plan) -> Result<Shares, String> {
        let cores = config::cores();
        Ok(Shares {
            hash_jobs: Arc::new(Gate::new(server.hash_jobs)),
            most_hash_jobs: server.hash_jobs,
            file_jobs: Arc::new(Gate::new(server.file_jobs)),
            most_file_jobs: server.file_jobs,
            threads: Arc::new(Threads::standing("job", server.hash_jobs + server.file_jobs, cores / 2)?),
            aside: Arc::new(Threads::passing("aside", config::BLOCKING_THREADS)?),
            most_compile_jobs: server.compile_jobs,
            turns: Arc::new(Gate::new(cores)),
            children: Arc::new(Gate::new(plan.children)),
            cores,
            large: Arc::new(Gate::new(plan.large)),
            most_large: plan.large,
            kept: Arc::new(Gate::new(server.kept_instances)),
            most_kept: server.kept_instances,
            memory: Arc::new(AllMemory::new(plan.memory)),
            plan,
        })
    }

    /// Where is done what blocks and is no job. The look at the directories keeps one of these threads from going.
    pub fn aside(&self) -> &Arc<Threads> {
        &self.aside
    }

    /// The same host under another plan. Children that run go on, and count, and so does memory that is in use.
    pub fn planned(&self, plan: Plan) -> Shares {
        self.children.resize(plan.children);
        self.memory.most.store(plan.memory, Ordering::Relaxed);
        Shares { plan, ..self.clone() }
    }

    /// How many lines of a tenant may run at once: as many as it may have, unless all tenants together may have more than
    /// there is room for.
    pub fn slots(&self, limits: &Limits, tenants: usize) -> usize {
        let room = self.plan.crowded.map_or(limits.concurrency, |room| share(room, tenants));
        limits.concurrency.min(room)
    }

    /// How many children a tenant may have at once, by the same rule.
    pub fn most_children(&self, limits: &Limits, tenants: usize) -> usize {
        let room = if self.plan.children_crowded { share(self.plan.children, tenants) } else { limits.children };
        limits.children.min(room)
    }

    /// Places for the children of a tenant that may have so many.
    pub fn children(&self, most: usize) -> Quota {
        Quota { all: Arc::clone(&self.children), own: Arc::new(Gate::new(most)) }
    }

    /// Bytes that a tenant may have in memories and tables.
    pub fn memory(&self, limits: &Limits) -> usize {
        limits.memory_in_use.unwrap_or(self.plan.tenant_memory)
    }

    /// The memory of a tenant that has none yet.
    pub fn memory_in_use(&self) -> MemoryInUse {
        MemoryInUse { own: Taken::default(), all: Arc::clone(&self.memory) }
    }

    /// The part of one tenant of `tenants`. What it has taken of the part that it had `before` counts on.
    pub fn part(&self, limits: &Limits, tenants: usize, before: Option<&Part>) -> Part {
        let places = |all: &Arc<Gate>, own: usize, before: Option<&Quota>| match before {
            // They are of the same host, whose own number does not change.
            Some(before) => {
                before.resize(own);
                before.clone()
            }
            None => Quota { all: Arc::clone(all), own: Arc::new(Gate::new(own)) },
        };
        let hash_jobs = limits.hash_jobs.unwrap_or_else(|| share(self.most_hash_jobs, tenants));
        let file_jobs = limits.file_jobs.unwrap_or_else(|| share(self.most_file_jobs, tenants));
        let kept = limits.kept_instances.unwrap_or_else(|| share(self.most_kept, tenants));
        Part {
            hash_jobs: places(&self.hash_jobs, hash_jobs, before.map(|part| &part.hash_jobs)),
            file_jobs: places(&self.file_jobs, file_jobs, before.map(|part| &part.file_jobs)),
            threads: Arc::clone(&self.threads),
            aside: Arc::clone(&self.aside),
            compile_jobs: limits.compile_jobs.unwrap_or_else(|| share(self.most_compile_jobs, tenants)),
            // A tenant may have all turns, and no more than that wait for one at a time: so tenants take turns, however
            // many lines each of them has.
            turns: places(&self.turns, self.cores, before.map(|part| &part.turns)),
            large: places(&self.large, share(self.most_large, tenants), before.map(|part| &part.large)),
            kept: places(&self.kept, kept, before.map(|part| &part.kept)),
            most_commands: (COMMANDS / tenants.max(1)).max(1),
        }
    }
}

/// One tenant's part. It is another when tenants come or go.
pub struct Part {
    /// Places for hash jobs.
    pub hash_jobs: Quota,
    /// Places for file operations of WASI programs.
    pub file_jobs: Quota,
    /// Where both are done.
    pub threads: Arc<Threads>,
    /// Where programs are started, and waited for in the last resort.
    pub aside: Arc<Threads>,
    /// How many of its files may be compiled at once.
    pub compile_jobs: usize,
    /// Turns on the processors.
    pub turns: Quota,
    /// Places in the pool of large commands.
    pub large: Quota,
    /// Places of instances that are kept between lines.
    pub kept: Quota,
    /// Commands that it may have.
    pub most_commands: usize,
}

/// One tenant's share of places: all of them if it is alone, else half, so that there is always one for another.
pub fn share(places: usize, tenants: usize) -> usize {
    if tenants == 1 { places } else { (places / 2).max(1) }
}

/// Places of the whole host, and a tenant's own among them.
#[derive(Clone)]
pub struct Quota {
    all: Arc<Gate>,
    own: Arc<Gate>,
}

/// A place, taken.
pub struct Place {
    _own: Pass,
    _all: Pass,
}

impl Quota {
    /// How many are free: of the whole host, and of the tenant's own.
    #[cfg(test)]
    pub fn free(&self) -> [usize; 2] {
        [self.all.available_permits(), self.own.available_permits()]
    }

    /// A place if there is one free here and now. Nobody who waits is passed by: what becomes free is theirs.
    pub fn try_acquire(&self) -> Option<Place> {
        let own = Arc::clone(&self.own).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Place { _own: own, _all: all })
    }

    /// Has so many places of the tenant's own from now on.
    pub fn resize(&self, own: usize) {
        self.own.resize(own);
    }

    /// Waits for a place: the tenant's own first, so that those who wait for the host's are few and of all tenants.
    pub async fn acquire(self) -> Place {
        let own = self.own.acquire_owned().await;
        let all = self.all.acquire_owned().await;
        Place { _own: own, _all: all }
    }
}

/// CPU time of all lines of a tenant.
pub struct Cpu {
    /// The bound on it, where there is one.
    bound: Option<Arc<Bucket>>,
    /// What may be used without taking turns.
    unturned: Arc<Bucket>,
}

impl Cpu {
    /// Nothing was used yet.
    pub fn new(limits: &Limits) -> Cpu {
        let now = Instant::now();
        let bound = limits.cpu_share.map(|share| Arc::new(Bucket::new(f64::from(share.0) / 1000.0, now)));
        Cpu { bound, unturned: Arc::new(Bucket::new(UNTURNED, now)) }
    }

    /// Goes on from what the tenant has used so far, together with its lines that still run.
    pub fn follow(&mut self, known: &Cpu) {
        bucket::follow(&mut self.bound, known.bound.as_ref());
        self.unturned = Arc::clone(&known.unturned);
    }

    /// Adds what was used until `now`.
    pub fn charge(&self, time: Duration, now: Instant) {
        if let Some(bound) = &self.bound {
            bound.charge(time.as_secs_f64(), now);
        }
        self.unturned.charge(time.as_secs_f64(), now);
    }

    /// How long the tenant's lines have to stand still, if they do.
    pub fn overdrawn(&self) -> Option<Duration> {
        self.bound.as_ref()?.debt(Instant::now())
    }

    /// Whether the tenant has used so much lately that its lines take turns with others', however short they are.
    pub fn is_busy(&self) -> bool {
        self.unturned.debt(Instant::now()).is_some()
    }
}

/// Bytes in the memories and tables of all lines of a tenant, which are among those of the host.
pub struct MemoryInUse {
    own: Taken,
    all: Arc<AllMemory>,
}

/// Bytes in the memories and tables of all lines of the host. The tenants' shares fit in what there may be, but lines go on
/// whose tenant a reload has taken away, or given a smaller share.
struct AllMemory {
    taken: Taken,
    most: AtomicUsize,
}

impl AllMemory {
    fn new(most: usize) -> AllMemory {
        AllMemory { taken: Taken::default(), most: most.into() }
    }
}

impl MemoryInUse {
    /// Takes bytes if there are so many below `most`, and so many of the host's.
    pub fn take(&self, bytes: usize, most: usize) -> bool {
        if !self.own.take(bytes, most) {
            return false;
        }
        let is_there = self.all.taken.take(bytes, self.all.most.load(Ordering::Relaxed));
        if !is_there {
            self.own.give_back(bytes);
        }
        is_there
    }

    /// Bytes that are taken.
    #[cfg(test)]
    pub fn used(&self) -> usize {
        self.own.bytes.load(Ordering::Relaxed)
    }

    /// Gives bytes back that were taken.
    pub fn give_back(&self, bytes: usize) {
        self.own.give_back(bytes);
        self.all.taken.give_back(bytes);
    }
}

/// Bytes that are taken.
#[derive(Default)]
struct Taken {
    bytes: AtomicUsize,
}

impl Taken {
    fn take(&self, bytes: usize, most: usize) -> bool {
        let taken = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= most);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_leaves_room_for_another() {
        assert_eq!((share(4, 1), share(4, 2), share(1, 5)), (4, 2, 1));
    }

    #[test]
    fn a_place_is_free_or_not() {
        let all = Arc::new(Gate::new(2));
        let places = |own| Quota { all: Arc::clone(&all), own: Arc::new(Gate::new(own)) };
        let (one, other, third) = (places(1), places(1), places(1));
        let taken = one.try_acquire();
        assert!(taken.is_some() && one.try_acquire().is_none());
        let of_another = other.try_acquire();
        assert!(of_another.is_some() && third.try_acquire().is_none());
        // Whoever found none of the host's has given back its own.
        assert_eq!(third.free(), [0, 1]);
        drop(taken);
        assert!(third.try_acquire().is_some());
    }

    #[test]
    fn what_is_taken_counts_in_another_part_of_the_same_tenant() {
        let shares = Shares::of(&config::Server::default(), Plan::for_test(1 << 30)).unwrap();
        let limits = Limits { kept_instances: Some(2), ..Limits::default() };
        let before = shares.part(&limits, 2, None);
        let taken = [before.kept.try_acquire(), before.kept.try_acquire()];
        assert!(taken.iter().all(Option::is_some));
        let after = shares.part(&Limits { kept_instances: Some(3), ..limits }, 2, Some(&before));
        let third = after.kept.try_acquire();
        assert!(third.is_some() && after.kept.try_acquire().is_none());
    }

    #[test]
    fn memory_in_use_is_bounded() {
        let memory = shares(usize::MAX).memory_in_use();
        assert!(memory.take(60, 100) && !memory.take(41, 100) && memory.take(40, 100));
        memory.give_back(60);
        assert!(memory.take(60, 100) && !memory.take(usize::MAX, 100));
    }

    #[test]
    fn memory_is_taken_of_the_tenants_and_of_the_hosts_or_of_neither() {
        let shares = shares(100);
        let (one, other) = (shares.memory_in_use(), shares.memory_in_use());
        let used = || [one.used(), other.used(), shares.memory.taken.bytes.load(Ordering::Relaxed)];
        assert!(one.take(60, 100));
        // The other has none, and may have all that there is.
        assert!(!other.take(60, 100));
        assert!(!other.take(30, 20));
        assert_eq!(used(), [60, 0, 60]);
        assert!(other.take(40, 100) && !one.take(1, 100));
        // A line of a tenant that is gone counts under another plan as well.
        let planned = shares.planned(Plan { memory: 120, ..Plan::for_test(100) });
        let new = planned.memory_in_use();
        assert!(!new.take(21, 100) && new.take(20, 100));
        one.give_back(60);
        new.give_back(20);
        assert_eq!(used(), [0, 40, 40]);
    }

    /// Shares of a host that has so much memory for commands.
    fn shares(memory: usize) -> Shares {
        Shares::of(&config::Server::default(), Plan { memory, ..Plan::for_test(memory) }).unwrap()
    }
}
