//! TLS for every connector: rustls on ring, and whom it trusts.
//!
//! Some libraries ask for the process's one provider, others are handed a
//! configuration; both come from here. Certificates are read when a connector opens,
//! so a file that is missing is told at once.

use std::{
    path::Path,
    sync::{Arc, Once},
};

use courant_pipeline::connector::ConnectorError;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Makes ring the process's one TLS provider, unless one was chosen before.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that a provider is there already, which is what is wanted.
        let _ = ring::default_provider().install_default();
    });
}

/// A client's configuration that trusts the certificates of a file, or this system's.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub(crate) fn client(ca: Option<&Path>) -> Result<ClientConfig, ConnectorError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            roots.add_parsable_certificates(certificates(path)?);
        }
        None => {
            // What cannot be read is left out: a server that needs it will be refused.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectorError::fatal(format!("set up TLS: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The certificates of a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectorError> {
    let failure =
        |why: String| ConnectorError::fatal(format!("read certificates from file {path:?}: {why}"));
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failure(error.to_string()))?;
    if certificates.is_empty() {
        return Err(failure("it holds none; write them in the form PEM".into()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        for text in [None, Some("nothing")] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let error = client(Some(&path)).unwrap_err();
            assert!(!error.retryable && error.what.contains("ca.pem"), "{error}");
        }
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&path, made.cert.pem()).unwrap();
        assert!(client(Some(&path)).is_ok());
    }
}
