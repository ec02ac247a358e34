//! May they, for this purpose, now? Agreements between two members, and the plans that they compile to.
//!
//! Nothing here reads a file, a clock or a socket: texts, keys, contracts and times are arguments. Start at [`Agreements::permit`]: it
//! denies by default, and permits only what one agreement, signed by both members, grants to this system for this purpose at this
//! time. [`Loader`] makes [`Agreements`] from the texts of a folder; [`AgreementFile`] is one of them, from draft to signed.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic"))]

mod agreement;
mod agreements;
mod compile;
mod denial;
mod end;
mod file;
mod grant;
mod keys;
mod limits;
mod loader;
mod plan;
mod standing;
mod summary;
mod template;
mod terms;
#[cfg(test)]
mod testing;
mod time;

pub use agreement::{AGREEMENT_FORMAT, Agreement, MAX_AGREEMENT_BYTES, Purpose};
pub use agreements::{Agreements, Ask, Permit};
pub use compile::check_contracts;
pub use denial::{Asked, Denial, Ended};
pub use end::{END_FORMAT, End, EndNote, MAX_END_BYTES, MAX_REASON_CHARACTERS};
pub use file::{AgreementFile, SignError, Signatures, Signed, State};
pub use grant::{Grant, Limits, MetadataKey, Required};
pub use keys::MemberKeys;
pub use limits::{Admitted, Answers, Exceeded, Limit, Meter, Meters, Used};
pub use loader::{Loaded, Loader, Waiting};
pub use plan::{Plan, fields_digest};
pub use standing::{ContractState, Hindrance, NEAR_END, Served, Standing, Told};
pub use summary::{GrantSummary, MethodSummary, Summary};
pub use template::{Template, TemplateError};
pub use time::{Retention, RetentionUnit, length};
