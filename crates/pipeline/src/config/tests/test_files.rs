//! Test files: read whole, and explained where they are wrong.

use serde_json::json;

use super::{Memory, WHOLE, *};
use crate::config::{Expectation, TestAction, TestFile, load_tests};

fn read(text: &str) -> Result<Vec<TestFile>, Problems> {
    let files =
        Memory::default().with("app/courant.yaml", WHOLE).with("app/orders.test.yaml", text);
    let plan = load_from(&files, None).unwrap_or_else(|problems| panic!("{problems}"));
    load_tests(&plan, &files)
}

#[test]
fn a_test_file_is_read_whole() {
    let text = r#"
tests:
  - name: an order is kept
    now: 2026-01-01T00:00:01Z
    steps:
      - give:
          topic: orders
          records:
            - { value: { orderNumber: 1 }, key: "5", headers: { a: b }, at: 2026-01-01T00:00:00Z }
            - { text: not json }
            - { key: gone }
      - advance: 1s
      - expect: { history: orders, documents: [{ orderNumber: 1 }], partial: true }
      - expect: { cache: by_customer, key: "5", value: { "1": {} } }
      - expect: { topic: held, records: [{ value: null, key: null }, { headers: { a: b } }] }
      - expect: { dead_letters: keep, records: [{ error: not JSON }] }
"#;
    let files = read(text).unwrap_or_else(|problems| panic!("{problems}"));
    let case = &files[0].cases[0];
    assert_eq!((case.name.as_str(), case.now.as_millis()), ("an order is kept", 1_767_225_601_000));
    assert_eq!(case.steps[2].place.to_string(), "app/orders.test.yaml:13:9");
    let TestAction::Give { records, .. } = &case.steps[0].action else { panic!("records") };
    assert_eq!(records[0].record.value.as_deref(), Some(br#"{"orderNumber":1}"#.as_slice()));
    assert_eq!(records[0].at.unwrap().as_millis(), 1_767_225_600_000);
    assert_eq!(records[1].record.value.as_deref(), Some(b"not json".as_slice()));
    assert_eq!((&records[2].record.value, records[2].at), (&None, None));
    let TestAction::Expect(Expectation::Topic { records, .. }) = &case.steps[4].action else {
        panic!("a topic")
    };
    assert_eq!((&records[0].value, &records[0].key), (&Some(Value::Null), &Some(None)));
    assert_eq!((&records[1].value, &records[1].key), (&None, &None));
    assert_eq!(records[1].headers["a"], "b");
    let TestAction::Expect(Expectation::History { documents, partial, .. }) = &case.steps[2].action
    else {
        panic!("a history")
    };
    assert_eq!((json!(documents), *partial), (json!([{ "orderNumber": 1 }]), true));
}

#[test]
fn every_fault_of_a_test_file_is_found_at_once() {
    let text = r#"
tests:
  - name: x
    now: yesterday
    steps:
      - give: { topic: order, records: [{ value: 1, text: a }, { vale: 1 }] }
      - give: { topic: order, records: [] }
      - advance: soon
      - expect: { history: order, documents: [] }
      - expect: { documents: [] }
      - wait: 1s
  - steps: []
"#;
    let found = read(text).unwrap_err().to_string();
    let expected = r#"app/orders.test.yaml:4:5: "yesterday" is no instant; write RFC 3339, such as 2026-01-01T00:00:00Z
app/orders.test.yaml:6:17: unknown topic "order"; did you mean "orders"?
app/orders.test.yaml:6:41: record has both "value" and "text"; keep one
app/orders.test.yaml:6:66: unknown key "vale"; did you mean "value"?
app/orders.test.yaml:7:17: unknown topic "order"; did you mean "orders"?
app/orders.test.yaml:8:9: duration "soon" has no number; write one such as 500ms
app/orders.test.yaml:9:19: unknown collection "order"; did you mean "orders"?
app/orders.test.yaml:10:9: expectation names nothing to look at; add one of topic, history, cache, view, dead_letters
app/orders.test.yaml:11:9: unknown step "wait"; the steps of a test are give, advance, expect
app/orders.test.yaml:12:5: missing key "name"; add it: what is shown, as a sentence"#;
    assert_eq!(found, expected);
}
