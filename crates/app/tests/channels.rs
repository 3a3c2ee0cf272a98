//! Channels of a real process: what a page hears while it is killed again and again, who
//! may connect, and what other people's libraries make of it, in a browser too.
//!
//! The page speaks the protocol itself and resumes as `resumable` of the documentation
//! does. Afterwards it must have heard every document of the collection exactly once, in
//! the order of its commits, without ever being told to fetch the state.
//!
//! `COURANT_CRASH_ROUNDS` sets the number of kills (default 6).

#![allow(clippy::print_stdout, reason = "says why it was skipped")]

mod support;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use support::{Courant, PATIENCE, root, setting};
use tempfile::tempdir;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

const FILE: &str = "
version: 1
name: channels
sources:
  numbers:
    http: { method: POST, path: /numbers }
    to: numbers
    key: id
pipelines:
  keep:
    from: numbers
    to:
      - history: { collection: numbers, id: id }
channels:
  numbers: { watch: numbers, event: NewNumber, on: insert }
profiles:
  elsewhere: { push: \"${ELSEWHERE:-embedded}\" }
endpoints:
  /numbers: { history: numbers, limit: 10000 }
";

/// How clients/push/run.py ends when libraries are missing.
const MISSING: i32 = 3;

/// What a page remembers of the channel while it is away.
#[derive(Debug, Default)]
struct Heard {
    position: Option<String>,
    ids: Vec<u64>,
}

/// A page's connection.
struct Page(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Page {
    async fn connect(courant: &Courant, origin: Option<&str>) -> Result<Self, Error> {
        let address = courant.url.replace("http://", "ws://");
        let mut request =
            format!("{address}/app/courant?protocol=7").into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        connect_async(request).await.map(|(socket, _)| Self(socket))
    }

    async fn send(&mut self, event: &str, data: Value) {
        let text = json!({ "event": event, "data": data }).to_string();
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next frame; `None` when the server is gone.
    async fn next(&mut self) -> Option<Value> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).ok(),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Says where it was and subscribes.
    async fn come(&mut self, heard: &Heard) {
        if let Some(position) = &heard.position {
            self.send("courant:resume", json!({ "positions": { "numbers": position } })).await;
        }
        self.send("pusher:subscribe", json!({ "channel": "numbers" })).await;
    }

    /// Listens until it has heard so many, or the server is gone.
    async fn listen(&mut self, heard: &mut Heard, until: usize) {
        while heard.ids.len() < until {
            let Some(frame) = self.next().await else { return };
            let event = frame["event"].as_str().unwrap_or_default();
            assert_ne!(event, "courant:reset", "what was missed is known");
            if event == "NewNumber" {
                let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
                heard.ids.push(data["id"].as_u64().unwrap());
            }
            if let (Some("numbers"), Some(position)) =
                (frame["channel"].as_str(), frame["position"].as_str())
            {
                heard.position = Some(position.to_owned());
            }
        }
    }
}

/// Posts numbers from `first` on until the process is gone; answers the next one.
async fn write(url: String, client: reqwest::Client, first: u64) -> u64 {
    let mut beat = tokio::time::interval(Duration::from_millis(5));
    let mut id = first;
    loop {
        beat.tick().await;
        let body = format!("{{\"id\":{id},\"text\":\"number {id}\"}}");
        let sent = client.post(format!("{url}/numbers")).body(body);
        let sent = sent.header("content-type", "application/json").send().await;
        id += 1;
        if sent.is_err() {
            return id;
        }
    }
}

/// clients/push/run.py on a server with the secret `hush`, with these drivers.
fn libraries(url: &str, listen: &Value, drivers: &[&str]) -> Command {
    let (host, port) = url.trim_start_matches("http://").split_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    let place = json!({
        "host": host, "port": port, "id": "courant", "key": "courant", "secret": "hush",
        "listen": listen,
    });
    let mut command = Command::new("python3");
    command.arg(root().join("clients/push/run.py")).arg(place.to_string()).args(drivers);
    command
}

/// Whether libraries are missing, which only CI must not be.
fn is_skipped(code: Option<i32>, said: &str) -> bool {
    let skipped = code == Some(MISSING) && std::env::var("CI").as_deref() != Ok("true");
    if skipped {
        println!("skipped: {said}");
    }
    skipped
}

fn write_file(folder: &Path) -> std::path::PathBuf {
    let file = folder.join("courant.yaml");
    std::fs::write(&file, FILE).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_hears_every_insert_once_however_often_the_process_is_killed() {
    let folder = tempdir().unwrap();
    let (file, data) = (write_file(folder.path()), folder.path().join("data"));
    let (mut heard, mut next) = (Heard::default(), 0);
    for round in 0..setting("COURANT_CRASH_ROUNDS", 6) {
        let courant = Courant::start(&file, &data);
        let mut page = Page::connect(&courant, None).await.unwrap();
        page.come(&heard).await;
        let writer = tokio::spawn(write(courant.url.clone(), courant.client.clone(), next));
        // Some are heard; then nobody knows how far what is written has come.
        let until = heard.ids.len() + 20 + 7 * usize::try_from(round).unwrap();
        page.listen(&mut heard, until).await;
        courant.kill();
        page.listen(&mut heard, usize::MAX).await;
        next = writer.await.unwrap();
    }
    let courant = Courant::start(&file, &data);
    let mut page = Page::connect(&courant, None).await.unwrap();
    page.come(&heard).await;
    let (_, last) = courant.post("/numbers", format!("{{\"id\":{next},\"text\":\"last\"}}")).await;
    assert!(last["error"].is_null(), "{last}");
    while heard.ids.last() != Some(&next) {
        let until = heard.ids.len() + 1;
        page.listen(&mut heard, until).await;
    }
    let (_, stored) = courant.get("/numbers").await;
    let stored = stored["data"].as_array().unwrap();
    let mut stored: Vec<u64> = stored.iter().map(|one| one["id"].as_u64().unwrap()).collect();
    stored.sort_unstable();
    assert!(heard.ids.is_sorted(), "in the order of the commits: {:?}", heard.ids);
    assert_eq!(heard.ids, stored);
    assert!(stored.len() >= 100, "{}", stored.len());
}

#[tokio::test]
async fn pages_of_other_sites_may_not_listen_and_servers_must_sign() {
    let folder = tempdir().unwrap();
    let (file, data) = (write_file(folder.path()), folder.path().join("data"));
    let flags = ["--kafka-port", "off", "--push-origin", "https://shop.example"];
    let courant = Courant::try_start_with(&file, &data, &flags, &[]).unwrap();
    let own = courant.url.clone();
    for origin in
        [None, Some(own.as_str()), Some("http://localhost:8000"), Some("https://shop.example")]
    {
        let mut page = Page::connect(&courant, origin).await.unwrap();
        let hello = page.next().await.unwrap();
        assert_eq!(hello["event"], "pusher:connection_established", "{origin:?}");
    }
    let refused = Page::connect(&courant, Some("https://evil.example")).await.err();
    let Some(Error::Http(answer)) = refused else { panic!("{refused:?}") };
    assert_eq!(answer.status().as_u16(), 403);
    let (status, said) = courant.post("/apps/courant/events", "{}").await;
    assert_eq!(status.as_u16(), 401, "{said}");
    let (_, info) = courant.get("/api/v1/info").await;
    assert_eq!(info["push"], json!({ "key": "courant" }));
    let secret = std::fs::read_to_string(data.join("push-secret")).unwrap();
    assert!(!courant.said().contains(secret.trim()));
    courant.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_peoples_libraries_work_with_the_binary_unchanged() {
    let folder = tempdir().unwrap();
    let (file, data) = (write_file(folder.path()), folder.path().join("data"));
    let secret = [("COURANT_PUSH_SECRET", "hush")];
    let courant = Courant::try_start_with(&file, &data, &["--kafka-port", "off"], &secret).unwrap();
    let mut command = libraries(&courant.url, &Value::Null, &["node", "browser"]);
    let ran = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
    let (code, said) = match ran.await.unwrap() {
        Ok(ran) => (ran.status.code(), String::from_utf8_lossy(&ran.stdout).into_owned()),
        Err(error) => (Some(MISSING), format!("python3 cannot be run: {error}")),
    };
    if !is_skipped(code, &said) {
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 18, "{said}");
    }
    assert!(!data.join("push-secret").exists(), "no secret is made where one is given");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_hears_what_it_missed_once_after_each_restart() {
    let folder = tempdir().unwrap();
    let (file, data) = (write_file(folder.path()), folder.path().join("data"));
    let secret = [("COURANT_PUSH_SECRET", "hush")];
    let start = |port: &str| {
        let flags = ["--kafka-port", "off", "--http-port", port];
        Courant::try_start_with(&file, &data, &flags, &secret).unwrap()
    };
    let mut courant = start("0");
    let port = courant.url.rsplit(':').next().unwrap().to_owned();
    let listen = json!({ "channel": "numbers", "event": "NewNumber" });
    let mut command = libraries(&courant.url, &listen, &["browser"]);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut browser) = spawned else {
        return assert!(is_skipped(Some(MISSING), "python3 cannot be run"));
    };
    let mut lines = BufReader::new(browser.stdout.take().unwrap()).lines();
    let mut next = || lines.next().and_then(Result::ok);
    let Some(first) = next() else { panic!("the browser said nothing") };
    if first.starts_with("skipped") {
        return assert!(is_skipped(browser.wait().unwrap().code(), &first));
    }
    assert_eq!(first, "ok subscribed");
    let mut heard = BTreeMap::<String, Vec<u64>>::new();
    let mut id = 0;
    for round in 0..3 {
        // After a restart the page takes a second to come back: these are what it missed.
        for _ in 0..5 {
            courant.post("/numbers", format!("{{\"id\":{id},\"text\":\"one\"}}")).await;
            id += 1;
        }
        let all = |heard: &BTreeMap<String, Vec<u64>>| {
            heard.len() == 2 && heard.values().all(|ids| ids.len() >= usize::try_from(id).unwrap())
        };
        while !all(&heard) {
            let line = next().expect("the browser goes on");
            if line == "ok subscribed" {
                continue;
            }
            let said = line.strip_prefix("ok ").unwrap_or_else(|| panic!("{line}"));
            let (library, data) = said.split_once(' ').unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            heard.entry(library.to_owned()).or_default().push(data["id"].as_u64().unwrap());
        }
        if round < 2 {
            courant.kill();
            courant = start(&port);
        }
    }
    let expected: Vec<u64> = (0..id).collect();
    assert_eq!(heard["pusher-js"], expected);
    assert_eq!(heard["laravel-echo"], expected);
    drop(browser.stdin.take());
    assert_eq!(browser.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_server_elsewhere_hear_every_insert_in_order() {
    let folder = tempdir().unwrap();
    let file = write_file(folder.path());
    let start = |name: &str, flags: &[&str], variables: &[(&str, &str)]| {
        let flags = [&["--kafka-port", "off"], flags].concat();
        Courant::try_start_with(&file, &folder.path().join(name), &flags, variables).unwrap()
    };
    let elsewhere = start("elsewhere", &[], &[("COURANT_PUSH_SECRET", "hush")]);
    let mut page = Page::connect(&elsewhere, None).await.unwrap();
    page.come(&Heard::default()).await;
    let host = elsewhere.url.trim_start_matches("http://");
    let url = format!("pusher://courant:hush@{host}/courant");
    let mut heard = Heard::default();
    for round in 0..2_u64 {
        let profile = ["--profile", "elsewhere"];
        let courant = start("data", &profile, &[("ELSEWHERE", &url)]);
        let (_, info) = courant.get("/api/v1/info").await;
        let (host, port) = host.split_once(':').unwrap();
        let port: u16 = port.parse().unwrap();
        let expected = json!({ "key": "courant", "host": host, "port": port, "tls": false });
        assert_eq!(info["push"], expected);
        assert!(Page::connect(&courant, None).await.is_err(), "pages connect elsewhere");
        for id in 15 * round..15 * (round + 1) {
            courant.post("/numbers", format!("{{\"id\":{id},\"text\":\"one\"}}")).await;
        }
        // Killed when the last was taken, perhaps before that was written down.
        while heard.ids.last() != Some(&(15 * round + 14)) {
            let until = heard.ids.len() + 1;
            page.listen(&mut heard, until).await;
        }
        courant.kill();
    }
    let mut once = heard.ids.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once, (0..30).collect::<Vec<_>>());
    assert!(heard.ids.len() <= 40, "at most the last request again: {:?}", heard.ids);
    assert!(!folder.path().join("data/push-secret").exists());
}

/// A running Sockudo, another server of the protocol, with the app that the tests speak of.
struct Sockudo {
    child: Child,
    host: String,
}

impl Sockudo {
    async fn start(binary: &OsStr, folder: &Path) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let app = json!({
            "id": "courant", "key": "courant", "secret": "hush", "enabled": true,
            "max_connections": 100, "max_client_events_per_second": 100,
            "enable_client_messages": false,
        });
        let config = json!({
            "host": "127.0.0.1", "port": address.port(), "metrics": { "enabled": false },
            "app_manager": { "driver": "memory", "array": { "apps": [app] } },
        });
        std::fs::write(folder.join("sockudo.json"), config.to_string()).unwrap();
        let mut command = Command::new(binary);
        command.args(["--config", "sockudo.json"]).current_dir(folder);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let server = Self { child, host: address.to_string() };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < deadline, "sockudo does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server
    }
}

impl Drop for Sockudo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ids of the events that clients/push/node/hear.mjs says, until one is `last`.
fn hear(lines: &mut impl Iterator<Item = std::io::Result<String>>, last: u64) -> Vec<u64> {
    let mut ids = Vec::new();
    while ids.last() != Some(&last) {
        let line = lines.next().expect("the page goes on").unwrap();
        let data = line.strip_prefix("ok pusher-js ").unwrap_or_else(|| panic!("{line}"));
        let data: Value = serde_json::from_str(data).unwrap();
        ids.push(data["id"].as_u64().unwrap());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_sockudo_hear_every_insert_in_order() {
    let Some(binary) = std::env::var_os("COURANT_SOCKUDO") else {
        println!("skipped: COURANT_SOCKUDO is not set to the program of `cargo install sockudo`");
        return;
    };
    let folder = tempdir().unwrap();
    let file = write_file(folder.path());
    let sockudo = Sockudo::start(&binary, folder.path()).await;
    let listen = json!({ "channel": "numbers", "event": "NewNumber" });
    let mut command = libraries(&sockudo.host, &listen, &["node"]);
    let mut page = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(page.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ok subscribed");
    let url = format!("pusher://courant:hush@{}/courant", sockudo.host);
    let mut heard = Vec::new();
    for round in 0..2_u64 {
        let flags = ["--kafka-port", "off", "--profile", "elsewhere"];
        let variables = [("ELSEWHERE", url.as_str())];
        let data = folder.path().join("data");
        let courant = Courant::try_start_with(&file, &data, &flags, &variables).unwrap();
        for id in 50 * round..50 * (round + 1) {
            courant.post("/numbers", format!("{{\"id\":{id},\"text\":\"one\"}}")).await;
        }
        heard.extend(hear(&mut lines, 50 * round + 49));
        courant.kill();
    }
    drop(page.stdin.take());
    assert_eq!(page.wait().unwrap().code(), Some(0));
    let repeated = heard.len().checked_sub(100).expect("nothing is missing");
    assert!(repeated <= 10, "at most the last request again: {heard:?}");
    let mut once = heard.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once, (0..100).collect::<Vec<_>>());
    heard.dedup();
    assert!(repeated > 0 || heard.is_sorted(), "in the order of the commits: {heard:?}");
}
