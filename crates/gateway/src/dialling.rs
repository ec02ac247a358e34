//! How a peer is reached, and why it cannot be, in words for the operator.

use std::error::Error;

use federation::{
    Federation, GatewayId,
    trust::{Explanation, TlsIdentity, TlsOptions, TrustStore, client_config, explain_io},
};
use link::client::{DialError, Target};

/// Says how to reach `gateway`, and how to know that it is the right one.
pub(crate) fn target(
    federation: &Federation,
    gateway: &GatewayId,
    trust: &TrustStore,
    (own, options): (&TlsIdentity, &TlsOptions),
) -> Result<Target, Box<dyn Error + Send + Sync>> {
    let entry =
        federation.gateway(gateway).ok_or_else(|| format!("the directory does not list the gateway `{gateway}`"))?;
    let address = entry.address.as_ref().ok_or_else(|| format!("the directory names no address for `{gateway}`"))?;
    let server_name =
        entry.server_name().ok_or_else(|| format!("the directory names no server name for `{gateway}`"))?;
    let tls = client_config(own, trust.gateway_verifier(gateway.clone()), options)?;
    Ok(Target { address: address.to_string(), server_name, tls })
}

/// Explains why there is no connection to a peer, and how to mend it.
pub(crate) fn explain(error: &DialError) -> Explanation {
    let words = |cause: String, help: &str| Explanation { cause, help: help.to_owned() };
    match error {
        // Only the resolver of names makes errors without a number of the system's.
        DialError::Connect(error) if error.raw_os_error().is_none() => words(
            format!("its name does not resolve: {error}"),
            "check the address in the member's directory entry, and the name service of this machine",
        ),
        DialError::Connect(error) | DialError::Tls(error) => explain_io(error),
        DialError::Closed(Some(error)) if error.get_io().is_some() => error.get_io().map_or_else(closed, explain_io),
        DialError::Closed(_) => closed(),
        DialError::Protocol => words(
            "the other end does not speak HTTP/2 on this port".to_owned(),
            "check address and port; a proxy in between has to pass TCP through",
        ),
        DialError::Timeout(after) => words(
            format!("no connection came about within {} s", after.as_secs()),
            "check address, port and firewalls; something in between may drop what it does not know",
        ),
    }
}

fn closed() -> Explanation {
    Explanation {
        cause: "the other end closed the connection before it said anything".to_owned(),
        help: "look at the log of the other end: it may have refused this gateway's certificate, or have too many connections"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use super::*;

    #[test]
    fn every_failure_has_a_cause_and_a_cure() {
        let refused = io::Error::from_raw_os_error(111);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRevoked);
        for (error, cause) in [
            (DialError::Connect(io::Error::other("failed to lookup address information")), "its name does not resolve"),
            (DialError::Connect(refused), "nothing listens"),
            (DialError::Tls(io::Error::new(io::ErrorKind::InvalidData, alert)), "this end's certificate is revoked"),
            (DialError::Closed(None), "closed the connection"),
            (DialError::Protocol, "HTTP/2"),
            (DialError::Timeout(Duration::from_secs(5)), "within 5 s"),
        ] {
            let told = explain(&error);
            assert!(told.cause.contains(cause) && !told.help.is_empty(), "{error:?}: {told:?}");
        }
    }
}
