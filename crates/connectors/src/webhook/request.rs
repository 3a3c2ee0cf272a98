//! One request of a webhook: built, sent, and its answer read within bounds.
//!
//! Redirects are not followed, because they would carry headers, and with them
//! secrets, to places nobody named.

use courant_model::limits::WEBHOOK_ANSWER_BYTES_MAX;
use courant_pipeline::connector::ConnectorError;
use reqwest::{Client, Method, Response, Url, header, redirect};

use super::{Item, Settings, verdict::Verdict};
use crate::tls;

/// Where requests go.
#[derive(Debug, Clone)]
pub(super) struct Target {
    client: Client,
    method: Method,
    settings: Settings,
}

/// A URL without user, password, query and fragment: what may be printed.
pub(crate) fn public(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

impl Target {
    /// A client of its own connections.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(super) fn new(settings: &Settings) -> Result<Self, ConnectorError> {
        tls::install();
        let client = Client::builder()
            .timeout(settings.timeout)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("courant/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ConnectorError::fatal(format!("set up an HTTP client: {error}")))?;
        let method = match settings.method {
            super::Method::Post => Method::POST,
            super::Method::Put => Method::PUT,
            super::Method::Patch => Method::PATCH,
        };
        Ok(Self { client, method, settings: settings.clone() })
    }

    /// Sends records; one that is `as_list` travels as a list too.
    pub(super) async fn send(&self, batch: &[Item], as_list: bool) -> Verdict {
        let jsons = || batch.iter().map(|item| item.json.as_str()).collect::<Vec<_>>().join(",");
        let body = if as_list { format!("[{}]", jsons()) } else { jsons() };
        let request = self
            .client
            .request(self.method.clone(), self.settings.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .headers(self.settings.headers.clone())
            .header("idempotency-key", key(batch))
            .body(body);
        let attempt = format!("{} {}", self.method, public(&self.settings.url));
        match request.send().await {
            Ok(response) => {
                let (status, after) = (response.status(), Verdict::retry_after(response.headers()));
                Verdict::of(status, after, &attempt, &text(response).await)
            }
            Err(error) => Verdict::failed(&attempt, &error.without_url()),
        }
    }
}

/// The id of a request: its record's; of several, the first's and how many.
fn key(batch: &[Item]) -> String {
    match batch {
        [first, _, ..] => format!("{}+{}", first.id, batch.len()),
        _ => batch.first().map(|item| item.id.clone()).unwrap_or_default(),
    }
}

/// The beginning of an answer's body, for the reason of a refusal.
async fn text(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < WEBHOOK_ANSWER_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            _ => break,
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}
