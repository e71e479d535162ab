//! The machine as it looks from outside the host: processes, memory, open files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// Less than a thread's stack takes, and more than anything else that a line needs.
const ROOM: u64 = 1024 * 1024;

/// A figure of `/proc/PID/status` in KiB, such as `VmRSS`.
#[track_caller]
pub fn memory_kib(pid: u32, figure: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
    let value = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    value.unwrap_or_else(|| panic!("no {figure} in /proc/{pid}/status:\n{status}"))
}

/// Makes `VmHWM`, the peak of `VmRSS`, start again from what is resident now.
#[track_caller]
pub fn reset_peak_memory(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the peak can be reset");
}

/// The running processes with the text in their command line. A process that was killed but not reaped has none.
pub fn processes_with(text: &str) -> Vec<u32> {
    all_processes().filter(|pid| command_line(*pid).is_some_and(|line| line.contains(text))).collect()
}

/// The direct children of a process, the dead that nobody has reaped among them.
pub fn children(parent: u32) -> Vec<u32> {
    all_processes().filter(|pid| stat_field(*pid, Stat::Parent) == Some(parent)).collect()
}

/// Those of them with the text in their command line.
pub fn children_with(parent: u32, text: &str) -> Vec<u32> {
    children(parent).into_iter().filter(|pid| command_line(*pid).is_some_and(|line| line.contains(text))).collect()
}

/// Whether a process is dead but not reaped.
pub fn is_zombie(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields.first().is_some_and(|state| state == "Z"))
}

pub fn process_group(pid: u32) -> Option<u32> {
    stat_field(pid, Stat::Group)
}

/// How many of a process's descriptors are open on the file.
pub fn times_open(pid: u32, file: &Path) -> usize {
    let file = file.canonicalize().expect("the file exists");
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    descriptors.flatten().filter(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == file)).count()
}

/// How many mappings of files beneath a directory a process has.
#[track_caller]
pub fn times_mapped(pid: u32, directory: &Path) -> usize {
    let directory = directory.canonicalize().expect("the directory exists");
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process is there");
    maps.lines().filter(|line| line.contains(&*directory.to_string_lossy())).count()
}

/// The files with the code of the compiled commands in a cache. Beside each lies its sum, as `.b3`.
#[track_caller]
pub fn code_in(cache: impl AsRef<Path>) -> Vec<PathBuf> {
    let files = fs::read_dir(cache).expect("the cache").flatten().map(|entry| entry.path());
    files.filter(|file| file.extension().is_some_and(|end| end == "cwasm")).collect()
}

/// The compiled commands in a cache: the numbers of their files, which are others once they are made anew.
#[track_caller]
pub fn compiled(cache: impl AsRef<Path>) -> Vec<u64> {
    let number = |file: &PathBuf| fs::metadata(file).expect("the code is there").ino();
    let mut numbers: Vec<u64> = code_in(cache).iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// How many bytes a process has written, whatever to; none when it is gone.
pub fn bytes_written(pid: u32) -> Option<u64> {
    let figures = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    figures.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok())
}

/// CPU time that a process has used, in clock ticks.
pub fn cpu_ticks(pid: u32) -> u32 {
    stat(pid).map_or(0, ticks)
}

/// Page faults of a process that did not wait for the disk.
#[track_caller]
pub fn page_faults(pid: u32) -> usize {
    stat_field(pid, Stat::MinorFaults).expect("the process is there") as usize
}

/// How many descriptors a process has open.
pub fn open_descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// How many threads a process has.
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// CPU time that those threads of a process have used whose names begin so, in clock ticks.
pub fn cpu_ticks_of(pid: u32, threads: &str) -> u32 {
    threads_named(pid, threads).iter().filter_map(|thread| stat_in(thread)).map(ticks).sum()
}

/// How often a process's thread of this name has waited for something.
#[track_caller]
pub fn switches(pid: u32, thread: &str) -> u64 {
    let threads = threads_named(pid, thread);
    let status = threads.first().and_then(|thread| fs::read_to_string(thread.join("status")).ok());
    let status = status.unwrap_or_else(|| panic!("no thread is called {thread}"));
    let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    switches.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("no count of switches:\n{status}"))
}

/// The directories of a process's threads whose names begin so.
fn threads_named(pid: u32, name: &str) -> Vec<PathBuf> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().map(|entry| entry.path());
    threads.filter(|thread| fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.starts_with(name))).collect()
}

/// Lets this process open as many descriptors as it may: shells start programs with few.
pub fn raise_own_descriptors() {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("what is allowed may be had");
}

/// Lets a running process have so many descriptors at most.
#[track_caller]
pub fn bound_descriptors(pid: u32, most: u64) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
    let bound = Rlimit { current: Some(most), maximum: Some(most) };
    prlimit(pid, Resource::Nofile, bound).expect("the process is there");
}

/// Lets a running process open no more descriptors while this lasts.
#[track_caller]
pub fn without_descriptors<T>(pid: u32, meanwhile: impl FnOnce() -> T) -> T {
    // Below all that it has.
    with_bound(pid, Resource::Nofile, 3, meanwhile)
}

/// Lets a running process have no more threads while this lasts: each would need a stack, for which there is no room. For small
/// things there is. Who may do what in a name space of users does not concern that, as it does the number of processes.
#[track_caller]
pub fn without_threads<T>(pid: u32, meanwhile: impl FnOnce() -> T) -> T {
    let room = memory_kib(pid, "VmSize") * 1024 + ROOM;
    with_bound(pid, Resource::As, room, meanwhile)
}

#[track_caller]
fn with_bound<T>(pid: u32, of: Resource, most: u64, meanwhile: impl FnOnce() -> T) -> T {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
    // The hard bound is the one that this process has handed on.
    let bound = Rlimit { current: Some(most), maximum: getrlimit(of).maximum };
    let before = prlimit(pid, of, bound).expect("the process is there");
    let result = meanwhile();
    prlimit(pid, of, before).expect("the process is there");
    result
}

/// Creates a file of the given length that takes no space on the disk and reads as zeros.
#[track_caller]
pub fn sparse_file(path: PathBuf, length: u64) -> PathBuf {
    let file = fs::File::create(&path).expect("the file can be created");
    file.set_len(length).expect("the file system has sparse files");
    path
}

/// Creates a FIFO.
#[track_caller]
pub fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
}

fn all_processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc is there");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn command_line(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
}

/// Fields of `/proc/PID/stat`, counted from the one after the program's name.
enum Stat {
    Parent = 1,
    Group = 2,
    MinorFaults = 7,
    User = 11,
    System = 12,
}

/// CPU time, of a process or a thread, in clock ticks.
fn ticks(fields: Vec<String>) -> u32 {
    let of = |field: Stat| fields.get(field as usize)?.parse::<u32>().ok();
    [Stat::User, Stat::System].into_iter().filter_map(of).sum()
}

fn stat_field(pid: u32, field: Stat) -> Option<u32> {
    stat(pid)?.get(field as usize)?.parse().ok()
}

fn stat(pid: u32) -> Option<Vec<String>> {
    stat_in(Path::new(&format!("/proc/{pid}")))
}

/// That of a process or a thread, by its directory.
fn stat_in(directory: &Path) -> Option<Vec<String>> {
    let line = fs::read_to_string(directory.join("stat")).ok()?;
    // The name stands in brackets and may itself hold spaces and brackets.
    let (_, fields) = line.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}
