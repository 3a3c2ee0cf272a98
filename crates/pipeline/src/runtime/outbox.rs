//! What a partition's task has for topics, gathered until a transaction carries it.
//!
//! Where a pipeline promises `exactly_once`, its targets and routes that are topics and
//! its dead letters put their records here. The checkpoint sends them (`transact`), as
//! often as it takes: after an abort nothing has to be worked out again. Bounded: a full
//! outbox asks for a checkpoint. It never talks to a log.

use std::{collections::BTreeMap, mem, sync::Arc};

use async_trait::async_trait;
use courant_model::{Origin, Record, TopicName, limits::OUTBOX_BYTES_MAX};
use parking_lot::Mutex;

use crate::{
    connector::{ConnectorError, Rejection, Sink},
    core::Originals,
    event::{Event, Payload},
    steps::Rejected,
};

/// The outbox of one partition's task; clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outbox(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    /// For each topic, in order.
    topics: BTreeMap<TopicName, Vec<Entry>>,
    /// Of the batches that the entries come from, for dead letters.
    originals: Originals,
    /// Of events that nobody has seen yet.
    origins: Vec<Origin>,
    bytes: usize,
}

#[derive(Debug)]
enum Entry {
    /// With the label of its target.
    Event(Event, Arc<str>),
    DeadLetter(Record),
}

/// What was found when a topic refused a record as too large.
#[derive(Debug)]
pub(crate) enum Largest {
    /// It was taken out.
    Event(Box<Rejected>),
    /// Dead letters are not set aside a second time.
    DeadLetter,
}

impl Outbox {
    /// A sink that puts events in for a topic.
    pub(crate) fn sink(&self, topic: TopicName, target: Arc<str>) -> OutboxSink {
        OutboxSink { outbox: self.clone(), topic, target }
    }

    pub(crate) fn add_dead_letters(&self, topic: &TopicName, letters: Vec<Record>) {
        let mut contents = self.0.lock();
        contents.bytes += letters.iter().map(Record::size_bytes).sum::<usize>();
        let letters = letters.into_iter().map(Entry::DeadLetter);
        contents.topics.entry(topic.clone()).or_default().extend(letters);
    }

    /// Keeps what belongs to the events of a batch: the records they came from, and
    /// when they began. `false`: there is nothing to keep it for.
    pub(crate) fn keep(
        &self,
        originals: &Originals,
        origins: impl Iterator<Item = Origin>,
    ) -> bool {
        let mut contents = self.0.lock();
        if contents.topics.is_empty() {
            return false;
        }
        contents.bytes += originals.size_bytes();
        contents.originals.extend(originals);
        contents.origins.extend(origins);
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().topics.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.lock().bytes >= OUTBOX_BYTES_MAX
    }

    /// The records for each topic, in order.
    pub(crate) fn records(&self) -> Vec<(TopicName, Vec<Record>)> {
        let contents = self.0.lock();
        let records = |entries: &Vec<Entry>| entries.iter().map(Entry::to_record).collect();
        contents.topics.iter().map(|(topic, entries)| (topic.clone(), records(entries))).collect()
    }

    /// Takes out the largest record for a topic, which refused one as too large; `None`
    /// where there is none.
    pub(crate) fn take_largest(&self, topic: &TopicName, why: &str) -> Option<Largest> {
        let mut contents = self.0.lock();
        let entries = contents.topics.get_mut(topic)?;
        let sizes = entries.iter().map(Entry::size_bytes).enumerate();
        let (index, _) = sizes.max_by_key(|(_, bytes)| *bytes)?;
        if matches!(entries[index], Entry::DeadLetter(_)) {
            return Some(Largest::DeadLetter);
        }
        let taken = entries.remove(index);
        if entries.is_empty() {
            contents.topics.remove(topic);
        }
        let Entry::Event(event, step) = taken else { return None };
        Some(Largest::Event(Box::new(Rejected { event, step, why: why.to_owned() })))
    }

    /// Dead letters of events that were taken out.
    pub(crate) fn dead_letters(
        &self,
        rejected: &[Rejected],
        pipeline: &str,
        now: courant_model::Timestamp,
    ) -> Vec<Record> {
        self.0.lock().originals.dead_letters(rejected, pipeline, now)
    }

    /// Empties it; answers the origins of its events.
    pub(crate) fn clear(&self) -> Vec<Origin> {
        mem::take(&mut *self.0.lock()).origins
    }
}

impl Entry {
    fn to_record(&self) -> Record {
        match self {
            Self::Event(event, _) => event.to_record(),
            Self::DeadLetter(record) => record.clone(),
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::Event(event, _) => size_bytes(event),
            Self::DeadLetter(record) => record.size_bytes(),
        }
    }
}

/// A topic as a target whose records wait for the checkpoint; it refuses nothing.
#[derive(Debug)]
pub(crate) struct OutboxSink {
    outbox: Outbox,
    topic: TopicName,
    target: Arc<str>,
}

#[async_trait]
impl Sink for OutboxSink {
    async fn write(&mut self, events: &[Event]) -> Result<Vec<Rejection>, ConnectorError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let mut contents = self.outbox.0.lock();
        contents.bytes += events.iter().map(size_bytes).sum::<usize>();
        let entry = |event: &Event| Entry::Event(encoded(event), Arc::clone(&self.target));
        contents.topics.entry(self.topic.clone()).or_default().extend(events.iter().map(entry));
        Ok(Vec::new())
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// The event with its body as bytes only: the tree of a document is many times larger.
fn encoded(event: &Event) -> Event {
    let payload = event.payload.bytes().map_or_else(Payload::null, Payload::from_bytes);
    Event { payload, ..event.clone() }
}

fn size_bytes(event: &Event) -> usize {
    let payload = event.payload.bytes().map_or(0, |bytes| bytes.len());
    payload + event.key.as_ref().map_or(0, bytes::Bytes::len)
}

#[cfg(test)]
mod tests {
    use courant_model::{StoredRecord, Timestamp};
    use serde_json::json;

    use super::*;
    use crate::testing::{name, record};

    fn event(offset: i64, text: &str) -> Event {
        let record = record(&json!({ "n": offset, "text": text }));
        Event::from_stored(StoredRecord { topic: name("in"), partition: 0, offset, record })
    }

    #[tokio::test]
    async fn the_largest_record_of_a_topic_is_the_one_that_was_too_large() {
        let outbox = Outbox::default();
        let mut sink = outbox.sink(name("out"), "target 1".into());
        let events = [event(0, "a"), event(1, "the longest of them"), event(2, "bb")];
        sink.write(&events).await.unwrap();
        let largest = outbox.take_largest(&name("out"), "too large");
        let Some(Largest::Event(rejected)) = largest else { panic!("{largest:?}") };
        assert_eq!((rejected.event.source.offset, &*rejected.step), (1, "target 1"));
        let left = outbox.records();
        assert_eq!(left, [(name("out"), vec![events[0].to_record(), events[2].to_record()])]);
    }

    #[test]
    fn a_dead_letter_that_is_too_large_stays_and_is_told() {
        let outbox = Outbox::default();
        let letter = Record::new("x".repeat(100), Timestamp::from_millis(0));
        outbox.add_dead_letters(&name("dead"), vec![letter]);
        let largest = outbox.take_largest(&name("dead"), "too large");
        assert!(matches!(largest, Some(Largest::DeadLetter)));
        assert!(!outbox.is_empty());
        assert!(outbox.take_largest(&name("other"), "").is_none());
    }

    #[tokio::test]
    async fn a_full_outbox_says_so_and_is_empty_once_cleared() {
        let outbox = Outbox::default();
        let mut sink = outbox.sink(name("out"), "target 1".into());
        assert!(!outbox.keep(&Originals::default(), std::iter::empty()));
        sink.write(&[event(0, &"x".repeat(OUTBOX_BYTES_MAX))]).await.unwrap();
        let origin = event(0, "").origin;
        assert!(outbox.keep(&Originals::default(), std::iter::once(origin)));
        assert!(outbox.is_full());
        assert_eq!(outbox.clear(), [origin]);
        assert!(outbox.is_empty() && !outbox.is_full());
    }
}
