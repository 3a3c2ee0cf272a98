//! A Courant for one measurement: log, stores and state in a folder of their own.
//!
//! Everything is embedded and as it is by default; the file decides what runs on it.

use std::{error::Error, path::PathBuf, sync::Arc};

use courant_log::{EmbeddedLog, LogOptions};
use courant_model::{Clock, SystemClock};
use courant_pipeline::{
    config::{self, LoadOptions},
    connector::Connectors,
    routes::RouteTable,
    runtime::{RoleHandles, Runtime},
};
use courant_stores::{CacheOptions, EmbeddedCache, EmbeddedHistory, HistoryOptions};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Log and stores, and a file to run on them; gone when dropped.
pub(crate) struct World {
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) history: Arc<EmbeddedHistory>,
    roles: RoleHandles,
    connectors: Connectors,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl World {
    /// Of a whole file that uses these connectors.
    pub(crate) async fn new(file: &str, connectors: Connectors) -> Outcome<Self> {
        let folder = tempfile::tempdir_in(".")?;
        let path = folder.path().join("courant.yaml");
        std::fs::write(&path, file)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (log, _) = EmbeddedLog::open(&folder.path().join("log"), LogOptions::default()).await?;
        let log = Arc::new(log);
        let history =
            EmbeddedHistory::open(folder.path().join("history"), HistoryOptions::default())?;
        let history = Arc::new(history);
        let cache = EmbeddedCache::open(folder.path().join("cache"), CacheOptions::default())?;
        let roles = RoleHandles {
            log: Arc::clone(&log) as _,
            cache: Arc::new(cache),
            history: Arc::clone(&history) as _,
            clock,
            data: folder.path().to_owned(),
            routes: Arc::new(RouteTable::default()),
        };
        Ok(Self { log, history, roles, connectors, file: path, _folder: folder })
    }

    /// Starts what the file says.
    pub(crate) async fn start(&self) -> Outcome<Runtime> {
        let plan = config::load(&self.file, &LoadOptions::system(&self.connectors))?;
        Ok(Runtime::start(plan, self.roles.clone()).await?)
    }
}

/// CPU seconds of this process so far, in user and system mode.
pub(crate) fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields.get(11).ok_or("no utime")?.parse::<u64>()?
        + fields.get(12).ok_or("no stime")?.parse::<u64>()?;
    Ok(ticks as f64 / 100.0)
}
