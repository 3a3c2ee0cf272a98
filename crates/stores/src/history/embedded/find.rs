//! Answers questions along a plan, over one snapshot.
//!
//! Documents are read one by one and forgotten unless they belong to the answer; where
//! the access is not in the wanted order, only the best `skip + limit` places are
//! kept, and their documents read at the end. So memory follows the answer, not the
//! collection.

use std::{
    collections::{BinaryHeap, HashSet},
    ops::ControlFlow,
};

use courant_model::limits::FIND_LIMIT_MAX;
use fjall::{Readable, Snapshot};

use super::{
    changes::reading,
    keys::{Stamp, trailing_stamp},
    plan::{Access, Plan, plan},
    store::{Collection, Store, parse},
};
use crate::{Document, Filter, FindQuery, StoreError, history::sort::place};

impl Store {
    /// Documents that match, in order.
    pub(super) fn find(&self, name: &str, query: &FindQuery) -> Result<Vec<Document>, StoreError> {
        let collection = self.collection(name)?;
        let limit = match query.limit {
            0 => FIND_LIMIT_MAX,
            limit => limit.min(FIND_LIMIT_MAX),
        };
        let (reader, plan) = Reader::new(self, &collection, query);
        if plan.ordered {
            reader.take_ordered(&plan, query, limit)
        } else {
            reader.take_best(&plan, query, limit)
        }
    }

    /// How many documents match.
    pub(super) fn count(&self, name: &str, filter: &Filter) -> Result<u64, StoreError> {
        let collection = self.collection(name)?;
        if *filter == Filter::All {
            return Ok(collection.totals.lock().documents);
        }
        let query = FindQuery { filter: filter.clone(), ..FindQuery::default() };
        let (reader, plan) = Reader::new(self, &collection, &query);
        let mut count = 0;
        reader.matching(&plan, filter, &mut |_, _| {
            count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(count)
    }
}

/// Reads a collection as of one moment.
struct Reader<'a> {
    store: &'a Store,
    collection: &'a Collection,
    snapshot: Snapshot,
}

type Visit<'v> = dyn FnMut(Stamp, Document) -> Result<ControlFlow<()>, StoreError> + 'v;

impl<'a> Reader<'a> {
    fn new(store: &'a Store, collection: &'a Collection, query: &FindQuery) -> (Self, Plan) {
        let (indexes, snapshot) = {
            let indexes = collection.indexes.read();
            (indexes.clone(), store.database.snapshot())
        };
        // After the snapshot: an index that it holds loose entries of says so by now.
        let plan = plan(query, &indexes);
        (Self { store, collection, snapshot }, plan)
    }

    /// The answer where documents come in its order.
    fn take_ordered(
        &self,
        plan: &Plan,
        query: &FindQuery,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let mut skip = query.skip;
        let mut found = Vec::new();
        self.matching(plan, &query.filter, &mut |_, document| {
            if skip > 0 {
                skip -= 1;
                return Ok(ControlFlow::Continue(()));
            }
            found.push(document);
            Ok(match found.len() {
                length if length < limit => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            })
        })?;
        Ok(found)
    }

    /// The answer where documents come in another order.
    fn take_best(
        &self,
        plan: &Plan,
        query: &FindQuery,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let wanted = query.skip.saturating_add(limit);
        let mut best: BinaryHeap<(Vec<u8>, Stamp)> = BinaryHeap::new();
        self.matching(plan, &query.filter, &mut |stamp, document| {
            let place = place(&document, stamp, &query.sort);
            if best.len() < wanted {
                best.push((place, stamp));
            } else if let Some(mut worst) = best.peek_mut()
                && place < worst.0
            {
                *worst = (place, stamp);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        best.into_sorted_vec()
            .into_iter()
            .skip(query.skip)
            .map(|(_, stamp)| self.store.document(&self.snapshot, self.collection, stamp))
            .collect()
    }

    /// Visits every document that matches, in the order of the access.
    fn matching(
        &self,
        plan: &Plan,
        filter: &Filter,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let mut visit = |stamp, document: Document| {
            if filter.matches(&document) {
                visit(stamp, document)
            } else {
                Ok(ControlFlow::Continue(()))
            }
        };
        match &plan.access {
            Access::Ids(ids) => self.by_ids(ids, &mut visit),
            Access::Index { index, ranges } => {
                let mut seen = HashSet::new();
                for range in ranges {
                    let entries = self.snapshot.range(&index.keyspace, range.clone());
                    let flow = self.along(entries, plan.reverse, &mut |entry| {
                        let stamp = entry.key().map_err(reading).map(|key| trailing_stamp(&key))?;
                        let stamp = stamp.ok_or_else(|| self.broken(0))?;
                        // A list gives its document several entries.
                        if !seen.insert(stamp) {
                            return Ok(ControlFlow::Continue(()));
                        }
                        let document =
                            self.store.document(&self.snapshot, self.collection, stamp)?;
                        visit(stamp, document)
                    })?;
                    if flow.is_break() {
                        break;
                    }
                }
                Ok(())
            }
            Access::Insertion => {
                let prefix = self.collection.number.to_be_bytes();
                let entries = self.snapshot.prefix(&self.store.documents, prefix);
                self.along(entries, plan.reverse, &mut |entry| {
                    let (key, body) = entry.into_inner().map_err(reading)?;
                    let stamp = trailing_stamp(&key).ok_or_else(|| self.broken(0))?;
                    let document = parse(&body).ok_or_else(|| self.broken(stamp))?;
                    visit(stamp, document)
                })
                .map(drop)
            }
        }
    }

    fn by_ids(&self, ids: &[String], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut stamps = Vec::with_capacity(ids.len());
        for id in ids {
            stamps.extend(self.store.stamp_of(&self.snapshot, self.collection, id)?);
        }
        stamps.sort_unstable();
        stamps.dedup();
        for stamp in stamps {
            let document = self.store.document(&self.snapshot, self.collection, stamp)?;
            if visit(stamp, document)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn along(
        &self,
        mut entries: fjall::Iter,
        reverse: bool,
        visit: &mut dyn FnMut(fjall::Guard) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let mut next = || if reverse { entries.next_back() } else { entries.next() };
        while let Some(entry) = next() {
            if visit(entry)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn broken(&self, stamp: Stamp) -> StoreError {
        self.store.broken_document(self.collection, stamp)
    }
}
