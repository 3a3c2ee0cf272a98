//! The source and the sink `kafka`: any Kafka cluster, so that two are bridged.
//!
//! Both stand on `courant-kafka`: the source is a member of a consumer group there,
//! the sink an idempotent producer. How a cluster is reached is said in [`Access`],
//! for both the same, in the words of a cluster's URL. Nothing here prints a
//! password.

mod sink;
mod source;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path};

use courant_kafka::{ClusterOptions, Compression, Sasl, SaslMechanism, Tls};
use courant_log::LogError;
use courant_pipeline::connector::{ConnectorError, OptionProblem};
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use self::{sink::SINK, source::SOURCE};

/// Who we are at the cluster, and how connections are encrypted.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Access {
    /// The user's name; turns SASL on.
    #[serde(default)]
    user: Option<String>,
    /// The user's password; write it as ${NAME}.
    #[serde(default)]
    password: Option<String>,
    /// How the password is shown to the broker. Default: plain.
    #[serde(default)]
    mechanism: Mechanism,
    /// Whether connections are encrypted. Default: false; files of the options below turn it on.
    #[serde(default)]
    tls: bool,
    /// File (PEM) of the authorities that are trusted. Default: the system's.
    #[serde(default)]
    ca: Option<String>,
    /// File (PEM) of our own certificate, where the cluster asks for one.
    #[serde(default)]
    certificate: Option<String>,
    /// File (PEM) of the certificate's key.
    #[serde(default)]
    key: Option<String>,
    /// Further properties of librdkafka, such as socket.timeout.ms.
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mechanism {
    /// As it is; use it with TLS only.
    #[default]
    Plain,
    /// SCRAM-SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// SCRAM-SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Codec {
    None,
    Gzip,
    Snappy,
    #[default]
    Lz4,
    Zstd,
}

impl Access {
    /// The cluster, with files relative to the folder of the configuration.
    fn cluster(&self, brokers: &[String], base: &Path) -> ClusterOptions {
        let file = |name: &Option<String>| name.as_ref().map(|name| base.join(name));
        let mut options = ClusterOptions::new(brokers.iter().map(|b| with_port(b)).collect());
        let files = [&self.ca, &self.certificate, &self.key];
        if self.tls || files.iter().any(|file| file.is_some()) {
            options.tls = Some(Tls {
                ca: file(&self.ca),
                certificate: file(&self.certificate),
                key: file(&self.key),
            });
        }
        options.sasl = self.user.as_ref().map(|user| Sasl {
            mechanism: match self.mechanism {
                Mechanism::Plain => SaslMechanism::Plain,
                Mechanism::ScramSha256 => SaslMechanism::ScramSha256,
                Mechanism::ScramSha512 => SaslMechanism::ScramSha512,
            },
            user: user.clone(),
            password: self.password.clone().unwrap_or_default(),
        });
        options.properties.clone_from(&self.properties);
        options
    }

    /// What is wrong with it, and with the brokers.
    fn problems(&self, brokers: &[String]) -> Vec<OptionProblem> {
        let mut problems = Vec::new();
        if self.password.is_some() && self.user.is_none() {
            problems.push(problem(&["access", "password"], "password has no user", "set user"));
        }
        // Files are looked for when the connector is opened.
        let without_files = Self { ca: None, certificate: None, key: None, ..self.clone() };
        if self.certificate.is_some() != self.key.is_some() {
            let remedy = "set both, or none";
            problems.push(problem(
                &["access", "certificate"],
                "certificate and key belong together",
                remedy,
            ));
        }
        if let Err(error) = without_files.cluster(brokers, Path::new("")).check() {
            problems.push(OptionProblem {
                path: Vec::new(),
                what: error.to_string(),
                remedy: None,
            });
        }
        problems
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("user", &self.user)
            .field("mechanism", &self.mechanism)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
        }
    }
}

fn with_port(broker: &str) -> String {
    if broker.contains(':') { broker.to_owned() } else { format!("{broker}:9092") }
}

fn problem(path: &[&str], what: impl Into<String>, remedy: &str) -> OptionProblem {
    let path = path.iter().map(|part| (*part).to_owned()).collect();
    OptionProblem { path, what: what.into(), remedy: Some(remedy.into()) }
}

/// A failure of the cluster's as the connector's.
fn failure(error: &LogError) -> ConnectorError {
    ConnectorError { what: error.to_string(), retryable: error.retryable() }
}
