use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

use super::*;
use crate::authority::{Authority, Flavour};
use crate::testing::{DAY, YEAR};
use crate::{EntryDraft, GatewayEntry};

fn now() -> SystemTime {
    SystemTime::now()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// Parameters of a certificate with these names and the usual times.
fn named(names: &[&str]) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.subject_alt_names = names.iter().map(|name| uri(name)).collect();
    parameters
}

/// Checks that the port for links of `county.example` refuses `presented`, tells the observer `words`, and sends `alert`.
async fn links_refuse(world: &World, presented: Presented, words: &str, alert: AlertDescription) {
    refuse(world, world.links(), Some(presented), words, alert).await;
}

async fn refuse(
    world: &World,
    port: Arc<ServerConfig>,
    presented: Option<Presented>,
    words: &str,
    alert: AlertDescription,
) {
    let outcome = connect(port, world.caller(presented)).await;
    let told = outcome.server.as_ref().err().map(explain_io).map(|explanation| explanation.cause).unwrap_or_default();
    let seen = world.last_seen().map_or(told, |distrust| distrust.to_string());
    assert!(seen.contains(words), "{words}: {seen}");
    assert_eq!(outcome.alert_at_client(), Some(alert), "{words}: {:?}", outcome.client);
    assert!(outcome.server.is_err());
}

#[tokio::test]
async fn a_gateway_of_another_member_is_let_in_and_so_is_one_of_our_own() {
    let world = World::new();
    for member in [&world.trust, &world.county] {
        let outcome = connect(world.links(), world.caller(Some(member.issue_gateway(now()).into()))).await;
        assert!(outcome.is_accepted(), "{:?} {:?}", outcome.server, outcome.client);
        assert_eq!(outcome.server.unwrap().presented, 1);
    }
    assert_eq!(world.last_seen(), None);
}

#[tokio::test]
async fn a_system_of_our_own_member_is_let_in_on_the_clients_port() {
    let world = World::new();
    let system = world.county.authority.issue_system(&world.county.system("housing"), now()).unwrap();
    assert!(connect(world.clients(), world.caller(Some(system.into()))).await.is_accepted());
}

#[tokio::test]
async fn both_ends_of_our_own_configurations_fit() {
    let world = World::new();
    let own = identity(&world.trust.issue_gateway(now()));
    for post_quantum in [true, false] {
        let options = TlsOptions { post_quantum };
        let client =
            client_config(&own, world.fresh_store().gateway_verifier(world.county.gateway()), &options).unwrap();
        for _ in 0..2 {
            let outcome = connect(world.links(), Arc::clone(&client)).await;
            let (server, client) = (outcome.server.unwrap(), outcome.client.unwrap());
            let group = if post_quantum { NamedGroup::X25519MLKEM768 } else { NamedGroup::X25519 };
            assert_eq!((server.group, client.group), (group, group));
            assert_eq!(
                (server.protocol.as_deref(), client.protocol.as_deref()),
                (Some(b"h2".as_slice()), Some(b"h2".as_slice()))
            );
            // The second connection shows its certificate as the first did.
            assert_eq!((server.handshake, server.presented), (rustls::HandshakeKind::Full, 1));
        }
    }
}

#[tokio::test]
async fn a_port_without_the_hybrid_takes_a_caller_with_it() {
    let world = World::new();
    let classic =
        server_config(&world.county_gateway(), world.store.links_verifier(), &TlsOptions { post_quantum: false })
            .unwrap();
    let outcome = connect(classic, world.caller(Some(world.trust.issue_gateway(now()).into()))).await;
    assert_eq!(outcome.client.unwrap().group, NamedGroup::X25519);
}

#[tokio::test]
async fn an_older_tls_or_another_protocol_is_refused() {
    let world = World::new();
    let presented = Presented::from(world.trust.issue_gateway(now()));
    let old = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(world.fresh_store().gateway_verifier(world.county.gateway()))
        .with_client_auth_cert(presented.chain, presented.key)
        .unwrap();
    assert_eq!(connect(world.links(), Arc::new(old)).await.alert_at_client(), Some(AlertDescription::ProtocolVersion));
    let mut http1 = Arc::unwrap_or_clone(world.caller(Some(world.trust.issue_gateway(now()).into())));
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert_eq!(
        connect(world.links(), Arc::new(http1)).await.alert_at_client(),
        Some(AlertDescription::NoApplicationProtocol)
    );
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused_on_both_ports() {
    let world = World::new();
    for port in [world.links(), world.clients()] {
        refuse(&world, port, None, "no certificate was presented", AlertDescription::CertificateRequired).await;
    }
}

#[tokio::test]
async fn another_root_that_claims_a_members_name_is_refused() {
    let world = World::new();
    // An authority that calls itself just as the member's own one does.
    let impostor = Member::new("trust.example", 20);
    links_refuse(
        &world,
        impostor.issue_gateway(now()).into(),
        "not issued under the roots of `trust.example`",
        AlertDescription::UnknownCA,
    )
    .await;
    // A root that the directory does list, of another member.
    let claimed = world.county.craft(&named(&["spiffe://trust.example/gateway/main"]));
    links_refuse(&world, claimed, "not issued under the roots of `trust.example`", AlertDescription::UnknownCA).await;
    // And one that signed itself.
    let key = KeyPair::generate().unwrap();
    let own = named(&["spiffe://trust.example/gateway/main"]).self_signed(&key).unwrap();
    let presented = Presented { chain: vec![own.der().clone()], key: key.serialize_der().try_into().unwrap() };
    links_refuse(&world, presented, "not issued under the roots of `trust.example`", AlertDescription::UnknownCA).await;
}

#[tokio::test]
async fn a_member_that_is_not_in_the_directory_is_refused() {
    let world = World::new();
    let stranger = Member::new("police.example", 30);
    links_refuse(
        &world,
        stranger.issue_gateway(now()).into(),
        "`police.example` is not in the directory",
        AlertDescription::UnknownCA,
    )
    .await;
}

#[tokio::test]
async fn an_expired_certificate_and_one_of_tomorrow_are_refused() {
    let world = World::with(Member::new("county.example", 10), Member::made("trust.example", 20, now() - YEAR / 2));
    let expired = world.trust.issue_gateway(now() - DAY * 93 - DAY / 2);
    links_refuse(&world, expired.into(), "expired 3 days ago", AlertDescription::CertificateExpired).await;
    let early = world.trust.issue_gateway(now() + DAY + DAY / 2);
    links_refuse(&world, early.into(), "valid only in 1 day", AlertDescription::CertificateExpired).await;
    // A machine that is four minutes behind is not a reason.
    let fresh = world.trust.issue_gateway(now() + crate::authority::BACKDATED - std::time::Duration::from_mins(1));
    assert!(connect(world.links(), world.caller(Some(fresh.into()))).await.is_accepted());
}

#[tokio::test]
async fn the_wrong_kind_on_a_port_is_refused() {
    let world = World::new();
    for member in [&world.trust, &world.county] {
        let system = member.authority.issue_system(&member.system("housing"), now()).unwrap();
        links_refuse(
            &world,
            system.into(),
            "is a system, and a gateway is expected on the port for links",
            AlertDescription::AccessDenied,
        )
        .await;
        let gateway = member.issue_gateway(now());
        refuse(
            &world,
            world.clients(),
            Some(gateway.into()),
            "is a gateway, and a system is expected on the port for clients",
            AlertDescription::AccessDenied,
        )
        .await;
        let auditor = member.craft(&named(&[&format!("spiffe://{}/auditor/internal", member.id)]));
        refuse(
            &world,
            world.clients(),
            Some(auditor),
            "is an auditor, and a system is expected",
            AlertDescription::AccessDenied,
        )
        .await;
    }
    let foreign = world.trust.authority.issue_system(&world.trust.system("housing"), now()).unwrap();
    refuse(
        &world,
        world.clients(),
        Some(foreign.into()),
        "not of this gateway's member `county.example`",
        AlertDescription::AccessDenied,
    )
    .await;
}

#[tokio::test]
async fn a_certificate_that_does_not_say_whose_it_is_is_refused() {
    let world = World::new();
    let main = "spiffe://trust.example/gateway/main";
    let mut dns_only = named(&[]);
    dns_only.subject_alt_names = vec![SanType::DnsName("gw.trust.example".try_into().unwrap())];
    dns_only.distinguished_name.push(DnType::CommonName, main);
    for parameters in [
        named(&[]),
        dns_only,
        named(&[main, "spiffe://county.example/gateway/main"]),
        named(&[main, main]),
        named(&["https://trust.example/gateway/main"]),
        named(&["spiffe://trust.example/workload/main"]),
    ] {
        links_refuse(
            &world,
            world.trust.craft(&parameters),
            "does not name a gateway or system",
            AlertDescription::BadCertificate,
        )
        .await;
    }
    assert!(connect(world.links(), world.caller(Some(world.trust.craft(&named(&[main]))))).await.is_accepted());
}

#[tokio::test]
async fn only_gateways_that_the_directory_lists_are_let_in() {
    let world = World::new();
    let unlisted = world.trust.authority.issue_gateway(&"trust.example/other".parse().unwrap(), &[], now()).unwrap();
    links_refuse(
        &world,
        unlisted.into(),
        "`trust.example/other` is not in the directory entry",
        AlertDescription::AccessDenied,
    )
    .await;
    let mut draft = world.trust.draft();
    draft.gateways[0].retired = Some(now());
    world.reload([world.county.entry(), world.trust.sign(&draft)], &[]);
    links_refuse(
        &world,
        world.trust.issue_gateway(now()).into(),
        "`trust.example/main` is retired",
        AlertDescription::AccessDenied,
    )
    .await;
}

#[tokio::test]
async fn an_entry_that_has_ended_cuts_its_member() {
    let world = World::new();
    let ended = EntryDraft { valid_until: now() - DAY * 2, ..world.trust.draft() };
    world.reload([world.county.entry(), world.trust.sign(&ended)], &[]);
    links_refuse(
        &world,
        world.trust.issue_gateway(now()).into(),
        "entry of `trust.example` ended 2 days ago",
        AlertDescription::AccessDenied,
    )
    .await;
}

#[tokio::test]
async fn a_certificate_for_the_other_end_is_refused() {
    let world = World::new();
    let mut parameters = named(&["spiffe://trust.example/gateway/main"]);
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    links_refuse(
        &world,
        world.trust.craft(&parameters),
        "may not be used for this end",
        AlertDescription::UnsupportedCertificate,
    )
    .await;
}

#[tokio::test]
async fn a_second_root_lets_a_member_change_its_authority() {
    let world = World::new();
    let next = Authority::create(&world.trust.id, Flavour::Production, now()).unwrap();
    let certificate = || next.issue_gateway(&world.trust.gateway(), &[], now()).unwrap();
    links_refuse(&world, certificate().into(), "not issued under the roots", AlertDescription::UnknownCA).await;
    let mut draft = world.trust.draft();
    draft.roots.push(next.certificate().clone());
    world.reload([world.county.entry(), world.trust.sign(&draft)], &[]);
    for presented in [certificate().into(), world.trust.issue_gateway(now()).into()] {
        assert!(connect(world.links(), world.caller(Some(presented))).await.is_accepted());
    }
}

#[tokio::test]
async fn what_is_not_for_production_is_let_in_only_in_development() {
    let mut trust = Member::new("trust.example", 20);
    trust.authority = Authority::create(&trust.id, Flavour::Development, now()).unwrap();
    let world = World::with(Member::new("county.example", 10), trust);
    let presented = || world.trust.issue_gateway(now()).into();
    assert!(connect(world.links(), world.caller(Some(presented()))).await.is_accepted());
    let federation = Arc::clone(world.store.current().federation());
    world.store.replace(Trust::new(world.county.id.clone(), federation, Vec::new()).unwrap().refusing_development());
    links_refuse(&world, presented(), "is not for production", AlertDescription::AccessDenied).await;
    let of_ours = world.county.issue_gateway(now()).into();
    assert!(connect(world.links(), world.caller(Some(of_ours))).await.is_accepted());
}

/// An authority below the member's root, and a gateway's certificate issued by it.
fn below(member: &Member, name: &str) -> (Issuer<'static, KeyPair>, rcgen::Certificate, Presented) {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, &member.issuer()).unwrap();
    let issuer = Issuer::from_ca_cert_der(certificate.der(), key).unwrap();
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = named(&[&member.gateway().spiffe()]).signed_by(&leaf_key, &issuer).unwrap();
    let presented = Presented {
        chain: vec![leaf.der().clone(), certificate.der().clone()],
        key: leaf_key.serialize_der().try_into().unwrap(),
    };
    (issuer, certificate, presented)
}

#[tokio::test]
async fn a_certificate_of_an_authority_below_the_root_is_let_in_unless_that_one_is_revoked() {
    let world = World::new();
    let (_, certificate, presented) = below(&world.trust, "Second");
    let chain = presented.chain.clone();
    assert!(connect(world.links(), world.caller(Some(presented))).await.is_accepted());
    let serial = crate::certificate::Facts::read(certificate.der()).unwrap().serial;
    let list = world.trust.list(&[&serial], now());
    world.reload_lists(&[(&world.trust, &list)]);
    let error = world.store.still_trusted(&Expected::Links, &chain[0], &chain[1..], now()).unwrap_err();
    assert!(matches!(error, Distrust::Revoked { .. }), "{error}");
    let (_, _, other) = below(&world.trust, "Third");
    assert!(connect(world.links(), world.caller(Some(other))).await.is_accepted());
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_from_the_moment_the_list_is_there() {
    let world = World::new();
    let port = world.links();
    let (revoked, other) = (world.trust.issue_gateway(now()), world.trust.issue_gateway(now()));
    assert!(connect(Arc::clone(&port), world.caller(Some(revoked.clone().into()))).await.is_accepted());
    let list = world.trust.list(&[&revoked.serial], now());
    world.reload_lists(&[(&world.trust, &list)]);
    // The very same port, without being set up anew.
    refuse(&world, Arc::clone(&port), Some(revoked.clone().into()), "is revoked", AlertDescription::CertificateRevoked)
        .await;
    assert!(connect(Arc::clone(&port), world.caller(Some(other.clone().into()))).await.is_accepted());
    // And open links are found.
    let still = |issued: &Issued| world.store.still_trusted(&Expected::Links, &identity(issued).chain()[0], &[], now());
    assert!(matches!(still(&revoked), Err(Distrust::Revoked { .. })));
    assert_eq!(still(&other), Ok(()));
}

#[tokio::test]
async fn whoever_dials_finds_exactly_the_gateway_it_dialled() {
    let world = World::new();
    let caller = identity(&world.county.issue_gateway(now()));
    let dial = |gateway: GatewayId| {
        client_config(&caller, world.store.gateway_verifier(gateway), &TlsOptions::default()).unwrap()
    };
    let listen = |presented: Presented| {
        let config = ServerConfig::builder_with_provider(provider(&TlsOptions::default()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(world.fresh_store().links_verifier());
        Arc::new(config.with_single_cert(presented.chain, presented.key).unwrap())
    };
    let target = world.trust.gateway();
    assert!(connect(listen(world.trust.issue_gateway(now()).into()), dial(target.clone())).await.is_accepted());

    let main = target.spiffe();
    let mut for_calling = named(&[&main]);
    for_calling.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let system = world.trust.authority.issue_system(&world.trust.system("housing"), now()).unwrap();
    let unlisted = world.trust.authority.issue_gateway(&"trust.example/other".parse().unwrap(), &[], now()).unwrap();
    for (presented, words) in [
        (
            world.county.issue_gateway(now()).into(),
            "the gateway at this address is `county.example/main`, not `trust.example/main`",
        ),
        (unlisted.into(), "the gateway at this address is `trust.example/other`"),
        (Member::new("trust.example", 20).issue_gateway(now()).into(), "not issued under the roots of `trust.example`"),
        (world.county.craft(&named(&[&main])), "not issued under the roots of `trust.example`"),
        (system.into(), "is a system, and a gateway is expected at this address"),
        (world.trust.craft(&for_calling), "may not be used for this end"),
        (world.trust.craft(&named(&[])), "does not name a gateway or system: it has no SPIFFE URI"),
    ] {
        let outcome = connect(listen(presented), dial(target.clone())).await;
        let explanation = explain_io(&outcome.client.unwrap_err());
        assert!(explanation.cause.contains(words), "{words}: {explanation:?}");
        assert_eq!(alert(&outcome.server), Some(AlertDescription::CertificateUnknown), "{words}");
    }

    let revoked = world.trust.issue_gateway(now());
    world.reload_lists(&[(&world.trust, &world.trust.list(&[&revoked.serial], now()))]);
    let outcome = connect(listen(revoked.into()), dial(target)).await;
    assert!(explain_io(&outcome.client.unwrap_err()).cause.contains("is revoked"));
}

#[tokio::test]
async fn a_system_that_calls_finds_its_own_members_gateway() {
    let world = World::new();
    let system = identity(&world.county.authority.issue_system(&world.county.system("housing"), now()).unwrap());
    let call =
        client_config(&system, world.store.gateway_verifier(world.county.gateway()), &TlsOptions::default()).unwrap();
    assert!(connect(world.clients(), Arc::clone(&call)).await.is_accepted());
    // The port for links sends it away.
    assert_eq!(connect(world.links(), call).await.alert_at_client(), Some(AlertDescription::AccessDenied));
}

#[tokio::test]
async fn a_certificate_without_its_key_is_of_no_use() {
    let world = World::new();
    let (own, stolen) =
        (Presented::from(world.trust.issue_gateway(now())), Presented::from(world.trust.issue_gateway(now())));
    let key = provider(&TlsOptions::default()).key_provider.load_private_key(own.key).unwrap();
    let mixed = rustls::sign::CertifiedKey::new(stolen.chain, key);
    let mut client = Arc::unwrap_or_clone(world.caller(None));
    client.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(mixed));
    let outcome = connect(world.links(), Arc::new(client)).await;
    assert_eq!(outcome.alert_at_client(), Some(AlertDescription::DecryptError));
    let explanation = explain_io(&outcome.server.unwrap_err());
    assert!(explanation.cause.contains("does not hold the key of its certificate"), "{explanation:?}");
}

#[test]
fn ones_own_certificate_is_checked_as_others_will() {
    let world = World::new();
    let trust = world.store.current();
    assert_eq!(trust.check_own(&world.county_gateway(), now()), Ok(world.county.gateway()));
    let of_other = identity(&world.trust.issue_gateway(now()));
    assert!(matches!(trust.check_own(&of_other, now()), Err(Distrust::ForeignMember { .. })));
    let system = identity(&world.county.authority.issue_system(&world.county.system("housing"), now()).unwrap());
    assert!(matches!(trust.check_own(&system, now()), Err(Distrust::WrongKind { .. })));
    let unlisted =
        identity(&world.county.authority.issue_gateway(&"county.example/two".parse().unwrap(), &[], now()).unwrap());
    assert!(matches!(trust.check_own(&unlisted, now()), Err(Distrust::UnlistedGateway { .. })));
    assert!(matches!(trust.check_own(&world.county_gateway(), now() + DAY * 91), Err(Distrust::Expired { .. })));
    let mut draft = world.county.draft();
    let two: GatewayId = "county.example/two".parse().unwrap();
    let keys = [crate::testing::key(&two.gateway_key_name(), 60), crate::testing::key(&two.log_origin(), 61)]
        .map(|key| key.verifier());
    let [gateway_key, log_key] = keys;
    draft.gateways.push(GatewayEntry::new(two.clone(), None, gateway_key, log_key));
    world.reload([world.county.sign(&draft), world.trust.entry()], &[]);
    assert_eq!(world.store.current().check_own(&unlisted, now()), Ok(two));
}

#[test]
fn too_many_and_too_large_certificates_are_refused_unread() {
    let world = World::new();
    let own = Presented::from(world.trust.issue_gateway(now())).chain.remove(0);
    let large = CertificateDer::from(vec![0_u8; crate::certificate::MAX_CERTIFICATE_BYTES + 1]);
    let verify = |end_entity: &CertificateDer<'_>, more: &[CertificateDer<'_>]| {
        world.store.still_trusted(&Expected::Links, end_entity, more, now())
    };
    assert_eq!(verify(&large, &[]), Err(Distrust::Large));
    assert_eq!(verify(&own, &[large]), Err(Distrust::Large));
    assert_eq!(verify(&own, &vec![own.clone(); crate::certificate::MAX_CHAIN]), Err(Distrust::Large));
    assert_eq!(verify(&own, &vec![own.clone(); crate::certificate::MAX_CHAIN - 1]), Ok(()));
}

#[test]
fn an_identity_needs_a_chain_and_its_key() {
    let world = World::new();
    let (one, two) = (world.county.issue_gateway(now()), world.county.issue_gateway(now()));
    let refusal = |chain: &str, key: &str| TlsIdentity::from_pem(chain, key).unwrap_err();
    assert_eq!(refusal(&one.certificate_pem, &two.key_pem), TlsIdentityError::OtherKey);
    assert_eq!(refusal(&one.certificate_pem, "nothing"), TlsIdentityError::Key);
    assert!(matches!(refusal("", &one.key_pem), TlsIdentityError::Chain(_)));
    let root = world.county.authority.certificate_pem();
    assert!(matches!(refusal(&root, &world.county.authority.key_pem()), TlsIdentityError::Identity(_)));
    let own = identity(&one);
    assert_eq!((own.ends(), own.is_development(), own.identity().name()), (one.ends, false, "main"));
    assert!(own.warning(one.ends - DAY * 15).is_none());
    assert!(own.warning(one.ends - DAY * 14).unwrap().to_string().contains("ends in 14 days"));
    assert!(own.warning(one.ends + DAY).unwrap().to_string().contains("ended 1 day ago"));
}
