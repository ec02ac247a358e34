//! A streamed request on its way to the provider's gateway: taken in from the own system, handed on, closed with signed claims.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use prost::Message as _;
use proto::link::ConsumerClosing;
use records::receipt;
use tokio_util::sync::CancellationToken;

use crate::{
    headers::Signed,
    intake::{Intake, Sink, Streamed},
    pipe,
    ports::Gone,
};

/// The request's body on the link.
pub(super) struct Outgoing(pub(super) pipe::Sender);

impl Sink for Outgoing {
    async fn take(&mut self, messages: Vec<Bytes>) -> Result<(), Gone> {
        let chunk = match messages.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            several => {
                let mut chunk = BytesMut::with_capacity(several.iter().map(Bytes::len).sum());
                for message in several {
                    chunk.extend_from_slice(message);
                }
                chunk.freeze()
            }
        };
        self.0.send(chunk).await
    }

    async fn gone(&mut self) {
        self.0.gone().await;
    }
}

/// Sends the messages of a streamed request, and signs the whole of it.
pub(super) async fn upload(intake: Intake<Outgoing>, stop: CancellationToken) -> Streamed {
    let (house, exchange_id) = (intake.house.clone(), intake.account.shared.exchange_id.clone());
    let (mut uploaded, whole) = intake.run(stop).await;
    let Some((_, outgoing)) = whole else { return uploaded };
    let request_digest = uploaded.digest.to_vec().into();
    let claims = ConsumerClosing { exchange_id, request_digest, messages: uploaded.messages }.encode_to_vec();
    let seal = house.sealer.seal(receipt::CONSUMER_CLOSING, claims.clone()).await;
    let signed = Signed { claims: claims.into(), seal: Some(receipt::seal_to_wire(&seal)), leaf: None };
    let mut trailers = HeaderMap::new();
    signed.write(&mut trailers);
    uploaded.closing = Some(signed);
    // A provider that has answered already does not read it any more.
    let _ = outgoing.0.finish(trailers).await;
    uploaded
}
