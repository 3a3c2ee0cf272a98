//! The append path: a queue, and rounds that write, sync and answer.
//!
//! Whoever appends puts a validated batch into the queue and waits. A worker runs
//! a round: it takes what has gathered, gives offsets, writes, syncs once, moves
//! the end, wakes readers and answers everybody. While it syncs, the next round's
//! batches gather, so that under load many share a sync and without load nobody
//! waits for others.
//!
//! A full disk fails the round's batches and leaves the partition as it was. A
//! failed sync ends the partition's appends until it is opened again.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::Bytes;
use courant_model::limits::APPEND_GROUP_BYTES_MAX;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Partition, Stop, Writer, files::store_producers, producers::Verdict};
use crate::{
    Appended, Durability, LogError, TimestampSource,
    batch::{self, BatchHeader, Marker},
    segment::Segment,
};

/// The leader epoch of every batch: one process is the leader, for ever.
pub const LEADER_EPOCH: i32 = 0;

/// A batch on its way into the log.
#[derive(Debug)]
pub(crate) struct AppendRequest {
    /// One whole batch, validated.
    pub(crate) batch: Bytes,
    pub(crate) header: BatchHeader,
    /// What a control batch says.
    pub(crate) marker: Option<Marker>,
    pub(crate) answer: oneshot::Sender<Result<Appended, LogError>>,
    /// The batch's share of the log's queue bound; freed when it is written.
    pub(crate) room: OwnedSemaphorePermit,
}

/// Appends that wait for a round.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<AppendRequest>,
    /// A worker has this partition or will take it.
    scheduled: bool,
    stopped: Option<Stop>,
}

/// The batches of one round.
#[derive(Debug)]
struct Round<'a> {
    /// Bytes to be written at once.
    buffer: &'a mut Vec<u8>,
    /// Headers of the batches in the buffer.
    headers: Vec<BatchHeader>,
    /// Callers whose batches are in the buffer, or in the log already.
    staged: Vec<Staged>,
    /// Written, and answered after the sync.
    written: Vec<Staged>,
    /// What failed the batches that came before; fails the rest of the round too.
    broken: Option<LogError>,
}

#[derive(Debug)]
struct Staged {
    answer: oneshot::Sender<Result<Appended, LogError>>,
    appended: Appended,
    _room: OwnedSemaphorePermit,
}

impl<'a> Round<'a> {
    fn new(buffer: &'a mut Vec<u8>) -> Self {
        let (headers, staged, written) = (Vec::new(), Vec::new(), Vec::new());
        Self { buffer, headers, staged, written, broken: None }
    }
}

impl Partition {
    /// Puts a batch into the queue. True: the caller must have a worker call
    /// [`Self::run_round`] until that answers false.
    #[must_use]
    pub(crate) fn enqueue(&self, request: AppendRequest) -> bool {
        let mut queue = self.queue.lock();
        if let Some(stop) = queue.stopped {
            drop(queue);
            answer(request.answer, Err(self.stopped(stop)));
            return false;
        }
        queue.waiting.push_back(request);
        !std::mem::replace(&mut queue.scheduled, true)
    }

    /// Writes, syncs and answers what has gathered. True: there is more. The buffer
    /// is the worker's, so that its memory is bounded by the workers.
    pub(crate) fn run_round(&self, buffer: &mut Vec<u8>) -> bool {
        let mut writer = self.writer.lock();
        let requests = self.take_group();
        let mut round = Round::new(buffer);
        for request in requests {
            self.stage(&mut writer, &mut round, request);
        }
        self.flush_staged(&mut writer, &mut round);
        self.finish(&mut writer, round);
        drop(writer);
        let mut queue = self.queue.lock();
        queue.scheduled = !queue.waiting.is_empty();
        queue.scheduled
    }

    fn take_group(&self) -> Vec<AppendRequest> {
        let mut queue = self.queue.lock();
        let mut bytes = 0;
        let fits = queue.waiting.iter().take_while(|request| {
            let fits = bytes < APPEND_GROUP_BYTES_MAX;
            bytes += request.batch.len();
            fits
        });
        let count = fits.count();
        queue.waiting.drain(..count).collect()
    }

    /// Decides on one batch and puts it into the buffer.
    fn stage(&self, writer: &mut Writer, round: &mut Round<'_>, request: AppendRequest) {
        if request.marker.is_some() {
            self.admitted.lock().remove(&request.header.producer.id);
        }
        if round.broken.is_none() {
            round.broken = self.failed(writer).or_else(|| self.make_room(writer, round, &request));
        }
        if let Some(error) = &round.broken {
            return answer(request.answer, Err(error.clone()));
        }
        let verdict = self.judge(writer, &request);
        let append_time = self.environment.clock.now();
        let appended = match verdict {
            Err(error) => return answer(request.answer, Err(error)),
            Ok(Verdict::Duplicate(appended)) => appended,
            Ok(Verdict::Append) => {
                let mut header = request.header;
                header.base_offset = writer.next;
                let start = round.buffer.len();
                round.buffer.extend_from_slice(&request.batch);
                let bytes = &mut round.buffer[start..];
                batch::rewrite_place(bytes, writer.next, LEADER_EPOCH);
                let stamps = self.settings().timestamps == TimestampSource::Log;
                if stamps && !header.is_control() {
                    batch::stamp(bytes, &mut header, append_time);
                }
                writer.producers.note(&header, request.marker, append_time);
                round.headers.push(header);
                let (base_offset, last_offset) = (header.base_offset, header.last_offset());
                writer.next = last_offset + 1;
                Appended { base_offset, last_offset, append_time }
            }
        };
        round.staged.push(Staged { answer: request.answer, appended, _room: request.room });
    }

    /// Whether a batch may be appended, by who wrote it.
    fn judge(&self, writer: &Writer, request: &AppendRequest) -> Result<Verdict, LogError> {
        if request.marker.is_some() {
            return Ok(Verdict::Append);
        }
        let producer = request.header.producer;
        let verdict = writer.producers.check(&self.name, &request.header)?;
        if verdict != Verdict::Append {
            return Ok(verdict);
        }
        let refused = |action, state| {
            let producer_id = producer.id;
            Err(LogError::InvalidTransactionState { producer_id, action, state })
        };
        if !request.header.is_transactional() {
            return match writer.producers.is_open(producer.id) {
                true => refused("append outside of it", "Ongoing"),
                false => Ok(verdict),
            };
        }
        match self.admitted.lock().get(&producer.id) {
            Some(epoch) if *epoch == producer.epoch => Ok(verdict),
            _ => refused("append", "not begun on this partition"),
        }
    }

    /// Starts a new segment if the batch does not fit the active one any more.
    fn make_room(
        &self,
        writer: &mut Writer,
        round: &mut Round<'_>,
        request: &AppendRequest,
    ) -> Option<LogError> {
        let settings = self.settings();
        let used = writer.active.bytes() + round.buffer.len() as u64;
        let full = used + request.batch.len() as u64 > settings.segment_bytes.as_bytes();
        let span = writer.next - writer.active.base() + i64::from(request.header.last_offset_delta);
        if used == 0 || !(full || span > i64::from(i32::MAX)) {
            return None;
        }
        self.flush_staged(writer, round);
        if round.broken.is_some() {
            return round.broken.clone();
        }
        self.roll(writer).err()
    }

    /// Writes the buffer. On failure everything staged is undone and answered.
    fn flush_staged(&self, writer: &mut Writer, round: &mut Round<'_>) {
        let headers = std::mem::take(&mut round.headers);
        let staged = std::mem::take(&mut round.staged);
        let written =
            if headers.is_empty() { Ok(()) } else { writer.active.append(round.buffer, &headers) };
        round.buffer.clear();
        let Err((error, unrestored)) = written else {
            writer.unsynced |= !headers.is_empty();
            writer.producers.keep();
            round.written.extend(staged);
            return;
        };
        writer.next = headers[0].base_offset;
        writer.producers.undo();
        if let Some(error) = unrestored {
            writer.failed = Some(Arc::new(error));
        }
        let error = self.storage_error("appending to", error);
        for staged in staged {
            answer(staged.answer, Err(error.clone()));
        }
        round.broken = Some(error);
    }

    /// Syncs, moves the end and answers.
    fn finish(&self, writer: &mut Writer, round: Round<'_>) {
        if round.written.is_empty() {
            return;
        }
        if self.environment.durability == Durability::Fsync
            && let Err(error) = self.sync(writer)
        {
            let error = self.fail(writer, error);
            for staged in round.written {
                answer(staged.answer, Err(error.clone()));
            }
            return;
        }
        self.publish(writer);
        for staged in round.written {
            answer(staged.answer, Ok(staged.appended));
        }
    }

    /// Makes the active segment durable, with its name if that is new.
    fn sync(&self, writer: &mut Writer) -> io::Result<()> {
        if writer.unsynced {
            writer.active.sync()?;
            writer.unsynced = false;
        }
        if writer.folder_unsynced {
            self.environment.disk.sync_folder(&self.folder)?;
            writer.folder_unsynced = false;
        }
        Ok(())
    }

    /// Closes the active segment and starts the next. With [`Durability::Fsync`] the
    /// closed one is synced and indexed at once, else by the next [`Self::flush`].
    pub(super) fn roll(&self, writer: &mut Writer) -> Result<(), LogError> {
        let disk = &*self.environment.disk;
        if self.environment.durability == Durability::Fsync {
            if let Err(error) = self.sync(writer) {
                return Err(self.fail(writer, error));
            }
            self.write_index(&writer.active);
        } else {
            writer.unsealed.push(Arc::clone(&writer.active));
        }
        let created = Segment::create(disk, &self.folder, writer.next).and_then(|segment| {
            disk.sync_folder(&self.folder)?;
            Ok(Arc::new(segment))
        });
        let segment = match created {
            Ok(segment) => segment,
            Err(error) => {
                writer.unsealed.pop_if(|segment| segment.id() == writer.active.id());
                return Err(self.storage_error("starting a segment in", error));
            }
        };
        if let Err(error) = store_producers(disk, &self.folder, writer.next, &writer.producers) {
            tracing::warn!(partition = %self.name, %error, "no snapshot of producers was written");
        }
        self.segments.write().insert(segment.base(), Arc::clone(&segment));
        writer.active = segment;
        Ok(())
    }

    /// Makes everything written so far durable, without holding up appends.
    ///
    /// # Errors
    /// A failed sync, which ends the partition's appends.
    pub(crate) fn flush(&self) -> Result<(), LogError> {
        let (closed, active, folder) = {
            let mut writer = self.writer.lock();
            let unsynced = std::mem::take(&mut writer.unsynced);
            let active = unsynced.then(|| Arc::clone(&writer.active));
            let folder = std::mem::take(&mut writer.folder_unsynced);
            (std::mem::take(&mut writer.unsealed), active, folder)
        };
        let mut synced = closed.iter().chain(&active).try_for_each(|segment| segment.sync());
        if folder {
            synced = synced.and_then(|()| self.environment.disk.sync_folder(&self.folder));
        }
        if let Err(error) = synced {
            return Err(self.fail(&mut self.writer.lock(), error));
        }
        for segment in &closed {
            self.write_index(segment);
        }
        Ok(())
    }

    /// Refuses further calls, wakes whoever waits, answers the queue, and waits for
    /// the round and the upkeep that are under way.
    pub(crate) fn stop(&self, stop: Stop) {
        let waiting = {
            let mut queue = self.queue.lock();
            queue.stopped.get_or_insert(stop);
            std::mem::take(&mut queue.waiting)
        };
        for request in waiting {
            answer(request.answer, Err(self.stopped(stop)));
        }
        self.ends.send_modify(|ends| {
            ends.stopped.get_or_insert(stop);
        });
        drop(self.upkeep.lock());
        drop(self.writer.lock());
    }

    /// Makes everything durable and leaves a folder that opens without a check.
    ///
    /// # Errors
    /// A failed sync, now or before.
    pub(crate) fn close(&self) -> Result<(), LogError> {
        self.stop(Stop::Closed);
        self.flush()?;
        let writer = self.writer.lock();
        if let Some(error) = self.failed(&writer) {
            return Err(error);
        }
        self.write_index(&writer.active);
        store_producers(&*self.environment.disk, &self.folder, writer.next, &writer.producers)
            .map_err(|error| self.storage_error("writing the producers' snapshot in", error))
    }

    fn write_index(&self, segment: &Segment) {
        if let Err(error) = segment.write_index(&*self.environment.disk) {
            tracing::warn!(partition = %self.name, segment = segment.base(), %error,
                "no index was written; the next start reads the segment instead");
        }
    }

    fn fail(&self, writer: &mut Writer, error: io::Error) -> LogError {
        tracing::error!(partition = %self.name, %error,
            "sync failed; the partition takes no appends until the next start");
        writer.failed = Some(Arc::new(error));
        self.failed(writer).unwrap_or(LogError::Closed)
    }

    pub(super) fn failed(&self, writer: &Writer) -> Option<LogError> {
        let source = Arc::clone(writer.failed.as_ref()?);
        let action = format!(
            "syncing partition {} (it takes no appends until the log is started again)",
            self.name
        );
        Some(LogError::Storage { action, source })
    }
}

/// Answers a caller; one that has gone away needs no answer.
fn answer(to: oneshot::Sender<Result<Appended, LogError>>, result: Result<Appended, LogError>) {
    let _ = to.send(result);
}
