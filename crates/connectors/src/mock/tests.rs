use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::Bytes;
use contract::{Contracts, Source};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{Ask, Asker, BindingConfig, Bindings, ConnectorError, Setup, Withdrawn};

const CONTRACT: &str = r#"
syntax = "proto3";
package housing.v1;
import "drawbridge/options/v1/options.proto";
service Tenancies {
  rpc Find(FindRequest) returns (Tenancy);
  rpc List(FindRequest) returns (stream Tenancy);
  rpc Collect(stream FindRequest) returns (Tenancy);
  rpc Talk(stream FindRequest) returns (stream Tenancy);
}
message FindRequest { string number = 1; Place place = 2; int32 days = 3; }
message Place { string postcode = 1; string town = 2; }
message Tenancy {
  string number = 1 [(drawbridge.options.v1.field) = { pattern: "T-[0-9]{4}" }];
  string tenant = 2;
  string start_date = 3 [(drawbridge.options.v1.field).format = FORMAT_DATE];
}
"#;

static CONTRACTS: LazyLock<Contracts> = LazyLock::new(|| {
    let files = vec![("housing/v1/tenancies.proto".to_owned(), CONTRACT.to_owned())];
    Contracts::load(&[Source::Protos { name: "proto".to_owned(), files }]).unwrap()
});

const METHODS: [&str; 4] = ["Find", "List", "Collect", "Talk"];

/// Binds every method with these keys beside `kind`.
async fn bound(keys: &str, folder: &Path) -> Result<Bindings, String> {
    let binding = |method| {
        let text = format!("method = \"housing.v1.Tenancies/{method}\"\nconnector = {{ kind = \"mock\"{keys} }}");
        toml::from_str::<BindingConfig>(&text).unwrap()
    };
    let bindings: Vec<BindingConfig> = METHODS.map(binding).into();
    let setup = Setup { bindings: &bindings, databases: &BTreeMap::new(), contracts: &CONTRACTS, folder };
    Bindings::prepare(setup).await.map_err(|problems| {
        let told = |problem: &crate::BindingProblem| {
            format!("{}: {} ({})", problem.key, problem.what, problem.help.as_deref().unwrap_or_default())
        };
        problems.iter().map(told).collect::<Vec<_>>().join("\n")
    })
}

async fn ask(bindings: &Bindings, method: &str, requests: &[Value]) -> Result<Vec<Value>, ConnectorError> {
    let binding = bindings.get(&format!("/housing.v1.Tenancies/{method}")).unwrap();
    let method = binding.method();
    let encoded: Vec<Bytes> =
        requests.iter().map(|request| method.request_from_json(&request.to_string()).unwrap().into()).collect();
    let streamed = method.shape().streams_requests();
    let question = Ask {
        method: Arc::clone(method),
        request: if streamed { Bytes::new() } else { encoded[0].clone() },
        requests: streamed.then(|| stream::iter(encoded.into_iter().map(Ok)).boxed()),
        deadline: None,
        metadata: Vec::new(),
        command: None,
        listener: None,
        asker: Asker::default(),
        stalled: None,
    };
    let mut answer = binding.connector().answer(question).await?;
    let mut messages = Vec::new();
    while let Some(message) = answer.messages.next().await {
        let message = message?;
        method.check_made_up_answer(&message).unwrap();
        messages.push(serde_json::from_str(&method.answer_to_json(&message).unwrap()).unwrap());
    }
    Ok(messages)
}

fn nowhere() -> &'static Path {
    Path::new("/nowhere")
}

#[tokio::test]
async fn every_shape_of_method_is_answered() {
    let bindings = bound(", rows = 5", nowhere()).await.unwrap();
    let question = |number: &str| json!({ "number": number });
    let found = ask(&bindings, "Find", &[question("T-1001")]).await.unwrap();
    assert_eq!((found.len(), &found[0]["number"]), (1, &json!("T-1001")));
    let listed = ask(&bindings, "List", &[json!({})]).await.unwrap();
    assert_eq!(listed.len(), 5);
    assert_ne!(listed[0]["number"], listed[1]["number"]);
    let collected = ask(&bindings, "Collect", &[question("T-1001"), question("T-1002")]).await.unwrap();
    assert_eq!((collected.len(), &collected[0]["number"]), (1, &json!("T-1002")));
    let talked = ask(&bindings, "Talk", &[question("T-1001"), question("T-1002")]).await.unwrap();
    assert_eq!((talked.len(), &talked[1]["number"]), (2, &json!("T-1002")));
    assert!(bindings.iter().all(crate::Binding::makes_up));
}

#[tokio::test]
async fn the_same_question_has_the_same_answer_under_one_seed() {
    let (one, other) = (bound("", nowhere()).await.unwrap(), bound(", seed = 7", nowhere()).await.unwrap());
    let question = [json!({ "place": { "town": "York" } })];
    let answer = ask(&one, "List", &question).await.unwrap();
    assert_eq!(answer, ask(&one, "List", &question).await.unwrap());
    assert_ne!(answer, ask(&other, "List", &question).await.unwrap());
    assert_ne!(answer, ask(&one, "List", &[json!({ "days": 3 })]).await.unwrap());
}

#[tokio::test]
async fn a_request_that_is_given_up_has_no_answer() {
    let bindings = bound("", nowhere()).await.unwrap();
    let binding = bindings.get("/housing.v1.Tenancies/Collect").unwrap();
    let requests = stream::iter([Ok(Bytes::new()), Err(Withdrawn)]).boxed();
    let method = Arc::clone(binding.method());
    let ask = Ask {
        method,
        request: Bytes::new(),
        requests: Some(requests),
        deadline: None,
        metadata: Vec::new(),
        command: None,
        listener: None,
        asker: Asker::default(),
        stalled: None,
    };
    assert_eq!(binding.connector().answer(ask).await.unwrap_err(), ConnectorError::Cancelled);
}

#[tokio::test]
async fn a_deadline_and_a_limit_hold_for_what_is_made_up_too() {
    let bindings = bound("", nowhere()).await.unwrap();
    let binding = bindings.get("/housing.v1.Tenancies/Find").unwrap();
    let method = Arc::clone(binding.method());
    let (request, deadline) = (Bytes::new(), Some(Instant::now()));
    let ask = Ask {
        method,
        request,
        requests: None,
        deadline,
        metadata: Vec::new(),
        command: None,
        listener: None,
        asker: Asker::default(),
        stalled: None,
    };
    assert_eq!(binding.connector().answer(ask).await.unwrap_err(), ConnectorError::Timeout);
}

/// The same examples in both forms.
const EXAMPLES: [(&str, &str); 2] = [
    (
        "examples.json",
        r#"{
            "housing.v1.Tenancies/Find": [
                { "request": { "number": "T-0001" }, "answer": { "number": "T-0001", "tenant": "A Tenant" } },
                { "request": { "place": { "town": "York" }, "days": 0 }, "answer": { "tenant": "Somebody in York" }, "fill": true },
                { "request": { "number": "T-0404" }, "error": { "code": "NOT_FOUND", "message": "no such tenancy" } }
            ],
            "housing.v1.Tenancies/List": [ { "answers": [ { "number": "T-0001" }, { "startDate": "2026-03-01" } ] } ]
        }"#,
    ),
    (
        "examples.toml",
        r#"
            [["housing.v1.Tenancies/Find"]]
            request = { number = "T-0001" }
            answer = { number = "T-0001", tenant = "A Tenant" }

            [["housing.v1.Tenancies/Find"]]
            request = { place = { town = "York" }, days = 0 }
            answer = { tenant = "Somebody in York" }
            fill = true

            [["housing.v1.Tenancies/Find"]]
            request = { number = "T-0404" }
            error = { code = "NOT_FOUND", message = "no such tenancy" }

            [["housing.v1.Tenancies/List"]]
            answers = [{ number = "T-0001" }, { start_date = 2026-03-01 }]
        "#,
    ),
];

#[tokio::test]
async fn examples_come_before_what_is_made_up() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in EXAMPLES {
        std::fs::write(folder.path().join(name), text).unwrap();
        let bindings = bound(&format!(", examples = \"{name}\""), folder.path()).await.unwrap();
        let find = async |question: Value| ask(&bindings, "Find", &[question]).await;
        let exact = find(json!({ "number": "T-0001", "days": 9 })).await.unwrap();
        assert_eq!(exact, [json!({ "number": "T-0001", "tenant": "A Tenant" })], "{name}");
        let filled = find(json!({ "place": { "town": "York", "postcode": "YO1 7HH" } })).await.unwrap();
        assert_eq!(filled[0]["tenant"], "Somebody in York", "{name}");
        assert!(filled[0]["number"].is_string(), "{name}");
        // `days` has to be 0.
        let other = find(json!({ "place": { "town": "York" }, "days": 1 })).await.unwrap();
        assert_ne!(other[0]["tenant"], "Somebody in York", "{name}");
        let missing = find(json!({ "number": "T-0404" })).await.unwrap_err();
        let expected = ConnectorError::Status { code: 5, message: "no such tenancy".to_owned(), details: Bytes::new() };
        assert_eq!(missing, expected, "{name}");
        let listed = ask(&bindings, "List", &[json!({})]).await.unwrap();
        assert_eq!(listed, [json!({ "number": "T-0001" }), json!({ "startDate": "2026-03-01" })], "{name}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_examples_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("{", "EOF while parsing"),
        (r#"{ "housing.v1.Tenancies/Fnd": [] }"#, "did you mean `housing.v1.Tenancies/Find`?"),
        (r#"{ "housing.v1.Tenancies/Find": [ {} ] }"#, "example 1 of `housing.v1.Tenancies/Find`: it needs one of"),
        (r#"{ "housing.v1.Tenancies/Find": [ { "answers": [] } ] }"#, "`answers` is for a stream"),
        (r#"{ "housing.v1.Tenancies/Find": [ { "answer": { "tennant": "A" } } ] }"#, "did you mean `tenant`?"),
        (
            r#"{ "housing.v1.Tenancies/Find": [ { "answer": { "number": "1" } } ] }"#,
            "breaks the contract: `number` has to match",
        ),
        (
            r#"{ "housing.v1.Tenancies/Find": [ { "request": { "nummer": "1" }, "answer": {} } ] }"#,
            "did you mean `number`?",
        ),
        (r#"{ "housing.v1.Tenancies/Find": [ { "error": { "code": "NOTFOUND" } } ] }"#, "did you mean `NOT_FOUND`?"),
        (r#"{ "housing.v1.Tenancies/Find": [ { "anwser": {} } ] }"#, "anwser"),
    ];
    for (text, says) in cases {
        std::fs::write(folder.path().join("examples.json"), text).unwrap();
        let told = bound(", examples = \"examples.json\"", folder.path()).await.unwrap_err();
        assert!(told.contains(says), "{text}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let told = bound(", examples = \"nothing.json\"", folder.path()).await.unwrap_err();
    assert!(told.contains("nothing.json") && told.lines().count() == 1, "{told}");
}

#[tokio::test]
async fn keys_of_other_kinds_are_refused() {
    let told = bound(", query = \"SELECT 1\"", nowhere()).await.unwrap_err();
    assert!(told.contains("binding[0].connector.query: a connector of kind `mock` has no key `query`"), "{told}");
}
