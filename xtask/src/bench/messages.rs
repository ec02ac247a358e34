//! The messages of `benches/proto/bench/v1/echo.proto`, and gRPC's prefix before them.

use bytes::{BufMut as _, Bytes, BytesMut};

/// `bench.v1.SayRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SayRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) payload: Bytes,
}

/// `bench.v1.RowsRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RowsRequest {
    #[prost(uint32, tag = "1")]
    pub(crate) count: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) size: u32,
}

/// `bench.v1.Row`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Row {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) payload: Bytes,
}

/// A payload of `size` bytes in which no two neighbours are alike.
pub(crate) fn payload(size: u32) -> Bytes {
    (0..size).map(|at| at.to_le_bytes()[0]).collect()
}

/// `message` as gRPC puts it on the wire: a zero byte, four of length, the message.
pub(crate) fn prefixed(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The buffer grows, so there is always room.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}
