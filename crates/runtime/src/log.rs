//! Container logs in the form that the kubelet reads: `<RFC3339Nano> stdout F <line>`, `P` for a part of a long line.
//!
//! Lines are cut at 16 KiB. The shim rotates by size, because it is there when the daemon is not: the current file is renamed
//! with the time (`0.log.20260102-030405`), and the oldest beyond the limit goes. A log that cannot be written is dropped,
//! never the container's output blocked: a full disk must not stop the pod.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::protocol::LogTarget;

/// Longest piece of a line in one entry.
pub const MAX_LINE: usize = 16 << 10;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Cuts a stream of bytes into entries.
#[derive(Debug, Default)]
pub struct Splitter {
    pending: Vec<u8>,
}

impl Splitter {
    /// Appends the entries that `bytes` completes to `out`, each with the given time.
    pub fn feed(&mut self, stream: Stream, mut bytes: &[u8], time: &str, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.pending.len();
            let newline = bytes.iter().take(room + 1).position(|b| *b == b'\n');
            match newline {
                Some(at) => {
                    entry(stream, b'F', &[&self.pending, &bytes[..at]], time, out);
                    self.pending.clear();
                    bytes = &bytes[at + 1..];
                }
                None if bytes.len() > room => {
                    entry(stream, b'P', &[&self.pending, &bytes[..room]], time, out);
                    self.pending.clear();
                    bytes = &bytes[room..];
                }
                None => {
                    self.pending.extend_from_slice(bytes);
                    bytes = &[];
                }
            }
        }
    }

    /// What is left at the end of the stream: a part, because no line end came (as containerd has it).
    pub fn finish(&mut self, stream: Stream, time: &str, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            entry(stream, b'P', &[&self.pending], time, out);
            self.pending = Vec::new();
        }
    }
}

fn entry(stream: Stream, tag: u8, parts: &[&[u8]], time: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(if stream == Stream::Stdout { b" stdout " } else { b" stderr " });
    out.push(tag);
    out.push(b' ');
    for part in parts {
        out.extend_from_slice(part);
    }
    out.push(b'\n');
}

/// The log of one container.
#[derive(Debug, Default)]
pub struct Log {
    target: LogTarget,
    file: Option<File>,
    size: u64,
    stdout: Splitter,
    stderr: Splitter,
    buffer: Vec<u8>,
}

impl Log {
    /// Opens (or makes) the file; a log without a path takes everything and keeps nothing.
    pub fn open(target: LogTarget) -> io::Result<Self> {
        let mut log = Self { target, ..Self::default() };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the file anew, after somebody moved it.
    pub fn reopen(&mut self) -> io::Result<()> {
        if self.target.path.as_os_str().is_empty() {
            return Ok(());
        }
        let file = OpenOptions::new().create(true).append(true).open(&self.target.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Writes output of the container.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let time = timestamp(SystemTime::now());
        let splitter = if stream == Stream::Stdout { &mut self.stdout } else { &mut self.stderr };
        splitter.feed(stream, bytes, &time, &mut self.buffer);
        self.flush();
    }

    /// Writes what is left of both streams.
    pub fn finish(&mut self) {
        let time = timestamp(SystemTime::now());
        self.stdout.finish(Stream::Stdout, &time, &mut self.buffer);
        self.stderr.finish(Stream::Stderr, &time, &mut self.buffer);
        self.flush();
        self.file = None;
        self.buffer = Vec::new();
    }

    fn flush(&mut self) {
        if let Some(file) = self.file.as_mut().filter(|_| !self.buffer.is_empty()) {
            if file.write_all(&self.buffer).is_ok() {
                self.size += self.buffer.len() as u64;
            }
            if self.target.max_size > 0 && self.size > self.target.max_size && self.rotate().is_err() {
                // Go on with the file as it is; try again after as many bytes.
                self.size = 0;
            }
        }
        self.buffer.clear();
    }

    fn rotate(&mut self) -> io::Result<()> {
        let rotated = rotated_files(&self.target.path)?;
        let excess = (rotated.len() + 2).saturating_sub(self.target.max_files.max(2));
        for old in &rotated[..excess.min(rotated.len())] {
            let _ = std::fs::remove_file(old);
        }
        let time = timestamp(SystemTime::now());
        // 2026-01-02T03:04:05.678901234Z: sorts as text; the fraction keeps two rotations of one second apart.
        let compact: String = time.chars().filter(char::is_ascii_digit).collect();
        let mut name = self.target.path.as_os_str().to_owned();
        name.push(format!(".{}-{}", &compact[..8], &compact[8..]));
        std::fs::rename(&self.target.path, PathBuf::from(name))?;
        self.reopen()
    }
}

/// Rotated files of a log, oldest first.
pub fn rotated_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{name}.");
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)?
        .flatten()
        .filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(&prefix)))
        .map(|e| e.path())
        .collect();
    found.sort();
    Ok(found)
}

/// RFC 3339 in UTC with nine digits of a second.
pub fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (secs, nanos) = (since.as_secs(), since.subsec_nanos());
    let (days, rest) = (secs / 86_400, secs % 86_400);
    let (y, m, d) = civil(days as i64);
    format!("{y:04}-{m:02}-{d:02}T{:02}:{:02}:{:02}.{nanos:09}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a day since the epoch (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn split(chunks: &[&[u8]]) -> String {
        let (mut s, mut out) = (Splitter::default(), Vec::new());
        for c in chunks {
            s.feed(Stream::Stdout, c, "T", &mut out);
        }
        s.finish(Stream::Stdout, "T", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines() {
        assert_eq!(split(&[b"a\nb\n"]), "T stdout F a\nT stdout F b\n");
        assert_eq!(split(&[b"he", b"llo", b"\n\nx"]), "T stdout F hello\nT stdout F \nT stdout P x\n");
        assert_eq!(split(&[]), "");
    }

    #[test]
    fn long_lines_are_cut_into_parts() {
        let exact = vec![b'x'; MAX_LINE];
        let x = "x".repeat(MAX_LINE);
        // Exactly the limit is one full line, one more byte is a part and a rest, however the bytes arrive.
        assert_eq!(split(&[&exact, b"\n"]), format!("T stdout F {x}\n"));
        assert_eq!(split(&[&exact, b"y\n"]), format!("T stdout P {x}\nT stdout F y\n"));
        assert_eq!(split(&[&exact, &exact, b"\n"]), format!("T stdout P {x}\nT stdout F {x}\n"));
        let one = [&exact[..], b"yz\n"].concat();
        let bytes: Vec<&[u8]> = one.chunks(1).collect();
        assert_eq!(split(&bytes), split(&[&one]));
    }

    #[test]
    fn times() {
        let at = |s, n| timestamp(UNIX_EPOCH + Duration::new(s, n));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(at(1_767_323_045, 678_901_234), "2026-01-02T03:04:05.678901234Z");
        assert_eq!(at(951_782_400, 1), "2000-02-29T00:00:00.000000001Z");
    }

    #[test]
    fn rotation_keeps_so_many() {
        let dir = std::env::temp_dir().join(format!("ferry-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("0.log");
        let mut log = Log::open(LogTarget { path: path.clone(), max_size: 100, max_files: 3 }).unwrap();
        for n in 0..20 {
            log.write(Stream::Stderr, format!("line {n} with some length\n").as_bytes());
        }
        log.write(Stream::Stdout, b"end");
        log.finish();
        let rotated = rotated_files(&path).unwrap().len();
        let last = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(rotated, 2);
        assert!(last.ends_with(" stdout P end\n"), "{last:?}");
    }
}
