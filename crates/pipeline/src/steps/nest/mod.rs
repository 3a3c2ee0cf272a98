//! The `nest` step: from rows of change data capture to nested documents.
//!
//! Rows change in `rows`; the keys of the documents that they are in gather in the open
//! [`Transaction`]. With its last record each of these documents is put together and, where it
//! differs from what was given out last, given out whole. So nobody sees half a
//! transaction, a line that comes before its order waits, and what changes nothing in a
//! document makes no event.
//!
//! **Versions.** What a record at offset n completes has the version 2n + 1, so versions of
//! a document grow. A document that moves (its `moves_with` changes) is two events: the
//! deletion of the old document, version 2n, and the new one, version 2n + 1. They may go
//! to different partitions and arrive in any order at targets that ignore lower versions:
//! - where the old place is known by the old values (a cache by customer), only the deletion
//!   comes, and 2n is above all that was there;
//! - where both meet (a history by order), the new document wins: after the deletion because
//!   it is higher, before it because the deletion is lower, and ignored.
//!
//! **Repeats.** A source repeats its last transactions after a crash; the step leaves out those
//! that it has completed (`repeats`), and takes the one that was cut off from its beginning.
//!
//! Everything here is remembered with the position, the open transaction too. One change can
//! touch very many documents; they are given out in pieces ([`Step::has_more`]). It follows
//! no changes of tables but in their rows, and it never asks the database.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use courant_model::{
    Header, Offset, Origin, Position, Timestamp, TopicPartition,
    change::{
        OPERATION_HEADER, Operation, TABLE_HEADER, TRANSACTION_END_HEADER, TRANSACTION_HEADER,
    },
    limits::{PIPELINE_BATCH_BYTES_MAX, PIPELINE_BATCH_RECORDS_MAX},
};

use super::{Place, StateChange, StateEntry, Step, StepContext, StepOutput};
use crate::{
    event::{Event, Payload},
    plan::NestPlan,
};

mod memory;
mod repeats;
mod row;
mod rows;
mod slab;
#[cfg(test)]
mod tests;
mod tree;

use repeats::Repeats;
use row::{Columns, Key};
use rows::{Full, Rows, Touched};
use tree::Tree;

/// The step, for the one partition of a topic of rows.
#[derive(Debug)]
pub(super) struct NestStep {
    place: Place,
    /// The plan as text: whose memory this is.
    plan: String,
    rows_max: usize,
    /// `"version":`
    version: Option<Vec<u8>>,
    rows: Rows,
    /// What was given out last, by the root's key.
    known: HashMap<Key, Document>,
    /// Keys whose entry in `known` changed.
    known_changed: HashSet<Key>,
    open: Option<Transaction>,
    repeats: Repeats,
    /// What of the plan and the open transaction is in the state.
    saved: Saved,
    /// Events behind those that `completed` holds up.
    waiting: VecDeque<Event>,
    completed: Option<Completed>,
    /// The state holds the memory of another plan.
    foreign: bool,
}

/// A document as it was given out.
#[derive(Debug, PartialEq, Eq)]
struct Document {
    /// Without version and closing brace.
    text: Box<[u8]>,
    /// What its place depends on.
    place: Box<[u8]>,
}

/// A transaction whose last record has not come.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Transaction {
    name: Bytes,
    touched: Touched,
    /// The oldest of the records that touched something.
    origin: Origin,
    /// Of the last record.
    offset: Offset,
    timestamp: Timestamp,
    table: String,
}

/// How the state differs from the plan and the open transaction; kept as it comes, so that
/// a long transaction is not compared with the state again and again.
#[derive(Debug, Default)]
struct Saved {
    /// The plan is in the state.
    plan: bool,
    /// A transaction is in the state.
    open: bool,
    /// Touched keys that are in the state.
    touched: Vec<Key>,
    /// Touched keys that are not in it yet.
    fresh: Vec<Key>,
    /// Keys in it that a completed transaction touched.
    gone: Vec<Key>,
}

/// A transaction whose documents are being given out.
#[derive(Debug)]
struct Completed {
    transaction: Transaction,
    part: u32,
}

/// What the headers of a record say.
#[derive(Debug)]
struct Change<'a> {
    table: Option<&'a str>,
    operation: Option<Operation>,
    /// `None`: it is a transaction by itself.
    transaction: Option<&'a Bytes>,
    is_last: bool,
}

/// Rows of a snapshot that names no transaction belong to one.
static SNAPSHOT: Bytes = Bytes::from_static(b"");

impl NestStep {
    pub(super) fn new(place: Place, plan: &NestPlan) -> Self {
        Self {
            place,
            plan: plan.to_string(),
            rows_max: plan.rows_max,
            version: plan.version.as_deref().map(tree::label),
            rows: Rows::new(Tree::new(plan), plan.rows_max),
            known: HashMap::new(),
            known_changed: HashSet::new(),
            open: None,
            repeats: Repeats::default(),
            saved: Saved::default(),
            waiting: VecDeque::new(),
            completed: None,
            foreign: false,
        }
    }

    /// Takes a record into the rows and the open transaction.
    fn take(&mut self, event: Event, output: &mut StepOutput) {
        let change = Change::of(&event);
        let mut touched = Touched::new();
        let applied = self.apply(&event, &change, &mut touched);
        let open = self.open.get_or_insert_with(|| Transaction {
            name: change.transaction.cloned().unwrap_or_default(),
            touched: Touched::new(),
            origin: event.origin,
            offset: event.source.offset,
            timestamp: event.timestamp,
            table: String::new(),
        });
        if !touched.is_empty() {
            let first = open.touched.is_empty();
            open.origin = if first { event.origin } else { open.origin.min(event.origin) };
            for key in touched {
                if open.touched.insert(Arc::clone(&key)) {
                    self.saved.fresh.push(key);
                }
            }
        }
        (open.offset, open.timestamp) = (event.source.offset, event.timestamp);
        if let Some(table) = change.table.filter(|table| *table != open.table) {
            table.clone_into(&mut open.table);
        }
        if change.is_last {
            if let Some(name) = change.named() {
                self.repeats.add(name);
            }
            self.complete();
        }
        if let Err(why) = applied {
            output.rejected.push(self.place.reject(event, why));
        }
    }

    fn apply(
        &mut self,
        event: &Event,
        change: &Change<'_>,
        touched: &mut Touched,
    ) -> Result<(), String> {
        if self.foreign {
            return Err("the step was changed, and what it remembers belongs to the old one; \
                        set the offsets of the pipeline's group to the earliest, so that all \
                        rows are read again"
                .into());
        }
        if let number @ 1.. = event.source.partition.partition {
            return Err(format!(
                "row comes from partition {number}, and only partition 0 keeps the order of \
                 commits; write the rows into a topic with one partition"
            ));
        }
        let Some(table) = change.table else {
            return Err(format!(
                "record has no header {TABLE_HEADER:?}; nest takes the rows of change data capture"
            ));
        };
        let nodes = self.rows.tree().nodes.iter().enumerate();
        let nodes: Vec<usize> =
            nodes.filter(|(_, node)| node.takes(table)).map(|(index, _)| index).collect();
        if nodes.is_empty() {
            return Ok(());
        }
        let Some(text) = event.payload.bytes() else {
            return Err("value is null; the row of a deletion comes as it was last".into());
        };
        let columns = Columns::parse(&text)?;
        for node in nodes {
            let read = self.rows.tree().nodes[node].read(&columns)?;
            if change.operation == Some(Operation::Delete) {
                self.rows.delete(node, &read, touched);
            } else {
                self.rows.put(node, read, touched).map_err(|Full| self.full())?;
            }
        }
        Ok(())
    }

    fn full(&self) -> String {
        let rows = self.rows_max;
        format!("{rows} rows are remembered already; raise \"rows_max\", and read all rows again")
    }

    fn complete(&mut self) {
        self.saved.fresh.clear();
        self.saved.gone.append(&mut self.saved.touched);
        if let Some(transaction) = self.open.take().filter(|open| !open.touched.is_empty()) {
            self.completed = Some(Completed { transaction, part: 0 });
        }
    }

    /// Gives out one document of a completed transaction; answers its bytes.
    fn give_out(&mut self, key: &Key, completed: &mut Completed, passed: &mut Vec<Event>) -> usize {
        let known = self.known.get(key);
        let new = self
            .rows
            .document(key)
            .map(|(text, place)| Document { text: text.into(), place: place.into() });
        if known == new.as_ref() {
            return 0;
        }
        let moves = matches!((known, &new), (Some(old), Some(new)) if old.place != new.place);
        let version = 2 * completed.transaction.offset + 1;
        let mut bytes = 0;
        let mut give = |operation, document: &Document, version| {
            let event = self.event(key, completed, operation, document, version);
            bytes += document.text.len();
            passed.push(event);
        };
        match (known, &new) {
            (Some(old), Some(new)) if moves => {
                give(Operation::Delete, old, version - 1);
                give(Operation::Insert, new, version);
            }
            (Some(_), Some(new)) => give(Operation::Update, new, version),
            (None, Some(new)) => give(Operation::Insert, new, version),
            (Some(old), None) => give(Operation::Delete, old, version),
            (None, None) => {}
        }
        match new {
            Some(new) => self.known.insert(Arc::clone(key), new),
            None => self.known.remove(key),
        };
        self.known_changed.insert(Arc::clone(key));
        bytes
    }

    fn event(
        &self,
        key: &Key,
        completed: &mut Completed,
        operation: Operation,
        document: &Document,
        version: Offset,
    ) -> Event {
        let Completed { transaction, part } = completed;
        let mut text = Vec::with_capacity(document.text.len() + 40);
        text.extend_from_slice(&document.text);
        if let Some(label) = &self.version {
            if text.len() > 1 {
                text.push(b',');
            }
            text.extend_from_slice(label);
            text.extend_from_slice(version.to_string().as_bytes());
        }
        text.push(b'}');
        let partition = TopicPartition::new(self.place.topic.clone(), 0);
        *part += 1;
        Event {
            source: Position { partition, offset: transaction.offset },
            part: *part - 1,
            key: Some(Bytes::copy_from_slice(key)),
            headers: vec![
                operation.header(),
                Header::new(TABLE_HEADER, self.table_name(transaction)),
            ],
            timestamp: transaction.timestamp,
            origin: transaction.origin,
            payload: Payload::from_bytes(text.into()),
        }
    }

    /// The root's table, with the database that the transaction's rows name.
    fn table_name(&self, transaction: &Transaction) -> String {
        let table = &self.rows.tree().nodes[0].table;
        match transaction.table.split_once('.') {
            Some((database, _)) if !table.contains('.') => format!("{database}.{table}"),
            _ => table.clone(),
        }
    }

    /// Gives out documents until as many are out as one run may give; `false`: some are left.
    fn give_out_completed(&mut self, output: &mut StepOutput, bytes: &mut usize) -> bool {
        let Some(mut completed) = self.completed.take() else { return true };
        while let Some(key) = completed.transaction.touched.pop_first() {
            if *bytes >= PIPELINE_BATCH_BYTES_MAX
                || output.passed.len() >= PIPELINE_BATCH_RECORDS_MAX
            {
                completed.transaction.touched.insert(key);
                self.completed = Some(completed);
                return false;
            }
            *bytes += self.give_out(&key, &mut completed, &mut output.passed);
        }
        true
    }
}

impl Step for NestStep {
    fn run(&mut self, _: &StepContext, events: Vec<Event>) -> StepOutput {
        let mut output = StepOutput::default();
        let mut bytes = 0;
        self.waiting.extend(events);
        while self.give_out_completed(&mut output, &mut bytes) {
            let Some(event) = self.waiting.pop_front() else { break };
            let change = Change::of(&event);
            if change.operation == Some(Operation::Snapshot) {
                self.repeats.clear();
            } else if change.named().is_some_and(|name| self.repeats.contains(name)) {
                continue;
            }
            let name = change.transaction.map_or(&b""[..], |name| name);
            // The last record of the one before was lost: nothing more of it will come.
            if self.open.as_ref().is_some_and(|open| open.name != name) {
                self.complete();
                self.waiting.push_front(event);
            } else {
                self.take(event, &mut output);
            }
        }
        output
    }

    fn has_more(&self) -> bool {
        self.completed.is_some() || !self.waiting.is_empty()
    }

    fn restore(&mut self, entries: Vec<StateEntry>) {
        for (key, value) in entries {
            self.restore_entry(&key, &value);
        }
    }

    fn take_changes(&mut self) -> Vec<StateChange> {
        self.changes()
    }
}

impl<'a> Change<'a> {
    /// The transaction's name, where it is one of its own.
    fn named(&self) -> Option<&'a Bytes> {
        self.transaction.filter(|_| self.operation != Some(Operation::Snapshot))
    }

    fn of(event: &'a Event) -> Self {
        let mut change = Self { table: None, operation: None, transaction: None, is_last: false };
        for header in &event.headers {
            let Some(value) = &header.value else { continue };
            match header.name.as_str() {
                TABLE_HEADER => change.table = std::str::from_utf8(value).ok(),
                OPERATION_HEADER => change.operation = Operation::of(std::slice::from_ref(header)),
                TRANSACTION_HEADER => change.transaction = Some(value),
                TRANSACTION_END_HEADER => change.is_last = value == "last",
                _ => {}
            }
        }
        if change.transaction.is_none() {
            match change.operation {
                Some(Operation::Snapshot) => change.transaction = Some(&SNAPSHOT),
                _ => change.is_last = true,
            }
        }
        change
    }
}
