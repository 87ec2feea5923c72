//! The file of the audit log, written by a thread of its own; put aside at a size, and old ones removed by age and number.
//! Names of old files are upstream's: `audit-2026-01-02T03-04-05.678.log`.

use base::clock::{Clock, System};
use parking_lot::{Condvar, Mutex};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use telemetry::Counter;

/// The most that may wait for the disk, in bytes.
const BOUND: usize = 16 << 20;
/// Lines are gathered that long before they are written.
const LINGER: Duration = Duration::from_millis(50);

/// Where the log goes, and how much of it is kept. Source of the numbers' meaning: upstream's flags `--audit-log-*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `-` is standard output.
    pub path: PathBuf,
    /// Days that old files are kept; 0 for ever.
    pub max_age: u64,
    /// How many old files are kept; 0 for all.
    pub max_backups: usize,
    /// Megabytes at which a file is put aside; 0 for never.
    pub max_size: u64,
}

impl LogConfig {
    /// Ferry's own limits: 100 MB, and ten older files, as upstream's documents advise: a flood takes long to push out what
    /// was before it.
    pub fn at(path: PathBuf) -> Self {
        LogConfig { path, max_age: 0, max_backups: 10, max_size: 100 }
    }
}

/// A log that is written. Dropping it writes what is left.
pub struct Log {
    shared: Arc<Shared>,
    writer: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    buffer: Mutex<Buffer>,
    filled: Condvar,
}

#[derive(Default)]
struct Buffer {
    lines: Vec<u8>,
    closed: bool,
}

enum Target {
    Out,
    /// `torn`: the last line is half of one.
    File {
        file: File,
        size: u64,
        torn: bool,
        config: LogConfig,
    },
}

impl Log {
    /// Appends to the file (mode 0600). `lost` counts the lines that it does not take.
    pub fn open(config: &LogConfig, lost: Arc<Counter>) -> io::Result<Self> {
        let target = match config.path.as_os_str() == "-" {
            true => Target::Out,
            false => {
                let file = append(&config.path)?;
                let size = file.metadata()?.len();
                Target::File { file, size, torn: false, config: config.clone() }
            }
        };
        let shared = Arc::new(Shared { buffer: Mutex::default(), filled: Condvar::new() });
        let theirs = shared.clone();
        let writer = std::thread::Builder::new().name("audit".into()).spawn(move || carry(&theirs, target, &lost))?;
        Ok(Log { shared, writer: Some(writer) })
    }
    /// Lets `line` append a line; false where too many wait, and nothing is written.
    pub fn write(&self, line: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut buffer = self.shared.buffer.lock();
        if buffer.lines.len() >= BOUND {
            return false;
        }
        let first = buffer.lines.is_empty();
        line(&mut buffer.lines);
        drop(buffer);
        if first {
            self.shared.filled.notify_one();
        }
        true
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.buffer.lock().closed = true;
        self.shared.filled.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// The writer thread: waits for lines, lets more gather, writes them.
fn carry(shared: &Shared, mut target: Target, lost: &Counter) {
    let mut taken = Vec::new();
    loop {
        let closed = {
            let mut buffer = shared.buffer.lock();
            while buffer.lines.is_empty() && !buffer.closed {
                shared.filled.wait(&mut buffer);
            }
            if !buffer.closed {
                shared.filled.wait_while_for(&mut buffer, |b| !b.closed && b.lines.len() < BOUND / 4, LINGER);
            }
            std::mem::swap(&mut taken, &mut buffer.lines);
            buffer.closed
        };
        lost.add(target.take(&taken));
        taken.clear();
        taken.shrink_to(1 << 20);
        if closed {
            return;
        }
    }
}

impl Target {
    /// Says how many lines are lost.
    fn take(&mut self, lines: &[u8]) -> u64 {
        let Target::File { file, size, torn, config } = self else {
            let (written, end) = pour(&mut io::stdout(), lines);
            if let Err(e) = end {
                tracing::error!("audit log: {e}");
            }
            return count(&lines[written..]);
        };
        let path = &config.path;
        // Half a line takes no whole one with it.
        let begun = if *torn { pour(file, b"\n").1 } else { Ok(()) };
        let (written, end) = if begun.is_ok() { pour(file, lines) } else { (0, begun) };
        if let Err(e) = end {
            tracing::error!("audit log {}: {e}", path.display());
        }
        if written > 0 {
            *torn = lines[written - 1] != b'\n';
        }
        let lost = count(&lines[written..]);
        *size += written as u64;
        if config.max_size == 0 || *size < config.max_size << 20 {
            return lost;
        }
        let at = System.now();
        match std::fs::rename(path, aside(path, at)).and_then(|()| append(path)) {
            Ok(fresh) => (*file, *size, *torn) = (fresh, 0, false),
            Err(e) => tracing::error!("audit log {}: {e}", path.display()),
        }
        if let Err(e) = clear(config, at.into()) {
            tracing::error!("old files of audit log {}: {e}", path.display());
        }
        lost
    }
}

/// Writes what can be written, and says how many bytes that were.
fn pour(out: &mut impl Write, lines: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < lines.len() {
        match out.write(&lines[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (written, Err(e)),
        }
    }
    (written, Ok(()))
}

/// How many lines end here.
fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|b| **b == b'\n').count() as u64
}

/// `dir/audit-2026-01-02T03-04-05.678.log`, of `dir/audit.log`.
fn aside(path: &Path, at: base::time::Timestamp) -> PathBuf {
    let text = base::time::micros(at).replace(':', "-");
    let (start, end) = around(path);
    path.with_file_name(format!("{start}{}{end}", &text[..23.min(text.len())]))
}

/// What stands before and behind the time in the names of old files.
fn around(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    let extension = text(path.extension());
    let end = if extension.is_empty() { extension } else { format!(".{extension}") };
    (format!("{}-", text(path.file_stem())), end)
}

/// Removes old files that are too many or too old.
fn clear(config: &LogConfig, now: SystemTime) -> io::Result<()> {
    let (start, end) = around(&config.path);
    let dir = config.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut old: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let time = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(&end));
        if time.is_some_and(|time| time.len() == 23 && time.as_bytes()[10] == b'T') {
            old.push(dir.join(name));
        }
    }
    // Names sort as their times do.
    old.sort_unstable_by(|a, b| b.cmp(a));
    let age = Duration::from_secs(config.max_age * 24 * 3600);
    for (i, path) in old.iter().enumerate() {
        let too_many = config.max_backups > 0 && i >= config.max_backups;
        let too_old = config.max_age > 0
            && path.metadata().and_then(|m| m.modified()).is_ok_and(|at| now.duration_since(at).is_ok_and(|d| d > age));
        if too_many || too_old {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);
    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
    fn dir() -> Dir {
        let path = std::env::temp_dir().join(format!("ferry-audit-{}", base::ids::suffix(8)));
        std::fs::create_dir(&path).unwrap();
        Dir(path)
    }
    fn names(dir: &Dir) -> Vec<String> {
        let mut all: Vec<String> =
            std::fs::read_dir(&dir.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn a_full_file_is_put_aside_and_few_are_kept() {
        let dir = dir();
        let config = LogConfig { path: dir.0.join("audit.log"), max_age: 0, max_backups: 2, max_size: 1 };
        for name in ["audit-2026-01-01T00-00-00.000.log", "audit-2026-01-02T00-00-00.000.log", "audit-x.log", "other"] {
            std::fs::write(dir.0.join(name), "old").unwrap();
        }
        let file = append(&config.path).unwrap();
        let mut target = Target::File { file, size: 0, torn: false, config };
        assert_eq!(target.take(&vec![b'x'; 1 << 20]), 0);
        assert_eq!(target.take(b"next\n"), 0);
        let names = names(&dir);
        assert_eq!(names.len(), 5, "{names:?}");
        assert!(names.contains(&"audit-2026-01-02T00-00-00.000.log".into()), "the oldest one is gone: {names:?}");
        assert!(!names.contains(&"audit-2026-01-01T00-00-00.000.log".into()), "{names:?}");
        assert_eq!(std::fs::read(dir.0.join("audit.log")).unwrap(), b"next\n");
    }

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted() {
        let config = LogConfig { max_size: 1, ..LogConfig::at("/dev/full".into()) };
        let lost = Arc::new(Counter::default());
        let log = Log::open(&config, lost.clone()).unwrap();
        assert!(log.write(|out| out.extend_from_slice(b"a\nb\n")));
        drop(log);
        assert_eq!(lost.get(), 2);
    }

    /// A line of which half was written is lost, and none after it.
    #[test]
    fn half_a_line_is_lost() {
        struct Small(Vec<u8>);
        impl Write for Small {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let n = bytes.len().min(3).min(5 - self.0.len());
                self.0.extend_from_slice(&bytes[..n]);
                if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut small = Small(Vec::new());
        let (written, end) = pour(&mut small, b"one\ntwo\nthree\n");
        assert_eq!((written, end.map_err(|e| e.kind())), (5, Err(io::ErrorKind::StorageFull)));
        assert_eq!(count(&b"one\ntwo\nthree\n"[written..]), 2);

        let dir = dir();
        let config = LogConfig::at(dir.0.join("audit.log"));
        let mut target = Target::File { file: append(&config.path).unwrap(), size: 0, torn: false, config };
        target.take(b"ha");
        target.take(b"whole\n");
        target.take(b"next\n");
        assert_eq!(std::fs::read(dir.0.join("audit.log")).unwrap(), b"ha\nwhole\nnext\n");
    }

    #[test]
    fn old_files_go_by_age() {
        let dir = dir();
        let config = LogConfig { path: dir.0.join("audit.log"), max_age: 2, max_backups: 0, max_size: 1 };
        std::fs::write(dir.0.join("audit-2026-01-01T00-00-00.000.log"), "old").unwrap();
        let days = |n: u64| SystemTime::from(System.now()) + Duration::from_secs(n * 24 * 3600);
        clear(&config, days(1)).unwrap();
        assert_eq!(names(&dir).len(), 1);
        clear(&config, days(3)).unwrap();
        assert_eq!(names(&dir).len(), 0);
    }

    #[test]
    fn the_name_of_an_old_file() {
        let at = base::time::parse("2026-01-02T03:04:05.678901Z").unwrap();
        assert_eq!(aside(Path::new("/v/audit.log"), at), Path::new("/v/audit-2026-01-02T03-04-05.678.log"));
        assert_eq!(aside(Path::new("/v/audit"), at), Path::new("/v/audit-2026-01-02T03-04-05.678"));
    }
}
