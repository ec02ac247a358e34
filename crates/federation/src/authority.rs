//! A member's own certificate authority: its root, the certificates of gateways and systems, and revocation lists.
//!
//! The authority's key stays offline beside the member key; everything here is done by a person at a command line. A member
//! that has an authority of its own kind can use that one: all that is asked of a certificate is one SPIFFE URI.
//!
//! The root is not constrained to its member's names: webpki has no name constraints for URIs and refuses whatever has
//! some. It needs none either, since nobody believes a root about any member but its own.

mod revocations;

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ::time::OffsetDateTime;
use aws_lc_rs::rand;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::address::check_host;
use crate::certificate::{self, DEVELOPMENT_ORGANISATION, Facts, PemError, Unreadable, to_pem};
use crate::time::{seconds, shown};
use crate::{AddressError, GatewayId, IdError, Identity, MemberId, SystemId};

pub use revocations::{Reason, Revocation, RevocationError, Revocations};

/// How long a root is valid.
pub const ROOT_VALIDITY: Duration = Duration::from_hours(3652 * 24);

/// How long certificates of gateways and systems are valid.
pub const CERTIFICATE_VALIDITY: Duration = Duration::from_hours(90 * 24);

/// How long after a revocation list the next one is due, by default.
pub const LIST_VALIDITY: Duration = Duration::from_hours(30 * 24);

/// How long before its making everything is valid already, for machines whose clocks are behind.
pub const BACKDATED: Duration = Duration::from_mins(5);

/// Longest common name.
///
/// Source: RFC 5280, appendix A.1, `ub-common-name`.
const MAX_COMMON_NAME: usize = 64;

/// What certificates are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// For use.
    Production,
    /// For trying things out. Every certificate says so in its subject, and gateways outside development mode refuse it.
    Development,
}

/// A member's authority: a root certificate and its key (ECDSA P-256).
pub struct Authority {
    member: MemberId,
    certificate: CertificateDer<'static>,
    facts: Facts,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its private key, as PEM.
#[derive(Clone)]
pub struct Issued {
    /// Whose it is.
    pub identity: Identity,
    /// The certificate.
    pub certificate_pem: String,
    /// The private key (PKCS#8). Overwritten in memory when dropped.
    pub key_pem: Zeroizing<String>,
    /// The serial number in lower-case hexadecimal digits, by which it can be revoked.
    pub serial: String,
    /// Until when it is valid.
    pub ends: SystemTime,
}

impl Authority {
    /// Makes a new authority for `member`, valid from 5 minutes before `now` for ten years.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Unmade`] when there are no random numbers or `now` is beyond the calendar.
    pub fn create(member: &MemberId, flavour: Flavour, now: SystemTime) -> Result<Self, AuthorityError> {
        let key = new_key()?;
        let common_name = format!("{member} authority");
        let mut parameters = parameters(
            if common_name.len() <= MAX_COMMON_NAME { &common_name } else { "authority" },
            flavour,
            now,
            ROOT_VALIDITY,
        )?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.subject_alt_names = vec![SanType::URI(ia5(&format!("spiffe://{member}"))?)];
        let certificate = parameters.self_signed(&key)?.der().clone();
        Self::assemble(certificate, key)
    }

    /// Opens an authority from the PEM texts that [`Authority::certificate_pem`] and [`Authority::key_pem`] wrote.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] when one of them cannot be read, the certificate is not that of an authority of a member, or the
    /// key is of another one.
    pub fn open(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let certificates = certificate::read_pem(certificate_pem)?;
        let [certificate] = certificates.as_slice() else {
            return Err(AuthorityError::Several);
        };
        let key = KeyPair::from_pem(key_pem).map_err(|_| AuthorityError::Key)?;
        Self::assemble(certificate.clone(), key)
    }

    /// Returns the member whose authority it is.
    #[must_use]
    pub fn member(&self) -> &MemberId {
        &self.member
    }

    /// Returns the root certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Returns the root certificate as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        to_pem("CERTIFICATE", &self.certificate)
    }

    /// Returns the private key as PEM (PKCS#8).
    #[must_use]
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// Says whether what it issues is for use.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        if self.facts.is_development { Flavour::Development } else { Flavour::Production }
    }

    /// Issues a certificate for a gateway, good for both ends of a link.
    ///
    /// `hosts` are the host names and IP addresses by which clients that know nothing of SPIFFE check that they talk to the
    /// gateway: ordinary gRPC stubs on the clients' port.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::ForeignMember`] for a gateway of another member, [`AuthorityError::Host`] for what is not a host.
    pub fn issue_gateway(
        &self,
        gateway: &GatewayId,
        hosts: &[&str],
        now: SystemTime,
    ) -> Result<Issued, AuthorityError> {
        let mut names = Vec::new();
        for host in hosts {
            check_host(host)
                .map_err(|source| AuthorityError::Host { host: (*host).chars().take(80).collect(), source })?;
            names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(ia5(host)?),
            });
        }
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(Identity::Gateway(gateway.clone()), names, usages, now)
    }

    /// Issues a certificate for a system, good for asking on the clients' port of its member's gateway.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::ForeignMember`] for a system of another member.
    pub fn issue_system(&self, system: &SystemId, now: SystemTime) -> Result<Issued, AuthorityError> {
        self.issue(Identity::System(system.clone()), Vec::new(), vec![ExtendedKeyUsagePurpose::ClientAuth], now)
    }

    fn issue(
        &self,
        identity: Identity,
        mut names: Vec<SanType>,
        usages: Vec<ExtendedKeyUsagePurpose>,
        now: SystemTime,
    ) -> Result<Issued, AuthorityError> {
        if *identity.member() != self.member {
            return Err(AuthorityError::ForeignMember { asked: identity, own: self.member.clone() });
        }
        let left = self
            .facts
            .not_after
            .duration_since(now)
            .map_err(|_| AuthorityError::Ended { ended: self.facts.not_after })?;
        let mut parameters = parameters(identity.name(), self.flavour(), now, CERTIFICATE_VALIDITY.min(left))?;
        names.insert(0, SanType::URI(ia5(&identity.to_string())?));
        parameters.subject_alt_names = names;
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = usages;
        parameters.use_authority_key_identifier_extension = true;
        let key = new_key()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let facts = Facts::read(certificate.der())?;
        Ok(Issued {
            identity,
            certificate_pem: to_pem("CERTIFICATE", certificate.der()),
            key_pem: Zeroizing::new(key.serialize_pem()),
            serial: facts.serial,
            ends: facts.not_after,
        })
    }

    /// Signs a revocation list of all that `revocations` names, and counts its number up. Keep the text of `revocations`
    /// before the list is passed on: a number is never used twice.
    ///
    /// `validity` is how long others should wait for the next list before they warn; [`LIST_VALIDITY`] by default.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::ForeignRevocations`] when they are of another member.
    pub fn revocation_list(
        &self,
        revocations: &mut Revocations,
        now: SystemTime,
        validity: Duration,
    ) -> Result<String, AuthorityError> {
        if *revocations.member() != self.member {
            return Err(AuthorityError::ForeignRevocations {
                member: revocations.member().clone(),
                own: self.member.clone(),
            });
        }
        let number = revocations.next_number();
        let mut revoked_certs = Vec::new();
        for revocation in revocations.all() {
            revoked_certs.push(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&revocation.serial_bytes()),
                revocation_time: calendar(revocation.at)?,
                reason_code: revocation.reason.code(),
                invalidity_date: None,
            });
        }
        let list = CertificateRevocationListParams {
            this_update: calendar(now.checked_sub(BACKDATED).unwrap_or(now))?,
            next_update: calendar(now.checked_add(validity).ok_or(AuthorityError::Unmade)?)?,
            crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&self.issuer)?;
        Ok(to_pem("X509 CRL", signed.der()))
    }

    fn assemble(certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, AuthorityError> {
        let facts = Facts::read(&certificate)?;
        if !facts.is_authority {
            return Err(AuthorityError::NotAnAuthority);
        }
        if facts.public_key != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(AuthorityError::OtherKey);
        }
        let member: MemberId = certificate::trust_domain(&certificate).ok_or(AuthorityError::NoMember)?.parse()?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { member, certificate, facts, issuer })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.member)
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issued({}, serial {})", self.identity, self.serial)
    }
}

/// An authority cannot do what was asked.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum AuthorityError {
    /// The certificate is not PEM.
    #[error("the certificate of the authority cannot be read")]
    Pem(#[from] PemError),
    /// There are several certificates in the text.
    #[error("there is more than one certificate in the authority's file")]
    Several,
    /// The certificate is not X.509.
    #[error("the certificate of the authority cannot be read")]
    Certificate(#[from] Unreadable),
    /// The key is not a PEM private key.
    #[error("the key of the authority cannot be read: expected `-----BEGIN PRIVATE KEY-----`")]
    Key,
    /// The key is of another certificate.
    #[error("the key is not the key of the authority's certificate")]
    OtherKey,
    /// The certificate may not issue others.
    #[error("the certificate is not that of an authority: it may not issue certificates")]
    NotAnAuthority,
    /// The certificate does not say whose authority it is.
    #[error("the certificate does not say which member's authority it is: its names hold no `spiffe://<member>`")]
    NoMember,
    /// The member in it is not a member id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A certificate of another member was asked for.
    #[error("`{asked}` is not of `{own}`, whose authority this is")]
    ForeignMember {
        /// Whose certificate was asked for.
        asked: Identity,
        /// Whose authority it is.
        own: MemberId,
    },
    /// Something that is not a host was to stand in a certificate.
    #[error("`{host}` cannot stand in a certificate")]
    Host {
        /// As given.
        host: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// The revocations are of another member.
    #[error("the revocations are of `{member}`, but this is the authority of `{own}`")]
    ForeignRevocations {
        /// Whose revocations they are.
        member: MemberId,
        /// Whose authority it is.
        own: MemberId,
    },
    /// The root has ended.
    #[error("the authority ended on {}: make a new one and list its root in the entry beside the old one", shown(*ended))]
    Ended {
        /// When.
        ended: SystemTime,
    },
    /// There were no random numbers, or a time is beyond the calendar.
    #[error("a key or certificate could not be made")]
    Unmade,
    /// The certificate library refused.
    #[error("a certificate could not be made")]
    Rcgen(#[from] rcgen::Error),
}

fn new_key() -> Result<KeyPair, AuthorityError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

/// Returns what all certificates share: subject, a random serial number of 16 bytes, and their time.
fn parameters(
    common_name: &str,
    flavour: Flavour,
    now: SystemTime,
    validity: Duration,
) -> Result<CertificateParams, AuthorityError> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    if flavour == Flavour::Development {
        parameters.distinguished_name.push(DnType::OrganizationName, DEVELOPMENT_ORGANISATION);
    }
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    let mut serial = [0_u8; 16];
    rand::fill(&mut serial).map_err(|_| AuthorityError::Unmade)?;
    // Positive and never shorter than 16 bytes (RFC 5280, section 4.1.2.2).
    serial[0] = (serial[0] & 0x3f) | 0x40;
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    parameters.not_before = calendar(now.checked_sub(BACKDATED).unwrap_or(now))?;
    parameters.not_after = calendar(now.checked_add(validity).ok_or(AuthorityError::Unmade)?)?;
    Ok(parameters)
}

/// Returns a moment as X.509 has it; its calendar ends with the year 9999.
fn calendar(time: SystemTime) -> Result<OffsetDateTime, AuthorityError> {
    let seconds = i64::try_from(seconds(time)).map_err(|_| AuthorityError::Unmade)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Unmade)
}

fn ia5(text: &str) -> Result<Ia5String, AuthorityError> {
    Ok(Ia5String::try_from(text)?)
}

#[cfg(test)]
mod tests;
