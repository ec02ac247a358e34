//! The load: callers in a closed loop over a few HTTP/2 connections, on one thread.
//!
//! Requests are prebuilt, so that the generator costs as little as it can on the cores that it shares with what it
//! measures. A call counts only when its `grpc-status` is 0 and its answer has as many messages as it should.

mod connection;
mod messages;

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::task::LocalSet;

/// Where the load goes, and how.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// With a client certificate; without, HTTP/2 in plain text with prior knowledge.
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    /// What every call carries beside gRPC's own headers.
    pub(crate) metadata: Vec<(&'static str, String)>,
}

/// What every caller asks, over and over.
#[derive(Clone)]
pub(crate) struct Call {
    /// `/package.Service/Method`.
    pub(crate) path: &'static str,
    /// The request's bytes with their length before them.
    pub(crate) request: Bytes,
    /// Messages in a whole answer.
    pub(crate) messages: u64,
}

/// How many ask, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Pressure {
    pub(crate) callers: usize,
    pub(crate) connections: usize,
    pub(crate) warm_up: Duration,
    pub(crate) length: Length,
    /// After how many failures a caller gives up.
    pub(crate) patience: u32,
}

/// [`Pressure::patience`] of callers that none of whose calls should fail.
pub(crate) const LITTLE_PATIENCE: u32 = 10;

/// When to stop.
#[derive(Clone, Copy)]
pub(crate) enum Length {
    /// What ends within this time counts.
    Time(Duration),
    /// Each caller calls once, and everything counts.
    OneCall,
}

/// What the callers saw between the two marks.
pub(crate) struct Seen {
    pub(crate) elapsed: Duration,
    pub(crate) calls: u64,
    /// Messages that arrived, also of calls that had not ended.
    pub(crate) messages: u64,
    /// How long each call took, in microseconds, sorted.
    pub(crate) latencies: Vec<u32>,
    pub(crate) failures: u64,
    pub(crate) first_failure: Option<String>,
}

impl Seen {
    /// The latency in microseconds that this share of the calls did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index into what is counted in memory"
        )]
        let at = (self.latencies.len() as f64 * share) as usize;
        let at = at.min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or_default().into()
    }
}

/// Runs the load, and calls `mark` when what counts begins and when it ends.
///
/// # Errors
///
/// When a connection cannot be opened, or the first call, made before anything is measured, is not answered well.
pub(crate) fn run(target: &Target, call: &Call, pressure: Pressure, mark: impl FnMut() -> Result<()>) -> Result<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, drive(target, call, pressure, mark))
}

async fn drive(target: &Target, call: &Call, pressure: Pressure, mut mark: impl FnMut() -> Result<()>) -> Result<Seen> {
    let caller = Rc::new(Caller::new(target, call)?);
    let mut connections = Vec::new();
    for _ in 0..pressure.connections {
        connections.push(connection::open(target).await.context("cannot connect")?);
    }
    if let Some(first) = connections.first() {
        let call = caller.call(first);
        tokio::time::timeout(Duration::from_secs(30), call).await.context("the first call got no answer in 30 s")??;
    }
    caller.tally.counting.set(matches!(pressure.length, Length::OneCall));
    if let Length::OneCall = pressure.length {
        caller.tally.messages.set(0);
        mark()?;
    }
    let begun = Instant::now();
    let callers: Vec<_> = (0..pressure.callers)
        .zip(connections.iter().cycle())
        .map(|(_, connection)| {
            let (caller, connection) = (Rc::clone(&caller), connection.clone());
            tokio::task::spawn_local(async move { caller.repeat(connection, pressure).await })
        })
        .collect();
    let elapsed = match pressure.length {
        Length::OneCall => {
            for caller in callers {
                caller.await?;
            }
            begun.elapsed()
        }
        Length::Time(window) => {
            tokio::time::sleep(pressure.warm_up).await;
            mark()?;
            let begun = Instant::now();
            caller.tally.counting.set(true);
            tokio::time::sleep(window).await;
            caller.tally.counting.set(false);
            begun.elapsed()
        }
    };
    mark()?;
    caller.tally.stopping.set(true);
    let mut latencies = caller.tally.latencies.take();
    latencies.sort_unstable();
    Ok(Seen {
        elapsed,
        calls: u64::try_from(latencies.len())?,
        messages: caller.tally.messages.get(),
        latencies,
        failures: caller.tally.failures.get(),
        first_failure: caller.tally.first_failure.take(),
    })
}

/// One request, and the count of what came of it.
struct Caller {
    request: Request<()>,
    body: Bytes,
    expected: u64,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    counting: Cell<bool>,
    stopping: Cell<bool>,
    messages: Cell<u64>,
    latencies: RefCell<Vec<u32>>,
    failures: Cell<u64>,
    first_failure: Cell<Option<String>>,
}

impl Caller {
    fn new(target: &Target, call: &Call) -> Result<Self> {
        let scheme = if target.tls.is_some() { "https" } else { "http" };
        let mut request = Request::post(format!("{scheme}://localhost:{}{}", target.address.port(), call.path))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(())?;
        for (name, value) in &target.metadata {
            request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
        }
        Ok(Self { request, body: call.request.clone(), expected: call.messages, tally: Tally::default() })
    }

    /// Calls until told to stop. A failed call is counted; after a few the caller gives up.
    async fn repeat(&self, connection: SendRequest<Bytes>, Pressure { length, mut patience, .. }: Pressure) {
        while !self.tally.stopping.get() {
            let begun = Instant::now();
            match self.call(&connection).await {
                Ok(()) if self.tally.counting.get() => {
                    let micros = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
                    self.tally.latencies.borrow_mut().push(micros);
                }
                Ok(()) => {}
                // Connections are dropped when the run ends.
                Err(_) if self.tally.stopping.get() => break,
                Err(error) => {
                    self.tally.failures.set(self.tally.failures.get() + 1);
                    let first = self.tally.first_failure.take().unwrap_or_else(|| format!("{error:#}"));
                    self.tally.first_failure.set(Some(first));
                    patience = patience.saturating_sub(1);
                    if patience == 0 {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            if let Length::OneCall = length {
                break;
            }
        }
    }

    /// Calls once and reads the whole answer.
    async fn call(&self, connection: &SendRequest<Bytes>) -> Result<()> {
        let mut ready = connection.clone().ready().await?;
        let (response, mut stream) = ready.send_request(self.request.clone(), false)?;
        stream.send_data(self.body.clone(), true)?;
        let (head, mut body) = response.await?.into_parts();
        if head.status != http::StatusCode::OK {
            bail!("the answer's HTTP status is {}", head.status);
        }
        let mut messages = messages::Count::default();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            let arrived = messages.add(&data)?;
            if self.tally.counting.get() {
                self.tally.messages.set(self.tally.messages.get() + arrived);
            }
        }
        let trailers = body.trailers().await?;
        // An answer without messages has its status in the head.
        let status = trailers.as_ref().unwrap_or(&head.headers);
        judge(status)?;
        if messages.whole() != self.expected {
            bail!("the answer has {} messages instead of {}", messages.whole(), self.expected);
        }
        Ok(())
    }
}

fn judge(headers: &HeaderMap) -> Result<()> {
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match text("grpc-status").as_deref() {
        Some("0") => Ok(()),
        Some(status) => {
            let message = text("grpc-message").unwrap_or_default();
            bail!("the call ended with grpc-status {status}: {message}")
        }
        None => bail!("the answer has no grpc-status"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_a_grpc_status_of_0_counts() {
        assert!(judge(&headers(&[("grpc-status", "0")])).is_ok());
        let refused = headers(&[("grpc-status", "7"), ("grpc-message", "no agreement")]);
        let error = judge(&refused).unwrap_err().to_string();
        assert!(error.contains('7') && error.contains("no agreement"), "{error}");
        assert!(judge(&headers(&[])).is_err());
    }
}
