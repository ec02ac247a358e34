//! A provider that lies: a stand-in for the trust's gateway, with its certificate and keys. What its evidence does not bear out
//! is no answer to anybody, and the log of whoever asked says why; the same stand-in, telling the truth, is believed.

mod lies;
mod metadata;
mod promises;
mod requests;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use drawbridge_tests::{
    Agreement, COUNCIL, Reply, StandIn, TRUST, TestFederation, client, federation::standard, process, stand_in::Answer,
};
use exchange::{Reason, headers::Signed};
use proto::records::{Kind, Shared};
use records::Record;

use self::lies::{
    Lie, OTHER_EXCHANGE, about_the_answer, about_the_body, about_the_evidence, about_the_opening, about_the_rows,
    after_signing, wire,
};

const FIND: &str = "test.v1.Records/Find";
const LIST: &str = "test.v1.Records/List";

/// The council's gateway, and a stand-in for the trust's.
async fn federation() -> (TestFederation, StandIn) {
    let mut federation = TestFederation::new().await;
    federation.restart(COUNCIL);
    let stand_in = StandIn::start(federation.member(TRUST)).await;
    (federation, stand_in)
}

fn paths(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|&path| path.to_owned()).collect()
}

/// An honest answer to [`FIND`]: the first record, as the standard agreement has it.
fn record() -> Answer {
    Answer {
        // `id`, `name.family` and `note`.
        messages: vec![Bytes::from_static(b"\x08\x01\x12\x08\x12\x06Archer\x22\x07checked")],
        fields: (paths(&["id", "name.family", "note"]), paths(&["name.given", "secret"])),
        ..Answer::default()
    }
}

/// An honest answer to [`LIST`]: three rows.
fn rows() -> Answer {
    Answer {
        messages: (1..4).map(|id| Bytes::copy_from_slice(&[0x08, id])).collect(),
        fields: (paths(&["id", "note"]), paths(&["name.family", "name.given", "secret"])),
        ..Answer::default()
    }
}

fn refusal(reason: Reason) -> Answer {
    Answer { refusal: Some(reason), ..Answer::default() }
}

async fn ask(federation: &TestFederation, method: &str) -> Reply {
    federation.call(method, if method == FIND { r#"{"id": "1"}"# } else { r#"{"count": "3"}"# }).await
}

/// Tells a lie, and checks that the caller has no answer and that the log of its own gateway says why. `part` is what the
/// provider's gateway signs of it.
async fn found_out(
    (federation, stand_in): &(TestFederation, StandIn),
    method: &str,
    part: fn(&Shared) -> &Bytes,
    lie: Lie,
) {
    let Lie { what, answer, reason, told, evidence } = lie;
    stand_in.answers(answer).await;
    let reply = ask(federation, method).await;
    assert_eq!(reply.reason(), Some(reason), "{what}: {}", reply.status.message);
    assert!(reply.status.message.contains(told), "{what}: {}", reply.status.message);
    let (hop, outcome) = if reason == Reason::Unanswered { ("link", "unanswered") } else { ("consumer", "failed") };
    assert_eq!(reply.trailers["drawbridge-hop"], hop, "{what}");
    assert!(method == LIST || reply.messages.is_empty(), "{what}: the answer was handed over all the same");
    let records = federation.member(COUNCIL).records_of(&reply.exchange());
    let first = if method == LIST { Kind::Intent } else { Kind::Refusal };
    assert_eq!(records[0].kind(), first, "{what}");
    let settled: Vec<_> = records.iter().filter(|record| record.settles()).collect();
    assert_eq!(settled.len(), 1, "{what}");
    let opened = settled[0].opened.as_ref().unwrap();
    assert_eq!((opened.refusal(), opened.private.outcome.as_str()), (reason.as_str(), outcome), "{what}");
    assert_eq!(opened.private.hop, hop, "{what}");
    assert!(opened.private.detail.contains(told), "{what}: {}", opened.private.detail);
    assert_eq!(
        !part(&opened.shared).is_empty(),
        evidence,
        "{what}: what their gateway signed is kept, and nothing else"
    );
}

fn closing_of(shared: &Shared) -> &Bytes {
    &shared.provider_closing
}

fn opening_of(shared: &Shared) -> &Bytes {
    &shared.provider_opening
}

/// Checks that the log holds together and that no honest promise was taken for broken.
fn sound(federation: &TestFederation) {
    let council = federation.member(COUNCIL);
    process::succeed(&council.folder, ["log", "verify", "--data", "data", "--directory", "directory.note"]);
    assert_eq!(council.metric("drawbridge_promise_broken"), 0);
}

#[tokio::test]
async fn a_stream_that_the_provider_never_opens_is_waited_for_as_long_as_one_may_be_idle() {
    let mut federation = TestFederation::new().await;
    federation.member(COUNCIL).reconfigure("[limits]\n", "[limits]\nstream_idle = \"1s\"\n");
    federation.restart(COUNCIL);
    let stand_in = StandIn::start(federation.member(TRUST)).await;
    stand_in.answers(Answer { silent: true, ..Answer::default() }).await;
    let list = federation.request(LIST, r#"{"count": "3"}"#);
    let mut client = federation.revenues().await;
    // The caller itself would wait for ever.
    let path = format!("/{LIST}");
    let asked = async {
        let (head, body) = client.open(&path, &standard(), &list, None).await?;
        client::read(head, body).await
    };
    let reply = tokio::time::timeout(Duration::from_secs(30), asked).await.expect("it is refused in time").unwrap();
    assert_eq!((reply.reason(), reply.status.code), (Some(Reason::Unanswered), 4), "{}", reply.status.message);
    assert!(reply.status.message.contains("before the provider's gateway answered"), "{}", reply.status.message);
    assert_eq!(reply.trailers["drawbridge-hop"], "link");
}

#[tokio::test]
async fn an_honest_stand_in_is_believed() {
    let (federation, stand_in) = federation().await;
    stand_in.answers(record()).await;
    let found = ask(&federation, FIND).await;
    assert_eq!((found.status.code, found.messages.len()), (0, 1), "{}", found.status.message);
    assert_eq!(federation.answer(FIND, &found.messages[0])["name"]["family"], "Archer");
    stand_in.answers(rows()).await;
    let listed = ask(&federation, LIST).await;
    assert_eq!((listed.status.code, listed.messages.len()), (0, 3), "{}", listed.status.message);
    stand_in.answers(Answer { messages: vec![], ..rows() }).await;
    let empty = ask(&federation, LIST).await;
    assert_eq!((empty.status.code, empty.messages.len()), (0, 0), "{}", empty.status.message);
    for method in [FIND, LIST] {
        stand_in.answers(refusal(Reason::NoAgreement)).await;
        let declined = ask(&federation, method).await;
        assert_eq!(declined.reason(), Some(Reason::NoAgreement), "{}", declined.status.message);
        assert_eq!(declined.trailers["drawbridge-hop"], "provider");
    }
    for reply in [&found, &listed, &empty] {
        let records = federation.member(COUNCIL).records_of(&reply.exchange());
        assert_eq!(records.last().map(Record::kind), Some(Kind::Outcome));
    }
    sound(&federation);
}

#[tokio::test]
async fn a_lie_about_an_answer_is_found_out_and_kept_as_evidence() {
    let both = federation().await;
    for lie in about_the_answer() {
        found_out(&both, FIND, closing_of, lie).await;
    }
    sound(&both.0);
}

#[tokio::test]
async fn a_lie_about_signature_promise_or_leaf_is_found_out() {
    let both = federation().await;
    for lie in about_the_evidence() {
        found_out(&both, FIND, closing_of, lie).await;
    }
    sound(&both.0);
}

#[tokio::test]
async fn what_is_not_one_whole_answer_is_none() {
    let both = federation().await;
    for lie in about_the_body() {
        found_out(&both, FIND, closing_of, lie).await;
    }
    sound(&both.0);
}

#[tokio::test]
async fn a_stream_that_opens_with_a_lie_hands_nothing_over() {
    let both = federation().await;
    for lie in about_the_opening() {
        let what = lie.what;
        found_out(&both, LIST, opening_of, lie).await;
        let record = both.0.member(COUNCIL).records().into_iter().rfind(Record::settles).unwrap();
        assert_eq!(record.opened.unwrap().messages(), 0, "{what}");
    }
    sound(&both.0);
}

#[tokio::test]
async fn a_stream_that_ends_with_a_lie_is_not_called_ok() {
    let both = federation().await;
    for lie in about_the_rows() {
        found_out(&both, LIST, closing_of, lie).await;
    }
    sound(&both.0);
}

#[tokio::test]
async fn rows_above_those_of_a_call_are_handed_to_nobody_whatever_the_provider_lets_pass() {
    let mut federation = TestFederation::without_agreement().await;
    let grants = r#"
[[grant]]
service = "test.v1.Records"
digest = "@digest:test.v1.Records@"
methods = ["List"]
systems = ["revenues"]
purposes = ["safeguarding"]
fields = ["id", "note"]
[grant.limits]
rows_per_call = 2
"#;
    federation.agree(&Agreement { grants: grants.to_owned(), ..Agreement::default() });
    federation.restart(COUNCIL);
    let stand_in = StandIn::start(federation.member(TRUST)).await;
    let two = Answer { messages: rows().messages[..2].to_vec(), ..rows() };
    stand_in.answers(two).await;
    let agreed = ask(&federation, LIST).await;
    assert_eq!((agreed.status.code, agreed.messages.len()), (0, 2), "{}", agreed.status.message);

    stand_in.answers(rows()).await;
    let reply = ask(&federation, LIST).await;
    let limit = reply.status.limit();
    assert_eq!((reply.reason(), limit.as_deref()), (Some(Reason::QuotaExceeded), Some("rows_per_call")));
    assert_eq!((reply.status.code, &reply.trailers["drawbridge-hop"]), (8, &"consumer".parse().unwrap()));
    assert!(reply.messages.len() <= 2, "{} rows", reply.messages.len());
    let records = federation.member(COUNCIL).records_of(&reply.exchange());
    let opened = records.last().unwrap().opened.as_ref().unwrap();
    assert_eq!((opened.refusal(), opened.private.outcome.as_str()), ("QUOTA_EXCEEDED", "refused"));
    sound(&federation);
}

#[tokio::test]
async fn the_answer_to_an_earlier_question_answers_no_other() {
    let both = federation().await;
    let kept = Arc::new(Mutex::new(None));
    let keep = kept.clone();
    both.1.answers(wire(record(), move |wire| *keep.lock().unwrap() = Signed::read(wire.closing()))).await;
    assert_eq!(ask(&both.0, FIND).await.status.code, 0);
    let earlier: Signed = kept.lock().unwrap().take().unwrap();
    let replayed = after_signing(record(), move |signed| signed.clone_from(&earlier));
    found_out(&both, FIND, closing_of, Lie::signed("an earlier answer", OTHER_EXCHANGE, replayed)).await;
    sound(&both.0);
}

#[tokio::test]
async fn a_provider_that_knows_no_session_of_its_own_is_asked_twice_and_no_more() {
    let (federation, stand_in) = federation().await;
    stand_in.answers(refusal(Reason::StaleSession)).await;
    stand_in.answers(refusal(Reason::StaleSession)).await;
    let reply = ask(&federation, FIND).await;
    assert_eq!(reply.reason(), Some(Reason::StaleSession), "{}", reply.status.message);
    assert_eq!(reply.trailers["drawbridge-hop"], "provider");
    let asked = stand_in.asked().await;
    assert_eq!(asked.len(), 2);
    assert!(asked[0].nonce != asked[1].nonce, "the question was sent again with claims of its own");
}
