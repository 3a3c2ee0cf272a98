//! How to reach Redis, read from a URL.
//!
//! Pure: nothing is opened here but the files of certificates, and those only by
//! [`RedisOptions::certificates`]. Unknown options are refused with the nearest known one.
//! Invariant: no message and no `Debug` output holds a user's secret.

use std::{fmt, path::PathBuf, str::FromStr};

use courant_model::problem::nearest;
use percent_encoding::percent_decode_str;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Schemes of the URLs, the plain ones first.
pub const SCHEMES: [&str; 6] =
    ["redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel"];

const OPTIONS: [&str; 6] =
    ["ca", "certificate", "key", "replicas", "sentinel_user", "sentinel_password"];

/// Where Redis is and how to speak to it:
/// `redis://[user:password@]host[:port][,…][/database][?option=value&…]`.
///
/// - `rediss` is TLS. `redis+cluster` takes some nodes of a cluster and finds the others.
///   `redis+sentinel` takes sentinels; the path is the master's name, then the database.
/// - `ca`, `certificate` and `key` are PEM files: who signed the server's certificate (else
///   the usual authorities), and the client's own.
/// - `replicas=n`: a flush waits until so many replicas have what was written; 0 by default.
/// - `sentinel_user`, `sentinel_password`: for the sentinels, which have their own.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisOptions {
    pub(super) kind: Kind,
    pub(super) tls: bool,
    pub(super) nodes: Vec<(String, u16)>,
    pub(super) database: i64,
    pub(super) login: Login,
    pub(super) sentinel_login: Login,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    pub(super) replicas: usize,
}

/// How the servers work together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Single,
    Cluster,
    Sentinel { master: String },
}

/// User and password; both may be missing.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// Why a URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("URL of Redis cannot be used: {why}")]
pub struct RedisUrlError {
    why: String,
}

impl FromStr for RedisOptions {
    type Err = RedisUrlError;

    fn from_str(url: &str) -> Result<Self, RedisUrlError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| refuse("it has no scheme"))?;
        let (tls, kind) = match scheme {
            "redis" => (false, "single"),
            "rediss" => (true, "single"),
            "redis+cluster" => (false, "cluster"),
            "rediss+cluster" => (true, "cluster"),
            "redis+sentinel" => (false, "sentinel"),
            "rediss+sentinel" => (true, "sentinel"),
            other => {
                let known = SCHEMES.join(", ");
                return Err(refuse(format!("its scheme is {other:?}; use one of {known}")));
            }
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Login::parse(login)?, hosts),
            None => (Login::default(), authority),
        };
        let port = if kind == "sentinel" { SENTINEL_PORT } else { PORT };
        let nodes = hosts.split(',').map(|host| node(host, port)).collect::<Result<Vec<_>, _>>()?;
        let (kind, database) = placed(kind, path)?;
        if kind == Kind::Single && nodes.len() > 1 {
            return Err(refuse(
                "it names several servers; write redis+cluster://… or redis+sentinel://…",
            ));
        }
        let mut options = Self {
            kind,
            tls,
            nodes,
            database,
            login,
            sentinel_login: Login::default(),
            ca: None,
            certificate: None,
            key: None,
            replicas: 0,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            options.set(name, decoded(value)?)?;
        }
        options.check()
    }
}

impl RedisOptions {
    fn set(&mut self, name: &str, value: String) -> Result<(), RedisUrlError> {
        if value.is_empty() {
            return Err(refuse(format!("option {name:?} has no value")));
        }
        match name {
            "ca" => self.ca = Some(value.into()),
            "certificate" => self.certificate = Some(value.into()),
            "key" => self.key = Some(value.into()),
            "sentinel_user" => self.sentinel_login.user = Some(value),
            "sentinel_password" => self.sentinel_login.password = Some(value),
            "replicas" => {
                let why = || refuse("option \"replicas\" is no number; write one such as 1");
                self.replicas = value.parse().map_err(|_| why())?;
            }
            unknown => {
                let remedy = match nearest(unknown, OPTIONS) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("the options are {}", OPTIONS.join(", ")),
                };
                return Err(refuse(format!("unknown option {unknown:?}; {remedy}")));
            }
        }
        Ok(())
    }

    fn check(self) -> Result<Self, RedisUrlError> {
        let files = [("ca", &self.ca), ("certificate", &self.certificate), ("key", &self.key)];
        if let Some((name, _)) = files.iter().find(|(_, file)| file.is_some() && !self.tls) {
            return Err(refuse(format!("option {name:?} is for TLS; write rediss://…")));
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err(refuse("options \"certificate\" and \"key\" go together"));
        }
        let for_sentinels = self.sentinel_login != Login::default();
        if for_sentinels && !matches!(self.kind, Kind::Sentinel { .. }) {
            return Err(refuse("sentinels have a login, but the scheme names no sentinels"));
        }
        Ok(self)
    }

    /// Reads the files of certificates.
    ///
    /// # Errors
    /// What cannot be read, with its path.
    pub(super) fn certificates(&self) -> Result<redis::TlsCertificates, RedisUrlError> {
        let read = |file: &PathBuf| {
            std::fs::read(file).map_err(|error| refuse(format!("file {file:?}: {error}")))
        };
        let root_cert = self.ca.as_ref().map(read).transpose()?;
        let client_tls = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(redis::ClientTlsConfig {
                client_cert: read(certificate)?,
                client_key: read(key)?,
            }),
            _ => None,
        };
        Ok(redis::TlsCertificates { client_tls, root_cert })
    }

    /// The servers as messages name them.
    pub(super) fn place(&self) -> String {
        let nodes: Vec<_> =
            self.nodes.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        match &self.kind {
            Kind::Single => format!("Redis at {}", nodes.join(",")),
            Kind::Cluster => format!("Redis cluster at {}", nodes.join(",")),
            Kind::Sentinel { master } => {
                format!("Redis master {master:?} of the sentinels at {}", nodes.join(","))
            }
        }
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, RedisUrlError> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let some = |text: &str| {
            decoded(text).map(|text| Some(text).filter(|text: &String| !text.is_empty()))
        };
        Ok(Self { user: some(user)?, password: some(password)? })
    }
}

/// What the path says.
fn placed(kind: &str, path: &str) -> Result<(Kind, i64), RedisUrlError> {
    let database = |text: &str| match text {
        "" => Ok(0),
        text => text.parse().map_err(|_| refuse(format!("database {text:?} is no number"))),
    };
    match kind {
        "sentinel" => {
            let (master, number) = path.split_once('/').unwrap_or((path, ""));
            if master.is_empty() {
                let why = "it names no master; write redis+sentinel://host:26379/mymaster";
                return Err(refuse(why));
            }
            Ok((Kind::Sentinel { master: decoded(master)? }, database(number)?))
        }
        "cluster" if database(path)? != 0 => Err(refuse("a cluster has database 0 only")),
        "cluster" => Ok((Kind::Cluster, 0)),
        _ => Ok((Kind::Single, database(path)?)),
    }
}

fn node(text: &str, default_port: u16) -> Result<(String, u16), RedisUrlError> {
    let (host, port) = match text.rsplit_once(':') {
        // An IPv6 address stands in brackets.
        Some((host, port)) if !port.contains(']') => {
            let port = port.parse().map_err(|_| refuse(format!("port {port:?} is no port")))?;
            (host, port)
        }
        _ => (text, default_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(refuse("it names no host; write one such as redis://localhost:6379"));
    }
    Ok((host.to_owned(), port))
}

fn decoded(text: &str) -> Result<String, RedisUrlError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| refuse("it has a percent code that is no UTF-8"))
}

fn refuse(why: impl Into<String>) -> RedisUrlError {
    RedisUrlError { why: why.into() }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("kind", &self.kind)
            .field("tls", &self.tls)
            .field("nodes", &self.nodes)
            .field("database", &self.database)
            .field("login", &self.login)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "…");
        f.debug_struct("Login").field("user", &self.user).field("password", &password).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> RedisOptions {
        url.parse().unwrap()
    }

    fn refusal(url: &str) -> String {
        url.parse::<RedisOptions>().unwrap_err().to_string()
    }

    #[test]
    fn urls_of_every_kind_are_read() {
        let plain = read("redis://cache");
        assert_eq!(plain.nodes, [("cache".to_owned(), 6379)]);
        assert_eq!((plain.kind, plain.tls, plain.database), (Kind::Single, false, 0));
        let whole = read("rediss://me:p%40ss@[::1]:7000/3?ca=/ca.pem&replicas=1");
        assert_eq!(whole.nodes, [("::1".to_owned(), 7000)]);
        assert_eq!(whole.login.password.as_deref(), Some("p@ss"));
        assert_eq!((whole.tls, whole.database, whole.replicas), (true, 3, 1));
        let cluster = read("redis+cluster://:secret@a:1,b:2");
        assert_eq!(cluster.nodes, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!(cluster.login.user, None);
        let sentinel = read("redis+sentinel://a,b:7/mymaster/2?sentinel_password=s");
        assert_eq!(sentinel.kind, Kind::Sentinel { master: "mymaster".into() });
        assert_eq!(sentinel.nodes, [("a".to_owned(), 26379), ("b".to_owned(), 7)]);
        assert_eq!(sentinel.database, 2);
    }

    #[test]
    fn a_refusal_names_the_fault_and_the_remedy() {
        for (url, expected) in [
            ("redis+clustr://a", "use one of redis, rediss"),
            ("redis://", "names no host"),
            ("redis://a:x", "port \"x\""),
            ("redis://a,b", "redis+cluster://"),
            ("redis://a/x", "database \"x\""),
            ("redis+cluster://a/1", "database 0 only"),
            ("redis+sentinel://a", "names no master"),
            ("redis://a?ca=/x", "write rediss://"),
            ("rediss://a?key=/x", "go together"),
            ("redis://a?replica=1", "did you mean \"replicas\"?"),
            ("redis://a?replicas=", "has no value"),
            ("redis://a?sentinel_user=x", "names no sentinels"),
        ] {
            assert!(refusal(url).contains(expected), "{url}: {}", refusal(url));
        }
    }

    #[test]
    fn no_text_for_people_holds_a_secret() {
        let options = read("redis+sentinel://me:hidden@a/m?sentinel_password=hidden");
        let texts = [format!("{options:?}"), options.place(), refusal("redis://me:hidden@a:x")];
        assert!(texts.iter().all(|text| !text.contains("hidden")), "{texts:?}");
    }
}
