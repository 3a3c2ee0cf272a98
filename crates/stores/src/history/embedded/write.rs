//! Writes: from a call to durable documents, index entries and changes.
//!
//! Calls queue up; whoever gets the writer takes all that wait as one *group*, writes
//! it as one atomic, synced batch, and answers every call in it. So calls share a
//! sync without ever waiting for one another on purpose. A batch cannot read its own
//! writes; the group lays a map of what it changed over the stored documents.
//! Invariant: readers, counts and watches see a group only once it is durable.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use courant_model::limits::{HISTORY_GROUP_BYTES_MAX, MESSAGE_BYTES_MAX, NESTING_MAX};
use fjall::{OwnedWriteBatch, Slice};
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    changes::{Bucket, reading},
    index::{Entries, Index},
    keys::{
        ChangeEntry, IdEntry, MetaKey, Number, Stamp, Tombstone, Totals, id_key, next_stamp,
        stamped,
    },
    store::{Collection, Store, Writer, broken_id, parse},
};
use crate::{
    ChangeKind, Document, HistoryWrite, StoreError, Written,
    history::{checks::with_id, values::depth},
    names::key_fault,
};

/// What a call gets back: one result for each of its writes.
pub(super) type Answer = Result<Vec<Result<Written, StoreError>>, StoreError>;

/// Calls that wait for the writer.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<VecDeque<Request>>);

/// One call: its writes, and where its answer goes.
#[derive(Debug)]
struct Request {
    collection: Arc<Collection>,
    writes: Vec<Result<Prepared, StoreError>>,
    size_bytes: usize,
    answer: Arc<Mutex<Option<Answer>>>,
}

/// A write that is right in itself, with the document's stored form.
#[derive(Debug)]
enum Prepared {
    Put { id: String, document: Document, body: Vec<u8>, replace: bool, version: Option<i64> },
    Delete { id: String, version: Option<i64> },
}

impl Queue {
    /// Takes the calls of one group: all that wait, up to [`HISTORY_GROUP_BYTES_MAX`].
    fn take_group(&self) -> Vec<Request> {
        let mut queue = self.0.lock();
        let mut size_bytes = 0;
        let mut group = Vec::new();
        while let Some(next) = queue.front() {
            size_bytes += next.size_bytes;
            if !group.is_empty() && size_bytes > HISTORY_GROUP_BYTES_MAX {
                break;
            }
            group.extend(queue.pop_front());
        }
        group
    }
}

impl Store {
    /// Writes, and answers when it is durable.
    pub(super) fn write(&self, name: &str, writes: Vec<HistoryWrite>) -> Answer {
        let collection = self.collection(name)?;
        let writes: Vec<_> = writes.into_iter().map(|write| self.prepare(write)).collect();
        let size_bytes = writes.iter().flatten().map(Prepared::size_bytes).sum();
        let answer = Arc::new(Mutex::new(None));
        let request = Request { collection, writes, size_bytes, answer: Arc::clone(&answer) };
        self.queue.0.lock().push_back(request);

        let mut writer = self.writer.lock();
        loop {
            if let Some(answer) = answer.lock().take() {
                return answer;
            }
            let group = self.queue.take_group();
            if group.is_empty() {
                // Whoever took this call into a group did not come back from it.
                return Err(StoreError::Closed);
            }
            self.write_group(&mut writer, group);
        }
    }

    fn write_group(&self, writer: &mut Writer, requests: Vec<Request>) {
        let mut group = Group::new(self, writer.last);
        let answers: Vec<_> = requests
            .into_iter()
            .map(|Request { collection, writes, answer, .. }| {
                let results: Vec<_> = writes
                    .into_iter()
                    .map(|write| write.and_then(|write| group.apply(&collection, write)))
                    .collect();
                (answer, results)
            })
            .collect();
        let outcome = group.commit(writer);
        for (answer, results) in answers {
            *answer.lock() = Some(outcome.clone().map(|()| results));
        }
        if outcome.is_ok()
            && let Err(error) = self.drop_outdated(writer.last)
        {
            tracing::warn!(%error, "old changes of the history were not dropped; the next write tries again");
        }
    }

    /// Drops the buckets of the change log that retention gives up.
    fn drop_outdated(&self, now: Stamp) -> Result<(), StoreError> {
        const ACTION: &str = "dropping old changes of the history";
        let outdated = self.changes.outdated(now);
        if outdated.is_empty() {
            return Ok(());
        }
        let mut batch = self.durable_batch();
        let mut moved = Vec::new();
        for collection in self.collections.read().values() {
            let mut totals = *collection.totals.lock();
            for bucket in &outdated {
                totals.dropped =
                    bucket.last_of(collection.number)?.unwrap_or(0).max(totals.dropped);
            }
            batch.insert(&self.meta, MetaKey::Totals(collection.number).encode(), totals.encode());
            moved.push((Arc::clone(collection), totals));
        }
        for bucket in &outdated {
            batch.remove(&self.meta, MetaKey::Bucket(bucket.first).encode());
        }
        self.commit(batch, ACTION)?;
        for (collection, totals) in moved {
            *collection.totals.lock() = totals;
        }
        self.changes.forget(outdated.len());
        for bucket in outdated {
            let failed = |error| StoreError::storage(ACTION, error);
            self.database.delete_keyspace(bucket.keyspace).map_err(failed)?;
        }
        Ok(())
    }

    /// Checks a write by itself and gives its document an id and a stored form.
    fn prepare(&self, write: HistoryWrite) -> Result<Prepared, StoreError> {
        let (id, document, replace, version) = match write {
            HistoryWrite::Delete { id, version } => return Ok(Prepared::Delete { id, version }),
            HistoryWrite::Upsert { id, document, version } => (id, document, true, version),
            HistoryWrite::Insert { id: Some(id), document } => (id, document, false, None),
            HistoryWrite::Insert { id: None, document } => {
                let own = document.get("_id").and_then(Value::as_str).map(str::to_owned);
                (own.unwrap_or_else(|| self.new_id()), document, false, None)
            }
        };
        let invalid = |why| StoreError::InvalidDocument { why };
        if let Some(fault) = key_fault(&id) {
            return Err(invalid(format!("its id cannot be used: {fault}")));
        }
        let document = with_id(&id, document)?;
        if document.values().any(|value| depth(value, NESTING_MAX) >= NESTING_MAX - 1) {
            return Err(invalid(format!("it is nested deeper than {} levels", NESTING_MAX - 1)));
        }
        let body = serde_json::to_vec(&document)
            .map_err(|error| invalid(format!("it has no JSON form: {error}")))?;
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(StoreError::TooLarge {
                found_bytes: body.len(),
                max_bytes: MESSAGE_BYTES_MAX,
            });
        }
        Ok(Prepared::Put { id, document, body, replace, version })
    }

    /// A new id: a UUID of version 7, so that ids order by time.
    fn new_id(&self) -> String {
        let micros = u64::try_from(self.clock.now_micros()).unwrap_or(0);
        let nanos = u32::try_from(micros % 1_000_000 * 1_000).unwrap_or(0);
        let time = uuid::Timestamp::from_unix(uuid::NoContext, micros / 1_000_000, nanos);
        uuid::Uuid::new_v7(time).to_string()
    }
}

impl Prepared {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Put { id, body, .. } => id.len() + body.len(),
            Self::Delete { id, .. } => id.len(),
        }
    }
}

/// What a group makes of several calls before it is committed.
struct Group<'a> {
    store: &'a Store,
    batch: OwnedWriteBatch,
    last: Stamp,
    now_micros: i64,
    bucket: Option<Bucket>,
    /// What the group made of a document; `None` when it deleted it.
    overlay: HashMap<(Number, String), Option<Stored>>,
    /// Tombstones that the group adds, by the key of the id.
    buried: HashMap<Vec<u8>, Tombstone>,
    touched: BTreeMap<Number, (Arc<Collection>, Totals)>,
    loosened: BTreeSet<Number>,
}

/// A document as it is stored.
#[derive(Debug, Clone)]
struct Stored {
    stamp: Stamp,
    version: Option<i64>,
    body: Slice,
}

impl<'a> Group<'a> {
    fn new(store: &'a Store, last: Stamp) -> Self {
        Self {
            store,
            batch: store.durable_batch(),
            last,
            now_micros: store.clock.now_micros(),
            bucket: None,
            overlay: HashMap::new(),
            buried: HashMap::new(),
            touched: BTreeMap::new(),
            loosened: BTreeSet::new(),
        }
    }

    /// Adds one write. It reads and checks first, so that a refused write leaves
    /// nothing in the batch.
    fn apply(
        &mut self,
        collection: &Arc<Collection>,
        write: Prepared,
    ) -> Result<Written, StoreError> {
        match write {
            Prepared::Put { id, document, body, replace, version } => {
                let old = self.stored(collection, &id)?;
                if self.outdated(collection, &id, old.as_ref(), version)? {
                    return Ok(Written { id, change: None });
                }
                match old {
                    Some(_) if !replace => {
                        Err(StoreError::DuplicateId { collection: collection.name.clone(), id })
                    }
                    Some(old) if *old.body == *body => {
                        self.set_version(collection, &id, old, version);
                        Ok(Written { id, change: None })
                    }
                    old => self.put(collection, id, &document, (body, version), old.as_ref()),
                }
            }
            Prepared::Delete { id, version } => {
                let old = self.stored(collection, &id)?;
                if self.outdated(collection, &id, old.as_ref(), version)? {
                    return Ok(Written { id, change: None });
                }
                let change = match &old {
                    Some(old) => Some(self.delete(collection, &id, old)?),
                    None => None,
                };
                if let Some(version) = version {
                    self.bury(collection, &id, version);
                }
                Ok(Written { id, change })
            }
        }
    }

    /// Whether something newer than this version was written or deleted.
    fn outdated(
        &self,
        collection: &Collection,
        id: &str,
        old: Option<&Stored>,
        version: Option<i64>,
    ) -> Result<bool, StoreError> {
        let Some(version) = version else { return Ok(false) };
        if old.and_then(|old| old.version).is_some_and(|stored| version < stored) {
            return Ok(true);
        }
        let key = id_key(collection.number, id);
        let buried = match self.buried.get(&key) {
            Some(tombstone) => Some(*tombstone),
            None => self.store.tombstones.get(&key, self.now())?,
        };
        Ok(buried.is_some_and(|tombstone| version < tombstone.version))
    }

    /// Gives a document that stays as it is the version it was written with again.
    fn set_version(
        &mut self,
        collection: &Collection,
        id: &str,
        old: Stored,
        version: Option<i64>,
    ) {
        if version == old.version {
            return;
        }
        let entry = IdEntry { stamp: old.stamp, version };
        self.batch.insert(&self.store.ids, id_key(collection.number, id), entry.encode());
        let stored = Stored { version, ..old };
        self.overlay.insert((collection.number, id.to_owned()), Some(stored));
    }

    fn bury(&mut self, collection: &Collection, id: &str, version: i64) {
        let key = id_key(collection.number, id);
        let tombstone = Tombstone { version, deleted: self.now() };
        self.store.tombstones.add(&mut self.batch, &key, tombstone);
        self.buried.insert(key, tombstone);
    }

    fn now(&self) -> Stamp {
        Stamp::try_from(self.now_micros).unwrap_or(0)
    }

    fn put(
        &mut self,
        collection: &Arc<Collection>,
        id: String,
        document: &Document,
        (body, version): (Vec<u8>, Option<i64>),
        old: Option<&Stored>,
    ) -> Result<Written, StoreError> {
        let change = next_stamp(self.last, self.now_micros);
        let stamp = old.map_or(change, |old| old.stamp);
        let indexes = collection.indexes();
        let entries = indexes
            .iter()
            .map(|index| index.entries(document, stamp))
            .collect::<Result<Vec<_>, _>>()?;
        let stale = match old {
            Some(old) => self.entries_of(collection, &indexes, old)?,
            None => Vec::new(),
        };
        self.ensure_bucket(change)?;
        let kind = if old.is_some() { ChangeKind::Update } else { ChangeKind::Insert };
        self.index(collection, &indexes, entries, stale);
        if old.is_none_or(|old| old.version != version) {
            let key = id_key(collection.number, &id);
            self.batch.insert(&self.store.ids, key, IdEntry { stamp, version }.encode());
        }
        let body = Slice::from(body);
        let key = stamped(collection.number, stamp);
        self.batch.insert(&self.store.documents, key, body.clone());
        self.record(collection, change, kind, &id, &body, old);
        let stored = Stored { stamp, version, body };
        self.overlay.insert((collection.number, id.clone()), Some(stored));
        Ok(Written { id, change: Some(kind) })
    }

    fn delete(
        &mut self,
        collection: &Arc<Collection>,
        id: &str,
        old: &Stored,
    ) -> Result<ChangeKind, StoreError> {
        let change = next_stamp(self.last, self.now_micros);
        let indexes = collection.indexes();
        let stale = self.entries_of(collection, &indexes, old)?;
        self.ensure_bucket(change)?;
        self.index(collection, &indexes, Vec::new(), stale);
        self.batch.remove(&self.store.ids, id_key(collection.number, id));
        self.batch.remove(&self.store.documents, stamped(collection.number, old.stamp));
        self.record(collection, change, ChangeKind::Delete, id, &[], Some(old));
        self.overlay.insert((collection.number, id.to_owned()), None);
        Ok(ChangeKind::Delete)
    }

    /// Replaces a document's entries; those that stay are left alone.
    fn index(
        &mut self,
        collection: &Collection,
        indexes: &[Arc<Index>],
        entries: Vec<Entries>,
        stale: Vec<Entries>,
    ) {
        let mut entries = entries.into_iter();
        let mut stale = stale.into_iter();
        for index in indexes {
            let entries = entries.next().unwrap_or_default();
            let stale = stale.next().unwrap_or_default();
            for key in stale.keys.difference(&entries.keys) {
                self.batch.remove(&index.keyspace, key.as_slice());
            }
            for key in entries.keys.difference(&stale.keys) {
                self.batch.insert(&index.keyspace, key.as_slice(), []);
            }
            // Before the commit: a reader may know too early, never too late.
            if entries.loose && index.loosen() {
                self.loosened.insert(collection.number);
            }
        }
    }

    /// Adds the change and moves the collection's totals.
    fn record(
        &mut self,
        collection: &Arc<Collection>,
        change: Stamp,
        kind: ChangeKind,
        id: &str,
        body: &[u8],
        old: Option<&Stored>,
    ) {
        let before = old.filter(|_| self.store.pre_images).map_or(&[][..], |old| &old.body);
        let entry = ChangeEntry { kind, committed_micros: self.now_micros, id, before, body };
        let entry = entry.encode();
        let bucket = self.bucket.as_mut().expect("put and delete ensure the bucket");
        bucket.totals.changes += 1;
        bucket.totals.size_bytes += entry.len() as u64;
        self.batch.insert(&bucket.keyspace, stamped(collection.number, change), entry);
        let (_, totals) = self
            .touched
            .entry(collection.number)
            .or_insert_with(|| (Arc::clone(collection), *collection.totals.lock()));
        totals.documents += u64::from(kind == ChangeKind::Insert);
        totals.documents -= u64::from(kind == ChangeKind::Delete);
        totals.size_bytes += body.len() as u64;
        totals.size_bytes -= old.map_or(0, |old| old.body.len() as u64);
        totals.last = change;
        self.last = change;
    }

    /// All changes of a group go to one bucket, the one that its first change finds.
    fn ensure_bucket(&mut self, change: Stamp) -> Result<(), StoreError> {
        if self.bucket.is_none() {
            self.bucket = Some(self.store.changes.bucket_for(&self.store.database, change)?);
        }
        Ok(())
    }

    fn stored(&self, collection: &Collection, id: &str) -> Result<Option<Stored>, StoreError> {
        if let Some(seen) = self.overlay.get(&(collection.number, id.to_owned())) {
            return Ok(seen.clone());
        }
        let found = self.store.ids.get(id_key(collection.number, id)).map_err(reading)?;
        let Some(found) = found else { return Ok(None) };
        let IdEntry { stamp, version } = IdEntry::decode(&found).ok_or_else(broken_id)?;
        let key = stamped(collection.number, stamp);
        match self.store.documents.get(key).map_err(reading)? {
            Some(body) => Ok(Some(Stored { stamp, version, body })),
            None => Err(self.store.broken_document(collection, stamp)),
        }
    }

    fn entries_of(
        &self,
        collection: &Collection,
        indexes: &[Arc<Index>],
        old: &Stored,
    ) -> Result<Vec<Entries>, StoreError> {
        if indexes.is_empty() {
            return Ok(Vec::new());
        }
        let document =
            parse(&old.body).ok_or_else(|| self.store.broken_document(collection, old.stamp))?;
        indexes.iter().map(|index| index.entries(&document, old.stamp)).collect()
    }

    /// Makes the group durable, then visible to counts and watches.
    fn commit(mut self, writer: &mut Writer) -> Result<(), StoreError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let tombstones_from = match self.buried.is_empty() {
            true => writer.tombstones_from,
            false => {
                let Self { store, batch, buried, .. } = &mut self;
                store.tombstones.drop_outdated(batch, buried, writer.tombstones_from, now)?
            }
        };
        let meta = &self.store.meta;
        if let Some(bucket) = &self.bucket {
            self.batch.insert(meta, MetaKey::Bucket(bucket.first).encode(), bucket.totals.encode());
        }
        for (collection, totals) in self.touched.values() {
            let key = MetaKey::Totals(collection.number).encode();
            self.batch.insert(meta, key, totals.encode());
            if self.loosened.contains(&collection.number) {
                let key = MetaKey::Collection(&collection.name).encode();
                self.batch.insert(meta, key, collection.entry(&collection.indexes()));
            }
        }
        self.store.commit(self.batch, "writing to the history")?;
        writer.last = self.last;
        writer.tombstones_from = tombstones_from;
        if let Some(bucket) = self.bucket {
            self.store.changes.keep(bucket);
        }
        for (collection, totals) in self.touched.into_values() {
            *collection.totals.lock() = totals;
            collection.durable.send_replace(totals.last);
        }
        Ok(())
    }
}
