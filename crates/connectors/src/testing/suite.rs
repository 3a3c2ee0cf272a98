//! The conformance suites: what every source, and every sink, must do.
//!
//! A connector's tests say how its outside is fed or read, and apply each check
//! that fits it. A check that does not fit (a generator has no bad input) is not
//! called; none is weakened.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use courant_pipeline::{
    connector::{ConnectorError, Rejection, Sink, SourceFactory},
    event::Event,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{MemoryEmit, World, event};

/// Far beyond what a working connector needs.
const LIMIT: Duration = Duration::from_secs(30);

/// Between two tries of something whose server is away.
const WAIT: Duration = Duration::from_millis(100);

/// A source that runs in the background until it is stopped.
#[derive(Debug)]
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), ConnectorError>>,
}

/// Opens and starts a source.
pub(crate) fn start(world: &World, factory: &dyn SourceFactory) -> Running {
    let stop = CancellationToken::new();
    let source = factory.open(world.context(stop.clone())).unwrap();
    Running { stop, task: tokio::spawn(source.run()) }
}

impl Running {
    /// Cancels the source and waits for it to return.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.ended().await.unwrap();
    }

    /// Drops the source wherever it is, as a crash of the process would.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    /// Waits until the source ends by itself.
    pub(crate) async fn ended(self) -> Result<(), ConnectorError> {
        tokio::time::timeout(LIMIT, self.task).await.expect("source does not end").unwrap()
    }
}

/// Opens and starts a source, and again after each failure that may pass, as the runtime
/// does.
pub(crate) fn supervise(world: &World, factory: Arc<dyn SourceFactory>) -> Running {
    let stop = CancellationToken::new();
    let context = world.context(stop.clone());
    let task = tokio::spawn(async move {
        loop {
            let ended = factory.open(context.clone())?.run().await;
            match ended {
                Err(error) if error.retryable => tokio::time::sleep(WAIT).await,
                ended => return ended,
            }
        }
    });
    Running { stop, task }
}

/// Writes events, and again after each failure that may pass, as the runtime does.
pub(crate) async fn write_all(sink: &mut dyn Sink, events: &[Event]) -> Vec<Rejection> {
    let write = async {
        loop {
            match sink.write(events).await {
                Ok(rejections) => break rejections,
                Err(error) => {
                    assert!(error.retryable, "{error}");
                    tokio::time::sleep(WAIT).await;
                }
            }
        }
    };
    let written = tokio::time::timeout(4 * LIMIT, write).await;
    let rejections = written.expect("sink does not write");
    sink.flush().await.unwrap();
    rejections
}

/// Writes numbered records, a few at a time: `{"n":0}`, `{"n":1}`, ….
pub(crate) async fn write_numbers(sink: &mut dyn Sink, numbers: std::ops::Range<i64>) {
    let events: Vec<_> = numbers.map(|n| event(n, format!("{{\"n\":{n}}}"))).collect();
    for part in events.chunks(50) {
        assert_eq!(write_all(sink, part).await, []);
    }
}

/// Waits until the numbers from 0 on have arrived; tells how many came more than once.
pub(crate) async fn arrived(world: &World, numbers: i64) -> usize {
    let distinct = |emit: &MemoryEmit| emit.values().into_iter().collect::<BTreeSet<_>>();
    let all = |emit: &MemoryEmit| distinct(emit).len() as i64 >= numbers;
    world.emit.wait_until(&format!("{numbers} distinct numbers"), all).await;
    let expected: BTreeSet<_> = (0..numbers).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(distinct(&world.emit), expected);
    world.emit.values().len() - expected.len()
}

/// A finite source reads everything and returns.
pub(crate) async fn runs_to_its_end(world: &World, factory: &dyn SourceFactory) {
    assert!(factory.finite());
    start(world, factory).ended().await.unwrap();
}

/// A cancelled source returns, without an error, wherever it waits.
pub(crate) async fn stops_promptly(world: &World, factory: &dyn SourceFactory) {
    let running = start(world, factory);
    tokio::task::yield_now().await;
    running.stop().await;
}

/// Records arrive in the order of the input, each once.
pub(crate) async fn arrives_in_order(
    world: &World,
    factory: &dyn SourceFactory,
    feed: impl AsyncFn(&World, &[&str]),
) {
    let values: Vec<String> = (0..100).map(|n| format!("{{\"n\":{n}}}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let running = start(world, factory);
    for part in values.chunks(30) {
        feed(world, part).await;
    }
    world.emit.wait_for(&values).await;
    running.stop().await;
}

/// After a stop and a start nothing comes again, and what was fed meanwhile comes.
pub(crate) async fn resumes_where_it_stopped(
    world: &World,
    factory: &dyn SourceFactory,
    feed: impl AsyncFn(&World, &[&str]),
) {
    let running = start(world, factory);
    feed(world, &["{\"n\":1}", "{\"n\":2}"]).await;
    world.emit.wait_for(&["{\"n\":1}", "{\"n\":2}"]).await;
    running.stop().await;
    feed(world, &["{\"n\":3}"]).await;
    let running = start(world, factory);
    feed(world, &["{\"n\":4}"]).await;
    world.emit.wait_for(&["{\"n\":1}", "{\"n\":2}", "{\"n\":3}", "{\"n\":4}"]).await;
    running.stop().await;
}

/// A bad input is set aside as it was, with a reason, and the next ones come.
pub(crate) async fn sets_bad_input_aside(
    world: &World,
    factory: &dyn SourceFactory,
    feed: impl AsyncFn(&World, &[&str]),
) {
    let running = start(world, factory);
    feed(world, &["{\"n\":1}", "{\"n\": oops", "{\"n\":2}"]).await;
    world.emit.wait_for(&["{\"n\":1}", "{\"n\":2}"]).await;
    world.emit.wait_until("set aside", |emit| emit.rejected().len() == 1).await;
    let (original, why) = world.emit.rejected().remove(0);
    assert_eq!(original, "{\"n\": oops");
    assert!(!why.is_empty());
    running.stop().await;
}

/// A sink writes in order over several calls, and has written all after a flush.
pub(crate) async fn writes_in_order(sink: &mut dyn Sink, read: impl AsyncFn() -> Vec<String>) {
    let mut values = Vec::new();
    for call in 0..3 {
        let events: Vec<_> =
            (0..50).map(|n| event(call * 50 + n, format!("{{\"n\":{}}}", call * 50 + n))).collect();
        values.extend((0..50).map(|n| format!("{{\"n\":{}}}", call * 50 + n)));
        assert_eq!(sink.write(&events).await.unwrap(), []);
    }
    sink.flush().await.unwrap();
    assert_eq!(read().await, values);
    assert_eq!(sink.write(&[]).await.unwrap(), []);
    sink.flush().await.unwrap();
    assert_eq!(read().await, values);
}

/// What a sink refuses is named by its index, and the rest is written.
pub(crate) async fn names_what_it_refuses(
    sink: &mut dyn Sink,
    bad: &str,
    read: impl AsyncFn() -> Vec<String>,
) {
    let values = ["{\"n\":0}", bad, "{\"n\":1}", bad];
    let events: Vec<_> = (0..).zip(values).map(|(n, value)| event(n, value.to_owned())).collect();
    let rejections = sink.write(&events).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(rejections.iter().map(|rejection| rejection.index).collect::<Vec<_>>(), [1, 3]);
    assert!(rejections.iter().all(|rejection| !rejection.why.is_empty()));
    assert_eq!(read().await, ["{\"n\":0}", "{\"n\":1}"]);
}
