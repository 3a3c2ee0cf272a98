//! Topics: those that the file declares, and those that it only names.
//!
//! Names are kept with their first place, also of topics whose settings are wrong,
//! so that a mention of such a topic is no second problem.

use courant_log::TopicSettings;
use courant_model::{
    ByteSize, Column, Columns, Span, TopicName,
    limits::{MESSAGE_BYTES_MAX, TOPICS_MAX},
};
use indexmap::{IndexMap, IndexSet};

use super::{
    document::Document,
    format::{self, TopicYaml},
    report::{At, Report},
    views,
};
use crate::plan::{TopicPlan, ViewPlan};

/// The topics of a file.
#[derive(Debug, Default)]
pub(super) struct Topics {
    plans: IndexMap<TopicName, TopicPlan>,
    /// Topics that something in the file writes to.
    written: IndexSet<TopicName>,
    /// What views want to know of declared topics.
    relations: IndexMap<TopicName, ReadAs>,
}

/// How views read a topic.
#[derive(Debug, Clone, Default)]
struct ReadAs {
    is_table: bool,
    /// Columns that make the record's key, where that is known.
    key: Vec<String>,
    lateness: Span,
}

/// A topic as a view reads it.
#[derive(Debug)]
pub(super) struct TopicRelation<'a> {
    pub(super) columns: Option<&'a Columns>,
    pub(super) is_table: bool,
    pub(super) key: &'a [String],
    pub(super) event_time: Option<String>,
    pub(super) lateness: Span,
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

    /// The topic of this name as views read it.
    pub(super) fn relation(&self, name: &str) -> Option<TopicRelation<'_>> {
        let name: TopicName = name.parse().ok()?;
        let topic = self.plans.get(&name)?;
        let read_as = self.relations.get(&name);
        Some(TopicRelation {
            columns: topic.columns.as_ref(),
            is_table: read_as.is_some_and(|read_as| read_as.is_table),
            key: read_as.map_or(&[], |read_as| &read_as.key),
            event_time: topic.event_time.as_ref().map(|field| field.segments()[0].clone()),
            lateness: read_as.map(|read_as| read_as.lateness).unwrap_or_default(),
        })
    }

    /// Notes the topic of a view's results: what it holds, and, where the file does not
    /// declare it, how many partitions it needs and how long it keeps them.
    pub(super) fn write_view(&mut self, view: &ViewPlan) {
        self.write(&view.to);
        let inputs = view.read_topics().filter_map(|topic| self.partitions(topic));
        let partitions = inputs.max().unwrap_or_else(format::partitions);
        if let Some(topic) = self.plans.get_mut(&view.to)
            && !topic.declared
        {
            topic.partitions = topic.partitions.max(partitions);
            topic.settings = views::own_topic_settings(view);
        }
    }

    /// Notes a topic that holds another one's records in other partitions.
    pub(super) fn write_through(&mut self, name: &TopicName, of: &TopicName, partitions: i32) {
        self.write(name);
        let original = self.plans.get(of).cloned();
        if let (Some(topic), Some(original)) = (self.plans.get_mut(name), original) {
            *topic = TopicPlan { partitions, declared: topic.declared, ..original };
        }
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
                let (plan, read_as) =
                    topic(&at, report).unwrap_or_else(|| (undeclared(), ReadAs::default()));
                topics.plans.insert(name.clone(), plan);
                topics.relations.insert(name, read_as);
            }
            Err(error) => report.message(&at, &error.to_string()),
        }
    }
    topics
}

fn topic(at: &At<'_>, report: &mut Report) -> Option<(TopicPlan, ReadAs)> {
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
    let key = topic.key.into_vec();
    check_key(&key, columns.as_ref(), at, report);
    let read_as = ReadAs { is_table: topic.table, key, lateness: topic.lateness };
    let plan = TopicPlan {
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
    };
    Some((plan, read_as))
}

/// Finds keys of columns that there are not.
fn check_key(key: &[String], columns: Option<&Columns>, at: &At<'_>, report: &mut Report) {
    let Some(at) = at.get("key").filter(|_| !key.is_empty()) else { return };
    let Some(columns) = columns else { return };
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    for name in key.iter().filter(|name| columns.get(name).is_none()) {
        let remedy = crate::options::suggest(name, "the columns are", &names);
        report.at(&at, format!("unknown column {name:?}"), &remedy.unwrap_or_default());
    }
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
