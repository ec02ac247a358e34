//! The file of an agreement on its way from a draft to a text that both members have signed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use federation::MemberId;
use note::{Note, NoteError, SigningKey};
use problem::{Problem, TomlFile};
use thiserror::Error;

use crate::agreement::Agreement;
use crate::end::End;
use crate::keys::MemberKeys;
use crate::time::shown;

/// An agreement and the signatures below it, none of them verified yet. A draft is the text alone. `Display` writes the file.
#[derive(Clone, Debug)]
pub struct AgreementFile {
    agreement: Arc<Agreement>,
    note: Option<Note>,
}

/// Whose signatures stand below an agreement and are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    /// The consumer has signed.
    pub consumer: bool,
    /// The provider has signed.
    pub provider: bool,
}

impl Signatures {
    /// Returns whether both members have signed.
    #[must_use]
    pub fn complete(self) -> bool {
        self.consumer && self.provider
    }
}

/// An agreement that both members have signed. Only [`AgreementFile::signed`] makes one.
#[derive(Clone, Debug)]
pub struct Signed(Arc<Agreement>);

impl Signed {
    #[cfg(test)]
    pub(crate) fn pretended(agreement: Agreement) -> Self {
        Self(Arc::new(agreement))
    }

    /// Returns the agreement.
    #[must_use]
    pub fn agreement(&self) -> &Arc<Agreement> {
        &self.0
    }
}

impl AgreementFile {
    /// Reads a draft or a signed note. `name` is only for messages.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the text, or what makes the note malformed. Signatures are not looked at.
    pub fn parse(name: impl Into<PathBuf>, text: &str) -> Result<AgreementFile, Vec<Problem>> {
        let name = name.into();
        let (text, note) = unfold(&name, text)?;
        let file = TomlFile::parse(name, text).map_err(|problem| vec![problem])?;
        Self::read(&file, note)
    }

    pub(crate) fn read(file: &TomlFile, note: Option<Note>) -> Result<AgreementFile, Vec<Problem>> {
        let agreement = Arc::new(Agreement::parse(file)?);
        Ok(AgreementFile { agreement, note })
    }

    /// Returns the agreement.
    #[must_use]
    pub fn agreement(&self) -> &Arc<Agreement> {
        &self.agreement
    }

    /// Signs the agreement with the member key of one of the two members, and returns that member. A signature that the same key made
    /// before is replaced.
    ///
    /// # Errors
    ///
    /// [`SignError`] when the key is not a member key of either, or the note has no room.
    pub fn sign(&mut self, key: &SigningKey) -> Result<MemberId, SignError> {
        let agreement = &self.agreement;
        let member = [agreement.consumer(), agreement.provider()]
            .into_iter()
            .find(|member| member.member_key_name() == key.name());
        let Some(member) = member.cloned() else {
            return Err(SignError::NotAParty {
                key: key.name().to_owned(),
                consumer: agreement.consumer().clone(),
                provider: agreement.provider().clone(),
            });
        };
        match &mut self.note {
            None => self.note = Some(Note::sign(agreement.text(), &[key])?),
            Some(note) => {
                if !note.cosign(key) {
                    return Err(SignError::Note(NoteError::TooManySignatures));
                }
            }
        }
        Ok(member)
    }

    /// Verifies the signatures. Those by keys of other names are ignored.
    ///
    /// # Errors
    ///
    /// A signature in the name of one of the two members that is wrong, or made with a key that `keys` does not know.
    pub fn signatures(&self, keys: &dyn MemberKeys) -> Result<Signatures, Vec<Problem>> {
        let mut problems = Vec::new();
        let consumer = self.signed_by(self.agreement.consumer(), keys, &mut problems);
        let provider = self.signed_by(self.agreement.provider(), keys, &mut problems);
        if problems.is_empty() { Ok(Signatures { consumer, provider }) } else { Err(problems) }
    }

    /// Verifies that both members have signed. `None` while a signature is missing.
    ///
    /// # Errors
    ///
    /// As [`AgreementFile::signatures`].
    pub fn signed(&self, keys: &dyn MemberKeys) -> Result<Option<Signed>, Vec<Problem>> {
        let signatures = self.signatures(keys)?;
        Ok(self.signed_with(signatures))
    }

    /// `signatures` are those that [`AgreementFile::signatures`] just found.
    pub(crate) fn signed_with(&self, signatures: Signatures) -> Option<Signed> {
        signatures.complete().then(|| Signed(Arc::clone(&self.agreement)))
    }

    /// Returns what the agreement is at `now`, given what [`AgreementFile::signatures`] found and the verified end notes at hand.
    #[must_use]
    pub fn state(&self, signatures: Signatures, ends: &[End], now: SystemTime) -> State {
        let agreement = &self.agreement;
        let (consumer, provider) = (agreement.consumer(), agreement.provider());
        match (signatures.consumer, signatures.provider) {
            (false, false) => return State::Draft,
            (true, false) => {
                return State::HalfSigned { by: consumer.clone(), missing: provider.clone() };
            }
            (false, true) => {
                return State::HalfSigned { by: provider.clone(), missing: consumer.clone() };
            }
            (true, true) => {}
        }
        if let Some(end) = ends.iter().find(|end| end.ends(agreement)) {
            State::Ended { by: end.ended_by().clone(), at: end.ended_at(), reason: end.reason().map(str::to_owned) }
        } else if now < agreement.valid_from() {
            State::NotYetInForce { from: agreement.valid_from() }
        } else if now < agreement.valid_until() {
            State::InForce { until: agreement.valid_until() }
        } else {
            State::Expired { at: agreement.valid_until() }
        }
    }

    fn signed_by(&self, member: &MemberId, keys: &dyn MemberKeys, problems: &mut Vec<Problem>) -> bool {
        let Some(note) = &self.note else { return false };
        match verify(note, self.agreement.file(), member, keys) {
            Ok(signed) => signed,
            Err(problem) => {
                problems.push(*problem);
                false
            }
        }
    }
}

impl fmt::Display for AgreementFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.note {
            Some(note) => note.fmt(f),
            None => f.write_str(self.agreement.text()),
        }
    }
}

/// What an agreement is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has signed.
    Draft,
    /// One of the two has signed.
    HalfSigned {
        /// Who has.
        by: MemberId,
        /// Who has not.
        missing: MemberId,
    },
    /// Signed by both, and its time has not come.
    NotYetInForce {
        /// When it comes.
        from: SystemTime,
    },
    /// Signed by both, and this is its time.
    InForce {
        /// When its time ends.
        until: SystemTime,
    },
    /// Its time is over.
    Expired {
        /// Since when.
        at: SystemTime,
    },
    /// One of the two has ended it.
    Ended {
        /// Who.
        by: MemberId,
        /// When, as the end note says.
        at: SystemTime,
        /// Why, as the end note says.
        reason: Option<String>,
    },
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Draft => f.write_str("draft, not signed"),
            State::HalfSigned { by, missing } => write!(f, "signed by {by}, not yet by {missing}"),
            State::NotYetInForce { from } => write!(f, "signed, in force from {}", shown(*from)),
            State::InForce { until } => write!(f, "in force until {}", shown(*until)),
            State::Expired { at } => write!(f, "expired at {}", shown(*at)),
            State::Ended { by, at, reason } => {
                write!(f, "ended by {by} at {}", shown(*at))?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
        }
    }
}

/// An agreement cannot be signed with this key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignError {
    /// The key is not a member key of the consumer or of the provider.
    #[error("`{key}` is not a member key of this agreement: `{consumer}/member` and `{provider}/member` sign it")]
    NotAParty {
        /// The key's name.
        key: String,
        /// The consumer.
        consumer: MemberId,
        /// The provider.
        provider: MemberId,
    },
    /// A reason that cannot stand in an end note.
    #[error("the reason is longer than {} characters, or holds more than one line", crate::end::MAX_REASON_CHARACTERS)]
    Reason,
    /// The note cannot take the signature.
    #[error("the text cannot be signed")]
    Note(#[from] NoteError),
}

/// Parts a file into the text that is signed and, where there are signatures, the note.
pub(crate) fn unfold(name: &Path, text: &str) -> Result<(String, Option<Note>), Vec<Problem>> {
    if text.contains("\n\n\u{2014} ") {
        let note = Note::parse(text).map_err(|error| {
            vec![
                Problem::new(name, error.to_string())
                    .help("get the file anew from whoever signed it; it is copied as it is, byte for byte"),
            ]
        })?;
        return Ok((note.text().to_owned(), Some(note)));
    }
    if let Some(at) = text.find(|c: char| c < ' ' && c != '\n') {
        let what = match text.get(at..).and_then(|rest| rest.chars().next()) {
            Some('\t') => "a tab stands here, and a text that is signed has none",
            Some('\r') => "the line ends in a carriage return, and a text that is signed has none",
            Some(_) | None => "a control character stands here, and a text that is signed has none",
        };
        let problem = Problem::new(name, what).within(text, &(at..at.saturating_add(1)));
        return Err(vec![problem.help("use spaces, and lines that end in a newline alone")]);
    }
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    Ok((format!("{text}{newline}"), None))
}

/// Verifies the signature of `member` on `note`. `Ok(false)` when there is none.
pub(crate) fn verify(note: &Note, file: &Path, member: &MemberId, keys: &dyn MemberKeys) -> Result<bool, Box<Problem>> {
    let name = member.member_key_name();
    if !note.signatures().iter().any(|signature| signature.name == name) {
        return Ok(false);
    }
    // Only keys of this name: whatever `keys` returns, one member's key never signs for another.
    let mut known = keys.member_keys(member);
    known.retain(|key| key.name() == name);
    if known.is_empty() {
        return Err(Box::new(
            Problem::new(file, format!("`{member}` has signed, but the directory does not list `{member}`"))
                .help("add its entry to the directory, or get a newer directory"),
        ));
    }
    match note.verified_by(&known) {
        Ok(by) if by.is_empty() => Err(Box::new(
            Problem::new(
                file,
                format!(
                    "the signature in the name of `{name}` is by a key that the directory does not list for `{member}`"
                ),
            )
            .help("get a newer directory, or ask the member which key is theirs"),
        )),
        Ok(_) => Ok(true),
        Err(error) => Err(Box::new(
            Problem::new(file, format!("the signature of `{name}` does not fit the text"))
                .cause(error.to_string())
                .help("the text was changed after it was signed, or the signature was damaged: get the file anew"),
        )),
    }
}

#[cfg(test)]
mod tests;
