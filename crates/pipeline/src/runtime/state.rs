//! What pipelines and sources remember on this machine: folder `state/`.
//!
//! One keyspace, beside that of the views (`views::tables`); its keys are [`Key`]. A partition's position and the changes of its
//! steps' memory go in one atomic, synced write, so that after a crash they belong
//! together. Before a transaction they are staged beside what is in force, and the
//! committed offset decides. It is a memory of what the log can bring again, not a store
//! for people.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use courant_model::{
    Column, Columns, Offset, TopicPartition,
    limits::{
        STATE_CACHE_BYTES, STORE_JOURNAL_BYTES_MAX, STORE_MEMTABLE_BYTES_MAX,
        VIEW_MEMTABLE_BYTES_MAX,
    },
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use indexmap::IndexMap;

use crate::{
    core::StepState,
    steps::{StateEntry, pins::PinKey},
};

/// The keys of the keyspace, in bytes: a tag, then names that end with a zero byte,
/// then numbers, big-endian.
#[derive(Debug, Clone, Copy)]
enum Key<'a> {
    /// `01 group 00 topic 00 partition:4` → position of the partition, 8 bytes.
    Position(&'a str, &'a TopicPartition),
    /// `02 group 00 topic 00 partition:4 step:2 …`: the step's own key → its value.
    Step(&'a str, &'a TopicPartition, Option<(u16, &'a [u8])>),
    /// `03 group 00 topic 00 step:2` → pinned columns, as a JSON object of type texts.
    Pin(&'a str, Option<&'a PinKey>),
    /// `04 name` → what a source saved.
    Source(&'a str),
    /// `05 group 00 topic 00 partition:4` → position of the staged checkpoint, 8 bytes.
    Staged(&'a str, &'a TopicPartition),
    /// `06 group 00 topic 00 partition:4 step:2 …` → `01` and the value that the step's
    /// own key is to have, or `00`: it goes.
    StagedStep(&'a str, &'a TopicPartition, Option<(u16, &'a [u8])>),
}

impl Key<'_> {
    /// The key's bytes; without its last part they are the prefix of all such keys.
    fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        let name = |bytes: &mut Vec<u8>, tag: Option<u8>, name: &str| {
            bytes.extend(tag);
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(0);
        };
        let partition = |bytes: &mut Vec<u8>, tag: u8, group: &str, at: &TopicPartition| {
            name(bytes, Some(tag), group);
            name(bytes, None, at.topic.as_str());
            bytes.extend_from_slice(&at.partition.to_be_bytes());
        };
        let step = |bytes: &mut Vec<u8>, rest: Option<(u16, &[u8])>| {
            if let Some((step, key)) = rest {
                bytes.extend_from_slice(&step.to_be_bytes());
                bytes.extend_from_slice(key);
            }
        };
        match self {
            Key::Position(group, at) => partition(&mut bytes, 1, group, at),
            Key::Step(group, at, rest) => {
                partition(&mut bytes, 2, group, at);
                step(&mut bytes, rest);
            }
            Key::Staged(group, at) => partition(&mut bytes, 5, group, at),
            Key::StagedStep(group, at, rest) => {
                partition(&mut bytes, 6, group, at);
                step(&mut bytes, rest);
            }
            Key::Pin(group, pin) => {
                name(&mut bytes, Some(3), group);
                if let Some(pin) = pin {
                    name(&mut bytes, None, pin.topic.as_str());
                    bytes.extend_from_slice(&step_number(pin.step).to_be_bytes());
                }
            }
            Key::Source(source) => {
                bytes.push(4);
                bytes.extend_from_slice(source.as_bytes());
            }
        }
        bytes
    }
}

/// A pipeline has far fewer steps than fit; a file has at most some thousand values.
fn step_number(step: usize) -> u16 {
    u16::try_from(step).unwrap_or(u16::MAX)
}

/// The state of this machine. Its calls block; [`StateStore::run`] takes them off the
/// async threads.
#[derive(Clone)]
pub(crate) struct StateStore {
    pub(super) database: Database,
    keyspace: Keyspace,
    /// Of the views' tables (`views::tables`).
    pub(super) views: Keyspace,
}

/// A failure of the state's storage.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateError {
    #[error("state folder {folder:?} is in use by another process; stop it or use another --data")]
    InUse { folder: PathBuf },
    #[error("{action} the state folder failed: {source}")]
    Storage { action: &'static str, source: Arc<fjall::Error> },
}

/// What one checkpoint of a partition stores.
#[derive(Debug, Default)]
pub(crate) struct Checkpoint {
    pub(crate) position: Offset,
    pub(crate) changes: StepState,
    pub(crate) pins: BTreeMap<PinKey, Columns>,
}

/// What was stored for a partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) position: Option<Offset>,
    /// By step number.
    pub(crate) steps: BTreeMap<usize, Vec<StateEntry>>,
}

impl StateStore {
    /// Opens or creates the folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, StateError> {
        let open = || {
            std::fs::create_dir_all(folder)?;
            let database = Database::builder(folder)
                .cache_size(STATE_CACHE_BYTES)
                .max_journaling_size(STORE_JOURNAL_BYTES_MAX)
                .worker_threads(1)
                .open()?;
            let keyspace = database.keyspace("state", || {
                KeyspaceCreateOptions::default().max_memtable_size(STORE_MEMTABLE_BYTES_MAX)
            })?;
            let views = database.keyspace("views", || {
                KeyspaceCreateOptions::default().max_memtable_size(VIEW_MEMTABLE_BYTES_MAX)
            })?;
            Ok(Self { database, keyspace, views })
        };
        open().map_err(|error| match error {
            fjall::Error::Locked => StateError::InUse { folder: folder.to_owned() },
            error => failed("opening")(error),
        })
    }

    /// Runs blocking work on this store.
    ///
    /// # Cancel safety
    /// Work that has begun goes on to its end.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<R, StateError> + Send + 'static,
    ) -> Result<R, StateError> {
        let store = self.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(done) => done,
            Err(error) => {
                let source = fjall::Error::Io(std::io::Error::other(error));
                Err(failed("working in")(source))
            }
        }
    }

    /// Stores a checkpoint, atomically; durable when it returns.
    pub(crate) fn checkpoint(
        &self,
        group: &str,
        at: &TopicPartition,
        checkpoint: Checkpoint,
    ) -> Result<(), StateError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        let position = checkpoint.position.to_be_bytes();
        batch.insert(&self.keyspace, Key::Position(group, at).bytes(), position.as_slice());
        for (step, change) in checkpoint.changes {
            let key = Key::Step(group, at, Some((step_number(step), &change.key))).bytes();
            match change.value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        self.pin(&mut batch, group, &checkpoint.pins);
        batch.commit().map_err(failed("storing a checkpoint in"))
    }

    /// Pinned columns are never taken back, so they need no staging.
    fn pin(&self, batch: &mut OwnedWriteBatch, group: &str, pins: &BTreeMap<PinKey, Columns>) {
        for (pin, columns) in pins {
            let text = serde_json::to_vec(columns).unwrap_or_default();
            batch.insert(&self.keyspace, Key::Pin(group, Some(pin)).bytes(), text);
        }
    }

    /// Stores a checkpoint beside what is in force, atomically; durable when it returns.
    /// It replaces one that was staged before. Whether it counts, [`Self::settle`] decides.
    pub(crate) fn stage(
        &self,
        group: &str,
        at: &TopicPartition,
        checkpoint: &Checkpoint,
    ) -> Result<(), StateError> {
        let stage = || {
            let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
            for entry in self.keyspace.prefix(Key::StagedStep(group, at, None).bytes()) {
                batch.remove(&self.keyspace, entry.key()?);
            }
            let position = checkpoint.position.to_be_bytes();
            batch.insert(&self.keyspace, Key::Staged(group, at).bytes(), position.as_slice());
            for (step, change) in &checkpoint.changes {
                let rest = (step_number(*step), change.key.as_slice());
                let mut value = vec![u8::from(change.value.is_some())];
                value.extend_from_slice(change.value.as_deref().unwrap_or_default());
                let key = Key::StagedStep(group, at, Some(rest)).bytes();
                batch.insert(&self.keyspace, key, value);
            }
            self.pin(&mut batch, group, &checkpoint.pins);
            batch.commit()
        };
        stage().map_err(failed("staging a checkpoint in"))
    }

    /// Decides on a staged checkpoint, if there is one: it is put in force where the
    /// group has committed its position, or one beyond, and thrown away otherwise.
    pub(crate) fn settle(
        &self,
        group: &str,
        at: &TopicPartition,
        committed: Offset,
    ) -> Result<(), StateError> {
        let settle = || {
            let staged = self.keyspace.get(Key::Staged(group, at).bytes())?;
            let Some(position) = staged.as_deref().and_then(read_position) else { return Ok(()) };
            let counts = position <= committed;
            // What counts is found again after a crash, and put in force then; what was
            // thrown away must never come back.
            let mode = if counts { PersistMode::Buffer } else { PersistMode::SyncAll };
            let mut batch = self.database.batch().durability(Some(mode));
            batch.remove(&self.keyspace, Key::Staged(group, at).bytes());
            if counts {
                let position = position.to_be_bytes();
                batch.insert(&self.keyspace, Key::Position(group, at).bytes(), position.as_slice());
            }
            let prefix = Key::StagedStep(group, at, None).bytes();
            for entry in self.keyspace.prefix(&prefix) {
                let (key, value) = entry.into_inner()?;
                let mut inforce = Key::Step(group, at, None).bytes();
                inforce.extend_from_slice(&key[prefix.len()..]);
                match value.split_first() {
                    Some((1, value)) if counts => batch.insert(&self.keyspace, inforce, value),
                    _ if counts => batch.remove(&self.keyspace, inforce),
                    _ => {}
                }
                batch.remove(&self.keyspace, key);
            }
            batch.commit()
        };
        settle().map_err(failed("settling a checkpoint in"))
    }

    /// Reads what was stored for a partition.
    pub(crate) fn stored(&self, group: &str, at: &TopicPartition) -> Result<Stored, StateError> {
        let read = || {
            let position = self.keyspace.get(Key::Position(group, at).bytes())?;
            let position = position.as_deref().and_then(read_position);
            let prefix = Key::Step(group, at, None).bytes();
            let mut steps: BTreeMap<usize, Vec<_>> = BTreeMap::new();
            for entry in self.keyspace.prefix(&prefix) {
                let (key, value) = entry.into_inner()?;
                let Some((step, key)) = key[prefix.len()..].split_first_chunk::<2>() else {
                    continue;
                };
                let step = usize::from(u16::from_be_bytes(*step));
                steps.entry(step).or_default().push((key.to_vec(), value.to_vec()));
            }
            Ok(Stored { position, steps })
        };
        read().map_err(failed("reading a checkpoint from"))
    }

    /// Forgets a partition; durable when it returns.
    pub(crate) fn clear(&self, group: &str, at: &TopicPartition) -> Result<(), StateError> {
        let clear = || {
            let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
            batch.remove(&self.keyspace, Key::Position(group, at).bytes());
            batch.remove(&self.keyspace, Key::Staged(group, at).bytes());
            for key in [Key::Step(group, at, None), Key::StagedStep(group, at, None)] {
                for entry in self.keyspace.prefix(key.bytes()) {
                    batch.remove(&self.keyspace, entry.key()?);
                }
            }
            batch.commit()
        };
        clear().map_err(failed("clearing a checkpoint in"))
    }

    /// The columns that a pipeline pinned.
    pub(crate) fn pins(&self, group: &str) -> Result<BTreeMap<PinKey, Columns>, StateError> {
        let read = || {
            let prefix = Key::Pin(group, None).bytes();
            let mut pins = BTreeMap::new();
            for entry in self.keyspace.prefix(&prefix) {
                let (key, value) = entry.into_inner()?;
                if let Some(pin) = read_pin(&key[prefix.len()..])
                    && let Some(columns) = read_columns(&value)
                {
                    pins.insert(pin, columns);
                }
            }
            Ok(pins)
        };
        read().map_err(failed("reading pinned columns from"))
    }

    /// What a source saved last.
    pub(crate) fn source(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let saved = self.keyspace.get(Key::Source(name).bytes());
        Ok(saved.map_err(failed("reading a source's state from"))?.map(|value| value.to_vec()))
    }

    /// Replaces what a source saved; durable when it returns.
    pub(crate) fn save_source(&self, name: &str, state: &[u8]) -> Result<(), StateError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.keyspace, Key::Source(name).bytes(), state);
        batch.commit().map_err(failed("saving a source's state in"))
    }
}

pub(super) fn failed(action: &'static str) -> impl Fn(fjall::Error) -> StateError {
    move |source| StateError::Storage { action, source: Arc::new(source) }
}

fn read_position(bytes: &[u8]) -> Option<Offset> {
    Some(Offset::from_be_bytes(bytes.try_into().ok()?))
}

fn read_pin(key: &[u8]) -> Option<PinKey> {
    let (rest, step) = key.split_last_chunk::<2>()?;
    let topic = std::str::from_utf8(rest.strip_suffix(&[0])?).ok()?;
    Some(PinKey { topic: topic.parse().ok()?, step: u16::from_be_bytes(*step).into() })
}

fn read_columns(text: &[u8]) -> Option<Columns> {
    let types: IndexMap<String, String> = serde_json::from_slice(text).ok()?;
    types.into_iter().map(|(name, text)| Column::parse(name, &text).ok()).collect()
}

impl std::fmt::Debug for StateStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateStore").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use courant_model::ColumnType;
    use proptest::prelude::*;

    use super::*;
    use crate::steps::StateChange;

    fn at(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition::new(topic.parse().unwrap(), partition)
    }

    fn change(step: usize, key: &str, value: Option<&str>) -> (usize, StateChange) {
        let (key, value) = (key.as_bytes().to_vec(), value.map(|text| text.as_bytes().to_vec()));
        (step, StateChange { key, value })
    }

    #[test]
    fn of_several_changes_of_one_key_the_last_counts() {
        let folder = tempfile::tempdir().unwrap();
        let changes = || {
            let steps =
                [("a", Some("1")), ("b", None), ("a", None), ("b", Some("2")), ("a", Some("3"))];
            steps.map(|(key, value)| change(1, key, value)).into()
        };
        {
            let store = StateStore::open(folder.path()).unwrap();
            let checkpoint =
                || Checkpoint { position: 1, changes: changes(), pins: BTreeMap::new() };
            store.checkpoint("g", &at("now", 0), checkpoint()).unwrap();
            store.stage("g", &at("staged", 0), &checkpoint()).unwrap();
            store.settle("g", &at("staged", 0), 1).unwrap();
        }
        let store = StateStore::open(folder.path()).unwrap();
        let entry = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        for topic in ["now", "staged"] {
            let stored = store.stored("g", &at(topic, 0)).unwrap();
            assert_eq!(stored.steps[&1], [entry("a", "3"), entry("b", "2")], "{topic}");
        }
    }

    #[test]
    fn a_checkpoint_is_there_after_the_folder_was_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let pin = PinKey { topic: "a".parse().unwrap(), step: 2 };
        let columns: Columns = [
            Column::new("n", ColumnType::Int64),
            Column::new("of", ColumnType::List(Box::new(ColumnType::String))).required(),
        ]
        .into_iter()
        .collect();
        {
            let store = StateStore::open(folder.path()).unwrap();
            let changes = vec![change(1, "k", Some("v")), change(1, "gone", Some("x"))];
            let pins = BTreeMap::from([(pin.clone(), columns.clone())]);
            store.checkpoint("g", &at("a", 3), Checkpoint { position: 7, changes, pins }).unwrap();
            let changes = vec![change(1, "gone", None)];
            let second = Checkpoint { position: 9, changes, ..Checkpoint::default() };
            store.checkpoint("g", &at("a", 3), second).unwrap();
            store.save_source("s", b"here").unwrap();
        }
        let store = StateStore::open(folder.path()).unwrap();
        let stored = store.stored("g", &at("a", 3)).unwrap();
        assert_eq!(stored.position, Some(9));
        assert_eq!(stored.steps, BTreeMap::from([(1, vec![(b"k".to_vec(), b"v".to_vec())])]));
        assert_eq!(store.pins("g").unwrap(), BTreeMap::from([(pin, columns)]));
        assert_eq!(store.source("s").unwrap().as_deref(), Some(b"here".as_slice()));
    }

    #[test]
    fn a_staged_checkpoint_counts_exactly_if_its_position_was_committed() {
        let folder = tempfile::tempdir().unwrap();
        let staged = |position, changes| Checkpoint { position, changes, ..Checkpoint::default() };
        let steps = |entries: &[(&str, &str)]| {
            let entry = |(k, v): &(&str, &str)| (k.as_bytes().to_vec(), v.as_bytes().to_vec());
            BTreeMap::from([(1, entries.iter().map(entry).collect::<Vec<_>>())])
        };
        {
            let store = StateStore::open(folder.path()).unwrap();
            let first = vec![change(1, "a", Some("1")), change(1, "b", Some("1"))];
            store.checkpoint("g", &at("t", 0), staged(5, first)).unwrap();
            let taken_back = vec![change(1, "never", Some("x")), change(1, "a", None)];
            store.stage("g", &at("t", 0), &staged(9, taken_back)).unwrap();
            assert_eq!(store.stored("g", &at("t", 0)).unwrap().position, Some(5));
            store.settle("g", &at("t", 0), 5).unwrap();
            store.settle("g", &at("t", 0), 100).unwrap();
            let stored = store.stored("g", &at("t", 0)).unwrap();
            let before = steps(&[("a", "1"), ("b", "1")]);
            assert_eq!((stored.position, stored.steps), (Some(5), before));
            let replaced = vec![change(1, "replaced", Some("x"))];
            store.stage("g", &at("t", 0), &staged(6, replaced)).unwrap();
            let kept = vec![change(1, "b", None), change(1, "c", Some(""))];
            store.stage("g", &at("t", 0), &staged(8, kept)).unwrap();
        }
        let store = StateStore::open(folder.path()).unwrap();
        store.settle("g", &at("t", 0), 8).unwrap();
        let stored = store.stored("g", &at("t", 0)).unwrap();
        let after = steps(&[("a", "1"), ("c", "")]);
        assert_eq!((stored.position, stored.steps), (Some(8), after));
        store.stage("g", &at("t", 0), &staged(9, vec![change(1, "d", Some("1"))])).unwrap();
        store.clear("g", &at("t", 0)).unwrap();
        store.settle("g", &at("t", 0), 9).unwrap();
        assert_eq!(store.stored("g", &at("t", 0)).unwrap(), Stored::default());
    }

    #[test]
    fn partitions_groups_and_topics_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let store = StateStore::open(folder.path()).unwrap();
        let checkpoint = |position| Checkpoint {
            position,
            changes: vec![change(1, "k", Some("v"))],
            ..Checkpoint::default()
        };
        for (group, topic, partition) in
            [("g", "a", 1), ("g", "a", 256), ("g", "ab", 1), ("ga", "a", 1)]
        {
            store.checkpoint(group, &at(topic, partition), checkpoint(5)).unwrap();
        }
        store.clear("g", &at("a", 1)).unwrap();
        assert_eq!(store.stored("g", &at("a", 1)).unwrap(), Stored::default());
        for (group, topic, partition) in [("g", "a", 256), ("g", "ab", 1), ("ga", "a", 1)] {
            let stored = store.stored(group, &at(topic, partition)).unwrap();
            assert_eq!((stored.position, stored.steps.len()), (Some(5), 1), "{group} {topic}");
        }
    }

    #[test]
    fn a_folder_in_use_is_told_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let _store = StateStore::open(folder.path()).unwrap();
        let error = StateStore::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("in use by another process; stop it or use another --data"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn no_partition_is_within_anothers_keys(
            one in ("[ab.]{1,3}", "[ab]{1,3}", any::<i32>()),
            other in ("[ab.]{1,3}", "[ab]{1,3}", any::<i32>()),
            (step, key) in (any::<u16>(), any::<Vec<u8>>()),
        ) {
            prop_assume!(one != other);
            let inside = Key::Step(&one.0, &at(&one.1, one.2), Some((step, &key))).bytes();
            prop_assert!(!inside.starts_with(&Key::Step(&other.0, &at(&other.1, other.2), None).bytes()));
        }

        #[test]
        fn pins_survive_their_key(topic in "[a-z._-]{1,9}x", step in any::<u16>()) {
            let pin = PinKey { topic: topic.parse().unwrap(), step: step.into() };
            let prefix = Key::Pin("group", None).bytes();
            let key = Key::Pin("group", Some(&pin)).bytes();
            prop_assert_eq!(read_pin(key.strip_prefix(&*prefix).unwrap()), Some(pin));
        }
    }
}
