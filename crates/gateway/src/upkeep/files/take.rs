//! Takes what was read into force, whole or not at all.
//!
//! Everything is made before anything is changed. Then rules come first, since what comes after refers to them: new members and contracts
//! are known before a connection or a default names them.

use std::{sync::Arc, time::SystemTime};

use exchange::Rules;
use federation::{Federation, MemberId};
use policy::ContractState;
use problem::Problem;

use super::{Files, Folder, lists_of, refresh_agreements, refresh_lists, tell_shown};
use crate::{
    accepted,
    load::{self, Parts, Prepared},
    ports::Legacy,
    recovery,
    reloads::Reloaded,
    settings::{self, Read, Settings},
    when,
};

/// Agreements in force under which something was served until now, and would be no longer, since the contract has become another one. A
/// contract that is taken away altogether is somebody's wish.
fn no_longer_served(rules: &Rules, prepared: &Prepared, now: SystemTime) -> Vec<Problem> {
    let after = &prepared.agreements.agreements;
    let mut problems = Vec::new();
    for agreement in rules.agreements.iter().filter(|agreement| after.in_force(&agreement.digest(), now)) {
        let served = rules.agreements.standings(&agreement.digest());
        for standing in after.standings(&agreement.digest()) {
            let was_served =
                served.iter().any(|before| before.service == standing.service && before.hindrance.is_none());
            let another = matches!(standing.contract, ContractState::Different { .. });
            if let Some(hindrance) = standing.hindrance.as_ref().filter(|_| was_served && another) {
                let what = format!(
                    "the agreement `{}`, which is in force, could no longer be served: {}",
                    agreement.id(),
                    hindrance.what
                );
                let help = format!("{}; or end the agreement first", hindrance.help);
                problems.push(Problem::new(agreement.file(), what).help(help));
            }
        }
    }
    problems
}

/// What is ready to come into force.
struct Next {
    prepared: Prepared,
    agreements: Folder,
    lists: Folder,
}

impl Files {
    /// Takes what was read into force, or says why not.
    pub(super) fn take(&mut self, parts: Parts) -> Reloaded {
        let file = parts.file.clone();
        let outcome = match self.next(parts) {
            Ok(next) => self.put_in_force(next),
            Err(problems) => Err(problems),
        };
        if outcome.is_err() {
            self.watch.refused(&self.shared.settings.load().file, Some(file));
        }
        outcome
    }

    /// Holds what was read against what runs, and against agreements and revocation lists as they lie in their folders now.
    fn next(&self, parts: Parts) -> Result<Next, Vec<Problem>> {
        let shared = &self.shared;
        let running = shared.settings.load_full();
        let mut problems = load::needs_restart(&running.file, &parts.file);
        let file = parts.file.clone();
        let (mut agreements, mut lists) = (self.agreements.clone(), self.lists.clone());
        agreements.look(&file.path(&file.config.agreements.folder));
        lists.look(&file.path(&file.config.revocation.folder));
        // Lists are held against the members of the directory that is to come.
        let (own, federation) = (shared.house.gateway.member(), parts.federation().cloned());
        let rules = shared.rules.load_full();
        let federation = federation.unwrap_or_else(|| rules.federation.clone());
        refresh_agreements(&mut agreements, &federation, &rules.contracts);
        refresh_lists(&mut lists, |lists| load::trust_with(&file, own, federation.clone(), lists).map(drop));
        let load = |loader: &mut policy::Loader, federation: &Federation, contracts: &contract::Contracts| {
            let keys = |member: &MemberId| federation.member_keys(member);
            Ok(loader.load(agreements.texts(), &keys, contracts))
        };
        match parts.assemble(Ok(lists_of(&lists)), load, SystemTime::now()) {
            Ok(prepared) => {
                problems.extend(self.of_another_gateway(&prepared));
                problems.extend(no_longer_served(&rules, &prepared, SystemTime::now()));
                if problems.is_empty() { Ok(Next { prepared, agreements, lists }) } else { Err(problems) }
            }
            Err(more) => {
                problems.extend(more);
                Err(problems)
            }
        }
    }

    /// What is as it was at the start, or this is not the gateway that was started.
    fn of_another_gateway(&self, prepared: &Prepared) -> Vec<Problem> {
        let (shared, toml) = (&self.shared, &prepared.file.toml);
        let help = "restart the gateway to take it up, or set it back";
        let mut problems = Vec::new();
        let other = "the key is another than the one that the gateway runs with, which does not change it";
        if shared.gateway_key.verifier() != prepared.gateway_key.verifier() {
            let entry = prepared.trust.federation().gateway(&shared.house.gateway);
            let until = entry.and_then(|entry| load::counts_until(entry, &shared.gateway_key, SystemTime::now()));
            let help = match until {
                Some(until) => format!(
                    "have every member take the new version of the entry, and restart the gateway then, before {}: until then others take what the old key signs",
                    when::rfc3339(until)
                ),
                None => "restart the gateway NOW: who has taken the new version of the entry refuses what it signs, as EVIDENCE_MISMATCH or BAD_CLAIMS".to_owned(),
            };
            problems.push(toml.problem("keys.gateway", other).help(help));
        }
        if shared.log_key != prepared.log_key.verifier() {
            problems.push(toml.problem("keys.log", other).help(help));
        }
        if settings::conditions(&prepared.file.config, &prepared.bindings) != shared.house.conditions {
            let what = "whether a legacy system is asked in plain text, or made up, stands in every record, and does not change while the gateway runs";
            problems.push(toml.problem("binding", what).help(help));
        }
        problems
    }

    /// Everything is ready: from here on only the memory of the directory can stand in the way.
    fn put_in_force(&mut self, next: Next) -> Reloaded {
        let Next { prepared, agreements, lists } = next;
        let shared = self.shared.clone();
        let changed = self.changed(&prepared);
        let failed = |what: &str, cause: String| vec![Problem::new(prepared.file.toml.name(), what).cause(cause)];
        let read = Read {
            file: prepared.file.clone(),
            tls: prepared.tls.clone(),
            systems: prepared.systems.clone(),
            bindings: prepared.bindings.clone(),
        };
        let settings = Settings::new(read, &shared.trust)
            .map_err(|error| failed("cannot set up TLS with this certificate", load::chain(&error)))?;
        accepted::write(&prepared.file, prepared.trust.federation())
            .map_err(|error| failed("cannot remember the directory in the data folder", error.to_string()))?;
        load::keep_contracts(&prepared.file, &prepared.contracts)
            .map_err(|error| failed("cannot keep the contracts in the data folder", error.to_string()))?;
        let before = shared.rules.load().agreements.iter().len();
        self.tell_agreements(&prepared.agreements, agreements.problems(), before);
        tell_shown(&prepared.contracts, &prepared.agreements.agreements, shared.house.gateway.member());
        let settings = Arc::new(settings);
        shared.rules.store(Arc::new(Rules {
            contracts: prepared.contracts,
            agreements: prepared.agreements.agreements,
            federation: prepared.trust.federation().clone(),
            legacy: Arc::new(Legacy::new(prepared.bindings)),
        }));
        shared.settings.store(settings.clone());
        shared.trust.replace(prepared.trust);
        let config = &settings.file.config.limits;
        shared.house.limits.set_message(config.message.bytes());
        shared.house.limits.set_stream_idle(config.stream_idle.duration());
        shared.places.set_most(config.exchanges);
        if let Some(server) = &self.links {
            server.set_limits(settings.links_limits());
        }
        if let Some(server) = &self.clients {
            server.set_limits(settings.clients_limits());
        }
        self.ends.send_replace(prepared.agreements.ends);
        (self.loader, self.agreements, self.lists) = (prepared.loader, agreements, lists);
        self.watch.taken(&settings.file, prepared.stand);
        self.close_untrusted();
        Ok(changed)
    }

    /// Names what is about to change.
    fn changed(&self, prepared: &Prepared) -> Vec<&'static str> {
        let (settings, rules) = (self.shared.settings.load(), self.shared.rules.load());
        let services = |contracts: &contract::Contracts| {
            contracts.services().map(|service| (service.name.clone(), service.digest)).collect::<Vec<_>>()
        };
        let changes = [
            ("configuration", settings.file.toml.text() != prepared.file.toml.text()),
            ("certificate", settings.tls.chain() != prepared.tls.chain()),
            ("directory", rules.federation.directory() != prepared.trust.federation().directory()),
            ("contracts", services(&rules.contracts) != services(&prepared.contracts)),
        ];
        changes.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
    }

    /// Tells log, status, metrics and auditors what became of a reload.
    pub(super) fn tell(&self, outcome: &Reloaded) {
        let (shared, now) = (&self.shared, SystemTime::now());
        match outcome {
            Ok(changed) => {
                shared.reloads.took(now);
                let changed = if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") };
                tracing::info!(changed, "the files were read again, and are in force");
                let house = shared.house.clone();
                // Beside it: a slow disk delays no revocation.
                tokio::spawn(async move {
                    if let Err(error) = recovery::event(&house, format!("reloaded: {changed} changed")).await {
                        tracing::error!(%error, "cannot record that the files were read again");
                    }
                });
            }
            Err(problems) => {
                if !shared.reloads.refuse(problems, now) {
                    return;
                }
                for problem in problems {
                    tracing::error!(%problem, "the files cannot be taken up; what was in force before stays in force");
                }
            }
        }
    }
}
