//! What templates make, and what is said of wrong ones.

use serde_json::json;

use super::*;

fn render(template: &Value, seed: u64, number: u64, params: &Params) -> Value {
    let mut random = Random::seeded(seed);
    let now = Timestamp::from_millis(1_767_225_600_123);
    let mut scene = Scene { random: &mut random, now, number, params };
    Template::read(template).unwrap().render(&mut scene)
}

fn built_in(name: &str) -> Value {
    render(&json!(name), 7, 3, &Params::new())
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_built_in_events_have_the_fields_of_their_examples() {
    let message = built_in("message");
    assert_eq!(keys(&message), ["text", "source"]);
    assert_eq!(message["source"], "system-generator");
    let page = built_in("page_event");
    assert_eq!(keys(&page), ["name", "user", "date", "duration"]);
    assert_eq!(page["date"], "2026-01-01T00:00:00.123Z");
    assert!(page["duration"].is_i64());
    let order = built_in("order");
    assert_eq!(
        keys(&order),
        [
            "orderNumber",
            "orderDate",
            "requiredDate",
            "shippedDate",
            "status",
            "comments",
            "customerNumber",
            "lines"
        ]
    );
    assert_eq!(order["orderNumber"], 20_003);
    assert_eq!(
        keys(&order["lines"][0]),
        ["productCode", "quantityOrdered", "priceEach", "orderLineNumber"]
    );
    assert_eq!(
        keys(&built_in("customer")),
        [
            "customer_id",
            "first_name",
            "last_name",
            "email",
            "birth_date",
            "city",
            "country",
            "registered_at",
            "segment"
        ]
    );
    assert_eq!(
        keys(&built_in("bet")),
        [
            "bet_id",
            "customer_id",
            "placed_at",
            "race_id",
            "racecourse",
            "horse_number",
            "bet_type",
            "stake",
            "odds",
            "channel",
            "status"
        ]
    );
}

#[test]
fn a_lone_placeholder_keeps_its_type_and_others_become_text() {
    let params = Params::from([("name".into(), "P7".into())]);
    let template = json!({
        "n": "{{int 5 5}}", "f": "{{float 1.25 1.25}}", "b": "{{bool 100}}",
        "text": "{{param name}}-{{int 5 5}}!", "p": "{{param name}}", "none": "{{param other}}",
        "s": "{{sequence 10}}", "at": "{{now}}", "ms": "{{millis}}", "day": "{{date 1 1}}",
        "choice": "{{oneof \"a b\" \"a b\"}}", "fixed": [1, true, "x"],
    });
    assert_eq!(
        render(&template, 1, 2, &params),
        json!({
            "n": 5, "f": 1.25, "b": true, "text": "P7-5!", "p": "P7", "none": null, "s": 12,
            "at": "2026-01-01T00:00:00.123Z", "ms": 1_767_225_600_123_i64, "day": "2026-01-02",
            "choice": "a b", "fixed": [1, true, "x"],
        })
    );
}

#[test]
fn every_placeholder_makes_something() {
    let texts = ["uuid", "name", "first_name", "last_name", "email", "phone", "city", "country"];
    for name in texts.into_iter().chain(["street", "company", "word", "sentence", "today"]) {
        let value = render(&json!({ "v": format!("{{{{{name}}}}}") }), 1, 0, &Params::new());
        assert!(value["v"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {value}");
    }
}

#[test]
fn the_same_seed_makes_the_same_data() {
    for (name, _) in BUILT_IN {
        let template = json!(name);
        let first = render(&template, 42, 0, &Params::new());
        assert_eq!(first, render(&template, 42, 0, &Params::new()));
        assert_ne!(first, render(&template, 43, 0, &Params::new()), "{name}");
    }
}

#[test]
fn all_problems_of_a_template_are_told_with_their_places() {
    let template = json!({
        "a": "{{uuids}}", "b": ["{{int 5}}", "{{int 5 1}}"], "c": { "d": "{{open" }, "e": "{{}}",
    });
    let problems = Template::read(&template).unwrap_err();
    let told: Vec<(String, &str)> =
        problems.iter().map(|p| (p.path.join("."), p.what.as_str())).collect();
    assert_eq!(
        told,
        [
            ("a".into(), "unknown placeholder \"uuids\""),
            ("b.0".into(), "placeholder \"int 5\" has wrong arguments"),
            ("b.1".into(), "placeholder \"int 5 1\" has wrong arguments"),
            ("c.d".into(), "placeholder is not closed"),
            ("e".into(), "placeholder is empty"),
        ]
    );
    assert_eq!(problems[0].remedy.as_deref(), Some("did you mean \"uuid\"?"));
    assert_eq!(problems[1].remedy.as_deref(), Some("write {{int LEAST MOST}}"));
    let unknown = Template::read(&json!("pageevent")).unwrap_err();
    assert_eq!(unknown[0].remedy.as_deref(), Some("did you mean \"page_event\"?"));
    assert!(Template::read(&json!(5)).is_err());
}
