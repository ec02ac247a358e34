//! Checks the grants of an agreement.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::{Classification, Digest, Kind, Selector};
use federation::{MemberId, SystemId};
use problem::{KeyPath, nearest};

use super::super::{Purpose, names};
use super::{Checker, no_doubles};
use crate::grant::{Grant, Limits, MetadataKey, Required};
use crate::terms::{FieldTerms, GrantTerms, LimitTerms};

/// Most grants of one agreement.
const MAX_GRANTS: usize = 256;

/// Most entries of one list of a grant.
const MAX_ENTRIES: usize = 4096;

/// Returns the grants that have no problem of their own; the checker holds the problems of the others.
pub(super) fn all(
    checker: &mut Checker<'_>,
    terms: Vec<GrantTerms>,
    consumer: Option<&MemberId>,
    purposes: &BTreeMap<Arc<str>, Purpose>,
) -> Vec<Grant> {
    let table = KeyPath::root().key("grant");
    if terms.is_empty() {
        checker.wrong(&table, "the agreement grants nothing", "add a `[[grant]]`");
    }
    if terms.len() > MAX_GRANTS {
        checker.wrong(
            &table,
            format!("the agreement has {} grants", terms.len()),
            format!("at most {MAX_GRANTS} fit in one agreement"),
        );
        return Vec::new();
    }
    let used: BTreeSet<String> = terms.iter().flat_map(|grant| grant.purposes.iter().cloned()).collect();
    for name in purposes.keys().filter(|name| !used.contains(name.as_ref())) {
        checker.wrong_key(
            &KeyPath::root().key("purpose").key(name),
            format!("no grant is for the purpose `{name}`"),
            "name it in the `purposes` of a grant, or remove it",
        );
    }
    let mut grants = Vec::new();
    for (place, terms) in terms.into_iter().enumerate() {
        let path = table.index(place);
        if let Some(grant) = one(checker, &path, terms, consumer, purposes) {
            grants.push((place, grant));
        }
    }
    overlaps(checker, &table, &grants);
    grants.into_iter().map(|(_, grant)| grant).collect()
}

fn one(
    checker: &mut Checker<'_>,
    path: &KeyPath,
    terms: GrantTerms,
    consumer: Option<&MemberId>,
    purposes: &BTreeMap<Arc<str>, Purpose>,
) -> Option<Grant> {
    let digest = digest(checker, &path.key("digest"), &terms.digest);
    service(checker, &path.key("service"), &terms.service);
    methods(checker, &path.key("methods"), &terms.service, &terms.methods);
    let systems = systems(checker, &path.key("systems"), &terms.systems, consumer);
    purpose_names(checker, &path.key("purposes"), &terms.purposes, purposes);
    let fields = fields(checker, &path.key("fields"), terms.fields);
    let required = required(checker, &path.key("require"), &terms.require);
    let kinds = [Kind::Query, Kind::Command, Kind::Subscription].map(|kind| (kind.as_str(), kind));
    let kind = terms.kind.and_then(|kind| word(checker, &path.key("kind"), &kind, "kind of method", &kinds));
    metadata(checker, &path.key("application_metadata"), &terms.application_metadata);
    let limits = limits(checker, &path.key("limits"), &terms.limits);
    Some(Grant {
        service: terms.service.into(),
        digest: digest?,
        methods: terms.methods.into_iter().map(Arc::from).collect(),
        systems: Arc::new(systems),
        purposes: terms.purposes.into_iter().map(Arc::from).collect(),
        fields,
        required,
        kind,
        application_metadata: Arc::new(terms.application_metadata.into_iter().collect()),
        limits,
    })
}

fn digest(checker: &mut Checker<'_>, path: &KeyPath, text: &str) -> Option<Digest> {
    let digest = text.parse().ok();
    if digest.is_none() {
        checker.wrong(
            path,
            format!("`{text}` is not the digest of a contract"),
            "write `sha256:` and 64 hexadecimal digits; `drawbridge agreement new` fills it in",
        );
    }
    digest
}

fn service(checker: &mut Checker<'_>, path: &KeyPath, service: &str) {
    if !names::looks_like_service(service) {
        checker.wrong(
            path,
            format!("`{service}` is not the full name of a service"),
            "write its package and name, as in \"health.v1.Patients\"",
        );
    }
}

fn methods(checker: &mut Checker<'_>, path: &KeyPath, service: &str, methods: &[String]) {
    filled(checker, path, methods, "method", "name at least one method of the service");
    no_doubles(checker, path, methods, "method");
    for (place, method) in methods.iter().enumerate() {
        if !names::is_identifier(method) {
            let help = match method.rsplit_once(['/', '.']) {
                Some((_, name)) if names::is_identifier(name) => {
                    format!("write the name alone, \"{name}\"; the service is `{service}`")
                }
                Some(_) | None => "write its name, as in \"Find\"".to_owned(),
            };
            checker.wrong(&path.index(place), format!("`{method}` is not the name of a method"), help);
        }
    }
}

fn systems(
    checker: &mut Checker<'_>,
    path: &KeyPath,
    systems: &[String],
    consumer: Option<&MemberId>,
) -> BTreeSet<SystemId> {
    filled(checker, path, systems, "system", "name at least one system of the consumer");
    no_doubles(checker, path, systems, "system");
    let mut found = BTreeSet::new();
    let Some(consumer) = consumer else {
        return found;
    };
    for (place, text) in systems.iter().enumerate() {
        match SystemId::new(consumer.clone(), text) {
            Ok(system) => {
                found.insert(system);
            }
            Err(error) => {
                let help = match text.parse::<SystemId>() {
                    Ok(system) if system.member() == consumer => {
                        format!("write its name alone, \"{}\"", system.name())
                    }
                    Ok(_) => format!("only systems of the consumer `{consumer}` may ask"),
                    Err(_) => "write the name of a system of the consumer, as in \"housing\"".to_owned(),
                };
                checker.wrong(&path.index(place), error.to_string(), help);
            }
        }
    }
    found
}

fn purpose_names(checker: &mut Checker<'_>, path: &KeyPath, names: &[String], purposes: &BTreeMap<Arc<str>, Purpose>) {
    filled(checker, path, names, "purpose", "name at least one purpose of this agreement");
    no_doubles(checker, path, names, "purpose");
    for (place, name) in names.iter().enumerate() {
        if !purposes.contains_key(name.as_str()) {
            let help = match nearest(name, purposes.keys().map(AsRef::as_ref)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("add `[purpose.{name}]` with its `legal_basis`"),
            };
            checker.wrong(&path.index(place), format!("the agreement has no purpose `{name}`"), help);
        }
    }
}

fn fields(checker: &mut Checker<'_>, path: &KeyPath, terms: FieldTerms) -> Selector {
    match terms {
        FieldTerms::All => Selector::All,
        FieldTerms::Paths(paths) => {
            bounded(checker, path, paths.len());
            no_doubles(checker, path, &paths, "field");
            Selector::Paths(paths)
        }
        FieldTerms::Classification(words) => {
            let path = path.key("classification");
            filled(
                checker,
                &path,
                &words,
                "classification",
                "name at least one of `public`, `official`, `personal`, `special-category`",
            );
            no_doubles(checker, &path, &words, "classification");
            let known = Classification::ALL.map(|class| (class.as_str(), class));
            let mut found = BTreeSet::new();
            for (place, text) in words.iter().enumerate() {
                found.extend(word(checker, &path.index(place), text, "classification", &known));
            }
            Selector::Classifications(found)
        }
    }
}

fn required(checker: &mut Checker<'_>, path: &KeyPath, words: &[String]) -> Required {
    no_doubles(checker, path, words, "metadata");
    let known = MetadataKey::ALL.map(|key| (key.word(), key));
    let mut required = Required::default();
    for (place, text) in words.iter().enumerate() {
        if let Some(key) = word(checker, &path.index(place), text, "metadata to require", &known) {
            required.add(key);
        }
    }
    required
}

fn metadata(checker: &mut Checker<'_>, path: &KeyPath, keys: &[String]) {
    bounded(checker, path, keys.len());
    no_doubles(checker, path, keys, "key");
    for (place, key) in keys.iter().enumerate() {
        if !names::is_metadata_key(key) {
            checker.wrong(
                &path.index(place),
                format!("`{key}` is not a key of gRPC metadata"),
                "use `a` to `z`, `0` to `9`, `-`, `_` and `.`, at most 128 of them",
            );
        } else if names::is_reserved_metadata(key) {
            checker.wrong(
                &path.index(place),
                format!("`{key}` never crosses from one member to another"),
                "remove it; gateways, gRPC and HTTP use it themselves",
            );
        }
    }
}

fn limits(checker: &mut Checker<'_>, path: &KeyPath, terms: &LimitTerms) -> Limits {
    let all = [
        ("calls_per_second", terms.calls_per_second),
        ("calls_per_day", terms.calls_per_day),
        ("rows_per_day", terms.rows_per_day),
        ("rows_per_call", terms.rows_per_call),
    ];
    for (key, limit) in all {
        if limit == Some(0) {
            checker.wrong(
                &path.key(key),
                format!("`{key}` of 0 lets nothing through"),
                "use 1 or more, or leave it out for no limit",
            );
        }
    }
    if let (Some(call), Some(day)) = (terms.rows_per_call, terms.rows_per_day)
        && call > day
    {
        checker.wrong(
            &path.key("rows_per_call"),
            format!("one call may give {call} rows, but a day only {day}"),
            "make `rows_per_call` the smaller",
        );
    }
    Limits {
        calls_per_second: terms.calls_per_second,
        calls_per_day: terms.calls_per_day,
        rows_per_day: terms.rows_per_day,
        rows_per_call: terms.rows_per_call,
    }
}

/// Two grants of one agreement for the same method, system and purpose leave it open which one counts.
fn overlaps(checker: &mut Checker<'_>, table: &KeyPath, grants: &[(usize, Grant)]) {
    for (later, (place, grant)) in grants.iter().enumerate() {
        for (earlier_place, earlier) in grants.iter().take(later) {
            let Some((method, system, purpose)) = common(grant, earlier) else {
                continue;
            };
            checker.wrong(
                &table.index(*place),
                format!(
                    "`{}/{method}` is granted to `{}` for `{purpose}` twice, here and in grant[{earlier_place}]",
                    grant.service,
                    system.name()
                ),
                "let one grant say it, or part them by method, system or purpose",
            );
        }
    }
}

fn common<'g>(one: &'g Grant, other: &'g Grant) -> Option<(&'g str, &'g SystemId, &'g str)> {
    if one.service != other.service {
        return None;
    }
    let methods: BTreeSet<&str> = other.methods.iter().map(AsRef::as_ref).collect();
    let purposes: BTreeSet<&str> = other.purposes.iter().map(AsRef::as_ref).collect();
    let method = one.methods.iter().find(|method| methods.contains(method.as_ref()))?;
    let purpose = one.purposes.iter().find(|purpose| purposes.contains(purpose.as_ref()))?;
    let system = one.systems.intersection(&other.systems).next()?;
    Some((method, system, purpose))
}

fn filled(checker: &mut Checker<'_>, path: &KeyPath, list: &[String], noun: &str, help: &str) {
    if list.is_empty() {
        checker.wrong(path, format!("the grant names no {noun}"), help);
    }
    bounded(checker, path, list.len());
}

fn bounded(checker: &mut Checker<'_>, path: &KeyPath, entries: usize) {
    if entries > MAX_ENTRIES {
        checker.wrong(
            path,
            format!("the list has {entries} entries"),
            format!("at most {MAX_ENTRIES} fit in one list"),
        );
    }
}

/// Reads one of a closed set of words.
fn word<T: Copy>(checker: &mut Checker<'_>, path: &KeyPath, text: &str, noun: &str, known: &[(&str, T)]) -> Option<T> {
    if let Some((_, found)) = known.iter().find(|(word, _)| *word == text) {
        return Some(*found);
    }
    let list = known.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let meant = nearest(text, known.iter().map(|(word, _)| *word)).map(|word| format!("; did you mean `{word}`?"));
    checker.wrong(path, format!("unknown {noun} `{text}`"), format!("use one of {list}{}", meant.unwrap_or_default()));
    None
}
