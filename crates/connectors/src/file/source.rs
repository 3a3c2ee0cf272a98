//! The running file source: looks, reads, appends, remembers.
//!
//! A round looks for files and reads each to its end; then it waits for the next
//! look. A batch is read, made durable, and only then is the new place saved. A
//! file that left the pattern (deleted, or rotated away) is read to its end through
//! the handle that was kept, and forgotten. Memory: one chunk and one record.

use std::{fs::File, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use courant_model::{
    Record,
    limits::{
        CSV_ROW_BYTES_MAX, FILE_SOURCE_HANDLES_MAX, JSON_FILE_BYTES_MAX, MESSAGE_BYTES_MAX,
        REJECTED_BYTES_MAX, SOURCE_BATCH_BYTES_MAX, SOURCE_BATCH_RECORDS_MAX,
    },
};
use courant_pipeline::connector::{ConnectorError, Source, SourceContext, SourceFactory};

use super::{
    blocking,
    cursor::{self, Cursor, read_at},
    io_failure,
    scan::{self, Found},
};
use crate::{
    deliver::{deliver, set_aside},
    formats::{
        Format,
        decode::{CsvLayout, Decoder, Fault, json_values},
        pieces::{Piece, Splitter},
    },
};

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// What the source needs, checked.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) path: String,
    pub(super) format: Format,
    pub(super) layout: CsvLayout,
    pub(super) follow: bool,
    pub(super) every: Duration,
}

impl SourceFactory for Settings {
    fn finite(&self) -> bool {
        !self.follow
    }

    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(Following { settings: Arc::new(self.clone()), context, files: Vec::new() }))
    }
}

#[derive(Debug)]
struct Following {
    settings: Arc<Settings>,
    context: SourceContext,
    files: Vec<Tracked>,
}

/// A file on its way.
#[derive(Debug)]
struct Tracked {
    cursor: Cursor,
    path: PathBuf,
    handle: Option<File>,
    /// What the last look saw, and what the last reading had seen.
    seen: Option<Found>,
    read: Option<Found>,
    /// Whether its first bytes were compared since the start.
    known: bool,
    /// It left the pattern; what follows is its end.
    gone: bool,
}

/// Records and bad inputs that were read and not yet handed over.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<Record>,
    rejected: Vec<(Bytes, String)>,
    bytes: usize,
}

#[async_trait]
impl Source for Following {
    async fn run(mut self: Box<Self>) -> Result<(), ConnectorError> {
        let saved = self.context.state.load().await?;
        let cursors = cursor::load(saved.as_ref())?;
        self.files = cursors.into_iter().map(Tracked::remembered).collect();
        loop {
            self.look().await?;
            for index in 0..self.files.len() {
                if self.context.stop.is_cancelled() {
                    return Ok(());
                }
                self.read(index).await?;
            }
            self.files.retain(|file| !file.gone);
            if !self.settings.follow {
                return Ok(());
            }
            let pause = tokio::time::sleep(self.settings.every);
            if self.context.stop.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
        }
    }
}

impl Tracked {
    fn remembered(cursor: Cursor) -> Self {
        let path = PathBuf::from(&cursor.path);
        Self { cursor, path, handle: None, seen: None, read: None, known: false, gone: false }
    }

    /// Takes what a look found.
    fn saw(&mut self, found: Found) {
        if found.bytes < self.cursor.offset && self.known {
            self.cursor.restart();
            self.read = None;
        }
        self.path.clone_from(&found.path);
        self.cursor.path = found.path.to_string_lossy().into_owned();
        self.seen = Some(found);
    }

    /// Whether there is something to read.
    fn has_news(&self, format: Format, follow: bool) -> bool {
        if self.gone {
            return self.handle.is_some() && format != Format::Json;
        }
        let Some(seen) = &self.seen else { return false };
        match (format, &self.read) {
            // A document may still be written: it is read once it rests.
            (Format::Json, read) if follow => {
                seen.bytes != self.cursor.offset && read.as_ref() == Some(seen)
            }
            (Format::Json, _) => seen.bytes != self.cursor.offset,
            (_, Some(read)) => read.bytes != seen.bytes,
            (_, None) => true,
        }
    }
}

impl Following {
    /// Looks for files, and matches them with those that are known.
    async fn look(&mut self) -> Result<(), ConnectorError> {
        let (base, settings) = (self.context.base.clone(), self.settings.clone());
        let look = blocking(move || scan::find(&base, &settings.path)).await;
        let found = look.map_err(|error| {
            let path = self.context.base.join(&self.settings.path);
            let failure = io_failure("look for files", &path, &error);
            let is_mistake = error.kind() == io::ErrorKind::IsADirectory;
            ConnectorError { retryable: failure.retryable && !is_mistake, ..failure }
        })?;
        if found.is_empty() && !self.settings.follow && !scan::is_pattern(&self.settings.path) {
            let what = format!("file {:?} does not exist", self.settings.path);
            return Err(ConnectorError::fatal(what));
        }
        let before = self.files.len();
        let mut present = vec![false; before];
        for found in found {
            let known =
                self.files[..before].iter().position(|f| f.cursor.identity == found.identity);
            match known {
                Some(index) => {
                    present[index] = true;
                    self.files[index].saw(found);
                }
                None => {
                    let cursor = Cursor::beginning(&found.path, found.identity.clone());
                    let mut file = Tracked::remembered(cursor);
                    file.known = true;
                    file.saw(found);
                    self.files.push(file);
                }
            }
        }
        for (file, present) in self.files.iter_mut().zip(present) {
            file.gone = !present;
        }
        // Those that leave are read first: what they hold is older.
        self.files.sort_by(|a, b| (!a.gone, &a.path).cmp(&(!b.gone, &b.path)));
        Ok(())
    }

    /// Reads what is new of a file.
    async fn read(&mut self, index: usize) -> Result<(), ConnectorError> {
        if !self.files[index].has_news(self.settings.format, self.settings.follow) {
            let file = &mut self.files[index];
            file.read.clone_from(&file.seen);
            return Ok(());
        }
        let Some(file) = self.open(index).await? else { return Ok(()) };
        let read = match self.settings.format {
            Format::Json => self.read_document(index, file).await?,
            Format::Ndjson | Format::Csv | Format::Text => self.read_pieces(index, file).await?,
        };
        let held = self.files.iter().filter(|file| file.handle.is_some()).count();
        let tracked = &mut self.files[index];
        tracked.read.clone_from(&tracked.seen);
        if let Some(file) = read.filter(|_| !tracked.gone && held < FILE_SOURCE_HANDLES_MAX) {
            tracked.handle = Some(file);
        }
        Ok(())
    }

    /// The file's handle; `None` when it vanished meanwhile.
    async fn open(&mut self, index: usize) -> Result<Option<File>, ConnectorError> {
        let tracked = &mut self.files[index];
        if let Some(file) = tracked.handle.take() {
            return Ok(Some(file));
        }
        let (path, cursor, known) = (tracked.path.clone(), tracked.cursor.clone(), tracked.known);
        let opened = blocking(move || {
            let mut file = File::open(&path)?;
            let same =
                known || (file.metadata()?.len() >= cursor.offset && cursor.knows(&mut file)?);
            io::Result::Ok((file, same))
        });
        match opened.await {
            Ok((file, same)) => {
                if !same {
                    tracked.cursor.restart();
                }
                tracked.known = true;
                Ok(Some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_failure("open file", &tracked.path, &error)),
        }
    }

    /// Reads lines or rows to the file's end; `None` when it was stopped on the way.
    async fn read_pieces(
        &mut self,
        index: usize,
        mut file: File,
    ) -> Result<Option<File>, ConnectorError> {
        let cursor = &self.files[index].cursor;
        let mut splitter = match self.settings.format {
            Format::Csv => {
                let delimiter = self.settings.layout.delimiter;
                Splitter::rows(cursor.start(), delimiter, CSV_ROW_BYTES_MAX)
            }
            _ => Splitter::lines(cursor.start(), MESSAGE_BYTES_MAX),
        };
        let mut decoder =
            Decoder::new(self.settings.format, &self.settings.layout, cursor.names.clone());
        let ends_here = !self.settings.follow || self.files[index].gone;
        loop {
            let (back, chunk) =
                self.chunk(index, file, splitter.read_offset(), CHUNK_BYTES).await?;
            file = back;
            splitter.push(&chunk);
            let mut batch = Batch::default();
            let mut end = None;
            while let Some(piece) = splitter.next(ends_here && chunk.is_empty()) {
                end = Some(piece.end);
                self.take(index, &piece, &mut decoder, &mut batch);
                if batch.is_full() {
                    let place = (piece.end, splitter.line());
                    let names = decoder.names();
                    let handed = self.hand_over(index, file, &mut batch, place, names).await?;
                    let Some(back) = handed else { return Ok(None) };
                    file = back;
                }
            }
            if let Some(end) = end {
                let (place, names) = ((end, splitter.line()), decoder.names());
                let handed = self.hand_over(index, file, &mut batch, place, names).await?;
                let Some(back) = handed else { return Ok(None) };
                file = back;
            }
            if chunk.is_empty() {
                return Ok(Some(file));
            }
        }
    }

    /// Reads a document whole; `None` when it was stopped on the way.
    async fn read_document(
        &mut self,
        index: usize,
        file: File,
    ) -> Result<Option<File>, ConnectorError> {
        let (file, document) = self.chunk(index, file, 0, JSON_FILE_BYTES_MAX + 1).await?;
        let (values, fault) = if document.len() > JSON_FILE_BYTES_MAX {
            let why = format!("file has more than {JSON_FILE_BYTES_MAX} bytes; use ndjson");
            (Vec::new(), Some((1, Fault { column: None, why })))
        } else {
            json_values(&document)
        };
        let end = self.files[index].seen.as_ref().map_or(document.len() as u64, |seen| seen.bytes);
        let mut batch = Batch::default();
        if let Some((line, fault)) = fault {
            let kept = document.len().min(REJECTED_BYTES_MAX);
            let original = Bytes::copy_from_slice(&document[..kept]);
            batch.rejected.push((original, self.words(index, line as u64, &fault)));
        }
        let now = self.context.clock.now();
        batch.records = values.into_iter().map(|value| Record::new(value, now)).collect();
        self.hand_over(index, file, &mut batch, (end, 1), None).await
    }

    fn take(&self, index: usize, piece: &Piece, decoder: &mut Decoder, batch: &mut Batch) {
        match decoder.decode(piece) {
            Ok(None) => {}
            Ok(Some(value)) => {
                batch.bytes += value.len();
                // A copy, so that a record does not keep its whole chunk in memory.
                let value = Bytes::copy_from_slice(&value);
                batch.records.push(Record::new(value, self.context.clock.now()));
            }
            Err(fault) => {
                let kept = piece.bytes.slice(..piece.bytes.len().min(REJECTED_BYTES_MAX));
                batch.bytes += kept.len();
                batch.rejected.push((kept, self.words(index, piece.line, &fault)));
            }
        }
    }

    /// `file:line:column why`.
    fn words(&self, index: usize, line: u64, fault: &Fault) -> String {
        let path = &self.files[index].path;
        let path = path.strip_prefix(&self.context.base).unwrap_or(path).display();
        match fault.column {
            Some(column) => format!("{path}:{line}:{column}: {}", fault.why),
            None => format!("{path}:{line}: {}", fault.why),
        }
    }

    /// Makes a batch durable, then the place after it; `None` when it was stopped.
    async fn hand_over(
        &mut self,
        index: usize,
        mut file: File,
        batch: &mut Batch,
        (offset, line): (u64, u64),
        names: Option<&[String]>,
    ) -> Result<Option<File>, ConnectorError> {
        let Batch { records, rejected, .. } = std::mem::take(batch);
        let emitter = &*self.context.emitter;
        let hand_over = async {
            let mut records = records;
            while !records.is_empty() {
                let rest = records.split_off(records.len().min(SOURCE_BATCH_RECORDS_MAX));
                deliver(emitter, &self.context.topic, records).await?;
                records = rest;
            }
            for (original, why) in rejected {
                set_aside(emitter, original, why).await?;
            }
            Ok(())
        };
        match self.context.stop.run_until_cancelled(hand_over).await {
            None => return Ok(None),
            Some(done) => done?,
        }
        let mut cursor = self.files[index].cursor.clone();
        (cursor.offset, cursor.line, cursor.names) = (offset, line, names.map(<[_]>::to_vec));
        let path = self.files[index].path.clone();
        let (file, cursor) = blocking(move || {
            cursor.learn(&mut file)?;
            io::Result::Ok((file, cursor))
        })
        .await
        .map_err(|error| io_failure("read file", &path, &error))?;
        self.files[index].cursor = cursor;
        let saved = cursor::save(self.files.iter().map(|file| &file.cursor));
        self.context.state.save(saved).await?;
        Ok(Some(file))
    }

    async fn chunk(
        &self,
        index: usize,
        mut file: File,
        offset: u64,
        bytes: usize,
    ) -> Result<(File, Vec<u8>), ConnectorError> {
        let read = blocking(move || read_at(&mut file, offset, bytes).map(|chunk| (file, chunk)));
        read.await.map_err(|error| io_failure("read file", &self.files[index].path, &error))
    }
}

impl Batch {
    const fn is_full(&self) -> bool {
        self.bytes >= SOURCE_BATCH_BYTES_MAX || self.records.len() >= SOURCE_BATCH_RECORDS_MAX
    }
}
