//! A push server elsewhere, by its HTTP API: Pusher, Soketi, Reverb, or another Courant.
//!
//! [`OutsideOptions`] are read from a URL, purely; [`Outside`] sends signed batches. One
//! request at a time, tried once: order and patience are the caller's, who alone knows
//! what may be sent again. A refusal of the events is told apart from everything that
//! time or an operator can mend. Positions are unknown there, so its pages do not resume.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use courant_model::{
    Clock,
    limits::{PUSH_BATCH_EVENTS_MAX, PUSH_OUTSIDE_ANSWER_CHARS_MAX, PUSH_OUTSIDE_MS_MAX},
};
use percent_encoding::percent_decode_str;
use reqwest::{Client, StatusCode, Url, header};
use serde::Serialize;

use crate::{Secret, client, signature};

/// How pages and servers reach a push server elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideOptions {
    pub host: String,
    pub port: u16,
    pub tls: bool,
    pub app_id: String,
    pub key: String,
    pub secret: Secret,
}

/// What is wrong with a URL; each message is `what; remedy` and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutsideUrlError {
    #[error("URL of the push server cannot be read: {reason}; {EXAMPLE}")]
    NoUrl { reason: String },
    #[error("URL of the push server begins with {found:?}; {EXAMPLE}")]
    Scheme { found: String },
    #[error("URL of the push server has no {what}; {EXAMPLE}")]
    Missing { what: &'static str },
    #[error("URL of the push server has {what:?} behind its app; leave it out")]
    TooMuch { what: String },
}

const EXAMPLE: &str =
    "write pusher://KEY:SECRET@host:6001/APP_ID, or pushers:// where the server speaks TLS";

/// An event for one channel of a server elsewhere.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct OutsideEvent<'a> {
    pub name: &'a str,
    pub channel: &'a str,
    pub data: &'a str,
}

/// Why events were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutsideError {
    /// The same events may be taken later, or once somebody has mended something.
    #[error("push server {server} does not take events: {reason}")]
    Away { server: String, reason: String },
    /// These events are never taken.
    #[error("push server {server} refuses events: it answered {status} {answer:?}")]
    Refused { server: String, status: u16, answer: String },
}

/// A client of a push server elsewhere.
#[derive(Debug, Clone)]
pub struct Outside {
    options: OutsideOptions,
    client: Client,
    clock: Arc<dyn Clock>,
}

impl OutsideOptions {
    /// Host for pages: Pusher's own clusters answer them elsewhere than servers.
    pub fn page_host(&self) -> String {
        let cluster = self.host.strip_prefix("api").filter(|rest| rest.ends_with(".pusher.com"));
        cluster.map_or_else(|| self.host.clone(), |rest| format!("ws{rest}"))
    }
}

impl FromStr for OutsideOptions {
    type Err = OutsideUrlError;

    fn from_str(text: &str) -> Result<Self, OutsideUrlError> {
        let url = Url::parse(text)
            .map_err(|error| OutsideUrlError::NoUrl { reason: error.to_string() })?;
        let tls = match url.scheme() {
            "pusher" => false,
            "pushers" => true,
            other => return Err(OutsideUrlError::Scheme { found: other.to_owned() }),
        };
        let missing = |what| OutsideUrlError::Missing { what };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let given = |text: &str, what| match text {
            "" => Err(missing(what)),
            text => Ok(decoded(text)),
        };
        if let Some(query) = url.query().or(url.fragment()) {
            return Err(OutsideUrlError::TooMuch { what: query.to_owned() });
        }
        let path = url.path().strip_prefix('/').unwrap_or_default();
        if let Some((_, rest)) = path.split_once('/') {
            return Err(OutsideUrlError::TooMuch { what: rest.to_owned() });
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(missing("host"))?;
        Ok(Self {
            host: host.to_owned(),
            port: url.port().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            app_id: given(path, "app")?,
            key: given(url.username(), "key")?,
            secret: Secret::new(given(url.password().unwrap_or_default(), "secret")?),
        })
    }
}

impl Outside {
    /// A client; nothing is connected yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(options: OutsideOptions, clock: Arc<dyn Clock>) -> Result<Self, crate::PushError> {
        let client = client::new(Duration::from_millis(PUSH_OUTSIDE_MS_MAX))?;
        Ok(Self { options, client, clock })
    }

    /// Publishes events in their order, at most [`PUSH_BATCH_EVENTS_MAX`]; no events are
    /// no request.
    ///
    /// # Cancel safety
    /// The events of a call that was dropped may or may not have been published.
    ///
    /// # Errors
    /// [`OutsideError`]; of a batch with several events none, some or all may then have
    /// been published.
    pub async fn publish(&self, events: &[OutsideEvent<'_>]) -> Result<(), OutsideError> {
        debug_assert!(events.len() <= PUSH_BATCH_EVENTS_MAX, "a batch that no server takes");
        if events.is_empty() {
            return Ok(());
        }
        let away = |reason: String| OutsideError::Away { server: self.to_string(), reason };
        #[derive(Serialize)]
        struct Batch<'a> {
            batch: &'a [OutsideEvent<'a>],
        }
        let body = serde_json::to_vec(&Batch { batch: events })
            .map_err(|error| away(error.to_string()))?;
        let url = self.url(&body);
        let request = self.client.post(url).header(header::CONTENT_TYPE, "application/json");
        let response = request.body(body).send().await;
        let response = response.map_err(|error| away(causes(&error.without_url())))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let answer = response.text().await.unwrap_or_default();
        let answer: String = answer.trim().chars().take(PUSH_OUTSIDE_ANSWER_CHARS_MAX).collect();
        let refused = [
            StatusCode::BAD_REQUEST,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ];
        Err(match refused.contains(&status) {
            true => {
                let (server, status) = (self.to_string(), status.as_u16());
                OutsideError::Refused { server, status, answer }
            }
            false => away(format!("it answered {status} {answer:?}{}", advice(status))),
        })
    }

    /// The address of a batch, with its signature.
    fn url(&self, body: &[u8]) -> String {
        let OutsideOptions { host, port, tls, app_id, key, secret } = &self.options;
        let scheme = if *tls { "https" } else { "http" };
        let path = format!("/apps/{app_id}/batch_events");
        let seconds = self.clock.now().as_millis() / 1_000;
        let query = BTreeMap::from([
            ("auth_key".to_owned(), key.clone()),
            ("auth_timestamp".to_owned(), seconds.to_string()),
            ("auth_version".to_owned(), "1.0".to_owned()),
            ("body_md5".to_owned(), signature::md5(body)),
        ]);
        let signed = signature::SignedRequest { method: "POST", path: &path, query: &query, body };
        let signature = signature::sign_request(secret, signed);
        let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = query.join("&");
        format!("{scheme}://{host}:{port}{path}?{query}&auth_signature={signature}")
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.options.host, self.options.port)
    }
}

/// What an operator can do about an answer.
fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "; check key and secret of the URL, and this machine's clock",
        StatusCode::FORBIDDEN => "; check that the app is enabled and within its plan",
        StatusCode::NOT_FOUND => "; check the app's id at the end of the URL",
        _ => "",
    }
}

/// An error with what caused it: a client's own text says little.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_server_app_key_and_secret() {
        let options: OutsideOptions = "pusher://k:s%2Fx@soketi:6001/shop".parse().unwrap();
        assert_eq!((options.host.as_str(), options.port, options.tls), ("soketi", 6001, false));
        assert_eq!((options.app_id.as_str(), options.key.as_str()), ("shop", "k"));
        assert_eq!(options.secret, Secret::new("s/x"));
        assert_eq!(options.page_host(), "soketi");
        assert!(!format!("{options:?}").contains("s/x"));
        let cloud: OutsideOptions = "pushers://k:s@api-eu.pusher.com/7".parse().unwrap();
        assert_eq!((cloud.port, cloud.page_host()), (443, "ws-eu.pusher.com".to_owned()));
    }

    #[test]
    fn a_url_that_is_none_says_what_is_missing_and_shows_no_secret() {
        for (url, said) in [
            ("soketi:6001", "begins with \"soketi\""),
            ("http://k:hush@soketi/app", "begins with \"http\""),
            ("pusher://k:hush@soketi:6001", "no app"),
            ("pusher://k:hush@/app", "empty host"),
            ("pusher://:hush@soketi/app", "no key"),
            ("pusher://k@soketi/app", "no secret"),
            ("pusher://k:hush@soketi/app/more", "\"more\""),
            ("pusher://k:hush@soketi/app?x=1", "\"x=1\""),
        ] {
            let error = url.parse::<OutsideOptions>().unwrap_err().to_string();
            assert!(error.contains(said), "{url}: {error}");
            assert!(!error.contains("hush"), "{url}: {error}");
        }
    }
}
