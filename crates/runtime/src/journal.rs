//! The journal of a pod: one record per change of a container's state, appended by whoever owns the pod at the time (its
//! shim; the daemon once the shim is gone), never both.
//!
//! A record is a length, a CRC-32 and JSON. There is no fsync: the journal has to survive the death of processes, not of the
//! machine, whose containers are gone with it anyway. A torn tail (a record cut short, a bad checksum) ends the journal and
//! is cut off by the next writer: what it described was never told to anybody.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cri::{ContainerEventKind, ContainerExit};
use serde::{Deserialize, Serialize};

/// One change of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub sequence: u64,
    pub container: String,
    pub kind: ContainerEventKind,
    /// Nanoseconds since the epoch.
    pub at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ContainerExit>,
    /// With `Started`: the first process in the daemon's pid namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}

/// Beyond this size the writer drops what nobody needs.
const COMPACT_AT: u64 = 256 << 10;

/// The bytes of a record.
pub fn encode(record: &Record) -> Vec<u8> {
    let json = serde_json::to_vec(record).unwrap_or_default();
    let mut out = Vec::with_capacity(json.len() + 8);
    out.extend_from_slice(&(json.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&json).to_le_bytes());
    out.extend_from_slice(&json);
    out
}

/// All whole records from the beginning, and how many bytes they take; what comes after is a torn tail.
pub fn decode(mut bytes: &[u8]) -> (Vec<Record>, usize) {
    let mut records = Vec::new();
    let mut used = 0;
    while let Some((record, size)) = first(bytes) {
        records.push(record);
        used += size;
        bytes = &bytes[size..];
    }
    (records, used)
}

fn first(bytes: &[u8]) -> Option<(Record, usize)> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let crc = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    let json = bytes.get(8..8usize.checked_add(length)?)?;
    if crc32fast::hash(json) != crc {
        return None;
    }
    Some((serde_json::from_slice(json).ok()?, 8 + length))
}

/// Everything in the file; nothing if it is not there.
pub fn read(path: &Path) -> io::Result<Vec<Record>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(decode(&bytes).0),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// What is still needed: records nobody has acknowledged, those of containers that exist, and the last one for its number.
pub fn needed(records: &[Record], acknowledged: u64) -> Vec<Record> {
    let deleted: std::collections::HashSet<&str> =
        records.iter().filter(|r| r.kind == ContainerEventKind::Deleted).map(|r| r.container.as_str()).collect();
    let last = records.last().map_or(0, |r| r.sequence);
    let keep = |r: &&Record| r.sequence > acknowledged || r.sequence == last || !deleted.contains(r.container.as_str());
    records.iter().filter(keep).cloned().collect()
}

/// The writing end.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    size: u64,
    compacted_size: u64,
    last: u64,
}

impl Journal {
    /// Opens for appending, cutting off a torn tail.
    pub fn open(path: &Path) -> io::Result<Self> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let (records, used) = decode(&bytes);
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        if used < bytes.len() {
            file.set_len(used as u64)?;
        }
        let last = records.last().map_or(0, |r| r.sequence);
        Ok(Self { path: path.into(), file, size: used as u64, compacted_size: 0, last })
    }

    /// Appends, filling in the sequence, in one write.
    pub fn append(&mut self, mut record: Record) -> io::Result<Record> {
        record.sequence = self.last + 1;
        let bytes = encode(&record);
        if let Err(e) = self.file.write_all(&bytes) {
            // A partial write would hide everything after it.
            let _ = self.file.set_len(self.size);
            return Err(e);
        }
        self.last = record.sequence;
        self.size += bytes.len() as u64;
        Ok(record)
    }

    /// Rewrites the file without what is no longer needed, if it has grown a lot since the last time.
    pub fn compact(&mut self, acknowledged: u64) -> io::Result<()> {
        if self.size < COMPACT_AT + 2 * self.compacted_size {
            return Ok(());
        }
        let kept: Vec<u8> = needed(&read(&self.path)?, acknowledged).iter().flat_map(encode).collect();
        let temporary = self.path.with_extension("new");
        std::fs::write(&temporary, &kept)?;
        std::fs::rename(&temporary, &self.path)?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        self.size = kept.len() as u64;
        self.compacted_size = self.size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ContainerEventKind::*;

    fn record(sequence: u64, container: &str, kind: ContainerEventKind) -> Record {
        Record { sequence, container: container.into(), kind, at: 1, exit: None, pid: None }
    }

    fn sequences(records: &[Record]) -> Vec<u64> {
        records.iter().map(|r| r.sequence).collect()
    }

    #[test]
    fn torn_tails_end_it_and_nothing_else_does() {
        let all: Vec<u8> = (1..=3).flat_map(|n| encode(&record(n, "a", Started))).collect();
        let one = all.len() / 3;
        for cut in 0..=all.len() {
            assert_eq!(decode(&all[..cut]).0.len(), cut / one, "cut at {cut}");
        }
        let mut flipped = all.clone();
        flipped[one + 10] ^= 1;
        assert_eq!(decode(&flipped), (vec![record(1, "a", Started)], one));
        let mut huge = all.clone();
        huge[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&huge).0, []);
    }

    #[test]
    fn compaction_keeps_the_living_and_the_unheard() {
        let records = [
            record(1, "a", Created),
            record(2, "b", Created),
            record(3, "a", Deleted),
            record(4, "c", Created),
            record(5, "c", Deleted),
        ];
        assert_eq!(sequences(&needed(&records, 0)), [1, 2, 3, 4, 5]);
        assert_eq!(sequences(&needed(&records, 3)), [2, 4, 5]);
        assert_eq!(sequences(&needed(&records, 5)), [2, 5]);
    }

    #[test]
    fn compaction_goes_on_where_it_was() {
        let path = std::env::temp_dir().join(format!("ferry-compact-{}", std::process::id()));
        let mut journal = Journal::open(&path).unwrap();
        let mut last = 0;
        for n in 0..3000 {
            for kind in [Created, Deleted] {
                last = journal.append(record(0, &format!("container-{n}"), kind)).unwrap().sequence;
            }
            journal.compact(last.saturating_sub(10)).unwrap();
        }
        let (size, got) = (std::fs::metadata(&path).unwrap().len(), read(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(size < 300 << 10, "{size}");
        assert_eq!((last, got.last().unwrap().sequence), (6000, 6000));
        assert!(got.windows(2).all(|w| w[1].sequence == w[0].sequence + 1));
    }

    #[test]
    fn a_writer_cuts_the_torn_tail_and_goes_on_counting() {
        let path = std::env::temp_dir().join(format!("ferry-journal-{}", std::process::id()));
        let mut bytes = encode(&record(7, "a", Created));
        bytes.extend_from_slice(&encode(&record(8, "a", Started))[..9]);
        std::fs::write(&path, bytes).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        journal.append(record(0, "a", Stopped)).unwrap();
        let got = read(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(sequences(&got.unwrap()), [7, 8]);
    }
}
