//! One app at work: its channels, its connections, its users.
//!
//! Locks are taken in the order map of channels, channel, queue, and never across an
//! await. A channel stays in the map while somebody subscribes and for a while after, so
//! that a page that comes back finds what it missed; whoever holds a channel that was
//! removed in the meantime looks it up again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::extract::ws::Utf8Bytes;
use courant_model::{
    Clock,
    limits::{
        PUSH_CHANNELS_MAX, PUSH_EVENT_NAME_CHARS_MAX, PUSH_KEPT_MESSAGES_MAX, PUSH_PAST_BYTES_MAX,
        PUSH_SOURCE_MS_MAX, PUSH_SOURCE_TRIES_MAX,
    },
};
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use tokio::time::timeout;

use crate::{
    App, ChannelName, Kind, Position, PublishError, ResumeSource, Resumption, Token,
    channel::{
        Channel, Info, JoinError, Joining, Opening, Outgoing, Surroundings, Triggered, outside,
    },
    connection::{Connection, SocketId},
    error::ErrorCode,
    frame::{self, Member},
    webhook::Webhooks,
};

/// An app at work.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) app: App,
    pub(crate) webhooks: Webhooks,
    clock: Arc<dyn Clock>,
    source: Option<Arc<dyn ResumeSource>>,
    channels: RwLock<BTreeMap<String, Arc<Channel>>>,
    connections: Mutex<HashMap<SocketId, Arc<Connection>>>,
    users: Mutex<HashMap<Arc<str>, Vec<Arc<Connection>>>>,
    kept_bytes: AtomicUsize,
}

/// A wish to subscribe that was checked.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) channel: ChannelName,
    pub(crate) member: Option<Member>,
    pub(crate) resume: Option<ResumeFrom>,
}

/// What a page has of a channel when it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResumeFrom {
    /// Nothing: it asks for a snapshot.
    Nothing,
    /// Everything up to here.
    Token(Token),
}

/// Why a page may not subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubscribeError {
    #[error("app has all the channels that it may have")]
    TooManyChannels,
    #[error("channel has all the members that it may have")]
    TooManyMembers,
}

impl Hub {
    pub(crate) fn new(
        app: App,
        webhooks: Webhooks,
        clock: Arc<dyn Clock>,
        source: Option<Arc<dyn ResumeSource>>,
    ) -> Self {
        Self {
            app,
            webhooks,
            clock,
            source,
            channels: RwLock::default(),
            connections: Mutex::default(),
            users: Mutex::default(),
            kept_bytes: AtomicUsize::new(0),
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now().as_millis()
    }

    /// Takes a connection in.
    ///
    /// # Errors
    /// When there are as many as there may be.
    pub(crate) fn admit(&self) -> Result<Arc<Connection>, ErrorCode> {
        let mut connections = self.connections.lock();
        if connections.len() >= self.app.connections_max {
            return Err(ErrorCode::TooManyConnections);
        }
        let connection = Connection::new();
        connections.insert(connection.id, Arc::clone(&connection));
        Ok(connection)
    }

    /// Lets a connection go, with the channels that it is on.
    pub(crate) fn dismiss<'a>(
        &self,
        connection: &Connection,
        channels: impl IntoIterator<Item = &'a String>,
    ) {
        for channel in channels {
            self.unsubscribe(connection, channel);
        }
        if let Some(user) = connection.user() {
            let mut users = self.users.lock();
            if let Some(connections) = users.get_mut(&user) {
                connections.retain(|other| other.id != connection.id);
                if connections.is_empty() {
                    users.remove(&user);
                }
            }
        }
        self.connections.lock().remove(&connection.id);
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().len()
    }

    /// Ends all connections, each after what waits for it.
    pub(crate) fn close_all(&self, code: ErrorCode) {
        for connection in self.connections.lock().values() {
            connection.outbox.close(code);
        }
    }

    /// Knows a connection's user from now on.
    pub(crate) fn sign_in(&self, connection: &Arc<Connection>, user: &str) {
        let user: Arc<str> = user.into();
        connection.set_user(Arc::clone(&user));
        self.users.lock().entry(user).or_default().push(Arc::clone(connection));
    }

    /// Ends all connections of a user.
    pub(crate) fn terminate(&self, user: &str) {
        for connection in self.users.lock().get(user).into_iter().flatten() {
            connection.outbox.close(ErrorCode::Unauthorized);
        }
    }

    /// Says whether a message may be published, before anything is.
    ///
    /// # Errors
    /// When a name or the data breaks a bound, or data for an encrypted channel is plain.
    pub(crate) fn check(
        &self,
        channel: &ChannelName,
        event: &str,
        data: &str,
    ) -> Result<(), PublishError> {
        let found = event.chars().count();
        if found == 0 || found > PUSH_EVENT_NAME_CHARS_MAX {
            return Err(PublishError::EventName { found, max: PUSH_EVENT_NAME_CHARS_MAX });
        }
        let reserved = ["pusher:", "pusher_internal:", "courant:"];
        if reserved.iter().any(|prefix| event.starts_with(prefix)) {
            return Err(PublishError::EventReserved(event.into()));
        }
        let max_bytes = self.app.event_bytes_max;
        if data.len() > max_bytes {
            let found_bytes = data.len();
            return Err(PublishError::TooLarge { event: event.into(), found_bytes, max_bytes });
        }
        if channel.kind() == Kind::Encrypted && !is_encrypted(data) {
            let (channel, event) = (channel.to_string(), event.into());
            return Err(PublishError::NotEncrypted { channel, event });
        }
        Ok(())
    }

    /// Publishes a message that was checked. `None` when it is a repeat.
    pub(crate) fn publish(&self, channel: &ChannelName, message: Outgoing<'_>) -> Option<usize> {
        loop {
            // Only who was there before can come back: a channel that nobody has
            // subscribed to needs no memory, unless it is to remember.
            let found = match channel.is_cache() {
                // The source may stand at this message already.
                true => self.channel(channel, || None),
                false => self.channels.read().get(channel.as_str()).cloned(),
            };
            let Some(found) = found else { return Some(0) };
            let mut state = found.lock();
            if !state.is_removed() {
                return state.publish(self.around(), message);
            }
        }
    }

    /// Passes a page's event on. `false` when the page is not on the channel.
    pub(crate) fn trigger(&self, channel: &str, event: Triggered<'_>) -> bool {
        let found = self.channels.read().get(channel).cloned();
        found.is_some_and(|channel| channel.lock().trigger(self.around(), event))
    }

    /// Subscribes a connection and tells it so, with what it missed. Not cancel safe: a
    /// call that is dropped may or may not have subscribed.
    ///
    /// # Errors
    /// When the app or the channel is full.
    pub(crate) async fn subscribe(
        &self,
        connection: &Arc<Connection>,
        wish: Subscription,
    ) -> Result<(), SubscribeError> {
        loop {
            let head = || self.source.as_ref()?.head(&self.app.id, wish.channel.as_str());
            let channel =
                self.channel(&wish.channel, head).ok_or(SubscribeError::TooManyChannels)?;
            let joined = match wish.resume {
                None => self.join(&channel, connection, &wish, |_| Some(Opening::Plain)),
                Some(resume) => self.resume(&channel, connection, &wish, resume).await,
            };
            match joined {
                Ok(_) => return Ok(()),
                Err(JoinError::TooManyMembers) => return Err(SubscribeError::TooManyMembers),
                Err(JoinError::Removed) => {}
            }
        }
    }

    /// Subscribes with what a page missed: from the channel's memory, or from the source
    /// behind it and the memory of what came while that was asked.
    async fn resume(
        &self,
        channel: &Arc<Channel>,
        connection: &Arc<Connection>,
        wish: &Subscription,
        from: ResumeFrom,
    ) -> Result<bool, JoinError> {
        let position = match from {
            ResumeFrom::Token(token) => token.position,
            ResumeFrom::Nothing => None,
        };
        for _ in 0..PUSH_SOURCE_TRIES_MAX {
            let mut before = 0;
            let joined = self.join(channel, connection, wish, |ring| {
                before = ring.at().sequence;
                let ResumeFrom::Token(token) = from else { return None };
                Some(Opening::Missed { texts: ring.since(token)?, has: None })
            })?;
            if joined {
                return Ok(true);
            }
            let Some(past) = self.past(&wish.channel, position).await else { break };
            // What was published since is in memory, or the source is asked again.
            let joined = self.join(channel, connection, wish, |ring| {
                let head = past.head;
                let since = ring.after(before)?.filter(|kept| {
                    !kept.positioned
                        || kept.at.position.and_then(|at| at.is_after(head)) != Some(false)
                });
                let since = since.map(|kept| kept.text.clone());
                Some(match &past.state {
                    PastState::Missed(texts) => {
                        let texts = texts.iter().cloned().chain(since).collect();
                        Opening::Missed { texts, has: Some(head) }
                    }
                    PastState::Snapshot(data) => {
                        Opening::Snapshot { data: data.clone(), has: head, texts: since.collect() }
                    }
                })
            })?;
            if joined {
                return Ok(true);
            }
        }
        self.join(channel, connection, wish, |_| Some(Opening::Reset))
    }

    /// Asks the source. `None` when there is none, or it does not know.
    async fn past(&self, channel: &ChannelName, after: Option<Position>) -> Option<Past> {
        let source = self.source.as_ref()?;
        let asked = source.since(&self.app.id, channel.as_str(), after);
        let answer = timeout(Duration::from_millis(PUSH_SOURCE_MS_MAX), asked).await;
        match answer {
            Ok(Ok(Resumption::Missed { messages, head })) => {
                if messages.len() > PUSH_KEPT_MESSAGES_MAX {
                    return None;
                }
                let text = |missed: &crate::Missed| {
                    let at = outside(missed.position);
                    frame::message(&missed.event, channel.as_str(), &missed.data, at)
                };
                let texts: Vec<_> = messages.iter().map(text).collect();
                let bytes = texts.iter().map(|text| text.len()).sum::<usize>();
                let state = PastState::Missed(texts);
                (bytes <= PUSH_PAST_BYTES_MAX).then_some(Past { head, state })
            }
            Ok(Ok(Resumption::Snapshot { data, head })) => (data.len() <= PUSH_PAST_BYTES_MAX)
                .then_some(Past { head, state: PastState::Snapshot(data) }),
            Ok(Ok(Resumption::Unknown)) => None,
            Ok(Err(error)) => {
                let cause = error.0;
                tracing::warn!(%channel, error = %cause, "a page cannot be told what it missed; it takes a snapshot itself");
                None
            }
            Err(_) => {
                tracing::warn!(%channel, timeout_ms = PUSH_SOURCE_MS_MAX, "the source does not say what a page missed; it takes a snapshot itself");
                None
            }
        }
    }

    /// Joins with the opening that the channel's memory allows; `false` when it allows
    /// none. Decided and done under one lock, so nothing is published in between.
    fn join(
        &self,
        channel: &Channel,
        connection: &Arc<Connection>,
        wish: &Subscription,
        opening: impl FnOnce(&crate::channel::Ring) -> Option<Opening>,
    ) -> Result<bool, JoinError> {
        let mut state = channel.lock();
        let Some(opening) = opening(&state.ring) else { return Ok(false) };
        let (connection, member) = (Arc::clone(connection), wish.member.clone());
        state.join(self.around(), Joining { connection, member, opening })?;
        Ok(true)
    }

    /// Takes a connection from a channel, if it is there.
    pub(crate) fn unsubscribe(&self, connection: &Connection, channel: &str) {
        let found = self.channels.read().get(channel).cloned();
        if let Some(channel) = found {
            channel.lock().leave(self.around(), connection.id);
        }
    }

    /// Forgets what is too old; called from time to time.
    pub(crate) fn look(&self) {
        let all: Vec<_> = self.channels.read().values().cloned().collect();
        for channel in all {
            if channel.lock().look(self.around()) {
                let mut channels = self.channels.write();
                // Another may have taken its place since.
                if channels.get(channel.name.as_str()).is_some_and(|now| Arc::ptr_eq(now, &channel))
                {
                    channels.remove(channel.name.as_str());
                }
            }
        }
    }

    /// What is asked about one channel; `None` when it is not in memory.
    pub(crate) fn info(&self, channel: &ChannelName) -> Option<Info> {
        let found = self.channels.read().get(channel.as_str()).cloned();
        found.map(|channel| channel.lock().info(self.now_ms()))
    }

    /// The occupied channels whose names begin with a prefix.
    pub(crate) fn occupied(&self, prefix: &str) -> Vec<(ChannelName, Info)> {
        let channels = self.channels.read();
        let from = channels.range(prefix.to_owned()..);
        let these = from.take_while(|(name, _)| name.starts_with(prefix));
        let with_info =
            these.map(|(_, channel)| (channel.name.clone(), channel.lock().info(self.now_ms())));
        with_info.filter(|(_, info)| info.subscriptions > 0).collect()
    }

    /// A channel, made if it is not there, where its source stands; `None` when there are
    /// too many.
    fn channel(
        &self,
        name: &ChannelName,
        head: impl FnOnce() -> Option<Position>,
    ) -> Option<Arc<Channel>> {
        if let Some(channel) = self.channels.read().get(name.as_str())
            && !channel.lock().is_removed()
        {
            return Some(Arc::clone(channel));
        }
        let mut channels = self.channels.write();
        match channels.get(name.as_str()) {
            Some(channel) if !channel.lock().is_removed() => return Some(Arc::clone(channel)),
            None if channels.len() >= PUSH_CHANNELS_MAX => return None,
            _ => {}
        }
        // Under the lock: what is published after this look finds the channel.
        let channel = Channel::new(name.clone(), head(), self.now_ms());
        channels.insert(name.to_string(), Arc::clone(&channel));
        Some(channel)
    }

    fn around(&self) -> Surroundings<'_> {
        let Self { app, webhooks, kept_bytes, .. } = self;
        Surroundings { app, webhooks, kept_bytes, now_ms: self.now_ms() }
    }

    /// Bytes that all channels keep.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept_bytes.load(Ordering::Relaxed)
    }
}

/// What a source said.
struct Past {
    head: Position,
    state: PastState,
}

enum PastState {
    Missed(Vec<Utf8Bytes>),
    Snapshot(String),
}

/// Whether data has the form that pages decrypt.
fn is_encrypted(data: &str) -> bool {
    #[derive(Deserialize)]
    struct Encrypted {
        nonce: String,
        ciphertext: String,
    }
    serde_json::from_str::<Encrypted>(data)
        .is_ok_and(|found| !found.nonce.is_empty() && !found.ciphertext.is_empty())
}
