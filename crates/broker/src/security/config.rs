//! The security options of a broker, as they stand in a file.
//!
//! ```yaml
//! tls: { certificate: server.pem, key: server.key }
//! sasl:
//!   users:
//!     alice: { password: secret }
//! acl:
//!   - { principal: alice, allow: [read, write], topics: ["orders*"], groups: ["*"] }
//! quotas: { produce_bytes_per_second: 10MiB }
//! ```
//!
//! Reading tells nothing about files and touches none; [`SecurityConfig::problems`]
//! tells all that is wrong at once. [`super::Security::open`] makes it live.

use std::{collections::BTreeMap, fmt};

use courant_model::{Span, limits};
use serde::Deserialize;

use super::{
    acl::AclRule,
    credentials::{Configured, UserCredentials},
    quotas::QuotaConfig,
    sasl::Mechanism,
    scram::{Credential, Hash},
    tls::TlsConfig,
};

/// How a broker knows its clients and what it lets them do. Empty: everybody may
/// connect, unencrypted, and do everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecurityConfig {
    /// Encryption, and certificates of clients.
    pub tls: Option<TlsConfig>,
    /// User names and passwords.
    pub sasl: Option<SaslConfig>,
    /// Who may do what; once there is a list, what it does not allow is denied.
    pub acl: Option<Vec<AclRule>>,
    /// How much each principal may do in a second. Default as much as it can.
    pub quotas: QuotaConfig,
}

/// Authentication by user name and password.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaslConfig {
    /// What clients may choose from. Default both SCRAM mechanisms, and with TLS PLAIN.
    pub mechanisms: Option<Vec<Mechanism>>,
    /// How long an authentication holds before the client must repeat it, 2 s or
    /// longer. Default as long as the connection.
    pub session_lifetime: Option<Span>,
    pub users: BTreeMap<String, UserConfig>,
}

/// A user's password, or the SCRAM credentials that Kafka would keep of it
/// (`salt=…,stored_key=…,server_key=…,iterations=…`).
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserConfig {
    pub password: Option<String>,
    pub scram_sha_256: Option<String>,
    pub scram_sha_512: Option<String>,
}

/// Passwords do not go into logs.
impl fmt::Debug for UserConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserConfig").finish_non_exhaustive()
    }
}

impl SecurityConfig {
    /// All that is wrong, in the words of errors; files are not looked at.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(sasl) = &self.sasl {
            sasl.problems(&mut problems);
        }
        let rules = self.acl.as_deref().unwrap_or_default();
        problems.extend(rules.iter().flat_map(AclRule::problems));
        if rules.len() > limits::ACL_RULES_MAX {
            let (found, max) = (rules.len(), limits::ACL_RULES_MAX);
            problems.push(format!("{found} access rules are too many; use patterns, up to {max}"));
        }
        problems
    }

    /// Whether every client has to say, provably, who it is.
    pub fn authenticates(&self) -> bool {
        let by_certificate = self.tls.as_ref().is_some_and(|tls| {
            tls.client_ca.is_some() && tls.client_certificate == Default::default()
        });
        self.sasl.is_some() || by_certificate
    }

    /// The mechanisms that clients may choose from.
    pub(super) fn mechanisms(&self) -> Vec<Mechanism> {
        let chosen = self.sasl.as_ref().and_then(|sasl| sasl.mechanisms.clone());
        chosen.unwrap_or_else(|| {
            let is_safe = |one: &Mechanism| self.tls.is_some() || *one != Mechanism::Plain;
            Mechanism::ALL.into_iter().filter(is_safe).collect()
        })
    }
}

impl SaslConfig {
    fn problems(&self, problems: &mut Vec<String>) {
        if self.mechanisms.as_ref().is_some_and(Vec::is_empty) {
            problems.push("sasl offers no mechanism; name some, or leave them out".to_owned());
        }
        let min_ms = 2 * limits::REAUTHENTICATION_MS_MIN;
        let short = |span: Span| span.as_duration().as_millis() < u128::from(min_ms);
        if self.session_lifetime.is_some_and(short) {
            problems.push(format!("sasl session_lifetime is too short; use {min_ms}ms or longer"));
        }
        if self.users.len() > limits::USERS_MAX {
            let (found, max) = (self.users.len(), limits::USERS_MAX);
            problems.push(format!("{found} users are too many; up to {max} are allowed"));
        }
        for (name, user) in &self.users {
            if name.is_empty() || name.len() > limits::USER_NAME_BYTES_MAX || name == "*" {
                let max = limits::USER_NAME_BYTES_MAX;
                problems.push(format!("user name {name:?} is not allowed; use 1 to {max} bytes"));
            }
            if let Err(why) = user.read() {
                problems.push(format!("user {name:?} {why}"));
            }
        }
    }
}

impl UserConfig {
    /// What the user has, or why that is nothing to go by.
    pub(super) fn read(&self) -> Result<Configured, String> {
        let stored = [(Hash::Sha256, &self.scram_sha_256), (Hash::Sha512, &self.scram_sha_512)];
        let has_stored = stored.iter().any(|(_, text)| text.is_some());
        match &self.password {
            Some(_) if has_stored => Err("has a password and SCRAM credentials; keep one".into()),
            Some(password) if password.is_empty() => Err("has an empty password".into()),
            Some(password) if password.len() > limits::PASSWORD_BYTES_MAX => {
                Err(format!("has a password of more than {} bytes", limits::PASSWORD_BYTES_MAX))
            }
            Some(password) => Ok(Configured::Password(password.clone())),
            None if has_stored => {
                let mut credentials = UserCredentials::default();
                for (hash, text) in stored {
                    if let Some(text) = text {
                        let parsed = Credential::parse(hash, text);
                        credentials.insert(hash, parsed.map_err(|error| format!("has a {error}"))?);
                    }
                }
                Ok(Configured::Stored(credentials))
            }
            None => Err("has neither a password nor SCRAM credentials".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SecurityConfig, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn all_options_are_read() {
        let config = read(
            r#"{
              "tls": {"certificate": "c.pem", "key": "k.pem", "client_ca": "ca.pem",
                      "client_certificate": "optional"},
              "sasl": {"mechanisms": ["PLAIN", "SCRAM-SHA-512"], "session_lifetime": "1h",
                       "users": {"alice": {"password": "x"}}},
              "acl": [{"principal": "alice", "allow": ["read"], "topics": ["a*"], "cluster": true}],
              "quotas": {"produce_bytes_per_second": "1MiB",
                         "users": {"alice": {"requests_per_second": 100}}}
            }"#,
        )
        .unwrap();
        assert_eq!(config.problems(), Vec::<String>::new());
        assert!(config.authenticates());
        assert_eq!(config.mechanisms(), [Mechanism::Plain, Mechanism::ScramSha512]);
        assert_eq!(config.quotas.users["alice"].requests_per_second, Some(100));
        assert!(config.quotas.each.produce_bytes_per_second.is_some());
    }

    #[test]
    fn nothing_given_means_nothing_asked() {
        let config = read("{}").unwrap();
        assert_eq!(config, SecurityConfig::default());
        assert!(!config.authenticates());
        assert!(config.problems().is_empty());
    }

    #[test]
    fn an_unknown_option_is_refused() {
        for text in [
            r#"{"tsl": {}}"#,
            r#"{"sasl": {"mechanisms": ["GSSAPI"]}}"#,
            r#"{"sasl": {"users": {"a": {"pasword": "x"}}}}"#,
            r#"{"acl": [{"principal": "a", "allow": ["deny"]}]}"#,
            r#"{"quotas": {"bytes": 1}}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn plain_is_offered_by_itself_only_over_tls() {
        let open = read(r#"{"sasl": {}}"#).unwrap();
        assert_eq!(open.mechanisms(), [Mechanism::ScramSha256, Mechanism::ScramSha512]);
        let tls = read(r#"{"sasl": {}, "tls": {"certificate": "c", "key": "k"}}"#).unwrap();
        assert_eq!(tls.mechanisms(), Mechanism::ALL);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let config = read(
            r#"{
              "sasl": {"mechanisms": [], "session_lifetime": "1ms", "users": {
                "": {"password": "x"}, "b": {}, "c": {"password": ""},
                "d": {"password": "x", "scram_sha_256": "y"}, "e": {"scram_sha_512": "salt=!"}}},
              "acl": [{"principal": "", "allow": ["read"], "topics": ["*"]}]
            }"#,
        )
        .unwrap();
        let problems = config.problems();
        assert_eq!(problems.len(), 8, "{problems:#?}");
        assert!(!format!("{config:?}").contains("salt="), "credentials are not shown");
    }
}
