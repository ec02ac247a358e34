//! Texts in TOML: agreements and end notes, directories and entries, registers of revocations, configurations.

use contract::Contracts;
use federation::{Directory, Entry, Federation, MemberId, authority::Revocations};
use note::VerifierKey;
use policy::{AgreementFile, EndNote, check_contracts};
use problem::{Problem, TomlFile};

use crate::fixtures::{FEDERATION, RECORDS};

/// Reads an agreement or an end note.
pub fn agreement(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let keys = |member: &MemberId| -> Vec<VerifierKey> { FEDERATION.member_keys(member) };
    match AgreementFile::parse("agreement.note", text) {
        Ok(file) => {
            let again = AgreementFile::parse("again.note", &file.to_string()).expect("what was written is read");
            assert_eq!(again.agreement().digest(), file.agreement().digest());
            let contracts: &Contracts = &RECORDS;
            told(text, &check_contracts(file.agreement(), contracts));
            let signatures = file.signatures(&keys);
            assert!(file.signed(&keys).ok().flatten().is_none() || signatures.is_ok_and(policy::Signatures::complete));
        }
        Err(problems) => told(text, &problems),
    }
    match EndNote::parse("end.note", text) {
        Ok(end) => assert_eq!(end.to_string(), text, "an end note is written as it was read"),
        Err(problems) => told(text, &problems),
    }
}

/// Reads a directory, an entry, or a register of revocations.
pub fn directory(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Directory::parse("directory.note", text) {
        Ok(directory) => {
            let written = directory.to_text();
            let again = Directory::parse("again.note", &written).expect("what was written is read");
            assert_eq!(again.to_text(), written);
            let _ = Federation::load(directory, Some(&FEDERATION));
        }
        Err(problems) => told(text, &problems),
    }
    match Entry::parse("entry.note", text) {
        Ok(entry) => {
            assert_eq!(entry.note().to_string(), text);
            if let Some(known) = FEDERATION.member(&entry.member) {
                let _ = entry.check_succession(known);
            }
        }
        Err(problems) => told(text, &problems),
    }
    if let Ok(file) = TomlFile::parse("revocations.toml", text) {
        match Revocations::parse(&file) {
            Ok(revocations) => {
                let written = TomlFile::parse("again.toml", revocations.to_text()).expect("what was written is TOML");
                let again = Revocations::parse(&written).expect("what was written is read");
                assert_eq!(again.all().len(), revocations.all().len());
            }
            Err(problems) => told(text, &problems),
        }
    }
}

/// Reads a configuration.
pub fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let read = TomlFile::parse("gateway.toml", text).and_then(|file| {
        let _ = file.problem("binding[0].connector.kind", "a problem");
        file.read::<gateway::Config>()
    });
    if let Err(problem) = read {
        told(text, &[problem]);
    }
}

/// Problems can be shown, and point into the text.
fn told(text: &str, problems: &[Problem]) {
    // What is to be signed ends in a newline, also where a draft did not.
    let lines = text.split('\n').count() + 1;
    for problem in problems {
        assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem:?}");
    }
    let _ = (Problem::render_all(problems, false), Problem::render_all(problems, true));
}
