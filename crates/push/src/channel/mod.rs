//! One channel: who subscribes, who is there, what was said last.
//!
//! Everything about a channel happens under its lock, so that all subscribers hear the
//! same in the same order: a message takes its place, is kept and goes into the queues in
//! one go; a page that comes back is given what it missed and then hears the rest. What
//! webhooks are told leaves under the same lock. Nothing waits here.

mod ring;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicUsize},
};

use axum::extract::ws::Utf8Bytes;
use courant_model::limits::{PUSH_CACHED_MS, PUSH_COUNT_AT_ONCE_MAX};
use indexmap::IndexMap;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use serde_json::{json, value::RawValue};

pub(crate) use self::ring::{Bounds, Ring};
use crate::{
    App, ChannelName, Kind, Position, Token, WebhookEvent,
    connection::{Connection, SocketId},
    frame::{self, Member},
    webhook::Webhooks,
};

/// A channel that is in memory.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: ChannelName,
    state: Mutex<State>,
}

/// What a channel needs of its app.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) app: &'a App,
    pub(crate) webhooks: &'a Webhooks,
    pub(crate) kept_bytes: &'a AtomicUsize,
    pub(crate) now_ms: i64,
}

/// What a channel is, while its lock is held.
#[derive(Debug)]
pub(crate) struct State {
    name: ChannelName,
    subscribers: HashMap<SocketId, Subscriber>,
    members: IndexMap<String, Present>,
    pub(crate) ring: Ring,
    cached: Option<Cached>,
    /// When its last subscriber left, or it was made.
    vacated_ms: i64,
    /// The number that subscribers know.
    told_count: usize,
    /// Nobody finds it any more; whoever still holds it must look again.
    removed: bool,
}

/// A connection on a channel.
#[derive(Debug)]
struct Subscriber {
    connection: Arc<Connection>,
    /// Its user, on a presence channel.
    member: Option<String>,
    /// It has everything up to here, from the source: repeats are not for it.
    has: Option<Position>,
}

/// A user on a presence channel.
#[derive(Debug)]
struct Present {
    info: Option<Box<RawValue>>,
    connections: usize,
}

/// The last event of a cache channel.
#[derive(Debug, Clone)]
struct Cached {
    text: Utf8Bytes,
    data: String,
    now_ms: i64,
}

/// A page that comes to a channel.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) connection: Arc<Connection>,
    pub(crate) member: Option<Member>,
    pub(crate) opening: Opening,
}

/// What a page is told before it hears the rest.
#[derive(Debug)]
pub(crate) enum Opening {
    /// It did not ask.
    Plain,
    /// All that it missed; it has everything up to `has`, when a source said so.
    Missed { texts: Vec<Utf8Bytes>, has: Option<Position> },
    /// The present state, up to `has`, and what came since.
    Snapshot { data: String, has: Position, texts: Vec<Utf8Bytes> },
    /// What it missed is not known: it takes a snapshot itself.
    Reset,
}

/// Why a page may not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinError {
    Removed,
    TooManyMembers,
}

/// A message for a channel; what it is worth was checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) event: &'a str,
    pub(crate) data: &'a str,
    pub(crate) position: Option<Position>,
    pub(crate) except: Option<SocketId>,
}

/// An event of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Triggered<'a> {
    pub(crate) event: &'a str,
    pub(crate) data: &'a RawValue,
    pub(crate) by: SocketId,
}

/// What is asked about a channel from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) subscriptions: usize,
    pub(crate) members: Vec<String>,
    /// The remembered data, and for how many more seconds.
    pub(crate) cached: Option<(String, i64)>,
}

impl Channel {
    /// A channel whose messages come after a position of its source, where that is known.
    pub(crate) fn new(name: ChannelName, position: Option<Position>, now_ms: i64) -> Arc<Self> {
        let state = State {
            name: name.clone(),
            subscribers: HashMap::new(),
            members: IndexMap::new(),
            ring: Ring::new(position),
            cached: None,
            vacated_ms: now_ms,
            told_count: 0,
            removed: false,
        };
        Arc::new(Self { name, state: Mutex::new(state) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Gives a message its place, keeps it and puts it into the queues. `None` when it was
    /// published already, by its position; else how many it goes to.
    pub(crate) fn publish(
        &mut self,
        around: Surroundings<'_>,
        message: Outgoing<'_>,
    ) -> Option<usize> {
        let at = self.ring.next(message.position)?;
        let text = frame::message(message.event, self.name.as_str(), message.data, at);
        if self.name.is_cache() {
            let data = message.data.to_owned();
            self.cached = Some(Cached { text: text.clone(), data, now_ms: around.now_ms });
        }
        let mut sent = 0;
        for (id, subscriber) in &self.subscribers {
            if message.except != Some(*id) && !subscriber.has_already(message.position) {
                subscriber.connection.outbox.push(text.clone());
                sent += 1;
            }
        }
        let bounds =
            Bounds { messages_max: around.app.kept_messages_max, all_bytes: around.kept_bytes };
        self.ring.add(at, message.position.is_some(), text, around.now_ms, bounds);
        Some(sent)
    }

    /// Passes an event of a page on to the others. `false` when the page is not here.
    pub(crate) fn trigger(&self, around: Surroundings<'_>, event: Triggered<'_>) -> bool {
        let Some(by) = self.subscribers.get(&event.by) else { return false };
        let (channel, user_id) = (self.name.as_str(), by.member.as_deref());
        let text = frame::client_event(event.event, channel, event.data, user_id);
        self.tell_others(event.by, &text);
        around.webhooks.tell(WebhookEvent::ClientEvent, || {
            let mut told = json!({
                "name": WebhookEvent::ClientEvent.name(),
                "channel": channel,
                "event": event.event,
                "data": text_of(event.data),
                "socket_id": event.by.to_string(),
            });
            if let Some(user_id) = user_id {
                told["user_id"] = user_id.into();
            }
            told
        });
        true
    }

    /// Takes a page in: tells it that it is, what it missed and what is remembered, and
    /// tells the others.
    ///
    /// # Errors
    /// When the channel is gone, or has all the members that it may have.
    pub(crate) fn join(
        &mut self,
        around: Surroundings<'_>,
        joining: Joining,
    ) -> Result<(), JoinError> {
        if self.removed {
            return Err(JoinError::Removed);
        }
        let Joining { connection, member, opening } = joining;
        let full = self.members.len() >= around.app.members_max;
        let is_new = |member: &Member| !self.members.contains_key(&member.id);
        let new = member.as_ref().is_some_and(is_new);
        if new && full {
            return Err(JoinError::TooManyMembers);
        }
        let member_id = member.as_ref().map(|member| member.id.clone());
        if let Some(member) = &member {
            let present = Present { info: member.info.clone(), connections: 0 };
            self.members.entry(member.id.clone()).or_insert(present).connections += 1;
        }
        self.open(around, &connection, &opening);
        let has = match opening {
            Opening::Missed { has, .. } => has,
            Opening::Snapshot { has, .. } => Some(has),
            Opening::Plain | Opening::Reset => None,
        };
        let id = connection.id;
        self.subscribers.insert(id, Subscriber { connection, member: member_id, has });
        if self.subscribers.len() == 1 {
            self.tell_hooks(around, WebhookEvent::ChannelOccupied, None);
        }
        if let Some(member) = member.filter(|_| new) {
            self.tell_added(around, id, &member);
        }
        self.count_changed(around);
        Ok(())
    }

    /// What a page hears first.
    fn open(&self, around: Surroundings<'_>, connection: &Connection, opening: &Opening) {
        let (channel, outbox) = (self.name.as_str(), &connection.outbox);
        // A page that resumes has not yet what comes next: it keeps the position it has.
        let at = matches!(opening, Opening::Plain).then(|| self.ring.at());
        let succeeded = "pusher_internal:subscription_succeeded";
        outbox.push(match self.name.kind() {
            Kind::Presence => {
                frame::on_channel(succeeded, channel, &json!({ "presence": self.presence() }), at)
            }
            _ => frame::on_channel(succeeded, channel, &json!({}), at),
        });
        match opening {
            Opening::Plain => self.tell_cached(around, connection),
            Opening::Missed { texts, .. } => {
                let missed = json!({ "missed": texts.len() });
                outbox.push(frame::on_channel("courant:resumed", channel, &missed, None));
                texts.iter().for_each(|text| outbox.push(text.clone()));
            }
            Opening::Snapshot { data, has, texts } => {
                outbox.push(frame::message("courant:snapshot", channel, data, outside(*has)));
                texts.iter().for_each(|text| outbox.push(text.clone()));
            }
            Opening::Reset => {
                let at = Some(self.ring.at());
                outbox.push(frame::on_channel("courant:reset", channel, &json!({}), at));
            }
        }
    }

    /// The last event of a cache channel, or that there is none.
    fn tell_cached(&self, around: Surroundings<'_>, connection: &Connection) {
        if !self.name.is_cache() {
            return;
        }
        match self.cached(around.now_ms) {
            Some(cached) => connection.outbox.push(cached.text.clone()),
            None => {
                connection.outbox.push(frame::bare("pusher:cache_miss", self.name.as_str()));
                self.tell_hooks(around, WebhookEvent::CacheMiss, None);
            }
        }
    }

    /// Lets a page go, if it is here.
    pub(crate) fn leave(&mut self, around: Surroundings<'_>, id: SocketId) {
        let Some(subscriber) = self.subscribers.remove(&id) else { return };
        if let Some(user_id) = subscriber.member
            && let Some(present) = self.members.get_mut(&user_id)
        {
            present.connections -= 1;
            if present.connections == 0 {
                self.members.shift_remove(&user_id);
                self.tell_removed(around, id, &user_id);
            }
        }
        if self.subscribers.is_empty() {
            self.vacated_ms = around.now_ms;
            self.tell_hooks(around, WebhookEvent::ChannelVacated, None);
        }
        self.count_changed(around);
    }

    /// Forgets what is too old, and tells subscribers their number when that waited.
    /// `true` when nobody needs this channel any more: it is gone then.
    pub(crate) fn look(&mut self, around: Surroundings<'_>) -> bool {
        self.tell_count(around);
        let kept_since = around.now_ms.saturating_sub_unsigned(around.app.kept_ms_max);
        self.ring.forget_before(kept_since, around.kept_bytes);
        self.cached = self.cached(around.now_ms).cloned();
        self.removed =
            self.subscribers.is_empty() && self.vacated_ms < kept_since && self.cached.is_none();
        if self.removed {
            self.ring.clear(around.kept_bytes);
        }
        self.removed
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed
    }

    pub(crate) fn info(&self, now_ms: i64) -> Info {
        let cached = self.cached(now_ms).map(|cached| {
            let ttl_ms = PUSH_CACHED_MS.cast_signed() - (now_ms - cached.now_ms);
            (cached.data.clone(), ttl_ms / 1_000)
        });
        let members = self.members.keys().cloned().collect();
        Info { subscriptions: self.subscribers.len(), members, cached }
    }

    fn cached(&self, now_ms: i64) -> Option<&Cached> {
        let fresh = |cached: &&Cached| now_ms - cached.now_ms < PUSH_CACHED_MS.cast_signed();
        self.cached.as_ref().filter(fresh)
    }

    fn presence(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Presence<'a> {
            ids: Vec<&'a str>,
            hash: IndexMap<&'a str, &'a Option<Box<RawValue>>>,
            count: usize,
        }
        let hash: IndexMap<_, _> =
            self.members.iter().map(|(id, present)| (id.as_str(), &present.info)).collect();
        let presence = Presence { ids: hash.keys().copied().collect(), count: hash.len(), hash };
        // Raw JSON passes through as it is.
        serde_json::value::to_raw_value(&presence).expect("texts and JSON are JSON")
    }

    fn tell_others(&self, id: SocketId, text: &Utf8Bytes) {
        for (other, subscriber) in &self.subscribers {
            if *other != id {
                subscriber.connection.outbox.push(text.clone());
            }
        }
    }

    fn tell_added(&self, around: Surroundings<'_>, id: SocketId, member: &Member) {
        #[derive(Serialize)]
        struct Added<'a> {
            user_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            user_info: Option<&'a RawValue>,
        }
        let added = Added { user_id: &member.id, user_info: member.info.as_deref() };
        let event = "pusher_internal:member_added";
        self.tell_others(id, &frame::on_channel(event, self.name.as_str(), &added, None));
        self.tell_hooks(around, WebhookEvent::MemberAdded, Some(("user_id", json!(member.id))));
    }

    fn tell_removed(&self, around: Surroundings<'_>, id: SocketId, user_id: &str) {
        let event = "pusher_internal:member_removed";
        let removed = json!({ "user_id": user_id });
        self.tell_others(id, &frame::on_channel(event, self.name.as_str(), &removed, None));
        self.tell_hooks(around, WebhookEvent::MemberRemoved, Some(("user_id", json!(user_id))));
    }

    /// Tells the number at once where that is cheap; a large channel waits for the next
    /// look, because each of its many would hear of each other.
    fn count_changed(&mut self, around: Surroundings<'_>) {
        if self.subscribers.len() <= PUSH_COUNT_AT_ONCE_MAX {
            self.tell_count(around);
        }
    }

    fn tell_count(&mut self, around: Surroundings<'_>) {
        let count = self.subscribers.len();
        // A presence channel says who is there.
        let wanted = around.app.subscription_count && self.name.kind() != Kind::Presence;
        if !wanted || self.told_count == count {
            return;
        }
        self.told_count = count;
        let data = json!({ "subscription_count": count });
        let event = "pusher_internal:subscription_count";
        let text = frame::on_channel(event, self.name.as_str(), &data, None);
        for subscriber in self.subscribers.values() {
            subscriber.connection.outbox.push(text.clone());
        }
        let told = Some(("subscription_count", json!(count)));
        self.tell_hooks(around, WebhookEvent::SubscriptionCount, told);
    }

    fn tell_hooks(
        &self,
        around: Surroundings<'_>,
        event: WebhookEvent,
        more: Option<(&str, serde_json::Value)>,
    ) {
        around.webhooks.tell(event, || {
            let mut told = json!({ "name": event.name(), "channel": self.name.as_str() });
            if let Some((field, value)) = more {
                told[field] = value;
            }
            told
        });
    }
}

impl Subscriber {
    fn has_already(&self, position: Option<Position>) -> bool {
        let (Some(has), Some(position)) = (self.has, position) else { return false };
        position.is_after(has) == Some(false)
    }
}

/// A place that only the source knows: this channel's numbers do not count there.
pub(crate) fn outside(position: Position) -> Token {
    Token { epoch: 0, sequence: 0, position: Some(position) }
}

/// What a page's data is as a text: a text itself, or its JSON.
fn text_of(data: &RawValue) -> String {
    serde_json::from_str(data.get()).unwrap_or_else(|_| data.get().to_owned())
}
