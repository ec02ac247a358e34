//! Contracts get later versions while agreements are about the earlier ones.

use std::fs;

use contract::Contracts;
use drawbridge_tests::{
    Agreement, COUNCIL, Member, TRUST, TestFederation, eventually,
    federation::{contracts, standard},
    process::run,
};
use exchange::{Hop, Reason};

const FIND: &str = "test.v1.Records/Find";
const ONE: &str = r#"{"id": "1"}"#;
/// A field that comes later, of a classification that the standard agreement releases.
const WARD: &str = "string note = 4 [(drawbridge.options.v1.field) = { classification: CLASSIFICATION_OFFICIAL }];\n  \
                    string ward = 5 [(drawbridge.options.v1.field) = { classification: CLASSIFICATION_OFFICIAL }];";
const NOTE: &str = "string note = 4 [(drawbridge.options.v1.field) = { classification: CLASSIFICATION_OFFICIAL }];";

/// Gives a member another version of the contract.
fn rewrite(member: &Member, from: &str, to: &str) {
    let file = member.folder.join("proto/test/v1/records.proto");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(&file, text.replace(from, to)).unwrap();
}

/// Gives the trust a version with a further field, which its database answers too.
fn with_ward(trust: &Member) {
    rewrite(trust, NOTE, WARD);
    trust.reconfigure("'checked' AS note FROM", "'checked' AS note, 'east' AS ward FROM");
    trust.reconfigure("than it would be' AS note", "than it would be' AS note, 'east' AS ward");
}

fn loaded(member: &Member) -> Contracts {
    Contracts::load(&[gateway::load::contract_source(&member.folder.join("proto")).unwrap()]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agreement_goes_on_under_a_later_contract_of_the_provider_and_nothing_new_leaves() {
    let mut federation = TestFederation::new().await.start();
    let (found, rows) =
        (federation.call(FIND, ONE).await, federation.call("test.v1.Records/List", r#"{"count": "2"}"#).await);
    assert_eq!((found.status.code, rows.status.code), (0, 0));
    with_ward(federation.member(TRUST));
    federation.member(TRUST).reload().await;
    for restarted in [false, true] {
        if restarted {
            federation.restart(TRUST);
        }
        let now = federation.call(FIND, ONE).await;
        assert_eq!(now.status.code, 0, "{}", now.status.message);
        assert_eq!(now.messages, found.messages);
        // By classification, too: that is read in the version that was agreed on.
        assert_eq!(federation.call("test.v1.Records/List", r#"{"count": "2"}"#).await.messages, rows.messages);
        let agreed = contracts().service("test.v1.Records").unwrap().digest;
        assert_ne!(loaded(federation.member(TRUST)).service("test.v1.Records").unwrap().digest, agreed);
        for member in [COUNCIL, TRUST] {
            let records = federation.member(member).records_of(&now.exchange());
            // After a restart the first is about a session that was not known any more.
            let opened = records.last().unwrap().opened.as_ref().unwrap();
            assert_eq!(opened.claims.as_ref().unwrap().contract_digest.as_ref(), agreed.0, "{member}");
            assert_eq!(opened.status(), 0, "{member}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_never_had_the_earlier_version_is_given_it() {
    let mut federation = TestFederation::new().await;
    let trust = federation.member(TRUST);
    fs::create_dir_all(trust.folder.join("earlier/test/v1")).unwrap();
    fs::copy(trust.folder.join("proto/test/v1/records.proto"), trust.folder.join("earlier/test/v1/records.proto"))
        .unwrap();
    with_ward(trust);
    federation = federation.start();
    let refused = federation.call(FIND, ONE).await;
    assert_eq!((refused.reason(), refused.status.hop()), (Some(Reason::ContractMismatch), Some(Hop::Provider)));
    let said = run(&federation.member(TRUST).folder, ["check", "gateway.toml"]);
    let said = (said.status.code(), String::from_utf8_lossy(&said.stderr).into_owned());
    assert!(said.0 == Some(1) && said.1.contains("is not at hand") && said.1.contains("`earlier`"), "{}", said.1);

    federation.member(TRUST).reconfigure("sources = [\"proto\"]", "sources = [\"proto\"]\nearlier = [\"earlier\"]");
    federation.member(TRUST).reload().await;
    let answered = federation.call(FIND, ONE).await;
    assert_eq!(answered.status.code, 0, "{}", answered.status.message);
    assert!(federation.answer(FIND, &answered.messages[0])["note"] == "checked");
    assert_eq!(run(&federation.member(TRUST).folder, ["check", "gateway.toml"]).status.code(), Some(0));
}

/// Has a member load a later version, whose request has one field more.
async fn ask_for_more(member: &Member) {
    rewrite(
        member,
        "message FindRequest {\n  int64 id = 1;",
        "message FindRequest {\n  int64 id = 1;\n  bool deep = 2;",
    );
    member.reload().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_with_a_later_contract_asks_what_was_agreed_on_and_no_more() {
    let federation = TestFederation::new().await.start();
    let council = federation.member(COUNCIL);
    ask_for_more(council).await;
    let answered = federation.call(FIND, ONE).await;
    assert_eq!(answered.status.code, 0, "{}", answered.status.message);
    let method = loaded(council).method(&format!("/{FIND}")).unwrap().clone();
    let deep = method.request_from_json(r#"{"id": "1", "deep": true}"#).unwrap();
    let refused = federation.revenues().await.call(&format!("/{FIND}"), &standard(), &deep).await.unwrap();
    assert_eq!((refused.reason(), refused.status.hop()), (Some(Reason::Malformed), Some(Hop::Consumer)));
    let told = &refused.status.message;
    assert!(told.contains("field number 2") && told.contains("another version of the contract"), "{told}");
    let agreed = contracts().service("test.v1.Records").unwrap().digest.to_string();
    assert!(told.contains(&agreed), "{told}");
    // Who makes stubs of what is shown has no such field.
    let (_, _, document) = crate::rest::curl(&federation, "/openapi.json", &[]);
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let find = &document["paths"]["/test.v1.Records/Find"]["post"];
    assert_eq!(find["x-drawbridge-contract"], agreed.as_str());
    assert_eq!(find["description"], "One record.", "what was kept has its comments");
    let shown = &document["components"]["schemas"]["test.v1.FindRequest"]["properties"];
    assert!(shown["id"].is_object() && shown["deep"].is_null(), "{shown}");
    // Contracts whose services did not change are beside it.
    assert!(document["paths"]["/test.v1.Echo/Say"].is_object(), "{}", document["paths"]);
    assert!(federation.member(TRUST).records_of(&refused.exchange()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_contract_that_breaks_what_was_agreed_on_is_refused_and_check_says_what_breaks() {
    for (member, from, to, told) in [
        (
            TRUST,
            "string note = 4 [(drawbridge.options.v1.field) = { classification: CLASSIFICATION_OFFICIAL }]",
            "string note = 4 [(drawbridge.options.v1.field) = { classification: CLASSIFICATION_PUBLIC }]",
            "`test.v1.Record.note` has `(drawbridge.options.v1.field).classification` changed",
        ),
        (COUNCIL, "string note = 4", "string note = 9", "`test.v1.Record.note` is renumbered from 4 to 9"),
    ] {
        let mut federation = TestFederation::new().await.start();
        assert_eq!(federation.call(FIND, ONE).await.status.code, 0);
        rewrite(federation.member(member), from, to);
        // A gateway that runs goes on with what it has; one that starts has nothing else.
        let why = federation.member(member).refused().await;
        assert!(why.contains("could no longer be served") && why.contains(told), "{why}");
        assert_eq!(federation.call(FIND, ONE).await.status.code, 0);
        assert!(federation.take(member).terminate());
        federation.restart(member);
        let member = federation.member(member);
        let refused = federation.call(FIND, ONE).await;
        let hop = if member.id.as_str() == TRUST { Hop::Provider } else { Hop::Consumer };
        assert_eq!((refused.reason(), refused.status.hop()), (Some(Reason::ContractMismatch), Some(hop)), "{told}");
        let said = run(&member.folder, ["check", "gateway.toml"]);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        // Where the lines end depends on the width.
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.status.code() == Some(1) && words.contains(told), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_under_the_name_of_another_contract_permits_nothing_and_is_named() {
    let mut federation = TestFederation::new().await.start();
    with_ward(federation.member(TRUST));
    drop(federation.take(TRUST));
    let kept = federation.member(TRUST).folder.join("data/contracts");
    let file = |service: &str| {
        let digest = contracts().service(service).unwrap().digest.to_string();
        kept.join(format!("{service}@{}.contract", digest.strip_prefix("sha256:").unwrap()))
    };
    fs::copy(file("test.v1.Echo"), file("test.v1.Records")).unwrap();
    federation.restart(TRUST);
    let refused = federation.call(FIND, ONE).await;
    assert_eq!((refused.reason(), refused.status.hop()), (Some(Reason::ContractMismatch), Some(Hop::Provider)));
    let said = run(&federation.member(TRUST).folder, ["check", "gateway.toml"]);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(text.contains("the one that was kept cannot be used"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_contract_is_shown_in_another_version_than_was_agreed_on_is_named_by_check_and_doctor() {
    let federation = TestFederation::new().await.start();
    let council = federation.member(COUNCIL);
    ask_for_more(council).await;
    let warned = || {
        let said = run(&council.folder, ["check", "gateway.toml"]);
        assert_eq!(said.status.code(), Some(0));
        String::from_utf8_lossy(&said.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(!warned().contains("as it is loaded"), "one version is agreed on, and it is shown");
    // Another agreement of the same system, about the version that is loaded now.
    let digest = loaded(council).service("test.v1.Records").unwrap().digest.to_string();
    let grants = Agreement::default().grants.replace("@digest:test.v1.Records@", &digest);
    federation.agree_at(&Agreement { id: "newer".to_owned(), grants, ..Agreement::default() }, council);
    let told = "`council.example/revenues` is shown `test.v1.Records` as it is loaded, not as `newer`, `standard` have it: the \
                agreements name several versions of it";
    let said = warned();
    assert!(said.contains(told), "{said}");
    let doctor = run(&council.folder, ["doctor", "--config", "gateway.toml", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["what"].as_str().unwrap().contains(told)).unwrap();
    assert_eq!((finding["severity"].as_str(), finding["where"].as_str()), (Some("warning"), Some("contracts")));
    council.reload().await;
    eventually("the log says so", 10, async || {
        council.process().log().contains("a contract is shown in another version than was agreed on").then_some(())
    })
    .await;
}
