//! The operations port: metrics, health and status in plain HTTP, for the operator's own network.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::{
    observe::openmetrics,
    status::{Health, Source},
};

/// The content type of metrics, unless OpenMetrics is asked for.
const TEXT: &str = "text/plain; version=0.0.4";
/// Connections at once.
const MAX_CONNECTIONS: usize = 32;

/// Serves `/metrics`, `/health` and `/status` until it is dropped.
pub(crate) async fn serve(listener: tokio::net::TcpListener, source: Arc<Source>) {
    let places = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let source = source.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let source = source.clone();
                async move { Ok::<_, Infallible>(answer(&request, &source).await) }
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

async fn answer(request: &Request<Incoming>, source: &Arc<Source>) -> Response<Full<Bytes>> {
    let (status, kind, text) = match request.uri().path() {
        "/metrics" => metrics(request, source).await,
        "/health" => health(&source.shared.health_now()),
        "/status" => match serde_json::to_string(&source.status().await) {
            Ok(text) => (StatusCode::OK, "application/json", format!("{text}\n")),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
        },
        _ => (StatusCode::NOT_FOUND, "text/plain", "there is /metrics, /health and /status\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Metrics in the format that is asked for: OpenMetrics, which carries exemplars, or Prometheus' own.
async fn metrics(request: &Request<Incoming>, source: &Arc<Source>) -> (StatusCode, &'static str, String) {
    let accepted = request.headers().get_all(header::ACCEPT).iter();
    let open =
        accepted.filter_map(|value| value.to_str().ok()).any(|value| value.contains("application/openmetrics-text"));
    let source = source.clone();
    // The room on a disk is among them, and the disk may be slow.
    let told = tokio::task::spawn_blocking(move || {
        let observer = &source.shared.observer;
        if open { (openmetrics::CONTENT_TYPE, Ok(observer.openmetrics())) } else { (TEXT, observer.text()) }
    });
    match told.await {
        Ok((kind, Ok(text))) => (StatusCode::OK, kind, text),
        Ok((_, Err(error))) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
    }
}

fn health(health: &Health) -> (StatusCode, &'static str, String) {
    let (status, said) = match &health.why {
        None => (StatusCode::OK, serde_json::json!({ "status": "serving" })),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({ "status": "not serving", "why": why })),
    };
    (status, "application/json", format!("{said}\n"))
}
