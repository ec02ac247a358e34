//! Is this really that member's question, and is it asked for the first time?

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use federation::{GatewayEntry, GatewayId};
use ledger::{Promise, Seal as ReadSeal, SealError, SealVerifier};
use note::VerifierKey;
use prost::Message as _;
use proto::link::{ConsumerClaims, Seal};
use records::{ExchangeId, receipt};
use tokio_util::sync::CancellationToken;

use super::{Call, Provider, Refused};
use crate::{
    account::Account,
    application::ApplicationMetadata,
    digests,
    framing::{self, FramingError},
    headers::Signed,
    house::{House, Rules},
    metadata::{MAX_JUSTIFICATION_BYTES, MAX_REFERENCE_BYTES},
    ports::{Request, RequestBody},
    refusal::{Hop, Reason, Refusal},
    replay::NotTaken,
    trace::{Verb, is_trace_parent},
};

/// Keys whose verifiers are kept, with the batches that they have verified.
const MAX_VERIFIERS: usize = 1024;

/// Verifiers of gateway keys. One a key, so that verified batches are remembered.
#[derive(Default)]
pub(crate) struct Verifiers {
    by_key: RwLock<HashMap<VerifierKey, Arc<SealVerifier>>>,
}

impl Verifiers {
    pub(crate) fn of(&self, key: &VerifierKey) -> Arc<SealVerifier> {
        if let Some(verifier) = self.by_key.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return verifier.clone();
        }
        let mut by_key = self.by_key.write().unwrap_or_else(PoisonError::into_inner);
        if by_key.len() >= MAX_VERIFIERS {
            by_key.clear();
        }
        by_key.entry(key.clone()).or_insert_with(|| Arc::new(SealVerifier::new(key.clone()))).clone()
    }

    /// Returns the verifiers of the keys that count for a gateway at `now`: of the one that its entry lists, and of former ones until
    /// their time. So a gateway can change its key without an hour at which every member does so at once.
    pub(crate) fn of_gateway(&self, entry: &GatewayEntry, now: SystemTime) -> GatewayVerifiers {
        let former = entry.former_gateway_keys.iter().filter(|former| former.covers(now));
        GatewayVerifiers {
            current: self.of(&entry.gateway_key),
            former: former.map(|former| self.of(&former.key)).collect(),
        }
    }
}

/// Verifiers of the keys that count for one gateway.
pub(crate) struct GatewayVerifiers {
    current: Arc<SealVerifier>,
    former: Vec<Arc<SealVerifier>>,
}

impl GatewayVerifiers {
    /// Verifies a seal by one of the keys.
    ///
    /// # Errors
    ///
    /// That of the current key, where none made it.
    pub(crate) fn verify(
        &self,
        tag: &str,
        claims: &[u8],
        promise: Option<&Promise>,
        seal: &ReadSeal,
    ) -> Result<(), SealError> {
        let by_current = self.current.verify(tag, claims, promise, seal);
        if by_current.is_ok() || self.former.iter().any(|former| former.verify(tag, claims, promise, seal).is_ok()) {
            return Ok(());
        }
        by_current
    }
}

/// A question whose claims are genuine and fresh.
pub(crate) struct Verified {
    pub(super) account: Box<Account>,
    pub(super) claims: Box<ConsumerClaims>,
    /// The application's metadata, as it was signed.
    pub(super) application: ApplicationMetadata,
    pub(super) rules: Arc<Rules>,
    /// The gateway in the link's certificate.
    pub(super) peer: GatewayId,
    /// The request, without its prefix; empty where it is a stream.
    pub(super) request: Bytes,
    /// The request where it is a stream, until it is read.
    pub(super) stream: Option<RequestBody>,
    pub(super) path: String,
    pub(super) deadline: Option<Instant>,
    pub(super) cancel: CancellationToken,
}

impl Verified {
    pub(super) fn refuse(self, refusal: Refusal) -> Box<Refused> {
        let nonce = self.claims.nonce.clone();
        let mut refused = Refused::new(self.account, refusal);
        refused.nonce = nonce;
        refused
    }
}

impl Provider {
    /// Holds the claims against the link, their signature, the session and the clock.
    pub(super) fn verify(&self, call: Call) -> Result<Verified, Box<Refused>> {
        let mut account = self.account(&call);
        let bad = |what: &str| Refusal::new(Reason::BadClaims, Hop::Provider, what);
        let Some(Signed { claims: bytes, seal, .. }) = Signed::read(&call.headers) else {
            return Err(Refused::new(account, bad("the claims are missing or cannot be read")));
        };
        let Ok(claims) = ConsumerClaims::decode(bytes.clone()).map(Box::new) else {
            return Err(Refused::new(account, bad("the claims cannot be read")));
        };
        if let Err(what) = self.fits_link(&claims, &call) {
            // Whatever the claims say of themselves is not theirs to say here: only the link's member is recorded.
            return Err(Refused::new(account, bad(what)));
        }
        let rules = self.house.rules.load_full();
        let seal = match self.signature(&rules, &call, &bytes, seal) {
            Ok(seal) => seal,
            Err(what) => return Err(Refused::new(account, bad(what))),
        };
        fill(&self.house, &mut account, &claims, (bytes, seal));
        let nonce = claims.nonce.clone();
        let fresh = self.fresh(&claims, &call);
        let application = ApplicationMetadata::of_request(&call.headers, &claims).map_err(|what| (bad(what), 0));
        let Call { peer, path, deadline, cancel, request, .. } = call;
        let checked = fresh.and(application).and_then(|application| match request {
            Request::One(message) => {
                let request =
                    framing::single(&message, self.house.limits.message()).map_err(|e| framing_refusal(&e))?;
                let digest = digests::of_request(&claims.nonce, &message);
                if claims.request_digest.as_ref() == digest {
                    return Ok((application, request, None));
                }
                Err((bad("the request is not the one that was signed"), 0))
            }
            Request::Unfit(refusal) => Err((*refusal, 0)),
            // Its digest comes with the closing claims.
            Request::Stream(body) if claims.request_digest.is_empty() => Ok((application, Bytes::new(), Some(body))),
            Request::Stream(_) => Err((bad("the claims hold the digest of a request that is a stream"), 0)),
        });
        match checked {
            Ok((application, request, stream)) => {
                account.private.request_metadata = application.keys();
                Ok(Verified { account, claims, application, rules, peer, request, stream, path, deadline, cancel })
            }
            Err((refusal, clock_difference)) => {
                let mut refused = Refused::new(account, refusal);
                (refused.clock_difference, refused.nonce) = (clock_difference, nonce);
                Err(refused)
            }
        }
    }

    /// Claims are bound to TLS: member and gateway equal the link's certificate, without exception.
    fn fits_link(&self, claims: &ConsumerClaims, call: &Call) -> Result<(), &'static str> {
        let own = &self.house.gateway;
        if claims.consumer != call.peer.member().as_ref() || claims.consumer_gateway != call.peer.name() {
            return Err("the claims name another gateway than the link's certificate");
        }
        if claims.provider != own.member().as_ref() || claims.provider_gateway != own.name() {
            return Err("the claims are addressed to another gateway");
        }
        if claims.method != call.path {
            return Err("the claims name another method than the request");
        }
        let actor = claims.actor.as_ref().map_or(0, |actor| actor.id.len().saturating_add(actor.role.len()));
        if actor > MAX_REFERENCE_BYTES
            || claims.case_reference.len() > MAX_REFERENCE_BYTES
            || claims.justification.len() > MAX_JUSTIFICATION_BYTES
        {
            return Err("the acting person, the case or the justification is above its limit");
        }
        if claims.nonce.len() != 32
            || claims.contract_digest.len() != 32
            || ExchangeId::from_bytes(&claims.exchange_id).is_err()
        {
            return Err("the claims hold a malformed id, nonce or digest");
        }
        Ok(())
    }

    fn signature(&self, rules: &Rules, call: &Call, claims: &[u8], seal: Option<Seal>) -> Result<Seal, &'static str> {
        let entry = rules.federation.gateway(&call.peer).ok_or("the directory does not list the gateway")?;
        let seal = seal.ok_or("the signature is missing or cannot be read")?;
        let read = receipt::seal_from_wire(&seal).ok_or("the signature is malformed")?;
        let verifiers = self.verifiers.of_gateway(entry, (self.house.clock)());
        verifiers
            .verify(receipt::CONSUMER_CLAIMS, claims, None, &read)
            .map_err(|_| "the signature is not by the gateway's key over these claims")?;
        Ok(seal)
    }

    /// Session, clock, sequence: in this order, so that nothing unproven uses up a number.
    fn fresh(&self, claims: &ConsumerClaims, call: &Call) -> Result<(), (Refusal, i64)> {
        let refuse = |reason, what: String| Refusal::new(reason, Hop::Provider, what);
        if !self.sessions.knows(&call.peer, &claims.session) {
            return Err((refuse(Reason::StaleSession, "the session is not known here; open another".to_owned()), 0));
        }
        let now = self.house.millis();
        if now.abs_diff(claims.time) > self.house.limits.clock_skew {
            let difference = i64::try_from(i128::from(now) - i128::from(claims.time)).unwrap_or(i64::MAX);
            let what = format!(
                "the provider's clock is {difference} ms ahead of the consumer's, more than {} ms",
                self.house.limits.clock_skew
            );
            return Err((refuse(Reason::ClockSkew, what), difference));
        }
        match self.sessions.take(&call.peer, &claims.session, claims.sequence) {
            Ok(()) => Ok(()),
            Err(NotTaken::Unknown) => {
                Err((refuse(Reason::StaleSession, "the session is not known here; open another".to_owned()), 0))
            }
            Err(NotTaken::Used) => Err((refuse(Reason::Replayed, "the sequence number was used before".to_owned()), 0)),
        }
    }
}

/// Fills the account from claims whose signature is verified.
fn fill(house: &House, account: &mut Account, claims: &ConsumerClaims, (bytes, seal): (Bytes, Seal)) {
    if let Ok(id) = ExchangeId::from_bytes(&claims.exchange_id) {
        account.id = id;
        account.shared.exchange_id = claims.exchange_id.clone();
    }
    account.claims(bytes, Some(seal));
    // It goes into the application log and to back ends: nothing that only looks like one does.
    account.enter(house, Some(claims.trace_parent.as_str()).filter(|text| is_trace_parent(text)), Verb::Verify);
    let private = &mut account.private;
    private.system.clone_from(&claims.consumer_system);
    private.method.clone_from(&claims.method);
    private.purpose.clone_from(&claims.purpose);
    private.case_reference.clone_from(&claims.case_reference);
    private.justification.clone_from(&claims.justification);
    if let Some(actor) = &claims.actor {
        private.actor.clone_from(&actor.id);
        private.actor_role.clone_from(&actor.role);
    }
}

fn framing_refusal(error: &FramingError) -> (Refusal, i64) {
    let reason = if matches!(error, FramingError::TooLarge { .. }) { Reason::TooLarge } else { Reason::Malformed };
    (Refusal::new(reason, Hop::Provider, error.to_string()), 0)
}
