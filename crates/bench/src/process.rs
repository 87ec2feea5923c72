//! What the kernel knows of a process: CPU seconds, memory, children.

use std::{fs, time::Duration};

/// Ticks per second of `/proc/<pid>/stat`. Source: proc(5); the kernel's user interface has been fixed at 100 on Linux.
const TICKS: f64 = 100.0;

/// CPU seconds of this process and of the server since a moment.
pub struct Cpu {
    server: Option<u32>,
    began: (f64, Option<f64>),
}

impl Cpu {
    pub fn start(server: Option<u32>) -> Self {
        Cpu { server, began: now(server) }
    }
    pub fn spent(&self) -> (f64, Option<f64>) {
        let (own, server) = now(self.server);
        (own - self.began.0, server.zip(self.began.1).map(|(now, then)| now - then))
    }
}

fn now(server: Option<u32>) -> (f64, Option<f64>) {
    (cpu_seconds("self").unwrap_or(0.0), server.and_then(|pid| cpu_seconds(&pid.to_string())))
}

/// User and system time of all threads, in seconds.
fn cpu_seconds(pid: &str) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks: Vec<f64> = fields(&stat).skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    (ticks.len() == 2).then(|| (ticks[0] + ticks[1]) / TICKS)
}

/// The fields of a stat line behind the command's name, which may hold anything.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split_ascii_whitespace()
}

/// Resident memory in MB (10^6 bytes), as `smaps_rollup` has it. Pages of the binary count in every process that runs it.
pub fn rss_mb(pid: u32) -> Option<f64> {
    rollup(pid, "Rss:")
}

/// What of it is the process's own and no page of a file.
pub fn own_mb(pid: u32) -> Option<f64> {
    rollup(pid, "Anonymous:")
}

fn rollup(pid: u32, line: &str) -> Option<f64> {
    mb_of(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, line)
}

fn mb_of(smaps: &str, line: &str) -> Option<f64> {
    let line = smaps.lines().find_map(|l| l.strip_prefix(line))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Processes whose parent is `pid` and whose arguments hold `word`.
pub fn children(pid: u32, word: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|child| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let arguments = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        fields(&stat).nth(1) == Some(pid.to_string().as_str())
            && arguments.split(|b| *b == 0).any(|argument| argument == word.as_bytes())
    })
    .collect()
}

/// Waits until something holds; `false` once `patience` is over.
pub async fn wait_until(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let until = std::time::Instant::now() + patience;
    while !holds() {
        if std::time::Instant::now() > until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_prints() {
        assert_eq!(mb_of("5-6 ---p [rollup]\nRss:              2000 kB\nPss:  9 kB\n", "Rss:"), Some(2.048));
        assert_eq!(mb_of("Pss: 9 kB\n", "Rss:"), None);
        assert_eq!(fields("7 (a) b) S 1 2").collect::<Vec<_>>(), ["S", "1", "2"]);
        assert!(cpu_seconds("self").is_some_and(|s| s >= 0.0));
        let (all, own) = (rss_mb(std::process::id()).unwrap(), own_mb(std::process::id()).unwrap());
        assert!(own > 0.1 && own < all);
    }
}
