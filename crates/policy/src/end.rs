//! End notes: a member's signed word that an agreement is over. It counts from the moment that a gateway has it, whatever time it names,
//! so that no difference of clocks keeps an ended agreement alive.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use contract::Digest;
use federation::MemberId;
use note::{Note, SigningKey};
use problem::{KeyPath, Problem, TomlFile};
use serde::Deserialize;
use toml_edit::Datetime;

use crate::agreement::{Agreement, check_format, check_visible};
use crate::file::{SignError, unfold, verify};
use crate::keys::MemberKeys;
use crate::time;

/// The `format` of an end note.
pub const END_FORMAT: &str = "drawbridge.end/v1";

/// Longest reason, in characters.
pub const MAX_REASON_CHARACTERS: usize = 512;

/// Largest end note, in bytes with its signatures. It bounds what is taken from a link.
pub const MAX_END_BYTES: usize = 16 * 1024;

/// An end note as it was read; its signature is not verified yet. `Display` writes the note.
#[derive(Clone, Debug)]
pub struct EndNote {
    file: PathBuf,
    end: End,
    note: Note,
}

/// What a verified end note says. Only [`EndNote::verified`] makes one. `Display` writes the note, to be passed on as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    agreement_id: String,
    agreement: Digest,
    consumer: MemberId,
    provider: MemberId,
    ended_by: MemberId,
    ended_at: SystemTime,
    reason: Option<String>,
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Terms {
    #[serde(rename = "format")]
    _format: String,
    agreement: String,
    digest: String,
    consumer: String,
    provider: String,
    ended_by: String,
    ended_at: Datetime,
    reason: Option<String>,
}

impl EndNote {
    /// Makes the end note of `agreement` by the member whose key `key` is. `at` is written down and decides nothing.
    ///
    /// # Errors
    ///
    /// [`SignError::NotAParty`] when the key is not a member key of either member; [`SignError::Reason`] when the reason is longer than
    /// [`MAX_REASON_CHARACTERS`] or has several lines.
    pub fn sign(
        agreement: &Agreement,
        key: &SigningKey,
        at: SystemTime,
        reason: Option<&str>,
    ) -> Result<EndNote, SignError> {
        let (consumer, provider) = (agreement.consumer(), agreement.provider());
        let ended_by = [consumer, provider].into_iter().find(|member| member.member_key_name() == key.name());
        let Some(ended_by) = ended_by else {
            return Err(SignError::NotAParty {
                key: key.name().to_owned(),
                consumer: consumer.clone(),
                provider: provider.clone(),
            });
        };
        if reason.is_some_and(|reason| !is_reason(reason)) {
            return Err(SignError::Reason);
        }
        let mut text = format!(
            "format = \"{END_FORMAT}\"\nagreement = \"{}\"\ndigest = \"{}\"\nconsumer = \"{consumer}\"\nprovider = \"{provider}\"\n\
             ended_by = \"{ended_by}\"\nended_at = {}\n",
            agreement.id(),
            agreement.digest(),
            time::written(at),
        );
        if let Some(reason) = reason {
            text.extend(["reason = ", &toml_edit::Value::from(reason).to_string(), "\n"]);
        }
        let note = Note::sign(&text, &[key])?;
        let end = End {
            agreement_id: agreement.id().to_owned(),
            agreement: agreement.digest(),
            consumer: consumer.clone(),
            provider: provider.clone(),
            ended_by: ended_by.clone(),
            ended_at: at,
            reason: reason.map(str::to_owned),
            note: note.to_string(),
        };
        Ok(EndNote { file: PathBuf::from(end.file_name()), end, note })
    }

    /// Reads an end note. `name` is only for messages.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it; its signature is not looked at.
    pub fn parse(name: impl Into<PathBuf>, text: &str) -> Result<EndNote, Vec<Problem>> {
        let name = name.into();
        if text.len() > MAX_END_BYTES {
            let what = format!("the end note is larger than {} KiB", MAX_END_BYTES / 1024);
            return Err(vec![Problem::new(name, what).help("`drawbridge agreement end` makes one of less than 2 KiB")]);
        }
        let (text, note) = unfold(&name, text)?;
        let file = TomlFile::parse(name, text).map_err(|problem| vec![problem])?;
        Self::read(&file, note)
    }

    pub(crate) fn read(file: &TomlFile, note: Option<Note>) -> Result<EndNote, Vec<Problem>> {
        check_format(file, END_FORMAT, "an end note").map_err(|problem| vec![*problem])?;
        check_visible(file).map_err(|problem| vec![*problem])?;
        let terms: Terms = file.read().map_err(|problem| vec![problem])?;
        let Some(note) = note else {
            let problem = Problem::new(file.name(), "the end note is not signed");
            return Err(vec![problem.help("`drawbridge agreement end` makes one that is")]);
        };
        let mut problems = Vec::new();
        let mut wrong = |key: &str, what: String, help: &str| {
            problems.push(file.problem_at(&KeyPath::root().key(key), what).help(help));
        };
        let mut member = |key: &str, text: &str| match text.parse::<MemberId>() {
            Ok(member) => Some(member),
            Err(error) => {
                wrong(key, error.to_string(), "use the member's id as the agreement has it");
                None
            }
        };
        let consumer = member("consumer", &terms.consumer);
        let provider = member("provider", &terms.provider);
        let ended_by = member("ended_by", &terms.ended_by);
        if ended_by.is_some() && ended_by != consumer && ended_by != provider {
            let what = format!("`{}` is neither consumer nor provider of the agreement", terms.ended_by);
            wrong("ended_by", what, "only one of the two can end it");
        }
        let agreement: Option<Digest> = terms.digest.parse().ok();
        if agreement.is_none() {
            wrong(
                "digest",
                format!("`{}` is not the digest of an agreement", terms.digest),
                "write `sha256:` and 64 hexadecimal digits",
            );
        }
        let ended_at = time::instant(&terms.ended_at);
        if ended_at.is_none() {
            wrong(
                "ended_at",
                format!("`{}` does not say when exactly", terms.ended_at),
                "write a date, a time and an offset from UTC",
            );
        }
        if terms.reason.as_deref().is_some_and(|reason| !is_reason(reason)) {
            wrong(
                "reason",
                "the reason is empty, too long, or has several lines".to_owned(),
                "write at most 512 characters in one line",
            );
        }
        let members = consumer.zip(provider).zip(ended_by);
        if let (Some(((consumer, provider), ended_by)), Some(agreement), Some(ended_at), true) =
            (members, agreement, ended_at, problems.is_empty())
        {
            let (agreement_id, reason, text) = (terms.agreement, terms.reason, note.to_string());
            let end = End { agreement_id, agreement, consumer, provider, ended_by, ended_at, reason, note: text };
            return Ok(EndNote { file: file.name().to_owned(), end, note });
        }
        Problem::sort(&mut problems);
        Err(problems)
    }

    /// Verifies the signature of the member that ends the agreement.
    ///
    /// # Errors
    ///
    /// It is missing, wrong, or by a key that `keys` does not know.
    pub fn verified(&self, keys: &dyn MemberKeys) -> Result<End, Vec<Problem>> {
        let by = &self.end.ended_by;
        match verify(&self.note, &self.file, by, keys) {
            Ok(true) => Ok(self.end.clone()),
            Ok(false) => {
                let problem = Problem::new(
                    &self.file,
                    format!("the end note says that `{by}` ends the agreement, but `{by}` has not signed it"),
                );
                Err(vec![problem.help(format!("only the key `{}` can sign it", by.member_key_name()))])
            }
            Err(problem) => Err(vec![*problem]),
        }
    }

    /// Returns the name of the file that it was read from, or is to be written to.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn ended_by(&self) -> &MemberId {
        &self.end.ended_by
    }
}

impl fmt::Display for EndNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.end.note)
    }
}

impl End {
    /// Returns whether it ends `agreement`: exactly this text, between these two.
    #[must_use]
    pub fn ends(&self, agreement: &Agreement) -> bool {
        self.agreement == agreement.digest() && agreement.is_party(&self.ended_by)
    }

    /// Returns the id of the agreement, as the note says it.
    #[must_use]
    pub fn agreement_id(&self) -> &str {
        &self.agreement_id
    }

    /// Returns the digest of the agreement.
    #[must_use]
    pub fn agreement(&self) -> Digest {
        self.agreement
    }

    /// Returns the consumer of the agreement, as the note says it.
    #[must_use]
    pub fn consumer(&self) -> &MemberId {
        &self.consumer
    }

    /// Returns the provider of the agreement, as the note says it.
    #[must_use]
    pub fn provider(&self) -> &MemberId {
        &self.provider
    }

    /// Returns the member that ends the agreement.
    #[must_use]
    pub fn ended_by(&self) -> &MemberId {
        &self.ended_by
    }

    /// Returns when the note was made, as it says itself.
    #[must_use]
    pub fn ended_at(&self) -> SystemTime {
        self.ended_at
    }

    /// Returns why, where the note says it.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Returns the name under which the note is kept in a folder of agreements: the same at every gateway that gets it.
    #[must_use]
    pub fn file_name(&self) -> String {
        let digits: String = self.agreement.to_string().chars().skip("sha256:".len()).take(16).collect();
        let side = if self.ended_by == self.consumer { "consumer" } else { "provider" };
        format!("end-{digits}-by-{side}.note")
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.note)
    }
}

fn is_reason(reason: &str) -> bool {
    !reason.trim().is_empty()
        && reason.chars().count() <= MAX_REASON_CHARACTERS
        && !reason.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
