//! Test files: what a pipeline is given on virtual time, and what must come of it.
//!
//! A file of `tests:`, each a list of steps: `give` records to a topic, `advance`
//! the clock, `expect` what stands in a topic, store or among dead letters. Here
//! they are read and checked against the plan's names; the driver runs them.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use courant_model::{Header, Place, Problems, Record, Span, Timestamp, TopicName};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Files,
    document::read_tree,
    report::{At, Report},
};
use crate::{
    driver::GivenAnswer,
    options::suggest,
    plan::{Plan, StepPlan, TargetPlan},
};

/// A file of tests.
#[derive(Debug, Clone, PartialEq)]
pub struct TestFile {
    pub file: PathBuf,
    pub cases: Vec<TestCase>,
}

/// One test.
#[derive(Debug, Clone, PartialEq)]
pub struct TestCase {
    pub name: String,
    pub place: Place,
    /// Where the virtual clock begins; 2026-01-01T00:00:00Z unless set.
    pub now: Timestamp,
    /// What the lookups of pipelines answer in place of what is outside.
    pub lookups: Vec<(String, GivenAnswer)>,
    pub steps: Vec<TestStep>,
}

/// One step of a test, with its place for the report.
#[derive(Debug, Clone, PartialEq)]
pub struct TestStep {
    pub place: Place,
    pub action: TestAction,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum TestAction {
    /// Appends records to a topic; everything that follows from it has happened when
    /// the next step begins.
    Give { topic: TopicName, records: Vec<GivenRecord> },
    /// Moves the clock.
    Advance(Span),
    /// Compares.
    Expect(Expectation),
}

/// A record that a test gives.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenRecord {
    /// Without `at` the record's timestamp is the clock's.
    pub at: Option<Timestamp>,
    /// The record; its timestamp is [`Timestamp::NONE`] where `at` is `None`.
    pub record: Record,
}

/// What must be there. With `partial`, fields of objects that are not named may be
/// there too; otherwise values are equal as JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Expectation {
    /// All records of a topic since the test began, partition by partition.
    Topic { topic: TopicName, records: Vec<ExpectedRecord>, partial: bool },
    /// All documents of a collection, in the order of insertion.
    History { collection: String, documents: Vec<Map<String, Value>>, partial: bool },
    /// What a key of a table holds: a value, an object of its fields, or null for nothing.
    Cache { table: String, key: String, value: Value, partial: bool },
    /// All rows of a view's store, in the order of their keys.
    View { view: String, rows: Vec<Map<String, Value>>, partial: bool },
    /// All dead letters of a pipeline or a view.
    DeadLetters { pipeline: String, records: Vec<ExpectedDeadLetter>, partial: bool },
}

/// A record that must be there.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedRecord {
    /// `None`: any value.
    pub value: Option<Value>,
    /// `None`: any key; `Some(None)`: none.
    pub key: Option<Option<String>>,
    /// Headers that must be there, among others.
    pub headers: IndexMap<String, String>,
}

/// A dead letter that must be there.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedDeadLetter {
    /// The original value; `None`: any.
    pub value: Option<Value>,
    /// A text that the error contains.
    pub error: Option<String>,
}

/// The clock's beginning unless a test says: 2026-01-01T00:00:00Z.
const NOW_DEFAULT: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Reads all test files of a plan.
///
/// # Errors
/// Everything wrong with them.
pub fn load_tests(plan: &Plan, files: &dyn Files) -> Result<Vec<TestFile>, Problems> {
    let mut report = Report::default();
    let read = plan.tests.iter().filter_map(|path| test_file(path, plan, files, &mut report));
    let read: Vec<TestFile> = read.collect();
    report.into_result()?;
    Ok(read)
}

/// Reads one test file.
///
/// # Errors
/// Everything wrong with it.
pub fn load_test_file(path: &Path, plan: &Plan, files: &dyn Files) -> Result<TestFile, Problems> {
    let mut report = Report::default();
    let read = test_file(path, plan, files, &mut report);
    report.into_result()?;
    Ok(read.unwrap_or_else(|| TestFile { file: path.into(), cases: Vec::new() }))
}

/// The whole file, by its shape.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read from the tree; here for its shape")]
pub(super) struct TestsYaml {
    /// The tests; each begins with an empty log and empty stores.
    tests: Vec<Value>,
}

/// One test.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseYaml {
    /// What is shown, as a sentence.
    #[schemars(length(min = 1))]
    name: String,
    /// Where the clock begins, RFC 3339.
    now: Option<String>,
    /// What lookups over connectors find.
    #[serde(default)]
    lookups: Vec<LookupAnswerYaml>,
    /// What happens, in order.
    #[expect(dead_code, reason = "read from the tree; here for its shape")]
    steps: Vec<Value>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LookupAnswerYaml {
    /// The pipeline.
    pipeline: String,
    /// The number of its step, from 1.
    step: usize,
    /// Values of parameters, by their fields, that a question must have.
    #[serde(default)]
    when: Map<String, Value>,
    /// What is found; with `many`, a list.
    give: Value,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GiveYaml {
    /// The topic that takes the records.
    topic: TopicName,
    /// The records, in order.
    records: Vec<RecordYaml>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordYaml {
    /// The document; null is a tombstone. A text under `text` is taken as it is.
    #[serde(default)]
    value: Value,
    /// The value as bytes that need not be JSON, instead of `value`.
    text: Option<String>,
    key: Option<String>,
    #[serde(default)]
    headers: IndexMap<String, String>,
    /// The record's timestamp, RFC 3339; the clock's unless set.
    at: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectTopicYaml {
    topic: TopicName,
    records: Vec<ExpectedYaml>,
    /// Whether the records may have more fields than are named.
    #[serde(default)]
    partial: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedYaml {
    #[serde(default, deserialize_with = "present")]
    value: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>")]
    key: Option<Option<String>>,
    #[serde(default)]
    headers: IndexMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectHistoryYaml {
    /// The collection.
    history: String,
    documents: Vec<Map<String, Value>>,
    /// Whether the documents may have more fields than are named.
    #[serde(default)]
    partial: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectCacheYaml {
    /// The table.
    cache: String,
    key: String,
    /// The document, an object of the key's fields, or null for nothing.
    #[serde(default)]
    value: Value,
    /// Whether the value may have more fields than are named.
    #[serde(default)]
    partial: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectViewYaml {
    /// The view.
    view: String,
    rows: Vec<Map<String, Value>>,
    /// Whether the rows may have more columns than are named.
    #[serde(default)]
    partial: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectDeadYaml {
    /// The pipeline or view.
    dead_letters: String,
    records: Vec<DeadYaml>,
    /// Whether the original values may have more fields than are named.
    #[serde(default)]
    partial: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadYaml {
    #[serde(default, deserialize_with = "present")]
    value: Option<Value>,
    /// A text that the error contains.
    error: Option<String>,
}

/// Tells a key that holds null from one that is absent.
pub(super) fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

fn test_file(path: &Path, plan: &Plan, files: &dyn Files, report: &mut Report) -> Option<TestFile> {
    let root = read_tree(path, files, report)?;
    let at = At::root(&root);
    report.read::<TestsYaml>(&at)?;
    let tests = at.get("tests")?;
    let cases = tests.items().filter_map(|item| Reader { plan, report }.case(&item)).collect();
    Some(TestFile { file: path.to_path_buf(), cases })
}

struct Reader<'a> {
    plan: &'a Plan,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn case(&mut self, at: &At<'_>) -> Option<TestCase> {
        let case: Option<CaseYaml> = self.report.read(at);
        let steps = at.get("steps")?;
        let steps: Vec<TestStep> = steps.items().filter_map(|item| self.step(&item)).collect();
        let case = case?;
        let lookups = at.get("lookups").map(|list| self.lookups(case.lookups, &list));
        let now = case.now.and_then(|now| self.timestamp(&now, &at.get("now")?));
        Some(TestCase {
            name: case.name,
            place: at.spot.place(),
            now: now.unwrap_or(NOW_DEFAULT),
            lookups: lookups.unwrap_or_default(),
            steps,
        })
    }

    /// The answers of a test, each for a lookup that there is.
    fn lookups(
        &mut self,
        answers: Vec<LookupAnswerYaml>,
        list: &At<'_>,
    ) -> Vec<(String, GivenAnswer)> {
        let known: Vec<&str> = self.plan.pipelines.keys().map(String::as_str).collect();
        let mut read = Vec::new();
        for (answer, at) in answers.into_iter().zip(list.items()) {
            let LookupAnswerYaml { pipeline, step, when, give } = answer;
            self.known(
                "pipeline",
                &pipeline,
                &known,
                &at.get("pipeline").unwrap_or_else(|| at.clone()),
            );
            let Some(plan) = self.plan.pipelines.get(&pipeline) else { continue };
            let index = step.checked_sub(1);
            let Some(StepPlan::Lookup(lookup)) = index.and_then(|index| plan.steps.get(index))
            else {
                let what = format!("step {step} of pipeline {pipeline:?} is no lookup");
                self.report.at(&at, what, "give the number of a lookup, counted from 1");
                continue;
            };
            let fields: Vec<String> = lookup.parameters().iter().map(ToString::to_string).collect();
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            for name in when.keys() {
                self.known("parameter", name, &fields, &at);
            }
            read.push((pipeline, GivenAnswer { step, when, give }));
        }
        read
    }

    fn step(&mut self, item: &At<'_>) -> Option<TestStep> {
        const KNOWN: [&str; 3] = ["give", "advance", "expect"];
        let (name, at) = super::steps::only_key("step", &KNOWN, item, self.report)?;
        let action = match name {
            "give" => self.give(&at)?,
            "advance" => TestAction::Advance(self.report.read(&at)?),
            "expect" => TestAction::Expect(self.expect(&at)?),
            other => {
                let remedy = suggest(other, "the steps of a test are", &KNOWN);
                let what = format!("unknown step {other:?}");
                self.report.at(&at, what, &remedy.unwrap_or_default());
                return None;
            }
        };
        Some(TestStep { place: item.spot.place(), action })
    }

    fn give(&mut self, at: &At<'_>) -> Option<TestAction> {
        let give: GiveYaml = self.report.read(at)?;
        self.topic(&give.topic, &at.get("topic")?);
        let list = at.get("records")?;
        let records = give.records.into_iter().zip(list.items());
        let records = records.map(|(record, at)| self.given(record, &at)).collect();
        Some(TestAction::Give { topic: give.topic, records })
    }

    fn given(&mut self, record: RecordYaml, at: &At<'_>) -> GivenRecord {
        if record.text.is_some() && !record.value.is_null() {
            self.report.at(at, "record has both \"value\" and \"text\"", "keep one");
        }
        let when = record.at.and_then(|when| self.timestamp(&when, &at.get("at")?));
        let value = match (record.text, record.value) {
            (Some(text), _) => Some(Bytes::from(text)),
            (None, Value::Null) => None,
            (None, value) => Some(Bytes::from(value.to_string())),
        };
        let headers = record.headers.into_iter();
        let record = Record {
            key: record.key.map(Bytes::from),
            value,
            headers: headers.map(|(name, value)| Header::new(name, value)).collect(),
            timestamp: when.unwrap_or(Timestamp::NONE),
        };
        GivenRecord { at: when, record }
    }

    fn expect(&mut self, at: &At<'_>) -> Option<Expectation> {
        const KINDS: [&str; 5] = ["topic", "history", "cache", "view", "dead_letters"];
        let kind = KINDS.iter().find_map(|kind| Some((*kind, at.get(kind)?)));
        match kind {
            Some(("topic", name_at)) => {
                let expect: ExpectTopicYaml = self.report.read(at)?;
                self.topic(&expect.topic, &name_at);
                let record = |record: ExpectedYaml| ExpectedRecord {
                    value: record.value,
                    key: record.key,
                    headers: record.headers,
                };
                let records = expect.records.into_iter().map(record).collect();
                Some(Expectation::Topic { topic: expect.topic, records, partial: expect.partial })
            }
            Some(("history", name_at)) => {
                let expect: ExpectHistoryYaml = self.report.read(at)?;
                self.store("collection", &expect.history, &name_at);
                Some(Expectation::History {
                    collection: expect.history,
                    documents: expect.documents,
                    partial: expect.partial,
                })
            }
            Some(("cache", name_at)) => {
                let ExpectCacheYaml { cache, key, value, partial } = self.report.read(at)?;
                self.store("table", &cache, &name_at);
                Some(Expectation::Cache { table: cache, key, value, partial })
            }
            Some(("view", name_at)) => {
                let ExpectViewYaml { view, rows, partial } = self.report.read(at)?;
                let known: Vec<&str> = self.plan.views.keys().map(String::as_str).collect();
                self.known("view", &view, &known, &name_at);
                Some(Expectation::View { view, rows, partial })
            }
            Some((_, name_at)) => {
                let expect: ExpectDeadYaml = self.report.read(at)?;
                let known = self.plan.pipelines.keys().chain(self.plan.views.keys());
                let known: Vec<&str> = known.map(String::as_str).collect();
                self.known("pipeline", &expect.dead_letters, &known, &name_at);
                let record =
                    |dead: DeadYaml| ExpectedDeadLetter { value: dead.value, error: dead.error };
                Some(Expectation::DeadLetters {
                    pipeline: expect.dead_letters,
                    records: expect.records.into_iter().map(record).collect(),
                    partial: expect.partial,
                })
            }
            None => {
                let remedy = format!("add one of {}", KINDS.join(", "));
                self.report.at(at, "expectation names nothing to look at", &remedy);
                None
            }
        }
    }

    fn topic(&mut self, name: &TopicName, at: &At<'_>) {
        let known: Vec<&str> = self.plan.topics.keys().map(TopicName::as_str).collect();
        self.known("topic", name.as_str(), &known, at);
    }

    fn store(&mut self, kind: &str, name: &str, at: &At<'_>) {
        let plan = self.plan;
        let targets = plan.pipelines.values().flat_map(|pipeline| &pipeline.to);
        let names = targets.filter_map(|target| match target {
            TargetPlan::History { collection, .. } if kind == "collection" => Some(collection),
            TargetPlan::Cache { table, .. } if kind == "table" => Some(table),
            _ => None,
        });
        let known: Vec<&str> = names.map(String::as_str).collect();
        self.known(kind, name, &known, at);
    }

    fn known(&mut self, kind: &str, name: &str, known: &[&str], at: &At<'_>) {
        if !known.contains(&name) {
            let remedy = suggest(name, "there are", known).unwrap_or_default();
            self.report.at(at, format!("unknown {kind} {name:?}"), &remedy);
        }
    }

    fn timestamp(&mut self, text: &str, at: &At<'_>) -> Option<Timestamp> {
        match text.parse::<jiff::Timestamp>() {
            Ok(instant) => Some(Timestamp::from_millis(instant.as_millisecond())),
            Err(_) => {
                let remedy = "write RFC 3339, such as 2026-01-01T00:00:00Z";
                self.report.at(at, format!("{text:?} is no instant"), remedy);
                None
            }
        }
    }
}
