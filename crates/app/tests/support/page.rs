//! A page that follows one channel over a real WebSocket, as pusher-js would with the
//! resuming of docs/push.md: it comes back after every cut and says where it was.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_tungstenite::{connect_async, tungstenite::Message};

/// An open page; closed when dropped.
#[derive(Debug)]
pub(crate) struct Page {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    channel: String,
    /// Where the server is now; it moves with every restart.
    url: Mutex<String>,
    heard: Mutex<Vec<Heard>>,
    position: Mutex<Option<String>>,
    subscribed: AtomicBool,
    resets: AtomicU64,
}

/// One event of the channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) event: String,
    pub(crate) data: Value,
}

impl Page {
    /// Opens a page on a channel of the server at `url` (`http://…`).
    pub(crate) fn open(url: &str, channel: &str) -> Self {
        let shared = Arc::new(Shared {
            channel: channel.to_owned(),
            url: Mutex::new(url.to_owned()),
            ..Shared::default()
        });
        let task = tokio::spawn(stay(Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Tells where the server is after a restart.
    pub(crate) fn moved(&self, url: &str) {
        url.clone_into(&mut self.shared.url.lock());
    }

    /// Everything heard so far, in order.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().clone()
    }

    /// How much was heard so far.
    pub(crate) fn count(&self) -> usize {
        self.shared.heard.lock().len()
    }

    /// Whether the page has subscribed, at least once.
    pub(crate) fn is_subscribed(&self) -> bool {
        self.shared.subscribed.load(Ordering::Relaxed)
    }

    /// How often it was told that what it missed is not known.
    pub(crate) fn resets(&self) -> u64 {
        self.shared.resets.load(Ordering::Relaxed)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn stay(shared: Arc<Shared>) {
    loop {
        let _ = visit(&shared).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One connection, until it is cut.
async fn visit(shared: &Shared) -> Option<()> {
    let url = shared.url.lock().replacen("http://", "ws://", 1);
    let (socket, _) =
        connect_async(format!("{url}/app/courant?protocol=7&client=test&version=1")).await.ok()?;
    let (mut write, mut read) = socket.split();
    while let Some(Ok(message)) = read.next().await {
        let Message::Text(text) = message else { continue };
        let frame: Value = serde_json::from_str(&text).expect("JSON");
        let name = frame["event"].as_str().expect("an event");
        let mine = frame["channel"] == shared.channel.as_str();
        match name {
            "pusher:connection_established" => {
                let position = shared.position.lock().clone();
                if let Some(position) = position {
                    let positions = json!({ shared.channel.as_str(): position });
                    let resume =
                        json!({ "event": "courant:resume", "data": { "positions": positions } });
                    write.send(Message::text(resume.to_string())).await.ok()?;
                }
                let subscribe =
                    json!({ "event": "pusher:subscribe", "data": { "channel": shared.channel } });
                write.send(Message::text(subscribe.to_string())).await.ok()?;
            }
            "pusher:ping" => {
                write.send(Message::text(r#"{"event":"pusher:pong","data":{}}"#)).await.ok()?;
            }
            "pusher_internal:subscription_succeeded" if mine => {
                shared.subscribed.store(true, Ordering::Relaxed);
            }
            "courant:reset" if mine => {
                shared.resets.fetch_add(1, Ordering::Relaxed);
            }
            name if mine && !name.starts_with("pusher") && !name.starts_with("courant:") => {
                // Data is a text that holds JSON, as everywhere in the protocol.
                let data = frame["data"].as_str().expect("data is text");
                let data = serde_json::from_str(data).expect("data holds JSON");
                shared.heard.lock().push(Heard { event: name.to_owned(), data });
            }
            _ => {}
        }
        if let Some(position) = frame["position"].as_str().filter(|_| mine) {
            *shared.position.lock() = Some(position.to_owned());
        }
    }
    None
}
