//! A place for every transactional id, and whose turn it is there.
//!
//! Whatever changes an id holds its [`Turn`], from the look at the present until the
//! change is durable, and to the last marker when a transaction ends: so the calls of
//! one id follow one another, and ids do not wait for each other. Looking needs no
//! turn.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use courant_model::limits::{TRANSACTION_TURN_MS_MAX, TRANSACTIONAL_IDS_MAX};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use super::machine::Transaction;
use crate::LogError;

/// All transactional ids.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<BTreeMap<Arc<str>, Arc<Slot>>>);

/// The place of one transactional id.
#[derive(Debug)]
pub(super) struct Slot {
    id: Arc<str>,
    turn: Arc<tokio::sync::Mutex<()>>,
    /// `None` until its first producer is durable, and once it is forgotten.
    transaction: Mutex<Option<Transaction>>,
}

/// The right to change a transactional id.
#[derive(Debug)]
pub(super) struct Turn {
    slot: Arc<Slot>,
    _guard: OwnedMutexGuard<()>,
}

impl Slots {
    pub(super) fn get(&self, id: &str) -> Option<Arc<Slot>> {
        self.0.lock().get(id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        self.0.lock().values().cloned().collect()
    }

    /// The place of an id, which is made if there is none.
    ///
    /// # Errors
    /// [`LogError::InvalidTransactionalId`] for one more than is kept.
    pub(super) fn ensure(&self, id: &str) -> Result<Arc<Slot>, LogError> {
        let mut slots = self.0.lock();
        if let Some(slot) = slots.get(id) {
            return Ok(Arc::clone(slot));
        }
        if slots.len() >= TRANSACTIONAL_IDS_MAX {
            let why = format!(
                "the log keeps {TRANSACTIONAL_IDS_MAX} already; unused ones go after 7 days"
            );
            return Err(LogError::InvalidTransactionalId { id: id.to_owned(), why });
        }
        Ok(Arc::clone(slots.entry(id.into()).or_insert_with(|| Slot::new(id))))
    }

    /// Puts a transaction in place, as replay does.
    pub(super) fn put(&self, id: &Arc<str>, transaction: Option<Transaction>) {
        let mut slots = self.0.lock();
        match transaction {
            Some(transaction) => {
                let slot = slots.entry(Arc::clone(id)).or_insert_with(|| Slot::new(id));
                *slot.transaction.lock() = Some(transaction);
            }
            None => drop(slots.remove(id)),
        }
    }

    /// Gives up the places that hold nothing and that nobody else looks at.
    pub(super) fn sweep(&self) {
        let is_used =
            |slot: &Arc<Slot>| Arc::strong_count(slot) > 1 || slot.transaction.lock().is_some();
        self.0.lock().retain(|_, slot| is_used(slot));
    }
}

impl Slot {
    fn new(id: &str) -> Arc<Self> {
        Arc::new(Self { id: id.into(), turn: Arc::default(), transaction: Mutex::default() })
    }

    pub(super) fn transaction(&self) -> Option<Transaction> {
        self.transaction.lock().clone()
    }

    /// Looks at the transaction without a copy.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Transaction) -> T) -> Option<T> {
        self.transaction.lock().as_ref().map(look)
    }

    /// Waits for the turn.
    ///
    /// # Errors
    /// [`LogError::ConcurrentTransactions`] if it does not come in time.
    pub(super) async fn turn(self: Arc<Self>) -> Result<Turn, LogError> {
        let wait = Duration::from_millis(TRANSACTION_TURN_MS_MAX);
        let taken = tokio::time::timeout(wait, Arc::clone(&self.turn).lock_owned()).await;
        let failed = |_| LogError::ConcurrentTransactions { id: self.id.to_string() };
        let guard = taken.map_err(failed)?;
        Ok(Turn { slot: self, _guard: guard })
    }

    /// The turn, if nobody has it.
    pub(super) fn try_turn(self: Arc<Self>) -> Option<Turn> {
        let guard = Arc::clone(&self.turn).try_lock_owned().ok()?;
        Some(Turn { slot: self, _guard: guard })
    }
}

impl Turn {
    pub(super) fn id(&self) -> &Arc<str> {
        &self.slot.id
    }

    pub(super) fn transaction(&self) -> Option<Transaction> {
        self.slot.transaction()
    }

    pub(super) fn set(&self, transaction: Option<Transaction>) {
        *self.slot.transaction.lock() = transaction;
    }
}
