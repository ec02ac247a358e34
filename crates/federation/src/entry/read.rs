//! From the text of an entry to an [`Entry`], with every problem at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use note::{Note, NoteError, VerifierKey};
use problem::{Problem, TomlFile};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use toml_edit::Datetime;

use super::{
    ENTRY_FORMAT, Entry, FormerKey, GatewayEntry, MAX_CONTRACTS, MAX_ENTRY_BYTES, MAX_FORMER_KEYS, MAX_GATEWAYS,
    MAX_ROOTS,
};
use crate::address::check_host;
use crate::certificate::{self, Facts};
use crate::time::from_rfc3339;
use crate::{GatewayId, MemberId};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    #[expect(dead_code, reason = "checked before anything else is read")]
    format: String,
    member: String,
    name: String,
    version: u64,
    valid_until: Datetime,
    key: String,
    #[serde(default)]
    former_key: Vec<RawFormerKey>,
    roots: Vec<String>,
    #[serde(default)]
    gateway: Vec<RawGateway>,
    #[serde(default)]
    contract: Vec<RawContract>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFormerKey {
    key: String,
    until: Datetime,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGateway {
    name: String,
    address: Option<String>,
    server_name: Option<String>,
    key: String,
    #[serde(default)]
    former_key: Vec<RawFormerKey>,
    log_origin: String,
    log_key: String,
    #[serde(default)]
    former_log_key: Vec<RawFormerKey>,
    retired: Option<Datetime>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContract {
    service: String,
    digest: String,
}

/// Reads, checks and verifies an entry.
pub(super) fn entry(file: PathBuf, text: &str) -> Result<Entry, Vec<Problem>> {
    if text.len() > MAX_ENTRY_BYTES {
        return Err(vec![Problem::new(file, format!("the entry is larger than {MAX_ENTRY_BYTES} bytes"))]);
    }
    let note = Note::parse(text).map_err(|error| vec![unsigned(&file, text, &error)])?;
    let toml = TomlFile::parse(&file, note.text()).map_err(|problem| vec![problem])?;
    check_format(&toml, ENTRY_FORMAT).map_err(|problem| vec![problem])?;
    let raw: RawEntry = toml.read().map_err(|problem| vec![problem])?;
    let mut check = Check { toml: &toml, problems: Vec::new(), keys: BTreeMap::new() };
    let entry = check.entry(raw, note);
    Problem::sort(&mut check.problems);
    match entry {
        Some(entry) if check.problems.is_empty() => Ok(entry),
        Some(_) | None => Err(check.problems),
    }
}

/// Says what is wrong with a note that is none. One that begins as an entry does and has no signature at its end was cut off.
fn unsigned(file: &Path, text: &str, error: &NoteError) -> Problem {
    let family = ENTRY_FORMAT.trim_end_matches(|c: char| c.is_ascii_digit());
    let begins = text.starts_with(&format!("format = \"{family}"));
    let lines = text.lines().count();
    let at_its_end = match error {
        NoteError::NoBlankLine | NoteError::NoNewline | NoteError::Unsigned => true,
        NoteError::SignatureLine { line } => *line == lines,
        NoteError::TooLarge
        | NoteError::TooManySignatures
        | NoteError::Control { .. }
        | NoteError::Signature(_)
        | NoteError::Ambiguous { .. } => false,
    };
    if begins && at_its_end {
        let what =
            format!("the entry ends too early, on line {lines}: the signature of its member is missing or cut off");
        return Problem::new(file, what)
            .cause(error.to_string())
            .help("get it anew from whoever signed it; it is copied as it is, byte for byte");
    }
    Problem::new(file, "this is not a signed entry")
        .cause(error.to_string())
        .help("an entry is a text, a blank line and the signature of its member key, as `drawbridge init` writes it")
}

/// Refuses a text whose `format` is not `expected`, and tells a later version from another kind of text.
pub(crate) fn check_format(toml: &TomlFile, expected: &str) -> Result<(), Problem> {
    let family = expected.trim_end_matches(|c: char| c.is_ascii_digit());
    match toml.root().get("format").and_then(|item| item.as_str()) {
        Some(format) if format == expected => Ok(()),
        Some(format) if format.strip_prefix(family).is_some_and(|version| version.parse::<u32>().is_ok()) => Err(toml
            .problem("format", format!("the format is newer than this program, which reads `{expected}`"))
            .help("install a newer Drawbridge")),
        Some(_) => Err(toml
            .problem("format", format!("the format is not `{expected}`"))
            .help("this is a file of another kind")),
        None => Err(toml
            .problem("format", format!("`format = \"{expected}\"` is missing"))
            .help("this may be a file of another kind")),
    }
}

/// Collects problems while values are converted; a value that has a problem is `None`.
struct Check<'t> {
    toml: &'t TomlFile,
    problems: Vec<Problem>,
    /// Where each public key was met first: one key may not serve two ends.
    keys: BTreeMap<[u8; 32], String>,
}

impl Check<'_> {
    fn entry(&mut self, raw: RawEntry, note: Note) -> Option<Entry> {
        if self.toml.text().contains("'''") {
            self.refuse("", "the text holds `'''`, which cannot stand in a directory", "use `\"` instead");
        }
        let member = self.take("member", raw.member.parse::<MemberId>());
        self.people_name("name", &raw.name);
        if raw.version == 0 {
            self.refuse("version", "versions count from 1", "set it to 1, and count it up with every change");
        }
        let valid_until = self.moment("valid_until", &raw.valid_until);
        let roots = self.roots(&raw.roots, member.as_ref());
        // What follows names keys after the member, so it waits for one.
        let member = member?;
        let key_name = member.member_key_name();
        let member_key = self.key("key", &raw.key, &key_name);
        let former_member_keys = self.former_keys("former_key", &raw.former_key, &key_name);
        if raw.gateway.is_empty() {
            self.refuse(
                "gateway",
                "a member has at least one gateway",
                "add a table `[[gateway]]`; one that only asks needs no `address`",
            );
        }
        self.at_most("gateway", raw.gateway.len(), MAX_GATEWAYS, "gateways");
        let mut gateways: Vec<GatewayEntry> = Vec::new();
        for (place, gateway) in raw.gateway.iter().enumerate().take(MAX_GATEWAYS) {
            let path = format!("gateway[{place}]");
            if let Some(gateway) = self.gateway(&path, gateway, &member) {
                if gateways.iter().any(|other| other.id == gateway.id) {
                    self.refuse(
                        &format!("{path}.name"),
                        format!("there are two gateways called `{}`", gateway.id.name()),
                        "give each its own name",
                    );
                }
                gateways.push(gateway);
            }
        }
        let contracts = self.contracts(raw.contract);
        let member_key = member_key?;
        match note.verified_by(std::slice::from_ref(&member_key)) {
            Ok(signers) if !signers.is_empty() => {}
            Ok(_) => self.refuse(
                "key",
                "the entry is not signed by the member key that it names",
                format!("sign it with the key `{}`", member_key.name()),
            ),
            Err(error) => {
                let problem = self.toml.problem("", "the signature of the entry is wrong").cause(error.to_string());
                self.problems.push(
                    problem.help("it was changed after it was signed: sign it again, or ask its member for it again"),
                );
            }
        }
        Some(Entry {
            member,
            display_name: raw.name,
            version: raw.version,
            valid_until: valid_until?,
            roots,
            member_key,
            former_member_keys,
            gateways,
            contracts,
            note,
        })
    }

    fn gateway(&mut self, path: &str, raw: &RawGateway, member: &MemberId) -> Option<GatewayEntry> {
        let at = |key: &str| format!("{path}.{key}");
        let address = raw.address.as_ref().and_then(|text| self.take(&at("address"), text.parse()));
        if let Some(name) = &raw.server_name {
            self.take(&at("server_name"), check_host(name));
            if raw.address.is_none() {
                self.refuse(
                    &at("server_name"),
                    "a gateway without `address` has no `server_name`",
                    "leave it out, or add `address`",
                );
            }
        }
        let retired = raw.retired.as_ref().and_then(|date| self.moment(&at("retired"), date));
        let id = self.take(&at("name"), GatewayId::new(member.clone(), &raw.name))?;
        let gateway_key = self.key(&at("key"), &raw.key, &id.gateway_key_name());
        let former_gateway_keys = self.former_keys(&at("former_key"), &raw.former_key, &id.gateway_key_name());
        let origin = id.log_origin();
        if raw.log_origin != origin {
            self.refuse(
                &at("log_origin"),
                format!("the log of gateway `{id}` cannot be called that"),
                format!("write \"{origin}\""),
            );
        }
        let log_key = self.key(&at("log_key"), &raw.log_key, &origin);
        let former_log_keys = self.former_keys(&at("former_log_key"), &raw.former_log_key, &origin);
        Some(GatewayEntry {
            id,
            address,
            server_name: raw.server_name.clone(),
            gateway_key: gateway_key?,
            former_gateway_keys,
            log_origin: origin,
            log_key: log_key?,
            former_log_keys,
            retired,
        })
    }

    fn key(&mut self, path: &str, text: &str, name: &str) -> Option<VerifierKey> {
        let key = self.take(path, text.parse::<VerifierKey>())?;
        if key.name() != name {
            self.refuse(
                path,
                format!("the key is called `{}`", shown(key.name())),
                format!("a key in this place is called `{name}`"),
            );
            return None;
        }
        if let Some(other) = self.keys.insert(*key.public(), path.to_owned()) {
            self.refuse(path, format!("the key is the same as `{other}`"), "make a key of its own for each end");
        }
        Some(key)
    }

    fn former_keys(&mut self, path: &str, raw: &[RawFormerKey], name: &str) -> Vec<FormerKey> {
        self.at_most(path, raw.len(), MAX_FORMER_KEYS, "former keys");
        let mut keys = Vec::new();
        for (place, former) in raw.iter().enumerate().take(MAX_FORMER_KEYS) {
            let key = self.key(&format!("{path}[{place}].key"), &former.key, name);
            let until = self.moment(&format!("{path}[{place}].until"), &former.until);
            keys.extend(key.zip(until).map(|(key, until)| FormerKey { key, until }));
        }
        keys
    }

    fn roots(&mut self, raw: &[String], member: Option<&MemberId>) -> Vec<CertificateDer<'static>> {
        if raw.is_empty() {
            self.refuse(
                "roots",
                "a member has at least one root",
                "add the PEM text of the certificate of the member's authority",
            );
        }
        self.at_most("roots", raw.len(), MAX_ROOTS, "roots");
        let mut roots: Vec<CertificateDer<'static>> = Vec::new();
        let mut keys = Vec::new();
        for (place, pem) in raw.iter().enumerate().take(MAX_ROOTS) {
            let path = format!("roots[{place}]");
            match root(pem, member) {
                Ok((root, facts)) if keys.contains(&facts.public_key) => {
                    let other = keys.iter().position(|key| *key == facts.public_key).unwrap_or_default();
                    self.refuse(
                        &path,
                        format!("this root has the same key as `roots[{other}]`"),
                        "name each root once",
                    );
                    roots.push(root);
                }
                Ok((root, facts)) => {
                    keys.push(facts.public_key);
                    roots.push(root);
                }
                Err((what, help)) => self.refuse(&path, what, help),
            }
        }
        roots
    }

    fn contracts(&mut self, raw: Vec<RawContract>) -> Vec<(String, String)> {
        self.at_most("contract", raw.len(), MAX_CONTRACTS, "contracts");
        let mut contracts: Vec<(String, String)> = Vec::new();
        for (place, RawContract { service, digest }) in raw.into_iter().enumerate().take(MAX_CONTRACTS) {
            if !is_service(&service) {
                let path = format!("contract[{place}].service");
                self.refuse(
                    &path,
                    "this is not the full name of a service",
                    "write package and service, as in `housing.v1.Tenancies`",
                );
            }
            if !is_digest(&digest) {
                let path = format!("contract[{place}].digest");
                self.refuse(
                    &path,
                    "this is not the digest of a contract",
                    "write `sha256:` and 64 lower-case hexadecimal digits",
                );
            }
            if contracts.iter().any(|other| other.0 == service && other.1 == digest) {
                self.refuse(
                    &format!("contract[{place}]"),
                    "this contract is there twice",
                    "name each version of a service once",
                );
            }
            contracts.push((service, digest));
        }
        contracts
    }

    fn people_name(&mut self, path: &str, name: &str) {
        const MAX_CHARACTERS: usize = 200;
        let reverses = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
        if name.trim().is_empty() {
            self.refuse(path, "the name is empty", "write the name that people know the member by");
        } else if name.chars().count() > MAX_CHARACTERS {
            self.refuse(path, format!("the name is longer than {MAX_CHARACTERS} characters"), "shorten it");
        } else if name.chars().any(|c| c.is_control() || reverses(c)) {
            self.refuse(path, "the name holds control characters", "write letters, digits and spaces");
        }
    }

    fn moment(&mut self, path: &str, date: &Datetime) -> Option<SystemTime> {
        let moment = date.offset.and_then(|_| from_rfc3339(&date.to_string()));
        if moment.is_none() {
            self.refuse(
                path,
                "this is not a moment with date, time and offset",
                "write it as 2027-11-01T00:00:00Z, without quotes",
            );
        }
        moment
    }

    fn at_most(&mut self, path: &str, count: usize, most: usize, what: &str) {
        if count > most {
            self.refuse(path, format!("there are {count} {what}; at most {most} are read"), "leave some out");
        }
    }

    fn take<T, E: std::fmt::Display>(&mut self, path: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let text = error.to_string();
                let (what, help) =
                    text.split_once(": ").map_or((text.as_str(), None), |(what, help)| (what, Some(help)));
                let problem = self.toml.problem(path, what);
                self.problems.push(match help {
                    Some(help) => problem.help(help),
                    None => problem,
                });
                None
            }
        }
    }

    fn refuse(&mut self, path: &str, what: impl Into<String>, help: impl Into<String>) {
        self.problems.push(self.toml.problem(path, what).help(help));
    }
}

/// Reads one root, or says what is wrong with it and how to mend it.
fn root(pem: &str, member: Option<&MemberId>) -> Result<(CertificateDer<'static>, Facts), (String, &'static str)> {
    const EXPECTED: &str = "paste the PEM text of the certificate of the member's authority, one per string";
    if pem.contains("PRIVATE KEY") {
        return Err((
            "there is a private key in this text".to_owned(),
            "take it out, and make a new key if others may have read it",
        ));
    }
    let certificates = certificate::read_pem(pem).map_err(|error| (format!("not a root: {error}"), EXPECTED))?;
    let [root] = certificates.as_slice() else {
        return Err(("there is more than one certificate in this text".to_owned(), EXPECTED));
    };
    let facts = Facts::read(root).map_err(|error| (format!("not a root: {error}"), EXPECTED))?;
    let refuse = |what: &str| Err((what.to_owned(), "use the certificate of the authority, not one that it issued"));
    if !facts.is_authority {
        return refuse("this certificate may not issue certificates");
    }
    if webpki::anchor_from_trusted_cert(root).is_err() {
        return refuse("this certificate cannot serve as a root");
    }
    match (certificate::trust_domain(root), member) {
        (Some(domain), Some(member)) if domain != member.as_str() => Err((
            "this root says that it is of another member".to_owned(),
            "a root is listed only by the member that it names; roots of members are never merged",
        )),
        _ => Ok((root.clone(), facts)),
    }
}

/// Says whether `text` is the full name of a protobuf service: identifiers joined by dots, at most 255 characters.
fn is_service(text: &str) -> bool {
    let identifier = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    text.len() <= 255 && text.split('.').all(identifier)
}

/// Says whether `text` is `sha256:` and 64 lower-case hexadecimal digits.
pub(crate) fn is_digest(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64 && digits.bytes().all(digit))
}

fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}
