use drawbridge_tests::*;
#[tokio::test]
async fn scratch() {
    for method in ["Find", "List", "Unbound", "none"] {
        let mut federation = TestFederation::new().await.start();
        if method == "List" {
            federation.call("test.v1.Records/List", r#"{"count": "2000"}"#).await;
        } else if method != "none" {
            federation.call(&format!("test.v1.Records/{method}"), r#"{"id": "99"}"#).await;
        }
        let trust = federation.member(TRUST);
        for m in trust.metrics().lines().filter(|l| l.contains("drawbridge_link")) { eprintln!("{m}"); }
        let begun = std::time::Instant::now();
        let process = federation.take(TRUST);
        let log = federation.member(TRUST).folder.join("gateway.log");
        let ok = process.terminate();
        eprintln!("{method}: {ok} {:?}\n{}", begun.elapsed(), std::fs::read_to_string(log).unwrap());
    }
}
