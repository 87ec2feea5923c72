//! The manifest: which files are the store. Text of a few lines with a checksum, replaced as a whole by rename.
//!
//! It names the base segments and the first log segment; the log goes on from there through all higher numbers. It
//! changes only when the log is folded, so commits and new log segments cost it nothing.

use crate::segment::sync_dir;
use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    num::NonZeroU32,
    path::Path,
};
use store::OpenError;

/// Its file name.
pub const NAME: &str = "MANIFEST";
const FIRST_LINE: &str = "ferry-store 1";

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub base: Vec<NonZeroU32>,
    /// The first log segment, and the number of its first frame.
    pub log: NonZeroU32,
    pub frame: u64,
}

impl Manifest {
    fn encode(&self) -> String {
        let mut out = format!("{FIRST_LINE}\n");
        for id in &self.base {
            let _ = writeln!(out, "base {id}");
        }
        let _ = writeln!(out, "log {} {}", self.log, self.frame);
        let crc = crc32fast::hash(out.as_bytes());
        let _ = writeln!(out, "crc {crc:08x}");
        out
    }

    fn decode(text: &str) -> Option<Self> {
        let (body, crc) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let body = format!("{body}\n");
        if crc != format!("crc {:08x}", crc32fast::hash(body.as_bytes())) {
            return None;
        }
        let mut lines = body.lines();
        if lines.next() != Some(FIRST_LINE) {
            return None;
        }
        let mut base = Vec::new();
        for line in lines {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["base", id] => base.push(id.parse().ok()?),
                ["log", id, frame] => {
                    return Some(Manifest { base, log: id.parse().ok()?, frame: frame.parse().ok()? });
                }
                _ => return None,
            }
        }
        None
    }

    /// Reads it; `None` where there is none.
    pub fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => match std::str::from_utf8(&bytes).ok().and_then(Self::decode) {
                Some(manifest) => Ok(Some(manifest)),
                None => {
                    Err(OpenError::Corrupt { file: path, offset: 0, what: "the manifest fails its checksum".into() })
                }
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(OpenError::Io { path, source }),
        }
    }

    /// Replaces it, durably.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let unnamed = dir.join("MANIFEST.tmp");
        let mut file = File::create(&unnamed)?;
        file.write_all(self.encode().as_bytes())?;
        file.sync_all()?;
        fs::rename(&unnamed, dir.join(NAME))?;
        sync_dir(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_round_trips_and_knows_when_it_is_damaged() {
        let id = |n| NonZeroU32::new(n).expect("not zero");
        let manifest = Manifest { base: vec![id(7), id(8)], log: id(5), frame: 90 };
        let text = manifest.encode();
        assert_eq!(Manifest::decode(&text), Some(manifest));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(std::str::from_utf8(&bytes).ok().and_then(Manifest::decode), None, "byte {at}");
            assert_eq!(Manifest::decode(&text[..at]), None, "cut at {at}");
        }
    }
}
