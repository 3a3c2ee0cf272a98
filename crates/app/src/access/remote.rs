//! The log of a running Courant, through its HTTP API.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use courant_log::{GroupDescription, GroupSummary, TopicDescription, TopicSpec};
use courant_model::{Positions, TopicName, TopicPartition};
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{json, value::RawValue};

use super::{AccessError, Begin, Incoming, Outgoing, ResetTo, Wanted};

/// Records in one page.
const PAGE_RECORDS: usize = 1_000;

/// Longest silence of a stream before it is opened again; the server speaks every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long to wait before a stream that was cut is opened again.
const AFTER_A_CUT: Duration = Duration::from_millis(200);

/// A running Courant.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    base: String,
    client: Client,
}

#[derive(Deserialize)]
struct Topics {
    topics: Vec<TopicDescription>,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<GroupSummary>,
}

#[derive(Deserialize)]
struct Moved {
    positions: Vec<MovedPosition>,
}

#[derive(Deserialize)]
struct MovedPosition {
    topic: TopicName,
    partition: i32,
    offset: i64,
}

#[derive(Deserialize)]
struct Page {
    records: Vec<Box<RawValue>>,
    next: String,
}

impl Remote {
    pub(super) fn new(url: &str) -> Self {
        Self { base: url.trim_end_matches('/').to_owned(), client: Client::new() }
    }

    pub(super) async fn topics(&self) -> Result<Vec<TopicDescription>, AccessError> {
        Ok(self.json::<Topics>(self.client.get(self.at(&["topics"])?)).await?.topics)
    }

    pub(super) async fn topic(&self, name: &TopicName) -> Result<TopicDescription, AccessError> {
        self.json(self.client.get(self.at(&["topics", name.as_str()])?)).await
    }

    pub(super) async fn create_topic(
        &self,
        spec: &TopicSpec,
    ) -> Result<TopicDescription, AccessError> {
        self.json(with_json(self.client.post(self.at(&["topics"])?), &json!(spec))).await
    }

    pub(super) async fn delete_topic(&self, name: &TopicName) -> Result<(), AccessError> {
        self.send(self.client.delete(self.at(&["topics", name.as_str()])?)).await.map(drop)
    }

    pub(super) async fn produce(
        &self,
        topic: &TopicName,
        records: &[Outgoing],
    ) -> Result<(), AccessError> {
        let mut url = self.at(&["topics", topic.as_str(), "records"])?;
        url.query_pairs_mut().append_pair("envelope", "true").append_pair("positions", "false");
        let mut body = Vec::new();
        for record in records {
            envelope(record, &mut body);
        }
        let request =
            self.client.post(url).header("content-type", "application/x-ndjson").body(body);
        self.send(request).await.map(drop)
    }

    pub(super) async fn groups(&self) -> Result<Vec<GroupSummary>, AccessError> {
        Ok(self.json::<Groups>(self.client.get(self.at(&["groups"])?)).await?.groups)
    }

    pub(super) async fn group(&self, id: &str) -> Result<GroupDescription, AccessError> {
        self.json(self.client.get(self.at(&["groups", id])?)).await
    }

    pub(super) async fn reset_group(
        &self,
        id: &str,
        to: ResetTo,
    ) -> Result<Positions, AccessError> {
        let to = match to {
            ResetTo::Earliest => "earliest".to_owned(),
            ResetTo::Latest => "latest".to_owned(),
            ResetTo::Offset(offset) => offset.to_string(),
            ResetTo::Time(at) => format!("@{}", at.as_millis()),
        };
        let request = self.client.post(self.at(&["groups", id, "reset"])?);
        let moved: Moved = self.json(with_json(request, &json!({ "to": to }))).await?;
        let position = |at: MovedPosition| (TopicPartition::new(at.topic, at.partition), at.offset);
        Ok(moved.positions.into_iter().map(position).collect())
    }

    pub(super) async fn delete_group(&self, id: &str) -> Result<(), AccessError> {
        self.send(self.client.delete(self.at(&["groups", id])?)).await.map(drop)
    }

    pub(super) async fn tail(&self, wanted: Wanted) -> Result<RemoteTail, AccessError> {
        let description = self.topic(&wanted.topic).await?;
        let token = match wanted.begin {
            Begin::Offset(offset) => offset.to_string(),
            Begin::Earliest => "earliest".to_owned(),
            // As a token, so that nothing is missed between this answer and the next call.
            Begin::Latest => token_of_ends(&description),
        };
        let end =
            wanted.until_end.then(|| description.partitions.iter().map(|at| at.end).collect());
        Ok(RemoteTail { remote: self.clone(), wanted, token, end, stream: None })
    }

    /// Asks a route of the API for JSON.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, AccessError> {
        let mut url = self.at(segments)?;
        url.query_pairs_mut().extend_pairs(query);
        self.json(self.client.get(url)).await
    }

    /// Reads an answer as a type.
    pub(super) fn fit<T: DeserializeOwned>(
        &self,
        told: &serde_json::Value,
    ) -> Result<T, AccessError> {
        T::deserialize(told).map_err(|error| AccessError::Strange {
            url: self.base.clone(),
            why: error.to_string(),
        })
    }

    async fn events(&self, request: RequestBuilder) -> Result<Events, AccessError> {
        Ok(Events { answer: self.send(request).await?, buffer: Vec::new() })
    }

    fn at(&self, segments: &[&str]) -> Result<Url, AccessError> {
        let strange = |why: String| AccessError::Unreachable { url: self.base.clone(), why };
        let mut url = Url::parse(&self.base).map_err(|error| strange(error.to_string()))?;
        url.path_segments_mut()
            .map_err(|()| strange("it is no address of a server".into()))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(segments);
        Ok(url)
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, AccessError> {
        let body = self.send(request).await?.bytes().await.map_err(|error| self.lost(&error))?;
        serde_json::from_slice(&body).map_err(|error| AccessError::Strange {
            url: self.base.clone(),
            why: error.to_string(),
        })
    }

    /// Sends a request; a refusal becomes the server's own words.
    async fn send(&self, request: RequestBuilder) -> Result<Response, AccessError> {
        let answer = request.send().await.map_err(|error| self.lost(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.bytes().await.unwrap_or_default();
        let told: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = told["error"]["message"].as_str().or_else(|| told["error"].as_str());
        let remedy = told["error"]["remedy"].as_str();
        Err(AccessError::Refused(match (message, remedy) {
            (Some(message), Some(remedy)) => format!("{message}; {remedy}"),
            (Some(message), None) => message.to_owned(),
            (None, _) => format!("{} answered {status}", self.base),
        }))
    }

    fn lost(&self, error: &reqwest::Error) -> AccessError {
        use std::error::Error;
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            why = inner.to_string();
            cause = inner.source();
        }
        AccessError::Unreachable { url: self.base.clone(), why }
    }
}

fn with_json(request: RequestBuilder, body: &serde_json::Value) -> RequestBuilder {
    request.header("content-type", "application/json").body(body.to_string())
}

/// Writes a record as a line of the API's envelopes; what is not JSON goes as base64.
fn envelope(record: &Outgoing, line: &mut Vec<u8>) {
    line.push(b'{');
    if let Some(key) = &record.key {
        line.extend_from_slice(format!("\"key\":{},", json!(key)).as_bytes());
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(&record.value).is_ok() {
        line.extend_from_slice(b"\"value\":");
        line.extend_from_slice(&record.value);
    } else {
        let text = STANDARD.encode(&record.value);
        line.extend_from_slice(format!("\"value_base64\":\"{text}\"").as_bytes());
    }
    line.extend_from_slice(b"}\n");
}

fn token_of_ends(topic: &TopicDescription) -> String {
    let ends = topic.partitions.iter().enumerate();
    ends.map(|(partition, at)| format!("{partition}:{}", at.end)).collect::<Vec<_>>().join(",")
}

/// Follows a topic page by page to its end, or event by event without end.
#[derive(Debug)]
pub(crate) struct RemoteTail {
    remote: Remote,
    wanted: Wanted,
    /// Where to go on.
    token: String,
    /// The ends of the partitions, when reading stops there.
    end: Option<Vec<i64>>,
    stream: Option<Events>,
}

impl RemoteTail {
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Incoming>>, AccessError> {
        if self.end.is_some() {
            return self.page().await;
        }
        loop {
            let mut events = match self.stream.take() {
                Some(events) => events,
                None => self.open().await?,
            };
            match events.next().await {
                Some(event) if event.name != "record" => self.stream = Some(events),
                Some(Event { id, data, .. }) => {
                    self.stream = Some(events);
                    self.token = id;
                    return Ok(Some(vec![incoming(&self.remote.base, &data)?]));
                }
                // Cut off: continue after the last record.
                None => tokio::time::sleep(AFTER_A_CUT).await,
            }
        }
    }

    async fn page(&mut self) -> Result<Option<Vec<Incoming>>, AccessError> {
        let ends = self.end.as_deref().unwrap_or_default();
        if at_end(&self.token, ends) {
            return Ok(None);
        }
        let mut url = self.remote.at(&["topics", self.wanted.topic.as_str(), "records"])?;
        url.query_pairs_mut()
            .append_pair("from", &self.token)
            .append_pair("limit", &PAGE_RECORDS.to_string());
        self.name_partition(&mut url);
        let page: Page = self.remote.json(self.remote.client.get(url)).await?;
        if page.records.is_empty() && page.next == self.token {
            return Ok(None);
        }
        self.token = page.next;
        let records = page.records.iter().map(|raw| incoming(&self.remote.base, raw.get()));
        records.collect::<Result<_, _>>().map(Some)
    }

    async fn open(&self) -> Result<Events, AccessError> {
        let mut url = self.remote.at(&["topics", self.wanted.topic.as_str(), "stream"])?;
        url.query_pairs_mut().append_pair("from", &self.token);
        self.name_partition(&mut url);
        self.remote.events(self.remote.client.get(url)).await
    }

    fn name_partition(&self, url: &mut Url) {
        if let Some(partition) = self.wanted.partition {
            url.query_pairs_mut().append_pair("partition", &partition.to_string());
        }
    }
}

/// Whether a token has reached every end.
fn at_end(token: &str, ends: &[i64]) -> bool {
    let reached = |part: &str| {
        let (partition, offset) = part.split_once(':')?;
        let end = ends.get(partition.parse::<usize>().ok()?)?;
        Some(offset.parse::<i64>().ok()? >= *end)
    };
    token.contains(':') && token.split(',').all(|part| reached(part).unwrap_or(false))
}

fn incoming(url: &str, json: &str) -> Result<Incoming, AccessError> {
    #[derive(Deserialize)]
    struct Shown<'a> {
        #[serde(borrow)]
        value: Option<&'a RawValue>,
        value_encoding: Option<&'a str>,
    }
    let strange = |why: String| AccessError::Strange { url: url.to_owned(), why };
    let shown: Shown<'_> =
        serde_json::from_str(json).map_err(|error| strange(error.to_string()))?;
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get());
    let value = match (shown.value, shown.value_encoding) {
        (None, _) => None,
        (Some(raw), None) => Some(Bytes::copy_from_slice(raw.get().as_bytes())),
        (Some(raw), Some("base64")) => {
            let text = text(raw).map_err(|error| strange(error.to_string()))?;
            Some(STANDARD.decode(text).map_err(|error| strange(error.to_string()))?.into())
        }
        (Some(raw), Some(_)) => Some(text(raw).map_err(|error| strange(error.to_string()))?.into()),
    };
    let json =
        RawValue::from_string(json.to_owned()).map_err(|error| strange(error.to_string()))?;
    Ok(Incoming { value, json })
}

/// Server-sent events, as far as this API sends them.
#[derive(Debug)]
struct Events {
    answer: Response,
    buffer: Vec<u8>,
}

impl Events {
    /// The next event with data; `None` when the stream is over or silent.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(found) = parse_event(&String::from_utf8_lossy(&event)) {
                    return Some(found);
                }
            }
            let chunk = tokio::time::timeout(SILENCE_MAX, self.answer.chunk()).await;
            self.buffer.extend_from_slice(&chunk.ok()?.ok()??);
        }
    }
}

/// A stream that goes on after the last event when it was cut.
#[derive(Debug)]
pub(crate) struct EventStream {
    remote: Remote,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    /// Continues after the last event that had one.
    token: Option<String>,
    events: Option<Events>,
}

impl EventStream {
    pub(super) const fn new(
        remote: Remote,
        path: Vec<String>,
        query: Vec<(&'static str, String)>,
    ) -> Self {
        Self { remote, path, query, token: None, events: None }
    }

    /// The next event, however long it takes.
    pub(crate) async fn next(&mut self) -> Result<Event, AccessError> {
        loop {
            let mut events = match self.events.take() {
                Some(events) => events,
                None => self.open().await?,
            };
            match events.next().await {
                Some(event) => {
                    self.events = Some(events);
                    if !event.id.is_empty() {
                        self.token = Some(event.id.clone());
                    }
                    return Ok(event);
                }
                None => tokio::time::sleep(AFTER_A_CUT).await,
            }
        }
    }

    async fn open(&self) -> Result<Events, AccessError> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let mut url = self.remote.at(&path)?;
        url.query_pairs_mut().extend_pairs(&self.query);
        let mut request = self.remote.client.get(url);
        if let Some(token) = &self.token {
            request = request.header("last-event-id", token);
        }
        self.remote.events(request).await
    }
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    /// Empty where it has none.
    pub(crate) id: String,
    pub(crate) data: String,
}

fn parse_event(text: &str) -> Option<Event> {
    let (mut name, mut id, mut data) = ("", "", Vec::new());
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value,
            "id" => id = value,
            "data" => data.push(value),
            _ => {}
        }
    }
    let event = || Event { name: name.to_owned(), id: id.to_owned(), data: data.join("\n") };
    (!data.is_empty()).then(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_and_comments_are_passed_over() {
        let text = "event: record\nid: 0:4,1:2\ndata: {\"a\":\ndata: 1}\n\n";
        let event =
            Event { name: "record".into(), id: "0:4,1:2".into(), data: "{\"a\":\n1}".into() };
        assert_eq!(parse_event(text), Some(event));
        assert_eq!(parse_event(": still here\n\n"), None);
        assert_eq!(parse_event("retry: 1000\n\n"), None);
    }

    #[test]
    fn an_end_is_reached_when_every_partition_is() {
        assert!(at_end("0:5,1:2", &[5, 2]));
        assert!(!at_end("0:5,1:1", &[5, 2]));
        assert!(!at_end("earliest", &[0]));
    }

    #[test]
    fn an_envelope_keeps_json_and_wraps_what_is_not() {
        let line = |key: Option<&str>, value: &'static str| {
            let mut line = Vec::new();
            let record = Outgoing { key: key.map(Into::into), value: value.into() };
            envelope(&record, &mut line);
            String::from_utf8(line).unwrap()
        };
        assert_eq!(
            line(Some("k\""), "{\"a\": 1.0}"),
            "{\"key\":\"k\\\"\",\"value\":{\"a\": 1.0}}\n"
        );
        assert_eq!(line(None, "plain"), "{\"value_base64\":\"cGxhaW4=\"}\n");
    }
}
