use proptest::prelude::*;

use super::*;
use crate::testing::{DAY, YEAR};

fn read(member: &Member, pem: &str) -> Vec<RevocationList> {
    RevocationList::parse_all(&member.id, "member.crl.pem", pem).unwrap()
}

fn chain_of(issued: &Issued) -> Vec<CertificateDer<'static>> {
    Presented::from(issued.clone()).chain
}

#[test]
fn all_lists_of_a_member_count_together() {
    let world = World::new();
    let now = SystemTime::now();
    let [one, two, three] = [(); 3].map(|()| world.trust.issue_gateway(now));
    let lists = world.trust.list(&[&one.serial], now - DAY * 3) + &world.trust.list(&[&two.serial], now);
    assert_eq!(read(&world.trust, &lists).len(), 2);
    world.reload_lists(&[(&world.trust, &lists)]);
    let still = |issued| world.store.still_trusted(&Expected::Links, &chain_of(issued)[0], &[], now);
    assert!(matches!(still(&one), Err(Distrust::Revoked { .. })));
    assert!(matches!(still(&two), Err(Distrust::Revoked { .. })));
    assert_eq!(still(&three), Ok(()));
}

#[test]
fn a_list_past_its_time_still_counts_and_is_warned_of() {
    let world = World::new();
    let now = SystemTime::now();
    let (revoked, other) = (world.trust.issue_gateway(now), world.trust.issue_gateway(now));
    let list = world.trust.list(&[&revoked.serial], now - YEAR - DAY * 2);
    world.reload_lists(&[(&world.trust, &list)]);
    let still = |issued| world.store.still_trusted(&Expected::Links, &chain_of(issued)[0], &[], now);
    assert!(matches!(still(&revoked), Err(Distrust::Revoked { .. })));
    assert_eq!(still(&other), Ok(()));
    let warnings = world.store.current().warnings(now);
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].to_string().contains("the revocation list of `trust.example` ended 2 days ago"),
        "{}",
        warnings[0]
    );
    assert!(world.store.current().warnings(now - DAY * 30).is_empty());
}

#[test]
fn a_list_revokes_only_what_its_own_member_issued() {
    let world = World::new();
    let now = SystemTime::now();
    let own = world.county.issue_gateway(now);
    // The other member names our serial number, in its own list.
    world.reload_lists(&[(&world.trust, &world.trust.list(&[&own.serial], now))]);
    assert_eq!(world.store.still_trusted(&Expected::Links, &chain_of(&own)[0], &[], now), Ok(()));
}

#[test]
fn a_list_that_the_named_root_did_not_sign_is_not_loaded() {
    let world = World::new();
    let impostor = Member::new("trust.example", 20);
    let lists = read(&world.trust, &impostor.list(&["01"], SystemTime::now()));
    let federation = Arc::clone(world.store.current().federation());
    let problems = Trust::new(world.county.id.clone(), federation, lists).unwrap_err();
    assert!(problems[0].what.contains("not signed by the root of `trust.example`"), "{problems:?}");
}

#[test]
fn a_new_root_of_the_same_name_is_not_hurt_by_the_list_of_the_old_one() {
    let world = World::new();
    let now = SystemTime::now();
    let next =
        crate::authority::Authority::create(&world.trust.id, crate::authority::Flavour::Production, now).unwrap();
    let mut draft = world.trust.draft();
    draft.roots.push(next.certificate().clone());
    let (old, new) = (world.trust.issue_gateway(now), next.issue_gateway(&world.trust.gateway(), &[], now).unwrap());
    let list = world.trust.list(&[&old.serial, &new.serial], now);
    world.reload([world.county.entry(), world.trust.sign(&draft)], &[(&world.trust, &list)]);
    let still = |issued| world.store.still_trusted(&Expected::Links, &chain_of(issued)[0], &[], now);
    assert!(matches!(still(&old), Err(Distrust::Revoked { .. })));
    // Its serial number is in the list of another issuer.
    assert_eq!(still(&new), Ok(()));
}

#[test]
fn a_list_of_a_stranger_is_warned_of_and_nothing_else() {
    let world = World::new();
    let now = SystemTime::now();
    let stranger = Member::new("police.example", 30);
    world.reload_lists(&[(&stranger, &stranger.list(&["01"], now))]);
    let warnings = world.store.current().warnings(now);
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].member(), &stranger.id);
}

#[test]
fn our_own_member_must_be_in_the_directory() {
    let world = World::new();
    let federation = federation([world.trust.entry()]);
    let problems = Trust::new(world.county.id.clone(), federation, Vec::new()).unwrap_err();
    assert!(problems[0].what.contains("`county.example` is not in the directory"), "{problems:?}");
}

#[test]
fn what_is_not_a_list_is_refused() {
    let world = World::new();
    let good = world.trust.list(&["01"], SystemTime::now());
    for (pem, words) in [
        (String::new(), "no revocation list in it"),
        (world.trust.authority.certificate_pem(), "no revocation list in it"),
        (
            good.replacen("-----BEGIN X509 CRL-----\n", "-----BEGIN X509 CRL-----\nAAAA\n", 1),
            "list 1 of `trust.example` cannot be read",
        ),
        (good.repeat(MAX_LISTS + 1), "more than 32"),
        ("x".repeat(MAX_LIST_BYTES + 1), "larger than"),
    ] {
        let problems = RevocationList::parse_all(&world.trust.id, "trust.example.crl.pem", &pem).unwrap_err();
        assert!(problems[0].what.contains(words), "{words}: {problems:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_in_pem_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let pem = crate::certificate::to_pem("X509 CRL", &bytes);
        let member: MemberId = "trust.example".parse().unwrap();
        prop_assert!(RevocationList::parse_all(&member, "member.crl.pem", &pem).is_err());
    }
}

#[test]
fn a_list_with_any_bit_flipped_is_refused() {
    use rustls_pki_types::CertificateRevocationListDer;
    use rustls_pki_types::pem::PemObject as _;
    let world = World::new();
    let pem = world.trust.list(&["01"], SystemTime::now());
    let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap();
    let federation = Arc::clone(world.store.current().federation());
    for place in 0..der.len() {
        let mut bytes = der.to_vec();
        bytes[place] ^= 0x10;
        let flipped = crate::certificate::to_pem("X509 CRL", &bytes);
        let Ok(lists) = RevocationList::parse_all(&world.trust.id, "member.crl.pem", &flipped) else { continue };
        let own = world.trust.issue_gateway(SystemTime::now());
        match Trust::new(world.county.id.clone(), Arc::clone(&federation), lists) {
            Err(_) => {}
            // The issuer's name was hit: a list of an issuer that nobody has says nothing about anybody.
            Ok(trust) => {
                let verified = trust.verify(&Expected::Links, &chain_of(&own)[0], &[], SystemTime::now());
                assert!(verified.is_ok(), "{place}: {verified:?}");
            }
        }
    }
}
