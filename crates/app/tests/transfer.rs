//! Money moved in transactions while broker and producers are killed with `kill -9`.
//!
//! Producers are processes of their own (this test's binary, started again): each moves
//! amounts between accounts, both legs in one transaction, takes some of them back, and
//! notes in a ledger what it knows of each outcome. Beside them a producer without
//! transactions numbers its records. At the end, and in what a read-committed reader saw
//! meanwhile: the sum is zero, a transaction is there whole or not at all, a committed one
//! is there and an aborted one is not; of the numbers no acknowledged one is lost, none is
//! there twice, none out of order.
//!
//! `COURANT_TRANSFER_ROUNDS` sets the number of kills (default 20).

#![allow(clippy::print_stdout, reason = "says its seed and what it counted")]

mod support;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::BorrowedMessage,
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};
use support::{PATIENCE, binary, courant_ok, setting};
use tempfile::tempdir;

const TRANSFERS: &str = "transfers";
const NUMBERS: &str = "numbers";
const TRANSFER_PARTITIONS: i32 = 4;
const NUMBER_PARTITIONS: i32 = 3;
const ACCOUNTS: u64 = 64;
const PRODUCERS: usize = 2;

/// Tells a started copy of this binary that it is a producer: role, brokers, ledger.
const ROLE: &str = "COURANT_TRANSFER_ROLE";

fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The broker under test; always the same folder and port.
struct Broker {
    data: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Broker {
    fn start(&mut self) {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.data.with_extension("log"))
            .unwrap();
        let child = Command::new(binary())
            .args(["broker", "--http-port", "0", "--kafka-port", &self.port.to_string()])
            .args(["--log-level", "info", "--data"])
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        self.child = Some(child);
        let consumer: BaseConsumer = client(&self.address()).create().expect("a client");
        consumer.fetch_metadata(None, PATIENCE).expect("the broker answers");
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A producer's process and the file it notes outcomes in.
struct Worker {
    role: String,
    brokers: String,
    ledger: PathBuf,
    child: Child,
}

impl Worker {
    fn start(role: &str, brokers: &str, folder: &Path) -> Self {
        let ledger = folder.join(format!("{role}.ledger"));
        let child = Self::spawn(role, brokers, &ledger);
        Self { role: role.to_owned(), brokers: brokers.to_owned(), ledger, child }
    }

    fn spawn(role: &str, brokers: &str, ledger: &Path) -> Child {
        Command::new(std::env::current_exe().expect("this binary"))
            .args(["a_producer_when_told_to_be_one", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, format!("{role}|{brokers}|{}", ledger.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this binary runs")
    }

    fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    fn restart(&mut self) {
        self.child = Self::spawn(&self.role, &self.brokers, &self.ledger);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("log_level", "0");
    config
}

#[test]
fn transfers_are_whole_and_numbers_in_order_when_broker_and_producers_are_killed() {
    let rounds = setting("COURANT_TRANSFER_ROUNDS", 20);
    let mut seed = u64::from(std::process::id()) << 20 | 1;
    println!("{rounds} rounds, seed {seed}");
    let folder = tempdir().unwrap();
    let port = courant_testing::free_port();
    let mut broker = Broker { data: folder.path().join("data"), port, child: None };
    let data = broker.data.to_str().unwrap().to_owned();
    for (topic, partitions) in [(TRANSFERS, TRANSFER_PARTITIONS), (NUMBERS, NUMBER_PARTITIONS)] {
        let partitions = partitions.to_string();
        courant_ok(&["topic", "create", topic, "--partitions", &partitions, "--data", &data]);
    }
    broker.start();
    let brokers = broker.address();
    let mut workers: Vec<Worker> = (0..PRODUCERS)
        .map(|n| Worker::start(&format!("transfer-{n}"), &brokers, folder.path()))
        .collect();
    workers.push(Worker::start("numbers", &brokers, folder.path()));
    let watcher = Watcher::start(&brokers);
    let (mut broker_kills, mut producer_kills) = (0, 0);
    for _ in 0..rounds {
        thread::sleep(Duration::from_millis(100 + next_random(&mut seed) % 600));
        let choice = next_random(&mut seed) % 3;
        if choice != 0 {
            let victim = (next_random(&mut seed) as usize) % workers.len();
            workers[victim].kill();
            workers[victim].restart();
            producer_kills += 1;
        }
        if choice != 1 {
            broker.kill();
            broker.start();
            broker_kills += 1;
        }
    }
    workers.iter_mut().for_each(Worker::kill);
    // A kill leaves transactions open; who takes their ids next ends them.
    for n in 0..PRODUCERS {
        drop(transactional(&brokers, &format!("transfer-{n}")).expect("the id can be taken over"));
    }
    let seen = watcher.stop();
    let transfers = read(&brokers, TRANSFERS, TRANSFER_PARTITIONS);
    let numbers = read(&brokers, NUMBERS, NUMBER_PARTITIONS);
    println!("{broker_kills} kills of the broker, {producer_kills} of producers");
    check_transfers(&transfers, &ledgers(&workers[..PRODUCERS]));
    check_numbers(&numbers, &ledgers(&workers[PRODUCERS..]));
    let vanished = seen.iter().filter(|(at, value)| transfers.get(at) != Some(value)).count();
    assert_eq!(vanished, 0, "a reader saw records that are not there: they were not committed");
    assert!(!seen.is_empty(), "the reader saw nothing; the test shows nothing");
}

/// Not a test of its own: what this binary does when it is started as a producer.
#[test]
fn a_producer_when_told_to_be_one() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let [role, brokers, ledger] = role.split('|').collect::<Vec<_>>().try_into().unwrap();
    let ledger = OpenOptions::new().create(true).append(true).open(ledger).unwrap();
    if role == "numbers" { number(brokers, ledger) } else { transfer(role, brokers, ledger) }
}

/// Moves money until it is killed.
fn transfer(id: &str, brokers: &str, mut ledger: File) {
    let mut seed = u64::from(std::process::id()) << 17 | 1;
    let life =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    let mut count = 0u64;
    loop {
        let Ok(producer) = transactional(brokers, id) else { continue };
        loop {
            count += 1;
            let transaction = format!("{id}.{life}.{count}");
            let keep = !next_random(&mut seed).is_multiple_of(7);
            match one_transaction(&producer, &transaction, keep, &mut seed) {
                Ok(()) if keep => note(&mut ledger, &format!("committed {transaction}\n")),
                Ok(()) => note(&mut ledger, &format!("aborted {transaction}\n")),
                Err(error) => {
                    // What became of it is not known; it must be whole all the same.
                    let taken_back = again(|| producer.abort_transaction(Duration::from_secs(5)));
                    if is_fatal(&error) || taken_back.is_err() {
                        break;
                    }
                }
            }
        }
    }
}

type Transactional = ThreadedProducer<rdkafka::producer::DefaultProducerContext>;

fn transactional(brokers: &str, id: &str) -> KafkaResult<Transactional> {
    let producer: Transactional = client(brokers)
        .set("transactional.id", id)
        .set("transaction.timeout.ms", "10000")
        .set("linger.ms", "0")
        .create()?;
    again(|| producer.init_transactions(Duration::from_secs(5)))?;
    Ok(producer)
}

fn one_transaction(
    producer: &Transactional,
    transaction: &str,
    keep: bool,
    seed: &mut u64,
) -> KafkaResult<()> {
    producer.begin_transaction()?;
    for leg in 0..=(next_random(seed) % 3) {
        let amount = 1 + next_random(seed) % 1_000;
        let (from, to) = (next_random(seed) % ACCOUNTS, next_random(seed) % ACCOUNTS);
        for (account, sign) in [(from, "-"), (to, "")] {
            let partition = (account % TRANSFER_PARTITIONS as u64) as i32;
            let value = format!("{transaction} {leg} {sign}{amount}");
            let key = format!("account-{account}");
            let record = BaseRecord::to(TRANSFERS).partition(partition).key(&key).payload(&value);
            producer.send(record).map_err(|(error, _)| error)?;
        }
    }
    if keep {
        again(|| producer.commit_transaction(Duration::from_secs(5)))
    } else {
        producer.flush(Duration::from_secs(5))?;
        again(|| producer.abort_transaction(Duration::from_secs(5)))
    }
}

/// Calls again what the client says may be called again.
fn again(call: impl Fn() -> KafkaResult<()>) -> KafkaResult<()> {
    loop {
        match call() {
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
            outcome => return outcome,
        }
    }
}

fn is_fatal(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.is_fatal())
        || error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal)
}

/// Writes a line with one call, so that a kill leaves it whole or out.
fn note(ledger: &mut File, line: &str) {
    ledger.write_all(line.as_bytes()).unwrap();
}

/// Notes each number that was acknowledged.
struct Noting(Mutex<File>);

impl ClientContext for Noting {}

impl ProducerContext for Noting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Ok(message) = result {
            let (at, value) = place_and_value(message);
            note(&mut self.0.lock().unwrap(), &format!("acknowledged {} {value}\n", at.0));
        }
    }
}

/// Numbers records on every partition until it is killed. Numbers are of one clock, so
/// that a later life goes on above an earlier one.
fn number(brokers: &str, ledger: File) {
    let producer: ThreadedProducer<Noting> = client(brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .create_with_context(Noting(Mutex::new(ledger)))
        .expect("a producer");
    let mut last = 0;
    loop {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        last = now.as_micros().max(last + 1);
        let partition = (last % NUMBER_PARTITIONS as u128) as i32;
        let value = last.to_string();
        let record = BaseRecord::<(), str>::to(NUMBERS).partition(partition).payload(&value);
        if producer.send(record).is_err() {
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// Partition and offset.
type At = (i32, i64);

fn place_and_value(message: &BorrowedMessage<'_>) -> (At, String) {
    let value = String::from_utf8(message.payload().expect("a value").to_vec()).expect("UTF-8");
    ((message.partition(), message.offset()), value)
}

fn reader(brokers: &str, topic: &str, partitions: i32) -> BaseConsumer {
    let consumer: BaseConsumer = client(brokers)
        .set("group.id", "reader")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).expect("assigned");
    consumer
}

/// Everything that a read-committed reader gets, by place.
fn read(brokers: &str, topic: &str, partitions: i32) -> BTreeMap<At, String> {
    let consumer = reader(brokers, topic, partitions);
    let (mut found, mut ended) = (BTreeMap::new(), HashSet::new());
    let started = Instant::now();
    while ended.len() < partitions as usize {
        assert!(started.elapsed() < PATIENCE, "only {ended:?} of topic {topic} came to an end");
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => {
                let (at, value) = place_and_value(&message);
                assert!(found.insert(at, value).is_none(), "offset {at:?} came twice");
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(_)) | None => {}
        }
    }
    found
}

/// Reads along while things are killed.
struct Watcher {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<BTreeMap<At, String>>,
}

impl Watcher {
    fn start(brokers: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, brokers) = (Arc::clone(&stop), brokers.to_owned());
        let thread = thread::spawn(move || {
            let consumer = reader(&brokers, TRANSFERS, TRANSFER_PARTITIONS);
            let mut seen = BTreeMap::new();
            while !told.load(Ordering::Relaxed) {
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                    let (at, value) = place_and_value(&message);
                    let before = seen.insert(at, value.clone());
                    assert!(before.is_none_or(|before| before == value), "{at:?} has changed");
                }
            }
            seen
        });
        Self { stop, thread }
    }

    fn stop(self) -> BTreeMap<At, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the reader saw nothing wrong")
    }
}

fn ledgers(workers: &[Worker]) -> Vec<String> {
    let texts = workers.iter().map(|worker| fs::read_to_string(&worker.ledger).unwrap());
    // A line cut by the kill says nothing.
    texts.flat_map(|text| whole_lines(&text)).collect()
}

fn whole_lines(text: &str) -> Vec<String> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}

fn check_transfers(found: &BTreeMap<At, String>, ledger: &[String]) {
    let mut sum = 0i64;
    let mut legs: HashMap<(&str, &str), Vec<i64>> = HashMap::new();
    for value in found.values() {
        let [transaction, leg, amount] = value.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let amount: i64 = amount.parse().unwrap();
        sum += amount;
        legs.entry((transaction, leg)).or_default().push(amount);
    }
    let torn = legs.values().filter(|legs| legs.len() != 2 || legs[0] + legs[1] != 0).count();
    let visible: HashSet<&str> = legs.keys().map(|(transaction, _)| *transaction).collect();
    let said = |what: &str| -> Vec<&str> {
        ledger.iter().filter_map(|line| line.strip_prefix(what)).collect()
    };
    let (committed, aborted) = (said("committed "), said("aborted "));
    println!(
        "{} transfers: {} committed and {} aborted for certain, {} visible",
        found.len() / 2,
        committed.len(),
        aborted.len(),
        visible.len()
    );
    assert!(committed.len() > 10 && !aborted.is_empty(), "too little happened to show anything");
    assert_eq!(torn, 0, "transfers with one leg, or with one twice");
    assert_eq!(sum, 0, "money was made or lost");
    let lost = committed.iter().filter(|id| !visible.contains(**id)).count();
    assert_eq!(lost, 0, "committed transactions are not there");
    let risen = aborted.iter().filter(|id| visible.contains(**id)).count();
    assert_eq!(risen, 0, "aborted transactions are there");
}

fn check_numbers(found: &BTreeMap<At, String>, ledger: &[String]) {
    let mut present: HashSet<(i32, u128)> = HashSet::new();
    let mut last: HashMap<i32, u128> = HashMap::new();
    let (mut twice, mut reordered) = (0, 0);
    for ((partition, _), value) in found {
        let number: u128 = value.parse().unwrap();
        twice += u32::from(!present.insert((*partition, number)));
        let before = last.insert(*partition, number);
        reordered += u32::from(before.is_some_and(|before| before > number));
    }
    let acknowledged: Vec<(i32, u128)> = ledger
        .iter()
        .filter_map(|line| line.strip_prefix("acknowledged "))
        .map(|line| {
            let (partition, number) = line.split_once(' ').unwrap();
            (partition.parse().unwrap(), number.parse().unwrap())
        })
        .collect();
    println!("{} numbers acknowledged, {} in the topic", acknowledged.len(), found.len());
    assert!(acknowledged.len() > 100, "too little happened to show anything");
    let lost = acknowledged.iter().filter(|place| !present.contains(place)).count();
    assert_eq!((lost, twice, reordered), (0, 0, 0), "numbers lost, twice, out of order");
}
