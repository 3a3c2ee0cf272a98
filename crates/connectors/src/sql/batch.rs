//! From what records do, one after the other, to the work of a transaction.
//!
//! Changes of different rows are gathered, so that few statements carry many rows; a
//! second change of the same row begins a new wave, so that the last one counts. Within
//! a wave a record's own row is written before those of its lists, and removed after
//! them, as foreign keys want it.

use std::collections::HashSet;

use super::{
    Mode,
    cell::Cell,
    layout::{Change, ChildRows, Layout, Row},
    table::{Action, Work},
};

/// The work of some changes, in order.
pub(super) fn work_of(layout: &Layout, changes: &[&Change]) -> Vec<Work> {
    let mut work = Vec::new();
    let (mut wave, mut keys): (Vec<&Change>, HashSet<String>) = Default::default();
    for &change in changes {
        let same_kind = wave.last().is_none_or(|last| kind(last) == kind(change));
        let key = match change {
            Change::Put { key, .. } | Change::Remove { key, .. } => format!("{key:?}"),
        };
        // Without a key every row is one of its own.
        let is_new = layout.master.key.is_empty() || keys.insert(key.clone());
        if !same_kind || !is_new {
            work.extend(wave_of(layout, &wave));
            wave.clear();
            keys.clear();
            keys.insert(key);
        }
        wave.push(change);
    }
    work.extend(wave_of(layout, &wave));
    work
}

fn kind(change: &Change) -> std::mem::Discriminant<Change> {
    std::mem::discriminant(change)
}

/// The work of changes of one kind that each have a row of their own.
fn wave_of(layout: &Layout, wave: &[&Change]) -> Vec<Work> {
    let (mut masters, mut removed) = (Vec::new(), Vec::new());
    let mut children: Vec<Vec<Work>> = layout.children.iter().map(|_| Vec::new()).collect();
    for change in wave {
        match change {
            Change::Put { row, children: families, .. } => {
                masters.push(row);
                for (at, family) in families.iter().enumerate() {
                    let Some(family) = family else { continue };
                    let child = &layout.children[at];
                    if child.replace {
                        let (of, kept) = (family.of.clone(), family.keys.clone());
                        children[at].push(prune(at + 1, child, of, kept));
                    }
                }
            }
            Change::Remove { key, children: parents } => {
                removed.push(key.clone());
                for (at, of) in parents.iter().enumerate() {
                    let columns = layout.children[at].parent();
                    let rows = vec![of.clone()];
                    let action = Action::Remove { columns, rows };
                    children[at].push(Work { table: at + 1, action });
                }
            }
        }
    }
    let mut work = Vec::new();
    if !removed.is_empty() {
        work.extend(children.into_iter().flatten());
        let action = Action::Remove { columns: layout.master.key.clone(), rows: removed };
        work.push(Work { table: 0, action });
        return work;
    }
    work.extend(rows_of(0, &layout.master.key, layout.mode, &masters));
    for (at, prunes) in children.into_iter().enumerate() {
        work.extend(prunes);
        let families = wave.iter().filter_map(|change| match change {
            Change::Put { children, .. } => children[at].as_ref(),
            Change::Remove { .. } => None,
        });
        let rows: Vec<&Row> = families.flat_map(|family| &family.rows).collect();
        work.extend(rows_of(at + 1, layout.children[at].key(), Mode::Upsert, &rows));
    }
    work
}

fn prune(table: usize, child: &ChildRows, of: Vec<Cell>, kept: Vec<Vec<Cell>>) -> Work {
    let action = Action::Prune { parent: child.parent(), of, key: child.key().to_vec(), kept };
    Work { table, action }
}

/// Puts rows, those with the same columns that follow each other together.
fn rows_of(table: usize, key: &[usize], mode: Mode, rows: &[&Row]) -> Vec<Work> {
    let together = rows.chunk_by(|one, other| one.columns == other.columns);
    let work = together.map(|rows| {
        let (key, columns) = (key.to_vec(), rows[0].columns.clone());
        let rows = rows.iter().map(|row| row.cells.clone()).collect();
        let action = match mode {
            Mode::Update => Action::Update { key, columns, rows },
            Mode::Upsert | Mode::Insert | Mode::Delete => Action::Put { key, columns, rows },
        };
        Work { table, action }
    });
    work.collect()
}
