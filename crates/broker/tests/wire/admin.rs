//! Topics, configurations, the cluster and groups as admin clients ask for them.

use std::collections::BTreeMap;

use courant_broker::BrokerOptions;
use courant_log::Log;
use courant_model::{Record, Timestamp, TopicName, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        AlterConfigsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest,
        DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest,
        DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest,
        DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, ListGroupsRequest,
        OffsetCommitRequest, OffsetDeleteRequest, alter_configs_request,
        create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic},
        create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig},
        create_topics_response::CreatableTopicResult,
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        delete_topics_request::DeleteTopicState,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::DescribeConfigsResult,
        describe_topic_partitions_request::Cursor,
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
    },
};

use crate::{
    groups::join,
    support::{Client, TestBroker, text},
};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn new_topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(text(name).into())
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
}

fn with_config(topic: CreatableTopic, name: &str, value: &str) -> CreatableTopic {
    let config =
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)));
    topic.with_configs(vec![config])
}

fn create(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(1_000)
}

async fn create_one(client: &mut Client, topic: CreatableTopic) -> CreatableTopicResult {
    client.call(&create(vec![topic]), 7).await.topics.remove(0)
}

/// A change of one configuration, and what the topic then has set for itself.
type Step<'a> = (i8, &'a str, Option<&'a str>, &'a [(&'a str, &'a str)]);

fn code(error: ResponseError) -> i16 {
    error.code()
}

fn said(message: Option<&kafka_protocol::protocol::StrBytes>) -> &str {
    message.map_or("", |message| message.as_str())
}

async fn describe(client: &mut Client, kind: i8, name: &str) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(true);
    client.call(&request, 4).await.results.remove(0)
}

/// What a topic has set for itself.
async fn own_configs(client: &mut Client, topic: &str) -> BTreeMap<String, String> {
    let result = describe(client, TOPIC, topic).await;
    assert_eq!(result.error_code, 0);
    let own = result.configs.into_iter().filter(|config| config.config_source == 1);
    own.map(|config| (config.name.to_string(), config.value.unwrap().to_string())).collect()
}

/// Changes one configuration of a topic; the code and the words of a refusal.
async fn change(
    client: &mut Client,
    topic: &str,
    (operation, name, value): (i8, &str, Option<&str>),
) -> (i16, String) {
    let config = AlterableConfig::default()
        .with_name(text(name))
        .with_config_operation(operation)
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let response = client.call(&request, 1).await.responses.remove(0);
    (response.error_code, said(response.error_message.as_ref()).to_owned())
}

#[tokio::test]
async fn a_topic_is_created_as_it_was_asked_for_in_every_version() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut client = broker.client().await;
    for version in 2..=7 {
        let name = format!("orders-{version}");
        let topic = with_config(new_topic(&name, 3), "cleanup.policy", "compact");
        let result = client.call(&create(vec![topic]), version).await.topics.remove(0);
        assert_eq!((result.error_code, result.error_message), (0, None), "version {version}");
        let found = broker.log.topic(&TopicName::new(&name).unwrap()).await.unwrap();
        assert_eq!(found.partitions.len(), 3);
        if version >= 5 {
            assert_eq!((result.num_partitions, result.replication_factor), (3, 1));
            let configs = result.configs.unwrap();
            let policy = configs.iter().find(|c| c.name.as_str() == "cleanup.policy").unwrap();
            assert_eq!((said(policy.value.as_ref()), policy.config_source), ("compact", 1));
        }
        if version == 7 {
            assert_eq!(result.topic_id, found.id);
        }
        assert_eq!(own_configs(&mut client, &name).await["cleanup.policy"], "compact");
    }
}

#[tokio::test]
async fn a_topic_that_cannot_be_is_refused_as_a_kafka_of_one_broker_refuses_it() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("there", 1).await;
    broker.topic("th_ere_too", 1).await;
    let mut client = broker.client().await;
    let assigned = |brokers: &[i32]| {
        let brokers = brokers.iter().map(|id| BrokerId(*id)).collect();
        let assignment = CreatableReplicaAssignment::default().with_broker_ids(brokers);
        new_topic("t", -1).with_assignments(vec![assignment])
    };
    let cases = [
        (new_topic("there", 1), ResponseError::TopicAlreadyExists, "Topic 'there' already exists."),
        (
            new_topic("a b", 1),
            ResponseError::InvalidTopicException,
            "'a b' contains one or more characters other than ASCII alphanumerics",
        ),
        (new_topic("..", 1), ResponseError::InvalidTopicException, "'..' is not allowed"),
        (
            new_topic("th.ere_too", 1),
            ResponseError::InvalidTopicException,
            "Topic 'th.ere_too' collides with existing topic: th_ere_too",
        ),
        (new_topic("t", 0), ResponseError::InvalidPartitions, "non-positive"),
        (
            new_topic("t", 1).with_replication_factor(3),
            ResponseError::InvalidReplicationFactor,
            "only 1 broker(s) are registered.",
        ),
        (
            new_topic("t", 1).with_replication_factor(0),
            ResponseError::InvalidReplicationFactor,
            "-1",
        ),
        (assigned(&[2]), ResponseError::InvalidReplicaAssignment, "includes broker 2"),
        (assigned(&[1, 1]), ResponseError::InvalidReplicaAssignment, "more than once"),
        (assigned(&[]), ResponseError::InvalidReplicaAssignment, "empty replica list"),
        (
            assigned(&[1]).with_num_partitions(1),
            ResponseError::InvalidRequest,
            "numPartitions was not set to -1.",
        ),
        (
            with_config(new_topic("t", 1), "retention.years", "1"),
            ResponseError::InvalidConfig,
            "Unknown topic config name: retention.years",
        ),
        (
            with_config(new_topic("t", 1), "retention.ms", "soon"),
            ResponseError::InvalidConfig,
            "Invalid value soon for configuration retention.ms: Not a number of type LONG",
        ),
    ];
    for (topic, error, words) in cases {
        let result = create_one(&mut client, topic.clone()).await;
        let message = said(result.error_message.as_ref());
        assert_eq!(result.error_code, code(error), "{topic:?}: {message}");
        assert!(message.contains(words), "{message}");
    }
    let twice = create(vec![new_topic("t", 1), new_topic("t", 1), new_topic("u", 1)]);
    let codes: Vec<i16> =
        client.call(&twice, 7).await.topics.iter().map(|topic| topic.error_code).collect();
    let invalid = code(ResponseError::InvalidRequest);
    assert_eq!(codes, [invalid, invalid, 0]);
    let only_asked = create(vec![new_topic("v", 2)]).with_validate_only(true);
    assert_eq!(client.call(&only_asked, 7).await.topics[0].error_code, 0);
    assert!(broker.log.topic(&TopicName::new("v").unwrap()).await.is_err());
    assert_eq!(create_one(&mut client, assigned(&[1])).await.num_partitions, 1);
}

#[tokio::test]
async fn topics_are_deleted_by_name_and_by_id() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut client = broker.client().await;
    for version in 1..=5 {
        broker.topic("t", 1).await;
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![text("t").into(), text("gone").into()]);
        let response = client.call(&request, version).await;
        let codes: Vec<i16> = response.responses.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, code(ResponseError::UnknownTopicOrPartition)], "version {version}");
    }
    broker.topic("t", 1).await;
    let id = broker.log.topic_id(&TopicName::new("t").unwrap()).unwrap();
    let by = |topics| DeleteTopicsRequest::default().with_topics(topics);
    let of_id = DeleteTopicState::default().with_name(None).with_topic_id(id);
    let response = client.call(&by(vec![of_id.clone()]), 6).await.responses.remove(0);
    assert_eq!((response.error_code, response.name), (0, Some(text("t").into())));
    let response = client.call(&by(vec![of_id.clone()]), 6).await.responses.remove(0);
    assert_eq!((response.error_code, response.name), (code(ResponseError::UnknownTopicId), None));
    let both = of_id.with_name(Some(text("t").into()));
    let response = client.call(&by(vec![both]), 6).await.responses.remove(0);
    assert_eq!(response.error_code, code(ResponseError::InvalidRequest));
    let impossible = DeleteTopicState::default().with_name(Some(text("a b").into()));
    let response = client.call(&by(vec![impossible]), 6).await.responses.remove(0);
    assert_eq!(response.error_code, code(ResponseError::UnknownTopicOrPartition));
}

#[tokio::test]
async fn partitions_only_grow() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("t", 2).await;
    let mut client = broker.client().await;
    let to = |name: &str, count| {
        CreatePartitionsTopic::default()
            .with_name(text(name).into())
            .with_count(count)
            .with_assignments(None)
    };
    let on = |brokers: &[i32]| {
        let brokers = brokers.iter().map(|id| BrokerId(*id)).collect();
        CreatePartitionsAssignment::default().with_broker_ids(brokers)
    };
    let cases = [
        (to("t", 2), ResponseError::InvalidPartitions, "Topic already has 2 partition(s)."),
        (
            to("t", 1),
            ResponseError::InvalidPartitions,
            "The topic t currently has 2 partition(s); 1 would not be an increase.",
        ),
        (to("gone", 3), ResponseError::UnknownTopicOrPartition, "does not exist"),
        (
            to("t", 4).with_assignments(Some(vec![on(&[1])])),
            ResponseError::InvalidReplicaAssignment,
            "2 additional partition(s), but only 1 assignment(s)",
        ),
        (
            to("t", 3).with_assignments(Some(vec![on(&[7])])),
            ResponseError::InvalidReplicaAssignment,
            "broker 7",
        ),
    ];
    for (topic, error, words) in cases {
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]);
        let result = client.call(&request, 3).await.results.remove(0);
        assert_eq!(result.error_code, code(error));
        assert!(said(result.error_message.as_ref()).contains(words), "{:?}", result.error_message);
    }
    for (version, count) in (0..=3).zip(3..) {
        let mut request = CreatePartitionsRequest::default().with_topics(vec![to("t", count)]);
        request.validate_only = true;
        assert_eq!(client.call(&request, version).await.results[0].error_code, 0);
        let name = TopicName::new("t").unwrap();
        assert_eq!(broker.log.topic(&name).await.unwrap().partitions.len() as i32, count - 1);
        request.validate_only = false;
        assert_eq!(client.call(&request, version).await.results[0].error_code, 0);
        assert_eq!(broker.log.topic(&name).await.unwrap().partitions.len() as i32, count);
    }
}

#[tokio::test]
async fn records_are_cut_off_at_the_front() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("t", 1).await;
    let name = TopicName::new("t").unwrap();
    let record = |i: i64| Record::new(i.to_string(), Timestamp::from_millis(i));
    broker.log.append(&name, Some(0), (0..10).map(record).collect()).await.unwrap();
    let mut client = broker.client().await;
    let compacted = with_config(new_topic("c", 1), "cleanup.policy", "compact");
    create_one(&mut client, compacted).await;
    let before = |topic: &str, index, offset| {
        let partition =
            DeleteRecordsPartition::default().with_partition_index(index).with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(text(topic).into())
            .with_partitions(vec![partition]);
        DeleteRecordsRequest::default().with_topics(vec![topic])
    };
    let cases = [
        (before("t", 0, 4), 0, 4),
        (before("t", 0, 11), code(ResponseError::OffsetOutOfRange), -1),
        (before("t", 0, -1), 0, 10),
        (before("t", 5, 0), code(ResponseError::UnknownTopicOrPartition), -1),
        (before("gone", 0, 0), code(ResponseError::UnknownTopicOrPartition), -1),
        (before("c", 0, 0), code(ResponseError::PolicyViolation), -1),
    ];
    for (request, error, low) in cases {
        let partition = client.call(&request, 2).await.topics.remove(0).partitions.remove(0);
        assert_eq!((partition.error_code, partition.low_watermark), (error, low));
    }
    let start = broker.log.offsets(&TopicPartition::new(name, 0)).await.unwrap().start;
    assert_eq!(start, 10);
}

#[tokio::test]
async fn configurations_are_set_appended_subtracted_deleted_and_replaced() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("t", 1).await;
    let mut client = broker.client().await;
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;
    let steps: [Step<'_>; 5] = [
        (SET, "retention.ms", Some("60000"), &[("retention.ms", "60000")]),
        (
            APPEND,
            "cleanup.policy",
            Some("compact"),
            &[("retention.ms", "60000"), ("cleanup.policy", "compact,delete")],
        ),
        (
            SUBTRACT,
            "cleanup.policy",
            Some("delete"),
            &[("retention.ms", "60000"), ("cleanup.policy", "compact")],
        ),
        (DELETE, "retention.ms", None, &[("cleanup.policy", "compact")]),
        (
            SET,
            "flush.messages",
            Some("1"),
            &[("cleanup.policy", "compact"), ("flush.messages", "1")],
        ),
    ];
    for (operation, name, value, expected) in steps {
        let changed = change(&mut client, "t", (operation, name, value)).await;
        assert_eq!(changed, (0, String::new()));
        let own = own_configs(&mut client, "t").await;
        let own: Vec<_> = own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(own, expected);
    }
    let config = alter_configs_request::AlterableConfig::default()
        .with_name(text("segment.bytes"))
        .with_value(Some(text("1048576")));
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text("t"))
        .with_configs(vec![config]);
    let mut replace = AlterConfigsRequest::default().with_resources(vec![resource]);
    replace.validate_only = true;
    assert_eq!(client.call(&replace, 2).await.responses[0].error_code, 0);
    assert_eq!(own_configs(&mut client, "t").await.len(), 2, "it was only asked");
    replace.validate_only = false;
    assert_eq!(client.call(&replace, 2).await.responses[0].error_code, 0);
    let expected = BTreeMap::from([("segment.bytes".to_owned(), "1048576".to_owned())]);
    assert_eq!(own_configs(&mut client, "t").await, expected);
}

#[tokio::test]
async fn configurations_that_cannot_be_are_refused() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("t", 1).await;
    let mut client = broker.client().await;
    let cases = [
        ("t", (0, "nonsense", Some("1")), ResponseError::InvalidConfig, "Unknown topic config"),
        ("t", (0, "retention.ms", None), ResponseError::InvalidRequest, "Null value"),
        ("t", (2, "retention.ms", Some("1")), ResponseError::InvalidConfig, "Can't APPEND"),
        ("t", (9, "retention.ms", Some("1")), ResponseError::InvalidRequest, "operation"),
        ("gone", (0, "retention.ms", Some("1")), ResponseError::UnknownTopicOrPartition, "gone"),
        ("a b", (0, "retention.ms", Some("1")), ResponseError::InvalidTopicException, "a b"),
    ];
    for (topic, asked, error, words) in cases {
        let (found, message) = change(&mut client, topic, asked).await;
        assert_eq!(found, code(error), "{message}");
        assert!(message.contains(words), "{message}");
    }
    let unset = change(&mut client, "t", (1, "nonsense", None)).await;
    assert_eq!(unset, (0, String::new()), "what is not known is not set");
    assert!(own_configs(&mut client, "t").await.is_empty());
    let unknown = describe(&mut client, TOPIC, "gone").await;
    assert_eq!(unknown.error_code, code(ResponseError::UnknownTopicOrPartition));
    assert!(unknown.configs.is_empty());
    let elsewhere = describe(&mut client, BROKER, "7").await;
    assert_eq!(elsewhere.error_code, code(ResponseError::InvalidRequest));
    assert!(said(elsewhere.error_message.as_ref()).contains("expected 1 or empty string"));
}

#[tokio::test]
async fn a_broker_shows_its_configurations_and_keeps_them() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut client = broker.client().await;
    let shown = describe(&mut client, BROKER, "1").await;
    assert_eq!(shown.error_code, 0);
    assert!(shown.configs.iter().all(|config| config.read_only && config.value.is_some()));
    let value = |name: &str| {
        let found = shown.configs.iter().find(|config| config.name.as_str() == name);
        found.and_then(|config| config.value.clone()).unwrap().to_string()
    };
    assert_eq!(value("node.id"), "1");
    assert_eq!(value("log.retention.ms"), "604800000");
    let source = |name: &str| {
        let found = shown.configs.iter().find(|config| config.name.as_str() == name);
        found.map(|config| config.config_source)
    };
    assert_eq!((source("node.id"), source("log.retention.ms")), (Some(4), Some(5)));
    assert_eq!(value("advertised.listeners"), format!("PLAINTEXT://{}", broker.address));
    let names: Vec<_> = shown.configs.iter().map(|config| config.name.to_string()).collect();
    assert!(names.is_sorted(), "{names:?}");
    let config = AlterableConfig::default().with_name(text("num.partitions"));
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(text("1"))
        .with_configs(vec![config.with_value(Some(text("3")))]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let refused = client.call(&request, 1).await.responses.remove(0);
    assert_eq!(refused.error_code, code(ResponseError::InvalidRequest));
}

#[tokio::test]
async fn the_cluster_is_one_broker_with_one_folder() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("t", 2).await;
    let name = TopicName::new("t").unwrap();
    let record = Record::new("x", Timestamp::from_millis(1));
    broker.log.append(&name, Some(1), vec![record]).await.unwrap();
    let mut client = broker.client().await;
    for version in 0..=1 {
        let mut request = DescribeClusterRequest::default();
        request.include_cluster_authorized_operations = true;
        let cluster = client.call(&request, version).await;
        assert_eq!((cluster.error_code, cluster.controller_id), (0, BrokerId(1)));
        assert_eq!(cluster.brokers.len(), 1);
        assert_eq!(cluster.brokers[0].port, i32::from(broker.address.port()));
        assert!(cluster.cluster_authorized_operations > 0);
    }
    let controllers = DescribeClusterRequest::default().with_endpoint_type(2);
    let refused = client.call(&controllers, 1).await.error_code;
    assert_eq!(refused, code(ResponseError::MismatchedEndpointType));
    for version in 1..=4 {
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let folder = client.call(&request, version).await.results.remove(0);
        let sizes: Vec<i64> =
            folder.topics[0].partitions.iter().map(|one| one.partition_size).collect();
        assert!(sizes[0] == 0 && sizes[1] > 0, "{sizes:?}");
    }
}

#[tokio::test]
async fn many_partitions_are_described_in_pieces() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("a", 3).await;
    broker.topic("b", 2).await;
    let mut client = broker.client().await;
    let (mut cursor, mut found, mut answers) = (None, Vec::new(), 0);
    loop {
        let request = DescribeTopicPartitionsRequest::default()
            .with_response_partition_limit(2)
            .with_cursor(cursor);
        let response = client.call(&request, 0).await;
        answers += 1;
        for topic in &response.topics {
            let name = topic.name.as_ref().unwrap().to_string();
            found.extend(topic.partitions.iter().map(|one| (name.clone(), one.partition_index)));
        }
        let Some(next) = response.next_cursor else { break };
        cursor = Some(
            Cursor::default()
                .with_topic_name(next.topic_name)
                .with_partition_index(next.partition_index),
        );
    }
    let found: Vec<_> = found.iter().map(|(name, index)| (name.as_str(), *index)).collect();
    assert_eq!(found, [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]);
    assert_eq!(answers, 3);
}

#[tokio::test]
async fn groups_are_listed_described_and_deleted() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("t", 2).await;
    let mut client = broker.client().await;
    let commit = |group: &str| {
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(1);
        let topic = OffsetCommitRequestTopic::default()
            .with_name(text("t").into())
            .with_partitions(vec![partition]);
        OffsetCommitRequest::default()
            .with_group_id(text(group).into())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic])
    };
    client.call(&commit("idle"), 8).await;
    let listed = |states: &[&str], types: &[&str]| {
        ListGroupsRequest::default()
            .with_states_filter(states.iter().map(|one| text(one)).collect())
            .with_types_filter(types.iter().map(|one| text(one)).collect())
    };
    for version in 0..=5 {
        let groups = client.call(&listed(&[], &[]), version).await.groups;
        let ids: Vec<_> = groups.iter().map(|group| group.group_id.to_string()).collect();
        assert_eq!(ids, ["idle"], "version {version}");
    }
    let groups = client.call(&listed(&["empty"], &["Classic"]), 5).await.groups;
    assert_eq!(
        (groups[0].group_state.as_str(), groups[0].group_type.as_str()),
        ("Empty", "classic")
    );
    assert!(client.call(&listed(&["Stable"], &[]), 5).await.groups.is_empty());
    assert!(client.call(&listed(&[], &["consumer"]), 5).await.groups.is_empty());

    let both = DescribeGroupsRequest::default()
        .with_groups(vec![text("idle").into(), text("none").into()]);
    let described = client.call(&both, 5).await.groups;
    let states: Vec<_> =
        described.iter().map(|one| (one.error_code, one.group_state.as_str())).collect();
    assert_eq!(states, [(0, "Empty"), (0, "Dead")]);
    let newer = client.call(&both, 6).await.groups;
    assert_eq!(newer[1].error_code, code(ResponseError::GroupIdNotFound));
    assert_eq!(said(newer[1].error_message.as_ref()), "Group none not found.");

    let delete = DeleteGroupsRequest::default().with_groups_names(vec![
        text("idle").into(),
        text("none").into(),
        text("").into(),
    ]);
    let results = client.call(&delete, 2).await.results;
    let codes: Vec<i16> = results.iter().map(|result| result.error_code).collect();
    let expected = [ResponseError::GroupIdNotFound, ResponseError::InvalidGroupId].map(code);
    assert_eq!(codes, [0, expected[0], expected[1]]);
}

#[tokio::test]
async fn a_group_with_members_stays_and_so_do_the_offsets_that_they_use() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("t", 1).await;
    let mut client = broker.client().await;
    let joined = client.call(&join("busy", ""), 3).await;
    assert_eq!(joined.error_code, 0);
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![text("busy").into()]);
    let refused = client.call(&delete, 2).await.results.remove(0).error_code;
    assert_eq!(refused, code(ResponseError::NonEmptyGroup));
    let forget = |group: &str, topic: &str| {
        let partition = OffsetDeleteRequestPartition::default();
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(text(topic).into())
            .with_partitions(vec![partition]);
        OffsetDeleteRequest::default().with_group_id(text(group).into()).with_topics(vec![topic])
    };
    let unknown = client.call(&forget("none", "t"), 0).await.error_code;
    assert_eq!(unknown, code(ResponseError::GroupIdNotFound));
    let gone = client.call(&forget("busy", "gone"), 0).await.topics.remove(0);
    let expected = code(ResponseError::UnknownTopicOrPartition);
    assert_eq!(gone.partitions[0].error_code, expected);
}
