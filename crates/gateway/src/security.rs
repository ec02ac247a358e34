//! Security events: whoever was turned away, counted by kind and written to the application log.
//!
//! A refused certificate is two events: `certificate-refused` says why, and on a port `handshake-failed` says from where.

use std::sync::atomic::{AtomicU64, Ordering};

use federation::trust::Distrust;
use link::server::Event;

/// What kind of event: a closed set, which `deploy/log.schema.json` lists too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A certificate was not believed, on a port or when dialling.
    CertificateRefused,
    /// A TLS handshake on a port failed, for this or another reason.
    HandshakeFailed,
    /// The certificate is good, and its owner has no business on this port.
    ConnectionUnidentified,
    /// There were as many connections as may be.
    ConnectionsCrowded,
    /// A peer went beyond a limit of its connection.
    LimitBreached,
    /// Open connections were closed since their certificates are no longer trusted.
    UntrustedConnectionClosed,
}

const KINDS: [(Kind, &str); 6] = [
    (Kind::CertificateRefused, "certificate-refused"),
    (Kind::HandshakeFailed, "handshake-failed"),
    (Kind::ConnectionUnidentified, "connection-unidentified"),
    (Kind::ConnectionsCrowded, "connections-crowded"),
    (Kind::LimitBreached, "limit-breached"),
    (Kind::UntrustedConnectionClosed, "untrusted-connection-closed"),
];

/// The label of a line in the application log that is a security event.
const SECURITY: &str = "security";

/// Counts of security events since the start.
#[derive(Debug, Default)]
pub(crate) struct Security {
    counts: [AtomicU64; KINDS.len()],
}

impl Security {
    /// Returns how many there were of each kind.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        KINDS.iter().map(|(_, name)| *name).zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Notes that a certificate was not believed.
    pub(crate) fn distrusted(&self, distrust: &Distrust) {
        let kind = self.count(Kind::CertificateRefused);
        tracing::warn!(event = SECURITY, kind, reason = %distrust, help = distrust.help(), "a certificate was refused");
    }

    /// Notes that open connections were closed.
    pub(crate) fn closed(&self, closed: usize) {
        let kind = self.count(Kind::UntrustedConnectionClosed);
        tracing::warn!(
            event = SECURITY,
            kind,
            closed,
            "connections were closed because their certificates are no longer trusted"
        );
    }

    /// Notes what happened on a port beside exchanges.
    pub(crate) fn on_port(&self, port: &'static str, event: &Event) {
        use std::error::Error;
        match event {
            Event::HandshakeFailed { address, cause } => {
                let kind = self.count(Kind::HandshakeFailed);
                let cause: &(dyn Error + 'static) = &**cause;
                tracing::info!(event = SECURITY, kind, port, %address, cause, "handshake failed");
            }
            Event::Unidentified { address, cause } => {
                let kind = self.count(Kind::ConnectionUnidentified);
                let cause: &(dyn Error + 'static) = &**cause;
                tracing::warn!(event = SECURITY, kind, port, %address, cause, "connection turned away");
            }
            Event::Crowded { address, name, of_one } => {
                let kind = self.count(Kind::ConnectionsCrowded);
                tracing::warn!(event = SECURITY, kind, port, %address, peer = %name, of_one, "too many connections");
            }
            Event::Breached { address, name, breach } => {
                let kind = self.count(Kind::LimitBreached);
                let cause: &(dyn Error + 'static) = breach;
                tracing::warn!(event = SECURITY, kind, port, %address, peer = %name, cause, "connection closed");
            }
            Event::Broken { address, name, cause } => {
                let cause: &(dyn Error + 'static) = &**cause;
                tracing::debug!(port, %address, peer = %name, cause, "connection broke");
            }
            Event::AcceptFailed { cause } => {
                let cause: &(dyn Error + 'static) = cause;
                tracing::error!(port, cause, "cannot accept connections");
            }
            _ => tracing::warn!(port, "something unforeseen happened on a port"),
        }
    }

    fn count(&self, kind: Kind) -> &'static str {
        let place = KINDS.iter().position(|(known, _)| *known == kind).unwrap_or_default();
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        KINDS.get(place).map_or("", |(_, name)| name)
    }
}
