//! The links' port: what other members' gateways ask.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use contract::Digest;
use exchange::{Call, House, Provider, REPLAY_WINDOW, Reply, Sessions, Whole, headers::Signed};
use federation::GatewayId;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use link::{Body, Incoming, server::Caller};
use prost::Message;
use proto::link::{
    ConsumerClaims, EndAgreementRequest, EndAgreementResponse, EndedRequest, EndedResponse, Inclusion, OpenRequest,
    OpenResponse, OutcomeRequest, ProveRequest, ProveResponse,
};

use crate::{
    calls::{self, Held, Unread},
    ends,
    observe::Observer,
    places::{Holder, Places},
    ports::{BodyOutlet, END_AGREEMENT, ENDED, MAX_ENDED, OPEN, OUTCOME, PROTOCOL, PROVE, STREAM_BUFFER},
    settings::InForce,
};

/// Largest request on a control path, in bytes: an end note, or 1,024 indexes.
const CONTROL_BYTES: usize = 64 * 1024;
/// Most proofs in one answer.
const MAX_PROOFS: usize = 1024;

/// Serves the links' port on one runtime.
pub(crate) struct LinksPort {
    pub(crate) house: Arc<House>,
    pub(crate) provider: Arc<Provider>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) places: Arc<Places>,
    pub(crate) settings: InForce,
}

impl LinksPort {
    /// Answers one request.
    pub(crate) async fn serve(
        self: Arc<Self>,
        caller: Arc<Caller<GatewayId>>,
        request: Request<Incoming>,
    ) -> Response<Held> {
        if request.method() != Method::POST {
            return calls::bare(StatusCode::METHOD_NOT_ALLOWED).map(Held::free);
        }
        let control = request.uri().path().strip_prefix("/drawbridge.link.").is_some();
        if control {
            Box::pin(self.control(&caller.peer, request)).await.map(Held::free)
        } else {
            self.exchange(&caller.peer, request).await
        }
    }

    async fn exchange(self: Arc<Self>, peer: &GatewayId, request: Request<Incoming>) -> Response<Held> {
        let Some(place) = self.places.take(&Holder::Member(peer.member().clone())).await else {
            self.observer.shed("provider");
            let refusal = exchange::Refusal::new(
                exchange::Reason::Overloaded,
                exchange::Hop::Provider,
                "the provider's gateway has as many exchanges of this member, or of all, at once as it takes",
            );
            return calls::status_only(&self.house.unrecorded_status(&refusal), None).map(Held::free);
        };
        let arrived = Instant::now();
        let (parts, body) = request.into_parts();
        let deadline = calls::deadline_of(&parts.headers);
        let (cancel, guard) = calls::cancellation();
        let limits = (self.house.limits.message(), self.settings.load().request_timeout());
        let Ok(request) = calls::read_request(body, streams(&parts.headers), limits).await else {
            return calls::bare(StatusCode::REQUEST_TIMEOUT).map(Held::free);
        };
        let call = Call {
            peer: peer.clone(),
            path: parts.uri.path().to_owned(),
            headers: parts.headers,
            request,
            deadline,
            cancel,
        };
        let span = calls::span("provider");
        let this = self.clone();
        let (begun, head) = tokio::sync::oneshot::channel();
        let task = async move {
            match this.provider.serve(call).await {
                Reply::Whole(whole) => {
                    this.observer.settled(&whole.settled, arrived);
                    let _ = begun.send(respond(whole).map(|body| Held::until_sent(body, place)));
                }
                Reply::Stream(stream) => {
                    let (sender, body) = Body::channel(STREAM_BUFFER);
                    let mut headers = calls::grpc_head();
                    headers.extend(stream.headers());
                    let _ = begun.send(calls::respond(headers, Held::until_sent(body, place.clone())));
                    let mut outlet = BodyOutlet(sender);
                    let whole = Box::pin(stream.run(&this.provider, &mut outlet)).await;
                    this.observer.settled(&whole.settled, arrived);
                    outlet.0.finish(Some(whole.trailers));
                    drop(place);
                }
            }
        };
        let response = calls::head_of(tracing::Instrument::instrument(task, span), head).await;
        let _ = guard.disarm();
        response.unwrap_or_else(|| calls::bare(StatusCode::INTERNAL_SERVER_ERROR).map(Held::free))
    }

    async fn control(&self, peer: &GatewayId, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let timeout = self.settings.load().request_timeout();
        let body = match calls::read_message(request.into_body(), CONTROL_BYTES, timeout).await {
            Ok(body) => body,
            Err(Unread::TooLarge) => return calls::bare(StatusCode::PAYLOAD_TOO_LARGE),
            Err(Unread::TooSlow) => return calls::bare(StatusCode::REQUEST_TIMEOUT),
            Err(Unread::Gone | Unread::Unfit) => return calls::bare(StatusCode::BAD_REQUEST),
        };
        match path.as_str() {
            OPEN => self.open(peer, body),
            PROVE => self.prove(body).await,
            OUTCOME => self.outcome(peer, body).await,
            END_AGREEMENT => self.end_agreement(peer, body),
            ENDED => self.ended(peer, body),
            _ => calls::bare(StatusCode::NOT_FOUND),
        }
    }

    fn open(&self, peer: &GatewayId, body: Bytes) -> Response<Body> {
        match OpenRequest::decode(body) {
            Ok(request) if request.protocol == PROTOCOL => {}
            Ok(request) => {
                let (theirs, ours) = (request.protocol, PROTOCOL);
                tracing::warn!(%peer, theirs, ours, "a gateway speaks another version of the link protocol");
                return calls::bare(StatusCode::NOT_IMPLEMENTED);
            }
            Err(_) => return calls::bare(StatusCode::BAD_REQUEST),
        }
        let Some(session) = self.sessions.open(peer) else {
            return calls::bare(StatusCode::SERVICE_UNAVAILABLE);
        };
        let session = Bytes::copy_from_slice(&session);
        let window = u32::try_from(REPLAY_WINDOW).unwrap_or(u32::MAX);
        message(&OpenResponse { protocol: PROTOCOL, session, window, time: self.house.millis() })
    }

    /// Proves what was promised. Any gateway of the federation may ask: leaves are salted, and say nothing.
    async fn prove(&self, body: Bytes) -> Response<Body> {
        let Ok(request) = ProveRequest::decode(body) else {
            return calls::bare(StatusCode::BAD_REQUEST);
        };
        if request.indexes.len() > MAX_PROOFS {
            return calls::bare(StatusCode::BAD_REQUEST);
        }
        let ledger = self.house.records.ledger().clone();
        // Tiles are read from disk: not on the runtime that carries exchanges.
        let proved = tokio::task::spawn_blocking(move || prove(&ledger, &request)).await;
        match proved {
            Ok(Ok(response)) => message(&response),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot prove what was asked");
                calls::bare(StatusCode::BAD_REQUEST)
            }
            Err(_) => calls::bare(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// Says what became of a command whose answer was lost with the link.
    async fn outcome(&self, peer: &GatewayId, body: Bytes) -> Response<Body> {
        let Ok(request) = OutcomeRequest::decode(body) else {
            return calls::bare(StatusCode::BAD_REQUEST);
        };
        match self.provider.outcome(peer, &request).await {
            Ok(response) => message(&response),
            Err(error) => {
                tracing::error!(error = %crate::load::chain(&error), "cannot say what became of a command");
                calls::bare(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// Tells a party which of its agreements are ended. Of others it tells nothing.
    fn ended(&self, peer: &GatewayId, body: Bytes) -> Response<Body> {
        let Ok(request) = EndedRequest::decode(body) else {
            return calls::bare(StatusCode::BAD_REQUEST);
        };
        if request.agreements.len() > MAX_ENDED {
            return calls::bare(StatusCode::BAD_REQUEST);
        }
        let rules = self.house.rules.load();
        let digests = request.agreements.iter().filter_map(|digest| Some(Digest(digest.as_ref().try_into().ok()?)));
        let ends = digests.filter_map(|digest| {
            rules.agreements.get(&digest).filter(|agreement| agreement.is_party(peer.member()))?;
            rules.agreements.end(&digest)
        });
        message(&EndedResponse { notes: ends.map(ToString::to_string).collect() })
    }

    fn end_agreement(&self, peer: &GatewayId, body: Bytes) -> Response<Body> {
        let Ok(request) = EndAgreementRequest::decode(body) else {
            return calls::bare(StatusCode::BAD_REQUEST);
        };
        let rules = self.house.rules.load();
        let settings = self.settings.load();
        let agreements = settings.file.path(&settings.file.config.agreements.folder);
        match ends::accept(&request.note, peer, &rules, &agreements) {
            Ok(ends::Accepted::New(id)) => {
                tracing::info!(peer = %peer, agreement = %id, "an end note came over the link");
                message(&EndAgreementResponse {})
            }
            Ok(ends::Accepted::Known) => message(&EndAgreementResponse {}),
            Err(error) => {
                tracing::warn!(peer = %peer, %error, "an end note was refused");
                calls::bare(StatusCode::FORBIDDEN)
            }
        }
    }
}

/// Returns whether a request is a stream, by what the asker says: its contract may be another than this gateway's, and it waits for
/// an answer before it sends the first message.
fn streams(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::CONTENT_LENGTH) {
        return false;
    }
    let claims = Signed::read(headers).and_then(|signed| ConsumerClaims::decode(signed.claims).ok());
    claims.is_some_and(|claims| claims.request_digest.is_empty())
}

/// Leaves that are handed over at once to a gateway that follows the log: 2 MiB.
const MAX_LEAVES: u64 = 65_536;

fn prove(ledger: &ledger::Ledger, request: &ProveRequest) -> Result<ProveResponse, ledger::ProofError> {
    let state = ledger.checkpoint();
    let hashes = |path: Vec<ledger::Hash>| path.iter().map(|h| Bytes::copy_from_slice(&h.0)).collect::<Vec<_>>();
    let mut response = ProveResponse { checkpoint: state.note.to_string(), ..ProveResponse::default() };
    let known = request.known_size;
    if request.follow && known <= state.size && state.size.saturating_sub(known) <= MAX_LEAVES {
        let leaves = ledger.leaf_hashes(known, state.size)?;
        response.leaves = leaves.iter().flat_map(|leaf| leaf.0).collect::<Vec<u8>>().into();
    } else {
        if known > 0 && known <= state.size {
            response.consistency = hashes(ledger.consistency(known, state.size)?);
        }
        response.frontier = hashes(ledger.frontier(state.size)?);
    }
    for index in request.indexes.iter().copied().filter(|index| *index < state.size) {
        response.inclusions.push(Inclusion { index, path: hashes(ledger.inclusion(index, state.size)?) });
    }
    Ok(response)
}

fn respond(whole: Whole) -> Response<Body> {
    if let Some(message) = whole.message {
        calls::respond(calls::grpc_head(), Body::full(message, Some(whole.trailers)))
    } else {
        let mut headers = calls::grpc_head();
        headers.extend(whole.trailers);
        calls::respond(headers, Body::empty())
    }
}

fn message(message: &impl Message) -> Response<Body> {
    let mut response = Response::new(Body::full(message.encode_to_vec().into(), None));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    response
}
