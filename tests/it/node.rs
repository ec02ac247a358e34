//! Partner systems in Node that speak the Connect protocol and gRPC-Web, each with the client that its makers publish.

use drawbridge_tests::{COUNCIL, TRUST, TestFederation, eventually, node};
use records::Record;

use crate::interop::interop;

/// Waits until an exchange is settled at a member.
async fn settled(federation: &TestFederation, member: &str, exchange: &str) -> Record {
    eventually("the exchange is settled", 20, async || {
        federation.member(member).records_of(exchange).into_iter().find(Record::settles)
    })
    .await
}

#[tokio::test]
async fn connect_node_makes_calls_of_every_kind_and_reads_refusals() {
    let (federation, _backend) = interop().await;
    let found = node::run("connect.mjs", federation.member(COUNCIL));
    let found = found.as_array().unwrap();
    // Over both versions of HTTP, in protobuf and JSON, packed and not.
    assert_eq!(found.len(), 8);
    for (at, one) in found.iter().enumerate() {
        let exchanges = one["exchanges"].as_object().unwrap();
        assert_eq!(exchanges.len(), if at < 4 { 3 } else { 4 }, "{one}");
        for exchange in exchanges.values() {
            for member in [COUNCIL, TRUST] {
                let record = settled(&federation, member, exchange.as_str().unwrap()).await;
                assert_eq!(record.opened.unwrap().private.outcome, "answered", "{member} {one}");
            }
        }
        for refused in one["refused"].as_array().unwrap() {
            let record = settled(&federation, COUNCIL, refused.as_str().unwrap()).await;
            assert_eq!(record.opened.unwrap().refusal(), "WRONG_PURPOSE", "{one}");
        }
    }
}

#[tokio::test]
async fn googles_client_of_grpc_web_reads_answers_streams_and_refusals_in_its_text_form() {
    let federation = TestFederation::new().await.start();
    let found = node::run("grpc_web.mjs", federation.member(COUNCIL));
    for exchange in found["exchanges"].as_array().unwrap() {
        let record = settled(&federation, TRUST, exchange.as_str().unwrap()).await;
        assert_eq!(record.opened.unwrap().private.outcome, "answered");
    }
}
