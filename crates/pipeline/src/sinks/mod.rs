//! The targets that Courant has itself: topics, the cache, the history.
//!
//! They implement the same contract as a connector's sink, over the roles' traits. How
//! an event becomes a write is a pure function of each file, which the driver uses too.
//! What these targets refuse they refuse for good: nothing about the record changes by
//! waiting.

use courant_log::LogError;
use courant_model::json::FieldPath;
use courant_stores::StoreError;
use serde_json::Value;

use crate::connector::{ConnectorError, Rejection};

pub mod cache;
pub mod history;
pub mod topic;

pub use cache::CacheSink;
pub use history::HistorySink;
pub use topic::TopicSink;

pub(crate) fn log_failure(error: &LogError) -> ConnectorError {
    ConnectorError { what: error.to_string(), retryable: error.retryable() }
}

fn store_failure(error: &StoreError) -> ConnectorError {
    ConnectorError { what: error.to_string(), retryable: error.retryable() }
}

/// The version that a document has at a field; none where none is asked for.
///
/// # Errors
/// What is there instead of a whole number of 64 bits, or of its text.
fn version_at(document: &Value, field: Option<&FieldPath>) -> Result<Option<i64>, String> {
    let Some(field) = field else { return Ok(None) };
    let found = field.get(document);
    let version = found.and_then(|value| match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    });
    let found = || match found {
        None => "missing".to_owned(),
        Some(Value::Array(_)) => "a list".to_owned(),
        Some(Value::Object(_)) => "an object".to_owned(),
        Some(scalar) => scalar.to_string().chars().take(40).collect(),
    };
    version.map(Some).ok_or_else(|| {
        format!(
            "field \"{field}\" is {}; a version needs a whole number; give every record one, \
             or take `version` off the target",
            found()
        )
    })
}

/// Sorts a store's answers, one for each write: what it refuses, or what stops all.
fn refusals<T>(
    answers: Vec<Result<T, StoreError>>,
    indices: &[usize],
) -> Result<Vec<Rejection>, ConnectorError> {
    let mut rejections = Vec::new();
    for (answer, index) in answers.into_iter().zip(indices) {
        match answer {
            Ok(_) => {}
            Err(error) if error.concerns_one_record() => {
                rejections.push(Rejection { index: *index, why: error.to_string() });
            }
            Err(error) => return Err(store_failure(&error)),
        }
    }
    Ok(rejections)
}
