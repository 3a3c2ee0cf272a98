//! A log as the command line reaches it: in a folder, on a cluster, or in a running
//! Courant.
//!
//! Without `--brokers`, `--url` and `--data` the one at the default address is meant. All
//! answer the same types, so that a command does not know which it has.

mod direct;
mod remote;
pub(crate) mod views;

use bytes::Bytes;
use courant_log::{GroupDescription, GroupSummary, TopicDescription, TopicSpec};
use courant_model::{Offset, PartitionId, Positions, Timestamp, TopicName};
use direct::Direct;
pub(crate) use remote::Event;
use remote::Remote;
use serde_json::value::RawValue;

use crate::{cli::Common, error::Failure};

/// Where the log is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// Address of a running Courant [default: `http://127.0.0.1:8080`, unless --data is given]
    #[arg(long, value_name = "URL", env = "COURANT_URL")]
    url: Option<String>,

    /// Kafka cluster: `host:port,…`, or a `kafka://` URL with its options
    #[arg(long, value_name = "SERVERS", env = "COURANT_BROKERS", conflicts_with = "url")]
    brokers: Option<String>,
}

/// A log that commands work on.
#[derive(Debug)]
pub(crate) enum Access {
    Direct(Direct),
    Remote(Remote),
}

/// Why a running Courant could not be asked, or what it refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error(
        "no Courant answers at {url} ({why}); start one with `courant run`, or name a folder with --data"
    )]
    Unreachable { url: String, why: String },
    #[error("{0}")]
    Refused(String),
    #[error("{url} answered what is not Courant's: {why}")]
    Strange { url: String, why: String },
}

/// A record to send.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) key: Option<String>,
    pub(crate) value: Bytes,
}

/// A record that was read.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) value: Option<Bytes>,
    /// The record as JSON, in the form of the API.
    pub(crate) json: Box<RawValue>,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begin {
    Earliest,
    Latest,
    Offset(Offset),
}

/// What to read.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicName,
    /// `None`: all.
    pub(crate) partition: Option<PartitionId>,
    pub(crate) begin: Begin,
    /// Ends with what is there when reading begins.
    pub(crate) until_end: bool,
}

/// Where a group is to read on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ResetTo {
    Earliest,
    Latest,
    /// In every partition; where that does not reach, at the nearest end.
    Offset(Offset),
    Time(Timestamp),
}

/// Records as they come.
#[derive(Debug)]
pub(crate) enum Tail {
    Direct(direct::DirectTail),
    Remote(Box<remote::RemoteTail>),
}

impl Tail {
    /// The next records; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Incoming>>, Failure> {
        match self {
            Self::Direct(tail) => tail.next().await,
            Self::Remote(tail) => Ok(tail.next().await?),
        }
    }
}

impl Access {
    pub(crate) async fn open(common: &Common, place: &Place) -> Result<Self, Failure> {
        match (&place.brokers, &place.url, &common.data) {
            (Some(brokers), _, _) => Ok(Self::Direct(Direct::cluster(brokers).await?)),
            (None, Some(url), _) => Ok(Self::Remote(Remote::new(url))),
            (None, None, Some(folder)) => Ok(Self::Direct(Direct::folder(folder).await?)),
            (None, None, None) => Ok(Self::Remote(Remote::new("http://127.0.0.1:8080"))),
        }
    }

    pub(crate) async fn topics(&self) -> Result<Vec<TopicDescription>, Failure> {
        match self {
            Self::Direct(log) => log.topics().await,
            Self::Remote(remote) => Ok(remote.topics().await?),
        }
    }

    pub(crate) async fn topic(&self, name: &TopicName) -> Result<TopicDescription, Failure> {
        match self {
            Self::Direct(log) => log.topic(name).await,
            Self::Remote(remote) => Ok(remote.topic(name).await?),
        }
    }

    pub(crate) async fn create_topic(&self, spec: &TopicSpec) -> Result<TopicDescription, Failure> {
        match self {
            Self::Direct(log) => log.create_topic(spec).await,
            Self::Remote(remote) => Ok(remote.create_topic(spec).await?),
        }
    }

    pub(crate) async fn delete_topic(&self, name: &TopicName) -> Result<(), Failure> {
        match self {
            Self::Direct(log) => log.delete_topic(name).await,
            Self::Remote(remote) => Ok(remote.delete_topic(name).await?),
        }
    }

    /// Sends records; they are durable when this answers.
    pub(crate) async fn produce(
        &self,
        topic: &TopicName,
        records: Vec<Outgoing>,
    ) -> Result<(), Failure> {
        match self {
            Self::Direct(log) => log.produce(topic, records).await,
            Self::Remote(remote) => Ok(remote.produce(topic, &records).await?),
        }
    }

    pub(crate) async fn tail(&self, wanted: Wanted) -> Result<Tail, Failure> {
        match self {
            Self::Direct(log) => Ok(Tail::Direct(log.tail(wanted).await?)),
            Self::Remote(remote) => Ok(Tail::Remote(Box::new(remote.tail(wanted).await?))),
        }
    }

    pub(crate) async fn groups(&self) -> Result<Vec<GroupSummary>, Failure> {
        match self {
            Self::Direct(log) => log.groups().await,
            Self::Remote(remote) => Ok(remote.groups().await?),
        }
    }

    pub(crate) async fn group(&self, id: &str) -> Result<GroupDescription, Failure> {
        match self {
            Self::Direct(log) => log.group(id).await,
            Self::Remote(remote) => Ok(remote.group(id).await?),
        }
    }

    /// Moves a group's offsets; answers where it continues.
    pub(crate) async fn reset_group(&self, id: &str, to: ResetTo) -> Result<Positions, Failure> {
        match self {
            Self::Direct(log) => log.reset_group(id, to).await,
            Self::Remote(remote) => Ok(remote.reset_group(id, to).await?),
        }
    }

    pub(crate) async fn delete_group(&self, id: &str) -> Result<(), Failure> {
        match self {
            Self::Direct(log) => log.delete_group(id).await,
            Self::Remote(remote) => Ok(remote.delete_group(id).await?),
        }
    }

    /// Lets the log go; a folder is left clean.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Direct(log) => log.close().await,
            Self::Remote(_) => Ok(()),
        }
    }
}
