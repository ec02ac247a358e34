//! TLS towards a back end: its certificate against the configured authority alone, ours if it asks for one.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

use crate::ConnectorError;
use crate::bindings::Complaint;
use crate::grpc::config::{GrpcBinding, TlsFiles};

/// What a connection with TLS needs.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) connector: TlsConnector,
    pub(crate) name: ServerName<'static>,
}

impl Tls {
    /// Reads the PEM files. `None` for plain text.
    pub(crate) fn read(binding: &GrpcBinding) -> Result<Option<Self>, Vec<Complaint>> {
        let Some(files) = &binding.tls else {
            return Ok(None);
        };
        let name = ServerName::try_from(binding.host.clone()).map_err(|_| {
            vec![Complaint::new(
                "address",
                format!("`{}` cannot be the name in a certificate", binding.host),
                "write a host name or an IP address",
            )]
        })?;
        let config = client(files)?;
        Ok(Some(Self { connector: TlsConnector::from(Arc::new(config)), name }))
    }
}

fn client(files: &TlsFiles) -> Result<ClientConfig, Vec<Complaint>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca", &files.ca)? {
        roots.add(certificate).map_err(|error| unusable("ca", &files.ca, &error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("ca", &files.ca, &error))?
        .with_root_certificates(roots);
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("certificate", certificate)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("key", key, &error))?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|error| unusable("certificate", certificate, &error))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Vec<Complaint>> {
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|error| unusable(key, file, &error))?;
    if certificates.is_empty() {
        return Err(unusable(key, file, &"it holds no certificate"));
    }
    Ok(certificates)
}

fn unusable(key: &str, file: &Path, error: &dyn std::fmt::Display) -> Vec<Complaint> {
    vec![Complaint::new(
        key,
        format!("`{}` cannot be used: {error}", file.display()),
        "name a PEM file; a relative path is relative to the configuration file",
    )]
}

/// Says why TLS could not be agreed on, or `None` if the error is not about TLS.
pub(crate) fn failed(error: &(dyn std::error::Error + 'static)) -> Option<ConnectorError> {
    let error = find::<rustls::Error>(error)?;
    if let rustls::Error::AlertReceived(alert) = error {
        return Some(if about_our_certificate(*alert) {
            ConnectorError::Credentials {
                why: format!("it does not accept the gateway's certificate ({alert:?})").into(),
            }
        } else {
            ConnectorError::Unreachable { why: format!("it refused the TLS handshake ({alert:?})").into() }
        });
    }
    if let rustls::Error::InvalidCertificate(reason) = error {
        return Some(ConnectorError::Untrusted { why: format!("its certificate is not accepted: {reason}").into() });
    }
    Some(ConnectorError::Unreachable { why: "the TLS handshake failed".into() })
}

fn about_our_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// Finds an error of one type in a chain, also inside I/O errors, which do not show it as their source.
pub(crate) fn find<'e, E: std::error::Error + 'static>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e E> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(found) = find::<E>(inner)
        {
            return Some(found);
        }
        at = error.source();
    }
    None
}
