//! A running Courant: roles, runtime and HTTP, started and stopped in order.
//!
//! Start: the port is taken first, so that nothing is begun for a port that another
//! has; then log and stores (which recover), pipelines and sources, then HTTP answers.
//! Stop: sources first, pipelines finish what they read, HTTP, then the log.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use courant_log::{EmbeddedLog, Log, LogOptions};
use courant_model::{Clock, SystemClock};
use courant_pipeline::{
    plan::Plan,
    routes::RouteTable,
    runtime::{RoleHandles, Runtime},
};
use courant_serve::{About, Readiness, Security, ServeContext, router, serve};
use courant_stores::{CacheOptions, EmbeddedCache, EmbeddedHistory, HistoryOptions};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::error::Failure;

/// Folder of the log within the data folder.
pub(crate) const LOG_FOLDER: &str = "log";

/// How long a stop may take before what still runs is cut off.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Where to listen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listen {
    pub(crate) address: IpAddr,
    pub(crate) http_port: u16,
}

/// A running Courant.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    runtime: Arc<Runtime>,
    log: Arc<EmbeddedLog>,
    readiness: watch::Sender<Readiness>,
    http: JoinHandle<io::Result<()>>,
    stop_http: CancellationToken,
}

impl Server {
    /// Starts a plan on its data folder.
    pub(crate) async fn start(plan: Plan, data: PathBuf, listen: Listen) -> Result<Self, Failure> {
        let listener = bind(listen).await?;
        let address = listener.local_addr()?;
        let metrics = PrometheusBuilder::new()
            .install_recorder()
            .map_err(|error| Failure::Failed(format!("metrics cannot be recorded: {error}")))?;
        let roles = open_roles(&plan, data).await?;
        let (readiness, ready) = watch::channel(Readiness::Starting);
        let stop_http = CancellationToken::new();
        let runtime = Runtime::start(plan, roles.handles.clone())
            .await
            .map_err(|error| Failure::Failed(error.to_string()))?;
        let runtime = Arc::new(runtime);
        let plan = runtime.plan();
        let about = About {
            name: plan.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            profile: plan.profile.clone(),
            ports: BTreeMap::from([("http".to_owned(), address.port())]),
        };
        let security = Security { loopback: listen.address.is_loopback(), ..Security::default() };
        let context = ServeContext {
            about,
            log: Arc::clone(&roles.handles.log),
            cache: Arc::clone(&roles.handles.cache),
            history: Arc::clone(&roles.handles.history),
            pipelines: Arc::clone(&runtime) as _,
            endpoints: plan.endpoints.clone(),
            routes: roles.handles.routes,
            clock: roles.handles.clock,
            metrics: Some(metrics),
            readiness: ready,
            security,
            stop: stop_http.clone(),
        };
        let router = router(context).map_err(|error| Failure::Failed(error.to_string()))?;
        let http = tokio::spawn(serve(listener, router, stop_http.clone()));
        readiness.send_replace(Readiness::Ready);
        Ok(Self { address, runtime, log: roles.log, readiness, http, stop_http })
    }

    /// Address for a browser on this machine.
    pub(crate) fn address(&self) -> String {
        if self.address.ip().is_unspecified() {
            return format!("http://127.0.0.1:{}", self.address.port());
        }
        format!("http://{}", self.address)
    }

    /// Stops in order: nothing read is lost, nothing is stored twice.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.readiness.send_replace(Readiness::Stopping);
        let in_time = self.runtime.stop(STOP_DEADLINE).await?;
        self.stop_http.cancel();
        match self.http.await {
            Ok(served) => served?,
            Err(error) => tracing::warn!(%error, "the HTTP task ended badly"),
        }
        self.log.close().await?;
        if !in_time {
            tracing::warn!(
                deadline = ?STOP_DEADLINE,
                "some tasks were cut off; the next start does their last batch again"
            );
        }
        Ok(())
    }
}

async fn bind(listen: Listen) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(listen.address, listen.http_port);
    TcpListener::bind(address).await.map_err(|error| {
        Failure::Failed(match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "port {} is taken by another process; choose another with --http-port, or 0 for a free one",
                listen.http_port
            ),
            io::ErrorKind::PermissionDenied => format!(
                "port {} may not be taken by this user; choose one above 1023 with --http-port",
                listen.http_port
            ),
            _ => format!("listening on {address} failed: {error}; see --listen and --http-port"),
        })
    })
}

/// The embedded roles.
struct OpenRoles {
    log: Arc<EmbeddedLog>,
    handles: RoleHandles,
}

async fn open_roles(plan: &Plan, data: PathBuf) -> Result<OpenRoles, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = LogOptions {
        clock: Arc::clone(&clock),
        durability: plan.durability,
        ..LogOptions::default()
    };
    // What recovery had to cut is logged by the log itself.
    let (log, _) = EmbeddedLog::open(&data.join(LOG_FOLDER), options).await?;
    let log = Arc::new(log);
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
        log: Arc::clone(&log) as Arc<dyn Log>,
        cache: Arc::new(cache),
        history: Arc::new(history),
        clock,
        data,
        routes: Arc::new(RouteTable::default()),
    };
    Ok(OpenRoles { log, handles })
}

/// Waits for SIGINT or SIGTERM. A second SIGINT ends the process at once.
pub(crate) async fn stop_signal() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => terminate.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate => {}
    }
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
}
