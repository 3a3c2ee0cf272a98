//! The behaviours of a cache; see the trait for the words.
//!
//! Time passes through the harness: an implementation with a clock in hand has it
//! moved, a server is waited for. No test measures time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use courant_model::limits::{MESSAGE_BYTES_MAX, STORE_KEY_BYTES_MAX};

use super::{CacheHarness, fresh_name};
use crate::{Cache, CacheWrite, StoreError};

/// Far more than a test needs, where a key must not expire.
const LONG: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_secs(1);

/// A cache with one table.
struct Table {
    cache: Arc<dyn Cache>,
    name: String,
}

impl Table {
    async fn new(harness: &dyn CacheHarness) -> Self {
        Self { cache: harness.open().await, name: fresh_name("table") }
    }

    /// Flushes, drops the cache and opens it again.
    async fn reopened(self, harness: &dyn CacheHarness) -> Self {
        let Self { cache, name } = self;
        cache.flush().await.unwrap();
        drop(cache);
        Self { cache: harness.open().await, name }
    }

    async fn apply(&self, writes: Vec<CacheWrite>) -> Vec<Result<(), StoreError>> {
        self.cache.apply(&self.name, writes).await.unwrap()
    }

    async fn apply_all(&self, writes: Vec<CacheWrite>) {
        self.apply(writes).await.into_iter().for_each(Result::unwrap);
    }

    async fn get(&self, key: &str) -> Option<Bytes> {
        self.cache.get(&self.name, key).await.unwrap()
    }

    async fn field(&self, key: &str, field: &str) -> Option<Bytes> {
        self.cache.get_field(&self.name, key, field).await.unwrap()
    }

    /// Fields as `name=value`, in order.
    async fn fields(&self, key: &str) -> Vec<String> {
        let fields = self.cache.fields(&self.name, key).await.unwrap();
        fields
            .iter()
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
            .collect()
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Vec<String> {
        self.cache.keys(&self.name, after, limit).await.unwrap()
    }
}

fn set(key: &str, value: &'static str) -> CacheWrite {
    CacheWrite::Set { key: key.into(), value: value.into(), ttl: None, version: None }
}

fn set_for(key: &str, value: &'static str, ttl: Duration) -> CacheWrite {
    CacheWrite::Set { key: key.into(), value: value.into(), ttl: Some(ttl), version: None }
}

fn set_field(key: &str, field: &str, value: &'static str, ttl: Option<Duration>) -> CacheWrite {
    let (key, field, value) = (key.into(), field.into(), value.into());
    CacheWrite::SetField { key, field, value, ttl, version: None }
}

fn delete(key: &str) -> CacheWrite {
    CacheWrite::Delete { key: key.into(), version: None }
}

fn delete_field(key: &str, field: &str) -> CacheWrite {
    CacheWrite::DeleteField { key: key.into(), field: field.into(), version: None }
}

/// The same write with a version.
fn versioned(write: CacheWrite, version: i64) -> CacheWrite {
    let version = Some(version);
    match write {
        CacheWrite::Set { key, value, ttl, .. } => CacheWrite::Set { key, value, ttl, version },
        CacheWrite::SetField { key, field, value, ttl, .. } => {
            CacheWrite::SetField { key, field, value, ttl, version }
        }
        CacheWrite::Delete { key, .. } => CacheWrite::Delete { key, version },
        CacheWrite::DeleteField { key, field, .. } => {
            CacheWrite::DeleteField { key, field, version }
        }
    }
}

pub async fn a_value_is_got_until_replaced_or_deleted(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    assert_eq!(it.get("a").await, None);
    it.apply_all(vec![set("a", "1"), set("é\u{0}", "")]).await;
    assert_eq!(it.get("a").await, Some("1".into()));
    assert_eq!(it.get("é\u{0}").await, Some("".into()));
    it.apply_all(vec![set("a", "2")]).await;
    assert_eq!(it.get("a").await, Some("2".into()));
    it.apply_all(vec![delete("a"), delete("absent")]).await;
    assert_eq!(it.get("a").await, None);
}

pub async fn fields_come_in_the_order_of_their_first_setting(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    it.apply_all(vec![
        set_field("k", "z", "1", None),
        set_field("k", "a", "2", None),
        set_field("k", "m", "3", None),
        set_field("k", "z", "4", None),
    ])
    .await;
    assert_eq!(it.fields("k").await, ["z=4", "a=2", "m=3"]);
    assert_eq!(it.field("k", "a").await, Some("2".into()));
    assert_eq!(it.field("k", "absent").await, None);
    assert_eq!(it.field("absent", "a").await, None);
    assert_eq!(it.fields("absent").await, [""; 0]);
    it.apply_all(vec![delete_field("k", "z")]).await;
    assert_eq!(it.fields("k").await, ["a=2", "m=3"]);
}

pub async fn a_key_goes_with_its_last_field(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    it.apply_all(vec![set_field("k", "a", "1", None), set_field("k", "b", "2", None)]).await;
    it.apply_all(vec![delete_field("k", "a"), delete_field("k", "absent")]).await;
    assert_eq!(it.keys(None, 10).await, ["k"]);
    it.apply_all(vec![delete_field("k", "b"), delete_field("k", "b")]).await;
    assert_eq!(it.keys(None, 10).await, [""; 0]);
    it.apply_all(vec![set("k", "value")]).await;
    assert_eq!(it.get("k").await, Some("value".into()));
}

pub async fn a_key_of_the_other_kind_is_refused_and_harms_no_other_write(
    harness: &dyn CacheHarness,
) {
    let it = Table::new(harness).await;
    it.apply_all(vec![set("value", "1"), set_field("fields", "a", "1", None)]).await;
    let results = it
        .apply(vec![
            set_field("value", "a", "2", None),
            set("other", "3"),
            delete_field("value", "a"),
        ])
        .await;
    let wrong = |result: &Result<(), StoreError>| matches!(result, Err(error @ StoreError::WrongKind { .. }) if error.concerns_one_record());
    assert!(wrong(&results[0]) && results[1].is_ok() && wrong(&results[2]), "{results:?}");
    assert_eq!(it.get("value").await, Some("1".into()));
    assert_eq!(it.get("other").await, Some("3".into()));
    let (cache, name) = (&it.cache, &it.name);
    assert!(matches!(cache.get(name, "fields").await, Err(StoreError::WrongKind { .. })));
    assert!(matches!(cache.get_field(name, "value", "a").await, Err(StoreError::WrongKind { .. })));
    assert!(matches!(cache.fields(name, "value").await, Err(StoreError::WrongKind { .. })));
}

pub async fn a_set_replaces_fields(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    it.apply_all(vec![set_field("k", "a", "1", None), set("k", "value")]).await;
    assert_eq!(it.get("k").await, Some("value".into()));
    it.apply_all(vec![delete("k"), set_field("k", "b", "2", None)]).await;
    assert_eq!(it.fields("k").await, ["b=2"]);
}

pub async fn the_writes_of_one_call_apply_in_order(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    it.apply_all(vec![
        set("a", "1"),
        delete("a"),
        set("b", "1"),
        set("b", "2"),
        set_field("c", "f", "1", None),
        delete_field("c", "f"),
        set_field("c", "g", "2", None),
    ])
    .await;
    assert_eq!(it.get("a").await, None);
    assert_eq!(it.get("b").await, Some("2".into()));
    assert_eq!(it.fields("c").await, ["g=2"]);
}

pub async fn a_write_of_a_lower_version_changes_nothing(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    it.apply_all(vec![
        versioned(set("a", "5"), 5),
        versioned(set("a", "4"), 4),
        versioned(delete("a"), 4),
        versioned(set("b", "low"), -10),
        versioned(set("b", "high"), i64::MAX),
        versioned(set("b", "lower"), i64::MAX - 1),
    ])
    .await;
    assert_eq!(it.get("a").await, Some("5".into()));
    assert_eq!(it.get("b").await, Some("high".into()));
    let it = it.reopened(harness).await;
    it.apply_all(vec![versioned(set("a", "4"), 4)]).await;
    assert_eq!(it.get("a").await, Some("5".into()));
    it.apply_all(vec![versioned(set("a", "again"), 5)]).await;
    assert_eq!(it.get("a").await, Some("again".into()));
    it.apply_all(vec![set("a", "always"), versioned(set("a", "1"), 1)]).await;
    assert_eq!(it.get("a").await, Some("1".into()));
}

pub async fn a_field_has_a_version_of_its_own(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    it.apply_all(vec![
        versioned(set_field("k", "a", "9", None), 9),
        versioned(set_field("k", "b", "3", None), 3),
        versioned(set_field("k", "a", "8", None), 8),
        versioned(delete_field("k", "a"), 8),
        versioned(delete("k"), 8),
    ])
    .await;
    assert_eq!(it.fields("k").await, ["a=9", "b=3"]);
    let it = it.reopened(harness).await;
    it.apply_all(vec![
        versioned(set_field("k", "b", "2", None), 2),
        versioned(set_field("k", "b", "4", None), 4),
    ])
    .await;
    assert_eq!(it.fields("k").await, ["a=9", "b=4"]);
    it.apply_all(vec![
        versioned(delete("k"), 9),
        versioned(set_field("k", "b", "8", None), 8),
        versioned(set_field("k", "c", "9", None), 9),
    ])
    .await;
    assert_eq!(it.fields("k").await, ["c=9"]);
}

pub async fn what_was_deleted_stays_away_from_a_lower_version(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    it.apply_all(vec![
        versioned(set("value", "1"), 1),
        versioned(delete("value"), 3),
        versioned(set("value", "2"), 2),
        versioned(delete("never there"), 3),
        versioned(set_field("fields", "a", "1", None), 1),
        versioned(set_field("fields", "b", "2", None), 2),
        versioned(delete_field("fields", "a"), 4),
        versioned(set_field("fields", "a", "3", None), 3),
        versioned(set_field("last", "a", "1", None), 1),
        versioned(delete_field("last", "a"), 2),
    ])
    .await;
    assert_eq!(it.keys(None, 10).await, ["fields"]);
    let it = it.reopened(harness).await;
    it.apply_all(vec![
        versioned(set("value", "2"), 2),
        versioned(set("never there", "2"), 2),
        versioned(set_field("fields", "a", "3", None), 3),
        versioned(set_field("last", "a", "1", None), 1),
    ])
    .await;
    assert_eq!(it.keys(None, 10).await, ["fields"]);
    assert_eq!(it.fields("fields").await, ["b=2"]);
    it.apply_all(vec![
        versioned(set("value", "3"), 3),
        versioned(set_field("last", "a", "2", None), 2),
        set("never there", "always"),
    ])
    .await;
    assert_eq!(it.keys(None, 10).await, ["fields", "last", "never there", "value"]);
}

pub async fn a_key_expires_after_its_time(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    it.apply_all(vec![
        set_for("short", "1", SHORT),
        set_for("long", "1", LONG),
        set_field("fields", "a", "1", Some(SHORT)),
    ])
    .await;
    assert_eq!(it.get("long").await, Some("1".into()));
    harness.pass(SHORT + SHORT).await;
    assert_eq!(it.get("short").await, None);
    assert_eq!(it.get("long").await, Some("1".into()));
    assert_eq!(it.fields("fields").await, [""; 0]);
    assert_eq!(it.keys(None, 10).await, ["long"]);
    it.apply_all(vec![set_field("short", "a", "1", None)]).await;
    assert_eq!(it.fields("short").await, ["a=1"]);
}

pub async fn a_set_without_a_time_to_live_never_expires(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    it.apply_all(vec![set_for("k", "1", SHORT), set("k", "2")]).await;
    harness.pass(SHORT + SHORT).await;
    assert_eq!(it.get("k").await, Some("2".into()));
}

pub async fn a_field_keeps_or_renews_the_expiry_of_its_key(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    it.apply_all(vec![
        set_field("keeps", "a", "1", Some(SHORT)),
        set_field("keeps", "b", "2", None),
        set_field("renews", "a", "1", Some(SHORT)),
        set_field("renews", "b", "2", Some(LONG)),
    ])
    .await;
    harness.pass(SHORT + SHORT).await;
    assert_eq!(it.fields("keeps").await, [""; 0]);
    assert_eq!(it.fields("renews").await, ["a=1", "b=2"]);
}

pub async fn keys_come_in_byte_order_and_in_pages(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    let mut expected: Vec<_> = (0..50).map(|n| format!("{}", n * 7919 % 1000)).collect();
    expected.extend(["Z".into(), "a".into(), "é".into()]);
    it.apply_all(expected.iter().map(|key| set(key, "x")).collect()).await;
    expected.sort();
    assert_eq!(it.keys(None, 1_000).await, expected);
    let mut pages = Vec::new();
    loop {
        let page = it.keys(pages.last().map(String::as_str), 8).await;
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 8);
        pages.extend(page);
    }
    assert_eq!(pages, expected);
    assert_eq!(it.keys(None, 0).await, [""; 0]);
}

pub async fn tables_share_no_keys(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    let other = Table { cache: Arc::clone(&it.cache), name: fresh_name("other") };
    it.apply_all(vec![set("k", "1")]).await;
    assert_eq!(other.get("k").await, None);
    other.apply_all(vec![set("k", "2"), delete("absent")]).await;
    assert_eq!(it.get("k").await, Some("1".into()));
    assert_eq!(other.keys(None, 10).await, ["k"]);
}

pub async fn names_and_keys_outside_the_rules_are_refused(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    let refused = it.cache.apply("not a name", vec![set("k", "1")]).await.unwrap_err();
    assert!(matches!(refused, StoreError::InvalidName { .. }), "{refused}");
    let long = "k".repeat(STORE_KEY_BYTES_MAX + 1);
    let results = it.apply(vec![set("", "1"), set(&long, "1"), set("k", "1")]).await;
    assert!(matches!(results[0], Err(StoreError::InvalidName { .. })), "{results:?}");
    assert!(matches!(results[1], Err(StoreError::InvalidName { .. })), "{results:?}");
    assert!(results[2].is_ok(), "{results:?}");
    assert_eq!(it.keys(None, 10).await, ["k"]);
}

pub async fn a_value_too_large_is_refused(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    let huge = Bytes::from(vec![b'x'; MESSAGE_BYTES_MAX + 1]);
    let writes = vec![
        CacheWrite::Set { key: "huge".into(), value: huge, ttl: None, version: None },
        set("small", "1"),
    ];
    let results = it.apply(writes).await;
    assert!(matches!(results[0], Err(StoreError::TooLarge { .. })), "{results:?}");
    assert!(results[1].is_ok(), "{results:?}");
    assert_eq!(it.keys(None, 10).await, ["small"]);
}

pub async fn what_was_flushed_survives_a_reopening(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    it.apply_all(vec![
        set("value", "1"),
        set_for("short", "2", SHORT),
        set_for("long", "3", LONG),
        set_field("fields", "z", "4", None),
        set_field("fields", "a", "5", None),
        set("gone", "6"),
    ])
    .await;
    it.cache.flush().await.unwrap();
    it.apply_all(vec![delete("gone"), set("value", "7")]).await;
    let it = it.reopened(harness).await;
    assert_eq!(it.get("value").await, Some("7".into()));
    assert_eq!(it.get("gone").await, None);
    assert_eq!(it.fields("fields").await, ["z=4", "a=5"]);
    harness.pass(SHORT + SHORT).await;
    assert_eq!(it.get("short").await, None);
    assert_eq!(it.get("long").await, Some("3".into()));
    assert_eq!(it.keys(None, 10).await, ["fields", "long", "value"]);
}

pub async fn writers_at_once_lose_no_field(harness: &dyn CacheHarness) {
    let it = Arc::new(Table::new(harness).await);
    let writers = (0..8).map(|writer| {
        let it = Arc::clone(&it);
        tokio::spawn(async move {
            for n in 0..50 {
                it.apply_all(vec![set_field("k", &format!("{writer}-{n}"), "x", None)]).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(it.fields("k").await.len(), 400);
}

pub async fn stats_tell_the_keys_of_a_table(harness: &dyn CacheHarness) {
    let it = Table::new(harness).await;
    it.apply_all(vec![set("a", "1"), set_field("b", "f", "2", None), set("c", "3"), delete("c")])
        .await;
    let tables = it.cache.tables().await.unwrap();
    let stats = tables.iter().find(|stats| stats.table == it.name).unwrap();
    assert_eq!((stats.keys, stats.evicted), (2, 0));
    assert!(stats.size_bytes > 0);
}
