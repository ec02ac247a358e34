//! Everything a caller or a peer can be refused for, and what it looks like in gRPC.
//!
//! This is the only file that turns a refusal into a status. A reason without a page for `drawbridge explain` does not
//! compile.

use std::{collections::HashMap, fmt, str::FromStr, time::Duration};

use bytes::Bytes;
use contract::{Misfit, Violations};
use prost::Message;
use records::ExchangeId;
use tonic::Code;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// Where something happened.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Hop {
    /// The consumer's gateway.
    Consumer,
    /// Between the gateways.
    Link,
    /// The provider's gateway.
    Provider,
    /// The provider's legacy system.
    Legacy,
}

impl Hop {
    /// Returns the word for metadata and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Link => "link",
            Self::Provider => "provider",
            Self::Legacy => "legacy",
        }
    }
}

/// Whether asking again can help.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Retry {
    /// Never: something has to be changed first.
    No,
    /// Yes, after a while.
    Later(Duration),
    /// A query yes; a command only once its outcome is known.
    QueryOnly,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $code:ident, $retry:expr;)*) => {
        /// Why a gateway declined. Stable names; matched without `_`.
        #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// Returns the stable name, as in `ErrorInfo.reason`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns the gRPC status code of a query.
            #[must_use]
            pub fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)* }
            }

            /// Returns whether asking again can help.
            #[must_use]
            pub fn retry(self) -> Retry {
                match self { $(Self::$variant => $retry,)* }
            }

            /// Returns the page that `drawbridge explain` shows.
            #[must_use]
            pub fn page(self) -> &'static str {
                match self { $(Self::$variant => include_str!(concat!("../reasons/", $name, ".md")),)* }
            }
        }
    };
}

const SOON: Retry = Retry::Later(Duration::from_secs(1));

reasons! {
    /// No agreement lets this system ask this method for this purpose.
    NoAgreement = "NO_AGREEMENT", PermissionDenied, Retry::No;
    /// An agreement covers the method, but not this purpose.
    WrongPurpose = "WRONG_PURPOSE", PermissionDenied, Retry::No;
    /// The agreement has expired or was ended.
    AgreementEnded = "AGREEMENT_ENDED", PermissionDenied, Retry::No;
    /// The contract has no such method.
    UnknownMethod = "UNKNOWN_METHOD", Unimplemented, Retry::No;
    /// The two sides hold different versions of the contract.
    ContractMismatch = "CONTRACT_MISMATCH", FailedPrecondition, Retry::No;
    /// The message is not one of the contract's.
    Malformed = "MALFORMED", InvalidArgument, Retry::No;
    /// A message, header or record is above its limit.
    TooLarge = "TOO_LARGE", ResourceExhausted, Retry::No;
    /// A metadata key is missing, unknown or malformed.
    Metadata = "METADATA", InvalidArgument, Retry::No;
    /// The claims do not fit their signature, their link or one another.
    BadClaims = "BAD_CLAIMS", Unauthenticated, Retry::No;
    /// The claims were used before.
    Replayed = "REPLAYED", Unauthenticated, Retry::No;
    /// The session is not known to this run of the provider's gateway.
    StaleSession = "STALE_SESSION", Unavailable, SOON;
    /// The gateways' clocks are too far apart.
    ClockSkew = "CLOCK_SKEW", FailedPrecondition, Retry::No;
    /// The gateway cannot record, so nothing was done.
    NotRecorded = "NOT_RECORDED", Unavailable, SOON;
    /// It was done, but the outcome could not be recorded, so the answer is withheld.
    Unsettled = "UNSETTLED", Unavailable, Retry::QueryOnly;
    /// No link to the provider's gateway; nothing was sent.
    LinkDown = "LINK_DOWN", Unavailable, SOON;
    /// The question was sent; what became of it is unknown.
    Unanswered = "UNANSWERED", Unavailable, Retry::QueryOnly;
    /// The provider's evidence does not fit its answer.
    EvidenceMismatch = "EVIDENCE_MISMATCH", DataLoss, Retry::No;
    /// The gateway has as many exchanges as it takes.
    Overloaded = "OVERLOADED", ResourceExhausted, SOON;
    /// The caller went away, or the exchange was stopped.
    Cancelled = "CANCELLED", Cancelled, Retry::No;
    /// The legacy system did not answer in time.
    ConnectorTimeout = "CONNECTOR_TIMEOUT", DeadlineExceeded, Retry::QueryOnly;
    /// The legacy system failed, or answered what the contract does not allow.
    ConnectorFailed = "CONNECTOR_FAILED", Unavailable, Retry::QueryOnly;
    /// A command comes without an idempotency key.
    KeyRequired = "KEY_REQUIRED", InvalidArgument, Retry::No;
    /// The idempotency key stands for another request.
    KeyReused = "KEY_REUSED", FailedPrecondition, Retry::No;
    /// The command is being carried out right now.
    InProgress = "IN_PROGRESS", Aborted, SOON;
    /// The command was carried out, and its answer is no longer kept.
    AlreadyDone = "ALREADY_DONE", AlreadyExists, Retry::No;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|r| r.as_str().eq_ignore_ascii_case(name)).ok_or(())
    }
}

/// A gateway declined.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The stable reason.
    pub reason: Reason,
    /// Where it was refused.
    pub hop: Hop,
    /// What the caller may know. No payload, no identifier.
    pub told: String,
    /// What this gateway's own record needs beyond that; empty where nothing.
    pub detail: String,
    /// The status code, where gRPC itself prescribes another one than the reason's.
    pub prescribed: Option<Code>,
    /// The rules of the contract that the request breaks, where that is the reason.
    pub violations: Option<Violations>,
    /// Whether a command may have been done all the same.
    pub unknown: bool,
}

impl Refusal {
    /// Makes a refusal whose caller may know all of it.
    #[must_use]
    pub fn new(reason: Reason, hop: Hop, told: impl Into<String>) -> Self {
        Self {
            reason,
            hop,
            told: told.into(),
            detail: String::new(),
            prescribed: None,
            violations: None,
            unknown: false,
        }
    }

    /// Makes the refusal of a request that its contract does not allow.
    #[must_use]
    pub fn misfit(misfit: Misfit, hop: Hop) -> Self {
        let refusal = Self::new(Reason::Malformed, hop, misfit.to_string());
        match misfit {
            Misfit::Form(_) => refusal,
            Misfit::Values(violations) => Self { violations: Some(violations), ..refusal },
        }
    }

    /// Adds what only the own record says.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Says that a command may have been done all the same. Its caller then has `UNKNOWN`, which no retry policy takes for an
    /// invitation; a query's caller has the code of the reason.
    #[must_use]
    pub fn unknown(mut self) -> Self {
        self.unknown = true;
        self
    }

    /// Answers with the code that gRPC itself prescribes for this.
    #[must_use]
    pub fn prescribed(mut self, code: Code) -> Self {
        self.prescribed = Some(code);
        self
    }

    /// Returns the gRPC status with `ErrorInfo`, `RequestInfo` and, where waiting helps, `RetryInfo`; where the request breaks
    /// rules of the contract with `BadRequest`, and their number in the `violations` of `ErrorInfo.metadata`.
    #[must_use]
    pub fn status(&self, exchange: ExchangeId) -> Status {
        let mut details = ErrorDetails::new();
        let mut metadata = HashMap::from([("hop".to_owned(), self.hop.as_str().to_owned())]);
        if let Some(violations) = &self.violations {
            metadata.insert(VIOLATIONS.to_owned(), violations.total().to_string());
            details.set_bad_request(violations.listed().iter().map(field_violation).collect::<Vec<_>>());
        }
        details.set_error_info(self.reason.as_str(), "drawbridge", metadata);
        details.set_request_info(exchange.to_string(), "");
        if let Retry::Later(after) = self.reason.retry() {
            details.set_retry_info(Some(after));
        }
        let message = format!("{}: {}", self.reason, self.told);
        let code = self.prescribed.unwrap_or_else(|| self.reason.code());
        let status = tonic::Status::with_error_details(code, message.clone(), details);
        Status { code: code as i32, message, details: Bytes::copy_from_slice(status.details()) }
    }
}

/// The key in `ErrorInfo.metadata` for how many rules are broken. `BadRequest` lists only as many as fit.
const VIOLATIONS: &str = "violations";

fn field_violation(violation: &contract::Violation) -> FieldViolation {
    FieldViolation {
        field: violation.field.clone(),
        description: violation.description.clone(),
        reason: violation.rule.as_str().to_owned(),
        localized_message: None,
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.told)
    }
}

/// How a gRPC call ended: code, message, and an encoded `google.rpc.Status` or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// 0 is OK.
    pub code: i32,
    /// For people.
    pub message: String,
    /// `grpc-status-details-bin`, decoded.
    pub details: Bytes,
}

impl Status {
    /// The call was answered.
    pub const OK: Status = Status { code: 0, message: String::new(), details: Bytes::new() };

    /// Returns the reason in the details, where a gateway put one.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.info()?.reason.parse().ok()
    }

    /// Returns where it was refused, as the details say, where a gateway put them.
    #[must_use]
    pub fn hop(&self) -> Option<Hop> {
        let info = self.info()?;
        let hop = info.metadata.get("hop")?;
        [Hop::Consumer, Hop::Link, Hop::Provider, Hop::Legacy].into_iter().find(|known| known.as_str() == hop)
    }

    /// Returns the rules of the contract that a gateway found broken, as the details list them, and how many there are in
    /// all.
    #[must_use]
    pub fn violations(&self) -> (Vec<FieldViolation>, usize) {
        let listed = self.info().and_then(|_| self.detail::<tonic_types::pb::BadRequest>("google.rpc.BadRequest"));
        let listed: Vec<_> =
            listed.map(|listed| listed.field_violations.into_iter().map(Into::into).collect()).unwrap_or_default();
        let total = self.info().and_then(|info| info.metadata.get(VIOLATIONS)?.parse().ok()).unwrap_or(listed.len());
        (listed, total)
    }

    fn info(&self) -> Option<tonic_types::pb::ErrorInfo> {
        let info: tonic_types::pb::ErrorInfo = self.detail("google.rpc.ErrorInfo")?;
        (info.domain == "drawbridge").then_some(info)
    }

    fn detail<M: Message + Default>(&self, name: &str) -> Option<M> {
        let status = tonic_types::pb::Status::decode(self.details.clone()).ok()?;
        let detail = status.details.iter().find(|any| any.type_url.rsplit('/').next() == Some(name))?;
        M::decode(detail.value.as_slice()).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn every_page_opens_with_its_reason_and_says_how_to_mend() {
        for reason in Reason::ALL {
            let page = reason.page();
            assert!(page.starts_with(&format!("# {reason}\n")), "{reason}");
            for heading in ["## What it means", "## What to do"] {
                assert!(page.contains(heading), "{reason} lacks `{heading}`");
            }
            assert!(page.contains(&format!("`{}`", code_name(reason.code()))), "{reason} names another status");
        }
    }

    fn code_name(code: Code) -> String {
        format!("{code:?}")
            .chars()
            .flat_map(|c| if c.is_uppercase() { vec!['_', c] } else { vec![c.to_ascii_uppercase()] })
            .skip(1)
            .collect()
    }

    #[test]
    fn names_read_back_and_are_distinct() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
        assert_eq!("NO_SUCH".parse::<Reason>(), Err(()));
    }

    #[test]
    fn the_details_carry_reason_hop_and_exchange() {
        let id = ExchangeId::new(SystemTime::UNIX_EPOCH, [3; 10]);
        let status = Refusal::new(Reason::LinkDown, Hop::Consumer, "no link").status(id);
        assert_eq!(status.code, 14);
        assert_eq!((status.reason(), status.hop()), (Some(Reason::LinkDown), Some(Hop::Consumer)));
        let decoded = tonic_types::pb::Status::decode(status.details.clone()).unwrap();
        assert_eq!(decoded.details.len(), 3);
        assert_eq!(decoded.code, 14);
    }

    /// A request that breaks `count` rules, each of the longest path that a contract of this kind has.
    fn broken(count: usize) -> Misfit {
        let name = "a_name_of_a_field_that_is_long_but_not_unheard_of";
        let text = format!(
            "syntax = \"proto3\"; package t; import \"drawbridge/options/v1/options.proto\";
            message A {{ A inner = 1; repeated string {name} = 2 [(drawbridge.options.v1.field).format = FORMAT_NATIONAL_INSURANCE_NUMBER]; }}
            service S {{ rpc Ask(A) returns (A); }}"
        );
        let files = vec![("t.proto".to_owned(), text)];
        let contracts =
            contract::Contracts::load(&[contract::Source::Protos { name: "proto".to_owned(), files }]).unwrap();
        contracts.method("/t.S/Ask").unwrap().check_request(&[0x12, 0x00].repeat(count)).unwrap_err()
    }

    #[test]
    fn the_rules_that_a_request_breaks_are_a_bad_request_beside_reason_and_exchange() {
        let id = ExchangeId::new(SystemTime::UNIX_EPOCH, [3; 10]);
        let status = Refusal::misfit(broken(2), Hop::Consumer).status(id);
        assert_eq!((status.code, status.reason(), status.hop()), (3, Some(Reason::Malformed), Some(Hop::Consumer)));
        let decoded = tonic_types::pb::Status::decode(status.details.clone()).unwrap();
        let types: Vec<_> = decoded.details.iter().filter_map(|any| any.type_url.rsplit('.').next()).collect();
        assert_eq!(types, ["ErrorInfo", "BadRequest", "RequestInfo"]);
        let (listed, total) = status.violations();
        assert_eq!((listed.len(), total), (2, 2));
        assert_eq!(listed[1].field, "a_name_of_a_field_that_is_long_but_not_unheard_of[2]");
        assert_eq!(listed[1].reason, "FORMAT_NATIONAL_INSURANCE_NUMBER");
        assert!(listed[1].description.starts_with("has to be a National Insurance number"), "{listed:?}");
        assert!(status.message.starts_with("MALFORMED: `a_name_of_a_field"), "{}", status.message);
    }

    #[test]
    fn many_broken_rules_are_counted_and_fit_in_trailers() {
        let id = ExchangeId::new(SystemTime::UNIX_EPOCH, [3; 10]);
        let status = Refusal::misfit(broken(10_000), Hop::Provider).status(id);
        let (listed, total) = status.violations();
        assert!((5..=16).contains(&listed.len()), "{}", listed.len());
        assert_eq!(total, 10_000);
        assert!(status.message.ends_with("; and 9997 more"), "{}", status.message);
        // With base64 below 4 KiB: half of what the strictest of common stacks takes.
        assert!(status.details.len() <= 3 * 1024 && status.message.len() <= 1024, "{}", status.details.len());
    }

    #[test]
    fn what_a_back_end_calls_a_bad_request_is_not_ours() {
        let details = ErrorDetails::with_bad_request(vec![FieldViolation::new("a", "b")]);
        let status = tonic::Status::with_error_details(Code::InvalidArgument, "no", details);
        let status = Status { code: 3, message: "no".to_owned(), details: Bytes::copy_from_slice(status.details()) };
        assert_eq!(status.violations().0.len(), 0);
    }

    #[test]
    fn a_code_that_grpc_prescribes_stands_in_status_and_details_beside_the_reason() {
        let id = ExchangeId::new(SystemTime::UNIX_EPOCH, [3; 10]);
        let refusal = Refusal::new(Reason::Malformed, Hop::Consumer, "compressed").prescribed(Code::Unimplemented);
        let status = refusal.status(id);
        assert_eq!((status.code, status.reason()), (12, Some(Reason::Malformed)));
        assert_eq!(tonic_types::pb::Status::decode(status.details).unwrap().code, 12);
    }
}
