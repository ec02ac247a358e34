//! Members made for tests: keys from fixed seeds, authorities made anew.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use note::SigningKey;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::authority::{Authority, Flavour, Issued, Revocations};
use crate::{Directory, Entry, EntryDraft, Federation, GatewayEntry, GatewayId, MemberId, SystemId};

pub(crate) const YEAR: Duration = Duration::from_hours(365 * 24);
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// A member with one gateway, `main`.
pub(crate) struct Member {
    pub(crate) id: MemberId,
    pub(crate) authority: Authority,
    pub(crate) own_key: SigningKey,
    pub(crate) gateway_key: SigningKey,
    pub(crate) log_key: SigningKey,
    pub(crate) made: SystemTime,
}

impl Member {
    pub(crate) fn new(id: &str, seed: u8) -> Self {
        Self::made(id, seed, SystemTime::now())
    }

    pub(crate) fn made(id: &str, seed: u8, made: SystemTime) -> Self {
        let id: MemberId = id.parse().unwrap();
        let gateway = GatewayId::new(id.clone(), "main").unwrap();
        Self {
            authority: Authority::create(&id, Flavour::Production, made).unwrap(),
            own_key: key(&id.member_key_name(), seed),
            gateway_key: key(&gateway.gateway_key_name(), seed.wrapping_add(1)),
            log_key: key(&gateway.log_origin(), seed.wrapping_add(2)),
            id,
            made,
        }
    }

    pub(crate) fn gateway(&self) -> GatewayId {
        GatewayId::new(self.id.clone(), "main").unwrap()
    }

    pub(crate) fn system(&self, name: &str) -> SystemId {
        SystemId::new(self.id.clone(), name).unwrap()
    }

    pub(crate) fn draft(&self) -> EntryDraft {
        let address = format!("gw.{}:8443", self.id).parse().unwrap();
        EntryDraft {
            member: self.id.clone(),
            display_name: format!("Member {}", self.id),
            version: 1,
            valid_until: self.made + YEAR,
            roots: vec![self.authority.certificate().clone()],
            member_key: self.own_key.verifier(),
            former_member_keys: Vec::new(),
            gateways: vec![GatewayEntry::new(
                self.gateway(),
                Some(address),
                self.gateway_key.verifier(),
                self.log_key.verifier(),
            )],
            contracts: vec![("housing.v1.Tenancies".to_owned(), format!("sha256:{}", "ab".repeat(32)))],
        }
    }

    pub(crate) fn entry(&self) -> Entry {
        self.sign(&self.draft())
    }

    pub(crate) fn sign(&self, draft: &EntryDraft) -> Entry {
        draft.sign(&self.own_key, &[]).unwrap()
    }

    pub(crate) fn issue_gateway(&self, now: SystemTime) -> Issued {
        self.authority.issue_gateway(&self.gateway(), &["localhost", "127.0.0.1"], now).unwrap()
    }

    pub(crate) fn list(&self, serials: &[&str], now: SystemTime) -> String {
        let mut revocations = Revocations::new(self.id.clone());
        for serial in serials {
            assert!(revocations.revoke(serial, None, crate::authority::Reason::Superseded, now).unwrap());
        }
        self.authority.revocation_list(&mut revocations, now, YEAR).unwrap()
    }

    /// Issues a certificate that the authority itself would not.
    pub(crate) fn craft(&self, parameters: &CertificateParams) -> Presented {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer()).unwrap();
        Presented { chain: vec![certificate.der().clone()], key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }

    pub(crate) fn issuer(&self) -> Issuer<'static, KeyPair> {
        Issuer::from_ca_cert_der(self.authority.certificate(), KeyPair::from_pem(&self.authority.key_pem()).unwrap())
            .unwrap()
    }
}

/// What one end of a connection shows.
pub(crate) struct Presented {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl From<Issued> for Presented {
    fn from(issued: Issued) -> Self {
        Self {
            chain: crate::certificate::read_pem(&issued.certificate_pem).unwrap(),
            key: PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap(),
        }
    }
}

pub(crate) fn key(name: &str, seed: u8) -> SigningKey {
    SigningKey::from_seed(name, Zeroizing::new([seed; 32])).unwrap()
}

pub(crate) fn federation(entries: impl IntoIterator<Item = Entry>) -> Arc<Federation> {
    let mut directory = Directory::new();
    for entry in entries {
        directory.add(entry).unwrap();
    }
    Arc::new(Federation::load(directory, None).unwrap())
}
