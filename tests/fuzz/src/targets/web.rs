//! Bodies of gRPC-Web, binary and as text. The first byte says how they are cut; the text has to stand for the same bytes however that is,
//! and what is written has to read back.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use exchange::framing::{Cutter, PREFIX};
use gateway::web::{Decoded, framed, written};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use link::{BodyError, Incoming};

/// Largest message that is taken, in bytes.
const LIMIT: usize = 4_096;
/// The flag of the frame that holds trailers.
const TRAILERS: u8 = 0x80;

/// Reads a body as a request of either form, and writes it as an answer of either.
pub fn run(input: &[u8]) {
    let Some((cut, body)) = input.split_first() else { return };
    let size = usize::from(*cut) + 1;
    let (read, whole) = decoded(body, size);
    let expected = by_quads(body);
    assert_eq!(whole, expected.is_some());
    if let Some(expected) = expected {
        assert_eq!(read.concat(), expected);
        // The same messages, whichever form they came in.
        let binary: Vec<Bytes> = expected.chunks(size).map(Bytes::copy_from_slice).collect();
        assert_eq!(messages(read), messages(binary));
    }
    let text: Vec<u8> = body.chunks(size).flat_map(|chunk| written(chunk).to_vec()).collect();
    let (again, whole) = decoded(&text, size.wrapping_mul(7) % 64 + 1);
    assert!(whole && again.concat() == body, "what is written reads back");
    trailers(body);
}

/// A body that arrives in pieces.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

/// What a body as text stands for, and whether that is all of it.
fn decoded(text: &[u8], size: usize) -> (Vec<Bytes>, bool) {
    let pieces = text.chunks(size).map(Bytes::copy_from_slice).collect();
    let mut body = Decoded::new(Incoming::other(Pieces(pieces)));
    let (mut read, mut context) = (Vec::new(), Context::from_waker(Waker::noop()));
    loop {
        match Pin::new(&mut body).poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.into_data().expect("there are no trailers");
                assert!(!data.is_empty(), "a frame of nothing");
                read.push(data);
            }
            Poll::Ready(Some(Err(_))) => {
                let after = Pin::new(&mut body).poll_frame(&mut context);
                assert!(matches!(after, Poll::Ready(None)), "something follows an error");
                return (read, false);
            }
            Poll::Ready(None) => return (read, true),
            Poll::Pending => panic!("all of it is there"),
        }
    }
}

/// The same, four characters by four. None where it is not base64.
fn by_quads(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for quad in text.chunks(4) {
        STANDARD.decode_vec(quad, &mut bytes).ok().filter(|()| quad.len() == 4)?;
    }
    Some(bytes)
}

/// The messages up to what is none, and whether the body ended between two.
fn messages(chunks: Vec<Bytes>) -> (Vec<Bytes>, Option<bool>) {
    let (mut cutter, mut messages) = (Cutter::new(LIMIT), Vec::new());
    for chunk in chunks {
        cutter.push(chunk);
        loop {
            match cutter.cut() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, None),
            }
        }
    }
    (messages, Some(cutter.at_boundary()))
}

/// Writes the lines of a body as trailers, and reads them as a client does.
fn trailers(body: &[u8]) {
    let mut map = HeaderMap::new();
    for line in body.split(|byte| *byte == b'\n').take(64) {
        let (name, value) = line.iter().position(|byte| *byte == b':').map_or((line, &b""[..]), |at| {
            let (name, value) = line.split_at(at);
            (name, value[1..].trim_ascii())
        });
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    let frame = framed(&map);
    let (prefix, text) = frame.split_at(PREFIX);
    assert_eq!(prefix[0], TRAILERS);
    assert_eq!(prefix[1..], u32::try_from(text.len()).unwrap().to_be_bytes());
    let mut read = HeaderMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|end| end == b"\r\n").expect("a line has an end");
        let (line, after) = (&rest[..end], &rest[end + 2..]);
        let colon = line.windows(2).position(|colon| colon == b": ").expect("a line has a name");
        read.append(
            HeaderName::from_bytes(&line[..colon]).expect("a name"),
            HeaderValue::from_bytes(&line[colon + 2..]).expect("a value"),
        );
        rest = after;
    }
    assert_eq!(read, map);
}
