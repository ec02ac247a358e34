//! Who may open a link or a client's connection, and until when.

use std::time::{Duration, SystemTime};

use drawbridge_tests::{COUNCIL, Client, TRUST, TestFederation, eventually, federation::standard};
use exchange::Reason;
use federation::{
    GatewayId, SystemId,
    authority::{Authority, Flavour, Revocations},
};
use http_body_util::BodyExt as _;

#[tokio::test]
async fn certificates_that_have_no_business_on_a_port_are_turned_away() {
    let federation = TestFederation::new().await.start();
    let (council, trust) = (federation.member(COUNCIL), federation.member(TRUST));
    let now = SystemTime::now();
    let impostor = Authority::create(&council.id, Flavour::Production, now).unwrap();
    let forged_system = impostor.issue_system(&SystemId::new(council.id.clone(), "revenues").unwrap(), now).unwrap();
    let forged_gateway = impostor.issue_gateway(&council.gateway, &["localhost"], now).unwrap();
    let unlisted = council
        .authority
        .issue_gateway(&GatewayId::new(council.id.clone(), "other").unwrap(), &["localhost"], now)
        .unwrap();
    let system = council.authority.issue_system(&SystemId::new(council.id.clone(), "revenues").unwrap(), now).unwrap();
    let gateway = council.authority.issue_gateway(&council.gateway, &["localhost"], now).unwrap();
    let foreign_system =
        trust.authority.issue_system(&SystemId::new(trust.id.clone(), "discharge").unwrap(), now).unwrap();
    let cases = [
        ("a system of the own member, by another authority", council.clients, council, &forged_system, false),
        ("a gateway on the clients' port", council.clients, council, &gateway, false),
        ("a system of another member on the clients' port", council.clients, council, &foreign_system, false),
        ("a system of the own member", council.clients, council, &system, true),
        ("a gateway by another authority", trust.links, trust, &forged_gateway, false),
        ("a gateway that the directory does not list", trust.links, trust, &unlisted, false),
        ("a system on the links' port", trust.links, trust, &system, false),
        ("the listed gateway", trust.links, trust, &gateway, true),
    ];
    for (what, address, server, issued, accepted) in cases {
        let connected =
            Client::connect(address, &server.authority.certificate_pem(), &issued.certificate_pem, &issued.key_pem)
                .await;
        let usable = match connected {
            Err(_) => false,
            // What is turned down only after the handshake is not usable all the same.
            Ok(mut client) => {
                client.call("/grpc.health.v1.Health/Check", &http::HeaderMap::new(), b"").await.is_ok()
                    || address == trust.links
                        && client
                            .open("/drawbridge.link.v1/Open", &http::HeaderMap::new(), b"", None)
                            .await
                            .is_ok_and(|_| true)
            }
        };
        assert_eq!(usable, accepted, "{what}");
    }
}

#[tokio::test]
async fn revoking_a_certificate_closes_its_open_links() {
    let federation = TestFederation::new().await.start();
    let (council, trust) = (federation.member(COUNCIL), federation.member(TRUST));
    let list = federation.request("test.v1.Records/List", r#"{"count": "100000000"}"#);
    let mut client = federation.revenues().await;
    let (_, mut body) = client.open("/test.v1.Records/List", &standard(), &list, None).await.unwrap();
    body.frame().await.unwrap().unwrap();
    council.revoke(&council.gateway_tls().0, trust);
    let status = loop {
        let frame = body.frame().await.expect("trailers come").unwrap();
        if let Ok(trailers) = frame.into_trailers() {
            break exchange::headers::read_status(&trailers).unwrap();
        }
    };
    assert_eq!(status.reason(), Some(Reason::Unanswered), "{}", status.message);
    // No new link comes about.
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    assert_eq!(reply.reason(), Some(Reason::LinkDown), "{}", reply.status.message);
}

#[tokio::test]
async fn revoking_a_systems_certificate_closes_its_connection() {
    let federation = TestFederation::new().await.start();
    let council = federation.member(COUNCIL);
    let mut client = federation.revenues().await;
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    assert_eq!(client.call("/test.v1.Records/Find", &standard(), &find).await.unwrap().status.code, 0);
    council.revoke(&std::fs::read_to_string(council.folder.join("systems/revenues.pem")).unwrap(), council);
    eventually("the connection is closed", 5, async || {
        client.call("/test.v1.Records/Find", &standard(), &find).await.is_err().then_some(())
    })
    .await;
    let turned_away = async || match council.connect("revenues").await {
        Err(_) => true,
        Ok(mut client) => client.call("/test.v1.Records/Find", &standard(), &find).await.is_err(),
    };
    assert!(turned_away().await);

    // An older list that is put back, or a folder that is taken away, takes nothing back.
    let said = async |words: &str| {
        eventually(words, 10, async || council.process().log().contains(words).then_some(())).await;
    };
    let folder = council.folder.join("revocation");
    let list = folder.join(format!("{COUNCIL}.crl.pem"));
    let (earlier, day) = (SystemTime::now() - Duration::from_hours(1), Duration::from_hours(24));
    let older = council.authority.revocation_list(&mut Revocations::new(council.id.clone()), earlier, day).unwrap();
    gateway::write_atomically(&list, &older).unwrap();
    said("this revocation list was issued at").await;
    assert!(turned_away().await);
    std::fs::rename(&folder, council.folder.join("aside")).unwrap();
    said("the folder is gone").await;
    assert!(turned_away().await);
}

#[tokio::test]
async fn a_provider_that_is_away_is_link_down_and_comes_back() {
    let mut federation = TestFederation::new().await.start();
    federation.take(TRUST).kill();
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    assert_eq!((reply.reason(), reply.status.code), (Some(Reason::LinkDown), 14), "{}", reply.status.message);
    federation.restart(TRUST);
    // The session of before is gone with the process: it is opened anew without the caller's doing.
    eventually("it answers again", 10, async || {
        (federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.status.code == 0).then_some(())
    })
    .await;
}
