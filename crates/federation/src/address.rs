//! Where a gateway listens for links: host and port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use thiserror::Error;

/// A host and a port, such as `gw.county.example:8443`, `192.0.2.7:8443` or `[2001:db8::7]:8443`. Cheap to clone.
///
/// A host name is lower case, at most 253 characters, and may have a single label (`localhost`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    host: Arc<str>,
    port: u16,
}

impl Address {
    /// Returns the host name or IP address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, from 1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the host as TLS names it. Only a host name is sent (as SNI); an IP address is not.
    #[must_use]
    pub fn server_name(&self) -> ServerName<'static> {
        ServerName::try_from(self.host.to_string()).unwrap_or(ServerName::IpAddress(Ipv6Addr::UNSPECIFIED.into()))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.contains("://") {
            return Err(AddressError::Form);
        }
        let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once("]:")) {
            None => text.rsplit_once(':'),
            Some(bracketed) => bracketed.filter(|(host, _)| host.parse::<Ipv6Addr>().is_ok()),
        }
        .ok_or(AddressError::Form)?;
        if host.contains(':') && !text.starts_with('[') {
            return Err(AddressError::Brackets);
        }
        // `parse` alone would take `+8443` and `08443`.
        let port = match port.parse::<u16>() {
            Ok(number) if number > 0 && number.to_string() == port => number,
            _ => return Err(AddressError::Port),
        };
        check_host(host)?;
        Ok(Self { host: host.into(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Not host and port.
    #[error("this is not an address: write host and port, as in `gw.county.example:8443`")]
    Form,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address stands in brackets: write it as in `[2001:db8::7]:8443`")]
    Brackets,
    /// The port is not a number from 1 to 65535.
    #[error("this is not a port: write a number from 1 to 65535")]
    Port,
    /// The host is neither a lower-case host name nor an IP address.
    #[error("this is not a host: write a lower-case host name or an IP address")]
    Host,
}

/// Accepts an IP address or a lower-case host name.
pub(crate) fn check_host(host: &str) -> Result<(), AddressError> {
    let named =
        !host.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'*' || byte == b'_') && !host.ends_with('.');
    match ServerName::try_from(host) {
        Ok(ServerName::DnsName(_)) if named => Ok(()),
        Ok(ServerName::IpAddress(_)) if host.parse::<IpAddr>().is_ok() => Ok(()),
        _ => Err(AddressError::Host),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_host_and_port() {
        for (text, host, port) in [
            ("gw.county.example:8443", "gw.county.example", 8443),
            ("localhost:1", "localhost", 1),
            ("127.0.0.1:65535", "127.0.0.1", 65535),
            ("[2001:db8::7]:8443", "2001:db8::7", 8443),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port(), address.to_string().as_str()), (host, port, text));
            assert_eq!(address.server_name().to_str(), host);
        }
        for (text, expected) in [
            ("", AddressError::Form),
            ("gw.county.example", AddressError::Form),
            ("[::1]", AddressError::Form),
            ("[gw.county.example]:1", AddressError::Form),
            ("::1:8443", AddressError::Brackets),
            ("gw:0", AddressError::Port),
            ("gw:65536", AddressError::Port),
            ("gw:+1", AddressError::Port),
            ("gw:", AddressError::Port),
            ("GW.county.example:1", AddressError::Host),
            ("https://gw.county.example:1", AddressError::Form),
            ("gw county:1", AddressError::Host),
            ("*.county.example:1", AddressError::Host),
            (":1", AddressError::Host),
        ] {
            assert_eq!(text.parse::<Address>(), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_as_it_was(text in "[a-z0-9.:\\[\\]-]{0,40}") {
            if let Ok(address) = text.parse::<Address>() {
                let again: Address = address.to_string().parse().unwrap();
                prop_assert_eq!(again, address.clone());
                let name = address.server_name();
                prop_assert_eq!(name.to_str(), address.host());
            }
        }
    }
}
