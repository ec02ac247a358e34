//! One suite for every kind of connector, each against a real legacy system.
//!
//! A [`System`] serves `fixture.v1.Patients/Find` and `/All` with the patients that [`Question`] names. What a kind has beyond
//! the suite is tested in its own file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

extern crate drawbridge_connectors as connectors;

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use connectors::{Answer, Ask, BindingConfig, Bindings, ConnectorError, DatabaseConfig, Setup};
use contract::{Contracts, Source};
use futures_util::StreamExt;

#[cfg(feature = "grpc")]
#[path = "conformance/back_end.rs"]
mod back_end;
#[cfg(feature = "grpc")]
#[path = "conformance/grpc.rs"]
mod grpc;
#[cfg(feature = "sql")]
#[path = "conformance/postgres.rs"]
mod postgres;
#[cfg(feature = "grpc")]
#[path = "conformance/raw.rs"]
mod raw;
#[cfg(feature = "grpc")]
#[path = "conformance/retiring.rs"]
mod retiring;
#[cfg(feature = "sql")]
#[allow(dead_code, reason = "other tests use more of it")]
#[path = "postgres/server.rs"]
mod server;
#[cfg(feature = "sql")]
#[path = "conformance/sql.rs"]
mod sql;

/// Largest message that every binding of the suite allows, in bytes.
pub(crate) const LIMIT: usize = 64 * 1024;

/// What the suite asks. The text is the NHS number asked for.
pub(crate) struct Question;

impl Question {
    /// Answered by [`ASHE`].
    const GOOD: &str = "9990000018";
    /// Answered by nobody.
    const NOBODY: &str = "nobody";
    /// Never answered.
    const SLOW: &str = "slow";
    /// Answered by something that is not the contract's message.
    const MALFORMED: &str = "malformed";
    /// Answered by a message of more than [`LIMIT`] bytes.
    const LARGE: &str = "large";
}

/// The patient that every system knows.
const ASHE: &str = r#"{"nhsNumber":"9990000018","name":{"family":"Ashe"},"visits":"3"}"#;

/// A legacy system of one kind.
pub(crate) trait System: Sized {
    /// Starts the system and prepares its two bindings, which together have room for one question at a time where the kind knows such a limit.
    async fn start() -> Self;

    fn bindings(&self) -> &Bindings;

    /// Makes the system unreachable.
    async fn stop(&mut self);

    /// Makes it reachable again, at the same place.
    async fn start_again(&mut self);

    /// Says what a question gets whose credentials the system does not take.
    async fn with_wrong_credentials(&self) -> ConnectorError;

    /// Waits until the system works on no question any more.
    async fn rest(&self);

    /// The kind's answer for nobody.
    fn not_found() -> ConnectorError;
}

static CONTRACTS: LazyLock<Contracts> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files = ["everything.proto", "google/type/date.proto"]
        .map(|name| (name.to_owned(), std::fs::read_to_string(folder.join(name)).unwrap()));
    let name = "tests/fixtures".into();
    Contracts::load(&[Source::Protos { name, files: files.into() }]).unwrap()
});

/// Prepares bindings from the text of their tables.
pub(crate) async fn prepare(text: &str, folder: &Path) -> Result<Bindings, Vec<connectors::BindingProblem>> {
    #[derive(serde::Deserialize)]
    struct File {
        binding: Vec<BindingConfig>,
        #[serde(default)]
        database: std::collections::BTreeMap<String, DatabaseConfig>,
    }
    let file: File = toml::from_str(text).unwrap();
    let setup = Setup { bindings: &file.binding, databases: &file.database, contracts: &CONTRACTS, folder };
    Bindings::prepare(setup).await
}

pub(crate) async fn ask(
    bindings: &Bindings,
    method: &str,
    request: &str,
    deadline: Option<Instant>,
) -> Result<Answer, ConnectorError> {
    ask_with(bindings, method, request, deadline, Vec::new()).await
}

pub(crate) async fn ask_with(
    bindings: &Bindings,
    method: &str,
    request: &str,
    deadline: Option<Instant>,
    metadata: Vec<(String, String)>,
) -> Result<Answer, ConnectorError> {
    let binding = bindings.get(&format!("/fixture.v1.Patients/{method}")).unwrap();
    let request = binding.method().request_from_json(request).unwrap();
    binding.connector().answer(Ask { deadline, metadata, ..Ask::new(binding.method(), request) }).await
}

/// Asks for one patient, and returns it as JSON.
pub(crate) async fn find(bindings: &Bindings, number: &str) -> Result<String, ConnectorError> {
    find_until(bindings, number, None).await
}

async fn find_until(bindings: &Bindings, number: &str, deadline: Option<Instant>) -> Result<String, ConnectorError> {
    let request = format!("{{\"nhsNumber\":\"{number}\"}}");
    let answer = ask(bindings, "Find", &request, deadline).await?;
    let messages: Vec<_> = answer.messages.collect().await;
    assert_eq!(messages.len(), 1, "a unary answer is one message");
    let message: bytes::Bytes = messages.into_iter().next().unwrap()?;
    Ok(json(bindings, "Find", &message))
}

fn json(bindings: &Bindings, method: &str, message: &[u8]) -> String {
    let binding = bindings.get(&format!("/fixture.v1.Patients/{method}")).unwrap();
    binding.method().answer_to_json(message).unwrap()
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_millis(250)
}

/// Waits for what has to come about, for half a minute at most.
#[cfg(feature = "grpc")]
pub(crate) async fn soon_enough<T>(wanted: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), wanted).await.expect("it comes about")
}

/// Tries until `done`, for half a minute at most.
pub(crate) async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(done) = attempt().await {
            return done;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_question_is_answered<S: System>() {
    let system = S::start().await;
    assert_eq!(find(system.bindings(), Question::GOOD).await.unwrap(), ASHE);
    let answer = ask(system.bindings(), "All", "{\"first\":\"3\"}", None).await.unwrap();
    let messages: Vec<_> = answer.messages.collect().await;
    assert_eq!(messages.len(), 3);
    for message in messages {
        let message: bytes::Bytes = message.unwrap();
        assert!(json(system.bindings(), "All", &message).starts_with("{\"nhsNumber\":"));
    }
    system.rest().await;
}

async fn nobody_is_found<S: System>() {
    let system = S::start().await;
    assert_eq!(find(system.bindings(), Question::NOBODY).await, Err(S::not_found()));
    assert!(find(system.bindings(), Question::GOOD).await.is_ok());
}

async fn a_slow_answer_ends_with_its_deadline<S: System>() {
    let system = S::start().await;
    let since = Instant::now();
    assert_eq!(find_until(system.bindings(), Question::SLOW, Some(soon())).await, Err(ConnectorError::Timeout));
    system.rest().await;
    // One message, and then silence. The system is reached already, and has time enough for the first message.
    assert!(find(system.bindings(), Question::GOOD).await.is_ok());
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut answer = ask(system.bindings(), "All", "{\"first\":\"-1\"}", Some(deadline)).await.unwrap();
    assert!(answer.messages.next().await.unwrap().is_ok());
    assert_eq!(answer.messages.next().await, Some(Err(ConnectorError::Timeout)));
    assert_eq!(answer.messages.next().await, None);
    assert!(since.elapsed() < Duration::from_secs(30));
    system.rest().await;
}

async fn a_deadline_that_has_passed_asks_nothing<S: System>() {
    let system = S::start().await;
    let past = Instant::now().checked_sub(Duration::from_millis(1)).unwrap();
    assert_eq!(find_until(system.bindings(), Question::GOOD, Some(past)).await, Err(ConnectorError::Timeout));
    system.rest().await;
}

async fn what_cannot_be_reached_is_said_so<S: System>() {
    let mut system = S::start().await;
    assert!(find(system.bindings(), Question::GOOD).await.is_ok());
    system.stop().await;
    let error = until("being unreachable", async || find(system.bindings(), Question::GOOD).await.err()).await;
    // A kept connection may be lost with the first question on it.
    let error = if matches!(error, ConnectorError::Failed { .. }) {
        find(system.bindings(), Question::GOOD).await.unwrap_err()
    } else {
        error
    };
    assert!(matches!(error, ConnectorError::Unreachable { .. }), "{error}");
    let error = ask(system.bindings(), "All", "{}", None).await.err().unwrap();
    assert!(matches!(error, ConnectorError::Unreachable { .. }), "{error}");
}

async fn wrong_credentials_are_said_so<S: System>() {
    let system = S::start().await;
    let error = system.with_wrong_credentials().await;
    assert!(matches!(error, ConnectorError::Credentials { .. }), "{error}");
}

async fn a_malformed_answer_is_refused<S: System>() {
    let system = S::start().await;
    let error = find(system.bindings(), Question::MALFORMED).await.unwrap_err();
    assert!(matches!(error, ConnectorError::Malformed { .. } | ConnectorError::Mapping { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("CANARY"));
    assert!(find(system.bindings(), Question::GOOD).await.is_ok());
}

async fn an_answer_too_large_is_refused<S: System>() {
    let system = S::start().await;
    assert_eq!(find(system.bindings(), Question::LARGE).await, Err(ConnectorError::TooLarge { limit: LIMIT }));
    assert!(find(system.bindings(), Question::GOOD).await.is_ok());
    system.rest().await;
}

async fn taking_a_question_back_stops_the_work<S: System>() {
    let system = S::start().await;
    let waited = tokio::time::timeout(Duration::from_millis(50), find(system.bindings(), Question::SLOW)).await;
    assert!(waited.is_err());
    system.rest().await;
    // In the midst of a stream that would go on for ever.
    let mut answer = ask(system.bindings(), "All", "{}", None).await.unwrap();
    for _ in 0..5 {
        assert!(answer.messages.next().await.unwrap().is_ok());
    }
    drop(answer);
    system.rest().await;
    assert!(find(system.bindings(), Question::GOOD).await.is_ok());
}

async fn a_system_that_comes_back_is_found_again<S: System>() {
    let mut system = S::start().await;
    for _ in 0..2 {
        assert!(find(system.bindings(), Question::GOOD).await.is_ok());
        system.stop().await;
        until("being unreachable", async || find(system.bindings(), Question::GOOD).await.err()).await;
        system.start_again().await;
        until("being reachable", async || find(system.bindings(), Question::GOOD).await.ok()).await;
    }
}

async fn health_tells_what_a_question_would_get<S: System>() {
    let mut system = S::start().await;
    for binding in system.bindings().iter() {
        binding.health().await.unwrap();
    }
    system.stop().await;
    until("ill health", async || system.bindings().iter().next().unwrap().health().await.err()).await;
}

async fn many_questions_at_once_are_all_answered<S: System>() {
    let system = S::start().await;
    let asked = (0..100).map(|_| find(system.bindings(), Question::GOOD));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.unwrap(), ASHE);
    }
}

macro_rules! conformance {
    ($kind:ident, $system:ty; $($test:ident)*) => {
        mod $kind {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test::<$system>().await;
                }
            )*
        }
    };
    ($kind:ident, $system:ty) => {
        conformance! { $kind, $system;
            a_question_is_answered
            nobody_is_found
            a_slow_answer_ends_with_its_deadline
            a_deadline_that_has_passed_asks_nothing
            what_cannot_be_reached_is_said_so
            wrong_credentials_are_said_so
            a_malformed_answer_is_refused
            an_answer_too_large_is_refused
            taking_a_question_back_stops_the_work
            a_system_that_comes_back_is_found_again
            health_tells_what_a_question_would_get
            many_questions_at_once_are_all_answered
        }
    };
}

#[cfg(feature = "sql")]
conformance! { sql_on_sqlite, super::sql::Sqlite }
#[cfg(feature = "sql")]
conformance! { sql_on_postgresql, super::postgres::Postgres }
#[cfg(feature = "grpc")]
conformance! { grpc_with_tls, super::grpc::Secure }
#[cfg(feature = "grpc")]
conformance! { grpc_in_plain_text, super::grpc::Plain }
