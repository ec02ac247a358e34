//! The name of one exchange.

use std::{fmt, str::FromStr, time::SystemTime};

use uuid::Uuid;

/// Names one exchange across both gateways.
///
/// A UUID version 7: 48 bits of milliseconds since the Unix epoch, then random bits, so ids sort by time of creation.
/// Written as 36 characters, lower case.
///
/// Source: RFC 9562, section 5.7.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(Uuid);

/// The text or bytes are not a UUID version 7.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an exchange id: a UUID version 7 is expected, as in `0193a1c4-6b2f-7c3e-8a51-0d7c1a2b3c4d`")]
pub struct NotAnExchangeId;

impl ExchangeId {
    /// Makes the id of an exchange that arrived at `now`, from that time and `random` bits.
    #[must_use]
    pub fn new(now: SystemTime, random: [u8; 10]) -> Self {
        let millis = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// Reads 16 bytes.
    ///
    /// # Errors
    ///
    /// [`NotAnExchangeId`] unless they are a UUID version 7.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAnExchangeId> {
        let id = Uuid::from_slice(bytes).map_err(|_| NotAnExchangeId)?;
        if id.get_version_num() == 7 { Ok(Self(id)) } else { Err(NotAnExchangeId) }
    }

    /// Returns the 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Returns when the exchange was made, in milliseconds since the Unix epoch, as its maker's clock had it.
    #[must_use]
    pub fn time(&self) -> u64 {
        let b = self.0.as_bytes();
        u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]])
    }
}

impl FromStr for ExchangeId {
    type Err = NotAnExchangeId;

    fn from_str(text: &str) -> Result<Self, NotAnExchangeId> {
        let id = Uuid::try_parse(text).map_err(|_| NotAnExchangeId)?;
        Self::from_bytes(id.as_bytes())
    }
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ids_sort_by_the_time_they_were_made() {
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let (early, late) =
            (ExchangeId::new(at(1_700_000_000), [255; 10]), ExchangeId::new(at(1_700_000_001), [0; 10]));
        assert!(early < late);
        assert_eq!(early.time(), 1_700_000_000_000);
    }

    #[test]
    fn other_versions_are_refused() {
        assert_eq!("8c6f2d0e-95a5-4b8e-9c3b-2f1f5f0d6a11".parse::<ExchangeId>(), Err(NotAnExchangeId));
        assert_eq!("not one".parse::<ExchangeId>(), Err(NotAnExchangeId));
        assert_eq!(ExchangeId::from_bytes(&[0; 15]), Err(NotAnExchangeId));
    }

    #[test]
    fn text_reads_back() {
        let id = ExchangeId::new(SystemTime::UNIX_EPOCH + Duration::from_millis(1_732_000_000_123), [7; 10]);
        assert_eq!(id.to_string().parse::<ExchangeId>(), Ok(id));
    }
}
