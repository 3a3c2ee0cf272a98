//! The codecs of a batch's body, in the framings that Kafka's clients write.
//!
//! gzip and zstd are plain streams, lz4 is the frame format, snappy comes raw or
//! in the blocks of the Java library ("xerial"), and is written so. Unpacking
//! stops at [`BATCH_UNCOMPRESSED_BYTES_MAX`], whatever a length inside claims.

use std::io::{self, Read, Write};

use bytes::Bytes;
use courant_model::limits::BATCH_UNCOMPRESSED_BYTES_MAX;
use serde::{Deserialize, Serialize};

use super::BatchError;

/// How a batch's records are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Opens every stream of the Java snappy library, before two version numbers.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];

/// Magic, version and lowest compatible version.
const XERIAL_HEADER_BYTES: usize = 16;

/// Block size of the Java snappy library.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

/// zstd's window is at most 2 to this: the bound of the whole body.
const ZSTD_WINDOW_LOG_MAX: u32 = BATCH_UNCOMPRESSED_BYTES_MAX.ilog2();

/// zstd's own default level: near lz4 in cost at twice the ratio.
const ZSTD_LEVEL: i32 = 3;

impl Compression {
    pub(super) const fn from_code(code: i16) -> Result<Self, BatchError> {
        Ok(match code {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            code => return Err(BatchError::Compression { code }),
        })
    }

    pub(super) const fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Appends the packed form of `body` to `out`.
    pub(super) fn pack(self, body: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        let packed = match self {
            Self::None => {
                out.extend_from_slice(body);
                Ok(())
            }
            Self::Gzip => pack_gzip(body, out),
            Self::Snappy => pack_xerial(body, out),
            Self::Lz4 => pack_lz4(body, out),
            Self::Zstd => zstd::stream::copy_encode(body, out, ZSTD_LEVEL),
        };
        packed.map_err(|error| self.unpack_error(&error))
    }

    /// Unpacks a body; without compression it is the same bytes.
    pub(super) fn unpack(self, body: Bytes) -> Result<Bytes, BatchError> {
        let unpacked = match self {
            Self::None => return Ok(body),
            Self::Gzip => bounded(flate2::read::MultiGzDecoder::new(&*body)),
            Self::Snappy => unpack_snappy(&body),
            Self::Lz4 => bounded(lz4_flex::frame::FrameDecoder::new(&*body)),
            Self::Zstd => zstd::Decoder::with_buffer(&*body).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                bounded(decoder)
            }),
        };
        let unpacked = unpacked.map_err(|error| self.unpack_error(&error))?;
        if unpacked.len() > BATCH_UNCOMPRESSED_BYTES_MAX {
            return Err(BatchError::Bomb { max: BATCH_UNCOMPRESSED_BYTES_MAX });
        }
        Ok(Bytes::from(unpacked))
    }

    fn unpack_error(self, error: &io::Error) -> BatchError {
        BatchError::Unpack { codec: self.name(), why: error.to_string() }
    }
}

/// Reads at most one byte more than is allowed, which the caller then refuses.
fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    reader.take(BATCH_UNCOMPRESSED_BYTES_MAX as u64 + 1).read_to_end(&mut out)?;
    Ok(out)
}

fn pack_gzip(body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    encoder.write_all(body)?;
    encoder.finish().map(|_| ())
}

fn pack_lz4(body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
    encoder.write_all(body)?;
    encoder.finish().map(|_| ()).map_err(io::Error::from)
}

fn pack_xerial(body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&1_i32.to_be_bytes());
    out.extend_from_slice(&1_i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in body.chunks(XERIAL_BLOCK_BYTES) {
        let packed = encoder.compress_vec(block)?;
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(())
}

fn unpack_snappy(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    if !body.starts_with(&XERIAL_MAGIC) {
        unpack_block(body, &mut out)?;
        return Ok(out);
    }
    let mut rest = body.get(XERIAL_HEADER_BYTES..).ok_or(io::ErrorKind::UnexpectedEof)?;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let block = after.get(..length).ok_or(io::ErrorKind::UnexpectedEof)?;
        unpack_block(block, &mut out)?;
        if out.len() > BATCH_UNCOMPRESSED_BYTES_MAX {
            return Ok(out);
        }
        rest = &after[length..];
    }
    if rest.is_empty() { Ok(out) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Unpacks one raw block behind what is there. Its claimed length is bounded, so
/// that no claim reserves memory; snappy's ratio is at most 21, so that no honest
/// block claims more.
fn unpack_block(block: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    const SNAPPY_RATIO_MAX: usize = 22;
    let length = snap::raw::decompress_len(block)?;
    let honest = block.len().saturating_mul(SNAPPY_RATIO_MAX).saturating_add(64);
    if length > honest {
        return Err(io::Error::other(format!("a block claims to unfold to {length} bytes")));
    }
    let start = out.len();
    if start + length > BATCH_UNCOMPRESSED_BYTES_MAX {
        out.resize(BATCH_UNCOMPRESSED_BYTES_MAX + 1, 0);
        return Ok(());
    }
    out.resize(start + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[start..])?;
    Ok(())
}
