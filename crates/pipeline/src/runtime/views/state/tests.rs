//! A view's state against a plain map, whatever is stored, staged, dropped and read when.

use std::collections::BTreeMap;

use courant_sql::stream::MemoryState;
use proptest::prelude::*;

use super::*;
use crate::{
    runtime::{
        state::StateStore,
        views::tables::{Mark, Tables},
    },
    testing::name,
};

#[derive(Debug, Clone)]
enum Step {
    Put(u16, Vec<u8>, Vec<u8>),
    Remove(u16, Vec<u8>),
    Get(u16, Vec<u8>),
    Scan(u16, Vec<u8>, Vec<u8>),
    /// A checkpoint without a transaction.
    Store,
    /// One with a transaction, which is committed or not, and told or not.
    Stage {
        committed: bool,
        told: bool,
    },
    /// The process ends; what is not stored is gone.
    Crash,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0_u8..4, 0..3)
}

fn step() -> impl Strategy<Value = Step> {
    let table = 0_u16..3;
    let value = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        6 => (table.clone(), key(), value).prop_map(|(table, key, value)| Step::Put(table, key, value)),
        2 => (table.clone(), key()).prop_map(|(table, key)| Step::Remove(table, key)),
        3 => (table.clone(), key()).prop_map(|(table, key)| Step::Get(table, key)),
        3 => (table, key(), key()).prop_map(|(table, from, to)| Step::Scan(table, from, to)),
        1 => Just(Step::Store),
        1 => any::<(bool, bool)>()
            .prop_map(|(committed, told)| Step::Stage { committed, told }),
        1 => Just(Step::Crash),
    ]
}

/// The state under test, with what is committed.
struct Bench {
    store: StateStore,
    state: ViewState,
    cache: Cache,
    number: u64,
    committed: u64,
}

impl Bench {
    fn new(store: StateStore) -> Self {
        let state = ViewState::new(tables(&store));
        Self { store, state, cache: Cache::default(), number: 0, committed: 0 }
    }

    fn mark(&mut self) -> Mark {
        self.number += 1;
        let positions = [(name("in"), i64::try_from(self.number).unwrap())].into();
        Mark { number: self.number, positions, ..Mark::default() }
    }

    fn restart(&mut self) {
        let positions = [(name("in"), i64::try_from(self.committed).unwrap())].into();
        self.state = ViewState::new(tables(&self.store));
        self.cache = Cache::default();
        self.state.tables.settle(self.committed, &positions).unwrap();
        let mark = self.state.tables.mark().unwrap();
        self.number = mark.map_or(0, |mark| mark.number).max(self.committed);
    }
}

fn tables(store: &StateStore) -> Tables {
    Tables::new(&store.database, &store.views, "group", 3)
}

fn scanned(
    state: &mut dyn State,
    table: u16,
    from: &[u8],
    to: &[u8],
) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut last: Option<Vec<u8>> = None;
    state
        .scan(table, from, to, &mut |key, value| {
            assert!(last.as_deref().is_none_or(|last| last < key), "ascending");
            last = Some(key.to_vec());
            found.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_state_is_what_its_last_counting_checkpoint_and_its_changes_make(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(StateStore::open(folder.path()).unwrap());
        let (mut model, mut stored) = (MemoryState::new(), MemoryState::new());
        for step in steps {
            match step {
                Step::Put(table, key, value) => {
                    bench.state.lock(&mut bench.cache).put(table, &key, value.clone());
                    model.put(table, &key, value);
                }
                Step::Remove(table, key) => {
                    bench.state.lock(&mut bench.cache).remove(table, &key);
                    model.remove(table, &key);
                }
                Step::Get(table, key) => {
                    let found = bench.state.lock(&mut bench.cache).get(table, &key).unwrap();
                    prop_assert_eq!(found, model.get(table, &key).unwrap());
                }
                Step::Scan(table, from, to) => {
                    let found =
                        scanned(&mut bench.state.lock(&mut bench.cache), table, &from, &to);
                    prop_assert_eq!(found, scanned(&mut model, table, &from, &to));
                }
                Step::Store => {
                    let mark = bench.mark();
                    let state = &bench.state;
                    state.with_changes(|changes| state.tables.store(&mark, changes)).unwrap();
                    bench.state.stored(&mut bench.cache);
                    bench.committed = bench.number;
                    stored = model.clone();
                }
                Step::Stage { committed, told } => {
                    let mark = bench.mark();
                    let state = &bench.state;
                    state.with_changes(|changes| state.tables.stage(&mark, changes)).unwrap();
                    if committed {
                        bench.committed = bench.number;
                        stored = model.clone();
                    }
                    if committed && told {
                        let state = &bench.state;
                        state.with_changes(|changes| state.tables.confirm(&mark, changes)).unwrap();
                        bench.state.stored(&mut bench.cache);
                    } else {
                        bench.restart();
                        model = stored.clone();
                    }
                }
                Step::Crash => {
                    bench.restart();
                    model = stored.clone();
                }
            }
        }
    }
}

#[test]
fn a_cache_forgets_what_was_not_used_for_longest() {
    let mut cache = Cache::default();
    let value = Bytes::from(vec![0; VIEW_CACHE_BYTES / 8]);
    for number in 0..20_u8 {
        cache.keep(vec![number], Some(value.clone()));
        assert!(cache.get(&[0]).is_some() || number > 0, "it was used just now");
        cache.get(&[0]);
    }
    assert!(cache.get(&[0]).is_some(), "it was used all the time");
    assert!(cache.get(&[5]).is_none());
    assert!(cache.young.len() + cache.old.len() <= 10);
}
