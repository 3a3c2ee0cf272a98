//! Columns that were inferred, and hold from then on.
//!
//! Where no columns are declared, the first records of a topic decide; what they
//! decide is the same for every partition of the pipeline and for its next start.
//! Columns may be added later, a column's type never changes.

use std::collections::BTreeMap;

use courant_model::{Column, ColumnType, Columns, TopicName};
use parking_lot::Mutex;

/// Which documents: those of a topic, as they come to the step of this number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinKey {
    pub topic: TopicName,
    pub step: usize,
}

/// The pinned columns of one pipeline, shared by its partitions.
#[derive(Debug, Default)]
pub struct Pins {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    columns: BTreeMap<PinKey, Columns>,
    version: u64,
}

impl Pins {
    /// The columns pinned before.
    pub fn new(columns: BTreeMap<PinKey, Columns>) -> Self {
        Self { inner: Mutex::new(Inner { columns, version: 0 }) }
    }

    pub fn get(&self, key: &PinKey) -> Option<Columns> {
        self.inner.lock().columns.get(key).cloned()
    }

    /// Pins columns: those pinned before stay as they are, further ones are added.
    /// Answers all of them.
    pub fn pin(&self, key: PinKey, found: &Columns) -> Columns {
        let mut inner = self.inner.lock();
        let merged = match inner.columns.get(&key) {
            Some(pinned) => merge(pinned, found),
            None => found.clone(),
        };
        if inner.columns.get(&key) != Some(&merged) {
            inner.version += 1;
            inner.columns.insert(key, merged.clone());
        }
        merged
    }

    /// Everything pinned when it changed after `version`, with the new version.
    pub fn changed_since(&self, version: u64) -> Option<(u64, BTreeMap<PinKey, Columns>)> {
        let inner = self.inner.lock();
        (inner.version > version).then(|| (inner.version, inner.columns.clone()))
    }
}

/// The columns of both. A name in both keeps the pinned type, but nested fields are
/// added there too.
fn merge(pinned: &Columns, found: &Columns) -> Columns {
    merge_fields(&pinned.iter().collect::<Vec<_>>(), &found.iter().collect::<Vec<_>>())
        .into_iter()
        .collect()
}

fn merge_fields(pinned: &[&Column], found: &[&Column]) -> Vec<Column> {
    let merged = pinned.iter().map(|column| {
        let same = found.iter().find(|other| other.name == column.name);
        let column_type = same.map_or_else(
            || column.column_type.clone(),
            |other| merge_types(&column.column_type, &other.column_type),
        );
        Column { column_type, ..(*column).clone() }
    });
    let is_new = |column: &&&Column| !pinned.iter().any(|known| known.name == column.name);
    merged.chain(found.iter().filter(is_new).map(|column| (*column).clone())).collect()
}

fn merge_types(pinned: &ColumnType, found: &ColumnType) -> ColumnType {
    match (pinned, found) {
        (ColumnType::Struct(pinned), ColumnType::Struct(found)) => {
            let (pinned, found): (Vec<_>, Vec<_>) =
                (pinned.iter().collect(), found.iter().collect());
            ColumnType::Struct(merge_fields(&pinned, &found))
        }
        (ColumnType::List(pinned), ColumnType::List(found)) => {
            ColumnType::List(Box::new(merge_types(pinned, found)))
        }
        _ => pinned.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(text: &str) -> Columns {
        let ColumnType::Struct(fields) = format!("struct<{text}>").parse().unwrap() else {
            panic!("a struct was asked for")
        };
        fields.into_iter().collect()
    }

    #[test]
    fn pinned_types_stay_and_new_fields_are_added_at_every_depth() {
        let pins = Pins::default();
        let key = PinKey { topic: "t".parse().unwrap(), step: 0 };
        pins.pin(key.clone(), &columns("a: int64, b: list<struct<c: string>>"));
        let merged = pins.pin(
            key.clone(),
            &columns("a: float64, b: list<struct<c: json, d: int64>>, e: boolean"),
        );
        assert_eq!(merged, columns("a: int64, b: list<struct<c: string, d: int64>>, e: boolean"));
        let (version, all) = pins.changed_since(1).unwrap();
        assert_eq!(all, BTreeMap::from([(key, merged)]));
        assert_eq!(pins.changed_since(version), None);
    }
}
