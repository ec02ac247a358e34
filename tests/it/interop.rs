//! gRPC's interoperability cases through two gateways: grpcio asks, grpcio answers, and neither knows of the other side's
//! gateway.

use drawbridge_tests::{
    Agreement, COUNCIL, TRUST, TestFederation, eventually,
    python::{self, Backend},
};
use prost::Message as _;
use proto::link::{ConsumerClaims, ProviderClosing};
use records::Record;

/// The cases of `tests/python/interop.py`.
const CASES: [&str; 26] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
    "cancel_after_begin",
    "cancel_after_first_response",
    "timeout_on_sleeping_server",
    "many_messages",
    "early_answer",
    "largest_messages",
    "custom_metadata",
    "many_values",
    "unnamed_metadata",
    "too_much_metadata",
    "early_initial_metadata",
    "client_compressed_unary",
    "server_compressed_unary",
    "client_compressed_streaming",
    "server_compressed_streaming",
    "compressed_beyond_the_limit",
];
const METHODS: [&str; 6] =
    ["EmptyCall", "UnaryCall", "StreamingOutputCall", "StreamingInputCall", "FullDuplexCall", "UnimplementedCall"];

/// Under the first purpose metadata may cross, under the second none.
pub(crate) const GRANTS: &str = r#"
[[grant]]
service = "grpc.testing.TestService"
digest = "@digest:grpc.testing.TestService@"
methods = [@methods@]
systems = ["revenues"]
purposes = ["safeguarding"]
fields = "all"
kind = "query"
application_metadata = ["x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin", "x-many", "x-many-bin", "x-seen"]

[[grant]]
service = "grpc.testing.TestService"
digest = "@digest:grpc.testing.TestService@"
methods = [@methods@]
systems = ["revenues"]
purposes = ["quiet"]
fields = "all"
kind = "query"
"#;

/// Two gateways before grpcio's server.
pub(crate) async fn interop() -> (TestFederation, Backend) {
    let backend = Backend::of("interop_server.py", &[]);
    (before(backend.port).await, backend)
}

/// Two gateways before a back end on this port, under an agreement about every method.
pub(crate) async fn before(port: u16) -> TestFederation {
    let federation = TestFederation::without_agreement().await;
    bind(&federation, port, GRANTS);
    federation.start()
}

/// Binds every method to a back end on this port, under an agreement of these grants.
pub(crate) fn bind(federation: &TestFederation, port: u16, grants: &str) {
    let methods: Vec<String> = METHODS.iter().map(|method| format!("{method:?}")).collect();
    federation.agree(&Agreement {
        purposes: "[purpose.safeguarding]\nlegal_basis = \"Children Act 2004, section 11\"\n[purpose.quiet]\nlegal_basis = \"The same\"\n".to_owned(),
        grants: grants.replace("@methods@", &methods.join(", ")),
        ..Agreement::default()
    });
    let trust = federation.member(TRUST);
    trust.reconfigure("gateway = \"main\"\n", "gateway = \"main\"\ndevelopment = true\n");
    for method in METHODS {
        trust.configure(&format!(
            "\n[[binding]]\nmethod = \"grpc.testing.TestService/{method}\"\nconnector = {{ kind = \"grpc\", address = \
             \"http://127.0.0.1:{port}\", dangerous_plaintext = true }}\n"
        ));
    }
}

fn run(federation: &TestFederation, case: &str) {
    let council = federation.member(COUNCIL);
    let (clients, folder) = (council.clients.to_string(), council.folder.to_str().unwrap().to_owned());
    python::run("interop.py", &[case, "--clients", &clients, "--folder", &folder]);
}

/// What is recorded of a method at a member, settled records alone.
fn settled(federation: &TestFederation, member: &str, method: &str) -> Vec<Record> {
    let path = format!("/grpc.testing.TestService/{method}");
    let records = federation.member(member).records().into_iter();
    records.filter(|r| r.settles() && r.opened.as_ref().is_some_and(|o| o.private.method == path)).collect()
}

#[tokio::test]
async fn every_interoperability_case_passes_through_two_gateways() {
    let (federation, _backend) = interop().await;
    for case in CASES {
        eprintln!("case {case}");
        run(&federation, case);
    }
}

#[tokio::test]
async fn a_streamed_request_is_signed_counted_and_proven_on_both_sides() {
    let (federation, backend) = interop().await;
    run(&federation, "client_streaming");
    let whole = eventually("the server has read the whole request", 20, async || {
        backend.events().into_iter().find(|event| event["event"] == "whole")
    })
    .await;
    assert_eq!(whole["bytes"], 74922);
    let [asked] = settled(&federation, COUNCIL, "StreamingInputCall").try_into().unwrap();
    let [answered] = settled(&federation, TRUST, "StreamingInputCall").try_into().unwrap();
    let (asked, answered) = (asked.opened.unwrap().shared, answered.opened.unwrap().shared);
    assert_eq!((asked.request_messages, asked.messages), (4, 1));
    assert!(!asked.consumer_closing.is_empty() && asked.consumer_closing_seal.is_some());
    // The provider keeps what the consumer signed of the whole request.
    assert_eq!(asked.consumer_closing, answered.consumer_closing);
    assert_eq!(asked.consumer_closing_seal, answered.consumer_closing_seal);
}

#[tokio::test]
async fn a_caller_that_leaves_in_the_middle_of_its_request_is_recorded_and_reaches_the_server() {
    let (federation, backend) = interop().await;
    run(&federation, "cancel_after_first_response");
    eventually("the server's call has ended", 20, async || {
        backend.events().into_iter().find(|event| event["event"] == "ended")
    })
    .await;
    for member in [COUNCIL, TRUST] {
        let [record] = eventually("the exchange is settled", 20, async || {
            Some(settled(&federation, member, "FullDuplexCall")).filter(|found| !found.is_empty())
        })
        .await
        .try_into()
        .unwrap();
        let opened = record.opened.unwrap();
        assert_eq!(opened.private.outcome, "cancelled", "{member}");
        let shared = opened.shared;
        assert!(shared.consumer_closing.is_empty(), "{member}: the request was never whole");
        // The provider signs what it has read of it.
        let read = match member {
            TRUST => ProviderClosing::decode(shared.provider_closing).unwrap().request_messages,
            _ => shared.request_messages,
        };
        assert_eq!(read, 1, "{member}");
    }
}

#[tokio::test]
async fn of_metadata_that_crosses_both_logs_hold_digests_and_keys_and_no_value() {
    let (federation, _backend) = interop().await;
    run(&federation, "custom_metadata");
    for member in [COUNCIL, TRUST] {
        for method in ["UnaryCall", "FullDuplexCall", "StreamingInputCall"] {
            let records = settled(&federation, member, method);
            assert!(!records.is_empty());
            for record in records {
                let opened = record.opened.unwrap();
                let keys = ["x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"];
                assert_eq!(opened.private.request_metadata, keys, "{member} {method}");
                assert_eq!(opened.private.answer_metadata, [keys[0], keys[1], "x-seen"], "{member} {method}");
                let asked = ConsumerClaims::decode(opened.shared.consumer_claims.clone()).unwrap();
                let answered = ProviderClosing::decode(opened.shared.provider_closing.clone()).unwrap();
                assert_eq!(
                    (asked.metadata_digest.len(), answered.metadata_digest.len()),
                    (32, 32),
                    "{member} {method}"
                );
                let all = format!("{:?}{:?}", opened.shared, opened.private);
                assert!(!all.contains("test_initial_metadata_value"), "{member} {method}");
            }
        }
        let log = std::fs::read_to_string(federation.member(member).folder.join("gateway.log")).unwrap_or_default();
        assert!(!log.contains("test_initial_metadata_value"), "{member}");
    }
}
