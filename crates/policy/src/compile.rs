//! Holds grants against the loaded contracts and compiles them to plans.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use contract::{Contracts, Digest, Kind, Method, Projection, Selector, SelectorError, Service, Unusable};
use federation::SystemId;
use problem::{KeyPath, Problem, TomlFile, nearest};

use crate::agreement::Agreement;
use crate::grant::Grant;
use crate::plan::{Plan, fields_digest};
use crate::standing::{ContractState, Hindrance, Standing};

/// Returns what is wrong with `agreement` when it is held against `contracts`: services, methods and fields that are not there, a contract
/// that is not the one agreed on, methods of no known kind.
#[must_use]
pub fn check_contracts(agreement: &Agreement, contracts: &Contracts) -> Vec<Problem> {
    let mut problems = Vec::new();
    agreement_plans(&Arc::new(agreement.clone()), contracts, &mut Projections::default(), &mut problems);
    Problem::sort(&mut problems);
    problems
}

/// What an agreement compiles to.
#[derive(Default)]
pub(crate) struct Plans {
    pub(crate) compiled: Vec<Compiled>,
    /// What each grant comes to, in the order of the text.
    pub(crate) standings: Vec<Standing>,
}

/// What one grant allows for one method: plans by purpose, or why there are none.
pub(crate) struct Compiled {
    pub(crate) path: String,
    pub(crate) purpose: Arc<str>,
    pub(crate) outcome: Outcome,
}

/// Whether a grant can be used for a method.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It can.
    Plan(Arc<Plan>),
    /// Not with the contract that is loaded.
    Mismatch { systems: Arc<BTreeSet<SystemId>>, service: Arc<str>, pinned: Digest, loaded: Digest },
}

/// Projections made before. A contract's digest covers its messages, so what is kept here stays right when contracts change.
#[derive(Default)]
pub(crate) struct Projections {
    made: HashMap<(Digest, String), Vec<Made>>,
    used: HashMap<(Digest, String), u64>,
    round: u64,
}

/// What became of one selector.
type Made = (Selector, Result<Minimised, SelectorError>);

/// A projection with the digests of its lists.
#[derive(Clone, Debug)]
pub(crate) struct Minimised {
    pub(crate) projection: Arc<Projection>,
    pub(crate) released: Digest,
    pub(crate) withheld: Digest,
}

impl Projections {
    /// Begins a round; what was not used in the last one is forgotten by [`Projections::end`].
    pub(crate) fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    pub(crate) fn end(&mut self) {
        let (used, round) = (&mut self.used, self.round);
        used.retain(|_, last| *last == round);
        self.made.retain(|key, _| used.contains_key(key));
    }

    fn get(&mut self, method: &Method, selector: &Selector) -> Result<Minimised, SelectorError> {
        let key = (method.contract_digest(), method.output().full_name().to_owned());
        self.used.insert(key.clone(), self.round);
        let made = self.made.entry(key).or_default();
        if let Some((_, found)) = made.iter().find(|(other, _)| other == selector) {
            return found.clone();
        }
        let minimised = Projection::compile(method.output(), selector).map(|projection| Minimised {
            released: fields_digest(projection.released()),
            withheld: fields_digest(projection.withheld()),
            projection: Arc::new(projection),
        });
        made.push((selector.clone(), minimised.clone()));
        minimised
    }
}

/// Compiles all grants of one agreement. A grant with a problem grants nothing.
pub(crate) fn agreement_plans(
    agreement: &Arc<Agreement>,
    contracts: &Contracts,
    projections: &mut Projections,
    problems: &mut Vec<Problem>,
) -> Plans {
    let mut compiler = Compiler { agreement, contracts, projections, problems, file: OnceCell::new() };
    let mut plans = Plans::default();
    for (place, grant) in agreement.grants().iter().enumerate() {
        let before = compiler.problems.len();
        compiler.grant(place, grant, &mut plans.compiled);
        let found = compiler.problems.get(before..).unwrap_or_default();
        plans.standings.push(Standing {
            service: Arc::clone(&grant.service),
            agreed: grant.digest,
            contract: contract_state(grant, contracts),
            hindrance: Hindrance::of(found),
        });
    }
    plans
}

fn contract_state(grant: &Grant, contracts: &Contracts) -> ContractState {
    match contracts.service(&grant.service) {
        None => ContractState::NotLoaded,
        Some(service) if service.digest == grant.digest => ContractState::Same,
        Some(service) if contracts.agreed(service, &grant.digest).is_ok() => {
            ContractState::Later { loaded: service.digest }
        }
        Some(service) => ContractState::Different { loaded: service.digest },
    }
}

struct Compiler<'a> {
    agreement: &'a Arc<Agreement>,
    contracts: &'a Contracts,
    projections: &'a mut Projections,
    problems: &'a mut Vec<Problem>,
    /// Parsed again only when there is a problem to point to.
    file: OnceCell<Option<TomlFile>>,
}

impl Compiler<'_> {
    fn grant(&mut self, place: usize, grant: &Grant, compiled: &mut Vec<Compiled>) {
        let path = KeyPath::root().key("grant").index(place);
        let Some(service) = self.contracts.service(&grant.service) else {
            return self.unknown_service(&path, grant);
        };
        // The version that was agreed on, whatever came since: it says what is asked, answered and released.
        let service = match self.contracts.agreed(service, &grant.digest) {
            Ok(agreed) => agreed.clone(),
            Err(why) => return self.mismatch(&path, grant, (service, why), compiled),
        };
        let before = self.problems.len();
        let first = compiled.len();
        for (position, name) in grant.methods.iter().enumerate() {
            let Some(method) = service.methods.iter().find(|method| method.name() == name.as_ref()) else {
                self.unknown_method(&path.key("methods").index(position), name, &service);
                continue;
            };
            let kind = self.kind(&path, grant, method, position);
            let minimised = self.minimised(&path.key("fields"), grant, method);
            let (Some(kind), Some(minimised)) = (kind, minimised) else {
                continue;
            };
            for purpose in &grant.purposes {
                let Some(agreed) = self.agreement.purposes().get(purpose) else {
                    continue;
                };
                let plan = Plan {
                    method: Arc::clone(method),
                    grant: place,
                    purpose: Arc::clone(purpose),
                    legal_basis: Arc::clone(&agreed.legal_basis),
                    systems: Arc::clone(&grant.systems),
                    projection: Arc::clone(&minimised.projection),
                    released_digest: minimised.released,
                    withheld_digest: minimised.withheld,
                    required: grant.required,
                    kind,
                    limits: grant.limits,
                    application_metadata: Arc::clone(&grant.application_metadata),
                    contract_digest: grant.digest,
                    valid_from: self.agreement.valid_from(),
                    expires: self.agreement.valid_until(),
                };
                compiled.push(Compiled {
                    path: method.path().to_owned(),
                    purpose: Arc::clone(purpose),
                    outcome: Outcome::Plan(Arc::new(plan)),
                });
            }
        }
        if self.problems.len() > before {
            compiled.truncate(first);
        }
    }

    fn unknown_service(&mut self, path: &KeyPath, grant: &Grant) {
        let names: Vec<&str> = self.contracts.services().map(|service| service.name.as_str()).collect();
        let meant = nearest(&grant.service, names).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        self.wrong(
            &path.key("service"),
            format!("no loaded contract has the service `{}`", grant.service),
            format!("add its `.proto` files to the `sources` of `[contracts]` in the gateway's configuration{meant}"),
        );
    }

    fn mismatch(
        &mut self,
        path: &KeyPath,
        grant: &Grant,
        (service, why): (&Service, Unusable<'_>),
        compiled: &mut Vec<Compiled>,
    ) {
        let (because, help) = explained(why);
        let Service { name, digest, .. } = service;
        let what = format!(
            "the agreement is about another version of `{name}`: the contract that is loaded is {digest}{because}"
        );
        self.wrong(&path.key("digest"), what, help);
        for name in &grant.methods {
            for purpose in &grant.purposes {
                compiled.push(Compiled {
                    path: format!("/{}/{name}", service.name),
                    purpose: Arc::clone(purpose),
                    outcome: Outcome::Mismatch {
                        systems: Arc::clone(&grant.systems),
                        service: Arc::clone(&grant.service),
                        pinned: grant.digest,
                        loaded: service.digest,
                    },
                });
            }
        }
    }

    fn unknown_method(&mut self, path: &KeyPath, name: &str, service: &Service) {
        let names = || service.methods.iter().map(|method| method.name());
        let help = match nearest(name, names()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("it has {}", names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
        };
        self.wrong(path, format!("`{}` has no method `{name}`", service.name), help);
    }

    fn kind(&mut self, path: &KeyPath, grant: &Grant, method: &Method, position: usize) -> Option<Kind> {
        let name = method.path().trim_start_matches('/');
        match (method.kind(), grant.kind) {
            (Some(contract), Some(agreed)) if contract != agreed => {
                let what = format!("`{name}` is a {contract}, as the contract says, not a {agreed}");
                self.wrong(
                    &path.key("kind"),
                    what,
                    "leave `kind` out; it is for methods that the contract says nothing about".to_owned(),
                );
                None
            }
            (None, Some(Kind::Subscription)) if !method.shape().streams_answers() => {
                let what = format!("`{name}` answers once, so it cannot be a subscription");
                self.wrong(&path.key("kind"), what, "use \"query\" or \"command\"".to_owned());
                None
            }
            (Some(kind), _) | (None, Some(kind)) => Some(kind),
            (None, None) => {
                self.wrong(
                    &path.key("methods").index(position),
                    format!("nothing says whether `{name}` asks or changes something"),
                    "add `kind = \"query\"` or `kind = \"command\"` to the grant".to_owned(),
                );
                None
            }
        }
    }

    fn minimised(&mut self, path: &KeyPath, grant: &Grant, method: &Method) -> Option<Minimised> {
        let name = method.path().trim_start_matches('/');
        let minimised = match self.projections.get(method, &grant.fields) {
            Ok(minimised) => minimised,
            Err(error @ SelectorError::TooManyPaths { .. }) => {
                let text = error.to_string();
                let (what, help) = text.split_once("; ").unwrap_or((&text, "name the fields by their paths"));
                self.wrong(path, format!("`{name}`: {what}"), help.to_owned());
                return None;
            }
            Err(SelectorError::UnknownPath { .. }) => {
                self.unknown_fields(path, grant, method);
                return None;
            }
        };
        if minimised.projection.released().is_empty() && method.output().fields().len() > 0 {
            let what = format!("no field of the answers of `{name}` is released");
            let help = match grant.fields {
                Selector::Classifications(_) => {
                    "the contract has no fields of this classification; name others, or the fields themselves"
                }
                Selector::Paths(_) | Selector::All => "name at least one field",
            };
            self.wrong(path, what, help.to_owned());
            return None;
        }
        Some(minimised)
    }

    /// Reports every path that leads to no field of the answer, not the first alone.
    fn unknown_fields(&mut self, path: &KeyPath, grant: &Grant, method: &Method) {
        let Selector::Paths(paths) = &grant.fields else {
            return;
        };
        for (place, field) in paths.iter().enumerate() {
            let one = Selector::Paths(vec![field.clone()]);
            let Err(SelectorError::UnknownPath { message, field: part, value, suggestion, .. }) =
                self.projections.get(method, &one)
            else {
                continue;
            };
            let name = method.path().trim_start_matches('/');
            let why = match (value, part.is_empty()) {
                (true, _) => format!("`{message}` is a single value and has no `{part}`"),
                (false, true) => "a name is missing".to_owned(),
                (false, false) => format!("`{message}` has no `{part}`"),
            };
            let help = match suggestion {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "paths are the names of fields in the contract, joined by dots".to_owned(),
            };
            self.wrong(&path.index(place), format!("`{field}` is not a field of the answers of `{name}`: {why}"), help);
        }
    }

    fn wrong(&mut self, path: &KeyPath, what: String, help: String) {
        let agreement = self.agreement;
        let file = self.file.get_or_init(|| TomlFile::parse(agreement.file(), agreement.text()).ok());
        let problem = match file {
            Some(file) => file.problem_at(path, what),
            None => Problem::new(agreement.file(), what),
        };
        self.problems.push(problem.help(help));
    }
}

/// Most changes that are told of a version that is not backward compatible.
const TOLD: usize = 3;

/// Says why the loaded version does not do for an agreement, and what mends it.
fn explained(why: Unusable<'_>) -> (String, String) {
    match why {
        Unusable::Unknown => (
            ", and the one that was agreed on is not at hand, so nobody can tell whether the two are compatible".to_owned(),
            "name the version that was agreed on in `earlier` of `[contracts]` in the gateway's configuration, load it, or make a new \
             agreement about this one"
                .to_owned(),
        ),
        Unusable::Damaged(what) => (
            format!(", and the one that was kept cannot be used: {what}"),
            "remove it from the folder `contracts` of the data folder, and name the version in `earlier` of `[contracts]`".to_owned(),
        ),
        Unusable::Broken(changes) => {
            let breaking = || changes.iter().filter(|change| change.breaks);
            let told: Vec<String> = breaking().take(TOLD).map(ToString::to_string).collect();
            let more = match breaking().count().saturating_sub(TOLD) {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            (
                format!(", which is not backward compatible with it: {}{more}", told.join("; ")),
                "`drawbridge contract diff` shows all changes; load a version that is compatible, or make a new agreement about this one"
                    .to_owned(),
            )
        }
    }
}

#[cfg(test)]
mod tests;
