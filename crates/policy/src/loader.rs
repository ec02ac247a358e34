//! From the texts of a folder to agreements, again and again: what did not change is not parsed or verified twice.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use contract::{Contracts, Digest};
use note::{Note, VerifierKey};
use problem::{Problem, TomlFile};

use crate::agreement::{Agreement, text_digest};
use crate::agreements::Agreements;
use crate::compile::Projections;
use crate::end::{End, EndNote};
use crate::file::{AgreementFile, Signatures, Signed, unfold};
use crate::keys::MemberKeys;

/// Loads agreements and end notes, and remembers what it has parsed and verified.
#[derive(Default)]
pub struct Loader {
    known: HashMap<PathBuf, Known>,
    projections: Projections,
}

/// What a folder of agreements holds.
#[derive(Debug)]
pub struct Loaded {
    /// The agreements that both members have signed, compiled.
    pub agreements: Agreements,
    /// Everything that is wrong, sorted by file and line. What is wrong permits nothing; the rest is in force.
    pub problems: Vec<Problem>,
    /// Agreements that are not signed by both yet. They permit nothing.
    pub waiting: Vec<Waiting>,
    /// The verified end notes, to be passed on to the other member.
    pub ends: Vec<End>,
}

/// An agreement that is not signed by both members yet.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The agreement.
    pub agreement: Arc<Agreement>,
    /// Who has signed.
    pub signatures: Signatures,
}

struct Known {
    text: Digest,
    parsed: Parsed,
    verified: Option<Verified>,
}

enum Parsed {
    Agreement(AgreementFile),
    End(EndNote),
    Broken(Vec<Problem>),
}

struct Verified {
    /// The keys it was verified with, by which it is known whether it has to be verified anew.
    keys: Vec<VerifierKey>,
    outcome: Result<Outcome, Vec<Problem>>,
}

#[derive(Clone)]
enum Outcome {
    Signed(Signed),
    Waiting(Waiting),
    End(End),
}

impl Loader {
    /// Returns a loader that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads all `files`, each a name and its text: drafts, signed agreements and end notes in any order. A file that is no longer
    /// among them is forgotten.
    pub fn load<'t>(
        &mut self,
        files: impl IntoIterator<Item = (PathBuf, &'t str)>,
        keys: &dyn MemberKeys,
        contracts: &Contracts,
    ) -> Loaded {
        let mut known = HashMap::new();
        let (mut problems, mut signed, mut waiting, mut ends): (_, Vec<Signed>, Vec<Waiting>, Vec<End>) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (name, text) in files {
            let digest = text_digest(text);
            let before = self.known.remove(&name).filter(|before| before.text == digest);
            let mut file = before.unwrap_or_else(|| Known { text: digest, parsed: parse(&name, text), verified: None });
            match file.outcome(keys) {
                Ok(Outcome::Signed(agreement)) => signed.push(agreement),
                Ok(Outcome::Waiting(agreement)) => waiting.push(agreement),
                Ok(Outcome::End(end)) => ends.push(end),
                Err(found) => problems.extend(found),
            }
            known.insert(name, file);
        }
        self.known = known;
        // A draft may stay beside the note that came of it.
        let in_force: HashSet<Digest> = signed.iter().map(|signed| signed.agreement().digest()).collect();
        waiting.retain(|waiting| !in_force.contains(&waiting.agreement.digest()));
        self.projections.begin();
        // A folder is read in no order; what is made of it does not depend on that.
        signed.sort_by(|a, b| a.agreement().file().cmp(b.agreement().file()));
        waiting.sort_by(|a, b| a.agreement.file().cmp(b.agreement.file()));
        ends.sort_by_key(End::file_name);
        let (agreements, found) = Agreements::compile_with(&signed, &ends, contracts, &mut self.projections);
        self.projections.end();
        problems.extend(found);
        Problem::sort(&mut problems);
        Loaded { agreements, problems, waiting, ends }
    }
}

impl Known {
    fn outcome(&mut self, keys: &dyn MemberKeys) -> Result<Outcome, Vec<Problem>> {
        let with: Vec<VerifierKey> = match &self.parsed {
            Parsed::Broken(problems) => return Err(problems.clone()),
            Parsed::Agreement(file) => {
                let agreement = file.agreement();
                [agreement.consumer(), agreement.provider()]
                    .into_iter()
                    .flat_map(|member| keys.member_keys(member))
                    .collect()
            }
            Parsed::End(end) => keys.member_keys(end.ended_by()),
        };
        if let Some(verified) = self.verified.as_ref().filter(|verified| verified.keys == with) {
            return verified.outcome.clone();
        }
        let outcome = match &self.parsed {
            Parsed::Broken(problems) => Err(problems.clone()),
            Parsed::Agreement(file) => agreement(file, keys),
            Parsed::End(end) => end.verified(keys).map(Outcome::End),
        };
        self.verified = Some(Verified { keys: with, outcome: outcome.clone() });
        outcome
    }
}

fn agreement(file: &AgreementFile, keys: &dyn MemberKeys) -> Result<Outcome, Vec<Problem>> {
    let signatures = file.signatures(keys)?;
    if let Some(signed) = file.signed_with(signatures) {
        return Ok(Outcome::Signed(signed));
    }
    Ok(Outcome::Waiting(Waiting { agreement: Arc::clone(file.agreement()), signatures }))
}

fn parse(name: &PathBuf, text: &str) -> Parsed {
    let read = |(text, note): (String, Option<Note>)| {
        let file = TomlFile::parse(name, text).map_err(|problem| vec![problem])?;
        let format = file.root().get("format").and_then(toml_edit::Item::as_str).unwrap_or_default();
        if format.starts_with("drawbridge.end/") {
            EndNote::read(&file, note).map(Parsed::End)
        } else {
            AgreementFile::read(&file, note).map(Parsed::Agreement)
        }
    };
    unfold(name, text).and_then(read).unwrap_or_else(Parsed::Broken)
}

#[cfg(test)]
mod tests;
