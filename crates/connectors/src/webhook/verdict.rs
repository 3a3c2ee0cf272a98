//! What an answer means for a record: taken, refused for good, or later.
//!
//! 2xx takes it. A timeout, too many requests, a fault of the server, a failed
//! connection and refused credentials are not the record's fault: later. Whatever
//! else comes, redirects included, refuses the record.

use std::{error::Error, time::Duration};

use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};

/// Characters of an answer that an error quotes.
const QUOTED_CHARS_MAX: usize = 200;

/// The meaning of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Taken,
    Refused {
        why: String,
    },
    /// `after` is how long the other side asks to wait.
    Later {
        why: String,
        after: Option<Duration>,
    },
}

impl Verdict {
    pub(crate) fn of(
        status: StatusCode,
        after: Option<Duration>,
        attempt: &str,
        answer: &str,
    ) -> Self {
        if status.is_success() {
            return Self::Taken;
        }
        let quoted: String = answer.trim().chars().take(QUOTED_CHARS_MAX).collect();
        let quoted = if quoted.is_empty() { quoted } else { format!(": {quoted}") };
        let why = format!("{attempt} answered {status}{quoted}");
        let later = status.is_server_error()
            || matches!(status.as_u16(), 401 | 403 | 407 | 408 | 425 | 429);
        if later { Self::Later { why, after } } else { Self::Refused { why } }
    }

    /// A request without an answer.
    pub(crate) fn failed(attempt: &str, error: &reqwest::Error) -> Self {
        let mut why = format!("{attempt} failed: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            why = format!("{why}: {error}");
            cause = error.source();
        }
        Self::Later { why, after: None }
    }

    /// The seconds of `Retry-After`; its form as a date is not read.
    pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
        headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
    }
}
