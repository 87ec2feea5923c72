//! Layers come plain, gzipped or zstd-compressed; the first bytes tell, whatever the media type claims.

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, BufReader, Read};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Whether a file that starts with `head` is compressed.
pub(crate) fn is_compressed(head: &[u8]) -> bool {
    head.starts_with(&GZIP) || head.starts_with(&ZSTD)
}

/// A reader of the plain bytes.
pub(crate) fn decompress<'a>(reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    let mut head = [0; 4];
    let n = read_up_to(&mut reader, &mut head)?;
    let rejoined = BufReader::new(io::Cursor::new(head[..n].to_vec()).chain(reader));
    if head[..n].starts_with(&GZIP) {
        return Ok(Box::new(MultiGzDecoder::new(rejoined)));
    }
    if head[..n] == ZSTD {
        return Ok(Box::new(ZstdReader { source: rejoined, decoder: FrameDecoder::new(), inside: false }));
    }
    Ok(Box::new(rejoined))
}

fn read_up_to(reader: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match reader.read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// ruzstd decodes one frame; layers may hold several, and zstd:chunked ones end with skippable frames.
struct ZstdReader<R> {
    source: R,
    decoder: FrameDecoder,
    inside: bool,
}

impl<R: BufRead> ZstdReader<R> {
    /// Enters the next frame, or skips a skippable one. Expects bytes to be left.
    fn enter(&mut self) -> io::Result<()> {
        match self.decoder.init(&mut self.source) {
            Ok(()) => self.inside = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                io::copy(&mut self.source.by_ref().take(u64::from(length)), &mut io::sink())?;
            }
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
        }
        Ok(())
    }
}

impl<R: BufRead> Read for ZstdReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !buf.is_empty() {
            if !self.inside {
                if self.source.fill_buf()?.is_empty() {
                    break;
                }
                self.enter()?;
                continue;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBytes(64 * 1024))
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            }
            let n = self.decoder.read(buf)?;
            if n > 0 {
                return Ok(n);
            }
            self.inside = false;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn plain(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn every_compression_and_several_members() {
        let data: Vec<u8> = (0..300_000u32).map(|n| (n / 7 % 251) as u8).collect();
        assert_eq!(plain(&data).expect("plain"), data);
        assert_eq!(plain(b"").expect("empty"), b"");
        assert_eq!(plain(b"ab").expect("short"), b"ab");
        let (one, two) = data.split_at(100_000);
        assert_eq!(plain(&[gzip(one), gzip(two)].concat()).expect("gzip"), data);
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"toc"].concat();
        assert_eq!(plain(&[zstd(one), skippable.clone(), zstd(two), skippable].concat()).expect("zstd"), data);
    }

    #[test]
    fn torn_streams_fail() {
        let data = vec![7; 50_000];
        for packed in [gzip(&data), zstd(&data)] {
            assert!(plain(&packed[..packed.len() - 5]).is_err());
        }
    }
}
