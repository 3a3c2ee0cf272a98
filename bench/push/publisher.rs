//! A server that publishes: batches of events, signed, over one connection.
//!
//! The plainest client of Pusher's HTTP API, so that both sides of a comparison are asked
//! in the same words. It waits for each answer and tries nothing again.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use reqwest::{Client, header};
use serde_json::json;
use sha2::Sha256;

use crate::Outcome;

#[derive(Debug)]
pub(crate) struct Publisher {
    client: Client,
    address: String,
    app: String,
    key: String,
    secret: String,
}

impl Publisher {
    pub(crate) fn new(address: &str, app: &str, key: &str, secret: &str) -> Outcome<Self> {
        // An error says that there is a provider of TLS already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(Duration::from_secs(60)).build()?;
        let own = str::to_owned;
        Ok(Self {
            client,
            address: own(address),
            app: own(app),
            key: own(key),
            secret: own(secret),
        })
    }

    /// Publishes an event for each text, in order.
    pub(crate) async fn publish(&self, channel: &str, texts: &[String]) -> Outcome<()> {
        let event = |data: &String| json!({ "name": "e", "channel": channel, "data": data });
        let body = json!({ "batch": texts.iter().map(event).collect::<Vec<_>>() }).to_string();
        let Self { address, app, key, .. } = self;
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let md5 = hex(&Md5::digest(body.as_bytes()));
        let query =
            format!("auth_key={key}&auth_timestamp={seconds}&auth_version=1.0&body_md5={md5}");
        let path = format!("/apps/{app}/batch_events");
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes())?;
        mac.update(format!("POST\n{path}\n{query}").as_bytes());
        let signature = hex(&mac.finalize().into_bytes());
        let url = format!("http://{address}{path}?{query}&auth_signature={signature}");
        let request = self.client.post(url).header(header::CONTENT_TYPE, "application/json");
        let answer = request.body(body).send().await?;
        let status = answer.status();
        if !status.is_success() {
            return Err(
                format!("publishing was answered {status}: {}", answer.text().await?).into()
            );
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
