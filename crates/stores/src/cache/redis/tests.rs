//! The cache on real servers: the conformance suite, what goes wrong, and what Redis holds.

use std::{path::Path, process::Command, sync::Arc};

use async_trait::async_trait;

use super::*;
use crate::{
    conformance::CacheHarness,
    testing::{RedisCluster, RedisSentinel, RedisServer},
};

/// How long a server may be away, as the tests see it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn connect(url: &str) -> RedisCache {
    RedisCache::connect(url.parse().unwrap()).await.unwrap()
}

fn set(key: &str, value: &str) -> CacheWrite {
    CacheWrite::Set { key: key.into(), value: value.to_owned().into(), ttl: None, version: None }
}

fn set_field(key: &str, field: &str, version: i64) -> CacheWrite {
    CacheWrite::SetField {
        key: key.into(),
        field: field.into(),
        value: version.to_string().into(),
        ttl: None,
        version: Some(version),
    }
}

/// Writes until it succeeds, as a pipeline does.
async fn write_at_last(cache: &RedisCache, write: CacheWrite) {
    let tries = async {
        loop {
            match cache.apply("t", vec![write.clone()]).await {
                Ok(results) => return results.into_iter().for_each(Result::unwrap),
                Err(error) => assert!(error.retryable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tries).await.expect("the server comes back");
}

/// A server, or several, and its URL; its own for each test.
struct Harness<S> {
    url: String,
    _servers: S,
}

#[async_trait]
impl<S: Send + Sync> CacheHarness for Harness<S> {
    async fn open(&self) -> Arc<dyn Cache> {
        Arc::new(connect(&self.url).await)
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// The harness, or the end of a test that was skipped.
macro_rules! harness {
    ($servers:expr) => {
        match $servers {
            Some(servers) => Harness { url: servers.url(), _servers: servers },
            None => return,
        }
    };
}

mod on_one_server {
    use super::*;

    crate::cache_conformance!(harness!(RedisServer::start(&[]).await));
}

mod on_a_cluster {
    use super::*;

    crate::cache_conformance!(harness!(RedisCluster::start().await));
}

mod on_a_sentinels_master {
    use super::*;

    crate::cache_conformance!(harness!(RedisSentinel::start().await));
}

#[tokio::test]
async fn a_server_that_was_away_is_found_again_with_its_data() {
    let Some(mut server) = RedisServer::start(&[]).await else { return };
    let cache = connect(&server.url()).await;
    cache.apply("t", vec![set("a", "1"), set_field("f", "x", 5)]).await.unwrap();
    server.kill().await;
    let refused = cache.apply("t", vec![set("a", "2")]).await.unwrap_err();
    assert!(refused.retryable(), "{refused}");
    assert!(cache.get("t", "a").await.unwrap_err().retryable());
    server.start_again().await;
    assert_eq!(cache.get("t", "a").await.unwrap(), Some("1".into()));
    server.stop().await;
    server.start_again().await;
    // The server does not know the script any more, and the version is as it was.
    cache.apply("t", vec![set_field("f", "x", 4), set_field("f", "y", 4)]).await.unwrap();
    assert_eq!(cache.get_field("t", "f", "x").await.unwrap(), Some("5".into()));
    assert_eq!(cache.get_field("t", "f", "y").await.unwrap(), Some("4".into()));
}

#[tokio::test]
async fn refused_credentials_are_told_at_once_and_without_the_secret() {
    let users = ["--user", "courant", "on", ">right", "~*", "+@all", "--user", "default", "off"];
    let Some(server) = RedisServer::start(&users).await else { return };
    let url = |login: &str| format!("redis://{login}@127.0.0.1:{}", server.port);
    let cache = connect(&url("courant:right")).await;
    cache.apply("t", vec![set("a", "1")]).await.unwrap();
    for login in ["courant:wrong-secret", "nobody:right"] {
        let refused = RedisCache::connect(url(login).parse().unwrap()).await.unwrap_err();
        assert!(matches!(refused, StoreError::AccessDenied { .. }), "{refused}");
        assert!(!refused.retryable());
        assert!(!refused.to_string().contains("wrong-secret"), "{refused}");
    }
}

#[tokio::test]
async fn a_user_without_rights_is_told_which() {
    let users = ["--user", "reader", "on", ">right", "~*", "+@read", "+@connection"];
    let Some(server) = RedisServer::start(&users).await else { return };
    let cache = connect(&format!("redis://reader:right@127.0.0.1:{}", server.port)).await;
    assert_eq!(cache.get("t", "a").await.unwrap(), None);
    let refused = cache.apply("t", vec![set("a", "1")]).await.unwrap_err();
    assert!(matches!(refused, StoreError::AccessDenied { .. }), "{refused}");
    assert!(refused.to_string().contains("evalsha"), "{refused}");
}

/// Writes a certificate for `localhost`, which signs itself, and its key.
fn certificate(folder: &Path) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())];
    files.map(|(name, text)| {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    })
}

#[tokio::test]
async fn tls_with_both_certificates_reaches_the_server_and_without_them_does_not() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(folder.path());
    let tls = courant_testing::free_port().to_string();
    let options = [
        "--tls-port",
        &tls,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &cert,
        "--tls-auth-clients",
        "yes",
    ];
    let Some(_server) = RedisServer::start(&options).await else { return };
    let url = format!("rediss://localhost:{tls}");
    let cache = connect(&format!("{url}?ca={cert}&certificate={cert}&key={key}")).await;
    cache.apply("t", vec![set("a", "1")]).await.unwrap();
    assert_eq!(cache.get("t", "a").await.unwrap(), Some("1".into()));
    for options in ["", &format!("?ca={cert}")] {
        let refused = RedisCache::connect(format!("{url}{options}").parse().unwrap()).await;
        assert!(refused.is_err(), "with {options:?}");
    }
}

#[tokio::test]
async fn writes_follow_a_slot_that_moves_to_another_node() {
    let Some(cluster) = RedisCluster::start().await else { return };
    let cache = connect(&cluster.url()).await;
    let write = |n: i64| {
        let keys = (0..50).map(|key| set_field(&format!("k{key}"), "f", n));
        cache.apply("t", keys.collect())
    };
    write(1).await.unwrap().into_iter().for_each(Result::unwrap);
    // All slots of the first node go to the second, keys with them.
    let nodes = &cluster.nodes;
    let mut reshard = Command::new("redis-cli");
    reshard.args(["--cluster", "rebalance", &format!("127.0.0.1:{}", nodes[0].port)]);
    let id = node_id(nodes[0].port).await;
    reshard.args(["--cluster-weight", &format!("{id}=0")]);
    let done = tokio::task::spawn_blocking(move || reshard.output()).await.unwrap().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    write(2).await.unwrap().into_iter().for_each(Result::unwrap);
    assert_eq!(cache.keys("t", None, 100).await.unwrap().len(), 50);
    for key in 0..50 {
        let found = cache.get_field("t", &format!("k{key}"), "f").await.unwrap();
        assert_eq!(found, Some("2".into()), "k{key}");
    }
}

async fn node_id(port: u16) -> String {
    let mut id = Command::new("redis-cli");
    id.args(["-p", &port.to_string(), "CLUSTER", "MYID"]);
    let output = tokio::task::spawn_blocking(move || id.output()).await.unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn after_a_fail_over_writes_go_to_the_new_master() {
    let Some(mut servers) = RedisSentinel::start().await else { return };
    let cache = connect(&format!("{}?replicas=1", servers.url())).await;
    cache.apply("t", vec![set_field("k", "f", 5)]).await.unwrap();
    cache.flush().await.unwrap();
    servers.master.kill().await;
    write_at_last(&cache, set_field("k", "g", 1)).await;
    write_at_last(&cache, set_field("k", "f", 4)).await;
    let direct = connect(&servers.replica.url()).await;
    let fields = direct.fields("t", "k").await.unwrap();
    let fields: Vec<_> = fields.iter().map(|(field, value)| (&**field, &**value)).collect();
    assert_eq!(fields, [("f", &b"5"[..]), ("g", b"1")]);
    // Nobody is left to have a copy.
    let refused = cache.flush().await.unwrap_err();
    assert!(refused.to_string().contains("0 of 1 replicas"), "{refused}");
}

#[tokio::test]
async fn what_stands_beside_a_key_goes_with_it() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let cache = connect(&server.url()).await;
    let names = async || {
        let mut names = Vec::new();
        let mut scan = cache.scan(None).await.unwrap();
        while let Some((_, found)) = scan.next().await.unwrap() {
            names.extend(found);
        }
        names.sort();
        names
    };
    let plain = CacheWrite::SetField {
        key: "k".into(),
        field: "f".into(),
        value: "1".into(),
        ttl: None,
        version: None,
    };
    cache.apply("t", vec![set("a", "1"), plain]).await.unwrap();
    assert_eq!(names().await, ["t:a", "t:k", "{t:k}:order"]);
    let delete = |key: &str, version| CacheWrite::Delete { key: key.into(), version };
    cache.apply("t", vec![delete("a", None), delete("k", None)]).await.unwrap();
    assert_eq!(names().await, [""; 0]);
    cache.apply("t", vec![set_field("k", "f", 1), delete("k", Some(2))]).await.unwrap();
    assert_eq!(names().await, ["{t:k}:versions"]);
    assert!(cache.keys("t", None, 10).await.unwrap().is_empty());
    assert!(cache.tables().await.unwrap().is_empty());
}
