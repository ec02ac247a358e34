//! A streamed request on its way to the provider's gateway: taken in from the own system, handed on, closed with signed claims.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use prost::Message as _;
use proto::link::ConsumerClosing;
use records::receipt;
use tokio_util::sync::CancellationToken;

use crate::{
    headers::Signed,
    intake::{End, Intake, Sink, Taken},
    pipe,
    ports::Gone,
    refusal::Refusal,
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

/// What was sent of a streamed request.
pub(super) struct Uploaded {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) digest: [u8; 32],
    /// The closing claims, where the request is whole.
    pub(super) closing: Option<Signed>,
    /// Why it may not go on.
    pub(super) refusal: Option<Refusal>,
}

/// Sends the messages of a streamed request, and signs the whole of it.
pub(super) async fn upload(intake: Intake<Outgoing>, stop: CancellationToken) -> Uploaded {
    let (house, exchange_id) = (intake.house.clone(), intake.account.shared.exchange_id.clone());
    let Taken { messages, bytes, digest, end } = intake.run(stop).await;
    let mut uploaded = Uploaded { messages, bytes, digest, closing: None, refusal: None };
    match end {
        End::Stopped => {}
        End::Refused(refusal) => uploaded.refusal = Some(refusal),
        End::Whole(_, outgoing) => {
            let claims = ConsumerClosing { exchange_id, request_digest: digest.to_vec().into(), messages };
            let claims = claims.encode_to_vec();
            let seal = house.sealer.seal(receipt::CONSUMER_CLOSING, claims.clone()).await;
            let signed = Signed { claims: claims.into(), seal: Some(receipt::seal_to_wire(&seal)), leaf: None };
            let mut trailers = HeaderMap::new();
            signed.write(&mut trailers);
            uploaded.closing = Some(signed);
            // A provider that has answered already does not read it any more.
            let _ = outgoing.0.finish(trailers).await;
        }
    }
    uploaded
}
