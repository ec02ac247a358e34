//! Who a certificate says it belongs to: exactly one SPIFFE URI among its names, of a kind known here.
//!
//! Reading an identity proves nothing; [`crate::trust`] verifies the certificate against the roots of the member it names.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::extensions::GeneralName;

use crate::certificate::{self, Unreadable};
use crate::{AuditorId, GatewayId, IdError, MemberId, SystemId};

/// Longest SPIFFE URI, in bytes.
///
/// Source: SPIFFE-ID, section 2.3.
const MAX_SPIFFE_BYTES: usize = 2048;

/// Who somebody is: a gateway, a system or an auditor of a member.
///
/// Written as SPIFFE URIs: `spiffe://<member>/gateway/<name>`, `…/system/<name>`, `…/auditor/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// A gateway: it asks and answers on links.
    Gateway(GatewayId),
    /// An information system: it asks on the clients' port of its own member's gateway.
    System(SystemId),
    /// Somebody who may read a member's exchange log.
    Auditor(AuditorId),
}

impl Identity {
    /// Reads the identity out of a certificate, without verifying the certificate.
    ///
    /// Names of other kinds (DNS names, addresses) are left aside; they are there for clients that know nothing of SPIFFE.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] when the certificate cannot be read, has no URI or more than one, or the URI is not one of ours.
    pub fn from_certificate(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let certificate = certificate::parse(der)?;
        let names = certificate.subject_alternative_name().map_err(|_| Unreadable::Extensions)?;
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
            return Err(Unreadable::Extensions.into());
        }
        let mut uris = names.iter().filter_map(certificate::uri);
        let uri = uris.next().ok_or(IdentityError::None)?;
        match uris.count() {
            0 => uri.parse(),
            more => Err(IdentityError::Several { count: more.saturating_add(1) }),
        }
    }

    /// Returns the member that it belongs to.
    #[must_use]
    pub fn member(&self) -> &MemberId {
        match self {
            Self::Gateway(id) => id.member(),
            Self::System(id) => id.member(),
            Self::Auditor(id) => id.member(),
        }
    }

    /// Returns its name within the member.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Gateway(id) => id.name(),
            Self::System(id) => id.name(),
            Self::Auditor(id) => id.name(),
        }
    }

    /// Returns its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Gateway(_) => Kind::Gateway,
            Self::System(_) => Kind::System,
            Self::Auditor(_) => Kind::Auditor,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}/{}", self.member(), self.kind(), self.name())
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, IdentityError> {
        if uri.len() > MAX_SPIFFE_BYTES {
            return Err(IdentityError::Form);
        }
        let rest = uri.strip_prefix("spiffe://").ok_or(IdentityError::Form)?;
        let mut parts = rest.split('/');
        let (Some(member), Some(kind), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(IdentityError::Form);
        };
        let member: MemberId = member.parse()?;
        match kind {
            "gateway" => Ok(Self::Gateway(GatewayId::new(member, name)?)),
            "system" => Ok(Self::System(SystemId::new(member, name)?)),
            "auditor" => Ok(Self::Auditor(AuditorId::new(member, name)?)),
            _ => Err(IdentityError::Kind),
        }
    }
}

/// The kinds of identity. `Display` writes the word that stands in the URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `gateway`
    Gateway,
    /// `system`
    System,
    /// `auditor`
    Auditor,
}

impl Kind {
    /// Returns the kind in words, as in `a gateway`.
    #[must_use]
    pub fn with_article(self) -> &'static str {
        match self {
            Self::Gateway => "a gateway",
            Self::System => "a system",
            Self::Auditor => "an auditor",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway",
            Self::System => "system",
            Self::Auditor => "auditor",
        })
    }
}

/// A certificate does not say whose it is. Nothing of what a stranger wrote is repeated, but a text that looks like an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] Unreadable),
    /// There is no URI among its names.
    #[error("it has no SPIFFE URI among its names, so it does not say whose it is")]
    None,
    /// There is more than one URI.
    #[error("it has {count} URIs among its names; exactly one may say whose it is")]
    Several {
        /// How many.
        count: usize,
    },
    /// The URI has another form.
    #[error("its URI is not of the form `spiffe://<member>/<kind>/<name>`")]
    Form,
    /// The kind is not known.
    #[error("its URI names none of the kinds `gateway`, `system` and `auditor`")]
    Kind,
    /// Member or name are not what they should be.
    #[error(transparent)]
    Id(#[from] IdError),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_identity_is_one_of_three_uris() {
        for (uri, kind) in [
            ("spiffe://county.example/gateway/main", Kind::Gateway),
            ("spiffe://county.example/system/housing", Kind::System),
            ("spiffe://county.example/auditor/internal", Kind::Auditor),
        ] {
            let identity: Identity = uri.parse().unwrap();
            assert_eq!(
                (identity.to_string().as_str(), identity.kind(), identity.member().as_str()),
                (uri, kind, "county.example")
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for (uri, expected) in [
            ("", IdentityError::Form),
            ("https://county.example/gateway/main", IdentityError::Form),
            ("SPIFFE://county.example/gateway/main", IdentityError::Form),
            ("spiffe://county.example", IdentityError::Form),
            ("spiffe://county.example/gateway", IdentityError::Form),
            ("spiffe://county.example/gateway/main/more", IdentityError::Form),
            ("spiffe://county.example/workload/main", IdentityError::Kind),
            ("spiffe://county.example/Gateway/main", IdentityError::Kind),
        ] {
            assert_eq!(uri.parse::<Identity>(), Err(expected), "{uri}");
        }
        for uri in [
            "spiffe:///gateway/main",
            "spiffe://county.example:8443/gateway/main",
            "spiffe://user@county.example/gateway/main",
            "spiffe://COUNTY.example/gateway/main",
            "spiffe://county.example/gateway/",
            "spiffe://county.example/gateway/main?x=1",
            "spiffe://county.example/gateway/main#x",
            "spiffe://county.example/gateway/%6dain",
        ] {
            assert!(matches!(uri.parse::<Identity>(), Err(IdentityError::Id(_))), "{uri}");
        }
        assert_eq!(format!("spiffe://{}", "a".repeat(3000)).parse::<Identity>(), Err(IdentityError::Form));
    }

    proptest! {
        #[test]
        fn any_uri_is_refused_or_comes_back_as_it_was(uri in "(spiffe://)?[a-z.:/%?#A-Z0-9-]{0,60}") {
            if let Ok(identity) = uri.parse::<Identity>() {
                prop_assert_eq!(identity.to_string(), uri);
            }
        }

        #[test]
        fn any_bytes_are_not_a_certificate(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Identity::from_certificate(&CertificateDer::from(bytes)).is_err());
        }
    }
}
