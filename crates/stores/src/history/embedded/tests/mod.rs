//! What the embedded history does beyond its role: reopening, crashes, plans, bounds.
//!
//! Behaviour that every history has is in the conformance suite; here is what needs
//! the folder, the clock or the planner in hand.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use courant_model::{ManualClock, Timestamp, limits::DELETED_VERSIONS_KEPT_MS};
use serde_json::{Value, json};

use super::*;
use crate::{Order, SortKey, conformance::HistoryHarness};

mod model;

struct Harness(tempfile::TempDir);

#[async_trait]
impl HistoryHarness for Harness {
    async fn open(&self) -> Arc<dyn History> {
        Arc::new(open(self.0.path()))
    }
}

crate::history_conformance!(Harness(tempfile::tempdir().unwrap()));

fn open(folder: &Path) -> EmbeddedHistory {
    EmbeddedHistory::open(folder, HistoryOptions::default()).unwrap()
}

fn spec(name: &str, indexes: &[&[&str]]) -> CollectionSpec {
    let indexes = indexes
        .iter()
        .map(|fields| fields.iter().map(|field| field.parse().unwrap()).collect())
        .collect();
    CollectionSpec { name: name.into(), indexes }
}

fn document(value: Value) -> Document {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no document"),
    }
}

fn insert(id: &str, value: Value) -> HistoryWrite {
    HistoryWrite::Insert { id: Some(id.into()), document: document(value) }
}

async fn write(history: &EmbeddedHistory, writes: Vec<HistoryWrite>) {
    for result in history.write("c", writes).await.unwrap() {
        result.unwrap();
    }
}

async fn ids(history: &EmbeddedHistory, query: &FindQuery) -> Vec<String> {
    let found = history.find("c", query).await.unwrap();
    found.iter().map(|document| document["_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn documents_counts_and_order_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let history = open(folder.path());
        history.ensure_collection(&spec("c", &[&["n"]])).await.unwrap();
        write(&history, (0..50).map(|n| insert(&format!("{n}"), json!({ "n": n % 7 }))).collect())
            .await;
    }
    let history = open(folder.path());
    assert_eq!(history.count("c", &Filter::All).await.unwrap(), 50);
    let newest = FindQuery {
        sort: vec![SortKey::inserted(Order::Descending)],
        limit: 3,
        ..FindQuery::default()
    };
    assert_eq!(ids(&history, &newest).await, ["49", "48", "47"]);
    write(&history, vec![insert("after", json!({}))]).await;
    assert_eq!(ids(&history, &newest).await, ["after", "49", "48"]);
    let filter = Filter::parse(&json!({ "n": 3 })).unwrap();
    assert_eq!(history.count("c", &filter).await.unwrap(), 7);
    assert_eq!(history.get("c", "7").await.unwrap(), Some(document(json!({ "_id": "7", "n": 0 }))));
}

#[tokio::test]
async fn dropping_the_history_ends_its_watches_and_frees_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.ensure_collection(&spec("c", &[])).await.unwrap();
    let mut watch = history.watch("c", WatchFrom::Now).await.unwrap();
    let refused = EmbeddedHistory::open(folder.path(), HistoryOptions::default()).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    drop(history);
    assert!(matches!(watch.next(1).await, Err(StoreError::Closed)));
    open(folder.path());
}

#[tokio::test]
async fn a_copy_of_the_folder_taken_while_writing_opens_with_all_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.ensure_collection(&spec("c", &[&["n"]])).await.unwrap();
    for n in 0..20 {
        write(&history, vec![insert(&n.to_string(), json!({ "n": n }))]).await;
    }
    copy_folder(folder.path(), copy.path());
    write(&history, vec![insert("later", json!({}))]).await;
    let copied = open(copy.path());
    assert_eq!(copied.count("c", &Filter::All).await.unwrap(), 20);
    let query =
        FindQuery { filter: filter(&json!({ "n": { "$gte": 18 } })), ..FindQuery::default() };
    assert_eq!(ids(&copied, &query).await, ["18", "19"]);
    let mut watch = copied.watch("c", WatchFrom::Earliest).await.unwrap();
    assert_eq!(watch.next(100).await.unwrap().len(), 20);
}

#[tokio::test]
async fn a_torn_end_of_the_journal_loses_the_torn_batch_only() {
    let folder = tempfile::tempdir().unwrap();
    {
        let history = open(folder.path());
        history.ensure_collection(&spec("c", &[])).await.unwrap();
        write(&history, (0..5).map(|n| insert(&n.to_string(), json!({}))).collect()).await;
        write(&history, (5..9).map(|n| insert(&n.to_string(), json!({}))).collect()).await;
    }
    let journal = journal_of(folder.path());
    let end = end_of_contents(&journal);
    std::fs::OpenOptions::new().write(true).open(&journal).unwrap().set_len(end - 20).unwrap();
    let history = open(folder.path());
    assert_eq!(history.count("c", &Filter::All).await.unwrap(), 5);
    let found = history.find("c", &FindQuery::default()).await.unwrap();
    assert_eq!(found.len(), 5);
    let mut watch = history.watch("c", WatchFrom::Earliest).await.unwrap();
    assert_eq!(watch.next(100).await.unwrap().len(), 5);
}

/// Whatever byte of whatever file is flipped: the folder opens, or is refused with the
/// way out, and no question panics.
#[tokio::test]
async fn a_flipped_byte_is_survived_or_told_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    {
        let history = open(folder.path());
        history.ensure_collection(&spec("c", &[&["n"]])).await.unwrap();
        write(&history, (0..200).map(|n| insert(&n.to_string(), json!({ "n": n }))).collect())
            .await;
        let store = history.seat.store().unwrap();
        store.documents.rotate_memtable_and_wait().unwrap();
        store.meta.rotate_memtable_and_wait().unwrap();
    }
    let mut refused = 0;
    for (turn, (file, length)) in files(folder.path()).into_iter().enumerate() {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        let path = copy.path().join(&file);
        let mut bytes = std::fs::read(&path).unwrap();
        let Some(byte) = bytes.get_mut(length * (turn % 4) / 4) else { continue };
        *byte ^= 0x55;
        std::fs::write(&path, bytes).unwrap();
        match EmbeddedHistory::open(copy.path(), HistoryOptions::default()) {
            Ok(history) => {
                // Answers may be failures; what counts is that they are told.
                let _ = history.find("c", &FindQuery::default()).await;
                let _ = history.count("c", &filter(&json!({ "n": 7 }))).await;
                let _ = history.write("c", vec![insert("new", json!({}))]).await;
            }
            Err(error) => {
                refused += 1;
                let text = error.to_string();
                assert!(text.contains("history"), "{file:?}: {text}");
            }
        }
    }
    assert!(refused > 0, "some byte matters");
}

#[tokio::test]
async fn after_a_failed_write_the_next_one_opens_the_folder_again() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.ensure_collection(&spec("c", &[])).await.unwrap();
    write(&history, vec![insert("before", json!({}))]).await;
    let mut watch = history.watch("c", WatchFrom::Earliest).await.unwrap();
    let token = watch.next(1).await.unwrap().remove(0).token;
    let before = history.seat.store().unwrap();
    before.fail();
    let refused = history.write("c", vec![insert("held", json!({}))]).await.unwrap_err();
    assert!(refused.retryable(), "while a question holds the folder: {refused}");
    assert!(history.get("c", "before").await.unwrap_err().retryable());
    drop(before);
    write(&history, vec![insert("after", json!({}))]).await;
    assert_eq!(ids(&history, &FindQuery::default()).await, ["before", "after"]);
    assert!(matches!(watch.next(1).await, Err(StoreError::Closed)));
    let mut watch = history.watch("c", WatchFrom::After(token)).await.unwrap();
    assert_eq!(watch.next(9).await.unwrap()[0].id, "after");
}

#[tokio::test]
async fn a_folder_of_another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path())
        .seat
        .store()
        .unwrap()
        .meta
        .insert(keys::MetaKey::Format.encode(), [9])
        .unwrap();
    let refused = EmbeddedHistory::open(folder.path(), HistoryOptions::default()).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("its format is [9]"), "{refused}");
}

#[tokio::test]
async fn a_folder_without_versions_is_opened_and_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.ensure_collection(&spec("c", &[])).await.unwrap();
    write(&history, vec![insert("a", json!({}))]).await;
    let format = keys::MetaKey::Format.encode();
    history.seat.store().unwrap().meta.insert(&format, [keys::FORMAT_WITHOUT_VERSIONS]).unwrap();
    drop(history);
    let history = open(folder.path());
    let upsert = |version, n| HistoryWrite::Upsert {
        id: "a".into(),
        document: document(json!({ "n": n })),
        version: Some(version),
    };
    write(&history, vec![upsert(2, 2), upsert(1, 1)]).await;
    assert_eq!(history.get("c", "a").await.unwrap().unwrap()["n"], 2);
    assert_eq!(&*history.seat.store().unwrap().meta.get(format).unwrap().unwrap(), [keys::FORMAT]);
}

#[tokio::test]
async fn a_change_tells_what_was_before_where_it_is_asked_to_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let put = |n: i64| HistoryWrite::Upsert {
        id: "a".into(),
        document: document(json!({ "n": n })),
        version: None,
    };
    for pre_images in [false, true] {
        let options = HistoryOptions { pre_images, ..HistoryOptions::default() };
        let history = EmbeddedHistory::open(folder.path(), options).unwrap();
        history.ensure_collection(&spec("c", &[])).await.unwrap();
        let delete = HistoryWrite::Delete { id: "a".into(), version: None };
        write(&history, vec![put(1), put(2), delete]).await;
    }
    let history = open(folder.path());
    let mut watch = history.watch("c", WatchFrom::Earliest).await.unwrap();
    let mut before = Vec::new();
    while before.len() < 6 {
        before.extend(watch.next(10).await.unwrap().into_iter().map(|change| change.before));
    }
    let stored = |n: i64| Some(document(json!({ "_id": "a", "n": n })));
    assert_eq!(before, [None, None, None, None, stored(1), stored(2)]);
}

#[tokio::test]
async fn a_tombstone_goes_after_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, options) = retaining(1_000, 2 * DELETED_VERSIONS_KEPT_MS);
    let history = EmbeddedHistory::open(folder.path(), options).unwrap();
    history.ensure_collection(&spec("c", &[])).await.unwrap();
    let delete = |id: &str| HistoryWrite::Delete { id: id.into(), version: Some(5) };
    let upsert = |id: &str| HistoryWrite::Upsert {
        id: id.into(),
        document: Document::new(),
        version: Some(4),
    };
    write(&history, vec![delete("a"), delete("b"), upsert("a")]).await;
    assert_eq!(ids(&history, &FindQuery::default()).await, [""; 0]);
    clock.advance(Duration::from_millis(DELETED_VERSIONS_KEPT_MS));
    write(&history, vec![upsert("a"), delete("b")]).await;
    assert_eq!(ids(&history, &FindQuery::default()).await, ["a"]);
    assert_eq!(history.seat.store().unwrap().tombstones.len(), (1, 1));
    write(&history, vec![upsert("b")]).await;
    assert_eq!(ids(&history, &FindQuery::default()).await, ["a"]);
}

fn retaining(changes: u64, age_ms: u64) -> (Arc<ManualClock>, HistoryOptions) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
    let retention = ChangeRetention {
        changes,
        age: courant_model::Span::from_millis(age_ms),
        ..ChangeRetention::default()
    };
    let options = HistoryOptions {
        clock: Arc::clone(&clock) as _,
        changes: retention,
        sync: false,
        ..HistoryOptions::default()
    };
    (clock, options)
}

#[tokio::test]
async fn the_change_log_keeps_its_bound_and_refuses_older_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let (_, options) = retaining(80, 3_600_000);
    let mut first = None;
    {
        let history = EmbeddedHistory::open(folder.path(), options.clone()).unwrap();
        history.ensure_collection(&spec("c", &[])).await.unwrap();
        history.ensure_collection(&spec("quiet", &[])).await.unwrap();
        let mut slow = history.watch("c", WatchFrom::Now).await.unwrap();
        let mut quiet = history.watch("quiet", WatchFrom::Now).await.unwrap();
        for n in 0..200 {
            write(&history, vec![insert(&n.to_string(), json!({}))]).await;
            if n == 0 {
                first = slow.next(1).await.unwrap().pop();
            }
        }
        assert!(matches!(slow.next(1).await, Err(StoreError::WatchLagged { .. })));
        history.write("quiet", vec![insert("q", json!({}))]).await.unwrap();
        assert_eq!(quiet.next(1).await.unwrap()[0].id, "q", "others' changes make no watch lag");
        let kept = history.seat.store().unwrap().changes.totals().changes;
        assert!((70..=80).contains(&kept), "{kept} changes kept");
    }
    let history = EmbeddedHistory::open(folder.path(), options).unwrap();
    let from = WatchFrom::After(first.unwrap().token);
    let refused = history.watch("c", from).await.unwrap_err();
    assert!(refused.to_string().contains("no longer kept"), "{refused}");
    let mut watch = history.watch("c", WatchFrom::Earliest).await.unwrap();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|id| id != "199") {
        seen.extend(watch.next(10).await.unwrap().into_iter().map(|change| change.id));
    }
    let expected: Vec<_> = (200 - seen.len()..200).map(|n| n.to_string()).collect();
    assert_eq!(seen, expected, "what is kept has no gap");
    assert_eq!(history.count("c", &Filter::All).await.unwrap(), 200, "documents stay");
}

#[tokio::test]
async fn the_change_log_forgets_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, options) = retaining(1_000_000, 8_000);
    let history = EmbeddedHistory::open(folder.path(), options).unwrap();
    history.ensure_collection(&spec("c", &[])).await.unwrap();
    for n in 0..100 {
        write(&history, vec![insert(&n.to_string(), json!({}))]).await;
        clock.advance(Duration::from_millis(200));
    }
    let mut watch = history.watch("c", WatchFrom::Earliest).await.unwrap();
    let kept = watch.next(1_000).await.unwrap();
    let oldest = kept[0].committed_micros;
    let age_ms = (clock.now_micros() - oldest) / 1_000;
    assert!((8_000..=10_000).contains(&age_ms), "oldest change kept is {age_ms} ms old");
    assert_eq!(kept.last().unwrap().id, "99");
}

#[tokio::test]
async fn a_token_ahead_of_a_restored_copy_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.ensure_collection(&spec("c", &[])).await.unwrap();
    copy_folder(folder.path(), copy.path());
    let mut watch = history.watch("c", WatchFrom::Now).await.unwrap();
    write(&history, vec![insert("a", json!({}))]).await;
    let token = watch.next(1).await.unwrap().remove(0).token;
    let restored = open(copy.path());
    let refused = restored.watch("c", WatchFrom::After(token)).await.unwrap_err();
    assert!(refused.to_string().contains("ahead of the collection"), "{refused}");
}

#[tokio::test]
async fn time_that_stands_or_turns_back_keeps_the_order_of_insertion() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, options) = retaining(1_000, 3_600_000);
    for (n, millis) in [(0, 5_000), (1, 5_000), (2, 1_000), (3, 9_000), (4, 2_000)] {
        clock.set(Timestamp::from_millis(millis));
        let history = EmbeddedHistory::open(folder.path(), options.clone()).unwrap();
        history.ensure_collection(&spec("c", &[])).await.unwrap();
        write(&history, vec![insert(&n.to_string(), json!({}))]).await;
        let expected: Vec<_> = (0..=n).map(|n| n.to_string()).collect();
        assert_eq!(ids(&history, &FindQuery::default()).await, expected);
    }
}

#[tokio::test]
async fn lists_in_a_range_sort_by_items_outside_of_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.ensure_collection(&spec("c", &[&["n"]])).await.unwrap();
    write(
        &history,
        vec![insert("4", json!({ "n": 4 })), insert("0 and 5", json!({ "n": [0, 5] }))],
    )
    .await;
    let filter = filter(&json!({ "n": { "$gte": 3 } }));
    for (sort, expected) in [("n", ["0 and 5", "4"]), ("-n", ["0 and 5", "4"])] {
        let sort = SortKey::parse_list(sort).unwrap();
        let query = FindQuery { filter: filter.clone(), sort, ..FindQuery::default() };
        assert_eq!(ids(&history, &query).await, expected);
    }
}

#[tokio::test]
async fn values_too_long_for_an_index_are_still_told_apart_and_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.ensure_collection(&spec("c", &[&["text"]])).await.unwrap();
    let long = |end: &str| json!({ "text": "x".repeat(3_000) + end });
    write(
        &history,
        vec![insert("b", long("b")), insert("a", long("a")), insert("s", json!({ "text": "x" }))],
    )
    .await;
    let sort = SortKey::parse_list("text").unwrap();
    let query = FindQuery { sort, ..FindQuery::default() };
    assert_eq!(ids(&history, &query).await, ["s", "a", "b"]);
    for (operator, expected) in [("$eq", vec!["b"]), ("$lt", vec!["a", "s"]), ("$gte", vec!["b"])] {
        let filter = filter(&json!({ "text": { operator: long("b")["text"] } }));
        let query = FindQuery { filter, ..FindQuery::default() };
        assert_eq!(ids(&history, &query).await, expected, "{operator}");
    }
}

#[tokio::test]
async fn a_document_with_too_many_index_entries_is_refused_alone() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.ensure_collection(&spec("c", &[&["a", "b"]])).await.unwrap();
    let list: Vec<u32> = (0..50).collect();
    let writes = vec![
        insert("many", json!({ "a": list, "b": list })),
        insert("few", json!({ "a": list, "b": 1 })),
    ];
    let results = history.write("c", writes).await.unwrap();
    assert!(matches!(results[0], Err(StoreError::InvalidDocument { .. })), "{results:?}");
    assert!(results[1].is_ok(), "{results:?}");
    assert_eq!(ids(&history, &FindQuery::default()).await, ["few"]);
}

#[tokio::test]
async fn a_dropped_index_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.ensure_collection(&spec("c", &[&["a"], &["b"]])).await.unwrap();
    write(&history, vec![insert("x", json!({ "a": 1 }))]).await;
    history.ensure_collection(&spec("c", &[&["b"]])).await.unwrap();
    engine_keyspace_orphan(&history);
    drop(history);
    let history = open(folder.path());
    let names = history.seat.store().unwrap().database.list_keyspace_names();
    let indexes = names.iter().filter(|name| name.starts_with(keys::INDEX_KEYSPACE)).count();
    assert_eq!(indexes, 1, "{names:?}");
}

/// What a crash while an index is filled leaves.
fn engine_keyspace_orphan(history: &EmbeddedHistory) {
    crate::engine::keyspace(&history.seat.store().unwrap().database, &keys::index_keyspace(999))
        .unwrap();
}

#[tokio::test]
async fn questions_take_the_access_that_fits() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.ensure_collection(&spec("c", &[&["a"], &["b", "c"], &["t"]])).await.unwrap();
    let collection = history.seat.store().unwrap().collection("c").unwrap();
    let planned = |filter_json: Value, sort: &str| {
        let sort = SortKey::parse_list(sort).unwrap();
        let query = FindQuery { filter: filter(&filter_json), sort, ..FindQuery::default() };
        let plan = plan::plan(&query, &collection.indexes());
        let access = match plan.access {
            plan::Access::Ids(ids) => format!("ids {}", ids.join(",")),
            plan::Access::Index { index, ranges } => {
                let fields: Vec<_> = index.fields.iter().map(ToString::to_string).collect();
                format!("index {} x{}", fields.join(","), ranges.len())
            }
            plan::Access::Insertion => "insertion".into(),
        };
        let order = match (plan.ordered, plan.reverse) {
            (true, false) => "in order",
            (true, true) => "backwards",
            (false, _) => "to be sorted",
        };
        format!("{access}, {order}")
    };
    assert_eq!(planned(json!({}), ""), "insertion, in order");
    assert_eq!(planned(json!({}), "-$natural"), "insertion, backwards");
    assert_eq!(planned(json!({ "_id": "x", "a": 1 }), "-t"), "ids x, to be sorted");
    assert_eq!(planned(json!({ "a": 1 }), ""), "index a x1, in order");
    assert_eq!(planned(json!({ "a": 1 }), "-$natural"), "index a x1, backwards");
    assert_eq!(planned(json!({ "a": { "$in": [1, 2] } }), ""), "index a x2, to be sorted");
    assert_eq!(planned(json!({ "a": { "$gt": 1 } }), ""), "index a x1, to be sorted");
    assert_eq!(planned(json!({ "a": { "$gt": 1 } }), "-a"), "index a x1, backwards");
    assert_eq!(planned(json!({ "b": 1, "a": { "$gt": 1 } }), "c"), "index b,c x1, in order");
    assert_eq!(planned(json!({ "b": 1, "c": { "$lt": 5 } }), "-c"), "index b,c x1, backwards");
    assert_eq!(planned(json!({}), "-t"), "index t x1, backwards");
    assert_eq!(planned(json!({}), "b,-c"), "insertion, to be sorted");
    assert_eq!(planned(json!({ "z": 1 }), ""), "insertion, in order");
    write(&history, vec![insert("loose", json!({ "t": [1, 2], "b": 1, "c": 1 }))]).await;
    assert_eq!(planned(json!({}), "-t"), "insertion, to be sorted");
}

fn filter(value: &Value) -> Filter {
    Filter::parse(value).unwrap()
}

/// Files below a folder with their lengths, by relative path.
fn files(folder: &Path) -> Vec<(PathBuf, usize)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let length = path.metadata().unwrap().len() as usize;
                found.push((path.strip_prefix(folder).unwrap().to_owned(), length));
            }
        }
    }
    found.sort();
    found
}

fn copy_folder(from: &Path, to: &Path) {
    for (file, _) in files(from) {
        let target = to.join(&file);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(from.join(file), target).unwrap();
    }
}

fn journal_of(folder: &Path) -> PathBuf {
    let mut journals = files(folder);
    journals.retain(|(file, _)| file.extension().is_some_and(|extension| extension == "jnl"));
    folder.join(&journals.last().expect("there is a journal").0)
}

/// Where what was written ends; the engine reserves space after it.
fn end_of_contents(file: &Path) -> u64 {
    let bytes = std::fs::read(file).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}
