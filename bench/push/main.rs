//! Fan-out over the Pusher protocol: many pages on one channel, one publisher.
//!
//! Pages and publisher are one process, so that they share a clock: an event carries the
//! moment when it was due, and every page says how long ago that was when it has the
//! frame. Two questions. `rate`: events at a fixed rate, due whether or not the server
//! keeps up. `full`: a few events are always under way, as fast as all pages have them.
//! Any server of the protocol can be asked; nothing of ours is used here.

#![allow(clippy::print_stdout, reason = "the measurement is what it prints")]

mod publisher;

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use futures::{SinkExt, StreamExt, stream};
use serde_json::json;
use tokio::{net::TcpStream, sync::Notify, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use publisher::Publisher;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Connections that are opened at the same time.
const OPENED_AT_ONCE: usize = 64;

/// Longest wait for anything that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Width of a bucket of latencies, and how many there are; the last takes what is above.
const BUCKET_MICROS: u64 = 50;
const BUCKETS: usize = 100_000;

/// What stands before the time in an event's data.
const MARK: &str = "due=";

const CHANNEL: &str = "fan";

#[derive(Debug, Parser)]
struct Arguments {
    /// Host and port of the server
    #[arg(long)]
    address: String,
    /// Id of the app
    #[arg(long, default_value = "courant")]
    app: String,
    /// Key of the app
    #[arg(long, default_value = "courant")]
    key: String,
    /// Secret of the app
    #[arg(long)]
    secret: String,
    /// Pages that subscribe
    #[arg(long)]
    connections: usize,
    /// Bytes of an event's data
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// How long is measured, after a quarter of that to warm up
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Question {
    /// Events at a fixed rate
    Rate {
        /// Events a second
        #[arg(long)]
        events: u64,
    },
    /// As many events as all pages take
    Full {
        /// Events that may be under way
        #[arg(long, default_value_t = 20)]
        window: u64,
    },
}

/// What all pages have told.
#[derive(Debug)]
struct Heard {
    started: Instant,
    /// Events that were due before this moment only warm up.
    counted_from_micros: AtomicU64,
    /// Frames of events in all, counted or not.
    frames: AtomicU64,
    counted: AtomicU64,
    /// Frames that let the publisher go on.
    wanted: AtomicU64,
    reached: Notify,
    buckets: Vec<AtomicU64>,
}

impl Heard {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            counted_from_micros: AtomicU64::new(u64::MAX),
            frames: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            wanted: AtomicU64::new(u64::MAX),
            reached: Notify::new(),
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn now_micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Notes the frame of an event.
    fn note(&self, text: &str) {
        let Some((_, rest)) = text.split_once(MARK) else { return };
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        let Ok(due) = digits.parse::<u64>() else { return };
        if due >= self.counted_from_micros.load(Ordering::Relaxed) {
            let bucket = self.now_micros().saturating_sub(due) / BUCKET_MICROS;
            let bucket = usize::try_from(bucket).map_or(BUCKETS - 1, |at| at.min(BUCKETS - 1));
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
            self.counted.fetch_add(1, Ordering::Relaxed);
        }
        let frames = self.frames.fetch_add(1, Ordering::Relaxed) + 1;
        if frames >= self.wanted.load(Ordering::Relaxed) {
            self.reached.notify_one();
        }
    }

    /// Waits until there were so many frames.
    async fn until(&self, frames: u64) -> Outcome<()> {
        self.wanted.store(frames, Ordering::Relaxed);
        let reached = async {
            while self.frames.load(Ordering::Relaxed) < frames {
                self.reached.notified().await;
            }
        };
        timeout(PATIENCE, reached).await.map_err(|_| {
            let found = self.frames.load(Ordering::Relaxed);
            format!("{found} of {frames} frames came within a minute")
        })?;
        Ok(())
    }

    /// Upper end of the bucket that holds this part of the counted frames, in milliseconds.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are small"
    )]
    fn quantile_ms(&self, part: f64) -> f64 {
        let counted = self.counted.load(Ordering::Relaxed);
        let rank = (counted as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (index, bucket) in (1_u64..).zip(&self.buckets) {
            seen += bucket.load(Ordering::Relaxed);
            if seen >= rank {
                return (index * BUCKET_MICROS) as f64 / 1_000.0;
            }
        }
        f64::INFINITY
    }
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&arguments))
}

async fn measure(arguments: &Arguments) -> Outcome<()> {
    let heard = Arc::new(Heard::new());
    let connecting = Instant::now();
    let pages = stream::iter(0..arguments.connections)
        .map(|_| page(&arguments.address, &arguments.key))
        .buffer_unordered(OPENED_AT_ONCE);
    let pages: Vec<_> = pages.collect().await;
    for page in pages {
        tokio::spawn(listen(page?, Arc::clone(&heard)));
    }
    let connected_ms = u64::try_from(connecting.elapsed().as_millis())?;
    let publisher =
        Publisher::new(&arguments.address, &arguments.app, &arguments.key, &arguments.secret)?;
    let sent = match arguments.question {
        Question::Rate { events } => at_rate(arguments, &publisher, &heard, events).await?,
        Question::Full { window } => at_full(arguments, &publisher, &heard, window).await?,
    };
    let counted = heard.counted.load(Ordering::Relaxed);
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let per_second = counted as f64 / sent.as_secs_f64();
    let told = json!({
        "connections": arguments.connections,
        "connected_ms": connected_ms,
        "frames": counted,
        "frames_per_second": per_second.round(),
        "p50_ms": heard.quantile_ms(0.50),
        "p99_ms": heard.quantile_ms(0.99),
        "p999_ms": heard.quantile_ms(0.999),
    });
    println!("{told}");
    // What stays open ends with the process.
    Ok(())
}

/// A page that has subscribed.
async fn page(address: &str, key: &str) -> Outcome<WebSocketStream<MaybeTlsStream<TcpStream>>> {
    let url = format!("ws://{address}/app/{key}?protocol=7&client=bench&version=1");
    let (mut socket, _) = timeout(PATIENCE, connect_async(url)).await??;
    let subscribe = json!({ "event": "pusher:subscribe", "data": { "channel": CHANNEL } });
    socket.send(Message::text(subscribe.to_string())).await?;
    loop {
        let frame = timeout(PATIENCE, socket.next()).await?.ok_or("the server has gone")??;
        if frame.to_text()?.contains("subscription_succeeded") {
            return Ok(socket);
        }
    }
}

async fn listen(mut socket: WebSocketStream<MaybeTlsStream<TcpStream>>, heard: Arc<Heard>) {
    while let Some(Ok(frame)) = socket.next().await {
        match frame {
            Message::Text(text) if text.contains("pusher:ping") => {
                let _ = socket.send(Message::text(r#"{"event":"pusher:pong","data":{}}"#)).await;
            }
            Message::Text(text) => heard.note(&text),
            _ => {}
        }
    }
}

/// An event's data: when it was due, and something to make it as long as it should be.
fn data(due_micros: u64, bytes: usize) -> String {
    let mut data = format!("{MARK}{due_micros};");
    data.extend(std::iter::repeat_n('x', bytes.saturating_sub(data.len())));
    data
}

/// Publishes at a fixed rate; answers how long was measured.
async fn at_rate(
    arguments: &Arguments,
    publisher: &Publisher,
    heard: &Heard,
    events: u64,
) -> Outcome<Duration> {
    let (warm_up, counted) = (arguments.seconds * events / 4, arguments.seconds * events);
    let begun = heard.now_micros();
    let due_at = |index: u64| begun + index * 1_000_000 / events;
    heard.counted_from_micros.store(due_at(warm_up), Ordering::Relaxed);
    for index in 0..warm_up + counted {
        let due = due_at(index);
        let wait = Duration::from_micros(due.saturating_sub(heard.now_micros()));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        publisher.publish(CHANNEL, &[data(due, arguments.bytes)]).await?;
    }
    heard.until((warm_up + counted) * arguments.connections as u64).await?;
    Ok(Duration::from_secs(arguments.seconds))
}

/// Keeps some events under way; answers how long was measured.
async fn at_full(
    arguments: &Arguments,
    publisher: &Publisher,
    heard: &Heard,
    window: u64,
) -> Outcome<Duration> {
    let pages = arguments.connections as u64;
    let warm_up = Duration::from_secs(arguments.seconds) / 4;
    let until = warm_up + Duration::from_secs(arguments.seconds);
    let (started, mut events) = (Instant::now(), 0);
    let mut counting = None;
    while started.elapsed() < until {
        if counting.is_none() && started.elapsed() >= warm_up {
            heard.counted_from_micros.store(heard.now_micros(), Ordering::Relaxed);
            counting = Some(Instant::now());
        }
        let batch = window.min(10);
        if events + batch > window {
            heard.until((events + batch - window) * pages).await?;
        }
        let batch: Vec<_> = (0..batch).map(|_| data(heard.now_micros(), arguments.bytes)).collect();
        publisher.publish(CHANNEL, &batch).await?;
        events += batch.len() as u64;
    }
    heard.until(events * pages).await?;
    Ok(counting.unwrap_or(started).elapsed())
}
