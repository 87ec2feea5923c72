//! Usage, read from the files of v1 and v2.

use std::fs;
use std::path::Path;

use super::Kind;

/// Usage of one cgroup; zero where the host does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Nanoseconds of one core since the cgroup was made.
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
    /// Without file pages that can go at once.
    pub working_set_bytes: u64,
    pub rss_bytes: u64,
    pub page_faults: u64,
    pub major_page_faults: u64,
    pub processes: u64,
}

pub(super) fn read<'a>(dirs: impl Iterator<Item = (&'a Path, &'a Kind)>) -> Stats {
    let mut s = Stats::default();
    for (dir, kind) in dirs {
        let v2 = matches!(kind, Kind::V2(_));
        if kind.has("cpuacct") {
            s.cpu_nanos = number(dir, "cpuacct.usage");
        }
        if v2 && kind.has("cpu") {
            s.cpu_nanos = keyed(&text(dir, "cpu.stat"), "usage_usec").saturating_mul(1000);
        }
        if kind.has("memory") {
            let stat = text(dir, "memory.stat");
            let (usage, inactive, rss, faults, major) = if v2 {
                ("memory.current", "inactive_file", "anon", "pgfault", "pgmajfault")
            } else {
                ("memory.usage_in_bytes", "total_inactive_file", "total_rss", "total_pgfault", "total_pgmajfault")
            };
            s.memory_bytes = number(dir, usage);
            s.working_set_bytes = s.memory_bytes.saturating_sub(keyed(&stat, inactive));
            s.rss_bytes = keyed(&stat, rss);
            s.page_faults = keyed(&stat, faults);
            s.major_page_faults = keyed(&stat, major);
        }
        if kind.has("pids") {
            s.processes = number(dir, "pids.current");
        }
    }
    s
}

pub(super) fn oom_kills(dir: &Path, kind: &Kind) -> u64 {
    let file = if matches!(kind, Kind::V2(_)) { "memory.events" } else { "memory.oom_control" };
    keyed(&text(dir, file), "oom_kill")
}

fn text(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap_or_default()
}

fn number(dir: &Path, file: &str) -> u64 {
    text(dir, file).trim().parse().unwrap_or(0)
}

fn keyed(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|l| l.split_once(' ').filter(|(k, _)| *k == key))
        .and_then(|(_, v)| v.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(keyed(text, "oom_kill"), 3);
        assert_eq!(keyed(text, "absent"), 0);
    }
}
