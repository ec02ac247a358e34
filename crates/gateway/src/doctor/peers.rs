//! Whether each peer is reached over the link, as exchanges reach it; by which key exchange; and what its clock says.
//!
//! A peer that this member may ask and cannot reach is an error; one that only asks this member is a warning, since its
//! gateway is the one that dials.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use exchange::ports::Peers as _;
use federation::{
    Federation, GatewayEntry, GatewayId, MemberId,
    trust::{TlsIdentity, TlsOptions, Trust, TrustStore},
};
use futures_util::{StreamExt as _, stream};
use link::client::{self, DialError, LinkError, Links};

use super::{Finding, Severity};
use crate::{dialling, load::chain, ports::LinkPeers};

/// Peers, names or legacy systems that are tried at once.
pub(super) const AT_ONCE: usize = 16;

const CHECK: &str = "peers";
const KEYS: &str = "key exchange";
const CLOCK: &str = "clock";
/// The key exchange that withstands quantum computers, as TLS names it.
const HYBRID: &str = "X25519MLKEM768";
/// A clock that is further away is told.
const ASTRAY: Duration = Duration::from_secs(10);
/// A clock that is further away has every exchange refused with `CLOCK_SKEW`.
const SKEWED: Duration = Duration::from_secs(120);

pub(super) async fn examine(
    own: &GatewayId,
    trust: Trust,
    tls: TlsIdentity,
    (asked, post_quantum): (&BTreeSet<MemberId>, bool),
    now: SystemTime,
) -> Vec<Finding> {
    let federation = trust.federation().clone();
    let gateways = federation.members().flat_map(|entry| &entry.gateways);
    let others: Vec<GatewayEntry> =
        gateways.filter(|gateway| gateway.id != *own && !gateway.is_retired(now)).cloned().collect();
    let asker = Asker { federation: federation.clone(), trust: TrustStore::new(trust), tls, post_quantum };
    let findings = stream::iter(others).map(|gateway| {
        let severity = if asked.contains(gateway.id.member()) { Severity::Error } else { Severity::Warning };
        let asker = &asker;
        async move { asker.examine(&gateway, severity).await }
    });
    let findings: Vec<Vec<Finding>> = findings.buffered(AT_ONCE).collect().await;
    findings.into_iter().flatten().collect()
}

/// Dials as the gateway would.
struct Asker {
    federation: Arc<Federation>,
    trust: TrustStore,
    tls: TlsIdentity,
    post_quantum: bool,
}

impl Asker {
    async fn examine(&self, gateway: &GatewayEntry, severity: Severity) -> Vec<Finding> {
        let Some(address) = &gateway.address else {
            return vec![Finding::fine(CHECK, gateway.id.to_string(), "only asks; there is nothing to dial")];
        };
        let place = format!("{} ({address})", gateway.id);
        let links = self.links(self.post_quantum);
        let begun = Instant::now();
        match links.connect(&gateway.id).await {
            Ok(()) => self.reached(&gateway.id, place, (links, begun.elapsed()), severity).await,
            Err(LinkError::Down { cause, .. }) => self.unreached(&gateway.id, place, &cause, severity).await,
            Err(error) => {
                let cure = "look at this member's entry in the directory, with `drawbridge directory show`";
                vec![Finding { severity, ..Finding::error(CHECK, place, chain(&error), cure) }]
            }
        }
    }

    async fn reached(
        &self,
        gateway: &GatewayId,
        place: String,
        (links, connected): (Links<GatewayId>, Duration),
        severity: Severity,
    ) -> Vec<Finding> {
        let agreed = key_exchange(&links, gateway);
        let mut findings = Vec::new();
        let (asked, begun) = (SystemTime::now(), Instant::now());
        match (LinkPeers { links, limits: exchange::Limits::default() }).open(gateway).await {
            Ok(opened) => {
                let took = begun.elapsed();
                let what = format!(
                    "reached in {} ms, answers in {:.1} ms",
                    connected.as_millis(),
                    took.as_secs_f64() * 1000.0
                );
                findings.push(Finding::fine(CHECK, place.clone(), what));
                let there = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(opened.time));
                let here = asked.checked_add(took / 2);
                if let (Some(there), Some(here)) = (there, here) {
                    findings.push(clock(place.clone(), gateway, there, here));
                }
            }
            Err(error) => {
                let cure = format!("ask `{}` to look at the log of its gateway", gateway.member());
                let what = format!("takes the connection, and opens no session: {}", chain(&error));
                findings.push(Finding { severity, ..Finding::error(CHECK, place.clone(), what, cure) });
            }
        }
        findings.push(self.keys(gateway, place, agreed).await);
        findings
    }

    /// By which key exchange the connection came about, and whether it could be a better one.
    async fn keys(&self, gateway: &GatewayId, place: String, agreed: Option<&'static str>) -> Finding {
        let agreed = agreed.unwrap_or("a key exchange without a name");
        if agreed == HYBRID {
            return Finding::fine(
                KEYS,
                place,
                format!("keys are agreed by {HYBRID}, which withstands quantum computers"),
            );
        }
        if self.post_quantum {
            let what = format!("keys are agreed by {agreed}, although {HYBRID} was offered");
            let cure = format!(
                "ask `{}` to set `tls.post_quantum = true`; what is recorded now could be read by a quantum computer later",
                gateway.member()
            );
            return Finding::warning(KEYS, place, what, cure);
        }
        let links = self.links(true);
        let hybrid = links.connect(gateway).await.is_ok() && key_exchange(&links, gateway) == Some(HYBRID);
        if hybrid {
            let what = format!("keys are agreed by {agreed}, and {HYBRID} gets through to this peer as well");
            let cure = "set `tls.post_quantum = true`, if that is so for every peer";
            return Finding::warning(KEYS, place, what, cure);
        }
        Finding::fine(
            KEYS,
            place,
            format!("keys are agreed by {agreed}; {HYBRID} is switched off and does not get through"),
        )
    }

    async fn unreached(
        &self,
        gateway: &GatewayId,
        place: String,
        cause: &DialError,
        severity: Severity,
    ) -> Vec<Finding> {
        let silent = match cause {
            DialError::Closed(_) => self.refusal(gateway).await,
            DialError::Connect(_) | DialError::Tls(_) | DialError::Protocol | DialError::Timeout(_) => None,
        };
        let cause = silent.as_ref().unwrap_or(cause);
        let told = dialling::explain(cause);
        let failed = Finding { severity, ..Finding::error(CHECK, place.clone(), told.cause, told.help) };
        // Where TCP comes about and TLS does not, the size of the first message may be the reason.
        let suspicious = self.post_quantum && !matches!(cause, DialError::Connect(_));
        if !suspicious || self.links(false).connect(gateway).await.is_err() {
            return vec![failed];
        }
        let what = format!(
            "{}: with {HYBRID} no connection comes about, without it one does; something in between drops the larger first message of TLS",
            failed.what
        );
        let cure = "have the firewall or proxy in between mended, so that it passes a ClientHello of more than one packet; until then set `tls.post_quantum = false`";
        vec![Finding { severity, ..Finding::error(KEYS, place, what, cure) }]
    }

    /// Asks a peer that closed the connection once more, without a word, so that its reason is heard.
    async fn refusal(&self, gateway: &GatewayId) -> Option<DialError> {
        let options = TlsOptions { post_quantum: self.post_quantum };
        let target = dialling::target(&self.federation, gateway, &self.trust, (&self.tls, &options)).ok()?;
        client::refusal(target, client::Limits::default().connect_timeout).await
    }

    fn links(&self, post_quantum: bool) -> Links<GatewayId> {
        let (federation, trust, tls) = (self.federation.clone(), self.trust.clone(), self.tls.clone());
        Links::new(client::Limits::default(), move |gateway: &GatewayId| {
            dialling::target(&federation, gateway, &trust, (&tls, &TlsOptions { post_quantum }))
        })
    }
}

fn key_exchange(links: &Links<GatewayId>, gateway: &GatewayId) -> Option<&'static str> {
    links.states().into_iter().find(|(peer, _)| peer == gateway)?.1.key_exchange
}

fn clock(place: String, gateway: &GatewayId, there: SystemTime, here: SystemTime) -> Finding {
    let (apart, direction) = match there.duration_since(here) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let what = format!("its clock is {:.1} s {direction} this machine's", apart.as_secs_f64());
    let cure = format!(
        "see that this machine's clock is synchronised (`timedatectl`); if it is, ask `{}` to look at theirs",
        gateway.member()
    );
    if apart > SKEWED {
        let what = format!("{what}, so every exchange is refused with `CLOCK_SKEW`");
        Finding::error(CLOCK, place, what, cure)
    } else if apart > ASTRAY {
        Finding::warning(CLOCK, place, what, cure)
    } else {
        Finding::fine(CLOCK, place, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_away() {
        let here = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let gateway: GatewayId = "trust.example/main".parse().unwrap();
        for (seconds, severity, what) in [
            (10, Severity::Fine, "10.0 s ahead"),
            (-10, Severity::Fine, "10.0 s behind"),
            (11, Severity::Warning, "11.0 s ahead"),
            (-120, Severity::Warning, "120.0 s behind"),
            (121, Severity::Error, "CLOCK_SKEW"),
            (-86_400, Severity::Error, "86400.0 s behind"),
        ] {
            let apart = Duration::from_secs(i64::unsigned_abs(seconds));
            let there = if seconds < 0 { here - apart } else { here + apart };
            let finding = clock("there".into(), &gateway, there, here);
            assert_eq!(finding.severity, severity, "{finding:?}");
            assert!(finding.what.contains(what), "{finding:?}");
        }
    }
}
