//! Which cluster, and how to reach it:
//! `kafka://user:password@host:9092,host?option=value`.
//!
//! The same options serve the log, the command line and the connectors. Reading them
//! touches nothing outside. What Courant's guarantees stand on (acknowledgements,
//! idempotence, groups) cannot be set; everything else of librdkafka can, with the
//! prefix `librdkafka.`. `Debug` and errors show no secret.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, sync::Arc};

use percent_encoding::percent_decode_str;
use rdkafka::ClientConfig;

/// Kafka's port, for hosts that name none.
const PORT: &str = "9092";

/// Properties that Courant sets itself, because its guarantees stand on them.
const RESERVED: [&str; 21] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "compression.codec",
    "compression.type",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "request.required.acks",
    "statistics.interval.ms",
    "transactional.id",
];

/// Which cluster, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterOptions {
    /// `host:port`, at least one.
    pub brokers: Vec<String>,
    /// Encrypts connections; `None` sends everything in the clear.
    pub tls: Option<Tls>,
    /// Who we are; `None` where the cluster asks nobody.
    pub sasl: Option<Sasl>,
    /// Who we say we are, for people to read. Default: `courant`.
    pub client_id: String,
    /// Of what we send. Default: lz4, which costs the least for what it saves.
    pub compression: Compression,
    /// Replicas of topics that we create; `None` leaves it to the cluster.
    pub replication: Option<i32>,
    /// Replicas that must have a record of these topics before it is acknowledged.
    pub min_insync: Option<i32>,
    /// Properties of librdkafka beside those that Courant sets.
    pub properties: BTreeMap<String, String>,
}

/// How connections are encrypted. Files are PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities that are trusted; `None` trusts the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate with its chain, where the cluster asks for one.
    pub certificate: Option<PathBuf>,
    /// The certificate's key.
    pub key: Option<PathBuf>,
}

/// Who we are, by name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Sasl {
    pub mechanism: SaslMechanism,
    pub user: String,
    pub password: String,
}

/// How the password is shown to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SaslMechanism {
    /// As it is; use it with TLS only.
    #[default]
    Plain,
    ScramSha256,
    ScramSha512,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    #[default]
    Lz4,
    Zstd,
}

/// Why options cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("URL of a Kafka cluster must begin with kafka:// or kafka+ssl://")]
    Scheme,
    #[error("Kafka cluster has no broker; write kafka://host:9092")]
    NoBroker,
    #[error("broker {broker:?} is no host:port")]
    Broker { broker: String },
    #[error("text of the Kafka cluster's URL is not UTF-8 once its %-escapes are read")]
    Escape,
    #[error("unknown option {name:?} of a Kafka cluster; use one of {known}")]
    Unknown { name: String, known: &'static str },
    #[error("option {name:?} of a Kafka cluster is set twice")]
    Repeated { name: String },
    #[error("option {name:?} of a Kafka cluster is {found:?}; use {expected}")]
    Value { name: String, found: String, expected: &'static str },
    #[error("option {name:?} of a Kafka cluster needs {needs}")]
    Needs { name: &'static str, needs: &'static str },
    #[error(
        "property {name:?} of librdkafka is set by Courant, because its guarantees stand on it"
    )]
    Reserved { name: String },
    #[error("property {name:?} of librdkafka is refused: {why}")]
    Property { name: String, why: String },
}

const KNOWN: &str = "sasl, tls_ca, tls_cert, tls_key, client_id, compression, replication, \
                     min_insync and librdkafka.PROPERTY";

impl ClusterOptions {
    /// A cluster without TLS, credentials or wishes.
    pub fn new(brokers: Vec<String>) -> Self {
        Self {
            brokers,
            tls: None,
            sasl: None,
            client_id: "courant".into(),
            compression: Compression::default(),
            replication: None,
            min_insync: None,
            properties: BTreeMap::new(),
        }
    }

    /// The brokers as one text, for people to read.
    pub fn name(&self) -> Arc<str> {
        self.brokers.join(",").into()
    }

    /// Checks what the types leave open, as reading a URL does.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), OptionError> {
        if self.brokers.is_empty() {
            return Err(OptionError::NoBroker);
        }
        for broker in &self.brokers {
            let parts = broker.rsplit_once(':');
            let fine = parts.is_some_and(|(host, port)| {
                let bare = !host.is_empty() && !host.contains(['/', '@', ',', ' ']);
                bare && port.parse::<u16>().is_ok_and(|port| port > 0)
            });
            if !fine {
                return Err(OptionError::Broker { broker: broker.clone() });
            }
        }
        if self.tls.as_ref().is_some_and(|tls| tls.certificate.is_some() != tls.key.is_some()) {
            return Err(OptionError::Needs { name: "tls_cert", needs: "tls_key, and the reverse" });
        }
        for (name, value) in [("replication", self.replication), ("min_insync", self.min_insync)] {
            if let Some(value) = value.filter(|value| !(1..=i32::from(i16::MAX)).contains(value)) {
                let (name, found) = (name.to_owned(), value.to_string());
                return Err(OptionError::Value { name, found, expected: "1 or more" });
            }
        }
        if let Some(name) = self.properties.keys().find(|name| RESERVED.contains(&name.as_str())) {
            return Err(OptionError::Reserved { name: name.clone() });
        }
        let native = self.client_config().create_native_config();
        native.map(drop).map_err(|error| match error {
            rdkafka::error::KafkaError::ClientConfig(_, why, name, _) => {
                OptionError::Property { name, why }
            }
            other => OptionError::Property { name: String::new(), why: other.to_string() },
        })
    }

    /// What every client of this cluster has in common.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("client.id", &self.client_id);
        config.set("socket.keepalive.enable", "true");
        // A restarted broker is found again quickly, and an absent one is not flooded.
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "2000");
        config.set("topic.metadata.refresh.fast.interval.ms", "50");
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            let files = [
                ("ssl.ca.location", &tls.ca),
                ("ssl.certificate.location", &tls.certificate),
                ("ssl.key.location", &tls.key),
            ];
            for (name, file) in files {
                if let Some(file) = file {
                    config.set(name, file.to_string_lossy());
                }
            }
        }
        if let Some(sasl) = &self.sasl {
            config.set("sasl.mechanism", sasl.mechanism.name());
            config.set("sasl.username", &sasl.user).set("sasl.password", &sasl.password);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), OptionError> {
        let refused =
            |expected| OptionError::Value { name: name.to_owned(), found: value.clone(), expected };
        let tls = |options: &mut Self| {
            options.tls.as_mut().map(|_| ()).ok_or(OptionError::Needs {
                name: "tls_ca, tls_cert, tls_key",
                needs: "a URL that begins with kafka+ssl://",
            })
        };
        match name {
            "sasl" => {
                let mechanism = value.parse().map_err(refused)?;
                match &mut self.sasl {
                    Some(sasl) => sasl.mechanism = mechanism,
                    None => {
                        let needs = "user:password@ before the brokers";
                        return Err(OptionError::Needs { name: "sasl", needs });
                    }
                }
            }
            "tls_ca" | "tls_cert" | "tls_key" => {
                tls(self)?;
                let files = self.tls.get_or_insert_default();
                let file = match name {
                    "tls_ca" => &mut files.ca,
                    "tls_cert" => &mut files.certificate,
                    _ => &mut files.key,
                };
                *file = Some(value.into());
            }
            "client_id" => self.client_id = value,
            "compression" => self.compression = value.parse().map_err(refused)?,
            "replication" | "min_insync" => {
                let number = value.parse().map_err(|_| refused("a number"))?;
                let option = if name == "replication" {
                    &mut self.replication
                } else {
                    &mut self.min_insync
                };
                *option = Some(number);
            }
            _ => match name.strip_prefix("librdkafka.") {
                Some(property) => {
                    self.properties.insert(property.to_owned(), value);
                }
                None => {
                    return Err(OptionError::Unknown { name: name.to_owned(), known: KNOWN });
                }
            },
        }
        Ok(())
    }
}

impl FromStr for ClusterOptions {
    type Err = OptionError;

    fn from_str(url: &str) -> Result<Self, OptionError> {
        let (tls, rest) = match (url.strip_prefix("kafka://"), url.strip_prefix("kafka+ssl://")) {
            (Some(rest), _) => (None, rest),
            (_, Some(rest)) => (Some(Tls::default()), rest),
            _ => return Err(OptionError::Scheme),
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, hosts) = match place.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, place),
        };
        let hosts = hosts.trim_end_matches('/').split(',').filter(|host| !host.is_empty());
        let mut options = Self::new(hosts.map(with_port).collect());
        options.tls = tls;
        if let Some(user) = user {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            let (user, password) = (decoded(user)?, decoded(password)?);
            options.sasl = Some(Sasl { mechanism: SaslMechanism::default(), user, password });
        }
        let mut seen = std::collections::BTreeSet::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name)?;
            if !seen.insert(name.clone()) {
                return Err(OptionError::Repeated { name });
            }
            options.set(&name, decoded(value)?)?;
        }
        options.check()?;
        Ok(options)
    }
}

impl fmt::Debug for ClusterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterOptions")
            .field("brokers", &self.brokers)
            .field("tls", &self.tls)
            .field("sasl", &self.sasl)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl SaslMechanism {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl FromStr for SaslMechanism {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text.to_ascii_lowercase().as_str() {
            "plain" => Ok(Self::Plain),
            "scram-sha-256" => Ok(Self::ScramSha256),
            "scram-sha-512" => Ok(Self::ScramSha512),
            _ => Err("plain, scram-sha-256 or scram-sha-512"),
        }
    }
}

impl Compression {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl FromStr for Compression {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let all = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];
        let found = all.into_iter().find(|compression| compression.name() == text);
        found.ok_or("none, gzip, snappy, lz4 or zstd")
    }
}

fn with_port(host: &str) -> String {
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if bracketed || !host.contains(':') { format!("{host}:{PORT}") } else { host.to_owned() }
}

fn decoded(text: &str) -> Result<String, OptionError> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| OptionError::Escape)?;
    if text.contains('\0') { Err(OptionError::Escape) } else { Ok(text.into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<ClusterOptions, OptionError> {
        url.parse()
    }

    #[test]
    fn a_url_names_brokers_credentials_and_options() {
        let options = read(
            "kafka+ssl://me:p%40ss@a:1,b?sasl=scram-sha-512&replication=3&min_insync=2\
             &compression=zstd&client_id=x&tls_ca=/ca.pem&librdkafka.socket.timeout.ms=5000",
        )
        .unwrap();
        assert_eq!(options.brokers, ["a:1", "b:9092"]);
        let sasl = options.sasl.as_ref().unwrap();
        assert_eq!((sasl.user.as_str(), sasl.password.as_str()), ("me", "p@ss"));
        assert_eq!(sasl.mechanism, SaslMechanism::ScramSha512);
        assert_eq!((options.replication, options.min_insync), (Some(3), Some(2)));
        assert_eq!(options.tls.as_ref().unwrap().ca, Some("/ca.pem".into()));
        let config = options.client_config();
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(config.get("socket.timeout.ms"), Some("5000"));
        assert_eq!(&*options.name(), "a:1,b:9092");
    }

    #[test]
    fn no_secret_is_shown() {
        let options = read("kafka://me:hidden@a?librdkafka.ssl.key.password=hidden").unwrap();
        let shown = format!("{options:?} {}", options.name());
        assert!(!shown.contains("hidden"), "{shown}");
        assert!(shown.contains("me"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_name() {
        for (url, says) in [
            ("http://a", "kafka://"),
            ("kafka://", "no broker"),
            ("kafka://a:x", "a:x"),
            ("kafka://a?replicas=3", "replicas"),
            ("kafka://a?replication=3&replication=2", "twice"),
            ("kafka://a?replication=0", "1 or more"),
            ("kafka://a?sasl=plain", "user:password"),
            ("kafka://u:p@a?sasl=gssapi", "scram-sha-256"),
            ("kafka://a?tls_ca=x", "kafka+ssl"),
            ("kafka+ssl://a?tls_cert=x", "tls_key"),
            ("kafka://a?compression=brotli", "zstd"),
            ("kafka://a?librdkafka.acks=0", "guarantees"),
            ("kafka://a?librdkafka.no.such=1", "no.such"),
            ("kafka://a?librdkafka.socket.timeout.ms=soon", "socket.timeout.ms"),
        ] {
            let refused = read(url).unwrap_err().to_string();
            assert!(refused.contains(says), "{url}: {refused}");
        }
    }
}
