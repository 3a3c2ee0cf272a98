//! SASL on one connection: which mechanism, the exchange, and how long it holds.
//!
//! ```text
//!            handshake              authenticate (1–2 messages)
//!   Waiting ───────────▶ Exchanging ──────────────────────────▶ Done
//!      ▲                                                         │ handshake again
//!      └─────────── (only with a session lifetime) ──────────────┘
//! ```
//!
//! The handler of the two APIs calls in; the connection asks [`Session::admit`] before
//! every request. Invariant: until an exchange succeeds nothing but it is served, and a
//! failure ends the connection. Every failure looks the same, whoever was asked for.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use courant_model::limits;
use kafka_protocol::{error::ResponseError, messages::ApiKey};
use serde::Deserialize;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Principal,
    credentials::Credentials,
    random::random_bytes,
    scram::{ClientFinal, ClientFirst, Exchange, Hash},
};

/// A SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    /// The password itself: for TLS only.
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// What all connections of a broker authenticate against.
#[derive(Debug)]
pub(crate) struct Sasl {
    pub(super) mechanisms: Vec<Mechanism>,
    /// How long an authentication holds; `None`: as long as the connection.
    pub(super) session_lifetime: Option<Duration>,
    pub(crate) credentials: Arc<Credentials>,
    /// Password checks take a processor for milliseconds: few run at a time.
    pub(super) checks: Semaphore,
}

/// The authentication of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    sasl: Option<Arc<Sasl>>,
    principal: Principal,
    phase: Phase,
    /// The exchange goes on in frames that hold its messages and nothing else.
    bare: bool,
    /// The last success, which another one must repeat.
    established: Option<Established>,
}

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Serve,
    /// Close the connection without a word.
    Close(&'static str),
}

/// What a message of the exchange is answered with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) message: Vec<u8>,
    /// Zero unless the exchange succeeded and will not hold for ever.
    pub(crate) session_lifetime_ms: i64,
}

/// Why an exchange failed; the connection is to be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct SaslFailure {
    pub(crate) code: ResponseError,
    pub(crate) message: String,
}

#[derive(Debug)]
enum Phase {
    Waiting,
    Exchanging(Mechanism, Option<Box<Pending>>),
    Done,
    Failed,
}

/// A SCRAM exchange whose second half is to come.
#[derive(Debug)]
struct Pending {
    username: String,
    exchange: Exchange,
}

#[derive(Debug)]
struct Established {
    mechanism: Mechanism,
    at: Instant,
    expires: Option<Instant>,
}

impl Mechanism {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    /// The name that goes over the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Session {
    /// A connection that has just opened. `certificate` is the principal of its TLS
    /// client certificate, which counts where SASL is off.
    pub(crate) fn new(sasl: Option<Arc<Sasl>>, certificate: Option<Principal>) -> Self {
        let phase = if sasl.is_some() { Phase::Waiting } else { Phase::Done };
        let certificate = certificate.filter(|_| sasl.is_none());
        let principal = certificate.unwrap_or_else(Principal::anonymous);
        Self { sasl, principal, phase, bare: false, established: None }
    }

    /// Who speaks; anonymous until somebody has said so.
    pub(crate) const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whether the connection is past its authentication, or needs none.
    pub(crate) const fn is_open(&self) -> bool {
        self.sasl.is_none() || self.established.is_some()
    }

    /// Whether the connection is to end, after the answer that says so.
    pub(crate) const fn has_failed(&self) -> bool {
        matches!(self.phase, Phase::Failed)
    }

    /// Whether a request may be served now; Kafka's `SaslServerAuthenticator`.
    pub(crate) fn admit(&self, api: ApiKey, now: Instant) -> Admission {
        match &self.phase {
            Phase::Waiting => match api {
                ApiKey::ApiVersions | ApiKey::SaslHandshake => Admission::Serve,
                _ => Admission::Close("a request came before authentication"),
            },
            Phase::Exchanging(..) => match api {
                ApiKey::SaslAuthenticate | ApiKey::SaslHandshake => Admission::Serve,
                _ => Admission::Close("a request came in the middle of authentication"),
            },
            Phase::Done if api == ApiKey::SaslHandshake => Admission::Serve,
            Phase::Done => {
                let expires = self.established.as_ref().and_then(|one| one.expires);
                if expires.is_some_and(|at| at <= now) {
                    return Admission::Close("the session expired without a new authentication");
                }
                Admission::Serve
            }
            Phase::Failed => Admission::Close("authentication failed"),
        }
    }

    /// Whether the next frame is a message of the exchange, without any header: so it
    /// goes on after version 0 of the handshake.
    pub(crate) const fn expects_bare_message(&self) -> bool {
        self.bare && matches!(self.phase, Phase::Exchanging(..))
    }

    /// As [`Session::handshake`], with bare messages to follow.
    ///
    /// # Errors
    /// As [`Session::handshake`].
    pub(crate) fn bare_handshake(&mut self, name: &str, now: Instant) -> Result<(), ResponseError> {
        self.handshake(name, now)?;
        self.bare = true;
        Ok(())
    }

    /// Chooses the mechanism, for the first time or once more.
    ///
    /// # Errors
    /// Kafka's code. Unless it comes out of turn on an authenticated connection, the
    /// connection is to end ([`Session::has_failed`]).
    pub(crate) fn handshake(&mut self, name: &str, now: Instant) -> Result<(), ResponseError> {
        let Some(sasl) = &self.sasl else { return Err(ResponseError::IllegalSaslState) };
        if matches!(self.phase, Phase::Exchanging(..) | Phase::Failed) {
            self.phase = Phase::Failed;
            return Err(ResponseError::IllegalSaslState);
        }
        if let Some(established) = &self.established {
            let soon = Duration::from_millis(limits::REAUTHENTICATION_MS_MIN);
            if established.expires.is_none() || now < established.at + soon {
                return Err(ResponseError::IllegalSaslState);
            }
        }
        let offered = sasl.mechanisms.iter().find(|one| one.as_str() == name).copied();
        let same = |one: &Mechanism| self.established.as_ref().is_none_or(|e| e.mechanism == *one);
        match offered.filter(same) {
            Some(mechanism) => {
                self.phase = Phase::Exchanging(mechanism, None);
                self.bare = false;
                Ok(())
            }
            None => {
                self.phase = Phase::Failed;
                Err(ResponseError::UnsupportedSaslMechanism)
            }
        }
    }

    /// The names of the mechanisms that may be chosen.
    pub(crate) fn mechanisms(&self) -> impl Iterator<Item = &'static str> {
        let offered = self.sasl.iter().flat_map(|sasl| &sasl.mechanisms);
        offered.map(|mechanism| mechanism.as_str())
    }

    /// Takes one message of the exchange. Answers a failure late, so that guessing
    /// takes long.
    ///
    /// # Errors
    /// [`SaslFailure`]; then the connection is to be closed after the answer, except
    /// for a message out of turn on an authenticated connection.
    ///
    /// # Cancel safety
    /// Dropped, the exchange has failed.
    pub(crate) async fn authenticate(&mut self, message: &[u8]) -> Result<Step, SaslFailure> {
        if !matches!(self.phase, Phase::Exchanging(..)) {
            return Err(SaslFailure {
                code: ResponseError::IllegalSaslState,
                message: "SaslAuthenticate request came without a handshake".to_owned(),
            });
        }
        let Some(sasl) = self.sasl.clone() else { return Err(refused("SASL is off")) };
        let phase = std::mem::replace(&mut self.phase, Phase::Failed);
        let Phase::Exchanging(mechanism, pending) = phase else { return Err(refused("failed")) };
        let outcome = match (mechanism, pending) {
            (Mechanism::Plain, _) => self.plain(&sasl, message).await,
            (_, None) => self.scram_first(&sasl, mechanism, message),
            (_, Some(pending)) => self.scram_final(&sasl, mechanism, *pending, message),
        };
        if outcome.is_err() {
            tokio::time::sleep(Duration::from_millis(limits::AUTHENTICATION_FAILURE_MS)).await;
        }
        outcome
    }

    /// `[authorization id] NUL user NUL password` (RFC 4616).
    async fn plain(&mut self, sasl: &Arc<Sasl>, message: &[u8]) -> Result<Step, SaslFailure> {
        if message.len() > limits::SASL_MESSAGE_BYTES_MAX {
            return Err(refused("Authentication failed: the message is too long"));
        }
        let text = std::str::from_utf8(message).unwrap_or_default();
        let parts: Vec<&str> = text.split('\0').collect();
        let &[authorization_id, user, password] = parts.as_slice() else {
            return Err(refused("Authentication failed: invalid SASL/PLAIN message"));
        };
        if user.is_empty() || password.is_empty() {
            return Err(refused("Authentication failed: user name or password not specified"));
        }
        check_authorization_id(authorization_id, user)?;
        let permit = sasl.checks.acquire().await.map_err(|_| refused("the broker is closing"))?;
        let credentials = Arc::clone(&sasl.credentials);
        let (name, password) = (user.to_owned(), password.to_owned());
        let check = move || credentials.of(&name, Hash::Sha256).is_of(Hash::Sha256, &password);
        let fits = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        drop(permit);
        if !fits {
            return Err(refused("Authentication failed: Invalid username or password"));
        }
        self.establish(sasl, Mechanism::Plain, user, Vec::new())
    }

    fn scram_first(
        &mut self,
        sasl: &Sasl,
        mechanism: Mechanism,
        message: &[u8],
    ) -> Result<Step, SaslFailure> {
        let hash = hash_of(mechanism);
        let first = ClientFirst::parse(message).map_err(|error| refused(&error.to_string()))?;
        check_authorization_id(
            first.authorization_id.as_deref().unwrap_or_default(),
            &first.username,
        )?;
        let nonce = BASE64.encode(random_bytes::<24>());
        let credential = sasl.credentials.of(&first.username, hash);
        let (exchange, answer) = Exchange::begin(hash, &first, &nonce, credential);
        let pending = Pending { username: first.username, exchange };
        self.phase = Phase::Exchanging(mechanism, Some(Box::new(pending)));
        Ok(Step { message: answer.into_bytes(), session_lifetime_ms: 0 })
    }

    fn scram_final(
        &mut self,
        sasl: &Sasl,
        mechanism: Mechanism,
        pending: Pending,
        message: &[u8],
    ) -> Result<Step, SaslFailure> {
        let last = ClientFinal::parse(message).map_err(|error| refused(&error.to_string()))?;
        let Some(answer) = pending.exchange.finish(&last) else {
            let why = "Authentication failed during authentication due to invalid credentials \
                       with SASL mechanism";
            return Err(refused(&format!("{why} {}", mechanism.as_str())));
        };
        self.establish(sasl, mechanism, &pending.username, answer.into_bytes())
    }

    fn establish(
        &mut self,
        sasl: &Sasl,
        mechanism: Mechanism,
        user: &str,
        message: Vec<u8>,
    ) -> Result<Step, SaslFailure> {
        if self.established.is_some() && self.principal.name() != user {
            return Err(refused("Cannot change principals during re-authentication"));
        }
        let at = Instant::now();
        let expires = sasl.session_lifetime.map(|lifetime| at + lifetime);
        self.principal = Principal::user(user);
        self.established = Some(Established { mechanism, at, expires });
        self.phase = Phase::Done;
        let lifetime_ms = sasl.session_lifetime.map_or(0, |lifetime| lifetime.as_millis());
        let session_lifetime_ms = i64::try_from(lifetime_ms).unwrap_or(i64::MAX);
        Ok(Step { message, session_lifetime_ms })
    }
}

const fn hash_of(mechanism: Mechanism) -> Hash {
    match mechanism {
        Mechanism::Plain | Mechanism::ScramSha256 => Hash::Sha256,
        Mechanism::ScramSha512 => Hash::Sha512,
    }
}

fn check_authorization_id(authorization_id: &str, user: &str) -> Result<(), SaslFailure> {
    if !authorization_id.is_empty() && authorization_id != user {
        return Err(refused(
            "Authentication failed: Client requested an authorization id that is different from \
             username",
        ));
    }
    Ok(())
}

fn refused(message: &str) -> SaslFailure {
    SaslFailure { code: ResponseError::SaslAuthenticationFailed, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::credentials::Configured, *};

    fn sasl(session_lifetime: Option<Duration>) -> Arc<Sasl> {
        let users = BTreeMap::from([
            ("alice".to_owned(), Configured::Password("secret".to_owned())),
            ("bob".to_owned(), Configured::Password("hidden".to_owned())),
        ]);
        Arc::new(Sasl {
            mechanisms: vec![Mechanism::Plain, Mechanism::ScramSha256],
            session_lifetime,
            credentials: Arc::new(Credentials::open(&users, None).unwrap()),
            checks: Semaphore::new(1),
        })
    }

    fn session(lifetime: Option<Duration>) -> Session {
        Session::new(Some(sasl(lifetime)), None)
    }

    async fn plain(session: &mut Session, message: &[u8]) -> Result<Step, SaslFailure> {
        session.handshake("PLAIN", Instant::now()).unwrap();
        session.authenticate(message).await
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_but_the_exchange_is_served_before_it_succeeds() {
        let mut session = session(None);
        let now = Instant::now();
        assert!(!session.is_open());
        assert_eq!(session.admit(ApiKey::ApiVersions, now), Admission::Serve);
        for api in [ApiKey::Metadata, ApiKey::Produce, ApiKey::SaslAuthenticate] {
            assert!(matches!(session.admit(api, now), Admission::Close(_)), "{api:?}");
        }
        session.handshake("PLAIN", now).unwrap();
        assert!(matches!(session.admit(ApiKey::Metadata, now), Admission::Close(_)));
        session.authenticate(b"\0alice\0secret").await.unwrap();
        assert!(session.is_open());
        assert_eq!(session.admit(ApiKey::Metadata, now), Admission::Serve);
        assert_eq!(session.principal().name(), "alice");
        let again = session.handshake("PLAIN", now);
        assert_eq!(again, Err(ResponseError::IllegalSaslState));
        assert_eq!(session.admit(ApiKey::Metadata, now), Admission::Serve);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_and_an_unknown_user_fail_alike_and_late() {
        let mut failures = Vec::new();
        for message in [b"\0alice\0wrong".as_slice(), b"\0nobody\0wrong"] {
            let mut session = session(None);
            let before = Instant::now();
            let failure = plain(&mut session, message).await.unwrap_err();
            let late = Duration::from_millis(limits::AUTHENTICATION_FAILURE_MS);
            assert!(before.elapsed() >= late);
            assert!(matches!(session.admit(ApiKey::ApiVersions, before), Admission::Close(_)));
            assert!(!session.is_open());
            failures.push(failure);
        }
        assert_eq!(failures[0], failures[1]);
        assert_eq!(failures[0].code, ResponseError::SaslAuthenticationFailed);
    }

    #[tokio::test(start_paused = true)]
    async fn malformed_messages_fail() {
        for message in [
            b"".as_slice(),
            b"alice",
            b"\0alice",
            b"\0alice\0",
            b"\0\0secret",
            b"bob\0alice\0secret",
            b"\0alice\0secret\0",
            b"\0\xff\0x",
        ] {
            assert!(plain(&mut session(None), message).await.is_err(), "{message:?}");
        }
        let same = plain(&mut session(None), b"alice\0alice\0secret").await;
        assert!(same.is_ok(), "{same:?}");
        let mut scram = session(None);
        scram.handshake("SCRAM-SHA-256", Instant::now()).unwrap();
        assert!(scram.authenticate(b"n,a=bob,n=alice,r=x").await.is_err());
    }

    #[test]
    fn a_mechanism_that_is_not_offered_ends_the_connection() {
        let mut session = session(None);
        let refused = session.handshake("SCRAM-SHA-512", Instant::now());
        assert_eq!(refused, Err(ResponseError::UnsupportedSaslMechanism));
        assert!(matches!(
            session.admit(ApiKey::SaslHandshake, Instant::now()),
            Admission::Close(_)
        ));
        assert_eq!(session.mechanisms().collect::<Vec<_>>(), ["PLAIN", "SCRAM-SHA-256"]);
    }

    #[test]
    fn a_second_handshake_in_the_middle_of_an_exchange_ends_the_connection() {
        let mut session = session(None);
        session.handshake("PLAIN", Instant::now()).unwrap();
        let refused = session.handshake("PLAIN", Instant::now());
        assert_eq!(refused, Err(ResponseError::IllegalSaslState));
        assert!(session.has_failed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_expired_must_be_renewed_by_the_same_user() {
        let mut session = session(Some(Duration::from_secs(10)));
        let step = plain(&mut session, b"\0alice\0secret").await.unwrap();
        assert_eq!(step.session_lifetime_ms, 10_000);
        let soon = session.handshake("PLAIN", Instant::now());
        assert_eq!(soon, Err(ResponseError::IllegalSaslState));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(session.admit(ApiKey::Fetch, Instant::now()), Admission::Serve);
        plain(&mut session, b"\0alice\0secret").await.unwrap();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(session.admit(ApiKey::Fetch, Instant::now()), Admission::Serve);
        tokio::time::advance(Duration::from_secs(1)).await;
        let expired = session.admit(ApiKey::Fetch, Instant::now());
        assert!(matches!(expired, Admission::Close(_)), "{expired:?}");
        assert_eq!(session.admit(ApiKey::SaslHandshake, Instant::now()), Admission::Serve);
        let other = plain(&mut session, b"\0bob\0hidden").await;
        assert!(other.is_err());
        assert!(matches!(session.admit(ApiKey::Fetch, Instant::now()), Admission::Close(_)));
    }

    #[tokio::test]
    async fn without_sasl_the_certificate_says_who_speaks() {
        let session = Session::new(None, Some(Principal::user("machine")));
        assert!(session.is_open());
        assert_eq!(session.principal().name(), "machine");
        assert_eq!(Session::new(None, None).principal(), &Principal::anonymous());
        let both = Session::new(Some(sasl(None)), Some(Principal::user("machine")));
        assert_eq!(both.principal(), &Principal::anonymous());
    }
}
