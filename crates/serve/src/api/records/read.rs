//! One bounded read over several partitions, in the order of time.
//!
//! Each partition is scanned on its own; the scans are then merged by timestamp
//! without ever changing the order within a partition. So the token of an answer
//! (`next`) goes on exactly where each partition was left, and skips nothing.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    time::Duration,
};

use courant_log::{Log, ReadLimit, TopicDescription};
use courant_model::{Offset, PartitionId, StoredRecord, TopicPartition, limits};
use courant_stores::Filter;

use crate::{error::ApiError, start::Start};

/// What to look for.
pub(crate) struct Wanted {
    pub(crate) limit: usize,
    pub(crate) filter: Filter,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) records: Vec<StoredRecord>,
    /// Where to go on in each partition.
    pub(crate) next: BTreeMap<PartitionId, Offset>,
}

/// What one partition gave, in the order of its offsets.
struct Scan {
    partition: PartitionId,
    records: VecDeque<StoredRecord>,
    next: Offset,
}

/// Bounds of the scan of one partition: a request's bounds, shared out.
struct Share {
    bytes: usize,
    scanned: usize,
}

/// Reads a page: the first records from `start` on, oldest first; for
/// [`Start::Latest`] the newest, newest first.
///
/// # Errors
/// The log's; an offset out of range among them.
pub(crate) async fn page(
    log: &dyn Log,
    topic: &TopicDescription,
    partitions: &[PartitionId],
    start: &Start,
    wanted: &Wanted,
) -> Result<Page, ApiError> {
    let share = Share {
        bytes: limits::RECORDS_ANSWER_BYTES_MAX / partitions.len().max(1),
        scanned: (limits::RECORDS_SCANNED_MAX / partitions.len().max(1)).max(1),
    };
    let newest = *start == Start::Latest;
    let mut scans = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let at = TopicPartition::new(topic.name.clone(), *partition);
        let offsets = log.offsets(&at).await?;
        let from = if newest {
            let back = if wanted.filter == Filter::All { wanted.limit } else { share.scanned };
            offsets.end.saturating_sub_unsigned(back as u64).max(offsets.start)
        } else {
            start.offset(log, &at, &offsets).await?
        };
        scans.push(scan(log, &at, from, newest, wanted, &share).await?);
    }
    Ok(if newest { merge_newest(scans, wanted.limit) } else { merge(scans, wanted.limit) })
}

async fn scan(
    log: &dyn Log,
    at: &TopicPartition,
    from: Offset,
    newest: bool,
    wanted: &Wanted,
    share: &Share,
) -> Result<Scan, ApiError> {
    let mut scan = Scan { partition: at.partition, records: VecDeque::new(), next: from };
    let (mut bytes, mut scanned) = (0_usize, 0_usize);
    while scanned < share.scanned {
        let records = wanted.limit.clamp(1, limits::RECORDS_LIMIT_MAX);
        let limit = ReadLimit { records, bytes: share.bytes, wait: Duration::ZERO };
        let read = log.read(at, scan.next, limit).await?;
        if wanted.limit == 0 || (read.records.is_empty() && read.next == scan.next) {
            break;
        }
        let ended = read.next >= read.end;
        for record in read.records {
            scanned += 1;
            let after = record.offset + 1;
            if matches(&wanted.filter, &record) {
                let full = scan.records.len() == wanted.limit
                    || (bytes > 0 && bytes + record.record.size_bytes() > share.bytes);
                if full && !newest {
                    return Ok(scan);
                }
                bytes += record.record.size_bytes();
                scan.records.push_back(record);
                while newest && (scan.records.len() > wanted.limit || bytes > share.bytes) {
                    if scan.records.len() == 1 {
                        break;
                    }
                    bytes -= scan.records.pop_front().map_or(0, |old| old.record.size_bytes());
                }
            }
            scan.next = after;
        }
        scan.next = read.next;
        if ended {
            break;
        }
    }
    Ok(scan)
}

/// Whether a record's value is an object that the filter matches.
pub(crate) fn matches(filter: &Filter, record: &StoredRecord) -> bool {
    *filter == Filter::All
        || record
            .record
            .value
            .as_ref()
            .and_then(|value| serde_json::from_slice(value).ok())
            .is_some_and(|document| filter.matches(&document))
}

/// Takes the oldest head of all partitions again and again; what is not taken is
/// where its partition goes on.
fn merge(mut scans: Vec<Scan>, limit: usize) -> Page {
    let head = |index: usize, scans: &[Scan]| {
        scans[index].records.front().map(|record| Reverse((record.record.timestamp, index)))
    };
    let mut heads: BinaryHeap<_> =
        (0..scans.len()).filter_map(|index| head(index, &scans)).collect();
    let mut records = Vec::new();
    while records.len() < limit {
        let Some(Reverse((_, index))) = heads.pop() else { break };
        records.extend(scans[index].records.pop_front());
        heads.extend(head(index, &scans));
    }
    let next = scans
        .iter()
        .map(|scan| (scan.partition, scan.records.front().map_or(scan.next, |left| left.offset)))
        .collect();
    Page { records, next }
}

/// Takes the newest tail of all partitions again and again.
fn merge_newest(mut scans: Vec<Scan>, limit: usize) -> Page {
    let next = scans.iter().map(|scan| (scan.partition, scan.next)).collect();
    let tail = |index: usize, scans: &[Scan]| {
        scans[index].records.back().map(|record| (record.record.timestamp, index))
    };
    let mut tails: BinaryHeap<_> =
        (0..scans.len()).filter_map(|index| tail(index, &scans)).collect();
    let mut records = Vec::new();
    while records.len() < limit {
        let Some((_, index)) = tails.pop() else { break };
        records.extend(scans[index].records.pop_back());
        tails.extend(tail(index, &scans));
    }
    Page { records, next }
}
