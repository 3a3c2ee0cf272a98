//! Lookups in files: whom they ask, and what is wrong with them, each at its place.

use std::sync::Arc;

use courant_model::json::FieldPath;
use serde_json::json;

use super::{Memory, connectors, env};
use crate::{
    config::{LoadOptions, TestFile, load, load_tests},
    connector::{
        About, ConnectorError, Connectors, Lookup, LookupContext, LookupFactory, LookupKind,
        OptionProblem,
    },
    plan::{LookupPlan, LookupSource, OnMissing, Plan, StepPlan, graph, print},
};

/// Asks for the fields of its options.
#[derive(Debug)]
struct Fields(Vec<FieldPath>);

impl LookupFactory for Fields {
    fn parameters(&self) -> &[FieldPath] {
        &self.0
    }

    fn has_many(&self) -> bool {
        true
    }

    fn open(&self, _: LookupContext) -> Result<Arc<dyn Lookup>, ConnectorError> {
        Err(ConnectorError::fatal("tests open nothing"))
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The fields.
    by: Vec<FieldPath>,
}

fn parse(value: &serde_json::Value) -> Result<Arc<dyn LookupFactory>, Vec<OptionProblem>> {
    let options: Options = crate::options::parse(value)?;
    Ok(Arc::new(Fields(options.by)))
}

fn with_lookup() -> Connectors {
    let about = About {
        name: "who",
        summary: "Knows.",
        guarantee: "None; nothing is opened.",
        example: "who: { by: [a] }",
        schema: || schemars::schema_for!(Options),
    };
    Connectors { lookups: vec![LookupKind { about, parse }], ..connectors() }
}

const HEAD: &str = "version: 1
name: x
topics:
  in: { columns: { a: int64, b: string } }
tests: [x.test.yaml]
pipelines:
  p:
    from: in
    to: out
    steps:
      - sql: SELECT a, b FROM input
";

fn read(step: &str, tests: &str) -> Result<(Plan, Vec<TestFile>), String> {
    let files = Memory::default()
        .with("app/courant.yaml", &format!("{HEAD}{step}"))
        .with("app/x.test.yaml", tests);
    let connectors = with_lookup();
    let options = LoadOptions { profile: None, env: &env, connectors: &connectors, files: &files };
    let text = |problems: courant_model::Problems| problems.to_string();
    let plan = load("app/courant.yaml".as_ref(), &options).map_err(text)?;
    let tests = load_tests(&plan, &files).map_err(text)?;
    Ok((plan, tests))
}

fn plan_of(step: &str) -> LookupPlan {
    let (plan, _) = read(step, "tests: []").unwrap_or_else(|problems| panic!("{problems}"));
    let StepPlan::Lookup(lookup) = &plan.pipelines["p"].steps[1] else { panic!("a lookup") };
    (**lookup).clone()
}

#[test]
fn a_lookup_asks_a_store_or_a_connector() {
    let cache = plan_of("      - lookup: { cache: t, key: a, field: b, into: x.y }\n");
    let LookupSource::Cache { table, field: Some(_), .. } = &cache.source else { panic!() };
    assert_eq!((table.as_str(), cache.on_missing), ("t", OnMissing::Reject));
    let history = plan_of(
        "      - lookup: { history: c, id: b, into: x, on_missing: null, concurrency: 2 }\n",
    );
    assert_eq!((history.on_missing, history.concurrency), (OnMissing::Null, 2));
    let step = "      - lookup:
          who: { by: [b, a] }
          into: x
          many: true
          on_missing: keep
          remember: { ttl: 10s, keys: 5 }
";
    let who = plan_of(step);
    let fields: Vec<String> = who.parameters().iter().map(ToString::to_string).collect();
    assert_eq!(fields, ["b", "a"]);
    assert!(who.many && who.on_missing == OnMissing::Keep);
    let remember = who.remember.unwrap();
    assert_eq!((remember.ttl.as_millis(), remember.missing.as_millis()), (10_000, 1_000));
    let (plan, _) = read(step, "tests: []").unwrap();
    assert!(
        print(&plan).contains("lookup who by b, a into x, what is missing: keep"),
        "{}",
        print(&plan)
    );
    let (plan, _) = read("      - lookup: { history: c, id: b, into: x }\n", "tests: []").unwrap();
    let edge = |edge: &crate::plan::GraphEdge| edge.from == "history:c" && edge.to == "pipeline:p";
    assert!(graph(&plan).edges.iter().any(edge));
}

#[test]
fn everything_wrong_with_a_lookup_is_told_at_its_place() {
    for (step, words) in [
        ("{ into: x }", "lookup asks nobody; write exactly one of who, cache, history"),
        ("{ cache: t, key: a, history: c, id: a, into: x }", "lookup asks several"),
        ("{ cache: t, into: x }", "missing key \"key\""),
        ("{ history: c, into: x }", "missing key \"id\""),
        ("{ history: c, id: a, key: b, into: x }", "key is of no use with \"history\""),
        ("{ history: c, id: a }", "missing key \"into\""),
        ("{ history: c, id: a, into: x, many: true }", "has one answer, not many"),
        ("{ history: c, id: a, into: x, concurrency: 0 }", "at least 1"),
        ("{ history: c, id: z, into: x }", "unknown column \"z\""),
        ("{ who: { by: [a, z] }, into: x }", "unknown column \"z\""),
        ("{ who: { of: [a] }, into: x }", "unknown key \"of\""),
        ("{ whom: { by: [a] }, into: x }", "unknown key \"whom\""),
        ("{ history: c, id: a, into: x, on_missing: ignore }", "unknown value \"ignore\""),
    ] {
        let problems = read(&format!("      - lookup: {step}\n"), "tests: []").unwrap_err();
        assert!(problems.contains(words), "{step}\n{problems}");
    }
}

#[test]
fn a_test_gives_answers_to_lookups_that_there_are() {
    let step = "      - lookup: { who: { by: [a] }, into: x }\n";
    let tests = |lookup: &str| {
        format!("tests:\n  - name: t\n    lookups:\n      - {lookup}\n    steps: []\n")
    };
    let (_, files) =
        read(step, &tests("{ pipeline: p, step: 2, when: { a: 1 }, give: { n: 5 } }")).unwrap();
    let (pipeline, answer) = &files[0].cases[0].lookups[0];
    assert_eq!((pipeline.as_str(), answer.step, &answer.give), ("p", 2, &json!({ "n": 5 })));
    for (lookup, words) in [
        ("{ pipeline: p, step: 1, give: 1 }", "step 1 of pipeline \"p\" is no lookup"),
        ("{ pipeline: q, step: 2, give: 1 }", "unknown pipeline \"q\""),
        ("{ pipeline: p, step: 2, when: { b: 1 }, give: 1 }", "unknown parameter \"b\""),
    ] {
        let problems = read(step, &tests(lookup)).unwrap_err();
        assert!(problems.contains(words), "{problems}");
    }
}
