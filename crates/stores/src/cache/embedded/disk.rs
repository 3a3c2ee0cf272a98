//! What the cache keeps on disk, byte by byte: a copy of memory, as of the last flush.
//!
//! Key: the table's name ‖ `00` ‖ the key. Value: when it expires (8, microseconds
//! since the epoch, big-endian; the largest number for never) ‖ `01` and the value, or
//! `02` and for each field the length of its name (4), its name, the length of its
//! value (4), its value. Names of tables hold no `00`.

use bytes::Bytes;
use indexmap::IndexMap;

use super::shard::{Body, Held};

const NEVER: i64 = i64::MAX;
const VALUE: u8 = 1;
const FIELDS: u8 = 2;

pub(super) fn encode_key(table: &str, key: &str) -> Vec<u8> {
    [table.as_bytes(), &[0], key.as_bytes()].concat()
}

/// Table and key.
pub(super) fn decode_key(bytes: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(bytes).ok()?.split_once('\0')
}

pub(super) fn encode_value(held: &Held) -> Vec<u8> {
    let mut out = held.expires_micros.unwrap_or(NEVER).to_be_bytes().to_vec();
    match &held.body {
        Body::Value(value) => {
            out.push(VALUE);
            out.extend(value);
        }
        Body::Fields(fields) => {
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
    let (expires, bytes) = bytes.split_first_chunk()?;
    let (kind, mut bytes) = bytes.split_first()?;
    let expires = i64::from_be_bytes(*expires);
    let body = match *kind {
        VALUE => Body::Value(Bytes::copy_from_slice(bytes)),
        FIELDS => {
            let mut fields = IndexMap::new();
            while !bytes.is_empty() {
                let name = std::str::from_utf8(take(&mut bytes)?).ok()?.to_owned();
                fields.insert(name, Bytes::copy_from_slice(take(&mut bytes)?));
            }
            Body::Fields(fields)
        }
        _ => return None,
    };
    Some(Held { body, expires_micros: (expires != NEVER).then_some(expires) })
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

    #[test]
    fn values_have_the_bytes_that_the_documentation_draws() {
        let held = Held { body: Body::Value("ab".into()), expires_micros: Some(258) };
        assert_eq!(encode_value(&held), [0, 0, 0, 0, 0, 0, 1, 2, 1, b'a', b'b']);
        let fields = IndexMap::from([("f".to_owned(), Bytes::from("v"))]);
        let held = Held { body: Body::Fields(fields), expires_micros: Some(0) };
        assert_eq!(
            encode_value(&held),
            [0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, b'f', 0, 0, 0, 1, b'v']
        );
        assert_eq!(encode_key("t", "k"), *b"t\0k");
    }

    proptest! {
        #[test]
        fn entries_survive_their_bytes(
            expires_micros in prop::option::of(0..i64::MAX),
            value: Vec<u8>,
            fields in prop::collection::vec((".{0,4}", any::<Vec<u8>>()), 0..4),
            table in "[a-z.]{1,9}",
            key: String,
        ) {
            let fields = fields.into_iter().map(|(name, value)| (name, value.into())).collect();
            for body in [Body::Value(value.into()), Body::Fields(fields)] {
                let held = Held { body, expires_micros };
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
