//! Whole files: right ones make plans, wrong ones are explained.
//!
//! Files live in memory; connectors are two small ones of these tests. A wrong file
//! is written with what must be said about it, line by line.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::{
    connector::{
        About, ConnectorError, LogKind, OptionProblem, PushKind, Sink, SinkContext, SinkFactory,
        SinkKind, Source, SourceContext, SourceFactory, SourceKind,
    },
    options,
    plan::{Destination, EndpointPlan, Guarantee, StepPlan, TargetPlan},
};

mod bad_files;
mod channel_files;
mod examples;
mod jolt_files;
mod lookup_files;
pub(crate) mod nest_files;
mod reference;
mod sql_files;
mod test_files;
mod view_endpoint_files;
mod view_files;

/// Files by name.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<PathBuf, String>);

impl Memory {
    pub(super) fn with(mut self, name: &str, text: &str) -> Self {
        self.0.insert(name.into(), text.into());
        self
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::Error::other("no such file"))
    }
}

/// Serves a route.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Web {
    /// The HTTP method.
    method: String,
    /// The path.
    path: String,
}

impl SourceFactory for Web {
    fn routes(&self) -> Vec<(String, String)> {
        vec![(self.method.clone(), self.path.clone())]
    }

    fn open(&self, _: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        Err(ConnectorError::fatal("tests open nothing"))
    }
}

impl SinkFactory for Web {
    fn open(&self, _: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        Err(ConnectorError::fatal("tests open nothing"))
    }
}

fn source(value: &Value) -> Result<Arc<dyn SourceFactory>, Vec<OptionProblem>> {
    options::parse::<Web>(value).map(|web| Arc::new(web) as _)
}

fn sink(value: &Value) -> Result<Arc<dyn SinkFactory>, Vec<OptionProblem>> {
    options::parse::<Web>(value).map(|web| Arc::new(web) as _)
}

fn check_log(url: &str) -> Result<(), String> {
    if url.contains("wrong") {
        Err("URL of the log is wrong; write another".into())
    } else {
        Ok(())
    }
}

pub(super) fn connectors() -> Connectors {
    let about = |name, example| About {
        name,
        summary: "Serves a route of these tests.",
        guarantee: "None; nothing is opened.",
        example,
        schema: || schemars::schema_for!(Web),
    };
    let web = about("web", "web: { method: POST, path: /orders }");
    let hook = about("hook", "hook: { method: POST, path: /out }");
    Connectors {
        sources: vec![SourceKind { about: web, parse: source }],
        sinks: vec![SinkKind { about: hook, parse: sink }],
        lookups: Vec::new(),
        logs: vec![LogKind { schemes: &["kafka"], check: check_log }],
        pushes: vec![PushKind { schemes: &["pusher"], check: check_log }],
    }
}

fn env(name: &str) -> Option<String> {
    match name {
        "PATH_OF_ORDERS" => Some("/orders".into()),
        "SECRET" => Some("s3cret-token".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

pub(super) fn load_from(files: &Memory, profile: Option<&str>) -> Result<Plan, Problems> {
    let connectors = connectors();
    let options =
        LoadOptions { profile: profile.map(Into::into), env: &env, connectors: &connectors, files };
    load(Path::new("app/courant.yaml"), &options)
}

pub(crate) fn plan_of(text: &str) -> Plan {
    load_from(&Memory::default().with("app/courant.yaml", text), None)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

pub(crate) const WHOLE: &str = r#"
version: 1
name: shop
memory: 256MiB
profiles:
  embedded: {}
  cluster: { log: "kafka://kafka:9092" }
topics:
  orders:
    partitions: 6
    retention: forever
    cleanup: compact_and_delete
    columns: { orderNumber: int64 not null, customerNumber: int64, status: string, lines: "list<struct<productCode: string, priceEach: decimal(10,2)>>" }
  plain:
sources:
  form:
    web: { method: POST, path: "${PATH_OF_ORDERS}" }
    to: orders
    key: customerNumber
  changes:
    profile: cluster
    mysql: { url: "${MYSQL_URL}" }
    to: orders
pipelines:
  keep:
    from: orders
    start: latest
    steps:
      - sql: SELECT * FROM input WHERE status <> 'Cancelled'
      - deduplicate: { by: [orderNumber, status], within: 1h }
      - route:
          - { when: "status = 'On Hold'", to: held }
          - { when: status IS NULL, to: drop }
          - { otherwise: next }
      - key: customerNumber
    to:
      - cache: { table: by_customer, key: customerNumber, field: orderNumber, ttl: 30d }
      - history: { collection: orders, id: orderNumber, indexes: [status, [customerNumber, status]] }
      - hook: { method: POST, path: /out }
    on_error: { retries: 2, dead_letters: orders.bad }
    freshness: { p99: 200ms }
  lines:
    from: [orders]
    steps:
      - split: lines
      - key: ~
    to: order-lines
  again:
    from: held
    to: [ { history: { collection: orders, id: orderNumber } } ]
endpoints:
  /orders: { history: orders, sort: -orderNumber, limit: 50, filter: { status: Shipped } }
  /orders/{id}: { history: orders }
  /customers/{customerNumber}/orders: { cache: by_customer }
  /customers/{customerNumber}/orders/{order}: { cache: by_customer }
channels:
  orders: { watch: orders, event: NewOrder, on: [insert] }
  private-orders.{customerNumber}:
    watch: orders
    events: { insert: NewOrder, update: OrderUpdated }
    filter: { status: Shipped }
    data: [orderNumber, status]
tests: [orders.test.yaml]
"#;

#[test]
fn a_right_file_makes_a_plan() {
    let plan = plan_of(WHOLE);
    assert_eq!((plan.name.as_str(), plan.profile.as_str()), ("shop", "embedded"));
    assert_eq!(plan.memory.to_string(), "256MiB");
    assert_eq!(plan.base, Path::new("app"));
    assert_eq!(plan.tests, [PathBuf::from("app/orders.test.yaml")]);
    let topics: Vec<&str> = plan.topics.keys().map(|name| name.as_str()).collect();
    assert_eq!(
        topics,
        ["orders", "plain", "held", "orders.bad", "order-lines", "lines.dead", "again.dead"]
    );
    let orders = &plan.topics["orders"];
    assert_eq!((orders.partitions, orders.declared), (6, true));
    assert_eq!(orders.settings.retention_time, None);
    assert!(orders.columns.as_ref().unwrap().get("orderNumber").unwrap().required);
    assert!(!plan.topics["held"].declared);
    assert_eq!(plan.sources.keys().collect::<Vec<_>>(), ["form"]);
    assert_eq!(plan.sources["form"].connector, "web");
}

#[test]
fn a_pipeline_has_its_steps_targets_and_defaults() {
    let plan = plan_of(WHOLE);
    let keep = &plan.pipelines["keep"];
    assert_eq!((keep.group.as_str(), keep.on_error.retries), ("shop.keep", 2));
    assert_eq!(keep.start, courant_log::AutoOffsetReset::Latest);
    assert_eq!((keep.linger.as_millis(), keep.checkpoint.as_millis()), (0, 50));
    let StepPlan::Route { branches, otherwise } = &keep.steps[2] else { panic!("a route") };
    assert_eq!(branches[0].to, Destination::Topic("held".parse().unwrap()));
    assert_eq!((&branches[1].to, otherwise), (&Destination::Drop, &Destination::Next));
    assert_eq!(keep.steps[3], StepPlan::Key { field: Some("customerNumber".parse().unwrap()) });
    let TargetPlan::Connector { connector, .. } = &keep.to[2] else { panic!("a connector") };
    assert_eq!(*connector, "hook");
    assert_eq!(plan.pipelines["lines"].steps[1], StepPlan::Key { field: None });
    assert_eq!(plan.pipelines["lines"].on_error.dead_letters.as_str(), "lines.dead");
}

#[test]
fn all_targets_of_a_collection_ask_for_all_its_indexes() {
    let plan = plan_of(WHOLE);
    let TargetPlan::History { indexes, .. } = &plan.pipelines["again"].to[0] else {
        panic!("a history")
    };
    let names = |index: &Vec<courant_model::json::FieldPath>| {
        index.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")
    };
    assert_eq!(indexes.iter().map(names).collect::<Vec<_>>(), ["status", "customerNumber+status"]);
}

#[test]
fn endpoints_follow_their_paths() {
    let plan = plan_of(WHOLE);
    let EndpointPlan::HistoryList { sort, limit, .. } = &plan.endpoints["/orders"] else {
        panic!("a list")
    };
    assert_eq!((sort.len(), *limit), (1, 50));
    assert_eq!(
        plan.endpoints["/orders/{id}"],
        EndpointPlan::HistoryDocument { collection: "orders".into(), parameter: "id".into() }
    );
    assert_eq!(
        plan.endpoints["/customers/{customerNumber}/orders/{order}"],
        EndpointPlan::Cache {
            table: "by_customer".into(),
            key: "customerNumber".into(),
            field: Some("order".into()),
        }
    );
}

#[test]
fn a_profile_brings_in_what_names_it() {
    let files = Memory::default().with(
        "app/courant.yaml",
        "version: 1\nname: x\nprofiles: { big: {} }\nsources:\n  a: { web: { method: POST, path: /a }, to: t, profile: big }\n",
    );
    assert!(load_from(&files, None).unwrap().sources.is_empty());
    let plan = load_from(&files, Some("big")).unwrap();
    assert_eq!((plan.profile.as_str(), plan.sources.len()), ("big", 1));
}

#[test]
fn included_files_are_merged() {
    let files = Memory::default()
        .with(
            "app/courant.yaml",
            "version: 1\nname: x\ninclude: [parts/a.yaml, parts/b.yaml]\ntopics: { t: }\n",
        )
        .with("app/parts/a.yaml", "topics: { u: }\ninclude: [b.yaml]\ntests: [a.test.yaml]\n")
        .with("app/parts/b.yaml", "version: 1\ntopics: { v: }\n");
    let plan = load_from(&files, None).unwrap_or_else(|problems| panic!("{problems}"));
    let topics: Vec<&str> = plan.topics.keys().map(|name| name.as_str()).collect();
    assert_eq!(topics, ["t", "u", "v"]);
    assert_eq!(plan.tests, [PathBuf::from("app/parts/a.test.yaml")]);
}

#[test]
fn variables_take_their_type_from_the_place_where_they_stand() {
    let text = "version: 1\nname: x\ntopics:\n  t:\n    partitions: ${EMPTY:-3}\n";
    assert_eq!(plan_of(text).topics["t"].partitions, 3);
    let quoted = text.replace("${EMPTY:-3}", "\"${EMPTY:-3}\"");
    let problems = load_from(&Memory::default().with("app/courant.yaml", &quoted), None);
    assert!(problems.unwrap_err().to_string().contains("expected a whole number"));
}

#[test]
fn what_goes_to_topics_goes_there_exactly_once_unless_the_file_says_otherwise() {
    let guarantee = |pipeline: &str| {
        let file = format!("version: 1\nname: x\ntopics: {{ t: }}\npipelines:\n  p: {pipeline}\n");
        plan_of(&file).pipelines["p"].guarantee
    };
    let routed =
        "{ from: t, steps: [{ route: [{ when: a = 1, to: other }, { otherwise: drop }] }] }";
    assert_eq!(guarantee("{ from: t, to: out }"), Guarantee::ExactlyOnce);
    assert_eq!(guarantee(routed), Guarantee::ExactlyOnce);
    assert_eq!(
        guarantee("{ from: t, to: [{ history: { collection: c } }] }"),
        Guarantee::AtLeastOnce
    );
    let chosen = "{ from: t, to: out, guarantee: at_least_once }";
    assert_eq!(guarantee(chosen), Guarantee::AtLeastOnce);
    let dead_letters =
        "{ from: t, to: [{ cache: { table: c, key: k } }], guarantee: exactly_once }";
    assert_eq!(guarantee(dead_letters), Guarantee::ExactlyOnce);
}
