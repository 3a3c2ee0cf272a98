//! Runs a test file against a plan.
//!
//! Each case has a driver of its own, so no case sees another's records. A case ends
//! with its first mismatch, which has the place of the step that found it.

use std::{fmt, path::PathBuf};

use bytes::Bytes;
use courant_model::{Place, Record};
use serde_json::Value;

use super::{
    Driver,
    compare::{difference, quote},
};
use crate::{
    config::{
        Expectation, ExpectedDeadLetter, ExpectedRecord, TestAction, TestCase, TestFile, TestStep,
    },
    core::ERROR_HEADER,
    plan::Plan,
};

/// What became of a test file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestReport {
    pub file: PathBuf,
    /// In the order of the file.
    pub cases: Vec<CaseOutcome>,
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseOutcome {
    pub name: String,
    /// `None`: passed.
    pub failure: Option<Mismatch>,
}

/// What was not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The step that found it.
    pub place: Place,
    pub what: String,
}

impl TestReport {
    pub fn passed(&self) -> bool {
        self.cases.iter().all(|case| case.failure.is_none())
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Runs all cases of a test file.
pub fn run_tests(plan: &Plan, tests: &TestFile) -> TestReport {
    let outcome = |case: &TestCase| CaseOutcome {
        name: case.name.clone(),
        failure: run_case(plan, case).err(),
    };
    TestReport { file: tests.file.clone(), cases: tests.cases.iter().map(outcome).collect() }
}

fn run_case(plan: &Plan, case: &TestCase) -> Result<(), Mismatch> {
    let failed = |place: &Place, what: String| Mismatch { place: place.clone(), what };
    let mut driver =
        Driver::new(plan, case.now).map_err(|error| failed(&case.place, error.to_string()))?;
    for (pipeline, answer) in &case.lookups {
        driver.answer(pipeline, answer.clone());
    }
    for TestStep { place, action } in &case.steps {
        let done = match action {
            TestAction::Give { topic, records } => {
                let records = records.iter().map(|given| given.record.clone());
                driver.give(topic, records).map_err(|error| error.to_string())
            }
            TestAction::Advance(span) => {
                driver.advance(span.as_duration()).map_err(|error| error.to_string())
            }
            TestAction::Expect(expectation) => unmet(&driver, expectation).map_or(Ok(()), Err),
        };
        done.map_err(|what| failed(place, what))?;
    }
    Ok(())
}

/// What is not as expected.
fn unmet(driver: &Driver, expectation: &Expectation) -> Option<String> {
    match expectation {
        Expectation::Topic { topic, records, partial } => {
            let found: Vec<&Record> =
                driver.topic(topic).iter().map(|stored| &stored.record).collect();
            let what = format!("topic \"{topic}\"");
            in_list(
                &what,
                "records",
                records,
                &found,
                |expected, found| record_differs(expected, found, *partial),
                |record| quote(&value_of(record.value.as_ref())),
            )
        }
        Expectation::History { collection, documents, partial } => {
            let found = driver.history(collection);
            let what = format!("collection {collection:?}");
            in_list(
                &what,
                "documents",
                documents,
                &found,
                |expected, found| {
                    let (expected, found) = (expected.clone(), (*found).clone());
                    difference(&Value::Object(expected), &Value::Object(found), *partial)
                },
                |document| quote(&Value::Object((*document).clone())),
            )
        }
        Expectation::Cache { table, key, value, partial } => {
            let found = driver.cache(table, key).unwrap_or(Value::Null);
            let what = difference(value, &found, *partial)?;
            Some(format!("key {key:?} of cache table {table:?}: {what}"))
        }
        Expectation::View { view, rows, partial } => {
            let found = driver.view(view);
            let what = format!("view {view:?}");
            in_list(
                &what,
                "rows",
                rows,
                &found,
                |expected, found| difference(&Value::Object(expected.clone()), found, *partial),
                quote,
            )
        }
        Expectation::DeadLetters { pipeline, records, partial } => {
            let found: Vec<&Record> = driver.dead_letters(pipeline).iter().collect();
            let what = format!("pipeline {pipeline:?}");
            in_list(
                &what,
                "dead letters",
                records,
                &found,
                |expected, found| dead_letter_differs(expected, found, *partial),
                |record| {
                    format!("{} ({})", quote(&value_of(record.value.as_ref())), error_of(record))
                },
            )
        }
    }
}

/// Compares lists item by item; another length is told with what there is.
fn in_list<E, F>(
    what: &str,
    items: &str,
    expected: &[E],
    found: &[F],
    differs: impl Fn(&E, &F) -> Option<String>,
    show: impl Fn(&F) -> String,
) -> Option<String> {
    if expected.len() != found.len() {
        let shown: Vec<String> = found.iter().map(show).collect();
        let list = if shown.is_empty() { String::new() } else { format!(": {}", shown.join(", ")) };
        return Some(format!(
            "{what} has {} {items}, expected {}{list}",
            found.len(),
            expected.len()
        ));
    }
    let pairs = expected.iter().zip(found).zip(1..);
    pairs.map(|(pair, number)| (differs(pair.0, pair.1), number)).find_map(
        |(difference, number)| {
            Some(format!("{what}, number {number} of its {items}: {}", difference?))
        },
    )
}

fn record_differs(expected: &ExpectedRecord, found: &Record, partial: bool) -> Option<String> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    if let Some(key) = &expected.key {
        let found = found.key.as_ref().map(text);
        if *key != found {
            let show =
                |key: &Option<String>| key.as_ref().map_or("none".into(), |key| format!("{key:?}"));
            return Some(format!("key is {}, expected {}", show(&found), show(key)));
        }
    }
    for (name, value) in &expected.headers {
        let found = found.header(name).and_then(|header| header.value.as_ref()).map(text);
        if found.as_ref() != Some(value) {
            let found = found.map_or("missing".into(), |found| format!("{found:?}"));
            return Some(format!("header {name:?} is {found}, expected {value:?}"));
        }
    }
    difference(expected.value.as_ref()?, &value_of(found.value.as_ref()), partial)
}

fn dead_letter_differs(
    expected: &ExpectedDeadLetter,
    found: &Record,
    partial: bool,
) -> Option<String> {
    if let Some(text) = &expected.error {
        let error = error_of(found);
        if !error.contains(text) {
            return Some(format!("error is {error:?}, expected one with {text:?}"));
        }
    }
    difference(expected.value.as_ref()?, &value_of(found.value.as_ref()), partial)
}

fn error_of(record: &Record) -> String {
    let error = record.header(ERROR_HEADER).and_then(|header| header.value.as_ref());
    error.map(|error| String::from_utf8_lossy(error).into_owned()).unwrap_or_default()
}

/// A record's value: its JSON, the text of what is none, null for a tombstone.
fn value_of(value: Option<&Bytes>) -> Value {
    let Some(bytes) = value else { return Value::Null };
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}
