use proptest::prelude::*;

use super::*;

#[track_caller]
fn check_member(text: &str, expected: Result<(), &str>) {
    match (text.parse::<MemberId>(), expected) {
        (Ok(id), Ok(())) => assert_eq!(id.to_string(), text),
        (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{text:?}: {error}"),
        (found, _) => panic!("{text:?}: {found:?}"),
    }
}

#[test]
fn a_member_id_is_a_lower_case_dns_name() {
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    assert_eq!(longest.len(), MAX_MEMBER_ID_BYTES);
    for good in ["county.example", "a.b", "x-1.example", "xn--bcher-kva.example", "1.example", &longest] {
        check_member(good, Ok(()));
    }
    for (bad, words) in [
        ("", "empty"),
        ("county", "one label"),
        ("County.example", "capital"),
        (".example", "empty"),
        ("county.example.", "empty"),
        ("county..example", "empty"),
        ("-county.example", "hyphen"),
        ("county-.example", "hyphen"),
        ("county_1.example", "only `a` to `z`"),
        ("county.example/main", "only `a` to `z`"),
        ("county.éxample", "only `a` to `z`"),
        ("county.example\n", "only `a` to `z`"),
        ("192.0.2.1", "number"),
        (&format!("{longest}c"), "longer than 253"),
        (&format!("{}.example", "a".repeat(64)), "longer than 63"),
    ] {
        check_member(bad, Err(words));
    }
}

#[test]
fn an_id_within_a_member_is_member_and_name() {
    let id: SystemId = "county.example/housing".parse().unwrap();
    assert_eq!(
        (id.member().as_str(), id.name(), id.to_string().as_str()),
        ("county.example", "housing", "county.example/housing")
    );
    assert_eq!(id.spiffe(), "spiffe://county.example/system/housing");
    for bad in [
        "county.example",
        "county.example/",
        "/housing",
        "county.example/a/b",
        "county.example/Housing",
        "county.example/-a",
    ] {
        assert!(bad.parse::<SystemId>().is_err(), "{bad}");
        assert!(bad.parse::<GatewayId>().is_err(), "{bad}");
    }
}

#[test]
fn key_names_follow_from_ids() {
    let id: GatewayId = "county.example/main".parse().unwrap();
    assert_eq!(id.member().member_key_name(), "county.example/member");
    assert_eq!(id.gateway_key_name(), "county.example/gateway/main");
    assert_eq!(id.log_origin(), "county.example/log/main");
}

#[test]
fn a_refused_text_is_shown_without_control_characters_and_cut() {
    let error = format!("\u{1b}[31m{}", "x".repeat(500)).parse::<MemberId>().unwrap_err().to_string();
    assert!(!error.contains('\u{1b}') && error.len() < 300, "{error}");
}

#[test]
fn ids_go_through_serde_as_texts_and_are_checked_on_the_way_in() {
    let id: GatewayId = serde_json::from_str("\"county.example/main\"").unwrap();
    assert_eq!(serde_json::to_string(&id).unwrap(), "\"county.example/main\"");
    assert!(serde_json::from_str::<MemberId>("\"County.example\"").is_err());
}

proptest! {
    #[test]
    fn any_text_is_refused_or_comes_back_as_it_was(text in "[a-z0-9./A-Zé-]{0,80}") {
        if let Ok(id) = text.parse::<MemberId>() {
            prop_assert_eq!(id.to_string(), text.clone());
            prop_assert!(text.len() <= MAX_MEMBER_ID_BYTES && !text.contains('/'));
        }
        if let Ok(id) = text.parse::<SystemId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
