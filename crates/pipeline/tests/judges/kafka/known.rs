//! The judge is judged: small cases whose outcome a person computed by Kafka Streams'
//! documentation.

use serde_json::Value;

use super::{
    cases::INPUTS,
    streams::{Told, judge},
};
use crate::support::Event;

/// A topology, its records as `input key=value@time`, and what comes out after each as
/// `key[start,end]=value@time` (a window's totals as `count/sum`).
const KNOWN: [(&str, &str, &str); 12] = [
    // Late is what comes when end and grace are reached: 10 + 5 <= 15.
    (
        r#"{"kind": "tumbling", "size": 10, "grace": 5, "final": false}"#,
        "a=1@3 a=2@12 a=4@4 a=4@15 a=4@5",
        "a[0,10]=1/1@3 | a[10,20]=1/2@12 | a[0,10]=2/5@4 | a[10,20]=2/6@15 | ",
    ),
    (
        r#"{"kind": "tumbling", "size": 10, "grace": 5, "final": true}"#,
        "a=1@3 a=2@12 a=4@4 a=4@15 a=4@500",
        " |  |  | a[0,10]=2/5@4 | a[10,20]=2/6@15",
    ),
    (
        r#"{"kind": "hopping", "size": 10, "slide": 5, "grace": 0, "final": true}"#,
        "a=1@3 b=1@3 a=2@12 a=4@400",
        " |  | a[0,10]=1/1@3 b[0,10]=1/1@3 | a[5,15]=1/2@12 a[10,20]=1/2@12",
    ),
    // Both ends belong to a sliding window; one begins after each record, one ends at it.
    (
        r#"{"kind": "sliding", "size": 10, "grace": 0, "final": false}"#,
        "a=1@100 a=1@105 a=2@103",
        "a[90,100]=1/1@100 | a[101,111]=1/1@105 a[95,105]=2/2@105 \
         | a[101,111]=2/3@105 a[95,105]=3/4@105 a[104,114]=1/1@105",
    ),
    (
        r#"{"kind": "sliding", "size": 10, "grace": 2, "final": true}"#,
        "a=1@100 a=1@102 a=1@103",
        " |  | a[90,100]=1/1@100",
    ),
    // A gap is bridged when it is not exceeded; the sessions that were merged are gone.
    (
        r#"{"kind": "session", "gap": 10, "grace": 10, "final": false}"#,
        "a=1@100 a=1@120 a=2@110",
        "a[100,100]=1/1@100 | a[120,120]=1/1@120 \
         | a[100,100]=null@100 a[120,120]=null@120 a[100,120]=3/4@120",
    ),
    (
        r#"{"kind": "session", "gap": 10, "grace": 3, "final": true}"#,
        "a=1@100 a=1@113 a=1@114",
        " |  | a[100,100]=1/1@100",
    ),
    (r#"{"kind": "updating"}"#, "a=1@100 a=2@90", "a=1/1@100 | a=2/3@100"),
    // A record on the left finds what is at most 5 before it and at most 3 after it.
    (
        r#"{"kind": "stream-stream", "how": "left", "before": 5, "after": 3, "grace": 2}"#,
        "a=1@100 1a=2@95 1a=3@104 a=4@200",
        r#" | a=[1,2]@100 |  | "#,
    ),
    (
        r#"{"kind": "stream-table", "how": "left"}"#,
        "a=1@100 1a=2@96 a=3@120",
        "a=[1,null]@100 |  | a=[3,2]@120",
    ),
    (
        r#"{"kind": "table-table", "how": "outer"}"#,
        "a=1@100 1a=2@96 a=null@120 1a=null@120",
        "a=[1,null]@100 | a=[1,2]@100 | a=[null,2]@120 | a=null@120",
    ),
    (
        r#"{"kind": "foreign-key", "how": "inner"}"#,
        r#"a={"of":"x"}@100 1x=2@100 a={"of":"y"}@100 1y=3@100 a=null@100"#,
        r#" | a=[{"of":"x"},2]@100 | a=null@100 | a=[{"of":"y"},3]@100 | a=null@100"#,
    ),
];

#[test]
fn the_judge_says_what_its_documentation_does() {
    let cases: Vec<_> = KNOWN
        .iter()
        .map(|(topology, events, _)| {
            let topology: Value = serde_json::from_str(topology).expect("JSON");
            (topology, events.split_whitespace().map(event).collect())
        })
        .collect();
    let Some(answers) = judge(&cases) else { return };
    for ((topology, _, expected), answer) in KNOWN.iter().zip(answers) {
        let said: Vec<_> = answer.iter().map(|told| text(told)).collect();
        assert_eq!(said.join(" | "), *expected, "{topology}");
    }
}

fn event(text: &str) -> Event {
    let (head, timestamp) = text.rsplit_once('@').expect("key=value@time");
    let (key, value) = head.split_once('=').expect("key=value");
    let (input, key) = key.strip_prefix('1').map_or((INPUTS[0], key), |key| (INPUTS[1], key));
    let value: Value = serde_json::from_str(value).expect("JSON");
    Event {
        input,
        key: key.to_owned(),
        value: (!value.is_null()).then_some(value),
        timestamp: timestamp.parse().expect("milliseconds"),
    }
}

fn text(told: &[Told]) -> String {
    let rows = told.iter().map(|Told { key, start, end, value, timestamp }| {
        let window = start.zip(*end).map(|(start, end)| format!("[{start},{end}]"));
        let value = match value.get("count") {
            Some(count) => format!("{count}/{}", value["sum"]),
            None => value.to_string(),
        };
        format!("{key}{}={value}@{timestamp}", window.unwrap_or_default())
    });
    rows.collect::<Vec<_>>().join(" ")
}
