//! The push server of a running Courant, or its client of one elsewhere, and the feeds of
//! its file's channels.
//!
//! Opened before the pipelines run, so that a new channel misses none of their changes;
//! stopped after them. The app's secret is made on the first start and kept in the data
//! folder, readable by its owner alone; it is never printed.

use std::{
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use courant_model::Clock;
use courant_pipeline::plan::{Plan, RoleChoice};
use courant_push::{App, Outside, OutsideOptions, OutsideUrlError, Push, PushError, PushOptions};
use courant_serve::{Channels, Outlet, PushAddress, PushRoutes};
use courant_stores::History;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::Failure;

/// File of the data folder with the secret of the push server's app.
const SECRET_FILE: &str = "push-secret";

/// Folder of the data folder with what was pushed.
const JOURNAL_FOLDER: &str = "push";

/// The app of the push server, and who may listen to it.
#[derive(Debug, Clone)]
pub(crate) struct PushListen {
    pub(crate) app: String,
    pub(crate) key: String,
    pub(crate) secret: SecretChoice,
    /// Origins of pages, beside our own.
    pub(crate) origins: Vec<String>,
}

/// Where the app's secret comes from.
#[derive(Clone)]
pub(crate) enum SecretChoice {
    /// The data folder, where it is made when it is missing.
    Data,
    File(PathBuf),
    Given(String),
}

impl std::fmt::Debug for SecretChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Data => f.write_str("Data"),
            Self::File(file) => write!(f, "File({})", file.display()),
            Self::Given(_) => f.write_str("Given(…)"),
        }
    }
}

/// A push server and channels that do not run yet.
#[derive(Debug)]
pub(super) struct Opened {
    /// What this process serves to pages; `None`: they connect elsewhere.
    pub(super) routes: Option<PushRoutes>,
    pub(super) address: PushAddress,
    outlet: Outlet,
    channels: Arc<Channels>,
}

/// A push server at work.
#[derive(Debug)]
pub(super) struct Running {
    stop: CancellationToken,
    server: JoinHandle<()>,
    feeds: JoinHandle<()>,
}

impl PushListen {
    /// Makes the push server and finds each channel's place.
    pub(super) async fn open(
        self,
        plan: &Plan,
        data: &Path,
        clock: &Arc<dyn Clock>,
    ) -> Result<Opened, Failure> {
        let plans = plan.channels.values().cloned().collect();
        let channels = Channels::open(data.join(JOURNAL_FOLDER), plans, clock.as_ref()).await;
        let channels = channels.map_err(|error| Failure::Failed(error.to_string()))?;
        let channels = Arc::new(channels);
        match &plan.roles.push {
            RoleChoice::Embedded => self.here(data, channels, clock),
            RoleChoice::External { url } => elsewhere(url, channels, clock),
        }
    }

    fn here(
        self,
        data: &Path,
        channels: Arc<Channels>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Opened, Failure> {
        let Self { app: id, key, secret, origins } = self;
        // Pages talk to each other on private channels only, which the application signs.
        let app = App { client_events: true, ..App::new(&id, &key, secret.read(data)?) };
        let options = PushOptions {
            apps: vec![app],
            source: Some(Arc::clone(&channels) as _),
            clock: Arc::clone(clock),
        };
        let push = Push::new(options).map_err(usage)?;
        let outlet = Outlet::Here { push: push.clone(), app: id };
        let address = PushAddress { key, host: None, port: None, tls: None };
        Ok(Opened { routes: Some(PushRoutes { push, origins }), address, outlet, channels })
    }
}

fn elsewhere(
    url: &str,
    channels: Arc<Channels>,
    clock: &Arc<dyn Clock>,
) -> Result<Opened, Failure> {
    let options: OutsideOptions =
        url.parse().map_err(|error: OutsideUrlError| Failure::Usage(error.to_string()))?;
    let address = PushAddress {
        key: options.key.clone(),
        host: Some(options.page_host()),
        port: Some(options.port),
        tls: Some(options.tls),
    };
    let outside = Outside::new(options, Arc::clone(clock)).map_err(usage)?;
    Ok(Opened { routes: None, address, outlet: Outlet::Outside(outside), channels })
}

#[expect(clippy::needless_pass_by_value, reason = "the form of map_err")]
fn usage(error: PushError) -> Failure {
    Failure::Usage(error.to_string())
}

impl Opened {
    /// Starts to push what the history brings.
    pub(super) fn run(self, history: Arc<dyn History>, clock: Arc<dyn Clock>) -> Running {
        let Self { routes, outlet, channels, .. } = self;
        let stop = CancellationToken::new();
        let server = tokio::spawn({
            let stop = stop.clone();
            async move {
                if let Some(PushRoutes { push, .. }) = routes {
                    push.run(stop).await;
                }
            }
        });
        let feeds = tokio::spawn({
            let stop = stop.clone();
            async move { channels.run(history.as_ref(), &outlet, clock.as_ref(), &stop).await }
        });
        Running { stop, server, feeds }
    }
}

impl Running {
    /// Ends the feeds and the connections; pages connect again at once. What was not
    /// pushed is pushed by the next start.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        for (what, task) in [("channels", self.feeds), ("push server", self.server)] {
            if let Err(error) = task.await {
                tracing::warn!(%error, what, "a task ended badly");
            }
        }
    }
}

impl SecretChoice {
    fn read(self, data: &Path) -> Result<String, Failure> {
        let file = match self {
            Self::Given(secret) => return Ok(secret),
            Self::File(file) => file,
            Self::Data => {
                let file = data.join(SECRET_FILE);
                make_secret(&file).map_err(|error| {
                    Failure::Failed(format!("secret {file:?} cannot be made: {error}"))
                })?;
                file
            }
        };
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Failure::Failed(format!("secret {file:?} cannot be read: {error}")))?;
        match text.trim() {
            "" => Err(Failure::Usage(format!(
                "secret {file:?} is empty; write one into it, or delete it for a new one"
            ))),
            secret => Ok(secret.to_owned()),
        }
    }
}

/// Makes a secret unless there is one, whole or not at all.
fn make_secret(file: &Path) -> io::Result<()> {
    if file.try_exists()? {
        return Ok(());
    }
    let unfinished = file.with_extension("new");
    let mut open = std::fs::OpenOptions::new();
    let mut out = open.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    writeln!(out, "{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())?;
    out.sync_all()?;
    std::fs::rename(&unfinished, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_is_its_owners_alone() {
        let data = tempfile::tempdir().unwrap();
        let first = SecretChoice::Data.read(data.path()).unwrap();
        assert!(first.len() >= 32);
        assert_eq!(SecretChoice::Data.read(data.path()).unwrap(), first);
        let mode = data.path().join(SECRET_FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(SecretChoice::Data.read(other.path()).unwrap(), first);
    }

    #[test]
    fn a_secret_that_is_given_is_used_and_an_empty_one_refused() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("mine");
        std::fs::write(&file, "hush\n").unwrap();
        assert_eq!(SecretChoice::File(file.clone()).read(data.path()).unwrap(), "hush");
        std::fs::write(&file, "\n").unwrap();
        assert!(SecretChoice::File(file).read(data.path()).is_err());
        assert_eq!(SecretChoice::Given("g".into()).read(data.path()).unwrap(), "g");
        assert!(!format!("{:?}", SecretChoice::Given("hush".into())).contains("hush"));
    }
}
