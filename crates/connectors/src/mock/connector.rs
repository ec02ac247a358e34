//! Answers a method with what is made up after its contract.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use contract::{Contracts, Method, Sampler, Shape};
use futures_core::future::BoxFuture;
use futures_util::{StreamExt, stream};
use prost::Message as _;
use prost_reflect::DynamicMessage;

use crate::bindings::{Complaint, Limits};
use crate::connector::Requests;
use crate::mock::config::MockBinding;
use crate::mock::examples::{Example, Reply, Shelf, filled};
use crate::{Answer, Ask, Connector, ConnectorError, Failure};

/// A method without a legacy system.
#[derive(Debug)]
pub(crate) struct MockConnector {
    mock: Arc<Mock>,
    limits: Limits,
}

/// What answers follow from.
#[derive(Debug)]
struct Mock {
    method: Arc<Method>,
    sampler: Sampler,
    examples: Vec<Example>,
    seed: u64,
    rows: u64,
}

/// The messages of an answer, made as they are pulled.
type Messages = Box<dyn Iterator<Item = DynamicMessage> + Send>;

impl MockConnector {
    /// Holds the examples against the contract, or says everything that does not fit.
    pub(crate) fn prepare(
        binding: &MockBinding,
        method: &Arc<Method>,
        contracts: &Contracts,
        shelf: &mut Shelf,
        limits: Limits,
    ) -> Result<Self, Vec<Complaint>> {
        let examples = match &binding.examples {
            Some(path) => shelf.of(path, method, contracts)?,
            None => Vec::new(),
        };
        let mock = Mock {
            method: Arc::clone(method),
            sampler: method.answer_sampler(),
            examples,
            seed: binding.seed,
            rows: binding.rows.into(),
        };
        Ok(Self { mock: Arc::new(mock), limits })
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, ConnectorError> {
        let deadline = self.limits.deadline(ask.deadline);
        let limit = self.limits.message;
        let messages = match (self.mock.method.shape(), ask.requests) {
            (Shape::Bidirectional, Some(requests)) => {
                let mock = Arc::clone(&self.mock);
                let each = move |request: Result<Bytes, _>| {
                    let request = request.map_err(|_| ConnectorError::Cancelled)?;
                    let mut messages = mock.replies(&request)?;
                    messages.next().ok_or(ConnectorError::NotFound)
                };
                return Ok(Answer { messages: requests.map(each).map(encoded(deadline, limit)).boxed() });
            }
            (_, Some(requests)) => self.mock.replies(&last(requests, deadline).await?)?,
            (_, None) => self.mock.replies(&ask.request)?,
        };
        let mut messages = stream::iter(messages).map(Ok).map(encoded(deadline, limit));
        if self.mock.method.shape().streams_answers() {
            return Ok(Answer { messages: messages.boxed() });
        }
        let only = messages.next().await.ok_or(ConnectorError::NotFound)??;
        Ok(Answer { messages: stream::once(std::future::ready(Ok(only))).boxed() })
    }
}

impl Connector for MockConnector {
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, ConnectorError>> {
        Box::pin(self.ask(ask))
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(super::healthcheck::check())
    }
}

impl Mock {
    /// Returns what answers a question: its example, or what is made up.
    fn replies(self: &Arc<Self>, request: &Bytes) -> Result<Messages, ConnectorError> {
        let question = DynamicMessage::decode(self.method.input().clone(), request.as_ref())
            .map_err(|_| ConnectorError::Failed { why: Failure::Internal })?;
        // The same question has the same answer, another question another.
        let seed = self.seed ^ digest(request);
        let example = self.examples.iter().find(|example| example.request.as_ref().is_none_or(|p| p.fits(&question)));
        let mock = Arc::clone(self);
        match example.map(|example| example.reply.clone()) {
            Some(Reply::Error { code, message }) => {
                Err(ConnectorError::Status { code, message, details: Bytes::new() })
            }
            Some(Reply::Messages(messages)) => Ok(Box::new(messages.into_iter())),
            Some(Reply::Filled(messages)) => {
                let rows = (0_u64..).zip(messages);
                Ok(Box::new(rows.map(move |(row, given)| filled(mock.made_up(&question, seed, row), &given))))
            }
            None => Ok(Box::new((0..self.count()).map(move |row| mock.made_up(&question, seed, row)))),
        }
    }

    fn made_up(&self, question: &DynamicMessage, seed: u64, row: u64) -> DynamicMessage {
        self.sampler.sample_for(question, seed.wrapping_add(row.wrapping_mul(0x9e37_79b9_7f4a_7c15))).message
    }

    fn count(&self) -> u64 {
        if self.method.shape() == Shape::ServerStream { self.rows } else { 1 }
    }
}

/// Encodes messages, and ends with the deadline or at one that is too large.
fn encoded(
    deadline: Option<Instant>,
    limit: usize,
) -> impl Fn(Result<DynamicMessage, ConnectorError>) -> Result<Bytes, ConnectorError> + Send {
    move |message| {
        let bytes = message?.encode_to_vec();
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(ConnectorError::Timeout);
        }
        if bytes.len() > limit { Err(ConnectorError::TooLarge { limit }) } else { Ok(bytes.into()) }
    }
}

/// Waits until a streamed request is whole, and returns its last message; an empty one where there was none.
async fn last(mut requests: Requests, deadline: Option<Instant>) -> Result<Bytes, ConnectorError> {
    let whole = async {
        let mut last = Bytes::new();
        while let Some(request) = requests.next().await {
            last = request.map_err(|_| ConnectorError::Cancelled)?;
        }
        Ok(last)
    };
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), whole).await.unwrap_or(Err(ConnectorError::Timeout)),
        None => whole.await,
    }
}

/// Returns a number that stands for these bytes, the same on every machine. Source: Fowler, Noll, Vo, FNV-1a of 64 bits.
fn digest(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
