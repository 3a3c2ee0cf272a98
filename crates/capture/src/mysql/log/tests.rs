//! Events of MySQL 8 and MariaDB, written by hand after their formats.

use proptest::prelude::*;

use super::*;
use crate::{
    change::Operation,
    mysql::{charset::Charsets, table_map::Context},
    select::Selection,
    value::Value,
};

const SERVER: [u8; 16] = [0x11; 16];

fn log(gtids: Option<Gtids>, within: Option<Within>) -> Log {
    let place = LogPlace { file: "log.000001".into(), offset: 4 };
    Log::new(Start { place, gtids, within })
}

/// Reads an event and gives a plan where one is asked for.
fn feed(log: &mut Log, kind: u8, end: u32, body: &[u8], out: &mut Vec<Change>) -> Step {
    let event = Event { kind, time: 1_700_000_000, server: 9, end, body };
    let step = log.read(event, out).unwrap();
    if let Step::Plan { id, map, .. } = &step {
        let read = TableMap::read(map, false).unwrap();
        let selection = Selection { tables: vec!["*.*".into()], ..Selection::default() };
        let (charsets, catalog) = (&Charsets::default(), None);
        let plan = read.plan(Context { charsets, selection: &selection, catalog }).unwrap();
        log.set_plan(*id, map.clone(), Some(Arc::new(plan)));
    }
    step
}

fn rotate(name: &str) -> Vec<u8> {
    [&4_u64.to_le_bytes()[..], name.as_bytes()].concat()
}

fn gtid(number: u64) -> Vec<u8> {
    let mut body = vec![1];
    body.extend(SERVER);
    body.extend(number.to_le_bytes());
    body.extend([[2; 1].as_slice(), &[0; 16]].concat());
    // The microsecond of the commit, and no other one of the original server.
    body.extend(&1_700_000_000_123_456_u64.to_le_bytes()[..7]);
    body
}

fn query(database: &str, text: &str) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.push(database.len() as u8);
    body.extend([0; 4]);
    body.extend(database.bytes());
    body.push(0);
    body.extend(text.bytes());
    body
}

/// `shop.t (id INT UNSIGNED, n SMALLINT)` with full metadata and the key `id`.
fn table_map() -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
    body.extend(b"\x04shop\0\x01t\0\x02\x03\x02\x00\x02");
    body.extend([1, 1, 0x80]);
    body.extend(b"\x04\x05\x02id\x01n");
    body.extend([8, 1, 0]);
    body
}

fn rows(images: &[(u32, Option<i16>)]) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 2, 3];
    for (id, n) in images {
        body.push(if n.is_some() { 0 } else { 2 });
        body.extend(id.to_le_bytes());
        body.extend(n.iter().flat_map(|n| n.to_le_bytes()));
    }
    body
}

fn begin(log: &mut Log, out: &mut Vec<Change>) {
    feed(log, 4, 0, &rotate("log.000001"), out);
    feed(log, 33, 100, &gtid(5), out);
    feed(log, 2, 200, &query("shop", "BEGIN"), out);
    feed(log, 19, 300, &table_map(), out);
}

#[test]
fn a_transaction_of_mysql_becomes_changes_with_its_gtid_and_time() {
    let mut log = log(Gtids::mysql("11111111-1111-1111-1111-111111111111:1-4"), None);
    let mut out = Vec::new();
    begin(&mut log, &mut out);
    feed(&mut log, 30, 400, &rows(&[(u32::MAX, Some(-1)), (2, None)]), &mut out);
    assert!(!log.at_boundary());
    assert_eq!(log.place().offset, 4, "positions are where transactions end");
    assert_eq!(log.within().unwrap().changes, 2);
    feed(&mut log, 16, 500, &[0; 8], &mut out);
    assert!(log.at_boundary());
    assert_eq!((log.place().offset, log.within()), (500, None));
    let gtids = log.gtids().unwrap().to_string();
    assert_eq!(gtids, "11111111-1111-1111-1111-111111111111:1-5");
    let told: Vec<_> = out.iter().map(|change| change.after.clone().unwrap()).collect();
    assert_eq!(told[0], [Value::UInt(u32::MAX.into()), Value::Int(-1)]);
    assert_eq!(told[1], [Value::UInt(2), Value::Null]);
    let transaction = &out[0].transaction;
    assert_eq!(transaction.id, "11111111-1111-1111-1111-111111111111:5");
    assert_eq!(transaction.committed_at.as_micros(), 1_700_000_000_123_456);
    assert_eq!((out[1].index, out[1].operation), (1, Operation::Insert));
    assert_eq!(out[0].key(), [&Value::UInt(u32::MAX.into())]);
}

#[test]
fn what_was_handed_on_of_a_transaction_does_not_come_again() {
    let transaction = "11111111-1111-1111-1111-111111111111:5".to_owned();
    let mut log = log(Gtids::mysql(""), Some(Within { transaction, changes: 2 }));
    let mut out = Vec::new();
    begin(&mut log, &mut out);
    feed(&mut log, 30, 400, &rows(&[(1, None), (2, None), (3, None)]), &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].index, out[0].key()), (2, vec![&Value::UInt(3)]));
    feed(&mut log, 16, 500, &[0; 8], &mut out);
    assert_eq!(log.within(), None);
}

#[test]
fn a_statement_alone_ends_its_transaction_and_one_within_does_not() {
    let mut log = log(Gtids::mysql(""), None);
    let mut out = Vec::new();
    feed(&mut log, 4, 0, &rotate("log.000001"), &mut out);
    feed(&mut log, 33, 100, &gtid(1), &mut out);
    let step = feed(&mut log, 2, 200, &query("shop", "ALTER TABLE t ADD c INT"), &mut out);
    assert!(matches!(step, Step::Statement { statement: Statement::Schema, .. }));
    assert!(log.at_boundary());
    feed(&mut log, 33, 300, &gtid(2), &mut out);
    feed(&mut log, 2, 400, &query("shop", "BEGIN"), &mut out);
    feed(&mut log, 2, 500, &query("shop", "CREATE TABLE c (a INT)"), &mut out);
    assert!(!log.at_boundary());
    feed(&mut log, 2, 600, &query("shop", "COMMIT"), &mut out);
    assert_eq!(log.place().offset, 600);
    assert_eq!(log.gtids().unwrap().to_string(), "11111111-1111-1111-1111-111111111111:1-2");
}

#[test]
fn offsets_go_on_beyond_what_events_can_say() {
    let mut log = log(None, None);
    let mut out = Vec::new();
    feed(&mut log, 4, 0, &rotate("log.000001"), &mut out);
    for end in [3_000_000_000, 4_200_000_000, 100, 2_000_000_000] {
        feed(&mut log, 3, end, &[], &mut out);
    }
    assert_eq!(log.place().offset, (1 << 32) + 2_000_000_000);
    feed(&mut log, 4, 0, &rotate("log.000002"), &mut out);
    assert_eq!(log.place().offset, 4);
}

#[test]
fn a_transaction_that_its_file_does_not_end_is_forgotten() {
    let mut log = log(Gtids::mysql(""), None);
    let mut out = Vec::new();
    begin(&mut log, &mut out);
    let body = rotate("log.000002");
    let event = Event { kind: 4, time: 0, server: 9, end: 0, body: &body };
    let step = log.read(event, &mut out).unwrap();
    assert!(matches!(step, Step::Abandoned { .. }), "{step:?}");
    assert!(log.at_boundary() && log.within().is_none());
    assert_eq!(log.place().to_string(), "log.000002:4");
    assert_eq!(log.gtids().unwrap().to_string(), "");
}

proptest! {
    #[test]
    fn no_event_panics(kind: u8, end: u32, body in prop::collection::vec(any::<u8>(), 0..120)) {
        let mut log = log(Gtids::mysql(""), None);
        let mut out = Vec::new();
        begin(&mut log, &mut out);
        let _ = log.read(Event { kind, time: 0, server: 1, end, body: &body }, &mut out);
    }

    #[test]
    fn no_rows_or_table_map_panic(
        kind in prop::sample::select(vec![19_u8, 23, 24, 25, 30, 31, 32, 166, 170]),
        place: usize,
        byte: u8,
        cut: usize,
    ) {
        let mut log = log(Gtids::mysql(""), None);
        let mut out = Vec::new();
        begin(&mut log, &mut out);
        let mut body = if kind == 19 { table_map() } else { rows(&[(1, Some(2)), (3, None)]) };
        let place = place % body.len();
        body[place] = byte;
        body.truncate(1 + cut % body.len());
        let _ = log.read(Event { kind, time: 0, server: 1, end: 400, body: &body }, &mut out);
        for maria_db in [true, false] {
            if let Ok(map) = TableMap::read(&body, maria_db) {
                let (charsets, selection) = (&Charsets::default(), &Selection::default());
                let _ = map.plan(Context { charsets, selection, catalog: None });
            }
        }
    }
}
