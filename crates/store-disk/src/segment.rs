//! Segment files: made, read through, and kept open.
//!
//! A file gets its name only when its header is durable, so what bears the name is a segment. Open files are shared by
//! reference count: a reader holds the [`Table`] that its slots came with, and a segment that is removed meanwhile
//! stays readable for it.

use crate::frame::{self, Body, Header, Kind, SegmentHeader};
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    num::NonZeroU32,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use store::OpenError;

/// How much is read at once.
const CHUNK: usize = 1 << 20;

/// An open file.
#[derive(Debug)]
pub struct Segment {
    pub header: SegmentHeader,
    pub path: PathBuf,
    pub file: File,
}

impl Segment {
    /// `00000012.log`, `00000007.base`.
    pub fn name(kind: Kind, id: NonZeroU32) -> String {
        match kind {
            Kind::Log => format!("{id:08}.log"),
            Kind::Base => format!("{id:08}.base"),
        }
    }

    /// The number and kind that a file name gives.
    pub fn parse_name(name: &str) -> Option<(Kind, NonZeroU32)> {
        let (id, extension) = name.split_once('.')?;
        let kind = match extension {
            "log" => Kind::Log,
            "base" => Kind::Base,
            _ => return None,
        };
        Some((kind, id.parse().ok()?))
    }

    /// Makes a file with `space` bytes set aside and its header durable.
    pub fn create(dir: &Path, kind: Kind, id: NonZeroU32, first: u64, space: u64) -> io::Result<Segment> {
        let salt = u64::from_le_bytes(base::ids::random());
        let header = SegmentHeader { kind, id: id.get(), salt, first };
        let path = dir.join(Self::name(kind, id));
        let unnamed = path.with_extension("tmp");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&unnamed)?;
        set_aside(&file, space)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        fs::rename(&unnamed, &path)?;
        sync_dir(dir)?;
        Ok(Segment { header, path, file })
    }

    /// Opens a file and checks its header.
    pub fn open(dir: &Path, kind: Kind, id: NonZeroU32) -> Result<Segment, OpenError> {
        let path = dir.join(Self::name(kind, id));
        let io = |source| OpenError::Io { path: path.clone(), source };
        let corrupt = |what| OpenError::Corrupt { file: path.clone(), offset: 0, what };
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(corrupt("the file is missing".into())),
            other => other.map_err(io)?,
        };
        let mut bytes = [0; frame::SEGMENT_HEADER];
        let len = read_at(&file, &mut bytes, 0).map_err(io)?;
        let header = SegmentHeader::decode(&bytes[..len]).map_err(corrupt)?;
        if header.kind != kind || header.id != id.get() {
            return Err(corrupt(format!("the header says segment {}: the file was renamed", header.id)));
        }
        Ok(Segment { header, path, file })
    }

    pub fn corrupt(&self, offset: u64, what: impl Into<String>) -> OpenError {
        OpenError::Corrupt { file: self.path.clone(), offset, what: what.into() }
    }

    pub fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io { path: self.path.clone(), source }
    }
}

/// Reserves space, so that commits change no metadata; a file system without it grows the file instead.
pub fn set_aside(file: &File, space: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, space) {
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(space),
        other => Ok(other?),
    }
}

/// Makes names in `dir` durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Reads until `buffer` is full or the file ends; returns how much there was.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// The segments by number.
pub type Table = BTreeMap<NonZeroU32, Arc<Segment>>;

/// The current table and the next number.
#[derive(Debug)]
pub struct Segments {
    table: Mutex<Arc<Table>>,
    next: Mutex<NonZeroU32>,
}

impl Segments {
    pub fn new(table: Table, next: NonZeroU32) -> Self {
        Segments { table: Mutex::new(Arc::new(table)), next: Mutex::new(next) }
    }

    pub fn table(&self) -> Arc<Table> {
        self.table.lock().clone()
    }

    /// Changes the table; those who hold the old one keep it.
    pub fn edit(&self, change: impl FnOnce(&mut Table)) {
        change(Arc::make_mut(&mut *self.table.lock()));
    }

    /// A number that no segment had.
    pub fn next_id(&self) -> io::Result<NonZeroU32> {
        let mut next = self.next.lock();
        let id = *next;
        *next = id.checked_add(1).ok_or_else(|| io::Error::other("segment numbers are used up"))?;
        Ok(id)
    }
}

/// What comes next in a segment.
pub enum Step<'a> {
    /// A good frame: where its payload lies in the file, and the payload.
    Frame { offset: u64, payload: &'a [u8] },
    /// Nothing more was written; the next frame's place.
    End { at: u64 },
    /// The frame there was being written when the process or the machine died.
    Torn { at: u64 },
}

/// Reads a segment frame by frame and judges what is not one.
pub struct Scanner<'a> {
    segment: &'a Segment,
    /// The number that the next frame must have.
    pub number: u64,
    at: u64,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    start: u64,
}

impl<'a> Scanner<'a> {
    pub fn new(segment: &'a Segment, buffer: Vec<u8>) -> Self {
        let at = frame::SEGMENT_HEADER as u64;
        Scanner { segment, number: segment.header.first, at, buffer, start: u64::MAX }
    }

    /// Gives the buffer back, for the next segment.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Makes the `len` bytes at `self.at` available, as far as the file has them.
    fn fill(&mut self, len: usize) -> Result<(usize, usize), OpenError> {
        let end = self.at + len as u64;
        if self.at < self.start || end > self.start + self.buffer.len() as u64 {
            self.buffer.resize(len.max(CHUNK), 0);
            let got = read_at(&self.segment.file, &mut self.buffer, self.at).map_err(|e| self.segment.io(e))?;
            self.buffer.truncate(got);
            self.start = self.at;
        }
        let from = (self.at - self.start) as usize;
        Ok((from, self.buffer.len().min(from + len)))
    }

    /// The next frame, or how the segment ends.
    pub fn step(&mut self) -> Result<Step<'_>, OpenError> {
        let (at, salt) = (self.at, self.segment.header.salt);
        let (from, to) = self.fill(frame::FRAME_HEADER)?;
        let (payload, number, crc) = match frame::header(&self.buffer[from..to], salt) {
            Header::Valid { payload, number, crc } => (payload, number, crc),
            Header::Damaged => return Err(self.segment.corrupt(at, "a frame's header fails its checksum")),
            Header::Unwritten => return self.unwritten(at),
        };
        if number != self.number {
            return Err(self.segment.corrupt(at, format!("frame {number} stands where {} belongs", self.number)));
        }
        let len = frame::frame_len(payload);
        let (from, to) = self.fill(len)?;
        if to - from < len {
            // The file ends inside the frame.
            return self.unwritten(at);
        }
        match frame::body(&self.buffer[from..to], payload, crc, at) {
            Body::Unfinished => return self.unwritten(at),
            Body::Damaged => return Err(self.segment.corrupt(at, "a frame's content fails its checksum")),
            Body::Good => {}
        }
        self.number += 1;
        self.at += len as u64;
        let start = from + frame::FRAME_HEADER;
        Ok(Step::Frame { offset: at + frame::FRAME_HEADER as u64, payload: &self.buffer[start..start + payload] })
    }

    /// Nothing valid at `at`: it is the end if only zeros follow, unfinished if nothing valid follows, else damage.
    fn unwritten(&mut self, at: u64) -> Result<Step<'static>, OpenError> {
        let segment = self.segment;
        let mut place = at;
        let mut blank = true;
        while let Some(data) = next_data(&segment.file, place).map_err(|e| segment.io(e))? {
            place = data.max(place) / frame::ALIGN as u64 * frame::ALIGN as u64;
            self.buffer.resize(CHUNK, 0);
            let got = read_at(&segment.file, &mut self.buffer, place).map_err(|e| segment.io(e))?;
            if got == 0 {
                break;
            }
            for (i, piece) in self.buffer[..got].chunks(frame::ALIGN).enumerate() {
                let here = place + (i * frame::ALIGN) as u64;
                if piece.iter().all(|b| *b == 0) {
                    continue;
                }
                blank = false;
                if let Header::Valid { number, .. } = frame::header(piece, segment.header.salt)
                    && number > self.number
                {
                    let what = format!("frame {} is damaged, yet frame {number} follows at {here}", self.number);
                    return Err(segment.corrupt(at, what));
                }
            }
            place += got as u64;
        }
        self.start = u64::MAX;
        self.buffer.clear();
        Ok(if blank { Step::End { at } } else { Step::Torn { at } })
    }
}

/// Where at or after `from` the file has been written to; the preallocated rest need not be read.
fn next_data(file: &File, from: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(from)) {
        Ok(at) => Ok(Some(at)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        // A file system that does not know: everything is data.
        Err(rustix::io::Errno::INVAL) => Ok((from < file.metadata()?.len()).then_some(from)),
        Err(e) => Err(e.into()),
    }
}
