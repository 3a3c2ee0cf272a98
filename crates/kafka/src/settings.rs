//! A topic's settings as Kafka's configuration, and back.
//!
//! What acts in Courant is always said, because the cluster's defaults are others;
//! what is only kept is said where it was set. What belongs to the cluster (replicas)
//! stays as it is. A value that Courant cannot hold, from a topic that others made,
//! is read as the default.

use courant_log::TopicSettings;
use rdkafka::admin::{ConfigResource, ConfigSource};

/// The settings that live in fields of [`TopicSettings`].
const ACTING: [&str; 14] = [
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.ms",
];

/// Settings of replicas: the cluster's own, whatever a topic's settings say.
const OF_REPLICAS: [&str; 4] = [
    "follower.replication.throttled.replicas",
    "leader.replication.throttled.replicas",
    "min.insync.replicas",
    "unclean.leader.election.enable",
];

/// The settings as Kafka's configuration.
pub(crate) fn to_kafka(settings: &TopicSettings) -> Vec<(String, String)> {
    let said = |name: &str| {
        !OF_REPLICAS.contains(&name) && (ACTING.contains(&name) || settings.kept.contains_key(name))
    };
    let entries = settings.configs().into_iter().filter(|entry| said(entry.name));
    entries.map(|entry| (entry.name.to_owned(), entry.value)).collect()
}

/// Kafka's configuration as settings.
pub(crate) fn from_kafka(config: &ConfigResource) -> TopicSettings {
    let mut settings = TopicSettings::default();
    for entry in &config.entries {
        let name = entry.name.as_str();
        let own = entry.source == ConfigSource::DynamicTopic && !OF_REPLICAS.contains(&name);
        let Some(value) = entry.value.as_deref().filter(|_| own || ACTING.contains(&name)) else {
            continue;
        };
        if let Err(error) = settings.set_config(name, value) {
            tracing::debug!(name, value, %error, "setting of a topic is read as the default");
        }
    }
    settings
}

/// The topic's own configuration with these settings put over it: what a change
/// must name, because whatever it leaves out goes back to the cluster's default.
pub(crate) fn overlaid(config: &ConfigResource, settings: &TopicSettings) -> Vec<(String, String)> {
    let known = settings.configs();
    let is_others =
        |name: &str| OF_REPLICAS.contains(&name) || !known.iter().any(|entry| entry.name == name);
    let others = config
        .entries
        .iter()
        .filter(|entry| entry.source == ConfigSource::DynamicTopic && is_others(&entry.name));
    let others =
        others.filter_map(|entry| Some((entry.name.clone(), entry.value.as_ref()?.clone())));
    others.chain(to_kafka(settings)).collect()
}

#[cfg(test)]
mod tests {
    use courant_log::Retention;
    use courant_model::{ByteSize, Span};
    use rdkafka::admin::{ConfigEntry, OwnedResourceSpecifier};

    use super::*;

    fn entry(name: &str, value: &str, source: ConfigSource) -> ConfigEntry {
        ConfigEntry {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            is_default: source != ConfigSource::DynamicTopic,
            source,
            is_read_only: false,
            is_sensitive: false,
        }
    }

    fn config(entries: Vec<ConfigEntry>) -> ConfigResource {
        ConfigResource { specifier: OwnedResourceSpecifier::Topic("t".into()), entries }
    }

    #[test]
    fn settings_come_back_as_they_went() {
        let mut odd = TopicSettings {
            retention_time: None,
            retention_bytes: Some(ByteSize::from_bytes(7)),
            cleanup: Retention::CompactAndDelete,
            segment_time: Span::from_millis(9),
            ..TopicSettings::default()
        };
        odd.set_config("flush.messages", "5").unwrap();
        for settings in [TopicSettings::default(), odd] {
            let entries = to_kafka(&settings)
                .into_iter()
                .map(|(name, value)| entry(&name, &value, ConfigSource::DynamicTopic));
            assert_eq!(from_kafka(&config(entries.collect())), settings);
        }
    }

    #[test]
    fn what_acts_is_always_said() {
        let said = to_kafka(&TopicSettings::default());
        let names: Vec<_> = said.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ACTING);
    }

    #[test]
    fn a_change_keeps_what_is_the_clusters_and_takes_back_what_is_not_set_any_more() {
        let found = config(vec![
            entry("min.insync.replicas", "2", ConfigSource::DynamicTopic),
            entry("a.new.one", "x", ConfigSource::DynamicTopic),
            entry("retention.ms", "5", ConfigSource::DynamicTopic),
            entry("flush.messages", "5", ConfigSource::DynamicTopic),
            entry("preallocate", "false", ConfigSource::Default),
        ]);
        let all = overlaid(&found, &TopicSettings::default());
        let value = |name: &str| {
            let mut found = all.iter().filter(|(key, _)| key == name);
            let value = found.next().map(|(_, value)| value.as_str());
            assert!(found.next().is_none());
            value
        };
        assert_eq!(value("min.insync.replicas"), Some("2"));
        assert_eq!(value("a.new.one"), Some("x"));
        assert_eq!(value("retention.ms"), Some("604800000"));
        assert_eq!(value("flush.messages"), None);
        assert_eq!(value("preallocate"), None);
    }
}
