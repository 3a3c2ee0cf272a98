//! The flags of the push server: its app, and whose pages may listen.

use std::path::PathBuf;

use crate::{
    error::Failure,
    server::{PushListen, SecretChoice},
};

/// Environment variable with the app's secret; a flag could be seen by everybody on the
/// machine.
const SECRET_VARIABLE: &str = "COURANT_PUSH_SECRET";

/// How pages and servers reach the push server.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Push")]
pub(crate) struct PushFlags {
    /// Id of the push server's app, for servers that publish
    #[arg(long, value_name = "ID", default_value = "courant", value_parser = plain)]
    push_app: String,

    /// Key of the push server's app, for pages that connect
    #[arg(long, value_name = "KEY", default_value = "courant", value_parser = plain)]
    push_key: String,

    /// File with the app's secret; COURANT_PUSH_SECRET may hold it instead
    /// [default: push-secret in the data folder, made on the first start]
    #[arg(long, value_name = "FILE", env = "COURANT_PUSH_SECRET_FILE")]
    push_secret_file: Option<PathBuf>,

    /// Origin whose pages may listen, such as https://shop.example, or * for all; repeatable
    /// [default: this server's own pages and, on loopback, all of this machine]
    #[arg(long = "push-origin", value_name = "ORIGIN", value_parser = origin)]
    push_origins: Vec<String>,
}

impl PushFlags {
    /// The app of the push server.
    ///
    /// # Errors
    /// [`Failure::Usage`] for two secrets.
    pub(crate) fn listen(&self) -> Result<PushListen, Failure> {
        let given = std::env::var(SECRET_VARIABLE).ok().filter(|secret| !secret.is_empty());
        let secret = match (&self.push_secret_file, given) {
            (Some(_), Some(_)) => {
                return Err(Failure::Usage(format!(
                    "both --push-secret-file and {SECRET_VARIABLE} are given; keep one"
                )));
            }
            (Some(file), None) => SecretChoice::File(file.clone()),
            (None, Some(secret)) => SecretChoice::Given(secret),
            (None, None) => SecretChoice::Data,
        };
        let (app, key) = (self.push_app.clone(), self.push_key.clone());
        Ok(PushListen { app, key, secret, origins: self.push_origins.clone() })
    }
}

/// A segment of a path.
fn plain(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !text.is_empty() && text.chars().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err("use letters, digits, '-', '_' and '.'".into()),
    }
}

/// What a browser says of a page: scheme, host and port, and nothing behind them.
fn origin(text: &str) -> Result<String, String> {
    let has_host = |rest: &str| !rest.is_empty() && !rest.contains('/');
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match text == "*" || rest.is_some_and(has_host) {
        true => Ok(text.to_owned()),
        false => Err("write scheme and host, such as https://shop.example, or *".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        for right in ["*", "https://shop.example", "http://localhost:8000"] {
            assert!(origin(right).is_ok(), "{right}");
        }
        for wrong in ["", "shop.example", "https://", "https://shop.example/", "ftp://x"] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }
}
