//! The history on MongoDB: a replica set, whose change streams are the watches.
//!
//! A collection is a collection, a document a document, its id the text `_id`; other
//! programs read them as they are, but for one field, `_courant`, with what the role
//! promises beyond MongoDB: the order of insertion, the version, the last write. Versions
//! of what was deleted are in `courant.tombstones` and expire. A write is acknowledged as
//! its write concern says, a majority's journal unless the URL says otherwise. Connections
//! come back by themselves; meanwhile calls fail as what may be tried again.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use courant_model::{Clock, SystemClock, json::FieldPath, limits::FIND_LIMIT_MAX};
use futures::TryStreamExt;
use mongodb::{
    Client, Database,
    bson::{Bson, Document as Bdoc, Timestamp, doc, spec::BinarySubtype},
    error::{Error, ErrorKind},
};
use parking_lot::RwLock;

use self::changes::MongoChanges;
pub use self::options::{MongoOptions, MongoUrlError, SCHEMES as MONGO_SCHEMES};
use super::{
    Changes, CollectionSpec, CollectionStats, Document, Filter, FindQuery, History, HistoryWrite,
    WatchFrom, Written,
};
use crate::{StoreError, names::check_name};

mod changes;
mod options;
mod query;
mod values;
mod write;

/// How long a call looks for a primary before it fails; an election takes less.
const SERVER_SELECTION: Duration = Duration::from_secs(15);

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// The collection of versions of deleted documents. Names with its prefix are ours.
const TOMBSTONES: &str = "courant.tombstones";
const RESERVED: &str = "courant.";

/// Names of our indexes begin with this; others are somebody else's, and left alone.
const INDEX: &str = "courant:";
const ORDER_INDEX: &str = "courant.order";

/// Codes by which MongoDB says that credentials or rights are missing.
const DENIED: [i32; 4] = [13, 18, 31, 8000];
const NAMESPACE_EXISTS: i32 = 48;
const NAMESPACE_NOT_FOUND: i32 = 26;

/// The history on MongoDB.
#[derive(Debug)]
pub struct MongoHistory {
    inside: Arc<Inside>,
}

struct Inside {
    database: Database,
    /// The same, for change streams. Its reads are not repeated by the driver: one that is
    /// forgets its resume token, and the stream would begin anew from where it was opened.
    watched: Database,
    concern: Bdoc,
    /// Collections that are known to be there, with what tells them from a namesake.
    known: RwLock<HashMap<String, String>>,
    /// The order of the last document that was inserted here.
    order: AtomicI64,
    pre_images: bool,
    place: String,
}

impl MongoHistory {
    /// Connects.
    ///
    /// # Errors
    /// [`StoreError::AccessDenied`] for refused credentials; else what may pass: no server
    /// there, or not yet.
    pub async fn connect(options: MongoOptions) -> Result<Self, StoreError> {
        const ACTION: &str = "connecting to the history";
        let failed = |error: Error| failure(ACTION, "MongoDB", error);
        let client = options.client().await.map_err(failed)?;
        let hosts: Vec<String> = client.hosts.iter().map(ToString::to_string).collect();
        let place = format!("MongoDB at {}, database {:?}", hosts.join(","), options.database);
        let concern = client.write_concern.clone().unwrap_or_default();
        let concern = mongodb::bson::serialize_to_document(&concern)
            .map_err(|error| StoreError::storage(ACTION, error))?;
        let open = |client| Ok(Client::with_options(client)?.database(&options.database));
        let mut watching = client.clone();
        watching.retry_reads = Some(false);
        let inside = Inside {
            database: open(client).map_err(failed)?,
            watched: open(watching).map_err(failed)?,
            concern,
            known: RwLock::default(),
            order: AtomicI64::new(0),
            pre_images: options.pre_images,
            place,
        };
        inside.prepare().await.map_err(|error| inside.failure(ACTION, error))?;
        Ok(Self { inside: Arc::new(inside) })
    }
}

impl Inside {
    /// Makes what is ours in the database; this is also the first that needs rights.
    async fn prepare(&self) -> Result<(), Error> {
        self.database.run_command(doc! { "ping": 1_i32 }).await?;
        let seconds = write::TOMBSTONES_KEPT.as_secs() as i64;
        let index =
            doc! { "key": { "at": 1_i32 }, "name": "expiry", "expireAfterSeconds": seconds };
        let command = doc! { "createIndexes": TOMBSTONES, "indexes": [index] };
        self.database.run_command(command).await.map(drop)
    }

    /// What tells the collection from a namesake.
    ///
    /// # Errors
    /// [`StoreError::UnknownCollection`], connection failures.
    async fn identity(&self, collection: &str) -> Result<String, StoreError> {
        if let Some(identity) = self.known.read().get(collection) {
            return Ok(identity.clone());
        }
        let known = self.list().await?;
        let identity = known.get(collection).cloned();
        *self.known.write() = known;
        identity.ok_or_else(|| StoreError::UnknownCollection { collection: collection.to_owned() })
    }

    async fn list(&self) -> Result<HashMap<String, String>, StoreError> {
        const ACTION: &str = "listing the collections of the history";
        let failed = |error| self.failure(ACTION, error);
        let mut cursor = self.database.list_collections().await.map_err(failed)?;
        let mut known = HashMap::new();
        while let Some(collection) = cursor.try_next().await.map_err(failed)? {
            let name = collection.name;
            if name.starts_with("system.") || name.starts_with(RESERVED) {
                continue;
            }
            // A server without such ids tells collections by their names only.
            let uuid = collection.info.uuid.filter(|uuid| uuid.subtype == BinarySubtype::Uuid);
            let identity = uuid.map_or_else(
                || name.clone(),
                |uuid| uuid.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            );
            known.insert(name, identity);
        }
        Ok(known)
    }

    /// Our indexes of a collection, and all their names.
    async fn indexes(&self, collection: &str) -> Result<Vec<(String, Vec<FieldPath>)>, StoreError> {
        let answer = self.database.run_command(doc! { "listIndexes": collection }).await;
        let answer = match answer {
            Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => return Ok(Vec::new()),
            answer => {
                answer.map_err(|error| self.failure("listing the indexes of the history", error))?
            }
        };
        let batch = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        let read = |index: &Bson| {
            let index = index.as_document()?;
            let name = index.get_str("name").ok()?;
            let keys = index.get_document("key").ok()?.keys();
            let fields = keys.filter(|key| **key != query::insertion());
            let fields = fields.map(|field| field.parse().ok()).collect::<Option<Vec<_>>>()?;
            name.starts_with(INDEX).then(|| (name.to_owned(), fields))
        };
        Ok(batch.into_iter().flatten().filter_map(read).collect())
    }

    /// Documents that match, in no order.
    async fn query(&self, collection: &str, filter: Bdoc) -> Result<Vec<Bdoc>, StoreError> {
        const ACTION: &str = "reading the history";
        let cursor = self.database.collection::<Bdoc>(collection).find(filter).await;
        let cursor = cursor.map_err(|error| self.failure(ACTION, error))?;
        cursor.try_collect().await.map_err(|error| self.failure(ACTION, error))
    }

    /// The time of the oldest (1) or newest (-1) entry of the replica set's log.
    async fn oplog_end(&self, direction: i32) -> Result<Timestamp, StoreError> {
        const ACTION: &str = "reading the replica set's log";
        let log = self.database.client().database("local").collection::<Bdoc>("oplog.rs");
        let entry = log.find_one(doc! {}).sort(doc! { "$natural": direction });
        let entry = entry.projection(doc! { "ts": 1_i32 }).await;
        let entry = entry.map_err(|error| self.failure(ACTION, error))?;
        let time = entry.and_then(|entry| entry.get_timestamp("ts").ok());
        Ok(time.unwrap_or(Timestamp { time: 1, increment: 0 }))
    }

    /// A place in the order of insertion: the time, moved on where two would be equal.
    fn next_order(&self) -> i64 {
        let now = SystemClock.now_micros();
        let next = |last: i64| Some(now.max(last + 1));
        let last = self.order.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        last.map_or(now, |last| now.max(last + 1))
    }

    fn failure(&self, action: &str, error: Error) -> StoreError {
        failure(action, &self.place, error)
    }
}

#[async_trait]
impl History for MongoHistory {
    async fn ensure_collection(&self, spec: &CollectionSpec) -> Result<(), StoreError> {
        check_name("collection", &spec.name)?;
        if spec.name.starts_with(RESERVED) {
            let why = format!("names beginning with {RESERVED:?} are reserved; choose another");
            return Err(StoreError::InvalidName {
                kind: "collection",
                name: spec.name.clone(),
                why,
            });
        }
        const ACTION: &str = "creating a collection of the history";
        let inside = &self.inside;
        let created = inside.database.run_command(doc! { "create": &spec.name }).await;
        match created {
            Err(error) if code(&error) == Some(NAMESPACE_EXISTS) => {}
            created => drop(created.map_err(|error| inside.failure(ACTION, error))?),
        }
        if inside.pre_images {
            let kept = doc! { "enabled": true };
            let command = doc! { "collMod": &spec.name, "changeStreamPreAndPostImages": kept };
            let changed = inside.database.run_command(command).await;
            changed.map_err(|error| inside.failure(ACTION, error))?;
        }
        inside.identity(&spec.name).await?;
        let wanted = spec.checked_indexes()?;
        let there = inside.indexes(&spec.name).await?;
        let order = doc! { "key": { query::insertion(): 1_i32 }, "name": ORDER_INDEX };
        let mut missing = vec![order];
        for fields in wanted.iter().filter(|fields| there.iter().all(|(_, have)| have != *fields)) {
            let names: Vec<String> = fields.iter().map(ToString::to_string).collect();
            let name = format!("{INDEX}{}", names.join(","));
            missing.push(doc! { "key": query::index(fields)?, "name": name });
        }
        let command = doc! { "createIndexes": &spec.name, "indexes": missing };
        inside
            .database
            .run_command(command)
            .await
            .map_err(|error| inside.failure(ACTION, error))?;
        for (name, _) in there.iter().filter(|(_, have)| !wanted.contains(have)) {
            let command = doc! { "dropIndexes": &spec.name, "index": name };
            let dropped = inside.database.run_command(command).await;
            dropped.map_err(|error| inside.failure("dropping an index of the history", error))?;
        }
        Ok(())
    }

    async fn collections(&self) -> Result<Vec<CollectionSpec>, StoreError> {
        let mut names: Vec<String> = self.inside.list().await?.into_keys().collect();
        names.sort();
        let mut specs = Vec::with_capacity(names.len());
        for name in names {
            let indexes = self.inside.indexes(&name).await?;
            let indexes = indexes.into_iter().map(|(_, fields)| fields).collect();
            specs.push(CollectionSpec { name, indexes });
        }
        Ok(specs)
    }

    /// # Cancel safety
    /// A caller that stops waiting does not know which of the writes happened; to write
    /// them again is right.
    async fn write(
        &self,
        collection: &str,
        writes: Vec<HistoryWrite>,
    ) -> Result<Vec<Result<Written, StoreError>>, StoreError> {
        self.inside.identity(collection).await?;
        self.inside.write(collection, writes).await
    }

    async fn get(&self, collection: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.inside.identity(collection).await?;
        let found = self.inside.query(collection, doc! { "_id": id }).await?;
        Ok(found.into_iter().next().map(values::from_bson))
    }

    async fn find(&self, collection: &str, query: &FindQuery) -> Result<Vec<Document>, StoreError> {
        const ACTION: &str = "searching the history";
        self.inside.identity(collection).await?;
        let limit = match query.limit {
            0 => FIND_LIMIT_MAX,
            limit => limit.min(FIND_LIMIT_MAX),
        };
        let collection = self.inside.database.collection::<Bdoc>(collection);
        let find = collection
            .find(query::filter(&query.filter)?)
            .sort(query::sort(&query.sort)?)
            .skip(query.skip as u64)
            .limit(limit as i64);
        let failed = |error| self.inside.failure(ACTION, error);
        let found: Vec<Bdoc> = find.await.map_err(failed)?.try_collect().await.map_err(failed)?;
        Ok(found.into_iter().map(values::from_bson).collect())
    }

    async fn count(&self, collection: &str, filter: &Filter) -> Result<u64, StoreError> {
        self.inside.identity(collection).await?;
        let collection = self.inside.database.collection::<Bdoc>(collection);
        let count = match filter {
            Filter::All => collection.estimated_document_count().await,
            filter => collection.count_documents(query::filter(filter)?).await,
        };
        count.map_err(|error| self.inside.failure("counting in the history", error))
    }

    async fn watch(
        &self,
        collection: &str,
        from: WatchFrom,
    ) -> Result<Box<dyn Changes>, StoreError> {
        Ok(Box::new(MongoChanges::begin(Arc::clone(&self.inside), collection, from).await?))
    }

    async fn stats(&self) -> Result<Vec<CollectionStats>, StoreError> {
        let mut all = Vec::new();
        for CollectionSpec { name, indexes } in self.collections().await? {
            let stats = self.inside.database.run_command(doc! { "collStats": &name }).await;
            let stats = stats
                .map_err(|error| self.inside.failure("reading the sizes of the history", error))?;
            let number = |field| stats.get(field).and_then(write::number).unwrap_or(0) as u64;
            let (documents, size_bytes) = (number("count"), number("size"));
            all.push(CollectionStats { name, documents, size_bytes, indexes: indexes.len() });
        }
        Ok(all)
    }
}

/// The server's code of an error.
fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        _ => None,
    }
}

/// An error as a store tells it: refused credentials and missing rights for good, all else
/// as what may pass.
fn failure(action: &str, place: &str, error: Error) -> StoreError {
    let is_authentication =
        |error: &Error| matches!(error.kind.as_ref(), ErrorKind::Authentication { .. });
    if is_authentication(&error) || code(&error).is_some_and(|code| DENIED.contains(&code)) {
        return StoreError::AccessDenied {
            store: place.to_owned(),
            why: format!("{action}: {error}"),
        };
    }
    StoreError::storage(format!("{action} ({place})"), error)
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").field("place", &self.place).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
