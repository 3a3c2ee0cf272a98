//! How large anything may grow. Every bound stands here, with its reason.
//!
//! A bound is what keeps one client, file or record from harming another. Where a
//! user can set a value, the constant is its default or its ceiling, as it says.

/// Characters in a topic's name; Kafka's bound, because the name becomes a folder.
pub const TOPIC_NAME_CHARS_MAX: usize = 249;

/// Partitions of one topic. Each costs two open files and an entry in every index.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 1_000;

/// Topics in one log; above this the start-up scan is no longer a matter of seconds.
pub const TOPICS_MAX: usize = 10_000;

/// Bytes of one record or one record batch: 16 MiB, so that the 10 MB messages
/// that people send pass, and a length field cannot exhaust memory.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes that one compressed batch may unfold to; stops decompression bombs.
pub const BATCH_UNCOMPRESSED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Records in one batch; bounds what a hostile count can make a reader reserve.
pub const BATCH_RECORDS_MAX: usize = 1_000_000;

/// Headers of one record.
pub const HEADERS_PER_RECORD_MAX: usize = 1_024;

/// Bytes of one request body over HTTP: one message with room for its JSON.
pub const HTTP_BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Records in one HTTP request (an array or NDJSON).
pub const HTTP_RECORDS_MAX: usize = 100_000;

/// Bytes of a request's path and query.
pub const URL_BYTES_MAX: usize = 8 * 1024;

/// Documents that one `find` may answer; more needs paging.
pub const FIND_LIMIT_MAX: usize = 10_000;

/// Conditions in one filter, nested ones included.
pub const FILTER_CONDITIONS_MAX: usize = 256;

/// Depth of a JSON document, filter or YAML file; the decoders recurse.
pub const NESTING_MAX: usize = 128;

/// Bytes of one YAML file.
pub const CONFIG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Files that one YAML file may include, directly or through others.
pub const CONFIG_INCLUDES_MAX: usize = 64;

/// Members of one consumer group.
pub const GROUP_MEMBERS_MAX: usize = 1_000;

/// Subscribers of one stream (server-sent events); one more is refused with 503.
pub const STREAM_SUBSCRIBERS_MAX: usize = 10_000;

/// Changes that wait for one slow subscriber before it is cut off to resume later.
pub const SUBSCRIBER_QUEUE_MAX: usize = 1_024;

/// Records that a pipeline task takes at a time; large enough for columns to pay,
/// small enough to answer within milliseconds.
pub const PIPELINE_BATCH_RECORDS_MAX: usize = 8_192;

/// Bytes that a pipeline task takes at a time.
pub const PIPELINE_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The whole process's budget for prefetch, buffers and caches, unless set.
pub const MEMORY_BYTES_DEFAULT: u64 = 512 * 1024 * 1024;

/// First wait after a target failed; doubled each time up to [`RETRY_WAIT_MS_MAX`].
pub const RETRY_WAIT_MS_MIN: u64 = 100;

/// Longest wait between two tries.
pub const RETRY_WAIT_MS_MAX: u64 = 30_000;
