//! Cuts a stream of bytes into pieces: lines, or CSV rows that may span lines.
//!
//! Fed with chunks of any size, it gives the same pieces however the chunks fall.
//! Every byte belongs to exactly one piece, and a piece knows the offset after it,
//! which is where a reader resumes. It holds at most one piece and one chunk: a
//! longer one is given in part, with a fault, and skipped to its end. It does not
//! look into pieces beyond the quotes of CSV.

use bytes::{Buf, Bytes, BytesMut};
use courant_model::limits::REJECTED_BYTES_MAX;

/// One line or row, without its line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// Number of its first line, from 1.
    pub(crate) line: u64,
    /// Offset of the byte after its line break.
    pub(crate) end: u64,
    /// Why the piece can be no record; its bytes may then be a part only.
    pub(crate) fault: Option<String>,
}

/// Where a splitter starts: an offset and the number of its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) offset: u64,
    pub(crate) line: u64,
}

impl Start {
    pub(crate) const BEGINNING: Self = Self { offset: 0, line: 1 };
}

/// The cutter; see the module.
#[derive(Debug)]
pub(crate) struct Splitter {
    buffer: BytesMut,
    /// Offset of the buffer's first byte.
    offset: u64,
    /// Number of the line that starts there.
    line: u64,
    /// How far the buffer was looked through, and the state of the quotes there.
    scanned: usize,
    quotes: Quotes,
    /// The delimiter of CSV; lines have none.
    delimiter: Option<u8>,
    piece_bytes_max: usize,
    /// A piece that is too long, on its way to its end.
    skipping: Option<Piece>,
}

/// Where in a CSV row the scan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote within quotes: the field's end, or half of an escaped quote.
    QuoteInQuoted,
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

impl Splitter {
    /// Cuts lines of at most this many bytes.
    pub(crate) fn lines(start: Start, piece_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            offset: start.offset,
            line: start.line,
            scanned: 0,
            quotes: Quotes::FieldStart,
            delimiter: None,
            piece_bytes_max,
            skipping: None,
        }
    }

    /// Cuts rows of CSV; a line break within quotes belongs to the row.
    pub(crate) fn rows(start: Start, delimiter: u8, piece_bytes_max: usize) -> Self {
        Self { delimiter: Some(delimiter), ..Self::lines(start, piece_bytes_max) }
    }

    /// Takes the next bytes of the stream.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Offset after everything that was pushed.
    pub(crate) fn read_offset(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Number of the line after the last piece.
    pub(crate) const fn line(&self) -> u64 {
        self.line
    }

    /// The next piece; `None` until more was pushed. With `at_end`, what is left is
    /// the last piece. Empty lines are pieces too.
    pub(crate) fn next(&mut self, at_end: bool) -> Option<Piece> {
        if self.skipping.is_some() {
            return self.skip(at_end);
        }
        if let Some(at) = self.line_break().filter(|at| *at <= self.piece_bytes_max) {
            return Some(self.take(at, 1, None));
        }
        if self.buffer.len() > self.piece_bytes_max {
            return self.too_long(at_end);
        }
        if !at_end || self.buffer.is_empty() {
            return None;
        }
        if self.quotes == Quotes::Quoted {
            return Some(self.take_unclosed());
        }
        Some(self.take(self.buffer.len(), 0, None))
    }

    /// Looks for the next line break that ends a piece.
    fn line_break(&mut self) -> Option<usize> {
        let Some(delimiter) = self.delimiter else {
            let found = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n');
            let at = found.map(|found| self.scanned + found);
            self.scanned = at.unwrap_or(self.buffer.len());
            return at;
        };
        while self.scanned < self.buffer.len() {
            let byte = self.buffer[self.scanned];
            let open = self.quotes == Quotes::Quoted;
            if byte == b'\n' && !open {
                return Some(self.scanned);
            }
            let at_row_start = self.scanned < BYTE_ORDER_MARK.len()
                && self.offset == 0
                && BYTE_ORDER_MARK.starts_with(&self.buffer[..=self.scanned]);
            if !at_row_start {
                self.quotes = self.quotes.after(byte, delimiter);
            }
            self.scanned += 1;
        }
        None
    }

    fn too_long(&mut self, at_end: bool) -> Option<Piece> {
        if self.quotes == Quotes::Quoted && self.buffer.contains(&b'\n') {
            return Some(self.take_unclosed());
        }
        let kept = self.piece_bytes_max.min(REJECTED_BYTES_MAX);
        let bytes = Bytes::copy_from_slice(&self.buffer[..kept]);
        // Until its end is found, `end` holds where it starts.
        self.skipping = Some(Piece { bytes, line: self.line, end: self.offset, fault: None });
        self.skip(at_end)
    }

    /// Drops the rest of a line that is too long; its first bytes are kept.
    fn skip(&mut self, at_end: bool) -> Option<Piece> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n');
        let dropped = end.map_or(self.buffer.len(), |at| at + 1);
        self.advance(dropped);
        if end.is_none() && !at_end {
            return None;
        }
        let mut piece = self.skipping.take()?;
        let bytes_in_all = self.offset - piece.end - u64::from(end.is_some());
        piece.fault = Some(format!(
            "line has {bytes_in_all} bytes; {} are allowed; its first {} are kept",
            self.piece_bytes_max,
            piece.bytes.len()
        ));
        piece.end = self.offset;
        self.line += u64::from(end.is_some());
        Some(piece)
    }

    /// Gives the first line of a row whose quotes never close, so that one stray
    /// quote costs one line and not the rest of the file.
    fn take_unclosed(&mut self) -> Piece {
        let fault = Some("quoted field is never closed; close its '\"', or double it".to_owned());
        match self.buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => self.take(at, 1, fault),
            None => self.take(self.buffer.len(), 0, fault),
        }
    }

    fn take(&mut self, length: usize, break_length: usize, fault: Option<String>) -> Piece {
        let at_beginning = self.offset == 0;
        let mut bytes = self.buffer.split_to(length).freeze();
        let breaks = bytes.iter().filter(|byte| **byte == b'\n').count();
        self.buffer.advance(break_length);
        self.offset += (length + break_length) as u64;
        self.restart_scan();
        if bytes.last() == Some(&b'\r') {
            bytes.truncate(bytes.len() - 1);
        }
        if at_beginning && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.advance(BYTE_ORDER_MARK.len());
        }
        let line = self.line;
        self.line += (breaks + break_length) as u64;
        Piece { bytes, line, end: self.offset, fault }
    }

    fn advance(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.offset += bytes as u64;
        self.restart_scan();
    }

    const fn restart_scan(&mut self) {
        self.scanned = 0;
        self.quotes = Quotes::FieldStart;
    }
}

impl Quotes {
    const fn after(self, byte: u8, delimiter: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::QuoteInQuoted,
            (Self::Quoted, _) | (Self::FieldStart | Self::QuoteInQuoted, b'"') => Self::Quoted,
            (_, byte) if byte == delimiter => Self::FieldStart,
            _ => Self::Unquoted,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(mut splitter: Splitter, chunks: &[&[u8]]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for chunk in chunks {
            splitter.push(chunk);
            while let Some(piece) = splitter.next(false) {
                pieces.push(piece);
            }
        }
        while let Some(piece) = splitter.next(true) {
            pieces.push(piece);
        }
        pieces
    }

    fn lines(chunks: &[&[u8]]) -> Vec<Piece> {
        cut(Splitter::lines(Start::BEGINNING, 10), chunks)
    }

    #[test]
    fn a_line_over_two_chunks_is_one_piece() {
        let pieces = lines(&[b"\xEF\xBB\xBFon", b"e\r", b"\n\ntwo"]);
        let texts: Vec<&[u8]> = pieces.iter().map(|piece| &*piece.bytes).collect();
        assert_eq!(texts, [b"one".as_slice(), b"", b"two"]);
        assert_eq!(pieces.iter().map(|piece| piece.line).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(pieces.iter().map(|piece| piece.end).collect::<Vec<_>>(), [8, 9, 12]);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_and_the_next_one_is_whole() {
        let pieces = lines(&[b"0123456789a", b"bcdef", b"g\nnext\n"]);
        assert_eq!(pieces.len(), 2);
        assert!(pieces[0].fault.as_ref().unwrap().starts_with("line has 17 bytes; 10 are allowed"));
        assert_eq!((&*pieces[1].bytes, pieces[1].line), (b"next".as_slice(), 2));
    }

    #[test]
    fn a_row_spans_lines_within_its_quotes() {
        let rows = Splitter::rows(Start::BEGINNING, b',', 100);
        let pieces = cut(rows, &[b"a,\"b\n\"\"c\"\nd", b",\"e\"\n"]);
        assert_eq!(&*pieces[0].bytes, b"a,\"b\n\"\"c\"");
        assert_eq!((&*pieces[1].bytes, pieces[1].line), (b"d,\"e\"".as_slice(), 3));
    }

    #[test]
    fn a_stray_quote_costs_one_line() {
        let rows = Splitter::rows(Start::BEGINNING, b',', 100);
        let pieces = cut(rows, &[b"1,\"a\n2,b\n3,c\n"]);
        assert!(pieces[0].fault.as_ref().unwrap().contains("never closed"));
        assert_eq!(&*pieces[1].bytes, b"2,b");
        assert_eq!(pieces.len(), 3);
    }

    proptest! {
        #[test]
        fn chunks_fall_as_they_like(
            text in prop::collection::vec(prop::sample::select(b"ab,\"\r\n".to_vec()), 0..120),
            cuts in prop::collection::vec(0usize..120, 0..6),
            csv: bool,
        ) {
            let splitter = || if csv {
                Splitter::rows(Start::BEGINNING, b',', 20)
            } else {
                Splitter::lines(Start::BEGINNING, 20)
            };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let pieces = cut(splitter(), &chunks);
            prop_assert_eq!(pieces.last().map_or(0, |piece| piece.end), text.len() as u64);
            prop_assert!(pieces.windows(2).all(|two| two[0].end < two[1].end));
            prop_assert!(pieces.windows(2).all(|two| two[0].line < two[1].line));
            if !csv {
                prop_assert_eq!(pieces, cut(splitter(), &[&text]));
            }
        }
    }
}
