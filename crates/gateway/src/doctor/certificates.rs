//! Until when certificates, roots, directory entries and revocation lists are good.

use std::time::SystemTime;

use federation::{
    Entry, GatewayId,
    certificate::Facts,
    trust::{TlsIdentity, Trust},
};

use super::{Finding, Severity};
use crate::{config::ConfigFile, when};

const CHECK: &str = "certificates";
const DAY: i64 = 86_400;
/// How long before its end the gateway's own certificate is told. It lasts 90 days.
const CERTIFICATE: i64 = 14 * DAY;
/// How long before its end an entry or a root is told. They last a year and ten.
const ENTRY: i64 = 30 * DAY;

pub(super) fn examine(
    file: &ConfigFile,
    own: &GatewayId,
    trust: &Trust,
    tls: Option<&TlsIdentity>,
    now: SystemTime,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(tls) = tls {
        let place = file.path(&file.config.tls.certificate).display().to_string();
        let cure = "issue the next one with `drawbridge certificate gateway`; a gateway that runs takes it up";
        let end = End { place, what: format!("the certificate of `{own}`"), cure: cure.to_owned() };
        findings.push(end.judge(when::seconds_until(tls.ends(), now), CERTIFICATE, Severity::Error));
    }
    for entry in trust.federation().members() {
        findings.extend(self::entry(entry, entry.member == *own.member(), now));
    }
    let told = trust.federation().warnings(now);
    for warning in trust.warnings(now).into_iter().filter(|warning| !told.contains(warning)) {
        let cure = format!(
            "ask `{}` for its present list, and put it into `{}`",
            warning.member(),
            file.path(&file.config.revocation.folder).display()
        );
        findings.push(Finding::warning("revocation", warning.member().to_string(), warning.to_string(), cure));
    }
    findings
}

fn entry(entry: &Entry, own: bool, now: SystemTime) -> Vec<Finding> {
    let member = &entry.member;
    let (entry_cure, root_cure) = if own {
        (
            "sign the next version with `drawbridge entry sign`, and give it to the other members".to_owned(),
            "list the next root beside this one in the member's entry, and issue certificates under it".to_owned(),
        )
    } else {
        (
            format!("ask `{member}` for its present entry, and add it with `drawbridge directory add`"),
            format!("ask `{member}` for an entry with its next root"),
        )
    };
    // What is over with one's own entry ends every link; with another's, those with that member.
    let bad = if own { Severity::Error } else { Severity::Warning };
    let place = format!("directory entry of {member}");
    let end = End { place: place.clone(), what: format!("version {} of the entry", entry.version), cure: entry_cure };
    let mut findings = vec![end.judge(when::seconds_until(entry.valid_until, now), ENTRY, bad)];
    for facts in entry.roots.iter().filter_map(|root| Facts::read(root).ok()) {
        let what = format!("the root with serial {}", facts.serial);
        let end = End { place: place.clone(), what, cure: root_cure.clone() };
        findings.push(end.judge(when::seconds_until(facts.not_after, now), ENTRY, Severity::Warning));
    }
    findings
}

/// Something that ends.
struct End {
    place: String,
    what: String,
    cure: String,
}

impl End {
    /// `over` is how bad it is once it has ended; `near` is for how many seconds before that it is told.
    fn judge(self, seconds: i64, near: i64, over: Severity) -> Finding {
        let severity = match seconds {
            ..0 => over,
            _ if seconds <= near => Severity::Warning,
            _ => Severity::Fine,
        };
        let what = format!("{} {}", self.what, when::end(seconds));
        let cure = (severity != Severity::Fine).then_some(self.cure);
        Finding { severity, check: CHECK.to_owned(), place: self.place, what, cure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_end_the_worse() {
        for (seconds, severity, what) in [
            (15 * DAY, Severity::Fine, "it ends in 15 days"),
            (14 * DAY, Severity::Warning, "it ends in 14 days"),
            (0, Severity::Warning, "it ends in 0 seconds"),
            (-3 * DAY, Severity::Error, "it ended 3 days ago"),
        ] {
            let end = End { place: "here".into(), what: "it".into(), cure: "renew it".into() };
            let finding = end.judge(seconds, CERTIFICATE, Severity::Error);
            assert_eq!((finding.severity, finding.what.as_str()), (severity, what));
            assert_eq!(finding.cure.is_none(), severity == Severity::Fine);
        }
    }
}
