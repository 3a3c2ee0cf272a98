//! What the step remembers, as entries of the state.
//!
//! Rows as texts, documents as they were given out, and the open transaction where a
//! checkpoint falls into one; [`Entry`] documents the bytes. The indexes are made again
//! from the rows. Memory of another plan is not read: rows that it left out are not there.

use std::{mem, sync::Arc};

use bytes::Bytes;
use courant_model::{Origin, Timestamp};

use super::{Document, NestStep, StateChange, Touched, Transaction, row::Key};

/// The entries, by their keys; numbers are big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// `01 key` → length of the place:4, place, text: a document as it was given out.
    Document(&'a [u8]),
    /// `02` → offset:8 origin:8 timestamp:8, length of the table:4, table, name: the open
    /// transaction.
    Open,
    /// `03` → the plan as text.
    Plan,
    /// `04 path 00 key` → a row as a JSON object.
    Row(&'a str, &'a [u8]),
    /// `05 key` → nothing: the open transaction touched this document.
    Touched(&'a [u8]),
    /// `06 number:8` → 8 bytes for each completed transaction of a block.
    Repeats(u64),
}

impl<'a> Entry<'a> {
    pub(super) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Document(key) => [&[1], key].concat(),
            Self::Open => vec![2],
            Self::Plan => vec![3],
            Self::Row(path, key) => [&[4], path.as_bytes(), &[0], key].concat(),
            Self::Touched(key) => [&[5], key].concat(),
            Self::Repeats(block) => [&[6], block.to_be_bytes().as_slice()].concat(),
        }
    }

    /// Reads a key; `None` where it is none of these.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        Some(match tag {
            1 => Self::Document(rest),
            2 => Self::Open,
            3 => Self::Plan,
            4 => {
                let end = rest.iter().position(|byte| *byte == 0)?;
                Self::Row(std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 1..])
            }
            5 => Self::Touched(rest),
            6 => Self::Repeats(u64::from_be_bytes(rest.try_into().ok()?)),
            _ => return None,
        })
    }
}

impl NestStep {
    /// Brings back one entry. They come in the order of their keys: the transaction before
    /// what it touched.
    pub(super) fn restore_entry(&mut self, key: &[u8], value: &[u8]) {
        match Entry::read(key) {
            Some(Entry::Document(key)) => {
                if let Some(document) = Document::decode(value) {
                    self.known.insert(key.into(), document);
                }
            }
            Some(Entry::Open) => {
                self.open = Transaction::decode(value);
                self.saved.open = true;
            }
            Some(Entry::Plan) => {
                self.foreign = value != self.plan.as_bytes();
                self.saved.plan = true;
            }
            Some(Entry::Row(path, _)) => self.rows.restore(path, value),
            Some(Entry::Touched(key)) => {
                let key: Key = key.into();
                if let Some(open) = &mut self.open {
                    open.touched.insert(Arc::clone(&key));
                }
                self.saved.touched.push(key);
            }
            Some(Entry::Repeats(block)) => self.repeats.restore(block, value),
            None => {}
        }
    }

    /// What changed since the last call.
    pub(super) fn changes(&mut self) -> Vec<StateChange> {
        let change = |key: Entry<'_>, value| StateChange { key: key.bytes(), value };
        let mut changes = Vec::new();
        for (path, key, text) in self.rows.take_changed() {
            changes.push(change(Entry::Row(path, &key), text));
        }
        for key in self.known_changed.drain() {
            let document = self.known.get(&key).map(Document::encode);
            changes.push(change(Entry::Document(&key), document));
        }
        for (block, names) in self.repeats.take_changed() {
            changes.push(change(Entry::Repeats(block), names));
        }
        if !changes.is_empty() && !mem::replace(&mut self.saved.plan, true) {
            changes.push(change(Entry::Plan, Some(self.plan.clone().into_bytes())));
        }
        self.save_open(&mut changes);
        changes
    }

    /// Brings the state's picture of the open transaction up to date.
    fn save_open(&mut self, changes: &mut Vec<StateChange>) {
        for key in self.saved.gone.drain(..) {
            changes.push(StateChange { key: Entry::Touched(&key).bytes(), value: None });
        }
        for key in self.saved.fresh.drain(..) {
            let value = Some(Vec::new());
            changes.push(StateChange { key: Entry::Touched(&key).bytes(), value });
            self.saved.touched.push(key);
        }
        let was_open = mem::replace(&mut self.saved.open, self.open.is_some());
        if was_open || self.open.is_some() {
            let value = self.open.as_ref().map(Transaction::encode);
            changes.push(StateChange { key: Entry::Open.bytes(), value });
        }
    }
}

impl Document {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.place.len() + self.text.len());
        put_sized(&self.place, &mut bytes);
        bytes.extend_from_slice(&self.text);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (place, text) = take_sized(bytes)?;
        Some(Self { text: text.into(), place: place.into() })
    }
}

impl Transaction {
    /// Without what it touched.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&self.offset.to_be_bytes());
        bytes.extend_from_slice(&self.origin.as_micros().to_be_bytes());
        bytes.extend_from_slice(&self.timestamp.as_millis().to_be_bytes());
        put_sized(self.table.as_bytes(), &mut bytes);
        bytes.extend_from_slice(&self.name);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk()?;
        let (origin, rest) = rest.split_first_chunk()?;
        let (timestamp, rest) = rest.split_first_chunk()?;
        let (table, name) = take_sized(rest)?;
        Some(Self {
            name: Bytes::copy_from_slice(name),
            touched: Touched::new(),
            origin: Origin::from_micros(i64::from_be_bytes(*origin)),
            offset: i64::from_be_bytes(*offset),
            timestamp: Timestamp::from_millis(i64::from_be_bytes(*timestamp)),
            table: String::from_utf8(table.to_vec()).ok()?,
        })
    }
}

fn put_sized(part: &[u8], into: &mut Vec<u8>) {
    let length = u32::try_from(part.len()).expect("a row's part is smaller than a message");
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(part);
}

fn take_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}
