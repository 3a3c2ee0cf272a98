//! Wrong files and what is said about them.
//!
//! Each case is judged by its whole message: place, what, remedy.

use proptest::prelude::*;

use super::{Memory, WHOLE, load_from};
use crate::plan::RoleChoice;

fn problems_of(text: &str) -> String {
    let files = Memory::default().with("app/courant.yaml", text);
    match load_from(&files, None) {
        Ok(plan) => panic!("a plan was made: {plan:#?}"),
        Err(problems) => problems.to_string().replace("app/courant.yaml:", ""),
    }
}

/// A file whose head is right, so that its lines begin at 3.
fn below_the_head(text: &str) -> String {
    problems_of(&format!("version: 1\nname: x\n{text}"))
}

#[test]
fn an_empty_file_is_no_map() {
    let text = "";
    let expected = r#" file "app/courant.yaml" holds no map; write keys and their values"#;
    assert_eq!(problems_of(text), expected);
}

#[test]
fn a_list_is_no_map() {
    let text = "- a";
    let expected = r#" file "app/courant.yaml" holds no map; write keys and their values"#;
    assert_eq!(problems_of(text), expected);
}

#[test]
fn another_version_of_the_format_is_refused() {
    let text = r#"version: 2
name: x"#;
    let expected = "1:1: file has version 2 of the format; this build reads version 1";
    assert_eq!(problems_of(text), expected);
}

#[test]
fn a_file_without_a_version_is_told_how_to_begin() {
    let text = "name: x";
    let expected = r#"1:1: missing key "version"; begin the file with "version: 1""#;
    assert_eq!(problems_of(text), expected);
}

#[test]
fn a_file_without_a_name_is_told_to_have_one() {
    let text = "version: 1";
    let expected = r#"1:1: missing key "name"; name the application, such as "name: orders""#;
    assert_eq!(problems_of(text), expected);
}

#[test]
fn an_empty_name_is_as_good_as_none() {
    let expected = r#"1:1: missing key "name"; name the application, such as "name: orders""#;
    for empty in ["name:", "name: ~", "name: null"] {
        assert_eq!(problems_of(&format!("version: 1\n{empty}")), expected);
    }
}

#[test]
fn head_values_of_the_wrong_kind_are_named() {
    let text = r#"version: one
name: a b"#;
    let expected = r#"1:1: missing key "version"; begin the file with "version: 1"
1:1: expected a whole number, found "one"; version of the format; always 1
2:1: application name "a b" is not allowed; use 1 to 244 letters, digits, '.', '_' and '-'"#;
    assert_eq!(problems_of(text), expected);
}

#[test]
fn a_section_that_is_unknown_is_named() {
    let text = r#"version: 1
name: x
topic: {}
memory: 64"#;
    let expected = r#"3:1: unknown key "topic"; did you mean "topics"?
4:1: expected a text, found 64; a number of bytes with its unit, such as 64MiB"#;
    assert_eq!(problems_of(text), expected);
}

#[test]
fn a_section_must_be_a_map() {
    let text = "topics: []";
    let expected = "3:1: expected a map, found a list; topics with settings of their own";
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn topics_have_allowed_names_and_are_maps() {
    let text = "topics: { a/b: , ok: 5 }";
    let expected = r#"3:11: topic name "a/b" contains '/'; use letters, digits, '.', '_' and '-'
3:18: expected a map, found 5; a topic's settings"#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn every_fault_of_a_topic_is_found() {
    let text = r#"topics:
  t: { partitions: 0, retention: 7, cleanup: compacted, segment_bytes: 1KiB, retensoin: 1d, columns: { a: int, b: string }, event_time: c }"#;
    let expected = r#"4:8: expected a number of at least 1, found 0
4:23: expected a text, found 7; a length of time such as 7d, or forever
4:37: unknown value "compacted"; did you mean "compact"?
4:57: segment size 1KiB is smaller than a message; use 16MiB or more
4:78: unknown key "retensoin"; did you mean "retention"?
4:104: unknown column type "int"; use boolean, int32, int64, float64, decimal(precision,scale), string, bytes, date, timestamp, json, list<type> or struct<name: type, …>
4:125: unknown column "c"; did you mean "b"?"#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn sizes_of_a_topic_must_fit_each_other() {
    let text = r#"topics:
  t: { partitions: 2000, message_bytes: 1GiB, columns: { a: timestamp, b: string }, event_time: c }"#;
    let expected = r#"4:8: expected a number of at most 1000, found 2000
4:26: message size 1GiB is too large; at most 16MiB is allowed
4:85: unknown column "c"; did you mean "a"?"#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn every_fault_of_sources_is_found() {
    let text = r#"sources:
  a: { to: t }
  b: { web: { method: POST, path: /b }, hook: {}, to: t }
  c: { wep: {}, to: t }
  d: { web: { metod: GET, path: 5 }, too: t }
  e: 5
  f: { web: { method: POST, path: /b }, to: t, profile: clster }
  g: { web: { method: POST, path: /b }, to: t }
  'h h': { web: { method: POST, path: /api/x }, to: t }"#;
    let expected = r#"4:3: source has no connector; add one of web
5:41: unknown connector "hook"; the connectors are web
6:8: unknown connector "wep"; did you mean "web"?
7:3: missing key "to"; add it: the topic that takes the records
7:8: missing key "method"; add it: the HTTP method
7:15: unknown key "metod"; did you mean "method"?
7:27: expected a text, found 5; the path
7:38: unknown key "too"; did you mean "to"?
8:3: source is no map; write its connector and "to": a topic
9:48: unknown profile "clster"; declare it under "profiles"; the profiles are embedded
10:8: route POST /b is taken already by source "b"; choose another path or method
11:3: source name "h h" is not allowed; use 1 to 244 letters, digits, '.', '_' and '-'
11:12: path "/api/x" is one of Courant's own; choose another"#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn every_fault_of_pipelines_is_found() {
    let text = r#"pipelines:
  a: { from: nowhere, to: b }
  b: { from: [], to: b }
  c: {}
  d: { from: b, steps: [ { sql: '' }, { jolt: {} }, { sqll: x }, { key: 5 }, { split: { feld: a } }, { deduplicate: { by: [], within: 0s } }, {}, x, { key: a, sql: b } ] }"#;
    let expected = r#"4:8: topic "nowhere" is neither declared nor written to; declare it under "topics"
5:8: list of topics is empty; name the topic to read
6:3: missing key "from"; add it: the topic to read, or a list of topics
7:3: pipeline "d" has no target; add "to": a topic's name or a list of targets
7:28: query is empty; write SQL, or leave it out
7:41: jolt step has no specification; add "spec", a list of operations, or "file"
7:55: unknown step "sqll"; did you mean "sql"?
7:68: expected a text, found 5; a field of the document, such as customer.address.city or lines.0.price
7:80: missing key "field"; add it: the list
7:89: unknown key "feld"; did you mean "field"?
7:119: list of fields is empty; name what makes two records the same
7:127: duration is zero; say how long a value is remembered, such as 1h
7:143: step has no key; write one of sql, jolt, lookup, key, split, route, deduplicate, nest with its value
7:147: step has no key; write one of sql, jolt, lookup, key, split, route, deduplicate, nest with its value
7:160: step has two keys, "key" and "sql"; begin a new item with "- ""#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn every_fault_of_routes_targets_and_settings_is_found() {
    let text = r#"topics: { t: }
pipelines:
  a:
    from: t
    steps:
      - route: []
      - route: [ { when: a }, { otherwise: next }, { when: b, to: drop } ]
      - route: [ { wen: a, to: x }, { otherwise: 'a b' } ]
    to: [ x, 5, { topc: x }, { cache: { table: '', kee: a } }, { history: {} }, { hook: { method: 5, path: x } }, { elastic: {} } ]
    on_error: { retry: 5 }
    freshness: { p95: 5 }
    linger: 5
    start: erliest"#;
    let expected = r#"8:9: route has no branches; write a list of branches such as { when: "a > 1", to: topic }
9:18: missing key "to"; add it: a topic, "next" (the following step) or "drop"
9:52: branch stands after "otherwise"; move "otherwise" to the end
10:18: missing key "when"; add it: an SQL condition over the document's columns, such as "status = 'Shipped'"
10:20: unknown key "wen"; did you mean "when"?
10:39: topic name "a b" contains ' '; use letters, digits, '.', '_' and '-'
11:14: expected a text, found 5; a topic's name: letters, digits, '.', '_' and '-'
11:19: unknown target "topc"; did you mean "topic"?
11:32: missing key "key"; add it: the field whose value is the key
11:41: text is empty; give it a value
11:52: unknown key "kee"; did you mean "key"?
11:66: missing key "collection"; add it: the collection
11:91: expected a text, found 5; the HTTP method
11:117: unknown target "elastic"; the targets are topic, cache, history, hook
12:17: unknown key "retry"; known keys are retries, dead_letters
13:5: missing key "p99"; add it: of a hundred records, ninety-nine are fresher than this
13:18: unknown key "p95"; did you mean "p99"?
14:5: expected a text, found 5; a length of time with its unit, such as 500ms or 7d
15:5: unknown value "erliest"; did you mean "earliest"?"#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn loops_and_shared_groups_are_found() {
    let text = r#"topics: { t: }
pipelines:
  a: { from: t, to: t }
  b: { from: u, to: v }
  c: { from: v, to: u }
  d: { from: t, group: g, to: w }
  e: { from: t, group: g, to: w }
  f: { from: t, to: w, on_error: { dead_letters: t } }
  g: { from: [t, t], to: w }"#;
    let expected = r#"5:3: records of topic "t" go round: t → a → t; write to a topic that does not lead back
6:3: records of topic "u" go round: u → b → v → c → u; write to a topic that does not lead back
9:17: pipelines "d" and "e" read topic "t" in the same group "g"; give one another group
10:3: pipeline "f" reads its own dead letters, topic "t"; send them to another topic
11:8: pipeline "g" reads topic "t" twice; name it once"#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn a_table_holds_documents_or_fields_not_both() {
    let text = r#"topics: { t: }
pipelines:
  a: { from: t, to: [ { cache: { table: c, key: k } }, { cache: { table: c, key: k, field: f } } ] }"#;
    let expected = r#"5:56: table "c" holds fields under a key here, and one document at 5:23; use two tables, or the same "field""#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn every_fault_of_endpoints_is_found() {
    let text = r#"topics: { t: }
sources:
  s: { web: { method: GET, path: '/o/{x}' }, to: t }
pipelines:
  a: { from: t, to: [ { cache: { table: c, key: k } }, { history: { collection: orders } } ] }
endpoints:
  orders: { history: orders }
  /: { history: orders }
  /api/v1/x: { history: orders }
  /a//b: { history: orders }
  '/a/{x': { history: orders }
  '/o/{y}': { history: orders }
  '/p/{y}': { history: orders, limit: 5 }
  '/p/{z}': { history: orders }
  /q: { history: oders, sort: '-', limit: 0, filter: { $foo: 1 } }
  /r: { cache: c }
  '/s/{a}/{b}/{c}': { cache: d }
  '/t/{a}/{b}': { history: orders }
  /u: { view: x }
  /v: { histry: x }
  /w: { history: orders, cache: c }"#;
    let expected = r#"9:3: path "orders" has no slash at its start; write it as /orders
10:3: path "/" is one of Courant's own; choose another
11:3: path "/api/v1/x" is one of Courant's own; choose another
12:3: path "/a//b" is no plain path; use letters, digits, '-', '_', '.', and {names} between slashes
13:3: path "/a/{x" is no route; write parameters as whole segments: /orders/{id}
14:3: route GET /o/{y} is taken already by source "s"; choose another path
15:32: key "limit" has no meaning for one document; leave it out, or take the parameter out of the path
16:3: path "/p/{z}" meets path "/p/{y}"; keep one of them
17:9: collection "oders" is written by no pipeline; did you mean "orders"?
17:25: sort is invalid: field path "" has an empty segment; write names joined by dots
17:36: expected a number of at least 1, found 0
17:46: filter is invalid: unknown operator "$foo"; use one of $and, $or, $nor
18:3: path "/r" has no parameters; a cache answers by key: /orders/{key}, or /orders/{key}/{field}
19:3: path "/s/{a}/{b}/{c}" has 3 parameters; a cache answers by key: /orders/{key}, or /orders/{key}/{field}
19:23: table "d" is written by no pipeline; did you mean "c"?
20:3: path "/t/{a}/{b}" has 2 parameters; a document is found by one, its id
21:9: unknown view "x"; add it under "views"
22:9: unknown store "histry"; did you mean "history"?
23:26: endpoint has two stores, "history" and "cache"; keep one"#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn a_profile_may_only_ask_for_what_is_there() {
    let text = r#"profiles:
  embedded: { log: 'pulsar://user:pw@h' }
  big: { logg: x, cache: y }
  other: { log: 'kafka://user:pw@wrong', cache: 'redis://r/x', history: 'mongodb://m' }
  third: { log: 'kafka://${NOT_SET}@wrong' }"#;
    let expected = r#"4:15: profile "embedded" puts the log on pulsar://…; this build has only the embedded log
5:10: unknown key "logg"; did you mean "log"?
5:19: role "cache" of profile "big" has no URL; write one such as kafka://host:9092, or leave the role out
6:12: URL of the log is wrong; write another
6:42: URL of Redis cannot be used: database "x" is no number
6:64: URL of MongoDB cannot be used: it names no database; write one such as mongodb://host:27017/shop"#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn variables_are_checked_and_never_shown() {
    let text = r#"sources:
  s: { web: { method: '${NOPE}', path: '${SECRET}' }, to: '${SECRET}/' }
  t: { web: { method: '${', path: '${a b}' }, to: '$${x}' }
pipelines:
  p: { from: t, to: [{ hook: { method: '${SECRET}', path: 5 } }], freshness: { p99: '${SECRET}' } }"#;
    let expected = r#"4:23: variable "NOPE" is not set; set it, or give a default: ${NOPE:-…}
4:55: topic name "${SECRET}/" contains '/'; use letters, digits, '.', '_' and '-'
5:23: variable has no end; write ${NAME}, or $${ for the two characters themselves
5:35: "a b" is no variable name; use letters, digits and '_', or write $${ for the two characters
5:47: topic name "${x}" contains '$'; use letters, digits, '.', '_' and '-'
7:53: expected a text, found 5; the path
7:80: duration "${SECRET}" has no number; write one such as 500ms"#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn an_include_that_is_missing_is_named() {
    let text = r#"include: [gone.yaml]
"#;
    let expected = r#"3:11: file "app/gone.yaml" cannot be read: no such file"#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn a_key_of_the_head_is_not_repeated() {
    let text = "name: y";
    let expected = r#"3:1: key "name" is repeated; it is there already at 2:1"#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn a_key_of_a_section_is_not_repeated() {
    let text = "topics: { t: , t: }";
    let expected = r#"3:16: key "t" is repeated; it is there already at 3:11"#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn broken_yaml_is_told_by_its_place() {
    let text = "topics: [1, 2";
    let expected = "3:9: file is not valid YAML: unclosed bracket '['";
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn tags_are_refused() {
    let text = "topics: { t: !x }";
    let expected = r#"3:14: unknown tag "!x"; leave it out: a file has plain YAML values only"#;
    assert_eq!(below_the_head(text), expected);
}

#[test]
fn stores_take_plain_names() {
    let text = "topics: { t: }\npipelines: { p: { from: t, to: [{ cache: { table: a/b, key: k } }, { history: { collection: system.x } }] } }";
    let expected = "4:44: name \"a/b\" of a table is invalid: it contains '/'; use letters, digits, '.', '_' and '-'\n\
                    4:81: name \"system.x\" of a collection is invalid: names beginning with \"system.\" are reserved; choose another";
    assert_eq!(below_the_head(text), expected);
}

proptest! {
    #[test]
    fn no_damaged_file_panics(at in 0..WHOLE.len(), length in 0usize..40, put in "[-\\[\\]{}:,&*!|>'\"#a-c0-9 \\n]{0,6}") {
        let end = (at + length).min(WHOLE.len());
        let (Some(before), Some(after)) = (WHOLE.get(..at), WHOLE.get(end..)) else { return Ok(()) };
        let files = Memory::default().with("app/courant.yaml", &format!("{before}{put}{after}"));
        if let Err(problems) = load_from(&files, None) {
            prop_assert!(!problems.is_empty());
        }
    }
}

#[test]
fn files_that_include_each_other_are_told() {
    let files = Memory::default()
        .with("app/courant.yaml", "version: 1\nname: x\ninclude: [a.yaml]\n")
        .with("app/a.yaml", "include: [./b.yaml]\n")
        .with("app/b.yaml", "include: [../app/courant.yaml]\n");
    let expected = "app/./b.yaml:1:11: files include each other: app/courant.yaml → app/a.yaml → \
                    app/b.yaml → app/courant.yaml; remove one of the includes";
    assert_eq!(load_from(&files, None).unwrap_err().to_string(), expected);
}

#[test]
fn a_key_of_an_included_file_is_not_repeated() {
    let files = Memory::default()
        .with("app/courant.yaml", "version: 1\nname: x\ninclude: [a.yaml]\ntopics: { t: }\n")
        .with("app/a.yaml", "topics:\n  t: { partitions: 2 }\nmemory: 1\n");
    let expected = "app/a.yaml:2:3: key \"t\" is repeated; it is there already at app/courant.yaml:4:11\n\
                    app/a.yaml:3:1: expected a text, found 1; a number of bytes with its unit, such as 64MiB";
    assert_eq!(load_from(&files, None).unwrap_err().to_string(), expected);
}

#[test]
fn an_unknown_profile_is_told_with_those_that_are() {
    let files = Memory::default()
        .with("app/courant.yaml", "version: 1\nname: x\nprofiles: { cluster: {} }\n");
    let error = load_from(&files, Some("clustr")).unwrap_err().to_string();
    assert_eq!(error, "app/courant.yaml: unknown profile \"clustr\"; did you mean \"cluster\"?");
    let error = load_from(&files, Some("test")).unwrap_err().to_string();
    assert_eq!(
        error,
        "app/courant.yaml: unknown profile \"test\"; the file's profiles are embedded, cluster"
    );
}

#[test]
fn the_log_of_a_profile_is_a_cluster_and_its_url_stays_a_secret() {
    let file = Memory::default().with(
        "app/courant.yaml",
        "version: 1\nname: x\nprofiles:\n  cluster: { log: \"kafka://me:${SECRET}@kafka:9092\" }\n",
    );
    let plan = load_from(&file, Some("cluster")).unwrap_or_else(|problems| panic!("{problems}"));
    let url = "kafka://me:s3cret-token@kafka:9092".into();
    assert_eq!(plan.roles.log, RoleChoice::External { url });
    assert!(crate::plan::print(&plan).contains("\n  log on kafka://…\n"));
    assert!(!format!("{plan:?}").contains("s3cret"), "{plan:?}");
    let embedded = load_from(&file, None).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(embedded.roles.log, RoleChoice::Embedded);
}

#[test]
fn a_profile_may_put_the_stores_on_redis_and_mongodb() {
    let text = "version: 1\nname: x\nprofiles: { cluster: { cache: 'rediss://me:${SECRET}@redis', history: 'mongodb://a,b/shop' } }\n";
    let files = Memory::default().with("app/courant.yaml", text);
    let plan = load_from(&files, Some("cluster")).unwrap_or_else(|problems| panic!("{problems}"));
    let text = crate::plan::print(&plan);
    assert!(text.contains("\n  cache on rediss://…\n"), "{text}");
    assert!(text.contains("\n  history on mongodb://…\n"), "{text}");
    assert!(matches!(plan.roles.cache, RoleChoice::External { .. }));
    assert!(matches!(plan.roles.history, RoleChoice::External { .. }));
}

#[test]
fn a_profile_with_external_roles_is_refused_without_its_secrets() {
    let files = Memory::default().with(
        "app/courant.yaml",
        "version: 1\nname: x\nprofiles:\n  cluster:\n    log: kafka://kafka:9092\n    analytics: \"clickhouse://:${SECRET}@host\"\n",
    );
    let expected = "app/courant.yaml:6:5: profile \"cluster\" puts the analytics on clickhouse://…; this build has only the embedded analytics";
    assert_eq!(load_from(&files, Some("cluster")).unwrap_err().to_string(), expected);
}

#[test]
fn a_secret_is_hidden_also_where_a_message_cuts_or_escapes_it() {
    let secret = format!("\"quoted\\{}", "long-secret/".repeat(40));
    let env = |_: &str| Some(secret.clone());
    let connectors = super::connectors();
    let text = "version: 1\nname: x\nsources:\n  s: { web: { method: GET, path: '/${S}' }, to: 'a ${S}', key: '.${S}' }\ntopics: { t: { retention: '${S}' } }\n";
    let files = Memory::default().with("app/courant.yaml", text);
    let options =
        super::LoadOptions { profile: None, env: &env, connectors: &connectors, files: &files };
    let problems = super::load(std::path::Path::new("app/courant.yaml"), &options).unwrap_err();
    assert!(problems.len() >= 3, "{problems}");
    assert!(!problems.to_string().contains("secret"), "{problems}");
    assert!(problems.to_string().contains("${S}"), "{problems}");
}
