//! Webhooks: servers that are told what happens on channels.
//!
//! Telling puts an event into a bounded queue and never waits. A delivery takes all that
//! waits, up to a bound, into one signed request; while that is under way more gathers, so
//! requests grow with the load and nobody waits for a timer. What a server refuses for
//! good, or does not take after all tries, is dropped with a word in the log: webhooks are
//! told at most a few times and are not the place for what must not be lost.

use std::{collections::VecDeque, time::Duration};

use courant_model::limits::{
    PUSH_WEBHOOK_BATCH_MAX, PUSH_WEBHOOK_EVENTS_MAX, PUSH_WEBHOOK_MS_MAX, PUSH_WEBHOOK_TRIES_MAX,
    RETRY_WAIT_MS_MIN,
};
use futures::future::join_all;
use parking_lot::Mutex;
use reqwest::{Client, StatusCode, Url, header};
use serde_json::Value;
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{App, PushError, WebhookEvent, client, hub::Hub, signature};

/// The webhooks of one app.
#[derive(Debug)]
pub(crate) struct Webhooks {
    hooks: Vec<Hook>,
}

/// One server that is told.
#[derive(Debug)]
struct Hook {
    url: Url,
    events: Vec<WebhookEvent>,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<String>,
    dropped: u64,
}

/// Sends requests, over connections that all webhooks share.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    client: Client,
}

/// What became of one try.
#[derive(Debug)]
enum Tried {
    Taken,
    /// Not now; perhaps later.
    Failed(String),
    /// Never.
    Refused(String),
}

impl Webhooks {
    /// # Errors
    /// When an address is none of HTTP.
    pub(crate) fn new(app: &App) -> Result<Self, PushError> {
        let hook = |webhook: &crate::Webhook| {
            let wrong = |reason: String| PushError::WebhookUrl {
                app: app.id.clone(),
                url: webhook.url.clone(),
                reason,
            };
            let url = Url::parse(&webhook.url).map_err(|error| wrong(error.to_string()))?;
            if !["http", "https"].contains(&url.scheme()) {
                return Err(wrong(format!("it begins with {:?}", url.scheme())));
            }
            let events = webhook.events.clone();
            Ok(Hook { url, events, waiting: Mutex::default(), wake: Notify::new() })
        };
        Ok(Self { hooks: app.webhooks.iter().map(hook).collect::<Result<_, _>>()? })
    }

    /// Tells those who want to know; `told` is made only when somebody does.
    pub(crate) fn tell(&self, event: WebhookEvent, told: impl FnOnce() -> Value) {
        let mut wanting = self.hooks.iter().filter(|hook| hook.events.contains(&event)).peekable();
        if wanting.peek().is_none() {
            return;
        }
        let text = told().to_string();
        for hook in wanting {
            hook.add(text.clone());
        }
    }

    /// Delivers until `last` is cancelled and nothing waits; then there are no more
    /// second tries.
    pub(crate) async fn deliver(&self, hub: &Hub, sender: &Sender, last: &CancellationToken) {
        join_all(self.hooks.iter().map(|hook| hook.deliver(hub, sender, last))).await;
    }
}

impl Hook {
    fn add(&self, event: String) {
        let mut waiting = self.waiting.lock();
        if waiting.events.len() == PUSH_WEBHOOK_EVENTS_MAX {
            waiting.dropped += 1;
        } else {
            waiting.events.push_back(event);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    fn take(&self) -> (Vec<String>, u64) {
        let mut waiting = self.waiting.lock();
        let count = waiting.events.len().min(PUSH_WEBHOOK_BATCH_MAX);
        let events = waiting.events.drain(..count).collect();
        (events, std::mem::take(&mut waiting.dropped))
    }

    async fn deliver(&self, hub: &Hub, sender: &Sender, last: &CancellationToken) {
        loop {
            let (events, dropped) = self.take();
            if dropped > 0 {
                tracing::warn!(
                    app = hub.app.id,
                    webhook = self.name(),
                    dropped,
                    "a push webhook is too slow; events were dropped"
                );
            }
            if !events.is_empty() {
                self.send(hub, sender, last, &events).await;
            } else if last.is_cancelled() {
                return;
            } else {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = last.cancelled() => {}
                }
            }
        }
    }

    async fn send(&self, hub: &Hub, sender: &Sender, last: &CancellationToken, events: &[String]) {
        let body = format!(r#"{{"time_ms":{},"events":[{}]}}"#, hub.now_ms(), events.join(","));
        let mut wait = Duration::from_millis(RETRY_WAIT_MS_MIN);
        for left in (0..PUSH_WEBHOOK_TRIES_MAX).rev() {
            let (reason, again) = match sender.post(&self.url, &hub.app, &body).await {
                Tried::Taken => return,
                Tried::Failed(reason) => (reason, left > 0 && !last.is_cancelled()),
                Tried::Refused(reason) => (reason, false),
            };
            if !again {
                let count = events.len();
                tracing::warn!(
                    app = hub.app.id,
                    webhook = self.name(),
                    count,
                    reason,
                    "a push webhook did not take events; they were dropped"
                );
                return;
            }
            tokio::select! {
                () = sleep(wait) => wait *= 2,
                () = last.cancelled() => {}
            }
        }
    }

    /// The address without what may be secret in it.
    fn name(&self) -> String {
        format!("{}{}", self.url.origin().ascii_serialization(), self.url.path())
    }
}

impl Sender {
    /// # Errors
    /// When TLS cannot be set up.
    pub(crate) fn new() -> Result<Self, PushError> {
        Ok(Self { client: client::new(Duration::from_millis(PUSH_WEBHOOK_MS_MAX))? })
    }

    async fn post(&self, url: &Url, app: &App, body: &str) -> Tried {
        let request = self
            .client
            .post(url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-pusher-key", &app.key)
            .header("x-pusher-signature", signature::sign(&app.secret, body.as_bytes()))
            .body(body.to_owned());
        match request.send().await.map(|response| response.status()) {
            Ok(status) if status.is_success() => Tried::Taken,
            Ok(status) if is_passing(status) => Tried::Failed(format!("it answered {status}")),
            Ok(status) => Tried::Refused(format!("it answered {status}")),
            Err(error) => Tried::Failed(error.without_url().to_string()),
        }
    }
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
}
