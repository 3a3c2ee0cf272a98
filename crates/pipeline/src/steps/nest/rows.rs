//! All rows that the step remembers, and how they hang together.
//!
//! Between a node and its parent lie joints: one for each value of the join, where the
//! rows around and the rows within meet, whichever came first. So a change finds the
//! documents it is in by walking up, a document its parts by walking down, and neither
//! looks at other rows. Rows are kept as the text of their columns; putting a document
//! together copies, and parses nothing. It knows no transactions and no events.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    sync::Arc,
};

use super::{
    row::{Columns, Key, ReadRow},
    slab::{Ids, Slab},
    tree::{Down, Tree},
};
use crate::plan::NestKind;

/// Keys of roots whose documents may have changed.
pub(super) type Touched = BTreeSet<Key>;

/// The rows, by node.
#[derive(Debug)]
pub(super) struct Rows {
    tree: Tree,
    tables: Vec<Table>,
    count: usize,
    count_max: usize,
    /// What changed since it was last taken, by node and key: the text of the row, or `None`
    /// where it went.
    changed: HashMap<(usize, Key), Option<Vec<u8>>>,
}

/// The rows of a node, and its joints with its parent.
#[derive(Debug, Default)]
struct Table {
    rows: Slab<Row>,
    by_key: HashMap<Key, u32>,
    joints: Slab<Joint>,
    by_value: HashMap<Arc<[u8]>, u32>,
}

#[derive(Debug)]
struct Row {
    key: Key,
    shown: Box<[u8]>,
    order: Box<[u8]>,
    /// The joint with the rows around.
    up: Option<u32>,
    /// The joints with the rows within, relation by relation.
    down: Box<[Option<u32>]>,
}

/// Where rows with one value of a join meet.
#[derive(Debug)]
struct Joint {
    value: Arc<[u8]>,
    outer: Ids,
    inner: Ids,
}

/// There are as many rows as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Rows {
    pub(super) fn new(tree: Tree, count_max: usize) -> Self {
        let tables = tree.nodes.iter().map(|_| Table::default()).collect();
        Self { tree, tables, count: 0, count_max, changed: HashMap::new() }
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Sets a row, and adds the roots of the documents that it changes.
    ///
    /// # Errors
    /// [`Full`]; nothing changed.
    pub(super) fn put(
        &mut self,
        node: usize,
        read: ReadRow,
        touched: &mut Touched,
    ) -> Result<(), Full> {
        let known = self.tables[node].by_key.get(&read.key).copied();
        match known {
            Some(id) if self.is_same(node, id, &read) => return Ok(()),
            Some(id) if self.value_up(node, id) != read.up.as_deref() => {
                self.touch(node, id, touched);
            }
            None if self.count >= self.count_max => return Err(Full),
            _ => {}
        }
        let key = known.map_or(read.key.clone(), |id| self.tables[node].rows.get(id).key.clone());
        let mut read = ReadRow { key: Arc::clone(&key), ..read };
        self.changed.insert((node, key), Some(mem::take(&mut read.stored)));
        let id = self.insert(node, read);
        // The old one goes last, so that joints that both have stay.
        match known {
            Some(old) => {
                self.unlink(node, old);
            }
            None => self.count += 1,
        }
        self.touch(node, id, touched);
        Ok(())
    }

    /// Takes a row away, with those that go with it, and adds the roots of the documents
    /// that it was in. Where it is not there, rows that belong to it go all the same: it may
    /// have been deleted before, by a transaction that is repeated.
    pub(super) fn delete(&mut self, node: usize, read: &ReadRow, touched: &mut Touched) {
        if self.tables[node].by_key.contains_key(&read.key) {
            return self.remove(node, &read.key, touched);
        }
        let down = self.tree.nodes[node].down.iter().zip(&read.down);
        let joint = |(down, value): (&Down, &Option<Box<[u8]>>)| {
            self.tables[down.child].by_value.get(value.as_deref()?).copied()
        };
        let down: Vec<Option<u32>> = down.map(joint).collect();
        for (child, key) in self.orphans(node, &down, None) {
            self.remove(child, &key, touched);
        }
    }

    fn remove(&mut self, node: usize, key: &Key, touched: &mut Touched) {
        let Some(id) = self.tables[node].by_key.remove(key) else { return };
        self.touch(node, id, touched);
        let orphans = self.orphans(node, &self.tables[node].rows.get(id).down, Some(id));
        let row = self.unlink(node, id);
        self.count -= 1;
        self.changed.insert((node, row.key), None);
        for (child, key) in orphans {
            self.remove(child, &key, touched);
        }
    }

    /// The rows at a row's joints below that belong to nobody but `id` and go with it.
    fn orphans(&self, node: usize, down: &[Option<u32>], id: Option<u32>) -> Vec<(usize, Key)> {
        let mut orphans = Vec::new();
        for (relation, joint) in self.tree.nodes[node].down.iter().zip(down) {
            let cascades = matches!(relation.kind, NestKind::Many { cascade: true, .. });
            let Some(joint) = joint.filter(|_| cascades) else { continue };
            let inner = &self.tables[relation.child];
            let joint = inner.joints.get(joint);
            if joint.outer.iter().all(|outer| Some(outer) == id) {
                let key = |id| (relation.child, Arc::clone(&inner.rows.get(id).key));
                orphans.extend(joint.inner.iter().map(key));
            }
        }
        orphans
    }

    /// A root's document without its closing brace, and what its place depends on.
    pub(super) fn document(&self, key: &Key) -> Option<(Vec<u8>, &[u8])> {
        let id = *self.tables[0].by_key.get(key)?;
        let mut text = Vec::with_capacity(1024);
        text.push(b'{');
        self.members(0, id, &mut text);
        Some((text, &self.tables[0].rows.get(id).order))
    }

    /// What changed since the last call: path of the node, key, and the text of the row.
    pub(super) fn take_changed(&mut self) -> Vec<(&str, Key, Option<Vec<u8>>)> {
        let nodes = &self.tree.nodes;
        let named = |((node, key), text): ((usize, Key), _)| (nodes[node].path.as_str(), key, text);
        self.changed.drain().map(named).collect()
    }

    /// Brings a row back, as `take_changed` gave it out. A node or text that it does not
    /// know is left out.
    pub(super) fn restore(&mut self, path: &str, text: &[u8]) {
        let Some(node) = self.tree.nodes.iter().position(|node| node.path == path) else { return };
        let read = Columns::parse(text).and_then(|columns| self.tree.nodes[node].read(&columns));
        if let Ok(read) = read {
            self.insert(node, read);
            self.count += 1;
        }
    }

    fn is_same(&self, node: usize, id: u32, read: &ReadRow) -> bool {
        let row = self.tables[node].rows.get(id);
        let down = self.tree.nodes[node].down.iter().zip(row.down.iter());
        row.shown == read.shown
            && row.order == read.order
            && self.value_up(node, id) == read.up.as_deref()
            && down
                .map(|(down, joint)| self.value(down.child, *joint))
                .eq(read.down.iter().map(Option::as_deref))
    }

    fn value_up(&self, node: usize, id: u32) -> Option<&[u8]> {
        self.value(node, self.tables[node].rows.get(id).up)
    }

    /// The value of a joint between a node and its parent.
    fn value(&self, node: usize, joint: Option<u32>) -> Option<&[u8]> {
        joint.map(|joint| &*self.tables[node].joints.get(joint).value)
    }

    /// Adds the keys of the roots above a row.
    fn touch(&self, node: usize, id: u32, touched: &mut Touched) {
        let row = self.tables[node].rows.get(id);
        let Some(up) = &self.tree.nodes[node].up else {
            touched.insert(Arc::clone(&row.key));
            return;
        };
        if let Some(joint) = row.up {
            for outer in self.tables[node].joints.get(joint).outer.iter() {
                self.touch(up.parent, outer, touched);
            }
        }
    }

    /// Adds a row, which replaces that of the same key in the index only.
    fn insert(&mut self, node: usize, read: ReadRow) -> u32 {
        let table = &mut self.tables[node];
        let ReadRow { key, shown, order, up, down, .. } = read;
        let up = up.map(|value| table.joint(&value));
        let row = Row { key: Arc::clone(&key), shown, order, up, down: Box::default() };
        let id = table.rows.insert(row);
        table.by_key.insert(key, id);
        if let Some(joint) = up {
            table.joints.get_mut(joint).inner.insert(id);
        }
        let mut links = Vec::with_capacity(down.len());
        for (relation, value) in self.tree.nodes[node].down.iter().zip(down) {
            let inner = &mut self.tables[relation.child];
            let joint = value.map(|value| inner.joint(&value));
            if let Some(joint) = joint {
                inner.joints.get_mut(joint).outer.insert(id);
            }
            links.push(joint);
        }
        self.tables[node].rows.get_mut(id).down = links.into();
        id
    }

    /// Takes a row out of its place and its joints.
    fn unlink(&mut self, node: usize, id: u32) -> Row {
        let table = &mut self.tables[node];
        let row = table.rows.remove(id);
        if let Some(joint) = row.up {
            table.joints.get_mut(joint).inner.remove(id);
            table.forget_if_empty(joint);
        }
        for (relation, joint) in self.tree.nodes[node].down.iter().zip(row.down.iter()) {
            if let Some(joint) = *joint {
                let inner = &mut self.tables[relation.child];
                inner.joints.get_mut(joint).outer.remove(id);
                inner.forget_if_empty(joint);
            }
        }
        row
    }

    /// Appends an object's fields.
    fn members(&self, node: usize, id: u32, text: &mut Vec<u8>) {
        let row = self.tables[node].rows.get(id);
        if !row.shown.is_empty() {
            comma(text);
            text.extend_from_slice(&row.shown);
        }
        for (relation, joint) in self.tree.nodes[node].down.iter().zip(row.down.iter()) {
            let inner = joint.map(|joint| &self.tables[relation.child].joints.get(joint).inner);
            match relation.kind {
                NestKind::Many { .. } => self.list(relation, inner, text),
                NestKind::One { flatten } => self.single(relation, inner, flatten, text),
            }
        }
    }

    fn list(&self, relation: &Down, inner: Option<&Ids>, text: &mut Vec<u8>) {
        let rows = &self.tables[relation.child].rows;
        let mut ids: Vec<u32> = inner.into_iter().flat_map(Ids::iter).collect();
        ids.sort_by(|a, b| {
            let (a, b) = (rows.get(*a), rows.get(*b));
            (&a.order, &a.key).cmp(&(&b.order, &b.key))
        });
        comma(text);
        text.extend_from_slice(&relation.label);
        text.push(b'[');
        for (index, id) in ids.into_iter().enumerate() {
            text.extend_from_slice(if index == 0 { b"{" } else { b",{" });
            self.members(relation.child, id, text);
            text.push(b'}');
        }
        text.push(b']');
    }

    /// Of several rows, which only a wrong `key` or `on` brings, always the same.
    fn single(&self, relation: &Down, inner: Option<&Ids>, flatten: bool, text: &mut Vec<u8>) {
        let rows = &self.tables[relation.child].rows;
        let id = inner.into_iter().flat_map(Ids::iter).min_by_key(|id| &rows.get(*id).key);
        if flatten {
            if let Some(id) = id {
                self.members(relation.child, id, text);
            }
            return;
        }
        comma(text);
        text.extend_from_slice(&relation.label);
        match id {
            None => text.extend_from_slice(b"null"),
            Some(id) => {
                text.push(b'{');
                self.members(relation.child, id, text);
                text.push(b'}');
            }
        }
    }
}

impl Table {
    /// The joint of a value, made where it is new.
    fn joint(&mut self, value: &[u8]) -> u32 {
        if let Some(joint) = self.by_value.get(value) {
            return *joint;
        }
        let value: Arc<[u8]> = value.into();
        let (outer, inner) = (Ids::default(), Ids::default());
        let joint = self.joints.insert(Joint { value: Arc::clone(&value), outer, inner });
        self.by_value.insert(value, joint);
        joint
    }

    /// Forgets a joint where nobody meets any more.
    fn forget_if_empty(&mut self, joint: u32) {
        let found = self.joints.get(joint);
        if found.outer.is_empty() && found.inner.is_empty() {
            let joint = self.joints.remove(joint);
            self.by_value.remove(&joint.value);
        }
    }
}

/// Parts fields of one object from each other; a field's value never ends with `{`.
fn comma(text: &mut Vec<u8>) {
    if text.last().is_some_and(|last| *last != b'{') {
        text.push(b',');
    }
}
