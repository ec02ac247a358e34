//! The clients' port: ordinary gRPC from the systems of one's own member.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use exchange::{
    Answer, ApplicationMetadata, Consumer, Head, Hop, House, Query, Reason, Refusal, headers,
    ports::{Gone, Outlet},
};
use federation::{MemberId, SystemId};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Frame;
use link::{Body, Incoming, server::Caller};

use crate::{
    calls::{self, Held},
    compression::{self, Coding, Packer},
    lingering::read_on,
    observe::Observer,
    places::{Holder, Place, Places},
    ports::{BodyOutlet, STREAM_BUFFER},
    rest::{self, Rest},
    services::Services,
    settings::InForce,
    web,
};

/// What a system of the own member is told for whose exchange there is no place.
pub(crate) const NO_PLACE: &str = "the gateway has as many exchanges at once as it takes";

/// Serves the clients' port on one runtime.
pub(crate) struct Clients {
    pub(crate) house: Arc<House>,
    pub(crate) consumer: Arc<Consumer>,
    pub(crate) services: Services,
    pub(crate) observer: Arc<Observer>,
    pub(crate) places: Arc<Places>,
    pub(crate) settings: InForce,
    /// JSON over HTTP, where the settings allow it.
    pub(crate) rest: Arc<Rest>,
}

impl Clients {
    /// Answers one request.
    pub(crate) async fn serve(
        self: Arc<Self>,
        caller: Arc<Caller<SystemId>>,
        request: Request<Incoming>,
    ) -> Response<ClientBody> {
        if !rest::says_host(&request) {
            return rest::no_host(request);
        }
        if !calls::is_grpc(request.headers()) && self.settings.load().rest() {
            if let Some(forms) = web::Forms::of(request.headers()) {
                return Box::pin(web::serve(self, caller, (forms, request))).await;
            }
            let rest = self.rest.clone();
            return Box::pin(rest.serve(self, &caller.peer, request)).await;
        }
        // HTTP/1.1 loses the trailers of whom does not ask for them, and with them how a call ended.
        if request.version() < Version::HTTP_2 {
            return calls::bare(StatusCode::HTTP_VERSION_NOT_SUPPORTED).map(ClientBody::ours);
        }
        self.grpc(caller, request).await
    }

    /// Says of a request that its metadata is too long, where that is so.
    pub(crate) fn long_header(&self, request: &Request<Incoming>) -> Option<String> {
        let (size, most) = (calls::header_list(request), self.settings.load().header());
        let told = "of metadata, each field counted with 32 more, and this gateway takes";
        (size > most).then(|| format!("the request has {size} bytes {told} {most} (`header` in its `[limits]`)"))
    }

    /// Largest message of a request, and the time to read one.
    pub(crate) fn request_limits(&self) -> (usize, Duration) {
        (self.house.limits.message(), self.settings.load().request_timeout())
    }

    /// Takes a place for an exchange of `system`; none where there is no room for it.
    pub(crate) async fn place(&self, system: &SystemId) -> Option<Place> {
        self.places.take(&Holder::System(system.clone())).await
    }

    /// Who is asked when a call of `system` names nobody.
    pub(crate) fn default_provider(&self, system: &SystemId) -> Option<MemberId> {
        self.settings.load().systems.get(system).cloned().flatten()
    }

    /// Answers one request of gRPC.
    pub(crate) async fn grpc(
        self: Arc<Self>,
        caller: Arc<Caller<SystemId>>,
        request: Request<Incoming>,
    ) -> Response<ClientBody> {
        let unfit = match *request.method() {
            Method::POST if calls::is_grpc(request.headers()) => None,
            Method::POST => Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            _ => Some(StatusCode::METHOD_NOT_ALLOWED),
        };
        if let Some(status) = unfit {
            read_on(request);
            return calls::bare(status).map(ClientBody::ours);
        }
        if let Some(told) = self.long_header(&request) {
            read_on(request);
            let refusal = Refusal::new(Reason::TooLarge, Hop::Consumer, told);
            return calls::status_only(&self.house.unrecorded_status(&refusal), Some(Hop::Consumer))
                .map(ClientBody::ours);
        }
        let path = request.uri().path();
        if Services::serve(path) {
            let request = Coding::of(request.headers()).plain(request, self.house.limits.message());
            return Box::pin(self.services.call(caller.peer.clone(), request)).await.map(ClientBody::Tonic);
        }
        let Some(place) = self.place(&caller.peer).await else {
            self.observer.shed("consumer");
            let refusal = Refusal::new(Reason::Overloaded, Hop::Consumer, NO_PLACE);
            return calls::status_only(&self.house.unrecorded_status(&refusal), Some(Hop::Consumer))
                .map(ClientBody::ours);
        };
        self.exchange(&caller.peer, request, place).await
    }

    async fn exchange(
        self: Arc<Self>,
        system: &SystemId,
        request: Request<Incoming>,
        place: Place,
    ) -> Response<ClientBody> {
        let arrived = Instant::now();
        let (parts, body) = request.into_parts();
        let deadline = calls::deadline_of(&parts.headers);
        let (cancel, guard) = calls::cancellation();
        let limits = self.request_limits();
        let method = self.house.rules.load().contracts.method(parts.uri.path()).cloned();
        let streams = method.is_some_and(|method| method.shape().streams_requests());
        let Ok(request) = calls::read_request(body, streams, limits).await else {
            let refusal = Refusal::new(Reason::Cancelled, Hop::Consumer, "the request did not arrive in time");
            return calls::status_only(&self.house.unrecorded_status(&refusal), Some(Hop::Consumer))
                .map(ClientBody::ours);
        };
        let coding = Coding::of(&parts.headers);
        let request = coding.unpack(request, self.house.limits.message()).await;
        let query = Query {
            system: system.clone(),
            default_provider: self.default_provider(system),
            path: parts.uri.path().to_owned(),
            headers: parts.headers,
            request,
            deadline,
            cancel,
        };
        let (begun, head) = tokio::sync::oneshot::channel();
        let task = self.clone().run((query, coding, arrived), place, begun);
        // A stream outlives its head: only until then does this future stand for the caller.
        let response = calls::head_of(tracing::Instrument::instrument(task, calls::span("consumer")), head).await;
        let _ = guard.disarm();
        response.unwrap_or_else(|| calls::bare(StatusCode::INTERNAL_SERVER_ERROR).map(ClientBody::ours))
    }

    /// Runs one exchange to its end; the head goes out as soon as it is there.
    async fn run(self: Arc<Self>, (query, coding, arrived): (Query, Coding, Instant), place: Place, begun: Begun) {
        match self.consumer.serve(query).await {
            Answer::Unary(answer) => {
                self.observer.settled(&answer.settled, arrived);
                let _ = begun.send(whole(answer, coding, place));
            }
            Answer::Stream(stream) => {
                let (sender, body) = Body::channel(STREAM_BUFFER);
                let body = ClientBody::Ours(Held::until_sent(body, place.clone()));
                let head = calls::respond(initial(&stream.head, coding), body);
                let (outlet, packer) = (BodyOutlet(sender), coding.packer());
                let mut outlet = GrpcOutlet { outlet, packer, waiting: Some((begun, head)) };
                let answer = Box::pin(stream.run(&self.consumer, &mut outlet)).await;
                self.observer.settled(&answer.settled, arrived);
                outlet.end(&answer);
                drop(place);
            }
        }
    }
}

/// Where the head of a response goes.
type Begun = tokio::sync::oneshot::Sender<Response<ClientBody>>;

/// A stream of answers in gRPC. Its head waits for what opens the answer, where metadata may cross.
struct GrpcOutlet {
    outlet: BodyOutlet,
    /// Compresses the messages, where the caller does.
    packer: Option<Packer>,
    waiting: Option<(Begun, Response<ClientBody>)>,
}

impl GrpcOutlet {
    fn end(mut self, answer: &exchange::UnaryAnswer) {
        self.begin(&answer.said.initial);
        self.outlet.0.finish(Some(trailers(answer)));
    }
}

impl Outlet for GrpcOutlet {
    fn begin(&mut self, metadata: &ApplicationMetadata) {
        if let Some((begun, mut head)) = self.waiting.take() {
            metadata.write(head.headers_mut());
            // Where nobody waits any more the exchange learns it from the closed body.
            let _ = begun.send(head);
        }
    }

    async fn send(&mut self, chunk: Bytes) -> Result<(), Gone> {
        let Some(packer) = &mut self.packer else { return self.outlet.send(chunk).await };
        let packed = packer.feed(&chunk);
        if packed.is_empty() { Ok(()) } else { self.outlet.send(packed).await }
    }

    async fn gone(&mut self) {
        self.outlet.gone().await;
    }
}

fn initial(head: &Head, coding: Coding) -> HeaderMap {
    let mut map = calls::grpc_head();
    coding.write(&mut map);
    if let Ok(value) = HeaderValue::try_from(head.exchange.to_string()) {
        map.insert(headers::EXCHANGE_ID, value);
    }
    let withheld = head.withheld.map(|digest| contract::Digest(digest).to_string());
    if let Some(value) = withheld.and_then(|text| HeaderValue::try_from(text).ok()) {
        map.insert(headers::WITHHELD, value);
    }
    map
}

fn trailers(answer: &exchange::UnaryAnswer) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(4);
    headers::write_status(&answer.status, &mut map);
    if let Some(hop) = answer.hop {
        map.insert(headers::HOP, HeaderValue::from_static(hop.as_str()));
    }
    answer.said.trailing.write(&mut map);
    map
}

fn whole(answer: exchange::UnaryAnswer, coding: Coding, place: Place) -> Response<ClientBody> {
    let trailers = trailers(&answer);
    let body = Body::full(coding.pack(answer.message.unwrap_or_default()), Some(trailers));
    let mut head = initial(&answer.head, coding);
    answer.said.initial.write(&mut head);
    if answer.status.code == tonic::Code::Unimplemented as i32 {
        // A message that says it is compressed, and not how, is told what is taken too.
        compression::say_taken(&mut head);
    }
    calls::respond(head, ClientBody::Ours(Held::until_sent(body, place)))
}

/// A body of the clients' port.
pub(crate) enum ClientBody {
    /// Of an exchange.
    Ours(Held),
    /// Of a service that tonic serves.
    Tonic(tonic::body::Body),
}

impl ClientBody {
    pub(crate) fn ours(body: Body) -> Self {
        Self::Ours(Held::free(body))
    }
}

impl http_body::Body for ClientBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Ours(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Tonic(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ours(body) => body.is_end_stream(),
            Self::Tonic(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Ours(body) => body.size_hint(),
            Self::Tonic(body) => body.size_hint(),
        }
    }
}
