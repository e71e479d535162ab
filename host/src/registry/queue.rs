//! The compilations that wait or are under way: a few at once, fair between tenants, and never in anybody's way.
//!
//! Whoever reads a directory asks for what is missing and goes on; when something is done, a look at the directory finds it
//! in the cache. A job holds no more than a path, so that a thousand waiting ones take no memory: if the file is another by
//! the time its turn comes, somebody will ask for that one.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::compile::Fault;
use crate::lock::lock;

/// Reasons that are remembered, so that the same bytes are not compiled again in vain. Beyond it all are forgotten.
const MAX_FAULTS: usize = 1000;

/// A file to be compiled.
#[derive(Debug, Clone)]
pub struct Job {
    /// The tenant on whose account it goes.
    pub tenant: String,
    /// How many of its files may be compiled at once.
    pub most: usize,
    /// Where the file lies.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: usize,
    /// Its content, by which it is known here.
    pub hash: blake3::Hash,
}

/// What is known of a file that has to be compiled.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// It was taken on now.
    New,
    /// It waits, or is being compiled.
    UnderWay,
    /// It came to nothing.
    Failed(Fault),
}

/// Compiles files.
pub struct Queue {
    shared: Arc<Shared>,
}

type Work = dyn Fn(&Job) -> Result<(), Fault> + Send + Sync;

struct Shared {
    state: Mutex<State>,
    /// Wakes threads that wait for certain files.
    ended: Condvar,
    /// Wakes the task that looks at directories.
    done: Notify,
    work: Box<Work>,
    /// Jobs at once.
    most: usize,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<String, VecDeque<Job>>,
    /// Jobs of each tenant that run.
    running: HashMap<String, usize>,
    /// The tenants that wait for a file. Each has a job of its own for it, so that none has to wait for another's turn.
    under_way: HashMap<blake3::Hash, HashSet<String>>,
    faults: HashMap<blake3::Hash, Fault>,
    /// The tenant whose job was taken last, so that the next is another's.
    last: String,
}

impl Queue {
    /// A queue that does `work` for each job, `most` at once.
    pub fn new(most: usize, work: impl Fn(&Job) -> Result<(), Fault> + Send + Sync + 'static) -> Queue {
        let shared =
            Shared { state: Mutex::default(), ended: Condvar::new(), done: Notify::new(), work: Box::new(work), most };
        Queue { shared: Arc::new(shared) }
    }

    /// Asks for a file, unless it is on its way or is known to be of no use.
    pub fn ask(&self, job: Job) -> Progress {
        let mut state = self.shared.state();
        match state.faults.get(&job.hash) {
            // The machine may do better next time; the file will not.
            Some(Fault::Machine(_)) => {
                if let Some(fault) = state.faults.remove(&job.hash) {
                    return Progress::Failed(fault);
                }
            }
            Some(fault) => return Progress::Failed(fault.clone()),
            None => {}
        }
        if !state.under_way.entry(job.hash).or_default().insert(job.tenant.clone()) {
            return Progress::UnderWay;
        }
        state.forget_version_before(&job);
        state.waiting.entry(job.tenant.clone()).or_default().push_back(job);
        if state.running.values().sum::<usize>() < self.shared.most {
            self.start(&mut state);
        }
        Progress::New
    }

    /// Whether a file waits, or is being compiled.
    pub fn is_under_way(&self, hash: blake3::Hash) -> bool {
        self.shared.state().under_way.contains_key(&hash)
    }

    /// Waits until none of the files is under way any more, or the time is over.
    pub fn wait(&self, files: &[blake3::Hash], time: Duration) {
        let busy = |state: &mut State| files.iter().any(|hash| state.under_way.contains_key(hash));
        let ended = self.shared.ended.wait_timeout_while(self.shared.state(), time, busy);
        drop(ended.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until something has come to its end since the last call.
    pub async fn done(&self) {
        self.shared.done.notified().await;
    }

    /// Starts a thread that takes jobs until there are none. Its place is taken for it already, with its first job.
    fn start(&self, state: &mut State) {
        let Some(first) = state.take() else { return };
        let (shared, job) = (Arc::clone(&self.shared), first.clone());
        if let Err(error) = std::thread::Builder::new().name("compile".into()).spawn(move || shared.run(job)) {
            state.end(&first, Err(Fault::Machine(format!("cannot start a thread for the compiler: {error}"))));
        }
    }
}

impl Shared {
    fn run(&self, first: Job) {
        let mut job = Some(first);
        while let Some(current) = job {
            let began = Instant::now();
            let work = AssertUnwindSafe(|| (self.work)(&current));
            // A mistake of ours costs this job and not its place; the hook has told the log.
            let result = catch_unwind(work).unwrap_or_else(|_| {
                Err(Fault::Machine("the host made a mistake over it, which its log has".to_owned()))
            });
            tracing::debug!(path = %current.path.display(), time = ?began.elapsed(), ?result, "compilation ended");
            let mut state = self.state();
            state.end(&current, result);
            job = state.take();
            drop(state);
            self.ended.notify_all();
            self.done.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can leave it half-changed.
        lock(&self.state)
    }
}

impl State {
    /// Takes the next job: of the tenant that comes after the last one's, among those that may run another.
    fn take(&mut self) -> Option<Job> {
        let may = |(tenant, jobs): &(&String, &VecDeque<Job>)| {
            let running = self.running.get(*tenant).copied().unwrap_or(0);
            jobs.front().is_some_and(|job| running < job.most)
        };
        let after = self.waiting.iter().filter(may).find(|(tenant, _)| **tenant > self.last);
        let tenant = after.or_else(|| self.waiting.iter().find(may))?.0.clone();
        let jobs = self.waiting.get_mut(&tenant)?;
        // Many small ones are done by the time of a large one, so none of them is to wait for that.
        let (smallest, _) = jobs.iter().enumerate().min_by_key(|(_, job)| job.size)?;
        let job = jobs.remove(smallest);
        if jobs.is_empty() {
            self.waiting.remove(&tenant);
        }
        *self.running.entry(tenant.clone()).or_default() += 1;
        self.last = tenant;
        job
    }

    /// Forgets a version of the same file that waits still: there is one job of a file in the queue, however often it changes.
    fn forget_version_before(&mut self, job: &Job) {
        let Some(jobs) = self.waiting.get_mut(&job.tenant) else { return };
        let before = jobs.iter().position(|other| other.path == job.path).and_then(|place| jobs.remove(place));
        if let Some(before) = before {
            self.stop_awaiting(&before);
        }
    }

    /// The job's tenant does not wait for what comes of it any more.
    fn stop_awaiting(&mut self, job: &Job) {
        if let Some(waiting) = self.under_way.get_mut(&job.hash) {
            waiting.remove(&job.tenant);
            if waiting.is_empty() {
                self.under_way.remove(&job.hash);
            }
        }
    }

    /// Gives a job's place back, and remembers what became of it.
    fn end(&mut self, job: &Job, result: Result<(), Fault>) {
        if let Some(running) = self.running.get_mut(&job.tenant) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(&job.tenant);
            }
        }
        self.stop_awaiting(job);
        if let Err(fault) = result {
            if self.faults.len() >= MAX_FAULTS {
                self.faults.clear();
            }
            self.faults.insert(job.hash, fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn job(tenant: &str, content: &str) -> Job {
        let (path, hash) = (content.into(), blake3::hash(content.as_bytes()));
        Job { tenant: tenant.to_owned(), most: 1, path, size: content.len(), hash }
    }

    /// A queue whose jobs report themselves, and wait until they are let go.
    fn gated(most: usize) -> (Queue, mpsc::Receiver<String>, mpsc::Sender<()>) {
        let (begun, order) = mpsc::channel();
        let (go, gate) = mpsc::channel();
        let (begun, gate) = (Mutex::new(begun), Mutex::new(gate));
        let queue = Queue::new(most, move |job| {
            begun.lock().unwrap().send(job.path.display().to_string()).unwrap();
            gate.lock().unwrap().recv().unwrap();
            Ok(())
        });
        (queue, order, go)
    }

    #[test]
    fn tenants_take_turns() {
        let (queue, order, go) = gated(1);
        let names = ["a1", "a2", "a3", "b1", "c1"];
        for name in names {
            assert_eq!(queue.ask(job(&name[..1], name)), Progress::New);
        }
        assert_eq!(queue.ask(job("b", "b1")), Progress::UnderWay);
        assert!(queue.is_under_way(job("", "b1").hash) && !queue.is_under_way(job("", "none").hash));
        let mut came = Vec::new();
        for _ in names {
            came.push(order.recv_timeout(LONG).unwrap());
            go.send(()).unwrap();
        }
        assert_eq!(came, ["a1", "b1", "c1", "a2", "a3"]);
        queue.wait(&names.map(|name| job("", name).hash), LONG);
        assert_eq!(queue.ask(job("a", "a1")), Progress::New, "what is done may be asked for again");
        go.send(()).unwrap();
    }

    #[test]
    fn one_tenants_share_leaves_room() {
        let (queue, order, go) = gated(2);
        for name in ["a1", "a2", "b1"] {
            queue.ask(job(&name[..1], name));
        }
        let mut came = [(); 2].map(|()| order.recv_timeout(LONG).unwrap());
        came.sort();
        assert_eq!(came, ["a1", "b1"]);
        for _ in 0..3 {
            go.send(()).unwrap();
        }
        assert_eq!(order.recv_timeout(LONG).unwrap(), "a2");
    }

    #[test]
    fn the_smallest_of_a_tenant_is_next() {
        let (queue, order, go) = gated(1);
        let names = ["first", "as large as can be", "b", "large", "a"];
        for name in names {
            queue.ask(job("tenant", name));
        }
        let came = names.map(|_| {
            go.send(()).unwrap();
            order.recv_timeout(LONG).unwrap()
        });
        assert_eq!(came, ["first", "b", "a", "large", "as large as can be"]);
    }

    #[test]
    fn a_files_own_fault_is_remembered_and_the_machines_is_not() {
        let queue = Queue::new(1, |job| match job.path.to_str() {
            Some("bad") => Err(Fault::File("no".into())),
            _ => Err(Fault::Machine("not now".into())),
        });
        for (name, fault) in [("bad", Fault::File("no".into())), ("unlucky", Fault::Machine("not now".into()))] {
            assert_eq!(queue.ask(job("a", name)), Progress::New);
            queue.wait(&[job("a", name).hash], LONG);
            assert_eq!(queue.ask(job("a", name)), Progress::Failed(fault));
        }
        assert!(matches!(queue.ask(job("a", "bad")), Progress::Failed(_)));
        assert_eq!(queue.ask(job("a", "unlucky")), Progress::New);
    }
}
