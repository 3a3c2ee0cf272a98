//! Writes: what is stored is read, what becomes of it is decided, and that is written.
//!
//! Each statement names the write that it builds on (`_courant.write`), so it does nothing
//! where somebody else was quicker; then those writes are decided anew. So a whole call
//! takes a few round trips, keeps its order, tells what changed, and guards versions,
//! without a transaction. A delete with a version leaves a tombstone *before* the document
//! goes: a crash in between only makes the delete come again.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use courant_model::limits::{
    DELETED_VERSIONS_KEPT_MS, MESSAGE_BYTES_MAX, MONGO_COMMAND_BYTES, MONGO_COMMAND_STATEMENTS_MAX,
    MONGO_NESTING_MAX, MONGO_WRITE_TRIES_MAX,
};
use mongodb::bson::{Bson, DateTime, Document as Bdoc, doc, oid::ObjectId};
use serde_json::Value;

use super::{
    Inside, TOMBSTONES,
    values::{HIDDEN, from_bson, to_bson},
};
use crate::{
    ChangeKind, Document, HistoryWrite, StoreError, Written,
    history::{checks::with_id, values::depth},
    names::key_fault,
};

const ACTION: &str = "writing to the history";

/// Codes by which MongoDB says that the document is at fault: bad or reserved names, too
/// deep, refused by a validator, lists side by side in one index, too large.
const DOCUMENT_FAULTS: [i32; 12] = [2, 9, 15, 22, 52, 55, 56, 57, 121, 171, 10334, 17419];

const DUPLICATE_KEY: i32 = 11000;

/// A write that is right in itself.
#[derive(Debug, Clone)]
struct Prepared {
    id: String,
    /// `None`: a delete.
    put: Option<Put>,
    version: Option<i64>,
}

#[derive(Debug, Clone)]
struct Put {
    document: Document,
    stored: Bdoc,
    replace: bool,
}

/// A document as it is stored now.
#[derive(Debug, Clone)]
struct Stored {
    document: Document,
    order: Bson,
    /// Names the write that made it so; null where another program wrote it.
    write: Bson,
    version: Option<i64>,
}

/// One statement, for the write at a place of the call.
#[derive(Debug)]
struct Statement {
    place: usize,
    id: String,
    what: What,
    /// The write that it leaves behind.
    write: Bson,
    size_bytes: usize,
}

#[derive(Debug)]
enum What {
    Insert(Bdoc),
    /// A replacement, or `$set` and `$unset` of the version alone.
    Update {
        expected: Bson,
        update: Bdoc,
    },
    Delete {
        expected: Bson,
    },
}

impl What {
    const fn command(&self) -> (&'static str, &'static str) {
        match self {
            Self::Insert(_) => ("insert", "documents"),
            Self::Update { .. } => ("update", "updates"),
            Self::Delete { .. } => ("delete", "deletes"),
        }
    }

    fn statement(&self, id: &str) -> Bdoc {
        let builds_on = |expected: &Bson| doc! { "_id": id, (format!("{HIDDEN}.write")): expected };
        match self {
            Self::Insert(document) => document.clone(),
            Self::Update { expected, update } => doc! { "q": builds_on(expected), "u": update },
            Self::Delete { expected } => doc! { "q": builds_on(expected), "limit": 1_i32 },
        }
    }
}

type Results = Vec<Result<Written, StoreError>>;

impl Inside {
    /// Applies writes in order; acknowledged as the write concern says.
    pub(super) async fn write(
        &self,
        collection: &str,
        writes: Vec<HistoryWrite>,
    ) -> Result<Results, StoreError> {
        let mut results: Vec<Option<Result<Written, StoreError>>> = Vec::new();
        let mut pending: BTreeMap<usize, Prepared> = BTreeMap::new();
        for (place, write) in writes.into_iter().enumerate() {
            match prepare(write) {
                Ok(prepared) => {
                    pending.insert(place, prepared);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let mut tries = 0;
        while !pending.is_empty() {
            let before = pending.len();
            self.round(collection, &mut pending, &mut results).await?;
            tries = if pending.len() < before { 0 } else { tries + 1 };
            if tries > MONGO_WRITE_TRIES_MAX {
                let why = "other writers change the same documents all the time";
                return Err(StoreError::storage(ACTION, std::io::Error::other(why)));
            }
        }
        Ok(results.into_iter().map(|result| result.unwrap_or(Err(StoreError::Closed))).collect())
    }

    /// Reads, decides and writes; what somebody else was quicker with stays pending.
    async fn round(
        &self,
        collection: &str,
        pending: &mut BTreeMap<usize, Prepared>,
        results: &mut [Option<Result<Written, StoreError>>],
    ) -> Result<(), StoreError> {
        let ids: HashSet<&str> = pending.values().map(|write| &*write.id).collect();
        let versioned =
            pending.values().filter(|write| write.version.is_some()).map(|write| &*write.id);
        let mut tombstones = self.tombstones(collection, versioned.collect()).await?;
        let mut stored = self.stored(collection, ids).await?;
        let (mut statements, mut buried) = (Vec::new(), HashMap::new());
        for (place, write) in pending.iter() {
            let (result, statement) =
                self.decide(collection, *place, write, &mut stored, &mut tombstones);
            // The version is there now unless the delete came too late.
            if write.put.is_none()
                && let Some(version) = write.version
                && tombstones.get(&write.id) == Some(&version)
            {
                buried.insert(write.id.clone(), version);
            }
            statements.extend(statement);
            results[*place] = Some(result);
        }
        self.bury(collection, &buried).await?;
        let failed = self.execute(collection, &statements).await?;
        // What was decided over a statement that failed is decided anew.
        let mut since: HashMap<String, usize> = HashMap::new();
        for place in failed.keys() {
            let first = since.entry(pending[place].id.clone()).or_insert(*place);
            *first = *place.min(first);
        }
        pending.retain(|place, write| {
            if let Some(Some(why)) = failed.get(place) {
                results[*place] = Some(Err(StoreError::InvalidDocument { why: why.clone() }));
                return false;
            }
            since.get(&write.id).is_some_and(|first| place >= first)
        });
        Ok(())
    }

    /// What becomes of a write, over what those before it in the call make of its document.
    fn decide(
        &self,
        collection: &str,
        place: usize,
        write: &Prepared,
        stored: &mut HashMap<String, Stored>,
        tombstones: &mut HashMap<String, i64>,
    ) -> (Result<Written, StoreError>, Option<Statement>) {
        let id = write.id.clone();
        let written = |change| Ok(Written { id: id.clone(), change });
        let old = stored.get(&id);
        let newest = old.and_then(|old| old.version).max(tombstones.get(&id).copied());
        if write.version.zip(newest).is_some_and(|(version, newest)| version < newest) {
            return (written(None), None);
        }
        let (token, expected) = (Bson::ObjectId(ObjectId::new()), old.map(|old| old.write.clone()));
        let statement = |what, size_bytes| {
            Some(Statement { place, id: id.clone(), what, write: token.clone(), size_bytes })
        };
        let Some(put) = &write.put else {
            if let Some(version) = write.version {
                tombstones.insert(id.clone(), version);
            }
            let Some(expected) = expected else { return (written(None), None) };
            stored.remove(&id);
            return (written(Some(ChangeKind::Delete)), statement(What::Delete { expected }, 0));
        };
        let order = match old {
            Some(_) if !put.replace => {
                let collection = collection.to_owned();
                return (Err(StoreError::DuplicateId { collection, id: id.clone() }), None);
            }
            Some(old) if old.document == put.document && old.version == write.version => {
                return (written(None), None);
            }
            Some(old) => old.order.clone(),
            None => Bson::Int64(self.next_order()),
        };
        let is_equal = old.is_some_and(|old| old.document == put.document);
        let mut hidden = doc! { "order": order.clone(), "write": token.clone() };
        if let Some(version) = write.version {
            hidden.insert("version", version);
        }
        let next = Stored {
            document: put.document.clone(),
            order,
            write: token.clone(),
            version: write.version,
        };
        stored.insert(id.clone(), next);
        let mut whole = put.stored.clone();
        whole.insert(HIDDEN, hidden);
        let size_bytes = whole.iter().map(|(name, _)| name.len()).sum::<usize>()
            + serde_json::to_vec(&put.document).map_or(0, |text| text.len());
        match expected {
            None => (written(Some(ChangeKind::Insert)), statement(What::Insert(whole), size_bytes)),
            Some(expected) if is_equal => {
                let update = version_alone(token.clone(), write.version);
                (written(None), statement(What::Update { expected, update }, 0))
            }
            Some(expected) => {
                let what = What::Update { expected, update: whole };
                (written(Some(ChangeKind::Update)), statement(what, size_bytes))
            }
        }
    }

    /// The documents that are there.
    async fn stored(
        &self,
        collection: &str,
        ids: HashSet<&str>,
    ) -> Result<HashMap<String, Stored>, StoreError> {
        let ids: Vec<&str> = ids.into_iter().collect();
        let found = self.query(collection, doc! { "_id": { "$in": ids } }).await?;
        let read = |mut document: Bdoc| {
            let id = document.get_str("_id").ok()?.to_owned();
            let hidden = document.remove(HIDDEN);
            let hidden = hidden.as_ref().and_then(Bson::as_document).cloned().unwrap_or_default();
            let field = |name| hidden.get(name).cloned().unwrap_or(Bson::Null);
            let stored = Stored {
                order: field("order"),
                write: field("write"),
                version: hidden.get_i64("version").ok(),
                document: from_bson(document),
            };
            Some((id, stored))
        };
        Ok(found.into_iter().filter_map(read).collect())
    }

    /// Versions of what was deleted, unless their time is over.
    async fn tombstones(
        &self,
        collection: &str,
        ids: HashSet<&str>,
    ) -> Result<HashMap<String, i64>, StoreError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let names: Vec<String> = ids.iter().map(|id| tombstone(collection, id)).collect();
        // The server removes them in its own time.
        let since = DateTime::now().timestamp_millis() - DELETED_VERSIONS_KEPT_MS as i64;
        let kept = doc! { "$gt": DateTime::from_millis(since) };
        let found = self.query(TOMBSTONES, doc! { "_id": { "$in": names }, "at": kept }).await?;
        let prefix = tombstone(collection, "");
        let read = |document: Bdoc| {
            let id = document.get_str("_id").ok()?.strip_prefix(&prefix)?.to_owned();
            Some((id, document.get_i64("version").ok()?))
        };
        Ok(found.into_iter().filter_map(read).collect())
    }

    async fn bury(
        &self,
        collection: &str,
        buried: &HashMap<String, i64>,
    ) -> Result<(), StoreError> {
        let updates: Vec<Bdoc> = buried
            .iter()
            .map(|(id, version)| {
                let update =
                    doc! { "$max": { "version": *version }, "$set": { "at": DateTime::now() } };
                doc! { "q": { "_id": tombstone(collection, id) }, "u": update, "upsert": true }
            })
            .collect();
        for updates in updates.chunks(MONGO_COMMAND_STATEMENTS_MAX) {
            let command = doc! { "update": TOMBSTONES, "updates": updates, "ordered": true };
            let answer = self.command(command).await?;
            if let Some(fault) = answer.get_array("writeErrors").ok().and_then(|all| all.first()) {
                return Err(StoreError::storage(ACTION, std::io::Error::other(fault.to_string())));
            }
        }
        Ok(())
    }

    /// Executes statements in order, those of one kind together. Answers the places of the
    /// writes that did not happen: with the fault of the document, or because somebody else
    /// was quicker.
    async fn execute(
        &self,
        collection: &str,
        statements: &[Statement],
    ) -> Result<HashMap<usize, Option<String>>, StoreError> {
        let mut rest = statements;
        while let Some(first) = rest.first() {
            let (name, list) = first.what.command();
            let mut size_bytes = 0;
            let fits = |statement: &&Statement| {
                size_bytes += statement.size_bytes;
                statement.what.command().0 == name && size_bytes <= MONGO_COMMAND_BYTES
            };
            let count =
                rest.iter().take(MONGO_COMMAND_STATEMENTS_MAX).take_while(fits).count().max(1);
            let (run, others) = rest.split_at(count);
            let all: Vec<Bdoc> = run.iter().map(|one| one.what.statement(&one.id)).collect();
            let answer =
                self.command(doc! { name: collection, list: all, "ordered": true }).await?;
            let faults = answer.get_array("writeErrors").is_ok_and(|faults| !faults.is_empty());
            let done = answer.get("n").and_then(number).unwrap_or(0);
            if faults || done != count as i64 {
                let fault = document_fault(&answer, run)?;
                return self.unfinished(collection, run, others, fault).await;
            }
            rest = others;
        }
        Ok(HashMap::new())
    }

    /// Which statements of a run did not happen, with all that come after it.
    async fn unfinished(
        &self,
        collection: &str,
        run: &[Statement],
        others: &[Statement],
        fault: Option<(usize, String)>,
    ) -> Result<HashMap<usize, Option<String>>, StoreError> {
        let ids = run.iter().map(|statement| &*statement.id).collect();
        let stored = self.stored(collection, ids).await?;
        let happened = |statement: &&Statement| match (&statement.what, stored.get(&statement.id)) {
            (What::Delete { .. }, found) => found.is_none(),
            (_, found) => found.is_some_and(|found| found.write == statement.write),
        };
        let missing = run.iter().filter(|statement| !happened(statement)).chain(others);
        let mut missing: HashMap<usize, Option<String>> =
            missing.map(|statement| (statement.place, None)).collect();
        missing.extend(fault.map(|(place, why)| (place, Some(why))));
        Ok(missing)
    }

    async fn command(&self, mut command: Bdoc) -> Result<Bdoc, StoreError> {
        command.insert("writeConcern", self.concern.clone());
        let answer = self.database.run_command(command).await;
        let answer = answer.map_err(|error| self.failure(ACTION, error))?;
        if let Ok(fault) = answer.get_document("writeConcernError") {
            let why = fault.get_str("errmsg").unwrap_or("the write concern was not met").to_owned();
            return Err(StoreError::storage(ACTION, std::io::Error::other(why)));
        }
        Ok(answer)
    }
}

/// Checks a write by itself and gives its document an id and a stored form.
fn prepare(write: HistoryWrite) -> Result<Prepared, StoreError> {
    let (id, document, replace, version) = match write {
        HistoryWrite::Delete { id, version } => return Ok(Prepared { id, put: None, version }),
        HistoryWrite::Upsert { id, document, version } => (id, document, true, version),
        HistoryWrite::Insert { id: Some(id), document } => (id, document, false, None),
        HistoryWrite::Insert { id: None, document } => {
            let own = document.get("_id").and_then(Value::as_str).map(str::to_owned);
            (own.unwrap_or_else(|| uuid::Uuid::now_v7().to_string()), document, false, None)
        }
    };
    let invalid = |why| StoreError::InvalidDocument { why };
    if let Some(fault) = key_fault(&id) {
        return Err(invalid(format!("its id cannot be used: {fault}")));
    }
    let document = with_id(&id, document)?;
    if document.values().any(|value| depth(value, MONGO_NESTING_MAX) >= MONGO_NESTING_MAX) {
        return Err(invalid(format!("it is nested deeper than {MONGO_NESTING_MAX} levels")));
    }
    let stored = to_bson(&document)?;
    let size = stored.to_vec().map_or(usize::MAX, |bytes| bytes.len());
    // Room for what stands beside it.
    if size > MESSAGE_BYTES_MAX - 1_024 {
        return Err(StoreError::TooLarge {
            found_bytes: size,
            max_bytes: MESSAGE_BYTES_MAX - 1_024,
        });
    }
    Ok(Prepared { id, put: Some(Put { document, stored, replace }), version })
}

/// The update of a document that stays as it is.
fn version_alone(write: Bson, version: Option<i64>) -> Bdoc {
    let field = format!("{HIDDEN}.version");
    let mut set = doc! { (format!("{HIDDEN}.write")): write };
    match version {
        Some(version) => {
            set.insert(field, version);
            doc! { "$set": set }
        }
        None => doc! { "$set": set, "$unset": { field: "" } },
    }
}

/// The first statement whose document is at fault, by its place, and why.
///
/// # Errors
/// A fault that is not the document's.
fn document_fault(answer: &Bdoc, run: &[Statement]) -> Result<Option<(usize, String)>, StoreError> {
    for fault in answer.get_array("writeErrors").into_iter().flatten() {
        let Some(fault) = fault.as_document() else { continue };
        let code = fault.get("code").and_then(number).unwrap_or(0);
        let index = fault.get("index").and_then(number).unwrap_or(0);
        let why = fault.get_str("errmsg").unwrap_or("no reason given").to_owned();
        if code == i64::from(DUPLICATE_KEY) && why.contains("_id") {
            continue;
        }
        if code == i64::from(DUPLICATE_KEY)
            || DOCUMENT_FAULTS.iter().any(|one| i64::from(*one) == code)
        {
            let statement = usize::try_from(index).ok().and_then(|index| run.get(index));
            return Ok(
                statement.map(|statement| (statement.place, format!("MongoDB refuses it: {why}")))
            );
        }
        return Err(StoreError::storage(ACTION, std::io::Error::other(why)));
    }
    Ok(None)
}

pub(super) fn number(value: &Bson) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_i32().map(i64::from))
        .or_else(|| value.as_f64().map(|n| n as i64))
}

/// Id of the tombstone of a document. Names of collections hold no slash.
fn tombstone(collection: &str, id: &str) -> String {
    format!("{collection}/{id}")
}

/// How long the server keeps tombstones.
pub(super) const TOMBSTONES_KEPT: Duration = Duration::from_millis(DELETED_VERSIONS_KEPT_MS);
