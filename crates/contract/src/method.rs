//! One method of a contract: what it takes, what it answers, and the check of their bytes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prost_reflect::{MessageDescriptor, MethodDescriptor};

use crate::digest::Digest;
use crate::malformed::Malformed;
use crate::misfit::Misfit;
use crate::rules;
use crate::wire::check::Unknown;
use crate::wire::plan::Plans;

/// A method that may be asked, as its contract has it.
pub struct Method {
    pub(crate) path: String,
    pub(crate) descriptor: MethodDescriptor,
    pub(crate) input: MessageDescriptor,
    pub(crate) output: MessageDescriptor,
    pub(crate) kind: Option<Kind>,
    pub(crate) operation: Option<Operation>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) digest: Digest,
    pub(crate) plans: Arc<Plans>,
    pub(crate) input_plan: usize,
    pub(crate) output_plan: usize,
    pub(crate) rules: Arc<rules::Plans>,
    pub(crate) input_rules: usize,
    pub(crate) output_rules: usize,
}

impl Method {
    /// Returns the path as HTTP/2 carries it: `/health.v1.Patients/Find`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the full name of the service: `health.v1.Patients`.
    #[must_use]
    pub fn service(&self) -> &str {
        let path = self.path.strip_prefix('/').unwrap_or(&self.path);
        path.rsplit_once('/').map_or(path, |(service, _)| service)
    }

    /// Returns the method's own name: `Find`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(&self.path, |(_, name)| name)
    }

    /// Returns what the contract says of the method's effect. `None`: the agreement has to say it.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Returns how many messages go each way.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape::of(&self.descriptor)
    }

    /// Returns the longest that an answer may take, where the contract says it.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Returns what the method is in data-protection law, where the contract says it.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        self.operation
    }

    /// Returns the digest of the method's service.
    #[must_use]
    pub fn contract_digest(&self) -> Digest {
        self.digest
    }

    /// Returns the message that the method takes.
    #[must_use]
    pub fn input(&self) -> &MessageDescriptor {
        &self.input
    }

    /// Returns the message that the method answers with.
    #[must_use]
    pub fn output(&self) -> &MessageDescriptor {
        &self.output
    }

    /// Returns the method as protobuf describes it.
    #[must_use]
    pub fn descriptor(&self) -> &MethodDescriptor {
        &self.descriptor
    }

    /// Looks at every byte of one request message (without gRPC's five-byte prefix), then at its values.
    ///
    /// # Errors
    ///
    /// [`Misfit::Form`] with the first defect met. A field that the contract does not have is one, and is named by its number.
    /// [`Misfit::Values`] with all rules of the contract that the values break.
    pub fn check_request(&self, message: &[u8]) -> Result<(), Misfit> {
        self.check_form(message)?;
        self.rules.check(self.input_rules, message)?;
        Ok(())
    }

    /// Looks at every byte of one request message, and not at its values.
    pub(crate) fn check_form(&self, message: &[u8]) -> Result<(), Malformed> {
        self.plans.check(self.input_plan, message, Unknown::Refused)
    }

    /// Looks at every byte of one answer message (without gRPC's five-byte prefix).
    ///
    /// Fields that the contract does not have are passed over: a [`Projection`](crate::Projection) takes them out. Values are
    /// not held against rules: what a legacy system has on file may be older than these.
    ///
    /// # Errors
    ///
    /// The first defect met.
    pub fn check_answer(&self, message: &[u8]) -> Result<(), Malformed> {
        self.plans.check(self.output_plan, message, Unknown::Tolerated)
    }

    /// Looks at an answer as [`Method::check_request`] looks at a request: for what is made up, and so has no excuse.
    ///
    /// # Errors
    ///
    /// As of [`Method::check_request`].
    pub fn check_made_up_answer(&self, message: &[u8]) -> Result<(), Misfit> {
        self.plans.check(self.output_plan, message, Unknown::Refused)?;
        self.rules.check(self.output_rules, message)?;
        Ok(())
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Method").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The effect of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Asks, and changes nothing.
    Query,
    /// Changes something; must not happen twice.
    Command,
    /// Follows changes as they happen.
    Subscription,
}

impl Kind {
    /// Returns the word for it, as agreements and records write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Command => "command",
            Self::Subscription => "subscription",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many messages a method takes and answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// One request, one answer.
    Unary,
    /// One request, a stream of answers.
    ServerStream,
    /// A stream of requests, one answer.
    ClientStream,
    /// A stream each way.
    Bidirectional,
}

impl Shape {
    pub(crate) fn of(method: &MethodDescriptor) -> Self {
        match (method.is_client_streaming(), method.is_server_streaming()) {
            (false, false) => Self::Unary,
            (false, true) => Self::ServerStream,
            (true, false) => Self::ClientStream,
            (true, true) => Self::Bidirectional,
        }
    }

    /// Returns whether the request is a stream.
    #[must_use]
    pub fn streams_requests(self) -> bool {
        matches!(self, Self::ClientStream | Self::Bidirectional)
    }

    /// Returns whether the answer is a stream.
    #[must_use]
    pub fn streams_answers(self) -> bool {
        matches!(self, Self::ServerStream | Self::Bidirectional)
    }

    /// Returns the word for it: `unary`, `server-stream`, `client-stream` or `bidirectional`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server-stream",
            Self::ClientStream => "client-stream",
            Self::Bidirectional => "bidirectional",
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a method is in data-protection law, as seen by the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// New personal data is taken in.
    Collection,
    /// Data held is changed.
    Alteration,
    /// Data held is looked at, within one purpose.
    Consultation,
    /// Data held is given to another organisation.
    Disclosure,
    /// Data of several origins is brought together.
    Combination,
    /// Data held is deleted.
    Erasure,
}

impl Operation {
    /// Returns the word for it, as records write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Collection => "collection",
            Self::Alteration => "alteration",
            Self::Consultation => "consultation",
            Self::Disclosure => "disclosure",
            Self::Combination => "combination",
            Self::Erasure => "erasure",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
