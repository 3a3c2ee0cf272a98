//! A running Courant: roles, runtime, HTTP and the Kafka port, started and stopped in
//! order.
//!
//! Start: the ports are taken first, so that nothing is begun for a port that another
//! has; then log and stores (which recover), pipelines and sources, then channels are
//! pushed and HTTP and Kafka clients are answered. Stop: Kafka clients and sources first,
//! pipelines finish what they read, channels, HTTP, then the log.

mod kafka;
mod push;
mod roles;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use courant_log::Log;
use courant_pipeline::{plan::Plan, runtime::Runtime};
use courant_serve::{About, Readiness, Security, ServeContext, router, serve};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::kafka::KafkaListen;
use self::kafka::KafkaPort;
pub(crate) use self::push::{PushListen, SecretChoice};
use crate::error::Failure;

/// Folder of the log within the data folder.
pub(crate) const LOG_FOLDER: &str = "log";

/// How long a stop may take before what still runs is cut off.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Where to listen.
#[derive(Debug, Clone)]
pub(crate) struct Listen {
    pub(crate) address: IpAddr,
    pub(crate) http_port: u16,
    /// `None`: no Kafka port.
    pub(crate) kafka: Option<KafkaListen>,
    pub(crate) push: PushListen,
}

/// A running Courant.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    runtime: Arc<Runtime>,
    log: Arc<dyn Log>,
    kafka: Option<KafkaPort>,
    push: push::Running,
    readiness: watch::Sender<Readiness>,
    http: JoinHandle<io::Result<()>>,
    stop_http: CancellationToken,
}

impl Server {
    /// Starts a plan on its data folder.
    pub(crate) async fn start(plan: Plan, data: PathBuf, listen: Listen) -> Result<Self, Failure> {
        raise_file_limit();
        let listener = bind(&listen).await?;
        let address = listener.local_addr()?;
        let kafka = match listen.kafka {
            Some(kafka) => Some(kafka.take(&data).await?),
            None => None,
        };
        let metrics = PrometheusBuilder::new()
            .install_recorder()
            .map_err(|error| Failure::Failed(format!("metrics cannot be recorded: {error}")))?;
        let roles = roles::open(&plan, data.clone()).await?;
        let push = listen.push.open(&plan, &data, &roles.handles.clock).await?;
        let (readiness, ready) = watch::channel(Readiness::Starting);
        let stop_http = CancellationToken::new();
        let runtime = Runtime::start(plan, roles.handles.clone())
            .await
            .map_err(|error| Failure::Failed(error.to_string()))?;
        let runtime = Arc::new(runtime);
        let plan = runtime.plan();
        let kafka = match (kafka, roles.embedded) {
            (Some(kafka), Some(log)) => Some(kafka.serve(log)?),
            _ => None,
        };
        let mut ports = BTreeMap::from([("http".to_owned(), address.port())]);
        ports.extend(kafka.iter().map(|port| ("kafka".to_owned(), port.address.port())));
        let (history, clock) = (roles.handles.history, roles.handles.clock);
        let about = About {
            name: plan.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            profile: plan.profile.clone(),
            ports,
            push: Some(push.address.clone()),
        };
        let security = Security { loopback: listen.address.is_loopback(), ..Security::default() };
        let context = ServeContext {
            about,
            log: Arc::clone(&roles.handles.log),
            cache: Arc::clone(&roles.handles.cache),
            history: Arc::clone(&history),
            pipelines: Arc::clone(&runtime) as _,
            views: Arc::clone(&runtime) as _,
            endpoints: plan.endpoints.clone(),
            routes: roles.handles.routes,
            clock: Arc::clone(&clock),
            metrics: Some(metrics),
            readiness: ready,
            security,
            push: push.routes.clone(),
            stop: stop_http.clone(),
        };
        let router = router(context).map_err(|error| Failure::Failed(error.to_string()))?;
        let push = push.run(history, clock);
        let http = tokio::spawn(serve(listener, router, stop_http.clone()));
        readiness.send_replace(Readiness::Ready);
        let log = roles.handles.log;
        Ok(Self { address, runtime, log, kafka, push, readiness, http, stop_http })
    }

    /// Address for a browser on this machine.
    pub(crate) fn address(&self) -> String {
        format!("http://{}", local(self.address))
    }

    /// Address for a Kafka client on this machine, where there is a port for it.
    pub(crate) fn kafka_address(&self) -> Option<SocketAddr> {
        self.kafka.as_ref().map(|kafka| local(kafka.address))
    }

    /// Stops in order: nothing read is lost, nothing is stored twice.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.readiness.send_replace(Readiness::Stopping);
        if let Some(kafka) = self.kafka {
            kafka.stop().await?;
        }
        let in_time = self.runtime.stop(STOP_DEADLINE).await?;
        self.push.stop().await;
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

async fn bind(listen: &Listen) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(listen.address, listen.http_port);
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| bind_failure(&error, address, "--http-port", "0 for a free one"))
}

/// Why a port is not to be had, with the flag that chooses another.
fn bind_failure(error: &io::Error, address: SocketAddr, flag: &str, others: &str) -> Failure {
    let port = address.port();
    Failure::Failed(match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port} is taken by another process; choose another with {flag}, or {others}"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("port {port} may not be taken by this user; choose one above 1023 with {flag}")
        }
        _ => format!("listening on {address} failed: {error}; see {flag}"),
    })
}

/// The address as this machine reaches it.
fn local(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(address) if address.ip().is_unspecified() => {
            (Ipv4Addr::LOCALHOST, address.port()).into()
        }
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            (Ipv6Addr::LOCALHOST, address.port()).into()
        }
        address => address,
    }
}

/// Lets the process open as many files and connections as the system allows it: a
/// segment's file and a client's socket each take one.
fn raise_file_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "file descriptors"),
        Err(error) => tracing::warn!(%error, "the limit of file descriptors stays as it is"),
    }
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
