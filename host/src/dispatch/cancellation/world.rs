//! A host with one tenant, and a line on it that is dropped after each of its polls in turn.

use std::collections::BTreeMap;
use std::fs;
use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::audit::Audit;
use crate::built;
use crate::config::{Config, Overrides};
use crate::dispatch::{Dispatcher, Host};
use crate::error::{Code, Failure};
use crate::identity::{Credential, Identity};
use crate::machine::Plan;
use crate::sandbox::Sandbox;
use crate::tenants::{Shares, Tenant, Tenants};
use crate::wire::Wire;

/// Lines that may run at once here.
const INVOCATIONS: usize = 4;
/// Polls after which a line would have to have ended: no line here needs a tenth of it.
const MOST_POLLS: usize = 20_000;
/// How long what was dropped may take to be gone, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that the client reads between two polls.
const SIP: usize = 16 * 1024;

/// A host with one tenant, in a directory with files to work on.
pub struct World {
    /// Taken when the world ends.
    runtime: Option<Runtime>,
    pub host: Arc<Host>,
    pub tenant: Arc<Tenant>,
    config: Config,
    has_children: bool,
    directory: TempDir,
}

/// A line, with what its client sends and what is to come of it.
pub struct Case<'a> {
    words: Vec<String>,
    /// What the client sends after a poll, one after the other.
    input: &'a [&'a str],
    /// How the reply ends, or with which failure.
    outcome: Result<&'a str, Code>,
    /// Another line that runs meanwhile.
    beside: Option<Vec<String>>,
    /// One that its connection has had before.
    behind: Option<Vec<String>>,
}

/// The other end of the connection.
struct Client<'a> {
    socket: UnixStream,
    input: std::slice::Iter<'a, &'a str>,
    received: Vec<u8>,
}

/// What there is of everything that an invocation takes.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    tasks: usize,
    memory: usize,
    slots: usize,
    admissions: usize,
    instances: usize,
    children: [usize; 2],
    hash_jobs: [usize; 2],
    file_jobs: [usize; 2],
    turns: [usize; 2],
    kept: [usize; 2],
}

impl World {
    /// A world with these fixtures or shipped commands, each with its sidecar. `%` in the configuration is the directory.
    pub fn new(commands: &[(&str, &str)], config: &str) -> World {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().to_str().unwrap();
        fs::create_dir(directory.path().join("data")).unwrap();
        let base = "[audit]\nfile = '%/audit'\n[[listener]]\naddress = '127.0.0.1:0'\ntenant = 'default'\n\
                    [tenants.default]\ncommands = ['c']\n";
        let file = directory.path().join("w.toml");
        fs::write(&file, format!("{base}{config}").replace('%', place)).unwrap();
        let config = Config::load(Some(&file), &Overrides::default()).unwrap();
        let files: Vec<PathBuf> =
            commands.iter().map(|(name, sidecar)| copy(directory.path(), name, sidecar)).collect();

        let sandbox = Arc::new(Sandbox::for_test(INVOCATIONS, config.largest_memory()));
        let shares = Shares::of(&config.server, Plan::for_test(1 << 30)).unwrap();
        let tenant = Arc::new(Tenant::with_commands(&config.tenants["default"], &shares, &sandbox, &files));
        let audit = Audit::start(config.audit.as_ref().unwrap(), INVOCATIONS).unwrap();
        let tenants = Tenants::from([("default".to_owned(), Arc::clone(&tenant))]);
        let host = Arc::new(Host {
            tenants: ArcSwap::from_pointee(tenants),
            sandbox,
            instances: Arc::new(Semaphore::new(INVOCATIONS)),
            audit: Some(audit).into(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let has_children = !config.tenants["default"].grants.process.is_empty();
        World { runtime: Some(runtime), host, tenant, config, has_children, directory }
    }

    /// A path in the directory that commands may be given.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join("data").join(name).display().to_string()
    }

    /// Drops the line after each of its polls in turn, and asserts each time that nothing of it is left. Returns how many
    /// polls the whole line takes.
    #[track_caller]
    pub fn survives(&self, case: &Case<'_>) -> usize {
        let before = self.taken();
        let descriptors = self.descriptors();
        for most in 0..MOST_POLLS {
            let (ended, gone) = self.block_on(self.run(case, most));
            self.block_on(self.is_as_it_was(most, &gone, &before, &descriptors));
            if ended {
                println!("{:?} takes {most} polls", case.words);
                return most;
            }
        }
        panic!("{:?} does not come to its end", case.words);
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.as_ref().expect("the world has not ended").block_on(future)
    }

    /// Runs a line, or so many polls of it. Returns whether it ended, and what would keep its connection alive.
    async fn run(&self, case: &Case<'_>, most: usize) -> (bool, Weak<Wire>) {
        let mut beside = case.beside.as_ref().map(|words| {
            let (wire, client) = self.connection(&[]);
            let (dispatcher, words) = (self.dispatcher(), words.clone());
            let line = tokio::spawn(async move {
                dispatcher.run_words(&wire, words, &mut dispatcher.batch(&wire)).await.map(drop)
            });
            (line, client)
        });
        while beside.is_some() && self.tenant.tasks.list().is_empty() {
            tokio::task::yield_now().await;
        }

        let (wire, mut client) = self.connection(case.input);
        let gone = Arc::downgrade(&wire);
        let dispatcher = self.dispatcher();
        // What ran beside it has a lower number.
        let number = self.tenant.tasks.list().first().map_or(0, |task| task.id).to_string();
        let words = case.words.iter().map(|word| word.replace("%ID", &number)).collect();
        let mut batch = dispatcher.batch(&wire);
        if let Some(words) = &case.behind {
            let ended = dispatcher.run_words(&wire, words.clone(), &mut batch).await;
            assert!(matches!(ended, Ok(None)), "{words:?} did not end well");
        }
        let mut line = Box::pin(dispatcher.run_words(&wire, words, &mut batch));
        let mut polls = 0;
        // A client that reads a little becomes writable again only after some more.
        let mut clock = tokio::time::interval(Duration::from_millis(1));
        let ended = poll_fn(|cx| {
            if polls == most {
                return Poll::Ready(None);
            }
            polls += 1;
            match line.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Some(ended.expect("the client is there"))),
                Poll::Pending if polls == most => Poll::Ready(None),
                Poll::Pending => {
                    client.act();
                    while clock.poll_tick(cx).is_ready() {}
                    Poll::Pending
                }
            }
        })
        .await;
        drop(line);
        if let Some(failure) = &ended {
            while tokio::time::timeout(Duration::from_millis(1), wire.flush()).await.is_err() {
                client.read(SIP);
            }
            client.is_content(case, failure.as_ref());
        }
        if let Some((line, _client)) = beside.take() {
            line.abort();
            let _ = line.await;
        }
        (ended.is_some(), gone)
    }

    fn connection<'a>(&self, input: &'a [&'a str]) -> (Arc<Wire>, Client<'a>) {
        let (here, there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        there.set_nonblocking(true).unwrap();
        let stream = tokio::net::UnixStream::from_std(here).unwrap();
        let wire = Wire::new(stream, "test", Arc::new(self.config.server.clone()));
        (Arc::new(wire), Client { socket: there, input: input.iter(), received: Vec::new() })
    }

    fn dispatcher(&self) -> Dispatcher {
        let identity = Identity { credential: Credential::Listener, listener: "test".into(), peer: "test".into() };
        Dispatcher::new(Arc::clone(&self.host), "default".into(), identity)
    }

    /// Records in the audit file.
    async fn records(&self) -> u64 {
        self.host.audit.load().unwrap().flush().await;
        let file = fs::read_to_string(self.directory.path().join("audit")).unwrap();
        file.lines().filter(|line| line.contains("\"event\":\"invocation\"")).count() as u64
    }

    fn taken(&self) -> Taken {
        let (tenant, part) = (&self.tenant, self.tenant.part());
        Taken {
            tasks: tenant.tasks.list().len(),
            memory: tenant.memory.used(),
            slots: tenant.slots.available_permits(),
            admissions: tenant.admissions.available_permits(),
            instances: self.host.instances.available_permits(),
            children: tenant.children.free(),
            hash_jobs: part.hash_jobs.free(),
            file_jobs: part.file_jobs.free(),
            turns: part.turns.free(),
            kept: part.kept.free(),
        }
    }

    /// This process's descriptors that an invocation may have opened, by what they are: files of this world, and what
    /// belongs to children, where there may be any. No other test that runs meanwhile has children for long.
    fn descriptors(&self) -> BTreeMap<String, usize> {
        let of_children = |target: &Path| {
            let target = target.to_string_lossy();
            self.has_children && (target == "anon_inode:[pidfd]" || target.starts_with("pipe:"))
        };
        let mut found = BTreeMap::new();
        for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            if target.starts_with(self.directory.path()) {
                *found.entry(target.display().to_string()).or_default() += 1;
            } else if of_children(&target) {
                *found.entry("a child's".to_owned()).or_default() += 1;
            }
        }
        found
    }

    /// Waits until all is as it was: a killed child is reaped, and a blocking job ends, a moment after it was dropped.
    async fn is_as_it_was(
        &self,
        polls: usize,
        wire: &Weak<Wire>,
        before: &Taken,
        descriptors: &BTreeMap<String, usize>,
    ) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (taken, open, held) = (self.taken(), self.descriptors(), wire.strong_count());
            let programs = self.programs();
            let fewer = open.iter().all(|(what, count)| descriptors.get(what).is_some_and(|before| count <= before));
            if taken == *before && fewer && held == 0 && programs.is_empty() {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "dropped after {polls} polls it left something behind: {taken:?} was {before:?}, {open:?} was \
                 {descriptors:?}, {held} hold the connection, and these run: {programs:?}"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let begun = self.host.tenants.load().values().map(|tenant| tenant.tasks.begun()).sum::<u64>();
        assert_eq!(
            self.records().await,
            begun,
            "dropped after {polls} polls, not every line that began has its record"
        );
    }

    /// Programs that run with this world's directory among their arguments.
    fn programs(&self) -> Vec<String> {
        let place = self.path("");
        let line = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("cmdline")).ok();
        let lines = fs::read_dir("/proc").unwrap().flatten().filter_map(line);
        lines.filter(|line| line.contains(&place)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A job that was not cancelled as it should would be waited for, and the failure not be told.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Client<'_> {
    /// Sends what is next, and reads a little.
    fn act(&mut self) {
        if let Some(line) = self.input.next() {
            self.socket.write_all(line.as_bytes()).unwrap();
        }
        self.read(SIP);
    }

    fn read(&mut self, most: usize) -> usize {
        let mut chunk = vec![0; most];
        match self.socket.read(&mut chunk) {
            Ok(length) => {
                self.received.extend_from_slice(&chunk[..length]);
                length
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    /// Asserts that the line ended as it should, so that it is known to have done what was to be cancelled.
    #[track_caller]
    fn is_content(&mut self, case: &Case<'_>, failure: Option<&Failure>) {
        while self.read(1 << 20) > 0 {}
        let received = String::from_utf8_lossy(&self.received);
        let last = &received[received.len().saturating_sub(200)..];
        match (case.outcome, failure) {
            (Ok(end), None) => assert!(received.ends_with(end), "{:?}: {last:?}", case.words),
            (Err(code), Some(failure)) => assert_eq!(failure.code, code, "{:?}: {last:?}", case.words),
            (_, failure) => panic!("{:?}: {failure:?}, {last:?}", case.words),
        }
    }
}

/// A line that ends well, and whose reply ends so.
pub fn line<'a>(line: &str, end: &'a str) -> Case<'a> {
    let words = shlex::split(line).unwrap();
    Case { words, input: &[], outcome: Ok(end), beside: None, behind: None }
}

impl<'a> Case<'a> {
    pub fn sending(self, input: &'a [&'a str]) -> Case<'a> {
        Case { input, ..self }
    }

    pub fn failing(self, code: Code) -> Case<'a> {
        Case { outcome: Err(code), ..self }
    }

    pub fn beside(self, line: &str) -> Case<'a> {
        Case { beside: shlex::split(line), ..self }
    }

    pub fn behind(self, line: &str) -> Case<'a> {
        Case { behind: shlex::split(line), ..self }
    }
}

/// Copies a built guest, with this sidecar, which may say nothing.
fn copy(to: &Path, name: &str, sidecar: &str) -> PathBuf {
    let file = to.join(format!("{name}.wasm"));
    fs::copy(built::guest(name), &file).unwrap();
    fs::write(file.with_extension("toml"), format!("{sidecar}\n")).unwrap();
    file
}
