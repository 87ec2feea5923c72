//! Container logs in the CRI format: selection and following.
//!
//! A line of a log file is `<RFC 3339 time> <stream> <tags> <text>`; tag `P` says that the line goes on in the next one.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::Path,
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

/// The text of the last lines, for termination messages.
pub fn last_lines(path: &Path, lines: usize, bytes: usize) -> String {
    let Ok(raw) = tail(path, 64 * 1024) else { return String::new() };
    let mut out: Vec<u8> = Vec::new();
    let all: Vec<&[u8]> = raw.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
    for line in &all[all.len().saturating_sub(lines)..] {
        if let Some(line) = parse(line) {
            out.extend_from_slice(line.text);
            if line.full {
                out.push(b'\n');
            }
        }
    }
    String::from_utf8_lossy(&out[out.len().saturating_sub(bytes)..]).into_owned()
}

fn tail(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(max)))?;
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}
