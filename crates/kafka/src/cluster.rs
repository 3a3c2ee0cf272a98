//! The connections to one cluster, and the words for what goes wrong there.
//!
//! [`Core`] holds what every call shares: a client for administration, one that asks
//! for the high watermark, one that asks for the last stable offset, the producers.
//! Every question has a bound; a question that a leader's election disturbs is asked
//! again within it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use courant_log::LogError;
use courant_model::limits::KAFKA_CALL_MS_MAX;
use parking_lot::Mutex;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    ClusterOptions, context::Context, produce::Producers, read::Readers, topics::TopicCache,
};

/// How long one call waits for the cluster.
pub(crate) const CALL: Duration = Duration::from_millis(KAFKA_CALL_MS_MAX);

/// Time between two tries of one question.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Wait for a first answer, after which it is asked whether a broker refused us.
const GREETING: Duration = Duration::from_millis(500);

/// Events that are looked through for a refusal.
const EVENTS: usize = 64;

/// A client that reads, or asks.
pub(crate) type Reader = BaseConsumer<Context>;

/// What all calls to one cluster share.
pub(crate) struct Core {
    pub(crate) cluster: Arc<str>,
    pub(crate) options: ClusterOptions,
    pub(crate) id: String,
    pub(crate) admin: AdminClient<Context>,
    /// Asks for offsets as they are.
    pub(crate) latest: Reader,
    /// Asks for offsets as readers of committed records see them.
    pub(crate) stable: Reader,
    pub(crate) producers: Producers,
    pub(crate) topics: TopicCache,
    pub(crate) readers: Readers,
    /// Ends every wait once the log is closed.
    pub(crate) closed: CancellationToken,
    /// One change of topics at a time, so that reading and writing settings is safe.
    pub(crate) changes: Semaphore,
    /// Ends of members that are still under way; the close waits for them.
    pub(crate) leaving: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

impl Core {
    /// Connects, and asks for the cluster's id to see that somebody is there. Blocks.
    pub(crate) fn connect(options: ClusterOptions) -> Result<Self, LogError> {
        let cluster = options.name();
        let action = "connecting";
        let failed = |error: &KafkaError| failure(&cluster, action, error);
        if let Err(error) = options.check() {
            return Err(refusal(&cluster, action, error.to_string()));
        }
        let context = || Context { cluster: Arc::clone(&cluster) };
        let asking = |isolation: &str| {
            let mut config = reading(&options);
            config.set("isolation.level", isolation);
            config.create_with_context::<_, Reader>(context())
        };
        let latest = asking("read_uncommitted").map_err(|error| failed(&error))?;
        let stable = asking("read_committed").map_err(|error| failed(&error))?;
        let mut admin = options.client_config();
        // Nobody reads this client's log; the failures reach the caller anyway.
        admin.set_log_level(RDKafkaLogLevel::Emerg);
        let admin = admin.create_with_context(context()).map_err(|error| failed(&error))?;
        let id = greet(&latest, &cluster, action)?;
        drain(&latest);
        Ok(Self {
            producers: Producers::new(Arc::clone(&cluster)),
            cluster,
            options,
            id,
            admin,
            latest,
            stable,
            topics: TopicCache::default(),
            readers: Readers::default(),
            closed: CancellationToken::new(),
            changes: Semaphore::new(1),
            leaving: Mutex::default(),
        })
    }

    pub(crate) fn check_open(&self) -> Result<(), LogError> {
        if self.closed.is_cancelled() { Err(LogError::Closed) } else { Ok(()) }
    }

    pub(crate) fn failure(&self, action: &str, error: &KafkaError) -> LogError {
        failure(&self.cluster, action, error)
    }

    /// What a code of the cluster's means for a call.
    pub(crate) fn refused(&self, action: &str, code: RDKafkaErrorCode) -> LogError {
        self.failure(action, &KafkaError::Global(code))
    }

    /// A failure in our own words.
    pub(crate) fn refusal(&self, action: &str, why: impl Into<String>) -> LogError {
        refusal(&self.cluster, action, why.into())
    }

    /// Bounds of one administrative call.
    pub(crate) fn admin_options() -> AdminOptions {
        AdminOptions::new().request_timeout(Some(CALL)).operation_timeout(Some(CALL))
    }

    /// Asks again while the cluster elects leaders or cannot be reached, up to the
    /// bound of one call. Blocks.
    pub(crate) fn asking<T>(
        &self,
        mut ask: impl FnMut(Duration) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let until = Instant::now() + CALL;
        loop {
            self.check_open()?;
            match ask(until.saturating_duration_since(Instant::now())) {
                Err(error) if error.retryable() && Instant::now() + TRY_AGAIN < until => {
                    std::thread::sleep(TRY_AGAIN);
                }
                done => return done,
            }
        }
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// Asks for the cluster's id until somebody answers, within the bound of one call; not
/// again where certificates or credentials are refused. Blocks.
fn greet(reader: &Reader, cluster: &Arc<str>, action: &str) -> Result<String, LogError> {
    let until = Instant::now() + CALL;
    loop {
        if let Some(id) = reader.client().fetch_cluster_id(GREETING) {
            return Ok(id);
        }
        // Every poll takes one event, a line of the log too, which it hides.
        for _ in 0..EVENTS {
            if let Some(Err(error)) = reader.poll(Duration::ZERO)
                && code_of(&error).is_some_and(is_rejection)
            {
                return Err(failure(cluster, action, &error));
            }
        }
        if Instant::now() >= until {
            return Err(LogError::Cluster {
                action: action.to_owned(),
                cluster: Arc::clone(cluster),
                why: "no broker answers; check the addresses, TLS and credentials".to_owned(),
                retryable: true,
            });
        }
    }
}

/// Runs what blocks on a thread where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    cluster: &Arc<str>,
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(refusal(cluster, "a call", format!("its thread ended: {error}"))),
    }
}

/// Ends a client on a thread where that may take its time.
pub(crate) fn bury<T: Send + 'static>(client: T) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(client))),
        Err(_) => drop(std::thread::spawn(move || drop(client))),
    }
}

/// The configuration of clients that read or ask, but are members of nothing.
pub(crate) fn reading(options: &ClusterOptions) -> ClientConfig {
    let mut config = options.client_config();
    config.set_log_level(RDKafkaLogLevel::Warning);
    config.set("allow.auto.create.topics", "false");
    config.set("enable.auto.commit", "false");
    config
}

/// Takes what a client that is never polled has to tell.
pub(crate) fn drain(client: &Reader) {
    for _ in 0..16 {
        if client.poll(Duration::ZERO).is_none() {
            break;
        }
    }
}

pub(crate) fn failure(cluster: &Arc<str>, action: &str, error: &KafkaError) -> LogError {
    let code = code_of(error);
    let retryable = match error {
        KafkaError::Transaction(error) => error.is_retriable(),
        KafkaError::Canceled => true,
        _ => code.is_some_and(is_retryable),
    };
    let mut why = match (error, code) {
        (KafkaError::Transaction(error), _) => error.string(),
        (_, Some(code)) => code.to_string(),
        (other, None) => other.to_string(),
    };
    if let Some(remedy) = code.and_then(remedy) {
        why = format!("{why}; {remedy}");
    }
    LogError::Cluster { action: action.to_owned(), cluster: Arc::clone(cluster), why, retryable }
}

fn refusal(cluster: &Arc<str>, action: &str, why: String) -> LogError {
    let (action, cluster) = (action.to_owned(), Arc::clone(cluster));
    LogError::Cluster { action, cluster, why, retryable: false }
}

/// The code of a failure, administrative ones included.
pub(crate) fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// Whether the same may succeed later without anybody changing it.
pub(crate) fn is_retryable(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::Resolve
            | Code::MessageTimedOut
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::QueueFull
            | Code::ISRInsufficient
            | Code::NodeUpdate
            | Code::WaitingForCoordinator
            | Code::InProgress
            | Code::PreviousInProgress
            | Code::WaitCache
            | Code::Interrupted
            | Code::Retry
            | Code::PurgeQueue
            | Code::PurgeInflight
            | Code::DestroyBroker
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::RequestTimedOut
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::RebalanceInProgress
            | Code::NotController
            | Code::ConcurrentTransactions
            | Code::KafkaStorageError
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::PreferredLeaderNotAvailable
            | Code::EligibleLeadersNotAvailable
            | Code::UnstableOffsetCommit
            | Code::ThrottlingQuotaExceeded
    )
}

/// Whether a broker was reached and would not speak with us.
const fn is_rejection(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::SSL | Code::Authentication | Code::SaslAuthenticationFailed)
}

fn remedy(code: RDKafkaErrorCode) -> Option<&'static str> {
    use RDKafkaErrorCode as Code;
    Some(match code {
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve => {
            "check that the brokers run and their advertised addresses can be reached"
        }
        Code::SSL => "check the certificates, and whether the listener speaks TLS",
        Code::Authentication | Code::SaslAuthenticationFailed => "check user, password and sasl",
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => "ask for an ACL that allows it",
        Code::InvalidReplicationFactor => {
            "set replication= in the URL to no more than the number of brokers"
        }
        _ => return None,
    })
}
