//! Reading certificates: what stands in them, never whether it is true.
//!
//! Verification is webpki's; what is read here decides only whose roots to verify against and what to tell people.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use crate::time::moment;

/// Largest certificate that is read, in bytes of DER. One of ours has some 600; one with an RSA-4096 key and many names, some 3,000.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// Most certificates in one PEM text: one's own and those it was issued by.
pub const MAX_CHAIN: usize = 9;

/// The organisation in the subject of every certificate made for development.
pub const DEVELOPMENT_ORGANISATION: &str = "Drawbridge NOT FOR PRODUCTION";

/// What a certificate says of itself. Not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Lower-case hexadecimal digits, two per byte, without a leading zero byte.
    pub serial: String,
    /// Valid from this moment.
    pub not_before: SystemTime,
    /// Valid up to and including this second.
    pub not_after: SystemTime,
    /// Whether it may issue certificates.
    pub is_authority: bool,
    /// Whether it, or what issued it, says that it is not for production.
    pub is_development: bool,
    /// The public key as DER (`SubjectPublicKeyInfo`).
    pub public_key: Vec<u8>,
}

impl Facts {
    /// Reads a certificate.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] when it is too large, not an X.509 certificate, or followed by other bytes.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, Unreadable> {
        let certificate = parse(der)?;
        let constraints = certificate.basic_constraints().map_err(|_| Unreadable::Extensions)?;
        let usage = certificate.key_usage().map_err(|_| Unreadable::Extensions)?;
        let says_not_for_production = [certificate.subject(), certificate.issuer()].into_iter().any(|name| {
            name.iter_organization()
                .any(|organisation| organisation.as_str().is_ok_and(|text| text == DEVELOPMENT_ORGANISATION))
        });
        Ok(Self {
            serial: serial(certificate.raw_serial()),
            not_before: time(certificate.validity().not_before),
            not_after: time(certificate.validity().not_after),
            is_authority: constraints.is_some_and(|extension| extension.value.ca)
                && usage.is_none_or(|extension| extension.value.key_cert_sign()),
            is_development: says_not_for_production,
            public_key: certificate.public_key().raw.to_vec(),
        })
    }
}

/// Says whether a certificate, or what issued it, says that it is not for production. One that cannot be read does not.
#[must_use]
pub fn is_development(der: &CertificateDer<'_>) -> bool {
    Facts::read(der).is_ok_and(|facts| facts.is_development)
}

/// Reads all certificates of a PEM text, in their order. Other sections are left aside.
///
/// # Errors
///
/// [`PemError`] when there is none, one cannot be decoded, or there are more than [`MAX_CHAIN`].
pub fn read_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        if certificates.len() == MAX_CHAIN {
            return Err(PemError::Many);
        }
        certificates.push(certificate.map_err(|_| PemError::Malformed)?);
    }
    if certificates.is_empty() { Err(PemError::Missing) } else { Ok(certificates) }
}

/// A certificate cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Larger than [`MAX_CERTIFICATE_BYTES`].
    #[error("the certificate is larger than {MAX_CERTIFICATE_BYTES} bytes")]
    Large,
    /// Not an X.509 certificate, or followed by other bytes.
    #[error("it is not an X.509 certificate")]
    Malformed,
    /// Its extensions are malformed, or one that matters is there twice.
    #[error("the extensions of the certificate cannot be read")]
    Extensions,
}

/// A PEM text does not hold certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PemError {
    /// There is none.
    #[error("there is no certificate in it: expected `-----BEGIN CERTIFICATE-----`")]
    Missing,
    /// A section cannot be decoded.
    #[error("a section of it is not PEM: a line was lost or changed")]
    Malformed,
    /// More than [`MAX_CHAIN`].
    #[error("there are more than {MAX_CHAIN} certificates in it")]
    Many,
}

/// Parses a certificate and refuses what follows it.
pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Unreadable> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        return Err(Unreadable::Large);
    }
    match X509Certificate::from_der(der.as_ref()) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(Unreadable::Malformed),
    }
}

/// Writes a serial number as people compare it.
pub(crate) fn serial(bytes: &[u8]) -> String {
    let significant = bytes.iter().position(|byte| *byte != 0).and_then(|first| bytes.get(first..));
    significant.map_or_else(|| "00".to_owned(), hex::encode)
}

/// Reads a time of a certificate; before the epoch is the epoch.
pub(crate) fn time(time: ASN1Time) -> SystemTime {
    moment(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// Returns the member that a certificate's SPIFFE URI names, whatever its path; an authority's has none.
pub(crate) fn trust_domain(der: &CertificateDer<'_>) -> Option<String> {
    let certificate = parse(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let paths = names.value.general_names.iter().filter_map(|name| uri(name)?.strip_prefix("spiffe://"));
    paths.map(|path| path.split('/').next().unwrap_or_default().to_owned()).next()
}

/// Returns the URI that a name is; `None` for every other kind of name.
pub(crate) fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::URI(uri) => Some(uri),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::DNSName(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}

/// Writes DER as PEM (RFC 7468): lines of 64 characters, a newline at the end.
pub(crate) fn to_pem(label: &str, der: &[u8]) -> String {
    const LINE: usize = 64;
    let encoded = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while let Some((line, after)) = rest.split_at_checked(LINE.min(rest.len())).filter(|(line, _)| !line.is_empty()) {
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}
