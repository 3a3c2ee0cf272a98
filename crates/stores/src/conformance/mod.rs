//! What every cache and every history does, as tests for any implementation.
//!
//! A behaviour is one async function over a *harness*, which opens the implementation
//! (and opens it again, for what must survive). [`history_conformance!`] and
//! [`cache_conformance!`] make one `#[tokio::test]` of each. Every behaviour works in
//! names of its own, so that all of them may share one server. Compiled for tests and
//! with the feature `conformance` only.
//!
//! [`history_conformance!`]: crate::history_conformance
//! [`cache_conformance!`]: crate::cache_conformance

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{Cache, History};

pub mod cache;
pub mod history;

/// How the suite of histories reaches one.
#[async_trait]
pub trait HistoryHarness: Send + Sync {
    /// Opens the history; again, with the same data, after the one before was dropped.
    async fn open(&self) -> Arc<dyn History>;
}

/// How the suite of caches reaches one.
#[async_trait]
pub trait CacheHarness: Send + Sync {
    /// Opens the cache; again, with the same data, after the one before was dropped.
    async fn open(&self) -> Arc<dyn Cache>;

    /// Lets time pass for the cache: moves its clock, or waits.
    async fn pass(&self, time: Duration);
}

/// A name that no other test uses.
fn fresh_name(of: &str) -> String {
    format!("{of}-{}", uuid::Uuid::new_v4().simple())
}

/// Makes a test of each behaviour of a history. The expression builds a
/// [`HistoryHarness`](crate::conformance::HistoryHarness), one for each test.
#[macro_export]
macro_rules! history_conformance {
    ($harness:expr) => {
        $crate::conformance_tests!(history, $harness;
            an_inserted_document_is_found_with_its_id_first,
            an_insert_without_an_id_takes_the_documents_or_a_new_one,
            a_taken_id_is_refused_and_harms_no_other_write,
            a_document_of_another_id_is_refused_and_harms_no_other_write,
            a_document_nested_too_deep_is_refused,
            an_equal_upsert_changes_nothing,
            an_upsert_replaces_the_whole_document_in_its_place,
            a_deleted_document_is_gone_and_may_come_again,
            the_writes_of_one_call_see_those_before_them,
            documents_come_in_the_order_of_their_insertion_and_backwards,
            a_sort_by_nested_fields_pages_without_overlap,
            values_of_all_types_sort_in_mongodbs_order,
            filters_select_the_same_with_and_without_indexes,
            a_write_of_a_lower_version_changes_nothing,
            a_deleted_document_stays_away_from_a_lower_version,
            a_write_without_a_version_always_counts,
            counts_follow_the_writes,
            an_unknown_collection_is_named,
            a_name_outside_the_rules_is_refused,
            indexes_come_and_go_without_a_change_of_answers,
            documents_and_specifications_survive_a_reopening,
            a_watch_brings_every_kind_of_change_in_order,
            a_watch_waits_for_the_next_change,
            a_watch_from_now_leaves_out_what_was,
            a_watch_sees_its_own_collection_only,
            a_watch_takes_no_more_than_asked,
            a_watch_resumes_from_every_token_across_a_reopening,
            a_wait_that_was_cancelled_loses_no_change,
            a_token_from_elsewhere_is_refused,
            writers_at_once_lose_nothing_and_are_watched_once,
            writers_at_once_give_an_id_to_one_of_them,
            stats_tell_the_documents_and_their_size,
        );
    };
}

/// Makes a test of each behaviour of a cache. The expression builds a
/// [`CacheHarness`](crate::conformance::CacheHarness), one for each test.
#[macro_export]
macro_rules! cache_conformance {
    ($harness:expr) => {
        $crate::conformance_tests!(cache, $harness;
            a_value_is_got_until_replaced_or_deleted,
            fields_come_in_the_order_of_their_first_setting,
            a_key_goes_with_its_last_field,
            a_key_of_the_other_kind_is_refused_and_harms_no_other_write,
            a_set_replaces_fields,
            the_writes_of_one_call_apply_in_order,
            a_write_of_a_lower_version_changes_nothing,
            a_field_has_a_version_of_its_own,
            what_was_deleted_stays_away_from_a_lower_version,
            a_key_expires_after_its_time,
            a_set_without_a_time_to_live_never_expires,
            a_field_keeps_or_renews_the_expiry_of_its_key,
            keys_come_in_byte_order_and_in_pages,
            tables_share_no_keys,
            names_and_keys_outside_the_rules_are_refused,
            a_value_too_large_is_refused,
            what_was_flushed_survives_a_reopening,
            writers_at_once_lose_no_field,
            stats_tell_the_keys_of_a_table,
        );
    };
}

/// One test for each behaviour; the other two macros name them.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($role:ident, $harness:expr; $($behaviour:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $behaviour() {
                let harness = $harness;
                $crate::conformance::$role::$behaviour(&harness).await;
            }
        )+
    };
}
