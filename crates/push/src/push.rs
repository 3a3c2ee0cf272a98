//! The push server: apps, and the ways in.
//!
//! [`Push::new`] checks and spawns nothing; [`Push::router`] is for whoever serves HTTP;
//! [`Push::run`] does what needs time (webhooks, forgetting) and ends connections when it
//! is told to stop; [`Push::publish`] is for the program itself.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::Router;
use courant_model::limits::{HTTP_STOP_MS_MAX, PUSH_APPS_MAX, PUSH_CLOSE_MS_MAX, PUSH_LOOK_MS};
use futures::future::join_all;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ChannelName, Position, PublishError, PushError, PushOptions, channel,
    error::ErrorCode,
    http,
    hub::Hub,
    webhook::{Sender, Webhooks},
};

/// A push server; clones are the same server.
#[derive(Debug, Clone)]
pub struct Push {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    by_id: HashMap<String, Arc<Hub>>,
    by_key: HashMap<String, Arc<Hub>>,
    sender: Sender,
    /// Connections that are open.
    sockets: TaskTracker,
    /// No more connections are taken.
    stopping: CancellationToken,
}

/// A message to publish.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The event's name, at most
    /// [`PUSH_EVENT_NAME_CHARS_MAX`](courant_model::limits::PUSH_EVENT_NAME_CHARS_MAX)
    /// characters.
    pub event: &'a str,
    /// What subscribers get; mostly JSON. Encrypted by the publisher for an encrypted
    /// channel.
    pub data: &'a str,
    /// Where the message stands in the source behind the channel. One that is not after
    /// the last of its generation is a repeat. All messages of a channel have one, or
    /// none: pages then resume from the channel's memory alone.
    pub position: Option<Position>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It went into the queues of so many subscribers.
    Sent { subscribers: usize },
    /// It was published before, so nobody got it again.
    Repeated,
}

impl Push {
    /// Checks the apps and makes a server of them; nothing runs yet.
    ///
    /// # Errors
    /// When an app's values are empty, out of range or another's.
    pub fn new(options: PushOptions) -> Result<Self, PushError> {
        let PushOptions { apps, source, clock } = options;
        if apps.len() > PUSH_APPS_MAX {
            return Err(PushError::TooManyApps { found: apps.len(), max: PUSH_APPS_MAX });
        }
        let (mut by_id, mut by_key) = (HashMap::new(), HashMap::new());
        for app in apps {
            app.check()?;
            let webhooks = Webhooks::new(&app)?;
            let (id, key) = (app.id.clone(), app.key.clone());
            let hub = Arc::new(Hub::new(app, webhooks, Arc::clone(&clock), source.clone()));
            let twice = by_id.insert(id.clone(), Arc::clone(&hub)).is_some();
            if twice | by_key.insert(key, hub).is_some() {
                return Err(PushError::AppTwice { app: id });
            }
        }
        let inner = Inner {
            by_id,
            by_key,
            sender: Sender::new()?,
            sockets: TaskTracker::new(),
            stopping: CancellationToken::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The routes `/app/{key}` (WebSocket) and `/apps/{id}/…` (HTTP API), with bounds and
    /// signatures of their own: no other guard belongs before them.
    pub fn router(&self) -> Router {
        http::router(self.clone())
    }

    /// Publishes a message to those who subscribe now and those who come back. Never
    /// waits: whoever is too slow is disconnected, and resumes.
    ///
    /// # Errors
    /// When the app does not exist, or a name or the data breaks a bound.
    pub fn publish(&self, app_id: &str, message: Message<'_>) -> Result<Published, PublishError> {
        let hub = self.by_id(app_id).ok_or_else(|| PublishError::UnknownApp(app_id.into()))?;
        let channel = ChannelName::parse(message.channel)?;
        let Message { event, data, position, .. } = message;
        hub.check(&channel, event, data)?;
        let sent = hub.publish(&channel, channel::Outgoing { event, data, position, except: None });
        Ok(sent.map_or(Published::Repeated, |subscribers| Published::Sent { subscribers }))
    }

    /// Delivers webhooks and forgets what is old until `stop` is cancelled; then ends all
    /// connections (pages connect again at once), delivers what waits, and returns after
    /// a few seconds at most.
    pub async fn run(&self, stop: CancellationToken) {
        let last = CancellationToken::new();
        let hubs = || self.inner.by_id.values();
        let deliver = |hub: &Arc<Hub>| {
            let (hub, sender, last) = (Arc::clone(hub), self.inner.sender.clone(), last.clone());
            async move { hub.webhooks.deliver(&hub, &sender, &last).await }
        };
        let delivered = join_all(hubs().map(deliver));
        let stopped = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.look() => {}
            }
            self.inner.stopping.cancel();
            hubs().for_each(|hub| hub.close_all(ErrorCode::Reconnect));
            self.inner.sockets.close();
            // Those who do not answer are cut off with their server.
            let closing = Duration::from_millis(2 * PUSH_CLOSE_MS_MAX);
            let _ = timeout(closing, self.inner.sockets.wait()).await;
            last.cancel();
        };
        let give_up = async {
            last.cancelled().await;
            tokio::time::sleep(Duration::from_millis(HTTP_STOP_MS_MAX)).await;
        };
        tokio::select! {
            _ = async { tokio::join!(delivered, stopped) } => {}
            () = give_up => tracing::warn!("push webhooks did not take their last events in time"),
        }
    }

    /// How many connections an app has, and how many bytes its channels keep.
    pub fn load(&self, app_id: &str) -> Option<(usize, usize)> {
        self.by_id(app_id).map(|hub| (hub.connections(), hub.kept_bytes()))
    }

    async fn look(&self) {
        let mut ticks = interval(Duration::from_millis(PUSH_LOOK_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.inner.by_id.values().for_each(|hub| hub.look());
        }
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<&Arc<Hub>> {
        self.inner.by_id.get(id)
    }

    pub(crate) fn by_key(&self, key: &str) -> Option<&Arc<Hub>> {
        self.inner.by_key.get(key)
    }

    pub(crate) fn sockets(&self) -> &TaskTracker {
        &self.inner.sockets
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.inner.stopping.is_cancelled()
    }
}
