//! Watches: a collection's changes in the order of their commits.
//!
//! A watch is a place in the change log and a bell. It reads the log whenever the bell
//! says that more is durable, so a slow watch costs nobody memory; it lags only when
//! retention has dropped what it had not read.

use std::fmt;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    changes::Stretch,
    keys::{Number, Stamp, Token},
    store::Store,
};
use crate::{Change, Changes, ResumeToken, StoreError, WatchFrom, jobs::Handle};

/// A watch of one collection.
pub(super) struct EmbeddedChanges {
    store: Handle<Store>,
    durable: watch::Receiver<Stamp>,
    collection: String,
    number: Number,
    identity: u64,
    position: Stamp,
}

impl EmbeddedChanges {
    /// Begins a watch; what is durable from now on rings its bell.
    ///
    /// # Errors
    /// [`StoreError::UnknownCollection`], [`StoreError::InvalidToken`].
    pub(super) fn begin(
        store: &Store,
        handle: Handle<Store>,
        name: &str,
        from: &WatchFrom,
    ) -> Result<Self, StoreError> {
        let collection = store.collection(name)?;
        let durable = collection.durable.subscribe();
        let totals = *collection.totals.lock();
        let position = match from {
            WatchFrom::Now => totals.last,
            WatchFrom::Earliest => totals.dropped,
            WatchFrom::After(ResumeToken(text)) => {
                let token = Token::decode(text)?;
                let refuse = |why: &str| StoreError::InvalidToken {
                    token: text.clone(),
                    why: why.to_owned(),
                };
                if token.identity != collection.identity {
                    return Err(refuse("it is of another collection; watch this one from its own"));
                }
                if token.stamp < totals.dropped {
                    return Err(refuse(
                        "changes after it are no longer kept; read the collection, then watch from now",
                    ));
                }
                if token.stamp > totals.last {
                    return Err(refuse(
                        "it is ahead of the collection, whose data may have been restored from a copy; \
                         read the collection, then watch from now",
                    ));
                }
                token.stamp
            }
        };
        Ok(Self {
            store: handle,
            durable,
            collection: name.to_owned(),
            number: collection.number,
            identity: collection.identity,
            position,
        })
    }

    async fn read(&self, upto: Stamp, max: usize) -> Result<Vec<Change>, StoreError> {
        let stretch = Stretch {
            collection: self.number,
            identity: self.identity,
            after: self.position,
            upto,
        };
        let name = self.collection.clone();
        self.store
            .run("reading the changes of the history", move |store| {
                let changes = store.changes.read(stretch, max)?;
                // After the read: a bucket that went meanwhile has said so by now.
                if store.collection(&name)?.totals.lock().dropped > stretch.after {
                    return Err(StoreError::WatchLagged { collection: name });
                }
                Ok(changes)
            })
            .await
    }
}

#[async_trait]
impl Changes for EmbeddedChanges {
    async fn next(&mut self, max: usize) -> Result<Vec<Change>, StoreError> {
        loop {
            let upto = *self.durable.borrow_and_update();
            if upto > self.position {
                let changes = self.read(upto, max.max(1)).await?;
                if let Some(last) = changes.last() {
                    self.position = Token::decode(&last.token.0)?.stamp;
                    return Ok(changes);
                }
                self.position = upto;
            }
            self.durable.changed().await.map_err(|_| StoreError::Closed)?;
        }
    }
}

impl fmt::Debug for EmbeddedChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedChanges")
            .field("collection", &self.collection)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
