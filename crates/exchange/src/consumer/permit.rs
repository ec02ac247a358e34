//! Which of our systems asks what, and may it? Asked here first, so that a call that cannot succeed fails early and is
//! explained in full.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use contract::{Kind, Method, Shape};
use federation::{MemberId, SystemId};
use policy::{Agreement, Ask, Denial, Permit, Plan};
use tokio_util::sync::CancellationToken;

use super::{Consumer, Query, Refused, send::late};
use crate::{
    account::Account,
    application::{ApplicationMetadata, MAX_REQUEST_BYTES},
    commands::claimed_key,
    deadline,
    framing::{self, FramingError},
    house::{House, Rules},
    metadata::CallMetadata,
    ports::{Request, RequestBody},
    quota::Counted,
    refusal::{Hop, Reason, Refusal},
    trace::Verb,
    watch::Permission,
};

/// A call whose metadata is read.
pub(super) struct Identified {
    account: Box<Account>,
    query: Box<Query>,
    metadata: CallMetadata,
    provider: MemberId,
}

/// A call that our copy of an agreement covers and that fits our copy of the contract.
pub(super) struct Permitted {
    pub(super) account: Box<Account>,
    pub(super) rules: Arc<Rules>,
    pub(super) metadata: CallMetadata,
    /// The application's metadata that the agreement names.
    pub(super) application: ApplicationMetadata,
    pub(super) provider: MemberId,
    pub(super) system: SystemId,
    pub(super) method: Arc<Method>,
    pub(super) plan: Arc<Plan>,
    pub(super) agreement: Arc<Agreement>,
    /// The request, with its prefix; empty where it is a stream.
    pub(super) message: Bytes,
    /// The request where it is a stream, until it is read.
    pub(super) stream: Option<RequestBody>,
    pub(super) deadline: Option<Instant>,
    pub(super) cancel: CancellationToken,
    /// Of a command: its key, as claims have it.
    pub(super) command: Option<[u8; 32]>,
    pub(super) counted: Counted,
}

impl Permitted {
    /// Returns whether more than one message passes either way.
    pub(super) fn streams(&self) -> bool {
        self.method.shape() != Shape::Unary
    }

    /// Returns what tells that the caller has gone away, once the question is sent. Nothing does for a command: it is carried out all
    /// the same, and the record has to say what became of it.
    pub(super) fn while_waiting(&self) -> CancellationToken {
        if self.command.is_some() { CancellationToken::new() } else { self.cancel.clone() }
    }

    pub(super) fn refuse(mut self, refusal: Refusal) -> Box<Refused> {
        self.counted.end(Some(&refusal), &mut self.account);
        Refused::new(self.account, refusal)
    }
}

impl Permission for Permitted {
    const SIDE: Hop = Hop::Consumer;

    fn account(&self) -> &Account {
        &self.account
    }

    fn still_permitted(&self, house: &House) -> Result<(), Refusal> {
        let permit = Permit { agreement: self.agreement.clone(), plan: self.plan.clone() };
        let checked = house.rules.load().agreements.check(&permit, &self.system, (house.clock)());
        checked.map_err(|denial| refuse(Reason::AgreementEnded, format!("the agreement is over: {denial}")))
    }

    fn cancelled() -> Refusal {
        refuse(Reason::Cancelled, "the caller went away")
    }

    fn late() -> Refusal {
        late("the deadline passed in the middle of the stream")
    }
}

fn ask<'a>(
    system: &'a SystemId,
    provider: &'a MemberId,
    method: &'a str,
    purpose: &'a str,
    metadata: &CallMetadata,
) -> Ask<'a> {
    Ask {
        consumer: system.member(),
        system,
        provider,
        method,
        purpose,
        has_actor: metadata.actor.is_some(),
        has_case: metadata.case.is_some(),
        has_justification: metadata.justification.is_some(),
    }
}

/// Says of a request that is not one of the contract's where the loaded contract is another version than the one agreed on.
fn of_version(mut refusal: Refusal, method: &Method, rules: &Rules) -> Refusal {
    let (loaded, agreed) = (rules.contracts.method(method.path()), method.contract_digest());
    if refusal.reason == Reason::Malformed && loaded.is_some_and(|loaded| loaded.contract_digest() != agreed) {
        let told = format!(
            "; the agreement is about another version of the contract than the one that is loaded: {agreed} of `{}`",
            method.service()
        );
        refusal.told.push_str(&told);
    }
    refusal
}

fn unframed(error: FramingError) -> Refusal {
    match error {
        FramingError::TooLarge { .. } => refuse(Reason::TooLarge, error.to_string()),
        // Source: gRPC over HTTP/2, "Compression": an encoding that is not supported is `UNIMPLEMENTED`.
        FramingError::Compressed => refuse(Reason::Malformed, error.to_string()).prescribed(tonic::Code::Unimplemented),
        FramingError::Truncated | FramingError::NotOne { .. } => refuse(Reason::Malformed, error.to_string()),
    }
}

/// Returns the key of a command, as claims have it. A command carried as if it were a query could be done twice.
fn command_key(
    plan: &Plan,
    method: &Method,
    system: &SystemId,
    key: Option<&str>,
) -> Result<Option<[u8; 32]>, Refusal> {
    match (plan.kind, key) {
        (Kind::Query, _) => Ok(None),
        (Kind::Command, _) if method.shape() != Shape::Unary => {
            let told = "this gateway carries commands of one message and one answer alone";
            Err(refuse(Reason::UnknownMethod, told))
        }
        (Kind::Command, None) => {
            let told = "a command needs `drawbridge-idempotency-key`: a text of your own for this one command, the same each time you ask \
                        for it again, so that it is carried out once";
            Err(refuse(Reason::KeyRequired, told))
        }
        (Kind::Command, Some(key)) => {
            Ok(Some(claimed_key(system.member().as_ref(), system.name(), method.path(), key)))
        }
        (Kind::Subscription, _) => Err(refuse(Reason::UnknownMethod, "this gateway carries no subscriptions")),
    }
}

fn refuse(reason: Reason, told: impl Into<String>) -> Refusal {
    Refusal::new(reason, Hop::Consumer, told)
}

impl Consumer {
    /// Reads what the system says beside its request.
    pub(super) fn identify(&self, query: Box<Query>) -> Result<Identified, Box<Refused>> {
        let mut account = self.account(&query);
        let metadata = match CallMetadata::read(&query.headers) {
            Ok(metadata) => metadata,
            Err(refusal) => return Err(Refused::new(account, refusal)),
        };
        note(&mut account, &metadata);
        let provider = match (&metadata.provider, &query.default_provider) {
            (Some(named), _) => named
                .parse::<MemberId>()
                .map_err(|_| "`drawbridge-provider` is not a member id, as in `county.example`"),
            (None, Some(default)) => Ok(default.clone()),
            (None, None) => Err(
                "set `drawbridge-provider` to the member that is asked; this system has no default in the configuration",
            ),
        };
        match provider {
            Ok(provider) => {
                account.private.provider = provider.to_string();
                Ok(Identified { account, query, metadata, provider })
            }
            Err(told) => Err(Refused::new(account, refuse(Reason::Metadata, told))),
        }
    }

    /// Looks up method and agreement in our own copies, and holds the request against the contract.
    pub(super) fn permit(&self, identified: Identified) -> Result<Box<Permitted>, Box<Refused>> {
        let Identified { mut account, query, metadata, provider } = identified;
        account.begin(Verb::Permit);
        let rules = self.house.rules.load_full();
        let found = self.look_up(&rules, &query, &metadata, &provider);
        let (method, plan, agreement) = match found {
            Ok(found) => found,
            Err(refusal) => return Err(Refused::new(account, refusal)),
        };
        agreement.id().clone_into(&mut account.private.agreement);
        account.private.agreement_digest = Bytes::copy_from_slice(&agreement.digest().0);
        let Query { system, headers, request, cancel, deadline, .. } = *query;
        let application = match ApplicationMetadata::select(&headers, &plan.application_metadata, MAX_REQUEST_BYTES) {
            Ok(application) => application,
            Err(unfit) => return Err(Refused::new(account, refuse(Reason::Metadata, unfit.to_string()))),
        };
        account.private.request_metadata = application.keys();
        let (message, stream) = match self.one_or_stream(&method, request, &rules) {
            Ok(request) => request,
            Err(refusal) => return Err(Refused::new(account, refusal)),
        };
        let command = match command_key(&plan, &method, &system, metadata.idempotency_key.as_deref()) {
            Ok(command) => command,
            Err(refusal) => return Err(Refused::new(account, refusal)),
        };
        account.command = command.is_some();
        let deadline = self.deadline(&account, &method, deadline);
        let counted = match self.house.admit((&agreement, &plan), &method, self.house.millis(), &mut account) {
            Ok(counted) => counted,
            Err(refusal) => return Err(Refused::new(account, refusal)),
        };
        Ok(Box::new(Permitted {
            account,
            rules,
            metadata,
            application,
            provider,
            system,
            method,
            plan,
            agreement,
            message,
            stream,
            deadline,
            cancel,
            command,
            counted,
        }))
    }

    /// Returns the one message, held against the contract, or the stream, whose messages are as they come.
    fn one_or_stream(
        &self,
        method: &Method,
        request: Request,
        rules: &Rules,
    ) -> Result<(Bytes, Option<RequestBody>), Refusal> {
        match (request, method.shape().streams_requests()) {
            (Request::Stream(body), true) => Ok((Bytes::new(), Some(body))),
            (Request::Unfit(refusal), _) => Err(of_version(*refusal, method, rules)),
            // The contract changed between the arrival of the call and now.
            (Request::Stream(_), false) | (Request::One(_), true) => {
                Err(refuse(Reason::Malformed, "the method's contract has just changed; ask again"))
            }
            (Request::One(message), false) => {
                let request = framing::single(&message, self.house.limits.message()).map_err(unframed)?;
                let misfit = |e| of_version(Refusal::misfit(e, Hop::Consumer), method, rules);
                method.check_request(&request).map_err(misfit)?;
                Ok((message, None))
            }
        }
    }

    #[expect(clippy::unused_self, reason = "a verb of the consumer")]
    fn deadline(&self, account: &Account, method: &Method, clients: Option<Instant>) -> Option<Instant> {
        let by_contract = method.deadline().and_then(|d| account.arrived.checked_add(d));
        let least = deadline::earlier(clients, by_contract);
        if method.shape() == Shape::Unary {
            least.or_else(|| account.arrived.checked_add(deadline::UNARY_DEFAULT))
        } else {
            least
        }
    }

    fn look_up(
        &self,
        rules: &Rules,
        query: &Query,
        metadata: &CallMetadata,
        provider: &MemberId,
    ) -> Result<(Arc<Method>, Arc<Plan>, Arc<Agreement>), Refusal> {
        let Some(purpose) = metadata.purpose.as_deref() else {
            return Err(refuse(Reason::Metadata, "set `drawbridge-purpose` to the purpose that the call is made for"));
        };
        let now = (self.house.clock)();
        let Some(method) = rules.contracts.method(&query.path) else {
            let service = query.path.trim_start_matches('/').split('/').next().unwrap_or_default();
            if rules.agreements.usable_services(&query.system, now).contains_key(service) {
                return Err(refuse(Reason::UnknownMethod, format!("the contract `{service}` has no such method")));
            }
            let told = format!("no contract or agreement of `{}` knows what was called", query.system);
            return Err(refuse(Reason::NoAgreement, told));
        };
        let ask = ask(&query.system, provider, method.path(), purpose, metadata);
        let permit = rules.agreements.permit(&ask, now).map_err(|denial| to_our_own(&denial))?;
        // As the version has it that was agreed on: the provider may have no later one.
        Ok((permit.plan.method.clone(), permit.plan, permit.agreement))
    }
}

/// To the systems of its own member a gateway explains a denial fully.
fn to_our_own(denial: &Denial) -> Refusal {
    let reason = match denial {
        Denial::NoAgreement(_) | Denial::WrongSystem { .. } | Denial::NotYetInForce { .. } => Reason::NoAgreement,
        Denial::WrongPurpose { .. } => Reason::WrongPurpose,
        Denial::AgreementEnded { .. } => Reason::AgreementEnded,
        Denial::MissingMetadata { .. } => Reason::Metadata,
        Denial::ContractMismatch { .. } => Reason::ContractMismatch,
    };
    refuse(reason, format!("{denial}; {}", denial.help()))
}

fn note(account: &mut Account, metadata: &CallMetadata) {
    let private = &mut account.private;
    private.purpose = metadata.purpose.clone().unwrap_or_default();
    private.case_reference = metadata.case.clone().unwrap_or_default();
    private.justification = metadata.justification.clone().unwrap_or_default();
    if let Some((id, role)) = &metadata.actor {
        private.actor.clone_from(id);
        private.actor_role.clone_from(role);
    }
}
