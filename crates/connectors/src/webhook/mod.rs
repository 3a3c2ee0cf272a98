//! The sink `webhook`: sends records to somebody's HTTP server.
//!
//! One request for each record, or for a batch of them as a JSON list. The id in
//! `Idempotency-Key` comes from the record's place in the log, so that the other side
//! can tell a repeat. What an answer means is decided in [`verdict`]. Headers
//! may hold secrets: nothing here prints them, nor a URL's user or query.

pub(crate) mod request;
pub(crate) mod verdict;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use courant_model::{
    Span,
    limits::{RETRY_WAIT_MS_MAX, RETRY_WAIT_MS_MIN, WEBHOOK_BATCH_RECORDS_MAX, WEBHOOK_TRIES_MAX},
};
use courant_pipeline::{
    connector::{
        About, ConnectorError, OptionProblem, Rejection, Sink, SinkContext, SinkFactory, SinkKind,
    },
    event::{Event, NotJson},
    options,
};
use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use request::Target;
use verdict::Verdict;

/// The entry in the list of connectors.
pub(crate) const SINK: SinkKind = SinkKind {
    about: About {
        name: "webhook",
        summary: "Sends records to an HTTP server, one by one or in batches.",
        guarantee: "At least once, in order. A record that is sent again alone has the same \
                    Idempotency-Key; batches may be cut otherwise after a restart. 408, 425, 429, 5xx, 401, 403 and failed connections are tried again and hold the \
                    pipeline; any other refusal makes the record a dead letter.",
        example: "webhook: { url: \"https://example.com/hooks/orders\", batch: 100 }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `webhook`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Where to send: http:// or https://.
    #[schemars(length(min = 1))]
    url: String,
    /// The method. Default: POST.
    #[serde(default)]
    method: Method,
    /// Headers of every request; write secrets as ${NAME}.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Records in one request; above 1 they are sent as a JSON list. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000))]
    batch: usize,
    /// How long a request may take, all in all. Default: 10s.
    #[serde(default = "ten_seconds")]
    timeout: Span,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    #[default]
    Post,
    Put,
    Patch,
}

const fn one() -> usize {
    1
}

const fn ten_seconds() -> Span {
    Span::from_millis(10_000)
}

/// What the sink needs, checked.
#[derive(Clone)]
struct Settings {
    url: Url,
    method: Method,
    headers: HeaderMap,
    batch: usize,
    timeout: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (url, headers) = (request::public(&self.url), self.headers.keys());
        f.debug_struct("Settings")
            .field("url", &url)
            .field("headers", &headers.map(HeaderName::as_str).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn parse(value: &Value) -> Result<Arc<dyn SinkFactory>, Vec<OptionProblem>> {
    Ok(Arc::new(settings(value)?))
}

fn settings(value: &Value) -> Result<Settings, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let mut problems = Vec::new();
    let mut problem = |path: &[&str], what: String, remedy: &str| {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        problems.push(OptionProblem { path, what, remedy: Some(remedy.into()) });
    };
    let url = Url::parse(&options.url)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if url.is_none() {
        problem(&["url"], "URL cannot be used".into(), "write https://host/path");
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.append(name, value);
            }
            (Err(_), _) => {
                let what = format!("header name {name:?} is not allowed");
                problem(&["headers", name], what, "use letters, digits and '-'");
            }
            (_, Err(_)) => {
                let what = format!("value of header {name:?} is not allowed");
                problem(&["headers", name], what, "use one line of visible characters");
            }
        }
    }
    if !(1..=WEBHOOK_BATCH_RECORDS_MAX).contains(&options.batch) {
        let remedy = format!("set 1 to {WEBHOOK_BATCH_RECORDS_MAX}");
        problem(&["batch"], "batch is out of bounds".into(), &remedy);
    }
    if options.timeout.as_duration().is_zero() {
        problem(&["timeout"], "time is zero".into(), "set 10s or so");
    }
    match url {
        Some(url) if problems.is_empty() => Ok(Settings {
            url,
            method: options.method,
            headers,
            batch: options.batch,
            timeout: options.timeout.as_duration(),
        }),
        _ => Err(problems),
    }
}

impl SinkFactory for Settings {
    fn open(&self, _context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(Webhook { target: Target::new(self)?, batch: self.batch }))
    }
}

#[derive(Debug)]
struct Webhook {
    target: Target,
    batch: usize,
}

/// A record on its way: its index within the call, its id, its JSON.
#[derive(Debug, Clone)]
struct Item {
    index: usize,
    id: String,
    json: String,
}

#[async_trait]
impl Sink for Webhook {
    async fn write(&mut self, events: &[Event]) -> Result<Vec<Rejection>, ConnectorError> {
        let (mut items, mut rejections) = (Vec::new(), Vec::new());
        for (index, event) in events.iter().enumerate() {
            match json_of(event) {
                Ok(json) => items.push(Item { index, id: event.default_id(), json }),
                Err(error) => rejections.push(Rejection { index, why: error.to_string() }),
            }
        }
        for batch in items.chunks(self.batch) {
            self.send(batch, &mut rejections).await?;
        }
        rejections.sort_by_key(|rejection| rejection.index);
        Ok(rejections)
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

impl Webhook {
    /// Sends a batch; a refused one again record by record, to find the culprits.
    async fn send(
        &self,
        batch: &[Item],
        rejections: &mut Vec<Rejection>,
    ) -> Result<(), ConnectorError> {
        let Some(why) = self.try_until_decided(batch).await? else { return Ok(()) };
        if let [item] = batch {
            rejections.push(Rejection { index: item.index, why });
            return Ok(());
        }
        for item in batch {
            if let Some(why) = self.try_until_decided(std::slice::from_ref(item)).await? {
                rejections.push(Rejection { index: item.index, why });
            }
        }
        Ok(())
    }

    /// Sends until the other side takes it (`None`) or refuses it for good.
    async fn try_until_decided(&self, batch: &[Item]) -> Result<Option<String>, ConnectorError> {
        let mut wait = Duration::from_millis(RETRY_WAIT_MS_MIN);
        for tried in 1.. {
            let (why, asked) = match self.target.send(batch, self.batch > 1).await {
                Verdict::Taken => return Ok(None),
                Verdict::Refused { why } => return Ok(Some(why)),
                Verdict::Later { why, after } => (why, after),
            };
            if tried >= WEBHOOK_TRIES_MAX {
                return Err(ConnectorError::retryable(why));
            }
            let most = Duration::from_millis(RETRY_WAIT_MS_MAX);
            tokio::time::sleep(asked.unwrap_or(wait).min(most)).await;
            wait *= 2;
        }
        Ok(None)
    }
}

/// A record's value as JSON text; a tombstone is `null`.
fn json_of(event: &Event) -> Result<String, NotJson> {
    match event.payload.json() {
        Ok(value) => Ok(value.to_string()),
        Err(NotJson::Null) => Ok("null".into()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
