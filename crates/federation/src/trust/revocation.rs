//! Revocation lists: which certificates a member took back.
//!
//! All lists of a member count together: a certificate that any of them revokes is revoked. So an older list that was left
//! in the folder cannot take back what a newer one says, nor the other way round.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use problem::Problem;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateRevocationListDer, SubjectPublicKeyInfoDer, TrustAnchor};
use webpki::{CertRevocationList, OwnedCertRevocationList, RawPublicKeyEntity, VerifiedPath};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::{distance, shown};
use crate::{MemberId, Warning, certificate};

/// Largest text with revocation lists, in bytes. An entry of a list has some 40 bytes, half as many again in PEM.
pub const MAX_LIST_BYTES: usize = 16 * 1024 * 1024;

/// Most lists in one text.
pub const MAX_LISTS: usize = 32;

/// How long before its end a list is warned of.
const WARN_BEFORE: Duration = Duration::from_hours(3 * 24);

/// One revocation list (CRL) of a member. Its signature is verified by [`super::Trust`].
#[derive(Debug)]
pub struct RevocationList {
    member: MemberId,
    file: PathBuf,
    list: CertRevocationList<'static>,
    /// What is signed, and the signature.
    signed: Vec<u8>,
    signature: Vec<u8>,
    issued: SystemTime,
    ends: Option<SystemTime>,
    revoked: usize,
    /// The keys of those of the member's roots that signed it, once bound. Empty for a list of an authority below a root.
    issuers: Vec<SubjectPublicKeyInfoDer<'static>>,
}

impl RevocationList {
    /// Reads all lists of a PEM text (`-----BEGIN X509 CRL-----`). `file` is for messages only; nothing is read from disk.
    ///
    /// # Errors
    ///
    /// Every list that cannot be read, is a delta list or has a critical extension that is not known.
    pub fn parse_all(member: &MemberId, file: impl Into<PathBuf>, pem: &str) -> Result<Vec<Self>, Vec<Problem>> {
        const HELP: &str = "ask the member for its revocation list again, in PEM";
        let file = file.into();
        let refuse = |what: String| Problem::new(&file, what).help(HELP);
        if pem.len() > MAX_LIST_BYTES {
            return Err(vec![refuse(format!("the revocation lists are larger than {MAX_LIST_BYTES} bytes"))]);
        }
        let (mut lists, mut problems) = (Vec::new(), Vec::new());
        for (place, der) in (1_usize..).zip(CertificateRevocationListDer::pem_slice_iter(pem.as_bytes())) {
            if place > MAX_LISTS {
                problems.push(refuse(format!("there are more than {MAX_LISTS} revocation lists in this file")));
                break;
            }
            match der.map_err(|_| "it is not PEM".to_owned()).and_then(|der| Self::read(member, &file, &der)) {
                Ok(list) => lists.push(list),
                Err(cause) => {
                    problems.push(refuse(format!("revocation list {place} of `{member}` cannot be read")).cause(cause));
                }
            }
        }
        if lists.is_empty() && problems.is_empty() {
            problems.push(refuse("there is no revocation list in it: expected `-----BEGIN X509 CRL-----`".to_owned()));
        }
        if problems.is_empty() { Ok(lists) } else { Err(problems) }
    }

    /// Returns the member that issued it.
    #[must_use]
    pub fn member(&self) -> &MemberId {
        &self.member
    }

    /// Returns when it was issued.
    #[must_use]
    pub fn issued(&self) -> SystemTime {
        self.issued
    }

    /// Returns when the next one is due, if it says.
    #[must_use]
    pub fn ends(&self) -> Option<SystemTime> {
        self.ends
    }

    /// Returns how many certificates it revokes.
    #[must_use]
    pub fn revoked(&self) -> usize {
        self.revoked
    }

    fn read(member: &MemberId, file: &std::path::Path, der: &[u8]) -> Result<Self, String> {
        let list = OwnedCertRevocationList::from_der(der).map_err(|error| error.to_string())?;
        let ([], parsed) =
            CertificateRevocationList::from_der(der).map_err(|_| "it is not an X.509 revocation list".to_owned())?
        else {
            return Err("other bytes follow it".to_owned());
        };
        Ok(Self {
            member: member.clone(),
            file: file.to_owned(),
            list: list.into(),
            signed: parsed.tbs_cert_list.as_ref().to_vec(),
            signature: parsed.signature_value.data.to_vec(),
            issued: certificate::time(parsed.last_update()),
            ends: parsed.next_update().map(certificate::time),
            revoked: parsed.iter_revoked_certificates().count(),
            issuers: Vec::new(),
        })
    }

    /// Finds the roots that signed it. A list that names a root as its issuer, yet is signed by none, is a problem.
    pub(super) fn bind(&mut self, roots: &[TrustAnchor<'_>], algorithms: WebPkiSupportedAlgorithms) -> Option<Problem> {
        let namesakes: Vec<_> = roots
            .iter()
            .filter(|root| root.subject.as_ref() == self.list.issuer())
            .map(webpki::spki_for_anchor)
            .collect();
        let named = !namesakes.is_empty();
        self.issuers = namesakes.into_iter().filter(|key| self.is_signed_by(key, algorithms)).collect();
        (named && self.issuers.is_empty()).then(|| {
            Problem::new(
                &self.file,
                format!("this revocation list is not signed by the root of `{}` that it names", self.member),
            )
            .help("ask the member for its revocation list again; until then the file stays out")
        })
    }

    /// Returns a warning if it has ended, or soon will.
    pub(super) fn warning(&self, now: SystemTime) -> Option<Warning> {
        let ends = self.ends.filter(|ends| *ends <= now.checked_add(WARN_BEFORE).unwrap_or(now))?;
        let (member, apart, at) = (&self.member, distance(ends, now), shown(ends));
        Some(Warning::new(
            member,
            if ends < now {
                format!(
                    "the revocation list of `{member}` ended {apart} ago ({at}); what it revokes stays revoked, but newer revocations are not known"
                )
            } else {
                format!("the revocation list of `{member}` ends in {apart} ({at})")
            },
        ))
    }

    /// Says whether the issuer with this key signed the list, and `None` if it belongs to a root with another key.
    fn counts_for(&self, key: &SubjectPublicKeyInfoDer<'_>, algorithms: WebPkiSupportedAlgorithms) -> Option<bool> {
        match self.issuers.as_slice() {
            [] => Some(self.is_signed_by(key, algorithms)),
            issuers => issuers.iter().any(|issuer| issuer.as_ref() == key.as_ref()).then_some(true),
        }
    }

    fn is_signed_by(&self, key: &SubjectPublicKeyInfoDer<'_>, algorithms: WebPkiSupportedAlgorithms) -> bool {
        let Ok(entity) = RawPublicKeyEntity::try_from(key) else { return false };
        algorithms
            .all
            .iter()
            .any(|algorithm| entity.verify_signature(*algorithm, &self.signed, &self.signature).is_ok())
    }
}

/// Refuses a verified path with a revoked certificate in it, from the end entity up to the one below the root.
///
/// A certificate whose issuer has no list is accepted: a member that never revoked anything has none. One whose issuer is
/// named by a list that it did not sign is refused, since somebody may have put a false list in the place of the true one.
pub(super) fn check(
    lists: &[RevocationList],
    path: &VerifiedPath<'_>,
    algorithms: WebPkiSupportedAlgorithms,
) -> Result<(), webpki::Error> {
    if lists.is_empty() {
        return Ok(());
    }
    let mut issuers: Vec<_> = path.intermediate_certificates().map(webpki::Cert::subject_public_key_info).collect();
    issuers.push(webpki::spki_for_anchor(path.anchor()));
    let end_entity = path.end_entity();
    let chain = std::iter::once((end_entity.issuer(), end_entity.serial()))
        .chain(path.intermediate_certificates().map(|certificate| (certificate.issuer(), certificate.serial())));
    for ((issuer, serial), key) in chain.zip(&issuers) {
        for list in lists.iter().filter(|list| list.list.issuer() == issuer) {
            match list.counts_for(key, algorithms) {
                Some(false) => return Err(webpki::Error::InvalidCrlSignatureForPublicKey),
                Some(true) if list.list.find_serial(serial)?.is_some() => return Err(webpki::Error::CertRevoked),
                // Not revoked; or the list of another root of the same name.
                Some(true) | None => {}
            }
        }
    }
    Ok(())
}
