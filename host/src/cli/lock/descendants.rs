//! Which processes have started which, as Linux tells under `/proc`. Elsewhere
//! none are found.

use rustix::process::Pid;
use std::fs;

/// A process that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: Pid,
    parent: Option<Pid>,
    group: Option<Pid>,
}

/// All that run. One that comes or goes meanwhile may be among them or not.
pub(super) fn running() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let entries = entries.filter_map(Result::ok);
    // Most of what is there is no process, or has just ended.
    let stats = entries.filter_map(|it| fs::read_to_string(it.path().join("stat")).ok());
    stats.filter_map(|it| Process::parse(&it)).collect()
}

/// Those that `root` has started, and those that these have, without `except`
/// and what they have started.
pub(super) fn started_by(all: &[Process], root: Pid, except: &[Pid]) -> Vec<Process> {
    let mut parents = vec![root];
    let mut found: Vec<Process> = Vec::new();
    while let Some(parent) = parents.pop() {
        for it in all.iter().filter(|it| it.parent == Some(parent)) {
            if !except.contains(&it.pid) && !found.contains(it) {
                found.push(*it);
                parents.push(it.pid);
            }
        }
    }
    found
}

/// Those of a process group.
pub(super) fn in_group(all: &[Process], group: Pid) -> impl Iterator<Item = Process> {
    let all = all.iter().copied();
    all.filter(move |it| it.group == Some(group))
}

// === impl Process ===

impl Process {
    /// Reads what `/proc/PID/stat` says: number, name in brackets, state,
    /// parent, group. None if it has ended, and nobody has looked yet.
    fn parse(stat: &str) -> Option<Self> {
        // A name may have brackets and blanks in it.
        let (pid, rest) = stat.split_once(" (")?;
        let (_, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?;
        if matches!(state, "Z" | "X") {
            return None;
        }
        let mut number = || fields.next()?.parse().ok();
        Some(Self {
            pid: Pid::from_raw(pid.parse().ok()?)?,
            parent: Pid::from_raw(number()?),
            group: Pid::from_raw(number()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number).unwrap()
    }

    fn process(number: i32, parent: i32) -> Process {
        Process {
            pid: pid(number),
            parent: Pid::from_raw(parent),
            group: Pid::from_raw(7),
        }
    }

    #[test]
    fn a_line_of_the_kernel_s_is_read_whatever_the_process_calls_itself() {
        for name in ["sh", "a) R 9 9 (b", "x) y"] {
            let read = Process::parse(&format!("12 ({name}) S 5 7 1 0 -1"));
            assert_eq!(read, Some(process(12, 5)), "{name}");
        }
        assert_eq!(Process::parse("12 (sh) Z 5 7 1"), None);
        assert_eq!(Process::parse(""), None);
    }

    #[test]
    fn what_was_started_by_what_was_started_is_found() {
        let all = [
            process(4, 3),
            process(3, 2),
            process(2, 1),
            process(5, 1),
            process(6, 5),
            process(8, 0),
        ];
        let found = started_by(&all, pid(1), &[pid(5)]);
        let mut found: Vec<_> = found.iter().map(|it| it.pid.as_raw_pid()).collect();
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4]);
    }
}
