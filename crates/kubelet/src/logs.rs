//! Container logs in the CRI format: which lines a reader gets, and reading them through rotations.
//!
//! A line of a log file is `<RFC 3339 time> <stream> <tags> <text>`; tag `P` says that the line goes on in the next one.
//! The runtime rotates by renaming `<n>.log` to `<n>.log.<time>`; a reader that follows finishes the renamed file first.

use base::time::Timestamp;
use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// One line of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    pub time: &'a str,
    /// `stdout` or `stderr`
    pub stream: &'a str,
    /// The text ends here with a line break of the container.
    pub full: bool,
    pub text: &'a [u8],
}

/// Splits a line (without its line break); `None` where it is none.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let tags = parts.next()?;
    let text = parts.next().unwrap_or_default();
    let known = matches!(stream, "stdout" | "stderr");
    known.then_some(Line { time, stream, full: !tags.starts_with(b"P"), text })
}

/// `PodLogOptions` without the container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    pub follow: bool,
    pub previous: bool,
    pub since: Option<Timestamp>,
    pub timestamps: bool,
    pub tail: Option<usize>,
    pub limit: Option<usize>,
    /// `Stdout`, `Stderr`; both where it is `None`.
    pub stream: Option<String>,
}

/// Turns lines of the file into what a reader gets.
#[derive(Debug)]
pub struct Selector {
    options: Options,
    written: usize,
    at_line_start: bool,
}

impl Selector {
    pub fn new(options: Options) -> Self {
        Selector { options, written: 0, at_line_start: true }
    }
    /// Takes one line of the file; false once the reader has got all that it may get.
    pub fn take(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(line) = parse(line) else { return true };
        if self.options.stream.as_ref().is_some_and(|s| !s.eq_ignore_ascii_case(line.stream)) {
            return true;
        }
        if let Some(since) = self.options.since
            && base::time::parse(line.time).is_some_and(|time| time < since)
        {
            return true;
        }
        let begun = out.len();
        if self.options.timestamps && self.at_line_start {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if line.full {
            out.push(b'\n');
        }
        self.at_line_start = line.full;
        self.written += out.len() - begun;
        match self.options.limit.filter(|limit| self.written >= *limit) {
            Some(limit) => {
                out.truncate(out.len() - (self.written - limit));
                self.written = limit;
                false
            }
            None => true,
        }
    }
}

/// Reads a log file from a place on, through its rotations.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// Files that come after the open one.
    newer: Vec<PathBuf>,
    file: fs::File,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Reader {
    /// At the beginning of the oldest file, or `tail` lines before the end.
    pub fn open(path: &Path, tail: Option<usize>) -> io::Result<Self> {
        // The order in which they are read: rotated ones from the oldest on, the present one last.
        let mut files = rotated(path);
        files.push(path.to_path_buf());
        let mut first = 0;
        let mut offset = 0;
        if let Some(mut wanted) = tail {
            // From the newest file back until enough lines are found.
            first = files.len();
            while first > 0 {
                first -= 1;
                let (begin, found) = tail_offset(&mut fs::File::open(&files[first])?, wanted)?;
                offset = begin;
                if found >= wanted {
                    break;
                }
                wanted -= found;
            }
        }
        let mut file = fs::File::open(&files[first])?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Reader { path: path.into(), newer: files.split_off(first + 1), file, rest: Vec::new() })
    }
    /// Hands on the lines that are there, at most about a megabyte; `Ok(None)` at the present end.
    pub fn read(&mut self, selector: &mut Selector, out: &mut Vec<u8>) -> io::Result<Option<bool>> {
        let mut buffer = vec![0; 64 * 1024];
        let mut any = false;
        while out.len() < 1 << 20 {
            let n = self.file.read(&mut buffer)?;
            if n == 0 {
                if self.next_file()? {
                    any = true;
                    continue;
                }
                break;
            }
            any = true;
            self.rest.extend_from_slice(&buffer[..n]);
            let mut begin = 0;
            while let Some(end) = self.rest[begin..].iter().position(|b| *b == b'\n') {
                if !selector.take(&self.rest[begin..begin + end], out) {
                    return Ok(Some(false));
                }
                begin += end + 1;
            }
            self.rest.drain(..begin);
        }
        Ok(any.then_some(true))
    }
    fn next_file(&mut self) -> io::Result<bool> {
        if let Some(next) = (!self.newer.is_empty()).then(|| self.newer.remove(0)) {
            self.file = fs::File::open(next)?;
            return Ok(true);
        }
        // Renamed under us: whatever was still written to it has been read to its end just now.
        let fresh = match fs::File::open(&self.path) {
            Ok(fresh) => fresh,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        if fresh.metadata()?.ino() == self.file.metadata()?.ino() {
            return Ok(false);
        }
        self.file = fresh;
        Ok(true)
    }
}

/// Where the last `lines` lines begin, and how many there are from there on.
fn tail_offset(file: &mut fs::File, lines: usize) -> io::Result<(u64, usize)> {
    let end = file.metadata()?.len();
    if lines == 0 {
        return Ok((end, 0));
    }
    let (mut position, mut found) = (end, 0);
    let mut last_byte = true;
    while position > 0 {
        let size = position.min(64 * 1024);
        position -= size;
        let mut block = vec![0; size as usize];
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut block)?;
        for (i, byte) in block.iter().enumerate().rev() {
            // The line break that ends the file ends the last line; it begins none.
            if *byte == b'\n' && !std::mem::take(&mut last_byte) {
                found += 1;
                if found == lines {
                    return Ok((position + i as u64 + 1, found));
                }
            }
            last_byte = false;
        }
    }
    Ok((0, if end > 0 { found + 1 } else { 0 }))
}

/// The rotated files of a log, oldest first: their names sort by time.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else { return Vec::new() };
    let prefix = format!("{name}.");
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(&prefix) && !n.ends_with(".gz")))
        .map(|e| e.path())
        .collect();
    files.sort();
    files
}

/// Removes a log file with its rotated ones.
pub fn remove(path: &Path) {
    for file in rotated(path) {
        let _ = fs::remove_file(file);
    }
    let _ = fs::remove_file(path);
}

/// The text of the last lines, for termination messages.
pub fn last_lines(path: &Path, lines: usize, bytes: usize) -> String {
    let Ok(mut reader) = Reader::open(path, Some(lines)) else { return String::new() };
    let (mut selector, mut out) = (Selector::new(Options::default()), Vec::new());
    while let Ok(Some(true)) = reader.read(&mut selector, &mut out) {
        let excess = out.len().saturating_sub(bytes);
        out.drain(..excess);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The attempts of a container that have a log file, lowest first.
pub fn attempts(dir: &Path) -> Vec<u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<u32> =
        entries.filter_map(|e| e.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: u32, tag: &str, text: &str) -> String {
        format!("2026-01-01T00:00:{second:02}.000000001Z stdout {tag} {text}\n")
    }

    struct Dir(PathBuf);
    impl Dir {
        fn new() -> Self {
            let dir = std::env::temp_dir().join(format!("ferry-logs-{}", base::ids::suffix(8)));
            fs::create_dir(&dir).unwrap();
            Dir(dir)
        }
        fn log(&self) -> PathBuf {
            self.0.join("0.log")
        }
    }
    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn all(path: &Path, options: Options) -> String {
        let mut reader = Reader::open(path, options.tail).unwrap();
        let (mut selector, mut out) = (Selector::new(options), Vec::new());
        while let Some(true) = reader.read(&mut selector, &mut out).unwrap() {}
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn selection() {
        let dir = Dir::new();
        let text = [line(1, "F", "one"), line(2, "P", "two-"), line(2, "F", "more"), line(3, "F", "three")].concat();
        fs::write(dir.log(), text + "garbage\n").unwrap();
        let since = base::time::parse("2026-01-01T00:00:02Z");
        for (options, want) in [
            (Options::default(), "one\ntwo-more\nthree\n"),
            (Options { tail: Some(0), ..Options::default() }, ""),
            (Options { tail: Some(2), ..Options::default() }, "three\n"),
            (Options { tail: Some(99), ..Options::default() }, "one\ntwo-more\nthree\n"),
            (Options { since, ..Options::default() }, "two-more\nthree\n"),
            (Options { limit: Some(5), ..Options::default() }, "one\nt"),
            (Options { stream: Some("Stderr".into()), ..Options::default() }, ""),
            (
                Options { timestamps: true, since, limit: Some(40), ..Options::default() },
                "2026-01-01T00:00:02.000000001Z two-more\n",
            ),
        ] {
            assert_eq!(all(&dir.log(), options.clone()), want, "{options:?}");
        }
    }

    #[test]
    fn rotated_files_belong_to_it() {
        let dir = Dir::new();
        fs::write(dir.0.join("0.log.20260101-000001"), line(1, "F", "a") + &line(2, "F", "b")).unwrap();
        fs::write(dir.0.join("0.log.20260101-000002"), line(3, "F", "c")).unwrap();
        fs::write(dir.log(), line(4, "F", "d")).unwrap();
        assert_eq!(all(&dir.log(), Options::default()), "a\nb\nc\nd\n");
        for (tail, want) in [(1, "d\n"), (2, "c\nd\n"), (3, "b\nc\nd\n"), (9, "a\nb\nc\nd\n")] {
            assert_eq!(all(&dir.log(), Options { tail: Some(tail), ..Options::default() }), want, "{tail}");
        }
        assert_eq!(last_lines(&dir.log(), 2, 100), "c\nd\n");
        assert_eq!(attempts(&dir.0), [0]);
    }

    #[test]
    fn a_follower_survives_a_rotation() {
        let dir = Dir::new();
        let first = line(1, "F", "a");
        fs::write(dir.log(), &first[..20]).unwrap();
        let mut reader = Reader::open(&dir.log(), None).unwrap();
        let (mut selector, mut out) = (Selector::new(Options::default()), Vec::new());
        reader.read(&mut selector, &mut out).unwrap();
        assert!(out.is_empty(), "no half lines");
        fs::OpenOptions::new()
            .append(true)
            .open(dir.log())
            .and_then(|mut f| io::Write::write_all(&mut f, &first.as_bytes()[20..]))
            .unwrap();
        fs::rename(dir.log(), dir.0.join("0.log.1")).unwrap();
        assert_eq!(reader.read(&mut selector, &mut out).unwrap(), Some(true));
        fs::write(dir.log(), line(2, "F", "b")).unwrap();
        assert_eq!(reader.read(&mut selector, &mut out).unwrap(), Some(true));
        assert_eq!(reader.read(&mut selector, &mut out).unwrap(), None);
        assert_eq!(out, b"a\nb\n");
    }
}
