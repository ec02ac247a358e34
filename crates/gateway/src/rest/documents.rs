//! Routes and documents, made once for each set of rules.
//!
//! A system's document shows the contracts that it may use, in the version that was agreed on, and no other, as reflection does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use contract::Agreed;
use exchange::{House, Reason, Rules};
use federation::SystemId;
use http::Response;
use rest::{Routes, Title};

use super::answers;
use crate::clients::ClientBody;

/// Sets of versions of services whose document is kept ready.
const MAX_DOCUMENTS: usize = 64;

/// JSON over HTTP on one runtime.
#[derive(Default)]
pub(crate) struct Rest {
    ready: Mutex<Ready>,
}

/// What was made of the rules in force.
#[derive(Default)]
struct Ready {
    /// Weak: rules that have been replaced let go of their legacy systems.
    rules: Weak<Rules>,
    routes: Arc<Routes>,
    documents: HashMap<Agreed, Bytes>,
}

impl Ready {
    fn renew(&mut self, rules: &Arc<Rules>) {
        let known = Arc::downgrade(rules);
        if self.rules.ptr_eq(&known) {
            return;
        }
        let routes = Routes::of(&rules.contracts).unwrap_or_else(|problems| {
            // The contracts were looked at when they were loaded.
            tracing::error!(count = problems.len(), "contracts have no routes");
            Routes::default()
        });
        *self = Self { rules: known, routes: Arc::new(routes), documents: HashMap::new() };
    }
}

impl Rest {
    pub(super) fn routes(&self, house: &House) -> Arc<Routes> {
        let rules = house.rules.load_full();
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.renew(&rules);
        ready.routes.clone()
    }

    /// Answers with the document of what `system` may ask.
    pub(super) fn document(&self, house: &House, system: &SystemId) -> Response<ClientBody> {
        let rules = house.rules.load_full();
        let agreed = rules.agreements.usable_services(system, (house.clock)());
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.renew(&rules);
        if let Some(document) = ready.documents.get(&agreed) {
            return answers::document(document.clone());
        }
        let title = Title {
            title: "What may be asked through this gateway".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: DESCRIPTION.to_owned(),
            server: None,
        };
        let services = agreed.keys().cloned().collect();
        let shown = Routes::of(&rules.contracts.shown(&agreed).contracts).unwrap_or_else(|problems| {
            // An earlier version was looked at when it was loaded, maybe by a gateway that did not speak JSON over HTTP.
            let problem = problems.first().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%system, problem, "the contracts that were agreed on have no routes together; those that are loaded are shown");
            Routes::of(&rules.contracts).unwrap_or_default()
        });
        let document = rest::document(&shown, &services, &title, &reasons());
        let document = Bytes::from(document.to_string());
        if ready.documents.len() >= MAX_DOCUMENTS {
            ready.documents.clear();
        }
        ready.documents.insert(agreed, document.clone());
        answers::document(document)
    }
}

const DESCRIPTION: &str = "The contracts that an agreement lets this system use, as JSON over HTTP. Messages follow protobuf's JSON \
mapping: numbers of 64 bits are texts, and fields with their default value are left out of answers. Every call is checked and recorded like \
a gRPC call, by both members. Failures are problem details (RFC 9457).";

fn reasons() -> Vec<rest::Reason> {
    let reason = |reason: &Reason| rest::Reason {
        name: reason.as_str().to_owned(),
        code: reason.code() as i32,
        meaning: meaning(reason.page()),
    };
    Reason::ALL.iter().map(reason).collect()
}

/// The first sentence of what a page says that its reason means.
fn meaning(page: &str) -> String {
    let body = page.split_once("## What it means").map_or(page, |(_, body)| body).trim_start();
    let text = body.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let end = text.find(". ").map_or(text.len(), |at| at.saturating_add(1));
    text.get(..end).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_meaning_of_one_sentence() {
        for reason in reasons() {
            assert!(reason.meaning.ends_with('.') && reason.meaning.len() > 20, "{}: {}", reason.name, reason.meaning);
        }
    }
}
