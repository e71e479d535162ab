//! Guests of tens of MiB, which the compiler needs a while for: they come, run and are replaced, and the host does not miss a
//! beat.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::{
    COMPILING, Client, Host, HostBuilder, components, eventually, eventually_within, guests, machine, pause, quoted,
};

/// Commands with a whole interpreter in each.
const BIG: [&str; 2] = ["greet-python", "greet-js"];

/// Replies that a client gets at the very least while one of them is being compiled. It gets thousands.
const MEANWHILE: u64 = 100;

/// Between two questions of a client, so that not all of the machine is taken up with the answers.
const PAUSE: Duration = Duration::from_millis(5);

/// A client that asks again and again and checks every reply, until it is told to stop.
struct Steady {
    stop: Arc<AtomicBool>,
    replies: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Steady {
    /// Asks with a number each time. A reply is the first of `versions` with that number for its `#`; once it is a later
    /// one, it never is an earlier one again.
    fn ask(address: SocketAddr, command: &str, versions: &'static [&'static str]) -> Steady {
        let (stop, replies) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (command, stopped, counted) = (command.to_owned(), Arc::clone(&stop), Arc::clone(&replies));
        let thread = thread::spawn(move || {
            let mut client = Client::connect(address);
            let mut versions = versions;
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                client.send(format!("{command} {number}\n"));
                let line = client.line();
                let now = versions.iter().position(|version| line == version.replace('#', &number.to_string()));
                let now = now.unwrap_or_else(|| panic!("{command} {number} was answered with {line:?}"));
                versions = &versions[now..];
                counted.fetch_add(1, Ordering::Relaxed);
                pause(PAUSE);
            }
        });
        Steady { stop, replies, thread }
    }

    fn replies(&self) -> u64 {
        assert!(!self.thread.is_finished(), "a reply was lost or wrong");
        self.replies.load(Ordering::Relaxed)
    }

    /// Asserts that it got many replies since it had so many.
    #[track_caller]
    fn went_on_since(&self, before: u64) {
        let meanwhile = self.replies() - before;
        assert!(meanwhile >= MEANWHILE, "only {meanwhile} replies came meanwhile");
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no reply was lost or wrong");
    }
}

fn host_with_an_empty_cache() -> Host {
    let builder = HostBuilder::new().without_cache_flag();
    let cache = builder.files().join("cache");
    builder.server(&format!("cache = {}", quoted(&cache))).start()
}

fn built(name: &str) -> Vec<u8> {
    fs::read(guests::language(name)).expect("it is built")
}

#[track_caller]
fn in_the_end(client: &mut Client, request: &str, reply: &str) {
    let answered = || client.reply(request).lines == [reply];
    eventually_within(COMPILING, &format!("{request:?} is answered with {reply:?}"), answered);
}

#[test]
fn they_come_and_are_replaced_while_everybody_is_served() {
    let host = host_with_an_empty_cache();
    let echo = Steady::ask(host.address(), "echo", &["#"]);
    let mut client = host.connect();

    let before = echo.replies();
    for name in BIG {
        host.install(&format!("{name}.wasm"), &built(name));
    }
    for name in BIG {
        in_the_end(&mut client, &format!("{name} Ada"), "Hello, Ada!");
    }
    echo.went_on_since(before);

    // The new version is known by its sidecar, which takes effect together with it.
    let callers = BIG.map(|name| Steady::ask(host.address(), name, &["Hello, #!", "Good day, #!"]));
    let before = echo.replies();
    let called = callers.each_ref().map(Steady::replies);
    for name in BIG {
        host.install(&format!("{name}.wasm"), &components::with_custom_section(&built(name), &[1]));
        host.install(&format!("{name}.toml"), b"[settings]\ngreeting = 'Good day'\n");
    }
    for (name, (caller, before)) in BIG.iter().zip(callers.iter().zip(called)) {
        in_the_end(&mut client, &format!("{name} Ada"), "Good day, Ada!");
        caller.went_on_since(before);
    }
    echo.went_on_since(before);
    // The callers, too, get to the new version.
    let called = callers.each_ref().map(Steady::replies);
    eventually("the callers go on", || {
        callers.iter().zip(called).all(|(caller, before)| caller.replies() >= before + MEANWHILE)
    });
    callers.into_iter().for_each(Steady::end);
    echo.end();
}

#[test]
fn a_line_ends_on_the_version_that_it_began_with() {
    let builder = HostBuilder::new().language("logtop").limit("timeout = \"30m\"");
    let log = builder.files().join("syslog");
    machine::fifo(&log);
    let host = builder
        .may_run("/usr/bin/tail", &format!("[\"-n\", \"1000\", {}]", quoted(&log)))
        .more(&format!("[tenants.default.settings.logtop]\nfile = {}", quoted(&log)))
        .start();
    let mut old = host.connect();
    old.send("logtop\n");
    let tail = format!("/usr/bin/tail -n 1000 {}", log.display());
    eventually("the old version waits for its log", || !machine::processes_with(&tail).is_empty());

    host.install("logtop.wasm", &components::with_custom_section(&built("greet-python"), &[1]));
    in_the_end(&mut host.connect(), "logtop Ada", "Hello, Ada!");
    fs::write(&log, "Nov 23 10:00:00 host cron: a\nNov 23 10:00:00 host cron: b\n").expect("tail reads it");
    old.expect(format!("cron  2  {}\n", "#".repeat(30)));
    old.reply("logtop Grace").is(["Hello, Grace!"]);
}
