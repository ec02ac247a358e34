//! Rules that a contract sets about values: a system is told all that its request breaks, by its own gateway, and nothing crosses.

use drawbridge_tests::{Agreement, COUNCIL, TRUST, TestFederation};
use exchange::{Hop, Reason};

/// A canary where a postcode should be, and one where a number should be.
const BROKEN: &str = r#"{"nhsNumber": "canary-7f3a", "places": [{"postcode": "SW1A 2AA"}, {"postcode": "canary-7f3a"}], "days": 730730}"#;

/// Lets `revenues` look up, and binds the method to the database.
pub fn lookups() -> Agreement {
    let grants = "
[[grant]]
service = \"test.v1.Lookups\"
digest = \"@digest:test.v1.Lookups@\"
methods = [\"Find\"]
systems = [\"revenues\"]
purposes = [\"safeguarding\"]
fields = \"all\"
";
    Agreement { grants: grants.to_owned(), ..Agreement::default() }
}

/// The binding, for the trust's configuration.
pub const BINDING: &str = r#"
[[binding]]
method = "test.v1.Lookups/Find"
connector = { kind = "sql", database = "legacy", query = '''SELECT id FROM rec WHERE id = 1 AND :nhs_number > 0''' }
"#;

#[tokio::test]
async fn every_rule_that_a_request_breaks_is_told_at_once_and_nothing_crosses() {
    let federation = TestFederation::without_agreement().await;
    federation.agree(&lookups());
    federation.member(TRUST).configure(BINDING);
    let federation = federation.start();
    let kept = federation.call("test.v1.Lookups/Find", r#"{"nhsNumber": "9434765919", "days": 366}"#).await;
    assert_eq!((kept.status.code, kept.messages.len()), (0, 1), "{}", kept.status.message);

    let reply = federation.call("test.v1.Lookups/Find", BROKEN).await;
    assert_eq!((reply.reason(), reply.status.code), (Some(Reason::Malformed), 3), "{}", reply.status.message);
    assert_eq!(reply.status.hop(), Some(Hop::Consumer));
    let (listed, total) = reply.status.violations();
    let told: Vec<_> = listed.iter().map(|found| format!("{} {}", found.field, found.reason)).collect();
    assert_eq!(told, ["nhs_number FORMAT_NHS_NUMBER", "places[2].postcode FORMAT_POSTCODE", "days RANGE"]);
    assert_eq!((total, listed[2].description.as_str()), (3, "has to be 1 to 366"));

    // The refusal is on record at the consumer, with the fields and without the values; the provider never heard of it.
    let records = federation.member(COUNCIL).records_of(&reply.exchange());
    let private = &records[0].opened.as_ref().unwrap().private;
    assert!(private.detail.contains("`places[2].postcode` has to be a postcode"), "{}", private.detail);
    assert!(federation.member(TRUST).records_of(&reply.exchange()).is_empty());
    let everything = format!("{} {} {listed:?} {:?}", reply.status.message, private.detail, reply.trailers);
    assert!(!everything.contains("7f3a") && !everything.contains("730730"), "{everything}");
}
