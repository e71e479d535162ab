//! A running host: the real binary, its output kept, and ended with the test.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::Client;
use super::wait::{COMPILING, eventually, eventually_some, eventually_some_within};
use super::{guests, machine};

/// The configuration's name in the host's directory.
pub const CONFIG: &str = "wasmline.toml";

const LOG: &str = "host.log";

/// Lines of the log that a failing test shows at most, and characters of each.
const SHOWN_LOG_LINES: usize = 200;
const SHOWN_LINE: usize = 300;

pub struct Host {
    dir: TempDir,
    command: Command,
    child: Child,
    shown: String,
    listeners: usize,
    stdout: Arc<Mutex<Vec<String>>>,
    places: Vec<String>,
    addresses: Vec<SocketAddr>,
}

impl Host {
    /// Starts the command and waits for its lines `listening on ADDRESS`.
    #[track_caller]
    pub fn start(dir: TempDir, mut command: Command, listeners: usize) -> Host {
        let log = File::options().create(true).append(true).open(dir.path().join(LOG)).expect("a log file");
        let shown = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let (child, stdout) = launch(&mut command);
        let (places, addresses) = (Vec::new(), Vec::new());
        let mut host = Host { dir, command, child, shown, listeners, stdout, places, addresses };
        host.wait_until_it_listens();
        host
    }

    /// Kills the host as the kernel would for want of memory, and starts it again as it was. It goes on in the same log,
    /// and its ports are others.
    #[track_caller]
    pub fn kill_and_start_again(&mut self) {
        self.child.kill().expect("the host runs");
        self.child.wait().expect("the host can be waited for");
        (self.child, self.stdout) = launch(&mut self.command);
        self.wait_until_it_listens();
    }

    #[track_caller]
    fn wait_until_it_listens(&mut self) {
        // It compiles what it has to serve before it listens.
        self.places = eventually_some_within(COMPILING, "the host listens", || {
            if let Some(status) = self.child.try_wait().expect("the host can be waited for") {
                panic!("the host ended before it listened: {status}");
            }
            let places = self.listening_on();
            (places.len() == self.listeners).then_some(places)
        });
        self.addresses = self.places.iter().filter_map(|place| place.parse().ok()).collect();
    }

    /// The places from the readiness lines so far, in their order.
    pub fn listening_on(&self) -> Vec<String> {
        let lines = self.stdout.lock().expect("not poisoned");
        lines.iter().filter_map(|line| line.strip_prefix("listening on ").map(str::to_owned)).collect()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A path as the host sees it, which may have file systems of its own.
    pub fn sees(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The address of the first TCP listener.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The addresses of all TCP listeners, in the configuration's order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it has printed on standard output.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lock().expect("not poisoned").clone()
    }

    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// The directory for files that commands work on.
    pub fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    pub fn commands(&self) -> PathBuf {
        self.dir.path().join("commands")
    }

    /// Puts a file into the commands directory of the tenant `default`.
    #[track_caller]
    pub fn install(&self, name: &str, bytes: &[u8]) {
        guests::install(&self.commands(), name, bytes);
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join(CONFIG)
    }

    /// Rewrites the configuration: replaces one text that is in it by another.
    #[track_caller]
    pub fn edit_config(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).expect("the configuration is there");
        assert!(text.contains(from), "the configuration has no {from:?}:\n{text}");
        fs::write(self.config(), text.replace(from, to)).expect("the configuration can be written");
    }

    /// All that it has logged so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir.path().join(LOG)).expect("the log is there");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for a line of the log with all of the texts in it, and returns it.
    #[track_caller]
    pub fn wait_for_log(&self, texts: &[&str]) -> String {
        eventually_some(&format!("a log line with {texts:?}"), || {
            let log = self.log();
            log.lines().find(|line| texts.iter().all(|text| line.contains(text))).map(str::to_owned)
        })
    }

    /// Has it read its configuration again, and waits until it has. Returns what it logged meanwhile.
    #[track_caller]
    pub fn reload(&self) -> String {
        const DONE: &str = "configuration reloaded";
        let before = self.log();
        self.signal(Signal::HUP);
        eventually("the configuration is reloaded", || self.log().matches(DONE).count() > before.matches(DONE).count());
        self.log()[before.len()..].to_owned()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the host runs");
    }

    /// Waits until the host has ended by itself.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        eventually_some("the host ends", || self.child.try_wait().expect("the host can be waited for"))
    }

    /// Waits until no process has the text in its command line, and the host has no dead child left to reap.
    #[track_caller]
    pub fn wait_until_gone(&self, text: impl AsRef<OsStr>) {
        let text = text.as_ref().to_str().expect("the tests' texts are UTF-8");
        eventually(&format!("no process with {text:?} is left"), || machine::processes_with(text).is_empty());
        eventually("the host has reaped its children", || {
            !machine::children(self.pid()).into_iter().any(machine::is_zombie)
        });
    }

    fn show(&self) {
        let config = fs::read_to_string(self.config()).unwrap_or_default();
        let log = self.log();
        let lines: Vec<String> = log.lines().map(|line| line.chars().take(SHOWN_LINE).collect()).collect();
        let shown = &lines[lines.len().saturating_sub(SHOWN_LOG_LINES)..];
        eprintln!("--- command\n{}\n--- {CONFIG}\n{config}", self.shown);
        eprintln!("--- stdout\n{}", self.stdout().join("\n"));
        eprintln!("--- log, its last {} of {} lines\n{}\n---", shown.len(), lines.len(), shown.join("\n"));
    }
}

/// Starts the command, and keeps the lines that it prints.
#[track_caller]
fn launch(command: &mut Command) -> (Child, Arc<Mutex<Vec<String>>>) {
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let stdout = Arc::new(Mutex::new(Vec::new()));
    let (pipe, lines) = (child.stdout.take().expect("piped"), stdout.clone());
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            lines.lock().expect("not poisoned").push(line);
        }
    });
    (child, stdout)
}

impl Drop for Host {
    fn drop(&mut self) {
        // A host that is killed cannot end its children; none of them may outlive the test.
        let children = machine::children(self.pid());
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in children.into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        if thread::panicking() {
            self.show();
        } else {
            let log = self.log();
            // A guest's own panic is a record of its own; the host's begins with the name of its thread.
            let panicked = log.lines().any(|line| line.starts_with("thread '") && line.contains("panicked at"));
            assert!(!panicked, "the host panicked:\n{log}");
        }
    }
}
