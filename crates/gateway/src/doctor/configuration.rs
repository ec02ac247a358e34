//! What `drawbridge check` looks at, as findings; and the parts that the other checks go by, as far as they can be read.

use std::{collections::BTreeSet, io, time::SystemTime};

use connectors::Bindings;
use federation::{
    GatewayId, MemberId,
    trust::{TlsIdentity, Trust},
};
use policy::Loader;
use problem::Problem;

use super::{Finding, Severity};
use crate::{
    config::{ConfigFile, Salvaged},
    load::{self, Prepared},
};

const CHECK: &str = "configuration";

/// What could be read.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) gateway: Option<GatewayId>,
    pub(super) trust: Option<Trust>,
    pub(super) tls: Option<TlsIdentity>,
    pub(super) bindings: Option<Bindings>,
    /// Members that this one may ask now.
    pub(super) asked: BTreeSet<MemberId>,
}

pub(super) async fn examine(file: &ConfigFile, salvaged: &Salvaged, now: SystemTime) -> (Parts, Vec<Finding>) {
    let mut findings: Vec<Finding> = salvaged.problems.iter().map(finding).collect();
    let (parts, more) =
        if salvaged.whole { of_files(file, now).await } else { (Box::pin(parts_of(file, now)).await, Vec::new()) };
    findings.extend(
        more.into_iter()
            .filter(|finding| findings.is_empty() || finding.severity != Severity::Fine)
            .collect::<Vec<_>>(),
    );
    (parts, findings)
}

async fn of_files(file: &ConfigFile, now: SystemTime) -> (Parts, Vec<Finding>) {
    match Box::pin(Prepared::load(file.clone(), now)).await {
        Ok(prepared) => {
            let findings = sound(file, &prepared, now);
            let asked = prepared.in_force(now).filter(|a| a.consumer() == prepared.gateway.member());
            let asked = asked.map(|agreement| agreement.provider().clone()).collect();
            let Prepared { gateway, trust, tls, bindings, .. } = prepared;
            let parts =
                Parts { gateway: Some(gateway), trust: Some(trust), tls: Some(tls), bindings: Some(bindings), asked };
            (parts, findings)
        }
        Err(mut problems) => {
            Problem::sort(&mut problems);
            problems.dedup();
            (Box::pin(parts_of(file, now)).await, problems.iter().map(finding).collect())
        }
    }
}

/// What can be read of a configuration that no gateway starts from.
async fn parts_of(file: &ConfigFile, now: SystemTime) -> Parts {
    let gateway = load::gateway(file).ok();
    let trust = gateway.as_ref().and_then(|gateway| load::trust(file, gateway.member()).ok());
    let contracts = load::contracts(file).ok();
    let mut asked = BTreeSet::new();
    if let (Some(trust), Some(contracts)) = (&trust, &contracts)
        && let Ok(loaded) = load::load_agreements(file, &mut Loader::new(), trust.federation(), contracts)
    {
        let agreements = &loaded.agreements;
        let in_force = agreements.iter().filter(|agreement| agreements.in_force(&agreement.digest(), now));
        let own = in_force.filter(|agreement| agreement.consumer() == trust.own());
        asked.extend(own.map(|agreement| agreement.provider().clone()));
    }
    let bindings = match &contracts {
        Some(contracts) => Some(Box::pin(load::sound_bindings(file, contracts)).await),
        None => None,
    };
    Parts { trust, tls: load::tls(file).ok(), gateway, bindings, asked }
}

/// What is worth knowing of a configuration that a gateway starts from.
fn sound(file: &ConfigFile, prepared: &Prepared, now: SystemTime) -> Vec<Finding> {
    let name = file.toml.name().display().to_string();
    let mut findings: Vec<Finding> = prepared.agreements.problems.iter().map(finding).collect();
    let folder = file.path(&file.config.agreements.folder).display().to_string();
    for waiting in &prepared.agreements.waiting {
        findings.push(Finding::warning(
            CHECK,
            waiting.agreement.file().display().to_string(),
            format!(
                "the agreement `{}` is not signed by both members yet, and permits nothing",
                waiting.agreement.id()
            ),
            "sign it with `drawbridge agreement sign`, and have the other member sign that file as well",
        ));
    }
    let own = prepared.gateway.member();
    for agreement in prepared.agreements.agreements.iter().filter(|agreement| !agreement.is_party(own)) {
        findings.push(Finding::warning(
            CHECK,
            agreement.file().display().to_string(),
            format!("the agreement `{}` is between other members", agreement.id()),
            format!("take it out of `{folder}`; it permits nothing here"),
        ));
    }
    for what in prepared.unanswered(now) {
        let cure = "bind the method with a `[[binding]]`, or agree anew without it";
        findings.push(Finding::warning(CHECK, "binding", what, cure));
    }
    for what in prepared.not_carried(now) {
        findings.push(Finding::warning(CHECK, "contracts", what, load::NOT_CARRIED_HELP));
    }
    for what in prepared.shown_as_loaded(now) {
        findings.push(Finding::warning(CHECK, "contracts", what, load::SHOWN_HELP));
    }
    if file.config.development {
        let what = "development mode: keys that say NOT FOR PRODUCTION are taken";
        findings.push(Finding::warning(
            CHECK,
            "development",
            what,
            "leave `development` out before real data is asked",
        ));
    }
    findings.extend(own_log(file, prepared));
    if findings.is_empty() {
        let what = format!(
            "members: {}, methods bound: {}, agreements in force: {}",
            prepared.trust.federation().members().len(),
            prepared.bindings.len(),
            prepared.in_force(now).count()
        );
        findings.push(Finding::fine(CHECK, name, what));
    }
    findings
}

/// Whether the log in the data folder is one that this gateway can go on with.
fn own_log(file: &ConfigFile, prepared: &Prepared) -> Option<Finding> {
    let folder = file.path(&file.config.data.folder).join("ledger");
    if !folder.join("journal").is_dir() {
        return None;
    }
    let place = folder.display().to_string();
    let key = prepared.log_key.verifier();
    match ledger::Reader::open(&folder) {
        Ok(reader) if *reader.key() == key => None,
        Ok(reader) => Some(Finding::error(
            "log",
            place,
            format!("the log is kept with another key, {}", reader.key()),
            "set `keys.log` to the key that the log was begun with, or `data.folder` to another folder",
        )),
        Err(error) => Some(Finding::error("log", place, load::chain(&error), ledger::Damage::HELP)),
    }
}

fn finding(problem: &Problem) -> Finding {
    let mut place = problem.file.display().to_string();
    if let (Some(line), Some(column)) = (problem.line, problem.column) {
        place = format!("{place}:{line}:{column}");
    }
    if let Some(key) = &problem.key {
        place = format!("{place} ({key})");
    }
    let what = match &problem.cause {
        Some(cause) => format!("{}: {cause}", problem.what),
        None => problem.what.clone(),
    };
    let cure = problem.help.clone().unwrap_or_else(|| cure_of(&what).to_owned());
    Finding::error(CHECK, place, what, cure)
}

/// What mends what says no more than what the system said.
fn cure_of(what: &str) -> &'static str {
    if what.contains(&io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error()).to_string()) {
        "put the file where the setting looks for it, seen from the configuration's folder, or set it to where the file lies"
    } else if what.contains(&io::Error::from_raw_os_error(rustix::io::Errno::ACCESS.raw_os_error()).to_string()) {
        "run this as the gateway's own user; where it is that one, let it read the file: `ls -l` shows whose it is, `chown` and `chmod` change it"
    } else {
        "mend the file; `drawbridge check` shows the place in it"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_not_mended_in_the_file() {
        for (number, cure) in [(2, "put the file"), (13, "as the gateway's own user"), (5, "mend the file")] {
            let error = io::Error::from_raw_os_error(number);
            let found = finding(&Problem::new("gateway.toml", "cannot read `x.pem`").cause(error.to_string()));
            assert!(found.cure.as_deref().unwrap().contains(cure), "{found:?}");
        }
        let found = finding(&Problem::new("gateway.toml", "cannot read `x.pem`").help("do this"));
        assert_eq!(found.cure.as_deref(), Some("do this"));
    }
}
