//! What can be wrong with a server outside, as a guest is told: each has its
//! case of wasi:http's `error-code`.

use wasmtime_wasi_http::Error;

/// What is wrong with a server outside, or on the way to it. Behind the head of
/// an answer, the error of its body may be one of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The request's target is none: `HTTP-request-URI-invalid`.
    #[error("the target of the request is none")]
    Target,
    /// The request's method cannot be sent: `HTTP-request-method-invalid`.
    #[error("the method of the request cannot be sent")]
    Method,
    /// Nobody knows the server's name: `DNS-error`.
    #[error("the name of the server is not known")]
    Name,
    /// Its name was not found out in time: `DNS-timeout`.
    #[error("the name of the server was not resolved in time")]
    NameTimeout,
    /// It does not listen: `connection-refused`.
    #[error("the server does not listen")]
    Refused,
    /// There is no way to it: `destination-unavailable`.
    #[error("the server cannot be reached")]
    Unreachable,
    /// It did not take the connection in time: `connection-timeout`.
    #[error("the server did not take the connection in time")]
    ConnectTimeout,
    /// The component has as many connections as it may:
    /// `connection-limit-reached`.
    #[error("the component has as many connections as it may")]
    Connections,
    /// Its certificate is not believed: `TLS-certificate-error`.
    #[error("the certificate of the server is not believed")]
    Certificate,
    /// It does not speak TLS as we do: `TLS-protocol-error`.
    #[error("no agreement about TLS was reached with the server")]
    Tls,
    /// It closed or reset the connection: `connection-terminated`.
    #[error("the server broke the connection off")]
    Terminated,
    /// It did not go on in time: `connection-read-timeout`.
    #[error("the server did not go on in time")]
    ReadTimeout,
    /// The request's deadline is over: `HTTP-response-timeout`.
    #[error("the request's deadline is over")]
    Deadline,
    /// What it says is not HTTP: `HTTP-protocol-error`.
    #[error("what the server says is not HTTP")]
    Protocol,
    /// Its answer ended before its end: `HTTP-response-incomplete`.
    #[error("the answer of the server is not whole")]
    Incomplete,
    /// The head of its answer is too large:
    /// `HTTP-response-header-section-size`.
    #[error("the head of the answer has more than {limit} bytes")]
    HeadTooLarge {
        /// How many are allowed, in bytes.
        limit: u32,
    },
    /// The body of its answer is too large: `HTTP-response-body-size`.
    #[error("the body of the answer has more than {limit} bytes")]
    BodyTooLarge {
        /// How many are allowed, in bytes.
        limit: u64,
    },
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Target => Self::HttpRequestUriInvalid,
            Fault::Method => Self::HttpRequestMethodInvalid,
            Fault::Name => Self::DnsError {
                rcode: None,
                info_code: None,
            },
            Fault::NameTimeout => Self::DnsTimeout,
            Fault::Refused => Self::ConnectionRefused,
            Fault::Unreachable => Self::DestinationUnavailable,
            Fault::ConnectTimeout => Self::ConnectionTimeout,
            Fault::Connections => Self::ConnectionLimitReached,
            Fault::Certificate => Self::TlsCertificateError,
            Fault::Tls => Self::TlsProtocolError,
            Fault::Terminated => Self::ConnectionTerminated,
            Fault::ReadTimeout => Self::ConnectionReadTimeout,
            Fault::Deadline => Self::HttpResponseTimeout,
            Fault::Protocol => Self::HttpProtocolError,
            Fault::Incomplete => Self::HttpResponseIncomplete,
            Fault::HeadTooLarge { limit } => Self::HttpResponseHeaderSectionSize(Some(limit)),
            Fault::BodyTooLarge { limit } => Self::HttpResponseBodySize(Some(limit)),
        }
    }
}
