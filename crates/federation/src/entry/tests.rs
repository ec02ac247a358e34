use insta::assert_snapshot;
use note::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::testing::{DAY, Member, key};
use crate::time::moment;

const ROOT: &str = include_str!("../../tests/golden/county.root.pem");
const GOLDEN: &str = include_str!("../../tests/golden/county.entry.note");

/// The draft that the golden entry was made of; its root is committed, since a new one would have another key.
pub(crate) fn golden_draft() -> EntryDraft {
    let member: MemberId = "county.example".parse().unwrap();
    let (main, old) = (GatewayId::new(member.clone(), "main").unwrap(), GatewayId::new(member.clone(), "old").unwrap());
    let verifier = |name: &str, seed| key(name, seed).verifier();
    let mut gateway = GatewayEntry::new(
        main.clone(),
        Some("gw.county.example:8443".parse().unwrap()),
        verifier(&main.gateway_key_name(), 2),
        verifier(&main.log_origin(), 3),
    );
    gateway.server_name = Some("balancer.county.example".to_owned());
    gateway.former_gateway_keys =
        vec![FormerKey { key: verifier(&main.gateway_key_name(), 4), until: moment(1_790_000_000) }];
    gateway.former_log_keys = vec![FormerKey { key: verifier(&main.log_origin(), 5), until: moment(1_790_000_000) }];
    let mut retired =
        GatewayEntry::new(old.clone(), None, verifier(&old.gateway_key_name(), 6), verifier(&old.log_origin(), 7));
    retired.retired = Some(moment(1_780_000_000));
    EntryDraft {
        display_name: "The \"County\" Council".to_owned(),
        version: 3,
        valid_until: moment(1_830_000_000),
        roots: certificate::read_pem(ROOT).unwrap(),
        member_key: verifier("county.example/member", 1),
        former_member_keys: vec![FormerKey { key: verifier("county.example/member", 8), until: moment(1_790_000_000) }],
        gateways: vec![gateway, retired],
        contracts: vec![
            ("housing.v1.Tenancies".to_owned(), format!("sha256:{}", "ab".repeat(32))),
            ("housing.v1.Tenancies".to_owned(), format!("sha256:{}", "cd".repeat(32))),
        ],
        member,
    }
}

fn member_key() -> SigningKey {
    key("county.example/member", 1)
}

/// Signs `text` as it is, whatever it says.
fn signed(text: &str) -> String {
    Note::sign(text, &[&member_key()]).unwrap().to_string()
}

fn told(text: &str) -> String {
    Problem::render_all(&Entry::parse("entry.note", text).unwrap_err(), false)
}

#[test]
fn the_committed_entry_reads_and_is_made_again_byte_for_byte() {
    let made = golden_draft().sign(&member_key(), &[&key("county.example/member", 8)]).unwrap();
    assert_eq!(made.note().to_string(), GOLDEN);
    let entry = Entry::parse("county.entry.note", GOLDEN).unwrap();
    assert_eq!(made, entry);
    let draft = golden_draft();
    assert_eq!((entry.member, entry.display_name, entry.version), (draft.member, draft.display_name, draft.version));
    assert_eq!((entry.valid_until, entry.roots, entry.contracts), (draft.valid_until, draft.roots, draft.contracts));
    assert_eq!((entry.gateways, entry.former_member_keys), (draft.gateways, draft.former_member_keys));
}

#[test]
fn keys_come_current_first_and_former_ones_count_until_their_time() {
    let entry = Entry::parse("county.entry.note", GOLDEN).unwrap();
    assert_eq!(
        entry.member_keys(),
        [key("county.example/member", 1).verifier(), key("county.example/member", 8).verifier()]
    );
    let gateway = entry.gateway("main").unwrap();
    assert_eq!(gateway.gateway_keys().len(), 2);
    assert_eq!(gateway.log_keys().len(), 2);
    let former = &gateway.former_gateway_keys[0];
    assert!(former.covers(moment(1_790_000_000)) && !former.covers(moment(1_790_000_001)));
    assert_eq!(gateway.server_name().unwrap().to_str(), "balancer.county.example");
    assert_eq!(entry.gateway("old").unwrap().server_name(), None);
}

#[test]
fn an_entry_that_was_changed_after_signing_is_refused() {
    for (from, to) in [("version = 3", "version = 4"), ("8443", "8444"), ("Council", "Counci1")] {
        assert!(told(&GOLDEN.replacen(from, to, 1)).contains("signature of the entry is wrong"), "{from}");
    }
}

#[test]
fn an_entry_signed_by_another_key_is_refused() {
    let other = key("county.example/member", 99);
    let note = Note::sign(&golden_draft().to_text(), &[&other]).unwrap().to_string();
    assert!(told(&note).contains("not signed by the member key that it names"));
}

#[test]
fn each_problem_is_told_with_its_place_and_cure() {
    let good = golden_draft().to_text();
    let cases = [
        ("format", "format = \"drawbridge.entry/v1\"", "format = \"drawbridge.entry/v2\""),
        ("another kind", "format = \"drawbridge.entry/v1\"", "format = \"drawbridge.agreement/v1\""),
        ("unknown key", "version = 3", "version = 3\nverison = 3"),
        ("no format", "format = \"drawbridge.entry/v1\"\n", ""),
        ("missing", "version = 3\n", ""),
        ("member", "member = \"county.example\"", "member = \"County.example\""),
        ("name", "name = 'The \"County\" Council'", "name = \"\""),
        ("version", "version = 3", "version = 0"),
        ("moment", "valid_until = 2027-12-28T13:20:00Z", "valid_until = 2027-12-28"),
        (
            "key of another name",
            &key("county.example/member", 1).verifier().to_string(),
            &key("county.example/log/main", 1).verifier().to_string(),
        ),
        ("key with a slip", "key = \"county.example/member", "key = \"county.example/menber"),
        ("root", "-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nAAAA"),
        ("private key", "-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----"),
        ("address", "gw.county.example:8443", "https://gw.county.example:8443"),
        ("log origin", "log_origin = \"county.example/log/main\"", "log_origin = \"county.example/log/other\""),
        ("service", "housing.v1.Tenancies", "/housing.v1.Tenancies"),
        ("digest", "sha256:abab", "sha256:ABAB"),
        ("contract twice", &"cd".repeat(32), &"ab".repeat(32)),
        ("quotes", "version = 3", "version = 3 # '''"),
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|(name, from, to)| {
            assert!(good.contains(from), "{name}");
            format!("## {name}\n{}\n", told(&signed(&good.replacen(from, to, 1))))
        })
        .collect();
    assert_snapshot!(told.join("\n"));
}

#[test]
fn all_problems_are_told_at_once() {
    let text =
        golden_draft().to_text().replace("8443", "0").replace("sha256:", "sha1:").replace("version = 3", "version = 0");
    let problems = Entry::parse("entry.note", &signed(&text)).unwrap_err();
    assert_eq!(problems.len(), 4, "{problems:#?}");
}

#[test]
fn one_key_never_serves_two_ends() {
    let mut draft = golden_draft();
    draft.former_member_keys[0].key = draft.member_key.clone();
    let problems = draft.sign(&member_key(), &[]).unwrap_err();
    assert!(problems[0].what.contains("the key is the same as `key`"), "{problems:?}");
    let mut draft = golden_draft();
    let shared = *draft.gateways[0].gateway_key.public();
    draft.gateways[0].log_key = VerifierKey::new("county.example/log/main", shared).unwrap();
    assert!(draft.sign(&member_key(), &[]).unwrap_err()[0].what.contains("the same as `gateway[0].key`"));
}

#[test]
fn roots_are_authorities_of_this_member_only() {
    let other = Member::new("trust.example", 40);
    let now = SystemTime::now();
    let leaf = crate::testing::Presented::from(other.issue_gateway(now)).chain.remove(0);
    for (roots, words) in [
        (vec![], "at least one root"),
        (vec![other.authority.certificate().clone()], "of another member"),
        (vec![leaf], "may not issue certificates"),
        (vec![CertificateDer::from(vec![0x30, 0x00])], "not an X.509 certificate"),
        ([golden_draft().roots, golden_draft().roots].concat(), "same key as `roots[0]`"),
    ] {
        let draft = EntryDraft { roots, ..golden_draft() };
        let problems = draft.sign(&member_key(), &[]).unwrap_err();
        assert!(problems.iter().any(|problem| problem.what.contains(words)), "{words}: {problems:?}");
    }
}

#[test]
fn limits_hold() {
    let mut draft = golden_draft();
    draft.contracts =
        (0..=MAX_CONTRACTS).map(|n| (format!("a.v{n}.S"), format!("sha256:{}", "00".repeat(32)))).collect();
    assert!(draft.sign(&member_key(), &[]).unwrap_err()[0].what.contains("at most 512"));
    let mut draft = golden_draft();
    draft.gateways.clear();
    assert!(draft.sign(&member_key(), &[]).unwrap_err()[0].what.contains("at least one gateway"));
    let mut draft = golden_draft();
    draft.gateways.push(draft.gateways[0].clone());
    assert!(
        draft
            .sign(&member_key(), &[])
            .unwrap_err()
            .iter()
            .any(|problem| problem.what.contains("two gateways called `main`"))
    );
    assert!(told(&"x".repeat(MAX_ENTRY_BYTES + 1)).contains("larger than"));
}

#[test]
fn an_entry_follows_the_one_known_only_forwards() {
    let county = Member::new("county.example", 10);
    let first = county.entry();
    let second = county.sign(&EntryDraft::following(&first));
    assert_eq!(second.version, 2);
    assert_eq!(second.check_succession(&first), Ok(()));
    assert_eq!(first.check_succession(&first), Ok(()));
    let back = first.check_succession(&second).unwrap_err();
    assert!(matches!(back, EntryError::Rollback { known: 2, offered: 1, .. }));
    let other_second = county.sign(&EntryDraft { display_name: "Other".to_owned(), ..EntryDraft::following(&first) });
    let fork = other_second.check_succession(&second).unwrap_err();
    assert!(matches!(fork, EntryError::Fork { version: 2, .. }));
    let stranger = Member::new("trust.example", 20).entry();
    assert!(matches!(stranger.check_succession(&first), Err(EntryError::Member { .. })));
    assert_snapshot!([back, fork].map(|error| error.problem("directory.note").to_string()).join("\n\n"));
}

#[test]
fn a_changed_member_key_needs_the_old_one() {
    let county = Member::new("county.example", 10);
    let (first, new) = (county.entry(), key("county.example/member", 77));
    let mut draft = EntryDraft::following(&first);
    draft.rotate_member_key(new.verifier(), county.made + DAY);
    let alone = draft.sign(&new, &[]).unwrap();
    let error = alone.check_succession(&first).unwrap_err();
    assert!(matches!(error, EntryError::KeyChanged { .. }));
    let together = draft.sign(&new, &[&county.own_key]).unwrap();
    assert_eq!(together.check_succession(&first), Ok(()));
    assert_eq!(together.member_keys(), [new.verifier(), county.own_key.verifier()]);
    // The old key alone cannot make the entry its own again.
    assert!(draft.sign(&county.own_key, &[]).unwrap_err()[0].what.contains("not signed by the member key"));
    // A forged signature in the name of the old key.
    let mut forged = draft.sign(&new, &[&county.own_key]).unwrap().note.to_string();
    let last = forged.trim_end().rfind(' ').unwrap() + 20;
    let flipped = if &forged[last..=last] == "A" { "B" } else { "A" };
    forged.replace_range(last..=last, flipped);
    let forged = Entry::parse("entry.note", &forged).unwrap();
    assert!(matches!(forged.check_succession(&first), Err(EntryError::Signature { .. })));
}

#[test]
fn a_gateway_that_only_asks_has_no_address() {
    let county = Member::new("county.example", 10);
    let mut draft = county.draft();
    draft.gateways[0].address = None;
    let entry = county.sign(&draft);
    assert_eq!((entry.gateways[0].address.as_ref(), entry.gateways[0].server_name()), (None, None));
    draft.gateways[0].server_name = Some("gw.county.example".to_owned());
    assert!(draft.sign(&county.own_key, &[]).unwrap_err()[0].what.contains("has no `server_name`"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_refused_without_panic(text in "\\PC{0,200}") {
        prop_assert!(Entry::parse("entry.note", &text).is_err());
        let toml = format!("format = \"drawbridge.entry/v1\"\n{text}\n");
        prop_assert!(Entry::parse("entry.note", &signed(&toml)).is_err());
    }

    #[test]
    fn any_single_changed_byte_is_refused_or_changes_nothing_signed(place in 0..GOLDEN.len(), byte in 0x20_u8..0x7f) {
        let mut bytes = GOLDEN.as_bytes().to_vec();
        bytes[place] = byte;
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(entry) = Entry::parse("entry.note", &text)
        {
            let golden = Entry::parse("entry.note", GOLDEN).unwrap();
            prop_assert_eq!(entry.note().text(), golden.note().text());
        }
    }

    #[test]
    fn any_name_and_moment_come_back(name in "[^\\p{C}\\p{Zl}\\p{Zp}']{1,60}", seconds in 0_u64..4_000_000_000, version in 1_u64..1_000_000) {
        prop_assume!(!name.trim().is_empty());
        let draft = EntryDraft { display_name: name.clone(), valid_until: moment(seconds), version, ..golden_draft() };
        let entry = draft.sign(&member_key(), &[]).unwrap();
        prop_assert_eq!((entry.display_name, entry.valid_until, entry.version), (name, moment(seconds), version));
    }
}
