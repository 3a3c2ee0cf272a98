//! The file sink: appends lines, rotates, syncs.
//!
//! All tasks of a pipeline share the open files of [`Files`], so that a header is
//! written once, a rotation happens once, and lines never mix. Whole lines only: a
//! write that fails is cut back, and so is a line that a crash tore. It creates
//! folders, and deletes nothing.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use courant_model::{Timestamp, limits::FILE_SINK_HANDLES_MAX};
use courant_pipeline::{
    connector::{ConnectorError, Rejection, Sink, SinkContext, SinkFactory},
    event::Event,
};
use parking_lot::Mutex;

use super::{Rotate, SinkFormat, SinkOptions, blocking, io_failure, place::PathTemplate};
use crate::formats::encode::{CsvEncoder, json_line};

/// The sink's settings and its open files.
#[derive(Debug)]
pub(super) struct Files {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: SinkOptions,
    open: Mutex<BTreeMap<PathBuf, Open>>,
}

/// An open file.
#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    since: Timestamp,
    csv: CsvEncoder,
}

/// A failure at a path.
type Failure = (&'static str, PathBuf, io::Error);

impl Files {
    pub(super) fn new(options: SinkOptions) -> Self {
        Self { shared: Arc::new(Shared { options, open: Mutex::default() }) }
    }
}

impl SinkFactory for Files {
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        let template = PathTemplate::read(&self.shared.options.path)
            .map_err(|(what, remedy)| ConnectorError::fatal(format!("{what}; {remedy}")))?;
        Ok(Box::new(FileSink { shared: self.shared.clone(), template, context }))
    }
}

#[derive(Debug)]
struct FileSink {
    shared: Arc<Shared>,
    template: PathTemplate,
    context: SinkContext,
}

#[async_trait]
impl Sink for FileSink {
    async fn write(&mut self, events: &[Event]) -> Result<Vec<Rejection>, ConnectorError> {
        let mut by_path: BTreeMap<PathBuf, Vec<(usize, Event)>> = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            let path = self.template.of(&self.context.base, event);
            by_path.entry(path).or_default().push((index, event.clone()));
        }
        let (shared, now) = (self.shared.clone(), self.context.clock.now());
        let write = move || -> Result<Vec<Rejection>, Failure> {
            let mut rejections = Vec::new();
            for (path, events) in by_path {
                rejections.extend(shared.append(&path, &events, now)?);
            }
            rejections.sort_by_key(|rejection| rejection.index);
            Ok(rejections)
        };
        blocking(write).await.map_err(failure)
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        if !self.shared.options.sync {
            return Ok(());
        }
        let shared = self.shared.clone();
        blocking(move || shared.sync(&shared.open.lock())).await.map_err(failure)
    }
}

fn failure((attempt, path, error): Failure) -> ConnectorError {
    let failure = io_failure(attempt, &path, &error);
    ConnectorError { retryable: error.kind() != io::ErrorKind::InvalidData, ..failure }
}

impl Shared {
    /// Appends events to one file; answers those that do not fit it.
    fn append(
        &self,
        path: &Path,
        events: &[(usize, Event)],
        now: Timestamp,
    ) -> Result<Vec<Rejection>, Failure> {
        let mut files = self.open.lock();
        if !files.contains_key(path) {
            if files.len() >= FILE_SINK_HANDLES_MAX {
                self.sync(&files)?;
                files.clear();
            }
            let open = Open::at(path, &self.options, now);
            files.insert(path.into(), open.map_err(|error| ("open file", path.into(), error))?);
        }
        let Some(open) = files.get_mut(path) else { return Ok(Vec::new()) };
        if open.is_due(self.options.rotate, now) {
            let rotated = open.rotate(path, &self.options, now);
            rotated.map_err(|error| ("rotate file", path.into(), error))?;
        }
        let (text, rejections) = open.encode(events, self.options.format);
        if let Err(error) = open.write(&text) {
            files.remove(path);
            return Err(("write to file", path.into(), error));
        }
        Ok(rejections)
    }

    fn sync(&self, files: &BTreeMap<PathBuf, Open>) -> Result<(), Failure> {
        for (path, open) in files.iter().filter(|_| self.options.sync) {
            open.file.sync_data().map_err(|error| ("sync file", path.clone(), error))?;
        }
        Ok(())
    }
}

impl Open {
    fn at(path: &Path, options: &SinkOptions, now: Timestamp) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let is_new = !path.exists();
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        if is_new && options.sync {
            sync_folder(folder)?;
        }
        let bytes = cut_torn_line(&mut file)?;
        let csv = match first_line(&mut file)? {
            Some(header) if options.format == SinkFormat::Csv => csv_of(&header, options)?,
            _ => CsvEncoder::new(options.columns.clone()),
        };
        Ok(Self { file, bytes, since: now, csv })
    }

    /// Whether the file is to be put aside. Its age counts from when it was opened.
    fn is_due(&self, rotate: Option<Rotate>, now: Timestamp) -> bool {
        let Some(rotate) = rotate.filter(|_| self.bytes > 0) else { return false };
        let age_ms = now.as_millis().saturating_sub(self.since.as_millis());
        rotate.bytes.is_some_and(|most| self.bytes >= most.as_bytes())
            || rotate.every.is_some_and(|most| age_ms >= most.as_millis())
    }

    /// Puts the file aside as `name.TIME.ext` and starts a new one.
    fn rotate(&mut self, path: &Path, options: &SinkOptions, now: Timestamp) -> io::Result<()> {
        self.file.sync_data()?;
        fs::rename(path, aside(path, now))?;
        *self = Self::at(path, options, now)?;
        Ok(())
    }

    /// The lines of events, with the header when it is due; and those refused.
    fn encode(
        &mut self,
        events: &[(usize, Event)],
        format: SinkFormat,
    ) -> (Vec<u8>, Vec<Rejection>) {
        let (mut text, mut rejections) = (Vec::new(), Vec::new());
        for (index, event) in events {
            let line = match format {
                SinkFormat::Ndjson => ndjson_line(event),
                SinkFormat::Csv => match event.payload.json() {
                    Ok(value) => self.csv.row(value),
                    Err(error) => Err(error.to_string()),
                },
            };
            match line {
                Ok(line) => {
                    if format == SinkFormat::Csv && self.bytes == 0 && text.is_empty() {
                        text.extend(self.csv.header());
                    }
                    text.extend(line);
                }
                Err(why) => rejections.push(Rejection { index: *index, why }),
            }
        }
        (text, rejections)
    }

    /// Writes whole lines, or none.
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(text) {
            // Best effort: the next start cuts a torn line too.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += text.len() as u64;
        Ok(())
    }
}

/// A record as one line; a tombstone is `null`.
fn ndjson_line(event: &Event) -> Result<Vec<u8>, String> {
    let bytes = event.payload.bytes().unwrap_or_else(|| "null".into());
    let mut line = json_line(&bytes).ok_or("value is not JSON")?;
    line.push(b'\n');
    Ok(line)
}

/// Cuts what follows the last line break; answers the length.
fn cut_torn_line(file: &mut File) -> io::Result<u64> {
    const STEP: u64 = 64 * 1024;
    let bytes = file.metadata()?.len();
    let mut end = bytes;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(start))?;
        let mut chunk = Vec::new();
        file.take(end - start).read_to_end(&mut chunk)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < bytes {
        tracing::warn!(cut_bytes = bytes - end, "cut a torn last line of a file");
        file.set_len(end)?;
    }
    Ok(end)
}

fn first_line(file: &mut File) -> io::Result<Option<String>> {
    file.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    file.take(64 * 1024).read_to_end(&mut head)?;
    let line = head.iter().position(|byte| *byte == b'\n').map(|end| &head[..end]);
    Ok(line.map(|line| String::from_utf8_lossy(line).into_owned()))
}

/// The columns of a file that has a header already.
fn csv_of(header: &str, options: &SinkOptions) -> io::Result<CsvEncoder> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(header.as_bytes());
    let names: Vec<String> = match reader.records().next() {
        Some(Ok(record)) => record.iter().map(Into::into).collect(),
        _ => Vec::new(),
    };
    if !options.columns.is_empty() && options.columns != names {
        let (found, expected) = (names.join(", "), options.columns.join(", "));
        let what = format!("its header is {found}, expected {expected}; move the file away");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(CsvEncoder::new(names))
}

/// A free name with the time: `orders.20260101T000000.000Z.ndjson`.
fn aside(path: &Path, now: Timestamp) -> PathBuf {
    let at = jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or_default();
    let at = at.strftime("%Y%m%dT%H%M%S%.3fZ");
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|ext| format!(".{}", ext.to_string_lossy()));
    let extension = extension.unwrap_or_default();
    let names = std::iter::once(format!("{stem}.{at}{extension}"))
        .chain((1..u32::MAX).map(|n| format!("{stem}.{at}-{n}{extension}")));
    let mut paths = names.map(|name| path.with_file_name(name));
    paths.find(|path| !path.exists()).unwrap_or_else(|| path.with_extension("aside"))
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be synced, and need not be.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
