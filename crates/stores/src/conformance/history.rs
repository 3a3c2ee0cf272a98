//! The behaviours of a history; see the trait for the words.
//!
//! Assertions compare whole answers. A wait for a change ends after `PATIENCE`, so a
//! lost change fails a test instead of hanging it; no test measures time.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{HistoryHarness, fresh_name};
use crate::{
    Change, ChangeKind, Changes, CollectionSpec, Document, Filter, FindQuery, History,
    HistoryWrite, Order, ResumeToken, SortKey, StoreError, WatchFrom, Written,
};

/// How long a change may take to arrive before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A history with one collection.
struct Collection {
    history: Arc<dyn History>,
    name: String,
}

impl Collection {
    async fn new(harness: &dyn HistoryHarness, indexes: &[&[&str]]) -> Self {
        let collection = Self { history: harness.open().await, name: fresh_name("collection") };
        collection.ensure(indexes).await;
        collection
    }

    /// Drops the history and opens it again.
    async fn reopened(self, harness: &dyn HistoryHarness) -> Self {
        let Self { history, name } = self;
        drop(history);
        Self { history: harness.open().await, name }
    }

    async fn ensure(&self, indexes: &[&[&str]]) {
        let indexes = indexes
            .iter()
            .map(|fields| fields.iter().map(|field| field.parse().unwrap()).collect())
            .collect();
        let spec = CollectionSpec { name: self.name.clone(), indexes };
        self.history.ensure_collection(&spec).await.unwrap();
    }

    async fn write(&self, writes: Vec<HistoryWrite>) -> Vec<Result<Written, StoreError>> {
        self.history.write(&self.name, writes).await.unwrap()
    }

    async fn write_all(&self, writes: Vec<HistoryWrite>) -> Vec<Written> {
        self.write(writes).await.into_iter().map(Result::unwrap).collect()
    }

    async fn get(&self, id: &str) -> Option<Value> {
        self.history.get(&self.name, id).await.unwrap().map(Value::Object)
    }

    async fn ids(&self, query: FindQuery) -> Vec<String> {
        let found = self.history.find(&self.name, &query).await.unwrap();
        found.iter().map(|document| document["_id"].as_str().unwrap().to_owned()).collect()
    }

    async fn matching(&self, filter: &Value) -> Vec<String> {
        let filter = Filter::parse(filter).unwrap();
        self.ids(FindQuery { filter, ..FindQuery::default() }).await
    }

    async fn sorted(&self, sort: &str) -> Vec<String> {
        let sort = SortKey::parse_list(sort).unwrap();
        self.ids(FindQuery { sort, ..FindQuery::default() }).await
    }

    async fn count(&self, filter: &Value) -> u64 {
        self.history.count(&self.name, &Filter::parse(filter).unwrap()).await.unwrap()
    }

    async fn watch(&self, from: WatchFrom) -> Box<dyn Changes> {
        self.history.watch(&self.name, from).await.unwrap()
    }
}

fn document(value: &Value) -> Document {
    value.as_object().expect("a document is an object").clone()
}

fn insert(id: &str, value: &Value) -> HistoryWrite {
    HistoryWrite::Insert { id: Some(id.into()), document: document(value) }
}

fn upsert(id: &str, value: &Value) -> HistoryWrite {
    HistoryWrite::Upsert { id: id.into(), document: document(value), version: None }
}

fn delete(id: &str) -> HistoryWrite {
    HistoryWrite::Delete { id: id.into(), version: None }
}

fn upsert_as(version: i64, id: &str, value: &Value) -> HistoryWrite {
    HistoryWrite::Upsert { id: id.into(), document: document(value), version: Some(version) }
}

fn delete_as(version: i64, id: &str) -> HistoryWrite {
    HistoryWrite::Delete { id: id.into(), version: Some(version) }
}

/// Takes this many changes from a watch.
async fn take(watch: &mut Box<dyn Changes>, count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    while changes.len() < count {
        let missing = count - changes.len();
        let next = timeout(PATIENCE, watch.next(missing)).await;
        changes.extend(next.expect("a change arrives").unwrap());
    }
    changes
}

fn told(changes: &[Change]) -> Vec<(ChangeKind, &str)> {
    changes.iter().map(|change| (change.kind, change.id.as_str())).collect()
}

pub async fn an_inserted_document_is_found_with_its_id_first(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    let body = json!({ "b": { "deep": [1, 2.5, null, true] }, "a": "é\u{0}" });
    let written = it.write_all(vec![insert("x", &body)]).await;
    assert_eq!(written, [Written { id: "x".into(), change: Some(ChangeKind::Insert) }]);
    let found = it.history.get(&it.name, "x").await.unwrap().unwrap();
    let fields: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(fields, ["_id", "b", "a"]);
    assert_eq!(found["b"], body["b"]);
    assert_eq!(found["a"], body["a"]);
    assert_eq!(it.get("y").await, None);
}

pub async fn an_insert_without_an_id_takes_the_documents_or_a_new_one(
    harness: &dyn HistoryHarness,
) {
    let it = Collection::new(harness, &[]).await;
    let without = |value: Value| HistoryWrite::Insert { id: None, document: document(&value) };
    let written = it
        .write_all(vec![without(json!({ "_id": "own" })), without(json!({})), without(json!({}))])
        .await;
    assert_eq!(written[0].id, "own");
    assert_ne!(written[1].id, written[2].id);
    for Written { id, .. } in written {
        assert_eq!(it.get(&id).await, Some(json!({ "_id": id })));
    }
}

pub async fn a_taken_id_is_refused_and_harms_no_other_write(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    let results = it
        .write(vec![
            insert("a", &json!({ "n": 1 })),
            insert("a", &json!({ "n": 2 })),
            insert("b", &json!({ "n": 3 })),
        ])
        .await;
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    assert!(
        matches!(&results[1], Err(StoreError::DuplicateId { id, .. }) if id == "a"),
        "{results:?}"
    );
    assert_eq!(it.get("a").await, Some(json!({ "_id": "a", "n": 1 })));
    assert_eq!(it.count(&json!({})).await, 2);
}

pub async fn a_document_of_another_id_is_refused_and_harms_no_other_write(
    harness: &dyn HistoryHarness,
) {
    let it = Collection::new(harness, &[]).await;
    let results = it
        .write(vec![
            upsert("a", &json!({ "_id": "b" })),
            upsert("c", &json!({ "_id": "c" })),
            upsert("", &json!({})),
            insert("d", &json!({ "_id": 4 })),
        ])
        .await;
    let refused = |result: &Result<Written, StoreError>| matches!(result, Err(error @ StoreError::InvalidDocument { .. }) if error.concerns_one_record());
    assert!(refused(&results[0]) && refused(&results[2]) && refused(&results[3]), "{results:?}");
    assert!(results[1].is_ok(), "{results:?}");
    assert_eq!(it.matching(&json!({})).await, ["c"]);
}

pub async fn a_document_nested_too_deep_is_refused(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let results = it
        .write(vec![
            insert("deep", &json!({ "a": nested(90) })),
            insert("too deep", &json!({ "a": nested(200) })),
        ])
        .await;
    assert!(results[0].is_ok(), "{results:?}");
    assert!(matches!(results[1], Err(StoreError::InvalidDocument { .. })), "{results:?}");
    assert_eq!(it.get("deep").await.unwrap()["a"], nested(90));
    assert_eq!(it.matching(&json!({})).await, ["deep"]);
}

pub async fn an_equal_upsert_changes_nothing(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[&["n"]]).await;
    let mut watch = it.watch(WatchFrom::Now).await;
    let first = it.write_all(vec![upsert("a", &json!({ "n": 1 }))]).await;
    assert_eq!(first[0].change, Some(ChangeKind::Insert));
    let again = it.write_all(vec![upsert("a", &json!({ "n": 1 }))]).await;
    assert_eq!(again, [Written { id: "a".into(), change: None }]);
    let other = it.write_all(vec![upsert("a", &json!({ "n": 2 }))]).await;
    assert_eq!(other[0].change, Some(ChangeKind::Update));
    let changes = take(&mut watch, 2).await;
    assert_eq!(told(&changes), [(ChangeKind::Insert, "a"), (ChangeKind::Update, "a")]);
}

pub async fn an_upsert_replaces_the_whole_document_in_its_place(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[&["n"], &["m"]]).await;
    it.write_all(vec![
        insert("a", &json!({ "n": 1, "m": 1 })),
        insert("b", &json!({ "n": 2 })),
        upsert("a", &json!({ "n": 3 })),
    ])
    .await;
    assert_eq!(it.get("a").await, Some(json!({ "_id": "a", "n": 3 })));
    assert_eq!(it.matching(&json!({})).await, ["a", "b"]);
    assert_eq!(it.matching(&json!({ "n": 1 })).await, [""; 0]);
    assert_eq!(it.matching(&json!({ "n": 3 })).await, ["a"]);
    assert_eq!(it.matching(&json!({ "m": 1 })).await, [""; 0]);
}

pub async fn a_deleted_document_is_gone_and_may_come_again(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[&["n"]]).await;
    it.write_all(vec![insert("a", &json!({ "n": 1 })), insert("b", &json!({ "n": 1 }))]).await;
    let written = it.write_all(vec![delete("a"), delete("a"), delete("z")]).await;
    let changes: Vec<_> = written.iter().map(|written| written.change).collect();
    assert_eq!(changes, [Some(ChangeKind::Delete), None, None]);
    assert_eq!(it.get("a").await, None);
    assert_eq!(it.matching(&json!({ "n": 1 })).await, ["b"]);
    it.write_all(vec![insert("a", &json!({ "n": 1 }))]).await;
    assert_eq!(it.matching(&json!({ "n": 1 })).await, ["b", "a"]);
}

pub async fn the_writes_of_one_call_see_those_before_them(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[&["n"]]).await;
    let written = it
        .write_all(vec![
            insert("a", &json!({ "n": 1 })),
            delete("a"),
            insert("a", &json!({ "n": 2 })),
            upsert("a", &json!({ "n": 2 })),
            upsert("a", &json!({ "n": 3 })),
        ])
        .await;
    let kinds: Vec<_> = written.iter().map(|written| written.change).collect();
    use ChangeKind::{Delete, Insert, Update};
    assert_eq!(kinds, [Some(Insert), Some(Delete), Some(Insert), None, Some(Update)]);
    assert_eq!(it.get("a").await, Some(json!({ "_id": "a", "n": 3 })));
    for (n, expected) in [(1, 0), (2, 0), (3, 1)] {
        assert_eq!(it.count(&json!({ "n": n })).await, expected, "n = {n}");
    }
}

pub async fn documents_come_in_the_order_of_their_insertion_and_backwards(
    harness: &dyn HistoryHarness,
) {
    let it = Collection::new(harness, &[]).await;
    for id in ["m", "a", "z"] {
        it.write_all(vec![insert(id, &json!({}))]).await;
    }
    assert_eq!(it.matching(&json!({})).await, ["m", "a", "z"]);
    let newest = |skip, limit| FindQuery {
        sort: vec![SortKey::inserted(Order::Descending)],
        skip,
        limit,
        ..FindQuery::default()
    };
    assert_eq!(it.ids(newest(0, 0)).await, ["z", "a", "m"]);
    assert_eq!(it.ids(newest(1, 1)).await, ["a"]);
    assert_eq!(it.ids(newest(3, 5)).await, [""; 0]);
    assert_eq!(it.sorted("-_id").await, ["z", "m", "a"]);
}

pub async fn a_sort_by_nested_fields_pages_without_overlap(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    let writes = (0..40)
        .map(|n| insert(&format!("{n:02}"), &json!({ "group": { "name": n % 3 }, "n": n % 5 })));
    it.write_all(writes.collect()).await;
    for indexes in [&[][..], &[&["group.name", "n"][..]], &[&["group.name"][..]]] {
        it.ensure(indexes).await;
        for (sort, down) in [("group.name,n", false), ("-group.name,-n", true)] {
            let mut expected: Vec<usize> = (0..40).collect();
            expected.sort_by_key(|n| (n % 3, n % 5, *n));
            if down {
                expected.reverse();
            }
            let expected: Vec<_> = expected.iter().map(|n| format!("{n:02}")).collect();
            let mut pages = Vec::new();
            for skip in (0..40).step_by(7) {
                let sort = SortKey::parse_list(sort).unwrap();
                let filter = Filter::All;
                pages.extend(it.ids(FindQuery { filter, sort, skip, limit: 7 }).await);
            }
            assert_eq!(pages, expected, "sort {sort:?} with indexes {indexes:?}");
        }
    }
}

pub async fn values_of_all_types_sort_in_mongodbs_order(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    let values = [
        json!(true),
        json!({ "x": 1 }),
        json!("text"),
        json!(-1.5),
        json!(null),
        json!(9_007_199_254_740_993_u64),
        json!(false),
        json!("Text"),
        json!(12),
    ];
    let writes = values.iter().enumerate();
    it.write_all(writes.map(|(n, value)| insert(&n.to_string(), &json!({ "v": value }))).collect())
        .await;
    let ascending = ["4", "3", "8", "5", "7", "2", "1", "6", "0"];
    for indexes in [&[][..], &[&["v"][..]]] {
        it.ensure(indexes).await;
        assert_eq!(it.sorted("v").await, ascending, "with indexes {indexes:?}");
        let mut descending = it.sorted("-v").await;
        descending.reverse();
        assert_eq!(descending, ascending, "with indexes {indexes:?}");
    }
}

pub async fn filters_select_the_same_with_and_without_indexes(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    it.write_all(vec![
        insert("1", &json!({ "status": "Shipped", "price": 10, "tags": ["a", "b"] })),
        insert("2", &json!({ "status": "Cancelled", "price": 20.5 })),
        insert(
            "3",
            &json!({ "status": "Shipped", "price": 30, "lines": [{ "qty": 1 }, { "qty": 9 }] }),
        ),
        insert("4", &json!({ "price": "30", "tags": [] })),
        insert("5", &json!({ "status": null, "price": 10, "tags": ["b"] })),
        insert("6", &json!({ "status": "Shipped", "price": [5, 40], "lines": [{ "qty": 2 }] })),
    ])
    .await;
    let table: &[(Value, &[&str])] = &[
        (json!({ "status": "Shipped" }), &["1", "3", "6"]),
        (json!({ "status": null }), &["4", "5"]),
        (json!({ "status": { "$ne": "Shipped" } }), &["2", "4", "5"]),
        (json!({ "status": { "$exists": true } }), &["1", "2", "3", "5", "6"]),
        (json!({ "price": { "$gte": 10, "$lt": 30 } }), &["1", "2", "5", "6"]),
        (json!({ "price": { "$gt": 20.5 } }), &["3", "6"]),
        (json!({ "price": { "$lte": 10 } }), &["1", "5", "6"]),
        (json!({ "price": [5, 40] }), &["6"]),
        (json!({ "price": { "$in": [10, "30"] } }), &["1", "4", "5"]),
        (json!({ "price": { "$nin": [10, "30"] } }), &["2", "3", "6"]),
        (json!({ "tags": "b" }), &["1", "5"]),
        (json!({ "lines.qty": 9 }), &["3"]),
        (json!({ "lines.0.qty": { "$lt": 5 } }), &["3", "6"]),
        (json!({ "status": "Shipped", "price": { "$gt": 15 } }), &["3", "6"]),
        (json!({ "$or": [{ "price": 10 }, { "status": "Cancelled" }] }), &["1", "2", "5"]),
        (json!({ "$and": [{ "status": "Shipped" }, { "tags": "a" }] }), &["1"]),
        (json!({ "$nor": [{ "status": "Shipped" }, { "price": 10 }] }), &["2", "4"]),
        (json!({ "price": { "$not": { "$gt": 15 } } }), &["1", "4", "5"]),
        (json!({ "_id": { "$in": ["6", "2", "none"] } }), &["2", "6"]),
        (json!({ "_id": "3", "status": "Cancelled" }), &[]),
    ];
    for indexes in [
        &[][..],
        &[&["status"][..], &["price"], &["tags"], &["lines.qty"]],
        &[&["status", "price"][..], &["lines.0.qty"]],
    ] {
        it.ensure(indexes).await;
        for (filter, expected) in table {
            assert_eq!(it.matching(filter).await, *expected, "{filter} with {indexes:?}");
            let count = it.count(filter).await;
            assert_eq!(count, expected.len() as u64, "{filter} with {indexes:?}");
        }
    }
}

pub async fn a_write_of_a_lower_version_changes_nothing(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[&["n"]]).await;
    let mut watch = it.watch(WatchFrom::Now).await;
    let written = it
        .write_all(vec![
            upsert_as(5, "a", &json!({ "n": 5 })),
            upsert_as(4, "a", &json!({ "n": 4 })),
            delete_as(4, "a"),
            upsert_as(5, "a", &json!({ "n": 5 })),
            upsert_as(-1, "b", &json!({ "n": -1 })),
            upsert_as(i64::MAX, "b", &json!({ "n": 0 })),
            upsert_as(i64::MAX - 1, "b", &json!({ "n": 1 })),
        ])
        .await;
    use ChangeKind::{Insert, Update};
    let kinds: Vec<_> = written.iter().map(|written| written.change).collect();
    assert_eq!(kinds, [Some(Insert), None, None, None, Some(Insert), Some(Update), None]);
    let changes = take(&mut watch, 3).await;
    assert_eq!(told(&changes), [(Insert, "a"), (Insert, "b"), (Update, "b")]);
    drop(watch);
    let it = it.reopened(harness).await;
    let written = it
        .write_all(vec![
            upsert_as(4, "a", &json!({ "n": 4 })),
            upsert_as(6, "a", &json!({ "n": 5 })),
            upsert_as(5, "a", &json!({ "n": 7 })),
            upsert_as(7, "a", &json!({ "n": 7 })),
        ])
        .await;
    let kinds: Vec<_> = written.iter().map(|written| written.change).collect();
    assert_eq!(kinds, [None, None, None, Some(Update)]);
    assert_eq!(it.matching(&json!({ "n": 7 })).await, ["a"]);
    let mut watch = it.watch(WatchFrom::After(changes[2].token.clone())).await;
    let next = take(&mut watch, 1).await.remove(0);
    assert_eq!(next.document.map(Value::Object), Some(json!({ "_id": "a", "n": 7 })));
}

pub async fn a_deleted_document_stays_away_from_a_lower_version(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    let mut watch = it.watch(WatchFrom::Now).await;
    it.write_all(vec![
        upsert_as(1, "a", &json!({ "n": 1 })),
        delete_as(3, "a"),
        upsert_as(2, "a", &json!({ "n": 2 })),
        delete_as(3, "never there"),
        upsert_as(2, "never there", &json!({})),
    ])
    .await;
    let changes = take(&mut watch, 2).await;
    assert_eq!(told(&changes), [(ChangeKind::Insert, "a"), (ChangeKind::Delete, "a")]);
    drop(watch);
    let it = it.reopened(harness).await;
    let written = it
        .write_all(vec![
            upsert_as(2, "a", &json!({ "n": 2 })),
            delete_as(2, "a"),
            upsert_as(2, "never there", &json!({})),
        ])
        .await;
    assert!(written.iter().all(|written| written.change.is_none()), "{written:?}");
    assert_eq!(it.matching(&json!({})).await, [""; 0]);
    let again = vec![upsert_as(3, "a", &json!({})), upsert_as(4, "never there", &json!({}))];
    it.write_all(again).await;
    assert_eq!(it.matching(&json!({})).await, ["a", "never there"]);
    it.write_all(vec![upsert_as(2, "a", &json!({ "n": 2 }))]).await;
    assert_eq!(it.get("a").await, Some(json!({ "_id": "a" })));
}

pub async fn a_write_without_a_version_always_counts(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    it.write_all(vec![
        upsert_as(9, "a", &json!({ "n": 9 })),
        upsert("a", &json!({ "n": 1 })),
        upsert_as(2, "a", &json!({ "n": 2 })),
    ])
    .await;
    assert_eq!(it.get("a").await, Some(json!({ "_id": "a", "n": 2 })));
    it.write_all(vec![delete_as(8, "a"), upsert("a", &json!({ "n": 3 }))]).await;
    assert_eq!(it.get("a").await, Some(json!({ "_id": "a", "n": 3 })));
}

pub async fn counts_follow_the_writes(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    assert_eq!(it.count(&json!({})).await, 0);
    it.write_all((0..10).map(|n| insert(&n.to_string(), &json!({ "n": n }))).collect()).await;
    it.write_all(vec![delete("3"), delete("3"), upsert("4", &json!({})), upsert("11", &json!({}))])
        .await;
    assert_eq!(it.count(&json!({})).await, 10);
    assert_eq!(it.count(&json!({ "n": { "$gte": 5 } })).await, 5);
}

pub async fn an_unknown_collection_is_named(harness: &dyn HistoryHarness) {
    let history = harness.open().await;
    let name = fresh_name("absent");
    let unknown = |error: StoreError| {
        assert_eq!(error.to_string(), format!("collection {name:?} does not exist"));
    };
    unknown(history.get(&name, "x").await.unwrap_err());
    unknown(history.find(&name, &FindQuery::default()).await.unwrap_err());
    unknown(history.count(&name, &Filter::All).await.unwrap_err());
    unknown(history.write(&name, vec![insert("x", &json!({}))]).await.unwrap_err());
    unknown(history.watch(&name, WatchFrom::Now).await.unwrap_err());
}

pub async fn a_name_outside_the_rules_is_refused(harness: &dyn HistoryHarness) {
    let history = harness.open().await;
    for name in ["", "a b", "a$", "system.x", &"a".repeat(121)] {
        let spec = CollectionSpec { name: name.into(), indexes: Vec::new() };
        let refused = history.ensure_collection(&spec).await.unwrap_err();
        assert!(matches!(refused, StoreError::InvalidName { .. }), "{name:?}: {refused}");
    }
}

pub async fn indexes_come_and_go_without_a_change_of_answers(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[&["a"]]).await;
    it.write_all(
        (0..30).map(|n| insert(&n.to_string(), &json!({ "a": n % 2, "b": n % 3 }))).collect(),
    )
    .await;
    let filter = json!({ "a": 1, "b": 2 });
    let expected = it.matching(&filter).await;
    assert_eq!(expected, ["5", "11", "17", "23", "29"]);
    for indexes in [&[&["b"][..]][..], &[&["b", "a"]], &[], &[&["a"], &["b"]]] {
        it.ensure(indexes).await;
        assert_eq!(it.matching(&filter).await, expected, "with {indexes:?}");
        it.write_all(vec![delete("5"), insert("5", &json!({ "a": 0 }))]).await;
        assert_eq!(it.matching(&filter).await, expected[1..], "with {indexes:?}");
        it.write_all(vec![delete("5"), delete("11"), delete("17"), delete("23"), delete("29")])
            .await;
        let again = |id: &String| insert(id, &json!({ "a": 1, "b": 2 }));
        it.write_all(expected.iter().map(again).collect()).await;
        assert_eq!(it.matching(&filter).await, expected, "with {indexes:?}");
    }
}

pub async fn documents_and_specifications_survive_a_reopening(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[&["n"], &["a.b", "c"]]).await;
    it.write_all((0..20).map(|n| insert(&n.to_string(), &json!({ "n": n }))).collect()).await;
    it.write_all(vec![delete("0"), upsert("1", &json!({ "n": 100 }))]).await;
    let name = it.name.clone();
    let specs = |specs: Vec<CollectionSpec>| specs.into_iter().find(|spec| spec.name == name);
    let before = specs(it.history.collections().await.unwrap());
    let it = it.reopened(harness).await;
    assert_eq!(specs(it.history.collections().await.unwrap()), before);
    assert_eq!(before.map(|spec| spec.indexes.len()), Some(2));
    assert_eq!(it.count(&json!({})).await, 19);
    assert_eq!(it.get("1").await, Some(json!({ "_id": "1", "n": 100 })));
    assert_eq!(it.matching(&json!({ "n": { "$gt": 17 } })).await, ["1", "18", "19"]);
    it.write_all(vec![insert("new", &json!({}))]).await;
    assert_eq!(it.matching(&json!({})).await.last().unwrap(), "new");
}

pub async fn a_watch_brings_every_kind_of_change_in_order(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    let mut watch = it.watch(WatchFrom::Now).await;
    it.write_all(vec![
        insert("a", &json!({ "n": 1 })),
        upsert("a", &json!({ "n": 2 })),
        delete("absent"),
        delete("a"),
        insert("b", &json!({})),
    ])
    .await;
    let changes = take(&mut watch, 4).await;
    use ChangeKind::{Delete, Insert, Update};
    assert_eq!(told(&changes), [(Insert, "a"), (Update, "a"), (Delete, "a"), (Insert, "b")]);
    let documents: Vec<_> =
        changes.iter().map(|change| change.document.clone().map(Value::Object)).collect();
    assert_eq!(
        documents,
        [
            Some(json!({ "_id": "a", "n": 1 })),
            Some(json!({ "_id": "a", "n": 2 })),
            None,
            Some(json!({ "_id": "b" })),
        ]
    );
    assert!(changes.is_sorted_by_key(|change| change.committed_micros));
    let tokens: HashSet<_> = changes.iter().map(|change| &change.token).collect();
    assert_eq!(tokens.len(), 4);
}

pub async fn a_watch_waits_for_the_next_change(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    let mut watch = it.watch(WatchFrom::Now).await;
    let waiting = tokio::spawn(async move { take(&mut watch, 1).await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    it.write_all(vec![insert("a", &json!({}))]).await;
    assert_eq!(told(&waiting.await.unwrap()), [(ChangeKind::Insert, "a")]);
}

pub async fn a_watch_from_now_leaves_out_what_was(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    it.write_all(vec![insert("before", &json!({}))]).await;
    let mut now = it.watch(WatchFrom::Now).await;
    let mut earliest = it.watch(WatchFrom::Earliest).await;
    it.write_all(vec![insert("after", &json!({}))]).await;
    assert_eq!(told(&take(&mut now, 1).await), [(ChangeKind::Insert, "after")]);
    let all = take(&mut earliest, 2).await;
    assert_eq!(told(&all), [(ChangeKind::Insert, "before"), (ChangeKind::Insert, "after")]);
}

pub async fn a_watch_sees_its_own_collection_only(harness: &dyn HistoryHarness) {
    let history = harness.open().await;
    let pair =
        ["one", "two"].map(|of| Collection { history: Arc::clone(&history), name: fresh_name(of) });
    for collection in &pair {
        collection.ensure(&[]).await;
    }
    let mut watch = pair[0].watch(WatchFrom::Now).await;
    pair[1].write_all(vec![insert("other", &json!({}))]).await;
    pair[0].write_all(vec![insert("own", &json!({}))]).await;
    assert_eq!(told(&take(&mut watch, 1).await), [(ChangeKind::Insert, "own")]);
}

pub async fn a_watch_takes_no_more_than_asked(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    let mut watch = it.watch(WatchFrom::Now).await;
    it.write_all((0..10).map(|n| insert(&n.to_string(), &json!({}))).collect()).await;
    let mut seen = Vec::new();
    while seen.len() < 10 {
        let next = timeout(PATIENCE, watch.next(3)).await.expect("a change arrives").unwrap();
        assert!((1..=3).contains(&next.len()));
        seen.extend(next.into_iter().map(|change| change.id));
    }
    let expected: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(seen, expected);
}

pub async fn a_watch_resumes_from_every_token_across_a_reopening(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    let mut watch = it.watch(WatchFrom::Now).await;
    it.write_all((0..6).map(|n| insert(&n.to_string(), &json!({ "n": n }))).collect()).await;
    let before = take(&mut watch, 6).await;
    drop(watch);
    let it = it.reopened(harness).await;
    it.write_all(vec![delete("0"), upsert("1", &json!({}))]).await;
    let mut all = before.clone();
    let mut watch = it.watch(WatchFrom::After(before[5].token.clone())).await;
    all.extend(take(&mut watch, 2).await);
    assert_eq!(told(&all[6..]), [(ChangeKind::Delete, "0"), (ChangeKind::Update, "1")]);
    for (index, change) in all.iter().enumerate().take(7) {
        let mut watch = it.watch(WatchFrom::After(change.token.clone())).await;
        assert_eq!(take(&mut watch, 7 - index).await, all[index + 1..], "after change {index}");
    }
}

pub async fn a_wait_that_was_cancelled_loses_no_change(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    let mut watch = it.watch(WatchFrom::Now).await;
    let mut seen = Vec::new();
    for n in 0..50 {
        it.write_all(vec![insert(&n.to_string(), &json!({}))]).await;
        tokio::select! {
            biased;
            next = watch.next(10) => seen.extend(next.unwrap().into_iter().map(|change| change.id)),
            () = tokio::task::yield_now() => {}
        }
    }
    let rest = take(&mut watch, 50 - seen.len()).await;
    seen.extend(rest.into_iter().map(|change| change.id));
    let expected: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(seen, expected);
}

pub async fn a_token_from_elsewhere_is_refused(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[]).await;
    let other = Collection { history: Arc::clone(&it.history), name: fresh_name("other") };
    other.ensure(&[]).await;
    let mut watch = other.watch(WatchFrom::Now).await;
    other.write_all(vec![insert("a", &json!({}))]).await;
    let foreign = take(&mut watch, 1).await[0].token.clone();
    for token in [foreign, ResumeToken("nonsense".into()), ResumeToken(String::new())] {
        let refused = it.history.watch(&it.name, WatchFrom::After(token.clone())).await;
        assert!(matches!(refused, Err(StoreError::InvalidToken { .. })), "{token:?}");
    }
}

pub async fn writers_at_once_lose_nothing_and_are_watched_once(harness: &dyn HistoryHarness) {
    let it = Arc::new(Collection::new(harness, &[&["writer"]]).await);
    let mut watch = it.watch(WatchFrom::Now).await;
    let writers = (0..8).map(|writer| {
        let it = Arc::clone(&it);
        tokio::spawn(async move {
            for n in 0..25 {
                let id = format!("{writer}-{n}");
                it.write_all(vec![insert(&id, &json!({ "writer": writer, "n": n }))]).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(it.count(&json!({})).await, 200);
    let changes = take(&mut watch, 200).await;
    for writer in 0..8 {
        let expected: Vec<_> = (0..25).map(|n| format!("{writer}-{n}")).collect();
        assert_eq!(it.matching(&json!({ "writer": writer })).await, expected);
        let prefix = format!("{writer}-");
        let seen = changes.iter().map(|change| &change.id).filter(|id| id.starts_with(&prefix));
        assert!(seen.eq(&expected), "changes of writer {writer} come once and in order");
    }
}

pub async fn writers_at_once_give_an_id_to_one_of_them(harness: &dyn HistoryHarness) {
    let it = Arc::new(Collection::new(harness, &[]).await);
    let writers = (0..16).map(|writer| {
        let it = Arc::clone(&it);
        tokio::spawn(
            async move { it.write(vec![insert("same", &json!({ "writer": writer }))]).await },
        )
    });
    let mut winners = Vec::new();
    for (writer, task) in writers.collect::<Vec<_>>().into_iter().enumerate() {
        match &task.await.unwrap()[..] {
            [Ok(_)] => winners.push(writer),
            [Err(StoreError::DuplicateId { .. })] => {}
            other => panic!("unexpected results {other:?}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(it.get("same").await, Some(json!({ "_id": "same", "writer": winners[0] })));
}

pub async fn stats_tell_the_documents_and_their_size(harness: &dyn HistoryHarness) {
    let it = Collection::new(harness, &[&["n"]]).await;
    it.write_all(vec![insert("a", &json!({ "n": 1 })), insert("b", &json!({})), delete("b")]).await;
    let stats = it.history.stats().await.unwrap();
    let stats = stats.iter().find(|stats| stats.name == it.name).unwrap();
    assert_eq!((stats.documents, stats.indexes), (1, 1));
    assert!(stats.size_bytes > 0);
}
