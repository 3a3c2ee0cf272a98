//! Views in files: what a plan makes of them, and what is said about wrong ones.

use courant_log::Retention;

use super::*;
use crate::{plan::ViewEmit, testing::name};

const HEAD: &str = "version: 1
name: x
topics:
  visits:
    columns: { name: string, user: string, at: timestamp, duration: int64 }
    event_time: at
    lateness: 500ms
  plain:
";

fn plan_below(text: &str) -> Plan {
    plan_of(&format!("{HEAD}{text}"))
}

fn problems_below(text: &str) -> String {
    let files = Memory::default().with("app/courant.yaml", &format!("{HEAD}{text}"));
    let problems = load_from(&files, None).expect_err("it is wrong").to_string();
    problems.replace("app/courant.yaml:", "")
}

const COUNT: &str = "SELECT name, count(*) AS n FROM visits GROUP BY name";

#[test]
fn what_a_view_leaves_out_has_defaults() {
    let plan = plan_below(&format!("views:\n  v: {{ sql: \"{COUNT}\" }}"));
    let view = &plan.views["v"];
    assert_eq!((view.to.as_str(), view.group.as_str()), ("x.v", "x.v"));
    assert_eq!(view.on_error.dead_letters.as_str(), "v.dead");
    assert_eq!(
        (view.emit, view.guarantee),
        (ViewEmit::Changes { every: None }, Guarantee::ExactlyOnce)
    );
    assert_eq!(view.inputs[0].lateness, "500ms".parse().unwrap());
    assert_eq!(view.key().unwrap(), ["name"]);
    assert_eq!(plan.topics[&view.to].settings.cleanup, Retention::Compact);
    assert!(plan.topics.contains_key(&name("v.dead")));
}

#[test]
fn a_views_own_values_count() {
    let plan = plan_below(&format!(
        "views:
  v:
    sql: {COUNT}, tumble(INTERVAL '10 seconds')
    to: counted
    grace: 2s
    emit: {{ changes: 1s }}
    lateness: 3s
    idle: 0s
    late: visits.late
    keep: 5m
    guarantee: at_least_once
    start: latest
    on_error: {{ dead_letters: wrong }}"
    ));
    let view = &plan.views["v"];
    assert_eq!(view.emit, ViewEmit::Changes { every: Some("1s".parse().unwrap()) });
    assert_eq!((view.idle, view.inputs[0].lateness), (None, "3s".parse().unwrap()));
    assert_eq!(view.late, Some(name("visits.late")));
    assert_eq!(view.key().unwrap(), ["name", "window_start", "window_end"]);
    assert_eq!(plan.topics[&name("counted")].settings.cleanup, Retention::CompactAndDelete);
    assert!(["visits.late", "wrong"].iter().all(|topic| plan.topics.contains_key(&name(topic))));
}

#[test]
fn views_are_read_in_the_order_of_what_they_read() {
    let plan = plan_below(&format!(
        "views:
  few: {{ sql: SELECT name FROM v WHERE n < 3 }}
  v: {{ sql: \"{COUNT}\" }}"
    ));
    let names: Vec<&str> = plan.views.keys().map(String::as_str).collect();
    assert_eq!(names, ["few", "v"], "as the file has them");
    assert_eq!(plan.views["few"].inputs[0].topic.as_str(), "x.v");
}

#[test]
fn a_pipeline_may_read_what_a_view_tells() {
    let plan = plan_below(&format!(
        "pipelines:\n  p: {{ from: x.v, to: out }}\nviews:\n  v: {{ sql: \"{COUNT}\" }}"
    ));
    assert_eq!(plan.pipelines["p"].from, [name("x.v")]);
}

#[test]
fn every_fault_of_a_view_is_found_at_once() {
    let text = format!(
        "views:
  a: {{ sql: \"SELECT nam FROM visits\", grase: 2s }}
  b: {{ sql: SELECT * FROM plain }}
  c: {{ sql: SELECT * FROM visit }}
  d: {{ sql: SELECT * FROM e }}
  e: {{ sql: SELECT * FROM d }}
  f: {{ sql: \"{COUNT}\", to: visits }}
  g: {{ to: out }}"
    );
    let expected = r#"10:21: unknown column "nam"; did you mean column "name"?
10:39: unknown key "grase"; did you mean "grace"?
11:8: topic "plain" has no columns, and a view reads it; declare its "columns" under "topics"
12:8: "visit" is neither a topic nor a view; did you mean "visits"?
13:8: view "d" waits for a view that cannot be read; views must not lead back to themselves
14:8: view "e" waits for a view that cannot be read; views must not lead back to themselves
15:3: records of topic "visits" go round: visits → f → visits; write to a topic that does not lead back
16:3: missing key "sql"; add it: the query: "SELECT … FROM topic … GROUP BY …""#;
    assert_eq!(problems_below(&text), expected);
}

#[test]
fn a_view_and_a_pipeline_have_names_of_their_own() {
    let text = format!(
        "pipelines:\n  v: {{ from: visits, to: out }}\nviews:\n  v: {{ sql: \"{COUNT}\" }}"
    );
    let problems = problems_below(&text);
    assert!(problems.contains("view \"v\" has the name of the pipeline at"), "{problems}");
}

#[test]
fn a_topic_of_many_partitions_is_read_through_one_that_fits() {
    let spread = HEAD.replace("  visits:\n", "  visits:\n    partitions: 4\n");
    let plan = plan_of(&format!("{spread}views:\n  v: {{ sql: \"{COUNT}\" }}"));
    let (view, through) = (&plan.views["v"], &plan.pipelines["v.repartition"]);
    assert_eq!(view.inputs[0].topic.as_str(), "x.v.visits.repartition");
    assert_eq!(
        (&through.from, &through.guarantee),
        (&vec![name("visits")], &Guarantee::ExactlyOnce)
    );
    assert_eq!(through.steps, [StepPlan::Key { field: Some("name".parse().unwrap()) }]);
    assert_eq!(plan.topics[&view.inputs[0].topic].partitions, 4);
    assert_eq!(plan.topics[&view.to].partitions, 4);
    // Its records are where the query needs them.
    let keyed = spread.replace("    event_time", "    key: name\n    event_time");
    let plan = plan_of(&format!("{keyed}views:\n  v: {{ sql: \"{COUNT}\" }}"));
    assert!(plan.pipelines.is_empty());
    assert_eq!(plan.views["v"].inputs[0].topic.as_str(), "visits");
    // Filters need nothing, and a total needs all of them in one place.
    let plan = plan_of(&format!("{spread}views:\n  v: {{ sql: SELECT name FROM visits }}"));
    assert!(plan.pipelines.is_empty());
    let plan =
        plan_of(&format!("{spread}views:\n  v: {{ sql: SELECT count(*) AS n FROM visits }}"));
    assert_eq!(plan.topics[&plan.views["v"].inputs[0].topic].partitions, 1);
}
