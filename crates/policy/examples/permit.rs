//! Prints how long it takes to load ten thousand agreements and to look one up among them.
//!
//! Run with `cargo run --release -p drawbridge-policy --example permit`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement for developers"
)]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use contract::{Contracts, Source};
use drawbridge_policy::{AgreementFile, Ask, Loader};
use federation::{MemberId, SystemId};
use note::{SigningKey, VerifierKey};

const MEMBERS: usize = 101;
const AGREEMENTS: usize = 10_000;
const LOOKUPS: usize = 100_000;

fn main() {
    let contracts = contracts();
    let digest = contracts.service("health.v1.Patients").unwrap().digest;
    let keys: Vec<SigningKey> =
        (0..MEMBERS).map(|n| SigningKey::generate(&format!("{}/member", member(n))).unwrap()).collect();
    let look_up = |id: &MemberId| -> Vec<VerifierKey> {
        let number: usize = id.as_str().trim_start_matches('m').split('.').next().unwrap().parse().unwrap();
        keys.get(number).map(SigningKey::verifier).into_iter().collect()
    };
    let pairs: Vec<(usize, usize)> = (0..MEMBERS)
        .flat_map(|a| (0..MEMBERS).filter(move |b| a != *b).map(move |b| (a, b)))
        .take(AGREEMENTS)
        .collect();
    let files: Vec<(PathBuf, String)> = pairs
        .iter()
        .map(|(consumer, provider)| {
            let text = text(*consumer, *provider, &digest.to_string());
            let mut file = AgreementFile::parse("a.toml", &text).unwrap();
            file.sign(&keys[*consumer]).unwrap();
            file.sign(&keys[*provider]).unwrap();
            (PathBuf::from(format!("{consumer}-{provider}.note")), file.to_string())
        })
        .collect();

    let mut folder = Loader::new();
    let mut load = |what: &str| {
        let start = Instant::now();
        let loaded = folder.load(files.iter().map(|(name, text)| (name.clone(), text.as_str())), &look_up, &contracts);
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems.first());
        println!("{what}: {:.2?} for {} agreements", start.elapsed(), loaded.agreements.iter().len());
        loaded.agreements
    };
    load("parse, verify, compile");
    let agreements = load("compile again, nothing changed");

    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    let ids: Vec<MemberId> = (0..MEMBERS).map(member).collect();
    let systems: Vec<SystemId> = ids.iter().map(|id| SystemId::new(id.clone(), "social-care").unwrap()).collect();
    for (what, method, purpose) in [
        ("permitted", "/health.v1.Patients/Find", "safeguarding"),
        ("wrong purpose", "/health.v1.Patients/Find", "curiosity"),
        ("no agreement", "/health.v1.Patients/List", "safeguarding"),
    ] {
        let start = Instant::now();
        for n in 0..LOOKUPS {
            let (consumer, provider) = pairs[(n * 7919) % pairs.len()];
            let ask = Ask {
                consumer: &ids[consumer],
                system: &systems[consumer],
                provider: &ids[provider],
                method,
                purpose,
                has_actor: true,
                has_case: true,
                has_justification: false,
            };
            let decided = black_box(agreements.permit(black_box(&ask), now));
            assert_eq!(decided.is_ok(), what == "permitted");
        }
        println!("{what}: {:.0} ns a look-up", start.elapsed().as_nanos() as f64 / LOOKUPS as f64);
    }
}

fn member(number: usize) -> MemberId {
    format!("m{number}.example").parse().unwrap()
}

fn contracts() -> Contracts {
    let text = "syntax = \"proto3\"; package health.v1; service Patients { rpc Find(Patient) returns (Patient) { option \
                idempotency_level = NO_SIDE_EFFECTS; } rpc List(Patient) returns (stream Patient) { option idempotency_level = \
                NO_SIDE_EFFECTS; } } message Patient { string id = 1; Name name = 2; } message Name { string given = 1; string family = 2; }";
    let files = vec![("health/v1/patients.proto".to_owned(), text.to_owned())];
    Contracts::load(&[Source::Protos { name: "proto".to_owned(), files }]).unwrap()
}

fn text(consumer: usize, provider: usize, digest: &str) -> String {
    format!(
        "format = \"drawbridge.agreement/v1\"\nid = \"a-{consumer}-{provider}\"\nconsumer = \"m{consumer}.example\"\nprovider = \
         \"m{provider}.example\"\nvalid_from = 2026-11-01T00:00:00Z\nvalid_until = 2027-11-01T00:00:00Z\nreview_on = 2027-08-01\n\
         retention = \"6 years\"\n[purpose.safeguarding]\nlegal_basis = \"Children Act 2004, section 11\"\n[purpose.audit]\nlegal_basis \
         = \"Local Audit and Accountability Act 2014\"\n[[grant]]\nservice = \"health.v1.Patients\"\ndigest = \"{digest}\"\nmethods = \
         [\"Find\"]\nsystems = [\"social-care\", \"finance\"]\npurposes = [\"safeguarding\", \"audit\"]\nfields = [\"id\", \
         \"name.family\"]\nrequire = [\"actor\"]\n"
    )
}
