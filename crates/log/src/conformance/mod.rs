//! What every log does, as tests for any implementation.
//!
//! A behaviour is one async function over a *harness*, which opens the implementation.
//! [`log_conformance!`] and [`transaction_conformance!`] make one `#[tokio::test]` of
//! each. Every behaviour works in topics and groups of its own, so that all of them may
//! share one cluster. No behaviour measures time: what must come is waited for.
//! Compiled for tests and with the feature `conformance` only.
//!
//! [`log_conformance!`]: crate::log_conformance
//! [`transaction_conformance!`]: crate::transaction_conformance

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use courant_model::{Offset, Positions, Record, Timestamp, TopicName, TopicPartition};

use crate::{
    AutoOffsetReset, GroupChange, GroupMember, Log, PartitionReader, ReadLimit, Subscription,
    TopicSettings, TopicSpec,
};

pub mod groups;
pub mod records;
pub mod topics;
pub mod transactions;

/// How the suite reaches a log.
#[async_trait]
pub trait LogHarness: Send + Sync {
    /// Opens the log.
    async fn open(&self) -> Arc<dyn Log>;
}

/// Far beyond what a working log needs.
const PATIENCE: Duration = Duration::from_secs(90);

/// A read of what is there.
const AT_ONCE: ReadLimit = ReadLimit { records: 1_000, bytes: 1 << 20, wait: Duration::ZERO };

/// A read that waits.
const PATIENT: ReadLimit = ReadLimit { wait: Duration::from_secs(30), ..AT_ONCE };

/// A log with one topic.
struct World {
    log: Arc<dyn Log>,
    topic: TopicName,
    group: String,
}

impl World {
    async fn new(harness: &dyn LogHarness, partitions: i32) -> Self {
        Self::with(harness, partitions, TopicSettings::default()).await
    }

    async fn with(harness: &dyn LogHarness, partitions: i32, settings: TopicSettings) -> Self {
        Self::over(harness.open().await, partitions, settings).await
    }

    /// Another topic and group of the same log.
    async fn beside(&self, partitions: i32) -> Self {
        Self::over(self.log.clone(), partitions, TopicSettings::default()).await
    }

    async fn over(log: Arc<dyn Log>, partitions: i32, settings: TopicSettings) -> Self {
        let topic = fresh_topic();
        log.create_topic(&TopicSpec { name: topic.clone(), partitions, settings }).await.unwrap();
        Self { log, topic, group: fresh("group") }
    }

    fn at(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), partition)
    }

    fn positions(&self, all: &[(i32, Offset)]) -> Positions {
        all.iter().map(|(partition, offset)| (self.at(*partition), *offset)).collect()
    }

    /// Appends values to one partition.
    async fn append(&self, partition: i32, values: &[&str]) {
        let records = values.iter().map(|value| record(value)).collect();
        self.log.append(&self.topic, Some(partition), records).await.unwrap();
    }

    /// All values of a partition from its start on.
    async fn values(&self, partition: i32) -> Vec<String> {
        let at = self.at(partition);
        let (mut values, mut next) = (Vec::new(), self.log.offsets(&at).await.unwrap().start);
        loop {
            let read = self.log.read(&at, next, AT_ONCE).await.unwrap();
            if read.records.is_empty() && read.next == next {
                return values;
            }
            values.extend(read.records.iter().map(|stored| text(&stored.record)));
            next = read.next;
        }
    }

    fn subscription(&self) -> Subscription {
        Subscription {
            group: self.group.clone(),
            topics: vec![self.topic.clone()],
            client_id: "conformance".into(),
            instance_id: None,
            session_timeout: Duration::from_secs(10),
            reset: AutoOffsetReset::Earliest,
        }
    }

    async fn join(&self) -> Box<dyn GroupMember> {
        self.log.subscribe(self.subscription()).await.unwrap()
    }

    /// Joins, and waits for so many partitions.
    async fn join_for(
        &self,
        partitions: usize,
    ) -> (Box<dyn GroupMember>, Vec<Box<dyn PartitionReader>>) {
        let mut member = self.join().await;
        let readers = assigned(member.as_mut(), partitions).await;
        (member, readers)
    }
}

/// A name that no other test uses.
fn fresh(of: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{of}-{}-{number}", uuid::Uuid::new_v4().simple())
}

fn fresh_topic() -> TopicName {
    TopicName::new(&fresh("topic")).unwrap()
}

/// A time that no retention touches.
fn lately() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(now.as_millis() as i64 - 60_000)
}

fn record(value: &str) -> Record {
    Record::new(value.to_owned(), lately())
}

fn text(record: &Record) -> String {
    let value = record.value.as_ref();
    value.map_or_else(|| "null".into(), |value| String::from_utf8_lossy(value).into_owned())
}

/// Waits for what must come.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("never: {what}"),
    }
}

/// Waits until this holds.
async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(what, wait).await;
}

async fn change(member: &mut dyn GroupMember) -> GroupChange {
    soon("a change of the group", member.next_change()).await.unwrap()
}

/// Waits until the member has so many partitions in all.
async fn assigned(
    member: &mut dyn GroupMember,
    partitions: usize,
) -> Vec<Box<dyn PartitionReader>> {
    let mut held: Vec<Box<dyn PartitionReader>> = Vec::new();
    while held.len() < partitions {
        apply(change(member).await, &mut held);
    }
    held.sort_by_key(|reader| reader.partition().clone());
    held
}

/// Keeps the book of one member.
fn apply(change: GroupChange, held: &mut Vec<Box<dyn PartitionReader>>) {
    match change {
        GroupChange::Assigned(readers) => held.extend(readers),
        GroupChange::Revoked(gone) | GroupChange::Lost(gone) => {
            held.retain(|reader| !gone.contains(reader.partition()));
        }
    }
}

fn names(readers: &[Box<dyn PartitionReader>]) -> BTreeSet<TopicPartition> {
    readers.iter().map(|reader| reader.partition().clone()).collect()
}

/// Reads until there are so many values.
async fn read_values(reader: &mut dyn PartitionReader, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let read = soon("records", reader.next(100, 1 << 20)).await.unwrap();
        values.extend(read.records.iter().map(|stored| text(&stored.record)));
    }
    values
}

/// Makes a test of each behaviour of a log but transactions. The expression builds a
/// [`LogHarness`](crate::conformance::LogHarness), one for each test.
#[macro_export]
macro_rules! log_conformance {
    ($harness:expr) => {
        $crate::conformance_tests!(topics, $harness;
            a_created_topic_is_described_as_it_was_asked_for,
            a_topic_that_exists_is_not_created_again,
            a_topic_that_cannot_be_is_refused,
            an_unknown_topic_is_named_by_every_call,
            an_unknown_partition_is_named_by_every_call,
            partitions_can_grow_and_not_shrink,
            changed_settings_are_told_and_records_stay,
            a_deleted_topic_is_gone_and_comes_again_empty,
            topics_are_listed_by_name_without_the_logs_own,
        );
        $crate::conformance_tests!(records, $harness;
            records_come_back_as_they_were_appended,
            records_keep_their_order_over_many_calls,
            keys_find_kafkas_partition_and_keyless_records_of_a_call_stay_together,
            an_empty_append_changes_nothing,
            a_record_that_is_too_large_stops_the_whole_call,
            records_for_a_topic_of_small_batches_are_told_apart,
            a_message_of_ten_megabytes_comes_back,
            a_compacted_topic_takes_no_record_without_a_key,
            a_read_takes_no_more_than_asked_and_at_least_one,
            offsets_outside_are_refused,
            a_waiting_read_wakes_on_append,
            a_read_at_the_end_answers_nothing,
            the_offsets_of_times_are_found,
            records_are_deleted_up_to_an_offset,
            appenders_at_once_lose_and_reorder_nothing,
            a_closed_log_answers_nobody,
        );
        $crate::conformance_tests!(groups, $harness;
            a_member_commits_and_the_next_goes_on_there,
            what_is_committed_by_now_is_told,
            a_group_begins_where_its_subscription_says,
            two_members_share_the_partitions_and_the_survivor_takes_over,
            a_member_that_is_dropped_gives_its_partitions_to_the_others,
            a_revoked_partition_stays_until_the_member_comes_back,
            two_groups_each_see_everything,
            a_reader_seeks_and_tells_its_position,
            a_reader_that_is_not_read_holds_back_no_other,
            a_read_that_is_dropped_loses_nothing,
            a_reader_takes_no_more_than_asked,
            records_that_are_gone_are_stepped_over,
            a_static_member_comes_back_to_its_partitions,
            a_newer_instance_fences_the_older,
            a_group_is_described_with_members_and_lag,
            a_group_is_reset_and_deleted_without_members_only,
            partitions_that_a_topic_gains_reach_the_member,
            a_deleted_topic_ends_its_readers,
            a_commit_is_bounded,
            a_closed_log_ends_its_members,
        );
    };
}

/// Makes a test of each behaviour of transactions, as [`log_conformance!`] does.
///
/// [`log_conformance!`]: crate::log_conformance
#[macro_export]
macro_rules! transaction_conformance {
    ($harness:expr) => {
        $crate::conformance_tests!(transactions, $harness;
            a_committed_transaction_appears_as_a_whole,
            an_aborted_transaction_leaves_nothing,
            transactions_follow_each_other_at_once,
            offsets_are_committed_with_the_records,
            a_reader_steps_over_what_was_aborted,
            a_newer_producer_fences_the_older_and_ends_what_it_left_open,
            a_producer_that_is_dropped_leaves_nothing_behind,
            calls_out_of_order_are_refused,
            what_the_log_refuses_is_refused_within_a_transaction,
            offsets_of_partitions_that_are_not_held_are_refused,
        );
    };
}

/// One test for each behaviour; the other macros name them.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($room:ident, $harness:expr; $($behaviour:ident),+ $(,)?) => {
        mod $room {
            #[allow(unused_imports)]
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    let harness = $harness;
                    $crate::conformance::$room::$behaviour(&harness).await;
                }
            )+
        }
    };
}
