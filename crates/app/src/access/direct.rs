//! A log that this process opens itself: that of a folder, on which no other process
//! may be running, or a Kafka cluster.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use courant_kafka::{ClusterOptions, KafkaLog, OptionError};
use courant_log::{
    EmbeddedLog, GroupDescription, GroupSummary, Log, LogError, LogOptions, ReadLimit,
    TopicDescription, TopicSpec,
};
use courant_model::{
    Clock, Offset, Positions, Record, StoredRecord, SystemClock, TopicName, TopicPartition, limits,
};
use courant_serve::RecordJson;
use serde_json::value::to_raw_value;
use tokio::sync::mpsc;

use super::{Begin, Incoming, Outgoing, ResetTo, Wanted};
use crate::{error::Failure, server::LOG_FOLDER};

/// Batches that may wait to be printed.
const WAITING_MAX: usize = 4;

/// How long a read waits before it looks again whether anybody listens.
const WAIT: Duration = Duration::from_secs(1);

/// A log of this process's own.
#[derive(Debug)]
pub(crate) struct Direct {
    log: Arc<dyn Log>,
}

impl Direct {
    /// Opens the log of a data folder.
    pub(super) async fn folder(data: &Path) -> Result<Self, Failure> {
        // What recovery had to cut is logged by the log itself.
        let (log, _) = EmbeddedLog::open(&data.join(LOG_FOLDER), LogOptions::default()).await?;
        Ok(Self { log: Arc::new(log) })
    }

    /// Connects to a cluster, by its servers (`host:port,…`) or a whole URL.
    pub(super) async fn cluster(brokers: &str) -> Result<Self, Failure> {
        let url = match brokers.contains("://") {
            true => brokers.to_owned(),
            false => format!("kafka://{brokers}"),
        };
        let options: ClusterOptions = url
            .parse()
            .map_err(|error: OptionError| Failure::Usage(format!("--brokers: {error}")))?;
        Ok(Self { log: Arc::new(KafkaLog::connect(options).await?) })
    }

    pub(super) async fn topics(&self) -> Result<Vec<TopicDescription>, Failure> {
        Ok(self.log.topics().await?)
    }

    pub(super) async fn topic(&self, name: &TopicName) -> Result<TopicDescription, Failure> {
        Ok(self.log.topic(name).await?)
    }

    pub(super) async fn create_topic(&self, spec: &TopicSpec) -> Result<TopicDescription, Failure> {
        Ok(self.log.create_topic(spec).await?)
    }

    pub(super) async fn delete_topic(&self, name: &TopicName) -> Result<(), Failure> {
        Ok(self.log.delete_topic(name).await?)
    }

    pub(super) async fn produce(
        &self,
        topic: &TopicName,
        records: Vec<Outgoing>,
    ) -> Result<(), Failure> {
        let (now, origin) = (SystemClock.now(), SystemClock.now_origin());
        let record = |outgoing: Outgoing| {
            let mut record = Record::new(outgoing.value, now);
            record.key = outgoing.key.map(Bytes::from);
            record.stamp_origin(origin);
            record
        };
        self.log.append(topic, None, records.into_iter().map(record).collect()).await?;
        Ok(())
    }

    /// Reads each partition in a task of its own.
    pub(super) async fn tail(&self, wanted: Wanted) -> Result<DirectTail, Failure> {
        let topic = self.log.topic(&wanted.topic).await?;
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let partitions = wanted.partition.map_or(0..count, |one| one..one.saturating_add(1));
        let (sender, records) = mpsc::channel(WAITING_MAX);
        for partition in partitions {
            let at = TopicPartition::new(topic.name.clone(), partition);
            let offsets = self.log.offsets(&at).await?;
            let from = match wanted.begin {
                Begin::Earliest => offsets.start,
                Begin::Latest => offsets.end,
                Begin::Offset(offset) => offset,
            };
            let until = wanted.until_end.then_some(offsets.end);
            tokio::spawn(read_on(Arc::clone(&self.log), at, from, until, sender.clone()));
        }
        Ok(DirectTail { records })
    }

    pub(super) async fn groups(&self) -> Result<Vec<GroupSummary>, Failure> {
        Ok(self.log.groups().await?)
    }

    pub(super) async fn group(&self, id: &str) -> Result<GroupDescription, Failure> {
        Ok(self.log.group(id).await?)
    }

    pub(super) async fn reset_group(&self, id: &str, to: ResetTo) -> Result<Positions, Failure> {
        let mut positions = Positions::new();
        for known in self.log.group(id).await?.offsets {
            let offsets = self.log.offsets(&known.partition).await?;
            let offset = match to {
                ResetTo::Earliest => offsets.start,
                ResetTo::Latest => offsets.end,
                ResetTo::Offset(offset) => offset.clamp(offsets.start, offsets.end),
                ResetTo::Time(at) => {
                    self.log.offset_at(&known.partition, at).await?.unwrap_or(offsets.end)
                }
            };
            positions.insert(known.partition, offset);
        }
        self.log.reset_group(id, &positions).await?;
        Ok(positions)
    }

    pub(super) async fn delete_group(&self, id: &str) -> Result<(), Failure> {
        Ok(self.log.delete_group(id).await?)
    }

    pub(super) async fn close(self) -> Result<(), Failure> {
        Ok(self.log.close().await?)
    }
}

/// Records of all partitions, as they are read.
#[derive(Debug)]
pub(crate) struct DirectTail {
    records: mpsc::Receiver<Result<Vec<StoredRecord>, LogError>>,
}

impl DirectTail {
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Incoming>>, Failure> {
        let Some(records) = self.records.recv().await else { return Ok(None) };
        records?.into_iter().map(incoming).collect::<Result<_, _>>().map(Some)
    }
}

fn incoming(stored: StoredRecord) -> Result<Incoming, Failure> {
    let json = to_raw_value(&RecordJson::new(&stored))
        .map_err(|error| Failure::Failed(format!("record cannot be shown as JSON: {error}")))?;
    Ok(Incoming { value: stored.record.value, json })
}

async fn read_on(
    log: Arc<dyn Log>,
    at: TopicPartition,
    from: Offset,
    until: Option<Offset>,
    sender: mpsc::Sender<Result<Vec<StoredRecord>, LogError>>,
) {
    let mut next = from;
    let limit = ReadLimit {
        records: limits::PIPELINE_BATCH_RECORDS_MAX,
        bytes: limits::PIPELINE_BATCH_BYTES_MAX,
        wait: if until.is_some() { Duration::ZERO } else { WAIT },
    };
    while until.is_none_or(|until| next < until) && !sender.is_closed() {
        let read = log.read(&at, next, limit).await;
        let records = match read {
            Ok(read) => {
                next = read.next;
                let mut records = read.records;
                records.retain(|record| until.is_none_or(|until| record.offset < until));
                Ok(records)
            }
            Err(error) => Err(error),
        };
        let failed = records.is_err();
        let empty = records.as_ref().is_ok_and(Vec::is_empty);
        if !empty && sender.send(records).await.is_err() || failed {
            return;
        }
    }
}
