//! Opens what a plan's profile puts behind the roles.

use std::{path::PathBuf, sync::Arc};

use courant_kafka::{ClusterOptions, KafkaLog, OptionError};
use courant_log::{EmbeddedLog, Log, LogOptions};
use courant_model::{Clock, SystemClock};
use courant_pipeline::{
    plan::{Plan, RoleChoice},
    routes::RouteTable,
    runtime::RoleHandles,
};
use courant_stores::{CacheOptions, EmbeddedCache, EmbeddedHistory, HistoryOptions};

use super::LOG_FOLDER;
use crate::error::Failure;

/// The roles of a running Courant.
pub(super) struct OpenRoles {
    pub(super) handles: RoleHandles,
    /// The log, where it is inside the process.
    pub(super) embedded: Option<Arc<EmbeddedLog>>,
}

/// Opens the roles. State, cache and history are in the data folder of each worker,
/// wherever the log is.
pub(super) async fn open(plan: &Plan, data: PathBuf) -> Result<OpenRoles, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (log, embedded) = open_log(plan, &data, &clock).await?;
    let cache_options = CacheOptions { clock: Arc::clone(&clock), ..CacheOptions::default() };
    let history_options = HistoryOptions { clock: Arc::clone(&clock), ..HistoryOptions::default() };
    let (cache, history) = (data.join("cache"), data.join("history"));
    let opened = tokio::task::spawn_blocking(move || {
        Ok::<_, Failure>((
            EmbeddedCache::open(cache, cache_options)?,
            EmbeddedHistory::open(history, history_options)?,
        ))
    });
    let (cache, history) = opened.await.map_err(|error| Failure::Failed(error.to_string()))??;
    let handles = RoleHandles {
        log,
        cache: Arc::new(cache),
        history: Arc::new(history),
        clock,
        data,
        routes: Arc::new(RouteTable::default()),
    };
    Ok(OpenRoles { handles, embedded })
}

async fn open_log(
    plan: &Plan,
    data: &std::path::Path,
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
