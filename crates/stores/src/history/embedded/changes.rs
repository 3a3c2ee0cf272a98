//! The change log: every change of every collection, kept in buckets of time.
//!
//! A bucket is a keyspace; the newest takes writes, the oldest is dropped whole when
//! the log is over its bounds, because deleting from the front of one range costs
//! more and more. Invariant: buckets hold disjoint, ascending ranges of stamps, and a
//! bucket is listed in `meta` before any reader sees it. Watches read here, in order,
//! what is durable; they keep no queue.

use std::{fmt, ops::Bound};

use courant_model::{
    ByteSize, Span,
    limits::{
        CHANGES_KEPT_BYTES_DEFAULT, CHANGES_KEPT_DEFAULT, CHANGES_KEPT_MS_DEFAULT,
        CHANGES_READ_BYTES_MAX,
    },
};
use fjall::{Database, Keyspace};
use parking_lot::RwLock;

use super::keys::{
    BUCKET_KEYSPACE, BucketTotals, ChangeEntry, MetaKey, Number, Stamp, Token, bucket_keyspace,
    earlier, stamp, stamped, trailing_stamp,
};
use crate::{Change, ResumeToken, StoreError, engine};

/// Buckets that the bounds are divided into; what is kept beyond a bound is at most
/// one of them.
const BUCKETS: u64 = 8;

/// How much of the past a watch may resume from; the first bound that is reached counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeRetention {
    /// Changes of all collections together.
    pub changes: u64,
    /// Their bytes.
    pub size: ByteSize,
    /// Their age.
    pub age: Span,
}

impl Default for ChangeRetention {
    fn default() -> Self {
        Self {
            changes: CHANGES_KEPT_DEFAULT,
            size: ByteSize::from_bytes(CHANGES_KEPT_BYTES_DEFAULT),
            age: Span::from_millis(CHANGES_KEPT_MS_DEFAULT),
        }
    }
}

/// The buckets, oldest first; at least one once something was written.
pub(super) struct ChangeLog {
    retention: ChangeRetention,
    buckets: RwLock<Vec<Bucket>>,
}

#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) first: Stamp,
    pub(super) totals: BucketTotals,
    pub(super) keyspace: Keyspace,
}

/// Which changes to read: of one collection, after one stamp, up to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) collection: Number,
    pub(super) identity: u64,
    pub(super) after: Stamp,
    pub(super) upto: Stamp,
}

impl ChangeLog {
    /// Finds the buckets, and deletes those that a crash left without an entry.
    pub(super) fn open(
        database: &Database,
        meta: &Keyspace,
        retention: ChangeRetention,
    ) -> Result<Self, StoreError> {
        let mut buckets = Vec::new();
        for item in meta.prefix(MetaKey::BUCKETS) {
            let (key, value) = item.into_inner().map_err(reading)?;
            let (Some(first), Some(totals)) =
                (key.get(1..).and_then(stamp), BucketTotals::decode(&value))
            else {
                return Err(unreadable("entry of a bucket of the change log"));
            };
            let keyspace = engine::keyspace(database, &bucket_keyspace(first))?;
            buckets.push(Bucket { first, totals, keyspace });
        }
        for name in database.list_keyspace_names() {
            let known = buckets.iter().any(|bucket| bucket_keyspace(bucket.first) == *name);
            if name.starts_with(BUCKET_KEYSPACE) && !known {
                let orphan = engine::keyspace(database, &name)?;
                database.delete_keyspace(orphan).map_err(|error| {
                    StoreError::storage(format!("deleting keyspace {name:?}"), error)
                })?;
            }
        }
        Ok(Self { retention, buckets: RwLock::new(buckets) })
    }

    /// The bucket that takes a change of this stamp: the newest, or a new one when
    /// that is full. A new one is seen by readers after [`ChangeLog::keep`].
    pub(super) fn bucket_for(&self, database: &Database, at: Stamp) -> Result<Bucket, StoreError> {
        if let Some(bucket) = self.buckets.read().last()
            && !self.full(bucket, at)
        {
            return Ok(bucket.clone());
        }
        let keyspace = engine::keyspace(database, &bucket_keyspace(at))?;
        Ok(Bucket { first: at, totals: BucketTotals::default(), keyspace })
    }

    fn full(&self, bucket: &Bucket, at: Stamp) -> bool {
        let ChangeRetention { changes, size, age } = self.retention;
        bucket.totals.changes >= (changes / BUCKETS).max(1)
            || bucket.totals.size_bytes >= (size.as_bytes() / BUCKETS).max(1)
            || bucket.first < earlier(at, age.as_duration() / BUCKETS as u32)
    }

    /// Takes over what was written to the newest bucket.
    pub(super) fn keep(&self, written: Bucket) {
        let mut buckets = self.buckets.write();
        match buckets.last_mut() {
            Some(last) if last.first == written.first => *last = written,
            _ => buckets.push(written),
        }
    }

    /// The oldest buckets that retention gives up at this time; never the newest.
    pub(super) fn outdated(&self, now: Stamp) -> Vec<Bucket> {
        let ChangeRetention { changes, size, age } = self.retention;
        let buckets = self.buckets.read();
        let mut kept = BucketTotals::default();
        for bucket in buckets.iter() {
            kept.changes += bucket.totals.changes;
            kept.size_bytes += bucket.totals.size_bytes;
        }
        let oldest_kept = earlier(now, age.as_duration());
        buckets
            .windows(2)
            .take_while(|pair| {
                let gives_up = kept.changes > changes
                    || kept.size_bytes > size.as_bytes()
                    || pair[1].first <= oldest_kept;
                kept.changes -= pair[0].totals.changes;
                kept.size_bytes -= pair[0].totals.size_bytes;
                gives_up
            })
            .map(|pair| pair[0].clone())
            .collect()
    }

    /// Forgets the oldest buckets.
    pub(super) fn forget(&self, count: usize) {
        self.buckets.write().drain(..count);
    }

    /// Changes and bytes that are kept.
    pub(super) fn totals(&self) -> BucketTotals {
        self.buckets.read().iter().fold(BucketTotals::default(), |sum, bucket| BucketTotals {
            changes: sum.changes + bucket.totals.changes,
            size_bytes: sum.size_bytes + bucket.totals.size_bytes,
        })
    }

    /// Reads changes in order, at most `max` and [`CHANGES_READ_BYTES_MAX`].
    pub(super) fn read(&self, span: Stretch, max: usize) -> Result<Vec<Change>, StoreError> {
        let buckets: Vec<Bucket> = {
            let buckets = self.buckets.read();
            let holds_next = buckets.partition_point(|bucket| bucket.first <= span.after + 1);
            buckets[holds_next.saturating_sub(1)..].to_vec()
        };
        let range = (
            Bound::Excluded(stamped(span.collection, span.after)),
            Bound::Included(stamped(span.collection, span.upto)),
        );
        let mut changes = Vec::new();
        let mut size_bytes = 0;
        for bucket in buckets {
            for item in bucket.keyspace.range(range) {
                let (key, value) = item.into_inner().map_err(reading)?;
                changes.push(decode(span, &key, &value)?);
                size_bytes += value.len();
                if changes.len() >= max || size_bytes >= CHANGES_READ_BYTES_MAX {
                    return Ok(changes);
                }
            }
        }
        Ok(changes)
    }
}

impl Bucket {
    /// Stamp of a collection's newest change in the bucket.
    pub(super) fn last_of(&self, collection: Number) -> Result<Option<Stamp>, StoreError> {
        let last = self.keyspace.prefix(collection.to_be_bytes()).next_back();
        let key = last.map(fjall::Guard::key).transpose().map_err(reading)?;
        Ok(key.and_then(|key| trailing_stamp(&key)))
    }
}

fn decode(span: Stretch, key: &[u8], value: &[u8]) -> Result<Change, StoreError> {
    let broken = || unreadable("change of the change log");
    let stamp = trailing_stamp(key).ok_or_else(broken)?;
    let entry = ChangeEntry::decode(value).ok_or_else(broken)?;
    let document = |body: &[u8]| match body {
        [] => Ok(None),
        body => serde_json::from_slice(body).map(Some).map_err(|_| broken()),
    };
    Ok(Change {
        token: ResumeToken(Token { identity: span.identity, stamp }.encode()),
        kind: entry.kind,
        id: entry.id.to_owned(),
        document: document(entry.body)?,
        before: document(entry.before)?,
        committed_micros: entry.committed_micros,
    })
}

pub(super) fn reading(error: fjall::Error) -> StoreError {
    StoreError::storage("reading the history", error)
}

pub(super) fn unreadable(what: &str) -> StoreError {
    StoreError::Damaged { store: "history".into(), why: format!("a {what} cannot be read") }
}

impl fmt::Debug for ChangeLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeLog")
            .field("retention", &self.retention)
            .field("totals", &self.totals())
            .finish_non_exhaustive()
    }
}
