//! Where a database is: a URL, read once, whose secrets stay inside.
//!
//! The scheme chooses the database. `Display` and `Debug` show scheme, host and name,
//! never a user or password, so that errors may name the database. Nothing is opened here.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use courant_pipeline::connector::OptionProblem;
use mysql_async::Opts;
use reqwest::Url;
use tokio_postgres::config::SslMode;

/// A database.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) kind: Kind,
    /// What may be shown.
    shown: String,
    ca: Option<PathBuf>,
}

/// How the database is reached.
#[derive(Clone)]
pub(crate) enum Kind {
    /// MySQL or MariaDB.
    MySql(Box<Opts>),
    Postgres(Box<tokio_postgres::Config>),
    /// A file, relative to the folder of the file that names it.
    Sqlite(PathBuf),
}

impl Address {
    /// Reads the options `url` and `ca`.
    ///
    /// # Errors
    /// A URL that cannot be used; it is not quoted, because it may hold a password.
    pub(crate) fn read(url: &str, ca: Option<&str>) -> Result<Self, OptionProblem> {
        let kind = kind(url).ok_or_else(|| {
            let remedy = "write mysql://user:password@host:3306/database, postgres://…, or \
                          sqlite:file.db";
            problem("url", "URL of a database cannot be used", remedy)
        })?;
        let secure = match &kind {
            Kind::MySql(opts) => opts.ssl_opts().is_some(),
            Kind::Postgres(config) => config.get_ssl_mode() == SslMode::Require,
            Kind::Sqlite(_) => false,
        };
        if ca.is_some() && !secure {
            let remedy =
                "add ?require_ssl=true (MySQL) or ?sslmode=require (PostgreSQL) to the URL";
            return Err(problem("ca", "certificates are of no use without TLS", remedy));
        }
        Ok(Self { kind, shown: shown(url), ca: ca.map(PathBuf::from) })
    }

    /// The file of trusted certificates, within the folder of the file.
    pub(crate) fn ca(&self, base: &Path) -> Option<PathBuf> {
        self.ca.as_ref().map(|ca| base.join(ca))
    }
}

fn kind(url: &str) -> Option<Kind> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return (!path.is_empty()).then(|| Kind::Sqlite(PathBuf::from(path)));
    }
    let (scheme, rest) = url.split_once("://")?;
    match scheme {
        "mysql" | "mariadb" => {
            let opts = Opts::from_url(&format!("mysql://{rest}")).ok()?;
            opts.db_name().is_some_and(|name| !name.is_empty()).then_some(())?;
            Some(Kind::MySql(Box::new(opts)))
        }
        "postgres" | "postgresql" => {
            let mut config: tokio_postgres::Config = url.parse().ok()?;
            // TLS is asked for, or not tried: a server's makeshift certificate is not trusted.
            if config.get_ssl_mode() == SslMode::Prefer {
                config.ssl_mode(SslMode::Disable);
            }
            Some(Kind::Postgres(Box::new(config)))
        }
        _ => None,
    }
}

fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(parsed) if parsed.has_host() && parsed.scheme() != "sqlite" => {
            let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
            let host = parsed.host_str().unwrap_or_default();
            format!("{}://{host}{port}{}", parsed.scheme(), parsed.path())
        }
        _ if url.starts_with("sqlite:") => url.to_owned(),
        _ => url.split(':').next().unwrap_or_default().to_owned(),
    }
}

/// A problem of one option.
pub(super) fn problem(option: &str, what: impl Into<String>, remedy: &str) -> OptionProblem {
    OptionProblem { path: vec![option.into()], what: what.into(), remedy: Some(remedy.into()) }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_chooses_the_database_and_its_secrets_are_never_shown() {
        let mysql = Address::read("mariadb://me:s%20ecret@host:3307/shop", None).unwrap();
        assert_eq!(mysql.to_string(), "mariadb://host:3307/shop");
        let postgres = "postgres://me:secret@host/shop?sslmode=require";
        let postgres = Address::read(postgres, Some("ca.pem")).unwrap();
        assert_eq!(postgres.to_string(), "postgres://host/shop");
        assert_eq!(postgres.ca(Path::new("/etc")), Some(PathBuf::from("/etc/ca.pem")));
        for (address, is_kind) in [
            (&mysql, matches!(mysql.kind, Kind::MySql(_))),
            (&postgres, matches!(postgres.kind, Kind::Postgres(_))),
        ] {
            assert!(is_kind && !format!("{address:?}").contains("ecret"), "{address:?}");
        }
        for (url, path) in [("sqlite:a/b.db", "a/b.db"), ("sqlite:///var/b.db", "/var/b.db")] {
            let Kind::Sqlite(found) = Address::read(url, None).unwrap().kind else { panic!() };
            assert_eq!(found, PathBuf::from(path));
        }
    }

    #[test]
    fn an_unusable_url_is_refused_without_being_quoted() {
        for url in ["", "secret", "oracle://u:secret@h/d", "mysql://u:secret@h", "sqlite:"] {
            let problem = Address::read(url, None).unwrap_err();
            assert_eq!(problem.path, ["url"], "{url}");
            assert!(!format!("{problem:?}").contains("secret"), "{problem:?}");
        }
        let problem = Address::read("mysql://u@h/d", Some("ca.pem")).unwrap_err();
        assert_eq!(problem.path, ["ca"]);
    }
}
