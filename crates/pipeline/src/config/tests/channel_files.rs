//! The section `channels`: what right ones become, and what is said about wrong ones.

use courant_stores::ChangeKind;

use super::{Memory, WHOLE, load_from, plan_of};
use crate::config::examples;

const FILE: &str = "version: 1\nname: x\ntopics: { t: ~ }\npipelines: { keep: { from: t, to: [{ history: { collection: orders } }] } }\n";

fn said(channels: &str) -> String {
    let files = Memory::default().with("app/courant.yaml", &format!("{FILE}channels:\n{channels}"));
    match load_from(&files, None) {
        Ok(plan) => panic!("a plan was made: {plan:#?}"),
        Err(problems) => problems.to_string().replace("app/courant.yaml:", ""),
    }
}

#[test]
fn a_channel_pushes_the_changes_that_it_names() {
    let plan = plan_of(WHOLE);
    let orders = &plan.channels["orders"];
    assert_eq!(orders.collection, "orders");
    assert_eq!(orders.events.of(ChangeKind::Insert), Some("NewOrder"));
    assert_eq!(orders.events.of(ChangeKind::Update), None);
    let own = &plan.channels["private-orders.{customerNumber}"];
    assert_eq!(own.events.of(ChangeKind::Update), Some("OrderUpdated"));
    assert_eq!(own.events.of(ChangeKind::Delete), None);
    assert_eq!(own.data, ["orderNumber", "status"]);
}

#[test]
fn without_on_all_changes_are_pushed_that_can_be() {
    let plan = plan_of(&format!(
        "{FILE}channels:\n  a: {{ watch: orders, event: E }}\n  b.{{x}}: {{ watch: orders, event: E }}\n"
    ));
    let kinds = |name: &str| plan.channels[name].events.named().map(|(kind, _)| kind).collect();
    let (all, named): (Vec<_>, Vec<_>) = (kinds("a"), kinds("b.{x}"));
    assert_eq!(all, ["insert", "update", "delete"]);
    assert_eq!(named, ["insert", "update"]);
}

#[test]
fn the_example_of_the_reference_loads() {
    let plan = plan_of(&format!("{FILE}{}", examples::CHANNELS));
    assert_eq!(plan.channels.len(), 2);
}

#[test]
fn wrong_channels_are_told_with_what_to_write() {
    for (channel, expected) in [
        (
            "  a: { watch: order, event: E }",
            r#"6:8: collection "order" is written by no pipeline; did you mean "orders"?"#,
        ),
        (
            "  'a b': { watch: orders, event: E }",
            r#"6:3: channel name "a b" contains ' '; use letters, digits, _-=@,.; and {fields}"#,
        ),
        (
            "  private-encrypted-a: { watch: orders, event: E }",
            r#"6:3: channel "private-encrypted-a" is encrypted, and Courant has no key to encrypt with; begin its name with "private-""#,
        ),
        (
            "  a: { watch: orders }",
            "6:3: channel has no event; name it: { watch: orders, event: NewOrder }",
        ),
        (
            "  a: { watch: orders, event: E, events: { insert: F } }",
            r#"6:33: channel has both "event" and "events"; keep one"#,
        ),
        (
            "  a: { watch: orders, event: 'pusher:e' }",
            r#"6:23: event name "pusher:e" begins with "pusher:"; choose another; that beginning is the protocol's"#,
        ),
        (
            "  a: { watch: orders, event: E, on: [] }",
            "6:33: channel pushes no change; name one of insert, update, delete",
        ),
        (
            "  a: { watch: orders, event: E, on: shipped }",
            r#"6:33: unknown value "shipped"; use one of insert, update, delete"#,
        ),
        (
            "  'a.{b}': { watch: orders, event: E, on: delete }",
            r#"6:39: channel "a.{b}" cannot be told of a deletion; of a deleted document only {_id} is known; leave delete out"#,
        ),
        (
            "  a.7: { watch: orders, event: E }\n  'a.{_id}': { watch: orders, event: E }",
            r#"7:3: channels "a.7" and "a.{_id}" can have one name; begin one of them with a word of its own"#,
        ),
    ] {
        assert_eq!(said(channel), expected, "{channel}");
    }
}
