//! Rows follow records: put, changed, removed, in every mode.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TABLE: &str = "CREATE TABLE things (id INTEGER PRIMARY KEY, name VARCHAR(20), n INTEGER);\n";
const ALL: &str = "SELECT id, name, n FROM things ORDER BY id";

fn thing(id: i64, name: &str, n: i64) -> Value {
    json!({ "id": id, "name": name, "n": n, "other": true })
}

#[tokio::test]
async fn rows_are_put_changed_and_removed_and_a_repeat_changes_nothing() {
    for database in Database::each().await {
        database.execute(TABLE).await;
        let mut sink = database.sink(json!({ "table": "things" }));
        let mut all = events([
            thing(1, "one", 1),
            thing(2, "two", 2),
            thing(1, "uno", 1),
            thing(3, "three", 3),
            json!({ "id": 2, "n": 22 }),
            json!({ "id": 4, "name": null }),
        ]);
        all.push(deleted(json!({ "id": 3, "name": "whatever", "n": "no number" })));
        all.push(tombstone("4"));
        all.push(tombstone("{\"id\": 5}"));
        all.extend(events([thing(6, "six", 6)]));
        for _ in 0..2 {
            assert_eq!(write(&mut *sink, &all).await, [], "{database:?}");
            assert_eq!(database.rows(ALL).await, ["1|uno|1", "2|two|22", "6|six|6"]);
        }
    }
}

#[tokio::test]
async fn many_rows_go_in_few_statements_and_none_is_lost() {
    for database in Database::each().await {
        database.execute(TABLE).await;
        let mut sink = database.sink(json!({ "table": "things", "batch": 700 }));
        let put = events((0..2_500).map(|id| thing(id, "x", id)));
        assert_eq!(write(&mut *sink, &put).await, []);
        let sum = "SELECT COUNT(*), SUM(n) FROM things";
        assert_eq!(database.rows(sum).await, [format!("2500|{}", 2_500 * 2_499 / 2)]);
        let gone: Vec<Event> = (0..2_499).map(|id| tombstone(&id.to_string())).collect();
        assert_eq!(write(&mut *sink, &gone).await, []);
        assert_eq!(database.rows(ALL).await, ["2499|x|2499"]);
    }
}

#[tokio::test]
async fn each_mode_does_what_it_says() {
    for database in Database::each().await {
        database.execute(TABLE).await;
        let mode = |mode: &str| database.sink(json!({ "table": "things", "mode": mode }));
        let first = events([thing(1, "one", 1), thing(2, "two", 2)]);
        assert_eq!(write(&mut *mode("insert"), &first).await, []);
        let mut second = events([thing(2, "changed", 9), thing(3, "three", 3)]);
        second.push(tombstone("1"));
        assert_eq!(write(&mut *mode("insert"), &second).await, []);
        assert_eq!(database.rows(ALL).await, ["1|one|1", "2|two|2", "3|three|3"]);
        let third = events([thing(2, "due", 4), thing(7, "seven", 7), json!({ "id": 3 })]);
        assert_eq!(write(&mut *mode("update"), &third).await, []);
        assert_eq!(database.rows(ALL).await, ["1|one|1", "2|due|4", "3|three|3"]);
        assert_eq!(write(&mut *mode("delete"), &events([thing(2, "", 0)])).await, []);
        assert_eq!(database.rows(ALL).await, ["1|one|1", "3|three|3"]);
    }
}

#[tokio::test]
async fn columns_take_the_fields_that_are_named_for_them() {
    for database in Database::each().await {
        database.execute(TABLE).await;
        let columns = json!({ "name": "who.name", "n": "counts.0" });
        let mut sink = database.sink(json!({ "table": "things", "key": "id", "columns": columns }));
        let value = json!({ "id": 1, "name": "no", "who": { "name": "yes" }, "counts": [5] });
        assert_eq!(write(&mut *sink, &events([value])).await, []);
        assert_eq!(database.rows(ALL).await, ["1|yes|5"]);
        let mut sink = database.sink(json!({ "table": "things", "columns": ["N"] }));
        assert_eq!(write(&mut *sink, &events([json!({ "id": 1, "N": 6 })])).await, []);
        assert_eq!(database.rows(ALL).await, ["1|yes|6"]);
    }
}

#[tokio::test]
async fn names_that_are_words_of_sql_are_names() {
    for database in Database::each().await {
        let quote = if matches!(database, Database::MariaDb(_)) { '`' } else { '"' };
        let make = "CREATE TABLE 'select' ('order' INTEGER PRIMARY KEY, 'from' INTEGER);\n";
        database.execute(&make.replace('\'', &quote.to_string())).await;
        let mut sink = database.sink(json!({ "table": "select" }));
        assert_eq!(write(&mut *sink, &events([json!({ "order": 1, "from": 2 })])).await, []);
        let ask = "SELECT 'order', 'from' FROM 'select'".replace('\'', &quote.to_string());
        assert_eq!(database.rows(&ask).await, ["1|2"]);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(i64, i64),
    Name(i64, String),
    Remove(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0_i64..8;
    prop_oneof![
        3 => (id.clone(), any::<i64>()).prop_map(|(id, n)| Step::Put(id, n)),
        1 => (id.clone(), ".{0,8}").prop_map(|(id, name)| Step::Name(id, name.replace('\0', ""))),
        1 => id.prop_map(Step::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_batches_leave_the_rows_that_the_records_left(
        steps in prop::collection::vec(step(), 1..60),
        batch in 1_usize..20,
    ) {
        let mut model: BTreeMap<i64, (Option<String>, Option<i64>)> = BTreeMap::new();
        let events: Vec<Event> = steps.iter().map(|step| match step {
            Step::Put(id, n) => {
                model.entry(*id).or_default().1 = Some(*n);
                events([json!({ "id": id, "n": n })]).remove(0)
            }
            Step::Name(id, name) => {
                model.entry(*id).or_default().0 = Some(name.clone());
                events([json!({ "id": id, "name": name })]).remove(0)
            }
            Step::Remove(id) => {
                model.remove(id);
                deleted(json!({ "id": id }))
            }
        }).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let database = Database::sqlite();
            database.execute(TABLE).await;
            let mut sink = database.sink(json!({ "table": "things", "batch": batch }));
            assert_eq!(write(&mut *sink, &events).await, []);
            let text = |value: Option<String>| value.unwrap_or_else(|| "null".into());
            let expected: Vec<String> = model.into_iter().map(|(id, (name, n))| {
                format!("{id}|{}|{}", text(name), text(n.map(|n| n.to_string())))
            }).collect();
            assert_eq!(database.rows(ALL).await, expected);
        });
    }
}
