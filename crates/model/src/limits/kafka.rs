//! Bounds of Kafka's protocol: our broker, its users and transactions, and a cluster's client.
//!
//! Named as all bounds are, by `limits`; a file of its own only because they are many. A
//! client can set some of them, below the ceilings that stand here.

/// Connections of Kafka clients at a time, unless set; each costs a socket, a task and
/// some kilobytes.
pub const BROKER_CONNECTIONS_MAX: usize = 16_384;

/// Bytes of one Kafka request, but for produce: the assignments of a group of a
/// thousand members fit.
pub const BROKER_REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of one produce request, unless set; Kafka's own default.
pub const BROKER_PRODUCE_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Bytes of large Kafka requests in memory at a time, unless set.
pub const BROKER_REQUESTS_BYTES_DEFAULT: usize = 256 * 1024 * 1024;

/// Bytes of answers with records that wait for their clients at a time.
pub const BROKER_ANSWERS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of records that one Kafka answer brings, unless its first batch is larger.
pub const BROKER_FETCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a Kafka client may have its fetch wait for records.
pub const BROKER_FETCH_WAIT_MS_MAX: u64 = 5 * 60 * 1_000;

/// Fields and items of one Kafka request: 50,000 partitions in one are possible, while
/// what they take in memory stays below some 50 MB.
pub const BROKER_REQUEST_PARTS_MAX: usize = 500_000;

/// Requests of one Kafka connection that are read and not yet answered; clients keep
/// five in flight.
pub const BROKER_PIPELINED_MAX: usize = 16;

/// Bytes that a quiet Kafka connection reads at a time; what a thousand of them cost.
pub const BROKER_READ_BYTES_MIN: usize = 4 * 1024;

/// Bytes that a Kafka connection reads at a time, and of a request that needs no share
/// of the memory for requests.
pub const BROKER_READ_BYTES_MAX: usize = 64 * 1024;

/// How long the first bytes of a Kafka request may take to follow one another.
pub const BROKER_FRAME_MS_MAX: u64 = 30_000;

/// Slowest that a Kafka request may arrive beyond that: 64 KiB a second.
pub const BROKER_FRAME_BYTES_PER_MS_MIN: u64 = 64;

/// Answers that one write to a Kafka client takes together.
pub const BROKER_WRITE_SLICES_MAX: usize = 64;

/// How long a Kafka client may leave its answers unread.
pub const BROKER_WRITE_STALL_MS_MAX: u64 = 60_000;

/// How long the TLS handshake of a Kafka client may take.
pub const BROKER_HANDSHAKE_MS_MAX: u64 = 10_000;

/// How long a stop of the broker waits for requests that are being answered.
pub const BROKER_STOP_MS_MAX: u64 = 5_000;

/// Wait after a connection could not be accepted.
pub const BROKER_ACCEPT_RETRY_MS: u64 = 100;

/// Lines about misbehaving Kafka clients that are logged in a second.
pub const BROKER_COMPLAINTS_PER_SECOND_MAX: u64 = 10;

/// Bytes of one request of a Kafka client that has not said who it is; a name and a
/// proof need little.
pub const BROKER_UNAUTHENTICATED_BYTES_MAX: usize = 64 * 1024;

/// How long a Kafka client may take to say who it is.
pub const BROKER_AUTHENTICATION_MS_MAX: u64 = 30_000;

/// Users of a broker whose credentials are known; each takes some 400 bytes.
pub const USERS_MAX: usize = 10_000;

/// Bytes of a user's name.
pub const USER_NAME_BYTES_MAX: usize = 255;

/// Bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// Bytes of one message of a SASL exchange; a name, a password or a proof fit many times.
pub const SASL_MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Fewest iterations of a SCRAM credential: those of RFC 7677, and Kafka's default.
pub const SCRAM_ITERATIONS_MIN: u32 = 4_096;

/// Most iterations of a SCRAM credential, Kafka's: more would cost clients seconds.
pub const SCRAM_ITERATIONS_MAX: u32 = 16_384;

/// Bytes of a SCRAM salt that the broker chooses.
pub const SCRAM_SALT_BYTES: usize = 16;

/// Passwords that are checked at a time; each takes a processor for milliseconds.
pub const PASSWORD_CHECKS_MAX: usize = 2;

/// How long a failed authentication is answered late; Kafka's, against guessing.
pub const AUTHENTICATION_FAILURE_MS: u64 = 100;

/// Shortest time between two authentications of one connection; Kafka's.
pub const REAUTHENTICATION_MS_MIN: u64 = 1_000;

/// Rules of access; every request goes through those of its principal.
pub const ACL_RULES_MAX: usize = 1_000;

/// Longest time for which a quota mutes a connection; below the 30 s after which
/// clients give a request up.
pub const QUOTA_THROTTLE_MS_MAX: u64 = 15_000;

/// Longest that a transaction may be open; Kafka's `transaction.max.timeout.ms`.
pub const TRANSACTION_TIMEOUT_MS_MAX: u64 = 15 * 60 * 1_000;

/// Bytes of a transactional id: a group's id and a partition's name fit together.
pub const TRANSACTIONAL_ID_BYTES_MAX: usize = 1_024;

/// Transactional ids of one log; all of them are in memory, and take some 500 bytes
/// each.
pub const TRANSACTIONAL_IDS_MAX: usize = 50_000;

/// How long an unused transactional id is remembered; Kafka's
/// `transactional.id.expiration.ms`.
pub const TRANSACTIONAL_ID_KEPT_MS: i64 = 7 * 24 * 3_600 * 1_000;

/// Time between two looks for transactions that are open for too long.
pub const TRANSACTION_CHECK_MS: u64 = 1_000;

/// How long a call waits for the one before it on the same transactional id; a few
/// syncs of a slow disk.
pub const TRANSACTION_TURN_MS_MAX: u64 = 2_000;

/// Wait before a transaction's end that could not be written is tried again.
pub const TRANSACTION_RETRY_MS: u64 = 100;

/// How long one call waits for a Kafka cluster, a leader's election included; then it
/// fails, and may be made again.
pub const KAFKA_CALL_MS_MAX: u64 = 30_000;

/// How long a Kafka cluster may take to acknowledge a record, its broker's restart
/// included; the same as Kafka's own clients.
pub const KAFKA_DELIVERY_MS_MAX: u64 = 120_000;

/// How long a batch waits for more records before it goes to a Kafka cluster: enough
/// for callers that come together, too short to be seen.
pub const KAFKA_LINGER_MS: u64 = 1;

/// Bytes that are fetched ahead for each partition of a Kafka cluster.
pub const KAFKA_PREFETCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Reads of single partitions of a Kafka cluster at a time; each holds a connection.
pub const KAFKA_READERS_MAX: usize = 16;

/// Readers without work that keep their connection to a Kafka cluster.
pub const KAFKA_READERS_IDLE_MAX: usize = 4;

/// How long what is known of a Kafka cluster's topic (partitions, limits) is taken
/// for true when records are sent there.
pub const KAFKA_TOPIC_FRESH_MS: u64 = 10_000;

/// How often a member of a Kafka group looks for topics and partitions that are new.
pub const KAFKA_TOPICS_REFRESH_MS: u64 = 5_000;

/// How long a member of a Kafka group may take to give partitions back before the
/// others go on without it; far above [`PARTITION_DRAIN_MS_MAX`].
pub const KAFKA_REBALANCE_MS_MAX: u64 = 60_000;
