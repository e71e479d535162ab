//! What a process has used, as the kernel tells in `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::Result;

/// CPU time of a process up to a moment.
#[derive(Debug, Clone)]
pub struct Cpu {
    /// Nanoseconds on a core, of each thread.
    threads: BTreeMap<String, u64>,
    /// Of all children that have been reaped.
    children: Duration,
}

impl Cpu {
    /// Reads what the process has used so far.
    ///
    /// # Errors
    /// When it is gone, or the kernel keeps no such account (`CONFIG_SCHED_INFO`).
    pub fn of(pid: u32) -> Result<Cpu> {
        let failed = |error| format!("cannot read the CPU time of process {pid}: {error}");
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task")).map_err(failed)? {
            let thread = entry.map_err(failed)?;
            // A thread may end between being listed and being read.
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let time = parse_schedstat(&text).ok_or_else(|| format!("cannot understand schedstat: {text:?}"))?;
            threads.insert(thread.file_name().to_string_lossy().into_owned(), time);
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(failed)?;
        let ticks = parse_children_ticks(&stat).ok_or_else(|| format!("cannot understand stat: {stat:?}"))?;
        let children = Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
        Ok(Cpu { threads, children })
    }

    /// What was used since an earlier moment, by the process itself and by children that were reaped meanwhile.
    pub fn since(&self, earlier: &Cpu) -> Duration {
        let used =
            |(thread, time): (&String, &u64)| time - earlier.threads.get(thread).copied().unwrap_or(0).min(*time);
        let own: u64 = self.threads.iter().map(used).sum();
        Duration::from_nanos(own) + self.children.saturating_sub(earlier.children)
    }
}

/// The time on a core, the first of the three figures.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// `cutime` and `cstime`, the 16th and 17th field. The 2nd is the program's name in brackets, which may have anything in it.
fn parse_children_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(13);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Bytes of memory that nobody but the process has: not backed by a file, and present.
///
/// # Errors
/// When the process is gone.
pub fn private_memory(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|error| format!("cannot read the memory of process {pid}: {error}"))?;
    let field = |name| parse_kilobytes(&text, name).ok_or_else(|| format!("/proc/{pid}/status has no {name}"));
    Ok((field("RssAnon:")? + field("RssShmem:")?) * 1024)
}

fn parse_kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figures_are_read() {
        assert_eq!(parse_schedstat("123456789 42 7\n"), Some(123_456_789));
        assert_eq!(parse_schedstat(""), None);
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 100 200 0 0 5 6 70 8 20 0 1 0 100 0 0";
        assert_eq!(parse_children_ticks(stat), Some(78));
        assert_eq!(parse_children_ticks("12 (a"), None);
        let status = "Name:\tx\nRssAnon:\t    1234 kB\nRssFile:\t   1 kB\n";
        assert_eq!(parse_kilobytes(status, "RssAnon:"), Some(1234));
        assert_eq!(parse_kilobytes(status, "RssShmem:"), None);
    }

    #[test]
    fn threads_that_came_meanwhile_count_and_those_that_went_do_not() {
        let cpu = |threads: &[(&str, u64)], children| Cpu {
            threads: threads.iter().map(|(name, time)| (name.to_string(), *time)).collect(),
            children: Duration::from_nanos(children),
        };
        let (before, after) = (cpu(&[("1", 100), ("2", 50)], 10), cpu(&[("1", 130), ("3", 7)], 15));
        assert_eq!(after.since(&before), Duration::from_nanos(30 + 7 + 5));
    }

    #[test]
    fn this_process_has_used_something() {
        let pid = std::process::id();
        assert!(private_memory(pid).unwrap() > 0);
        let before = Cpu::of(pid).unwrap();
        assert!(Cpu::of(pid).unwrap().since(&before) < Duration::from_secs(3600));
    }
}
