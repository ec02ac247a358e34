//! What gRPC puts before each message. gRPC-Web and the Connect protocol put the same, with flags of their own.
//!
//! Source: gRPC over HTTP/2, "Length-Prefixed-Message".

use bytes::{BufMut as _, Bytes, BytesMut};

/// Bytes before each message: a flag and a big-endian length.
pub const PREFIX: usize = 5;

/// Writes `message` to `out`, behind its prefix. It is of at most 4 GiB: a longer one has no length.
pub fn write_prefixed(out: &mut BytesMut, flag: u8, message: &[u8]) {
    out.reserve(message.len().saturating_add(PREFIX));
    out.put_u8(flag);
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
}

/// Returns `message` behind its prefix, as [`write_prefixed`] writes it.
#[must_use]
pub fn prefixed(flag: u8, message: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    write_prefixed(&mut out, flag, message);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stands_behind_its_flag_and_its_length() {
        assert_eq!(prefixed(0x80, &[7; 258])[..7], [0x80, 0, 0, 1, 2, 7, 7]);
        let mut out = BytesMut::from(&b"before"[..]);
        write_prefixed(&mut out, 0, b"");
        assert_eq!(out, b"before\0\0\0\0\0"[..]);
    }
}
