//! Random rows, transactions, crashes and arrivals, compared with a naive shop.
//!
//! The naive shop keeps four tables and makes all documents anew from all rows. Targets
//! are maps that ignore lower versions, as the stores do; they hear of events in any
//! order that partitions allow, and twice after a crash.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index};

use super::*;

/// Rows by primary key.
type TableRows = BTreeMap<String, Value>;

#[derive(Debug, Default)]
struct NaiveShop(BTreeMap<&'static str, TableRows>);

impl NaiveShop {
    fn apply(&mut self, given: &Given) {
        let key = key_of(given.table, &given.row);
        if given.operation != Operation::Delete {
            self.0.entry(given.table).or_default().insert(key, given.row.clone());
            return;
        }
        self.0.entry(given.table).or_default().remove(&key);
        if given.table == "orders" {
            let lines = self.0.entry("orderdetails").or_default();
            lines.retain(|_, line| line["orderNumber"] != given.row["orderNumber"]);
        }
    }

    fn rows(&self, table: &str) -> impl Iterator<Item = &Value> {
        self.0.get(table).into_iter().flat_map(BTreeMap::values)
    }

    /// The kept field of the row that a column names, or null.
    fn one(&self, table: &str, key: &str, of: &Value, kept: &str) -> Value {
        let found = self.rows(table).find(|row| row[key] == of[key]);
        found.map_or(Value::Null, |row| json!({ kept: row[kept] }))
    }

    fn documents(&self) -> BTreeMap<String, Value> {
        let document = |order: &Value| {
            let mut lines: Vec<Value> = self
                .rows("orderdetails")
                .filter(|line| line["orderNumber"] == order["orderNumber"])
                .cloned()
                .collect();
            lines.sort_by_key(|line| {
                (line["orderLineNumber"].as_u64(), key_of("orderdetails", line))
            });
            for line in &mut lines {
                line["product"] = self.one("products", "productCode", line, "productName");
            }
            let mut document = order.clone();
            document["customer"] = self.one("customers", "customerNumber", order, "customerName");
            document["lines"] = lines.into();
            (order["orderNumber"].to_string(), document)
        };
        self.rows("orders").map(document).collect()
    }
}

fn key_of(table: &str, row: &Value) -> String {
    match table {
        "orders" => row["orderNumber"].to_string(),
        "orderdetails" => format!("{},{}", row["orderNumber"], row["productCode"]),
        "products" => row["productCode"].to_string(),
        _ => row["customerNumber"].to_string(),
    }
}

/// A store that ignores what is older than what it has or had.
#[derive(Debug, Default, Clone)]
struct Guarded(BTreeMap<String, (u64, Option<Value>)>);

impl Guarded {
    fn hear(&mut self, place: String, (operation, _, document): &Seen) {
        let version = document["version"].as_u64().unwrap();
        if self.0.get(&place).is_some_and(|(known, _)| version < *known) {
            return;
        }
        let document = (*operation != "delete").then(|| document.clone());
        self.0.insert(place, (version, document));
    }

    fn documents(&self) -> BTreeMap<String, Value> {
        let there = self.0.iter().filter_map(|(place, (_, document))| {
            let mut document = document.clone()?;
            document.as_object_mut().unwrap().shift_remove("version");
            Some((place.clone(), document))
        });
        there.collect()
    }
}

fn history_place(seen: &Seen) -> String {
    seen.1.clone()
}

fn cache_place(seen: &Seen) -> String {
    format!("{}/{}", seen.2["customerNumber"], seen.1)
}

fn row() -> impl Strategy<Value = Given> {
    let number = 0_u64..4;
    let tables = prop_oneof![
        (number.clone(), number.clone(), 0_u64..3).prop_map(|(order, customer, status)| (
            "orders",
            json!({ "orderNumber": order, "customerNumber": customer, "status": status })
        )),
        (number.clone(), number.clone(), 0_u64..3).prop_map(|(order, product, at)| (
            "orderdetails",
            json!({ "orderNumber": order, "productCode": product, "orderLineNumber": at })
        )),
        (number.clone(), 0_u64..2, 0_u64..3).prop_map(|(product, name, stock)| (
            "products",
            json!({ "productCode": product, "productName": name, "quantityInStock": stock })
        )),
        (number, 0_u64..2).prop_map(|(customer, name)| (
            "customers",
            json!({ "customerNumber": customer, "customerName": name })
        )),
    ];
    let operation = prop_oneof![
        2 => Just(Operation::Insert),
        2 => Just(Operation::Update),
        2 => Just(Operation::Delete),
        1 => Just(Operation::Snapshot),
    ];
    (operation, tables).prop_map(|(operation, (table, row))| given(operation, table, row))
}

/// Transactions of some rows, one after the other.
fn rows() -> impl Strategy<Value = Vec<Given>> {
    let transaction = proptest::collection::vec(row(), 1..6);
    proptest::collection::vec(transaction, 1..25).prop_map(|transactions| {
        let mut all = Vec::new();
        for (number, mut rows) in transactions.into_iter().enumerate() {
            rows.iter_mut().for_each(|row| row.transaction = Some(format!("t{number}")));
            rows.last_mut().expect("one at least").is_last = true;
            all.extend(rows);
        }
        all
    })
}

/// Merges what several partitions hold into one order of arrival.
fn arrivals(events: &[Seen], partition: impl Fn(&Seen) -> u64, picks: &[Index]) -> Vec<Seen> {
    let mut queues: BTreeMap<u64, VecDeque<Seen>> = BTreeMap::new();
    for event in events {
        queues.entry(partition(event)).or_default().push_back(event.clone());
    }
    let mut arrived = Vec::new();
    for pick in picks.iter().cycle() {
        queues.retain(|_, queue| !queue.is_empty());
        if queues.is_empty() {
            break;
        }
        let chosen = *queues.keys().nth(pick.index(queues.len())).expect("it is in range");
        arrived.extend(queues.get_mut(&chosen).and_then(VecDeque::pop_front));
    }
    arrived
}

proptest! {
    #[test]
    fn after_each_transaction_documents_are_as_if_made_from_all_rows(rows in rows()) {
        let (mut step, mut naive, mut history) = (step(&nest_plan(SHOP)), NaiveShop::default(), Guarded::default());
        for (offset, row) in (0..).zip(&rows) {
            naive.apply(row);
            let output = step.run(&context(), vec![row.event(offset)]);
            prop_assert!(output.rejected.is_empty(), "{:?}", output.rejected);
            prop_assert!(row.is_last || output.passed.is_empty(), "half a transaction was seen");
            for event in &output.passed {
                let event = seen(event);
                history.hear(history_place(&event), &event);
            }
            if row.is_last {
                prop_assert_eq!(history.documents(), naive.documents());
            }
        }
    }

    #[test]
    fn what_a_source_repeats_after_a_crash_changes_nothing(
        rows in rows(),
        cut in any::<Index>(),
        back in any::<Index>(),
        restart in any::<Index>(),
    ) {
        let not_of_a_snapshot = |mut row: Given| {
            if row.operation == Operation::Snapshot {
                row.operation = Operation::Insert;
            }
            row
        };
        let rows: Vec<Given> = rows.into_iter().map(not_of_a_snapshot).collect();
        let told = |rows: &[Given], restart: Option<usize>| {
            let plan = nest_plan(SHOP);
            let (mut step, mut state, mut told) = (step(&plan), BTreeMap::new(), Vec::new());
            for (number, row) in rows.iter().enumerate() {
                if restart == Some(number) {
                    let kept = step.take_changes().into_iter();
                    state.extend(kept.filter_map(|change| Some((change.key, change.value?))));
                    step = super::step(&plan);
                    step.restore(state.clone().into_iter().collect());
                }
                let event = row.event(i64::try_from(number).unwrap());
                told.extend(step.run(&context(), vec![event]).passed.iter().map(seen));
            }
            told
        };
        let cut = cut.index(rows.len());
        let begins: Vec<usize> =
            (0..=cut).filter(|at| *at == 0 || rows[at - 1].is_last).collect();
        let repeated = [&rows[..cut], &rows[begins[back.index(begins.len())]..]].concat();
        let restart = restart.index(repeated.len());
        let again = told(&repeated, Some(restart));
        let mut versions = BTreeMap::new();
        for (_, key, document) in &again {
            let version = document["version"].as_u64().unwrap();
            let before = versions.insert(key.clone(), version);
            prop_assert!(before.is_none_or(|before| before < version));
        }
        let without_version = |mut seen: Seen| {
            seen.2.as_object_mut().unwrap().shift_remove("version");
            seen
        };
        let again: Vec<Seen> = again.into_iter().map(without_version).collect();
        let once: Vec<Seen> = told(&rows, None).into_iter().map(without_version).collect();
        prop_assert_eq!(again, once);
    }

    #[test]
    fn crashes_and_other_orders_of_arrival_end_the_same(
        rows in rows(),
        checkpoints in proptest::collection::vec(any::<Index>(), 0..4),
        crashes in proptest::collection::vec(any::<Index>(), 1..4),
        picks in proptest::collection::vec(any::<Index>(), 1..40),
    ) {
        let at = |all: &[Index]| -> HashSet<usize> {
            all.iter().map(|one| one.index(rows.len())).collect()
        };
        let (checkpoints, mut crashes) = (at(&checkpoints), at(&crashes));
        let plan = nest_plan(SHOP);
        let (mut step, mut state, mut position) = (step(&plan), BTreeMap::new(), 0);
        let (mut next, mut events) = (0, Vec::new());
        while next < rows.len() {
            if crashes.remove(&next) {
                step = super::step(&plan);
                step.restore(state.clone().into_iter().collect());
                next = position;
            }
            let event = rows[next].event(i64::try_from(next).unwrap());
            events.extend(step.run(&context(), vec![event]).passed.iter().map(seen));
            next += 1;
            if checkpoints.contains(&next) {
                position = next;
                for StateChange { key, value } in step.take_changes() {
                    match value {
                        Some(value) => state.insert(key, value),
                        None => state.remove(&key),
                    };
                }
            }
        }
        let mut naive = NaiveShop::default();
        rows.iter().for_each(|row| naive.apply(row));
        let expected = naive.documents();

        let by_customer = |seen: &Seen| seen.2["customerNumber"].as_u64().unwrap() % 3;
        let (mut history, mut cache) = (Guarded::default(), Guarded::default());
        let mut versions: BTreeMap<String, u64> = BTreeMap::new();
        for event in arrivals(&events, by_customer, &picks) {
            history.hear(history_place(&event), &event);
            cache.hear(cache_place(&event), &event);
            let version = history.0[&event.1].0;
            let before = versions.insert(event.1, version);
            prop_assert!(before.is_none_or(|before| before <= version));
        }
        prop_assert_eq!(&history.documents(), &expected);
        let places = expected.into_iter().map(|(number, document)| {
            (format!("{}/{number}", document["customerNumber"]), document)
        });
        prop_assert_eq!(cache.documents(), places.collect());
    }
}
