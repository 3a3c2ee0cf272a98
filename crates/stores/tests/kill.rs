//! `kill -9` at random moments: no acknowledged write of the history is lost, and
//! documents, indexes, counts and changes tell one story.
//!
//! The test starts itself as a child that writes from several tasks and prints each
//! write once it is acknowledged; it kills the child after a random number of them,
//! opens the folder and compares. It has no test harness, because the child must be
//! this program and nothing else. Power cuts are not tried.

#![allow(clippy::print_stdout, reason = "the child tells its parent, the parent its user")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use courant_stores::{
    CollectionSpec, Document, EmbeddedHistory, Filter, FindQuery, History, HistoryOptions,
    HistoryWrite, WatchFrom,
};
use serde_json::{Value, json};

const CHILD: &str = "--child";
const ROUNDS: u64 = 20;
const TASKS: u64 = 4;
const COLLECTION: &str = "orders";

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if arguments.get(1).is_some_and(|argument| argument == CHILD) {
        runtime.block_on(write_forever(Path::new(&arguments[2]), &arguments[3]));
    } else {
        runtime.block_on(kill_again_and_again());
    }
}

async fn open(folder: &Path) -> Arc<EmbeddedHistory> {
    let history = EmbeddedHistory::open(folder, HistoryOptions::default());
    let history = history.expect("the history opens");
    let index = vec!["task".parse().expect("a path")];
    let spec = CollectionSpec { name: COLLECTION.into(), indexes: vec![index] };
    history.ensure_collection(&spec).await.expect("the collection is there");
    Arc::new(history)
}

fn document(value: Value) -> Document {
    match value {
        Value::Object(fields) => fields,
        other => unreachable!("{other} is no object"),
    }
}

/// The child: in one call a new document, a counter that goes on, and the end of an
/// older document, until it is killed.
async fn write_forever(folder: &Path, round: &str) {
    let history = open(folder).await;
    let tasks = (0..TASKS).map(|task| {
        let (history, round) = (Arc::clone(&history), round.to_owned());
        tokio::spawn(async move {
            for number in 0_u64.. {
                let id = |number| format!("{round} {task} {number}");
                let new = document(json!({ "task": task, "number": number }));
                let counter = document(json!({ "task": task, "round": round, "last": number }));
                let mut writes = vec![
                    HistoryWrite::Insert { id: Some(id(number)), document: new },
                    HistoryWrite::Upsert {
                        id: format!("counter {task}"),
                        document: counter,
                        version: None,
                    },
                ];
                if let Some(old) = number.checked_sub(3).filter(|old| old.is_multiple_of(2)) {
                    writes.push(HistoryWrite::Delete { id: id(old), version: None });
                }
                let results = history.write(COLLECTION, writes).await.expect("it is written");
                assert!(results.iter().all(Result::is_ok), "{results:?}");
                println!("{}", id(number));
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("the task goes on");
    }
}

async fn kill_again_and_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = BTreeSet::new();
    let mut state = u64::from(std::process::id());
    for round in 0..ROUNDS {
        // A step of a linear congruential generator: different moments in every run.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let count = 1 + (state >> 33) % 200;
        acknowledged.extend(run_child(folder.path(), round, count));
        check(folder.path(), &acknowledged, &format!("mark {round}")).await;
    }
    println!("{ROUNDS} kills, {} acknowledged writes, none lost", acknowledged.len());
}

/// Runs a child until so many writes are acknowledged, kills it, and answers all that
/// were by then.
fn run_child(folder: &Path, round: u64, count: u64) -> Vec<String> {
    let mut child: Child = Command::new(env::current_exe().expect("this program"))
        .args([CHILD.as_ref(), folder.as_os_str()])
        .arg(round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut seen = Vec::new();
    while (seen.len() as u64) < count {
        seen.push(whole_line(&mut output).expect("the child goes on"));
    }
    child.kill().expect("the child is killed");
    seen.extend(std::iter::from_fn(|| whole_line(&mut output)));
    child.wait().expect("the child is gone");
    seen
}

/// The next line, unless the output ends in the middle of it.
fn whole_line(output: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    output.read_line(&mut line).expect("the output is text");
    line.strip_suffix('\n').map(str::to_owned)
}

async fn check(folder: &Path, acknowledged: &BTreeSet<String>, mark: &str) {
    let history = open(folder).await;
    let documents = replayed(&history, mark).await;
    for id in acknowledged {
        let parts: Vec<&str> = id.split(' ').collect();
        let number: u64 = parts[2].parse().expect("a number");
        // An even one goes three numbers later, in a call that may not be acknowledged.
        let later = format!("{} {} {}", parts[0], parts[1], number + 3);
        let deleted = number.is_multiple_of(2) && documents.ever.contains(&later);
        assert_eq!(documents.live.contains_key(id), !deleted, "document {id:?}");
        assert!(documents.ever.contains(id), "the insert of {id:?} is in the change log");
    }
    let mut indexed = 0;
    for task in 0..TASKS {
        let filter = Filter::parse(&json!({ "task": task })).expect("a good filter");
        let query = FindQuery { filter, ..FindQuery::default() };
        for document in history.find(COLLECTION, &query).await.expect("it answers") {
            let id = document["_id"].as_str().expect("a text");
            assert_eq!(documents.live.get(id), Some(&document), "document {id:?} by index");
            assert_eq!(history.get(COLLECTION, id).await.expect("it answers"), Some(document));
            indexed += 1;
        }
    }
    assert_eq!(indexed, documents.live.len(), "documents by index");
    let count = history.count(COLLECTION, &Filter::All).await.expect("it answers");
    assert_eq!(count, documents.live.len() as u64, "the count");
}

/// What the change log makes of the collection.
#[derive(Default)]
struct Replayed {
    live: BTreeMap<String, Document>,
    ever: BTreeSet<String>,
}

/// Reads the changes from the first to a last one, made for this under a new id.
async fn replayed(history: &EmbeddedHistory, mark: &str) -> Replayed {
    let writes = vec![
        HistoryWrite::Insert { id: Some(mark.into()), document: Document::new() },
        HistoryWrite::Delete { id: mark.into(), version: None },
    ];
    history.write(COLLECTION, writes).await.expect("it is written");
    let mut watch = history.watch(COLLECTION, WatchFrom::Earliest).await.expect("a watch");
    let mut documents = Replayed::default();
    loop {
        for change in watch.next(1_000).await.expect("changes") {
            let Some(document) = change.document else {
                assert!(documents.live.remove(&change.id).is_some(), "{:?} was there", change.id);
                continue;
            };
            documents.ever.insert(change.id.clone());
            documents.live.insert(change.id, document);
        }
        if documents.ever.contains(mark) && !documents.live.contains_key(mark) {
            return documents;
        }
    }
}
