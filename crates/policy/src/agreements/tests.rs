use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::EndNote;
use crate::testing::{
    Call, SECOND, at, contracts, key, keys, member, newer_contracts, now, parse, signed, system, text, told,
};

fn agreements() -> Agreements {
    compiled(&[text()])
}

fn compiled(texts: &[String]) -> Agreements {
    let signed: Vec<Signed> = texts.iter().map(|text| signed(text)).collect();
    let (agreements, problems) = Agreements::compile(&signed, &[], &contracts());
    assert!(problems.is_empty(), "{}", told(&problems));
    agreements
}

fn end(text: &str, by: &str) -> End {
    EndNote::sign(parse(text).agreement(), &key(by), now(), None).unwrap().verified(&keys).unwrap()
}

#[test]
fn a_permit_says_all_that_an_exchange_needs() {
    let permit = agreements().permit(&Call::good().ask(), now()).unwrap();
    assert_eq!(permit.agreement.id(), "council-trust-2026-1");
    let plan = &permit.plan;
    assert_eq!(plan.method.path(), "/health.v1.Patients/Find");
    assert_eq!(
        (plan.grant, plan.purpose.as_ref(), plan.legal_basis.as_ref()),
        (0, "safeguarding", "Children Act 2004, section 11")
    );
    assert_eq!(plan.projection.released(), ["addresses.postcode", "id", "name.family"]);
    assert_eq!(plan.projection.withheld(), ["addresses.street", "ethnicity", "name.given", "remarks"]);
    assert_eq!(plan.released_digest, crate::fields_digest(plan.projection.released()));
    assert_eq!(plan.withheld_digest, crate::fields_digest(plan.projection.withheld()));
    assert_eq!(plan.kind, contract::Kind::Query);
    assert_eq!(plan.contract_digest, plan.method.contract_digest());
    assert_eq!((plan.valid_from, plan.expires), (at("2026-11-01T00:00:00Z"), at("2027-11-01T00:00:00Z")));
}

#[test]
fn grants_are_told_apart_by_system_and_purpose() {
    let agreements = agreements();
    let finance = Call::with(|call| call.system = system("council.example/finance"));
    let permit = agreements.permit(&finance.ask(), now()).unwrap();
    assert_eq!((permit.plan.grant, permit.plan.purpose.as_ref()), (1, "safeguarding"));
    assert_eq!(permit.plan.projection.released(), ["id"]);
    assert_eq!(permit.plan.limits.rows_per_day, Some(1000));
    let audit = Call { purpose: "audit".to_owned(), ..finance };
    assert_eq!(
        agreements.permit(&audit.ask(), now()).unwrap().plan.legal_basis.as_ref(),
        "Local Audit and Accountability Act 2014, section 20"
    );
}

#[test]
fn what_no_agreement_names_is_denied_in_words() {
    let agreements = agreements();
    let late = at("2027-11-01T00:00:00Z");
    let early = at("2026-11-01T00:00:00Z") - SECOND;
    let cases: Vec<(&str, Call, SystemTime)> = vec![
        ("another provider", Call::with(|call| call.provider = member("police.example")), now()),
        (
            "another consumer",
            Call::with(|call| {
                call.consumer = member("police.example");
                call.system = system("police.example/social-care");
            }),
            now(),
        ),
        ("a system of another member", Call::with(|call| call.system = system("police.example/social-care")), now()),
        ("another method", Call::with(|call| call.method = "/health.v1.Patients/Register".to_owned()), now()),
        (
            "another spelling of the method",
            Call::with(|call| call.method = "/health.v1.patients/find".to_owned()),
            now(),
        ),
        ("a method without its slash", Call::with(|call| call.method = "health.v1.Patients/Find".to_owned()), now()),
        (
            "the other direction",
            Call::with(|call| {
                call.consumer = member("trust.example");
                call.system = system("trust.example/social-care");
                call.provider = member("council.example");
            }),
            now(),
        ),
        ("another system", Call::with(|call| call.system = system("council.example/housing")), now()),
        ("another purpose", Call::with(|call| call.purpose = "debt-recovery".to_owned()), now()),
        ("the purpose of another grant", Call::with(|call| call.purpose = "audit".to_owned()), now()),
        ("no purpose", Call::with(|call| call.purpose = String::new()), now()),
        ("a purpose that is a remark", Call::with(|call| call.purpose = "Mrs Example asked for it".to_owned()), now()),
        ("before its time", Call::good(), early),
        ("after its time", Call::good(), late),
        ("after its time, with another purpose", Call::with(|call| call.purpose = "debt-recovery".to_owned()), late),
        ("without actor and case", Call::with(|call| call.metadata = [false; 3]), now()),
        ("without case", Call::with(|call| call.metadata = [true, false, true]), now()),
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|(name, call, time)| {
            let denial = agreements.permit(&call.ask(), *time).unwrap_err();
            format!("## {name}\n{denial}\n  help: {}\n", denial.help())
        })
        .collect();
    assert_snapshot!(told.join("\n"));
}

#[test]
fn the_period_is_half_open() {
    let agreements = agreements();
    let (from, until) = (at("2026-11-01T00:00:00Z"), at("2027-11-01T00:00:00Z"));
    let permitted = |time| agreements.permit(&Call::good().ask(), time).is_ok();
    assert!(permitted(from) && permitted(until - SECOND));
    assert!(!permitted(from - SECOND) && !permitted(until));
    assert_eq!(agreements.next_change(from - SECOND), Some(from));
    assert_eq!(agreements.next_change(from), Some(until));
    assert_eq!(agreements.next_change(until), None);
}

#[test]
fn an_end_note_ends_it_at_once_whatever_time_it_names() {
    let signed = [signed(&text())];
    let (agreements, _) = Agreements::compile(&signed, &[end(&text(), "trust.example")], &contracts());
    let long_before = at("2026-11-02T00:00:00Z");
    let denial = agreements.permit(&Call::good().ask(), long_before).unwrap_err();
    assert_snapshot!(denial);
    let digest = signed[0].agreement().digest();
    assert!(matches!(agreements.ended(&digest, long_before), Some(Ended::ByNote { .. })));
}

#[test]
fn an_end_note_for_another_text_ends_nothing() {
    let other = text().replace("6 years", "7 years");
    let (agreements, _) = Agreements::compile(&[signed(&text())], &[end(&other, "trust.example")], &contracts());
    assert!(agreements.permit(&Call::good().ask(), now()).is_ok());
}

#[test]
fn what_an_exchange_released_is_told_after_the_agreement_is_over() {
    let call = Call::good();
    let (agreements, _) = Agreements::compile(&[signed(&text())], &[end(&text(), "trust.example")], &contracts());
    let digest = parse(&text()).agreement().digest();
    assert!(agreements.permit_under(&call.ask(), &digest, now()).is_err());
    let plan = agreements.plan_of(&call.ask(), &digest).unwrap();
    assert_eq!(plan.projection.released(), ["addresses.postcode", "id", "name.family"]);
    let stranger = Call::with(|call| call.system = system("council.example/housing"));
    assert!(agreements.plan_of(&stranger.ask(), &digest).is_none());
    assert!(agreements.plan_of(&call.ask(), &contract::Digest([0; 32])).is_none());
}

#[test]
fn an_open_stream_is_told_when_its_agreement_is_over() {
    let before = agreements();
    let permit = before.permit(&Call::good().ask(), now()).unwrap();
    let asks = system("council.example/social-care");
    assert_eq!(before.check(&permit, &asks, now()), Ok(()));
    assert!(matches!(
        before.check(&permit, &asks, permit.plan.expires),
        Err(Denial::AgreementEnded { ended: Ended::Expired { .. }, .. })
    ));
    let (after, _) = Agreements::compile(&[signed(&text())], &[end(&text(), "council.example")], &contracts());
    assert!(matches!(
        after.check(&permit, &asks, now()),
        Err(Denial::AgreementEnded { ended: Ended::ByNote { .. }, .. })
    ));
    assert!(matches!(Agreements::default().check(&permit, &asks, now()), Err(Denial::NoAgreement(_))));
}

#[test]
fn a_renewed_agreement_takes_over_in_its_time() {
    let renewed = text()
        .replace("2026-1\"", "2027-1\"")
        .replace("2026-11-01T", "2027-06-01T")
        .replace("2027-11-01T", "2028-06-01T");
    for texts in [[text(), renewed.clone()], [renewed.clone(), text()]] {
        let agreements = compiled(&texts);
        let chosen = |time| agreements.permit(&Call::good().ask(), at(time)).unwrap().agreement.id().to_owned();
        assert_eq!(chosen("2027-05-31T23:59:59Z"), "council-trust-2026-1");
        assert_eq!(chosen("2027-06-01T00:00:00Z"), "council-trust-2027-1");
        assert_eq!(chosen("2028-05-31T23:59:59Z"), "council-trust-2027-1");
    }
}

#[test]
fn the_choice_among_equals_follows_from_the_texts_alone() {
    let twin = text().replace("2026-1\"", "2026-0\"");
    for texts in [[text(), twin.clone()], [twin.clone(), text()]] {
        let permit = compiled(&texts).permit(&Call::good().ask(), now()).unwrap();
        assert_eq!(permit.agreement.id(), "council-trust-2026-0");
    }
}

#[test]
fn a_grant_that_asks_for_less_serves_a_call_that_brings_less() {
    let modest =
        text().replace("2026-1\"", "2026-2\"").replace("require = [\"actor\", \"case\"]", "require = [\"actor\"]");
    let agreements = compiled(&[text(), modest]);
    let call = Call::with(|call| call.metadata = [true, false, false]);
    assert_eq!(agreements.permit(&call.ask(), now()).unwrap().agreement.id(), "council-trust-2026-2");
}

#[test]
fn a_provider_permits_under_the_agreement_that_the_claims_name_and_no_other() {
    let other = text().replace("2026-1\"", "2026-2\"");
    let agreements = compiled(&[text(), other.clone()]);
    let digest = parse(&other).agreement().digest();
    assert_eq!(agreements.permit(&Call::good().ask(), now()).unwrap().agreement.id(), "council-trust-2026-1");
    assert_eq!(
        agreements.permit_under(&Call::good().ask(), &digest, now()).unwrap().agreement.id(),
        "council-trust-2026-2"
    );
    let unknown = parse(&text().replace("6 years", "7 years")).agreement().digest();
    assert!(matches!(agreements.permit_under(&Call::good().ask(), &unknown, now()), Err(Denial::NoAgreement(_))));
}

#[test]
fn another_contract_is_a_mismatch_and_not_a_gap() {
    let (agreements, problems) = Agreements::compile(&[signed(&text())], &[], &newer_contracts());
    assert_eq!(problems.len(), 2);
    let denial = agreements.permit(&Call::good().ask(), now()).unwrap_err();
    let Denial::ContractMismatch { pinned, loaded, .. } = denial else { panic!("{denial}") };
    assert_eq!(pinned, contracts().service("health.v1.Patients").unwrap().digest);
    assert_eq!(loaded, newer_contracts().service("health.v1.Patients").unwrap().digest);
    let stranger = Call::with(|call| call.system = system("council.example/housing"));
    assert!(matches!(agreements.permit(&stranger.ask(), now()), Err(Denial::WrongSystem { .. })));
}

#[test]
fn an_agreement_goes_on_under_a_later_contract_and_releases_what_was_agreed_on() {
    let all = text().replace(r#"fields = ["id", "name.family", "addresses.postcode"]"#, r#"fields = "all""#);
    assert_ne!(all, text());
    let (before, problems) = Agreements::compile(&[signed(&all)], &[], &contracts());
    assert!(problems.is_empty(), "{problems:?}");
    let later = newer_contracts().with_earlier(&[contracts()], []);
    let (after, problems) = Agreements::compile(&[signed(&all)], &[], &later);
    assert!(problems.is_empty(), "{problems:?}");
    let plan = |agreements: &Agreements| agreements.permit(&Call::good().ask(), now()).unwrap().plan;
    let (before, after) = (plan(&before), plan(&after));
    assert_eq!((after.contract_digest, after.released_digest), (before.contract_digest, before.released_digest));
    assert_eq!(
        (after.withheld_digest, after.projection.released()),
        (before.withheld_digest, before.projection.released())
    );
    // Not even under "all": nobody agreed on the field that came later.
    let register = newer_contracts().method("/health.v1.Patients/Register").unwrap().clone();
    let message = register.request_from_json(r#"{"id": "1", "ward": "7"}"#).unwrap();
    assert!(after.method.check_answer(&message).is_ok());
    assert_eq!(after.projection.apply(message.into()).unwrap().as_ref(), b"\x0a\x011");
    // The other way round the version that is loaded has less than was agreed on.
    let back = contracts().with_earlier(&[newer_contracts()], []);
    let newer = all.replace(
        &contracts().service("health.v1.Patients").unwrap().digest.to_string(),
        &newer_contracts().service("health.v1.Patients").unwrap().digest.to_string(),
    );
    let (back, problems) = Agreements::compile(&[signed(&newer)], &[], &back);
    assert!(matches!(back.permit(&Call::good().ask(), now()), Err(Denial::ContractMismatch { .. })));
    assert!(problems[0].what.contains("`health.v1.Patient.ward` is removed"), "{problems:?}");
}

#[test]
fn two_texts_with_one_id_are_reported_and_both_stay() {
    let other = text().replace("6 years", "7 years");
    let (agreements, problems) =
        Agreements::compile(&[signed(&text()), signed(&other), signed(&text())], &[], &contracts());
    assert_eq!(agreements.iter().len(), 2);
    assert_snapshot!(told(&problems));
}

#[test]
fn a_system_sees_the_methods_that_it_may_use() {
    let agreements = agreements();
    let usable =
        |id: &str, time| agreements.usable(&system(id), time).into_iter().map(|(_, path)| path).collect::<Vec<_>>();
    assert_eq!(usable("council.example/social-care", now()), ["/health.v1.Patients/Find"]);
    assert_eq!(usable("council.example/finance", now()), ["/health.v1.Patients/Find", "/health.v1.Patients/List"]);
    assert!(usable("council.example/housing", now()).is_empty());
    assert!(usable("council.example/finance", at("2028-01-01T00:00:00Z")).is_empty());
    assert!(usable("trust.example/finance", now()).is_empty());
    assert_eq!(
        agreements.usable_services(&system("council.example/finance"), now()),
        Agreed::from([(
            "health.v1.Patients".to_owned(),
            [contracts().service("health.v1.Patients").unwrap().digest].into()
        )])
    );
    // Whatever is loaded.
    let later = newer_contracts().with_earlier(&[contracts()], []);
    let (later, _) = Agreements::compile(&[signed(&text())], &[], &later);
    let finance = system("council.example/finance");
    assert_eq!(later.usable_services(&finance, now()), agreements.usable_services(&finance, now()));
}

#[test]
fn of_two_end_notes_both_gateways_tell_the_same() {
    let early = EndNote::sign(parse(&text()).agreement(), &key("trust.example"), at("2027-01-01T00:00:00Z"), None);
    let (early, late) = (early.unwrap().verified(&keys).unwrap(), end(&text(), "council.example"));
    for ends in [[early.clone(), late.clone()], [late, early]] {
        let (agreements, _) = Agreements::compile(&[signed(&text())], &ends, &contracts());
        let denial = agreements.permit(&Call::good().ask(), now()).unwrap_err();
        assert!(denial.to_string().contains("ended by `trust.example` at 2027-01-01 00:00 UTC"), "{denial}");
    }
}

#[test]
fn looking_one_up_takes_microseconds_with_ten_thousand_loaded() {
    let agreement = Arc::clone(parse(&text()).agreement());
    let members: Vec<MemberId> = (0..101).map(|n| member(&format!("m{n}.example"))).collect();
    let pairs = members.iter().flat_map(|a| members.iter().filter(move |b| *b != a).map(move |b| (a, b)));
    let pairs: Vec<_> = pairs.take(10_000).collect();
    let signed: Vec<Signed> = pairs.iter().map(|(a, b)| Signed::pretended(agreement.between(a, b))).collect();
    let (agreements, _) = Agreements::compile(&signed, &[], &contracts());
    assert_eq!(agreements.iter().len(), 10_000);

    let calls: Vec<Call> = pairs
        .iter()
        .map(|(consumer, provider)| {
            Call::with(|call| {
                call.consumer = (*consumer).clone();
                call.system = SystemId::new((*consumer).clone(), "social-care").unwrap();
                call.provider = (*provider).clone();
            })
        })
        .collect();
    let start = std::time::Instant::now();
    for (call, signed) in calls.iter().zip(&signed) {
        let permit = agreements.permit(&call.ask(), now()).unwrap();
        assert!(Arc::ptr_eq(&permit.agreement, signed.agreement()));
    }
    // Some 4 in a build without optimisation on a busy machine; what this would catch is a walk through all of them.
    let each = start.elapsed() / 10_000;
    assert!(each < std::time::Duration::from_micros(50), "{each:?}");
}

/// Words that an ask and an agreement may share, so that asks come near to grants.
fn call() -> impl Strategy<Value = Call> {
    let members = || prop::sample::select(vec!["council.example", "trust.example", "police.example"]);
    let systems = prop::sample::select(vec!["social-care", "youth-justice", "finance", "housing"]);
    let methods = prop::sample::select(vec!["Find", "List", "Register", "find", "Ping"]);
    let services = prop::sample::select(vec!["health.v1.Patients", "housing.v1.Tenancies"]);
    let purposes = prop::sample::select(vec!["safeguarding", "audit", "housing", ""]);
    (members(), members(), members(), systems, services, methods, purposes, any::<[bool; 3]>()).prop_map(
        |(consumer, owner, provider, name, service, method, purpose, metadata)| Call {
            consumer: member(consumer),
            system: system(&format!("{owner}/{name}")),
            provider: member(provider),
            method: format!("/{service}/{method}"),
            purpose: purpose.to_owned(),
            metadata,
        },
    )
}

/// Says what the text of the agreement says, without any of the code above.
fn plainly_permitted(call: &Call, time: SystemTime) -> bool {
    let parties = call.consumer.as_str() == "council.example" && call.provider.as_str() == "trust.example";
    let [actor, case, _] = call.metadata;
    let (system, method, purpose) = (call.system.to_string(), call.method.as_str(), call.purpose.as_str());
    let first = ["council.example/social-care", "council.example/youth-justice"].contains(&system.as_str())
        && method == "/health.v1.Patients/Find"
        && purpose == "safeguarding"
        && actor
        && case;
    let second = system == "council.example/finance"
        && ["/health.v1.Patients/Find", "/health.v1.Patients/List"].contains(&method)
        && ["audit", "safeguarding"].contains(&purpose);
    let in_time = time >= at("2026-11-01T00:00:00Z") && time < at("2027-11-01T00:00:00Z");
    parties && in_time && (first || second)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn nothing_is_permitted_but_what_the_text_grants(call in call(), months in 0_u32..24) {
        thread_local!(static AGREEMENTS: Agreements = agreements());
        let time = at("2026-05-01T00:00:00Z") + SECOND * 2_629_800 * months;
        let permitted = AGREEMENTS.with(|agreements| agreements.permit(&call.ask(), time));
        prop_assert_eq!(permitted.is_ok(), plainly_permitted(&call, time), "{:?}", call);
        if let Ok(permit) = permitted {
            prop_assert!(permit.plan.systems.contains(&call.system));
            prop_assert_eq!(permit.plan.method.path(), &call.method);
        }
    }

    #[test]
    fn without_agreements_nothing_is_permitted(call in call()) {
        let denied = matches!(Agreements::default().permit(&call.ask(), now()), Err(Denial::NoAgreement(_)));
        prop_assert!(denied);
    }
}
