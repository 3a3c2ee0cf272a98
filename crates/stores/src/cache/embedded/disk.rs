//! What the cache keeps on disk, byte by byte: a copy of memory, as of the last flush.
//!
//! Key: the table's name ‖ `00` ‖ the key. Value: when it expires (8, microseconds
//! since the epoch, big-endian; the largest number for never) ‖ its versions, where there
//! are any ‖ `01` and the value, or `02` and for each field its name and its value, or `04`
//! for a deleted key. Versions: `03` ‖ the whole key's ‖ the number of fields (4) ‖ for each
//! its name, its version (8), when it was deleted. What may be missing is `00`, or `01` and 8
//! bytes; names and values have their length (4) before them. Names of tables hold no `00`.

use bytes::Bytes;
use indexmap::IndexMap;

use super::{
    shard::{Body, Held},
    versions::{Mark, Versions},
};

const NEVER: i64 = i64::MAX;
const VALUE: u8 = 1;
const FIELDS: u8 = 2;
const VERSIONS: u8 = 3;
const GONE: u8 = 4;

pub(super) fn encode_key(table: &str, key: &str) -> Vec<u8> {
    [table.as_bytes(), &[0], key.as_bytes()].concat()
}

/// Table and key.
pub(super) fn decode_key(bytes: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(bytes).ok()?.split_once('\0')
}

pub(super) fn encode_value(held: &Held) -> Vec<u8> {
    let mut out = held.expires_micros.unwrap_or(NEVER).to_be_bytes().to_vec();
    if !held.versions.is_empty() {
        out.push(VERSIONS);
        push_optional(&mut out, held.versions.whole());
        let count = u32::try_from(held.versions.fields().count()).unwrap_or(u32::MAX);
        out.extend(count.to_be_bytes());
        for (name, mark) in held.versions.fields() {
            push(&mut out, name.as_bytes());
            out.extend(mark.version.to_be_bytes());
            push_optional(&mut out, mark.deleted_micros);
        }
    }
    match &held.body {
        None => out.push(GONE),
        Some(Body::Value(value)) => {
            out.push(VALUE);
            out.extend(value);
        }
        Some(Body::Fields(fields)) => {
            out.push(FIELDS);
            for (name, value) in fields {
                push(&mut out, name.as_bytes());
                push(&mut out, value);
            }
        }
    }
    out
}

pub(super) fn decode_value(bytes: &[u8]) -> Option<Held> {
    let mut bytes = bytes;
    let expires = take_number(&mut bytes)?;
    let mut kind = take_byte(&mut bytes)?;
    let mut versions = Versions::default();
    if kind == VERSIONS {
        versions = take_versions(&mut bytes)?;
        kind = take_byte(&mut bytes)?;
    }
    let body = match kind {
        GONE => None,
        VALUE => Some(Body::Value(Bytes::copy_from_slice(bytes))),
        FIELDS => {
            let mut fields = IndexMap::new();
            while !bytes.is_empty() {
                let name = std::str::from_utf8(take(&mut bytes)?).ok()?.to_owned();
                fields.insert(name, Bytes::copy_from_slice(take(&mut bytes)?));
            }
            Some(Body::Fields(fields))
        }
        _ => return None,
    };
    Some(Held { body, versions, expires_micros: (expires != NEVER).then_some(expires) })
}

fn take_versions(bytes: &mut &[u8]) -> Option<Versions> {
    let whole = take_optional(bytes)?;
    let (count, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    let fields = (0..u32::from_be_bytes(*count)).map(|_| {
        let name = std::str::from_utf8(take(bytes)?).ok()?.to_owned();
        let version = take_number(bytes)?;
        Some((name, Mark { version, deleted_micros: take_optional(bytes)? }))
    });
    let fields: Option<Vec<_>> = fields.collect();
    Some(Versions::new(whole, fields?))
}

fn push_optional(out: &mut Vec<u8>, number: Option<i64>) {
    out.push(u8::from(number.is_some()));
    out.extend(number.into_iter().flat_map(i64::to_be_bytes));
}

fn take_optional(bytes: &mut &[u8]) -> Option<Option<i64>> {
    match take_byte(bytes)? {
        0 => Some(None),
        1 => take_number(bytes).map(Some),
        _ => None,
    }
}

fn take_number(bytes: &mut &[u8]) -> Option<i64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(i64::from_be_bytes(*number))
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (byte, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*byte)
}

fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("an entry is at most 16 MiB");
    out.extend(length.to_be_bytes());
    out.extend(bytes);
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (taken, rest) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held(body: Option<Body>, expires_micros: Option<i64>) -> Held {
        Held { body, versions: Versions::default(), expires_micros }
    }

    #[test]
    fn values_have_the_bytes_that_the_documentation_draws() {
        let value = held(Some(Body::Value("ab".into())), Some(258));
        assert_eq!(encode_value(&value), [0, 0, 0, 0, 0, 0, 1, 2, 1, b'a', b'b']);
        let fields = IndexMap::from([("f".to_owned(), Bytes::from("v"))]);
        assert_eq!(
            encode_value(&held(Some(Body::Fields(fields)), Some(0))),
            [0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, b'f', 0, 0, 0, 1, b'v']
        );
        let mark = Mark { version: 7, deleted_micros: None };
        let versions = Versions::new(None, [("f".to_owned(), mark)]);
        let mut expected = vec![0; 8];
        expected.extend([3, 0, 0, 0, 0, 1, 0, 0, 0, 1, b'f', 0, 0, 0, 0, 0, 0, 0, 7, 0, 4]);
        assert_eq!(encode_value(&Held { versions, ..held(None, Some(0)) }), expected);
        assert_eq!(encode_key("t", "k"), *b"t\0k");
    }

    proptest! {
        #[test]
        fn entries_survive_their_bytes(
            expires_micros in prop::option::of(0..i64::MAX),
            value: Vec<u8>,
            fields in prop::collection::vec((".{0,4}", any::<Vec<u8>>()), 0..4),
            whole: Option<i64>,
            marks in prop::collection::vec((".{0,4}", any::<i64>(), any::<Option<i64>>()), 0..4),
            table in "[a-z.]{1,9}",
            key: String,
        ) {
            let fields = fields.into_iter().map(|(name, value)| (name, value.into())).collect();
            let marks = marks
                .into_iter()
                .map(|(name, version, deleted_micros)| (name, Mark { version, deleted_micros }));
            let versions = Versions::new(whole, marks);
            for body in [None, Some(Body::Value(value.into())), Some(Body::Fields(fields))] {
                let held = Held { body, versions: versions.clone(), expires_micros };
                prop_assert_eq!(decode_value(&encode_value(&held)), Some(held));
            }
            let bytes = encode_key(&table, &key);
            prop_assert_eq!(decode_key(&bytes), Some((&*table, &*key)));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = decode_value(&bytes);
            let _ = decode_key(&bytes);
        }
    }
}
