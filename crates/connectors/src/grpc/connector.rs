//! Passes a method on to a back end that serves it itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use contract::Method;
use futures_core::future::BoxFuture;
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use crate::bindings::{Complaint, Limits};
use crate::grpc::channel::{Channel, Reply};
use crate::grpc::messages::Messages;
use crate::grpc::outgoing::Outgoing;
use crate::{Answer, Ask, Connector, ConnectorError, Failure};

/// One method of one back end.
#[derive(Debug)]
pub(crate) struct GrpcConnector {
    channel: Arc<Channel>,
    uri: Uri,
    streams: bool,
    limits: Limits,
}

impl GrpcConnector {
    /// Makes the connector, or says what does not fit. The back end is not asked.
    pub(crate) fn prepare(method: &Method, channel: Arc<Channel>, limits: Limits) -> Result<Self, Vec<Complaint>> {
        let complaint = |what: String, help: &str| vec![Complaint::new("kind", what, help)];
        let named = method.path().trim_start_matches('/');
        let streams = method.shape().streams_answers();
        let uri = channel
            .uri(method.path())
            .map_err(|_| complaint(format!("`{named}` cannot be the path of a request"), "rename the method"))?;
        Ok(Self { channel, uri, streams, limits })
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, ConnectorError> {
        let deadline = self.limits.deadline(ask.deadline);
        let answer = self.ask_in_time(ask, deadline);
        match deadline {
            None => answer.await,
            Some(deadline) => {
                tokio::time::timeout_at(deadline.into(), answer).await.unwrap_or(Err(ConnectorError::Timeout))
            }
        }
    }

    async fn ask_in_time(&self, ask: Ask, deadline: Option<Instant>) -> Result<Answer, ConnectorError> {
        let Ask { request, requests, metadata, listener, .. } = ask;
        let body = match requests {
            None => Outgoing::one(&request)?,
            Some(requests) => Outgoing::stream(requests),
        };
        let reply = self.send(self.uri.clone(), &body, &metadata, deadline).await?;
        let mut messages = Messages::of(reply, self.limits.message, deadline, listener)?;
        if self.streams {
            let messages = stream::try_unfold(messages, |mut messages| async move {
                let message = messages.next().await?;
                Ok(message.map(|message| (message, messages)))
            });
            return Ok(Answer { messages: messages.boxed() });
        }
        let message = only(&mut messages).await?;
        Ok(Answer { messages: stream::once(std::future::ready(Ok(message))).boxed() })
    }

    /// Asks the back end's own health service, as every path to a method has it in common with the method.
    pub(super) async fn ask_health(&self, deadline: Instant) -> Result<Bytes, ConnectorError> {
        let uri = self
            .channel
            .uri("/grpc.health.v1.Health/Check")
            .map_err(|_| ConnectorError::Failed { why: Failure::Internal })?;
        let asked = async {
            let body = Outgoing::one(&Bytes::new())?;
            let reply = self.send(uri, &body, &[], Some(deadline)).await?;
            let mut messages = Messages::of(reply, self.limits.message, Some(deadline), None)?;
            only(&mut messages).await
        };
        tokio::time::timeout_at(deadline.into(), asked).await.unwrap_or(Err(ConnectorError::Timeout))
    }

    async fn send(
        &self,
        uri: Uri,
        body: &Outgoing,
        metadata: &[(String, String)],
        deadline: Option<Instant>,
    ) -> Result<Reply, ConnectorError> {
        let request = || {
            let mut request = Request::new(body.next()?);
            *request.method_mut() = http::Method::POST;
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers(metadata, deadline)?;
            Ok(request)
        };
        let reply = self.channel.send(request).await?;
        body.settle();
        Ok(reply)
    }
}

impl Connector for GrpcConnector {
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, ConnectorError>> {
        Box::pin(self.ask(ask))
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(super::healthcheck::check(self))
    }
}

/// Takes the only message of a call that went well.
async fn only(messages: &mut Messages) -> Result<Bytes, ConnectorError> {
    let Some(message) = messages.next().await? else {
        return Err(ConnectorError::Malformed { what: "it says `OK` without a message" });
    };
    match messages.next().await? {
        None => Ok(message),
        Some(_) => Err(ConnectorError::Malformed { what: "more than one message answers a unary call" }),
    }
}

fn headers(metadata: &[(String, String)], deadline: Option<Instant>) -> Result<HeaderMap, ConnectorError> {
    let mut headers = HeaderMap::with_capacity(metadata.len() + 6);
    for (name, value) in metadata {
        let unsendable = || ConnectorError::Failed { why: Failure::Metadata };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable())?;
        if crosses(name.as_str()) {
            headers.append(name, HeaderValue::from_str(value).map_err(|_| unsendable())?);
        }
    }
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("drawbridge/", env!("CARGO_PKG_VERSION"))));
    headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
    if let Some(deadline) = deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ConnectorError::Timeout);
        }
        headers.insert("grpc-timeout", timeout(left));
    }
    Ok(headers)
}

/// Whether a name may be metadata. HTTP's and gRPC's own are not, and neither is what lets somebody in.
fn crosses(name: &str) -> bool {
    const OWN: &[&str] = &[
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "keep-alive",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    ];
    !OWN.contains(&name) && !name.starts_with("grpc-") && !name.starts_with("proxy-")
}

/// Writes a length of time as gRPC does: at most eight digits and a unit.
pub(super) fn timeout(left: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let (number, unit) = match (left.as_micros(), left.as_millis()) {
        (micros, _) if micros <= MOST => (micros.max(1), 'u'),
        (_, millis) if millis <= MOST => (millis, 'm'),
        _ => (u128::from(left.as_secs()).min(MOST), 'S'),
    };
    // Digits and a letter are always a header value.
    HeaderValue::try_from(format!("{number}{unit}")).unwrap_or(HeaderValue::from_static("1u"))
}
