//! TLS to a server: whose word this node takes for who the server is, and with
//! what it proves itself.
//!
//! The files are read for each connection, so that they can be replaced while the
//! node runs.

use super::fitness::Refusal;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, TlsCertificates,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError};
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files that a connection over TLS needs, as PEM texts. The default is none:
/// the server's certificate has to be from an authority that the machine trusts,
/// and the node shows none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificates of the authorities that are trusted, instead of those the
    /// machine trusts.
    pub ca: Option<PathBuf>,
    /// What the node proves itself with, if the server asks for that.
    pub identity: Option<Identity>,
}

/// A certificate, and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The file of the certificate, with those between it and its authority.
    pub certificate: PathBuf,
    /// The file of the key. Nothing of it is ever shown.
    pub key: PathBuf,
}

/// Why there is no connection over TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("`{}` cannot be read: {reason}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file has not what it should have.
    #[error("there is no {what} in PEM form in `{}`", file.display())]
    Missing {
        /// A certificate, or a private key.
        what: &'static str,
        /// In which file.
        file: PathBuf,
    },
    /// The certificate and the key are of no use, or do not fit.
    #[error("the node's certificate cannot be used: {0}")]
    Unusable(String),
    /// Nobody who is trusted says that the server is who it is.
    #[error("the server's certificate is from no authority that is trusted")]
    Issuer,
    /// The certificate is somebody else's.
    #[error("the server's certificate is not for `{0}`")]
    Name(String),
    /// It does not hold now.
    #[error("the server's certificate has run out, or does not hold yet")]
    Time,
    /// The server wants to know who the node is.
    #[error("the server asks for a certificate of the node, which has none")]
    IdentityWanted,
    /// The server does not believe who the node is.
    #[error("the server does not take the node's certificate")]
    IdentityRefused,
    /// It did hold once.
    #[error("the server does not take the node's certificate, which has run out")]
    IdentityExpired,
    /// There is nothing, or it does not know what TLS is.
    #[error("the server does not answer over TLS")]
    Silent,
    /// Something else went wrong.
    #[error("no secure connection came about: {0}")]
    Other(String),
}

impl Tls {
    /// A client of a server, with TLS if the server is to be reached by it.
    pub(super) fn client(&self, server: ConnectionInfo) -> Result<Client, Refusal> {
        if !is_secure(&server) {
            return Ok(Client::open(server)?);
        }
        // Whoever else has chosen one has the same: there is no other in the build.
        drop(rustls::crypto::ring::default_provider().install_default());
        let certificates = self.read()?;
        let client = Client::build_with_tls(server, certificates);
        Ok(client.map_err(|it| TlsError::Unusable(it.to_string()))?)
    }

    fn read(&self) -> Result<TlsCertificates, TlsError> {
        let root_cert = self.ca.as_deref().map(read_certificates).transpose()?;
        let client_tls = self.identity.as_ref().map(Identity::read).transpose()?;
        Ok(TlsCertificates {
            client_tls,
            root_cert,
        })
    }

    /// Says why a connection failed, as far as TLS is why.
    pub(super) fn explain(&self, server: &ConnectionAddr, error: RedisError) -> Refusal {
        let ConnectionAddr::TcpTls { host, .. } = server else {
            return error.into();
        };
        if error.kind() == ErrorKind::InvalidClientConfig {
            return TlsError::Unusable(error.to_string()).into();
        }
        if error.is_timeout() {
            return TlsError::Silent.into();
        }
        let has_identity = self.identity.is_some();
        match find(&error) {
            Some(found) => TlsError::of(found, host, has_identity).into(),
            None => error.into(),
        }
    }
}

impl Identity {
    fn read(&self) -> Result<ClientTlsConfig, TlsError> {
        let client_cert = read_certificates(&self.certificate)?;
        let client_key = read(&self.key)?;
        if PrivateKeyDer::from_pem_slice(&client_key).is_err() {
            return Err(TlsError::Missing {
                what: "private key",
                file: self.key.clone(),
            });
        }
        Ok(ClientTlsConfig {
            client_cert,
            client_key,
        })
    }
}

impl TlsError {
    /// Whether it is so at every server: the node's own files are of no use.
    pub(super) fn is_of_files(&self) -> bool {
        matches!(
            self,
            Self::Unreadable { .. } | Self::Missing { .. } | Self::Unusable(_)
        )
    }

    fn of(error: &rustls::Error, host: &str, has_identity: bool) -> Self {
        use rustls::Error::{AlertReceived, InvalidCertificate};
        match error {
            InvalidCertificate(CertificateError::UnknownIssuer) => Self::Issuer,
            InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Self::Name(host.to_owned()),
            InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => Self::Time,
            AlertReceived(AlertDescription::CertificateRequired) => Self::IdentityWanted,
            // What an older protocol says if there is none.
            AlertReceived(AlertDescription::HandshakeFailure) if !has_identity => {
                Self::IdentityWanted
            }
            AlertReceived(AlertDescription::CertificateExpired) => Self::IdentityExpired,
            AlertReceived(
                AlertDescription::BadCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::UnsupportedCertificate,
            ) => Self::IdentityRefused,
            rustls::Error::InvalidMessage(_) => Self::Silent,
            other => Self::Other(other.to_string()),
        }
    }
}

/// Whether a server is to be reached over TLS.
pub(super) fn is_secure(server: &ConnectionInfo) -> bool {
    matches!(server.addr(), ConnectionAddr::TcpTls { .. })
}

/// The text of a file in which there is a certificate at least.
fn read_certificates(file: &Path) -> Result<Vec<u8>, TlsError> {
    let text = read(file)?;
    match CertificateDer::pem_slice_iter(&text).next() {
        Some(Ok(_)) => Ok(text),
        _ => Err(TlsError::Missing {
            what: "certificate",
            file: file.to_owned(),
        }),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|error| TlsError::Unreadable {
        file: file.to_owned(),
        reason: error.to_string(),
    })
}

/// What TLS has to say in an error, if it has.
fn find(error: &RedisError) -> Option<&rustls::Error> {
    // What an error of the client is made of is shared by its copies.
    let shared: &Arc<dyn Error + Send + Sync> = error.source()?.downcast_ref()?;
    let io: &io::Error = shared.downcast_ref()?;
    io.get_ref()?.downcast_ref()
}
