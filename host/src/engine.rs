//! Every wasmtime setting, each with its reason, and the clock that lets the host interrupt a guest.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig, Result};

/// How often a running guest is looked at: it yields its thread, and its budgets are checked. Short enough that a few
/// dozen spinning guests leave the others prompt, long enough to cost nothing.
pub const TICK: Duration = Duration::from_millis(1);
/// How many ticks in a row may find no guest running before the clock stops until one does.
const IDLE_TICKS: u32 = 1000;

/// Stack of a guest, in bytes. Deeper recursion traps.
const GUEST_STACK: usize = 512 * 1024;
/// Stack of a fiber: the guest's, and what host calls need on top of it.
pub const FIBER_STACK: usize = 2 * 1024 * 1024;
/// Core instances of one component; those of interpreted languages have about a dozen.
const CORE_INSTANCES: u32 = 16;
/// Memories of one component. More than one is rare, and each costs a slot of the pool.
const MEMORIES: u32 = 4;
/// Memories in the pool, unless there are more slots than that: each reserves 4 GiB of the 128 TiB address space.
const MOST_MEMORIES: u32 = 8192;
/// Tables of one component.
const TABLES: u32 = 8;
/// Elements of one table. Interpreters compiled to wasm need some ten thousand.
const TABLE_ELEMENTS: usize = 100_000;
/// The most memory that a small command has from the start, in bytes.
const SMALL_MEMORY: usize = 128 * 1024;
/// Bytes of a slot's memory that stay with the slot and are cleared by hand: no page table changes for a usual guest.
const KEEP_RESIDENT: usize = 512 * 1024;
/// The same for a table.
const KEEP_RESIDENT_TABLE: usize = 64 * 1024;
/// Slots of large commands that nobody uses and that stay as the last command has left them.
const WARM_LARGE: u32 = 100;
/// Frames of a trap's backtrace.
const BACKTRACE_FRAMES: Option<NonZeroUsize> = NonZeroUsize::new(16);

/// What sizes the pool of instances.
#[derive(Debug, Clone, Copy)]
pub struct PoolSize {
    /// Invocations at once.
    pub invocations: usize,
    /// Those of large commands among them.
    pub large: usize,
    /// Instances that are kept between lines, beside those that run.
    pub kept: usize,
    /// Instances that are made before their lines come, all of small commands.
    pub ahead: usize,
    /// Largest linear memory of any tenant, in bytes.
    pub memory: usize,
    /// Whether the kernel may be asked which pages of a large command were touched. Its answer leaves out pages that are
    /// not in memory, so never where there is swap.
    pub page_scan: bool,
    /// Whether there is no pool, and each instance gets mappings of its own as by the engine's default: what the pool is
    /// measured against.
    pub on_demand: bool,
}

/// How much memory a command has from the start decides how it is cleared after it, so each size has an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Little enough to be wiped and copied whole.
    Small,
    /// Any more.
    Large,
}

impl Size {
    /// The size of a command whose memories have so many bytes from the start.
    pub fn of(initial_memory: u64) -> Size {
        if initial_memory <= SMALL_MEMORY as u64 { Size::Small } else { Size::Large }
    }
}

/// The engine that runs commands of this size. It never compiles.
///
/// # Errors
/// When the machine has no room for the pool.
pub fn running(pool: PoolSize, size: Size) -> Result<Engine> {
    let mut config = shared_config();
    let (slots, keep_resident, scan) = match size {
        // Wiping two pages of wasm costs less than asking the kernel which parts of them were touched.
        Size::Small => (pool.invocations.saturating_add(pool.ahead), SMALL_MEMORY, Enabled::No),
        Size::Large => (pool.large, KEEP_RESIDENT, if pool.page_scan { Enabled::Auto } else { Enabled::No }),
    };
    // A store keeps the stack that it had, so one that is kept takes as much as one that runs.
    let slots = u32::try_from(slots.saturating_add(pool.kept)).unwrap_or(u32::MAX);
    // A slot that goes from one command to another is mapped anew, so each command has one of its own as long as there are
    // any. For large ones that would be too much memory.
    let warm = if size == Size::Small { slots } else { WARM_LARGE };
    let mut pooling = PoolingAllocationConfig::new();
    pooling
        .total_component_instances(slots)
        .total_stacks(slots)
        // Whoever was admitted gets an instance, whatever others have: these are address space, not memory.
        .total_memories(slots.saturating_mul(MEMORIES).min(slots.max(MOST_MEMORIES)))
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .total_tables(slots.saturating_mul(TABLES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memories_per_module(MEMORIES)
        .max_tables_per_module(TABLES)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(pool.memory)
        .linear_memory_keep_resident(keep_resident)
        .max_unused_warm_slots(warm)
        .table_keep_resident(KEEP_RESIDENT_TABLE)
        // Only pages that a guest touched are cleared, where the kernel can say which.
        .pagemap_scan(scan);
    config.allocation_strategy(match pool.on_demand {
        // A slot that was used is used again: no mapping is made or torn down for a line.
        false => InstanceAllocationStrategy::Pooling(pooling),
        true => InstanceAllocationStrategy::OnDemand,
    });
    Engine::new(&config)
}

/// The engine that compiles, in a process of its own. It runs nothing, so it has no pool.
///
/// # Errors
/// When the machine is none that code can be compiled for.
pub fn compiling() -> Result<Engine> {
    let mut config = shared_config();
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config)
}

/// What the two engines must agree on, or code from one is refused by the other.
fn shared_config() -> Config {
    let mut config = Config::new();
    config
        // A guest is interrupted by a counter that it compares at each loop and call: cheaper than counted fuel.
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(FIBER_STACK)
        // One call per store and no async components: the bookkeeping for more costs on every instantiation.
        .concurrency_support(false)
        // A surface that no command needs is a surface not to be attacked. The cargo features stay on, because builds
        // without them can abort on such a module.
        .gc_support(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_threads(false)
        .shared_memory(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        // The operator reads where a guest trapped; the frames are few and cost only then.
        .wasm_backtrace_max_frames(BACKTRACE_FRAMES);
    config
}

/// The thread that advances the engines' epochs while any guest runs. While all of them wait nobody is to be interrupted, and it
/// stands still after a while: a host whose commands sleep wakes up for nobody.
///
/// It is a thread of the operating system, so that a guest which holds every worker cannot hold the clock too. It ends when
/// the clock is dropped.
pub struct Clock {
    shared: Arc<ClockState>,
    thread: Thread,
}

#[derive(Default)]
struct ClockState {
    running: AtomicUsize,
    parked: AtomicBool,
    stopped: AtomicBool,
}

/// Held while a guest may run.
pub struct Running<'a> {
    shared: &'a ClockState,
}

/// The clock as it is used by lines that come one after another: it goes on from one to the next, and stands still, as far as
/// they are concerned, while one waits.
pub struct Pulse<'a> {
    clock: &'a Clock,
    running: Option<Running<'a>>,
}

impl<'a> Pulse<'a> {
    /// One that does not go yet.
    pub fn of(clock: &'a Clock) -> Pulse<'a> {
        Pulse { clock, running: None }
    }

    /// Keeps the clock going until [`Pulse::rest`].
    pub fn go(&mut self) -> &Running<'a> {
        self.running.get_or_insert_with(|| self.clock.run())
    }

    /// Needs the clock no more until the next [`Pulse::go`].
    pub fn rest(&mut self) {
        self.running = None;
    }
}

impl Clock {
    /// Starts the clock of these engines.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start<'a>(engines: impl IntoIterator<Item = &'a Engine>) -> std::io::Result<Clock> {
        let engines: Vec<EngineWeak> = engines.into_iter().map(Engine::weak).collect();
        let shared = Arc::new(ClockState::default());
        let state = Arc::clone(&shared);
        let handle = thread::Builder::new().name("epoch".into()).spawn(move || {
            let mut idle = 0;
            while !state.stopped.load(Ordering::SeqCst) {
                for engine in &engines {
                    // The engines are not kept alive by their clock.
                    let Some(engine) = engine.upgrade() else { return };
                    engine.increment_epoch();
                }
                idle = if state.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
                if idle >= IDLE_TICKS {
                    state.park();
                    idle = 0;
                }
                #[expect(clippy::disallowed_methods, reason = "this thread is the clock; nothing else waits on it")]
                thread::sleep(TICK);
            }
        })?;
        Ok(Clock { shared, thread: handle.thread().clone() })
    }

    /// Keeps the clock going for as long as the result lives.
    pub fn run(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running { shared: &self.shared }
    }
}

impl ClockState {
    /// Stops until something runs. `parked` is set before `running` is read again, and [`Clock::run`] does it the other
    /// way round, so one of the two always sees the other.
    fn park(&self) {
        self.parked.store(true, Ordering::SeqCst);
        while self.running.load(Ordering::SeqCst) == 0 && !self.stopped.load(Ordering::SeqCst) {
            thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}
