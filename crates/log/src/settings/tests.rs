//! Settings under Kafka's names: round trips, refusals, and old files.

use proptest::prelude::*;

use super::*;

fn value(settings: &TopicSettings, name: &str) -> String {
    settings.configs().into_iter().find(|entry| entry.name == name).unwrap().value
}

fn refusal(name: &str, value: &str) -> String {
    let mut settings = TopicSettings::default();
    let refused = settings.set_config(name, value).unwrap_err();
    assert_eq!(settings, TopicSettings::default(), "a refusal changes nothing");
    refused.to_string()
}

#[test]
fn the_list_is_sorted_and_holds_its_own_defaults() {
    let entries = TopicSettings::default().configs();
    assert!(entries.is_sorted_by_key(|entry| entry.name));
    let mut settings = TopicSettings::default();
    for entry in &entries {
        assert!(entry.is_default(), "{}", entry.name);
        settings.set_config(entry.name, &entry.value).unwrap();
    }
    assert_eq!(settings, TopicSettings::default());
}

#[test]
fn what_is_set_is_read_back_and_resets() {
    let changes = [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("compression.type", "zstd"),
        ("delete.retention.ms", "100"),
        ("flush.messages", "1"),
        ("leader.replication.throttled.replicas", "0:1,1:1"),
        ("max.compaction.lag.ms", "5000"),
        ("max.message.bytes", "1000000"),
        ("message.timestamp.after.max.ms", "3600000"),
        ("message.timestamp.before.max.ms", "0"),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.compaction.lag.ms", "1"),
        ("retention.bytes", "1073741824"),
        ("retention.ms", "-1"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "60000"),
        ("unclean.leader.election.enable", "true"),
    ];
    for (name, text) in changes {
        let mut settings = TopicSettings::default();
        settings.set_config(name, text).unwrap();
        assert_eq!(value(&settings, name), text);
        assert_ne!(settings, TopicSettings::default(), "{name}");
        settings.reset_config(name).unwrap();
        assert_eq!(settings, TopicSettings::default(), "{name}");
    }
}

#[test]
fn retention_without_end_is_minus_one() {
    let mut settings = TopicSettings::default();
    settings.set_config("retention.ms", "9223372036854775807").unwrap();
    assert_eq!((settings.retention_time, value(&settings, "retention.ms")), (None, "-1".into()));
}

#[test]
fn refusals_have_kafkas_words() {
    assert_eq!(refusal("retension.ms", "1"), "Unknown topic config name: retension.ms");
    let invalid = |name, text, why: &str| {
        assert_eq!(
            refusal(name, text),
            format!("Invalid value {text} for configuration {name}: {why}")
        );
    };
    invalid("retention.ms", "soon", "Not a number of type LONG");
    invalid("retention.ms", "-2", "Value must be at least -1");
    invalid("cleanup.policy", "shred", "String must be one of: compact, delete");
    invalid("max.message.bytes", "999999999", "Value must be no more than 16777216");
    invalid("min.cleanable.dirty.ratio", "1.5", "Value must be no more than 1");
    invalid("min.insync.replicas", "2", "Value must be no more than 1");
    invalid("min.insync.replicas", "0", "Value must be at least 1");
    invalid("preallocate", "maybe", "Expected value to be either true or false");
}

#[test]
fn lists_grow_and_shrink_and_nothing_else_does() {
    let mut settings = TopicSettings::default();
    settings.append_config("cleanup.policy", "compact").unwrap();
    assert_eq!(settings.cleanup, Retention::CompactAndDelete);
    settings.subtract_config("cleanup.policy", "delete").unwrap();
    assert_eq!(settings.cleanup, Retention::Compact);
    settings.subtract_config("cleanup.policy", "compact").unwrap_err();
    let refused = settings.append_config("retention.ms", "5").unwrap_err();
    assert_eq!(refused, ConfigError::NotAList { name: "retention.ms", action: "APPEND" });
}

#[test]
fn a_topic_file_from_before_these_settings_opens() {
    let old = r#"{"retention_time":"1d","retention_bytes":null,"cleanup":"compact",
        "segment_bytes":"1MiB","segment_time":"1h","tombstone_retention":"1d",
        "message_bytes_max":"1MiB"}"#;
    let settings: TopicSettings = serde_json::from_str(old).unwrap();
    assert_eq!(settings.cleanup, Retention::Compact);
    assert_eq!(settings.dirty_ratio_min, Ratio::HALF);
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused_and_what_is_taken_survives_the_file(
        index in 0..TopicSettings::default().configs().len(),
        text in "[a-z0-9.,:*-]{0,12}|-?[0-9]{1,19}|producer|gzip|compact|true",
    ) {
        let mut settings = TopicSettings::default();
        let name = settings.configs()[index].name;
        if settings.set_config(name, &text).is_ok() {
            let file = serde_json::to_vec(&settings).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<TopicSettings>(&file).unwrap(), &settings);
            let shown = value(&settings, name);
            let mut again = TopicSettings::default();
            again.set_config(name, &shown).unwrap();
            prop_assert_eq!(again, settings);
        }
    }
}
