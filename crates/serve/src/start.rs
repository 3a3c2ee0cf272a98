//! Where in a topic reading begins, as a client writes it.
//!
//! `earliest`, `latest`, an offset, a time (RFC 3339, or `@` and milliseconds), or a
//! resume token: `0:12,2:7`, the next offset of each partition. A token names all
//! that its stream has begun to read; a partition that it does not name was empty
//! or not yet there, and is read from its start, so that nothing is missed.

use std::{collections::BTreeMap, fmt::Write, str::FromStr};

use courant_log::{Log, PartitionOffsets};
use courant_model::{Offset, PartitionId, Timestamp, TopicPartition, limits};

use crate::error::ApiError;

/// Where reading begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    Earliest,
    Latest,
    Offset(Offset),
    Time(Timestamp),
    Token(BTreeMap<PartitionId, Offset>),
}

impl Start {
    /// The offset to begin at in one partition.
    ///
    /// # Errors
    /// The log's.
    pub(crate) async fn offset(
        &self,
        log: &dyn Log,
        partition: &TopicPartition,
        offsets: &PartitionOffsets,
    ) -> Result<Offset, ApiError> {
        Ok(match self {
            Self::Earliest => offsets.start,
            Self::Latest => offsets.end,
            Self::Offset(offset) => *offset,
            Self::Time(at) => log.offset_at(partition, *at).await?.unwrap_or(offsets.end),
            // Retention may have moved the start since the token was given.
            Self::Token(next) => next
                .get(&partition.partition)
                .map_or(offsets.start, |next| (*next).max(offsets.start)),
        })
    }

    /// Refuses a bare offset where several partitions are read.
    ///
    /// # Errors
    /// [`ApiError::InvalidRequest`].
    pub(crate) fn check_partitions(&self, partitions: usize) -> Result<(), ApiError> {
        match self {
            Self::Offset(offset) if partitions != 1 => Err(ApiError::invalid_with(
                format!("offset {offset} needs a partition; the topic has {partitions}"),
                "add partition=0, or begin at earliest, latest, a time or a token",
            )),
            _ => Ok(()),
        }
    }
}

impl FromStr for Start {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        let parsed = match text {
            "earliest" => Some(Self::Earliest),
            "latest" => Some(Self::Latest),
            _ if text.starts_with('@') => {
                text[1..].parse().ok().map(|millis| Self::Time(Timestamp::from_millis(millis)))
            }
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok().map(Self::Offset)
            }
            _ if text.contains('T') => text
                .parse::<jiff::Timestamp>()
                .ok()
                .map(|at| Self::Time(Timestamp::from_millis(at.as_millisecond()))),
            _ => parse_token(text).map(Self::Token),
        };
        parsed.ok_or_else(|| {
            let text: String = text.chars().take(100).collect();
            ApiError::invalid_with(
                format!("{text:?} is no place in a topic"),
                "use earliest, latest, an offset, a time such as 2026-01-31T08:00:00Z, or a token",
            )
        })
    }
}

/// Writes a resume token.
pub(crate) fn token(next: &BTreeMap<PartitionId, Offset>) -> String {
    let mut text = String::with_capacity(next.len() * 8);
    for (partition, offset) in next {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{partition}:{offset}");
    }
    text
}

fn parse_token(text: &str) -> Option<BTreeMap<PartitionId, Offset>> {
    let mut next = BTreeMap::new();
    for part in text.split(',') {
        let (partition, offset) = part.split_once(':')?;
        let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
        let fits = (0..limits::PARTITIONS_PER_TOPIC_MAX).contains(&partition) && offset >= 0;
        if !fits || next.insert(partition, offset).is_some() {
            return None;
        }
    }
    Some(next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_write_a_start_in_many_ways() {
        let read = |text: &str| text.parse::<Start>().unwrap();
        assert_eq!(read("earliest"), Start::Earliest);
        assert_eq!(read("17"), Start::Offset(17));
        assert_eq!(read("@1700000000000"), Start::Time(Timestamp::from_millis(1_700_000_000_000)));
        assert_eq!(read("1970-01-01T00:00:01Z"), Start::Time(Timestamp::from_millis(1_000)));
        assert_eq!(read("0:12,2:7"), Start::Token(BTreeMap::from([(0, 12), (2, 7)])));
    }

    #[test]
    fn a_start_that_is_none_is_refused_with_what_to_write() {
        for text in ["", "first", "-1", "0:1,0:2", "5:", "9999999999999999999999", "1:-1", "@x"] {
            let error = text.parse::<Start>().unwrap_err();
            assert_eq!(error.code(), "invalid_request", "{text:?}");
            assert!(error.remedy().unwrap().contains("earliest"), "{text:?}");
        }
    }

    #[test]
    fn a_bare_offset_needs_one_partition() {
        assert!(Start::Offset(3).check_partitions(1).is_ok());
        assert!(Start::Offset(3).check_partitions(2).is_err());
        assert!(Start::Earliest.check_partitions(2).is_ok());
    }

    proptest! {
        #[test]
        fn tokens_survive_their_text(
            next in prop::collection::btree_map(0..1_000_i32, 0..i64::MAX, 1..50),
        ) {
            prop_assert_eq!(token(&next).parse::<Start>().unwrap(), Start::Token(next));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Start>();
        }
    }
}
