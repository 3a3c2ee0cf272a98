//! What was pushed, and how far each collection was read: folder `push/`.
//!
//! One keyspace. A channel's place and its new messages go in one atomic write before
//! anything is published. The write survives the process, not a loss of power, and need
//! not: a feed that starts at an older place reads the same changes again and gives them the
//! same numbers. Bounded in messages and bytes for each channel of the file.

use std::{path::PathBuf, sync::Arc};

use courant_model::limits::{
    PUSH_JOURNAL_CACHE_BYTES, STORE_JOURNAL_BYTES_MAX, STORE_MEMTABLE_BYTES_MAX,
};
use courant_stores::ResumeToken;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use serde::{Deserialize, Serialize};

use super::message::Told;

/// The keys of the keyspace: a tag, then the channel's name, which ends with a zero byte.
#[derive(Debug, Clone, Copy)]
enum Key<'a> {
    /// `01 channel 00` → [`Place`], as JSON.
    Place(&'a str),
    /// `02 channel 00 sequence:8` → [`Told`], as JSON.
    Message(&'a str, u64),
}

impl Key<'_> {
    fn bytes(self) -> Vec<u8> {
        let (tag, channel, sequence) = match self {
            Self::Place(channel) => (1, channel, None),
            Self::Message(channel, sequence) => (2, channel, Some(sequence)),
        };
        let mut bytes = vec![tag];
        bytes.extend_from_slice(channel.as_bytes());
        bytes.push(0);
        bytes.extend(sequence.into_iter().flat_map(u64::to_be_bytes));
        bytes
    }
}

/// How far a feed has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Of the numbers; another one when they cannot go on.
    pub(super) generation: u64,
    /// Changes that were read, pushed or not.
    pub(super) sequence: u64,
    /// All messages above this number are kept.
    pub(super) floor: u64,
    /// Where the collection's watch goes on; `None`: with the oldest change that is kept.
    pub(super) token: Option<ResumeToken>,
    /// Changes that were committed before are not pushed; `None` once one was seen that
    /// was not.
    pub(super) begun_micros: Option<i64>,
}

/// A message and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) sequence: u64,
    pub(super) told: Told,
}

/// What one write changes of a channel.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    /// Number and JSON of new messages.
    pub(super) messages: Vec<(u64, Vec<u8>)>,
    /// Numbers of messages that go.
    pub(super) forgotten: Vec<u64>,
}

/// Numbers of kept messages with their bytes, ascending.
pub(super) type Sizes = Vec<(u64, usize)>;

/// The journal's storage; clones are the same.
#[derive(Clone)]
pub(super) struct Journal {
    database: Database,
    keyspace: Keyspace,
}

/// A failure of the journal of pushed messages.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("folder {folder:?} is in use by another process; stop it or use another --data")]
    InUse { folder: PathBuf },
    #[error("{action} the journal of pushed messages failed: {source}")]
    Storage { action: &'static str, source: Arc<fjall::Error> },
    #[error(
        "the journal of pushed messages holds what is no {what} of channel {channel:?}: {reason}; stop Courant and delete its folder push"
    )]
    Damaged { what: &'static str, channel: String, reason: String },
}

impl Journal {
    /// Opens or creates the folder.
    pub(super) async fn open(folder: PathBuf) -> Result<Self, JournalError> {
        run(move || {
            let open = || {
                std::fs::create_dir_all(&folder)?;
                let database = Database::builder(&folder)
                    .cache_size(PUSH_JOURNAL_CACHE_BYTES)
                    .max_journaling_size(STORE_JOURNAL_BYTES_MAX)
                    .worker_threads(1)
                    .open()?;
                let keyspace = database.keyspace("messages", || {
                    KeyspaceCreateOptions::default().max_memtable_size(STORE_MEMTABLE_BYTES_MAX)
                })?;
                Ok(Self { database, keyspace })
            };
            open().map_err(|error| match error {
                fjall::Error::Locked => JournalError::InUse { folder: folder.clone() },
                error => failed("opening")(error),
            })
        })
        .await
    }

    /// A channel's place and which messages are kept; `None` for one that is new.
    pub(super) async fn load(&self, channel: &str) -> Result<Option<(Place, Sizes)>, JournalError> {
        let (journal, channel) = (self.clone(), channel.to_owned());
        run(move || {
            let found = journal.keyspace.get(Key::Place(&channel).bytes());
            let Some(found) = found.map_err(failed("reading"))? else { return Ok(None) };
            let place: Place =
                serde_json::from_slice(&found).map_err(damaged("place", &channel))?;
            let mut sizes = Sizes::new();
            for entry in journal.keyspace.range(all_of(&channel)) {
                let (key, value) = entry.into_inner().map_err(failed("reading"))?;
                sizes.push((sequence_of(&key), value.len()));
            }
            Ok(Some((place, sizes)))
        })
        .await
    }

    /// Writes what has come, atomically; it survives the process when this answers.
    pub(super) async fn add(&self, channel: &str, entry: Entry) -> Result<(), JournalError> {
        let (journal, channel) = (self.clone(), channel.to_owned());
        run(move || {
            let mut batch = journal.database.batch().durability(Some(PersistMode::Buffer));
            for (sequence, message) in entry.messages {
                let key = Key::Message(&channel, sequence).bytes();
                batch.insert(&journal.keyspace, key, message);
            }
            for sequence in entry.forgotten {
                batch.remove(&journal.keyspace, Key::Message(&channel, sequence).bytes());
            }
            let place = serde_json::to_vec(&entry.place).map_err(damaged("place", &channel))?;
            batch.insert(&journal.keyspace, Key::Place(&channel).bytes(), place);
            batch.commit().map_err(failed("writing"))
        })
        .await
    }

    /// The first messages on one name of a channel, after a number and up to another.
    pub(super) async fn messages(
        &self,
        channel: &str,
        name: &str,
        (after, upto): (u64, u64),
        max: usize,
    ) -> Result<Vec<Numbered>, JournalError> {
        let (journal, channel, name) = (self.clone(), channel.to_owned(), name.to_owned());
        run(move || {
            let mut found = Vec::new();
            if after >= upto {
                return Ok(found);
            }
            let from = Key::Message(&channel, after + 1).bytes();
            let until = Key::Message(&channel, upto).bytes();
            for entry in journal.keyspace.range(from..=until) {
                let (key, value) = entry.into_inner().map_err(failed("reading"))?;
                let told: Told =
                    serde_json::from_slice(&value).map_err(damaged("message", &channel))?;
                if told.channel == name {
                    found.push(Numbered { sequence: sequence_of(&key), told });
                }
                if found.len() == max {
                    break;
                }
            }
            Ok(found)
        })
        .await
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

fn all_of(channel: &str) -> std::ops::RangeInclusive<Vec<u8>> {
    Key::Message(channel, 0).bytes()..=Key::Message(channel, u64::MAX).bytes()
}

/// The number at the end of a message's key.
fn sequence_of(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Work that blocks, off the async threads; once begun it goes on to its end.
async fn run<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, JournalError> + Send + 'static,
) -> Result<R, JournalError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(failed("working in")(fjall::Error::Io(std::io::Error::other(error)))),
    }
}

fn failed(action: &'static str) -> impl Fn(fjall::Error) -> JournalError {
    move |source| JournalError::Storage { action, source: Arc::new(source) }
}

fn damaged<'a>(
    what: &'static str,
    channel: &'a str,
) -> impl Fn(serde_json::Error) -> JournalError + 'a {
    move |error| JournalError::Damaged {
        what,
        channel: channel.to_owned(),
        reason: error.to_string(),
    }
}
