//! The embedded history against a plain list: random writes, indexes and questions.
//!
//! The model keeps documents in a vector and answers by looking at all of them, with
//! the same filter but its own sort; so what is compared is the index entries, the
//! planner, the pages and the changes, under whatever indexes there are.

use std::{cmp::Ordering, collections::HashMap};

use courant_model::json::FieldPath;
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::*;
use crate::{
    ChangeKind, Order, SortKey,
    history::{filter::Operator, values},
    testing::{any_document, any_json, scalar, small_number},
};

/// One random step.
#[derive(Debug, Clone)]
enum Step {
    Write(Vec<HistoryWrite>),
    Ensure(Vec<Vec<FieldPath>>),
    Ask(FindQuery),
}

fn field() -> impl Strategy<Value = FieldPath> {
    prop_oneof![8 => "[ab]", 1 => "[ab]\\.[abc]", 1 => "[ab]\\.[01]", 1 => Just("_id".to_owned())]
        .prop_map(|text| text.parse().unwrap())
}

fn id() -> impl Strategy<Value = String> {
    "[p-w]"
}

fn write() -> impl Strategy<Value = HistoryWrite> {
    prop_oneof![
        4 => (id(), any_document())
            .prop_map(|(id, document)| HistoryWrite::Insert { id: Some(id), document }),
        4 => (id(), any_document())
            .prop_map(|(id, document)| HistoryWrite::Upsert { id, document, version: None }),
        2 => (id(), any_document(), version()).prop_map(|(id, document, version)| {
            HistoryWrite::Upsert { id, document, version }
        }),
        2 => (id(), version()).prop_map(|(id, version)| HistoryWrite::Delete { id, version }),
    ]
}

fn version() -> impl Strategy<Value = Option<i64>> {
    prop::option::weighted(0.8, -2_i64..4)
}

fn filter() -> impl Strategy<Value = Filter> {
    let operator = prop_oneof![
        3 => Just(Operator::Equal),
        1 => Just(Operator::NotEqual),
        1 => Just(Operator::Less),
        1 => Just(Operator::LessOrEqual),
        1 => Just(Operator::Greater),
        1 => Just(Operator::GreaterOrEqual),
    ];
    let value = || {
        prop_oneof![
            6 => small_number(),
            2 => scalar(),
            1 => any_json(),
            1 => id().prop_map(Value::String),
        ]
    };
    let leaf = prop_oneof![
        1 => Just(Filter::All),
        8 => (field(), operator, value())
            .prop_map(|(field, operator, value)| Filter::Compare { field, operator, value }),
        2 => (field(), prop::collection::vec(value(), 0..4))
            .prop_map(|(field, values)| Filter::In { field, values }),
        6 => (field(), value(), value()).prop_map(|(field, from, to)| between(&field, from, to)),
        1 => (field(), any::<bool>()).prop_map(|(field, exists)| Filter::Exists { field, exists }),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 1..4).prop_map(Filter::And),
            1 => prop::collection::vec(inner.clone(), 1..4).prop_map(Filter::Or),
            1 => inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

fn between(field: &FieldPath, from: Value, to: Value) -> Filter {
    let compare = |operator, value| Filter::Compare { field: field.clone(), operator, value };
    Filter::And(vec![compare(Operator::GreaterOrEqual, from), compare(Operator::Less, to)])
}

fn query() -> impl Strategy<Value = FindQuery> {
    let order = || prop_oneof![Just(Order::Ascending), Just(Order::Descending)];
    let key = prop_oneof![5 => field(), 1 => Just(FieldPath::field(SortKey::INSERTED))];
    let key = (key, order()).prop_map(|(field, order)| SortKey { field, order });
    let any = (filter(), prop::collection::vec(key, 0..3));
    // A range sorted by its own field: what an index is made for.
    let range = ("[ab]", small_number(), small_number(), order());
    let range = range.prop_map(|(field, from, to, order)| {
        let field = FieldPath::field(field);
        (between(&field, from, to), vec![SortKey { field, order }])
    });
    (prop_oneof![3 => any, 1 => range], 0_usize..3, 0_usize..6)
        .prop_map(|((filter, sort), skip, limit)| FindQuery { filter, sort, skip, limit })
}

fn indexes() -> impl Strategy<Value = Vec<Vec<FieldPath>>> {
    prop::collection::vec(prop::collection::vec(field(), 1..3), 0..3)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(write(), 1..6).prop_map(Step::Write),
        1 => indexes().prop_map(Step::Ensure),
        10 => query().prop_map(Step::Ask),
    ]
}

/// Documents in the order of their insertion, and the changes that made them.
#[derive(Debug, Default)]
struct Model {
    documents: Vec<Document>,
    versions: HashMap<String, i64>,
    deleted: HashMap<String, i64>,
    changes: Vec<(ChangeKind, String, Option<Document>)>,
}

impl Model {
    fn position(&self, id: &str) -> Option<usize> {
        self.documents.iter().position(|document| document["_id"] == *id)
    }

    fn is_newer(&self, id: &str, version: Option<i64>) -> bool {
        let known = [self.versions.get(id), self.deleted.get(id)].into_iter().flatten().max();
        version.zip(known).is_some_and(|(version, known)| version < *known)
    }

    /// What the write changes; `Err` when it must be refused.
    fn write(&mut self, write: HistoryWrite) -> Result<Option<ChangeKind>, ()> {
        let (id, document, replace, version) = match write {
            HistoryWrite::Delete { id, version } => {
                if self.is_newer(&id, version) {
                    return Ok(None);
                }
                self.versions.remove(&id);
                self.deleted.extend(version.map(|version| (id.clone(), version)));
                let Some(position) = self.position(&id) else { return Ok(None) };
                self.documents.remove(position);
                self.changes.push((ChangeKind::Delete, id, None));
                return Ok(Some(ChangeKind::Delete));
            }
            HistoryWrite::Insert { id, document } => (id.unwrap(), document, false, None),
            HistoryWrite::Upsert { id, document, version } => (id, document, true, version),
        };
        if self.is_newer(&id, version) {
            return Ok(None);
        }
        if !replace && self.position(&id).is_some() {
            return Err(());
        }
        self.versions.remove(&id);
        self.versions.extend(version.map(|version| (id.clone(), version)));
        let mut stored = Document::new();
        stored.insert("_id".into(), id.clone().into());
        stored.extend(document);
        let text = |document: &Document| serde_json::to_string(document).unwrap();
        let kind = match self.position(&id) {
            Some(position) if text(&self.documents[position]) == text(&stored) => return Ok(None),
            Some(position) => {
                self.documents[position] = stored.clone();
                ChangeKind::Update
            }
            None => {
                self.documents.push(stored.clone());
                ChangeKind::Insert
            }
        };
        self.changes.push((kind, id, Some(stored)));
        Ok(Some(kind))
    }

    fn find(&self, query: &FindQuery) -> Vec<Document> {
        let mut found: Vec<(usize, &Document)> = self
            .documents
            .iter()
            .enumerate()
            .filter(|(_, document)| query.filter.matches(document))
            .collect();
        found.sort_by(|left, right| {
            let natural = left.0.cmp(&right.0);
            let keys = query.sort.iter().map(|key| {
                let order = match key.field.to_string().as_str() {
                    SortKey::INSERTED => natural,
                    _ => by_key(left.1, right.1, key),
                };
                turned(order, key.order)
            });
            let tie = turned(natural, query.sort.last().map(|key| key.order).unwrap_or_default());
            keys.fold(Ordering::Equal, Ordering::then).then(tie)
        });
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        found
            .into_iter()
            .skip(query.skip)
            .take(limit)
            .map(|(_, document)| document.clone())
            .collect()
    }
}

/// Compares by the least or greatest value at a path, without the ordered bytes. An
/// empty list comes before everything.
fn by_key(left: &Document, right: &Document, key: &SortKey) -> Ordering {
    let best = |document: &Document| {
        let mut candidates: Vec<Option<Value>> = Vec::new();
        values::any_at(document, &key.field, &mut |found| {
            match found {
                None => candidates.push(Some(Value::Null)),
                Some(Value::Array(items)) if items.is_empty() => candidates.push(None),
                Some(Value::Array(items)) => candidates.extend(items.iter().cloned().map(Some)),
                Some(value) => candidates.push(Some(value.clone())),
            }
            false
        });
        candidates.sort_by(compare_found);
        match key.order {
            Order::Ascending => candidates.swap_remove(0),
            Order::Descending => candidates.pop().unwrap(),
        }
    };
    compare_found(&best(left), &best(right))
}

fn compare_found(left: &Option<Value>, right: &Option<Value>) -> Ordering {
    match (left, right) {
        (Some(left), Some(right)) => values::compare(left, right),
        _ => left.is_some().cmp(&right.is_some()),
    }
}

fn turned(order: Ordering, direction: Order) -> Ordering {
    match direction {
        Order::Ascending => order,
        Order::Descending => order.reverse(),
    }
}

async fn check(
    history: &EmbeddedHistory,
    name: &str,
    indexes: Vec<Vec<FieldPath>>,
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let ensure = |indexes| CollectionSpec { name: name.to_owned(), indexes };
    history.ensure_collection(&ensure(indexes)).await.unwrap();
    let mut watch = history.watch(name, WatchFrom::Now).await.unwrap();
    for step in steps {
        match step {
            Step::Ensure(indexes) => history.ensure_collection(&ensure(indexes)).await.unwrap(),
            Step::Write(writes) => {
                let results = history.write(name, writes.clone()).await.unwrap();
                for (write, result) in writes.into_iter().zip(results) {
                    let result = result.map(|written| written.change).map_err(drop);
                    prop_assert_eq!(model.write(write), result);
                }
            }
            Step::Ask(query) => {
                let found = history.find(name, &query).await.unwrap();
                prop_assert_eq!(found, model.find(&query));
                let all = FindQuery { filter: query.filter, ..FindQuery::default() };
                let count = history.count(name, &all.filter).await.unwrap();
                prop_assert_eq!(count, model.find(&all).len() as u64);
            }
        }
    }
    let mut changes = Vec::new();
    while changes.len() < model.changes.len() {
        changes.extend(watch.next(100).await.unwrap());
    }
    let told: Vec<_> =
        changes.into_iter().map(|change| (change.kind, change.id, change.document)).collect();
    prop_assert_eq!(told, model.changes);
    Ok(())
}

#[test]
fn random_operations_agree_with_a_plain_list() {
    let folder = tempfile::tempdir().unwrap();
    let history =
        Arc::new(EmbeddedHistory::open(folder.path(), HistoryOptions::default()).unwrap());
    let runtime = Runtime::new().unwrap();
    let mut runner = TestRunner::new(ProptestConfig { cases: 60, ..ProptestConfig::default() });
    let cases = (indexes(), prop::collection::vec(step(), 1..60));
    let outcome = runner.run(&cases, |(indexes, steps)| {
        let name = uuid::Uuid::new_v4().simple().to_string();
        runtime.block_on(check(&history, &name, indexes, steps))
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
