//! Every key and small value of the embedded history, byte by byte.
//!
//! Integers are big-endian, so that bytes order as numbers do. A *stamp* is the time
//! of a write in microseconds since the epoch, moved on by one where two would be
//! equal: time ‖ sequence in eight bytes, and the order of insertion. The layout is
//! drawn in `docs/stores.md`; [`FORMAT`] changes with it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ChangeKind, StoreError};

/// Version of the layout, kept under [`MetaKey::Format`].
pub(super) const FORMAT: u8 = 2;

/// The version before, which had no versions of documents; it is read as it is.
pub(super) const FORMAT_WITHOUT_VERSIONS: u8 = 1;

/// Microseconds since the epoch, unique and ascending within one history.
pub(super) type Stamp = u64;

/// Number of a collection or index within one history; never used again.
pub(super) type Number = u32;

/// Keys of the keyspace `meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetaKey<'a> {
    /// `01` → the format's version, 1 byte.
    Format,
    /// `02` ‖ name → [`CollectionEntry`] as JSON.
    Collection(&'a str),
    /// `03` ‖ collection number (4) → [`Totals`].
    Totals(Number),
    /// `04` ‖ first stamp (8) → [`BucketTotals`] of one bucket of the change log.
    Bucket(Stamp),
}

impl MetaKey<'_> {
    pub(super) const COLLECTIONS: [u8; 1] = [0x02];
    pub(super) const BUCKETS: [u8; 1] = [0x04];

    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::Format => vec![0x01],
            Self::Collection(name) => [&[0x02], name.as_bytes()].concat(),
            Self::Totals(number) => [&[0x03], number.to_be_bytes().as_slice()].concat(),
            Self::Bucket(first) => [&[0x04], first.to_be_bytes().as_slice()].concat(),
        }
    }
}

/// What is written of a collection and its indexes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CollectionEntry {
    pub(super) number: Number,
    /// Random; tells the collection's tokens from those of a namesake elsewhere.
    pub(super) identity: u64,
    pub(super) indexes: Vec<IndexEntry>,
}

/// What is written of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IndexEntry {
    pub(super) number: Number,
    pub(super) fields: Vec<courant_model::json::FieldPath>,
    /// Some document has several entries or a cut one: the index narrows, but its
    /// order and two bounds at once cannot be relied on.
    pub(super) loose: bool,
}

/// Sums of a collection, written with every change: four times 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) documents: u64,
    pub(super) size_bytes: u64,
    /// Stamp of the last change.
    pub(super) last: Stamp,
    /// Stamp of the newest change that retention has dropped.
    pub(super) dropped: Stamp,
}

/// Sums of one bucket of the change log: twice 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct BucketTotals {
    pub(super) changes: u64,
    pub(super) size_bytes: u64,
}

impl Totals {
    pub(super) fn encode(&self) -> Vec<u8> {
        [self.documents, self.size_bytes, self.last, self.dropped]
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (chunks, []) = bytes.as_chunks::<8>() else { return None };
        let [documents, size_bytes, last, dropped] = chunks else { return None };
        Some(Self {
            documents: u64::from_be_bytes(*documents),
            size_bytes: u64::from_be_bytes(*size_bytes),
            last: u64::from_be_bytes(*last),
            dropped: u64::from_be_bytes(*dropped),
        })
    }
}

impl BucketTotals {
    pub(super) fn encode(&self) -> Vec<u8> {
        [self.changes.to_be_bytes(), self.size_bytes.to_be_bytes()].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (changes, size_bytes) = bytes.split_at_checked(8)?;
        Some(Self { changes: stamp(changes)?, size_bytes: stamp(size_bytes)? })
    }
}

/// What is written of an id: the document's stamp (8), then the version that it was
/// written with (8, offset by 2⁶³) where there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IdEntry {
    pub(super) stamp: Stamp,
    pub(super) version: Option<i64>,
}

/// What is written of an id that was deleted with a version: the version (8, offset by
/// 2⁶³) ‖ the time (8, microseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tombstone {
    pub(super) version: i64,
    pub(super) deleted: Stamp,
}

impl IdEntry {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = self.stamp.to_be_bytes().to_vec();
        out.extend(self.version.into_iter().flat_map(encode_version));
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (at, version) = bytes.split_at_checked(8)?;
        let version = match version {
            [] => None,
            version => Some(decode_version(version)?),
        };
        Some(Self { stamp: stamp(at)?, version })
    }
}

impl Tombstone {
    pub(super) fn encode(self) -> Vec<u8> {
        [encode_version(self.version), self.deleted.to_be_bytes()].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, deleted) = bytes.split_at_checked(8)?;
        Some(Self { version: decode_version(version)?, deleted: stamp(deleted)? })
    }
}

fn encode_version(version: i64) -> [u8; 8] {
    (version as u64 ^ 1 << 63).to_be_bytes()
}

fn decode_version(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(|bytes| (u64::from_be_bytes(bytes) ^ 1 << 63) as i64)
}

/// Key by which tombstones are dropped: time (8, microseconds) ‖ the key of the id.
pub(super) fn tombstone_time_key(deleted: Stamp, id_key: &[u8]) -> Vec<u8> {
    [deleted.to_be_bytes().as_slice(), id_key].concat()
}

/// Key of a document, and of a change: collection number (4) ‖ stamp (8).
pub(super) fn stamped(collection: Number, stamp: Stamp) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&collection.to_be_bytes());
    key[4..].copy_from_slice(&stamp.to_be_bytes());
    key
}

/// Key of an id: collection number (4) ‖ the id's text.
pub(super) fn id_key(collection: Number, id: &str) -> Vec<u8> {
    [collection.to_be_bytes().as_slice(), id.as_bytes()].concat()
}

/// The stamp that ends a key of documents, changes or an index.
pub(super) fn trailing_stamp(key: &[u8]) -> Option<Stamp> {
    key.last_chunk().map(|bytes| Stamp::from_be_bytes(*bytes))
}

/// A stamp alone.
pub(super) fn stamp(bytes: &[u8]) -> Option<Stamp> {
    bytes.try_into().ok().map(Stamp::from_be_bytes)
}

/// Name of the keyspace that holds an index's entries.
pub(super) fn index_keyspace(number: Number) -> String {
    format!("{INDEX_KEYSPACE}{number}")
}

/// Name of the keyspace that holds one bucket of the change log.
pub(super) fn bucket_keyspace(first: Stamp) -> String {
    format!("{BUCKET_KEYSPACE}{first:016x}")
}

pub(super) const INDEX_KEYSPACE: &str = "index-";
pub(super) const BUCKET_KEYSPACE: &str = "changes-";

/// One change as the change log keeps it: kind (1: 1 insert, 2 update, 3 delete, 16 more
/// where the document before is kept) ‖ commit time (8, microseconds) ‖ length of the id (2)
/// ‖ id ‖ where it is kept, the document before as its length (4) and JSON ‖ document as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChangeEntry<'a> {
    pub(super) kind: ChangeKind,
    pub(super) committed_micros: i64,
    pub(super) id: &'a str,
    /// Empty where it is not kept.
    pub(super) before: &'a [u8],
    /// Empty for a delete.
    pub(super) body: &'a [u8],
}

/// Added to the kind of a change whose document before is kept.
const WITH_BEFORE: u8 = 0x10;

impl<'a> ChangeEntry<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            ChangeKind::Insert => 1,
            ChangeKind::Update => 2,
            ChangeKind::Delete => 3,
        };
        let id_length = u16::try_from(self.id.len()).expect("ids are at most 1,024 bytes");
        let before_length = u32::try_from(self.before.len()).expect("a document is at most 16 MiB");
        let mut out = Vec::with_capacity(15 + self.id.len() + self.before.len() + self.body.len());
        out.push(if before_length > 0 { kind | WITH_BEFORE } else { kind });
        out.extend(self.committed_micros.to_be_bytes());
        out.extend(id_length.to_be_bytes());
        out.extend(self.id.as_bytes());
        if before_length > 0 {
            out.extend(before_length.to_be_bytes());
            out.extend(self.before);
        }
        out.extend(self.body);
        out
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (kind, bytes) = bytes.split_first()?;
        let (committed, bytes) = bytes.split_first_chunk()?;
        let (id_length, bytes) = bytes.split_first_chunk()?;
        let (id, bytes) = bytes.split_at_checked(u16::from_be_bytes(*id_length).into())?;
        let (before, body) = if kind & WITH_BEFORE == 0 {
            (&[][..], bytes)
        } else {
            let (length, bytes) = bytes.split_first_chunk()?;
            bytes.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?
        };
        let kind = match kind & !WITH_BEFORE {
            1 => ChangeKind::Insert,
            2 => ChangeKind::Update,
            3 => ChangeKind::Delete,
            _ => return None,
        };
        let id = std::str::from_utf8(id).ok()?;
        Some(Self { kind, committed_micros: i64::from_be_bytes(*committed), id, before, body })
    }
}

/// A place in a collection's changes. Its text is `1`, the collection's identity and
/// the stamp as 16 hexadecimal digits each; tokens of a collection order as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) identity: u64,
    pub(super) stamp: Stamp,
}

impl Token {
    pub(super) fn encode(self) -> String {
        format!("1{:016x}{:016x}", self.identity, self.stamp)
    }

    pub(super) fn decode(text: &str) -> Result<Self, StoreError> {
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let parsed = (text.len() == 33 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| text.strip_prefix('1'))
            .flatten()
            .and_then(|digits| {
                let (identity, stamp) = digits.split_at(16);
                Some(Self { identity: number(identity)?, stamp: number(stamp)? })
            });
        parsed.ok_or_else(|| StoreError::InvalidToken {
            token: text.chars().take(100).collect(),
            why: "it is no token of this history; use one that a watch gave".into(),
        })
    }
}

/// The stamp after `last` for a write at this time.
pub(super) fn next_stamp(last: Stamp, now_micros: i64) -> Stamp {
    Stamp::try_from(now_micros).unwrap_or(0).max(last.saturating_add(1))
}

/// The first stamp of a time that long before another.
pub(super) fn earlier(stamp: Stamp, by: Duration) -> Stamp {
    stamp.saturating_sub(u64::try_from(by.as_micros()).unwrap_or(u64::MAX))
}

/// The least bytes above everything that begins with `prefix`; `None` when there are none.
pub(super) fn after_prefix(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_have_the_bytes_that_the_documentation_draws() {
        assert_eq!(MetaKey::Format.encode(), [1]);
        assert_eq!(MetaKey::Collection("ab").encode(), [2, b'a', b'b']);
        assert_eq!(MetaKey::Totals(7).encode(), [3, 0, 0, 0, 7]);
        assert_eq!(MetaKey::Bucket(258).encode(), [4, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(stamped(1, 2), [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(id_key(1, "x"), [0, 0, 0, 1, b'x']);
        let token = Token { identity: 0xab, stamp: 0x10 }.encode();
        assert_eq!(token, "100000000000000ab0000000000000010");
    }

    #[test]
    fn stamps_ascend_also_when_the_clock_stands_or_turns_back() {
        assert_eq!(next_stamp(5, 100), 100);
        assert_eq!(next_stamp(100, 100), 101);
        assert_eq!(next_stamp(101, -7), 102);
    }

    proptest! {
        #[test]
        fn stamped_keys_order_as_their_parts(l: (u32, u64), r: (u32, u64)) {
            prop_assert_eq!(stamped(l.0, l.1).cmp(&stamped(r.0, r.1)), l.cmp(&r));
            prop_assert_eq!(trailing_stamp(&stamped(l.0, l.1)), Some(l.1));
        }

        #[test]
        fn totals_survive_their_bytes(documents: u64, size_bytes: u64, last: u64, dropped: u64) {
            let totals = Totals { documents, size_bytes, last, dropped };
            prop_assert_eq!(Totals::decode(&totals.encode()), Some(totals));
            let bucket = BucketTotals { changes: documents, size_bytes };
            prop_assert_eq!(BucketTotals::decode(&bucket.encode()), Some(bucket));
        }

        #[test]
        fn versions_survive_their_bytes(at: u64, version: Option<i64>, deleted: u64) {
            let entry = IdEntry { stamp: at, version };
            prop_assert_eq!(IdEntry::decode(&entry.encode()), Some(entry));
            let tombstone = Tombstone { version: version.unwrap_or(0), deleted };
            prop_assert_eq!(Tombstone::decode(&tombstone.encode()), Some(tombstone));
        }

        #[test]
        fn changes_survive_their_bytes(
            kind in prop_oneof![
                Just(ChangeKind::Insert), Just(ChangeKind::Update), Just(ChangeKind::Delete)
            ],
            committed_micros: i64,
            id in ".{0,20}",
            before: Vec<u8>,
            body: Vec<u8>,
        ) {
            let (before, body) = (&before[..], &body[..]);
            let entry = ChangeEntry { kind, committed_micros, id: &id, before, body };
            let bytes = entry.encode();
            prop_assert_eq!(ChangeEntry::decode(&bytes), Some(entry));
        }

        #[test]
        fn tokens_survive_their_text_and_order_by_stamp(identity: u64, l: u64, r: u64) {
            let (left, right) = (Token { identity, stamp: l }, Token { identity, stamp: r });
            prop_assert_eq!(Token::decode(&left.encode()).unwrap(), left);
            prop_assert_eq!(left.encode().cmp(&right.encode()), l.cmp(&r));
        }

        #[test]
        fn no_bytes_and_no_text_panic(bytes: Vec<u8>, text: String) {
            let _ = ChangeEntry::decode(&bytes);
            let _ = Totals::decode(&bytes);
            let _ = IdEntry::decode(&bytes);
            let _ = Tombstone::decode(&bytes);
            let _ = BucketTotals::decode(&bytes);
            let _ = Token::decode(&text);
        }

        #[test]
        fn nothing_lies_between_a_prefix_and_what_follows_it(prefix: Vec<u8>, rest: Vec<u8>) {
            let inside = [prefix.clone(), rest].concat();
            prop_assert!(after_prefix(prefix).is_none_or(|after| inside < after));
        }
    }
}
