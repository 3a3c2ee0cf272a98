//! How tables and keys are named in Redis.
//!
//! A key of a table is `table:key`, as people in front of `redis-cli` write it. What the
//! cache remembers beside it stands under `{table:key}:versions`, `:order` and `:deleted`:
//! the braces put it into the key's own slot of a cluster. So that nothing else is a brace,
//! `{`, `}` and `%` of a key are written as `%7B`, `%7D` and `%25`. Names of tables hold
//! neither `:` nor braces, so the first `:` ends the table.

use std::borrow::Cow;

/// The key, and what stands beside it.
pub(super) fn all(table: &str, key: &str) -> [String; 4] {
    let name = name(table, key);
    let beside = |what: &str| format!("{{{name}}}:{what}");
    let (versions, order, deleted) = (beside("versions"), beside("order"), beside("deleted"));
    [name, versions, order, deleted]
}

pub(super) fn name(table: &str, key: &str) -> String {
    format!("{table}:{}", escaped(key))
}

/// What a `SCAN` matches to find a table's keys; names of tables hold nothing special.
pub(super) fn pattern(table: &str) -> String {
    format!("{table}:*")
}

/// Table and key of a name; `None` for what no cache wrote.
pub(super) fn split(name: &str) -> Option<(&str, String)> {
    let (table, key) = name.split_once(':')?;
    if key.is_empty() || table.starts_with('{') || crate::check_name("cache table", table).is_err()
    {
        return None;
    }
    Some((table, key.replace("%7B", "{").replace("%7D", "}").replace("%25", "%")))
}

fn escaped(key: &str) -> Cow<'_, str> {
    if !key.contains(['{', '}', '%']) {
        return Cow::Borrowed(key);
    }
    Cow::Owned(key.replace('%', "%25").replace('{', "%7B").replace('}', "%7D"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_stands_beside_a_key_is_in_its_slot() {
        assert_eq!(
            all("orders", "a}{b%"),
            [
                "orders:a%7D%7Bb%25",
                "{orders:a%7D%7Bb%25}:versions",
                "{orders:a%7D%7Bb%25}:order",
                "{orders:a%7D%7Bb%25}:deleted"
            ]
        );
        assert_eq!(split("{orders:a}:versions"), None);
        assert_eq!(split("counter"), None);
        assert_eq!(split("a b:c"), None);
    }

    proptest! {
        #[test]
        fn names_are_read_as_they_were_written(table in "[a-zA-Z0-9._-]{1,9}", key in ".{1,9}|[%{}7BD25]{1,9}") {
            prop_assume!(!table.starts_with("system."));
            let name = name(&table, &key);
            prop_assert_eq!(split(&name), Some((&*table, key)));
        }
    }
}
