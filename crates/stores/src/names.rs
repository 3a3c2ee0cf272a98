//! Rules for the names and keys that users give: collections, tables, ids, keys.
//!
//! Names stay within what every implementation of a role takes (Redis, MongoDB, a
//! folder); ids and keys are free text of bounded length.

use courant_model::limits::{STORE_KEY_BYTES_MAX, STORE_NAME_CHARS_MAX};

use crate::StoreError;

/// Checks the name of a collection or table: 1 to 120 of `[a-zA-Z0-9._-]`, not
/// beginning with `system.`, which MongoDB keeps to itself.
///
/// # Errors
/// [`StoreError::InvalidName`] with the first rule that the name breaks.
pub fn check_name(kind: &'static str, name: &str) -> Result<(), StoreError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let why = if name.is_empty() {
        "it is empty".to_owned()
    } else if let Some(found) = name.chars().find(|c| !allowed(*c)) {
        format!("it contains {found:?}; use letters, digits, '.', '_' and '-'")
    } else if name.len() > STORE_NAME_CHARS_MAX {
        format!("it has {} characters; {STORE_NAME_CHARS_MAX} are allowed", name.len())
    } else if name.starts_with("system.") {
        "names beginning with \"system.\" are reserved; choose another".to_owned()
    } else {
        return Ok(());
    };
    Err(StoreError::InvalidName {
        kind,
        name: name.chars().take(STORE_NAME_CHARS_MAX).collect(),
        why,
    })
}

/// Why a text cannot be an id or a key; `None` when it can.
pub(crate) fn key_fault(key: &str) -> Option<String> {
    match key.len() {
        0 => Some("it is empty".into()),
        length if length > STORE_KEY_BYTES_MAX => {
            Some(format!("it has {length} bytes; {STORE_KEY_BYTES_MAX} are allowed"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_name_says_which_rule_it_breaks() {
        for good in ["messages", "orders.by-day_2", &"a".repeat(STORE_NAME_CHARS_MAX)] {
            assert!(check_name("collection", good).is_ok(), "{good}");
        }
        let why = |name: &str| check_name("collection", name).unwrap_err().to_string();
        assert_eq!(why(""), "name \"\" of a collection is invalid: it is empty");
        assert!(why("a b").contains("it contains ' '"));
        assert!(why("system.users").contains("reserved"));
        assert!(why(&"a".repeat(STORE_NAME_CHARS_MAX + 1)).contains("121 characters"));
    }
}
