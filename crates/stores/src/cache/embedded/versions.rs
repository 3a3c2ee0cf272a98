//! The versions that a key and its fields were written with.
//!
//! Part of an entry in memory and of its copy on disk. Whether a write comes too late is
//! asked here and nowhere else. What is remembered of a deleted key goes with its entry;
//! what is remembered of a deleted field, with the first such deletion after its time.

use courant_model::limits::DELETED_VERSIONS_KEPT_MS;
use indexmap::IndexMap;

/// Bytes that a field's version costs beside its name.
const MARK_BYTES: usize = 96;

/// Versions of one key; without memory of their own where nobody gave one to a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Versions {
    /// Of the last write to the key as a whole.
    whole: Option<i64>,
    /// Of the last write to each field.
    fields: Option<Box<IndexMap<String, Mark>>>,
    fields_bytes: usize,
}

/// The version of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) version: i64,
    /// When the field was deleted, in microseconds since the epoch.
    pub(super) deleted_micros: Option<i64>,
}

impl Versions {
    pub(super) fn new(
        whole: Option<i64>,
        fields: impl IntoIterator<Item = (String, Mark)>,
    ) -> Self {
        let mut versions = Self { whole, ..Self::default() };
        fields.into_iter().for_each(|(field, mark)| versions.insert(field, mark));
        versions
    }

    pub(super) const fn whole(&self) -> Option<i64> {
        self.whole
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = (&String, &Mark)> {
        self.fields.iter().flat_map(|fields| fields.iter())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_none() && self.fields().next().is_none()
    }

    /// Whether a write to the whole key comes too late.
    pub(super) fn outdates(&self, version: Option<i64>) -> bool {
        let newest = self.fields().map(|(_, mark)| mark.version).chain(self.whole).max();
        is_lower(version, newest)
    }

    /// Whether a write to a field comes too late.
    pub(super) fn outdates_field(&self, field: &str, version: Option<i64>) -> bool {
        let mark = self.fields.as_ref().and_then(|fields| fields.get(field));
        is_lower(version, mark.map(|mark| mark.version).max(self.whole))
    }

    /// Remembers what a field was set with.
    pub(super) fn set(&mut self, field: &str, version: Option<i64>) {
        match version {
            Some(version) => self.insert(field.to_owned(), Mark { version, deleted_micros: None }),
            None => self.remove(field),
        }
    }

    /// Remembers what a field was deleted with, and forgets older deletions in their time.
    pub(super) fn delete(&mut self, field: &str, version: Option<i64>, now: i64) {
        let Some(version) = version else { return self.remove(field) };
        let is_over = |mark: &Mark| mark.deleted_micros.is_some_and(|at| kept_until(at) <= now);
        let over: Vec<String> = self
            .fields()
            .filter(|(_, mark)| is_over(mark))
            .map(|(field, _)| field.clone())
            .collect();
        over.iter().for_each(|field| self.remove(field));
        self.insert(field.to_owned(), Mark { version, deleted_micros: Some(now) });
    }

    /// Bytes of memory, beside those of an entry.
    pub(super) const fn size_bytes(&self) -> usize {
        self.fields_bytes
    }

    fn insert(&mut self, field: String, mark: Mark) {
        let added_bytes = field.len() + MARK_BYTES;
        if self.fields.get_or_insert_default().insert(field, mark).is_none() {
            self.fields_bytes += added_bytes;
        }
    }

    fn remove(&mut self, field: &str) {
        let Some(fields) = &mut self.fields else { return };
        if fields.swap_remove(field).is_some() {
            self.fields_bytes -= field.len() + MARK_BYTES;
        }
    }
}

/// Until when the version of what was deleted is remembered.
pub(super) fn kept_until(deleted_micros: i64) -> i64 {
    deleted_micros.saturating_add(DELETED_VERSIONS_KEPT_MS as i64 * 1_000)
}

fn is_lower(version: Option<i64>, known: Option<i64>) -> bool {
    version.zip(known).is_some_and(|(version, known)| version < known)
}
