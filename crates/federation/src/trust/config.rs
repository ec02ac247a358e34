//! rustls configurations for both ends of a connection.
//!
//! TLS 1.3 only, HTTP/2 only, no early data, no resumption, one crypto provider passed explicitly. The post-quantum hybrid
//! X25519MLKEM768 comes first; a switch leaves it out where a middlebox cannot carry its large first message.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use crate::certificate::{self, Facts, PemError, Unreadable};
use crate::time::{distance, shown};
use crate::{Identity, IdentityError, Warning};

/// The protocol that both ends speak inside TLS (ALPN).
const HTTP2: &[u8] = b"h2";

/// How long before its end one's own certificate is warned of.
const WARN_BEFORE: Duration = Duration::from_hours(14 * 24);

/// How connections are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Whether to offer the post-quantum hybrid X25519MLKEM768, before X25519 and the NIST curves. Default: true. Its first
    /// message has 1,200 bytes more, which some old middleboxes drop.
    pub post_quantum: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { post_quantum: true }
    }
}

/// A certificate with those it was issued by, and its private key: what one end of a connection presents. Cheap to clone.
#[derive(Clone)]
pub struct TlsIdentity {
    identity: Identity,
    facts: Facts,
    key: Arc<CertifiedKey>,
}

impl TlsIdentity {
    /// Reads a PEM chain, its own certificate first, and the PEM private key (PKCS#8, SEC1 or PKCS#1).
    ///
    /// # Errors
    ///
    /// [`TlsIdentityError`] when one of them cannot be read, the certificate does not say whose it is, or the key is of
    /// another certificate. No error repeats anything of the key.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, TlsIdentityError> {
        let chain = certificate::read_pem(chain)?;
        let own = chain.first().ok_or(PemError::Missing)?;
        let identity = Identity::from_certificate(own)?;
        let facts = Facts::read(own)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| TlsIdentityError::Key)?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                TlsIdentityError::OtherKey
            } else {
                TlsIdentityError::Key
            }
        })?;
        Ok(Self { identity, facts, key: Arc::new(key) })
    }

    /// Returns whose it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns until when the certificate is valid.
    #[must_use]
    pub fn ends(&self) -> SystemTime {
        self.facts.not_after
    }

    /// Returns a warning if the certificate has ended, or does so within 14 days of `now`.
    #[must_use]
    pub fn warning(&self, now: SystemTime) -> Option<Warning> {
        let ends = self.facts.not_after;
        if ends > now.checked_add(WARN_BEFORE).unwrap_or(now) {
            return None;
        }
        let (identity, apart, at) = (&self.identity, distance(ends, now), shown(ends));
        let when = if ends < now { format!("ended {apart} ago") } else { format!("ends in {apart}") };
        Some(Warning::new(identity.member(), format!("the certificate of `{identity}` {when} ({at})")))
    }

    /// Returns what the certificate says of itself.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns the chain, its own certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// Says whether it is not for production. A gateway outside development mode refuses to start with it.
    #[must_use]
    pub fn is_development(&self) -> bool {
        self.key.cert.iter().any(certificate::is_development)
    }

    fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(self.key.clone()))
    }
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsIdentity({})", self.identity)
    }
}

/// A certificate and its key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TlsIdentityError {
    /// The chain is not PEM certificates.
    #[error("the certificate chain cannot be read")]
    Chain(#[from] PemError),
    /// The first certificate cannot be read.
    #[error("the first certificate of the chain cannot be read")]
    Certificate(#[from] Unreadable),
    /// The first certificate does not say whose it is.
    #[error("the first certificate of the chain does not name a gateway or system")]
    Identity(#[from] IdentityError),
    /// The key is not a PEM private key.
    #[error("the private key cannot be read: expected one PEM section, such as `-----BEGIN PRIVATE KEY-----`")]
    Key,
    /// The key is of another certificate.
    #[error("the private key is not the key of the first certificate of the chain")]
    OtherKey,
}

/// rustls refuses a configuration: a fault of this program.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("cannot set up TLS")]
pub struct ConfigError(#[from] rustls::Error);

/// Returns the crypto provider that all connections use: aws-lc-rs, key exchange groups in the order of preference.
#[must_use]
pub fn provider(options: &TlsOptions) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    if options.post_quantum {
        provider.kx_groups.insert(0, kx_group::X25519MLKEM768);
    }
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    Arc::new(provider)
}

/// Returns the configuration of a port, with [`super::TrustStore::links_verifier`] or [`super::TrustStore::clients_verifier`].
///
/// The trust may be replaced behind it. A new certificate of one's own needs a new configuration.
///
/// # Errors
///
/// [`ConfigError`] when rustls refuses the combination, which a test rules out.
pub fn server_config(
    own: &TlsIdentity,
    verifier: Arc<dyn ClientCertVerifier>,
    options: &TlsOptions,
) -> Result<Arc<ServerConfig>, ConfigError> {
    let mut config = ServerConfig::builder_with_provider(provider(options))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own.resolver());
    config.alpn_protocols = vec![HTTP2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// Returns the configuration for dialling, with [`super::TrustStore::gateway_verifier`].
///
/// # Errors
///
/// [`ConfigError`] when rustls refuses the combination, which a test rules out.
pub fn client_config(
    own: &TlsIdentity,
    verifier: Arc<dyn ServerCertVerifier>,
    options: &TlsOptions,
) -> Result<Arc<ClientConfig>, ConfigError> {
    let mut config = ClientConfig::builder_with_provider(provider(options))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(own.resolver());
    config.alpn_protocols = vec![HTTP2.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}
