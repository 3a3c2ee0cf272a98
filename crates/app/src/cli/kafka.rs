//! The flags of the Kafka port, and the file of its users and rules.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::ArgAction;
use courant_broker::{AutoCreation, ClientCertificate, SecurityConfig, TlsConfig};
use courant_model::limits::PARTITIONS_PER_TOPIC_MAX;
use courant_pipeline::config::{LoadOptions, load_values};

use crate::{error::Failure, server::KafkaListen};

/// Kafka's own port.
const PORT_DEFAULT: u16 = 9092;

/// How Kafka clients reach the embedded log.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Kafka port")]
pub(crate) struct KafkaFlags {
    /// Port for Kafka clients; 0 takes a free one, `off` opens none
    /// [default: 9092; the demo takes a free one where that is taken]
    #[arg(long, value_name = "PORT")]
    kafka_port: Option<PortChoice>,

    /// Address for Kafka clients [default: that of --listen]
    #[arg(long, value_name = "ADDRESS")]
    kafka_listen: Option<IpAddr>,

    /// Host and port that clients are told to connect to [default: where they did connect]
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    kafka_advertised: Option<(String, u16)>,

    /// Whether a topic is created when a client names one that is not there
    #[arg(long, value_name = "BOOLEAN", default_value_t = true, action = ArgAction::Set)]
    kafka_auto_create: bool,

    /// Partitions of a topic whose creator does not say how many
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(i32).range(1..=i64::from(PARTITIONS_PER_TOPIC_MAX)))]
    kafka_num_partitions: i32,

    /// File of users, access rules, TLS and quotas; docs/kafka.md describes it
    #[arg(long, value_name = "FILE")]
    kafka_users: Option<PathBuf>,

    /// PEM file of the certificate: clients speak TLS
    #[arg(long, value_name = "FILE", requires = "kafka_tls_key")]
    kafka_tls_cert: Option<PathBuf>,

    /// PEM file of the certificate's key
    #[arg(long, value_name = "FILE", requires = "kafka_tls_cert")]
    kafka_tls_key: Option<PathBuf>,

    /// PEM file of authorities: clients need a certificate of theirs
    #[arg(long, value_name = "FILE", requires = "kafka_tls_cert")]
    kafka_client_ca: Option<PathBuf>,
}

/// A port, or none.
#[derive(Debug, Clone, Copy)]
enum PortChoice {
    Off,
    Port(u16),
}

impl FromStr for PortChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::Port).map_err(|_| "write a port, 0 for a free one, or off".into())
    }
}

/// What is known of a command before its flags for Kafka are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings {
    /// Address of HTTP.
    pub(crate) listen: IpAddr,
    pub(crate) insecure: bool,
    /// Whether a free port is as good as the usual one.
    pub(crate) is_demo: bool,
}

impl KafkaFlags {
    /// The Kafka port to open, if any.
    ///
    /// # Errors
    /// [`Failure::Usage`] where anybody could reach it and nobody would be asked who they
    /// are; what is wrong with the file of users.
    pub(crate) fn listen(&self, around: Surroundings) -> Result<Option<KafkaListen>, Failure> {
        let port = match self.kafka_port {
            Some(PortChoice::Off) => return Ok(None),
            Some(PortChoice::Port(port)) => port,
            None => PORT_DEFAULT,
        };
        let address = self.kafka_listen.unwrap_or(around.listen);
        let security = self.security()?;
        if !address.is_loopback() && !security.authenticates() && !around.insecure {
            return Err(Failure::Usage(format!(
                "--kafka-listen {address} can be reached by others, and nobody would be asked \
                 who they are; name users with --kafka-users, or add --insecure if that is wanted"
            )));
        }
        let or_free = around.is_demo && self.kafka_port.is_none();
        let advertised = self.kafka_advertised.clone();
        let auto_creation =
            AutoCreation { enabled: self.kafka_auto_create, partitions: self.kafka_num_partitions };
        Ok(Some(KafkaListen { address, port, or_free, advertised, security, auto_creation }))
    }

    /// The file of users, with the flags about TLS over it.
    fn security(&self) -> Result<SecurityConfig, Failure> {
        let mut config = match &self.kafka_users {
            Some(file) => read_users(file)?,
            None => SecurityConfig::default(),
        };
        if let (Some(certificate), Some(key)) = (&self.kafka_tls_cert, &self.kafka_tls_key) {
            config.tls = Some(TlsConfig {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: self.kafka_client_ca.clone(),
                client_certificate: ClientCertificate::Required,
            });
        }
        Ok(config)
    }

    /// The flag that asks for a Kafka port, where one was given.
    pub(crate) fn wanted(&self) -> Option<&'static str> {
        match self.kafka_port {
            Some(PortChoice::Port(_)) => Some("--kafka-port"),
            _ if self.kafka_listen.is_some() => Some("--kafka-listen"),
            _ if self.kafka_advertised.is_some() => Some("--kafka-advertised"),
            _ if self.kafka_tls_cert.is_some() => Some("--kafka-tls-cert"),
            _ => self.kafka_users.as_ref().map(|_| "--kafka-users"),
        }
    }
}

/// Reads the file of users; paths in it start at its own folder.
fn read_users(file: &Path) -> Result<SecurityConfig, Failure> {
    let connectors = courant_connectors::all();
    let values = load_values(file, &LoadOptions::system(&connectors))?;
    let mut config: SecurityConfig = serde_json::from_value(values)
        .map_err(|error| Failure::Usage(format!("--kafka-users {}: {error}", file.display())))?;
    let problems = config.problems();
    if !problems.is_empty() {
        let told = problems.join("\n  ");
        return Err(Failure::Usage(format!("--kafka-users {}:\n  {told}", file.display())));
    }
    if let (Some(tls), Some(folder)) = (&mut config.tls, file.parent()) {
        let paths = [&mut tls.certificate, &mut tls.key].into_iter().chain(&mut tls.client_ca);
        paths.for_each(|path| *path = folder.join(&*path));
    }
    Ok(config)
}

/// Reads `host:port`; an IPv6 address stands in brackets.
fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || "write a host and a port, such as kafka.example:9092".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    if host.is_empty() || bare.is_none() && host.contains(':') {
        return Err(wrong());
    }
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_read_and_nothing_else_is() {
        assert_eq!(host_and_port("kafka.example:9092"), Ok(("kafka.example".into(), 9092)));
        assert_eq!(host_and_port("[::1]:9092"), Ok(("::1".into(), 9092)));
        for wrong in ["", "kafka", ":9092", "kafka:", "kafka:0", "kafka:70000", "::1", "[]:1"] {
            assert!(host_and_port(wrong).is_err(), "{wrong:?}");
        }
    }
}
