//! Topics: those that the file declares, and those that it only names.
//!
//! Names are kept with their first place, also of topics whose settings are wrong,
//! so that a mention of such a topic is no second problem.

use courant_log::TopicSettings;
use courant_model::{
    ByteSize, Column, Columns, TopicName,
    limits::{MESSAGE_BYTES_MAX, TOPICS_MAX},
};
use indexmap::{IndexMap, IndexSet};

use super::{
    document::Document,
    format::{self, TopicYaml},
    report::{At, Report},
};
use crate::plan::TopicPlan;

/// The topics of a file.
#[derive(Debug, Default)]
pub(super) struct Topics {
    plans: IndexMap<TopicName, TopicPlan>,
    /// Topics that something in the file writes to.
    written: IndexSet<TopicName>,
}

impl Topics {
    /// Notes that a topic is written to; it exists from now on.
    pub(super) fn write(&mut self, name: &TopicName) {
        self.written.insert(name.clone());
        self.plans.entry(name.clone()).or_insert_with(undeclared);
    }

    /// Whether the file declares the topic or writes to it.
    pub(super) fn contains(&self, name: &TopicName) -> bool {
        self.plans.contains_key(name)
    }

    /// How many partitions the topic has, where it is known.
    pub(super) fn partitions(&self, name: &TopicName) -> Option<i32> {
        self.plans.get(name).map(|topic| topic.partitions)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.plans.keys().map(TopicName::as_str).collect()
    }

    /// The declared columns that all these topics share; `None` where one has none, or
    /// others.
    pub(super) fn columns(&self, names: &[TopicName]) -> Option<&Columns> {
        let mut all = names.iter().map(|name| self.plans.get(name)?.columns.as_ref());
        let first = all.next()??;
        all.all(|columns| columns == Some(first)).then_some(first)
    }

    pub(super) fn into_plans(self) -> IndexMap<TopicName, TopicPlan> {
        self.plans
    }
}

/// Reads the section `topics`.
pub(super) fn read(document: &Document, report: &mut Report) -> Topics {
    let mut topics = Topics::default();
    for (count, (name, at)) in document.section("topics").enumerate() {
        if count == TOPICS_MAX {
            report.at(&at, format!("more than {TOPICS_MAX} topics are declared"), "");
            break;
        }
        match name.parse::<TopicName>() {
            Ok(name) => {
                let plan = topic(&at, report).unwrap_or_else(undeclared);
                topics.plans.insert(name, plan);
            }
            Err(error) => report.message(&at, &error.to_string()),
        }
    }
    topics
}

fn topic(at: &At<'_>, report: &mut Report) -> Option<TopicPlan> {
    let topic: TopicYaml = report.read(at)?;
    if topic.message_bytes.as_usize() > MESSAGE_BYTES_MAX {
        let at = at.get("message_bytes").unwrap_or_else(|| at.clone());
        let what = format!("message size {} is too large", topic.message_bytes);
        let most = ByteSize::from_bytes(MESSAGE_BYTES_MAX as u64);
        report.at(&at, what, &format!("at most {most} is allowed"));
    } else if topic.segment_bytes < topic.message_bytes {
        let at = at.get("segment_bytes").unwrap_or_else(|| at.clone());
        let what = format!("segment size {} is smaller than a message", topic.segment_bytes);
        report.at(&at, what, &format!("use {} or more", topic.message_bytes));
    }
    let columns: Columns =
        topic.columns.into_iter().map(|(name, text)| Column { name, ..text.0 }).collect();
    let columns = Some(columns).filter(|columns| !columns.is_empty());
    if let (Some(columns), Some(field)) = (&columns, &topic.event_time) {
        let first = &field.segments()[0];
        if columns.get(first).is_none() {
            let at = at.get("event_time").unwrap_or_else(|| at.clone());
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let remedy = crate::options::suggest(first, "the columns are", &names);
            report.at(&at, format!("unknown column {first:?}"), remedy.as_deref().unwrap_or(""));
        }
    }
    Some(TopicPlan {
        partitions: topic.partitions,
        settings: TopicSettings {
            retention_time: topic.retention.0,
            retention_bytes: topic.retention_bytes,
            cleanup: topic.cleanup.into(),
            segment_bytes: topic.segment_bytes,
            segment_time: topic.segment_time,
            tombstone_retention: topic.tombstone_retention,
            message_bytes_max: topic.message_bytes,
            ..TopicSettings::default()
        },
        columns,
        event_time: topic.event_time,
        declared: true,
    })
}

fn undeclared() -> TopicPlan {
    TopicPlan {
        partitions: format::partitions(),
        settings: TopicSettings::default(),
        columns: None,
        event_time: None,
        declared: false,
    }
}
