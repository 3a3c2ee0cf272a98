//! Sources at work: what they emit, what they may not, how they end and come back.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use async_trait::async_trait;
use bytes::Bytes;
use courant_model::{Record, Timestamp};
use serde_json::json;

use super::world::{World, stop, until};
use crate::{
    connector::{ConnectorError, EmitError, Source, SourceContext, SourceFactory},
    plan::{Plan, SourcePlan},
    runtime::TaskState,
    testing::{name, numbers, plan, record},
};

/// A source that emits ten numbers, then ends, or goes on until it is stopped. Its
/// state is the next number.
#[derive(Debug, Clone, Default)]
struct Counting {
    opened: Arc<AtomicUsize>,
    /// How often it fails half-way.
    fails: usize,
    endless: bool,
}

#[derive(Debug)]
struct Running {
    context: SourceContext,
    fails: bool,
    endless: bool,
}

impl SourceFactory for Counting {
    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        let fails = self.opened.fetch_add(1, SeqCst) < self.fails;
        Ok(Box::new(Running { context, fails, endless: self.endless }))
    }
}

#[async_trait]
impl Source for Running {
    async fn run(self: Box<Self>) -> Result<(), ConnectorError> {
        let lost = |error: EmitError| ConnectorError::fatal(error.to_string());
        let state = self.context.state.load().await?;
        let next = state.map_or(0, |state| u64::from(state[0]));
        for document in numbers(next..10) {
            if self.fails && document["n"] == 5 {
                return Err(ConnectorError::retryable("the line broke"));
            }
            self.context.emitter.emit(None, vec![record(&document)]).await.map_err(lost)?;
            let next = u8::try_from(document["n"].as_u64().unwrap() + 1).unwrap();
            self.context.state.save(Bytes::from(vec![next])).await?;
        }
        if self.endless {
            self.context.stop.cancelled().await;
        }
        Ok(())
    }
}

/// Emits what no log can take, and what is no record.
#[derive(Debug)]
struct Faulty;

#[derive(Debug)]
struct FaultyRun(SourceContext);

impl SourceFactory for Faulty {
    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(FaultyRun(context)))
    }
}

#[async_trait]
impl Source for FaultyRun {
    async fn run(self: Box<Self>) -> Result<(), ConnectorError> {
        let records = [json!({ "n": 1 }), json!({ "m": 2 })].iter().map(record).collect();
        let refused = self.0.emitter.emit(None, records).await;
        let Err(EmitError::Rejected { index: 1, why }) = refused else {
            return Err(ConnectorError::fatal("a record without its key was taken"));
        };
        let rejected = self.0.emitter.reject(Bytes::from_static(b"\xff"), why).await;
        rejected.map_err(|error| ConnectorError::fatal(error.to_string()))?;
        let keyed = Record::new("[]", Timestamp::from_millis(5)).with_key("own");
        let emitted = self.0.emitter.emit(None, vec![keyed, record(&json!({ "n": 3 }))]).await;
        emitted.map(drop).map_err(|error| ConnectorError::fatal(error.to_string()))
    }
}

fn with_source(factory: impl SourceFactory + 'static) -> Plan {
    let mut plan = plan([]);
    let source = SourcePlan {
        connector: "counting",
        factory: Arc::new(factory),
        to: name("in"),
        key: Some("n".parse().unwrap()),
        dead_letters: Some(name("refused")),
    };
    plan.sources.insert("s".into(), source);
    plan
}

#[tokio::test]
async fn a_source_that_fails_is_opened_again_and_ends_quietly() {
    let world = World::new().await;
    let counting = Counting { fails: 1, ..Counting::default() };
    let opened = Arc::clone(&counting.opened);
    let runtime = world.start(&with_source(counting)).await;
    until("it ended", async || runtime.sources()[0].state == TaskState::Finished).await;
    assert_eq!(opened.load(SeqCst), 2);
    let records = world.records("in").await;
    assert_eq!(records.len(), 10);
    assert_eq!(records[3].record.key.as_deref(), Some(b"3".as_slice()));
    assert!(records[3].record.origin().is_some());
    assert_eq!(runtime.sources()[0].records, 10);
    stop(runtime).await;
}

#[tokio::test]
async fn a_source_goes_on_from_its_state_after_a_restart() {
    let world = World::new().await;
    let plan = with_source(Counting { endless: true, ..Counting::default() });
    let runtime = world.start(&plan).await;
    world.until_records("in", 10).await;
    until("its state is saved", async || runtime.sources()[0].records == 10).await;
    stop(runtime).await;
    let runtime = world.start(&plan).await;
    until("it runs", async || runtime.sources()[0].state == TaskState::Running).await;
    stop(runtime).await;
    assert_eq!(world.records("in").await.len(), 10);
}

#[tokio::test]
async fn a_call_with_a_record_that_cannot_be_appends_nothing() {
    let world = World::new().await;
    let runtime = world.start(&with_source(Faulty)).await;
    until("it ended", async || runtime.sources()[0].state == TaskState::Finished).await;
    let keys: Vec<_> =
        world.records("in").await.into_iter().map(|stored| stored.record.key.unwrap()).collect();
    assert_eq!(keys, ["own", "3"]);
    let refused = &world.records("refused").await[0].record;
    assert_eq!(refused.value.as_deref(), Some(b"\xff".as_slice()));
    let why = refused.header("courant-error").unwrap().value.clone().unwrap();
    assert!(String::from_utf8_lossy(&why).contains("field \"n\" is missing"));
    assert_eq!(runtime.sources()[0].rejected, 1);
    stop(runtime).await;
}
