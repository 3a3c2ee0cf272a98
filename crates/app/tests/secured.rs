//! Clusters that encrypt and ask who is there: real Apache Kafka with TLS and SASL, and
//! Courant's own port with a file of users.
//!
//! Apache Kafka comes from `scripts/kafka`; without it, or without kcat, the tests that
//! need them are skipped.

mod support;

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use support::{
    Courant, courant, courant_ok,
    kafka::{Cluster, has_kcat, try_kcat},
    read_topic,
};
use tempfile::tempdir;

const FILE: &str = "
version: 1
name: doubler
profiles:
  cluster: { log: '${KAFKA}' }
topics:
  numbers: { partitions: 2, columns: { id: int64 not null } }
  doubled: { partitions: 2 }
pipelines:
  double:
    from: numbers
    steps:
      - sql: SELECT id, id * 2 AS doubled FROM input
    to: doubled
";

/// Writes an authority (`ca.pem`) and a certificate of it for this machine
/// (`broker.pem`, `broker.key`, and both in `keystore.pem`) into a folder.
fn certify(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "broker");
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    for (name, text) in [
        ("ca.pem", &authority.pem()),
        ("broker.pem", &certificate),
        ("broker.key", &key),
        ("keystore.pem", &format!("{key}{certificate}")),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// How the cluster is reached, as a user and with an option more.
fn url(folder: &Path, user: &str, servers: &str, sasl: &str) -> String {
    let ca = folder.join("ca.pem");
    format!("kafka+ssl://{user}@{servers}?tls_ca={}&sasl={sasl}", ca.display())
}

fn produce(folder: &Path, brokers: &str, count: u64) {
    let rows = folder.join("rows.ndjson");
    let lines: String = (0..count).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    std::fs::write(&rows, lines).unwrap();
    let rows = rows.to_str().unwrap();
    courant_ok(&["topic", "produce", "numbers", rows, "--key", "id", "--brokers", brokers]);
}

async fn until_doubled(running: &Courant, count: i64) {
    running
        .get_until("/api/v1/groups/doubler.double", |group| {
            let offsets = group["offsets"].as_array().expect("offsets").iter();
            offsets.map(|at| at["committed"].as_i64().unwrap_or(0)).sum::<i64>() >= count
        })
        .await;
}

fn doubled(brokers: &str) -> Vec<u64> {
    let records = read_topic("doubled", &["--brokers", brokers]);
    let value = |record: &Value| record["value"]["doubled"].as_u64().expect("a number");
    let mut found: Vec<_> = records.iter().map(value).collect();
    found.sort_unstable();
    found
}

/// One node that encrypts, knows `admin` by SASL/PLAIN and takes SCRAM.
fn secured_cluster(folder: &Path) -> Option<Cluster> {
    let place = folder.to_str().expect("UTF-8");
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
    let settings = [
        // The listener keeps its name; what it speaks is another protocol, also within.
        "inter.broker.listener.name=PLAINTEXT".to_owned(),
        "listener.security.protocol.map=PLAINTEXT:SASL_SSL,CONTROLLER:PLAINTEXT".to_owned(),
        "ssl.keystore.type=PEM".to_owned(),
        format!("ssl.keystore.location={place}/keystore.pem"),
        "ssl.truststore.type=PEM".to_owned(),
        format!("ssl.truststore.location={place}/ca.pem"),
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
        "sasl.mechanism.inter.broker.protocol=PLAIN".to_owned(),
        format!(
            "listener.name.plaintext.plain.sasl.jaas.config={module} required \
             username=\"admin\" password=\"secret\" user_admin=\"secret\";"
        ),
        "listener.name.plaintext.scram-sha-256.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;"
            .to_owned(),
        "listener.name.plaintext.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;"
            .to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let cluster = Cluster::start_with(&folder.join("kafka"), 1, &settings)?;
    let config = folder.join("admin.properties");
    let text = format!(
        "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n\
         sasl.jaas.config={module} required username=\"admin\" password=\"secret\";\n\
         ssl.truststore.type=PEM\nssl.truststore.location={place}/ca.pem\n"
    );
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().expect("UTF-8");
    for credential in ["SCRAM-SHA-256=[password=p w]", "SCRAM-SHA-512=[password=p w]"] {
        let user = ["--alter", "--entity-type", "users", "--entity-name", "me", "--add-config"];
        let add = [&["--command-config", config], &user[..], &[credential]].concat();
        cluster.tool("kafka-configs", &add).expect("the user is added");
    }
    Some(cluster)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_tls_and_passwords_carries_the_log() {
    let folder = tempdir().unwrap();
    certify(folder.path());
    let Some(cluster) = secured_cluster(folder.path()) else { return };
    let as_admin = url(folder.path(), "admin:secret", &cluster.servers, "plain");
    let as_me = url(folder.path(), "me:p%20w", &cluster.servers, "scram-sha-512");
    let file = folder.path().join("courant.yaml");
    std::fs::write(&file, FILE).unwrap();
    let data = folder.path().join("data");
    let flags = ["--profile", "cluster"];
    let running =
        Courant::try_start_with(&file, &data, &flags, &[("KAFKA", &as_me)]).expect("it starts");
    produce(folder.path(), &as_admin, 1_000);
    until_doubled(&running, 1_000).await;
    let by_256 = url(folder.path(), "me:p%20w", &cluster.servers, "scram-sha-256");
    assert_eq!(doubled(&by_256), (0..1_000).map(|id| id * 2).collect::<Vec<_>>());
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_wrong_password_and_a_stranger_s_certificate_are_told() {
    let folder = tempdir().unwrap();
    certify(folder.path());
    let Some(cluster) = secured_cluster(folder.path()) else { return };
    let wrong = url(folder.path(), "me:other", &cluster.servers, "scram-sha-512");
    let said = courant(&["topic", "list", "--brokers", &wrong]);
    let errors = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success());
    assert!(errors.contains("check user, password and sasl"), "{errors}");
    assert!(!errors.contains("other"), "the password is shown: {errors}");

    let stranger = tempdir().unwrap();
    certify(stranger.path());
    let distrusted = url(stranger.path(), "me:p%20w", &cluster.servers, "scram-sha-512");
    let said = courant(&["topic", "list", "--brokers", &distrusted]);
    let errors = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success());
    assert!(errors.contains("check the certificates"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_with_a_file_of_users_lets_in_who_is_known() {
    if !has_kcat() {
        return;
    }
    let folder = tempdir().unwrap();
    certify(folder.path());
    let users = "
tls: { certificate: broker.pem, key: broker.key }
sasl:
  users:
    me: { password: p w }
    reader: { password: r }
acl:
  - { principal: me, allow: [admin, read, write], topics: ['*'], groups: ['*'], cluster: true }
  - { principal: reader, allow: [read], topics: [doubled], groups: ['*'] }
";
    let users_file = folder.path().join("users.yaml");
    std::fs::write(&users_file, users).unwrap();
    let file = folder.path().join("courant.yaml");
    std::fs::write(&file, FILE).unwrap();
    let flags = ["--kafka-port", "0", "--kafka-users", users_file.to_str().unwrap()];
    let running = Courant::try_start_with(&file, &folder.path().join("data"), &flags, &[])
        .expect("it starts");
    let broker = running.kafka.clone();
    let as_me = url(folder.path(), "me:p%20w", &broker, "scram-sha-512");
    produce(folder.path(), &as_me, 100);
    until_doubled(&running, 100).await;

    let ca = folder.path().join("ca.pem");
    let secure = format!("ssl.ca.location={}", ca.display());
    let consume = |user: &str, password: &str, topic: &str| {
        let (user, password) =
            (format!("sasl.username={user}"), format!("sasl.password={password}"));
        let arguments = [
            "-C",
            "-b",
            &broker,
            "-t",
            topic,
            "-o",
            "beginning",
            "-e",
            "-q",
            "-X",
            "security.protocol=SASL_SSL",
            "-X",
            "sasl.mechanism=SCRAM-SHA-256",
            "-X",
            &secure,
            "-X",
            &user,
            "-X",
            &password,
        ];
        try_kcat(&arguments, "")
    };
    let said = consume("reader", "r", "doubled").expect("the reader may read");
    let ids: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.contains(&json!({ "id": 7, "doubled": 14 })), "{said}");
    assert!(consume("reader", "r", "numbers").is_err(), "no rule lets it read numbers");
    assert!(consume("reader", "wrong", "doubled").is_err(), "the password is wrong");
    let plain = courant(&["topic", "list", "--brokers", &broker]);
    assert!(!plain.status.success(), "it speaks to nobody in the clear");
    assert_eq!(running.stop(), Some(0));
}
