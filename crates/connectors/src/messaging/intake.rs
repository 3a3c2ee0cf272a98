//! From delivered messages to the log.
//!
//! A message is one record. Its body is checked against the format, all that fits is
//! appended within the bounds of a batch, and the rest is answered with the reason.
//! Only after this answered may the broker be told that the messages are safe.

use bytes::Bytes;
use courant_model::{
    Record,
    limits::{
        MESSAGE_BYTES_MAX, REJECTED_BYTES_MAX, SOURCE_BATCH_BYTES_MAX, SOURCE_BATCH_RECORDS_MAX,
    },
};
use courant_pipeline::connector::{ConnectorError, SourceContext};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    deliver::{append, set_aside},
    formats::decode::without_place,
};

/// How a record stands in a message's body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// One JSON value, kept byte by byte; an empty body is a tombstone.
    #[default]
    Json,
    /// Any bytes, as they are.
    Bytes,
}

/// A message that is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoRecord {
    /// Index within the messages of the call.
    pub(crate) index: usize,
    /// The body, or its beginning where it is too long.
    pub(crate) body: Bytes,
    pub(crate) why: String,
}

impl Format {
    /// The record's value.
    fn read(self, body: Bytes) -> Result<Option<Bytes>, (Bytes, String)> {
        if body.len() > MESSAGE_BYTES_MAX {
            let why = format!("message has {} bytes, at most {MESSAGE_BYTES_MAX} fit", body.len());
            return Err((body.slice(..REJECTED_BYTES_MAX), why));
        }
        match self {
            Self::Bytes => Ok(Some(body)),
            Self::Json if body.is_empty() => Ok(None),
            Self::Json => match serde_json::from_slice::<serde::de::IgnoredAny>(&body) {
                Ok(_) => Ok(Some(body)),
                Err(error) => Err((body, format!("body is not JSON: {}", without_place(&error)))),
            },
        }
    }
}

/// Appends messages whose values are bodies; answers those that are no records. Not
/// cancel safe: a call that is dropped may have appended any number of them.
///
/// # Errors
/// Failures of the log.
pub(crate) async fn take(
    context: &SourceContext,
    format: Format,
    messages: Vec<Record>,
) -> Result<Vec<NoRecord>, ConnectorError> {
    let mut refused = Vec::new();
    let mut batch = Batch::default();
    for (index, mut record) in messages.into_iter().enumerate() {
        match format.read(record.value.take().unwrap_or_default()) {
            Ok(value) => {
                record.value = value;
                if batch.is_full_with(&record) {
                    std::mem::take(&mut batch).append(context, &mut refused).await?;
                }
                batch.push(index, record);
            }
            Err((body, why)) => refused.push(NoRecord { index, body, why }),
        }
    }
    batch.append(context, &mut refused).await?;
    refused.sort_by_key(|refused| refused.index);
    Ok(refused)
}

/// Appends messages, and sets aside those that are no records. Not cancel safe, as
/// [`take`].
///
/// # Errors
/// Failures of the log.
pub(crate) async fn take_all(
    context: &SourceContext,
    format: Format,
    messages: Vec<Record>,
) -> Result<(), ConnectorError> {
    for NoRecord { body, why, .. } in take(context, format, messages).await? {
        set_aside(&*context.emitter, body, why).await?;
    }
    Ok(())
}

/// Records that are appended together.
#[derive(Debug, Default)]
struct Batch {
    places: Vec<usize>,
    records: Vec<Record>,
    bytes: usize,
}

impl Batch {
    fn is_full_with(&self, record: &Record) -> bool {
        !self.records.is_empty()
            && (self.records.len() >= SOURCE_BATCH_RECORDS_MAX
                || self.bytes + record.size_bytes() > SOURCE_BATCH_BYTES_MAX)
    }

    fn push(&mut self, place: usize, record: Record) {
        self.bytes += record.size_bytes();
        self.places.push(place);
        self.records.push(record);
    }

    async fn append(
        self,
        context: &SourceContext,
        refused: &mut Vec<NoRecord>,
    ) -> Result<(), ConnectorError> {
        for one in append(&*context.emitter, &context.topic, self.records).await? {
            let body = one.record.value.unwrap_or_default();
            refused.push(NoRecord { index: self.places[one.index], body, why: one.why });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use courant_model::Timestamp;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::testing::World;

    fn messages(bodies: &[&'static str]) -> Vec<Record> {
        let record = |body: &&'static str| Record::new(*body, Timestamp::from_millis(0));
        bodies.iter().map(record).collect()
    }

    #[tokio::test]
    async fn what_is_no_record_is_answered_by_its_place_and_the_rest_is_appended() {
        let world = World::new();
        world.emit.refuse_values_with("bad");
        let context = world.context(CancellationToken::new());
        let bodies = messages(&["1", "oops", "\"bad\"", "", "{\"a\": 2}"]);
        let refused = take(&context, Format::Json, bodies).await.unwrap();
        assert_eq!(world.emit.values(), ["1", "null", "{\"a\": 2}"]);
        assert_eq!(refused.iter().map(|one| one.index).collect::<Vec<_>>(), [1, 2]);
        assert!(refused[0].why.starts_with("body is not JSON"), "{refused:?}");
        let bodies = messages(&["oops", ""]);
        assert_eq!(take(&context, Format::Bytes, bodies).await.unwrap(), []);
        assert_eq!(world.emit.values()[3..], ["oops", ""]);
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_set_aside_with_its_beginning() {
        let world = World::new();
        let context = world.context(CancellationToken::new());
        let long = Record::new(vec![b'1'; MESSAGE_BYTES_MAX + 1], Timestamp::from_millis(0));
        take_all(&context, Format::Bytes, vec![long]).await.unwrap();
        let (body, why) = world.emit.rejected().remove(0);
        assert_eq!(body.len(), REJECTED_BYTES_MAX);
        assert!(why.starts_with("message has 16777217 bytes"), "{why}");
        assert!(world.emit.values().is_empty());
    }
}
