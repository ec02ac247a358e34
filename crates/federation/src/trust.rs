//! Whether a certificate is believed: each against the roots of the one member that it names, and its revocation lists.
//!
//! There is no common set of roots. The SPIFFE URI in a certificate says whose roots to use; if that member's own roots did
//! not issue it, it is refused, whoever else's did. Names of hosts take no part: a gateway is who its certificate says it is
//! at whatever address it is found, so that a wrong or hostile name service can break a link but never redirect one.
//!
//! No connection is resumed: every one shows its certificate and has it verified against the trust of that moment. A
//! resumed TLS 1.3 session would not be looked at again, so a session from before a revocation would outlive it.

mod config;
mod distrust;
mod explain;
mod revocation;
mod verifier;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use problem::Problem;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};

use crate::certificate::{MAX_CERTIFICATE_BYTES, MAX_CHAIN, is_development};
use crate::time::{distance, from_unix, moment, shown, unix};
use crate::{Federation, GatewayId, Identity, MemberId, Warning};

pub use config::{ConfigError, TlsIdentity, TlsIdentityError, TlsOptions, client_config, provider, server_config};
pub use distrust::Distrust;
pub use explain::{Explanation, explain, explain_io};
pub use revocation::{MAX_LIST_BYTES, MAX_LISTS, RevocationList};

/// Who may present a certificate here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// On the port for links: any gateway that the directory lists, of any member.
    Links,
    /// On the port for clients: any system of one's own member.
    Clients,
    /// At the other end of a connection that was dialled: exactly this gateway.
    Gateway(GatewayId),
}

/// What certificates are verified against: an immutable snapshot.
pub struct Trust {
    own: MemberId,
    federation: Arc<Federation>,
    members: HashMap<MemberId, Anchors>,
    /// Members with a revocation list, yet not in the directory.
    strangers: Vec<MemberId>,
    algorithms: WebPkiSupportedAlgorithms,
    /// Whether certificates that are not for production are refused.
    production: bool,
}

/// The roots of one member and its revocation lists.
struct Anchors {
    roots: Vec<TrustAnchor<'static>>,
    lists: Vec<RevocationList>,
}

impl Trust {
    /// Makes a snapshot for a gateway of member `own`, of the federation and all revocation lists at hand.
    ///
    /// # Errors
    ///
    /// Every problem at once: `own` is not in the directory; a list that names one of its member's roots as issuer, yet is
    /// not signed by it.
    pub fn new(own: MemberId, federation: Arc<Federation>, lists: Vec<RevocationList>) -> Result<Self, Vec<Problem>> {
        let algorithms = provider(&TlsOptions::default()).signature_verification_algorithms;
        let mut problems = Vec::new();
        if federation.member(&own).is_none() {
            problems.push(
                Problem::new(
                    federation.directory().file(),
                    format!("this gateway's own member `{own}` is not in the directory"),
                )
                .help("add its entry with `drawbridge directory add entry.note`"),
            );
        }
        let mut by_member: BTreeMap<MemberId, Vec<RevocationList>> = BTreeMap::new();
        for list in lists {
            by_member.entry(list.member().clone()).or_default().push(list);
        }
        let mut members = HashMap::new();
        for entry in federation.members() {
            let roots = entry
                .roots
                .iter()
                .filter_map(|root| webpki::anchor_from_trusted_cert(root).ok().map(|anchor| anchor.to_owned()))
                .collect::<Vec<_>>();
            let mut lists = by_member.remove(&entry.member).unwrap_or_default();
            for list in &mut lists {
                problems.extend(list.bind(&roots, algorithms));
            }
            members.insert(entry.member.clone(), Anchors { roots, lists });
        }
        if problems.is_empty() {
            Ok(Self {
                own,
                federation,
                members,
                strangers: by_member.into_keys().collect(),
                algorithms,
                production: false,
            })
        } else {
            Err(problems)
        }
    }

    /// Refuses from now on every certificate that says it is not for production, of whichever member. A gateway outside
    /// development mode does this; that another member tries things out in public then hinders nobody else.
    #[must_use]
    pub fn refusing_development(mut self) -> Self {
        self.production = true;
        self
    }

    /// Returns the member whose gateway this is.
    #[must_use]
    pub fn own(&self) -> &MemberId {
        &self.own
    }

    /// Returns the federation that it was made of.
    #[must_use]
    pub fn federation(&self) -> &Arc<Federation> {
        &self.federation
    }

    /// Verifies a certificate at `now`, and returns whose it is.
    ///
    /// `intermediates` are what came with it, in any order. Looked at: identity and its kind, the member's entry, the chain
    /// to one of that member's roots, the time, the use, and whether the certificate or one above it is revoked.
    ///
    /// A revocation list past its time still counts: what it revokes stays revoked, and what it does not is accepted, since
    /// one member that forgets to publish a list must not cut the links of all. A root past its own time counts as well:
    /// what lists it is the entry, which has a time of its own. [`Trust::warnings`] tells of both.
    ///
    /// # Errors
    ///
    /// [`Distrust`] says why not.
    pub fn verify(
        &self,
        expected: &Expected,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Identity, Distrust> {
        let within = end_entity.len() <= MAX_CERTIFICATE_BYTES
            && intermediates.iter().all(|one| one.len() <= MAX_CERTIFICATE_BYTES);
        if !within || intermediates.len() >= MAX_CHAIN {
            return Err(Distrust::Large);
        }
        let identity = Identity::from_certificate(end_entity)?;
        self.check_place(expected, &identity)?;
        let member = identity.member();
        let (Some(anchors), Some(entry)) = (self.members.get(member), self.federation.member(member)) else {
            return Err(Distrust::UnknownMember { member: member.clone() });
        };
        if !entry.is_current(now) {
            return Err(Distrust::EntryEnded { member: member.clone(), ended: entry.valid_until, now });
        }
        if self.production && std::iter::once(end_entity).chain(intermediates).any(is_development) {
            return Err(Distrust::Development { presented: identity });
        }
        let usage = match expected {
            Expected::Links | Expected::Clients => webpki::KeyUsage::client_auth(),
            Expected::Gateway(_) => webpki::KeyUsage::server_auth(),
        };
        anchors.verify(&identity, end_entity, intermediates, unix(now), usage, self.algorithms)?;
        if let Identity::Gateway(gateway) = &identity {
            match entry.gateway(gateway.name()) {
                Some(listed) if !listed.is_retired(now) => {}
                Some(_) => return Err(Distrust::RetiredGateway { gateway: gateway.clone() }),
                None => return Err(Distrust::UnlistedGateway { gateway: gateway.clone() }),
            }
        }
        Ok(identity)
    }

    /// Verifies a gateway's own certificate as others will: of this member, listed, good for both ends of a link.
    ///
    /// # Errors
    ///
    /// [`Distrust`] says why others would refuse it.
    pub fn check_own(&self, own: &TlsIdentity, now: SystemTime) -> Result<GatewayId, Distrust> {
        let Identity::Gateway(gateway) = own.identity().clone() else {
            return Err(Distrust::WrongKind { presented: own.identity().clone(), expected: Expected::Links });
        };
        if *gateway.member() != self.own {
            return Err(Distrust::ForeignMember { presented: own.identity().clone(), own: self.own.clone() });
        }
        let Some((end_entity, intermediates)) = own.chain().split_first() else {
            return Err(Distrust::None);
        };
        self.verify(&Expected::Links, end_entity, intermediates, now)?;
        self.verify(&Expected::Gateway(gateway.clone()), end_entity, intermediates, now)?;
        Ok(gateway)
    }

    /// Returns what someone should look at: entries, roots and revocation lists that have ended or soon will, and lists
    /// of members that are not in the directory.
    #[must_use]
    pub fn warnings(&self, now: SystemTime) -> Vec<Warning> {
        let mut warnings = self.federation.warnings(now);
        for entry in self.federation.members() {
            for list in self.members.get(&entry.member).into_iter().flat_map(|anchors| &anchors.lists) {
                warnings.extend(list.warning(now));
            }
        }
        let strange = |member: &MemberId| {
            Warning::new(member, format!("there is a revocation list of `{member}`, which is not in the directory"))
        };
        warnings.extend(self.strangers.iter().map(strange));
        warnings
    }

    /// Refuses an identity that has no business in this place, before any signature is verified.
    fn check_place(&self, expected: &Expected, identity: &Identity) -> Result<(), Distrust> {
        let wrong_kind = || Err(Distrust::WrongKind { presented: identity.clone(), expected: expected.clone() });
        match (expected, identity) {
            (Expected::Links, Identity::Gateway(_)) => Ok(()),
            (Expected::Clients, Identity::System(system)) if *system.member() == self.own => Ok(()),
            (Expected::Clients, Identity::System(_)) => {
                Err(Distrust::ForeignMember { presented: identity.clone(), own: self.own.clone() })
            }
            (Expected::Gateway(wanted), Identity::Gateway(gateway)) if wanted == gateway => Ok(()),
            (Expected::Gateway(wanted), Identity::Gateway(gateway)) => {
                Err(Distrust::OtherGateway { wanted: wanted.clone(), presented: gateway.clone() })
            }
            (Expected::Links | Expected::Gateway(_), Identity::System(_) | Identity::Auditor(_))
            | (Expected::Clients, Identity::Gateway(_) | Identity::Auditor(_)) => wrong_kind(),
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({}, {} members)", self.own, self.members.len())
    }
}

impl Anchors {
    fn verify(
        &self,
        identity: &Identity,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: webpki::KeyUsage,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<(), Distrust> {
        let certificate =
            webpki::EndEntityCert::try_from(end_entity).map_err(|error| Distrust::chain(identity, &error))?;
        let check_revocation = |path: &webpki::VerifiedPath<'_>| revocation::check(&self.lists, path, algorithms);
        certificate
            .verify_for_usage(algorithms.all, &self.roots, intermediates, now, usage, None, Some(&check_revocation))
            .map(|_| ())
            .map_err(|error| Distrust::chain(identity, &error))
    }
}

/// The trust of this moment, shared by all connections. Cheap to clone; all clones see a replacement at once.
#[derive(Clone)]
pub struct TrustStore {
    inner: Arc<Inner>,
}

struct Inner {
    current: ArcSwap<Trust>,
    observer: Option<Observer>,
}

/// Told of every refused certificate, inside the handshake: it must not block.
pub type Observer = Arc<dyn Fn(&Distrust) + Send + Sync>;

impl TrustStore {
    /// Starts with `trust`.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self { inner: Arc::new(Inner { current: ArcSwap::from_pointee(trust), observer: None }) }
    }

    /// Starts with `trust`, and tells `observer` of every certificate refused in a handshake. On a port this is the only way
    /// to learn all about it: TLS itself reports only the alert that was sent.
    #[must_use]
    pub fn observed(trust: Trust, observer: Observer) -> Self {
        Self { inner: Arc::new(Inner { current: ArcSwap::from_pointee(trust), observer: Some(observer) }) }
    }

    /// Replaces the trust. It holds for every handshake that verifies from now on; open connections are looked at again by
    /// whoever keeps them, with [`TrustStore::still_trusted`].
    pub fn replace(&self, trust: Trust) {
        self.inner.current.store(Arc::new(trust));
    }

    /// Returns the trust of this moment.
    #[must_use]
    pub fn current(&self) -> Arc<Trust> {
        self.inner.current.load_full()
    }

    /// Says whether a certificate that was accepted once would be accepted now. To be asked for every open connection after
    /// each [`TrustStore::replace`], and from time to time, since certificates and entries end.
    ///
    /// # Errors
    ///
    /// [`Distrust`] says why it would not.
    pub fn still_trusted(
        &self,
        expected: &Expected,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(), Distrust> {
        self.inner.current.load().verify(expected, end_entity, intermediates, now).map(|_| ())
    }

    /// Returns the verifier for a port for links.
    #[must_use]
    pub fn links_verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(verifier::Verifier::new(self.clone(), Expected::Links))
    }

    /// Returns the verifier for a port for clients.
    #[must_use]
    pub fn clients_verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(verifier::Verifier::new(self.clone(), Expected::Clients))
    }

    /// Returns the verifier for dialling `gateway`. It is the same for another member's gateway and for one's own.
    #[must_use]
    pub fn gateway_verifier(&self, gateway: GatewayId) -> Arc<dyn ServerCertVerifier> {
        Arc::new(verifier::Verifier::new(self.clone(), Expected::Gateway(gateway)))
    }

    fn algorithms(&self) -> WebPkiSupportedAlgorithms {
        self.inner.current.load().algorithms
    }

    fn verify(
        &self,
        expected: &Expected,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Identity, Distrust> {
        let result = self.inner.current.load().verify(expected, end_entity, intermediates, from_unix(now));
        if let (Err(distrust), Some(observer)) = (&result, &self.inner.observer) {
            observer(distrust);
        }
        result
    }
}

impl fmt::Debug for TrustStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustStore").field(&self.inner.current.load()).finish()
    }
}

#[cfg(test)]
mod tests;
