//! The verifiers that rustls calls in a handshake.
//!
//! The two ends answer a refusal differently. On a port the alert names the reason as exactly as TLS can, since the stranger
//! learns nothing else; this side learns everything through the observer. When dialling, the error carries the whole
//! [`Distrust`], since whoever dials wants to know; the other end gets a general alert.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Distrust, Expected, TrustStore, unix};

/// Verifies against the trust of the moment of the handshake.
pub(super) struct Verifier {
    store: TrustStore,
    expected: Expected,
}

impl Verifier {
    pub(super) fn new(store: TrustStore, expected: Expected) -> Self {
        Self { store, expected }
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.store.algorithms())
    }
}

impl ClientCertVerifier for Verifier {
    /// No hints: the list of all members' roots is nobody's business before they have shown who they are.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.store.verify(&self.expected, end_entity, intermediates, now) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(distrust) => Err(alert(&distrust).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(never_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.store.algorithms().supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    /// The server's name is left aside on purpose: the certificate must be that of the gateway dialled, whatever its address.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.store.verify(&self.expected, end_entity, intermediates, now) {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(distrust) => Err(CertificateError::Other(OtherError(Arc::new(distrust))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(never_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.store.algorithms().supported_schemes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

/// Chooses the error whose alert tells a caller most: `certificate_expired`, `certificate_revoked`, `unknown_ca`,
/// `unsupported_certificate`, `bad_certificate`, and `access_denied` for whoever has a good certificate and no business here.
///
/// A member that is not known gets the alert of a root that is not known: the two are not told apart.
fn alert(distrust: &Distrust) -> CertificateError {
    match distrust {
        Distrust::Expired { ended, now, .. } => {
            CertificateError::ExpiredContext { time: unix(*now), not_after: unix(*ended) }
        }
        Distrust::NotYetValid { begins, now, .. } => {
            CertificateError::NotValidYetContext { time: unix(*now), not_before: unix(*begins) }
        }
        Distrust::Revoked { .. } => CertificateError::Revoked,
        Distrust::ForeignRoot { .. } | Distrust::UnknownMember { .. } | Distrust::RevocationList { .. } => {
            CertificateError::UnknownIssuer
        }
        Distrust::WrongUse { .. } => CertificateError::InvalidPurpose,
        Distrust::None | Distrust::Large | Distrust::Identity(_) | Distrust::Chain { .. } => {
            CertificateError::BadEncoding
        }
        Distrust::WrongKind { .. }
        | Distrust::ForeignMember { .. }
        | Distrust::OtherGateway { .. }
        | Distrust::UnlistedGateway { .. }
        | Distrust::RetiredGateway { .. }
        | Distrust::EntryEnded { .. }
        | Distrust::Development { .. } => CertificateError::ApplicationVerificationFailure,
    }
}

fn never_tls12() -> Error {
    Error::General("TLS 1.2 is never negotiated".to_owned())
}
