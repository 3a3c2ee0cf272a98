//! Who may connect and what they may do: TLS, SASL, access rules, quotas.
//!
//! [`SecurityConfig`] is what a file says, [`Security`] what a broker asks. A connection
//! gets its principal from SASL ([`sasl`]) or its certificate ([`tls`]); handlers ask
//! [`Security::authorizer`] before they do anything; the connection pays into
//! [`Security::quotas`]. Invariant: what no rule allows does not happen once there are
//! rules. Nothing here knows the log.

mod acl;
mod config;
mod credentials;
mod principal;
mod quotas;
mod random;
mod sasl;
mod scram;
mod tls;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use courant_model::limits;
use rustls::ServerConfig;
use tokio::sync::Semaphore;

pub use self::{
    acl::{AclRule, Grant},
    config::{SaslConfig, SecurityConfig, UserConfig},
    quotas::{QuotaConfig, QuotaRates},
    sasl::Mechanism,
    tls::{ClientCertificate, TlsConfig},
};
pub(crate) use self::{
    acl::{Authorizer, Operation, Resource},
    credentials::{AlterError, Alteration, Credentials},
    principal::Principal,
    quotas::{Account, Charge, Quotas},
    sasl::{Admission, Sasl, Session},
    scram::Hash,
    tls::principal_of,
};

/// What a broker asks about its clients. The default lets everybody do everything.
#[derive(Debug, Default)]
pub struct Security {
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) sasl: Option<Arc<Sasl>>,
    pub(crate) authorizer: Authorizer,
    pub(crate) quotas: Quotas,
}

/// Why security options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// All problems of the options.
    #[error("security options are wrong: {}", .0.join("; "))]
    Options(Vec<String>),
    #[error("tls option {option}, file {path:?}: {why}")]
    Tls { option: &'static str, path: PathBuf, why: String },
    #[error("credentials file {path:?} cannot be used: {source}")]
    Credentials { path: PathBuf, source: io::Error },
}

impl Security {
    /// Checks the options, reads their files, and derives what is kept of passwords;
    /// blocks for milliseconds for each. Users whose credentials are set over the
    /// protocol are kept in `credentials`; without it they cannot be set.
    ///
    /// # Errors
    /// [`SecurityError`].
    pub fn open(
        config: &SecurityConfig,
        credentials: Option<&Path>,
    ) -> Result<Self, SecurityError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(SecurityError::Options(problems));
        }
        let tls = config.tls.as_ref().map(tls::server_config).transpose()?;
        let sasl = match &config.sasl {
            None => None,
            Some(sasl) => {
                let mechanisms = config.mechanisms();
                if tls.is_none() && mechanisms.contains(&Mechanism::Plain) {
                    tracing::warn!("passwords cross the network in the clear: PLAIN without TLS");
                }
                let users = sasl.users.iter().filter_map(|(name, user)| {
                    // What cannot be read was told among the problems.
                    Some((name.clone(), user.read().ok()?))
                });
                let credentials = Credentials::open(&users.collect(), credentials)?;
                Some(Arc::new(Sasl {
                    mechanisms,
                    session_lifetime: sasl.session_lifetime.map(|span| span.as_duration()),
                    credentials: Arc::new(credentials),
                    checks: Semaphore::new(limits::PASSWORD_CHECKS_MAX),
                }))
            }
        };
        Ok(Self {
            tls,
            sasl,
            authorizer: Authorizer::new(config.acl.as_deref()),
            quotas: Quotas::new(config.quotas.clone()),
        })
    }

    /// Whether clients speak TLS.
    pub const fn has_tls(&self) -> bool {
        self.tls.is_some()
    }
}
