//! What a gateway tells of itself to those who watch it: traces and metrics for a collector, alerts and dashboard, lines of its log.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use drawbridge_tests::{
    COUNCIL, Client, Member, Reply, TRUST, TestFederation, eventually,
    federation::standard,
    python::{self, Backend, repository},
};
use exchange::Reason;
use federation::authority::{Authority, Flavour};
use http::HeaderMap;
use serde_json::Value;

/// The trace of a caller that keeps it, and its span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// Standard metadata in a trace that the caller keeps.
fn traced() -> HeaderMap {
    let mut given = standard();
    given.insert("traceparent", format!("00-{TRACE}-{SPAN}-01").parse().unwrap());
    given
}

fn export(member: &Member, collector: &str, more: &str) {
    member.configure(&format!("\n[telemetry]\nendpoint = \"{collector}\"\n{more}\n"));
}

/// All spans that a collector has.
fn spans(collector: &Backend) -> Vec<Value> {
    let exports = collector.events().into_iter().filter(|event| event["event"] == "spans");
    exports.flat_map(|event| event["spans"].as_array().unwrap().clone()).collect()
}

/// The span of an exchange at one side, and those of its verbs.
async fn exchange_in(collector: &Backend, exchange: &str, side: &str) -> (Value, Vec<Value>) {
    eventually(&format!("{exchange} is exported by the {side}"), 20, async || {
        let spans = spans(collector);
        let whole = spans.iter().find(|span| {
            span["attributes"]["drawbridge.exchange.id"] == exchange && span["attributes"]["drawbridge.side"] == side
        })?;
        let verbs = spans.iter().filter(|span| span["parent"] == whole["id"] && span["kind"] != 2);
        Some((whole.clone(), verbs.cloned().collect()))
    })
    .await
}

fn names(spans: &[Value]) -> Vec<&str> {
    spans.iter().map(|span| span["name"].as_str().unwrap()).collect()
}

fn named<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    spans.iter().find(|span| span["name"] == name).unwrap()
}

/// The value of a series; 0 where there is none.
fn series(member: &Member, name: &str, label: &str) -> u64 {
    let (_, text) = member.get("/metrics");
    let sample = text.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    sample.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Calls a method of the back end in Python.
async fn ask(federation: &TestFederation, method: &str, json: &str, given: &HeaderMap) -> Reply {
    let request = federation.request(method, json);
    federation.revenues().await.call(&format!("/{method}"), given, &request).await.unwrap()
}

#[tokio::test]
async fn a_trace_goes_from_the_caller_through_both_gateways_to_the_back_end_verb_by_verb() {
    let federation = TestFederation::new().await;
    let (collector, _backend) = (Backend::of("collector.py", &[]), Backend::behind(&federation));
    let endpoint = format!("http://127.0.0.1:{}", collector.port);
    // None that begins here: then all that comes is of a caller that keeps its trace.
    let more = "sample = 0.0\ninterval = \"1s\"\n[telemetry.resource]\n\"deployment.environment.name\" = \"test\"";
    for member in [COUNCIL, TRUST] {
        export(federation.member(member), &endpoint, more);
    }
    let federation = federation.start();
    let untraced = ask(&federation, "test.v1.Echo/Say", r#"{"text": "a"}"#, &standard()).await;
    assert_eq!(untraced.status.code, 0, "{}", untraced.status.message);
    let reply = ask(&federation, "test.v1.Echo/Say", r#"{"text": "a"}"#, &traced()).await;
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);

    let (consumer, asking) = exchange_in(&collector, &reply.exchange(), "consumer").await;
    let (provider, answering) = exchange_in(&collector, &reply.exchange(), "provider").await;
    assert_eq!(names(&asking), ["receive", "identify", "permit", "open", "sign", "send", "verify", "settle"]);
    assert_eq!(names(&answering), ["receive", "verify", "permit", "answer", "settle"]);
    // Caller, consumer, link, provider, back end: each the parent of the next.
    assert_eq!(consumer["parent"], SPAN);
    assert_eq!(provider["parent"], named(&asking, "send")["id"]);
    let answer = federation.answer("test.v1.Echo/Say", &reply.messages[0]);
    let answer_span = named(&answering, "answer")["id"].as_str().unwrap();
    let told = format!("traceparent=00-{TRACE}-{answer_span}-01");
    assert!(answer["metadata"].as_array().unwrap().iter().any(|seen| *seen == told), "{told}: {answer}");
    for (whole, verbs) in [(&consumer, &asking), (&provider, &answering)] {
        assert_eq!((whole["name"].as_str(), whole["kind"].as_u64()), (Some("test.v1.Echo/Say"), Some(2)), "{whole}");
        let attributes = &whole["attributes"];
        let expected = [
            ("rpc.system.name", "grpc"),
            ("rpc.method", "test.v1.Echo/Say"),
            ("rpc.response.status_code", "OK"),
            ("drawbridge.consumer", COUNCIL),
            ("drawbridge.provider", TRUST),
            ("drawbridge.outcome", "answered"),
        ];
        for (key, value) in expected {
            assert_eq!(attributes[key], value, "{key}");
        }
        let moments = |span: &Value| [&span["start"], &span["end"]].map(|moment| moment.as_u64().unwrap());
        let [start, end] = moments(whole);
        let mut at = start;
        for verb in verbs {
            let [begins, ends] = moments(verb);
            assert!(begins == at && ends >= begins && ends <= end, "{verb} in {whole}");
            at = ends;
        }
        assert_eq!(at, end);
    }
    assert!(spans(&collector).iter().all(|span| span["trace"] == TRACE), "a call without a trace was exported");
    let resources: BTreeSet<String> = collector.events().iter().map(|event| event["resource"].to_string()).collect();
    for member in [COUNCIL, TRUST] {
        let own = |resource: &&String| {
            resource.contains(&format!("\"service.instance.id\": \"{member}/main\"").replace(": ", ":"))
        };
        let resource: Value = serde_json::from_str(resources.iter().find(own).expect(member)).unwrap();
        assert_eq!((&resource["service.name"], &resource["service.namespace"]), (&"drawbridge".into(), &member.into()));
        assert_eq!(resource["deployment.environment.name"], "test");
    }

    streams_and_refusals(&federation, &collector).await;
    metrics_of_both(&federation, &collector).await;
}

/// What differs in the spans of a stream and of a refusal.
async fn streams_and_refusals(federation: &TestFederation, collector: &Backend) {
    let streamed = ask(federation, "test.v1.Echo/Repeat", r#"{"text": "a", "times": "5"}"#, &traced()).await;
    let (_, asking) = exchange_in(collector, &streamed.exchange(), "consumer").await;
    let (_, answering) = exchange_in(collector, &streamed.exchange(), "provider").await;
    assert_eq!(names(&asking), ["receive", "identify", "permit", "open", "sign", "record", "send", "verify", "settle"]);
    assert_eq!(names(&answering), ["receive", "verify", "permit", "record", "answer", "settle"]);
    assert_eq!(named(&asking, "verify")["status"], 0);

    let mut wrong = traced();
    wrong.insert("drawbridge-purpose", "curiosity".parse().unwrap());
    let refused = ask(federation, "test.v1.Echo/Say", r#"{"text": "a"}"#, &wrong).await;
    assert_eq!(refused.reason(), Some(Reason::WrongPurpose));
    let (whole, verbs) = exchange_in(collector, &refused.exchange(), "consumer").await;
    assert_eq!(names(&verbs), ["receive", "identify", "permit", "settle"]);
    assert_eq!(named(&verbs, "permit")["attributes"]["error.type"], "WRONG_PURPOSE");
    // A refusal is an answer of the server, and no failure of it.
    assert_eq!((&whole["status"], &whole["attributes"]["drawbridge.reason"]), (&0.into(), &"WRONG_PURPOSE".into()));
}

/// The metrics of both members come too.
async fn metrics_of_both(federation: &TestFederation, collector: &Backend) {
    for member in [COUNCIL, TRUST] {
        let found = eventually("metrics are exported", 20, async || {
            let of = |event: &Value| event["event"] == "metrics" && event["resource"]["service.namespace"] == member;
            let last = collector.events().into_iter().rfind(of)?;
            last["metrics"].get("drawbridge.exchange.settled").is_some().then_some(last)
        })
        .await;
        let kinds = &found["metrics"];
        assert_eq!(
            (&kinds["drawbridge.exchange.duration"], &kinds["drawbridge.ledger.healthy"]),
            (&"histogram".into(), &"gauge".into())
        );
        assert!(series(federation.member(member), "drawbridge_telemetry_spans_total", "outcome=\"exported\"") > 0);
    }
}

#[tokio::test]
async fn telemetry_goes_by_grpc_or_http_in_tls_with_headers_from_a_file() {
    let federation = TestFederation::new().await;
    let mut collectors = BTreeMap::new();
    for (member, protocol) in [(COUNCIL, "grpc"), (TRUST, "http")] {
        let member = federation.member(member);
        let issued = member.authority.issue_gateway(&member.gateway, &["localhost"], SystemTime::now()).unwrap();
        let (certificate, key) = (member.folder.join("collector.pem"), member.folder.join("collector.key.pem"));
        std::fs::write(&certificate, &issued.certificate_pem).unwrap();
        std::fs::write(&key, &issued.key_pem).unwrap();
        let files = ["--certificate", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
        let arguments = [&files[..], if protocol == "http" { &["--http"] } else { &[] }].concat();
        let collector = Backend::of("collector.py", &arguments);
        std::fs::write(member.folder.join("telemetry.headers"), "Authorization: Bearer 100%secret\n").unwrap();
        let more = format!(
            "protocol = \"{protocol}\"\nca = \"offline/authority.pem\"\nheaders = \"telemetry.headers\"\nsample = 1.0\ninterval = \"1s\""
        );
        export(member, &format!("https://localhost:{}", collector.port), &more);
        collectors.insert(member.id.to_string(), collector);
    }
    let federation = federation.start();
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    for (member, side) in [(COUNCIL, "consumer"), (TRUST, "provider")] {
        let collector = &collectors[member];
        exchange_in(collector, &reply.exchange(), side).await;
        eventually("metrics are exported", 20, async || {
            collector.events().iter().any(|event| event["event"] == "metrics").then_some(())
        })
        .await;
        for event in collector.events() {
            assert_eq!(event["headers"]["authorization"], "Bearer 100%secret", "{member}");
        }
    }
}

#[tokio::test]
async fn a_collector_that_hangs_or_is_down_changes_nothing_but_the_counts_of_what_is_lost() {
    let federation = TestFederation::new().await;
    // Connections come about, and nobody ever answers on them.
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let [down] = drawbridge_tests::ports::free_ports();
    let more = "sample = 1.0\nqueue = 8\ninterval = \"1s\"";
    export(federation.member(COUNCIL), &format!("http://{}", hangs.local_addr().unwrap()), more);
    export(federation.member(TRUST), &format!("http://{down}"), &format!("{more}\nprotocol = \"http\""));
    let mut federation = federation.start();
    let (mut client, find) =
        (federation.revenues().await, federation.request("test.v1.Records/Find", r#"{"id": "1"}"#));
    let slowest = {
        let mut slowest = Duration::ZERO;
        for _ in 0..100 {
            let begun = Instant::now();
            let reply = client.call("/test.v1.Records/Find", &standard(), &find).await.unwrap();
            assert_eq!(reply.status.code, 0, "{}", reply.status.message);
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };
    assert!(slowest < Duration::from_secs(5), "an exchange waited for the collector: {slowest:?}");
    let lost = |outcome: &str, member| {
        series(federation.member(member), "drawbridge_telemetry_spans_total", &format!("outcome=\"{outcome}\""))
    };
    eventually("what has no room is dropped", 20, async || (lost("dropped", COUNCIL) > 0).then_some(())).await;
    eventually("what nobody takes has failed", 30, async || (lost("failed", TRUST) > 0).then_some(())).await;
    assert_eq!([COUNCIL, TRUST].map(|member| lost("exported", member)), [0, 0]);
    for member in [COUNCIL, TRUST] {
        let process = federation.take(member);
        let begun = Instant::now();
        assert!(process.terminate());
        assert!(begun.elapsed() < Duration::from_secs(15), "the end waited for the collector: {:?}", begun.elapsed());
    }
    let log = std::fs::read_to_string(federation.member(TRUST).folder.join("gateway.log")).unwrap();
    let told = log.lines().filter(|line| line.contains("telemetry cannot be exported")).count();
    assert!((1..=2).contains(&told), "once for traces, once for metrics: {log}");
}

fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(repository().join("deploy/prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`promtool` is missing: `cargo xtask test --only install` installs it (Debian package `prometheus`)");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Names of metrics in a text.
fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("drawbridge_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics_and_alerts_and_dashboard_use_what_is_there() {
    let federation = TestFederation::new().await.start();
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    let (_, metrics) = federation.member(COUNCIL).get("/metrics");
    let (clean, said) = promtool(&["check", "metrics"], &metrics);
    assert!(clean && said.trim().is_empty(), "{said}");
    let there: BTreeSet<&str> = metrics.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    let deploy = repository().join("deploy");
    for (file, least) in [("prometheus/alerts.yaml", 15), ("grafana/dashboard.json", 20)] {
        let names = metric_names(&std::fs::read_to_string(deploy.join(file)).unwrap());
        assert!(names.len() >= least, "{file}: {names:?}");
        for name in names {
            assert!(there.contains(name.as_str()), "`{name}` of {file} is no metric of a gateway");
        }
    }
    let dashboard = std::fs::read_to_string(deploy.join("grafana/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

#[test]
fn promtool_finds_the_alerts_well_formed_and_firing_when_they_should() {
    for arguments in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]] {
        let (ok, said) = promtool(&arguments, "");
        assert!(ok, "{arguments:?}: {said}");
    }
    // Each alert is among those that are tested to fire.
    let folder = repository().join("deploy/prometheus");
    let [rules, tests] =
        ["alerts.yaml", "alerts.test.yaml"].map(|file| std::fs::read_to_string(folder.join(file)).unwrap());
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}\n        exp_alerts:")), "no test has `{alert}` fire");
    }
}

/// Asks for metrics in OpenMetrics.
fn openmetrics(member: &Member) -> String {
    let mut stream = std::net::TcpStream::connect(member.operations).unwrap();
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("application/openmetrics-text"), "{head}");
    body.to_owned()
}

#[tokio::test]
async fn a_traced_exchange_is_an_exemplar_of_its_duration() {
    let federation = TestFederation::new().await;
    let collector = Backend::of("collector.py", &[]);
    let council = federation.member(COUNCIL);
    export(council, &format!("http://127.0.0.1:{}", collector.port), "sample = 0.0");
    let federation = federation.start();
    let council = federation.member(COUNCIL);
    for given in [standard(), traced()] {
        let reply = ask(&federation, "test.v1.Records/Find", r#"{"id": "1"}"#, &given).await;
        assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    }
    let file = council.folder.join("metrics.txt");
    std::fs::write(&file, openmetrics(council)).unwrap();
    let found: Value =
        serde_json::from_str(&python::run("lines.py", &["openmetrics", file.to_str().unwrap()])).unwrap();
    let [exemplar] = found["exemplars"].as_array().unwrap().as_slice() else { panic!("one is traced: {found}") };
    assert_eq!(exemplar["trace"], TRACE);
    assert_eq!(exemplar["name"], "drawbridge_exchange_duration_seconds_bucket");
    assert_eq!(exemplar["labels"]["method"], "/test.v1.Records/Find");
    let bound: f64 = exemplar["labels"]["le"].as_str().unwrap().replace("+Inf", "inf").parse().unwrap();
    assert!(exemplar["value"].as_f64().unwrap() <= bound);
    // The plain text has the same metrics.
    let there = metric_names(&council.get("/metrics").1);
    for family in found["families"].as_array().unwrap() {
        let name = family.as_str().unwrap();
        assert!(there.iter().any(|known| known.starts_with(name)), "{name}");
    }
}

/// Comes to a member's links with a certificate of somebody who only says that he is the council.
async fn come_as_impostor(federation: &TestFederation) {
    let (council, trust) = (federation.member(COUNCIL), federation.member(TRUST));
    let impostor = Authority::create(&council.id, Flavour::Production, SystemTime::now()).unwrap();
    let forged = impostor.issue_gateway(&council.gateway, &["localhost"], SystemTime::now()).unwrap();
    let root = trust.authority.certificate_pem();
    // TLS 1.3 lets a client believe that it is in until it reads.
    if let Ok(mut client) = Client::connect(trust.links, &root, &forged.certificate_pem, &forged.key_pem).await {
        assert!(client.call("/drawbridge.link.v1/Open", &HeaderMap::new(), b"").await.is_err());
    }
}

#[tokio::test]
async fn refused_handshakes_and_closed_connections_are_counted_by_kind() {
    let federation = TestFederation::new().await.start();
    let (council, trust) = (federation.member(COUNCIL), federation.member(TRUST));
    let counts = |kind: &str| series(trust, "drawbridge_security_events_total", &format!("kind=\"{kind}\""));
    let kinds = [
        "certificate-refused",
        "handshake-failed",
        "connection-unidentified",
        "connections-crowded",
        "limit-breached",
        "untrusted-connection-closed",
    ];
    let (_, text) = trust.get("/metrics");
    for kind in kinds {
        assert!(
            text.contains(&format!("kind=\"{kind}\"")) && counts(kind) == 0,
            "{kind} is there from the start: {text}"
        );
    }
    come_as_impostor(&federation).await;
    eventually("both are counted", 10, async || {
        (counts("certificate-refused") == 1 && counts("handshake-failed") == 1).then_some(())
    })
    .await;
    // No certificate at all: nothing is refused but the handshake.
    let nobody = Client::anonymous(trust.links, &trust.authority.certificate_pem()).await;
    if let Ok(mut client) = nobody {
        assert!(client.call("/drawbridge.link.v1/Open", &HeaderMap::new(), b"").await.is_err());
    }
    eventually("it is counted", 10, async || (counts("handshake-failed") == 2).then_some(())).await;
    assert_eq!(counts("certificate-refused"), 1);
    assert_eq!(federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.status.code, 0);
    assert_eq!(counts("untrusted-connection-closed"), 0);
    council.revoke(&council.gateway_tls().0, trust);
    eventually("the link is closed", 10, async || (counts("untrusted-connection-closed") >= 1).then_some(())).await;
}

#[tokio::test]
async fn every_line_for_machines_fits_the_schema_security_events_among_them() {
    let federation = TestFederation::new().await;
    // At the finest level libraries speak too, and fit it all the same.
    for (member, level) in [(COUNCIL, "info"), (TRUST, "trace")] {
        federation.member(member).configure(&format!("\n[log]\nformat = \"json\"\nlevel = \"{level}\"\n"));
    }
    let mut federation = federation.start();
    let (council, trust) = (federation.member(COUNCIL), federation.member(TRUST));
    assert_eq!(federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.status.code, 0);
    let mut unknown = standard();
    unknown.insert("drawbridge-provider", "nobody.example".parse().unwrap());
    for given in [HeaderMap::new(), unknown, traced()] {
        ask(&federation, "test.v1.Records/Find", r#"{"id": "9"}"#, &given).await;
    }
    come_as_impostor(&federation).await;
    council.revoke(&council.gateway_tls().0, trust);
    eventually("the link is closed", 10, async || {
        (series(trust, "drawbridge_security_events_total", "untrusted-connection-closed") >= 1).then_some(())
    })
    .await;
    let schema = repository().join("deploy/log.schema.json");
    for (member, expected) in [
        (COUNCIL, &["gateway-started", "gateway-stopping", "exchange-settled"][..]),
        (
            TRUST,
            &[
                "gateway-started",
                "exchange-settled",
                "certificate-refused",
                "handshake-failed",
                "untrusted-connection-closed",
            ],
        ),
    ] {
        assert!(federation.take(member).terminate());
        let file = federation.member(member).folder.join("gateway.log");
        let said = python::run("lines.py", &["log", schema.to_str().unwrap(), file.to_str().unwrap()]);
        let found: Value = serde_json::from_str(&said).unwrap();
        for event in expected {
            assert!(found["counts"][event].as_u64() >= Some(1), "{member}: {event}: {said}");
        }
    }
    let settled = std::fs::read_to_string(federation.member(COUNCIL).folder.join("gateway.log")).unwrap();
    assert_eq!(settled.lines().filter(|line| line.contains("\"exchange-settled\"")).count(), 4, "{settled}");
}
