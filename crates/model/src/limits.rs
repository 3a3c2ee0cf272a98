//! How large anything may grow. Every bound stands here, or in a file below, with its reason.
//!
//! A bound is what keeps one client, file or record from harming another. Where a
//! user can set a value, the constant is its default or its ceiling, as it says.

mod capture;
mod kafka;

pub use capture::*;
pub use kafka::*;

/// Characters in a topic's name; Kafka's bound, because the name becomes a folder.
pub const TOPIC_NAME_CHARS_MAX: usize = 249;

/// Partitions of one topic. Each costs an open file for every segment.
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

/// Values in one YAML file once its aliases are copied in; stops alias bombs.
pub const CONFIG_NODES_MAX: usize = 250_000;

/// Items that a `deduplicate` step remembers for one partition, unless set.
pub const DEDUPLICATE_KEYS_DEFAULT: usize = 1_000_000;

/// Longest time between two checkpoints, unless set: short enough that a crash
/// repeats little, long enough that one sync serves many records.
pub const CHECKPOINT_MS_DEFAULT: u64 = 50;

/// Tries before a record that a target refuses is given up, unless set.
pub const TARGET_RETRIES_DEFAULT: u32 = 5;

/// Documents that an endpoint answers, unless set.
pub const ENDPOINT_LIMIT_DEFAULT: usize = 100;

/// Members of one consumer group.
pub const GROUP_MEMBERS_MAX: usize = 1_000;

/// Bytes of a group's id; it stands in the key of every offset and in URLs.
pub const GROUP_ID_BYTES_MAX: usize = 249;

/// Groups of one log; all of them are in memory with their offsets.
pub const GROUPS_MAX: usize = 10_000;

/// Bytes that a member may say about itself when it joins, all strategies together;
/// enough for the names and claims of a thousand topics.
pub const GROUP_MEMBER_METADATA_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that the members of all groups may bring and be given: they stay in memory,
/// and a thousand members of a thousand topics need far less.
pub const GROUPS_HELD_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Bytes of the committer's word beside an offset; Kafka's bound.
pub const OFFSET_METADATA_BYTES_MAX: usize = 4_096;

/// Commits that wait for the disk at a time; further ones wait before they are taken.
pub const GROUP_COMMITS_PENDING_MAX: usize = 1_024;

/// Subscribers of one stream (server-sent events); one more is refused with 503.
pub const STREAM_SUBSCRIBERS_MAX: usize = 10_000;

/// Records that a pipeline task takes at a time; large enough for columns to pay,
/// small enough to answer within milliseconds.
pub const PIPELINE_BATCH_RECORDS_MAX: usize = 8_192;

/// Bytes that a pipeline task takes at a time.
pub const PIPELINE_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes that a partition reads at a time while it waits for news, outside of the
/// memory budget; once it is behind, its reads count there.
pub const PIPELINE_IDLE_READ_BYTES: usize = 64 * 1024;

/// Events that run through the steps on an async thread; more of them would hold up
/// others, and go to a blocking thread, which costs some 10 µs.
pub const PIPELINE_INLINE_EVENTS_MAX: usize = 256;

/// Bytes that wait for the transaction of a partition's next checkpoint, with the
/// records they come from; a full outbox is sent at once. As large as a read.
pub const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a pipeline's transaction may be open before the log aborts it. It is sent in
/// one go, so this is only how long a worker that died can hold others up.
pub const PIPELINE_TRANSACTION_MS_MAX: u64 = 10_000;

/// Transactions that the group may refuse one after the other, because it is about to
/// share its partitions anew, before the membership begins anew; some three seconds.
pub const PIPELINE_FENCED_TRIES_MAX: u32 = 5;

/// How long a partition that is given back may finish what it has in flight; within
/// a group's shortest rebalance time-outs.
pub const PARTITION_DRAIN_MS_MAX: u64 = 5_000;

/// Rounds of the virtual-time driver after which pipelines that feed each other are
/// taken for endless; a chain of pipelines needs one for each.
pub const DRIVER_ROUNDS_MAX: usize = 1_000;

/// Items of one list that a `split` or `jolt` step takes apart.
pub const SPLIT_ITEMS_MAX: usize = 100_000;

/// Compiled specifications that a `jolt` step keeps for one partition, where what a
/// record says is part of them; the one not used for longest goes first.
pub const JOLT_SPECS_KEPT: usize = 64;

/// Bytes of what a record may put into a specification at one place: names, not documents.
pub const JOLT_PLACEHOLDER_BYTES_MAX: usize = 1_024;

/// Rows that a `nest` step remembers, unless set: of usual rows, some 2 GB of memory.
pub const NEST_ROWS_DEFAULT: usize = 2_000_000;

/// Completed transactions that a `nest` step knows again: four times what a source that
/// crashed can repeat. They take 2 MB.
pub const NEST_TRANSACTIONS_KEPT: usize = 65_536;

/// Bytes of the block cache of the engine's own state: the steps' memory is read on start
/// only, tables of views whenever a key is in neither of their caches.
pub const STATE_CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of the memtable of the views' tables.
pub const VIEW_MEMTABLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of entries that one partition of a view keeps at hand beside its changes.
pub const VIEW_CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of changes that one partition of a view gathers; more ask for a checkpoint.
pub const VIEW_CHANGES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of staged changes of a view that stand under one key.
pub const VIEW_STAGED_CHUNK_BYTES: usize = 1024 * 1024;

/// Results that one partition of a view looks at in a checkpoint, to remove those whose
/// time is over: often enough that a store does not grow while it is written.
pub const VIEW_SWEPT_RESULTS: usize = 1_000;

/// How long a topic may be silent before a view that reads several goes on without it,
/// unless set.
pub const VIEW_IDLE_MS_DEFAULT: u64 = 10_000;

/// How long closed windows stay in a view's store, unless set.
pub const VIEW_KEEP_MS_DEFAULT: u64 = 3_600_000;

/// Changes of a view that wait for one of its watchers; one that falls further behind is
/// told that it missed some.
pub const VIEW_WATCH_CHANGES: usize = 4_096;

/// Results that one question to a view's store answers at most.
pub const VIEW_SCAN_LIMIT_MAX: usize = 10_000;

/// Results that a question to a view looks at while it holds up the view's task.
pub const VIEW_SCAN_PIECE: usize = 1_000;

/// How long dead letters are kept, unless their topic is declared: long enough for
/// somebody to come back from leave.
pub const DEAD_LETTERS_KEPT_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// The whole process's budget for prefetch, buffers and caches, unless set.
pub const MEMORY_BYTES_DEFAULT: u64 = 512 * 1024 * 1024;

/// First wait after a target failed; doubled each time up to [`RETRY_WAIT_MS_MAX`].
pub const RETRY_WAIT_MS_MIN: u64 = 100;

/// Longest wait between two tries.
pub const RETRY_WAIT_MS_MAX: u64 = 30_000;

/// Characters in the name of a collection or cache table: MongoDB's bound for a
/// namespace, with room for the database's name.
pub const STORE_NAME_CHARS_MAX: usize = 120;

/// Bytes of a document's id or a cache key; keys are repeated in every index.
pub const STORE_KEY_BYTES_MAX: usize = 1_024;

/// Bytes of a store's memtable: four of them stay well within the memory budget.
pub const STORE_MEMTABLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of a store's journals; what a restart reads again at most.
pub const STORE_JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of a store's block cache unless set; larger ones gained nothing measurable.
pub const STORE_CACHE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// Write calls that wait for one history at a time; further ones wait in line
/// outside, without a thread.
pub const HISTORY_WRITERS_MAX: usize = 32;

/// Bytes of documents that one synced group takes; bounds what a crash can tear and
/// what a follower waits for.
pub const HISTORY_GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Secondary indexes of one collection; each costs a write for every document.
pub const INDEXES_PER_COLLECTION_MAX: usize = 32;

/// Fields of one index.
pub const INDEX_FIELDS_MAX: usize = 8;

/// Bytes of one value within an index key; longer values are cut there, and told
/// apart by their document.
pub const INDEX_VALUE_BYTES_MAX: usize = 1_024;

/// Entries of one document in one index: items of an indexed list.
pub const INDEX_ENTRIES_PER_DOCUMENT_MAX: usize = 1_000;

/// Values of one `$in` or `$nin`.
pub const FILTER_VALUES_MAX: usize = 1_000;

/// Fields of one sort.
pub const SORT_FIELDS_MAX: usize = 32;

/// How long a store remembers the version of what was deleted: longer than a replay
/// after an outage reaches back, short enough that what is gone does not gather.
pub const DELETED_VERSIONS_KEPT_MS: u64 = 24 * 3_600 * 1_000;

/// Outdated versions of deleted things that one write drops on its way; more than it can
/// add in most cases, so that they go sooner than they come.
pub const DELETED_VERSIONS_DROPPED_MAX: usize = 1_000;

/// Changes that a history keeps for watches to resume from, unless set.
pub const CHANGES_KEPT_DEFAULT: u64 = 10_000_000;

/// Bytes of changes that a history keeps, unless set.
pub const CHANGES_KEPT_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;

/// How long a history keeps changes, unless set: a week-end's outage and some days.
pub const CHANGES_KEPT_MS_DEFAULT: u64 = 7 * 24 * 3_600 * 1_000;

/// Bytes of changes that one read of a watch takes into memory.
pub const CHANGES_READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes that the embedded cache holds in memory, unless set.
pub const CACHE_MEMORY_BYTES_DEFAULT: u64 = 128 * 1024 * 1024;

/// Keys whose writes go to Redis in one pipeline; more of them gained nothing measurable.
pub const REDIS_PIPELINE_KEYS_MAX: usize = 100;

/// Bytes of one pipeline to Redis, unless one key's writes are larger; what it holds in
/// memory for us meanwhile.
pub const REDIS_PIPELINE_BYTES: usize = 8 * 1024 * 1024;

/// Keys of a table that Redis is asked the size of; the table's is estimated from them.
pub const REDIS_SIZES_SAMPLED: u64 = 20;

/// Statements of one command to MongoDB; many more gain nothing and hold others up.
pub const MONGO_COMMAND_STATEMENTS_MAX: usize = 1_000;

/// Bytes of the documents of one command to MongoDB, unless one is larger; it takes 48 MB.
pub const MONGO_COMMAND_BYTES: usize = 16 * 1024 * 1024;

/// Levels of a document in MongoDB, which stores 100, with what stands around it.
pub const MONGO_NESTING_MAX: usize = 96;

/// Rounds in which other writers may be quicker with every document of a call before it
/// fails; each takes some milliseconds, so this many are no accident.
pub const MONGO_WRITE_TRIES_MAX: u32 = 50;

/// Keys changed since the last flush that make the cache flush by itself.
pub const CACHE_UNFLUSHED_KEYS_MAX: usize = 100_000;

/// Bytes that wait in one log to be written; appends beyond it wait their turn.
pub const APPEND_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes that one partition writes before it syncs and answers: bounds both the
/// write buffer and how long the first of a group waits for the last.
pub const APPEND_GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a compressed batch that is unpacked where it arrives; a larger one goes to a
/// blocking thread, which costs some 10 µs and holds up nobody.
pub const APPEND_UNPACK_BYTES_MAX: usize = 16 * 1024;

/// Partitions of one log that write and sync at the same time. A file system joins
/// concurrent syncs into one journal commit; more threads than this only wait.
pub const APPEND_WORKERS_MAX: usize = 8;

/// Bytes of records that an append from inside the process puts into one batch:
/// large enough to compress well, small enough to be read for one record and to fit
/// the smallest read of a pipeline.
pub const APPEND_BATCH_BYTES: usize = 64 * 1024;

/// Bytes that one read of a partition may bring, unless its first batch is larger.
pub const READ_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one segment. Positions in the index are 32 bits wide.
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Batches remembered of a producer; Kafka's, as many as it may have in flight.
pub const PRODUCER_BATCHES_KEPT: usize = 5;

/// Idempotent producers remembered by one partition; 10,000 take some 4 MB.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 10_000;

/// Bytes of keys that one compaction holds in memory; what does not fit waits for
/// the next.
pub const COMPACTION_KEYS_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Damaged ends of segments that a partition keeps aside for inspection.
pub const CUT_FILES_KEPT: usize = 4;

/// Connections to the HTTP port at a time: every subscriber of one stream, and
/// room for those who only ask. Each costs a socket and a task.
pub const HTTP_CONNECTIONS_MAX: usize = 16_384;

/// How long a client may leave bytes that are ready for it unread before its
/// connection is closed; a stream's client comes back with its resume token.
pub const HTTP_WRITE_STALL_MS_MAX: u64 = 30_000;

/// How long a stop of HTTP waits for requests that are being answered.
pub const HTTP_STOP_MS_MAX: u64 = 5_000;

/// Time between two comments on a silent stream; below the minute after which
/// proxies give a silent connection up.
pub const STREAM_HEARTBEAT_MS: u64 = 15_000;

/// Shortest time between two messages of an endpoint that streams a view; each of them
/// reads the store.
pub const VIEW_STREAM_MS_MIN: u64 = 100;

/// How long a stream's client is told to wait before it connects again.
pub const STREAM_RETRY_MS: u64 = 1_000;

/// Changes that one subscriber holds in memory; the rest wait in the change log.
pub const STREAM_CHANGES_MAX: usize = 64;

/// Bytes of records that one subscriber holds in memory for each partition; the
/// rest wait in the log.
pub const STREAM_RECORDS_BYTES_MAX: usize = 256 * 1024;

/// Records that one read over HTTP may answer; more needs paging.
pub const RECORDS_LIMIT_MAX: usize = 1_000;

/// Records that one read over HTTP answers unless it says how many.
pub const RECORDS_LIMIT_DEFAULT: usize = 100;

/// Bytes of records that one read over HTTP takes into memory, partitions together;
/// each partition gives one record at least.
pub const RECORDS_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Records that one read over HTTP looks through for its filter before it answers
/// with what it has and where to go on.
pub const RECORDS_SCANNED_MAX: usize = 100_000;

/// Documents that a `find` over HTTP answers unless it says how many.
pub const FIND_LIMIT_DEFAULT: usize = 100;

/// Documents that a `find` over HTTP may skip; skipping reads them.
pub const FIND_SKIP_MAX: usize = 1_000_000;

/// Cache keys that one list over HTTP may answer; more needs paging.
pub const CACHE_KEYS_LIMIT_MAX: usize = 1_000;

/// Dead letters that one request may send back to their topic.
pub const REDRIVE_RECORDS_MAX: usize = 1_000;

/// Columns of one topic; every one of them has a builder in every batch.
pub const SQL_COLUMNS_MAX: usize = 1_024;

/// Fields of a nested object that inference takes for a struct; an object with more
/// is used as a map, whose keys are data.
pub const SQL_INFERRED_FIELDS_MAX: usize = 256;

/// Bytes of one SQL text.
pub const SQL_TEXT_BYTES_MAX: usize = 64 * 1024;

/// Tokens of one SQL text, spaces included; a chain of operators is as deep as it is long.
pub const SQL_TOKENS_MAX: usize = 16 * 1024;

/// Depth of one SQL expression; planning and evaluation recurse.
pub const SQL_DEPTH_MAX: usize = 256;

/// Records that a source hands over at a time; one durable write serves them all.
pub const SOURCE_BATCH_RECORDS_MAX: usize = 10_000;

/// Bytes that a source reads or hands over at a time, one long record apart.
pub const SOURCE_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes that are kept of an input which is no record because it is too long.
pub const REJECTED_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one file of `format: json`, which is read whole.
pub const JSON_FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Files that one file source follows; each has an entry in what it remembers.
pub const FILE_SOURCE_FILES_MAX: usize = 10_000;

/// Files that one file source holds open, to read the rest of one that is replaced.
pub const FILE_SOURCE_HANDLES_MAX: usize = 256;

/// First bytes of a file that tell it from another with the same inode.
pub const FILE_HEAD_BYTES_MAX: usize = 256;

/// Files that one file sink holds open: paths with dates, and late records.
pub const FILE_SINK_HANDLES_MAX: usize = 16;

/// How long a request waits for the log before it is told to come back.
pub const HTTP_APPEND_MS_MAX: u64 = 30_000;

/// Records in one request of a webhook.
pub const WEBHOOK_BATCH_RECORDS_MAX: usize = 1_000;

/// Tries of one request before the whole write is left to the pipeline's back-off.
pub const WEBHOOK_TRIES_MAX: u32 = 3;

/// Bytes of a webhook's answer that are read, to quote it in an error.
pub const WEBHOOK_ANSWER_BYTES_MAX: usize = 16 * 1024;

/// How long a message broker may take to accept a connection; beyond it the attempt is
/// given up and tried again with the usual waits.
pub const MESSAGING_CONNECT_MS_MAX: u64 = 10_000;

/// How long a sink waits for a message broker to confirm anything before it takes the
/// connection for dead; a broker that syncs to a slow disk stays far below.
pub const MESSAGING_CONFIRM_MS_MAX: u64 = 30_000;

/// Messages that a sink has sent and not yet seen confirmed: enough to hide a round
/// trip, few enough to send again.
pub const MESSAGING_CONFIRMS_PENDING_MAX: usize = 256;

/// Messages that a message broker may have delivered and not yet seen acknowledged,
/// unless set; one durable write serves them all.
pub const MESSAGING_UNACKNOWLEDGED_DEFAULT: u16 = 256;

/// Bytes of delivered messages that one source holds before they are in the log; above
/// the largest message that the brokers' protocols are used for.
pub const MESSAGING_BUFFER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Time between two signs of life on a silent connection to a message broker; a dead
/// one is noticed after twice as long.
pub const MESSAGING_KEEP_ALIVE_MS: u64 = 15_000;

/// Bytes of an MQTT topic; the protocol's bound.
pub const MQTT_TOPIC_BYTES_MAX: usize = 65_535;

/// Messages of quality 2 that an MQTT 3.1.1 sink has on their way. That version has no
/// word for what a broker takes; Mosquitto confirms 20 unless set, and loses the rest.
pub const MQTT_EXACTLY_ONCE_PENDING_MAX: usize = 16;

/// Bytes of an AMQP routing key or header name; the protocol's bound.
pub const AMQP_SHORT_TEXT_BYTES_MAX: usize = 255;

/// Bytes of a NATS subject: a quarter of the server's bound for a whole control line.
pub const NATS_SUBJECT_BYTES_MAX: usize = 1_024;

/// Numbers that a source reserves with one durable write.
pub const SEQUENCE_RESERVE: u64 = 1_000;

/// The largest number that a sequence gives: every reader of JSON has it exactly.
pub const SEQUENCE_MAX: u64 = (1 << 53) - 1;

/// Bytes of one CSV row; a quote that never closes is noticed after so many.
pub const CSV_ROW_BYTES_MAX: usize = 1024 * 1024;

/// Fields of one CSV row.
pub const CSV_FIELDS_MAX: usize = 4_096;

/// Bytes of specification, input and context that the HTTP API transforms for a person who
/// tries one out; pipelines and the command line take larger ones.
pub const JOLT_TRIED_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a result that the HTTP API shows of a transformation that was tried out.
pub const JOLT_SHOWN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Transformations that the HTTP API tries out at the same time, each on a thread.
pub const JOLT_TRIED_AT_ONCE_MAX: usize = 2;

/// How long somebody waits for a transformation that is tried out. One that takes longer
/// ends by its own bounds and keeps its place until then.
pub const JOLT_TRIED_MS_MAX: u64 = 5_000;

/// Apps (key, secret, channels of their own) of one push server.
pub const PUSH_APPS_MAX: usize = 100;

/// Connections of one push app, unless set; within [`HTTP_CONNECTIONS_MAX`].
pub const PUSH_CONNECTIONS_DEFAULT: usize = 10_000;

/// Channels of one push app that are in memory: occupied, or kept for pages to resume.
pub const PUSH_CHANNELS_MAX: usize = 100_000;

/// Channels that one connection subscribes to, unless set; a page shows far fewer.
pub const PUSH_CHANNELS_PER_CONNECTION_DEFAULT: usize = 200;

/// Characters of a push channel's name; the bound of Pusher's libraries.
pub const PUSH_CHANNEL_NAME_CHARS_MAX: usize = 200;

/// What a push channel's name may hold beside letters and digits; Pusher's.
pub const PUSH_CHANNEL_NAME_MARKS: &str = "_-=@,.;";

/// How the names of events begin that belong to the protocol, to this server or to pages.
pub const PUSH_EVENTS_RESERVED: [&str; 4] = ["pusher:", "pusher_internal:", "courant:", "client-"];

/// Channels of one file; each has a watch and a task.
pub const PUSH_FILE_CHANNELS_MAX: usize = 100;

/// How long a push server elsewhere may take to answer.
pub const PUSH_OUTSIDE_MS_MAX: u64 = 10_000;

/// Characters that are told of what a push server elsewhere says.
pub const PUSH_OUTSIDE_ANSWER_CHARS_MAX: usize = 200;

/// Changes of a collection that are pushed in one go.
pub const PUSH_FEED_CHANGES_MAX: usize = 500;

/// Messages that are kept on disk for one channel of the file, so that pages resume after
/// a restart; a channel with fields in its name shares them between all it stands for.
pub const PUSH_JOURNAL_MESSAGES_MAX: usize = 10_000;

/// Bytes of messages that are kept on disk for one channel of the file.
pub const PUSH_JOURNAL_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Memory that the store of kept messages uses to read them again.
pub const PUSH_JOURNAL_CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Characters of a push event's name; the bound of Pusher's libraries.
pub const PUSH_EVENT_NAME_CHARS_MAX: usize = 200;

/// Bytes of a push event's data, unless set; ten times Pusher's, so that an order with
/// its lines fits.
pub const PUSH_EVENT_BYTES_DEFAULT: usize = 100 * 1024;

/// Most bytes that a push event's data may be set to.
pub const PUSH_EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of the data of an event that a page triggers; Pusher's.
pub const PUSH_CLIENT_EVENT_BYTES_MAX: usize = 10 * 1024;

/// Bytes of one frame of a page: a client event as JSON in a string, or the positions of
/// all its channels.
pub const PUSH_FRAME_BYTES_MAX: usize = 64 * 1024;

/// Bytes that a page's connection reads at a time, and writes before it waits; what
/// five thousand quiet ones cost.
pub const PUSH_BUFFER_BYTES: usize = 4 * 1024;

/// Messages that wait for one page: all that a channel keeps, several times. They are
/// shared between pages; what waits costs 32 bytes each.
pub const PUSH_QUEUE_MESSAGES_MAX: usize = 4_096;

/// Bytes of messages that wait for one page; a slower one is disconnected, and resumes.
pub const PUSH_QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Messages that a channel keeps for pages that come back, unless set.
pub const PUSH_KEPT_MESSAGES_DEFAULT: usize = 1_000;

/// Most messages that a channel may keep; a page takes them all in one queue.
pub const PUSH_KEPT_MESSAGES_MAX: usize = 2_000;

/// Bytes of messages that a channel keeps, the last one apart.
pub const PUSH_KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of messages that all channels of one app keep.
pub const PUSH_KEPT_ALL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a channel keeps messages, and itself after its last page left, unless set:
/// a laptop's lid, a tunnel.
pub const PUSH_KEPT_MS_DEFAULT: u64 = 5 * 60 * 1_000;

/// How long a cache channel remembers its last event; Pusher's.
pub const PUSH_CACHED_MS: u64 = 30 * 60 * 1_000;

/// Members of one presence channel, unless set; Pusher's, because each one's coming
/// and going is told to all.
pub const PUSH_MEMBERS_DEFAULT: usize = 100;

/// Bytes of what a page says about its user; Pusher's is 1 KB.
pub const PUSH_USER_BYTES_MAX: usize = 4 * 1024;

/// Characters of a user's id; Pusher's.
pub const PUSH_USER_ID_CHARS_MAX: usize = 128;

/// Events that a page may trigger in a second, unless set; Pusher's.
pub const PUSH_CLIENT_EVENTS_PER_SECOND_DEFAULT: u32 = 10;

/// Frames that a page may send in a second, subscriptions and answers to pings among
/// them.
pub const PUSH_FRAMES_PER_SECOND_MAX: u32 = 100;

/// Frames that a page may send at once: it subscribes to all its channels.
pub const PUSH_FRAMES_BURST_MAX: u32 = 1_000;

/// How long a page may be silent before it is asked whether it is there, unless set;
/// Pusher's.
pub const PUSH_ACTIVITY_MS_DEFAULT: u64 = 120_000;

/// How long a page may take to answer that; Pusher's.
pub const PUSH_PONG_MS_MAX: u64 = 30_000;

/// How long a page that is being disconnected may take to hear why.
pub const PUSH_CLOSE_MS_MAX: u64 = 1_000;

/// How long the source behind a channel may take to say what a page missed.
pub const PUSH_SOURCE_MS_MAX: u64 = 10_000;

/// Bytes of a snapshot or of missed messages that a source gives for one page: they fit
/// its queue, with what comes meanwhile.
pub const PUSH_PAST_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Times that a source is asked again because the channel went on in the meantime.
pub const PUSH_SOURCE_TRIES_MAX: usize = 3;

/// Channels that one request publishes an event to; Pusher's.
pub const PUSH_EVENT_CHANNELS_MAX: usize = 100;

/// Events of one batch request; Pusher's.
pub const PUSH_BATCH_EVENTS_MAX: usize = 10;

/// Bytes of a request to push: a batch of events, each as JSON in a string.
pub const PUSH_REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How far the clock of one who signs requests may be from ours; Pusher's.
pub const PUSH_SIGNED_S_MAX: i64 = 600;

/// Time between two looks at all channels: what is too old is forgotten, and large
/// channels are told how many they are.
pub const PUSH_LOOK_MS: u64 = 5_000;

/// Subscribers up to which a channel's count is told at once; above, at each look.
pub const PUSH_COUNT_AT_ONCE_MAX: usize = 100;

/// Webhooks of one push app.
pub const PUSH_WEBHOOKS_MAX: usize = 10;

/// Events that wait for one webhook; newer ones are dropped and counted.
pub const PUSH_WEBHOOK_EVENTS_MAX: usize = 10_000;

/// Events in one request of a push webhook.
pub const PUSH_WEBHOOK_BATCH_MAX: usize = 100;

/// Tries of one request of a push webhook, some three seconds of waits in all.
pub const PUSH_WEBHOOK_TRIES_MAX: u32 = 6;

/// How long a push webhook may take to answer.
pub const PUSH_WEBHOOK_MS_MAX: u64 = 5_000;

/// Records that the sink `sql` writes in one transaction, unless set: enough to hide the
/// commit's wait, few enough to hold locks for a short time.
pub const DATABASE_BATCH_RECORDS_DEFAULT: usize = 1_000;

/// Records in one transaction of the sink `sql` at most.
pub const DATABASE_BATCH_RECORDS_MAX: usize = 10_000;

/// Bytes of records in one transaction of the sink `sql`, unless set: far below what
/// servers take for a packet.
pub const DATABASE_BATCH_BYTES_DEFAULT: u64 = 1024 * 1024;

/// Bytes of records in one transaction of the sink `sql` at most.
pub const DATABASE_BATCH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Rows of one statement: a power of two, so that few texts serve every count.
pub const DATABASE_STATEMENT_ROWS_MAX: usize = 512;

/// Placeholders of one statement: below what SQLite takes (32,766), which takes fewest.
pub const DATABASE_PLACEHOLDERS_MAX: usize = 32_000;

/// Prepared statements that a connection keeps; beyond it all are prepared anew.
pub const DATABASE_STATEMENTS_KEPT: usize = 128;

/// Tables that the sink `sql` writes below a record's own.
pub const DATABASE_CHILDREN_MAX: usize = 16;

/// Rows of one record in one such table; one statement names them all.
pub const DATABASE_CHILD_ROWS_MAX: usize = 4_096;

/// How long a database may take to accept a connection.
pub const DATABASE_CONNECT_MS_MAX: u64 = 10_000;

/// How long a transaction or a query may take before its connection is given up.
pub const DATABASE_CALL_MS_MAX: u64 = 60_000;

/// Tries of a transaction that the database gave up for another's sake (deadlock, lock
/// timeout) before the write is left to the pipeline's back-off.
pub const DATABASE_TRIES_MAX: u32 = 5;

/// First wait before such a transaction is tried again; doubled each time.
pub const DATABASE_RETRY_MS_MIN: u64 = 10;

/// Questions of one partition's lookup that are open at a time, unless set: enough to hide
/// a round trip, few enough for a server that many partitions ask.
pub const LOOKUP_CONCURRENCY_DEFAULT: usize = 8;

/// Questions of one partition's lookup that are open at a time at most; each may need a
/// connection of its own.
pub const LOOKUP_CONCURRENCY_MAX: usize = 256;

/// Answers that a lookup remembers for one partition, unless set.
pub const LOOKUP_KEYS_DEFAULT: usize = 10_000;

/// How long a lookup remembers that nothing was found, unless set: what is missing is
/// often about to come.
pub const LOOKUP_MISSING_MS_DEFAULT: u64 = 1_000;

/// Rows of one answer.
pub const LOOKUP_ROWS_MAX: usize = 10_000;

/// Bytes of one answer.
pub const LOOKUP_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
