//! Opens what a plan's profile puts behind the roles.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use courant_kafka::{ClusterOptions, KafkaLog, OptionError};
use courant_log::{EmbeddedLog, Log, LogOptions};
use courant_model::{Clock, SystemClock};
use courant_pipeline::{
    plan::{Plan, RoleChoice},
    routes::RouteTable,
    runtime::RoleHandles,
};
use courant_stores::{
    Cache, CacheOptions, EmbeddedCache, EmbeddedHistory, History, HistoryOptions, MongoHistory,
    MongoOptions, RedisCache, RedisOptions, StoreError,
};

use super::LOG_FOLDER;
use crate::error::Failure;

/// How long a start waits for a store's server, and between two tries.
const STORE_WAIT: Duration = Duration::from_secs(60);
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// The roles of a running Courant.
pub(super) struct OpenRoles {
    pub(super) handles: RoleHandles,
    /// The log, where it is inside the process.
    pub(super) embedded: Option<Arc<EmbeddedLog>>,
}

/// Opens the roles. State, and what is embedded, is in the data folder of each worker,
/// wherever the log is.
pub(super) async fn open(plan: &Plan, data: PathBuf) -> Result<OpenRoles, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (log, embedded) = open_log(plan, &data, &clock).await?;
    let cache = open_cache(plan, &data, &clock).await?;
    let history = open_history(plan, &data, &clock).await?;
    let handles =
        RoleHandles { log, cache, history, clock, data, routes: Arc::new(RouteTable::default()) };
    Ok(OpenRoles { handles, embedded })
}

async fn open_cache(
    plan: &Plan,
    data: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn Cache>, Failure> {
    match &plan.roles.cache {
        RoleChoice::Embedded => {
            let options = CacheOptions { clock: Arc::clone(clock), ..CacheOptions::default() };
            let folder = data.join("cache");
            Ok(Arc::new(beside(move || EmbeddedCache::open(folder, options)).await?))
        }
        RoleChoice::External { url } => {
            let options = url.parse::<RedisOptions>();
            let options = options.map_err(|error| Failure::Usage(error.to_string()))?;
            Ok(Arc::new(at_last(|| RedisCache::connect(options.clone())).await?))
        }
    }
}

async fn open_history(
    plan: &Plan,
    data: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn History>, Failure> {
    match &plan.roles.history {
        RoleChoice::Embedded => {
            let options = HistoryOptions { clock: Arc::clone(clock), ..HistoryOptions::default() };
            let folder = data.join("history");
            Ok(Arc::new(beside(move || EmbeddedHistory::open(folder, options)).await?))
        }
        RoleChoice::External { url } => {
            let options = url.parse::<MongoOptions>();
            let options = options.map_err(|error| Failure::Usage(error.to_string()))?;
            Ok(Arc::new(at_last(|| MongoHistory::connect(options.clone())).await?))
        }
    }
}

/// Opens a store that blocks, beside the async runtime.
async fn beside<T: Send + 'static>(
    open: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    let opened = tokio::task::spawn_blocking(open).await;
    Ok(opened.map_err(|error| Failure::Failed(error.to_string()))??)
}

/// Connects to a server, which may start at the same time as this process.
async fn at_last<T, F: Future<Output = Result<T, StoreError>>>(
    connect: impl Fn() -> F,
) -> Result<T, Failure> {
    let started = Instant::now();
    loop {
        match connect().await {
            Err(error) if error.retryable() && started.elapsed() < STORE_WAIT => {
                tracing::warn!(%error, "the store does not answer yet; trying again");
                tokio::time::sleep(STORE_PAUSE).await;
            }
            connected => return Ok(connected?),
        }
    }
}

async fn open_log(
    plan: &Plan,
    data: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<dyn Log>, Option<Arc<EmbeddedLog>>), Failure> {
    match &plan.roles.log {
        RoleChoice::Embedded => {
            let options = LogOptions {
                clock: Arc::clone(clock),
                durability: plan.durability,
                ..LogOptions::default()
            };
            // What recovery had to cut is logged by the log itself.
            let (log, _) = EmbeddedLog::open(&data.join(LOG_FOLDER), options).await?;
            let log = Arc::new(log);
            Ok((Arc::clone(&log) as _, Some(log)))
        }
        RoleChoice::External { url } => {
            let options: ClusterOptions =
                url.parse().map_err(|error: OptionError| Failure::Usage(error.to_string()))?;
            Ok((Arc::new(KafkaLog::connect(options).await?), None))
        }
    }
}
