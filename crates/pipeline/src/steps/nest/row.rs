//! One row, read from its JSON object into what the step keeps of it.
//!
//! Values are copied as they are written, so numbers lose no digit, and a document is
//! later put together by copying only. Keys and joins compare texts: 10 and "10" are
//! equal, `s10` and `S10` are not. It knows no other row.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::tree::{Node, put_label};

/// A primary key as text; several columns are joined by `|`, as the source `mysql` does.
pub(super) type Key = Arc<[u8]>;

/// What the step keeps of a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadRow {
    pub(super) key: Key,
    /// `"a":1,"b":2`: the columns that are kept.
    pub(super) shown: Box<[u8]>,
    /// What it shares with the rows that it is in; `None`: a column is null.
    pub(super) up: Option<Box<[u8]>>,
    /// What it shares with the rows in it, relation by relation.
    pub(super) down: Vec<Option<Box<[u8]>>>,
    /// Sorts as the node's `order` says.
    pub(super) order: Box<[u8]>,
    /// An object of the columns that are needed to read the row again.
    pub(super) stored: Vec<u8>,
}

/// The columns of a row, as they are written.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    text: &'a [u8],
    all: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// A text that borrows where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Columns<'a> {
    /// Reads a flat object.
    ///
    /// # Errors
    /// What is no object.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, String> {
        let all = serde_json::from_slice::<Pairs<'a>>(text);
        let all = all.map_err(|error| format!("row is no JSON object: {error}"))?.0;
        Ok(Self { text, all })
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.all.iter().find(|(column, _)| column == name).map(|(_, value)| *value)
    }

    /// The text of a scalar; `None` where it is null.
    fn text_of(&self, node: &Node, name: &str) -> Result<Option<Cow<'a, str>>, String> {
        let Some(raw) = self.get(name) else {
            return Err(format!(
                "row of table {:?} has no column {name:?}; capture the column, or name another \
                 in the step",
                node.table
            ));
        };
        let raw = raw.get();
        match raw.as_bytes().first() {
            Some(b'n') => Ok(None),
            Some(b'"') => {
                let text = serde_json::from_str::<Text<'a>>(raw).map_err(|e| e.to_string())?;
                Ok(Some(text.0))
            }
            Some(b'{' | b'[') => Err(format!(
                "column {name:?} of table {:?} is {}; a key needs a text or number",
                node.table,
                if raw.starts_with('{') { "an object" } else { "a list" }
            )),
            _ => Ok(Some(Cow::Borrowed(raw))),
        }
    }

    /// The texts of columns joined; `None` where one is null.
    fn joined(&self, node: &Node, names: &[String]) -> Result<Option<Box<[u8]>>, String> {
        let mut joined = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let Some(text) = self.text_of(node, name)? else { return Ok(None) };
            if names.len() == 1 {
                return Ok(Some(text.as_bytes().into()));
            }
            if index > 0 {
                joined.push(b'|');
            }
            for byte in text.bytes() {
                if matches!(byte, b'|' | b'\\') {
                    joined.push(b'\\');
                }
                joined.push(byte);
            }
        }
        Ok(Some(joined.into()))
    }
}

impl Node {
    /// The primary key of a row.
    ///
    /// # Errors
    /// A column that is missing, null or no scalar.
    fn key_of(&self, columns: &Columns<'_>) -> Result<Key, String> {
        let key = columns.joined(self, &self.key)?;
        key.map(Arc::from).ok_or_else(|| {
            let (table, key) = (&self.table, self.key.join(", "));
            format!("key \"{key}\" of a row of table {table:?} is null; name its primary key")
        })
    }

    /// Reads a row.
    ///
    /// # Errors
    /// A column of the key or of a join that is missing or no scalar.
    pub(super) fn read(&self, columns: &Columns<'_>) -> Result<ReadRow, String> {
        let up = match &self.up {
            Some(up) => columns.joined(self, &up.inner)?,
            None => None,
        };
        let down = self.down.iter().map(|down| columns.joined(self, &down.outer));
        let is_shown = |name: &str| {
            let kept = self.fields.as_ref().is_none_or(|all| all.iter().any(|one| one == name));
            kept && self.hidden.iter().all(|hidden| hidden != name)
        };
        let stored = match &self.needed {
            None => columns.text.to_vec(),
            Some(needed) => {
                let mut stored = vec![b'{'];
                columns.copy(&mut stored, |name| needed.iter().any(|one| one == name));
                stored.push(b'}');
                stored
            }
        };
        let mut shown = Vec::with_capacity(columns.text.len());
        columns.copy(&mut shown, is_shown);
        Ok(ReadRow {
            key: self.key_of(columns)?,
            shown: shown.into(),
            up,
            down: down.collect::<Result<_, _>>()?,
            order: self.order_of(columns).into(),
            stored,
        })
    }

    /// Bytes that compare as the values do: null, false, true, numbers, texts.
    fn order_of(&self, columns: &Columns<'_>) -> Vec<u8> {
        let mut order = Vec::new();
        for sort in &self.order {
            let start = order.len();
            put_sortable(columns.get(&sort.column).map_or("null", RawValue::get), &mut order);
            if sort.descending {
                order[start..].iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        order
    }
}

impl Columns<'_> {
    /// Copies the columns that are wanted: `"a":1,"b":2`.
    fn copy(&self, into: &mut Vec<u8>, wanted: impl Fn(&str) -> bool) {
        let start = into.len();
        for (name, value) in self.all.iter().filter(|(name, _)| wanted(name)) {
            if into.len() > start {
                into.push(b',');
            }
            put_label(name, into);
            into.extend_from_slice(value.get().as_bytes());
        }
    }
}

/// Appends a scalar so that no value's bytes begin another's. Whole numbers beyond 2^53
/// are told apart by their second half.
fn put_sortable(raw: &str, order: &mut Vec<u8>) {
    const SIGN: u64 = 1 << 63;
    match raw.as_bytes().first() {
        Some(b'f') => order.push(1),
        Some(b't') => order.push(2),
        Some(b'-' | b'0'..=b'9') => {
            let bits = (raw.parse::<f64>().unwrap_or_default() + 0.0).to_bits();
            let bits = if bits & SIGN == 0 { bits | SIGN } else { !bits };
            let exact = raw.parse::<i128>().unwrap_or_default();
            let exact = exact.clamp(i128::from(i64::MIN), i128::from(u64::MAX));
            order.push(3);
            order.extend_from_slice(&bits.to_be_bytes());
            order.extend_from_slice(&(exact - i128::from(i64::MIN)).to_be_bytes()[7..]);
        }
        Some(b'"') => {
            let text = serde_json::from_str::<Text<'_>>(raw).map_or(Cow::Borrowed(""), |t| t.0);
            order.push(4);
            for byte in text.bytes() {
                order.push(byte);
                if byte == 0 {
                    order.push(0xff);
                }
            }
            order.extend_from_slice(&[0, 0]);
        }
        _ => order.push(0),
    }
}

/// An object's pairs, in order.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with the row's columns")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::with_capacity(16);
                while let Some(Text(name)) = map.next_key()? {
                    pairs.push((name, map.next_value()?));
                }
                Ok(Pairs(pairs))
            }
        }

        from.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::NestSort;

    fn node() -> Node {
        let sort = |column: &str| NestSort { column: column.into(), descending: false };
        Node {
            path: String::new(),
            table: "t".into(),
            key: vec!["a".into(), "b".into()],
            fields: None,
            hidden: vec!["h".into()],
            needed: None,
            order: vec![sort("s"), NestSort { descending: true, ..sort("d") }],
            up: None,
            down: Vec::new(),
        }
    }

    fn read(text: &str) -> Result<ReadRow, String> {
        node().read(&Columns::parse(text.as_bytes()).unwrap())
    }

    fn order(s: &Value, d: &Value) -> Box<[u8]> {
        read(&json!({ "a": 1, "b": 1, "s": s, "d": d }).to_string()).unwrap().order
    }

    #[test]
    fn values_stay_as_they_are_written() {
        let row = read(r#"{"a":1,"p":12.50,"h":true,"b":"x","t":"é\n","n":null}"#).unwrap();
        assert_eq!(&row.shown[..], r#""a":1,"p":12.50,"b":"x","t":"é\n","n":null"#.as_bytes());
        assert_eq!(&row.key[..], b"1|x");
    }

    #[test]
    fn keys_of_several_columns_are_told_apart() {
        let key = |a: &str, b: &str| read(&json!({ "a": a, "b": b }).to_string()).unwrap().key;
        assert_ne!(key("1|2", "3"), key("1", "2|3"));
        assert_ne!(key("1\\", "3"), key("1", "\\|3"));
    }

    #[test]
    fn a_row_without_its_key_is_refused_with_the_remedy() {
        let missing = read(r#"{"a":1}"#).unwrap_err();
        assert!(missing.starts_with("row of table \"t\" has no column \"b\"; "), "{missing}");
        let null = read(r#"{"a":1,"b":null}"#).unwrap_err();
        assert!(null.starts_with("key \"a, b\" of a row of table \"t\" is null; "), "{null}");
        let list = read(r#"{"a":1,"b":[]}"#).unwrap_err();
        assert!(list.starts_with("column \"b\" of table \"t\" is a list; "), "{list}");
        let error = Columns::parse(b"[1]").unwrap_err();
        assert!(error.starts_with("row is no JSON object: "), "{error}");
    }

    #[test]
    fn values_sort_by_kind_and_then_by_value() {
        let rising = [
            json!(null),
            json!(false),
            json!(true),
            json!(-1e300),
            json!(-7),
            json!(-0.5),
            json!(0),
            json!(0.5),
            json!(9),
            json!(10),
            json!(9_007_199_254_740_992_u64),
            json!(9_007_199_254_740_993_u64),
            json!(u64::MAX),
            json!(""),
            json!("a"),
            json!("a\0"),
            json!("ab"),
            json!("b"),
        ];
        for pair in rising.windows(2) {
            assert!(order(&pair[0], &json!(1)) < order(&pair[1], &json!(0)), "{pair:?}");
            assert!(order(&json!(1), &pair[0]) > order(&json!(1), &pair[1]), "{pair:?}");
        }
        assert_eq!(order(&json!(0), &json!(0)), order(&json!(-0.0), &json!(0)));
    }

    proptest! {
        #[test]
        fn whole_numbers_and_texts_sort_as_they_are(
            a in any::<(i64, String)>(),
            b in any::<(i64, String)>(),
        ) {
            let bytes = |(n, text): &(i64, String)| {
                let mut bytes = Vec::new();
                put_sortable(&n.to_string(), &mut bytes);
                put_sortable(&json!(text).to_string(), &mut bytes);
                bytes
            };
            prop_assert_eq!(bytes(&a).cmp(&bytes(&b)), a.cmp(&b));
        }
    }
}
