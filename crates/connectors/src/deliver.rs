//! Hands a source's records over, whatever becomes of single ones.
//!
//! A record that the log refuses for good is set aside with its reason, and the
//! rest goes on; a failure of the log itself becomes the source's, with whether a
//! retry may help. After it answered, every record is durable somewhere: in its
//! topic or among the dead letters.

use bytes::Bytes;
use courant_model::{Record, TopicName};
use courant_pipeline::connector::{ConnectorError, Emit, EmitError};

/// A record that the log refuses for good.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    /// Index within the records of the call.
    pub(crate) index: usize,
    pub(crate) record: Record,
    pub(crate) why: String,
}

/// Appends records, or sets them aside one by one. Not cancel safe: a call that is
/// dropped may have appended any number of them.
///
/// # Errors
/// Failures of the log.
pub(crate) async fn deliver(
    emitter: &dyn Emit,
    topic: &TopicName,
    records: Vec<Record>,
) -> Result<(), ConnectorError> {
    for refused in append(emitter, topic, records).await? {
        set_aside(emitter, refused.record.value.unwrap_or_default(), refused.why).await?;
    }
    Ok(())
}

/// Appends all records that the log takes and answers the others. Not cancel safe, as
/// [`deliver`].
///
/// # Errors
/// Failures of the log.
pub(crate) async fn append(
    emitter: &dyn Emit,
    topic: &TopicName,
    mut records: Vec<Record>,
) -> Result<Vec<Refused>, ConnectorError> {
    let mut places: Vec<usize> = (0..records.len()).collect();
    let mut refused = Vec::new();
    while !records.is_empty() {
        // Cheap: bodies are shared, not copied.
        match emitter.emit(None, records.clone()).await {
            Ok(_) => break,
            Err(EmitError::Rejected { index, why }) if index < records.len() => {
                let (place, record) = (places.remove(index), records.remove(index));
                refused.push(Refused { index: place, record, why });
            }
            Err(error) => return Err(failure(&format!("append to topic \"{topic}\""), &error)),
        }
    }
    Ok(refused)
}

/// Sets an input aside that is no record.
///
/// # Errors
/// Failures of the log.
pub(crate) async fn set_aside(
    emitter: &dyn Emit,
    original: Bytes,
    why: String,
) -> Result<(), ConnectorError> {
    let done = emitter.reject(original, why).await;
    done.map_err(|error| failure("set an input aside", &error))
}

fn failure(attempt: &str, error: &EmitError) -> ConnectorError {
    let retryable = matches!(error, EmitError::Log(log) if log.retryable());
    ConnectorError { what: format!("{attempt}: {error}"), retryable }
}

#[cfg(test)]
mod tests {
    use courant_log::LogError;
    use courant_model::Timestamp;

    use super::*;
    use crate::testing::MemoryEmit;

    #[tokio::test]
    async fn a_refused_record_is_set_aside_and_the_others_are_appended() {
        let emit = MemoryEmit::default();
        emit.refuse_values_with("bad");
        let records = ["one", "bad 1", "two", "bad 2"];
        let records =
            records.iter().map(|text| Record::new(*text, Timestamp::from_millis(0))).collect();
        deliver(&emit, &TopicName::new("t").unwrap(), records).await.unwrap();
        assert_eq!(emit.values(), ["one", "two"]);
        let rejected: Vec<String> = emit.rejected().into_iter().map(|(text, _)| text).collect();
        assert_eq!(rejected, ["bad 1", "bad 2"]);
    }

    #[tokio::test]
    async fn refused_records_are_named_by_their_place_in_the_call() {
        let emit = MemoryEmit::default();
        emit.refuse_values_with("bad");
        let records = ["bad 0", "one", "bad 2", "bad 3", "two"];
        let records =
            records.iter().map(|text| Record::new(*text, Timestamp::from_millis(0))).collect();
        let refused = append(&emit, &TopicName::new("t").unwrap(), records).await.unwrap();
        assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!(emit.values(), ["one", "two"]);
        assert!(emit.rejected().is_empty());
    }

    #[tokio::test]
    async fn a_full_disk_is_worth_a_retry_and_an_unknown_topic_is_not() {
        let emit = MemoryEmit::default();
        let record = || vec![Record::new("x", Timestamp::from_millis(0))];
        let topic = TopicName::new("t").unwrap();
        emit.fail_with(LogError::DiskFull { action: "append".into() });
        assert!(deliver(&emit, &topic, record()).await.unwrap_err().retryable);
        emit.fail_with(LogError::UnknownTopic { topic: topic.clone() });
        assert!(!deliver(&emit, &topic, record()).await.unwrap_err().retryable);
    }
}
