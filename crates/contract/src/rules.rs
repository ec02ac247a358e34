//! Rules of a contract about the values of requests: read from its options once, then held against bytes.
//!
//! Nothing is decoded, and no value ever leaves this module: a [`Violation`] is made of the contract's own words. Answers
//! are not held against rules, since what a legacy system has on file may be older than the rule.

mod format;
mod options;
mod plan;
mod shown;
mod value;
mod violation;
mod walk;

pub use format::Format;
pub use options::FieldRules;
pub(crate) use options::read;
pub(crate) use plan::{Planner, Plans};
pub use shown::{ValueRules, field_rules};
pub use value::Bounds;
pub(crate) use value::{FractionRule, TextRule, ValueRule, WholeRule};
pub use violation::{Rule, Violation, Violations};
