//! A host with two tenants, one of which is up to no good, and what has to hold however it goes about it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::{Client, Host, HostBuilder, PATIENCE, eventually, guests, machine, pause, quoted, some_within};

/// How much more memory the host may keep than it had, in KiB. What comes back from an attack is not each single page: the
/// allocator and the instances' slots keep what they may need again.
const KEPT_KIB: u64 = 32 * 1024;

/// What `abc` comes to, which the other tenant's file holds.
pub const SUM_OF_ABC: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

/// How often the other tenant asks for something while it is attacked.
const BETWEEN_LINES: Duration = Duration::from_millis(5);

/// A host under attack. What the attacker has is the tenant `default`.
pub struct Siege {
    pub host: Host,
    /// A connection of the attacker's tenant that only looks.
    watcher: Client,
}

/// What a host has of everything that an attack may take.
#[derive(Debug)]
struct Footprint {
    descriptors: usize,
    children: usize,
    threads: usize,
    tasks: usize,
    memory_kib: u64,
}

/// Somebody of the other tenant who talks all the time.
struct Bystander {
    lines: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Siege {
    /// Starts the host. The tenant `other` has commands of its own, and may hash its own file.
    #[track_caller]
    pub fn of(builder: HostBuilder) -> Siege {
        let others = builder.commands().with_file_name("others");
        fs::create_dir(&others).expect("a directory");
        for built in [guests::command("echo"), guests::fixture("hash")] {
            fs::copy(&built, others.join(built.file_name().expect("a name"))).expect("a copy");
        }
        let peace = builder.commands().with_file_name("peace");
        fs::create_dir(&peace).expect("a directory");
        fs::write(peace.join("file"), "abc").expect("a file");
        let grant = format!("[tenants.other.grants.digest]\nread = [{}]", quoted(&peace));
        let host = builder
            .command("ps")
            .listener("default")
            .listener("other")
            .more(&format!("[tenants.other]\ncommands = [\"others\"]\n{grant}"))
            .more("[tenants.default.grants.tasks]\nlist = true")
            .start();
        let watcher = host.connect();
        let mut siege = Siege { host, watcher };
        siege.tasks();
        siege.other_hashes();
        siege
    }

    /// A client of the attacker's tenant.
    #[track_caller]
    pub fn connect(&self) -> Client {
        self.host.connect()
    }

    /// Where the other tenant is served.
    pub fn other(&self) -> SocketAddr {
        self.host.addresses()[1]
    }

    /// Asserts that the other tenant is served here and now, whoever comes.
    #[track_caller]
    pub fn other_is_served(&self) {
        let mut client = Client::connect(self.other());
        for number in 0..10 {
            client.reply(format!("echo {number}")).is([&*number.to_string()]);
        }
    }

    /// Asserts that the other tenant's file is hashed here and now.
    #[track_caller]
    pub fn other_hashes(&self) {
        let request = format!("hash sha1 {}", self.others_file().display());
        Client::connect(self.other()).reply(request).is([SUM_OF_ABC]);
    }

    fn others_file(&self) -> PathBuf {
        self.host.commands().with_file_name("peace").join("file")
    }

    /// Asserts that an attack on this host harms nobody: the other tenant's lines are answered while it lasts, and when it
    /// is over both tenants are served, and the host has no more of anything than before.
    #[track_caller]
    pub fn withstands(&mut self, attack: impl FnOnce(&Siege)) {
        let before = self.footprint();
        let bystander = Bystander::of(self.other());
        attack(self);
        bystander.was_served();
        self.other_is_served();
        self.other_hashes();
        eventually("the attacker's tenant is served as well", || self.connect().is_served());
        let same = |after: &Footprint| {
            after.descriptors <= before.descriptors
                && after.children <= before.children
                && after.threads <= before.threads
                && after.tasks <= before.tasks
                && after.memory_kib <= before.memory_kib + KEPT_KIB
        };
        let mut after = None;
        let restored = some_within(PATIENCE, || same(after.insert(self.footprint())).then_some(()));
        assert!(restored.is_some(), "it is not what it was: {after:?} instead of {before:?}");
    }

    #[track_caller]
    fn footprint(&mut self) -> Footprint {
        let tasks = self.tasks();
        let pid = self.host.pid();
        Footprint {
            descriptors: machine::open_descriptors(pid),
            children: machine::children(pid).len(),
            threads: machine::threads(pid),
            tasks,
            memory_kib: machine::memory_kib(pid, "VmRSS"),
        }
    }

    /// Lines of the attacker's tenant that run, beside the one that looks.
    #[track_caller]
    fn tasks(&mut self) -> usize {
        // A heading, and `ps` itself.
        self.watcher.reply("ps").lines.len() - 2
    }
}

impl Bystander {
    fn of(address: SocketAddr) -> Bystander {
        let mut client = Client::connect(address);
        let (lines, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, stopped) = (Arc::clone(&lines), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let number = counter.load(Ordering::Relaxed);
                client.send(format!("echo {number}\n"));
                client.expect(format!("{number}\n"));
                counter.store(number + 1, Ordering::Relaxed);
                pause(BETWEEN_LINES);
            }
        });
        let bystander = Bystander { lines, stop, thread };
        bystander.has_asked_again();
        bystander
    }

    /// Asserts that it was served all the while, and lets it go.
    #[track_caller]
    fn was_served(self) {
        // What it asked when the attack was over may have been asked before, so once more.
        self.has_asked_again();
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the other tenant is served while it lasts");
    }

    /// Waits for the answer to a line more, unless there is none to come.
    #[track_caller]
    fn has_asked_again(&self) {
        let before = self.lines.load(Ordering::Relaxed);
        let again = || self.lines.load(Ordering::Relaxed) > before || self.thread.is_finished();
        eventually("the other tenant is answered", again);
    }
}
