//! What every history checks of a write and of a collection's specification.

use courant_model::{
    json::FieldPath,
    limits::{INDEX_FIELDS_MAX, INDEXES_PER_COLLECTION_MAX},
};
use serde_json::Value;

use super::{CollectionSpec, Document};
use crate::StoreError;

/// Puts `_id` first.
pub(crate) fn with_id(id: &str, mut document: Document) -> Result<Document, StoreError> {
    match document.shift_remove("_id") {
        Some(own) if own != *id => Err(StoreError::InvalidDocument {
            why: format!("its \"_id\" is {own}, expected the text {id:?} or none"),
        }),
        _ => {
            document.shift_insert(0, "_id".into(), Value::String(id.to_owned()));
            Ok(document)
        }
    }
}

impl CollectionSpec {
    /// The indexes that are asked for, each once.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`] for too many of them, or of fields in one.
    pub(crate) fn checked_indexes(&self) -> Result<Vec<Vec<FieldPath>>, StoreError> {
        let refuse =
            |why| Err(StoreError::InvalidName { kind: "index", name: self.name.clone(), why });
        let mut wanted: Vec<Vec<FieldPath>> = Vec::with_capacity(self.indexes.len());
        for fields in &self.indexes {
            if fields.is_empty() || fields.len() > INDEX_FIELDS_MAX {
                return refuse(format!(
                    "it has {} fields; 1 to {INDEX_FIELDS_MAX} are allowed",
                    fields.len()
                ));
            }
            if !wanted.contains(fields) {
                wanted.push(fields.clone());
            }
        }
        if wanted.len() > INDEXES_PER_COLLECTION_MAX {
            return refuse(format!(
                "the collection has {} indexes; {INDEXES_PER_COLLECTION_MAX} are allowed",
                wanted.len()
            ));
        }
        Ok(wanted)
    }
}
