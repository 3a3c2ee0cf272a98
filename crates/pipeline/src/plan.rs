//! The plan: a file that was found to be right, as plain data.
//!
//! Everything is resolved: names point at things that exist, defaults are filled
//! in, connectors' options are parsed. A plan can be printed, compared and run; it
//! holds no connection, task or clock.

use std::{path::PathBuf, sync::Arc};

use courant_log::{AutoOffsetReset, Durability, TopicSettings};
use courant_model::{
    ByteSize, Columns, Span, TopicName, json::FieldPath, limits::MEMORY_BYTES_DEFAULT,
};
use courant_stores::{Filter, SortKey};
use indexmap::IndexMap;

use crate::{
    connector::{SinkFactory, SourceFactory},
    template::Template,
};

pub(crate) mod channel;
mod graph;
mod lookup;
mod nest;
mod print;
mod view;

pub use channel::{ChannelEvents, ChannelPattern, ChannelPatternError, ChannelPlan};
pub use graph::{EdgeKind, Graph, GraphEdge, GraphNode, NodeKind, graph};
pub use lookup::{LookupPlan, LookupSource, OnMissing, Remember};
pub use nest::{NestJoin, NestKind, NestPlan, NestRelation, NestSort, NestTable};
pub use print::print;
pub use view::{ViewEmit, ViewInput, ViewPlan};

/// A whole file, ready to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `name:` of the file; prefix of its consumer groups.
    pub name: String,
    /// The file it came from, as it was given.
    pub file: PathBuf,
    /// Folder of the file; relative paths start here.
    pub base: PathBuf,
    /// The profile in force.
    pub profile: String,
    pub roles: Roles,
    pub memory: ByteSize,
    /// When the embedded log answers an append.
    pub durability: Durability,
    pub topics: IndexMap<TopicName, TopicPlan>,
    pub sources: IndexMap<String, SourcePlan>,
    pub pipelines: IndexMap<String, PipelinePlan>,
    pub views: IndexMap<String, ViewPlan>,
    /// By path, as axum and matchit write them: `/messages/{id}`.
    pub endpoints: IndexMap<String, EndpointPlan>,
    /// By name, with the fields that stand in it: `orders.{customerNumber}`.
    pub channels: IndexMap<String, ChannelPlan>,
    /// Test files, resolved.
    pub tests: Vec<PathBuf>,
}

impl Plan {
    /// A plan that keeps a log and runs nothing on it.
    pub fn without_pipelines(name: &str, durability: Durability) -> Self {
        Self {
            name: name.to_owned(),
            file: PathBuf::new(),
            base: PathBuf::from("."),
            profile: "embedded".to_owned(),
            roles: Roles::default(),
            memory: ByteSize::from_bytes(MEMORY_BYTES_DEFAULT),
            durability,
            topics: IndexMap::new(),
            sources: IndexMap::new(),
            pipelines: IndexMap::new(),
            views: IndexMap::new(),
            endpoints: IndexMap::new(),
            channels: IndexMap::new(),
            tests: Vec::new(),
        }
    }
}

/// What stands behind each role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles {
    pub log: RoleChoice,
    pub cache: RoleChoice,
    pub history: RoleChoice,
    pub push: RoleChoice,
}

/// An implementation of a role.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum RoleChoice {
    #[default]
    Embedded,
    /// A server, by its URL; secrets in it are never printed.
    External { url: String },
}

impl std::fmt::Debug for RoleChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded => f.write_str("Embedded"),
            Self::External { url } => {
                let scheme = url.split("://").next().unwrap_or_default();
                write!(f, "External({scheme}://…)")
            }
        }
    }
}

/// A topic that the file uses; those it does not declare have the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPlan {
    pub partitions: i32,
    pub settings: TopicSettings,
    /// Declared columns; `None`: inferred from the first records, then pinned.
    pub columns: Option<Columns>,
    /// The field that says when a record's event happened.
    pub event_time: Option<FieldPath>,
    /// Whether the file declares it, or only names it.
    pub declared: bool,
}

/// A source.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// Name of the connector.
    pub connector: &'static str,
    pub factory: Arc<dyn SourceFactory>,
    pub to: TopicName,
    /// The field whose value becomes the record's key.
    pub key: Option<FieldPath>,
    /// Where inputs that are no records go; `None`: they are counted and logged.
    pub dead_letters: Option<TopicName>,
}

/// A pipeline.
#[derive(Debug, Clone)]
pub struct PipelinePlan {
    pub from: Vec<TopicName>,
    /// Its consumer group; `<file name>.<pipeline>` unless the file says.
    pub group: String,
    pub start: AutoOffsetReset,
    pub guarantee: Guarantee,
    pub steps: Vec<StepPlan>,
    pub to: Vec<TargetPlan>,
    pub on_error: ErrorPlan,
    /// Wished freshness at the 99th percentile; watched, not enforced.
    pub freshness_p99: Option<Span>,
    /// How long a batch may wait for more records. Default 0: what is there goes.
    pub linger: Span,
    /// Longest time between two checkpoints.
    pub checkpoint: Span,
}

/// What readers of a pipeline's output in topics can count on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// A record of the input has its output once: what goes to topics and the offset are
    /// one transaction. Other targets take part by their ids.
    ExactlyOnce,
    /// A crash repeats the output since the last checkpoint.
    AtLeastOnce,
}

impl PipelinePlan {
    /// The topics that targets and routes name.
    pub fn written_topics(&self) -> impl Iterator<Item = &TopicName> {
        let targets = self.to.iter().filter_map(|target| match target {
            TargetPlan::Topic { topic } => Some(topic),
            _ => None,
        });
        targets.chain(self.routed_topics())
    }

    /// The topics that routes send to.
    pub(crate) fn routed_topics(&self) -> impl Iterator<Item = &TopicName> {
        let destinations = self.steps.iter().flat_map(StepPlan::destinations);
        destinations.filter_map(|destination| match destination {
            Destination::Topic(topic) => Some(topic),
            Destination::Next | Destination::Drop => None,
        })
    }
}

/// A step: from events to events; synchronous and deterministic, but for a lookup.
#[derive(Debug, Clone, PartialEq)]
pub enum StepPlan {
    /// `SELECT … FROM input [WHERE …]`.
    Sql { text: String },
    /// Transforms each document by a Jolt specification.
    Jolt(Box<JoltPlan>),
    /// Asks something outside, and puts the answer in the document.
    Lookup(Box<LookupPlan>),
    /// Sets the record's key: to a field's value, or to nothing.
    Key { field: Option<FieldPath> },
    /// One event for each item of the list at `field`; the item replaces the
    /// document, or is set at `into` within it.
    Split { field: FieldPath, into: Option<FieldPath> },
    /// Sends each event to the first branch whose condition holds; without one, to
    /// `otherwise`. A branch names a topic, or drops.
    Route { branches: Vec<Branch>, otherwise: Destination },
    /// Drops an event whose value at `by` was seen before, `within` a time.
    Deduplicate { by: Vec<FieldPath>, within: Span, keys_max: usize },
    /// Makes nested documents from the rows of change data capture.
    Nest(Box<NestPlan>),
}

/// A `jolt` step.
#[derive(Debug, Clone, PartialEq)]
pub struct JoltPlan {
    /// A list of operations; it compiles, as far as it names no part of the record.
    pub spec: Template,
    /// The file that it was read from; `None`: it stands in the plan's own file.
    pub file: Option<PathBuf>,
    /// The field that is transformed; `None`: the document.
    pub field: Option<FieldPath>,
    /// Whether a list that comes out becomes one event for each of its items.
    pub split: bool,
    /// What `^` means in the specification; an object.
    pub context: Option<Template>,
}

/// One branch of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// An SQL condition over the document's columns.
    pub when: String,
    pub to: Destination,
}

/// Where a route sends an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// On to the next step and the pipeline's targets.
    Next,
    Topic(TopicName),
    Drop,
}

/// Where a pipeline's events go.
#[derive(Debug, Clone)]
pub enum TargetPlan {
    Topic {
        topic: TopicName,
    },
    Cache {
        table: String,
        key: FieldPath,
        /// Set: a hash field of the key; else the key's whole value.
        field: Option<FieldPath>,
        ttl: Option<Span>,
        /// Set: the number that guards against a record that comes late or again.
        version: Option<FieldPath>,
    },
    History {
        collection: String,
        /// `None`: topic, partition and offset make the id.
        id: Option<FieldPath>,
        indexes: Vec<Vec<FieldPath>>,
        /// Set: the number that guards against a record that comes late or again.
        version: Option<FieldPath>,
    },
    Connector {
        connector: &'static str,
        factory: Arc<dyn SinkFactory>,
    },
}

impl TargetPlan {
    /// The target as errors name it, by its place in the file: `target 1 (history messages)`.
    pub(crate) fn label(&self, number: usize) -> String {
        let what = match self {
            Self::Topic { topic } => format!("topic {topic}"),
            Self::Cache { table, .. } => format!("cache {table}"),
            Self::History { collection, .. } => format!("history {collection}"),
            Self::Connector { connector, .. } => (*connector).to_owned(),
        };
        format!("target {number} ({what})")
    }
}

/// What happens to what fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPlan {
    /// Tries before a record that a *target* refuses is given up; a target that is
    /// away is tried without end.
    pub retries: u32,
    /// Where given-up records go; default `<pipeline>.dead`.
    pub dead_letters: TopicName,
}

/// What an HTTP path answers.
#[derive(Debug, Clone, PartialEq)]
pub enum EndpointPlan {
    /// Documents of a collection: `{"count": n, "data": […]}`.
    HistoryList { collection: String, filter: Filter, sort: Vec<SortKey>, limit: usize },
    /// One document, by the path's only parameter; 404 `{"error": …}` without it.
    HistoryDocument { collection: String, parameter: String },
    /// A cache key by the path's first parameter; all fields, or the one of the
    /// second parameter.
    Cache { table: String, key: String, field: Option<String> },
    /// Rows of a view.
    View(ViewEndpointPlan),
}

/// An endpoint over a view's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewEndpointPlan {
    pub view: String,
    /// The path's parameters: values of the first key columns.
    pub parameters: Vec<String>,
    /// A message so often, as server-sent events; `None`: an answer to each request.
    pub stream: Option<Span>,
    /// Only windows that lie within so long before now.
    pub last: Option<Span>,
    /// One object instead of a list: the column of its names, and that of its values.
    pub object: Option<(String, String)>,
    /// Rows at most.
    pub limit: usize,
}

impl StepPlan {
    /// The step's key in the file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sql { .. } => "sql",
            Self::Jolt(_) => "jolt",
            Self::Lookup(_) => "lookup",
            Self::Key { .. } => "key",
            Self::Split { .. } => "split",
            Self::Route { .. } => "route",
            Self::Deduplicate { .. } => "deduplicate",
            Self::Nest(_) => "nest",
        }
    }

    /// Where a route sends events, branch by branch; nothing for other steps.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        let (branches, otherwise) = match self {
            Self::Route { branches, otherwise } => (branches.as_slice(), Some(otherwise)),
            _ => (&[][..], None),
        };
        branches.iter().map(|branch| &branch.to).chain(otherwise)
    }
}

#[cfg(test)]
mod tests;
