use super::*;
use crate::EntryDraft;
use crate::testing::{DAY, Member, YEAR, federation, key};

fn directory(entries: impl IntoIterator<Item = Entry>) -> Directory {
    let mut directory = Directory::new();
    for entry in entries {
        directory.add(entry).unwrap();
    }
    directory
}

#[test]
fn members_gateways_logs_and_keys_are_found() {
    let (county, trust) = (Member::new("county.example", 10), Member::new("trust.example", 20));
    let federation = federation([county.entry(), trust.entry()]);
    assert_eq!(federation.members().len(), 2);
    assert_eq!(federation.gateway(&county.gateway()).unwrap().id, county.gateway());
    assert_eq!(federation.log("trust.example/log/main").unwrap().id, trust.gateway());
    assert_eq!(federation.member_keys(&trust.id), [trust.own_key.verifier()]);
    assert_eq!(federation.gateway_keys(&county.gateway()), [county.gateway_key.verifier()]);
    assert_eq!(federation.log_keys("county.example/log/main"), [county.log_key.verifier()]);
    let stranger: GatewayId = "police.example/main".parse().unwrap();
    assert!(federation.gateway(&stranger).is_none() && federation.gateway_keys(&stranger).is_empty());
    assert!(federation.log("county.example/log/other").is_none());
}

#[test]
fn a_former_gateway_key_counts_until_its_time_and_a_retired_gateways_until_then() {
    let county = Member::new("county.example", 10);
    let (mut draft, new) = (county.draft(), key("county.example/gateway/main", 99));
    let rotated = county.made + DAY;
    draft.gateways[0].gateway_key = new.verifier();
    draft.gateways[0].former_gateway_keys =
        vec![crate::FormerKey { key: county.gateway_key.verifier(), until: rotated }];
    let rotated_only = federation([county.sign(&draft)]);
    let id = county.gateway();
    assert_eq!(rotated_only.gateway_keys(&id), [new.verifier(), county.gateway_key.verifier()]);
    assert_eq!(rotated_only.gateway_keys_at(&id, rotated).len(), 2);
    assert_eq!(rotated_only.gateway_keys_at(&id, rotated + DAY), [new.verifier()]);
    draft.gateways[0].retired = Some(rotated + DAY);
    let retired = federation([county.sign(&draft)]);
    assert_eq!(retired.gateway_keys_at(&id, rotated + DAY), [new.verifier()]);
    assert!(retired.gateway_keys_at(&id, rotated + DAY * 2).is_empty());
}

#[test]
fn a_directory_never_goes_back_behind_what_is_known() {
    let (county, trust) = (Member::new("county.example", 10), Member::new("trust.example", 20));
    let first = county.entry();
    let second = county.sign(&EntryDraft::following(&first));
    let known = Federation::load(directory([second.clone(), trust.entry()]), None).unwrap();
    let problems = Federation::load(directory([first, trust.entry()]), Some(&known)).unwrap_err();
    assert!(problems[0].what.contains("has version 1, but version 2 is known"), "{problems:?}");
    // A new member, and one that left, are what the operator decided.
    let police = Member::new("police.example", 30);
    let next = Federation::load(directory([second, police.entry()]), Some(&known)).unwrap();
    assert!(next.member(&trust.id).is_none() && next.member(&police.id).is_some());
}

#[test]
fn a_member_key_never_changes_behind_the_members_back() {
    let county = Member::new("county.example", 10);
    let known = Federation::load(directory([county.entry()]), None).unwrap();
    let impostor = Member::new("county.example", 50);
    let offered = impostor.sign(&EntryDraft { version: 9, ..impostor.draft() });
    let problems = Federation::load(directory([offered]), Some(&known)).unwrap_err();
    assert!(problems[0].what.contains("did not sign it"), "{problems:?}");
}

#[test]
fn no_two_members_list_one_root_or_one_key() {
    let (county, trust) = (Member::new("county.example", 10), Member::new("trust.example", 20));
    let same_key = Member::new("police.example", 20);
    let problems = Federation::load(directory([trust.entry(), same_key.entry()]), None).unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].what.contains("`police.example` and `trust.example` list the same key"));
    // A root that names no member, as an organisation's own authority may be.
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone();
    let with_root = |member: &Member| member.sign(&EntryDraft { roots: vec![root.clone()], ..member.draft() });
    let problems = Federation::load(directory([with_root(&county), with_root(&trust)]), None).unwrap_err();
    assert!(problems[0].what.contains("list the same root"), "{problems:?}");
    assert!(Federation::load(directory([with_root(&county), trust.entry()]), None).is_ok());
}

#[test]
fn what_ends_soon_is_warned_of() {
    let county = Member::new("county.example", 10);
    let federation = federation([county.entry()]);
    assert!(federation.warnings(county.made).is_empty());
    let warned = |now| federation.warnings(now).iter().map(ToString::to_string).collect::<Vec<_>>();
    let soon = warned(county.made + YEAR - DAY * 10);
    assert!(soon.len() == 1 && soon[0].contains("the directory entry of `county.example` ends in 10 days"), "{soon:?}");
    let late = warned(county.made + YEAR * 11);
    assert!(late.len() == 2 && late[0].contains("ago") && late[1].contains("the root with serial"), "{late:?}");
}

#[test]
fn development_members_are_told_apart() {
    let mut county = Member::new("county.example", 10);
    let trust = Member::new("trust.example", 20);
    county.authority =
        crate::authority::Authority::create(&county.id, crate::authority::Flavour::Development, county.made).unwrap();
    let federation = federation([county.entry(), trust.entry()]);
    assert_eq!(federation.development_members().collect::<Vec<_>>(), [&county.id]);
}
