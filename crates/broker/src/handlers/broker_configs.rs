//! The broker's own configurations, under Kafka's names, as they are in force.
//!
//! What has a meaning here is shown with its real value: addresses, bounds, what
//! groups do, and the defaults of topics. Nothing of it can be changed from outside,
//! and what would have no meaning (replication, tiers, the controller) is not shown.

use std::{fmt::Display, time::Duration};

use courant_log::{ConfigEntry, ConfigKind, TopicSettings};
use courant_model::limits;

use crate::context::{BROKER_ID, Context};

/// Kafka's names for the broker's defaults of topic configurations.
const SYNONYMS: &[(&str, &str)] = &[
    ("cleanup.policy", "log.cleanup.policy"),
    ("compression.gzip.level", "compression.gzip.level"),
    ("compression.lz4.level", "compression.lz4.level"),
    ("compression.type", "compression.type"),
    ("compression.zstd.level", "compression.zstd.level"),
    ("delete.retention.ms", "log.cleaner.delete.retention.ms"),
    ("file.delete.delay.ms", "log.segment.delete.delay.ms"),
    ("flush.messages", "log.flush.interval.messages"),
    ("flush.ms", "log.flush.interval.ms"),
    ("index.interval.bytes", "log.index.interval.bytes"),
    ("local.retention.bytes", "log.local.retention.bytes"),
    ("local.retention.ms", "log.local.retention.ms"),
    ("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    ("max.message.bytes", "message.max.bytes"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    ("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
    ("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
    ("min.insync.replicas", "min.insync.replicas"),
    ("preallocate", "log.preallocate"),
    ("retention.bytes", "log.retention.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("segment.bytes", "log.segment.bytes"),
    ("segment.index.bytes", "log.index.size.max.bytes"),
    ("segment.jitter.ms", "log.roll.jitter.ms"),
    ("segment.ms", "log.roll.ms"),
    ("unclean.leader.election.enable", "unclean.leader.election.enable"),
];

/// The broker's name for the default of a topic's configuration.
pub(super) fn synonym(topic_config: &str) -> Option<&'static str> {
    SYNONYMS.iter().find(|(name, _)| *name == topic_config).map(|(_, synonym)| *synonym)
}

/// Every configuration of this broker, by name.
pub(super) fn configs(context: &Context) -> Vec<ConfigEntry> {
    let defaults = TopicSettings::default().configs().into_iter().filter_map(|entry| {
        let name = synonym(entry.name)?;
        Some(ConfigEntry { name, ..entry })
    });
    let mut entries: Vec<ConfigEntry> = defaults.chain(own(context)).collect();
    entries.sort_by_key(|entry| entry.name);
    entries
}

fn own(context: &Context) -> Vec<ConfigEntry> {
    use ConfigKind::{Boolean, Int, List, Long, String};
    let options = &context.broker.options;
    let groups = context.log().coordinator().options();
    let (host, port) = context.advertised();
    let scheme = match (options.security.has_tls(), options.security.sasl.is_some()) {
        (false, false) => "PLAINTEXT",
        (false, true) => "SASL_PLAINTEXT",
        (true, false) => "SSL",
        (true, true) => "SASL_SSL",
    };
    let bounds = &options.limits;
    let minutes = groups.offsets_retention.as_secs() / 60;
    vec![
        one("advertised.listeners", List, &format!("{scheme}://{host}:{port}")),
        one("auto.create.topics.enable", Boolean, &options.auto_creation.enabled),
        one("broker.id", Int, &BROKER_ID.0),
        one("connections.max.idle.ms", Long, &millis(bounds.idle)),
        one("default.replication.factor", Int, &1),
        one("delete.topic.enable", Boolean, &true),
        one("group.consumer.assignors", List, &"uniform,range"),
        one(
            "group.consumer.heartbeat.interval.ms",
            Int,
            &millis(groups.consumer_heartbeat_interval),
        ),
        one("group.consumer.max.size", Int, &limits::GROUP_MEMBERS_MAX),
        one("group.consumer.session.timeout.ms", Int, &millis(groups.consumer_session_timeout)),
        one("group.coordinator.rebalance.protocols", List, &"classic,consumer"),
        one("group.initial.rebalance.delay.ms", Int, &millis(groups.initial_rebalance_delay)),
        one("group.max.session.timeout.ms", Int, &millis(groups.session_timeout_max)),
        one("group.max.size", Int, &limits::GROUP_MEMBERS_MAX),
        one("group.min.session.timeout.ms", Int, &millis(groups.session_timeout_min)),
        one("log.dirs", String, &context.log().folder().display()),
        one("max.connections", Int, &bounds.connections),
        one("max.connections.per.ip", Int, &bounds.connections_per_address),
        one("node.id", Int, &BROKER_ID.0),
        one("num.partitions", Int, &options.auto_creation.partitions),
        one("offset.metadata.max.bytes", Int, &limits::OFFSET_METADATA_BYTES_MAX),
        one("offsets.retention.minutes", Int, &minutes),
        one("offsets.topic.num.partitions", Int, &1),
        one("offsets.topic.replication.factor", Int, &1),
        one("queued.max.request.bytes", Long, &bounds.requests_bytes.as_bytes()),
        one("socket.request.max.bytes", Int, &bounds.request_bytes.as_bytes()),
    ]
}

fn one(name: &'static str, kind: ConfigKind, value: &dyn Display) -> ConfigEntry {
    let value = value.to_string();
    let documentation = "Set when the broker starts.";
    ConfigEntry { name, default: String::new(), value, kind, documentation }
}

fn millis(duration: Duration) -> u128 {
    duration.as_millis()
}
