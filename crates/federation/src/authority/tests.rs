use super::*;
use crate::certificate::is_development;
use crate::time::moment;

fn now() -> SystemTime {
    moment(1_800_000_000)
}

fn member(id: &str) -> MemberId {
    id.parse().unwrap()
}

fn county() -> Authority {
    Authority::create(&member("county.example"), Flavour::Production, now()).unwrap()
}

fn facts(issued: &Issued) -> Facts {
    Facts::read(&certificate::read_pem(&issued.certificate_pem).unwrap()[0]).unwrap()
}

#[test]
fn an_authority_is_written_and_opened_again() {
    let made = county();
    let opened = Authority::open(&made.certificate_pem(), &made.key_pem()).unwrap();
    assert_eq!(
        (opened.member(), opened.certificate(), opened.flavour()),
        (made.member(), made.certificate(), Flavour::Production)
    );
    let facts = Facts::read(made.certificate()).unwrap();
    assert!(facts.is_authority && !facts.is_development);
    assert_eq!((facts.not_before, facts.not_after), (now() - BACKDATED, now() + ROOT_VALIDITY));
}

#[test]
fn what_is_issued_says_whose_it_is_and_ends_after_90_days() {
    let authority = county();
    let gateway: GatewayId = "county.example/main".parse().unwrap();
    let issued = authority.issue_gateway(&gateway, &["gw.county.example", "127.0.0.1", "::1"], now()).unwrap();
    let der = certificate::read_pem(&issued.certificate_pem).unwrap().remove(0);
    assert_eq!(Identity::from_certificate(&der), Ok(Identity::Gateway(gateway)));
    let facts = facts(&issued);
    assert_eq!((facts.not_before, facts.not_after), (now() - BACKDATED, now() + CERTIFICATE_VALIDITY));
    assert_eq!(
        (facts.serial.as_str(), facts.not_after, facts.is_authority),
        (issued.serial.as_str(), issued.ends, false)
    );
    assert_eq!(issued.serial.len(), 32);
    let parsed = certificate::parse(&der).unwrap();
    let names = format!("{:?}", parsed.subject_alternative_name().unwrap().unwrap().value.general_names);
    assert!(names.contains("gw.county.example") && names.contains("[127, 0, 0, 1]"), "{names}");
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth);
    let system = authority.issue_system(&"county.example/housing".parse().unwrap(), now()).unwrap();
    let der = certificate::read_pem(&system.certificate_pem).unwrap().remove(0);
    let parsed = certificate::parse(&der).unwrap();
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    assert_ne!(system.serial, issued.serial);
}

#[test]
fn nothing_outlives_its_authority() {
    let authority = county();
    let system: SystemId = "county.example/housing".parse().unwrap();
    let late = now() + ROOT_VALIDITY - Duration::from_hours(24);
    assert_eq!(authority.issue_system(&system, late).unwrap().ends, now() + ROOT_VALIDITY);
    let error = authority.issue_system(&system, now() + ROOT_VALIDITY + Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, AuthorityError::Ended { .. }), "{error}");
}

#[test]
fn development_shows_in_everything_that_is_issued() {
    let authority = Authority::create(&member("county.example"), Flavour::Development, now()).unwrap();
    assert!(is_development(authority.certificate()));
    let opened = Authority::open(&authority.certificate_pem(), &authority.key_pem()).unwrap();
    assert_eq!(opened.flavour(), Flavour::Development);
    let issued = opened.issue_system(&"county.example/housing".parse().unwrap(), now()).unwrap();
    assert!(facts(&issued).is_development);
    let production = county().issue_system(&"county.example/housing".parse().unwrap(), now()).unwrap();
    assert!(!facts(&production).is_development);
}

#[test]
fn an_authority_speaks_for_its_own_member_only() {
    let authority = county();
    let foreign = authority.issue_system(&"trust.example/housing".parse().unwrap(), now());
    assert!(matches!(foreign, Err(AuthorityError::ForeignMember { .. })));
    let mut revocations = Revocations::new(member("trust.example"));
    let list = authority.revocation_list(&mut revocations, now(), LIST_VALIDITY);
    assert!(matches!(list, Err(AuthorityError::ForeignRevocations { .. })));
    for host in ["", "https://gw.example", "*.county.example", "GW.example", "gw example"] {
        let issued = authority.issue_gateway(&"county.example/main".parse().unwrap(), &[host], now());
        assert!(matches!(issued, Err(AuthorityError::Host { .. })), "{host}");
    }
}

#[test]
fn what_is_not_an_authority_does_not_open() {
    let (authority, other) = (county(), county());
    let issued = authority.issue_system(&"county.example/housing".parse().unwrap(), now()).unwrap();
    let both = authority.certificate_pem() + &other.certificate_pem();
    for (certificate, key, expected) in [
        (authority.certificate_pem(), other.key_pem(), AuthorityError::OtherKey),
        (issued.certificate_pem.clone(), issued.key_pem.clone(), AuthorityError::NotAnAuthority),
        (both, authority.key_pem(), AuthorityError::Several),
        (String::new(), authority.key_pem(), AuthorityError::Pem(PemError::Missing)),
        (authority.certificate_pem(), Zeroizing::new("nonsense".to_owned()), AuthorityError::Key),
    ] {
        assert_eq!(Authority::open(&certificate, &key).unwrap_err(), expected);
    }
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = new_key().unwrap();
    let nameless = parameters.self_signed(&key).unwrap().pem();
    assert_eq!(Authority::open(&nameless, &key.serialize_pem()).unwrap_err(), AuthorityError::NoMember);
}

#[test]
fn a_member_with_a_long_name_has_an_authority_too() {
    let long = member(&format!("{}.{}.example", "a".repeat(63), "b".repeat(63)));
    let authority = Authority::create(&long, Flavour::Production, now()).unwrap();
    let gateway = GatewayId::new(long, &"g".repeat(63)).unwrap();
    let issued = authority.issue_gateway(&gateway, &[], now()).unwrap();
    assert_eq!(issued.identity, Identity::Gateway(gateway));
}

#[test]
fn neither_key_is_shown_by_debug() {
    let authority = county();
    let issued = authority.issue_system(&"county.example/housing".parse().unwrap(), now()).unwrap();
    assert_eq!(format!("{authority:?}"), "Authority(county.example)");
    assert!(!format!("{issued:?}").contains("PRIVATE"));
}
