//! An entry before it is signed.

use std::fmt::Write as _;
use std::time::SystemTime;

use note::{Note, SigningKey, VerifierKey};
use problem::Problem;
use rustls_pki_types::CertificateDer;

use super::{ENTRY_FORMAT, Entry, FormerKey, GatewayEntry};
use crate::MemberId;
use crate::certificate::to_pem;
use crate::time::rfc3339;

/// What an entry will say once it is signed. Nothing is checked before [`EntryDraft::sign`].
#[derive(Clone, Debug)]
pub struct EntryDraft {
    /// See [`Entry::member`].
    pub member: MemberId,
    /// See [`Entry::display_name`].
    pub display_name: String,
    /// See [`Entry::version`].
    pub version: u64,
    /// See [`Entry::valid_until`]; to the second.
    pub valid_until: SystemTime,
    /// See [`Entry::roots`].
    pub roots: Vec<CertificateDer<'static>>,
    /// See [`Entry::member_key`].
    pub member_key: VerifierKey,
    /// See [`Entry::former_member_keys`].
    pub former_member_keys: Vec<FormerKey>,
    /// See [`Entry::gateways`].
    pub gateways: Vec<GatewayEntry>,
    /// See [`Entry::contracts`].
    pub contracts: Vec<(String, String)>,
}

impl EntryDraft {
    /// Returns a draft of the next version of `entry`, otherwise unchanged.
    #[must_use]
    pub fn following(entry: &Entry) -> Self {
        Self {
            member: entry.member.clone(),
            display_name: entry.display_name.clone(),
            version: entry.version.saturating_add(1),
            valid_until: entry.valid_until,
            roots: entry.roots.clone(),
            member_key: entry.member_key.clone(),
            former_member_keys: entry.former_member_keys.clone(),
            gateways: entry.gateways.clone(),
            contracts: entry.contracts.clone(),
        }
    }

    /// Changes to another member key, and keeps the present one among the former keys. The entry must then be signed with
    /// both.
    pub fn rotate_member_key(&mut self, new: VerifierKey, now: SystemTime) {
        let key = std::mem::replace(&mut self.member_key, new);
        self.former_member_keys.insert(0, FormerKey { key, until: now });
    }

    /// Writes the text that is signed: TOML with a comment or two, ending in a newline.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        pair(&mut out, "format", ENTRY_FORMAT);
        pair(&mut out, "member", self.member.as_str());
        pair(&mut out, "name", &self.display_name);
        line(&mut out, &format!("version = {}", self.version));
        line(&mut out, &format!("valid_until = {}", rfc3339(self.valid_until)));
        pair(&mut out, "key", &self.member_key.to_string());
        line(&mut out, "roots = [");
        for root in &self.roots {
            line(&mut out, &format!("\"\"\"\n{}\"\"\",", to_pem("CERTIFICATE", root)));
        }
        line(&mut out, "]");
        former(&mut out, "former_key", &self.former_member_keys);
        for gateway in &self.gateways {
            write_gateway(&mut out, gateway);
        }
        for (service, digest) in &self.contracts {
            line(&mut out, "\n[[contract]]");
            pair(&mut out, "service", service);
            pair(&mut out, "digest", digest);
        }
        out
    }

    /// Signs the entry with the member key that it names, and with `former` keys where the member key changes, and reads
    /// it back with every check.
    ///
    /// # Errors
    ///
    /// Every problem in it, as [`Entry::parse`]; the file in them is `entry.note`.
    pub fn sign(&self, key: &SigningKey, former: &[&SigningKey]) -> Result<Entry, Vec<Problem>> {
        const FILE: &str = "entry.note";
        let keys: Vec<&SigningKey> = std::iter::once(key).chain(former.iter().copied()).collect();
        let note = Note::sign(&self.to_text(), &keys)
            .map_err(|error| vec![Problem::new(FILE, "the entry cannot be signed").cause(error.to_string())])?;
        Entry::parse(FILE, &note.to_string())
    }
}

fn write_gateway(out: &mut String, gateway: &GatewayEntry) {
    line(out, "\n[[gateway]]");
    pair(out, "name", gateway.id.name());
    if let Some(address) = &gateway.address {
        pair(out, "address", &address.to_string());
    }
    if let Some(name) = &gateway.server_name {
        pair(out, "server_name", name);
    }
    pair(out, "key", &gateway.gateway_key.to_string());
    pair(out, "log_origin", &gateway.log_origin);
    pair(out, "log_key", &gateway.log_key.to_string());
    if let Some(retired) = gateway.retired {
        line(out, &format!("retired = {}", rfc3339(retired)));
    }
    former(out, "gateway.former_key", &gateway.former_gateway_keys);
    former(out, "gateway.former_log_key", &gateway.former_log_keys);
}

fn former(out: &mut String, table: &str, keys: &[FormerKey]) {
    for former in keys {
        line(out, &format!("\n[[{table}]]"));
        pair(out, "key", &former.key.to_string());
        line(out, &format!("until = {}", rfc3339(former.until)));
    }
}

fn pair(out: &mut String, key: &str, value: &str) {
    line(out, &format!("{key} = {}", toml_edit::Value::from(value)));
}

fn line(out: &mut String, text: &str) {
    let written = writeln!(out, "{text}");
    debug_assert!(written.is_ok(), "writing to a string does not fail");
}
