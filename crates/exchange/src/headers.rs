//! Claims, signatures and opened leaves as they stand in HTTP/2 headers and trailers.
//!
//! All are marked sensitive: they hold personal data, and a header compressor must not keep them.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use proto::link::{LeafOpening, Seal};

use crate::refusal::Status;

/// Opening claims in headers, closing claims in trailers.
pub const CLAIMS: HeaderName = HeaderName::from_static("drawbridge-claims-bin");
/// The signature over them.
pub const SIGNATURE: HeaderName = HeaderName::from_static("drawbridge-signature-bin");
/// What opens the provider's leaf.
pub const LEAF: HeaderName = HeaderName::from_static("drawbridge-leaf-bin");
/// The application's metadata that crosses with a request, and with the status of an answer.
pub const METADATA: HeaderName = HeaderName::from_static("drawbridge-metadata-bin");
/// The application's metadata that opened an answer, where it does not stand before the first message.
pub const INITIAL_METADATA: HeaderName = HeaderName::from_static("drawbridge-initial-metadata-bin");
/// The exchange's id, to a partner system.
pub const EXCHANGE_ID: HeaderName = HeaderName::from_static("drawbridge-exchange-id");
/// Digest of the withheld list, to a partner system.
pub const WITHHELD: HeaderName = HeaderName::from_static("drawbridge-withheld");
/// Where a call failed, to a partner system.
pub const HOP: HeaderName = HeaderName::from_static("drawbridge-hop");
/// gRPC's own.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// gRPC's own, percent-encoded.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// gRPC's own, an encoded `google.rpc.Status`.
pub const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// gRPC writes `-bin` values without padding and reads both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Largest value of a claims header, in bytes of base64.
const MAX_CLAIMS_BYTES: usize = 8 * 1024;

/// Claims with their signature, and the opened leaf where they promise one.
#[derive(Clone, Debug, Default)]
pub struct Signed {
    /// The bytes that were signed.
    pub claims: Bytes,
    /// The signature over them.
    pub seal: Option<Seal>,
    /// The provider's promise, with what opens the leaf.
    pub leaf: Option<LeafOpening>,
}

impl Signed {
    /// Writes the headers.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(CLAIMS, binary(&self.claims));
        if let Some(seal) = &self.seal {
            headers.insert(SIGNATURE, binary(&seal.encode_to_vec()));
        }
        if let Some(leaf) = &self.leaf {
            headers.insert(LEAF, binary(&leaf.encode_to_vec()));
        }
    }

    /// Reads the headers. `None` without claims; a signature or leaf that cannot be read is left out, and what needs it
    /// then fails.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let claims = read_binary(headers, &CLAIMS)?;
        let seal = read_binary(headers, &SIGNATURE).and_then(|b| Seal::decode(b).ok());
        let leaf = read_binary(headers, &LEAF).and_then(|b| LeafOpening::decode(b).ok());
        Some(Self { claims, seal, leaf })
    }
}

/// Returns a `-bin` header value.
#[must_use]
pub fn binary(bytes: &[u8]) -> HeaderValue {
    let mut value =
        HeaderValue::from_maybe_shared(Bytes::from(BASE64.encode(bytes))).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// Writes a header, unless it is empty.
pub(crate) fn write_block(name: HeaderName, block: &[u8], headers: &mut HeaderMap) {
    if !block.is_empty() {
        headers.insert(name, binary(block));
    }
}

/// Reads a header that may be absent, which is as good as empty. `None` where it stands twice or cannot be read.
pub(crate) fn read_block(headers: &HeaderMap, name: &HeaderName) -> Option<Bytes> {
    if headers.contains_key(name) { read_binary(headers, name) } else { Some(Bytes::new()) }
}

/// Reads base64 with or without padding.
pub(crate) fn from_base64(text: &[u8]) -> Option<Bytes> {
    BASE64.decode(text).ok().map(Bytes::from)
}

fn read_binary(headers: &HeaderMap, name: &HeaderName) -> Option<Bytes> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    if value.len() > MAX_CLAIMS_BYTES {
        return None;
    }
    BASE64.decode(value.as_bytes()).ok().map(Bytes::from)
}

/// Writes how a call ended, as gRPC does in trailers.
pub fn write_status(status: &Status, trailers: &mut HeaderMap) {
    trailers.insert(GRPC_STATUS, HeaderValue::from(status.code));
    if !status.message.is_empty() {
        let text = percent_encoding::utf8_percent_encode(&status.message, GRPC_ESCAPED).to_string();
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
            trailers.insert(GRPC_MESSAGE, value);
        }
    }
    if !status.details.is_empty() {
        trailers.insert(GRPC_DETAILS, binary(&status.details));
    }
}

/// gRPC leaves space to tilde but `%` as they are.
const GRPC_ESCAPED: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%').add(0x7f);

/// Reads how a call ended. `None` when there is no status, or not a number.
#[must_use]
pub fn read_status(trailers: &HeaderMap) -> Option<Status> {
    let code = trailers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()?;
    let message = trailers.get(GRPC_MESSAGE).map(HeaderValue::as_bytes).unwrap_or_default();
    let message = percent_encoding::percent_decode(message).decode_utf8_lossy().into_owned();
    let details = read_binary(trailers, &GRPC_DETAILS).unwrap_or_default();
    Some(Status { code, message, details })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let seal = Seal { signature: vec![1; 64].into(), size: 2, index: 1, path: vec![vec![2; 32].into()] };
        let leaf = LeafOpening { origin: "a.example/log/main".into(), index: 9, ..LeafOpening::default() };
        let signed = Signed { claims: Bytes::from_static(b"\x00claims"), seal: Some(seal), leaf: Some(leaf) };
        let mut headers = HeaderMap::new();
        signed.write(&mut headers);
        let again = Signed::read(&headers).unwrap();
        assert_eq!((again.claims, again.seal, again.leaf), (signed.claims, signed.seal, signed.leaf));
        assert!(headers.values().all(HeaderValue::is_sensitive));
    }

    #[test]
    fn a_status_crosses_with_any_text() {
        let status = Status { code: 5, message: "100 % – née\n".into(), details: Bytes::from_static(&[8, 5]) };
        let mut trailers = HeaderMap::new();
        write_status(&status, &mut trailers);
        assert_eq!(read_status(&trailers), Some(status));
    }

    #[test]
    fn doubled_or_oversized_claims_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(CLAIMS, binary(b"a"));
        headers.append(CLAIMS, binary(b"b"));
        assert!(Signed::read(&headers).is_none());
        let mut headers = HeaderMap::new();
        headers.append(CLAIMS, binary(&[0; 7000]));
        assert!(Signed::read(&headers).is_none());
    }
}
