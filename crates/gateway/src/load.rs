//! From files to everything a gateway runs on: each file read once, every problem of all of them reported together.

mod agreements;
mod bounds;
mod contracts;
mod earlier;
mod files;
mod fixed;
mod in_force;
mod own;
mod shown;
mod stand;
mod trust;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Instant, SystemTime},
};

use connectors::Bindings;
use contract::Contracts;
use federation::{
    Federation, GatewayId, MemberId, SystemId,
    trust::{RevocationList, TlsIdentity, Trust},
};
use note::SigningKey;
use policy::{Loaded as LoadedAgreements, Loader};
use problem::Problem;

use crate::{access, config::ConfigFile, logging, telemetry};

pub(crate) use agreements::AGREEMENT_ENDINGS;
pub use agreements::load_agreements;
pub(crate) use contracts::sound_bindings;
pub use contracts::{contract_source, contracts};
pub(crate) use earlier::keep_contracts;
pub(crate) use files::{Text, texts};
pub(crate) use fixed::needs_restart;
pub(crate) use in_force::NOT_CARRIED_HELP;
pub use in_force::not_carried;
pub(crate) use own::{counts_until, gateway, tls};
pub(crate) use shown::{SHOWN_HELP, shown_as_loaded};
pub(crate) use stand::Stand;
pub(crate) use trust::{REVOCATION_ENDINGS, revocation_list, trust_with};
pub use trust::{revocation_lists, trust, trust_in};

/// Everything read from files, consistent and checked.
pub struct Prepared {
    /// The configuration.
    pub file: ConfigFile,
    /// This gateway.
    pub gateway: GatewayId,
    /// Signs claims.
    pub gateway_key: SigningKey,
    /// Signs checkpoints.
    pub log_key: SigningKey,
    /// What this gateway presents in TLS.
    pub tls: TlsIdentity,
    /// Who is who.
    pub trust: Trust,
    /// What can be asked.
    pub contracts: Contracts,
    /// Who may ask it.
    pub agreements: LoadedAgreements,
    /// Remembers what it has verified, for the next look.
    pub loader: Loader,
    /// Which legacy system answers which method.
    pub bindings: Bindings,
    /// What is asked by default, by system.
    pub systems: BTreeMap<SystemId, Option<MemberId>>,
    /// How telemetry is exported, where it is.
    pub telemetry: Option<telemetry::Plan>,
    /// What someone should know though it does not hinder the start.
    pub warnings: Vec<String>,
    /// How time passes for what a gateway does for hours. The machine's own, unless whoever starts the gateway gives another.
    pub clock: fn() -> Instant,
    /// How the files stood when they were read.
    pub(crate) stand: Stand,
}

impl Prepared {
    /// Reads and checks everything that the configuration names. Must run within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Every problem at once.
    pub async fn load(file: ConfigFile, now: SystemTime) -> Result<Self, Vec<Problem>> {
        let parts = Box::pin(Parts::read(file, &Bindings::default())).await;
        let lists = revocation_lists(&parts.file);
        let file = parts.file.clone();
        let agreements = |loader: &mut Loader, federation: &Federation, contracts: &Contracts| {
            load_agreements(&file, loader, federation, contracts)
        };
        parts.assemble(lists, agreements, now)
    }
}

/// What was read of a configuration and the files that it names: all but agreements and revocation lists.
pub(crate) struct Parts {
    pub(crate) file: ConfigFile,
    pub(crate) stand: Stand,
    gateway: Option<GatewayId>,
    gateway_key: Option<SigningKey>,
    log_key: Option<SigningKey>,
    tls: Option<TlsIdentity>,
    systems: Option<BTreeMap<SystemId, Option<MemberId>>>,
    federation: Option<Arc<Federation>>,
    contracts: Option<Contracts>,
    bindings: Option<Bindings>,
    telemetry: Option<telemetry::Plan>,
    problems: Vec<Problem>,
}

impl Parts {
    /// Reads them. Of `previous` bindings what has not changed is kept. Must run within a tokio runtime.
    pub(crate) async fn read(file: ConfigFile, previous: &Bindings) -> Self {
        let mut problems = Vec::new();
        // Before anything is read: what changes meanwhile is then seen to have changed.
        let stand = Stand::of([&file]);
        let gateway = keep(&mut problems, gateway(&file));
        let gateway_key = keep(&mut problems, own::key(&file, "keys.gateway", &file.config.keys.gateway));
        let log_key = keep(&mut problems, own::key(&file, "keys.log", &file.config.keys.log));
        let tls = keep(&mut problems, tls(&file));
        let systems = keep(&mut problems, own::systems(&file, gateway.as_ref()));
        problems.extend(own::settings(&file));
        problems.extend(bounds::problems(&file));
        problems.extend(logging::problem(&file));
        let telemetry = keep_all(&mut problems, telemetry::Plan::load(&file)).flatten();
        let federation = keep_all(&mut problems, trust::directory(&file));
        let contracts = keep_all(&mut problems, contracts(&file));
        let bindings = match &contracts {
            None => None,
            Some(contracts) => {
                let bindings = Box::pin(contracts::bindings(&file, contracts, previous)).await;
                keep_all(&mut problems, bindings)
            }
        };
        Self {
            file,
            stand,
            gateway,
            gateway_key,
            log_key,
            tls,
            systems,
            federation,
            contracts,
            bindings,
            telemetry,
            problems,
        }
    }

    /// Returns the directory, where it could be read.
    pub(crate) fn federation(&self) -> Option<&Arc<Federation>> {
        self.federation.as_ref()
    }

    /// Puts revocation lists and agreements to them, and holds everything against one another.
    ///
    /// # Errors
    ///
    /// Every problem, those of reading included.
    pub(crate) fn assemble(
        self,
        lists: Result<Vec<RevocationList>, Vec<Problem>>,
        agreements: impl FnOnce(&mut Loader, &Federation, &Contracts) -> Result<LoadedAgreements, Vec<Problem>>,
        now: SystemTime,
    ) -> Result<Prepared, Vec<Problem>> {
        let Self {
            file,
            stand,
            gateway,
            gateway_key,
            log_key,
            tls,
            systems,
            federation,
            contracts,
            bindings,
            telemetry,
            ..
        } = self;
        let mut problems = self.problems;
        let lists = keep_all(&mut problems, lists);
        let trust = match (&gateway, &federation, lists) {
            (Some(gateway), Some(federation), Some(lists)) => {
                keep_all(&mut problems, trust_with(&file, gateway.member(), federation.clone(), lists))
            }
            _ => None,
        };
        let mut loader = Loader::new();
        let loaded = match (&federation, &contracts) {
            (Some(federation), Some(contracts)) => {
                keep_all(&mut problems, agreements(&mut loader, federation, contracts))
            }
            _ => None,
        };
        let mut warnings = access::warnings(&file);
        if let (Some(gateway), Some(trust), Some(tls)) = (&gateway, &trust, &tls) {
            problems.extend(own::identity(&file, gateway, trust, tls, (gateway_key.as_ref(), log_key.as_ref()), now));
            let own = trust.federation().gateway(gateway);
            warnings.extend(own.and_then(|own| own::former_key(own, gateway_key.as_ref(), now)));
            warnings.extend(trust.warnings(now).iter().map(ToString::to_string));
        }
        if let (Some(gateway), Some(loaded)) = (&gateway, &loaded) {
            warnings.extend(agreement_warnings(gateway, loaded));
        }
        if !problems.is_empty() {
            // It does not start anyhow: then everything is told at once.
            problems.extend(loaded.iter().flat_map(|loaded| loaded.problems.clone()));
        }
        match (gateway, gateway_key, log_key, tls, trust, contracts, loaded, bindings, systems) {
            (
                Some(gateway),
                Some(gateway_key),
                Some(log_key),
                Some(tls),
                Some(trust),
                Some(contracts),
                Some(agreements),
                Some(bindings),
                Some(systems),
            ) if problems.is_empty() => Ok(Prepared {
                file,
                gateway,
                gateway_key,
                log_key,
                tls,
                trust,
                contracts,
                agreements,
                loader,
                bindings,
                systems,
                telemetry,
                warnings,
                clock: Instant::now,
                stand,
            }),
            _ => Err(problems),
        }
    }
}

/// A broken agreement permits nothing and hinders nobody: a warning at start, an error in `drawbridge check`.
fn agreement_warnings(gateway: &GatewayId, loaded: &LoadedAgreements) -> Vec<String> {
    let broken = loaded.problems.iter().map(|problem| format!("an agreement cannot be used: {}", problem.what));
    let waiting = loaded
        .waiting
        .iter()
        .map(|waiting| format!("the agreement `{}` is not signed by both members yet", waiting.agreement.id()));
    let foreign = loaded.agreements.iter().filter(|agreement| !agreement.is_party(gateway.member()));
    let foreign = foreign.map(|agreement| format!("the agreement `{}` is between other members", agreement.id()));
    broken.chain(waiting).chain(foreign).collect()
}

fn keep<T>(problems: &mut Vec<Problem>, result: Result<T, Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

fn keep_all<T>(problems: &mut Vec<Problem>, result: Result<T, Vec<Problem>>) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}

/// Returns an error with its causes on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
