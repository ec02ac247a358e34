//! An agreement: what two members agreed that one may ask of the other. What is read here is whole and consistent in itself;
//! signatures and contracts are looked at elsewhere.

mod check;
mod names;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use contract::Digest;
use federation::{MemberId, SystemId};
use jiff::civil::Date;
use problem::{Problem, TomlFile};

use crate::grant::Grant;
use crate::terms::Terms;
use crate::time::Retention;

pub(crate) use names::is_purpose;

/// The `format` of an agreement.
pub const AGREEMENT_FORMAT: &str = "drawbridge.agreement/v1";

/// Largest text of an agreement, in bytes without signatures. It bounds what an unsigned text from elsewhere can make a gateway do.
pub const MAX_AGREEMENT_BYTES: usize = 256 * 1024;

/// What one member, the consumer, may ask of another, the provider.
#[derive(Clone, Debug)]
pub struct Agreement {
    file: PathBuf,
    text: Arc<str>,
    digest: Digest,
    id: Arc<str>,
    consumer: MemberId,
    provider: MemberId,
    valid_from: SystemTime,
    valid_until: SystemTime,
    review_on: Date,
    retention: Retention,
    purposes: BTreeMap<Arc<str>, Purpose>,
    grants: Vec<Grant>,
}

/// Why the consumer may ask, and what law lets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// The law, in the words of the agreement. Goes into every record of an exchange.
    pub legal_basis: Arc<str>,
    /// What the purpose is, for people.
    pub description: Option<String>,
}

impl Agreement {
    /// Reads an agreement's text.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in it. What has not the shape of an agreement (an unknown key, a text for a number) is told alone and
    /// first, since the rest cannot be read then.
    pub fn parse(file: &TomlFile) -> Result<Agreement, Vec<Problem>> {
        if file.text().len() > MAX_AGREEMENT_BYTES {
            let problem =
                Problem::new(file.name(), format!("the agreement is larger than {} KiB", MAX_AGREEMENT_BYTES / 1024));
            return Err(vec![problem.help("make several agreements of it")]);
        }
        check_format(file, AGREEMENT_FORMAT, "an agreement").map_err(|problem| vec![*problem])?;
        check_visible(file).map_err(|problem| vec![*problem])?;
        let terms: Terms = file.read().map_err(|problem| vec![problem])?;
        check::agreement(file, terms)
    }

    /// Returns the id, unique between the two members.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the digest: SHA-256 of the text that is signed, without the signatures.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the member that may ask.
    #[must_use]
    pub fn consumer(&self) -> &MemberId {
        &self.consumer
    }

    /// Returns the member that answers.
    #[must_use]
    pub fn provider(&self) -> &MemberId {
        &self.provider
    }

    /// Returns the first instant at which the agreement is in force.
    #[must_use]
    pub fn valid_from(&self) -> SystemTime {
        self.valid_from
    }

    /// Returns the first instant at which the agreement is no longer in force.
    #[must_use]
    pub fn valid_until(&self) -> SystemTime {
        self.valid_until
    }

    /// Returns the day on which the two members look at it again. It stays in force whether they do or not.
    #[must_use]
    pub fn review_on(&self) -> Date {
        self.review_on
    }

    /// Returns how long both members keep records of exchanges under it.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// Returns the purposes by name.
    #[must_use]
    pub fn purposes(&self) -> &BTreeMap<Arc<str>, Purpose> {
        &self.purposes
    }

    /// Returns the grants in the order of the text.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Returns the text that is signed. It ends in a newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the name of the file that it was read from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the name under which the signed agreement is kept in a folder of agreements: the id and the beginning of the digest.
    #[must_use]
    pub fn file_name(&self) -> String {
        let digits: String = self.digest.to_string().chars().skip("sha256:".len()).take(8).collect();
        format!("{}-{digits}.note", self.id)
    }

    /// Returns whether `member` is one of the two.
    #[must_use]
    pub fn is_party(&self, member: &MemberId) -> bool {
        *member == self.consumer || *member == self.provider
    }

    /// Returns the systems that any grant names.
    #[must_use]
    pub fn systems(&self) -> std::collections::BTreeSet<SystemId> {
        self.grants.iter().flat_map(|grant| grant.systems.iter().cloned()).collect()
    }
}

#[cfg(test)]
impl Agreement {
    /// Returns the same agreement between two other members.
    pub(crate) fn between(&self, consumer: &MemberId, provider: &MemberId) -> Agreement {
        let mut other = self.clone();
        other.digest = text_digest(&format!("{consumer} {provider}"));
        (other.consumer, other.provider) = (consumer.clone(), provider.clone());
        for grant in &mut other.grants {
            let systems = grant.systems.iter().map(|system| SystemId::new(consumer.clone(), system.name()).unwrap());
            grant.systems = Arc::new(systems.collect());
        }
        other
    }
}

/// Returns the digest of an agreement's text.
pub(crate) fn text_digest(text: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    Digest(bytes)
}

/// Refuses a file that says to be of another format than `expected`, and says so when it is a newer version of it.
pub(crate) fn check_format(file: &TomlFile, expected: &str, what: &str) -> Result<(), Box<Problem>> {
    let written = file.root().get("format").and_then(toml_edit::Item::as_str);
    let family = expected.trim_end_matches(|c: char| c.is_ascii_digit());
    match written {
        Some(format) if format == expected => Ok(()),
        Some(format) if format.starts_with(family) => Err(Box::new(
            file.problem("format", format!("this Drawbridge does not know the format `{format}`"))
                .help(format!("it reads `{expected}`; a newer Drawbridge may read this one")),
        )),
        Some(_) | None => Err(Box::new(
            file.problem("format", format!("this is not {what}"))
                .help(format!("{what} begins with `format = \"{expected}\"`")),
        )),
    }
}

/// What is wrong with a character that [`is_hidden`].
const HIDDEN: &str = "which is not seen or makes others look otherwise";

/// Whether a character is not seen, or has those around it look otherwise than they read.
fn is_hidden(c: char) -> bool {
    let reverses = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    let vanishes = matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{ad}');
    reverses || vanishes || c.is_control()
}

fn named(character: char) -> String {
    format!("the character U+{:04X}", u32::from(character))
}

/// Refuses a text that may look other than it reads: people sign what they see.
pub(crate) fn check_visible(file: &TomlFile) -> Result<(), Box<Problem>> {
    let Some((at, character)) = file.text().char_indices().find(|(_, c)| is_hidden(*c) && *c != '\n') else {
        return Ok(());
    };
    let what = format!("{} stands here, {HIDDEN}", named(character));
    let problem = Problem::new(file.name(), what).within(file.text(), &(at..at.saturating_add(character.len_utf8())));
    Err(Box::new(problem.help("remove it; what is signed has to read as it looks")))
}

#[cfg(test)]
mod tests;
