//! The crate map: which of our crates may use which.
//!
//! This table and the one in `crates/README.md` change together: a new crate, or a new arrow, is a change to the
//! architecture. Dependencies of tests are free.

use crate::{
    tidy::Finding,
    workspace::{Metadata, Package},
};

/// Each crate and what it may use, from the bottom up. A crate uses only what stands above it in this table.
const ALLOWED: &[(&str, &[&str])] = &[
    ("note", &[]),
    ("problem", &[]),
    ("proto", &[]),
    ("sha256", &[]),
    ("ledger", &["note", "sha256"]),
    ("contract", &["proto", "problem"]),
    ("federation", &["proto", "note", "problem"]),
    ("policy", &["contract", "federation", "note", "problem"]),
    ("records", &["ledger", "contract", "proto", "note", "federation"]),
    ("link", &["federation", "proto"]),
    ("connectors", &["contract", "link", "problem"]),
    ("rest", &["contract", "proto", "problem"]),
    ("exchange", &["policy", "contract", "federation", "records", "ledger", "proto", "note", "sha256"]),
    (
        "gateway",
        &[
            "note",
            "problem",
            "proto",
            "ledger",
            "contract",
            "federation",
            "policy",
            "records",
            "link",
            "connectors",
            "rest",
            "exchange",
        ],
    ),
    (
        "demo",
        &["gateway", "connectors", "contract", "federation", "policy", "records", "note", "problem", "proto", "ledger"],
    ),
    (
        "cli",
        &[
            "demo",
            "gateway",
            "exchange",
            "connectors",
            "contract",
            "federation",
            "policy",
            "records",
            "note",
            "problem",
            "proto",
            "ledger",
        ],
    ),
];

/// Packages of ours that nothing ships: they may use anything, and nothing may use them.
const UNSHIPPED: &[&str] = &["xtask", "tests", "fuzz"];

/// Crates that are pure: time, agreements and certificates are arguments.
pub(super) const PURE: &[&str] = &["contract", "policy", "rest"];

/// What a pure crate's tree must not hold.
pub(super) const IMPURE: &[&str] = &["tokio", "hyper", "h2", "tonic", "axum", "sqlx", "reqwest", "tracing"];

/// Holds the table against the real graph.
pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    let members: Vec<&Package> = metadata.members().collect();
    for package in &members {
        let ours = |name: &&str| members.iter().any(|member| member.name == *name);
        let uses: Vec<&str> = package.shipped_dependencies().filter(ours).map(short).collect();
        findings.extend(judge(short(&package.name), &uses));
    }
    for (krate, _) in ALLOWED {
        if !members.iter().any(|member| short(&member.name) == *krate) {
            findings.push(Finding::new(
                "xtask/src/tidy/edges.rs",
                format!("the crate map names `{krate}`, and there is no package `drawbridge-{krate}`"),
                "take it out of the table, here and in `crates/README.md`",
            ));
        }
    }
    findings
}

/// Judges what one crate uses.
fn judge(krate: &str, uses: &[&str]) -> Vec<Finding> {
    let place = format!("crates/{krate}/Cargo.toml");
    if UNSHIPPED.contains(&krate) {
        return Vec::new();
    }
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == krate) else {
        return vec![Finding::new(
            place,
            format!("the crate map does not know `{krate}`"),
            "name it and what it may use in `xtask/src/tidy/edges.rs` and in `crates/README.md`",
        )];
    };
    uses.iter()
        .filter(|used| !allowed.contains(used))
        .map(|used| {
            let may =
                if allowed.is_empty() { "none of ours".to_owned() } else { format!("`{}`", allowed.join("`, `")) };
            Finding::new(
                place.clone(),
                format!("`{krate}` uses `{used}`, which the crate map does not allow"),
                format!("it may use {may}; a new arrow changes `xtask/src/tidy/edges.rs` and `crates/README.md`"),
            )
        })
        .collect()
}

/// `drawbridge-note` is `note` in the map.
fn short(name: &str) -> &str {
    name.strip_prefix("drawbridge-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_that_the_map_lacks_is_found_and_named() {
        let found = judge("ledger", &["note", "records"]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("`ledger` uses `records`"), "{found:?}");
    }

    #[test]
    fn an_allowed_arrow_passes() {
        assert_eq!(judge("exchange", &["policy", "records", "note"]), []);
    }

    #[test]
    fn a_crate_outside_the_map_is_found() {
        assert!(judge("common", &[])[0].what.contains("does not know `common`"));
    }

    #[test]
    fn nothing_shipped_may_use_what_is_not_shipped() {
        assert!(!judge("cli", &["xtask"]).is_empty());
        assert!(judge("tests", &["gateway", "link"]).is_empty());
    }

    #[test]
    fn the_map_has_no_cycle() {
        for (at, (krate, allowed)) in ALLOWED.iter().enumerate() {
            for used in *allowed {
                let place = ALLOWED.iter().position(|(name, _)| name == used);
                assert!(place.is_some_and(|place| place < at), "`{krate}` may use `{used}`, which is not above it");
            }
        }
    }
}
