//! Endpoints over views: what right ones become, and what is said about wrong ones.

use super::{Memory, load_from, plan_of};
use crate::plan::EndpointPlan;

const FILE: &str = r"version: 1
name: x
topics:
  visits: { columns: { name: string, user: string, date: timestamp }, event_time: date }
views:
  counts:
    sql: SELECT name, count(*) AS visits FROM visits GROUP BY name, tumble(INTERVAL '5 seconds')
  totals:
    sql: SELECT name, user, count(*) AS visits FROM visits GROUP BY name, user
  plain:
    sql: SELECT name FROM visits
endpoints:
";

fn said(endpoint: &str) -> String {
    let files = Memory::default().with("app/courant.yaml", &format!("{FILE}  {endpoint}\n"));
    match load_from(&files, None) {
        Ok(plan) => panic!("a plan was made: {plan:#?}"),
        Err(problems) => problems.to_string().replace("app/courant.yaml:", ""),
    }
}

#[test]
fn an_endpoint_names_a_view_its_columns_and_its_times() {
    let plan = plan_of(&format!(
        "{FILE}  /live: {{ view: counts, stream: 1s, last: 5s, object: {{ name: visits }} }}\n  \
         /totals/{{name}}/{{user}}: {{ view: totals }}\n"
    ));
    let EndpointPlan::View(live) = &plan.endpoints["/live"] else { panic!("{plan:#?}") };
    assert_eq!(live.object, Some(("name".into(), "visits".into())));
    assert_eq!(live.stream.map(|span| span.as_millis()), Some(1_000));
    assert_eq!(live.limit, 10_000);
    let EndpointPlan::View(totals) = &plan.endpoints["/totals/{name}/{user}"] else { panic!() };
    assert_eq!(
        (totals.parameters.as_slice(), totals.limit),
        (&["name".into(), "user".into()][..], 100)
    );
}

#[test]
fn wrong_endpoints_are_told_with_what_to_write() {
    for (endpoint, expected) in [
        ("/a: { view: count }", r#"13:9: unknown view "count"; did you mean "counts"?"#),
        (
            "/a: { view: plain }",
            r#"13:9: view "plain" has no store: its results are appended; group by something, or read its topic"#,
        ),
        (
            "/a/{x}/{y}/{z}: { view: totals }",
            r#"13:3: path "/a/{x}/{y}/{z}" has 3 parameters; the key of the view is name, user"#,
        ),
        (
            "/a: { view: counts, object: { name: visit } }",
            r#"13:23: unknown column "visit"; did you mean "visits"?"#,
        ),
        (
            "/a: { view: counts, stream: 10ms }",
            "13:23: messages would come too often; write 100ms or more",
        ),
        (
            "/a: { view: counts, last: 3s }",
            "13:23: no window of 5s lies within the last 3s; write 5s or more",
        ),
        (
            "/a: { view: totals, last: 3s }",
            r#"13:23: the rows of view "totals" are of no windows; leave out "last""#,
        ),
        (
            "/a: { view: counts, cache: c }",
            r#"13:9: endpoint has two stores, "cache" and "view"; keep one"#,
        ),
    ] {
        assert_eq!(said(endpoint), expected, "{endpoint}");
    }
}
