//! The targets that Courant has itself: topics, the cache, the history.
//!
//! They implement the same contract as a connector's sink, over the roles' traits. How
//! an event becomes a write is a pure function of each file, which the driver uses too.
//! What these targets refuse they refuse for good: nothing about the record changes by
//! waiting.

use courant_log::LogError;
use courant_stores::StoreError;

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
