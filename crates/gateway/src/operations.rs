//! The operations port: metrics and health in plain HTTP, for the operator's own network.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ledger::Ledger;

use crate::observe::Observer;

/// Connections at once.
const MAX_CONNECTIONS: usize = 32;

/// Serves `/metrics` and `/health` until it is dropped.
pub(crate) async fn serve(listener: tokio::net::TcpListener, observer: Arc<Observer>, ledger: Ledger) {
    let places = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let (observer, ledger) = (observer.clone(), ledger.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &observer, &ledger);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(std::time::Duration::from_secs(10))
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // A scraper that breaks off is no event.
            let _ = connection.await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, observer: &Observer, ledger: &Ledger) -> Response<Full<Bytes>> {
    let (status, kind, text) = match request.uri().path() {
        "/metrics" => match observer.text() {
            Ok(text) => (StatusCode::OK, "text/plain; version=0.0.4", text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error),
        },
        "/health" => match ledger.healthy() {
            Ok(()) => (StatusCode::OK, "application/json", "{\"status\":\"serving\"}\n".to_owned()),
            Err(error) => {
                let text = format!("{{\"status\":\"not serving\",\"why\":{:?}}}\n", crate::load::chain(&error));
                (StatusCode::SERVICE_UNAVAILABLE, "application/json", text)
            }
        },
        _ => (StatusCode::NOT_FOUND, "text/plain", "there is /metrics and /health\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
