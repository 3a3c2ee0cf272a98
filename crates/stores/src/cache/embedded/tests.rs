//! What the embedded cache does beyond its role: eviction, sweeping, crashes.
//!
//! Behaviour that every cache has is in the conformance suite, run here over a clock
//! that moves by hand; the model test compares random operations with plain maps.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use courant_model::{ManualClock, Timestamp, limits::DELETED_VERSIONS_KEPT_MS};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::conformance::CacheHarness;

struct Harness {
    folder: TempDir,
    clock: Arc<ManualClock>,
}

impl Harness {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
        Self { folder: tempfile::tempdir().unwrap(), clock }
    }

    fn cache(&self, memory: u64) -> EmbeddedCache {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let options = CacheOptions { clock, memory: ByteSize::from_bytes(memory) };
        EmbeddedCache::open(self.folder.path(), options).unwrap()
    }
}

#[async_trait]
impl CacheHarness for Harness {
    async fn open(&self) -> Arc<dyn Cache> {
        Arc::new(self.cache(64 * 1024 * 1024))
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

crate::cache_conformance!(Harness::new());

fn set(key: &str, bytes: usize) -> CacheWrite {
    CacheWrite::Set { key: key.into(), value: vec![b'x'; bytes].into(), ttl: None, version: None }
}

async fn apply(cache: &EmbeddedCache, writes: Vec<CacheWrite>) {
    for result in cache.apply("t", writes).await.unwrap() {
        result.unwrap();
    }
}

/// Keys in the copy on disk.
fn copied(cache: &EmbeddedCache) -> usize {
    cache.store.copy.lock().as_ref().unwrap().entries.len().unwrap()
}

#[tokio::test]
async fn after_a_failed_flush_the_next_one_opens_the_folder_again() {
    let harness = Harness::new();
    let cache = harness.cache(1024 * 1024);
    apply(&cache, vec![set("a", 1)]).await;
    *cache.store.copy.lock() = None;
    apply(&cache, vec![set("b", 1)]).await;
    cache.flush().await.unwrap();
    assert_eq!(copied(&cache), 2);
}

#[tokio::test]
async fn over_its_size_the_cache_gives_up_what_was_not_used() {
    let harness = Harness::new();
    let cache = harness.cache(1024 * 1024);
    apply(&cache, vec![set("used", 100)]).await;
    for n in 0..5_000 {
        apply(&cache, vec![set(&n.to_string(), 1_000)]).await;
        assert!(cache.get("t", "used").await.unwrap().is_some(), "after {n} keys");
    }
    let stats = cache.tables().await.unwrap().remove(0);
    assert!(stats.size_bytes <= 1024 * 1024, "{stats:?}");
    assert!(stats.size_bytes > 900 * 1024, "{stats:?}");
    assert_eq!(stats.keys + stats.evicted, 5_001);
    cache.flush().await.unwrap();
    drop(cache);
    let cache = harness.cache(1024 * 1024);
    assert_eq!(cache.tables().await.unwrap()[0].keys, stats.keys);
}

#[tokio::test]
async fn a_smaller_cache_restores_what_fits() {
    let harness = Harness::new();
    apply(
        &harness.cache(4 * 1024 * 1024),
        (0..2_000).map(|n| set(&n.to_string(), 1_000)).collect(),
    )
    .await;
    let cache = harness.cache(1024 * 1024);
    let stats = cache.tables().await.unwrap().remove(0);
    assert!(stats.keys > 500 && stats.size_bytes <= 1024 * 1024, "{stats:?}");
    assert_eq!(stats.keys + stats.evicted, 2_000);
}

#[tokio::test]
async fn a_flush_removes_expired_keys_from_memory_and_copy() {
    let harness = Harness::new();
    let cache = harness.cache(1024 * 1024);
    let ttl = Some(Duration::from_secs(1));
    let short =
        |n: usize| CacheWrite::Set { key: n.to_string(), value: "x".into(), ttl, version: None };
    apply(&cache, (0..100).map(short).collect()).await;
    cache.flush().await.unwrap();
    assert_eq!(copied(&cache), 100);
    harness.clock.advance(Duration::from_secs(1));
    cache.flush().await.unwrap();
    assert_eq!(copied(&cache), 0);
    assert_eq!(cache.store.memory.used_bytes.load(Relaxed), 0);
}

#[tokio::test]
async fn versions_of_what_was_deleted_go_after_their_time() {
    let harness = Harness::new();
    let cache = harness.cache(1024 * 1024);
    let field = |field: &str, version| CacheWrite::SetField {
        key: "fields".into(),
        field: field.into(),
        value: "x".into(),
        ttl: None,
        version: Some(version),
    };
    let delete_field = |field: &str, version| CacheWrite::DeleteField {
        key: "fields".into(),
        field: field.into(),
        version: Some(version),
    };
    let delete = CacheWrite::Delete { key: "gone".into(), version: Some(5) };
    apply(&cache, vec![delete, field("a", 1), delete_field("b", 5)]).await;
    cache.flush().await.unwrap();
    assert_eq!(copied(&cache), 2);
    assert_eq!(cache.tables().await.unwrap()[0].keys, 1);
    harness.clock.advance(Duration::from_millis(DELETED_VERSIONS_KEPT_MS));
    apply(&cache, vec![delete_field("c", 2), field("b", 4)]).await;
    assert_eq!(cache.fields("t", "fields").await.unwrap().len(), 2);
    cache.flush().await.unwrap();
    assert_eq!(copied(&cache), 1);
}

#[tokio::test]
async fn many_unflushed_keys_are_flushed_without_being_asked() {
    let harness = Harness::new();
    let cache = harness.cache(64 * 1024 * 1024);
    apply(&cache, (0..=CACHE_UNFLUSHED_KEYS_MAX).map(|n| set(&n.to_string(), 1)).collect()).await;
    assert_eq!(cache.store.memory.unflushed.load(Relaxed), 0);
    assert_eq!(copied(&cache), CACHE_UNFLUSHED_KEYS_MAX + 1);
}

#[tokio::test]
async fn a_folder_in_use_is_refused_by_name() {
    let harness = Harness::new();
    let _cache = harness.cache(1024);
    let refused = EmbeddedCache::open(harness.folder.path(), CacheOptions::default()).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
}

/// One random step against the cache and its model.
#[derive(Debug, Clone)]
enum Step {
    Write(CacheWrite),
    Pass(u64),
    Flush,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || "[a-d]";
    let ttl = || prop::option::of((1_u64..5).prop_map(Duration::from_secs));
    let value = || "[0-9]{0,3}".prop_map(Bytes::from);
    let version = || prop::option::of(0_i64..6);
    prop_oneof![
        4 => (key(), value(), ttl(), version()).prop_map(|(key, value, ttl, version)| {
            Step::Write(CacheWrite::Set { key, value, ttl, version })
        }),
        8 => (key(), key(), value(), ttl(), version()).prop_map(|(key, field, value, ttl, version)| {
            Step::Write(CacheWrite::SetField { key, field, value, ttl, version })
        }),
        2 => (key(), version())
            .prop_map(|(key, version)| Step::Write(CacheWrite::Delete { key, version })),
        3 => (key(), key(), version()).prop_map(|(key, field, version)| {
            Step::Write(CacheWrite::DeleteField { key, field, version })
        }),
        2 => (1_u64..4).prop_map(Step::Pass),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

/// The cache as plain maps: what keys hold and when they end, and versions by key and
/// field; those without a field are the whole key's.
#[derive(Debug, Default)]
struct Model {
    held: BTreeMap<String, (Body, Option<i64>)>,
    versions: BTreeMap<(String, Option<String>), i64>,
}

impl Model {
    /// Whether the write is accepted.
    fn write(&mut self, write: CacheWrite, now: i64) -> bool {
        let at = |ttl: Option<Duration>| ttl.map(|ttl| now + ttl.as_micros() as i64);
        let key = write.key().to_owned();
        let (field, version) = match &write {
            CacheWrite::Set { version, .. } | CacheWrite::Delete { version, .. } => (None, version),
            CacheWrite::SetField { field, version, .. }
            | CacheWrite::DeleteField { field, version, .. } => (Some(field.clone()), version),
        };
        let (of_key, version) = (key.clone(), *version);
        let concerns = |(one, of): &(String, Option<String>)| {
            *one == of_key && (field.is_none() || of.is_none() || *of == field)
        };
        let known =
            self.versions.iter().filter(|(place, _)| concerns(place)).map(|(_, v)| *v).max();
        if version.zip(known).is_some_and(|(version, known)| version < known) {
            return true;
        }
        let holds_value = matches!(self.held.get(&key), Some((Body::Value(_), _)));
        if field.is_some() && holds_value {
            return false;
        }
        match write {
            CacheWrite::Set { key, value, ttl, .. } => {
                self.held.insert(key, (Body::Value(value), at(ttl)));
            }
            CacheWrite::SetField { key, field, value, ttl, .. } => {
                let empty = || (Body::Fields(IndexMap::new()), None);
                let (body, expires) = self.held.entry(key).or_insert_with(empty);
                if let Body::Fields(fields) = body {
                    fields.insert(field, value);
                }
                *expires = at(ttl).or(*expires);
            }
            CacheWrite::Delete { key, .. } => {
                self.held.remove(&key);
            }
            CacheWrite::DeleteField { key, field, .. } => {
                if let Some((Body::Fields(fields), _)) = self.held.get_mut(&key) {
                    fields.shift_remove(&field);
                    if fields.is_empty() {
                        self.held.remove(&key);
                    }
                }
            }
        }
        if field.is_none() {
            self.versions.retain(|(one, _), _| *one != key);
        }
        self.versions.remove(&(key.clone(), field.clone()));
        self.versions.extend(version.map(|version| ((key, field), version)));
        true
    }

    fn expire(&mut self, now: i64) {
        let Self { held, versions } = self;
        held.retain(|key, (_, expires)| {
            let lives = expires.is_none_or(|at| at > now);
            versions.retain(|(one, _), _| lives || one != key);
            lives
        });
    }
}

async fn contents(cache: &EmbeddedCache) -> BTreeMap<String, Body> {
    let mut contents = BTreeMap::new();
    for key in cache.keys("t", None, 100).await.unwrap() {
        let body = match cache.get("t", &key).await {
            Ok(value) => Body::Value(value.unwrap()),
            Err(_) => Body::Fields(cache.fields("t", &key).await.unwrap()),
        };
        contents.insert(key, body);
    }
    contents
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_operations_agree_with_plain_maps(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let harness = Harness::new();
            let mut cache = Some(harness.cache(1024 * 1024));
            let mut model = Model::default();
            for step in steps {
                let open = cache.as_ref().unwrap();
                match step {
                    Step::Write(write) => {
                        let results = open.apply("t", vec![write.clone()]).await.unwrap();
                        let accepted = model.write(write, harness.clock.now_micros());
                        prop_assert_eq!(results[0].is_ok(), accepted);
                    }
                    Step::Pass(seconds) => {
                        harness.clock.advance(Duration::from_secs(seconds));
                        model.expire(harness.clock.now_micros());
                    }
                    Step::Flush => open.flush().await.unwrap(),
                    Step::Reopen => {
                        drop(cache.take());
                        cache = Some(harness.cache(1024 * 1024));
                    }
                }
                let expected: BTreeMap<_, _> =
                    model.held.iter().map(|(key, (body, _))| (key.clone(), body.clone())).collect();
                prop_assert_eq!(contents(cache.as_ref().unwrap()).await, expected);
            }
            Ok(())
        })?;
    }
}
