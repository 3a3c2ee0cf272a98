//! What a page asks of its connection, one request after the other.
//!
//! A session knows the channels it is on and the positions its page came back with;
//! answers go into the connection's queue, before or after what channels put there. A
//! request that is refused harms nothing: the page is told why.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use courant_model::limits::{
    PUSH_CLIENT_EVENT_BYTES_MAX, PUSH_EVENT_NAME_CHARS_MAX, PUSH_FRAMES_BURST_MAX,
    PUSH_FRAMES_PER_SECOND_MAX,
};
use serde_json::{json, value::RawValue};
use tokio::time::Instant;

use crate::{
    ChannelName, Kind,
    channel::Triggered,
    connection::Connection,
    error::ErrorCode,
    frame::{self, Member, Request, Resume, Signin, Subscribe},
    hub::{Hub, ResumeFrom, Subscription},
    rate::Bucket,
    signature,
};

/// A page's side of the server.
#[derive(Debug)]
pub(crate) struct Session {
    hub: Arc<Hub>,
    pub(crate) connection: Arc<Connection>,
    channels: HashSet<String>,
    /// What the page said it has, until it subscribes.
    resume: HashMap<String, ResumeFrom>,
    frames: Bucket,
    client_events: Bucket,
}

/// Why a subscription is refused; the page hears it on the channel.
#[derive(Debug)]
struct Refusal {
    kind: &'static str,
    status: u16,
    error: String,
}

impl Session {
    pub(crate) fn new(hub: Arc<Hub>, connection: Arc<Connection>) -> Self {
        let now = Instant::now();
        let per_second = hub.app.client_events_per_second_max;
        Self {
            hub,
            connection,
            channels: HashSet::new(),
            resume: HashMap::new(),
            frames: Bucket::new(PUSH_FRAMES_PER_SECOND_MAX, PUSH_FRAMES_BURST_MAX, now),
            client_events: Bucket::new(per_second, per_second, now),
        }
    }

    /// Does what a frame asks for. Not cancel safe.
    pub(crate) async fn handle(&mut self, text: &str) {
        if !self.frames.take(Instant::now()) {
            self.connection.outbox.close(ErrorCode::OverCapacity);
            return;
        }
        match Request::parse(text) {
            Ok(Request::Ping) => self.connection.outbox.push(frame::PONG),
            Ok(Request::Pong) => {}
            Ok(Request::Subscribe(wish)) => self.subscribe(wish).await,
            Ok(Request::Unsubscribe { channel }) => {
                if self.channels.remove(&channel) {
                    self.hub.unsubscribe(&self.connection, &channel);
                }
            }
            Ok(Request::Signin(signin)) => self.sign_in(&signin),
            Ok(Request::Resume(resume)) => self.resume(resume),
            Ok(Request::ClientEvent { event, channel, data }) => {
                self.trigger(&event, &channel, &data);
            }
            Err(error) => self.complain(&error.to_string()),
        }
    }

    /// Leaves everything.
    pub(crate) fn end(self) {
        self.hub.dismiss(&self.connection, &self.channels);
    }

    async fn subscribe(&mut self, wish: Subscribe) {
        if self.channels.contains(&wish.channel) {
            self.complain(&format!("connection is on channel {:?} already", wish.channel));
            return;
        }
        let subscribed = match self.checked(&wish) {
            Ok(subscription) => self
                .hub
                .subscribe(&self.connection, subscription)
                .await
                .map_err(|error| Refusal::limit(&error)),
            Err(refusal) => Err(refusal),
        };
        match subscribed {
            Ok(()) => {
                self.channels.insert(wish.channel);
            }
            Err(Refusal { kind, status, error }) => {
                let data = json!({ "type": kind, "error": error, "status": status });
                let event = "pusher:subscription_error";
                self.connection.outbox.push(frame::on_channel(event, &wish.channel, &data, None));
            }
        }
    }

    /// A wish that may be granted, as far as this connection goes.
    fn checked(&mut self, wish: &Subscribe) -> Result<Subscription, Refusal> {
        let max = self.hub.app.channels_per_connection_max;
        if self.channels.len() >= max {
            return Err(Refusal::limit(&format!(
                "connection has the {max} channels that it may have"
            )));
        }
        let channel =
            ChannelName::parse(&wish.channel).map_err(|error| Refusal::invalid(&error))?;
        let member = match channel.kind() {
            Kind::Public => None,
            Kind::Private | Kind::Encrypted => {
                self.authorized(wish)?;
                None
            }
            Kind::Presence => {
                self.authorized(wish)?;
                let data = wish.channel_data.as_deref().unwrap_or_default();
                let member = Member::parse(data).map_err(|error| {
                    Refusal::invalid(&format!("channel_data does not say who subscribes: {error}"))
                })?;
                Some(member)
            }
            Kind::ServerToUser => {
                if self.connection.user().as_deref() != channel.user() {
                    return Err(Refusal::unauthorized("this user is not signed in"));
                }
                None
            }
        };
        let resume = self.resume.remove(channel.as_str());
        Ok(Subscription { channel, member, resume })
    }

    fn authorized(&self, wish: &Subscribe) -> Result<(), Refusal> {
        let Some(auth) = &wish.auth else {
            return Err(Refusal::unauthorized("\"auth\" is missing"));
        };
        let id = self.connection.id.to_string();
        let text = signature::channel_text(&id, &wish.channel, wish.channel_data.as_deref());
        if signature::is_authorized(&self.hub.app, &text, auth) {
            Ok(())
        } else {
            Err(Refusal::unauthorized(
                "\"auth\" is not the signature of this socket id, channel and channel data",
            ))
        }
    }

    fn sign_in(&self, signin: &Signin) {
        let text = signature::user_text(&self.connection.id.to_string(), &signin.user_data);
        if !signature::is_authorized(&self.hub.app, &text, &signin.auth) {
            self.connection.outbox.close(ErrorCode::Unauthorized);
            return;
        }
        match (frame::signed_in_as(&signin.user_data), self.connection.user()) {
            (Err(error), _) => {
                self.complain(&format!("user_data does not say who signs in: {error}"));
            }
            (Ok(user), Some(now)) if *now != *user => {
                self.complain("connection is signed in as another user; connect anew");
            }
            (Ok(user), now) => {
                if now.is_none() {
                    self.hub.sign_in(&self.connection, &user);
                }
                self.connection.outbox.push(frame::signed_in(&signin.user_data));
            }
        }
    }

    fn resume(&mut self, resume: Resume) {
        for (channel, position) in resume.positions {
            let from = match position.map(|position| position.parse()) {
                None => ResumeFrom::Nothing,
                Some(Ok(token)) => ResumeFrom::Token(token),
                Some(Err(error)) => {
                    self.complain(&error.to_string());
                    continue;
                }
            };
            if self.resume.len() < self.hub.app.channels_per_connection_max {
                self.resume.insert(channel, from);
            }
        }
    }

    fn trigger(&mut self, event: &str, channel: &str, data: &RawValue) {
        if !self.hub.app.client_events {
            return self.complain("this app does not take client events");
        }
        if !ChannelName::parse(channel).is_ok_and(|name| name.takes_client_events()) {
            return self.complain(&format!(
                "channel {channel:?} does not take client events; private and presence channels do"
            ));
        }
        if event.chars().count() > PUSH_EVENT_NAME_CHARS_MAX {
            return self.complain(&format!(
                "event name has more than {PUSH_EVENT_NAME_CHARS_MAX} characters"
            ));
        }
        if data.get().len() > PUSH_CLIENT_EVENT_BYTES_MAX {
            return self.complain(&format!(
                "data of event {event:?} has more than {PUSH_CLIENT_EVENT_BYTES_MAX} bytes"
            ));
        }
        if !self.client_events.take(Instant::now()) {
            self.connection.outbox.push(frame::error(ErrorCode::ClientEventRate));
            return;
        }
        let by = self.connection.id;
        if !self.hub.trigger(channel, Triggered { event, data, by }) {
            self.complain(&format!("connection is not on channel {channel:?}; subscribe first"));
        }
    }

    fn complain(&self, message: &str) {
        self.connection.outbox.push(frame::complaint(None, message));
    }
}

impl Refusal {
    fn invalid(error: &impl ToString) -> Self {
        Self { kind: "InvalidRequest", status: 400, error: error.to_string() }
    }

    fn unauthorized(error: &str) -> Self {
        Self { kind: "AuthError", status: 401, error: error.into() }
    }

    fn limit(error: &impl ToString) -> Self {
        Self { kind: "LimitReached", status: 4100, error: error.to_string() }
    }
}
