//! Carries a lookup's questions outside and brings the answers back, in order.
//!
//! Equal questions of a batch are asked once, several at a time, and answers may be
//! remembered for a while. Who is asked and away is asked again without end, with growing
//! waits; meanwhile the partition reads nothing, as with a target that is away.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use courant_model::{Origin, json::scalar_text};
use courant_stores::{Cache, History, StoreError};
use futures::{StreamExt, TryStreamExt, stream};
use indexmap::IndexMap;
use serde_json::Value;

use super::{
    RoleHandles,
    deliver::{Backoff, Control, Halt},
};
use crate::{
    connector::{Answer, ConnectorError, Lookup, LookupContext},
    core::CoreOutput,
    lookup::{Asked, LookupStage},
    plan::{LookupPlan, LookupSource, Remember},
};

/// A lookup of one partition at work.
#[derive(Debug)]
pub(crate) struct Asker {
    stage: Arc<LookupStage>,
    lookup: Arc<dyn Lookup>,
    memory: Option<Memory>,
}

impl Asker {
    /// Opens what the stage asks.
    ///
    /// # Errors
    /// When a connector refuses for good.
    pub(crate) fn open(
        stage: &Arc<LookupStage>,
        roles: &RoleHandles,
        pipeline: &str,
        base: &std::path::Path,
    ) -> Result<Self, ConnectorError> {
        let LookupPlan { source, many, remember, .. } = &*stage.plan;
        let lookup: Arc<dyn Lookup> = match source {
            LookupSource::Cache { table, .. } => {
                Arc::new(CacheLookup { cache: Arc::clone(&roles.cache), table: table.clone() })
            }
            LookupSource::History { collection, .. } => {
                let history = Arc::clone(&roles.history);
                Arc::new(HistoryLookup { history, collection: collection.clone() })
            }
            LookupSource::Connector { factory, .. } => factory.open(LookupContext {
                pipeline: pipeline.to_owned(),
                base: base.to_owned(),
                many: *many,
            })?,
        };
        let memory = remember.map(Memory::new);
        Ok(Self { stage: Arc::clone(stage), lookup, memory })
    }

    /// Answers what the events of a batch ask; those that go on are in the order in which
    /// they came.
    ///
    /// # Errors
    /// [`Halt`]; then nothing of the batch counts.
    pub(crate) async fn ask(
        &mut self,
        mut output: CoreOutput,
        now: Origin,
        control: Control<'_>,
    ) -> Result<CoreOutput, Halt> {
        let events = std::mem::take(&mut output.events);
        let asked: Vec<Asked> = events.iter().map(|event| self.stage.asked(event)).collect();
        let mut answers: IndexMap<String, Option<Answer>> = IndexMap::new();
        let mut open = Vec::new();
        for question in asked.iter().filter_map(question_of) {
            let key = key_of(question);
            if !answers.contains_key(&key) {
                let known = self.memory.as_mut().and_then(|memory| memory.get(&key, now));
                if known.is_none() {
                    open.push((answers.len(), question));
                }
                answers.insert(key, known);
            }
        }
        let mut asking = Vec::with_capacity(open.len());
        for (at, question) in open {
            asking.push(self.one(at, question, control));
        }
        let concurrency = self.stage.plan.concurrency;
        let got: Vec<(usize, Answer)> =
            stream::iter(asking).buffer_unordered(concurrency).try_collect().await?;
        for (at, answer) in got {
            if let Some((key, slot)) = answers.get_index_mut(at) {
                if let Some(memory) = &mut self.memory {
                    memory.put(key, &answer, now);
                }
                *slot = Some(answer);
            }
        }
        for (event, asked) in events.into_iter().zip(asked) {
            let key = question_of(&asked).map(key_of);
            let answer = key.and_then(|key| answers.get(&key)?.as_ref());
            self.stage.settle(event, asked, answer, &mut output);
        }
        Ok(output)
    }

    /// Asks one question until there is an answer.
    async fn one(
        &self,
        at: usize,
        question: &[Value],
        control: Control<'_>,
    ) -> Result<(usize, Answer), Halt> {
        let mut backoff = Backoff::default();
        loop {
            // Asking stops with the task, also where the other side never answers.
            let answer = tokio::select! {
                () = control.stop.cancelled() => return Err(Halt::Stopping),
                answer = self.lookup.ask(question) => answer,
            };
            match answer {
                Ok(answer) => {
                    backoff.succeeded(control);
                    return Ok((at, answer));
                }
                Err(error) => {
                    let what = format!("{}: {error}", self.stage.place.label());
                    let error = ConnectorError { what, retryable: error.retryable };
                    backoff.wait(control, &error).await?;
                }
            }
        }
    }
}

fn question_of(asked: &Asked) -> Option<&[Value]> {
    match asked {
        Asked::Question(question) => Some(question),
        Asked::Nothing | Asked::Missing | Asked::Refused(_) => None,
    }
}

/// Equal questions have equal keys, others have others.
fn key_of(question: &[Value]) -> String {
    serde_json::to_string(question).unwrap_or_default()
}

/// Answers that count for a while; the oldest go first.
#[derive(Debug)]
struct Memory {
    bounds: Remember,
    answers: HashMap<String, (Answer, Origin)>,
    /// Keys in the order of their coming; one that came again stands here twice.
    order: VecDeque<(String, Origin)>,
}

impl Memory {
    fn new(bounds: Remember) -> Self {
        Self { bounds, answers: HashMap::new(), order: VecDeque::new() }
    }

    fn get(&mut self, key: &str, now: Origin) -> Option<Answer> {
        let (answer, until) = self.answers.get(key)?;
        if *until > now {
            return Some(answer.clone());
        }
        self.answers.remove(key);
        None
    }

    fn put(&mut self, key: &str, answer: &Answer, now: Origin) {
        let ttl = match answer {
            Answer::Found(items) if !items.is_empty() => self.bounds.ttl,
            Answer::Found(_) | Answer::Refused(_) => self.bounds.missing,
        };
        let until = later(now, ttl.as_duration());
        if until <= now {
            return;
        }
        self.answers.insert(key.to_owned(), (answer.clone(), until));
        self.order.push_back((key.to_owned(), until));
        while self.answers.len() > self.bounds.keys || self.order.len() > 2 * self.bounds.keys {
            let Some((oldest, until)) = self.order.pop_front() else { break };
            if self.answers.get(&oldest).is_some_and(|(_, current)| *current == until) {
                self.answers.remove(&oldest);
            }
        }
    }
}

fn later(now: Origin, by: Duration) -> Origin {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Origin::from_micros(now.as_micros().saturating_add(micros))
}

/// Asks a table of the cache: by key, or by key and field.
#[derive(Debug)]
struct CacheLookup {
    cache: Arc<dyn Cache>,
    table: String,
}

#[async_trait]
impl Lookup for CacheLookup {
    async fn ask(&self, parameters: &[Value]) -> Result<Answer, ConnectorError> {
        let texts: Vec<String> = parameters.iter().filter_map(scalar_text).collect();
        let found = match texts.as_slice() {
            [key, field] => self
                .cache
                .get_field(&self.table, key, field)
                .await
                .map(|one| one.as_deref().map(json)),
            [key] => self.whole(key).await,
            _ => Ok(None),
        };
        answer(found)
    }
}

impl CacheLookup {
    /// A key's value, or the object of its fields.
    async fn whole(&self, key: &str) -> Result<Option<Value>, StoreError> {
        match self.cache.get(&self.table, key).await {
            Ok(found) => Ok(found.as_deref().map(json)),
            Err(StoreError::WrongKind { .. }) => {
                let fields = self.cache.fields(&self.table, key).await?;
                let fields = fields.into_iter().map(|(name, value)| (name, json(&value)));
                Ok(Some(Value::Object(fields.collect())))
            }
            Err(error) => Err(error),
        }
    }
}

/// Asks a collection of the history by id.
#[derive(Debug)]
struct HistoryLookup {
    history: Arc<dyn History>,
    collection: String,
}

#[async_trait]
impl Lookup for HistoryLookup {
    async fn ask(&self, parameters: &[Value]) -> Result<Answer, ConnectorError> {
        let id = parameters.first().and_then(scalar_text).unwrap_or_default();
        let found = match self.history.get(&self.collection, &id).await {
            // Nothing was written there yet.
            Err(StoreError::UnknownCollection { .. }) => Ok(None),
            found => found.map(|found| found.map(Value::Object)),
        };
        answer(found)
    }
}

fn answer(found: Result<Option<Value>, StoreError>) -> Result<Answer, ConnectorError> {
    match found {
        Ok(found) => Ok(Answer::Found(found.into_iter().collect())),
        Err(error @ (StoreError::WrongKind { .. } | StoreError::InvalidName { .. })) => {
            Ok(Answer::Refused(error.to_string()))
        }
        Err(error) => Err(ConnectorError { what: error.to_string(), retryable: error.retryable() }),
    }
}

/// What a store holds is mostly JSON; other bytes are a text.
fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}
