//! SaslHandshake and SaslAuthenticate, and the administration of SCRAM credentials.
//!
//! The exchange itself is `security::sasl`; it belongs to the connection, which is why
//! these two handlers take its session. Credentials are changed one user at a time, all
//! of a user's changes or none, and only by those who may alter the cluster.

use std::{collections::BTreeMap, sync::Arc};

use kafka_protocol::{
    ResponseError,
    messages::{
        AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
        DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
        SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
        SaslHandshakeResponse,
        alter_user_scram_credentials_response::AlterUserScramCredentialsResult,
        describe_user_scram_credentials_response::{
            CredentialInfo, DescribeUserScramCredentialsResult,
        },
    },
    protocol::StrBytes,
};
use tokio::time::Instant;

use crate::{
    context::Context,
    errors::NONE,
    security::{AlterError, Alteration, Credentials, Hash, Operation, Resource, Session},
};

/// Answers SaslHandshake 0 and 1; after version 0 the exchange goes on in frames
/// without headers.
pub(crate) fn sasl_handshake(
    session: &mut Session,
    request: &SaslHandshakeRequest,
    version: i16,
) -> SaslHandshakeResponse {
    let chosen = match version {
        0 => session.bare_handshake(&request.mechanism, Instant::now()),
        _ => session.handshake(&request.mechanism, Instant::now()),
    };
    SaslHandshakeResponse::default()
        .with_error_code(chosen.map_or_else(|error| error.code(), |()| NONE))
        .with_mechanisms(session.mechanisms().map(StrBytes::from_static_str).collect())
}

/// Answers SaslAuthenticate 0 to 2; a failure late.
pub(crate) async fn sasl_authenticate(
    session: &mut Session,
    request: SaslAuthenticateRequest,
) -> SaslAuthenticateResponse {
    let response = SaslAuthenticateResponse::default();
    match session.authenticate(&request.auth_bytes).await {
        Ok(step) => response
            .with_auth_bytes(step.message.into())
            .with_session_lifetime_ms(step.session_lifetime_ms),
        Err(failure) => response
            .with_error_code(failure.code.code())
            .with_error_message(Some(StrBytes::from_string(failure.message))),
    }
}

/// Answers DescribeUserScramCredentials 0.
pub(crate) fn describe_user_scram_credentials(
    context: &Context,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let response = DescribeUserScramCredentialsResponse::default();
    if !context.allows(Operation::Describe, Resource::Cluster) {
        return response.with_error_code(ResponseError::ClusterAuthorizationFailed.code());
    }
    let users = credentials(context).map(|known| known.users()).unwrap_or_default();
    let asked: Vec<StrBytes> = match request.users {
        Some(names) if !names.is_empty() => names.into_iter().map(|user| user.name).collect(),
        _ => users.keys().map(|name| StrBytes::from_string(name.clone())).collect(),
    };
    let mut times: BTreeMap<StrBytes, usize> = BTreeMap::new();
    asked.into_iter().for_each(|name| *times.entry(name).or_default() += 1);
    let results = times.into_iter().map(|(name, times)| {
        let result = DescribeUserScramCredentialsResult::default().with_user(name.clone());
        let refuse = |error: ResponseError, why: &'static str| {
            let result = result.clone().with_error_code(error.code());
            result.with_error_message(Some(StrBytes::from_static_str(why)))
        };
        match users.get(&*name) {
            _ if times > 1 => {
                refuse(ResponseError::DuplicateResource, "the user is named more than once")
            }
            None => refuse(ResponseError::ResourceNotFound, "the user has no SCRAM credentials"),
            Some(user) => {
                let info = user.iter().map(|(hash, credential)| {
                    CredentialInfo::default()
                        .with_mechanism(code_of(hash))
                        .with_iterations(i32::try_from(credential.iterations).unwrap_or(i32::MAX))
                });
                result.with_credential_infos(info.collect())
            }
        }
    });
    response.with_results(results.collect())
}

/// Answers AlterUserScramCredentials 0; durable when it answers.
pub(crate) async fn alter_user_scram_credentials(
    context: &Context,
    request: AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    let may_alter = context.allows(Operation::Alter, Resource::Cluster);
    let mut results = Vec::new();
    for (user, changes) in by_user(request) {
        let outcome = match (may_alter, changes, credentials(context)) {
            (false, ..) => Err((ResponseError::ClusterAuthorizationFailed, None)),
            (_, Err(refusal), _) => Err(refusal),
            (_, _, None) => Err(refusal_of(&AlterError::NotKept)),
            (_, Ok(changes), Some(known)) => {
                let (known, name) = (Arc::clone(known), user.to_string());
                let altered = tokio::task::spawn_blocking(move || known.alter(&name, changes));
                match altered.await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) => Err(refusal_of(&error)),
                    Err(_) => Err((ResponseError::UnknownServerError, None)),
                }
            }
        };
        let result = AlterUserScramCredentialsResult::default().with_user(user);
        results.push(match outcome {
            Ok(()) => result,
            Err((error, message)) => result
                .with_error_code(error.code())
                .with_error_message(message.map(StrBytes::from_string)),
        });
    }
    AlterUserScramCredentialsResponse::default().with_results(results)
}

type Refusal = (ResponseError, Option<String>);

/// Each user's changes, or why they cannot be.
fn by_user(
    request: AlterUserScramCredentialsRequest,
) -> BTreeMap<StrBytes, Result<Vec<Alteration>, Refusal>> {
    let deletions = request.deletions.into_iter().map(|one| {
        (one.name, one.mechanism, hash_of(one.mechanism).map(|hash| Alteration::Delete { hash }))
    });
    let settings = request.upsertions.into_iter().map(|one| {
        let set = hash_of(one.mechanism).map(|hash| Alteration::Set {
            hash,
            iterations: u32::try_from(one.iterations).unwrap_or(0),
            salt: one.salt.to_vec(),
            salted_password: one.salted_password.to_vec(),
        });
        (one.name, one.mechanism, set)
    });
    let mut users: BTreeMap<StrBytes, Result<Vec<Alteration>, Refusal>> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for (name, mechanism, change) in deletions.chain(settings) {
        let twice = !seen.insert((name.clone(), mechanism));
        let changes = users.entry(name).or_insert(Ok(Vec::new()));
        match (change, changes.as_mut()) {
            (_, Err(_)) => {}
            (_, Ok(_)) if twice => {
                let why = "a user's credential cannot be altered twice in one request";
                *changes = Err((ResponseError::DuplicateResource, Some(why.to_owned())));
            }
            (None, Ok(_)) => {
                let why = format!("SCRAM mechanism {mechanism} is not known");
                *changes = Err((ResponseError::UnsupportedSaslMechanism, Some(why)));
            }
            (Some(change), Ok(list)) => list.push(change),
        }
    }
    users
}

fn refusal_of(error: &AlterError) -> Refusal {
    let code = match error {
        AlterError::Unknown { .. } => ResponseError::ResourceNotFound,
        AlterError::Storage(_) => ResponseError::KafkaStorageError,
        AlterError::NotKept => ResponseError::SecurityDisabled,
        AlterError::Configured { .. } | AlterError::Name | AlterError::Weak | AlterError::Full => {
            ResponseError::UnacceptableCredential
        }
    };
    (code, Some(error.to_string()))
}

fn credentials(context: &Context) -> Option<&Arc<Credentials>> {
    context.broker.options.security.sasl.as_ref().map(|sasl| &sasl.credentials)
}

/// Kafka's numbers of the SCRAM mechanisms.
const fn hash_of(mechanism: i8) -> Option<Hash> {
    match mechanism {
        1 => Some(Hash::Sha256),
        2 => Some(Hash::Sha512),
        _ => None,
    }
}

const fn code_of(hash: Hash) -> i8 {
    match hash {
        Hash::Sha256 => 1,
        Hash::Sha512 => 2,
    }
}
