//! What the grants of an agreement come to with the contracts that are loaded: an agreement that is in force may permit nothing all the same.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use contract::{Contracts, Digest};
use problem::Problem;

use crate::agreement::Agreement;
use crate::compile::{Projections, agreement_plans};
use crate::file::State;
use crate::time::length;

/// How long before its end an agreement is said to be near it.
pub const NEAR_END: Duration = Duration::from_hours(30 * 24);

/// What one grant comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The full name of the service.
    pub service: Arc<str>,
    /// The version of it that was agreed on.
    pub agreed: Digest,
    /// How the loaded contract stands to that version.
    pub contract: ContractState,
    /// Why the grant permits nothing, where that is so.
    pub hindrance: Option<Hindrance>,
}

/// Why a grant permits nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hindrance {
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub help: String,
}

/// How the loaded contract stands to the one that was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContractState {
    /// It is the same.
    Same,
    /// It came after it, and is backward compatible: what was agreed on goes on.
    Later {
        /// Its digest.
        loaded: Digest,
    },
    /// It is another one, and what was agreed on does not go on under it.
    Different {
        /// Its digest.
        loaded: Digest,
    },
    /// There is none with this service.
    NotLoaded,
}

/// How much of an agreement the loaded contracts let a gateway serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Every grant.
    Whole,
    /// Some grants, and others not.
    Partly,
    /// None.
    Not,
}

impl Served {
    /// Sums up the grants of an agreement.
    #[must_use]
    pub fn of(standings: &[Standing]) -> Self {
        let hindered = standings.iter().filter(|standing| standing.hindrance.is_some()).count();
        match hindered {
            0 => Self::Whole,
            _ if hindered == standings.len() => Self::Not,
            _ => Self::Partly,
        }
    }
}

impl Standing {
    /// Holds every grant of an agreement against `contracts`, in the order of the text.
    #[must_use]
    pub fn of(agreement: &Arc<Agreement>, contracts: &Contracts) -> Vec<Standing> {
        agreement_plans(agreement, contracts, &mut Projections::default(), &mut Vec::new()).standings
    }
}

impl Hindrance {
    /// What was found wrong with a grant: the first of it is told, and that there is more.
    pub(crate) fn of(found: &[Problem]) -> Option<Self> {
        let first = found.first()?;
        let what = match found.len().saturating_sub(1) {
            0 => first.what.clone(),
            1 => format!("{}; and one problem more", first.what),
            more => format!("{}; and {more} problems more", first.what),
        };
        Some(Self { what, help: first.help.clone().unwrap_or_default() })
    }
}

/// A state with what the contracts make of it, in words: `in force until …, which is in 3 days; CANNOT BE SERVED`.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What the agreement is by signatures and time.
    pub state: &'a State,
    /// What its grants come to.
    pub served: Served,
    /// When it is looked at.
    pub now: SystemTime,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)?;
        let over = match self.state {
            State::InForce { until } => {
                let left = until.duration_since(self.now).unwrap_or_default();
                if left <= NEAR_END {
                    write!(f, ", NEAR ITS END, in {}", length(left))?;
                }
                false
            }
            State::Draft | State::HalfSigned { .. } | State::NotYetInForce { .. } => false,
            State::Expired { .. } | State::Ended { .. } => true,
        };
        match self.served {
            Served::Not if !over => f.write_str("; CANNOT BE SERVED here"),
            Served::Partly if !over => f.write_str("; SERVED IN PART here"),
            Served::Whole | Served::Partly | Served::Not => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{contracts, newer_contracts, now, parse, text};

    #[test]
    fn a_grant_whose_contract_is_another_says_so_and_what_mends_it() {
        let agreement = Arc::clone(parse(&text()).agreement());
        let as_agreed = Standing::of(&agreement, &contracts());
        assert_eq!(Served::of(&as_agreed), Served::Whole);
        assert!(as_agreed.iter().all(|standing| standing.contract == ContractState::Same));
        let other = Standing::of(&agreement, &newer_contracts());
        assert_eq!((other.len(), Served::of(&other)), (2, Served::Not));
        let loaded = newer_contracts().service("health.v1.Patients").unwrap().digest;
        assert_eq!(other[0].contract, ContractState::Different { loaded });
        let hindrance = other[0].hindrance.clone().unwrap();
        assert!(hindrance.what.contains("another version of `health.v1.Patients`"), "{hindrance:?}");
        assert!(hindrance.help.contains("`earlier` of `[contracts]`"), "{hindrance:?}");
        // The earlier one at hand: it goes on.
        let grown = newer_contracts().with_earlier(&[contracts()], []);
        let later = Standing::of(&agreement, &grown);
        assert_eq!((Served::of(&later), later[1].contract), (Served::Whole, ContractState::Later { loaded }));
        assert_eq!(Standing::of(&agreement, &Contracts::load(&[]).unwrap())[0].contract, ContractState::NotLoaded);
    }

    #[test]
    fn an_agreement_may_be_served_in_part() {
        let text = text().replacen("methods = [\"Find\", \"List\"]", "methods = [\"Find\", \"Lsit\", \"Fnid\"]", 1);
        let standings = Standing::of(parse(&text).agreement(), &contracts());
        assert_eq!((Served::of(&standings), standings[0].hindrance.is_none()), (Served::Partly, true));
        let hindrance = standings[1].hindrance.clone().unwrap();
        assert!(hindrance.what.ends_with("`Lsit`; and one problem more"), "{hindrance:?}");
        assert_eq!(hindrance.help, "did you mean `List`?");
    }

    #[test]
    fn what_hinders_it_is_told_while_it_is_not_over() {
        let now = now();
        let (soon, late) = (now + Duration::from_hours(3 * 24), now + Duration::from_hours(99 * 24));
        let check = |state: State, served, expected: &str| {
            let told = Told { state: &state, served, now }.to_string();
            assert!(told.ends_with(expected), "{told}");
        };
        check(State::InForce { until: soon }, Served::Whole, "UTC, NEAR ITS END, in 3 days");
        check(State::InForce { until: late }, Served::Whole, "UTC");
        check(State::InForce { until: late }, Served::Not, "UTC; CANNOT BE SERVED here");
        check(State::NotYetInForce { from: soon }, Served::Partly, "UTC; SERVED IN PART here");
        check(State::Expired { at: now }, Served::Not, "UTC");
        check(State::Draft, Served::Not, "draft, not signed; CANNOT BE SERVED here");
    }
}
