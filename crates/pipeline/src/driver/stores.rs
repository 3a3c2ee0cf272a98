//! The driver's cache and history: maps that take the roles' writes.
//!
//! They keep the promises that a pipeline can see: upserts by id in the order of
//! insertion, values and fields, times to live, and what a store refuses. They have no
//! indexes, change streams or bounds on memory.

use courant_model::Origin;
use courant_stores::{CacheWrite, Document, HistoryWrite, StoreError};
use indexmap::IndexMap;
use serde_json::Value;

/// Collections and tables by name.
#[derive(Debug, Default)]
pub(super) struct Stores {
    collections: IndexMap<String, IndexMap<String, Document>>,
    tables: IndexMap<String, IndexMap<String, Entry>>,
    document_versions: Versions,
    cache_versions: Versions,
}

/// Versions that things were last written or deleted with: by collection or table and by
/// id or key; there by field, `None` for the whole.
type Versions = IndexMap<(String, String), IndexMap<Option<String>, i64>>;

/// A cache key.
#[derive(Debug)]
struct Entry {
    held: Held,
    expires: Option<Origin>,
}

#[derive(Debug)]
enum Held {
    Value(Value),
    Fields(IndexMap<String, Value>),
}

impl Stores {
    pub(super) fn documents(&self, collection: &str) -> Vec<&Document> {
        self.collections.get(collection).into_iter().flat_map(IndexMap::values).collect()
    }

    pub(super) fn document(&self, collection: &str, id: &str) -> Option<&Document> {
        self.collections.get(collection)?.get(id)
    }

    pub(super) fn cached(&self, table: &str, key: &str, now: Origin) -> Option<Value> {
        let entry = self.tables.get(table)?.get(key)?;
        (!entry.has_expired(now)).then(|| match &entry.held {
            Held::Value(value) => value.clone(),
            Held::Fields(fields) => Value::Object(fields.clone().into_iter().collect()),
        })
    }

    pub(super) fn write(&mut self, collection: &str, write: HistoryWrite) -> Result<(), String> {
        let documents = self.collections.entry(collection.into()).or_default();
        let (id, document) = match write {
            HistoryWrite::Delete { id, version } => {
                if counts(&mut self.document_versions, (collection, &id), None, version) {
                    documents.shift_remove(&id);
                }
                return Ok(());
            }
            HistoryWrite::Upsert { id, document, version } => {
                if !counts(&mut self.document_versions, (collection, &id), None, version) {
                    return Ok(());
                }
                (id, document)
            }
            HistoryWrite::Insert { id, document } => {
                let id = id.unwrap_or_else(|| format!("{}", documents.len()));
                if documents.contains_key(&id) {
                    let collection = collection.to_owned();
                    return Err(StoreError::DuplicateId { collection, id }.to_string());
                }
                (id, document)
            }
        };
        if document.get("_id").is_some_and(|own| own.as_str() != Some(&id)) {
            let why = format!("its \"_id\" is not its id {id:?}");
            return Err(StoreError::InvalidDocument { why }.to_string());
        }
        let mut stored = Document::new();
        stored.insert("_id".into(), Value::String(id.clone()));
        stored.extend(document);
        documents.insert(id, stored);
        Ok(())
    }

    pub(super) fn apply(
        &mut self,
        table: &str,
        write: CacheWrite,
        now: Origin,
    ) -> Result<(), String> {
        let keys = self.tables.entry(table.into()).or_default();
        keys.retain(|_, entry| !entry.has_expired(now));
        let expires = |ttl: Option<std::time::Duration>| {
            let micros = i64::try_from(ttl?.as_micros()).unwrap_or(i64::MAX);
            Some(Origin::from_micros(now.as_micros().saturating_add(micros)))
        };
        let wrong = |key: &str, found, expected| {
            let (table, key) = (table.to_owned(), key.to_owned());
            Err(StoreError::WrongKind { table, key, found, expected }.to_string())
        };
        let (field, version) = match &write {
            CacheWrite::Set { version, .. } | CacheWrite::Delete { version, .. } => (None, version),
            CacheWrite::SetField { field, version, .. }
            | CacheWrite::DeleteField { field, version, .. } => (Some(field.clone()), version),
        };
        if !counts(&mut self.cache_versions, (table, write.key()), field, *version) {
            return Ok(());
        }
        match write {
            CacheWrite::Set { key, value, ttl, .. } => {
                let held = Held::Value(read(&value));
                keys.insert(key, Entry { held, expires: expires(ttl) });
            }
            CacheWrite::SetField { key, field, value, ttl, .. } => {
                let empty = || Entry { held: Held::Fields(IndexMap::new()), expires: None };
                let entry = keys.entry(key.clone()).or_insert_with(empty);
                let Held::Fields(fields) = &mut entry.held else {
                    return wrong(&key, "a value", "fields");
                };
                fields.insert(field, read(&value));
                entry.expires = expires(ttl);
            }
            CacheWrite::Delete { key, .. } => {
                keys.shift_remove(&key);
            }
            CacheWrite::DeleteField { key, field, .. } => {
                let Some(entry) = keys.get_mut(&key) else { return Ok(()) };
                let Held::Fields(fields) = &mut entry.held else {
                    return wrong(&key, "a value", "fields");
                };
                fields.shift_remove(&field);
                if fields.is_empty() {
                    keys.shift_remove(&key);
                }
            }
        }
        Ok(())
    }
}

impl Entry {
    fn has_expired(&self, now: Origin) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Whether a write of this version counts at its place; remembers it then. A key as a
/// whole and its fields guard each other.
fn counts(
    versions: &mut Versions,
    (store, key): (&str, &str),
    field: Option<String>,
    version: Option<i64>,
) -> bool {
    let known = versions.entry((store.to_owned(), key.to_owned())).or_default();
    let newest = match &field {
        None => known.values().max(),
        Some(_) => known.get(&field).max(known.get(&None)),
    };
    if version.zip(newest).is_some_and(|(version, newest)| version < *newest) {
        return false;
    }
    match &field {
        None => known.clear(),
        Some(_) => drop(known.swap_remove(&field)),
    }
    known.extend(version.map(|version| (field, version)));
    true
}

/// What events write is JSON.
fn read(value: &[u8]) -> Value {
    serde_json::from_slice(value)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(value).into_owned()))
}
