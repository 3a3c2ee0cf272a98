//! TLS: PEM files to rustls' configuration, and a client certificate to a principal.
//!
//! Nothing is negotiated here; the listener does that with what [`server_config`]
//! makes. The principal of a client certificate is the common name of its subject.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde::Deserialize;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Principal, SecurityError};

/// The files of a TLS listener, all in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The server's certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// The authorities of client certificates; without it clients need none.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Whether a client must have a certificate. Default yes, if `client_ca` is there.
    #[serde(default)]
    pub client_certificate: ClientCertificate,
}

/// Whether clients must have a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    #[default]
    Required,
    /// A client without one is anonymous, unless SASL says who it is.
    Optional,
}

/// Reads the files and makes rustls' configuration.
///
/// # Errors
/// [`SecurityError::Tls`] with the file and what is wrong with it.
pub(crate) fn server_config(config: &TlsConfig) -> Result<Arc<ServerConfig>, SecurityError> {
    let chain = certificates("certificate", &config.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&config.key)
        .map_err(|error| wrong("key", &config.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("certificate", &config.certificate, error.to_string()))?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates("client_ca", path)? {
                roots
                    .add(authority)
                    .map_err(|error| wrong("client_ca", path, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match config.client_certificate {
                ClientCertificate::Required => verifier,
                ClientCertificate::Optional => verifier.allow_unauthenticated(),
            };
            let verifier =
                verifier.build().map_err(|error| wrong("client_ca", path, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let made = builder.with_single_cert(chain, key);
    Ok(Arc::new(made.map_err(|error| wrong("key", &config.key, error.to_string()))?))
}

/// The common name of a certificate's subject; `None` if it has none.
pub(crate) fn principal_of(certificate: &CertificateDer<'_>) -> Option<Principal> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    (!name.is_empty()).then(|| Principal::user(name))
}

fn certificates(
    option: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| wrong(option, path, error.to_string()))?;
    if found.is_empty() {
        return Err(wrong(option, path, "it holds no certificate in PEM".to_owned()));
    }
    Ok(found)
}

fn wrong(option: &'static str, path: &Path, why: String) -> SecurityError {
    SecurityError::Tls { option, path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn files(folder: &Path) -> TlsConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "broker");
        let certificate = params.self_signed(&key).unwrap();
        let config = TlsConfig {
            certificate: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            client_ca: Some(folder.join("cert.pem")),
            client_certificate: ClientCertificate::Required,
        };
        std::fs::write(&config.certificate, certificate.pem()).unwrap();
        std::fs::write(&config.key, key.serialize_pem()).unwrap();
        config
    }

    #[test]
    fn a_certificate_and_its_key_make_a_server() {
        let folder = tempfile::tempdir().unwrap();
        let config = files(folder.path());
        server_config(&config).unwrap();
        server_config(&TlsConfig { client_ca: None, ..config }).unwrap();
    }

    #[test]
    fn what_is_wrong_is_told_with_its_option_and_file() {
        let folder = tempfile::tempdir().unwrap();
        let good = files(folder.path());
        let other = folder.path().join("other");
        std::fs::create_dir(&other).unwrap();
        let foreign = files(&other);
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, b"nothing").unwrap();
        for (config, words) in [
            (TlsConfig { certificate: empty.clone(), ..good.clone() }, ["certificate", "no cert"]),
            (TlsConfig { key: empty, ..good.clone() }, ["key", "empty.pem"]),
            (TlsConfig { key: foreign.key, ..good.clone() }, ["key", "key.pem"]),
            (TlsConfig { client_ca: Some("missing.pem".into()), ..good }, ["client_ca", "missing"]),
        ] {
            let error = server_config(&config).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }

    #[test]
    fn the_common_name_is_the_principal() {
        let folder = tempfile::tempdir().unwrap();
        let config = files(folder.path());
        let chain = certificates("certificate", &config.certificate).unwrap();
        assert_eq!(principal_of(&chain[0]), Some(Principal::user("broker")));
        assert_eq!(principal_of(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
