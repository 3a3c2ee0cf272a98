//! From events to columns: what the documents at a step look like, and their decoding.
//!
//! The columns are declared, or a statement's result, or inferred from the first
//! records and pinned. Inferred columns grow: a record with a field that none had
//! before adds it, so that nothing is left out in silence; types never change.

use std::sync::Arc;

use bytes::Bytes;
use courant_model::{Columns, TopicName};
use courant_sql::{DecodedBatch, Decoder, Inference, Output, RowInput};
use parking_lot::Mutex;

use super::pins::{PinKey, Pins};
use crate::event::Event;

/// What the documents between two steps look like, as far as is known. Clones share
/// the knowledge.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    known: Arc<Mutex<Option<Arc<Columns>>>>,
    /// Set: inferred, and pinned under this number, that of the step which made the
    /// documents; 0 for those of the topic.
    inferred: Option<usize>,
}

impl Shape {
    /// Documents of a topic.
    pub(super) fn of_topic(declared: Option<&Columns>) -> Self {
        let known = declared.map(|columns| Arc::new(columns.clone()));
        let inferred = if known.is_none() { Some(0) } else { None };
        Self { known: Arc::new(Mutex::new(known)), inferred }
    }

    /// Documents that a step makes of which it knows nothing.
    pub(super) fn made_by(step: usize) -> Self {
        Self { known: Arc::default(), inferred: Some(step) }
    }

    /// Documents that a statement makes; it tells their columns once it is compiled.
    pub(super) fn of_statement() -> Self {
        Self { known: Arc::default(), inferred: None }
    }

    pub(super) fn get(&self) -> Option<Arc<Columns>> {
        self.known.lock().clone()
    }

    pub(super) fn set(&self, columns: Columns) -> Arc<Columns> {
        let columns = Arc::new(columns);
        *self.known.lock() = Some(Arc::clone(&columns));
        columns
    }
}

/// Decodes events into columns of their shape.
#[derive(Debug)]
pub(super) struct Reader {
    topic: TopicName,
    shape: Shape,
    pins: Arc<Pins>,
    decoder: Option<(Arc<Columns>, Decoder)>,
}

/// Events as columns. Tombstones are left out.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) columns: Arc<Columns>,
    pub(super) batch: DecodedBatch,
    /// Event that does not fit, and why.
    pub(super) rejected: Vec<(usize, String)>,
    /// Index of the event of each row that was decoded.
    events: Vec<usize>,
}

impl Decoded {
    /// The event that a row of the decoder's input comes from.
    pub(super) fn event_of(&self, row: usize) -> usize {
        self.events[row]
    }
}

impl Reader {
    pub(super) fn new(topic: &TopicName, shape: Shape, pins: Arc<Pins>) -> Self {
        Self { topic: topic.clone(), shape, pins, decoder: None }
    }

    pub(super) fn decode(&mut self, events: &[Event]) -> Decoded {
        let with_body = |(index, event): (usize, &Event)| Some((index, event.payload.bytes()?));
        let bodies: Vec<(usize, Bytes)> = events.iter().enumerate().filter_map(with_body).collect();
        let rows: Vec<RowInput<'_>> =
            bodies.iter().map(|(index, body)| row(&events[*index], body)).collect();
        let (columns, output) = match self.shape.inferred {
            Some(step) => self.decode_inferred(&rows, step),
            None => {
                let columns = self.shape.get().unwrap_or_default();
                let output = self.decoder(&columns).decode(&rows);
                (columns, output)
            }
        };
        let events: Vec<usize> = bodies.iter().map(|(index, _)| *index).collect();
        let rejected =
            output.rejected.into_iter().map(|one| (events[one.row], one.reason)).collect();
        Decoded { columns, batch: output.batch, rejected, events }
    }

    fn decode_inferred(&mut self, rows: &[RowInput<'_>], step: usize) -> (Arc<Columns>, Output) {
        let key = PinKey { topic: self.topic.clone(), step };
        let known = self.shape.get().or_else(|| Some(self.shape.set(self.pins.get(&key)?)));
        let Some(known) = known else {
            let columns = self.widen(key, rows.iter());
            let output = self.decoder(&columns).decode(rows);
            return (columns, output);
        };
        let output = self.decoder(&known).clone().strict().decode(rows);
        if output.rejected.is_empty() {
            return (known, output);
        }
        let columns = self.widen(key, output.rejected.iter().map(|one| &rows[one.row]));
        let output = self.decoder(&columns).decode(rows);
        (columns, output)
    }

    /// Adds what these rows have to the pinned columns.
    fn widen<'a>(&self, key: PinKey, rows: impl Iterator<Item = &'a RowInput<'a>>) -> Arc<Columns> {
        let mut inference = Inference::new();
        for value in rows.filter_map(|row| row.value) {
            inference.observe(value);
        }
        if inference.records() == 0 {
            return self.shape.get().unwrap_or_default();
        }
        let pinned = self.pins.pin(key, &inference.columns());
        match self.shape.get() {
            Some(known) if *known == pinned => known,
            _ => self.shape.set(pinned),
        }
    }

    fn decoder(&mut self, columns: &Arc<Columns>) -> &Decoder {
        if self.decoder.as_ref().is_none_or(|(known, _)| !Arc::ptr_eq(known, columns)) {
            self.decoder = None;
        }
        let build = || (Arc::clone(columns), Decoder::new(columns));
        &self.decoder.get_or_insert_with(build).1
    }
}

fn row<'a>(event: &'a Event, body: &'a Bytes) -> RowInput<'a> {
    RowInput {
        key: event.key.as_deref(),
        value: Some(body),
        topic: event.source.partition.topic.as_str(),
        partition: event.source.partition.partition,
        offset: event.source.offset,
        timestamp: event.timestamp,
    }
}
