//! A server on a free port, pages that talk to it, and servers that sign.
//!
//! Everything that waits has one generous deadline; nothing sleeps for its own sake.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use courant_model::{ManualClock, Timestamp};
use courant_push::{App, Message, Position, Published, Push, PushOptions, ResumeSource};
use futures::{SinkExt, StreamExt};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message as Frame, client::IntoClientRequest, http::Request},
};
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// An app whose clients may do everything.
pub(crate) fn app() -> App {
    App { client_events: true, ..App::new("shop", "shop-key", "shop-secret") }
}

pub(crate) struct Server {
    pub(crate) push: Push,
    pub(crate) address: String,
    pub(crate) clock: Arc<ManualClock>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(app: App) -> Self {
        Self::with(vec![app], None).await
    }

    /// On the machine's clock, for libraries that sign.
    pub(crate) async fn real(app: App) -> Self {
        Self::run(PushOptions::new(vec![app]), Arc::default()).await
    }

    pub(crate) async fn with(apps: Vec<App>, source: Option<Arc<dyn ResumeSource>>) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(NOW_MS)));
        let given: Arc<ManualClock> = Arc::clone(&clock);
        Self::run(PushOptions { apps, source, clock: given }, clock).await
    }

    async fn run(options: PushOptions, clock: Arc<ManualClock>) -> Self {
        let push = Push::new(options).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = push.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let stop = CancellationToken::new();
        let (runs, until) = (push.clone(), stop.clone());
        let running = tokio::spawn(async move { runs.run(until).await });
        Self { push, address, clock, stop, running }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.running).await.expect("a stop ends").unwrap();
    }

    /// A page that has heard its name.
    pub(crate) async fn page(&self) -> Page {
        Page::connect(&format!("ws://{}/app/shop-key?protocol=7", self.address)).await
    }

    pub(crate) fn publish(&self, channel: &str, event: &str, data: &str) -> Published {
        let message = Message { channel, event, data, position: None };
        self.push.publish("shop", message).unwrap()
    }

    pub(crate) fn publish_at(&self, channel: &str, data: &str, at: u64) -> Published {
        let position = Some(Position { generation: 1, sequence: at });
        let message = Message { channel, event: "changed", data, position };
        self.push.publish("shop", message).unwrap()
    }

    /// Waits until the app has so many connections.
    pub(crate) async fn has_connections(&self, count: usize) {
        eventually(|| self.push.load("shop").unwrap().0 == count).await;
    }

    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> (u16, String) {
        self.signed("GET", path, query, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, String) {
        self.signed("POST", path, &[], &body.to_string()).await
    }

    pub(crate) async fn signed(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: &str,
    ) -> (u16, String) {
        let query = sign(method, path, query, body, "shop-secret");
        self.request(method, &format!("{path}?{query}"), body).await
    }

    pub(crate) async fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        let request = reqwest::Client::new()
            .request(method.parse().unwrap(), url)
            .body(body.to_owned())
            .send();
        let response = timeout(PATIENCE, request).await.expect("an answer").unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

/// The query of a signed request, as Pusher documents it.
pub(crate) fn sign(
    method: &str,
    path: &str,
    query: &[(&str, &str)],
    body: &str,
    secret: &str,
) -> String {
    let timestamp = (NOW_MS / 1_000).to_string();
    let body_md5 = hex(&Md5::digest(body.as_bytes()));
    let mut all = BTreeMap::from([
        ("auth_key", "shop-key"),
        ("auth_timestamp", timestamp.as_str()),
        ("auth_version", "1.0"),
    ]);
    if !body.is_empty() {
        all.insert("body_md5", &body_md5);
    }
    all.extend(query.iter().copied());
    let pairs: Vec<_> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let query = pairs.join("&");
    let signature = hmac(secret, &format!("{method}\n{path}\n{query}"));
    format!("{query}&auth_signature={signature}")
}

pub(crate) fn hmac(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Waits for a condition that no message tells of.
pub(crate) async fn eventually(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, met).await.expect("the condition is met in time");
}

/// A page: one connection.
pub(crate) struct Page {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) id: String,
}

impl Page {
    pub(crate) async fn connect(url: &str) -> Self {
        let mut page = Self::open(url).await;
        let established = page.expect("pusher:connection_established").await;
        page.id = data(&established)["socket_id"].as_str().unwrap().to_owned();
        page
    }

    /// Connects, and hears nothing yet.
    pub(crate) async fn open(url: &str) -> Self {
        Self::request(url.into_client_request().unwrap()).await
    }

    /// Connects as a page of an origin.
    pub(crate) async fn open_from(url: &str, origin: &str) -> Self {
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        Self::request(request).await
    }

    async fn request(request: Request<()>) -> Self {
        let (socket, _) = timeout(PATIENCE, connect_async(request)).await.unwrap().unwrap();
        Self { socket, id: String::new() }
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.send_frame(Frame::text(text)).await.unwrap();
    }

    pub(crate) async fn send_frame(&mut self, frame: Frame) -> Result<(), Error> {
        timeout(PATIENCE, self.socket.send(frame)).await.expect("the server reads")
    }

    /// The next frame of the protocol.
    pub(crate) async fn next(&mut self) -> Value {
        match self.next_frame().await {
            Some(Ok(Frame::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected an event, found {other:?}"),
        }
    }

    async fn next_frame(&mut self) -> Option<Result<Frame, Error>> {
        timeout(PATIENCE, self.socket.next()).await.expect("the server says something")
    }

    /// The next frame, which must be this event.
    pub(crate) async fn expect(&mut self, event: &str) -> Value {
        let found = self.next().await;
        assert_eq!(found["event"], event, "{found}");
        found
    }

    /// Nothing more was said before this: a ping is answered next.
    pub(crate) async fn expect_nothing(&mut self) {
        self.send(json!({ "event": "pusher:ping", "data": {} })).await;
        self.expect("pusher:pong").await;
    }

    /// The code that the connection ends with, whatever was said before.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.next_frame().await {
                Some(Ok(Frame::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Subscribes to a public channel.
    pub(crate) async fn subscribe(&mut self, channel: &str) -> Value {
        self.ask(channel, None).await;
        self.expect("pusher_internal:subscription_succeeded").await
    }

    /// Subscribes to a channel that wants a signature.
    pub(crate) async fn subscribe_signed(&mut self, channel: &str, member: Option<&str>) -> Value {
        self.ask_signed(channel, member).await;
        self.expect("pusher_internal:subscription_succeeded").await
    }

    pub(crate) async fn ask(&mut self, channel: &str, auth: Option<&str>) {
        let data = json!({ "channel": channel, "auth": auth });
        self.send(json!({ "event": "pusher:subscribe", "data": data })).await;
    }

    pub(crate) async fn ask_signed(&mut self, channel: &str, member: Option<&str>) {
        let auth = app().authorize_channel(&self.id, channel, member);
        let data = json!({ "channel": channel, "auth": auth, "channel_data": member });
        self.send(json!({ "event": "pusher:subscribe", "data": data })).await;
    }

    /// Says where it was on channels, before it subscribes to them.
    pub(crate) async fn resume(&mut self, positions: Value) {
        let data = json!({ "positions": positions });
        self.send(json!({ "event": "courant:resume", "data": data })).await;
    }
}

/// What a frame's data is: JSON within a text.
pub(crate) fn data(frame: &Value) -> Value {
    let text = frame["data"].as_str().unwrap_or_else(|| panic!("{frame} has no data as a text"));
    serde_json::from_str(text).unwrap()
}
