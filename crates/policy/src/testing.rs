//! Members, keys, contracts and agreements that the tests share.

use std::time::{Duration, SystemTime};

use contract::{Contracts, Source};
use federation::{MemberId, SystemId};
use note::{SigningKey, VerifierKey};
use problem::Problem;

use crate::{AgreementFile, Ask, Signed};

const PATIENTS: &str = r#"syntax = "proto3";
package health.v1;
import "drawbridge/options/v1/options.proto";

service Patients {
  rpc Find(FindRequest) returns (Patient) { option (drawbridge.options.v1.method) = { kind: KIND_QUERY }; }
  rpc List(FindRequest) returns (stream Patient) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Register(Patient) returns (Registered);
  rpc Ping(FindRequest) returns (Pong) { option idempotency_level = NO_SIDE_EFFECTS; }
}

message FindRequest { string nhs_number = 1; }
message Registered { string id = 1 [(drawbridge.options.v1.field) = { classification: CLASSIFICATION_OFFICIAL }]; }
message Pong {}

message Patient {
  string id = 1 [(drawbridge.options.v1.field) = { classification: CLASSIFICATION_OFFICIAL }];
  Name name = 2 [(drawbridge.options.v1.field) = { classification: CLASSIFICATION_PERSONAL }];
  repeated Address addresses = 3;
  string ethnicity = 4 [(drawbridge.options.v1.field) = { classification: CLASSIFICATION_SPECIAL_CATEGORY }];
  string remarks = 5;
}

message Name { string given = 1; string family = 2; }
message Address {
  string street = 1 [(drawbridge.options.v1.field) = { classification: CLASSIFICATION_PERSONAL }];
  string postcode = 2 [(drawbridge.options.v1.field) = { classification: CLASSIFICATION_PERSONAL }];
}
"#;

const HOUSING: &str = r#"syntax = "proto3";
package housing.v1;
service Tenancies { rpc Find(Tenancy) returns (Tenancy) { option idempotency_level = NO_SIDE_EFFECTS; } }
message Tenancy { string id = 1; }
"#;

/// Two contracts: patients with every kind of field, and tenancies.
pub(crate) fn contracts() -> Contracts {
    load(&[("health/v1/patients.proto", PATIENTS), ("housing/v1/tenancies.proto", HOUSING)])
}

/// The same contracts, the patients' with one more field.
pub(crate) fn newer_contracts() -> Contracts {
    let patients = PATIENTS.replace("string remarks = 5;", "string remarks = 5;\n  string ward = 6;");
    load(&[("health/v1/patients.proto", &patients), ("housing/v1/tenancies.proto", HOUSING)])
}

fn load(files: &[(&str, &str)]) -> Contracts {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    Contracts::load(&[Source::Protos { name: "proto".to_owned(), files }]).unwrap()
}

/// An agreement's text: what every test begins from. `DIGEST` is that of the loaded contract.
pub(crate) fn text() -> String {
    let digest = contracts().service("health.v1.Patients").unwrap().digest.to_string();
    TEXT.replace("DIGEST", &digest)
}

const TEXT: &str = r#"format = "drawbridge.agreement/v1"
id = "council-trust-2026-1"
consumer = "council.example"
provider = "trust.example"
valid_from = 2026-11-01T00:00:00Z
valid_until = 2027-11-01T00:00:00Z
review_on = 2027-08-01
retention = "6 years"

[purpose.safeguarding]
legal_basis = "Children Act 2004, section 11"
description = "Finding out whether a child is known to the hospital"

[purpose.audit]
legal_basis = "Local Audit and Accountability Act 2014, section 20"

[[grant]]
service = "health.v1.Patients"
digest = "DIGEST"
methods = ["Find"]
systems = ["social-care", "youth-justice"]
purposes = ["safeguarding"]
fields = ["id", "name.family", "addresses.postcode"]
require = ["actor", "case"]

[[grant]]
service = "health.v1.Patients"
digest = "DIGEST"
methods = ["Find", "List"]
systems = ["finance"]
purposes = ["audit", "safeguarding"]
fields = { classification = ["official"] }

[grant.limits]
calls_per_second = 5
rows_per_call = 100
rows_per_day = 1000
"#;

pub(crate) fn member(id: &str) -> MemberId {
    id.parse().unwrap()
}

pub(crate) fn system(id: &str) -> SystemId {
    id.parse().unwrap()
}

/// The member key of `member`. The same each time.
pub(crate) fn key(member: &str) -> SigningKey {
    key_number(member, 1)
}

/// Another member key of `member`, such as the one before.
pub(crate) fn key_number(member: &str, number: u8) -> SigningKey {
    let mut seed = [number; 32];
    seed.iter_mut().zip(member.bytes()).for_each(|(to, from)| *to ^= from);
    SigningKey::from_seed(&format!("{member}/member"), seed.into()).unwrap()
}

/// Every member that a test names is in this directory, with its key number 1.
pub(crate) fn keys(member: &MemberId) -> Vec<VerifierKey> {
    vec![key(member.as_str()).verifier()]
}

pub(crate) fn parse(text: &str) -> AgreementFile {
    AgreementFile::parse("agreement.toml", text).unwrap_or_else(|problems| panic!("{}", told(&problems)))
}

/// The text, signed by both members that it names.
pub(crate) fn both_sign(text: &str) -> AgreementFile {
    let mut file = parse(text);
    for member in [file.agreement().consumer().clone(), file.agreement().provider().clone()] {
        file.sign(&key(member.as_str())).unwrap();
    }
    file
}

pub(crate) fn signed(text: &str) -> Signed {
    both_sign(text).signed(&keys).unwrap().unwrap()
}

pub(crate) fn told(problems: &[Problem]) -> String {
    Problem::render_all(problems, false)
}

/// An instant within the year of the agreement.
pub(crate) fn now() -> SystemTime {
    at("2027-01-15T12:00:00Z")
}

pub(crate) fn at(text: &str) -> SystemTime {
    crate::time::instant(&text.parse().unwrap()).unwrap()
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A call with everything that an agreement may ask for, owned so that tests can change one thing at a time.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) consumer: MemberId,
    pub(crate) system: SystemId,
    pub(crate) provider: MemberId,
    pub(crate) method: String,
    pub(crate) purpose: String,
    pub(crate) metadata: [bool; 3],
}

impl Call {
    /// A call that the first grant permits.
    pub(crate) fn good() -> Self {
        Self {
            consumer: member("council.example"),
            system: system("council.example/social-care"),
            provider: member("trust.example"),
            method: "/health.v1.Patients/Find".to_owned(),
            purpose: "safeguarding".to_owned(),
            metadata: [true; 3],
        }
    }

    pub(crate) fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut call = Self::good();
        change(&mut call);
        call
    }

    pub(crate) fn ask(&self) -> Ask<'_> {
        let [has_actor, has_case, has_justification] = self.metadata;
        let Self { consumer, system, provider, method, purpose, .. } = self;
        Ask { consumer, system, provider, method, purpose, has_actor, has_case, has_justification }
    }
}
