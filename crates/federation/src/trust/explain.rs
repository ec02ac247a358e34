//! What a failed handshake means, in words for the people on this side.

use std::error::Error as _;
use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use super::{Distrust, distance, from_unix, shown};

/// Why a handshake failed, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Why. Follows "cannot open a link to …".
    pub cause: String,
    /// How to mend it.
    pub help: String,
}

impl Explanation {
    fn new(cause: impl Into<String>, help: impl Into<String>) -> Self {
        Self { cause: cause.into(), help: help.into() }
    }
}

/// Explains what rustls says. With TLS 1.3 whoever dials learns only by its first read that the other end refused its
/// certificate, so errors of reads and writes want explaining too: see [`explain_io`].
#[must_use]
pub fn explain(error: &Error) -> Explanation {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls's errors are open-ended; what is not told apart keeps its name"
    )]
    match error {
        Error::InvalidCertificate(certificate) => refused_here(certificate),
        Error::AlertReceived(alert) => refused_there(*alert),
        Error::NoCertificatesPresented => of(&Distrust::None),
        Error::PeerIncompatible(_) => Explanation::new(
            "the two ends have no version of TLS, or no algorithm, in common",
            "both ends must speak TLS 1.3; look for a proxy in between that ends TLS itself",
        ),
        Error::NoApplicationProtocol => {
            Explanation::new("the other end does not speak HTTP/2", "check address and port")
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::UnknownProtocolVersion,
        ) => Explanation::new(
            "the other end does not speak TLS on this port",
            "check address and port; another program may be listening there",
        ),
        other => Explanation::new(format!("the handshake failed: {other}"), "look at the log of the other end as well"),
    }
}

/// Explains an error of reading, writing or connecting, where it comes from TLS or from a connection that was cut.
#[must_use]
pub fn explain_io(error: &io::Error) -> Explanation {
    let mut source = error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
    while let Some(inner) = source {
        if let Some(tls) = inner.downcast_ref::<Error>() {
            return explain(tls);
        }
        source = inner.source();
    }
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "io::ErrorKind is open-ended; what is not told apart keeps its name"
    )]
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => Explanation::new(
            "the other end closed the connection",
            "look at the log of the other end; a firewall or proxy in between may have done it",
        ),
        io::ErrorKind::ConnectionRefused => Explanation::new(
            "nothing listens at this address",
            "check address and port, and whether the gateway there runs",
        ),
        io::ErrorKind::TimedOut => {
            Explanation::new("the other end did not answer in time", "check address, port and firewalls")
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Explanation::new("there is no way to this address", "check the address and the network")
        }
        kind => Explanation::new(format!("the connection failed: {kind}"), "check address, port and network"),
    }
}

fn of(distrust: &Distrust) -> Explanation {
    let cause = match distrust.source() {
        Some(source) => format!("{distrust}: {source}"),
        None => distrust.to_string(),
    };
    Explanation::new(cause, distrust.help())
}

/// This end refused the certificate of the other.
fn refused_here(error: &CertificateError) -> Explanation {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls's errors are open-ended; what is not told apart keeps its name"
    )]
    match error {
        CertificateError::Other(other) => match other.0.downcast_ref::<Distrust>() {
            Some(distrust) => of(distrust),
            None => {
                Explanation::new("the certificate of the other end does not verify", "its member must issue another")
            }
        },
        CertificateError::ExpiredContext { time, not_after } => {
            let (now, ended) = (from_unix(*time), from_unix(*not_after));
            let cause =
                format!("the certificate of the other end expired {} ago ({})", distance(ended, now), shown(ended));
            Explanation::new(cause, "its member must renew it")
        }
        CertificateError::Expired => {
            Explanation::new("the certificate of the other end has expired", "its member must renew it")
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let (now, begins) = (from_unix(*time), from_unix(*not_before));
            let cause = format!(
                "the certificate of the other end is valid only in {} ({})",
                distance(begins, now),
                shown(begins)
            );
            Explanation::new(cause, "compare the clocks of both machines")
        }
        CertificateError::NotValidYet => {
            Explanation::new("the certificate of the other end is not valid yet", "compare the clocks of both machines")
        }
        CertificateError::Revoked => Explanation::new(
            "the certificate of the other end is revoked",
            "its member must issue another, unless somebody else is using this one",
        ),
        CertificateError::UnknownIssuer => Explanation::new(
            "the certificate of the other end was not issued under the roots of a member in the directory",
            "if its member is to be trusted, add the member's entry with `drawbridge directory add`",
        ),
        CertificateError::ApplicationVerificationFailure => Explanation::new(
            "the certificate of the other end names somebody who has no business on this port",
            "gateways connect to the port for links, systems to the clients' port of their own member's gateway",
        ),
        CertificateError::BadEncoding => {
            Explanation::new("the certificate of the other end cannot be read", "its member must issue another")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Explanation::new(
            "the certificate of the other end may not be used for its end of a connection",
            "its member must issue another",
        ),
        CertificateError::BadSignature => Explanation::new(
            "the other end does not hold the key of its certificate",
            "it must use certificate and key that belong together",
        ),
        other => Explanation::new(
            format!("the certificate of the other end does not verify: {other}"),
            "its member must issue another",
        ),
    }
}

/// The other end refused the certificate, or the connection, of this one.
fn refused_there(alert: AlertDescription) -> Explanation {
    #[expect(clippy::wildcard_enum_match_arm, reason = "alerts are open-ended; what is not told apart keeps its name")]
    match alert {
        AlertDescription::CertificateExpired => Explanation::new(
            "the other end says that this end's certificate has expired or has not begun",
            "renew it; if it is current, compare the clocks of both machines",
        ),
        AlertDescription::CertificateRevoked => Explanation::new(
            "the other end says that this end's certificate is revoked",
            "issue another, and find out why it was revoked",
        ),
        AlertDescription::UnknownCA => Explanation::new(
            "the other end does not know this end's member, or not the root of this end's certificate",
            "the other end must have this member's present entry in its directory",
        ),
        AlertDescription::AccessDenied => Explanation::new(
            "the other end knows this end's member, but not this identity on this port",
            "gateways connect to the port for links and must be listed in their member's entry, systems to the clients' port of their own member's gateway",
        ),
        AlertDescription::CertificateRequired => Explanation::new(
            "the other end asks for a certificate and got none",
            "present a certificate of one's member's authority",
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::DecryptError => Explanation::new(
            "the other end cannot use this end's certificate",
            "it must have one `spiffe://<member>/<kind>/<name>` URI, and belong to the key in use",
        ),
        AlertDescription::CertificateUnknown => Explanation::new(
            "the other end does not believe this end's certificate",
            "its log says why; often the directory there has another entry of this member",
        ),
        AlertDescription::ProtocolVersion
        | AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity => Explanation::new(
            "the two ends have no version of TLS, or no algorithm, in common",
            "both ends must speak TLS 1.3; look for a proxy in between that ends TLS itself",
        ),
        AlertDescription::NoApplicationProtocol => Explanation::new(
            "the other end does not speak HTTP/2 on this port",
            "check address and port; gRPC needs HTTP/2",
        ),
        other => Explanation::new(
            format!("the other end ended the handshake ({other:?})"),
            "look at the log of the other end",
        ),
    }
}
