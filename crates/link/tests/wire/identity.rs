//! Who may connect, and to whom.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use drawbridge_link::client::{DialError, LinkError};
use drawbridge_link::server::{Identified, Server, Sharing, Transport, listener};
use drawbridge_link::{client, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::support::{Authority, Pair, Serving, ask, echo, links, question, soon};

/// The failure to dial that lies behind an error.
async fn dial_error(links: &client::Links<()>) -> Arc<DialError> {
    let error = soon(links.send(&(), question(""))).await.unwrap_err();
    assert!(error.nothing_done());
    let LinkError::Down { cause, .. } = error else {
        panic!("{error:?}");
    };
    cause
}

fn text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += ": ";
        text += &error.to_string();
        source = error.source();
    }
    text
}

#[tokio::test]
async fn a_client_without_a_certificate_is_turned_away_before_it_asks() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), echo);
    let anonymous = Arc::new(pair.authority.client(None));
    let links = links(serving.address, anonymous, client::Limits::default());
    let cause = text(&dial_error(&links).await);
    assert!(cause.contains("CertificateRequired"), "{cause}");
    assert!(serving.reported("HandshakeFailed"));
    assert_eq!(serving.server.counts().handshakes_failed, 1);
    assert_eq!(serving.server.counts().streams, 0);
}

#[tokio::test]
async fn a_client_of_another_authority_is_turned_away_before_it_asks() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), echo);
    let foreign = Authority::new("elsewhere.example").issue("asker.example");
    let foreign = Arc::new(pair.authority.client(Some(&foreign)));
    let links = links(serving.address, foreign, client::Limits::default());
    let cause = text(&dial_error(&links).await);
    assert!(cause.contains("alert"), "{cause}");
    assert_eq!(serving.server.counts().streams, 0);
}

#[tokio::test]
async fn a_server_of_another_authority_is_told_nothing() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), echo);
    let elsewhere = Arc::new(Authority::new("elsewhere.example").client(None));
    let links = links(serving.address, elsewhere, client::Limits::default());
    let cause = dial_error(&links).await;
    assert!(matches!(*cause, DialError::Tls(_)), "{cause:?}");
}

#[tokio::test]
async fn a_peer_that_does_not_offer_h2_is_turned_away() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), echo);
    let mut silent = pair.client.as_ref().clone();
    silent.alpn_protocols.clear();
    let links = links(serving.address, Arc::new(silent), client::Limits::default());
    let cause = dial_error(&links).await;
    assert!(matches!(*cause, DialError::Protocol), "{cause:?}");
    soon(async {
        while !serving.reported("does not speak") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_turned_away() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), echo);
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
    assert!(serving.reported("HandshakeFailed"));
}

#[tokio::test]
async fn a_peer_that_is_nobody_known_is_turned_away_before_it_asks() {
    let pair = Pair::new();
    let server: Server<()> =
        Server::new(server::Limits::default(), pair.transport(), |_| Err("this port is for gateways".into()));
    let listener = listener(([127, 0, 0, 1], 0).into(), Sharing::Alone).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener, echo).await });
    let links = pair.links(address, client::Limits::default());
    let cause = dial_error(&links).await;
    assert!(matches!(*cause, DialError::Closed(_)), "{cause:?}");
    assert_eq!(server.counts().unidentified, 1);
}

#[tokio::test]
async fn the_service_is_told_who_asks() {
    let pair = Pair::new();
    let server = Server::new(server::Limits::default(), pair.transport(), |certificates| {
        Ok(Identified { peer: certificates.len(), name: "asker.example".into() })
    });
    let listener = listener(([127, 0, 0, 1], 0).into(), Sharing::Alone).unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        let service = move |caller: Arc<server::Caller<usize>>, _| {
            seen.lock().unwrap().push((caller.peer, caller.name.to_string()));
            async { http::Response::new(drawbridge_link::Body::empty()) }
        };
        server.serve(listener, service).await
    });
    let links = pair.links(address, client::Limits::default());
    soon(links.send(&(), question(""))).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [(1, "asker.example".to_owned())]);
}

#[tokio::test]
async fn new_settings_hold_from_the_next_connection_on() {
    let pair = Pair::new();
    let settings = Arc::new(Mutex::new(Arc::clone(&pair.server)));
    let current = Arc::clone(&settings);
    let transport = Transport::Tls(Arc::new(move || Arc::clone(&current.lock().unwrap())));
    let serving = Serving::start(server::Limits::default(), transport, echo);
    let links = pair.links(serving.address, client::Limits::default());
    ask(&links, "").await;

    let other = Authority::new("elsewhere.example");
    *settings.lock().unwrap() = Arc::new(other.server(&pair.authority.issue("gateway.example")));
    ask(&links, "the open connection goes on").await;
    let late = pair.links(serving.address, client::Limits::default());
    dial_error(&late).await;
}

#[tokio::test]
async fn a_connection_that_is_no_longer_wanted_is_closed_at_once() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), |_, _| async {
        std::future::pending::<http::Response<drawbridge_link::Body>>().await
    });
    let asker = pair.links(serving.address, client::Limits::default());
    let call = {
        let asker = asker.clone();
        tokio::spawn(async move { asker.send(&(), question("")).await.map(drop) })
    };
    soon(async {
        while serving.server.counts().streams == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(serving.server.connections().retain(|_| true), 0);
    assert_eq!(serving.server.connections().retain(|caller| caller.certificates.is_empty()), 1);
    let error = soon(call).await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::Lost(_)), "{error:?}");
    assert!(!error.nothing_done());
    serving.until_empty().await;
}

#[tokio::test]
async fn a_connection_on_its_way_in_does_not_slip_through() {
    let pair = Pair::new();
    let looks = Arc::new(AtomicUsize::new(0));
    let server: Arc<OnceLock<Server<()>>> = Arc::default();
    let (looked, itself) = (Arc::clone(&looks), Arc::clone(&server));
    let made = Server::new(server::Limits::default(), pair.transport(), move |_| {
        if looked.fetch_add(1, Ordering::Relaxed) > 0 {
            return Err("its certificate was revoked".into());
        }
        // Trust changes between the look at this connection and its admission.
        itself.get().unwrap().connections().retain(|_| false);
        Ok(Identified { peer: (), name: "asker.example".into() })
    });
    let serving = server.get_or_init(|| made).clone();
    let listener = listener(([127, 0, 0, 1], 0).into(), Sharing::Alone).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { serving.serve(listener, echo).await });
    let links = pair.links(address, client::Limits::default());
    dial_error(&links).await;
    assert_eq!(looks.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_connection_that_is_being_dialled_does_not_slip_through() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), echo);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (target, gate) = (serving.address, Arc::new(Notify::new()));
    let (dialled, opened) = (Arc::new(Notify::new()), Arc::clone(&gate));
    let was_dialled = Arc::clone(&dialled);
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(target).await.unwrap();
            let opened = Arc::clone(&opened);
            dialled.notify_one();
            tokio::spawn(async move {
                opened.notified().await;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    let links = pair.links(address, client::Limits::default());
    let call = {
        let links = links.clone();
        tokio::spawn(async move { ask(&links, "").await.0 })
    };
    soon(was_dialled.notified()).await;
    links.retain(|(), _| false);
    gate.notify_one();
    // The first connection comes about, is let go, and another is dialled.
    soon(was_dialled.notified()).await;
    gate.notify_one();
    soon(call).await.unwrap();
    assert_eq!(serving.server.counts().streams, 1);
}

#[tokio::test]
async fn the_asker_can_close_its_connections_too() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), echo);
    let links = pair.links(serving.address, client::Limits::default());
    ask(&links, "").await;
    assert_eq!(links.retain(|(), certificates| certificates.is_empty()), 1);
    assert_eq!(links.states()[0].1.connections, 0);
    serving.until_empty().await;
    ask(&links, "a new connection").await;
    assert_eq!(serving.server.counts().accepted, 2);
}
