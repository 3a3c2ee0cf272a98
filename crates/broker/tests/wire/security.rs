//! TLS and access rules over the wire.

use std::{path::Path, sync::Arc};

use courant_broker::{BrokerOptions, Security, SecurityConfig};
use kafka_protocol::{
    ResponseError,
    messages::{
        FindCoordinatorRequest, HeartbeatRequest, LeaveGroupRequest, MetadataRequest,
        OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
        metadata_request::MetadataRequestTopic,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch_request::OffsetFetchRequestTopic,
    },
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::{
    groups::join,
    sasl::plain,
    support::{Client, TestBroker, text},
};

const RULES: &str = r#"{
    "sasl": {"mechanisms": ["PLAIN"], "users": {
        "alice": {"password": "a"}, "bob": {"password": "b"}, "root": {"password": "r"}}},
    "acl": [
        {"principal": "alice", "allow": ["read"], "topics": ["orders*"], "groups": ["alice-*"]},
        {"principal": "bob", "allow": ["write"], "topics": ["orders"]},
        {"principal": "root", "allow": ["admin"], "topics": ["*"], "groups": ["*"],
         "transactional_ids": ["*"], "cluster": true}]}"#;

async fn metadata(client: &mut Client, names: Option<&[&str]>) -> Vec<(String, i16)> {
    let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(text(name).into()));
    let request = MetadataRequest::default()
        .with_topics(names.map(|names| names.iter().map(topic).collect()))
        .with_allow_auto_topic_creation(true);
    let response = client.call(&request, 9).await;
    let name = |name: &Option<kafka_protocol::messages::TopicName>| {
        name.as_ref().map(|name| name.to_string()).unwrap_or_default()
    };
    response.topics.iter().map(|topic| (name(&topic.name), topic.error_code)).collect()
}

async fn user(broker: &TestBroker, name: &str) -> Client {
    let mut client = broker.client().await;
    assert_eq!(plain(&mut client, name, &name[..1]).await.error_code, 0);
    client
}

#[tokio::test]
async fn metadata_hides_what_may_not_be_described() {
    let broker = TestBroker::secured(RULES).await;
    for topic in ["orders", "orders-old", "secret"] {
        broker.topic(topic, 1).await;
    }
    let denied = ResponseError::TopicAuthorizationFailed.code();
    let mut alice = user(&broker, "alice").await;
    let all = metadata(&mut alice, None).await;
    assert_eq!(all, [("orders".to_owned(), 0), ("orders-old".to_owned(), 0)]);
    let asked = metadata(&mut alice, Some(&["orders", "secret", "nothing"])).await;
    let codes: Vec<i16> = asked.iter().map(|topic| topic.1).collect();
    assert_eq!(codes, [0, denied, denied]);
    // What she may read she may not create.
    let created = metadata(&mut alice, Some(&["orders-new"])).await;
    assert_eq!(created[0].1, denied);
    let mut bob = user(&broker, "bob").await;
    assert_eq!(metadata(&mut bob, None).await, [("orders".to_owned(), 0)]);
    let mut root = user(&broker, "root").await;
    assert_eq!(metadata(&mut root, Some(&["orders-new"])).await[0].1, 0);
}

#[tokio::test]
async fn groups_are_for_those_who_may_read_them() {
    let broker = TestBroker::secured(RULES).await;
    broker.topic("orders", 1).await;
    let denied = ResponseError::GroupAuthorizationFailed.code();
    let mut bob = user(&broker, "bob").await;
    assert_eq!(bob.call(&join("alice-1", ""), 5).await.error_code, denied);
    let group = || text("alice-1");
    let sync = SyncGroupRequest::default().with_group_id(group().into());
    assert_eq!(bob.call(&sync, 3).await.error_code, denied);
    let heartbeat = HeartbeatRequest::default().with_group_id(group().into());
    assert_eq!(bob.call(&heartbeat, 3).await.error_code, denied);
    let leave = LeaveGroupRequest::default().with_group_id(group().into());
    assert_eq!(bob.call(&leave, 3).await.error_code, denied);
    let find = FindCoordinatorRequest::default().with_key(group());
    assert_eq!(bob.call(&find, 3).await.error_code, denied);
    let find = FindCoordinatorRequest::default().with_key(text("t")).with_key_type(1);
    let refused = bob.call(&find, 3).await;
    assert_eq!(refused.error_code, ResponseError::TransactionalIdAuthorizationFailed.code());
    let fetch = OffsetFetchRequest::default().with_group_id(group().into()).with_topics(None);
    assert_eq!(bob.call(&fetch, 6).await.error_code, denied);

    let mut alice = user(&broker, "alice").await;
    let first = alice.call(&join("alice-1", ""), 5).await;
    assert_eq!(first.error_code, ResponseError::MemberIdRequired.code());
    let find = FindCoordinatorRequest::default().with_key(group());
    assert_eq!(alice.call(&find, 3).await.error_code, 0);
}

#[tokio::test]
async fn offsets_need_the_group_and_the_topic() {
    let broker = TestBroker::secured(RULES).await;
    broker.topic("orders", 1).await;
    broker.topic("secret", 1).await;
    let commit = |group: &str| {
        let topic = |name: &str| {
            OffsetCommitRequestTopic::default()
                .with_name(text(name).into())
                .with_partitions(vec![OffsetCommitRequestPartition::default()])
        };
        OffsetCommitRequest::default()
            .with_group_id(text(group).into())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic("orders"), topic("secret")])
    };
    let (topic, group) = (
        ResponseError::TopicAuthorizationFailed.code(),
        ResponseError::GroupAuthorizationFailed.code(),
    );
    let mut alice = user(&broker, "alice").await;
    for (name, wanted) in [("alice-1", [0, topic]), ("other", [group, group])] {
        let response = alice.call(&commit(name), 6).await;
        let codes: Vec<i16> =
            response.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
        assert_eq!(codes, wanted);
    }
    let mut root = user(&broker, "root").await;
    assert_eq!(root.call(&commit("alice-1"), 6).await.topics[1].partitions[0].error_code, 0);
    let fetch = OffsetFetchRequest::default().with_group_id(text("alice-1").into());
    let all = alice.call(&fetch.clone().with_topics(None), 6).await;
    assert_eq!(all.topics.len(), 1, "the other topic is hidden: {all:?}");
    let secret = OffsetFetchRequestTopic::default()
        .with_name(text("secret").into())
        .with_partition_indexes(vec![0]);
    let named = alice.call(&fetch.with_topics(Some(vec![secret])), 6).await;
    assert_eq!(named.topics[0].partitions[0].error_code, topic);
}

/// An authority with its certificates, in files.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    roots: RootCertStore,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        Self { issuer: Issuer::new(params, key), pem: certificate.pem(), roots }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A client that trusts this authority, with a certificate of its own or none.
    fn client(&self, certified: Option<(rcgen::Certificate, KeyPair)>) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone());
        match certified {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        }
    }

    /// A broker that presents a certificate, and asks for those of this authority.
    async fn broker(&self, folder: &Path, more: &str) -> TestBroker {
        let (certificate, key) = self.issue("broker");
        let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        std::fs::write(file("broker.pem"), certificate.pem()).unwrap();
        std::fs::write(file("broker.key"), key.serialize_pem()).unwrap();
        std::fs::write(file("ca.pem"), &self.pem).unwrap();
        let (certificate, key, ca) = (file("broker.pem"), file("broker.key"), file("ca.pem"));
        let config = format!(
            r#"{{"tls": {{"certificate": "{certificate}", "key": "{key}", "client_ca": "{ca}",
                 "client_certificate": "optional"}}, {more}}}"#
        );
        let config: SecurityConfig = serde_json::from_str(&config).unwrap();
        let security = Arc::new(Security::open(&config, None).unwrap());
        TestBroker::start(BrokerOptions { security, ..BrokerOptions::default() }).await
    }
}

#[tokio::test]
async fn a_client_certificate_says_who_speaks() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let rules = r#""acl": [{"principal": "machine", "allow": ["read"], "topics": ["*"]}]"#;
    let broker = authority.broker(folder.path(), rules).await;
    broker.topic("orders", 1).await;
    let mut machine =
        broker.tls_client(authority.client(Some(authority.issue("machine")))).await.unwrap();
    assert_eq!(metadata(&mut machine, None).await.len(), 1);
    let mut other =
        broker.tls_client(authority.client(Some(authority.issue("other")))).await.unwrap();
    assert_eq!(metadata(&mut other, None).await.len(), 0);
    let mut anonymous = broker.tls_client(authority.client(None)).await.unwrap();
    assert_eq!(metadata(&mut anonymous, None).await.len(), 0);
    // Of another authority, or without TLS, nobody gets in.
    let foreign = Authority::new();
    let stranger = broker.tls_client(authority.client(Some(foreign.issue("machine")))).await;
    if let Ok(mut stranger) = stranger {
        assert!(stranger.try_call(&MetadataRequest::default(), 9).await.is_err());
    }
    let mut open = broker.client().await;
    assert!(open.try_call(&MetadataRequest::default(), 9).await.is_err());
}

#[tokio::test]
async fn with_sasl_over_tls_the_user_name_counts() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let rules = r#""sasl": {"users": {"alice": {"password": "a"}}},
        "acl": [{"principal": "alice", "allow": ["read"], "topics": ["*"]}]"#;
    let broker = authority.broker(folder.path(), rules).await;
    broker.topic("orders", 1).await;
    let mut client =
        broker.tls_client(authority.client(Some(authority.issue("machine")))).await.unwrap();
    assert_eq!(plain(&mut client, "alice", "a").await.error_code, 0);
    assert_eq!(metadata(&mut client, None).await.len(), 1);
}
