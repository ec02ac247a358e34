//! Examines a gateway and what is around it: configuration, machine, peers, legacy systems.
//!
//! Nothing is started and nothing is changed, so it runs beside the gateway as well as before it. Every finding that is not
//! fine says what mends it.

mod certificates;
mod configuration;
mod disk;
mod files;
mod legacy;
mod names;
mod peers;
mod ports;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use self::configuration::Parts;
pub(crate) use self::{files::existing, ports::cure as cure_of_port};
use crate::config::{ConfigFile, Salvaged};

/// The `format` of a report.
pub const REPORT_FORMAT: &str = "drawbridge.doctor/v1";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `drawbridge.doctor/v1`.
    pub format: String,
    /// The gateway, as the configuration names it.
    pub gateway: String,
    /// All findings, in the order of the checks.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Returns how many findings are of this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Fine,
    /// Somebody should look at it; exchanges go on.
    Warning,
    /// Exchanges that should work do not, or secrets are exposed.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The check that found it.
    pub check: String,
    /// Where: a file with its line, a setting, a gateway, a method.
    #[serde(rename = "where")]
    pub place: String,
    /// What was found.
    pub what: String,
    /// What mends it. There is one unless it is fine.
    pub cure: Option<String>,
}

impl Finding {
    fn fine(check: &str, place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Fine, check: check.to_owned(), place: place.into(), what: what.into(), cure: None }
    }

    fn warning(check: &str, place: impl Into<String>, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, cure: Some(cure.into()), ..Self::fine(check, place, what) }
    }

    fn error(check: &str, place: impl Into<String>, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { severity: Severity::Error, cure: Some(cure.into()), ..Self::fine(check, place, what) }
    }

    /// A check that could not be made, because of what is found elsewhere.
    fn unmade(check: &str, place: impl Into<String>, why: &str) -> Self {
        let cure = "mend what is told of the check `configuration`, and run `drawbridge doctor` again";
        Self::warning(check, place, format!("not examined: {why}"), cure)
    }
}

/// Examines the gateway of a configuration. Must run within a tokio runtime.
///
/// Peers are dialled with the gateway's own certificate and asked for a session, which they do not record; legacy systems are
/// tried without a question. A temporary file in the data folder measures the disk.
///
/// Of a configuration with errors, everything is examined that can be read of it.
pub async fn examine(file: &ConfigFile, salvaged: &Salvaged, now: SystemTime) -> Report {
    let (parts, mut findings) = Box::pin(configuration::examine(file, salvaged, now)).await;
    let Parts { gateway, trust, tls, bindings, asked } = parts;
    findings.extend(ports::examine(file).await);
    findings.extend(files::examine(file));
    findings.extend(disk::examine(file).await);
    let (known, presents) = (gateway.is_some() && trust.is_some(), tls.is_some());
    if let (Some(gateway), Some(trust)) = (&gateway, trust) {
        findings.extend(certificates::examine(file, gateway, &trust, tls.as_ref(), now));
        findings.extend(names::examine(trust.federation(), gateway, now).await);
        if let Some(tls) = tls {
            let post_quantum = file.config.tls.post_quantum;
            findings.extend(Box::pin(peers::examine(gateway, trust, tls, (&asked, post_quantum), now)).await);
        }
    }
    findings.extend(not_made(file, known, presents));
    findings.extend(legacy::examine(file, bindings.as_ref()).await);
    let gateway =
        gateway.map_or_else(|| format!("{}/{}", file.config.member, file.config.gateway), |id| id.to_string());
    Report { format: REPORT_FORMAT.to_owned(), gateway, findings }
}

/// The checks that something in the configuration stands in the way of: whether the directory with this gateway's member in it is
/// `known`, and whether the gateway `presents` a certificate.
fn not_made(file: &ConfigFile, known: bool, presents: bool) -> Vec<Finding> {
    let place = file.toml.name().display().to_string();
    let directory = "this gateway's name, directory or revocation lists cannot be used";
    let certificate = "the gateway has no certificate to dial with";
    let checks: &[(&str, &str)] = match (known, presents) {
        (true, true) => &[],
        (true, false) => &[("peers", certificate)],
        (false, _) => &[("certificates", directory), ("names", directory), ("peers", directory)],
    };
    checks.iter().map(|(check, why)| Finding::unmade(check, place.as_str(), why)).collect()
}
