//! What a cache key holds, as JSON; for the API and for the file's endpoints alike.

use bytes::Bytes;
use courant_stores::{Cache, StoreError};
use indexmap::IndexMap;
use serde_json::value::RawValue;

use crate::{error::ApiError, record_json};

/// What a key holds.
#[derive(Debug)]
pub(crate) enum Held {
    Value(Box<RawValue>),
    /// In the order of their first setting.
    Fields(IndexMap<String, Box<RawValue>>),
}

/// Reads a key.
///
/// # Errors
/// [`ApiError::UnknownKey`]; the cache's.
pub(crate) async fn held(cache: &dyn Cache, table: &str, key: &str) -> Result<Held, ApiError> {
    let unknown = || ApiError::UnknownKey { table: table.into(), key: key.into() };
    match cache.get(table, key).await {
        Ok(Some(value)) => Ok(Held::Value(as_json(&value))),
        Ok(None) => Err(unknown()),
        Err(StoreError::WrongKind { .. }) => {
            let fields = cache.fields(table, key).await?;
            if fields.is_empty() {
                return Err(unknown());
            }
            let shown = |(name, value): (String, Bytes)| (name, as_json(&value));
            Ok(Held::Fields(fields.into_iter().map(shown).collect()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads one field of a key.
///
/// # Errors
/// [`ApiError::UnknownField`]; the cache's.
pub(crate) async fn field(
    cache: &dyn Cache,
    table: &str,
    key: &str,
    field: &str,
) -> Result<Box<RawValue>, ApiError> {
    match cache.get_field(table, key, field).await? {
        Some(value) => Ok(as_json(&value)),
        None => Err(ApiError::UnknownField {
            table: table.into(),
            key: key.into(),
            field: field.into(),
        }),
    }
}

fn as_json(value: &Bytes) -> Box<RawValue> {
    record_json::value(Some(value)).0.unwrap_or_default()
}
