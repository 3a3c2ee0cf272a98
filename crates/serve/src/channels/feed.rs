//! One channel of the file: from its collection's changes to numbered messages.
//!
//! The only writer of its part of the journal. A change gets its number when it is read,
//! pushed or not, so that the same change has the same number however often it is read.
//! Journal first, then the number that pages may resume from, then the pages. A server
//! elsewhere is told first, and the place is written once it has taken everything.

use std::{
    collections::VecDeque,
    convert::Infallible,
    time::{Duration, Instant},
};

use courant_model::{
    Clock,
    limits::{
        PUSH_JOURNAL_BYTES_MAX, PUSH_JOURNAL_MESSAGES_MAX, PUSH_KEPT_MESSAGES_MAX,
        RETRY_WAIT_MS_MAX, RETRY_WAIT_MS_MIN,
    },
};
use courant_pipeline::plan::ChannelPlan;
use courant_push::{Missed, Position, Resumption};
use courant_stores::{Change, History, StoreError, WatchFrom};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    journal::{Entry, Journal, JournalError, Numbered, Place},
    message,
    outlet::Outlet,
};
use crate::telemetry;

/// A channel of the file, at its place.
#[derive(Debug)]
pub(super) struct Feed {
    plan: ChannelPlan,
    journal: Journal,
    kept: Mutex<Kept>,
}

/// What is in the journal.
#[derive(Debug)]
struct Kept {
    place: Place,
    /// Numbers of messages with their bytes, oldest first.
    sizes: VecDeque<(u64, usize)>,
    bytes: usize,
}

/// Why a feed stopped for a while.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Feed {
    /// Opens a channel at its place in the journal; one that is new begins now.
    pub(super) async fn open(
        plan: ChannelPlan,
        journal: &Journal,
        now_micros: i64,
    ) -> Result<Self, JournalError> {
        let kept = match journal.load(plan.name.as_str()).await? {
            Some((place, sizes)) => {
                let bytes = sizes.iter().map(|(_, bytes)| bytes).sum();
                Kept { place, sizes: sizes.into(), bytes }
            }
            None => {
                let place = Place::begin(now_micros);
                let entry =
                    Entry { place: place.clone(), messages: Vec::new(), forgotten: Vec::new() };
                journal.add(plan.name.as_str(), entry).await?;
                Kept { place, sizes: VecDeque::new(), bytes: 0 }
            }
        };
        Ok(Self { plan, journal: journal.clone(), kept: Mutex::new(kept) })
    }

    /// Whether this feed publishes on a channel.
    pub(super) fn is_for(&self, channel: &str) -> bool {
        self.plan.name.matches(channel)
    }

    /// Where the channel stands.
    pub(super) fn head(&self) -> Position {
        let Place { generation, sequence, .. } = self.kept.lock().place;
        Position { generation, sequence }
    }

    /// What was said on a channel after a position.
    pub(super) async fn since(
        &self,
        channel: &str,
        after: Position,
    ) -> Result<Resumption, JournalError> {
        let head = self.head();
        if after.generation != head.generation || after.sequence > head.sequence {
            return Ok(Resumption::Unknown);
        }
        let (name, range) = (self.plan.name.as_str(), (after.sequence, head.sequence));
        let found = self.journal.messages(name, channel, range, PUSH_KEPT_MESSAGES_MAX + 1).await?;
        // After the read: what went meanwhile has raised the floor by now.
        let Place { generation, floor, .. } = self.kept.lock().place;
        if generation != head.generation
            || after.sequence < floor
            || found.len() > PUSH_KEPT_MESSAGES_MAX
        {
            return Ok(Resumption::Unknown);
        }
        let missed = |Numbered { sequence, told }| Missed {
            event: told.event,
            data: told.data,
            position: Position { generation, sequence },
        };
        Ok(Resumption::Missed { messages: found.into_iter().map(missed).collect(), head })
    }

    /// Pushes every change until `stop` is cancelled.
    pub(super) async fn run(
        &self,
        history: &dyn History,
        outlet: &Outlet,
        clock: &dyn Clock,
        stop: &CancellationToken,
    ) {
        let first = Duration::from_millis(RETRY_WAIT_MS_MIN);
        let longest = Duration::from_millis(RETRY_WAIT_MS_MAX);
        let pushing = async {
            let mut wait = first;
            loop {
                let started = Instant::now();
                let Err(error) = self.follow(history, outlet).await;
                let error = match error {
                    FeedError::Store(StoreError::InvalidToken { why, .. }) => {
                        self.begin_anew(clock.now_micros(), &why).await.err().map(Into::into)
                    }
                    error => Some(error),
                };
                let Some(error) = error else { continue };
                if started.elapsed() > longest {
                    wait = first;
                }
                tracing::warn!(channel = %self.plan.name, %error, "pushing has stopped; it is tried again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(longest);
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = pushing => {}
        }
    }

    /// Reads and pushes until something fails.
    async fn follow(
        &self,
        history: &dyn History,
        outlet: &Outlet,
    ) -> Result<Infallible, FeedError> {
        let token = self.kept.lock().place.token.clone();
        let from = token.map_or(WatchFrom::Earliest, WatchFrom::After);
        let mut changes = history.watch(&self.plan.collection, from).await?;
        loop {
            let batch = changes.next(outlet.changes_max()).await?;
            let place = self.kept.lock().place.clone();
            let (place, messages) = self.read(place, batch);
            let (name, generation) = (self.plan.name.as_str(), place.generation);
            if outlet.resumes() {
                self.keep(place, &messages).await?;
                outlet.publish(name, generation, &messages).await;
            } else {
                outlet.publish(name, generation, &messages).await;
                self.keep(place, &[]).await?;
            }
        }
    }

    /// Numbers changes, and says what is pushed of them.
    fn read(&self, mut place: Place, changes: Vec<Change>) -> (Place, Vec<Numbered>) {
        let mut messages = Vec::with_capacity(changes.len());
        for change in changes {
            place.sequence += 1;
            place.token = Some(change.token.clone());
            if place.begun_micros.is_some_and(|begun| change.committed_micros < begun) {
                continue;
            }
            place.begun_micros = None;
            let id = change.id.clone();
            match message::of(&self.plan, change) {
                Ok(Some(told)) => messages.push(Numbered { sequence: place.sequence, told }),
                Ok(None) => {}
                Err(reason) => {
                    let ChannelPlan { name, collection, .. } = &self.plan;
                    telemetry::not_pushed(name.as_str());
                    tracing::error!(channel = %name, collection, id, %reason, "a change was not pushed");
                }
            }
        }
        (place, messages)
    }

    /// Writes a place and its messages; from then on pages resume from them.
    async fn keep(&self, mut place: Place, messages: &[Numbered]) -> Result<(), JournalError> {
        let texts: Vec<_> = messages
            .iter()
            .filter_map(|message| Some((message.sequence, serde_json::to_vec(&message.told).ok()?)))
            .collect();
        let forgotten = self.kept.lock().too_much(&texts);
        place.floor = forgotten.last().copied().unwrap_or(place.floor);
        let new: Vec<_> = texts.iter().map(|(sequence, text)| (*sequence, text.len())).collect();
        let entry = Entry { place: place.clone(), messages: texts, forgotten: forgotten.clone() };
        self.journal.add(self.plan.name.as_str(), entry).await?;
        self.kept.lock().follow(place, &forgotten, new);
        Ok(())
    }

    /// Begins with the changes after now, because those after the last place are no
    /// longer known. Pages take a snapshot.
    async fn begin_anew(&self, now_micros: i64, why: &str) -> Result<(), JournalError> {
        let ChannelPlan { name, collection, .. } = &self.plan;
        tracing::error!(channel = %name, collection, why, "changes since the last start cannot be read; they are not pushed");
        let place = Place::begin(now_micros);
        let forgotten: Vec<u64> =
            self.kept.lock().sizes.iter().map(|(number, _)| *number).collect();
        let entry =
            Entry { place: place.clone(), messages: Vec::new(), forgotten: forgotten.clone() };
        self.journal.add(name.as_str(), entry).await?;
        self.kept.lock().follow(place, &forgotten, Vec::new());
        Ok(())
    }
}

impl Place {
    /// The place of a channel that begins with what is committed from now on.
    fn begin(now_micros: i64) -> Self {
        // Numbers of another generation are never mistaken for these.
        let generation = Uuid::new_v4().as_u64_pair().0;
        Self { generation, sequence: 0, floor: 0, token: None, begun_micros: Some(now_micros) }
    }
}

impl Kept {
    /// The oldest messages that new ones leave no room for.
    fn too_much(&self, new: &[(u64, Vec<u8>)]) -> Vec<u64> {
        let mut count = self.sizes.len() + new.len();
        let mut bytes = self.bytes + new.iter().map(|(_, text)| text.len()).sum::<usize>();
        let mut forgotten = Vec::new();
        for (sequence, size) in &self.sizes {
            if count <= PUSH_JOURNAL_MESSAGES_MAX && bytes <= PUSH_JOURNAL_BYTES_MAX {
                break;
            }
            forgotten.push(*sequence);
            (count, bytes) = (count - 1, bytes - size);
        }
        forgotten
    }

    /// Follows what the journal did.
    fn follow(&mut self, place: Place, forgotten: &[u64], new: Vec<(u64, usize)>) {
        for _ in forgotten {
            self.bytes -= self.sizes.pop_front().map_or(0, |(_, bytes)| bytes);
        }
        self.bytes += new.iter().map(|(_, bytes)| bytes).sum::<usize>();
        self.sizes.extend(new);
        self.place = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_messages_make_room_for_new_ones() {
        let half = PUSH_JOURNAL_BYTES_MAX / 2;
        let mut kept = Kept {
            place: Place::begin(0),
            sizes: VecDeque::from([(1, half), (4, half)]),
            bytes: 2 * half,
        };
        let new = [(6, vec![0; half])];
        let forgotten = kept.too_much(&new);
        assert_eq!(forgotten, [1]);
        let place = Place { floor: 1, ..Place::begin(0) };
        kept.follow(place, &forgotten, vec![(6, half)]);
        assert_eq!(kept.sizes, [(4, half), (6, half)]);
        assert_eq!((kept.bytes, kept.too_much(&[]).len()), (2 * half, 0));
    }
}
