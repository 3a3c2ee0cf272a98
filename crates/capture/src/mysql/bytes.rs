//! Reading the log's bytes: never past their end, never believing a length.
//!
//! Numbers are little-endian unless they say otherwise. A [`Fault`] is turned into an
//! error with its position or column by whoever knows that.

use std::{borrow::Cow, io::Read};

use courant_model::limits::CAPTURE_EVENT_BYTES_MAX;
use flate2::read::{DeflateDecoder, ZlibDecoder};

/// What is wrong with some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault(pub(super) Cow<'static, str>);

pub(super) type Parsed<T> = Result<T, Fault>;

/// The bytes that are still to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Fault {
    pub(super) const fn new(what: &'static str) -> Self {
        Self(Cow::Borrowed(what))
    }
}

impl<'a> Bytes<'a> {
    pub(super) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Parsed<&'a [u8]> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or(Fault::new("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// An unsigned number of `count` (at most 8) bytes.
    pub(super) fn uint(&mut self, count: usize) -> Parsed<u64> {
        let mut bytes = [0; 8];
        bytes[..count].copy_from_slice(self.take(count)?);
        Ok(u64::from_le_bytes(bytes))
    }

    /// A signed number of `count` (1 to 8) bytes.
    pub(super) fn int(&mut self, count: usize) -> Parsed<i64> {
        let unused = 64 - 8 * count as u32;
        Ok((self.uint(count)? << unused) as i64 >> unused)
    }

    /// An unsigned big-endian number of `count` (at most 8) bytes.
    pub(super) fn uint_be(&mut self, count: usize) -> Parsed<u64> {
        Ok(self.take(count)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(super) fn u8(&mut self) -> Parsed<u8> {
        Ok(self.take(1)?[0])
    }

    /// MySQL's length-encoded integer.
    pub(super) fn length(&mut self) -> Parsed<usize> {
        let number = match self.u8()? {
            short @ 0..=250 => u64::from(short),
            252 => self.uint(2)?,
            253 => self.uint(3)?,
            254 => self.uint(8)?,
            _ => return Err(Fault::new("a length is not one")),
        };
        usize::try_from(number).map_err(|_| Fault::new("a length is too large"))
    }

    /// Bytes behind their length-encoded length.
    pub(super) fn counted(&mut self) -> Parsed<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    /// Text behind one byte of length, and a zero byte after it.
    pub(super) fn short_name(&mut self) -> Parsed<String> {
        let length = self.u8()?;
        let name = String::from_utf8_lossy(self.take(length.into())?).into_owned();
        self.take(1)?;
        Ok(name)
    }
}

/// Unfolds a compressed event: `0x80 | n`, an `n`-byte big-endian length, zlib.
pub(super) fn unfold_event(mut bytes: Bytes<'_>) -> Parsed<Vec<u8>> {
    let head = bytes.u8()?;
    if head & 0xf8 != 0x80 {
        return Err(Fault::new("it is compressed in an unknown way"));
    }
    let length = bytes.uint_be(usize::from(head & 7))?;
    unfold(ZlibDecoder::new(bytes.rest()), length)
}

/// Unfolds a value of a `COMPRESSED` column of MariaDB: 0 and the bytes themselves, or
/// the method (8: deflate) and the bytes of the length, with 8 where zlib's frame is
/// left away.
pub(super) fn unfold_value(mut bytes: Bytes<'_>) -> Parsed<Cow<'_, [u8]>> {
    if bytes.is_empty() {
        return Ok(Cow::Borrowed(&[]));
    }
    let head = bytes.u8()?;
    if head == 0 {
        return Ok(Cow::Borrowed(bytes.rest()));
    }
    if head >> 4 != 8 {
        return Err(Fault::new("it is compressed in an unknown way"));
    }
    let length = bytes.uint_be(usize::from(head & 7))?;
    let bytes = bytes.rest();
    let whole = if head & 8 == 0 {
        unfold(ZlibDecoder::new(bytes), length)
    } else {
        unfold(DeflateDecoder::new(bytes), length)
    };
    whole.map(Cow::Owned)
}

fn unfold(from: impl Read, length: u64) -> Parsed<Vec<u8>> {
    if length > CAPTURE_EVENT_BYTES_MAX as u64 {
        return Err(Fault::new("it unfolds to more than an event may have"));
    }
    let mut whole = Vec::new();
    from.take(length + 1)
        .read_to_end(&mut whole)
        .map_err(|_| Fault::new("its compressed bytes are damaged"))?;
    if whole.len() as u64 == length {
        Ok(whole)
    } else {
        Err(Fault::new("it does not unfold to its length"))
    }
}
