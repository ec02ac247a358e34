//! How the body of a request in JSON is compressed.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::answers;
use crate::clients::ClientBody;

/// What `Content-Encoding` says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    /// In a way that is not taken, or in several.
    Otherwise,
}

impl Packing {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut said = headers.get_all(header::CONTENT_ENCODING).iter();
        let named =
            |value: &HeaderValue, name: &str| value.as_bytes().trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        match (said.next(), said.next()) {
            (None, _) => Self::Plain,
            (Some(one), None) if named(one, "identity") => Self::Plain,
            (Some(one), None) if named(one, "gzip") || named(one, "x-gzip") => Self::Gzip,
            (Some(_), _) => Self::Otherwise,
        }
    }

    /// Refuses what is not taken, and says what is: gzip of one message, and lines as they are.
    pub(super) fn refused(self, lines: bool) -> Option<Response<ClientBody>> {
        let (told, taken) = match (self, lines) {
            (Self::Plain, _) | (Self::Gzip, false) => return None,
            (_, true) => ("JSON lines are taken as they are, without `Content-Encoding`", "identity"),
            (_, false) => ("the body may be compressed with `gzip`, or not at all (`identity`)", "gzip, identity"),
        };
        let mut response = answers::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, told);
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(taken));
        Some(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_encoding_is_known_by_its_name_and_several_are_none_of_them() {
        for (values, expected) in [
            (&[][..], Packing::Plain),
            (&["identity"], Packing::Plain),
            (&["GZIP"], Packing::Gzip),
            (&["x-gzip"], Packing::Gzip),
            (&["br"], Packing::Otherwise),
            (&[""], Packing::Otherwise),
            (&["gzip, gzip"], Packing::Otherwise),
            (&["gzip", "gzip"], Packing::Otherwise),
        ] {
            let pairs = values.iter().map(|value| (header::CONTENT_ENCODING, HeaderValue::from_static(value)));
            assert_eq!(Packing::of(&pairs.collect()), expected, "{values:?}");
        }
    }
}
