//! Whose word components' connections take for who a server is.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the authorities of a file cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("`{}` cannot be read", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no certificate in it, or one that is none.
    #[error("there is no certificate in PEM form in `{}`", file.display())]
    Missing {
        /// In which file.
        file: PathBuf,
    },
    /// The library of TLS takes none of its defaults.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// What is agreed on beside TLS, what we like best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Trusts the authorities that the machine trusts, and those in `ca`.
pub fn trusting(ca: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::debug!(%error, "some authorities of the machine are not known");
    }
    roots.add_parsable_certificates(found.certs);
    if let Some(ca) = ca {
        for certificate in read(ca)? {
            roots.add(certificate).map_err(|_| missing(ca))?;
        }
    }
    if roots.is_empty() {
        tracing::warn!(
            "the machine trusts no authority, so no component can reach a server over TLS; \
             install its certificates, or name some: outbound.ca"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let text = std::fs::read(file).map_err(|source| TrustError::Unreadable {
        file: file.to_owned(),
        source,
    })?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(missing(file)),
    }
}

fn missing(file: &Path) -> TrustError {
    TrustError::Missing {
        file: file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let refused = trusting(Some(&file)).unwrap_err();
        assert!(matches!(refused, TrustError::Unreadable { .. }));
        let half = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "not a certificate", half] {
            std::fs::write(&file, text).unwrap();
            let refused = trusting(Some(&file)).unwrap_err();
            assert!(matches!(refused, TrustError::Missing { .. }), "{text}");
        }
        assert!(trusting(None).is_ok());
    }
}
