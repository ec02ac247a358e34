//! `drawbridge agreement`: from a draft to what both members have signed, and to its end.

mod check;
mod end;
mod list;
mod new;
mod show;
mod sign;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use contract::Contracts;
use federation::{Federation, MemberId};
use gateway::ConfigFile;
use note::VerifierKey;
use policy::{AgreementFile, End, EndNote, Loaded, Loader};
use problem::Problem;

use crate::{
    failure::Outcome,
    files,
    place::{ConfigOption, federation_of},
};

/// Drafts, checks, signs, shows, lists and ends agreements: who may ask whom for what
#[derive(Debug, Subcommand)]
pub(crate) enum Agreement {
    New(new::New),
    Check(check::Check),
    Sign(sign::Sign),
    Show(show::Show),
    List(list::List),
    End(end::End),
}

impl Agreement {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::New(new) => new.run(),
            Self::Check(check) => check.run(),
            Self::Sign(sign) => sign.run(),
            Self::Show(show) => show.run(),
            Self::List(list) => list.run(),
            Self::End(end) => end.run(),
        }
    }
}

/// What a gateway knows that agreements are held against.
struct Known {
    file: ConfigFile,
    federation: Federation,
    contracts: Contracts,
}

impl Known {
    fn read(config: &ConfigOption) -> Outcome<Self> {
        Self::of(config.read()?)
    }

    fn read_if_there(config: &ConfigOption) -> Outcome<Option<Self>> {
        config.read_if_there()?.map(Self::of).transpose()
    }

    fn of(file: ConfigFile) -> Outcome<Self> {
        let federation = federation_of(&file)?;
        let contracts = gateway::load::contracts(&file)?;
        Ok(Self { file, federation, contracts })
    }

    fn keys(&self, member: &MemberId) -> Vec<VerifierKey> {
        self.federation.member_keys(member)
    }

    /// The folder in which the gateway looks for agreements.
    fn folder(&self) -> PathBuf {
        self.file.path(&self.file.config.agreements.folder)
    }

    /// Everything in that folder.
    fn load(&self) -> Outcome<Loaded> {
        Ok(gateway::load::load_agreements(&self.file, &mut Loader::new(), &self.federation, &self.contracts)?)
    }

    /// What stands against an agreement here, beside what is wrong in its text: contracts, members, signatures.
    fn problems(&self, agreement: &AgreementFile) -> Vec<Problem> {
        let text = agreement.agreement();
        let mut problems = Vec::new();
        for member in [text.consumer(), text.provider()] {
            if self.federation.member(member).is_none() {
                let problem = Problem::new(text.file(), format!("`{member}` is not in the directory"));
                problems.push(problem.help("`drawbridge directory add` takes its entry"));
            }
        }
        problems.extend(policy::check_contracts(text, &self.contracts));
        if let Err(found) = agreement.signatures(&|member: &MemberId| self.keys(member)) {
            problems.extend(found);
        }
        problems
    }
}

/// Says that no contract has a method of this name.
pub(super) fn unknown_method(name: &str, contracts: &Contracts) -> Problem {
    new::unknown("method", name, &new::method_names(contracts))
}

/// Reads an agreement, signed or not.
fn read(path: &Path) -> Outcome<AgreementFile> {
    Ok(AgreementFile::parse(path, &files::read(path)?)?)
}

/// Finds an agreement by its file, or by its id in the gateway's folder of agreements.
fn find(named: &str, known: Option<&Known>) -> Outcome<AgreementFile> {
    let path = Path::new(named);
    if path.is_file() {
        return read(path);
    }
    let Some(known) = known else {
        return Err(Problem::new("", format!("there is no file `{named}`"))
            .help("name a file, or an agreement's id together with `--config`")
            .into());
    };
    let loaded = known.load()?;
    let all = loaded.agreements.iter().chain(loaded.waiting.iter().map(|waiting| &waiting.agreement));
    let mut found: Vec<PathBuf> = all
        .filter(|agreement| agreement.id() == named || agreement.digest().to_string() == named)
        .map(|a| a.file().to_owned())
        .collect();
    found.sort();
    match found.as_slice() {
        [one] => read(one),
        [] => {
            let ids: Vec<String> = loaded.agreements.iter().map(|agreement| agreement.id().to_owned()).collect();
            let problem = Problem::new(known.folder(), format!("there is no agreement `{named}` in this folder"));
            let help = match problem::nearest(named, ids.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "`drawbridge agreement list` lists them".to_owned(),
            };
            Err(problem.help(help).into())
        }
        several => {
            let files: Vec<String> = several.iter().map(|path| format!("`{}`", path.display())).collect();
            let problem = Problem::new(known.folder(), format!("several agreements have the id `{named}`"));
            Err(problem.help(format!("name one by its file: {}", files.join(", "))).into())
        }
    }
}

/// The verified end notes that lie beside an agreement or in the gateway's folder.
fn ends(agreement: &AgreementFile, known: &Known) -> Outcome<Vec<End>> {
    let mut ends = known.load()?.ends;
    let beside = crate::place::folder_of(agreement.agreement().file());
    let Ok(entries) = std::fs::read_dir(beside) else { return Ok(ends) };
    for path in entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "note"))
    {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        // Other notes in the folder are agreements; one that claims to be an end and is not proves nothing.
        if let Ok(end) = EndNote::parse(&path, &text)
            && let Ok(end) = end.verified(&|member: &MemberId| known.keys(member))
            && !ends.contains(&end)
        {
            ends.push(end);
        }
    }
    Ok(ends)
}
