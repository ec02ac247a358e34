//! `drawbridge call`: asks another member's system, as a partner system does: through the own gateway.

mod caller;
mod channel;
mod metadata;
mod progress;
mod request;
mod told;
mod withheld;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Args;
use contract::{Method, Shape};
use exchange::headers;
use federation::MemberId;
use problem::Problem;
use prost::Message as _;
use proto::exchange::{GetReceiptRequest, GetReceiptResponse};
use records::ExchangeId;

use crate::{
    failure::{Failure, Outcome, because},
    moments,
    terminal::{Out, say, some, warn},
};
use channel::{Channel, Reply};
use metadata::Metadata;
use progress::Progress;

pub(super) use caller::CallerOption;
pub(super) use told::status_name;

/// How long a gateway may take beyond the deadline to say that it has passed.
const GRACE: Duration = Duration::from_secs(2);
/// Where receipts are.
const RECEIPTS: &str = "/drawbridge.exchange.v1.Receipts/Get";
/// Largest receipt, in bytes.
const MAX_RECEIPT_BYTES: usize = 1024 * 1024;

/// Asks another member, and writes the answer as JSON; a stream as one JSON object a line
#[derive(Debug, Args)]
#[command(after_help = NOTE)]
pub(crate) struct Call {
    /// The member that is asked
    member: MemberId,
    /// The method, as in housing.v1.Tenancies/Find
    #[arg(value_name = "SERVICE/METHOD")]
    method: String,
    /// The request as JSON; `@FILE` reads it from a file, `-` from standard input
    #[arg(value_name = "JSON|@FILE|-", default_value = "{}")]
    request: String,
    #[command(flatten)]
    metadata: Metadata,
    /// How long the answer may take, as in 5s. Default: what the contract says, else the gateway's own
    #[arg(long, visible_alias = "timeout", value_name = "TIME", value_parser = moments::parse_duration)]
    deadline: Option<Duration>,
    #[command(flatten)]
    caller: CallerOption,
    /// Fetch the receipt of the exchange, and keep it in this file
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Say on standard error what the exchange was, and what the agreement withheld
    #[arg(long, short)]
    verbose: bool,
}

/// What is to be known about all of it.
const NOTE: &str = "\
It asks as a partner system does: through the clients' port of the own gateway, which has to run, and with the certificate of one of the \
own member's systems. The request is one message; methods that take a stream of them are for programs. A refusal says on standard error \
who refused and why, and the exit code is 1.";

impl Call {
    pub(crate) fn run(self) -> Outcome {
        super::block_on(self.ask())
    }

    async fn ask(self) -> Outcome {
        let caller = self.caller.read()?;
        let method = self.method(&caller)?;
        let message = request::message(&self.request, &method)?;
        let mut head = self.metadata.headers(&self.member)?;
        if let Some(deadline) = self.deadline {
            metadata::deadline(deadline, &mut head);
        }
        let limit = caller.message_limit();
        let begun = Instant::now();
        let asked = async {
            let mut channel = Channel::open(caller.target()).await?;
            let reply = channel.ask(method.path(), head, message, limit).await?;
            Ok::<_, Failure>((channel, reply))
        };
        let (mut channel, mut reply) = self.in_time(asked).await?;
        let passed_on = self.pass_on(&method, &mut reply).await?;
        let took = begun.elapsed();
        let exchange = reply
            .head()
            .get(headers::EXCHANGE_ID)
            .and_then(|value| value.to_str().ok())
            .and_then(|id| id.parse::<ExchangeId>().ok());
        let status = reply.status();
        if status.code == 0 {
            self.say_answered(exchange, passed_on, took);
        } else {
            told::refusal(&status, reply.hop().as_deref(), exchange);
        }
        self.epilogue(&caller, &method, &mut channel, &reply, exchange).await?;
        if status.code == 0 { Ok(()) } else { Err(Failure::told()) }
    }

    /// Gives up when the gateway does not even say that the deadline has passed.
    async fn in_time<T>(&self, asked: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let Some(deadline) = self.deadline else { return asked.await };
        match tokio::time::timeout(deadline.saturating_add(GRACE), asked).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Problem::new(
                "",
                format!("the own gateway did not answer within {}", moments::took(deadline.saturating_add(GRACE))),
            )
            .help("`drawbridge log list` shows whether it has recorded the question")
            .into()),
        }
    }

    fn method(&self, caller: &caller::Caller) -> Outcome<Arc<Method>> {
        let name = self.method.trim_start_matches('/');
        let Some(method) = caller.contracts.method(&format!("/{name}")) else {
            return Err(super::agreement::unknown_method(name, &caller.contracts).into());
        };
        match method.shape() {
            Shape::Unary | Shape::ServerStream => Ok(method.clone()),
            Shape::ClientStream | Shape::Bidirectional => {
                let what = format!("`{name}` takes a stream of requests, which `drawbridge call` does not send");
                Err(Problem::new("", what).help("call it from a program, with the stubs that protoc makes").into())
            }
        }
    }

    /// Writes the messages of the answer as they come. Returns how many there were.
    async fn pass_on(&self, method: &Method, reply: &mut Reply) -> Outcome<u64> {
        let mut out = Out::new();
        let progress = Progress::start(method.shape());
        let mut count = 0_u64;
        while let Some(message) = self.next(reply).await? {
            let json = method
                .answer_to_json(&message)
                .map_err(|error| because("the answer is not one of the contract's", &error))?;
            if method.shape() == Shape::Unary {
                out.line(pretty(&json))?;
            } else {
                out.line(json)?;
            }
            count = count.saturating_add(1);
            progress.rows(count);
            // A reader at a pipe has each row as soon as nothing more is at hand.
            if !reply.has_message() {
                out.flush()?;
            }
        }
        out.flush()?;
        progress.end();
        Ok(count)
    }

    async fn next(&self, reply: &mut Reply) -> Outcome<Option<Bytes>> {
        self.in_time(reply.message()).await
    }

    fn say_answered(&self, exchange: Option<ExchangeId>, messages: u64, took: Duration) {
        if !self.verbose {
            return;
        }
        let id = exchange.map(|id| id.to_string()).unwrap_or_default();
        let messages = some(messages, "message");
        say(format_args!("exchange {id}: answered by {} with {messages} in {}", self.member, moments::took(took)));
    }

    /// What was withheld, and the receipt.
    async fn epilogue(
        &self,
        caller: &caller::Caller,
        method: &Method,
        channel: &mut Channel,
        reply: &Reply,
        exchange: Option<ExchangeId>,
    ) -> Outcome {
        let digest = reply.head().get(headers::WITHHELD).and_then(|value| value.to_str().ok());
        if let (true, Some(digest)) = (self.verbose || self.receipt.is_some(), digest) {
            withheld::say(caller, &self.member, method, &self.metadata, digest);
        }
        let (Some(path), Some(exchange)) = (&self.receipt, exchange) else { return Ok(()) };
        let response = fetch(channel, exchange).await?;
        let covered = covered(&response);
        super::receipt::write(path, &response.receipt.unwrap_or_default())?;
        say(format_args!("receipt: {}, {covered}", path.display()));
        if !response.complete {
            let again = self.caller.again();
            warn(format_args!("later, `drawbridge receipt fetch {exchange}{again}` gets one that is"));
        }
        Ok(())
    }
}

/// Says what covers a receipt: where the provider's gateway took no part, there is one log only.
fn covered(response: &GetReceiptResponse) -> &'static str {
    let of_both = response.receipt.as_ref().is_some_and(|receipt| receipt.provider.is_some());
    match (of_both, response.complete) {
        (true, true) => "covered by checkpoints of both logs",
        (true, false) => "not covered by a checkpoint of each log yet",
        (false, true) => {
            "covered by a checkpoint of the consumer's log; the provider's gateway has signed nothing of it"
        }
        (false, false) => {
            "not covered by a checkpoint of the consumer's log yet; the provider's gateway has signed nothing of it"
        }
    }
}

/// Fetches the receipt of an exchange over a connection of its own.
pub(super) async fn receipt_of(caller: &CallerOption, exchange: ExchangeId) -> Outcome<GetReceiptResponse> {
    let caller = caller.read()?;
    let mut channel = Channel::open(caller.target()).await?;
    fetch(&mut channel, exchange).await
}

async fn fetch(channel: &mut Channel, exchange: ExchangeId) -> Outcome<GetReceiptResponse> {
    let request = GetReceiptRequest { exchange_id: exchange.to_string() };
    let mut reply =
        channel.ask(RECEIPTS, http::HeaderMap::new(), request.encode_to_vec().into(), MAX_RECEIPT_BYTES).await?;
    let mut message = None;
    while let Some(next) = reply.message().await? {
        message = Some(next);
    }
    let status = reply.status();
    match message {
        Some(message) if status.code == 0 => {
            Ok(GetReceiptResponse::decode(message)
                .map_err(|_| Problem::new("", "the gateway's answer is no receipt"))?)
        }
        _ => {
            let cause = format!("{}: {}", status_name(status.code), status.message);
            Err(Problem::new("", format!("there is no receipt of exchange {exchange}"))
                .cause(cause)
                .help("a system gets receipts of its own exchanges only")
                .into())
        }
    }
}

/// Lays JSON out for reading. It was just written, so it reads back; were it not to, one line is as true.
fn pretty(json: &str) -> String {
    let value: Result<serde_json::Value, _> = serde_json::from_str(json);
    value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| json.to_owned())
}

#[cfg(test)]
mod tests {
    use proto::exchange::{Disclosure, Receipt};

    use super::*;

    #[test]
    fn a_receipt_of_one_gateway_is_not_said_to_be_covered_by_two_logs() {
        let said = |provider: Option<Disclosure>, complete| {
            let receipt = Receipt { consumer: Some(Disclosure::default()), provider, ..Receipt::default() };
            covered(&GetReceiptResponse { receipt: Some(receipt), complete, ..GetReceiptResponse::default() })
        };
        assert_eq!(said(Some(Disclosure::default()), true), "covered by checkpoints of both logs");
        assert!(said(Some(Disclosure::default()), false).contains("of each log yet"));
        for complete in [true, false] {
            let said = said(None, complete);
            assert!(said.contains("the consumer's log") && !said.contains("both") && !said.contains("each"), "{said}");
            assert_eq!(said.starts_with("not covered"), !complete, "{said}");
        }
    }
}
