//! Who speaks on a connection.
//!
//! A principal is the name that authentication found: the SASL user, the common name
//! of a client certificate, or [`Principal::anonymous`] where nobody had to say who
//! they are. Access rules and quotas go by it. It carries no rights of its own.

use std::{fmt, sync::Arc};

/// The name of whoever speaks on a connection; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Principal(Arc<str>);

impl Principal {
    /// A user by name.
    pub(crate) fn user(name: &str) -> Self {
        Self(name.into())
    }

    /// Whoever did not authenticate; Kafka's name for it.
    pub(crate) fn anonymous() -> Self {
        Self("ANONYMOUS".into())
    }

    /// The name, without Kafka's prefix `User:`.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

/// As Kafka writes it: `User:alice`.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User:{}", self.0)
    }
}
