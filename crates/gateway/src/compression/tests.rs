use std::collections::VecDeque;

use http_body_util::StreamBody;

use super::*;

const LIMIT: usize = 1000;

fn coding(pairs: &[(&'static str, &'static str)]) -> Coding {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    Coding::of(&headers)
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

/// A message as it crosses: flag, length, bytes.
fn framed(flag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

#[test]
fn answers_are_compressed_for_who_compresses_and_takes_it_back() {
    let sent = ("grpc-encoding", "gzip");
    for (pairs, request, answer) in [
        (&[][..], false, false),
        (&[("grpc-accept-encoding", "identity, deflate, gzip")], false, false),
        (&[sent], true, false),
        (&[sent, ("grpc-accept-encoding", "identity")], true, false),
        (&[sent, ("grpc-accept-encoding", "identity, deflate, gzip")], true, true),
        (&[("grpc-encoding", "snappy"), ("grpc-accept-encoding", "gzip")], false, false),
    ] {
        let found = coding(pairs);
        assert_eq!((found.request, found.answer), (request, answer), "{pairs:?}");
        let mut head = HeaderMap::new();
        found.write(&mut head);
        assert_eq!(head.contains_key(ENCODING), answer, "{pairs:?}");
        assert_eq!(head.contains_key(ACCEPTED), pairs.iter().any(|(name, _)| *name == "grpc-encoding"), "{pairs:?}");
    }
}

#[test]
fn a_message_is_unpacked_within_the_limit_and_no_further() {
    let unpack = |bytes: &[u8]| {
        let compressed = compressed(&Bytes::copy_from_slice(bytes)).ok_or(Unpacking::Malformed)?;
        inflated(&compressed, LIMIT).map(|message| framed(0, &message))
    };
    assert_eq!(unpack(&framed(1, &gzip(b"hello"))).unwrap(), framed(0, b"hello"));
    assert_eq!(unpack(&framed(1, &gzip(&[7; LIMIT]))).unwrap().len(), LIMIT + framing::PREFIX);
    assert_eq!(unpack(&framed(1, &gzip(&[7; LIMIT + 1]))), Err(Unpacking::TooLarge));
    // A thousandth of what it unpacks to.
    assert_eq!(unpack(&framed(1, &gzip(&vec![0; 10_000_000]))), Err(Unpacking::TooLarge));
    let whole = gzip(b"hello");
    for bad in [&b"not gzip"[..], b"", &whole[..whole.len() - 1], &[&whole[..], b"x"].concat()] {
        assert_eq!(unpack(&framed(1, bad)), Err(Unpacking::Malformed), "{bad:?}");
    }
    assert_eq!(unpack(&framed(1, &whole)[..8]), Err(Unpacking::Malformed));
}

async fn unpack_stream(body: &[u8], step: usize) -> Vec<u8> {
    let frames: VecDeque<_> = body.chunks(step).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    let stream = StreamBody::new(futures_util::stream::iter(frames));
    Unpacked::new(Box::pin(stream), LIMIT).collect().await.unwrap().to_bytes().to_vec()
}

#[tokio::test]
async fn a_stream_is_unpacked_wherever_it_is_cut() {
    let body = [framed(1, &gzip(&[1; 500])), framed(0, b"plain"), framed(1, &gzip(b"")), framed(0, b"")].concat();
    let expected = [framed(0, &[1; 500]), framed(0, b"plain"), framed(0, b""), framed(0, b"")].concat();
    for step in [1, 3, 7, body.len()] {
        assert_eq!(unpack_stream(&body, step).await, expected, "{step}");
    }
    // What is not whole stays so, and what cannot be unpacked ends the request with what it is refused for.
    assert_eq!(unpack_stream(&framed(0, b"cut")[..6], 2).await, framed(0, b"cut")[..6]);
    let broken = framed(1, b"no");
    assert_eq!(
        unpack_stream(&[framed(0, b"a"), broken.clone(), framed(0, b"b")].concat(), 4).await,
        [framed(0, b"a"), broken].concat()
    );
    for large in [framed(1, &gzip(&[0; LIMIT + 1])), framed(0, &[0; LIMIT + 1])] {
        let after = [large, framed(0, b"b")].concat();
        assert_eq!(unpack_stream(&after, 9).await, calls::oversized(LIMIT));
    }
}

#[test]
fn an_answer_is_packed_where_that_makes_it_shorter() {
    let body = [framed(0, &[1; 500]), framed(0, b"x"), framed(0, b"")].concat();
    for step in [1, 4, body.len()] {
        let mut packer = Packer::default();
        let packed: Vec<u8> = body.chunks(step).flat_map(|piece| packer.feed(piece).to_vec()).collect();
        assert_eq!(packed, [framed(1, &gzip(&[1; 500])), framed(0, b"x"), framed(0, b"")].concat());
    }
    assert_eq!(Packer::beyond(501).feed(&framed(0, &[1; 500])), framed(0, &[1; 500]));
    let plain = Bytes::from(framed(0, &[1; 500]));
    assert_eq!(Coding::default().pack(plain.clone()), plain);
}
