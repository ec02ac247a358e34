//! A streamed request as it comes over the link: taken in, held against its closing claims, and only then called whole.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures_util::{StreamExt as _, stream};
use http::HeaderMap;
use prost::Message as _;
use proto::link::ConsumerClosing;
use records::receipt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::verify::GatewayVerifiers;
use crate::{
    framing,
    headers::Signed,
    intake::{Intake, Sink, Streamed},
    ports::{Gone, Requests, Withdrawn},
    refusal::{Hop, Reason, Refusal},
};

/// Messages that are read ahead of the legacy system, and their bytes; one that is larger goes alone.
const AHEAD: usize = 16;
const AHEAD_BYTES: u32 = 256 * 1024;

/// A message that waits, and the room that it takes until it is taken out.
type Waiting = (Bytes, OwnedSemaphorePermit);

/// What is handed to the legacy system: messages without prefix, then `None` once the request is whole.
pub(super) struct ToLegacy {
    queue: mpsc::Sender<Option<Waiting>>,
    room: Arc<Semaphore>,
}

/// Returns where messages are put in, and the requests that the legacy system takes out.
pub(super) fn channel() -> (ToLegacy, Requests) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let messages = stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver: mpsc::Receiver<Option<Waiting>> = receiver?;
        match receiver.recv().await {
            Some(Some((message, _room))) => Some((Ok(message), Some(receiver))),
            Some(None) => None,
            None => Some((Err(Withdrawn), None)),
        }
    });
    let room = Arc::new(Semaphore::new(usize::try_from(AHEAD_BYTES).unwrap_or(usize::MAX)));
    (ToLegacy { queue: sender, room }, Requests::Stream(messages.boxed()))
}

impl Sink for ToLegacy {
    async fn take(&mut self, messages: Vec<Bytes>) -> Result<(), Gone> {
        for mut message in messages {
            message.advance(framing::PREFIX.min(message.len()));
            let wanted = u32::try_from(message.len()).unwrap_or(u32::MAX).clamp(1, AHEAD_BYTES);
            // What waits gives its room back when the reader goes, and the queue then says so.
            let room = self.room.clone().acquire_many_owned(wanted).await.map_err(|_| Gone)?;
            self.queue.send(Some((message, room))).await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    async fn gone(&mut self) {
        self.queue.closed().await;
    }
}

/// Reads a streamed request. The legacy system learns that it is whole only once its closing claims are verified.
pub(super) async fn receive(
    intake: Intake<ToLegacy>,
    verifiers: GatewayVerifiers,
    stop: CancellationToken,
) -> Streamed {
    let exchange_id = intake.account.shared.exchange_id.clone();
    let (mut received, whole) = intake.run(stop.clone()).await;
    let Some((trailers, legacy)) = whole else { return received };
    match verify(&trailers, &exchange_id, (received.messages, &received.digest), &verifiers) {
        Ok(closing) => {
            received.closing = Some(closing);
            // It may have answered already, or read no more.
            tokio::select! {
                biased;
                _ = legacy.queue.send(None) => {}
                () = stop.cancelled() => {}
            }
        }
        Err(told) => received.refusal = Some(Refusal::new(Reason::BadClaims, Hop::Provider, told)),
    }
    received
}

fn verify(
    trailers: &HeaderMap,
    exchange_id: &Bytes,
    (messages, digest): (u64, &[u8; 32]),
    verifiers: &GatewayVerifiers,
) -> Result<Signed, &'static str> {
    let signed = Signed::read(trailers).ok_or("the request ends without closing claims")?;
    let closing = ConsumerClosing::decode(signed.claims.clone()).map_err(|_| "the closing claims cannot be read")?;
    let seal = signed.seal.ok_or("the signature over the closing claims is missing or cannot be read")?;
    let read = receipt::seal_from_wire(&seal).ok_or("the signature over the closing claims is malformed")?;
    verifiers
        .verify(receipt::CONSUMER_CLOSING, &signed.claims, None, &read)
        .map_err(|_| "the signature is not by the gateway's key over these closing claims")?;
    if closing.exchange_id != *exchange_id {
        return Err("the closing claims are of another exchange");
    }
    if closing.messages != messages || closing.request_digest.as_ref() != digest {
        return Err("the request is not the one that was signed");
    }
    Ok(Signed { claims: signed.claims, seal: Some(seal), leaf: None })
}

#[cfg(test)]
mod tests {
    use futures_util::{poll, stream::BoxStream};

    use super::*;

    /// Both ends; the reader takes nothing by itself.
    fn ends() -> (ToLegacy, BoxStream<'static, Result<Bytes, Withdrawn>>) {
        let (sink, requests) = channel();
        let Requests::Stream(reader) = requests else { panic!("a streamed request is read as a stream") };
        (sink, reader)
    }

    fn message(bytes: u32) -> Bytes {
        framing::framed(&vec![b'x'; usize::try_from(bytes).unwrap()])
    }

    #[tokio::test]
    async fn messages_that_nobody_reads_wait_up_to_so_many_bytes() {
        let (mut sink, mut reader) = ends();
        let third = AHEAD_BYTES / 3;
        sink.take(vec![message(third), message(third), message(third)]).await.unwrap();
        let mut one_more = std::pin::pin!(sink.take(vec![message(third)]));
        assert!(poll!(one_more.as_mut()).is_pending(), "more waits than there is room for");
        assert_eq!(reader.next().await.unwrap().unwrap().len(), third as usize);
        one_more.await.unwrap();
    }

    #[tokio::test]
    async fn messages_that_nobody_reads_wait_up_to_so_many() {
        let (mut sink, mut reader) = ends();
        sink.take(vec![message(0); AHEAD]).await.unwrap();
        let mut one_more = std::pin::pin!(sink.take(vec![message(0)]));
        assert!(poll!(one_more.as_mut()).is_pending());
        assert!(reader.next().await.unwrap().unwrap().is_empty());
        one_more.await.unwrap();
    }

    #[tokio::test]
    async fn a_message_that_is_larger_than_the_room_goes_alone() {
        let (mut sink, mut reader) = ends();
        sink.take(vec![message(1)]).await.unwrap();
        let mut large = std::pin::pin!(sink.take(vec![message(AHEAD_BYTES * 2)]));
        assert!(poll!(large.as_mut()).is_pending(), "it does not go beside another");
        assert_eq!(reader.next().await.unwrap().unwrap().len(), 1);
        large.await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().len(), AHEAD_BYTES as usize * 2);
    }

    #[tokio::test]
    async fn a_reader_that_leaves_is_told_to_who_waits_for_room() {
        let (mut sink, reader) = ends();
        sink.take(vec![message(AHEAD_BYTES)]).await.unwrap();
        let mut waits = std::pin::pin!(sink.take(vec![message(1)]));
        assert!(poll!(waits.as_mut()).is_pending());
        drop(reader);
        assert!(waits.await.is_err());
    }
}
