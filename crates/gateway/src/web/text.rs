//! The text form of gRPC-Web: base64, with padding wherever a side has flushed.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use link::{BodyError, Incoming};

/// Characters that stand for three bytes.
const QUAD: usize = 4;

/// A body says that it is base64, and is not.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body says that it is base64, and is not")]
pub struct NotBase64;

/// Returns the base64 of a chunk, with padding of its own.
#[must_use]
pub fn written(chunk: &[u8]) -> Bytes {
    STANDARD.encode(chunk).into()
}

/// A request in base64, as the bytes that it stands for.
pub struct Decoded {
    body: Incoming,
    /// Characters that are no quad yet.
    begun: BytesMut,
    ended: bool,
}

impl Decoded {
    /// Decodes what comes in `body`.
    #[must_use]
    pub fn new(body: Incoming) -> Self {
        Self { body, begun: BytesMut::new(), ended: false }
    }
}

impl http_body::Body for Decoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while !self.ended {
            let read = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => decoded(&mut self.begun, &data),
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.ended = true;
                    if self.begun.is_empty() { Ok(Bytes::new()) } else { Err(NotBase64) }
                }
            };
            match read {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(BodyError::Other(error.into()))));
                }
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// Takes what came next; returns the bytes of the quads that are whole.
fn decoded(begun: &mut BytesMut, text: &[u8]) -> Result<Bytes, NotBase64> {
    begun.extend_from_slice(text);
    let whole = begun.len().saturating_sub(begun.len() % QUAD);
    let text = begun.split_to(whole);
    let mut out = Vec::with_capacity(whole / QUAD * 3);
    let mut rest: &[u8] = &text;
    while !rest.is_empty() {
        // Up to the first padding, with which a piece ends.
        let quads =
            rest.chunks(QUAD).position(|quad| quad.contains(&b'=')).map_or(usize::MAX, |at| at.saturating_add(1));
        let (piece, next) = rest.split_at(quads.saturating_mul(QUAD).min(rest.len()));
        STANDARD.decode_vec(piece, &mut out).map_err(|_| NotBase64)?;
        rest = next;
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], step: usize) -> Result<Vec<u8>, NotBase64> {
        let mut begun = BytesMut::new();
        let mut all = Vec::new();
        for piece in text.chunks(step) {
            all.extend_from_slice(&decoded(&mut begun, piece)?);
        }
        if begun.is_empty() { Ok(all) } else { Err(NotBase64) }
    }

    #[test]
    fn what_is_written_in_pieces_reads_back_wherever_it_is_cut() {
        let pieces = [&b"\0\0\0\0\x01x"[..], b"", b"\x80\0\0\0\x10grpc-status: 0\r\n", b"1", b"22"];
        let text: Vec<u8> = pieces.iter().flat_map(|piece| written(piece).to_vec()).collect();
        for step in [1, 3, 4, 5, text.len()] {
            assert_eq!(read(&text, step).unwrap(), pieces.concat(), "{step}");
        }
    }

    #[test]
    fn what_is_not_base64_is_not_read() {
        for bad in [&b"AAA"[..], b"A===", b"AA=A", b"====", b"AAA!", b"AA==\r\n", b"AAA-", b"AAAAA"] {
            for step in [1, bad.len()] {
                assert_eq!(read(bad, step), Err(NotBase64), "{bad:?}");
            }
        }
        assert_eq!(read(b"", 1), Ok(vec![]));
    }
}
