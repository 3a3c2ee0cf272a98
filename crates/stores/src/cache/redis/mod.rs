//! The cache on Redis: one server, a cluster, or a master that sentinels name.
//!
//! A key of a table is the Redis key `table:key`, a string or a hash, for every Redis
//! client to read. Writes to one key go through one script, in the key's own slot, which
//! also keeps versions and the order of fields beside it. Keys of a call go in pipelines.
//! A write that answered is as safe as the servers are set up to make it; see [`flush`].
//! Connections come back by themselves; meanwhile calls fail as what may be tried again.
//!
//! [`flush`]: crate::Cache::flush

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use courant_model::limits::{
    DELETED_VERSIONS_KEPT_MS, FIND_LIMIT_MAX, MESSAGE_BYTES_MAX, REDIS_PIPELINE_BYTES,
    REDIS_PIPELINE_KEYS_MAX, REDIS_SIZES_SAMPLED,
};
use indexmap::IndexMap;
use redis::{Cmd, FromRedisValue, Script, Value, cmd};

use self::link::{Link, Master, NO_SCRIPT};
pub use self::options::{RedisOptions, RedisUrlError, SCHEMES as REDIS_SCHEMES};
use super::{Cache, CacheTableStats, CacheWrite};
use crate::{
    StoreError,
    names::{check_name, key_fault},
};

mod keys;
mod link;
mod options;

static APPLY: LazyLock<Script> = LazyLock::new(|| Script::new(APPLY_TEXT));
const APPLY_TEXT: &str = include_str!("apply.lua");

/// Keys that one step of a scan looks at.
const SCAN_COUNT: usize = 1_000;

const SCANNING: &str = "listing keys of the cache";

/// How long a flush waits for replicas.
const REPLICAS: Duration = Duration::from_secs(10);

/// The cache on Redis.
#[derive(Debug)]
pub struct RedisCache {
    link: Link,
}

impl RedisCache {
    /// Connects.
    ///
    /// # Errors
    /// [`StoreError::AccessDenied`] for refused credentials; else what may pass: no server
    /// there, or not yet.
    pub async fn connect(options: RedisOptions) -> Result<Self, StoreError> {
        let link = Link::new(options);
        let _: Value = link.ask("connecting to the cache", None, cmd("PING")).await?;
        Ok(Self { link })
    }

    async fn read<T: FromRedisValue>(
        &self,
        table: &str,
        key: &str,
        expected: &'static str,
        command: Cmd,
    ) -> Result<T, StoreError> {
        let answer = self.link.ask("reading the cache", None, command).await;
        answer.map_err(|error| wrong_kind(error, table, key, expected))
    }

    /// Begins to go through all keys.
    async fn scan(&self, pattern: Option<String>) -> Result<Scan<'_>, StoreError> {
        let masters = self.link.masters(SCANNING).await?;
        Ok(Scan { link: &self.link, pattern, masters, cursor: None })
    }

    /// Applies the writes of some keys; the answers of each key, in order.
    async fn send(&self, keys: &[Batch]) -> Result<Vec<Vec<String>>, StoreError> {
        const ACTION: &str = "writing to the cache";
        let commands: Vec<Cmd> =
            keys.iter().map(|batch| batch.command("EVALSHA", APPLY.get_hash())).collect();
        let mut answers = self.link.send(ACTION, None, &commands).await?;
        // A server that was started anew does not know the script.
        let unknown = answers.iter().enumerate().filter(|(_, answer)| is_no_script(answer));
        let unknown: Vec<usize> = unknown.map(|(index, _)| index).collect();
        if !unknown.is_empty() {
            let again = unknown.iter().map(|index| keys[*index].command("EVAL", APPLY_TEXT));
            let again = self.link.send(ACTION, None, &again.collect::<Vec<_>>()).await?;
            for (index, answer) in unknown.into_iter().zip(again) {
                answers[index] = answer;
            }
        }
        answers.into_iter().map(|answer| self.link.read(ACTION, answer)).collect()
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, table: &str, key: &str) -> Result<Option<Bytes>, StoreError> {
        let mut get = cmd("GET");
        get.arg(keys::name(table, key));
        self.read(table, key, "a value", get).await
    }

    async fn get_field(
        &self,
        table: &str,
        key: &str,
        field: &str,
    ) -> Result<Option<Bytes>, StoreError> {
        let mut get = cmd("HGET");
        get.arg(keys::name(table, key)).arg(field);
        self.read(table, key, "fields", get).await
    }

    async fn fields(&self, table: &str, key: &str) -> Result<IndexMap<String, Bytes>, StoreError> {
        let [name, _, order, _] = keys::all(table, key);
        let mut get = cmd("HGETALL");
        get.arg(name);
        let pairs: Vec<(String, Bytes)> = self.read(table, key, "fields", get).await?;
        let mut fields: IndexMap<String, Bytes> = pairs.into_iter().collect();
        if fields.len() > 1 {
            let mut get = cmd("ZRANGE");
            get.arg(order).arg(0).arg(-1);
            let order: Vec<String> = self.read(table, key, "fields", get).await?;
            let places: IndexMap<String, ()> = order.into_iter().map(|field| (field, ())).collect();
            // What another program set has no place, and comes last.
            let place = |field: &String| places.get_index_of(field).unwrap_or(usize::MAX);
            fields
                .sort_by(|left, _, right, _| place(left).cmp(&place(right)).then(left.cmp(right)));
        }
        Ok(fields)
    }

    async fn apply(
        &self,
        table: &str,
        writes: Vec<CacheWrite>,
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        check_name("cache table", table)?;
        let mut results: Vec<Result<(), StoreError>> = Vec::with_capacity(writes.len());
        let mut batches: IndexMap<String, Batch> = IndexMap::new();
        for (index, write) in writes.into_iter().enumerate() {
            results.push(check(&write));
            if results[index].is_ok() {
                let batch = batches.entry(write.key().to_owned());
                batch.or_insert_with(|| Batch::new(table, write.key())).push(index, write);
            }
        }
        let batches: Vec<Batch> = batches.into_values().collect();
        for part in parts(&batches) {
            for (batch, answers) in part.iter().zip(self.send(part).await?) {
                for (index, answer) in batch.indices.iter().zip(answers) {
                    results[*index] = batch.result(table, &answer);
                }
            }
        }
        Ok(results)
    }

    async fn keys(
        &self,
        table: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let limit = limit.min(FIND_LIMIT_MAX);
        // A set: a scan may bring a key twice.
        let mut first: BTreeSet<String> = BTreeSet::new();
        let mut scan = self.scan(Some(keys::pattern(table))).await?;
        while let Some((_, names)) = scan.next().await? {
            let found = names.iter().filter_map(|name| keys::split(name));
            for (_, key) in found.filter(|(of, _)| *of == table) {
                if after.is_none_or(|after| *key > *after) {
                    first.insert(key);
                    if first.len() > limit {
                        first.pop_last();
                    }
                }
            }
        }
        Ok(first.into_iter().collect())
    }

    /// Tables with their sizes, from a scan of all keys; the sizes from a sample of them.
    async fn tables(&self) -> Result<Vec<CacheTableStats>, StoreError> {
        let mut tables: BTreeMap<String, Sizes> = BTreeMap::new();
        let mut scan = self.scan(None).await?;
        while let Some((master, names)) = scan.next().await? {
            for name in names {
                let Some((table, _)) = keys::split(&name) else { continue };
                let sizes = tables.entry(table.to_owned()).or_default();
                sizes.keys += 1;
                if sizes.sampled < REDIS_SIZES_SAMPLED {
                    let mut usage = cmd("MEMORY");
                    usage.arg("USAGE").arg(name);
                    let bytes: Option<u64> = self.link.ask(SCANNING, Some(&master), usage).await?;
                    sizes.sampled += u64::from(bytes.is_some());
                    sizes.sampled_bytes += bytes.unwrap_or(0);
                }
            }
        }
        Ok(tables.into_iter().map(|(table, sizes)| sizes.stats(table)).collect())
    }

    /// Waits for replicas where the URL asks for it. Whether a write survives a restart of
    /// the servers is for their own settings to say (`appendonly`, `save`).
    async fn flush(&self) -> Result<(), StoreError> {
        const ACTION: &str = "waiting for the replicas of the cache";
        let wanted = self.link.options.replicas;
        if wanted == 0 {
            return Ok(());
        }
        for master in self.link.masters(ACTION).await? {
            let mut wait = cmd("WAIT");
            wait.arg(wanted).arg(REPLICAS.as_millis() as u64);
            let reached: usize = self.link.ask(ACTION, Some(&master), wait).await?;
            if reached < wanted {
                let why = format!("{reached} of {wanted} replicas have what was written");
                return Err(StoreError::storage(ACTION, std::io::Error::other(why)));
            }
        }
        Ok(())
    }
}

/// A way through all keys, a step at a time, server by server.
struct Scan<'a> {
    link: &'a Link,
    pattern: Option<String>,
    /// Those that are left; the last one is under way.
    masters: Vec<Master>,
    cursor: Option<String>,
}

impl Scan<'_> {
    /// The next names and where they are; a name may come twice.
    async fn next(&mut self) -> Result<Option<(Master, Vec<String>)>, StoreError> {
        let Some(master) = self.masters.last().cloned() else { return Ok(None) };
        let mut command = cmd("SCAN");
        command.arg(self.cursor.as_deref().unwrap_or("0")).arg("COUNT").arg(SCAN_COUNT);
        if let Some(pattern) = &self.pattern {
            command.arg("MATCH").arg(pattern);
        }
        let (next, names): (String, Vec<Vec<u8>>) =
            self.link.ask(SCANNING, Some(&master), command).await?;
        if next == "0" {
            self.masters.pop();
            self.cursor = None;
        } else {
            self.cursor = Some(next);
        }
        // A key that is no text was written by somebody else.
        let names = names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect();
        Ok(Some((master, names)))
    }
}

/// The writes of a call to one key.
#[derive(Debug)]
struct Batch {
    key: String,
    names: [String; 4],
    /// Places of the writes in the call.
    indices: Vec<usize>,
    arguments: Vec<Bytes>,
}

impl Batch {
    fn new(table: &str, key: &str) -> Self {
        let kept = Bytes::from(DELETED_VERSIONS_KEPT_MS.to_string());
        let (key, names) = (key.to_owned(), keys::all(table, key));
        Self { key, names, indices: Vec::new(), arguments: vec![kept] }
    }

    fn push(&mut self, index: usize, write: CacheWrite) {
        let text = |text: String| Bytes::from(text);
        let (name, field, value, ttl, version) = match write {
            CacheWrite::Set { value, ttl, version, .. } => {
                ("set", Bytes::new(), value, ttl, version)
            }
            CacheWrite::SetField { field, value, ttl, version, .. } => {
                ("hset", text(field), value, ttl, version)
            }
            CacheWrite::Delete { version, .. } => {
                ("del", Bytes::new(), Bytes::new(), None, version)
            }
            CacheWrite::DeleteField { field, version, .. } => {
                ("hdel", text(field), Bytes::new(), None, version)
            }
        };
        // Redis counts in milliseconds; less than one would be none.
        let ttl = ttl.map_or_else(String::new, |ttl| ttl.as_millis().max(1).to_string());
        let version = version.map_or_else(String::new, |version| version.to_string());
        self.indices.push(index);
        self.arguments.extend([Bytes::from_static(name.as_bytes()), field, value]);
        self.arguments.extend([text(ttl), text(version)]);
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = cmd(name);
        command.arg(script).arg(self.names.len()).arg(&self.names);
        for argument in &self.arguments {
            command.arg(&argument[..]);
        }
        command
    }

    fn size_bytes(&self) -> usize {
        self.arguments.iter().map(Bytes::len).sum()
    }

    fn result(&self, table: &str, answer: &str) -> Result<(), StoreError> {
        let found = match answer {
            "ok" | "late" => return Ok(()),
            "string" => "a value",
            _ => "a list, set or stream",
        };
        let (table, key) = (table.to_owned(), self.key.clone());
        Err(StoreError::WrongKind { table, key, found, expected: "fields" })
    }
}

/// Keys in parts that one pipeline takes.
fn parts(batches: &[Batch]) -> impl Iterator<Item = &[Batch]> {
    let mut rest = batches;
    std::iter::from_fn(move || {
        let mut size_bytes = 0;
        let fits = |batch: &&Batch| {
            size_bytes += batch.size_bytes();
            size_bytes <= REDIS_PIPELINE_BYTES
        };
        let count = rest.iter().take(REDIS_PIPELINE_KEYS_MAX).take_while(fits).count();
        let (part, others) = rest.split_at(count.max(1).min(rest.len()));
        rest = others;
        (!part.is_empty()).then_some(part)
    })
}

/// What a table's keys take.
#[derive(Debug, Default)]
struct Sizes {
    keys: u64,
    sampled: u64,
    sampled_bytes: u64,
}

impl Sizes {
    fn stats(&self, table: String) -> CacheTableStats {
        let size_bytes = self.sampled_bytes * self.keys / self.sampled.max(1);
        CacheTableStats { table, keys: self.keys, size_bytes, evicted: 0 }
    }
}

fn check(write: &CacheWrite) -> Result<(), StoreError> {
    if let Some(why) = key_fault(write.key()) {
        let name = write.key().chars().take(100).collect();
        return Err(StoreError::InvalidName { kind: "cache key", name, why });
    }
    let found_bytes = write.key().len()
        + match write {
            CacheWrite::Set { value, .. } => value.len(),
            CacheWrite::SetField { field, value, .. } => field.len() + value.len(),
            CacheWrite::Delete { .. } | CacheWrite::DeleteField { .. } => 0,
        };
    if found_bytes > MESSAGE_BYTES_MAX {
        return Err(StoreError::TooLarge { found_bytes, max_bytes: MESSAGE_BYTES_MAX });
    }
    Ok(())
}

fn is_no_script(answer: &Value) -> bool {
    match answer {
        Value::ServerError(error) => error.code() == NO_SCRIPT,
        Value::SimpleString(text) => text == NO_SCRIPT,
        _ => false,
    }
}

/// Redis says only that the type is another one.
fn wrong_kind(error: StoreError, table: &str, key: &str, expected: &'static str) -> StoreError {
    let is_type = |source: &redis::RedisError| source.code() == Some("WRONGTYPE");
    match &error {
        StoreError::Storage { source, .. } if source.downcast_ref().is_some_and(is_type) => {
            let found = if expected == "fields" { "a value" } else { "fields" };
            let (table, key) = (table.to_owned(), key.to_owned());
            StoreError::WrongKind { table, key, found, expected }
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests;
