//! Whether each legacy system would answer.

use std::{collections::BTreeMap, time::Duration};

use connectors::{Binding, Bindings, ConnectorError};
use futures_util::{StreamExt as _, stream};

use super::{Finding, peers::AT_ONCE};
use crate::config::ConfigFile;

const CHECK: &str = "legacy system";
/// How long one may take, whatever its own limits.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Tries each binding; of those that could not be made, says so.
pub(super) async fn examine(file: &ConfigFile, bindings: Option<&Bindings>) -> Vec<Finding> {
    let made = bindings.into_iter().flat_map(Bindings::iter);
    let sorted: BTreeMap<&str, &Binding> = made.map(|binding| (binding.method().path(), binding)).collect();
    let why = if bindings.is_some() { "its binding cannot be used" } else { "the contracts cannot be used" };
    let unmade = file.config.binding.iter().filter_map(|config| {
        let method = config.method.trim_start_matches('/');
        let place = format!("{method} ({})", config.connector.kind);
        (!sorted.contains_key(format!("/{method}").as_str())).then(|| Finding::unmade(CHECK, place, why))
    });
    let unmade: Vec<Finding> = unmade.collect();
    let sorted: Vec<Binding> = sorted.into_values().cloned().collect();
    let tried = stream::iter(sorted).map(|binding| async move { try_it(&binding).await });
    let mut findings: Vec<Finding> = tried.buffered(AT_ONCE).collect().await;
    findings.extend(unmade);
    findings
}

async fn try_it(binding: &Binding) -> Finding {
    let place = format!("{} ({})", binding.method().path().trim_start_matches('/'), binding.kind());
    let tried = tokio::time::timeout(TIMEOUT, binding.health()).await.unwrap_or(Err(ConnectorError::Timeout));
    match tried {
        Ok(()) => Finding::fine(CHECK, place, "answers"),
        Err(error) => Finding::error(CHECK, place, error.to_string(), cure(&error)),
    }
}

fn cure(error: &ConnectorError) -> &'static str {
    match error {
        ConnectorError::Unreachable { .. } => {
            "see that the legacy system runs and that this machine reaches its address, as the binding names it"
        }
        ConnectorError::Untrusted { .. } => {
            "name the authority that issued its certificate as `ca`, in the binding's `connector` or in `[database.…]`, and the host by a \
             name that stands in the certificate; one that has expired has to be renewed at the legacy system"
        }
        ConnectorError::Timeout => "see how busy the legacy system is, and whether a firewall drops what is sent to it",
        ConnectorError::Credentials { .. } => {
            "give the gateway what the legacy system asks for: certificate and key, or user and password, in the binding or its database"
        }
        ConnectorError::Failed { .. } | ConnectorError::Malformed { .. } | ConnectorError::Status { .. } => {
            "look at the legacy system and its own log; it was reached"
        }
        ConnectorError::NotFound
        | ConnectorError::Argument { .. }
        | ConnectorError::Unsuited { .. }
        | ConnectorError::Forbidden { .. }
        | ConnectorError::Mapping { .. }
        | ConnectorError::TooManyRows
        | ConnectorError::TooLarge { .. }
        | ConnectorError::RolledBack { .. }
        | ConnectorError::AlreadyDone
        | ConnectorError::Cancelled
        | ConnectorError::Stalled => "hold the binding against the legacy system with `drawbridge check`",
    }
}
