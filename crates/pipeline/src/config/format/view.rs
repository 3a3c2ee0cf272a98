//! What a view may hold in a file, as types.

use courant_model::{
    Span, TopicName,
    limits::{VIEW_IDLE_MS_DEFAULT, VIEW_KEEP_MS_DEFAULT},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GuaranteeYaml, Start};

/// A view: a continuous query, with a store and a topic of its results.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some keys are read from the tree; they are here for their shape")]
pub(in crate::config) struct ViewYaml {
    /// The query: `SELECT … FROM topic … GROUP BY …`.
    pub(in crate::config) sql: String,
    /// The topic of the results; `<name of the file>.<name of the view>` unless set.
    pub(in crate::config) to: Option<TopicName>,
    /// How long after its end, in event time, a window still takes records.
    #[serde(default)]
    pub(in crate::config) grace: Span,
    /// When results go to the topic: `changes`, whenever they change; `final`, once, when
    /// their window is closed; `{ changes: 1s }`, at most once in that time for each key.
    #[serde(default)]
    pub(in crate::config) emit: EmitYaml,
    /// How far out of order records may be, instead of what their topics say.
    pub(in crate::config) lateness: Option<Span>,
    /// A topic that was silent for so long is left out of the watermark, where the query
    /// reads several; `0s` waits for ever.
    #[serde(default = "view_idle")]
    pub(in crate::config) idle: Span,
    /// The topic for records that come too late. They are counted in any case.
    pub(in crate::config) late: Option<TopicName>,
    /// How long a window stays in the store after it is closed, in event time.
    #[serde(default = "view_keep")]
    pub(in crate::config) keep: Span,
    /// How long a group without a window is kept after its last record, in event time; for
    /// ever unless set.
    pub(in crate::config) ttl: Option<Span>,
    /// The consumer group; `<name of the file>.<name of the view>` unless set.
    #[schemars(length(min = 1, max = 249))]
    pub(in crate::config) group: Option<String>,
    /// Where the group begins in a topic that it has not read yet.
    #[serde(default)]
    pub(in crate::config) start: Start,
    /// What happens to what fails.
    #[serde(default)]
    pub(in crate::config) on_error: ViewErrorYaml,
    /// What readers of its topic can count on: `exactly_once` or `at_least_once`, as with
    /// pipelines; `exactly_once` unless set. The store holds each record once in any case.
    pub(in crate::config) guarantee: Option<GuaranteeYaml>,
    /// Longest time between two checkpoints.
    #[serde(default = "super::checkpoint")]
    pub(in crate::config) checkpoint: Span,
    /// The only profile that has this view.
    pub(in crate::config) profile: Option<String>,
}

/// When results go to a view's topic.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum EmitYaml {
    Word(EmitWord),
    Every(EmitEvery),
}

/// When results go to a view's topic.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum EmitWord {
    Changes,
    Final,
}

/// Changes, at most once in a time for each key.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct EmitEvery {
    /// The time.
    pub(in crate::config) changes: Span,
}

impl Default for EmitYaml {
    fn default() -> Self {
        Self::Word(EmitWord::Changes)
    }
}

/// What happens to what a view cannot take.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ViewErrorYaml {
    /// The topic for what is set aside; `<name of the view>.dead` unless set.
    pub(in crate::config) dead_letters: Option<TopicName>,
}

fn view_idle() -> Span {
    Span::from_millis(VIEW_IDLE_MS_DEFAULT)
}

fn view_keep() -> Span {
    Span::from_millis(VIEW_KEEP_MS_DEFAULT)
}
