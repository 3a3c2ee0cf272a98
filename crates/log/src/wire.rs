//! Kafka's fixed encodings, as far as groups and transactions need them: big-endian numbers, strings
//! with a 16-bit length, bytes and arrays with a 32-bit one.
//!
//! [`Wire`] reads and never trusts a length: an array's count is only believed as
//! far as the remaining bytes can hold it. The `put_` functions write. The flexible
//! (tagged) encodings are not here; the formats used predate them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use courant_model::TopicName;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is malformed: {why}")]
pub struct Malformed {
    pub what: &'static str,
    pub why: String,
}

/// Reads one message from front to back.
#[derive(Debug)]
pub(crate) struct Wire<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Wire<'a> {
    pub(crate) const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    pub(crate) fn malformed(&self, why: impl Into<String>) -> Malformed {
        Malformed { what: self.what, why: why.into() }
    }

    pub(crate) fn i8(&mut self) -> Result<i8, Malformed> {
        self.rest.try_get_i8().map_err(|_| self.short(1))
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        self.rest.try_get_i16().map_err(|_| self.short(2))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.rest.try_get_i32().map_err(|_| self.short(4))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        self.rest.try_get_i64().map_err(|_| self.short(8))
    }

    pub(crate) fn nullable_string(&mut self) -> Result<Option<String>, Malformed> {
        let length = i32::from(self.i16()?);
        let Some(bytes) = self.nullable_take(length)? else { return Ok(None) };
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(error) => Err(self.malformed(format!("a string is not UTF-8: {error}"))),
        }
    }

    pub(crate) fn string(&mut self) -> Result<String, Malformed> {
        self.nullable_string()?.ok_or_else(|| self.malformed("a string is null"))
    }

    pub(crate) fn topic(&mut self) -> Result<TopicName, Malformed> {
        let name = self.string()?;
        TopicName::new(&name).map_err(|error| self.malformed(error.to_string()))
    }

    pub(crate) fn nullable_bytes(&mut self) -> Result<Option<Bytes>, Malformed> {
        let length = self.i32()?;
        Ok(self.nullable_take(length)?.map(Bytes::copy_from_slice))
    }

    /// Reads an array whose items take at least `item_bytes_min` bytes each.
    pub(crate) fn array<T>(
        &mut self,
        item_bytes_min: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.i32()?;
        // Null arrays are read as empty ones, as Kafka's own readers do here.
        let count = usize::try_from(count).unwrap_or(0);
        if count > self.rest.len() / item_bytes_min.max(1) {
            return Err(self.malformed(format!(
                "an array claims {count} items, {} bytes are left",
                self.rest.len()
            )));
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn nullable_take(&mut self, length: i32) -> Result<Option<&'a [u8]>, Malformed> {
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.short(length));
        };
        self.rest = rest;
        Ok(Some(taken))
    }

    fn short(&self, wanted: usize) -> Malformed {
        self.malformed(format!("{wanted} bytes expected, {} are left", self.rest.len()))
    }
}

/// Writes a string; one longer than the format's 32,767 bytes is cut at a character.
pub(crate) fn put_string(to: &mut BytesMut, text: &str) {
    let mut length = text.len().min(i16::MAX as usize);
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    to.put_i16(length as i16);
    to.put_slice(&text.as_bytes()[..length]);
}

pub(crate) fn put_nullable_string(to: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put_string(to, text),
        None => to.put_i16(-1),
    }
}

pub(crate) fn put_nullable_bytes(to: &mut BytesMut, bytes: Option<&Bytes>) {
    match bytes {
        Some(bytes) => {
            put_count(to, bytes.len());
            to.put_slice(bytes);
        }
        None => to.put_i32(-1),
    }
}

/// Writes a count; everything counted here is bounded far below `i32::MAX`.
pub(crate) fn put_count(to: &mut BytesMut, count: usize) {
    to.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
}
