//! What a cluster of three nodes goes through: a broker killed and started again, the
//! network cut and restored, a worker that goes while others work. Nothing that was
//! acknowledged is lost, and every partition keeps its order.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use courant_kafka::{ClusterOptions, KafkaLog, testing::Cluster};
use courant_log::{
    AutoOffsetReset, GroupChange, GroupMember, Log, PartitionReader, ReadLimit, Subscription,
    TopicSettings, TopicSpec,
};
use courant_model::{Positions, Record, Timestamp, TopicName, TopicPartition};
use parking_lot::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

mod proxy;

const PARTITIONS: i32 = 3;

/// Far beyond an election and a restart.
const PATIENCE: Duration = Duration::from_secs(180);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never: {what}"))
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

fn options(cluster: &Cluster) -> ClusterOptions {
    ClusterOptions { replication: Some(3), min_insync: Some(2), ..cluster.options() }
}

async fn connect(options: ClusterOptions) -> Arc<KafkaLog> {
    Arc::new(soon("a connection", KafkaLog::connect(options)).await.unwrap())
}

async fn create(log: &KafkaLog, name: &str) -> TopicName {
    let name = TopicName::new(name).unwrap();
    let settings = TopicSettings::default();
    let spec = TopicSpec { name: name.clone(), partitions: PARTITIONS, settings };
    log.create_topic(&spec).await.unwrap();
    name
}

fn record(value: String) -> Record {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Record::new(value, Timestamp::from_millis(now.as_millis() as i64))
}

/// Appends numbers to every partition, one task for each, until it is stopped.
struct Appender {
    stop: Arc<AtomicBool>,
    /// How many were acknowledged, by partition.
    acknowledged: Arc<Mutex<BTreeMap<i32, u64>>>,
    tasks: JoinSet<()>,
}

impl Appender {
    fn start(log: &Arc<KafkaLog>, topic: &TopicName) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
        let mut tasks = JoinSet::new();
        for partition in 0..PARTITIONS {
            let (log, topic) = (Arc::clone(log), topic.clone());
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            tasks.spawn(async move {
                for number in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let one = vec![record(number.to_string())];
                    log.append(&topic, Some(partition), one).await.unwrap();
                    acknowledged.lock().insert(partition, number + 1);
                }
            });
        }
        Self { stop, acknowledged, tasks }
    }

    fn total(&self) -> u64 {
        self.acknowledged.lock().values().sum()
    }

    /// Waits until this many more were acknowledged in every partition.
    async fn goes_on(&self, more: u64) {
        let before = self.acknowledged.lock().clone();
        eventually("appends go on", || {
            let now = self.acknowledged.lock();
            (0..PARTITIONS).all(|p| {
                now.get(&p).copied().unwrap_or(0) >= before.get(&p).copied().unwrap_or(0) + more
            })
        })
        .await;
    }

    async fn stop(mut self) -> BTreeMap<i32, u64> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(done) = soon("the appenders end", self.tasks.join_next()).await {
            done.unwrap();
        }
        self.acknowledged.lock().clone()
    }
}

/// What workers of one group have read and committed, by partition, in order.
type Seen = Arc<Mutex<BTreeMap<TopicPartition, Vec<u64>>>>;

/// A member of a group that reads, keeps and commits, as pipelines do.
struct Worker {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Worker {
    async fn start(log: &Arc<KafkaLog>, topic: &TopicName, seen: &Seen) -> Self {
        let subscription = Subscription {
            group: "workers".into(),
            topics: vec![topic.clone()],
            client_id: "worker".into(),
            instance_id: None,
            session_timeout: Duration::from_secs(10),
            reset: AutoOffsetReset::Earliest,
        };
        let member = log.subscribe(subscription).await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(work(member, Arc::clone(seen), stop.clone()));
        Self { stop, task }
    }

    /// Ends it without a word: what it was at is not committed.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    async fn leave(self) {
        self.stop.cancel();
        soon("the worker ends", self.task).await.unwrap();
    }
}

async fn work(mut member: Box<dyn GroupMember>, seen: Seen, stop: CancellationToken) {
    let mut tasks: BTreeMap<TopicPartition, JoinSet<()>> = BTreeMap::new();
    loop {
        let change = tokio::select! {
            change = member.next_change() => change,
            () = stop.cancelled() => break,
        };
        match change {
            Ok(GroupChange::Assigned(readers)) => {
                for reader in readers {
                    let committer = member.committer();
                    let mut task = JoinSet::new();
                    let partition = reader.partition().clone();
                    task.spawn(read(reader, committer, Arc::clone(&seen)));
                    tasks.insert(partition, task);
                }
            }
            Ok(GroupChange::Revoked(gone) | GroupChange::Lost(gone)) => {
                for partition in gone {
                    if let Some(mut task) = tasks.remove(&partition) {
                        task.shutdown().await;
                    }
                }
            }
            Err(error) if error.retryable() => {}
            Err(error) => panic!("{error}"),
        }
    }
    drop(tasks);
    member.leave().await.unwrap();
}

async fn read(
    mut reader: Box<dyn PartitionReader>,
    committer: Box<dyn courant_log::Committer>,
    seen: Seen,
) {
    let partition = reader.partition().clone();
    loop {
        let read = reader.next(500, 1 << 20).await.unwrap();
        let values = read.records.iter().map(|stored| {
            String::from_utf8_lossy(stored.record.value.as_ref().unwrap()).parse::<u64>().unwrap()
        });
        seen.lock().entry(partition.clone()).or_default().extend(values);
        let done = Positions::from([(partition.clone(), read.next)]);
        // Refused once the partition is another's, who then reads the same again.
        if committer.commit(&done, "").await.is_err() {
            return;
        }
    }
}

/// Whether everything acknowledged was seen by somebody.
fn saw_all(seen: &Seen, topic: &TopicName, acknowledged: &BTreeMap<i32, u64>) -> bool {
    let seen = seen.lock();
    acknowledged.iter().all(|(partition, count)| {
        let found = seen.get(&TopicPartition::new(topic.clone(), *partition));
        let found: BTreeSet<u64> = found.into_iter().flatten().copied().collect();
        (0..*count).all(|number| found.contains(&number))
    })
}

/// Reads a partition from its start: every number once, in order.
async fn check_records(log: &KafkaLog, topic: &TopicName, acknowledged: &BTreeMap<i32, u64>) {
    for (partition, count) in acknowledged {
        let at = TopicPartition::new(topic.clone(), *partition);
        let limit = ReadLimit { records: 5_000, bytes: 1 << 20, wait: Duration::ZERO };
        let (mut next, mut numbers) = (0, Vec::new());
        while numbers.len() < *count as usize {
            let read = log.read(&at, next, limit).await.unwrap();
            assert!(read.next > next, "partition {partition} ends at {next}");
            numbers.extend(read.records.iter().map(|stored| {
                let value = stored.record.value.as_ref().unwrap();
                String::from_utf8_lossy(value).parse::<u64>().unwrap()
            }));
            next = read.next;
        }
        let expected: Vec<u64> = (0..*count).collect();
        assert!(numbers[..*count as usize] == expected, "partition {partition}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_brokers_die_and_workers_come_and_go() {
    let Some(cluster) = Cluster::start(3, &["broker.session.timeout.ms=3000"]) else { return };
    let log = connect(options(&cluster)).await;
    let topic = create(&log, "orders").await;
    let seen = Seen::default();
    let appender = Appender::start(&log, &topic);
    let first = Worker::start(&log, &topic, &seen).await;
    appender.goes_on(20).await;

    for node in [2, 1] {
        tokio::task::block_in_place(|| cluster.kill(node));
        appender.goes_on(20).await;
        let read = seen.lock().values().map(Vec::len).sum::<usize>();
        eventually("readers go on", || {
            seen.lock().values().map(Vec::len).sum::<usize>() > read + 20
        })
        .await;
        tokio::task::block_in_place(|| cluster.start_node(node));
        appender.goes_on(20).await;
    }

    // A worker joins, and the other one dies.
    let other = connect(options(&cluster)).await;
    let second = Worker::start(&other, &topic, &seen).await;
    appender.goes_on(50).await;
    first.kill().await;
    appender.goes_on(20).await;

    assert!(appender.total() > 0);
    let acknowledged = appender.stop().await;
    eventually("everything is seen", || saw_all(&seen, &topic, &acknowledged)).await;
    second.leave().await;
    check_records(&log, &topic, &acknowledged).await;
    // At once, or when its session ends: a coordinator may have moved in between.
    let group = soon("the group is empty", async {
        loop {
            let group = log.group("workers").await.unwrap();
            if group.members.is_empty() {
                return group;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    assert_eq!(group.offsets.iter().map(|offset| offset.lag).sum::<i64>(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_the_network_is_cut_and_restored() {
    let proxy = proxy::Proxy::bind().await;
    // The broker tells clients to come through the proxy.
    let advertised = format!("advertised.listeners=PLAINTEXT://127.0.0.1:{}", proxy.port());
    let Some(cluster) = Cluster::start(1, &[&advertised]) else { return };
    proxy.lead_to(cluster.listener(1));
    let log = connect(ClusterOptions::new(vec![format!("127.0.0.1:{}", proxy.port())])).await;
    let topic = create(&log, "orders").await;
    let seen = Seen::default();
    let appender = Appender::start(&log, &topic);
    let worker = Worker::start(&log, &topic, &seen).await;
    appender.goes_on(20).await;
    for _ in 0..2 {
        proxy.cut();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let stalled = appender.total();
        proxy.restore();
        eventually("appends go on", || appender.total() > stalled + 50).await;
    }
    let acknowledged = appender.stop().await;
    eventually("everything is seen", || saw_all(&seen, &topic, &acknowledged)).await;
    worker.leave().await;
    check_records(&log, &topic, &acknowledged).await;
    log.close().await.unwrap();
}
