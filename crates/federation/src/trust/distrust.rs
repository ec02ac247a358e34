//! Why a certificate is not believed, in words for the people on this side.

use std::time::SystemTime;

use thiserror::Error;

use super::{Expected, distance, moment, shown};
use crate::{GatewayId, Identity, IdentityError, MemberId};

/// A certificate is refused. `Display` says why, as a cause that follows "cannot open a link to …"; [`Distrust::help`] how
/// to mend it. Names in it are ids that have the form of ids; nothing else that a stranger wrote is repeated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Distrust {
    /// There is none.
    #[error("no certificate was presented")]
    None,
    /// A certificate of the chain is too large, or there are too many.
    #[error("the certificates that were presented are too large or too many")]
    Large,
    /// It does not say whose it is.
    #[error("the certificate does not name a gateway or system")]
    Identity(#[from] IdentityError),
    /// A kind of identity that has no business here.
    #[error("`{presented}` is {}, and {} expected {}", presented.kind().with_article(), wanted(expected), place(expected))]
    WrongKind {
        /// Who presented the certificate.
        presented: Identity,
        /// Who may.
        expected: Expected,
    },
    /// A system or gateway of another member where only the own member's may be.
    #[error("`{presented}` is not of this gateway's member `{own}`")]
    ForeignMember {
        /// Who presented the certificate.
        presented: Identity,
        /// The member of this gateway.
        own: MemberId,
    },
    /// Another gateway than the one dialled.
    #[error("the gateway at this address is `{presented}`, not `{wanted}`")]
    OtherGateway {
        /// Which gateway was to be there.
        wanted: GatewayId,
        /// Which one is there.
        presented: GatewayId,
    },
    /// The member is not in the directory.
    #[error("the member `{member}` is not in the directory")]
    UnknownMember {
        /// The member.
        member: MemberId,
    },
    /// The member is in the directory, this gateway of it is not.
    #[error("the gateway `{gateway}` is not in the directory entry of its member")]
    UnlistedGateway {
        /// The gateway.
        gateway: GatewayId,
    },
    /// The gateway was taken out of service.
    #[error("the gateway `{gateway}` is retired")]
    RetiredGateway {
        /// The gateway.
        gateway: GatewayId,
    },
    /// The member's entry in the directory has ended.
    #[error("the directory entry of `{member}` ended {} ago ({})", distance(*ended, *now), shown(*ended))]
    EntryEnded {
        /// The member.
        member: MemberId,
        /// When it ended.
        ended: SystemTime,
        /// When it was looked at.
        now: SystemTime,
    },
    /// It says that it is not for production, and this gateway is.
    #[error("the certificate of `{presented}` is not for production")]
    Development {
        /// Who it says it is.
        presented: Identity,
    },
    /// None of the member's roots issued it.
    #[error("the certificate of `{presented}` was not issued under the roots of `{}`", presented.member())]
    ForeignRoot {
        /// Who it says it is.
        presented: Identity,
    },
    /// It, or one above it, has ended.
    #[error("the certificate of `{presented}` expired {} ago ({})", distance(*ended, *now), shown(*ended))]
    Expired {
        /// Who it says it is.
        presented: Identity,
        /// When it ended.
        ended: SystemTime,
        /// When it was looked at.
        now: SystemTime,
    },
    /// It, or one above it, has not begun.
    #[error("the certificate of `{presented}` is valid only in {} ({})", distance(*begins, *now), shown(*begins))]
    NotYetValid {
        /// Who it says it is.
        presented: Identity,
        /// When it begins.
        begins: SystemTime,
        /// When it was looked at.
        now: SystemTime,
    },
    /// It, or one above it, is revoked.
    #[error("the certificate of `{presented}` is revoked")]
    Revoked {
        /// Who it says it is.
        presented: Identity,
    },
    /// There is a revocation list in the name of its issuer that the issuer did not sign.
    #[error("the revocation list for the certificate of `{presented}` is not signed by its issuer")]
    RevocationList {
        /// Who it says it is.
        presented: Identity,
    },
    /// It may not be used at this end of a connection.
    #[error("the certificate of `{presented}` may not be used for this end of a connection")]
    WrongUse {
        /// Who it says it is.
        presented: Identity,
    },
    /// Anything else that is wrong with the chain.
    #[error("the certificate of `{presented}` does not verify ({detail})")]
    Chain {
        /// Who it says it is.
        presented: Identity,
        /// What webpki calls it.
        detail: String,
    },
}

impl Distrust {
    /// Names what webpki found wrong with the chain of `identity`.
    pub(super) fn chain(identity: &Identity, error: &webpki::Error) -> Self {
        use webpki::Error;
        let presented = identity.clone();
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "webpki's errors are open-ended; what is not told apart keeps its name"
        )]
        match error {
            // A root of the same name with another key is found as a wrong signature.
            Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => Self::ForeignRoot { presented },
            Error::CertExpired { time, not_after } => {
                Self::Expired { presented, ended: moment(not_after.as_secs()), now: moment(time.as_secs()) }
            }
            Error::CertNotValidYet { time, not_before } => {
                Self::NotYetValid { presented, begins: moment(not_before.as_secs()), now: moment(time.as_secs()) }
            }
            Error::CertRevoked => Self::Revoked { presented },
            Error::InvalidCrlSignatureForPublicKey => Self::RevocationList { presented },
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Self::WrongUse { presented },
            other => Self::Chain { presented, detail: other.to_string() },
        }
    }

    /// Returns how to mend it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::None => "whoever connects must present a certificate of their member's authority".to_owned(),
            Self::Large => format!("present one's own certificate and those it was issued by, at most {}", crate::certificate::MAX_CHAIN),
            Self::Identity(_) => "use a certificate with exactly one URI, `spiffe://<member>/<kind>/<name>`, as the authority that `drawbridge init` makes issues them".to_owned(),
            Self::WrongKind { expected: Expected::Links, .. } => "systems connect to the clients' port of their own member's gateway".to_owned(),
            Self::WrongKind { expected: Expected::Clients, .. } => "gateways connect to the port for links; a system needs a certificate of its own".to_owned(),
            Self::WrongKind { expected: Expected::Gateway(_), .. } => "check the address; something other than a gateway answers there".to_owned(),
            Self::ForeignMember { presented, own } => format!(
                "`{presented}` connects to a gateway of its own member `{}`; whoever connects to this one needs a certificate of the authority of `{own}`",
                presented.member()
            ),
            Self::OtherGateway { wanted, .. } => format!("ask `{}` to correct the address in its directory entry", wanted.member()),
            Self::UnknownMember { member } => format!("if `{member}` is to be trusted, add its entry with `drawbridge directory add`"),
            Self::RetiredGateway { gateway } => format!("`{}` took it out of service; ask them which gateway serves now", gateway.member()),
            Self::UnlistedGateway { gateway } => {
                format!("`{}` must list the gateway in its entry and pass the entry on", gateway.member())
            }
            Self::EntryEnded { member, .. } => format!("ask `{member}` for its present entry and add it with `drawbridge directory add`"),
            Self::ForeignRoot { presented } => format!(
                "`{}` must use a certificate of its own authority, or list the authority's root in its entry; otherwise somebody is using its name",
                presented.member()
            ),
            Self::Development { presented } => format!(
                "`{}` must issue one with an authority for production; to try things out, set `development = true` in both configurations",
                presented.member()
            ),
            Self::Expired { presented, .. } => format!("`{}` must renew it", presented.member()),
            Self::NotYetValid { .. } => "compare the clocks of both machines".to_owned(),
            Self::Revoked { presented } => format!("`{}` must issue another, unless somebody else is using this one", presented.member()),
            Self::RevocationList { presented } => format!("ask `{}` for its revocation list again", presented.member()),
            Self::WrongUse { presented } | Self::Chain { presented, .. } => format!("`{}` must issue another", presented.member()),
        }
    }
}

fn wanted(expected: &Expected) -> &'static str {
    match expected {
        Expected::Links | Expected::Gateway(_) => "a gateway is",
        Expected::Clients => "a system is",
    }
}

fn place(expected: &Expected) -> &'static str {
    match expected {
        Expected::Links => "on the port for links",
        Expected::Clients => "on the port for clients",
        Expected::Gateway(_) => "at this address",
    }
}
