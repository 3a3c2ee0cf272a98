//! The sink: appends to topics of the other cluster.
//!
//! A write answers once all in-sync replicas have its records, so a flush has nothing
//! left to do. Records of one key go to one partition, in order, by the same function
//! as with every Kafka client. What the cluster can never take is named, and the rest
//! is written.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use courant_kafka::{ClusterOptions, KafkaLog};
use courant_log::{Log, LogError};
use courant_model::{Record, TopicName};
use courant_pipeline::{
    connector::{
        About, ConnectorError, OptionProblem, Rejection, Sink, SinkContext, SinkFactory, SinkKind,
    },
    event::Event,
    options,
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use super::{Access, Codec, failure, problem};

/// The entry in the list of connectors.
pub(crate) const SINK: SinkKind = SinkKind {
    about: About {
        name: "kafka",
        summary: "Appends to topics of a Kafka cluster.",
        guarantee: "At least once, in order for each key. A record counts as written once all \
                    in-sync replicas have it; key, headers, timestamp and tombstones are \
                    kept. Records that are too large, or for topics that a field or header \
                    names and the cluster does not have, become dead letters.",
        example: "kafka: { brokers: [\"kafka:9092\"], topic: orders }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `kafka`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Some of the cluster's brokers: host:port, or a host with port 9092.
    #[schemars(length(min = 1))]
    brokers: Vec<String>,
    /// The topic. Without it, and without the two below: of the same name as the topic
    /// that a record comes from.
    #[serde(default)]
    topic: Option<TopicName>,
    /// Field of the value that names the topic, instead of `topic`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    topic_field: Option<String>,
    /// Header that names the topic, instead of `topic`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    topic_header: Option<String>,
    /// How batches are compressed. Default: lz4.
    #[serde(default)]
    compression: Codec,
    /// User, password and encryption.
    #[serde(default)]
    access: Access,
}

/// How a record's topic is found.
#[derive(Debug, Clone)]
enum Target {
    Topic(TopicName),
    Field(String),
    Header(String),
    Same,
}

/// What the sink needs, checked.
#[derive(Debug, Clone)]
struct Settings {
    brokers: Vec<String>,
    target: Target,
    compression: Codec,
    access: Access,
}

fn parse(value: &Value) -> Result<Arc<dyn SinkFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let mut problems = options.access.problems(&options.brokers);
    let target = match (options.topic, options.topic_field, options.topic_header) {
        (Some(topic), None, None) => Target::Topic(topic),
        (None, Some(field), None) => Target::Field(field),
        (None, None, Some(header)) => Target::Header(header),
        (None, None, None) => Target::Same,
        _ => {
            let remedy = "set one of topic, topic_field and topic_header";
            problems.push(problem(&["topic"], "topic is named in two ways", remedy));
            Target::Same
        }
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let (brokers, access) = (options.brokers, options.access);
    Ok(Arc::new(Settings { brokers, target, compression: options.compression, access }))
}

impl SinkFactory for Settings {
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        let mut cluster = self.access.cluster(&self.brokers, &context.base);
        cluster.compression = self.compression.into();
        cluster.client_id = format!("courant-{}", context.pipeline);
        cluster.check().map_err(|error| ConnectorError::fatal(error.to_string()))?;
        Ok(Box::new(KafkaSink { cluster, target: self.target.clone(), log: None }))
    }
}

#[derive(Debug)]
struct KafkaSink {
    cluster: ClusterOptions,
    target: Target,
    /// Connected by the first write.
    log: Option<KafkaLog>,
}

/// Events on their way to one topic, with their indices.
type Batch = (Vec<usize>, Vec<Record>);

#[async_trait]
impl Sink for KafkaSink {
    async fn write(&mut self, events: &[Event]) -> Result<Vec<Rejection>, ConnectorError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let log = self.connected().await?;
        let (mut rejections, mut batches) = (Vec::new(), BTreeMap::<TopicName, Batch>::new());
        for (index, event) in events.iter().enumerate() {
            match self.target.of(event) {
                Ok(topic) => {
                    let (indices, records) = batches.entry(topic).or_default();
                    indices.push(index);
                    records.push(event.to_record());
                }
                Err(why) => rejections.push(Rejection { index, why }),
            }
        }
        let named = matches!(self.target, Target::Field(_) | Target::Header(_));
        for (topic, (indices, records)) in batches {
            let refused = append(&log, &topic, records, named).await?;
            let index = |(place, why): (usize, String)| Rejection { index: indices[place], why };
            rejections.extend(refused.into_iter().map(index));
        }
        rejections.sort_by_key(|rejection| rejection.index);
        Ok(rejections)
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

impl KafkaSink {
    async fn connected(&mut self) -> Result<KafkaLog, ConnectorError> {
        if let Some(log) = &self.log {
            return Ok(log.clone());
        }
        let log = KafkaLog::connect(self.cluster.clone()).await;
        let log = log.map_err(|error| failure(&error))?;
        self.log = Some(log.clone());
        Ok(log)
    }
}

impl Target {
    fn of(&self, event: &Event) -> Result<TopicName, String> {
        let name = match self {
            Self::Topic(topic) => return Ok(topic.clone()),
            Self::Same => return Ok(event.source.partition.topic.clone()),
            Self::Field(field) => {
                let value = event.payload.json().map_err(|error| error.to_string())?;
                let name = value.get(field).and_then(Value::as_str);
                name.ok_or_else(|| format!("field \"{field}\" names no topic"))?.to_owned()
            }
            Self::Header(header) => {
                let found = event.headers.iter().rev().find(|found| found.name == *header);
                let value = found.and_then(|found| found.value.as_ref());
                let value = value.ok_or_else(|| format!("there is no header \"{header}\""))?;
                String::from_utf8_lossy(value).into_owned()
            }
        };
        TopicName::new(&name).map_err(|error| error.to_string())
    }
}

/// Appends records; names those that the cluster can never take, by their place.
async fn append(
    log: &KafkaLog,
    topic: &TopicName,
    records: Vec<Record>,
    named: bool,
) -> Result<Vec<(usize, String)>, ConnectorError> {
    let mut refused = Vec::new();
    // Nothing of a call with a record that cannot be taken is appended, so halves are
    // tried until only such records are left out. The left half goes first.
    let mut open = vec![(0, records)];
    while let Some((first, mut records)) = open.pop() {
        // Cheap: bodies are shared, not copied.
        match log.append(topic, None, records.clone()).await {
            Ok(_) => {}
            Err(error @ LogError::UnknownTopic { .. }) if named => {
                let places = first..first + records.len();
                refused.extend(places.map(|place| (place, error.to_string())));
            }
            // Waits until somebody creates it.
            Err(error @ LogError::UnknownTopic { .. }) => {
                return Err(ConnectorError::retryable(error.to_string()));
            }
            Err(LogError::RecordTooLarge { .. } | LogError::InvalidRecord { .. })
                if records.len() > 1 =>
            {
                let middle = records.len() / 2;
                let right = records.split_off(middle);
                open.push((first + middle, right));
                open.push((first, records));
            }
            Err(error @ (LogError::RecordTooLarge { .. } | LogError::InvalidRecord { .. })) => {
                refused.push((first, error.to_string()));
            }
            Err(error) => return Err(failure(&error)),
        }
    }
    Ok(refused)
}
