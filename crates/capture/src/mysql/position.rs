//! Where a capture of a binary log resumes.
//!
//! Always the end of a transaction, as a place in a file and, where the server has
//! them, as GTIDs, which hold on another server too. What was handed on of the
//! transaction after it is counted, so that a transaction in parts resumes in its
//! middle. How far the snapshot is stands with it: both move in one step.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::value::Value;

/// A position of [`super::MySqlSource`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MySqlPosition {
    /// The log's file; it belongs to the server of `server_id`.
    pub file: String,
    pub offset: u64,
    pub server_id: u32,
    /// The transactions up to here; `None` where the server has no GTIDs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtids: Option<String>,
    /// What was handed on of the next transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
    pub snapshot: Progress,
}

/// A transaction of which some changes were handed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Within {
    pub transaction: String,
    pub changes: u64,
}

/// How far a snapshot is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    Done,
    Running {
        /// Tables that are complete, as `database.table`.
        finished: Arc<Vec<String>>,
        /// The table that is being read, and the key of its last row that was handed on.
        table: Option<(String, Vec<Value>)>,
    },
}

impl fmt::Display for MySqlPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)?;
        match &self.gtids {
            Some(gtids) => write!(f, " ({gtids})"),
            None => Ok(()),
        }
    }
}

/// A place in a server's files; later places are greater.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogPlace {
    pub(super) file: Arc<str>,
    pub(super) offset: u64,
}

impl LogPlace {
    /// The beginning of the file after one; files are numbered.
    pub(super) fn after_file(file: &str) -> Option<Self> {
        let (base, number) = file.rsplit_once('.')?;
        let (next, digits) = (number.parse::<u64>().ok()? + 1, number.len());
        // After the four bytes that say what the file is.
        Some(Self { file: format!("{base}.{next:0digits$}").into(), offset: 4 })
    }

    /// Whether this place is `other` or later. Files are numbered.
    pub(super) fn reached(&self, other: &Self) -> bool {
        let number = |place: &Self| {
            let digits = place.file.rsplit('.').next().and_then(|n| n.parse::<u64>().ok());
            digits.unwrap_or_default()
        };
        (number(self), self.offset) >= (number(other), other.offset)
    }
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ordered_by_file_number_and_offset() {
        let place = |file: &str, offset| LogPlace { file: file.into(), offset };
        assert!(place("log.1000000", 4).reached(&place("log.999999", 900)));
        assert!(place("log.000002", 4).reached(&place("log.000002", 4)));
        assert!(!place("log.000002", 4).reached(&place("log.000002", 5)));
        assert_eq!(LogPlace::after_file("log.000009"), Some(place("log.000010", 4)));
        assert_eq!(LogPlace::after_file("a.b.999999"), Some(place("a.b.1000000", 4)));
    }

    #[test]
    fn a_position_survives_its_json() {
        let position = MySqlPosition {
            file: "log.000002".into(),
            offset: 5,
            server_id: 1,
            gtids: Some("0-1-2".into()),
            within: Some(Within { transaction: "0-1-3".into(), changes: 7 }),
            snapshot: Progress::Running {
                finished: Arc::new(vec!["shop.a".into()]),
                table: Some(("shop.b".into(), vec![Value::Decimal("1.50".into()), Value::Int(-1)])),
            },
        };
        let text = serde_json::to_string(&position).unwrap();
        assert_eq!(serde_json::from_str::<MySqlPosition>(&text).unwrap(), position);
    }
}
