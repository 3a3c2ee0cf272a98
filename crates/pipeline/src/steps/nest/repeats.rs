//! The transactions that were completed lately, so that a repeated one is known.
//!
//! A source that crashed writes again what came after its last position. Taken once more,
//! an old row would stand in a document with a new version until the newer row is repeated
//! as well. So what was completed lately is left out. Names are kept as 64-bit hashes: of
//! the 65,536 that are kept, one is taken for another once in 10^14 transactions. A
//! snapshot begins anew: after it the log, and its names, may be another.

use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
};

use courant_model::limits::NEST_TRANSACTIONS_KEPT;

/// Names in one entry of the state.
const BLOCK: u64 = 256;

/// Hashes of the names of completed transactions, which are numbered as they come.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// The number of the oldest that is kept; it begins a block.
    first: u64,
    order: VecDeque<u64>,
    known: HashSet<u64>,
    /// The numbers whose blocks are in the state as they are here.
    saved: Range<u64>,
}

impl Repeats {
    /// Whether a transaction of this name was completed.
    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.known.contains(&hash(name))
    }

    /// Notes that a transaction is complete; the oldest go.
    pub(super) fn add(&mut self, name: &[u8]) {
        let hash = hash(name);
        if !self.known.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() as u64 >= NEST_TRANSACTIONS_KEPT as u64 + BLOCK {
            for oldest in self.order.drain(..BLOCK as usize) {
                self.known.remove(&oldest);
            }
            self.first += BLOCK;
        }
    }

    pub(super) fn clear(&mut self) {
        self.first = self.end().next_multiple_of(BLOCK);
        self.order.clear();
        self.known.clear();
    }

    /// What changed since the last call: blocks by their number, and the names in them;
    /// `None` where a block went.
    pub(super) fn take_changed(&mut self) -> Vec<(u64, Option<Vec<u8>>)> {
        let (first, end) = (self.first, self.end());
        let gone = self.saved.start / BLOCK..self.saved.end.min(first).div_ceil(BLOCK);
        let new = self.saved.end.max(first)..end;
        self.saved = first..end;
        let blocks = new.start / BLOCK..end.div_ceil(BLOCK);
        let blocks = blocks.filter(|_| !new.is_empty());
        gone.map(|block| (block, None))
            .chain(blocks.map(|block| (block, Some(self.block(block)))))
            .collect()
    }

    /// Brings a block back; they come in the order of their numbers.
    pub(super) fn restore(&mut self, block: u64, names: &[u8]) {
        if self.order.is_empty() {
            self.first = block * BLOCK;
        }
        for name in names.as_chunks::<8>().0 {
            let hash = u64::from_be_bytes(*name);
            self.order.push_back(hash);
            self.known.insert(hash);
        }
        self.saved = self.first..self.end();
    }

    fn end(&self) -> u64 {
        self.first + self.order.len() as u64
    }

    fn block(&self, block: u64) -> Vec<u8> {
        let skipped = (block * BLOCK - self.first) as usize;
        let names = self.order.iter().skip(skipped).take(BLOCK as usize);
        names.flat_map(|hash| hash.to_be_bytes()).collect()
    }
}

/// FNV-1a of 64 bits, whose values stay what they are from version to version.
fn hash(name: &[u8]) -> u64 {
    name.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Applies changes to a state, and reads a new one back from it.
    fn restored(repeats: &mut Repeats, state: &mut BTreeMap<u64, Vec<u8>>) -> Repeats {
        for (block, names) in repeats.take_changed() {
            match names {
                Some(names) => state.insert(block, names),
                None => state.remove(&block),
            };
        }
        let mut restored = Repeats::default();
        state.iter().for_each(|(block, names)| restored.restore(*block, names));
        restored
    }

    #[test]
    fn what_was_completed_lately_is_known_also_after_restarts() {
        let (mut repeats, mut state) = (Repeats::default(), BTreeMap::new());
        let count = NEST_TRANSACTIONS_KEPT + 3_000;
        for number in 0..count {
            repeats.add(format!("0-1-{number}").as_bytes());
            if number % 1_009 == 0 {
                let again = restored(&mut repeats, &mut state);
                assert_eq!((again.first, &again.order), (repeats.first, &repeats.order));
                repeats = again;
            }
        }
        let known = |number: usize| repeats.contains(format!("0-1-{number}").as_bytes());
        assert!((count - NEST_TRANSACTIONS_KEPT..count).all(known));
        assert!(!known(0) && !known(count));
        assert!(state.len() <= NEST_TRANSACTIONS_KEPT / BLOCK as usize + 2, "old blocks go");
    }

    #[test]
    fn nothing_is_left_of_what_was_before_a_snapshot() {
        let (mut repeats, mut state) = (Repeats::default(), BTreeMap::new());
        repeats.add(b"old");
        let mut repeats = restored(&mut repeats, &mut state);
        repeats.clear();
        repeats.add(b"new");
        let repeats = restored(&mut repeats, &mut state);
        assert_eq!((repeats.contains(b"old"), repeats.contains(b"new")), (false, true));
        assert_eq!(state.len(), 1);
    }
}
