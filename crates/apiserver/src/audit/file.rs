//! The file of the audit log, written by a thread of its own, which tells the requests that wait for it: a disk that is
//! slow stops none of the runtime's threads. Put aside at a size, and old ones packed, and removed by age and number. Names of old files are upstream's:
//! `audit-2026-01-02T03-04-05.678.log`, and `.gz` behind it where it is packed.

use super::{
    backend::{Batching, Limits, Mode, Outcome, Throttle},
    event::Format,
};
use base::clock::{Clock, System};
use flate2::{Compression, write::GzEncoder};
use parking_lot::{Condvar, Mutex};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{JoinHandle, sleep},
    time::{Duration, SystemTime},
};
use telemetry::Counter;
use tokio::{sync::oneshot, time::Instant};

/// The most that may wait for the disk, in bytes.
const BOUND: usize = 16 << 20;
/// Lines are gathered that long before they are written, and as many as there is room for.
const GATHERED: Batching =
    Batching { buffer_size: usize::MAX, max_size: usize::MAX, max_wait: Duration::from_millis(50), throttle: None };
/// Where requests wait nothing gathers longer than the line before it takes.
const AT_ONCE: Batching = Batching { max_wait: Duration::ZERO, ..GATHERED };

/// Where the log goes, and how much of it is kept. Source of the numbers' meaning: upstream's flags `--audit-log-*`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `-` is standard output.
    pub path: PathBuf,
    /// Days that old files are kept; 0 for ever.
    pub max_age: u64,
    /// How many old files are kept; 0 for all.
    pub max_backups: usize,
    /// Megabytes at which a file is put aside; 0 for never.
    pub max_size: u64,
    /// Whether old files are packed (gzip).
    pub compress: bool,
    pub format: Format,
    pub mode: Mode,
    pub batching: Batching,
    pub limits: Option<Limits>,
}

impl LogConfig {
    /// Ferry's own limits: 100 MB, and ten older files, as upstream's documents advise: a flood takes long to push out what
    /// was before it.
    pub fn at(path: PathBuf) -> Self {
        LogConfig {
            path,
            max_age: 0,
            max_backups: 10,
            max_size: 100,
            compress: false,
            format: Format::Json,
            mode: Mode::Batch,
            batching: GATHERED,
            limits: None,
        }
    }
}

/// A log that is written. Dropping it writes what is left.
pub struct Log {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    config: LogConfig,
}

struct Shared {
    buffer: Mutex<Buffer>,
    filled: Condvar,
}

#[derive(Default)]
struct Buffer {
    lines: Vec<u8>,
    count: usize,
    /// Where requests wait: of each line its end among `lines`, and who is told whether the disk took it.
    words: Vec<(usize, oneshot::Sender<bool>)>,
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
        /// Held by whoever is at the old files.
        tidying: Arc<Mutex<()>>,
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
                Target::File { file, size, torn: false, config: config.clone(), tidying: Arc::default() }
            }
        };
        let shared = Arc::new(Shared { buffer: Mutex::default(), filled: Condvar::new() });
        let batching = if config.mode == Mode::Batch { config.batching } else { AT_ONCE };
        let theirs = shared.clone();
        let carry = move || carry(&theirs, target, &batching, &lost);
        let writer = std::thread::Builder::new().name("audit".into()).spawn(carry)?;
        Ok(Log { shared, writer: Some(writer), config: LogConfig { batching, ..config.clone() } })
    }
    pub fn mode(&self) -> Mode {
        self.config.mode
    }
    pub fn format(&self) -> Format {
        self.config.format
    }
    pub fn limits(&self) -> Option<Limits> {
        self.config.limits
    }
    /// Whether events go in as they are.
    pub fn is_plain(&self) -> bool {
        self.config.format == Format::Json && self.config.limits.is_none()
    }
    /// Lets `line` append a line; false where too many wait, and nothing is written. Where requests wait the outcome says
    /// whether the disk took it.
    pub fn write(&self, line: impl FnOnce(&mut Vec<u8>)) -> (bool, Outcome) {
        let (mode, batching) = (self.config.mode, &self.config.batching);
        let mut buffer = self.shared.buffer.lock();
        if buffer.lines.len() >= BOUND || buffer.count >= batching.buffer_size {
            return (false, Outcome::of(false, mode));
        }
        let first = buffer.lines.is_empty();
        line(&mut buffer.lines);
        buffer.count += 1;
        let outcome = match mode {
            Mode::Batch => Outcome::default(),
            Mode::Blocking | Mode::BlockingStrict => {
                let (word, heard) = oneshot::channel();
                let end = buffer.lines.len();
                buffer.words.push((end, word));
                Outcome::later(heard, mode)
            }
        };
        let full = buffer.count == batching.max_size;
        drop(buffer);
        if first || full {
            self.shared.filled.notify_one();
        }
        (true, outcome)
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
fn carry(shared: &Shared, mut target: Target, batching: &Batching, lost: &Counter) {
    let mut throttle = batching.throttle.map(|(rate, burst)| Throttle::new(rate, burst, Instant::now()));
    let mut taken = Vec::new();
    loop {
        let (closed, words) = {
            let mut buffer = shared.buffer.lock();
            while buffer.lines.is_empty() && !buffer.closed {
                shared.filled.wait(&mut buffer);
            }
            if !buffer.closed {
                let more = |b: &mut Buffer| !b.closed && b.lines.len() < BOUND / 4 && b.count < batching.max_size;
                shared.filled.wait_while_for(&mut buffer, more, batching.max_wait);
            }
            std::mem::swap(&mut taken, &mut buffer.lines);
            buffer.count = 0;
            (buffer.closed, std::mem::take(&mut buffer.words))
        };
        match &mut throttle {
            _ if !words.is_empty() => each(&mut target, &taken, words, lost),
            None => lost.add(target.take(&taken)),
            Some(throttle) => {
                for batch in batches(&taken, batching.max_size) {
                    // At the end nobody is kept waiting.
                    if !shared.buffer.lock().closed {
                        sleep(throttle.take(Instant::now()));
                    }
                    lost.add(target.take(batch));
                }
            }
        }
        taken.clear();
        taken.shrink_to(1 << 20);
        if closed {
            return;
        }
    }
}

/// Writes line by line, and tells of each what has become of it.
fn each(target: &mut Target, lines: &[u8], words: Vec<(usize, oneshot::Sender<bool>)>, lost: &Counter) {
    let mut begun = 0;
    for (end, word) in words {
        let gone = target.take(&lines[begun..end]);
        lost.add(gone);
        begun = end;
        // Who asked may be gone.
        let _ = word.send(gone == 0);
    }
}

/// Lines in parts of so many.
fn batches(lines: &[u8], most: usize) -> Vec<&[u8]> {
    let mut out = Vec::new();
    let mut rest = lines;
    while !rest.is_empty() {
        let ends = rest.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1);
        let end = ends.take(most).last().unwrap_or(rest.len());
        let (batch, more) = rest.split_at(end);
        out.push(batch);
        rest = more;
    }
    out
}

impl Target {
    /// Says how many lines are lost.
    fn take(&mut self, lines: &[u8]) -> u64 {
        let Target::File { file, size, torn, config, tidying } = self else {
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
        let (config, tidied) = (config.clone(), tidying.clone());
        let tidy = move || {
            let _one = tidied.lock();
            if let Err(e) = tidy(&config, at.into()) {
                tracing::error!("old files of audit log {}: {e}", config.path.display());
            }
        };
        // Packing takes seconds, in which neither lines nor requests are to wait.
        if let Err(e) = std::thread::Builder::new().name("audit-files".into()).spawn(tidy) {
            tracing::error!("old files of the audit log: {e}");
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

/// Removes old files that are too many or too old, and packs the others where that is wanted.
fn tidy(config: &LogConfig, now: SystemTime) -> io::Result<()> {
    let (start, end) = around(&config.path);
    let dir = config.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut old: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let plain = name.strip_suffix(PACKED).unwrap_or(&name);
        let time = plain.strip_prefix(&start).and_then(|rest| rest.strip_suffix(&end));
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
        } else if config.compress && path.extension().is_none_or(|e| e != &PACKED[1..]) {
            pack(path)?;
        }
    }
    Ok(())
}

/// What stands behind the name of a packed file. Source: lumberjack.
const PACKED: &str = ".gz";

/// Packs a file, which is then gone. It has its name when it is whole, and it keeps the time of the last change.
fn pack(path: &Path) -> io::Result<()> {
    let named = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let (done, begun) = (named(PACKED), named(".gz.tmp"));
    let mut plain = File::open(path)?;
    let packed = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&begun)?;
    let mut packer = GzEncoder::new(packed, Compression::default());
    io::copy(&mut plain, &mut packer)?;
    let packed = packer.finish()?;
    packed.set_modified(plain.metadata()?.modified()?)?;
    packed.sync_all()?;
    std::fs::rename(&begun, &done)?;
    std::fs::remove_file(path)
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::fd::AsRawFd};

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
        let config = LogConfig { max_backups: 2, max_size: 1, ..LogConfig::at(dir.0.join("audit.log")) };
        for name in ["audit-2026-01-01T00-00-00.000.log", "audit-2026-01-02T00-00-00.000.log", "audit-x.log", "other"] {
            std::fs::write(dir.0.join(name), "old").unwrap();
        }
        let file = append(&config.path).unwrap();
        let tidying: Arc<Mutex<()>> = Arc::default();
        let mut target = Target::File { file, size: 0, torn: false, config: config.clone(), tidying: tidying.clone() };
        // Whoever tidies waits; what it would do is done here.
        let held = tidying.lock();
        assert_eq!(target.take(&vec![b'x'; 1 << 20]), 0);
        assert_eq!(target.take(b"next\n"), 0);
        tidy(&config, System.now().into()).unwrap();
        drop(held);
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
        assert!(log.write(|out| out.extend_from_slice(b"a\nb\n")).0);
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
        let file = append(&config.path).unwrap();
        let mut target = Target::File { file, size: 0, torn: false, config, tidying: Arc::default() };
        target.take(b"ha");
        target.take(b"whole\n");
        target.take(b"next\n");
        assert_eq!(std::fs::read(dir.0.join("audit.log")).unwrap(), b"ha\nwhole\nnext\n");
    }

    #[test]
    fn old_files_go_by_age() {
        let dir = dir();
        let config = LogConfig { max_age: 2, max_backups: 0, ..LogConfig::at(dir.0.join("audit.log")) };
        std::fs::write(dir.0.join("audit-2026-01-01T00-00-00.000.log"), "old").unwrap();
        let days = |n: u64| SystemTime::from(System.now()) + Duration::from_secs(n * 24 * 3600);
        tidy(&config, days(1)).unwrap();
        assert_eq!(names(&dir).len(), 1);
        tidy(&config, days(3)).unwrap();
        assert_eq!(names(&dir).len(), 0);
    }

    #[test]
    fn old_files_are_packed_and_go_as_others_do() {
        let dir = dir();
        let own = LogConfig::at(dir.0.join("audit.log"));
        let config = LogConfig { compress: true, max_backups: 2, max_age: 2, ..own };
        for (day, text) in [(1, "one"), (2, "two"), (3, "three")] {
            std::fs::write(dir.0.join(format!("audit-2026-01-0{day}T00-00-00.000.log")), text).unwrap();
        }
        let now = SystemTime::from(System.now());
        tidy(&config, now).unwrap();
        tidy(&config, now).unwrap();
        assert_eq!(names(&dir), ["audit-2026-01-02T00-00-00.000.log.gz", "audit-2026-01-03T00-00-00.000.log.gz"]);
        let packed = File::open(dir.0.join("audit-2026-01-03T00-00-00.000.log.gz")).unwrap();
        assert_eq!(io::read_to_string(flate2::read::GzDecoder::new(packed)).unwrap(), "three");
        tidy(&config, now + Duration::from_secs(3 * 24 * 3600)).unwrap();
        assert!(names(&dir).is_empty());
    }

    #[tokio::test]
    async fn a_line_is_there_before_the_request_goes_on() {
        let dir = dir();
        let own = LogConfig::at(dir.0.join("audit.log"));
        let log = Log::open(&LogConfig { mode: Mode::Blocking, ..own.clone() }, Arc::default()).unwrap();
        assert!(log.write(|out| out.extend_from_slice(b"a\n")).1.settled().await);
        assert_eq!(std::fs::read(&own.path).unwrap(), b"a\n");
        let full = LogConfig { mode: Mode::BlockingStrict, ..LogConfig::at("/dev/full".into()) };
        let lost = Arc::new(Counter::default());
        let log = Log::open(&full, lost.clone()).unwrap();
        let (taken, outcome) = log.write(|out| out.extend_from_slice(b"a\n"));
        assert_eq!((taken, outcome.settled().await), (true, false));
        assert_eq!(lost.get(), 1);
    }

    /// On a runtime of one thread: were it stopped by the write, nobody could empty the pipe.
    #[tokio::test]
    async fn a_disk_that_is_slow_stops_nobody_else() {
        let (mut end, start) = io::pipe().unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", start.as_raw_fd()));
        let config = LogConfig { mode: Mode::BlockingStrict, ..LogConfig::at(path) };
        let log = Log::open(&config, Arc::default()).unwrap();
        let text = [vec![b'x'; 1 << 20], b"\n".to_vec()].concat();
        let (taken, outcome) = log.write(|out| out.extend_from_slice(&text));
        let mut settled = Box::pin(outcome.settled());
        assert!(taken && futures::poll!(&mut settled).is_pending(), "more than a pipe holds");
        let mut read = vec![0; text.len()];
        end.read_exact(&mut read).unwrap();
        assert!(settled.await && read == text);
    }

    /// Nothing is without bound where requests wait either.
    #[test]
    fn what_waits_for_the_disk_is_bounded() {
        let (end, start) = io::pipe().unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", start.as_raw_fd()));
        let log = Log::open(&LogConfig { mode: Mode::Blocking, ..LogConfig::at(path) }, Arc::default()).unwrap();
        let taken = (0..100).filter(|_| log.write(|out| out.resize(out.len() + (1 << 20), b'\n')).0).count();
        assert!((16..=32).contains(&taken), "what waits, and what is being written: {taken}");
        // The writer ends when nobody reads.
        drop(end);
    }

    #[test]
    fn lines_in_batches() {
        let parts = |most| batches(b"a\nb\nc\n", most).into_iter().map(String::from_utf8_lossy).collect::<Vec<_>>();
        assert_eq!(parts(2), ["a\nb\n", "c\n"]);
        assert_eq!(parts(usize::MAX), ["a\nb\nc\n"]);
    }

    #[test]
    fn the_name_of_an_old_file() {
        let at = base::time::parse("2026-01-02T03:04:05.678901Z").unwrap();
        assert_eq!(aside(Path::new("/v/audit.log"), at), Path::new("/v/audit-2026-01-02T03-04-05.678.log"));
        assert_eq!(aside(Path::new("/v/audit"), at), Path::new("/v/audit-2026-01-02T03-04-05.678"));
    }
}
