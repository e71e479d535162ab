//! What the machine has, and whether the configuration fits it: a bound that cannot be kept is refused at the start.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::thread::{self, Builder};

use bytesize::ByteSize;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, Tenant, cores};
use crate::descendants::MAX_WATCHED;
use crate::engine::{FIBER_STACK, PoolSize};
use crate::lock::lock;
use crate::policy::most_paths;
use crate::sandbox::HOST_OBJECTS;
use crate::wire::HIGH_WATER;

/// The part of the machine's memory that commands may have where the configuration does not say.
const MEMORY_PARTS: (u64, u64) = (3, 4);
/// Descriptors of the host itself: the workers' runtime, the log, the watchers, the audit file.
const OWN_DESCRIPTORS: u64 = 64;
/// Descriptors of an event loop: those that it waits with, and its end of what tells of signals.
const LOOP_DESCRIPTORS: u64 = 4;
/// Clients that are told at once that they are refused; beyond them a connection is just closed.
pub const REFUSALS: usize = 64;
/// Descriptors of a child process in the host: its two pipes and the one that tells its end.
const CHILD_DESCRIPTORS: u64 = 3;
/// Threads of the host itself, beside loops and workers: the first, and those of the log, the clock, the watcher, the audit
/// file, standard output, and one that starts programs.
const OWN_THREADS: u64 = 7;
/// Threads and processes of a compilation: the compiler, who waits for it, and who writes to it and reads from it.
const COMPILER_THREADS: u64 = 4;
/// The part of the machine's processes that children may be where the configuration does not say: the rest is for the
/// host's threads, its compilers, and what the children start.
const PROCESS_PARTS: (u64, u64) = (1, 2);
/// Mappings of a stack in the pool, of a memory in use, and of a loaded command, as counted in `/proc/PID/maps`.
const STACK_MAPPINGS: u64 = 2;
const MEMORY_MAPPINGS: u64 = 4;
const COMMAND_MAPPINGS: u64 = 3;
/// Places for large commands that there are at least.
const LEAST_LARGE: usize = 64;
/// Commands of all tenants together, which share them equally.
pub const COMMANDS: usize = 5000;
/// The part of the mappings that may be planned with.
const MAPPING_PARTS: (u64, u64) = (3, 4);

/// The bounds that the machine sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of memory, of the machine or of the control group that the host runs in.
    pub memory: u64,
    /// Descriptors that the host may have open.
    pub descriptors: u64,
    /// Mappings that a process may have.
    pub mappings: u64,
    /// Whether pages may be moved out of memory.
    pub has_swap: bool,
    /// Processes and threads that the host's user, or the control group that the host runs in, may have.
    pub processes: u64,
}

impl Machine {
    /// Looks, and takes the descriptors that the host may have.
    pub fn look() -> Machine {
        let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kilobytes(&text, "MemTotal:"));
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let group = |file: &str| group_bound(&groups, file).unwrap_or(u64::MAX);
        let number = |file: &str| fs::read_to_string(file).ok()?.trim().parse().ok();
        let kernel = ["threads-max", "pid_max"].map(|name| number(&format!("/proc/sys/kernel/{name}")));
        let user = getrlimit(Resource::Nproc).current;
        Machine {
            memory: total.unwrap_or(u64::MAX).min(group("memory.max")),
            descriptors: raise_descriptors(),
            mappings: number("/proc/sys/vm/max_map_count").unwrap_or(65_530),
            // A line for each below the header; where it cannot be read there may be some.
            has_swap: fs::read_to_string("/proc/swaps").map_or(true, |text| text.lines().count() > 1),
            processes: kernel.into_iter().chain([user]).flatten().min().unwrap_or(u64::MAX).min(group("pids.max")),
        }
    }
}

/// Raises the soft bound to the hard one, and returns what holds then. The soft one is low for the sake of programs that
/// use `select`, which this is none of.
fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { raised.current } else { limit.current };
    current.unwrap_or(u64::MAX)
}

/// The least bound in such a file of the control group or one that it is in; see cgroups(7) for the line of version 2.
fn group_bound(groups: &str, file: &str) -> Option<u64> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let bound = |group: &Path| {
        let file = Path::new("/sys/fs/cgroup").join(group).join(file);
        fs::read_to_string(file).ok()?.trim().parse().ok()
    };
    Path::new(own).ancestors().filter_map(bound).min()
}

fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// What a configuration comes to on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Bytes in memories and tables that there may be at once, all tenants together.
    pub memory: usize,
    /// Bytes in memories and tables that a tenant may have which names no bound of its own.
    pub tenant_memory: usize,
    /// The lines that can run at once, where the tenants' `concurrency` comes to more.
    pub crowded: Option<usize>,
    /// The lines of large commands that can run at once.
    pub large: usize,
    /// Instances that are made before their lines come: one on each event loop.
    pub ahead: usize,
    /// Child processes that there may be at once, all tenants together.
    pub children: usize,
    /// Whether the tenants' `children` come to more.
    pub children_crowded: bool,
}

impl Plan {
    /// The instance pools that the plan is made for.
    pub fn pool(&self, config: &Config, machine: &Machine) -> PoolSize {
        PoolSize {
            invocations: config.invocations(),
            large: self.large,
            kept: config.server.kept_instances,
            ahead: self.ahead,
            memory: config.largest_memory(),
            page_scan: !machine.has_swap,
            on_demand: config.server.engine_defaults,
        }
    }

    /// With so much memory for a tenant, and room for everything else.
    #[cfg(test)]
    pub fn for_test(tenant_memory: usize) -> Plan {
        let memory = usize::MAX;
        Plan { memory, tenant_memory, crowded: None, large: 64, ahead: 0, children: 64, children_crowded: false }
    }
}

/// Finds whether every bound of the configuration can be kept by a host that has room for so many invocations.
///
/// # Errors
/// When one cannot: the text names it, what the machine has, and what to do.
pub fn plan(config: &Config, machine: &Machine, invocations: usize) -> Result<Plan, String> {
    let wanted = config.tenants.values().map(|tenant| tenant.limits.children).sum();
    let children = children(config, machine, wanted)?;
    descriptors(config, machine, children)?;
    // The engine's defaults are measured as they are.
    let ahead = if config.server.engine_defaults { 0 } else { cores() };
    let large = large_invocations(machine, invocations, config.server.kept_instances, ahead)?;
    let concurrency: usize = config.tenants.values().map(|tenant| tenant.limits.concurrency).sum();
    let crowded = (concurrency > invocations).then_some(invocations);
    let (memory, tenant_memory) = memory(config, machine)?;
    threads(config, machine)?;
    Ok(Plan { memory, tenant_memory, crowded, large, ahead, children, children_crowded: wanted > children })
}

/// Finds whether the host may have its own threads. What is wanted later waits where there are none; what is wanted at the
/// start takes libraries that then panic, so this is asked before anything else is begun.
///
/// # Errors
/// When it cannot.
pub fn threads(config: &Config, machine: &Machine) -> Result<(), String> {
    let jobs = (config.server.hash_jobs + config.server.file_jobs + cores() / 2) as u64;
    let compilers = COMPILER_THREADS * config.server.compile_jobs as u64;
    let own = own_threads();
    let needed = own + jobs + compilers;
    if needed <= machine.processes {
        return Ok(());
    }
    Err(format!(
        "the host may have {} processes and threads and needs {needed} for itself: {jobs} for server.hash-jobs and \
         server.file-jobs, {compilers} for server.compile-jobs, and {own} that serve; lower these, or raise the bound on them \
         (`ulimit -u`, `TasksMax=` of systemd)",
        machine.processes
    ))
}

/// Starts so many threads at once, and lets them go: where they are to be had, a library that panics without them has them too.
///
/// # Errors
/// When they do not come about.
pub fn try_threads(count: u64) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let _shut = lock(&gate);
        (0..count).try_for_each(|_| Builder::new().spawn_scoped(scope, || drop(lock(&gate))).map(drop))
    })
}

/// Tries as many threads as the host begins with, beside the one that asks: others may have taken what there may be.
///
/// # Errors
/// When they do not come about.
pub fn try_own_threads() -> Result<(), String> {
    try_threads(own_threads() - 1).map_err(|error| {
        format!(
            "the host begins with {} threads, and the machine does not give them: {error}; end what has taken them, or raise \
             the bound on them (`ulimit -u`, `TasksMax=` of systemd)",
            own_threads()
        )
    })
}

/// Threads that the host begins with: a loop for each core, a worker for each and one more, and the others.
fn own_threads() -> u64 {
    OWN_THREADS + 2 * cores() as u64 + 1
}

/// How many children there may be, where the tenants may have `wanted`.
fn children(config: &Config, machine: &Machine, wanted: usize) -> Result<usize, String> {
    match config.server.max_children {
        Some(most) if most as u64 > machine.processes => Err(format!(
            "server.max-children is {most}, and the host may have {} processes and threads; lower it, or raise the bound on \
             them (`ulimit -u`, `TasksMax=` of systemd)",
            machine.processes
        )),
        Some(most) => Ok(most),
        None => {
            let room = machine.processes / PROCESS_PARTS.1 * PROCESS_PARTS.0;
            Ok(wanted.min(usize::try_from(room).unwrap_or(usize::MAX)).max(1))
        }
    }
}

fn descriptors(config: &Config, machine: &Machine, most_children: usize) -> Result<(), String> {
    // A child holds a descriptor more for each path among its arguments.
    let each = |tenant: &Tenant| CHILD_DESCRIPTORS + most_paths(&tenant.grants.process) as u64;
    let of_tenants = sum(config, |tenant| each(tenant).saturating_mul(tenant.limits.children as u64));
    let of_all = config.tenants.values().map(each).max().unwrap_or(0).saturating_mul(most_children as u64);
    let children = of_tenants.min(of_all);
    // Only a program that was granted a directory can open files.
    let opens = |tenant: &&Tenant| !tenant.grants.directory.is_empty();
    let files = config.tenants.values().filter(opens);
    let files: u64 = files.map(|tenant| (tenant.limits.concurrency * HOST_OBJECTS) as u64).sum();
    let jobs = (config.server.hash_jobs + config.server.file_jobs) as u64;
    let connections = config.server.max_connections as u64;
    // Whoever is turned away takes one as well, for as long as it takes to be told.
    let unknown = (config.server.max_handshakes + REFUSALS) as u64;
    let compilers = CHILD_DESCRIPTORS * config.server.compile_jobs as u64;
    let fixed = LOOP_DESCRIPTORS * cores() as u64 + config.listeners.len() as u64;
    let own = OWN_DESCRIPTORS + MAX_WATCHED as u64 + compilers + fixed;
    let needed = connections + unknown + children + files + jobs + own;
    if needed <= machine.descriptors {
        return Ok(());
    }
    Err(format!(
        "the host may have {} descriptors open and needs {needed}: {connections} for server.max-connections, {unknown} \
         for server.max-handshakes and clients that are turned away, {children} for child processes (server.max-children, and the tenants' \
         limits.children), {files} for files in granted directories (limits.concurrency), and some of its own; \
         raise the hard limit (`ulimit -n`, `LimitNOFILE=` of systemd) or lower these",
        machine.descriptors
    ))
}

/// Finds how many lines of large commands can run among so many: all of them, unless that takes more mappings than there
/// are.
fn large_invocations(machine: &Machine, invocations: usize, kept: usize, ahead: usize) -> Result<usize, String> {
    let room = machine.mappings / MAPPING_PARTS.1 * MAPPING_PARTS.0;
    // Each of the two pools keeps what it once had, and has room for all that are kept; what is made ahead is small.
    let each = STACK_MAPPINGS + MEMORY_MAPPINGS;
    let places = invocations + invocations.min(LEAST_LARGE) + 2 * kept + ahead;
    let needed = each * places as u64 + COMMAND_MAPPINGS * COMMANDS as u64;
    let Some(spare) = room.checked_sub(needed) else {
        return Err(format!(
            "{invocations} commands at once and {kept} kept instances need {needed} memory mappings, and the host should have no \
             more than {room}; lower server.max-invocations, server.kept-instances or the tenants' limits.concurrency, or raise \
             the sysctl vm.max_map_count ({})",
            machine.mappings
        ));
    };
    let more = usize::try_from(spare / each).unwrap_or(usize::MAX);
    Ok(invocations.min(more.saturating_add(LEAST_LARGE)))
}

/// How much memory there is for memories and tables: of all tenants, and of one that names no bound of its own.
fn memory(config: &Config, machine: &Machine) -> Result<(usize, usize), String> {
    let shown = |bytes: u64| ByteSize(bytes).display().iec();
    let budget = match config.server.memory {
        Some(memory) if memory as u64 > machine.memory => {
            let (wanted, has) = (shown(memory as u64), shown(machine.memory));
            return Err(format!("server.memory is {wanted}, and the machine has {has}; lower it"));
        }
        Some(memory) => memory as u64,
        None => machine.memory / MEMORY_PARTS.1 * MEMORY_PARTS.0,
    };
    // Each command that runs takes this beside its memories, whatever it does.
    let beside = |tenant: &Tenant| {
        let each = tenant.limits.host_call_memory as u64 + FIBER_STACK as u64 + 2 * HIGH_WATER as u64;
        each.saturating_mul(tenant.limits.concurrency as u64)
    };
    let overhead = sum(config, beside);
    let named = sum(config, |tenant| tenant.limits.memory_in_use.unwrap_or(0) as u64);
    let Some(rest) = budget.checked_sub(overhead.saturating_add(named)) else {
        return Err(format!(
            "commands may have {} of memory (server.memory), but the tenants' bounds come to {}: {} for their \
             limits.memory-in-use, {} for stacks, host calls and output of their limits.concurrency; lower these",
            shown(budget),
            shown(overhead.saturating_add(named)),
            shown(named),
            shown(overhead)
        ));
    };
    let sharing = config.tenants.values().filter(|tenant| tenant.limits.memory_in_use.is_none());
    let share = rest / (sharing.clone().count() as u64).max(1);
    let short = |tenant: &&Tenant| tenant.limits.memory as u64 > share;
    if let Some(tenant) = sharing.clone().find(short) {
        return Err(format!(
            "tenants.{}.limits.memory is {}, but the tenant's share of the memory for commands is {}; lower it, or set its \
             limits.memory-in-use and make room",
            tenant.name,
            shown(tenant.limits.memory as u64),
            shown(share)
        ));
    }
    if let Some(tenant) =
        config.tenants.values().find(|tenant| tenant.limits.memory_in_use.is_some_and(|all| all < tenant.limits.memory))
    {
        return Err(format!(
            "tenants.{}.limits.memory-in-use is less than its limits.memory, so no command could have that; raise the first \
             or lower the second",
            tenant.name
        ));
    }
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Ok((bytes(named + rest), bytes(share)))
}

fn sum(config: &Config, of: impl Fn(&Tenant) -> u64) -> u64 {
    config.tenants.values().map(of).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    const MACHINE: Machine =
        Machine { memory: 16 << 30, descriptors: 4096, mappings: 65_530, has_swap: false, processes: 4096 };

    fn planned(toml: &str, machine: &Machine) -> Result<Plan, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("w.toml");
        std::fs::write(&file, toml).unwrap();
        let config = Config::load(Some(Path::new(&file)), &Overrides::default()).unwrap();
        plan(&config, machine, config.invocations())
    }

    #[test]
    fn the_defaults_fit_a_small_machine() {
        let small = Machine { memory: 1 << 30, descriptors: 4096, mappings: 65_530, has_swap: false, processes: 4096 };
        let plan = planned("[server]\n", &small).unwrap();
        assert!(plan.tenant_memory > 500 << 20 && plan.tenant_memory < 768 << 20, "{plan:?}");
    }

    #[test]
    fn tenants_share_what_is_not_promised() {
        let tenant =
            |name: &str, more: &str| format!("[tenants.{name}]\ncommands=['c']\n[tenants.{name}.limits]\n{more}\n");
        let listener = "[[listener]]\naddress='127.0.0.1:0'\ntenant='a'\n";
        let two =
            format!("{listener}[server]\nmemory='8GiB'\n{}{}", tenant("a", ""), tenant("b", "memory-in-use='2GiB'"));
        let plan = planned(&two, &MACHINE).unwrap();
        let share = plan.tenant_memory;
        assert!(share > 5 << 30 && share < 6 << 30, "{share}");
        assert_eq!(plan.memory, share + (2 << 30));
        let greedy = two.replace("'2GiB'", "'9GiB'");
        assert!(planned(&greedy, &MACHINE).unwrap_err().contains("limits.memory-in-use"));
    }

    #[test]
    fn large_commands_have_fewer_places_where_mappings_are_short() {
        assert_eq!(large_invocations(&MACHINE, 1000, 256, 2), Ok(1000));
        let large = large_invocations(&MACHINE, 5000, 0, 2).unwrap();
        assert!(large > LEAST_LARGE && large < 1000, "{large}");
    }

    #[test]
    fn children_are_what_all_tenants_may_have_unless_that_is_too_much() {
        let tenants = "[[listener]]\naddress='127.0.0.1:0'\ntenant='a'\n[tenants.a]\ncommands=['c']\n[tenants.b]\ncommands=['c']\n";
        let children = |toml: &str, machine: &Machine| {
            let plan = planned(&format!("[server]\n{toml}\n{tenants}"), machine).unwrap();
            (plan.children, plan.children_crowded)
        };
        assert_eq!(children("", &MACHINE), (32, false));
        assert_eq!(children("max-children = 20", &MACHINE), (20, true));
        let many = format!("[server]\n{tenants}[tenants.b.limits]\nchildren = 500\n");
        let plan = planned(&many, &Machine { processes: 800, ..MACHINE }).unwrap();
        assert_eq!((plan.children, plan.children_crowded), (400, true));
        assert_eq!(children("max-children = 4000", &MACHINE), (4000, false));
    }

    #[test]
    fn the_hosts_own_threads_have_to_fit() {
        let toml = "[server]\nhash-jobs = 3\nfile-jobs = 4\ncompile-jobs = 5\n";
        let own = OWN_THREADS + 2 * cores() as u64 + 1 + 3 + 4 + cores() as u64 / 2 + 5 * 4;
        assert!(planned(toml, &Machine { processes: own, ..MACHINE }).is_ok());
        let error = planned(toml, &Machine { processes: own - 1, ..MACHINE }).unwrap_err();
        for word in [&*format!("needs {own} for itself"), "server.hash-jobs", "20 for server.compile-jobs"] {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn no_more_descriptors_are_asked_for_than_children_may_have() {
        // Some 1,600 of the connections, the handshakes and the host itself, and 3 for each child.
        let many = "[[listener]]\naddress='127.0.0.1:0'\ntenant='a'\n[tenants.a]\ncommands=['c']\n[tenants.a.limits]\nchildren=900";
        let error = planned(&format!("[server]\n{many}"), &MACHINE).unwrap_err();
        assert!(error.contains("2700 for child processes (server.max-children"), "{error}");
        assert_eq!(planned(&format!("[server]\nmax-children = 500\n{many}"), &MACHINE).unwrap().children, 500);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (toml, word) in [
            ("[server]\nmax-children = 4097", "server.max-children is 4097, and the host may have 4096 processes"),
            ("[server]\nmemory = '17GiB'", "server.memory is 17.0 GiB"),
            ("[server]\nmax-connections = 5000", "5000 for server.max-connections"),
            ("[server]\nmax-invocations = 100000", "lower server.max-invocations"),
            (
                "[tenants.default]\ncommands=['c']\n[tenants.default.limits]\nmemory = '64GiB'",
                "tenants.default.limits.memory",
            ),
            (
                "[tenants.default]\ncommands=['c']\n[tenants.default.limits]\nmemory-in-use = '1MiB'",
                "tenants.default.limits.memory-in-use is less",
            ),
        ] {
            let error = planned(toml, &MACHINE).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn figures_of_the_machine_are_read() {
        assert_eq!(kilobytes("MemFree: 1 kB\nMemTotal:       100 kB\n", "MemTotal:"), Some(102_400));
        let machine = Machine::look();
        assert!(machine.memory > 0 && machine.descriptors > 0 && machine.mappings > 0, "{machine:?}");
        assert!(machine.processes > 0, "{machine:?}");
    }
}
