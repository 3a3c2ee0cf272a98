//! Topic settings under Kafka's names: what `kafka-configs` reads and writes.
//!
//! One visible list, [`CONFIGS`], holds every topic configuration of Kafka 4.1. Some
//! act here and live in fields of [`TopicSettings`]; the others change nothing in a
//! log of one machine, are checked as Kafka checks them and kept as they were
//! written. Texts of refusals are Kafka's own, because people search for them.
//! A value that equals the default counts as not set.

use courant_model::{
    ByteSize, Span,
    limits::{MESSAGE_BYTES_MAX, SEGMENT_BYTES_MAX},
};

use super::{Retention, TimestampSource, TopicSettings};
use crate::{batch::Compression, embedded::SEGMENT_BYTES_MIN};

/// A setting of a topic under Kafka's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: &'static str,
    pub value: String,
    pub default: String,
    pub kind: ConfigKind,
    /// What it does here, in a sentence.
    pub documentation: &'static str,
}

impl ConfigEntry {
    /// Whether the topic leaves the setting alone.
    pub fn is_default(&self) -> bool {
        self.value == self.default
    }
}

/// What a setting's text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    Boolean,
    String,
    Int,
    Long,
    Double,
    /// Items separated by commas.
    List,
}

/// Why a setting under Kafka's name is refused; the texts are Kafka's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("Unknown topic config name: {name}")]
    Unknown { name: String },
    #[error("Invalid value {value} for configuration {name}: {why}")]
    Invalid { name: &'static str, value: String, why: String },
    #[error("Can't {action} to key {name} because its type is not LIST.")]
    NotAList { name: &'static str, action: &'static str },
}

/// One of Kafka's topic configurations.
struct Config {
    name: &'static str,
    kind: ConfigKind,
    place: Place,
    documentation: &'static str,
}

/// Where a configuration lives.
enum Place {
    /// In a field, and something happens by it.
    Acts {
        read: fn(&TopicSettings) -> String,
        write: fn(&mut TopicSettings, &str) -> Result<(), String>,
    },
    /// Among the kept ones.
    Kept { default: &'static str, check: fn(&str) -> Result<(), String> },
}

/// Kafka's "never" and "without end".
const LONG_MAX: &str = "9223372036854775807";

/// What a span can hold at most in milliseconds.
const SPAN_MS_MAX: u64 = u64::MAX / 1_000;

impl TopicSettings {
    /// Every setting under Kafka's name, by name.
    pub fn configs(&self) -> Vec<ConfigEntry> {
        let default = Self::default();
        let entry = |config: &Config| ConfigEntry {
            name: config.name,
            value: config.read(self),
            default: config.read(&default),
            kind: config.kind,
            documentation: config.documentation,
        };
        CONFIGS.iter().map(entry).collect()
    }

    /// Sets what Kafka calls `name`.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`], [`ConfigError::Invalid`]; then nothing has changed.
    pub fn set_config(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        find(name)?.write(self, value)
    }

    /// Puts what Kafka calls `name` back to its default.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`].
    pub fn reset_config(&mut self, name: &str) -> Result<(), ConfigError> {
        let config = find(name)?;
        config.write(self, &config.read(&Self::default()))
    }

    /// Adds items to a setting that is a list; those it has already stay once.
    ///
    /// # Errors
    /// As [`Self::set_config`]; [`ConfigError::NotAList`].
    pub fn append_config(&mut self, name: &str, items: &str) -> Result<(), ConfigError> {
        self.change_list(name, "APPEND", |list| {
            for item in split(items) {
                if !list.contains(&item) {
                    list.push(item);
                }
            }
        })
    }

    /// Takes items out of a setting that is a list.
    ///
    /// # Errors
    /// As [`Self::set_config`]; [`ConfigError::NotAList`].
    pub fn subtract_config(&mut self, name: &str, items: &str) -> Result<(), ConfigError> {
        let gone = split(items);
        self.change_list(name, "SUBTRACT", |list| list.retain(|item| !gone.contains(item)))
    }

    fn change_list(
        &mut self,
        name: &str,
        action: &'static str,
        change: impl FnOnce(&mut Vec<String>),
    ) -> Result<(), ConfigError> {
        let config = find(name)?;
        if config.kind != ConfigKind::List {
            return Err(ConfigError::NotAList { name: config.name, action });
        }
        let mut list = split(&config.read(self));
        change(&mut list);
        config.write(self, &list.join(","))
    }
}

impl Config {
    fn read(&self, settings: &TopicSettings) -> String {
        match self.place {
            Place::Acts { read, .. } => read(settings),
            Place::Kept { default, .. } => {
                settings.kept.get(self.name).cloned().unwrap_or_else(|| default.to_owned())
            }
        }
    }

    fn write(&self, settings: &mut TopicSettings, value: &str) -> Result<(), ConfigError> {
        let value = value.trim();
        let written = match self.place {
            Place::Acts { write, .. } => write(settings, value),
            Place::Kept { default, check } => check(value).map(|()| {
                if value == default {
                    settings.kept.remove(self.name);
                } else {
                    settings.kept.insert(self.name.to_owned(), value.to_owned());
                }
            }),
        };
        written.map_err(|why| ConfigError::Invalid {
            name: self.name,
            value: value.chars().take(200).collect(),
            why,
        })
    }
}

fn find(name: &str) -> Result<&'static Config, ConfigError> {
    let found = CONFIGS.iter().find(|config| config.name == name);
    found.ok_or_else(|| ConfigError::Unknown { name: name.chars().take(200).collect() })
}

fn split(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// Every topic configuration of Kafka 4.1, by name.
const CONFIGS: &[Config] = &[
    Config {
        name: "cleanup.policy",
        kind: ConfigKind::List,
        place: Place::Acts {
            read: |settings| cleanup_text(settings.cleanup).to_owned(),
            write: |settings, value| cleanup(value).map(|cleanup| settings.cleanup = cleanup),
        },
        documentation: "What happens to old records: delete, compact, or both.",
    },
    kept("compression.gzip.level", ConfigKind::Int, "-1", |v| level(v, 1, 9, -1), LEVEL),
    kept("compression.lz4.level", ConfigKind::Int, "9", |v| int(v, 1, 17), LEVEL),
    Config {
        name: "compression.type",
        kind: ConfigKind::String,
        place: Place::Acts {
            read: |settings| compression_text(settings.compression).to_owned(),
            write: |settings, value| compression(value).map(|codec| settings.compression = codec),
        },
        documentation: "How batches are packed on disk; producer keeps them as they came.",
    },
    kept("compression.zstd.level", ConfigKind::Int, "3", |v| int(v, -131_072, 22), LEVEL),
    Config {
        name: "delete.retention.ms",
        kind: ConfigKind::Long,
        place: Place::Acts {
            read: |settings| settings.tombstone_retention.as_millis().to_string(),
            write: |settings, value| span(value, 0).map(|span| settings.tombstone_retention = span),
        },
        documentation: "How long a tombstone stays after compaction.",
    },
    kept("file.delete.delay.ms", ConfigKind::Long, "60000", |v| long(v, 0), NOTHING),
    kept("flush.messages", ConfigKind::Long, LONG_MAX, |v| long(v, 1), FLUSH),
    kept("flush.ms", ConfigKind::Long, LONG_MAX, |v| long(v, 0), FLUSH),
    kept("follower.replication.throttled.replicas", ConfigKind::List, "", throttled, ONE_REPLICA),
    kept("index.interval.bytes", ConfigKind::Int, "4096", |v| int(v, 0, i32::MAX), NOTHING),
    kept("leader.replication.throttled.replicas", ConfigKind::List, "", throttled, ONE_REPLICA),
    kept("local.retention.bytes", ConfigKind::Long, "-2", |v| long(v, -2), NO_TIERS),
    kept("local.retention.ms", ConfigKind::Long, "-2", |v| long(v, -2), NO_TIERS),
    Config {
        name: "max.compaction.lag.ms",
        kind: ConfigKind::Long,
        place: Place::Acts {
            read: |settings| or_for_ever(settings.compaction_lag_max),
            write: |settings, value| {
                for_ever_or(value, 1).map(|span| settings.compaction_lag_max = span)
            },
        },
        documentation: "Compaction looks at a record after this long at the latest.",
    },
    Config {
        name: "max.message.bytes",
        kind: ConfigKind::Int,
        place: Place::Acts {
            read: |settings| settings.message_bytes_max.as_bytes().to_string(),
            write: |settings, value| {
                let bytes = size(value, 1, MESSAGE_BYTES_MAX as u64)?;
                settings.message_bytes_max = bytes;
                Ok(())
            },
        },
        documentation: "The largest record batch that is taken.",
    },
    Config {
        name: "message.timestamp.after.max.ms",
        kind: ConfigKind::Long,
        place: Place::Acts {
            read: |settings| or_for_ever(settings.timestamp_ahead_max),
            write: |settings, value| {
                for_ever_or(value, 0).map(|span| settings.timestamp_ahead_max = span)
            },
        },
        documentation: "How far a record's timestamp may lie ahead of the log's clock.",
    },
    Config {
        name: "message.timestamp.before.max.ms",
        kind: ConfigKind::Long,
        place: Place::Acts {
            read: |settings| or_for_ever(settings.timestamp_behind_max),
            write: |settings, value| {
                for_ever_or(value, 0).map(|span| settings.timestamp_behind_max = span)
            },
        },
        documentation: "How far a record's timestamp may lie behind the log's clock.",
    },
    Config {
        name: "message.timestamp.type",
        kind: ConfigKind::String,
        place: Place::Acts {
            read: |settings| match settings.timestamps {
                TimestampSource::Producer => "CreateTime".to_owned(),
                TimestampSource::Log => "LogAppendTime".to_owned(),
            },
            write: |settings, value| {
                settings.timestamps = match value {
                    "CreateTime" => TimestampSource::Producer,
                    "LogAppendTime" => TimestampSource::Log,
                    _ => return Err(one_of("CreateTime, LogAppendTime")),
                };
                Ok(())
            },
        },
        documentation: "Whose clock a record's timestamp is from.",
    },
    Config {
        name: "min.cleanable.dirty.ratio",
        kind: ConfigKind::Double,
        place: Place::Acts {
            read: |settings| settings.dirty_ratio_min.to_string(),
            write: |settings, value| {
                let number: f64 =
                    value.parse().map_err(|_| "Not a number of type DOUBLE".to_owned())?;
                let bound = if number > 1.0 { "no more than 1" } else { "at least 0" };
                let ratio = value.parse().map_err(|_| format!("Value must be {bound}"))?;
                settings.dirty_ratio_min = ratio;
                Ok(())
            },
        },
        documentation: "Compaction waits until so much of the closed segments is new.",
    },
    Config {
        name: "min.compaction.lag.ms",
        kind: ConfigKind::Long,
        place: Place::Acts {
            read: |settings| settings.compaction_lag_min.as_millis().to_string(),
            write: |settings, value| span(value, 0).map(|span| settings.compaction_lag_min = span),
        },
        documentation: "A record stays at least this long before compaction.",
    },
    kept(
        "min.insync.replicas",
        ConfigKind::Int,
        "1",
        |v| if int(v, 1, i32::MAX).is_ok() && v != "1" { Err(at_most(1)) } else { int(v, 1, 1) },
        ONE_REPLICA,
    ),
    kept("preallocate", ConfigKind::Boolean, "false", boolean, NOTHING),
    kept("remote.log.copy.disable", ConfigKind::Boolean, "false", boolean, NO_TIERS),
    kept("remote.log.delete.on.disable", ConfigKind::Boolean, "false", boolean, NO_TIERS),
    kept(
        "remote.storage.enable",
        ConfigKind::Boolean,
        "false",
        |value| match value {
            "true" => Err("Tiered Storage functionality is disabled in the broker".to_owned()),
            value => boolean(value),
        },
        NO_TIERS,
    ),
    Config {
        name: "retention.bytes",
        kind: ConfigKind::Long,
        place: Place::Acts {
            read: |s| s.retention_bytes.map_or("-1".to_owned(), |b| b.as_bytes().to_string()),
            write: |settings, value| {
                let bytes = number(value, -1)?;
                settings.retention_bytes = u64::try_from(bytes).ok().map(ByteSize::from_bytes);
                Ok(())
            },
        },
        documentation: "A partition larger than this loses its oldest segments; -1 is no bound.",
    },
    Config {
        name: "retention.ms",
        kind: ConfigKind::Long,
        place: Place::Acts {
            read: |s| s.retention_time.map_or("-1".to_owned(), |t| t.as_millis().to_string()),
            write: |settings, value| {
                let millis = number(value, -1)?;
                let endless = millis < 0 || millis == i64::MAX;
                settings.retention_time = if endless { None } else { Some(span(value, 0)?) };
                Ok(())
            },
        },
        documentation: "Records older than this go; -1 keeps them all.",
    },
    Config {
        name: "segment.bytes",
        kind: ConfigKind::Int,
        place: Place::Acts {
            read: |settings| settings.segment_bytes.as_bytes().to_string(),
            write: |settings, value| {
                let bytes = size(value, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)?;
                settings.segment_bytes = bytes;
                Ok(())
            },
        },
        documentation: "A segment is closed at this size.",
    },
    kept("segment.index.bytes", ConfigKind::Int, "10485760", |v| int(v, 4, i32::MAX), NOTHING),
    kept("segment.jitter.ms", ConfigKind::Long, "0", |v| long(v, 0), NOTHING),
    Config {
        name: "segment.ms",
        kind: ConfigKind::Long,
        place: Place::Acts {
            read: |settings| settings.segment_time.as_millis().to_string(),
            write: |settings, value| span(value, 1).map(|span| settings.segment_time = span),
        },
        documentation: "A segment is closed at this age.",
    },
    kept("unclean.leader.election.enable", ConfigKind::Boolean, "false", boolean, ONE_REPLICA),
];

const NOTHING: &str = "Kept and shown; the log has no such thing to set.";
const LEVEL: &str = "Kept and shown; a codec packs at its own default level.";
const FLUSH: &str = "Kept and shown; when appends are synced is the whole log's choice.";
const ONE_REPLICA: &str = "Kept and shown; a partition has one replica, this one.";
const NO_TIERS: &str = "Kept and shown; all records stay on this machine's disk.";

const fn kept(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    check: fn(&str) -> Result<(), String>,
    documentation: &'static str,
) -> Config {
    Config { name, kind, place: Place::Kept { default, check }, documentation }
}

const fn cleanup_text(cleanup: Retention) -> &'static str {
    match cleanup {
        Retention::Delete => "delete",
        Retention::Compact => "compact",
        Retention::CompactAndDelete => "compact,delete",
    }
}

fn cleanup(value: &str) -> Result<Retention, String> {
    let (mut compact, mut delete) = (false, false);
    for item in split(value) {
        match item.as_str() {
            "compact" => compact = true,
            "delete" => delete = true,
            _ => return Err(one_of("compact, delete")),
        }
    }
    match (compact, delete) {
        (true, true) => Ok(Retention::CompactAndDelete),
        (true, false) => Ok(Retention::Compact),
        (false, true) => Ok(Retention::Delete),
        (false, false) => Err("Configuration 'cleanup.policy' must not be empty. \
            Valid values include: [compact, delete]"
            .to_owned()),
    }
}

const fn compression_text(compression: Option<Compression>) -> &'static str {
    match compression {
        None => "producer",
        Some(Compression::None) => "uncompressed",
        Some(Compression::Gzip) => "gzip",
        Some(Compression::Snappy) => "snappy",
        Some(Compression::Lz4) => "lz4",
        Some(Compression::Zstd) => "zstd",
    }
}

fn compression(value: &str) -> Result<Option<Compression>, String> {
    Ok(match value {
        "producer" => None,
        "uncompressed" => Some(Compression::None),
        "gzip" => Some(Compression::Gzip),
        "snappy" => Some(Compression::Snappy),
        "lz4" => Some(Compression::Lz4),
        "zstd" => Some(Compression::Zstd),
        _ => return Err(one_of("uncompressed, zstd, lz4, snappy, gzip, producer")),
    })
}

fn number(value: &str, min: i64) -> Result<i64, String> {
    let number: i64 = value.parse().map_err(|_| "Not a number of type LONG".to_owned())?;
    if number < min { Err(at_least(min)) } else { Ok(number) }
}

fn long(value: &str, min: i64) -> Result<(), String> {
    number(value, min).map(|_| ())
}

fn int(value: &str, min: i32, max: i32) -> Result<(), String> {
    let number: i32 = value.parse().map_err(|_| "Not a number of type INT".to_owned())?;
    match number {
        low if low < min => Err(at_least(min.into())),
        high if high > max => Err(at_most(max.into())),
        _ => Ok(()),
    }
}

/// A codec's level, or the number that stands for its default.
fn level(value: &str, min: i32, max: i32, default: i32) -> Result<(), String> {
    if value == default.to_string() { Ok(()) } else { int(value, min, max) }
}

fn size(value: &str, min: u64, max: u64) -> Result<ByteSize, String> {
    let number: i64 = value.parse().map_err(|_| "Not a number of type INT".to_owned())?;
    match u64::try_from(number) {
        Ok(bytes) if bytes > max => Err(at_most(max.cast_signed())),
        Ok(bytes) if bytes >= min => Ok(ByteSize::from_bytes(bytes)),
        _ => Err(at_least(min.cast_signed())),
    }
}

fn span(value: &str, min_ms: i64) -> Result<Span, String> {
    let millis = number(value, min_ms)?.cast_unsigned();
    Ok(Span::from_millis(millis.min(SPAN_MS_MAX)))
}

fn for_ever_or(value: &str, min_ms: i64) -> Result<Option<Span>, String> {
    if value == LONG_MAX { Ok(None) } else { span(value, min_ms).map(Some) }
}

fn or_for_ever(span: Option<Span>) -> String {
    span.map_or_else(|| LONG_MAX.to_owned(), |span| span.as_millis().to_string())
}

fn boolean(value: &str) -> Result<(), String> {
    let is_one = value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false");
    if is_one { Ok(()) } else { Err("Expected value to be either true or false".to_owned()) }
}

/// `*`, or replicas as `partition:broker`.
fn throttled(value: &str) -> Result<(), String> {
    let is_replica = |item: &String| {
        let halves = item.split_once(':');
        halves.is_some_and(|(p, b)| p.parse::<u32>().is_ok() && b.parse::<u32>().is_ok())
    };
    let is_list = matches!(value, "*" | "none") || split(value).iter().all(is_replica);
    let why = "Must be the literal '*' or a list of replicas in the following format: \
        [partitionId]:[brokerId],[partitionId]:[brokerId],...";
    if is_list { Ok(()) } else { Err(why.to_owned()) }
}

fn one_of(values: &str) -> String {
    format!("String must be one of: {values}")
}

fn at_least(min: i64) -> String {
    format!("Value must be at least {min}")
}

fn at_most(max: i64) -> String {
    format!("Value must be no more than {max}")
}
