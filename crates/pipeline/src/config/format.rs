//! What a file may hold, as types: the one description of the format.
//!
//! Reading, the JSON Schema and the reference all follow from these types, their
//! doc comments and their defaults. Parts whose form depends on connectors, and
//! lists of steps and targets, are plain values here and read piece by piece, so
//! that one fault hides no other. Nothing here knows whether names point at
//! anything.

use courant_log::{AutoOffsetReset, Retention, TopicSettings};
use courant_model::{
    ByteSize, Span, TopicName,
    json::FieldPath,
    limits::{
        CHECKPOINT_MS_DEFAULT, DEDUPLICATE_KEYS_DEFAULT, ENDPOINT_LIMIT_DEFAULT,
        LOOKUP_CONCURRENCY_DEFAULT, LOOKUP_KEYS_DEFAULT, LOOKUP_MISSING_MS_DEFAULT,
        MEMORY_BYTES_DEFAULT, NEST_ROWS_DEFAULT, TARGET_RETRIES_DEFAULT,
    },
};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod view;

pub(super) use view::{EmitWord, EmitYaml, ViewYaml};

use super::texts::{ColumnText, DurabilityText, RetentionTime};
use crate::plan::{Guarantee, OnMissing};

/// A file of Courant: what comes in, what happens to it, where it is kept and how
/// it is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some keys are read from the tree; they are here for their shape")]
pub(super) struct FileYaml {
    /// Version of the format; always 1.
    pub(super) version: Option<u32>,
    /// Name of the application. It begins the names of its consumer groups.
    #[schemars(length(min = 1, max = 100))]
    pub(super) name: Option<String>,
    /// Budget over prefetch, buffers and caches of the whole process.
    #[serde(default = "memory")]
    pub(super) memory: ByteSize,
    /// When the embedded log answers that a record is safe: `fsync` (it is on the disk),
    /// `interval(100ms)` (it is written, and synced that often) or `os` (it is written).
    #[serde(default)]
    pub(super) durability: DurabilityText,
    /// Other files whose sections are merged into this one, relative to this file.
    #[serde(default)]
    pub(super) include: Vec<String>,
    /// Which implementation stands behind each role. Without any there is the
    /// profile `embedded`, where everything is inside the process.
    pub(super) profiles: Option<IndexMap<String, Value>>,
    /// Topics with settings of their own. A topic that is only named by a source or
    /// as a target has the defaults.
    pub(super) topics: Option<IndexMap<String, Value>>,
    /// What brings data into topics, by name.
    pub(super) sources: Option<IndexMap<String, Value>>,
    /// From topics, through steps, to topics, stores and sinks, by name.
    pub(super) pipelines: Option<IndexMap<String, Value>>,
    /// Continuous queries over topics, by name; views.md tells what they may hold.
    pub(super) views: Option<IndexMap<String, Value>>,
    /// HTTP paths over the stores. A name in braces is a parameter.
    pub(super) endpoints: Option<IndexMap<String, Value>>,
    /// Channels of the push server: what pages hear of a collection's changes, by name. A
    /// field of the document in braces makes a channel of its own for each of its values.
    pub(super) channels: Option<IndexMap<String, Value>>,
    /// Files of tests, run by `courant test`, relative to this file.
    #[serde(default)]
    pub(super) tests: Vec<String>,
}

/// A profile: a URL for each role that is not embedded.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileYaml {
    /// The event log, such as `kafka://kafka:9092`.
    pub(super) log: Option<String>,
    /// The latest answer by key, such as `redis://redis:6379`.
    pub(super) cache: Option<String>,
    /// Documents that are queried and watched, such as `mongodb://mongo/shop`.
    pub(super) history: Option<String>,
    /// Columns for ad-hoc SQL, such as `clickhouse://clickhouse:8123`.
    pub(super) analytics: Option<String>,
    /// Schemas, such as `http://registry:8081`.
    pub(super) registry: Option<String>,
    /// Events to browsers, such as `pusher://soketi:6001`.
    pub(super) push: Option<String>,
}

/// A topic's settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicYaml {
    /// How many readers of one group can share the topic. Can grow later, not shrink.
    #[serde(default = "partitions")]
    #[schemars(range(min = 1, max = 1_000))]
    pub(super) partitions: i32,
    /// How long records stay: a time, or `forever`.
    #[serde(default = "retention")]
    pub(super) retention: RetentionTime,
    /// A partition larger than this loses its oldest segments.
    pub(super) retention_bytes: Option<ByteSize>,
    /// What happens to old records: they go by age and size, or all but the latest
    /// of each key go, or both.
    #[serde(default)]
    pub(super) cleanup: Cleanup,
    /// A segment file is closed at this size.
    #[serde(default = "segment_bytes")]
    pub(super) segment_bytes: ByteSize,
    /// A segment file is closed at this age.
    #[serde(default = "segment_time")]
    pub(super) segment_time: Span,
    /// How long a tombstone stays after compaction.
    #[serde(default = "tombstone_retention")]
    pub(super) tombstone_retention: Span,
    /// The largest record batch.
    #[serde(default = "message_bytes")]
    pub(super) message_bytes: ByteSize,
    /// What the JSON documents hold, by name, for SQL. Without them the first records
    /// decide.
    #[serde(default)]
    pub(super) columns: IndexMap<String, ColumnText>,
    /// The field that says when a record's event happened; else its timestamp does.
    pub(super) event_time: Option<FieldPath>,
    /// Whether views read the topic as a table: a record replaces the one before of its key,
    /// one without a value deletes it.
    #[serde(default)]
    pub(super) table: bool,
    /// The columns that make the record's key. They identify a row of a table, and tell views
    /// how records are spread over the partitions.
    #[serde(default)]
    pub(super) key: OneOrMany<String>,
    /// How far out of order its records may be, for views.
    #[serde(default)]
    pub(super) lateness: Span,
}

/// What every source has beside its connector.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some keys are read from the tree; they are here for their shape")]
pub(super) struct SourceYaml {
    /// The topic that takes the records.
    pub(super) to: TopicName,
    /// The field whose value becomes the record's key.
    pub(super) key: Option<FieldPath>,
    /// The topic for inputs that are no records. Without it they are counted and logged.
    pub(super) dead_letters: Option<TopicName>,
    /// The only profile that has this source.
    pub(super) profile: Option<String>,
}

/// A pipeline.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some keys are read from the tree; they are here for their shape")]
pub(super) struct PipelineYaml {
    /// The topic to read, or a list of topics.
    pub(super) from: OneOrMany<TopicName>,
    /// The consumer group; `<name of the file>.<name of the pipeline>` unless set.
    #[schemars(length(min = 1, max = 249))]
    pub(super) group: Option<String>,
    /// Where the group begins in a topic that it has not read yet.
    #[serde(default)]
    pub(super) start: Start,
    /// What happens to each record, in order.
    #[serde(default)]
    pub(super) steps: Vec<Value>,
    /// Where the records go: a topic's name, or a list of targets.
    pub(super) to: Option<Value>,
    /// What happens to what fails.
    #[serde(default)]
    pub(super) on_error: OnErrorYaml,
    /// What readers of its output in topics can count on. `exactly_once`: each record of
    /// the input has its output once, also after a crash; output and offset are one
    /// transaction. `at_least_once`: a crash repeats the output since the last checkpoint.
    /// Unless set, `exactly_once` where a target or a route is a topic.
    pub(super) guarantee: Option<GuaranteeYaml>,
    /// Wished freshness: the age of a record when it reaches its targets.
    pub(super) freshness: Option<FreshnessYaml>,
    /// How long a batch may wait for more records.
    #[serde(default)]
    pub(super) linger: Span,
    /// Longest time between two checkpoints: what a crash can repeat.
    #[serde(default = "checkpoint")]
    pub(super) checkpoint: Span,
    /// The only profile that has this pipeline.
    pub(super) profile: Option<String>,
}

/// What happens to what fails.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OnErrorYaml {
    /// Tries before a record that a target refuses is set aside. A target that is away
    /// is tried without end.
    #[serde(default = "retries")]
    pub(super) retries: u32,
    /// The topic for what is set aside; `<name of the pipeline>.dead` unless set.
    pub(super) dead_letters: Option<TopicName>,
}

/// Wished freshness; watched, not enforced.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FreshnessYaml {
    /// Of a hundred records, ninety-nine are fresher than this.
    pub(super) p99: Span,
}

/// `sql`: a query over the one table `input`; sql.md tells what it may hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum SqlYaml {
    /// `SELECT … FROM input [WHERE …]`.
    Text(String),
    Options(SqlOptions),
}

/// `sql` with its options.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SqlOptions {
    /// `SELECT … FROM input [WHERE …]`.
    pub(super) query: String,
}

/// `jolt`: each document is transformed by a Jolt specification; jolt.md tells what it
/// may hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum JoltYaml {
    /// The operations, in order.
    Spec(Vec<Value>),
    Options(JoltOptions),
}

/// `jolt` with its options.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JoltOptions {
    /// The operations, in order: `{ operation: shift, spec: … }`.
    pub(super) spec: Option<Vec<Value>>,
    /// A file that holds the operations as JSON, instead of `spec`; comments are allowed.
    pub(super) file: Option<String>,
    /// Only this field of the document is transformed and replaced.
    pub(super) field: Option<FieldPath>,
    /// Whether a list that comes out becomes one record for each of its items.
    #[serde(default)]
    pub(super) split: bool,
    /// What `^` means in the specification.
    pub(super) context: Option<Map<String, Value>>,
}

/// `lookup`: what something outside knows is put in the document; lookup.md tells more.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LookupYaml {
    /// A table of the cache to ask; `key` says with what.
    #[schemars(length(min = 1))]
    pub(super) cache: Option<String>,
    /// The field with the cache's key.
    pub(super) key: Option<FieldPath>,
    /// The field that names one field of the cache's key; without it, the whole key.
    pub(super) field: Option<FieldPath>,
    /// A collection of the history to ask; `id` says with what.
    #[schemars(length(min = 1))]
    pub(super) history: Option<String>,
    /// The field with the document's id.
    pub(super) id: Option<FieldPath>,
    /// Where the answer is put.
    pub(super) into: FieldPath,
    /// Whether all rows are the answer, as a list, empty where there are none; else the
    /// first one.
    #[serde(default)]
    pub(super) many: bool,
    /// What happens to a record that nothing is found for: `reject` makes it a dead
    /// letter, `skip` drops it, `null` puts null in place, `keep` leaves it as it is.
    /// Default: reject.
    #[serde(default, deserialize_with = "super::tests_file::present")]
    #[schemars(with = "Option<OnMissingYaml>")]
    pub(super) on_missing: Option<Option<OnMissingYaml>>,
    /// Uses answers again.
    pub(super) remember: Option<RememberYaml>,
    /// Questions of one partition that are open at a time.
    #[serde(default = "lookup_concurrency")]
    #[schemars(range(min = 1, max = 256))]
    pub(super) concurrency: usize,
}

/// What happens to a record that nothing is found for.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnMissingYaml {
    Reject,
    Skip,
    Null,
    Keep,
}

impl LookupYaml {
    /// YAML's own null is the word `null`.
    pub(super) fn on_missing(&self) -> OnMissing {
        match self.on_missing {
            None | Some(Some(OnMissingYaml::Reject)) => OnMissing::Reject,
            Some(None | Some(OnMissingYaml::Null)) => OnMissing::Null,
            Some(Some(OnMissingYaml::Skip)) => OnMissing::Skip,
            Some(Some(OnMissingYaml::Keep)) => OnMissing::Keep,
        }
    }
}

/// How answers are used again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RememberYaml {
    /// How long an answer counts.
    pub(super) ttl: Span,
    /// How long it counts that nothing was found.
    #[serde(default = "lookup_missing")]
    pub(super) missing: Span,
    /// How many answers one partition keeps; the oldest go first.
    #[serde(default = "lookup_keys")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) keys: usize,
}

/// `key`: the record's key becomes a field's value, or nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct KeyYaml(pub(super) FieldPath);

/// `split`: one record for each item of a list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum SplitYaml {
    /// The list; each item replaces the document.
    Field(FieldPath),
    Options(SplitOptions),
}

/// `split` with its options.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitOptions {
    /// The list.
    pub(super) field: FieldPath,
    /// Where each item is put in a copy of the document; without it the item replaces
    /// the document.
    pub(super) into: Option<FieldPath>,
}

/// `route`: each record takes the first branch whose condition holds; where none
/// does, `otherwise`, which is `next` unless set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum BranchYaml {
    When(WhenYaml),
    Otherwise(OtherwiseYaml),
}

/// A branch with a condition.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhenYaml {
    /// An SQL condition over the document's columns, such as `status = 'Shipped'`.
    pub(super) when: String,
    /// A topic, `next` (the following step) or `drop`.
    pub(super) to: TopicName,
}

/// The branch of what no condition holds for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OtherwiseYaml {
    /// A topic, `next` (the following step) or `drop`.
    pub(super) otherwise: TopicName,
}

/// `deduplicate`: drops a record whose value was seen before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeduplicateYaml {
    /// The field, or fields, that make two records the same.
    pub(super) by: OneOrMany<FieldPath>,
    /// How long a value is remembered.
    pub(super) within: Span,
    /// How many values are remembered for one partition; the oldest go first.
    #[serde(default = "deduplicate_keys")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub(super) keys_max: usize,
}

/// `nest`: rows of change data capture become nested documents, which follow every change
/// of any of their rows; nest.md tells how. It is the first step.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NestYaml {
    /// The table, or `database.table`, each row of which becomes a document.
    #[schemars(length(min = 1))]
    pub(super) table: String,
    /// Its primary key: a column or several. The key's text is the key of the records.
    pub(super) key: OneOrMany<String>,
    /// The columns that a document has; all of them unless set.
    pub(super) fields: Option<Vec<String>>,
    /// Lists of rows of other tables, by the name of their field: each has `table`, `key` and
    /// `on`, and can have `sort`, `fields`, `cascade`, `many` and `one`.
    #[serde(default)]
    pub(super) many: IndexMap<String, NestManyYaml>,
    /// Single rows of other tables, by the name of their field, null where there is none: each
    /// has `table`, `key` and `on`, and can have `fields`, `flatten`, `many` and `one`.
    #[serde(default)]
    pub(super) one: IndexMap<String, NestOneYaml>,
    /// The field that gets a number which grows with each change of the document: the
    /// `version` of targets.
    pub(super) version: Option<String>,
    /// Columns that decide where documents are kept, such as the key of a cache. Where they
    /// change, the document is deleted with its old values before it comes with the new ones.
    #[serde(default)]
    pub(super) moves_with: OneOrMany<String>,
    /// How many rows are remembered, of all tables; a further one is set aside.
    #[serde(default = "nest_rows")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub(super) rows_max: usize,
}

/// A list of rows within a document.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NestManyYaml {
    /// The table of the rows, or `database.table`.
    #[schemars(length(min = 1))]
    pub(super) table: String,
    /// Its primary key: a column or several.
    pub(super) key: OneOrMany<String>,
    /// The columns that a row shares with the row it belongs to; or a map, a column of the
    /// row to a column of the one it belongs to.
    pub(super) on: NestOnYaml,
    /// The columns that sort the list, with `-` in front from the largest; the key unless
    /// set.
    #[serde(default)]
    pub(super) sort: OneOrMany<String>,
    /// The columns that are kept; all of them unless set.
    pub(super) fields: Option<Vec<String>>,
    /// Whether rows go with the row that they belong to. A database that cascades does not
    /// tell which rows went.
    #[serde(default = "cascade")]
    pub(super) cascade: bool,
    /// Lists within each row.
    #[serde(default)]
    pub(super) many: IndexMap<String, NestManyYaml>,
    /// Single rows within each row.
    #[serde(default)]
    pub(super) one: IndexMap<String, NestOneYaml>,
}

/// A row within a document.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NestOneYaml {
    /// The table of the row, or `database.table`.
    #[schemars(length(min = 1))]
    pub(super) table: String,
    /// Its primary key: a column or several.
    pub(super) key: OneOrMany<String>,
    /// The columns that the row shares with the row that names it; or a map, a column of the
    /// row to a column of the one that names it.
    pub(super) on: NestOnYaml,
    /// The columns that are kept; all of them unless set.
    pub(super) fields: Option<Vec<String>>,
    /// Whether the columns become fields of the document around, which needs `fields`.
    #[serde(default)]
    pub(super) flatten: bool,
    /// Lists within the row.
    #[serde(default)]
    pub(super) many: IndexMap<String, NestManyYaml>,
    /// Single rows within the row.
    #[serde(default)]
    pub(super) one: IndexMap<String, NestOneYaml>,
}

/// Columns that two rows share: of the same name, or by pairs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum NestOnYaml {
    Column(String),
    Columns(Vec<String>),
    Pairs(IndexMap<String, String>),
}

/// `topic`: the records go to a topic.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct TopicTargetYaml(pub(super) TopicName);

/// `cache`: the latest document by key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheYaml {
    /// The table.
    #[schemars(length(min = 1))]
    pub(super) table: String,
    /// The field whose value is the key.
    pub(super) key: FieldPath,
    /// The field whose value names a field under the key; without it a key holds one
    /// document.
    pub(super) field: Option<FieldPath>,
    /// How long a key stays after it was set; without it, for good.
    pub(super) ttl: Option<Span>,
    /// The field with the document's version, a whole number. A record whose version is
    /// lower than the one that its place was last set or deleted with changes nothing.
    pub(super) version: Option<FieldPath>,
}

/// `history`: documents that are queried and watched.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryYaml {
    /// The collection.
    #[schemars(length(min = 1))]
    pub(super) collection: String,
    /// The field whose value is the document's id, so that a later record replaces an
    /// earlier one. Without it every record is a document of its own.
    pub(super) id: Option<FieldPath>,
    /// Fields with an index, or lists of fields for an index over several.
    #[serde(default)]
    pub(super) indexes: Vec<OneOrMany<FieldPath>>,
    /// The field with the document's version, a whole number; needs `id`. A record whose
    /// version is lower than the one that its document was last written or deleted with
    /// changes nothing.
    pub(super) version: Option<FieldPath>,
}

/// An endpoint over a collection: a list of documents, or one by the path's parameter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some keys are read from the tree; they are here for their shape")]
pub(super) struct HistoryEndpointYaml {
    /// The collection.
    pub(super) history: String,
    /// Which documents, such as `{ status: Shipped, "lines.0.price": { $gt: 10 } }`.
    pub(super) filter: Option<Value>,
    /// Fields to sort by, such as `-timestamp` (newest first) or `name,-date`.
    pub(super) sort: Option<String>,
    /// How many documents at most; 100 unless set.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) limit: Option<usize>,
    /// The only profile that has this endpoint.
    pub(super) profile: Option<String>,
}

/// An endpoint over a cache table: a key by the path's first parameter, one of its
/// fields by the second.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some keys are read from the tree; they are here for their shape")]
pub(super) struct CacheEndpointYaml {
    /// The table.
    pub(super) cache: String,
    /// The only profile that has this endpoint.
    pub(super) profile: Option<String>,
}

/// An endpoint over a view: rows of its store, by the path's parameters as the first columns
/// of their key. With all of them, and without windows, it is the one row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some keys are read from the tree; they are here for their shape")]
pub(super) struct ViewEndpointYaml {
    /// The view.
    pub(super) view: String,
    /// Sends the answer again and again as server-sent events, so often: 1s.
    pub(super) stream: Option<Span>,
    /// Only windows that lie within so long before the last whole window: 5s.
    pub(super) last: Option<Span>,
    /// One object instead of a list: `{ name: visits }` takes the names from the first
    /// column and the values from the second; of several windows the newest counts.
    #[schemars(length(min = 1, max = 1))]
    pub(super) object: Option<IndexMap<String, String>>,
    /// How many rows at most; 100 unless set, with an object 10,000.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) limit: Option<usize>,
    /// The only profile that has this endpoint.
    pub(super) profile: Option<String>,
}

/// A channel: the changes of a collection as messages to pages.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some keys are read from the tree; they are here for their shape")]
pub(super) struct ChannelYaml {
    /// The collection whose changes are pushed.
    pub(super) watch: String,
    /// The event's name, for all changes that are pushed.
    pub(super) event: Option<String>,
    /// Which changes are pushed: `insert`, `update`, `delete`; all unless set. A channel
    /// with another field than `_id` in its name has no deletions.
    pub(super) on: Option<OneOrMany<ChangeYaml>>,
    /// The event's name for each kind of change that is pushed, instead of `event` and `on`.
    pub(super) events: Option<ChannelEventsYaml>,
    /// Which documents, such as `{ status: Shipped }`; one that stops matching counts as
    /// deleted.
    pub(super) filter: Option<Value>,
    /// Fields of the document that are sent, beside `_id`; all unless set.
    #[serde(default)]
    pub(super) data: Vec<String>,
    /// The only profile that has this channel.
    pub(super) profile: Option<String>,
}

/// An event's name for each kind of change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelEventsYaml {
    /// When a document comes.
    pub(super) insert: Option<String>,
    /// When a document is replaced by another.
    pub(super) update: Option<String>,
    /// When a document goes; the data is its `_id`.
    pub(super) delete: Option<String>,
}

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChangeYaml {
    Insert,
    Update,
    Delete,
}

/// A value, or a list of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    pub(super) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(item) => vec![item],
            Self::Many(items) => items,
        }
    }
}

/// What happens to old records.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Cleanup {
    #[default]
    Delete,
    Compact,
    CompactAndDelete,
}

impl From<Cleanup> for Retention {
    fn from(cleanup: Cleanup) -> Self {
        match cleanup {
            Cleanup::Delete => Self::Delete,
            Cleanup::Compact => Self::Compact,
            Cleanup::CompactAndDelete => Self::CompactAndDelete,
        }
    }
}

/// What readers of a pipeline's output in topics can count on.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum GuaranteeYaml {
    ExactlyOnce,
    AtLeastOnce,
}

impl From<GuaranteeYaml> for Guarantee {
    fn from(guarantee: GuaranteeYaml) -> Self {
        match guarantee {
            GuaranteeYaml::ExactlyOnce => Self::ExactlyOnce,
            GuaranteeYaml::AtLeastOnce => Self::AtLeastOnce,
        }
    }
}

/// Where a group begins.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Start {
    #[default]
    Earliest,
    Latest,
}

impl From<Start> for AutoOffsetReset {
    fn from(start: Start) -> Self {
        match start {
            Start::Earliest => Self::Earliest,
            Start::Latest => Self::Latest,
        }
    }
}

impl Default for OnErrorYaml {
    fn default() -> Self {
        Self { retries: retries(), dead_letters: None }
    }
}

fn memory() -> ByteSize {
    ByteSize::from_bytes(MEMORY_BYTES_DEFAULT)
}

/// One, so that a topic's records are in order until somebody decides otherwise.
pub(super) fn partitions() -> i32 {
    1
}

fn retention() -> RetentionTime {
    RetentionTime(TopicSettings::default().retention_time)
}

fn segment_bytes() -> ByteSize {
    TopicSettings::default().segment_bytes
}

fn segment_time() -> Span {
    TopicSettings::default().segment_time
}

fn tombstone_retention() -> Span {
    TopicSettings::default().tombstone_retention
}

fn message_bytes() -> ByteSize {
    TopicSettings::default().message_bytes_max
}

fn checkpoint() -> Span {
    Span::from_millis(CHECKPOINT_MS_DEFAULT)
}

fn retries() -> u32 {
    TARGET_RETRIES_DEFAULT
}

fn lookup_concurrency() -> usize {
    LOOKUP_CONCURRENCY_DEFAULT
}

fn lookup_missing() -> Span {
    Span::from_millis(LOOKUP_MISSING_MS_DEFAULT)
}

fn lookup_keys() -> usize {
    LOOKUP_KEYS_DEFAULT
}

fn deduplicate_keys() -> usize {
    DEDUPLICATE_KEYS_DEFAULT
}

fn nest_rows() -> usize {
    NEST_ROWS_DEFAULT
}

/// Foreign keys that cascade say nothing of it in the log; those that do not leave nothing.
fn cascade() -> bool {
    true
}

impl HistoryEndpointYaml {
    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(ENDPOINT_LIMIT_DEFAULT)
    }
}
