//! The `nest` step, rule by rule; `random` beside this file compares it with a naive one.
//!
//! Rows are given as the capture writes them; what comes out is looked at as JSON.

use courant_model::{Record, StoredRecord};
use serde_json::{Value, json};

use super::*;
use crate::{
    config::tests::{nest_files::SHOP, plan_of},
    plan::StepPlan,
    testing::name,
};

mod random;

pub(super) fn nest_plan(file: &str) -> NestPlan {
    match &plan_of(file).pipelines["nest"].steps[0] {
        StepPlan::Nest(plan) => (**plan).clone(),
        other => panic!("{} is no nest step", other.name()),
    }
}

pub(super) fn step(plan: &NestPlan) -> NestStep {
    NestStep::new(Place::of(&name("shop"), 1, "nest"), plan)
}

pub(super) fn context() -> StepContext {
    StepContext { now: Origin::from_micros(0) }
}

/// A row as the capture writes it.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) operation: Operation,
    pub(super) table: &'static str,
    pub(super) row: Value,
    pub(super) transaction: Option<String>,
    pub(super) is_last: bool,
}

impl Given {
    pub(super) fn event(&self, offset: Offset) -> Event {
        let mut record = Record::new(self.row.to_string(), Timestamp::from_millis(offset))
            .with_header(TABLE_HEADER, format!("classic.{}", self.table));
        record.headers.push(self.operation.header());
        if let Some(transaction) = &self.transaction {
            record = record.with_header(TRANSACTION_HEADER, transaction.clone());
        }
        if self.is_last {
            record = record.with_header(TRANSACTION_END_HEADER, "last");
        }
        record.stamp_origin(Origin::from_micros(offset * 10));
        Event::from_stored(StoredRecord { topic: name("shop"), partition: 0, offset, record })
    }
}

pub(super) fn given(operation: Operation, table: &'static str, row: Value) -> Given {
    Given { operation, table, row, transaction: None, is_last: false }
}

fn set(table: &'static str, row: Value) -> Given {
    given(Operation::Update, table, row)
}

fn gone(table: &'static str, row: Value) -> Given {
    given(Operation::Delete, table, row)
}

fn order(number: u64, customer: u64) -> Value {
    json!({ "orderNumber": number, "customerNumber": customer })
}

fn line(number: u64, product: &str, at: u64) -> Value {
    json!({ "orderNumber": number, "productCode": product, "orderLineNumber": at })
}

fn product(code: &str, name: &str, stock: u64) -> Value {
    json!({ "productCode": code, "productName": name, "quantityInStock": stock })
}

/// Operation, record key and document of an event.
pub(super) type Seen = (&'static str, String, Value);

pub(super) fn seen(event: &Event) -> Seen {
    let operation = Operation::of(&event.headers).unwrap().as_str();
    let key = String::from_utf8(event.key.clone().unwrap().to_vec()).unwrap();
    (operation, key, event.payload.json().unwrap().clone())
}

/// A step that is given records one after the other.
struct World {
    step: NestStep,
    offset: Offset,
    passed: Vec<Event>,
    rejected: Vec<String>,
}

impl World {
    fn new() -> Self {
        Self::of(&nest_plan(SHOP))
    }

    fn of(plan: &NestPlan) -> Self {
        Self { step: step(plan), offset: 0, passed: Vec::new(), rejected: Vec::new() }
    }

    /// Gives rows that are one transaction.
    fn commit(&mut self, rows: impl IntoIterator<Item = Given>) {
        let name = format!("t{}", self.offset);
        let mut rows: Vec<Given> = rows.into_iter().collect();
        rows.iter_mut().for_each(|row| row.transaction = Some(name.clone()));
        rows.last_mut().unwrap().is_last = true;
        self.give(rows);
    }

    fn give(&mut self, rows: impl IntoIterator<Item = Given>) {
        for row in rows {
            let event = row.event(self.offset);
            self.offset += 1;
            self.run(vec![event]);
        }
    }

    fn run(&mut self, events: Vec<Event>) {
        let output = self.step.run(&context(), events);
        self.passed.extend(output.passed);
        self.rejected.extend(output.rejected.into_iter().map(|rejected| rejected.why));
    }

    /// What was given out since the last call.
    fn seen(&mut self) -> Vec<Seen> {
        assert_eq!(self.rejected, Vec::<String>::new());
        self.passed.drain(..).map(|event| seen(&event)).collect()
    }

    fn rejected(&mut self) -> Vec<String> {
        std::mem::take(&mut self.rejected)
    }

    /// A new step that remembers what this one does, as after a restart.
    fn restarted(mut self) -> Self {
        let kept = self.step.take_changes();
        let mut entries: Vec<StateEntry> =
            kept.into_iter().filter_map(|change| Some((change.key, change.value?))).collect();
        entries.sort();
        let mut step = step(&nest_plan(SHOP));
        step.restore(entries);
        Self { step, ..self }
    }
}

#[test]
fn a_transaction_makes_one_document_with_its_last_record() {
    let mut world = World::new();
    world.commit([
        set("customers", json!({ "customerNumber": 5, "customerName": "Ada", "phone": "1" })),
        set("orders", order(1, 5)),
        set("orderdetails", line(1, "B", 2)),
        set("orderdetails", line(1, "A", 1)),
        set("products", product("A", "Alfa", 3)),
    ]);
    let event = world.passed[0].clone();
    let document = json!({
        "orderNumber": 1, "customerNumber": 5, "customer": { "customerName": "Ada" },
        "lines": [
            { "orderNumber": 1, "productCode": "A", "orderLineNumber": 1,
              "product": { "productName": "Alfa" } },
            { "orderNumber": 1, "productCode": "B", "orderLineNumber": 2, "product": null },
        ],
        "version": 9,
    });
    assert_eq!(world.seen(), [("insert", "1".to_owned(), document)]);
    assert_eq!(event.default_id(), "shop-0-4");
    assert_eq!(event.origin, Origin::from_micros(10), "the customer touched no document");
    let headers = [Operation::Insert.header(), Header::new(TABLE_HEADER, "classic.orders")];
    assert_eq!(event.headers, headers);
}

#[test]
fn rows_that_belong_to_no_order_wait_for_it() {
    let mut world = World::new();
    world.commit([set("orderdetails", line(7, "A", 1))]);
    world.commit([set("products", product("A", "Alfa", 3))]);
    assert_eq!(world.seen(), []);
    world.commit([set("orders", order(7, 5))]);
    let (_, _, document) = world.seen().remove(0);
    assert_eq!(document["lines"][0]["product"]["productName"], "Alfa");
    assert_eq!(document["customer"], Value::Null);
}

#[test]
fn a_record_outside_of_transactions_counts_at_once() {
    let mut world = World::new();
    world.give([set("orders", order(1, 5)), set("orderdetails", line(1, "A", 1))]);
    let versions: Vec<Value> =
        world.seen().into_iter().map(|seen| seen.2["version"].clone()).collect();
    assert_eq!(versions, [1, 3]);
}

#[test]
fn a_referenced_row_changes_every_document_that_uses_it_where_a_kept_field_changes() {
    let mut world = World::new();
    world.commit([
        set("products", product("A", "Alfa", 3)),
        set("orders", order(1, 5)),
        set("orderdetails", line(1, "A", 1)),
        set("orders", order(2, 5)),
        set("orderdetails", line(2, "A", 1)),
        set("orders", order(3, 5)),
    ]);
    assert_eq!(world.seen().len(), 3);
    world.commit([set("products", product("A", "Alfa", 2))]);
    assert_eq!(world.seen(), []);
    world.commit([set("products", product("A", "Giulia", 2))]);
    let found = world.seen();
    let keys: Vec<(&str, &str)> =
        found.iter().map(|(what, key, _)| (*what, key.as_str())).collect();
    assert_eq!(keys, [("update", "1"), ("update", "2")]);
    assert_eq!(found[1].2["lines"][0]["product"]["productName"], "Giulia");
    world.commit([gone("products", product("A", "Giulia", 2))]);
    assert_eq!(world.seen()[0].2["lines"][0]["product"], Value::Null);
}

#[test]
fn a_document_that_is_as_it_was_is_not_given_out_again() {
    let mut world = World::new();
    world.commit([set("orders", order(1, 5))]);
    world.seen();
    world.commit([set("orders", order(1, 5))]);
    world.commit([set("orderdetails", line(1, "A", 1)), gone("orderdetails", line(1, "A", 1))]);
    world.commit([gone("orders", order(1, 5)), set("orders", order(1, 5))]);
    world.commit([gone("orders", order(99, 5)), gone("orderdetails", line(1, "Z", 1))]);
    assert_eq!(world.seen(), []);
}

#[test]
fn a_deletion_carries_the_last_document_and_takes_the_lines_along() {
    let mut world = World::new();
    world.commit([set("orders", order(1, 5)), set("orderdetails", line(1, "A", 1))]);
    let (_, _, mut document) = world.seen().remove(0);
    world.commit([gone("orderdetails", line(1, "A", 1)), gone("orders", order(1, 5))]);
    document["version"] = json!(7);
    assert_eq!(world.seen(), [("delete", "1".to_owned(), document)]);
    world.commit([set("orders", order(1, 5)), set("orderdetails", line(1, "A", 1))]);
    world.commit([gone("orders", order(1, 5))]);
    world.commit([set("orders", order(1, 5))]);
    assert_eq!(world.seen().last().unwrap().2["lines"], json!([]));
}

#[test]
fn without_cascade_lines_stay_where_their_order_goes() {
    let file = SHOP.replace("sort: orderLineNumber", "cascade: false");
    let mut world = World::of(&nest_plan(&file));
    world.commit([set("orders", order(1, 5)), set("orderdetails", line(1, "A", 1))]);
    world.commit([gone("orders", order(1, 5))]);
    world.commit([set("orders", order(1, 5))]);
    assert_eq!(world.seen().last().unwrap().2["lines"][0]["productCode"], "A");
}

#[test]
fn a_document_that_moves_is_deleted_with_a_lower_version_first() {
    let mut world = World::new();
    world.commit([set("orders", order(1, 5))]);
    world.commit([set("orders", order(1, 6))]);
    let found = world.seen();
    let told: Vec<_> =
        found.iter().map(|(what, _, d)| (*what, &d["customerNumber"], &d["version"])).collect();
    let expected = [
        ("insert", json!(5), json!(1)),
        ("delete", json!(5), json!(2)),
        ("insert", json!(6), json!(3)),
    ];
    let expected: Vec<_> = expected.iter().map(|(what, c, v)| (*what, c, v)).collect();
    assert_eq!(told, expected);
}

#[test]
fn a_line_that_moves_changes_both_orders() {
    let mut world = World::new();
    world.commit([
        set("orders", order(1, 5)),
        set("orders", order(2, 5)),
        set("orderdetails", line(1, "A", 1)),
    ]);
    world.seen();
    world.commit([gone("orderdetails", line(1, "A", 1)), set("orderdetails", line(2, "A", 1))]);
    let found = world.seen();
    assert_eq!(
        (&found[0].2["lines"], found[1].2["lines"][0]["productCode"].as_str()),
        (&json!([]), Some("A"))
    );
}

#[test]
fn a_transaction_without_its_end_is_complete_when_the_next_begins() {
    let mut world = World::new();
    let in_transaction = |name: &str, row| Given { transaction: Some(name.into()), ..row };
    world.give([in_transaction("a", set("orders", order(1, 5)))]);
    assert_eq!(world.seen(), []);
    world.give([in_transaction("b", set("orders", order(2, 5)))]);
    let found = world.seen();
    assert_eq!((found.len(), &found[0].2["version"]), (1, &json!(1)));
}

#[test]
fn a_portion_of_a_snapshot_counts_with_its_last_row() {
    let mut world = World::new();
    let snapshot =
        |table, row, is_last| Given { is_last, ..given(Operation::Snapshot, table, row) };
    world.give([snapshot("orders", order(1, 5), false), snapshot("orders", order(2, 5), true)]);
    assert_eq!(world.seen().len(), 2);
    world.give([snapshot("orderdetails", line(1, "A", 1), false)]);
    assert_eq!(world.seen(), []);
    world.give([snapshot("orderdetails", line(1, "B", 2), true)]);
    assert_eq!(world.seen()[0].2["lines"].as_array().unwrap().len(), 2);
}

#[test]
fn a_restart_within_a_transaction_loses_nothing_of_it() {
    let mut world = World::new();
    world.commit([set("orders", order(1, 5))]);
    world.seen();
    let in_transaction = |row, is_last| Given { transaction: Some("a".into()), is_last, ..row };
    world.give([
        in_transaction(set("orderdetails", line(1, "A", 1)), false),
        in_transaction(set("orders", order(2, 5)), false),
    ]);
    let mut world = world.restarted();
    world.give([in_transaction(set("customers", json!({ "customerNumber": 9 })), true)]);
    let origin = world.passed[0].origin;
    let found = world.seen();
    let told: Vec<_> = found.iter().map(|(what, key, _)| (*what, key.as_str())).collect();
    assert_eq!(told, [("update", "1"), ("insert", "2")]);
    assert_eq!((origin, &found[0].2["version"]), (Origin::from_micros(10), &json!(7)));
    let mut again = world.restarted();
    again.give([set("orders", order(3, 5))]);
    assert_eq!(again.seen().len(), 1, "nothing of the old transaction is left");
}

#[test]
fn the_memory_of_another_plan_is_refused() {
    let mut world = World::new();
    world.commit([set("orders", order(1, 5))]);
    let kept = world.step.take_changes();
    let entries = kept.into_iter().map(|change| (change.key, change.value.unwrap())).collect();
    let file = SHOP.replace("fields: [customerName]", "fields: [phone]");
    let mut other = World { offset: world.offset, ..World::of(&nest_plan(&file)) };
    other.step.restore(entries);
    other.commit([set("orders", order(1, 6))]);
    let why = other.rejected();
    assert!(why[0].starts_with("the step was changed, "), "{why:?}");
    assert_eq!(other.seen(), []);
}

#[test]
fn a_row_beyond_the_bound_is_set_aside_with_the_remedy() {
    let mut world = World::of(&NestPlan { rows_max: 2, ..nest_plan(SHOP) });
    world.commit([
        set("orders", order(1, 5)),
        set("orders", order(2, 5)),
        set("orders", order(3, 5)),
    ]);
    let why = world.rejected();
    assert_eq!(why, ["2 rows are remembered already; raise \"rows_max\", and read all rows again"]);
    assert_eq!(world.seen().len(), 2, "the end of the transaction counts");
    world.commit([gone("orders", order(1, 5)), set("orders", order(3, 6))]);
    assert_eq!(world.seen().len(), 2);
}

#[test]
fn what_is_no_row_is_set_aside() {
    let mut world = World::new();
    let mut bare = set("orders", order(1, 5)).event(0);
    bare.headers.retain(|header| header.name != TABLE_HEADER);
    let mut elsewhere = set("orders", order(1, 5)).event(1);
    elsewhere.source.partition.partition = 2;
    let mut tombstone = set("orders", order(1, 5)).event(2);
    tombstone.payload = Payload::null();
    let keyless = set("orderdetails", json!({ "orderNumber": 1 })).event(3);
    let other_table = set("payments", json!({})).event(4);
    world.run(vec![bare, elsewhere, tombstone, keyless, other_table]);
    let why = world.rejected();
    let begin = [
        "record has no header \"courant-table\"; ",
        "row comes from partition 2, ",
        "value is null; ",
        "row of table \"orderdetails\" has no column \"productCode\"; ",
    ];
    assert_eq!(why.len(), begin.len(), "{why:?}");
    for (why, begin) in why.iter().zip(begin) {
        assert!(why.starts_with(begin), "{why}");
    }
}

#[test]
fn what_one_change_makes_is_given_out_in_pieces_and_in_order() {
    let orders = PIPELINE_BATCH_RECORDS_MAX as u64 + 10;
    let mut world = World::new();
    let named = |name: &str| json!({ "customerNumber": 5, "customerName": name });
    world.commit((0..orders).map(|number| set("orders", order(number, 5))));
    while world.step.has_more() {
        world.run(Vec::new());
    }
    assert_eq!(world.seen().len() as u64, orders);
    let (first, next) = (set("customers", named("Ada")), set("orders", order(0, 6)));
    world.run(vec![first.event(50_000), next.event(50_001)]);
    assert!(world.step.has_more());
    assert_eq!(world.passed.len(), PIPELINE_BATCH_RECORDS_MAX);
    world.run(Vec::new());
    assert!(!world.step.has_more());
    let found = world.seen();
    assert_eq!(found.len() as u64, orders + 2);
    let last: Vec<_> =
        found.iter().rev().take(2).map(|(what, key, _)| (*what, key.as_str())).collect();
    assert_eq!(
        last,
        [("insert", "0"), ("delete", "0")],
        "the second record comes after all of the first"
    );
    let parts: HashSet<String> = (0..orders)
        .map(|part| match part {
            0 => "shop-0-50000".to_owned(),
            part => format!("shop-0-50000-{part}"),
        })
        .collect();
    assert_eq!(parts.len() as u64, orders);
}

#[test]
fn fields_are_chosen_merged_and_nested_to_any_depth() {
    let file = "
version: 1
name: shop
topics: { shop: , out: }
pipelines:
  nest:
    from: shop
    steps:
      - nest:
          table: classic.customers
          key: customerNumber
          fields: [name]
          many:
            orders:
              table: orders
              key: orderNumber
              on: customerNumber
              sort: -orderNumber
              fields: [orderNumber]
              many: { lines: { table: orderdetails, key: [orderNumber, productCode], on: orderNumber, fields: [productCode] } }
          one:
            rep:
              table: employees
              key: number
              on: { number: rep }
              fields: [name, repName]
              flatten: true
              one: { office: { table: offices, key: code, on: { code: office }, fields: [city] } }
    to: out
";
    let mut world = World::of(&nest_plan(file));
    world.commit([
        set("customers", json!({ "customerNumber": 5, "name": "Ada", "rep": 9, "office": "x" })),
        set("employees", json!({ "number": 9, "name": "Bob", "repName": "B", "office": "L" })),
        set("offices", json!({ "code": "L", "city": "London" })),
        set("orders", order(1, 5)),
        set("orders", order(2, 5)),
        set("orderdetails", line(2, "A", 1)),
    ]);
    let document = json!({
        "name": "Bob", "repName": "B", "office": { "city": "London" },
        "orders": [
            { "orderNumber": 2, "lines": [{ "productCode": "A" }] },
            { "orderNumber": 1, "lines": [] },
        ],
    });
    assert_eq!(world.seen(), [("insert", "5".to_owned(), document)]);
    world.commit([set("offices", json!({ "code": "L", "city": "Paris" }))]);
    assert_eq!(world.seen()[0].2["office"]["city"], "Paris");
}
