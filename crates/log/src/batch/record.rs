//! One record within a batch's unpacked body.
//!
//! [`RecordViews`] walks the body and checks every length against what is left,
//! without copying or allocating: it validates producers' batches at full speed
//! and is the one parser behind decoding too. [`write()`] is its inverse.

use std::ops::Range;

use bytes::Bytes;
use courant_model::{Header, Record, limits::HEADERS_PER_RECORD_MAX};

use super::{BatchError, BatchHeader, varint};

/// Where the parts of one record lie in the body.
#[derive(Debug)]
pub(super) struct RecordView {
    index: i32,
    pub(super) offset_delta: i32,
    pub(super) timestamp_delta: i64,
    pub(super) key: Option<Range<usize>>,
    pub(super) value: Option<Range<usize>>,
    headers: Range<usize>,
    headers_count: usize,
}

/// The records of a body, one after the other; ends after the first error, and
/// with an error when bytes are left over.
#[derive(Debug)]
pub(super) struct RecordViews<'a> {
    body: &'a [u8],
    at: usize,
    index: i32,
    count: i32,
    last_offset_delta: i32,
    previous_offset_delta: i32,
}

impl<'a> RecordViews<'a> {
    pub(super) const fn new(body: &'a [u8], header: &BatchHeader) -> Self {
        Self {
            body,
            at: 0,
            index: 0,
            count: header.count,
            last_offset_delta: header.last_offset_delta,
            previous_offset_delta: -1,
        }
    }

    fn parse_next(&mut self) -> Result<RecordView, &'static str> {
        let length = length(self.body, &mut self.at)?.ok_or("its length is negative")?;
        let record = &self.body[..self.at + length];
        let view = parse(record, self.at, self.index)?;
        if view.offset_delta <= self.previous_offset_delta
            || view.offset_delta > self.last_offset_delta
        {
            return Err("its offset is out of order");
        }
        self.previous_offset_delta = view.offset_delta;
        self.at = record.len();
        Ok(view)
    }
}

impl Iterator for RecordViews<'_> {
    type Item = Result<RecordView, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            let left = self.body.len() - self.at;
            self.at = self.body.len();
            return (left > 0).then_some(Err(BatchError::Trailing { found: left }));
        }
        let view = self.parse_next();
        let index = self.index;
        match view {
            Ok(_) => self.index += 1,
            Err(_) => (self.index, self.at) = (self.count, self.body.len()),
        }
        Some(view.map_err(|why| BatchError::Record { index, why }))
    }
}

impl RecordView {
    /// Copies the names and slices the values of the record's headers.
    pub(super) fn headers(&self, body: &Bytes) -> Result<Vec<Header>, BatchError> {
        let mut headers = Vec::with_capacity(self.headers_count);
        let mut at = self.headers.start;
        for _ in 0..self.headers_count {
            let (name, value) = header(&body[..self.headers.end], &mut at)
                .map_err(|why| BatchError::Record { index: self.index, why })?;
            headers.push(Header { name: name.to_owned(), value: value.map(|v| body.slice(v)) });
        }
        Ok(headers)
    }
}

/// Parses the record that starts at `at` and ends with `bytes`.
#[inline]
fn parse(bytes: &[u8], mut at: usize, index: i32) -> Result<RecordView, &'static str> {
    const CUT: &str = "it is cut off";
    if bytes.len() == at {
        return Err(CUT);
    }
    at += 1; // the record's attributes: no bit is in use
    let timestamp_delta = varint::read(bytes, &mut at).ok_or(CUT)?;
    let offset_delta = varint::read_i32(bytes, &mut at).ok_or(CUT)?;
    let key = bytes_field(bytes, &mut at)?;
    let value = bytes_field(bytes, &mut at)?;
    let headers_count = varint::read_i32(bytes, &mut at)
        .and_then(|count| usize::try_from(count).ok())
        .ok_or("its count of headers is cut off or negative")?;
    if headers_count > HEADERS_PER_RECORD_MAX {
        return Err("it has more headers than are allowed");
    }
    let headers_start = at;
    for _ in 0..headers_count {
        header(bytes, &mut at)?;
    }
    if at != bytes.len() {
        return Err("bytes follow its last header");
    }
    let headers = headers_start..at;
    Ok(RecordView { index, offset_delta, timestamp_delta, key, value, headers, headers_count })
}

/// A header's name and where its value lies.
fn header<'a>(
    bytes: &'a [u8],
    at: &mut usize,
) -> Result<(&'a str, Option<Range<usize>>), &'static str> {
    let name = bytes_field(bytes, at)?.ok_or("the name of a header is null")?;
    let name = std::str::from_utf8(&bytes[name]).map_err(|_| "the name of a header is no UTF-8")?;
    Ok((name, bytes_field(bytes, at)?))
}

/// A length and that many bytes; a length of -1 is null.
#[inline]
fn bytes_field(bytes: &[u8], at: &mut usize) -> Result<Option<Range<usize>>, &'static str> {
    let Some(length) = length(bytes, at)? else { return Ok(None) };
    let range = *at..*at + length;
    *at = range.end;
    Ok(Some(range))
}

/// A length that was checked against the bytes left; `None` is null.
#[inline]
fn length(bytes: &[u8], at: &mut usize) -> Result<Option<usize>, &'static str> {
    let length = varint::read_i32(bytes, at).ok_or("a length is cut off or too large")?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| "a length is negative")?;
    if length > bytes.len() - *at { Err("a length reaches past its end") } else { Ok(Some(length)) }
}

/// Appends a record's bytes.
pub(super) fn write(out: &mut Vec<u8>, offset_delta: i32, timestamp_delta: i64, record: &Record) {
    let field = |bytes: &Option<Bytes>| match bytes {
        Some(bytes) => varint::size(bytes.len() as i64) + bytes.len(),
        None => 1,
    };
    let headers_size: usize = record
        .headers
        .iter()
        .map(|h| varint::size(h.name.len() as i64) + h.name.len() + field(&h.value))
        .sum();
    let size = 1
        + varint::size(timestamp_delta)
        + varint::size(i64::from(offset_delta))
        + field(&record.key)
        + field(&record.value)
        + varint::size(record.headers.len() as i64)
        + headers_size;
    varint::write(out, size as i64);
    out.push(0);
    varint::write(out, timestamp_delta);
    varint::write(out, i64::from(offset_delta));
    write_field(out, record.key.as_deref());
    write_field(out, record.value.as_deref());
    varint::write(out, record.headers.len() as i64);
    for header in &record.headers {
        write_field(out, Some(header.name.as_bytes()));
        write_field(out, header.value.as_deref());
    }
}

fn write_field(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            varint::write(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => varint::write(out, -1),
    }
}
