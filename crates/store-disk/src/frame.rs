//! How bytes lie in a segment file, and how damage is told from an unfinished write. Pure: nothing here does I/O.
//!
//! A segment is a 64-byte header and then frames, each beginning at a multiple of 64. A frame is what one group commit
//! wrote: header (32 bytes), payload, zeros, trailer (the last 4 bytes before a multiple of 64). Frames are numbered
//! without gaps across all segments of a log, and their header checksums are salted per segment, so neither bytes left
//! over from another file nor a value that holds a copy of a segment can pass for a frame.
//!
//! The file ahead of the last frame is preallocated and reads as zeros. A frame is only begun when the one before it
//! is durable. Hence:
//! * a frame that fails its check and is *followed* by a valid one had been acknowledged: damage;
//! * the last frame may be unfinished. A disk writes sectors, in any order; a killed process leaves a prefix. Either way
//!   a whole sector of the frame is still zero, or its end is. A bit that flipped leaves neither: damage again.
//!
//! Decided against: one frame per transaction (after a power cut a group would leave good frames behind torn ones, which
//! looks like damage), and alignment to sectors (small commits, such as leases, would take half a kilobyte each).

/// Everything in a segment begins at a multiple of this; it divides a sector, so no header or trailer crosses one.
pub const ALIGN: usize = 64;
/// Bytes before the first frame of a segment.
pub const SEGMENT_HEADER: usize = 64;
/// Bytes before a frame's payload.
pub const FRAME_HEADER: usize = 32;
const TRAILER: [u8; 4] = *b"\xA5end";
const SECTOR: usize = 512;

const SEGMENT_MAGIC: &[u8; 8] = b"FERRYSEG";
const FRAME_MAGIC: [u8; 4] = *b"FRAM";
const VERSION: u32 = 1;
/// Ends every header: as long as its last byte is zero the header was not written whole.
const MARK: [u8; 8] = [0xA5; 8];

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Commits, in order.
    Log,
    /// The state that the log begins from.
    Base,
}

/// The first 64 bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    pub kind: Kind,
    pub id: u32,
    pub salt: u64,
    /// The number of the first frame.
    pub first: u64,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        out[..8].copy_from_slice(SEGMENT_MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.id.to_le_bytes());
        out[16..24].copy_from_slice(&self.salt.to_le_bytes());
        out[24..32].copy_from_slice(&self.first.to_le_bytes());
        out[32] = match self.kind {
            Kind::Log => 1,
            Kind::Base => 2,
        };
        let crc = crc32fast::hash(&out[..52]);
        out[52..56].copy_from_slice(&crc.to_le_bytes());
        out[56..].copy_from_slice(&MARK);
        out
    }

    /// The header, or what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let Some(bytes) = bytes.first_chunk::<SEGMENT_HEADER>() else {
            return Err("the segment header is cut off".into());
        };
        if bytes[..8] != *SEGMENT_MAGIC {
            return Err("this is not a segment".into());
        }
        if u32_at(bytes, 52) != crc32fast::hash(&bytes[..52]) || bytes[56..] != MARK {
            return Err("the segment header fails its checksum".into());
        }
        let version = u32_at(bytes, 8);
        let kind = match (version, bytes[32]) {
            (VERSION, 1) => Kind::Log,
            (VERSION, 2) => Kind::Base,
            _ => return Err(format!("format {version} is not known to this version of Ferry")),
        };
        Ok(SegmentHeader { kind, id: u32_at(bytes, 12), salt: u64_at(bytes, 16), first: u64_at(bytes, 24) })
    }
}

/// The length of a frame with `payload` bytes.
pub fn frame_len(payload: usize) -> usize {
    (FRAME_HEADER + payload + TRAILER.len()).next_multiple_of(ALIGN)
}

/// Empties `frame` and makes room for the header; the payload is appended next.
pub fn begin(frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(FRAME_HEADER, 0);
}

/// Completes a frame that [`begin`] started.
pub fn seal(frame: &mut Vec<u8>, salt: u64, number: u64) {
    let payload = frame.len() - FRAME_HEADER;
    let crc = crc32fast::hash(&frame[FRAME_HEADER..]);
    frame[..4].copy_from_slice(&FRAME_MAGIC);
    frame[4..8].copy_from_slice(&(payload as u32).to_le_bytes());
    frame[8..16].copy_from_slice(&number.to_le_bytes());
    frame[16..20].copy_from_slice(&crc.to_le_bytes());
    let header = salted(salt, &frame[..20]);
    frame[20..24].copy_from_slice(&header.to_le_bytes());
    frame[24..32].copy_from_slice(&MARK);
    frame.resize(frame_len(payload) - TRAILER.len(), 0);
    frame.extend_from_slice(&TRAILER);
}

/// What 32 bytes at a frame's place are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// A header of this segment.
    Valid { payload: usize, number: u64, crc: u32 },
    /// Not written, or not to its end.
    Unwritten,
    /// Written whole, and changed since.
    Damaged,
}

/// Judges a frame's first 32 bytes.
pub fn header(bytes: &[u8], salt: u64) -> Header {
    let Some(bytes) = bytes.first_chunk::<FRAME_HEADER>() else { return Header::Unwritten };
    if bytes[FRAME_HEADER - 1] == 0 {
        return Header::Unwritten;
    }
    if bytes[..4] != FRAME_MAGIC || bytes[24..] != MARK || u32_at(bytes, 20) != salted(salt, &bytes[..20]) {
        return Header::Damaged;
    }
    Header::Valid { payload: u32_at(bytes, 4) as usize, number: u64_at(bytes, 8), crc: u32_at(bytes, 16) }
}

/// What a frame with a valid header is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Good,
    /// Part of it was never written.
    Unfinished,
    Damaged,
}

/// Judges the whole frame; `offset` is where it lies in the file (sectors count from the file's beginning).
pub fn body(frame: &[u8], payload: usize, crc: u32, offset: u64) -> Body {
    let (content, rest) = frame[FRAME_HEADER..].split_at(payload);
    let (padding, trailer) = rest.split_at(rest.len() - TRAILER.len());
    if trailer == TRAILER && padding.iter().all(|b| *b == 0) && crc32fast::hash(content) == crc {
        return Body::Good;
    }
    let skip = (SECTOR - (offset as usize % SECTOR)) % SECTOR;
    let blank = |sector: &[u8]| sector.iter().all(|b| *b == 0);
    let hole = frame.get(skip..).is_some_and(|whole| whole.chunks_exact(SECTOR).any(blank));
    if hole || trailer[TRAILER.len() - 1] == 0 { Body::Unfinished } else { Body::Damaged }
}

fn salted(salt: u64, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(bytes);
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(len: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        begin(&mut frame);
        frame.extend((0..len).map(|i| (i % 255) as u8 + 1));
        seal(&mut frame, 7, 3);
        frame
    }

    fn judge(frame: &[u8], offset: u64) -> Option<Body> {
        match header(frame, 7) {
            Header::Valid { payload, crc, .. } => Some(body(frame, payload, crc, offset)),
            Header::Unwritten => Some(Body::Unfinished),
            Header::Damaged => None,
        }
    }

    #[test]
    fn a_frame_is_good_as_written_and_a_multiple_of_64() {
        for len in [0, 1, 27, 28, 29, 92, 511, 512, 5000] {
            let frame = sample(len);
            assert_eq!(frame.len() % ALIGN, 0);
            assert_eq!(frame.len(), frame_len(len));
            assert_eq!(judge(&frame, 64), Some(Body::Good), "{len}");
        }
    }

    #[test]
    fn every_prefix_is_unfinished_never_damaged() {
        for len in [0, 1, 28, 100, 1500] {
            let whole = sample(len);
            for cut in 0..whole.len() {
                let mut frame = whole.clone();
                frame[cut..].fill(0);
                assert_eq!(judge(&frame, 192), Some(Body::Unfinished), "{len} cut at {cut}");
            }
        }
    }

    #[test]
    fn every_missing_sector_is_unfinished() {
        let whole = sample(4000);
        let offset = 64 * 3;
        let mut at = 0;
        while at < whole.len() {
            let end = (at + SECTOR - (offset + at) % SECTOR).min(whole.len());
            let mut frame = whole.clone();
            frame[at..end].fill(0);
            // The first and last, partial, sectors hold header and trailer.
            assert_eq!(judge(&frame, offset as u64), Some(Body::Unfinished), "{at}..{end}");
            at = end;
        }
    }

    #[test]
    fn every_flipped_byte_is_damage() {
        let whole = sample(1500);
        for at in 0..whole.len() {
            let mut frame = whole.clone();
            frame[at] ^= 0xFF;
            assert!(matches!(judge(&frame, 64), None | Some(Body::Damaged)), "byte {at}");
        }
    }

    #[test]
    fn segment_headers_round_trip_and_say_what_is_wrong() {
        let header = SegmentHeader { kind: Kind::Base, id: 9, salt: 77, first: 12 };
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        for at in 0..SEGMENT_HEADER {
            let mut bytes = header.encode();
            bytes[at] ^= 1;
            assert!(SegmentHeader::decode(&bytes).is_err(), "byte {at}");
        }
    }
}
