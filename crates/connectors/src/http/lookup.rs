//! The lookup `http`: asks a server by a GET whose path and query come from the record.
//!
//! Values are encoded, so that none can reach another path or host. 404, 410 and an empty
//! answer mean that there is nothing; what may pass is asked again, and any other refusal
//! is the record's fault. Redirects are not followed, because they would carry headers,
//! and with them secrets, to places nobody named.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use courant_model::{
    Span,
    json::{FieldPath, scalar_text},
    limits::LOOKUP_ANSWER_BYTES_MAX,
};
use courant_pipeline::{
    connector::{
        About, Answer, ConnectorError, Lookup, LookupContext, LookupFactory, LookupKind,
        OptionProblem,
    },
    options,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    tls,
    webhook::{request::public, verdict::Verdict},
};

/// What stays as it is within a path's segment or a query's value (RFC 3986, 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The entry in the list of lookups.
pub(crate) const LOOKUP: LookupKind = LookupKind {
    about: About {
        name: "http",
        summary: "Asks an HTTP server by GET; the body is JSON.",
        guarantee: "404, 410 and an empty answer mean that nothing was found. 408, 425, 429, 5xx, \
                    401, 403 and failed connections are tried again and hold the pipeline; any \
                    other refusal makes the record a dead letter.",
        example: "http: { url: \"https://example.com/customers/{customerNumber}\" }\ninto: customer",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `http` as a lookup.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Whom to ask: http:// or https://; {field} in the path or the query is the value of
    /// the record's field.
    #[schemars(length(min = 1))]
    url: String,
    /// Headers of every request; write secrets as ${NAME}.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// How long a request may take, all in all. Default: 10s.
    #[serde(default = "ten_seconds")]
    timeout: Span,
}

const fn ten_seconds() -> Span {
    Span::from_millis(10_000)
}

/// A URL taken apart: texts around the fields, one more than those.
#[derive(Clone)]
struct Template {
    texts: Vec<String>,
    order: Vec<usize>,
    parameters: Vec<FieldPath>,
}

impl Template {
    fn read(text: &str) -> Option<Self> {
        let mut template = Self { texts: Vec::new(), order: Vec::new(), parameters: Vec::new() };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}')?;
            let field: FieldPath = name.parse().ok()?;
            template.texts.push(before.to_owned());
            let known = template.parameters.iter().position(|known| *known == field);
            template.order.push(known.unwrap_or(template.parameters.len()));
            if known.is_none() {
                template.parameters.push(field);
            }
            rest = after;
        }
        template.texts.push(rest.to_owned());
        // Whatever the values: scheme, user, host and port stand in the first text, whole.
        let (_, behind) = template.texts[0].split_once("://")?;
        let url = Url::parse(&template.fill(&vec!["x".into(); template.parameters.len()])).ok()?;
        let is_fixed = template.order.is_empty() || behind.contains('/');
        (is_fixed && matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(template)
    }

    fn fill(&self, values: &[String]) -> String {
        let mut text = self.texts[0].clone();
        for (after, at) in self.texts[1..].iter().zip(&self.order) {
            text.extend(utf8_percent_encode(&values[*at], ENCODED));
            text.push_str(after);
        }
        text
    }
}

/// What the lookup needs, checked.
#[derive(Clone)]
struct Settings {
    template: Template,
    headers: HeaderMap,
    timeout: Span,
}

impl fmt::Debug for Settings {
    /// The URL and the headers may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

fn parse(value: &Value) -> Result<Arc<dyn LookupFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let mut problems = Vec::new();
    let mut problem = |path: &[&str], what: String, remedy: &str| {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        problems.push(OptionProblem { path, what, remedy: Some(remedy.into()) });
    };
    let template = Template::read(&options.url);
    if template.is_none() {
        let remedy = "write https://host/path/{field}, fields behind the host only";
        problem(&["url"], "URL cannot be used".into(), remedy);
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.append(name, value);
            }
            _ => {
                let what = format!("header {name:?} is not allowed");
                let remedy = "use letters, digits and '-', and one line of visible characters";
                problem(&["headers", name], what, remedy);
            }
        }
    }
    if options.timeout.as_duration().is_zero() {
        problem(&["timeout"], "time is zero".into(), "set 10s or so");
    }
    match template {
        Some(template) if problems.is_empty() => {
            Ok(Arc::new(Settings { template, headers, timeout: options.timeout }))
        }
        _ => Err(problems),
    }
}

impl LookupFactory for Settings {
    fn parameters(&self) -> &[FieldPath] {
        &self.template.parameters
    }

    fn has_many(&self) -> bool {
        false
    }

    fn open(&self, _: LookupContext) -> Result<Arc<dyn Lookup>, ConnectorError> {
        tls::install();
        let client = Client::builder()
            .timeout(self.timeout.as_duration())
            .redirect(redirect::Policy::none())
            .user_agent(concat!("courant/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ConnectorError::fatal(format!("set up an HTTP client: {error}")))?;
        Ok(Arc::new(HttpLookup { client, settings: self.clone() }))
    }
}

#[derive(Debug)]
struct HttpLookup {
    client: Client,
    settings: Settings,
}

#[async_trait]
impl Lookup for HttpLookup {
    async fn ask(&self, parameters: &[Value]) -> Result<Answer, ConnectorError> {
        let values: Vec<String> = parameters.iter().filter_map(scalar_text).collect();
        // These would climb to another path, also when they are encoded.
        if values.iter().any(|value| matches!(value.as_str(), "" | "." | "..")) {
            return Ok(Answer::Refused("a value of the URL is empty, \".\" or \"..\"".into()));
        }
        let url = match Url::parse(&self.settings.template.fill(&values)) {
            Ok(url) => url,
            Err(error) => return Ok(Answer::Refused(format!("no URL can be made: {error}"))),
        };
        let attempt = format!("GET {}", public(&url));
        let request = self.client.get(url).headers(self.settings.headers.clone());
        match request.send().await {
            Ok(response) => read(response, &attempt).await,
            Err(error) => later(Verdict::failed(&attempt, &error.without_url())),
        }
    }
}

async fn read(response: Response, attempt: &str) -> Result<Answer, ConnectorError> {
    let status = response.status();
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::NO_CONTENT) {
        return Ok(Answer::Found(Vec::new()));
    }
    let body = match body(response).await {
        Ok(Some(body)) => body,
        Ok(None) => {
            let why = format!("{attempt}: the answer exceeds {LOOKUP_ANSWER_BYTES_MAX} bytes");
            return Ok(Answer::Refused(why));
        }
        Err(error) => return later(Verdict::failed(attempt, &error.without_url())),
    };
    let verdict = Verdict::of(status, None, attempt, &String::from_utf8_lossy(&body));
    if verdict != Verdict::Taken {
        return later(verdict);
    }
    if body.is_empty() {
        return Ok(Answer::Found(Vec::new()));
    }
    Ok(match serde_json::from_slice(&body) {
        Ok(Value::Null) => Answer::Found(Vec::new()),
        Ok(value) => Answer::Found(vec![value]),
        Err(error) => Answer::Refused(format!("{attempt}: the answer is not JSON: {error}")),
    })
}

/// An answer's body; `None` where it is too large.
async fn body(mut response: Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LOOKUP_ANSWER_BYTES_MAX {
            return Ok(None);
        }
    }
    Ok(Some(body))
}

fn later(verdict: Verdict) -> Result<Answer, ConnectorError> {
    match verdict {
        Verdict::Taken => Ok(Answer::Found(Vec::new())),
        Verdict::Refused { why } => Ok(Answer::Refused(why)),
        Verdict::Later { why, .. } => Err(ConnectorError::retryable(why)),
    }
}

#[cfg(test)]
mod tests;
