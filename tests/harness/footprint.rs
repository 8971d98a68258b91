//! What a node takes of the machine, as the kernel counts it.

use super::Node;

/// What a process takes of the machine.
#[derive(Debug)]
pub(crate) struct Footprint {
    /// Memory that is resident, in bytes.
    pub(crate) resident: u64,
    /// Files and sockets that are open.
    pub(crate) files: usize,
    /// Threads.
    pub(crate) threads: usize,
}

impl Footprint {
    /// Of a running node, now.
    #[track_caller]
    pub(crate) fn of(node: &Node) -> Self {
        let process = std::path::PathBuf::from(format!("/proc/{}", node.pid()));
        let count = |name: &str| {
            let entries = std::fs::read_dir(process.join(name)).expect("the node runs");
            entries.count()
        };
        let status = std::fs::read_to_string(process.join("status")).expect("the node runs");
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .and_then(|kibibytes| kibibytes.trim().parse::<u64>().ok())
            .expect("the kernel says how much is resident");
        Self {
            resident: resident * 1024,
            files: count("fd"),
            threads: count("task"),
        }
    }
}
