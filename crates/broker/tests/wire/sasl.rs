//! A client's side of SASL, and what the broker makes of it.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use courant_broker::{BrokerOptions, Security, SecurityConfig};
use hmac::{Hmac, KeyInit, Mac};
use kafka_protocol::{
    ResponseError,
    messages::{
        AlterUserScramCredentialsRequest, ApiVersionsRequest, DescribeUserScramCredentialsRequest,
        MetadataRequest, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
        alter_user_scram_credentials_request::{ScramCredentialDeletion, ScramCredentialUpsertion},
    },
};
use sha2::{Digest, Sha256, Sha512};
use tokio::time::timeout;

use crate::support::{Client, PATIENCE, TestBroker, text};

const USERS: &str = r#"{"sasl": {
    "mechanisms": ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
    "users": {"alice": {"password": "se=cr,et"}}}}"#;

/// Chooses a mechanism; the code and what is offered.
async fn handshake(client: &mut Client, mechanism: &str) -> (i16, Vec<String>) {
    let request = SaslHandshakeRequest::default().with_mechanism(text(mechanism));
    let response = client.call(&request, 1).await;
    (response.error_code, response.mechanisms.iter().map(ToString::to_string).collect())
}

async fn authenticate(client: &mut Client, message: &[u8]) -> SaslAuthenticateResponse {
    let message = Bytes::copy_from_slice(message);
    client.call(&SaslAuthenticateRequest::default().with_auth_bytes(message), 2).await
}

/// Authenticates with PLAIN.
pub(crate) async fn plain(
    client: &mut Client,
    user: &str,
    password: &str,
) -> SaslAuthenticateResponse {
    handshake(client, "PLAIN").await;
    authenticate(client, format!("\0{user}\0{password}").as_bytes()).await
}

fn hmac<M: Mac + KeyInit>(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).unwrap();
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// A hash's functions: the salted password, HMAC, the digest.
struct Hashing {
    mechanism: &'static str,
    salted: fn(&str, &[u8], u32) -> Vec<u8>,
    hmac: fn(&[u8], &str) -> Vec<u8>,
    digest: fn(&[u8]) -> Vec<u8>,
}

const SHA_256: Hashing = Hashing {
    mechanism: "SCRAM-SHA-256",
    salted: |password, salt, rounds| {
        pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, rounds).to_vec()
    },
    hmac: hmac::<Hmac<Sha256>>,
    digest: |bytes| Sha256::digest(bytes).to_vec(),
};

const SHA_512: Hashing = Hashing {
    mechanism: "SCRAM-SHA-512",
    salted: |password, salt, rounds| {
        pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password.as_bytes(), salt, rounds).to_vec()
    },
    hmac: hmac::<Hmac<Sha512>>,
    digest: |bytes| Sha512::digest(bytes).to_vec(),
};

/// Authenticates with SCRAM and checks that the broker knows the password, too.
async fn scram(client: &mut Client, hash: &Hashing, user: &str, password: &str) -> Result<(), i16> {
    handshake(client, hash.mechanism).await;
    let first = format!("n={user},r=client-nonce");
    let answer = authenticate(client, format!("n,,{first}").as_bytes()).await;
    assert_eq!(answer.error_code, 0);
    let server_first = String::from_utf8(answer.auth_bytes.to_vec()).unwrap();
    let field =
        |name: &str| server_first.split(',').find_map(|one| one.strip_prefix(name)).unwrap();
    let (nonce, salt) = (field("r="), BASE64.decode(field("s=")).unwrap());
    assert!(nonce.starts_with("client-nonce") && nonce.len() > 30);
    let salted = (hash.salted)(password, &salt, field("i=").parse().unwrap());
    let client_key = (hash.hmac)(&salted, "Client Key");
    let message = format!("{first},{server_first},c=biws,r={nonce}");
    let signature = (hash.hmac)(&(hash.digest)(&client_key), &message);
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
    let last = format!("c=biws,r={nonce},p={}", BASE64.encode(proof));
    let answer = authenticate(client, last.as_bytes()).await;
    if answer.error_code != 0 {
        return Err(answer.error_code);
    }
    let expected = (hash.hmac)(&(hash.hmac)(&salted, "Server Key"), &message);
    assert_eq!(answer.auth_bytes, format!("v={}", BASE64.encode(expected)));
    Ok(())
}

#[tokio::test]
async fn every_mechanism_lets_a_user_in() {
    let broker = TestBroker::secured(USERS).await;
    let mut client = broker.client().await;
    assert_eq!(plain(&mut client, "alice", "se=cr,et").await.error_code, 0);
    client.call(&MetadataRequest::default(), 9).await;
    for hash in [SHA_256, SHA_512] {
        let mut client = broker.client().await;
        scram(&mut client, &hash, "alice", "se=cr,et").await.unwrap();
        client.call(&MetadataRequest::default(), 9).await;
    }
}

#[tokio::test]
async fn an_old_client_authenticates_in_frames_without_headers() {
    let broker = TestBroker::secured(USERS).await;
    let old = SaslHandshakeRequest::default().with_mechanism(text("PLAIN"));
    let mut client = broker.client().await;
    assert_eq!(client.call(&old, 0).await.error_code, 0);
    assert_eq!(client.call_bare(b"\0alice\0se=cr,et").await.unwrap(), b"");
    client.call(&MetadataRequest::default(), 9).await;

    let mut client = broker.client().await;
    client.call(&old, 0).await;
    assert!(client.call_bare(b"\0a\0b").await.is_err());
}

#[tokio::test]
async fn a_wrong_password_is_answered_and_ends_the_connection() {
    let broker = TestBroker::secured(USERS).await;
    let failed = ResponseError::SaslAuthenticationFailed.code();
    let mut messages = Vec::new();
    for user in ["alice", "nobody"] {
        let mut client = broker.client().await;
        let answer = plain(&mut client, user, "wrong").await;
        assert_eq!(answer.error_code, failed);
        messages.push(answer.error_message);
        client.closed().await;
        for hash in [SHA_256, SHA_512] {
            let mut client = broker.client().await;
            assert_eq!(scram(&mut client, &hash, user, "wrong").await, Err(failed));
            client.closed().await;
        }
    }
    assert_eq!(messages[0], messages[1]);
}

#[tokio::test]
async fn before_authentication_only_its_own_requests_are_answered() {
    let broker = TestBroker::secured(USERS).await;
    let mut client = broker.client().await;
    let versions = client.call(&ApiVersionsRequest::default(), 0).await;
    assert!(versions.api_keys.iter().any(|api| api.api_key == 17 && api.max_version == 1));
    client.send(&MetadataRequest::default(), 9).await.unwrap();
    client.closed().await;

    let mut client = broker.client().await;
    handshake(&mut client, "PLAIN").await;
    client.send(&MetadataRequest::default(), 9).await.unwrap();
    client.closed().await;

    let mut client = broker.client().await;
    let (code, offered) = handshake(&mut client, "GSSAPI").await;
    assert_eq!(code, ResponseError::UnsupportedSaslMechanism.code());
    assert_eq!(offered, ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]);
    client.closed().await;
}

#[tokio::test]
async fn a_large_request_is_not_read_before_authentication() {
    let broker = TestBroker::secured(USERS).await;
    let mut client = broker.client().await;
    handshake(&mut client, "PLAIN").await;
    let message = Bytes::from(vec![b'x'; 100_000]);
    let request = SaslAuthenticateRequest::default().with_auth_bytes(message);
    assert!(client.try_call(&request, 2).await.is_err());
}

#[tokio::test]
async fn where_sasl_is_off_it_is_not_offered() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut client = broker.client().await;
    let versions = client.call(&ApiVersionsRequest::default(), 0).await;
    assert!(versions.api_keys.iter().all(|api| ![17, 36, 50, 51].contains(&api.api_key)));
    let (code, _) = handshake(&mut client, "PLAIN").await;
    assert_eq!(code, ResponseError::IllegalSaslState.code());
    client.call(&MetadataRequest::default(), 9).await;
}

#[tokio::test]
async fn a_session_ends_unless_it_is_renewed() {
    let broker = TestBroker::secured(
        r#"{"sasl": {"mechanisms": ["PLAIN"], "session_lifetime": "2s",
            "users": {"alice": {"password": "secret"}}}}"#,
    )
    .await;
    let mut client = broker.client().await;
    let answer = plain(&mut client, "alice", "secret").await;
    assert_eq!(answer.session_lifetime_ms, 2_000);
    let renewed = async {
        // Too soon is refused, and the connection goes on.
        while handshake(&mut client, "PLAIN").await.0 != 0 {
            tokio::task::yield_now().await;
        }
        authenticate(&mut client, b"\0alice\0secret").await
    };
    assert_eq!(timeout(PATIENCE, renewed).await.unwrap().error_code, 0);
    let expired = async {
        while client.try_call(&MetadataRequest::default(), 9).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, expired).await.unwrap();
}

fn upsert(user: &str, hash: &Hashing, password: &str) -> ScramCredentialUpsertion {
    let salt = b"a salt of the client";
    ScramCredentialUpsertion::default()
        .with_name(text(user))
        .with_mechanism(if hash.mechanism == "SCRAM-SHA-256" { 1 } else { 2 })
        .with_iterations(5_000)
        .with_salt(Bytes::from_static(salt))
        .with_salted_password((hash.salted)(password, salt, 5_000).into())
}

#[tokio::test]
async fn an_administrator_sets_credentials_that_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config: SecurityConfig = serde_json::from_str(USERS).unwrap();
    let options = || {
        let file = folder.path().join("credentials.json");
        let security = Security::open(&config, Some(&file)).unwrap();
        BrokerOptions { security: security.into(), ..BrokerOptions::default() }
    };
    let broker = TestBroker::start(options()).await;
    let mut admin = broker.client().await;
    plain(&mut admin, "alice", "se=cr,et").await;
    let request = AlterUserScramCredentialsRequest::default().with_upsertions(vec![
        upsert("bob", &SHA_256, "b"),
        upsert("bob", &SHA_512, "b"),
        upsert("alice", &SHA_256, "taken"),
        upsert("carol", &SHA_256, "c"),
        upsert("carol", &SHA_256, "c"),
    ]);
    let missing = ScramCredentialDeletion::default().with_name(text("dave")).with_mechanism(1);
    let unknown = ScramCredentialDeletion::default().with_name(text("eve")).with_mechanism(9);
    let request = request.with_deletions(vec![missing, unknown]);
    let response = admin.call(&request, 0).await;
    let codes: Vec<_> =
        response.results.iter().map(|one| (one.user.as_str(), one.error_code)).collect();
    assert_eq!(
        codes,
        [
            ("alice", ResponseError::UnacceptableCredential.code()),
            ("bob", 0),
            ("carol", ResponseError::DuplicateResource.code()),
            ("dave", ResponseError::ResourceNotFound.code()),
            ("eve", ResponseError::UnsupportedSaslMechanism.code()),
        ]
    );
    broker.stop().await;

    let broker = TestBroker::start(options()).await;
    let mut bob = broker.client().await;
    scram(&mut bob, &SHA_512, "bob", "b").await.unwrap();
    let known = bob.call(&DescribeUserScramCredentialsRequest::default().with_users(None), 0).await;
    let users: Vec<_> = known
        .results
        .iter()
        .map(|user| {
            let infos = user.credential_infos.iter().map(|one| (one.mechanism, one.iterations));
            (user.user.as_str(), infos.collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(users, [("alice", vec![(1, 4096), (2, 4096)]), ("bob", vec![(1, 5000), (2, 5000)])]);
}
