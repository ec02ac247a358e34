//! Receipts, genuine and forged in every way that could be thought of.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message as _;
use proto::exchange::Receipt;

use crate::exchange::{Exchanged, exchanged};

fn text(receipt: &Receipt) -> String {
    format!("drawbridge.receipt/v1\n{}\n", STANDARD.encode(receipt.encode_to_vec()))
}

/// What a forger does to a receipt.
type Change<'c> = &'c dyn Fn(&mut Receipt);

const VERIFY: [&str; 5] = ["receipt", "verify", "the.receipt", "--directory", "trust/directory.note"];

#[test]
fn a_genuine_receipt_verifies_with_the_directory_alone() {
    let Exchanged { place, id, receipt, .. } = exchanged();
    place.write("the.receipt", &text(&receipt));
    let said = place.does(VERIFY);
    for expected in [
        format!("exchange {id}: the receipt is genuine").as_str(),
        "county.example, system housing",
        "trust.example for housing.v1.Tenancies/Find",
        "allocation",
        "Housing Act 1996, part 6",
        "consumer's log  covered by a signed checkpoint",
        "provider's log  covered by a signed checkpoint",
    ] {
        assert!(said.contains(expected), "`{expected}` is missing:\n{said}");
    }
    let json: serde_json::Value = serde_json::from_str(&place.does(VERIFY.iter().chain(&["--json"]))).unwrap();
    assert_eq!((json["genuine"].as_bool(), json["provider"]["messages"].as_u64()), (Some(true), Some(1)));
    let ran = place.run(["receipt", "show", "the.receipt"]);
    assert!(ran.code == 0 && ran.err.contains("nothing of this is verified"), "{}", ran.err);
}

#[test]
fn a_receipt_of_a_refusal_before_any_claims_says_who_refused_and_why() {
    let Exchanged { place, refusal, .. } = exchanged();
    place.write("the.receipt", &text(&refusal));
    let (shown, verified) = (place.does(["receipt", "show", "the.receipt"]), place.does(VERIFY));
    for (said, by) in
        [(&shown, "the gateway of the log county.example/log/main"), (&verified, "county.example, gateway main")]
    {
        for expected in [
            &format!("refused by      {by}, before anybody was asked"),
            "when            2027-01-15 08:01:00",
            "outcome         PERMISSION_DENIED (WRONG_PURPOSE), settled by the consumer's gateway alone",
        ] {
            assert!(said.contains(expected), "`{expected}` is missing:\n{said}");
        }
        assert!(!said.contains("asked by") && !said.contains("1970"), "{said}");
    }
    // What cannot be read is told, and nothing is made up for it.
    let mut cut = refusal;
    cut.consumer.as_mut().unwrap().shared = vec![0x0a].into();
    place.write("the.receipt", &text(&cut));
    assert!(place.refuses(["receipt", "show", "the.receipt"]).contains("a part of the receipt cannot be read"));
}

#[test]
fn a_receipt_without_a_checkpoint_says_that_it_proves_less() {
    let Exchanged { place, mut receipt, .. } = exchanged();
    let provider = receipt.provider.as_mut().unwrap();
    provider.checkpoint.clear();
    provider.path.clear();
    place.write("the.receipt", &text(&receipt));
    let ran = place.run(VERIFY);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.contains("provider's log  promised") && ran.err.contains("receipt fetch"),
        "{}{}",
        ran.out,
        ran.err
    );
}

#[test]
fn who_has_a_receipt_and_no_gateway_is_told_to_name_a_directory() {
    let Exchanged { place, receipt, .. } = exchanged();
    place.write("the.receipt", &text(&receipt));
    let ran = place.run(["receipt", "verify", "the.receipt"]);
    assert!(ran.code == 2 && ran.err.contains("`--directory FILE`") && !ran.err.contains("init"), "{}", ran.err);
}

#[test]
fn every_way_of_changing_a_receipt_is_found() {
    let Exchanged { place, receipt, .. } = exchanged();
    let flip = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    let changes: [(&str, &str, Change); 8] = [
        ("another exchange's name", "receipt", &|r| r.exchange_id = "01a20b0c-572d-738f-ab14-bc7d4bef57f5".to_owned()),
        ("another format", "receipt", &|r| r.format = "drawbridge.receipt/v2".to_owned()),
        ("the consumer's half", "consumer", &|r| {
            let part = r.consumer.as_mut().unwrap();
            part.shared = flip(&part.shared).into();
        }),
        ("the consumer's salt", "consumer", &|r| {
            let part = r.consumer.as_mut().unwrap();
            part.salt = flip(&part.salt).into();
        }),
        ("the provider's half", "provider", &|r| {
            let part = r.provider.as_mut().unwrap();
            part.shared = flip(&part.shared).into();
        }),
        ("the provider's index", "provider", &|r| r.provider.as_mut().unwrap().index += 1),
        ("no provider's signature", "provider", &|r| r.provider.as_mut().unwrap().seal = None),
        ("the other log's checkpoint", "provider", &|r| {
            let other = r.consumer.as_ref().unwrap().checkpoint.clone();
            r.provider.as_mut().unwrap().checkpoint = other;
        }),
    ];
    for (what, part, change) in changes {
        let mut forged = receipt.clone();
        change(&mut forged);
        place.write("the.receipt", &text(&forged));
        let said = place.refuses(VERIFY);
        assert!(said.contains("does not verify") && said.contains(&format!("cause: {part}: ")), "{what}:\n{said}");
        let ran = place.run(VERIFY.iter().chain(&["--json"]));
        let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((ran.code, &json["genuine"]), (1, &serde_json::Value::Bool(false)), "{what}: {json}");
        assert!(json["why"].as_str().unwrap().starts_with(&format!("{part}: ")), "{what}: {json}");
    }
}

#[test]
fn a_receipt_of_strangers_does_not_verify() {
    let Exchanged { place, receipt, .. } = exchanged();
    place.write("the.receipt", &text(&receipt));
    place.does(["init", "--member", "county.example", "--development", "stranger"]);
    let said = place.refuses(["receipt", "verify", "the.receipt", "--directory", "stranger/directory.note"]);
    assert!(said.contains("does not verify"), "{said}");
}

#[test]
fn what_is_not_a_receipt_is_refused() {
    let Exchanged { place, receipt, .. } = exchanged();
    for (content, expected) in [
        ("hello\n".to_owned(), "this is not a receipt"),
        (text(&receipt).replacen("/v1", "/v9", 1), "install a newer Drawbridge"),
        (text(&receipt).replacen('\n', "\n!", 1), "not base64"),
        ("drawbridge.receipt/v1\n".to_owned(), "does not verify"),
    ] {
        place.write("the.receipt", &content);
        let said = place.refuses(VERIFY);
        assert!(said.contains(expected), "{said}");
    }
    place.refuses(["receipt", "show", "missing.receipt"]);
}
