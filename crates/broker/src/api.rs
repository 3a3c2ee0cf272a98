//! The version table: every API that this broker speaks, and in which versions.
//!
//! Written by hand: what the protocol library can encode is not what works here. An
//! API stands in [`APIS`] once its handler does all that its versions promise, and
//! has its line in `dispatch`. Minimums are those of Kafka 4, which the clients of
//! today expect.

use kafka_protocol::messages::ApiKey;

/// One API with the versions that work, first and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    pub(crate) min: i16,
    pub(crate) max: i16,
}

impl Api {
    const fn new(key: ApiKey, min: i16, max: i16) -> Self {
        Self { key, min, max }
    }

    pub(crate) const fn speaks(&self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

/// What is advertised, by key.
pub(crate) const APIS: &[Api] = &[
    Api::new(ApiKey::Produce, 0, 12),
    Api::new(ApiKey::Fetch, 4, 17),
    Api::new(ApiKey::ListOffsets, 1, 8),
    Api::new(ApiKey::Metadata, 0, 12),
    Api::new(ApiKey::OffsetCommit, 2, 9),
    Api::new(ApiKey::OffsetFetch, 1, 9),
    Api::new(ApiKey::FindCoordinator, 0, 4),
    Api::new(ApiKey::JoinGroup, 0, 9),
    Api::new(ApiKey::Heartbeat, 0, 4),
    Api::new(ApiKey::LeaveGroup, 0, 5),
    Api::new(ApiKey::SyncGroup, 0, 5),
    Api::new(ApiKey::DescribeGroups, 0, 6),
    Api::new(ApiKey::ListGroups, 0, 5),
    Api::new(ApiKey::SaslHandshake, 0, 1),
    Api::new(ApiKey::ApiVersions, 0, 4),
    Api::new(ApiKey::CreateTopics, 2, 7),
    Api::new(ApiKey::DeleteTopics, 1, 6),
    Api::new(ApiKey::DeleteRecords, 0, 2),
    Api::new(ApiKey::InitProducerId, 0, 4),
    Api::new(ApiKey::OffsetForLeaderEpoch, 2, 4),
    Api::new(ApiKey::AddPartitionsToTxn, 0, 3),
    Api::new(ApiKey::AddOffsetsToTxn, 0, 3),
    Api::new(ApiKey::EndTxn, 0, 3),
    Api::new(ApiKey::TxnOffsetCommit, 0, 3),
    Api::new(ApiKey::DescribeConfigs, 1, 4),
    Api::new(ApiKey::AlterConfigs, 0, 2),
    Api::new(ApiKey::DescribeLogDirs, 1, 4),
    Api::new(ApiKey::SaslAuthenticate, 0, 2),
    Api::new(ApiKey::CreatePartitions, 0, 3),
    Api::new(ApiKey::DeleteGroups, 0, 2),
    Api::new(ApiKey::IncrementalAlterConfigs, 0, 1),
    Api::new(ApiKey::OffsetDelete, 0, 0),
    Api::new(ApiKey::DescribeClientQuotas, 0, 1),
    Api::new(ApiKey::DescribeUserScramCredentials, 0, 0),
    Api::new(ApiKey::AlterUserScramCredentials, 0, 0),
    Api::new(ApiKey::DescribeCluster, 0, 1),
    Api::new(ApiKey::DescribeProducers, 0, 0),
    Api::new(ApiKey::DescribeTransactions, 0, 0),
    Api::new(ApiKey::ListTransactions, 0, 1),
    Api::new(ApiKey::ConsumerGroupHeartbeat, 0, 1),
    Api::new(ApiKey::ConsumerGroupDescribe, 0, 1),
    Api::new(ApiKey::DescribeTopicPartitions, 0, 0),
];

/// The row of an API; `None` where it is not spoken.
pub(crate) fn find(key: ApiKey) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key == key)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::{
        messages::*,
        protocol::{Decodable, Encodable, Request},
    };

    use super::*;

    /// Encodes and decodes an empty request and response of each version.
    fn codes<R>(api: &Api)
    where
        R: Request + Default + PartialEq + std::fmt::Debug,
        R::Response: Default + PartialEq + std::fmt::Debug,
    {
        assert_eq!(R::KEY, api.key as i16);
        for version in api.min..=api.max {
            codes_one::<R>(api.key, version);
            codes_one::<R::Response>(api.key, version);
        }
    }

    fn codes_one<M: Encodable + Decodable + Default>(key: ApiKey, version: i16) {
        let mut bytes = BytesMut::new();
        M::default()
            .encode(&mut bytes, version)
            .unwrap_or_else(|error| panic!("{key:?} {version} does not encode: {error}"));
        let mut bytes = bytes.freeze();
        M::decode(&mut bytes, version)
            .unwrap_or_else(|error| panic!("{key:?} {version} does not decode: {error}"));
        assert!(bytes.is_empty(), "{key:?} {version} leaves bytes");
    }

    #[test]
    fn every_advertised_version_encodes_and_decodes() {
        for api in APIS {
            match api.key {
                ApiKey::Produce => {
                    let min = crate::handlers::produce::VERSION_MIN;
                    codes::<ProduceRequest>(&Api { min, ..*api });
                }
                ApiKey::Fetch => codes::<FetchRequest>(api),
                ApiKey::ListOffsets => codes::<ListOffsetsRequest>(api),
                ApiKey::InitProducerId => codes::<InitProducerIdRequest>(api),
                ApiKey::AddPartitionsToTxn => codes::<AddPartitionsToTxnRequest>(api),
                ApiKey::AddOffsetsToTxn => codes::<AddOffsetsToTxnRequest>(api),
                ApiKey::EndTxn => codes::<EndTxnRequest>(api),
                ApiKey::TxnOffsetCommit => codes::<TxnOffsetCommitRequest>(api),
                ApiKey::DescribeProducers => codes::<DescribeProducersRequest>(api),
                ApiKey::DescribeTransactions => codes::<DescribeTransactionsRequest>(api),
                ApiKey::ListTransactions => codes::<ListTransactionsRequest>(api),
                ApiKey::OffsetForLeaderEpoch => codes::<OffsetForLeaderEpochRequest>(api),
                ApiKey::Metadata => codes::<MetadataRequest>(api),
                ApiKey::OffsetCommit => codes::<OffsetCommitRequest>(api),
                ApiKey::OffsetFetch => codes::<OffsetFetchRequest>(api),
                ApiKey::FindCoordinator => codes::<FindCoordinatorRequest>(api),
                ApiKey::JoinGroup => codes::<JoinGroupRequest>(api),
                ApiKey::Heartbeat => codes::<HeartbeatRequest>(api),
                ApiKey::LeaveGroup => codes::<LeaveGroupRequest>(api),
                ApiKey::SyncGroup => codes::<SyncGroupRequest>(api),
                ApiKey::SaslHandshake => codes::<SaslHandshakeRequest>(api),
                ApiKey::ApiVersions => codes::<ApiVersionsRequest>(api),
                ApiKey::SaslAuthenticate => codes::<SaslAuthenticateRequest>(api),
                ApiKey::DescribeClientQuotas => codes::<DescribeClientQuotasRequest>(api),
                ApiKey::DescribeUserScramCredentials => {
                    codes::<DescribeUserScramCredentialsRequest>(api);
                }
                ApiKey::AlterUserScramCredentials => {
                    codes::<AlterUserScramCredentialsRequest>(api);
                }
                ApiKey::DescribeGroups => codes::<DescribeGroupsRequest>(api),
                ApiKey::ListGroups => codes::<ListGroupsRequest>(api),
                ApiKey::CreateTopics => codes::<CreateTopicsRequest>(api),
                ApiKey::DeleteTopics => codes::<DeleteTopicsRequest>(api),
                ApiKey::DeleteRecords => codes::<DeleteRecordsRequest>(api),
                ApiKey::DescribeConfigs => codes::<DescribeConfigsRequest>(api),
                ApiKey::AlterConfigs => codes::<AlterConfigsRequest>(api),
                ApiKey::DescribeLogDirs => codes::<DescribeLogDirsRequest>(api),
                ApiKey::CreatePartitions => codes::<CreatePartitionsRequest>(api),
                ApiKey::DeleteGroups => codes::<DeleteGroupsRequest>(api),
                ApiKey::IncrementalAlterConfigs => codes::<IncrementalAlterConfigsRequest>(api),
                ApiKey::OffsetDelete => codes::<OffsetDeleteRequest>(api),
                ApiKey::DescribeCluster => codes::<DescribeClusterRequest>(api),
                ApiKey::ConsumerGroupHeartbeat => codes::<ConsumerGroupHeartbeatRequest>(api),
                ApiKey::ConsumerGroupDescribe => codes::<ConsumerGroupDescribeRequest>(api),
                ApiKey::DescribeTopicPartitions => codes::<DescribeTopicPartitionsRequest>(api),
                other => panic!("{other:?} is advertised and not tested here; add its line"),
            }
        }
    }

    #[test]
    fn the_table_is_in_order_and_names_nothing_twice() {
        assert!(APIS.windows(2).all(|pair| (pair[0].key as i16) < (pair[1].key as i16)));
        assert!(APIS.iter().all(|api| api.min <= api.max));
    }
}
