//! What the tests of this crate share: records, and plans built by hand.
//!
//! Documents are `{"n": 0}` and so on, so that what arrived can be counted and
//! compared. Compiled for tests only.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use async_trait::async_trait;
use courant_log::{AutoOffsetReset, Durability, TopicSettings};
use courant_model::{
    ByteSize, Column, Columns, Record, Span, Timestamp, TopicName,
    json::FieldPath,
    limits::{CHECKPOINT_MS_DEFAULT, LOOKUP_CONCURRENCY_DEFAULT},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    connector::{Answer, ConnectorError, Lookup, LookupContext, LookupFactory},
    plan::{
        ErrorPlan, Guarantee, LookupPlan, LookupSource, OnMissing, PipelinePlan, Plan, StepPlan,
        TargetPlan, TopicPlan,
    },
};

pub(crate) fn name(text: &str) -> TopicName {
    text.parse().unwrap()
}

pub(crate) fn record(value: &Value) -> Record {
    Record::new(value.to_string(), Timestamp::from_millis(1_767_225_600_000))
}

/// Documents `{"n": 0}` and so on.
pub(crate) fn numbers(range: std::ops::Range<u64>) -> impl Iterator<Item = Value> {
    range.map(|n| json!({ "n": n }))
}

/// The field `n` of documents, sorted.
pub(crate) fn sorted_numbers<'a>(documents: impl IntoIterator<Item = &'a Value>) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        documents.into_iter().map(|document| document["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

pub(crate) fn sql(text: &str) -> StepPlan {
    StepPlan::Sql { text: text.into() }
}

pub(crate) fn history(collection: &str, id: Option<&str>) -> TargetPlan {
    let id = id.map(|id| id.parse().unwrap());
    TargetPlan::History { collection: collection.into(), id, indexes: Vec::new(), version: None }
}

pub(crate) fn topic(partitions: i32, columns: Option<Columns>) -> TopicPlan {
    let settings = TopicSettings::default();
    TopicPlan { partitions, settings, columns, event_time: None, declared: true }
}

pub(crate) fn pipeline(
    from: &str,
    steps: impl IntoIterator<Item = StepPlan>,
    to: impl IntoIterator<Item = TargetPlan>,
) -> PipelinePlan {
    PipelinePlan {
        from: vec![name(from)],
        group: String::new(),
        start: AutoOffsetReset::Earliest,
        guarantee: Guarantee::AtLeastOnce,
        steps: steps.into_iter().collect(),
        to: to.into_iter().collect(),
        on_error: ErrorPlan { retries: 2, dead_letters: name("dead") },
        freshness_p99: None,
        linger: Span::default(),
        checkpoint: Span::from_millis(CHECKPOINT_MS_DEFAULT),
    }
}

/// A plan with these pipelines; each is its own group, and reads a topic of one
/// partition unless the test says otherwise.
pub(crate) fn plan<'a>(pipelines: impl IntoIterator<Item = (&'a str, PipelinePlan)>) -> Plan {
    let mut plan = Plan::without_pipelines("test", Durability::Os);
    plan.memory = ByteSize::from_bytes(64 << 20);
    for (name, mut pipeline) in pipelines {
        if pipeline.group.is_empty() {
            pipeline.group = format!("test.{name}");
        }
        plan.pipelines.insert(name.into(), pipeline);
    }
    plan
}

/// Columns of the documents of [`numbers`].
pub(crate) static N: LazyLock<Columns> =
    LazyLock::new(|| [Column::parse("n", "int64 not null").unwrap()].into_iter().collect());

pub(crate) fn lookup(source: LookupSource, into: &str) -> LookupPlan {
    LookupPlan {
        source,
        into: into.parse().unwrap(),
        many: false,
        on_missing: OnMissing::Reject,
        remember: None,
        concurrency: LOOKUP_CONCURRENCY_DEFAULT,
    }
}

/// Something outside that is asked for a number, the field `n`; it finds `{"of": n}`
/// unless it is told otherwise, and remembers what it was asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outside {
    answers: Arc<Mutex<BTreeMap<u64, Answer>>>,
    asked: Arc<Mutex<Vec<u64>>>,
    /// How often it is away first.
    failures: Arc<Mutex<usize>>,
    /// Questions that are open at a time are answered in the opposite order.
    reversing: bool,
    silent: bool,
}

impl Outside {
    pub(crate) fn failing(self, times: usize) -> Self {
        *self.failures.lock() = times;
        self
    }

    pub(crate) fn reversing(self) -> Self {
        Self { reversing: true, ..self }
    }

    pub(crate) fn silent(self) -> Self {
        Self { silent: true, ..self }
    }

    pub(crate) fn answer(&self, n: u64, answer: Answer) {
        self.answers.lock().insert(n, answer);
    }

    pub(crate) fn asked(&self) -> Vec<u64> {
        self.asked.lock().clone()
    }

    pub(crate) fn source(&self) -> LookupSource {
        LookupSource::Connector { connector: "outside", factory: Arc::new(self.clone()) }
    }
}

impl LookupFactory for Outside {
    fn parameters(&self) -> &[FieldPath] {
        static PARAMETERS: LazyLock<Vec<FieldPath>> = LazyLock::new(|| vec![FieldPath::field("n")]);
        &PARAMETERS
    }

    fn has_many(&self) -> bool {
        true
    }

    fn open(&self, _: LookupContext) -> Result<Arc<dyn Lookup>, ConnectorError> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Lookup for Outside {
    async fn ask(&self, parameters: &[Value]) -> Result<Answer, ConnectorError> {
        let n = parameters[0].as_u64().unwrap();
        let turn = {
            let mut asked = self.asked.lock();
            asked.push(n);
            asked.len()
        };
        if self.silent {
            std::future::pending::<()>().await;
        }
        if self.reversing {
            // The later it was asked the fewer turns it waits.
            for _ in 0..(200_usize.saturating_sub(turn)) {
                tokio::task::yield_now().await;
            }
        }
        {
            let mut failures = self.failures.lock();
            if *failures > 0 {
                *failures -= 1;
                return Err(ConnectorError::retryable("away"));
            }
        }
        let told = self.answers.lock().get(&n).cloned();
        Ok(told.unwrap_or_else(|| Answer::Found(vec![json!({ "of": n })])))
    }
}

/// A plan from a file over the topic `visits`, with these views.
pub(crate) fn plan_with_views(views: &str) -> Plan {
    let head = "version: 1
name: test
memory: 64MiB
durability: os
topics:
  visits:
    columns: { name: string, duration: int64 }
views:
";
    crate::config::tests::plan_of(&format!("{head}{views}"))
}

/// A plan with the view `v`, whose results go to `counted`.
pub(crate) fn view_plan(sql: &str) -> Plan {
    plan_with_views(&format!("  v: {{ sql: {sql:?}, to: counted }}"))
}

/// A visit of a page, so many seconds after the driver's clock begins.
pub(crate) fn visit(second: i64, page: &str, duration: i64) -> Record {
    let text = json!({ "name": page, "duration": duration }).to_string();
    Record::new(text, Timestamp::from_millis(1_767_225_600_000 + second * 1_000))
        .with_key(page.to_owned())
}
