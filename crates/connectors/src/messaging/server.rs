//! Where a message broker is: a URL, read once, whose secrets stay inside.
//!
//! `Display` and `Debug` show scheme, host and port, never user, password or query, so
//! that errors may name the server. Whom TLS trusts comes along.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use courant_pipeline::connector::OptionProblem;
use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::problem;

/// The schemes of a protocol and their ports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Protocol {
    pub(crate) plain: (&'static str, u16),
    pub(crate) tls: (&'static str, u16),
}

/// A message broker's server.
#[derive(Clone)]
pub(crate) struct Server {
    url: Url,
    port: u16,
    secure: bool,
    ca: Option<PathBuf>,
}

impl Server {
    /// Reads the options `url` and `ca`.
    ///
    /// # Errors
    /// A URL that cannot be used; it is not quoted, because it may hold a password.
    pub(crate) fn read(
        url: &str,
        ca: Option<&str>,
        protocol: Protocol,
    ) -> Result<Self, OptionProblem> {
        let Protocol { plain, tls } = protocol;
        let unusable = || {
            let remedy = format!("write {}://host:port or {}://host:port", plain.0, tls.0);
            problem("url", "URL cannot be used", &remedy)
        };
        let url = Url::parse(url).ok().filter(Url::has_host).ok_or_else(unusable)?;
        let secure = url.scheme() == tls.0;
        if !secure && url.scheme() != plain.0 {
            return Err(unusable());
        }
        if ca.is_some() && !secure {
            let remedy = format!("write {}://", tls.0);
            return Err(problem("ca", "certificates are of no use without TLS", &remedy));
        }
        let port = url.port().unwrap_or(if secure { tls.1 } else { plain.1 });
        Ok(Self { url, port, secure, ca: ca.map(PathBuf::from) })
    }

    /// The whole URL, secrets included.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether the connection is TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// The file of trusted certificates, within the folder of the file.
    pub(crate) fn ca(&self, base: &Path) -> Option<PathBuf> {
        self.ca.as_ref().map(|ca| base.join(ca))
    }

    /// User and password, where the URL has a user.
    pub(crate) fn credentials(&self) -> Option<(String, String)> {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = Some(self.url.username()).filter(|user| !user.is_empty())?;
        Some((decode(user), decode(self.url.password().unwrap_or_default())))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.url.scheme(), self.host(), self.port)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.to_string()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MQTT: Protocol = Protocol { plain: ("mqtt", 1883), tls: ("mqtts", 8883) };

    #[test]
    fn a_url_is_taken_apart_and_its_secrets_are_never_shown() {
        let server = Server::read("mqtts://me:s%20ecret@host?x=s%20ecret", None, MQTT).unwrap();
        assert_eq!((server.host(), server.port(), server.is_secure()), ("host", 8883, true));
        assert_eq!(server.credentials(), Some(("me".into(), "s ecret".into())));
        assert_eq!(server.to_string(), "mqtts://host:8883");
        assert!(!format!("{server:?}").contains("ecret"));
        let server = Server::read("mqtt://host:99", None, MQTT).unwrap();
        assert_eq!((server.port(), server.credentials()), (99, None));
    }

    #[test]
    fn an_unusable_url_is_refused_without_being_quoted() {
        for url in ["http://u:secret@host", "mqtt:secret", "secret", ""] {
            let problem = Server::read(url, None, MQTT).unwrap_err();
            assert_eq!(problem.path, ["url"]);
            assert!(!format!("{problem:?}").contains("secret"), "{problem:?}");
        }
        assert_eq!(Server::read("mqtt://h", Some("ca.pem"), MQTT).unwrap_err().path, ["ca"]);
    }
}
