//! `drawbridge agreement sign`: adds one member's signature.

use std::path::{Path, PathBuf};

use clap::Args;
use federation::MemberId;
use note::{Note, SigningKey};
use policy::AgreementFile;
use problem::Problem;

use super::{Known, read};
use crate::{
    failure::{Outcome, because},
    files,
    place::{ConfigOption, read_key},
    terminal::{Out, warn},
};

/// Signs an agreement with the member key. Both members sign the same text, one after the other
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The agreement, a draft or signed by the other member
    file: PathBuf,
    /// The member key, `offline/member.key` for most
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The file to write. Default: a draft's name with `.note`, or the note itself
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigOption,
}

impl Sign {
    pub(super) fn run(self) -> Outcome {
        let known = Known::read_if_there(&self.config)?;
        let mut agreement = read(&self.file)?;
        let key = read_key(&self.key, "the member key")?;
        self.refuse(&agreement, &key, known.as_ref())?;
        let member = agreement.sign(&key).map_err(|error| {
            Problem::new(&self.file, error.to_string())
                .help("sign with the member key of the consumer or of the provider")
        })?;
        let path = self.output.clone().unwrap_or_else(|| target(&self.file));
        let text = agreement.to_string();
        if path == self.file || holds_same(&path, &agreement) {
            files::replace(&path, &text, files::PUBLIC)?;
        } else {
            files::create(&path, &text, files::PUBLIC)?;
        }
        tell(&agreement, &member, &path, &text)
    }

    /// Refuses to sign what a gateway would not take.
    fn refuse(&self, agreement: &AgreementFile, key: &SigningKey, known: Option<&Known>) -> Outcome {
        let Some(known) = known else {
            warn("without a configuration, contracts and members are not looked at; name one with `--config`");
            return Ok(());
        };
        let mut problems = known.problems(agreement);
        let text = agreement.agreement();
        for member in [text.consumer(), text.provider()] {
            let listed = known.keys(member);
            if member.member_key_name() == key.name() && !listed.is_empty() && !listed.contains(&key.verifier()) {
                let what = format!(
                    "the key in `{}` is not the member key that the directory lists for `{member}`",
                    self.key.display()
                );
                problems.push(
                    Problem::new(text.file(), what)
                        .help("others would not take the signature; list the key with `drawbridge entry sign` first"),
                );
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.into()) }
    }
}

/// Whether a file that is there is the same agreement, with other signatures.
fn holds_same(path: &Path, agreement: &AgreementFile) -> bool {
    path.exists() && read(path).is_ok_and(|other| other.agreement().digest() == agreement.agreement().digest())
}

/// A draft `x.toml` becomes `x.note`; a note stays where it is.
fn target(file: &Path) -> PathBuf {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("note") => file.to_owned(),
        Some("toml") => file.with_extension("note"),
        Some(_) | None => {
            let mut name = file.as_os_str().to_owned();
            name.push(".note");
            name.into()
        }
    }
}

fn tell(agreement: &AgreementFile, member: &MemberId, path: &Path, text: &str) -> Outcome {
    let note = Note::parse(text).map_err(|error| because("cannot read back what was signed", &error))?;
    let agreement = agreement.agreement();
    let has_signed =
        |party: &MemberId| note.signatures().iter().any(|signature| signature.name == party.member_key_name());
    let mut out = Out::new();
    out.line(format_args!("signed {} for {member}", path.display()))?;
    let missing: Vec<&MemberId> =
        [agreement.consumer(), agreement.provider()].into_iter().filter(|party| !has_signed(party)).collect();
    if let Some(missing) = missing.first() {
        out.line(format_args!("  {missing} has not signed yet: send it this file"))?;
    } else {
        out.line(format_args!("  {} and {} have signed", agreement.consumer(), agreement.provider()))?;
        out.line("  copy it into the agreements folder of both gateways: they notice within a second or two")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_becomes_a_note_beside_it() {
        for (draft, note) in
            [("a/b.toml", "a/b.note"), ("a/b.note", "a/b.note"), ("a/b-2027.1", "a/b-2027.1.note"), ("b", "b.note")]
        {
            assert_eq!(target(Path::new(draft)), Path::new(note));
        }
    }
}
