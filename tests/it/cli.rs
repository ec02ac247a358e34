//! The command line, as operators, partner systems' developers and auditors use it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use drawbridge_tests::{
    COUNCIL, Gateway, TRUST, TestFederation,
    client::metadata,
    eventually,
    federation::standard,
    process::{binary, run, succeed},
};
use ledger::merkle;
use serde_json::Value;

const FIND: &str = "/test.v1.Records/Find";
const ASKED: [&str; 8] =
    ["--config", "gateway.toml", "--system", "revenues", "--purpose", "safeguarding", "--case", "case-1"];

/// Runs `drawbridge call` as the council's `revenues`.
fn call(federation: &TestFederation, arguments: &[&str]) -> Output {
    run(&federation.member(COUNCIL).folder, ["call", TRUST].iter().chain(arguments).chain(&ASKED))
}

fn said(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What `log list` gives as JSON under some filters.
fn list(folder: &Path, filters: &[&str]) -> Vec<Value> {
    let listed = succeed(folder, ["log", "list", "--data", "data", "--json"].iter().chain(filters));
    listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_call_prints_the_answer_as_json_whichever_way_the_request_is_given() {
    let federation = TestFederation::new().await.start();
    let council = federation.member(COUNCIL);
    std::fs::write(council.folder.join("request.json"), r#"{"id": "1"}"#).unwrap();
    let expected = serde_json::json!({"id": "1", "name": {"family": "Archer"}, "note": "checked"});
    for given in [r#"{"id": "1"}"#, r#"{"id": 1}"#, "@request.json"] {
        let (out, err) = said(&call(&federation, &["test.v1.Records/Find", given]));
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected, "{err}");
    }
    let mut command = Command::new(binary());
    command.args(["call", TRUST, "test.v1.Records/Find", "-"]).args(ASKED).current_dir(&council.folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"{"id": "1"}"#).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), expected);
}

#[tokio::test]
async fn a_stream_is_printed_as_json_lines() {
    let federation = TestFederation::new().await.start();
    let (out, err) = said(&call(&federation, &["test.v1.Records/List", r#"{"count": "500"}"#]));
    let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 500, "{err}");
    assert_eq!(rows[499]["id"], "500");
    assert!(err.is_empty(), "there is no terminal, and yet it says: {err}");
}

#[tokio::test]
async fn a_call_that_is_refused_says_where_and_why_and_fails() {
    let federation = TestFederation::new().await.start();
    let output = call(&federation, &["test.v1.Records/Unbound", r#"{"id": "1"}"#]);
    let (out, err) = said(&output);
    assert!(!output.status.success() && out.is_empty(), "{out}");
    for part in ["NO_AGREEMENT", "provider"] {
        assert!(err.contains(part), "{part}: {err}");
    }
    // What does not fit the contract is told with its place, before anything is asked.
    let output = call(&federation, &["test.v1.Records/Find", "{\n  \"idd\": 1\n}"]);
    let (_, err) = said(&output);
    assert!(!output.status.success() && err.contains("idd") && err.contains("<request>:2"), "{err}");
    let output = call(&federation, &["test.v1.Records/Fnd", "{}"]);
    let (_, err) = said(&output);
    assert!(!output.status.success() && err.contains("Find"), "{err}");
    assert_eq!(federation.member(COUNCIL).records().iter().filter(|record| record.settles()).count(), 1);
}

/// Takes one connection and passes on what a TLS handshake needs until the client has all of the gateway's part. From then on it takes
/// whatever comes and says nothing.
fn falls_silent(gateway: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut gateway = TcpStream::connect(gateway).unwrap();
        let mut from_client = client.try_clone().unwrap();
        let mut to_gateway = gateway.try_clone().unwrap();
        let (silent, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut hello = [0; 16 * 1024];
            let length = from_client.read(&mut hello).unwrap();
            to_gateway.write_all(&hello[..length]).unwrap();
            // The client answers once it has the whole of the gateway's flight.
            let _ = from_client.read(&mut hello);
            silent.send(()).unwrap();
            let _ = std::io::copy(&mut from_client, &mut std::io::sink());
        });
        gateway.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut flight = [0; 16 * 1024];
        while told.try_recv().is_err() {
            if let Ok(length) = gateway.read(&mut flight) {
                client.write_all(&flight[..length]).unwrap();
            }
        }
        // Held open until the client gives up.
        let _ = told.recv();
    });
    address
}

#[tokio::test]
async fn a_call_ends_though_the_gateway_falls_silent() {
    let federation = TestFederation::new().await.start();
    let silent = falls_silent(federation.member(COUNCIL).clients).to_string();
    let (out, err) = said(&call(&federation, &["test.v1.Records/Find", r#"{"id": "1"}"#, "--gateway", &silent]));
    assert_eq!(out, "");
    assert!(err.contains(&format!("cannot ask the own gateway at {silent}")), "{err}");
    assert!(err.contains("did not answer in time"), "{err}");
}

#[tokio::test]
async fn check_tells_every_problem_of_a_configuration_at_once_with_its_place() {
    let federation = TestFederation::new().await;
    let trust = federation.member(TRUST);
    let wrong = [
        ("clients.dangerous_plaintext_system", "dangerous_plaintext_system = \"discharge\"", "development only"),
        (
            "connector.database",
            "method = \"test.v1.Records/Find\"\nconnector = { kind = \"sql\", database = \"legcy\"",
            "legcy",
        ),
        ("method", "method = \"test.v1.Records/Lst\"", "test.v1.Records/Lst"),
        ("connector.query", "SELECT nothing AS id FROM rec", "nothing"),
        ("connector.kind", "kind = \"ldpa\"", "ldpa"),
    ];
    trust.reconfigure("[operations]", &format!("{}\n[operations]", wrong[0].1));
    trust.reconfigure(
        "method = \"test.v1.Records/Find\"\nconnector = { kind = \"sql\", database = \"legacy\"",
        wrong[1].1,
    );
    trust.reconfigure("method = \"test.v1.Records/List\"", wrong[2].1);
    trust.reconfigure("SELECT id FROM rec", wrong[3].1);
    trust.configure("\n[[binding]]\nmethod = \"test.v1.Echo/Say\"\nconnector = { kind = \"ldpa\" }\n");
    let output = run(&trust.folder, ["check", "--config", "gateway.toml"]);
    let (out, err) = said(&output);
    assert!(!output.status.success(), "{out}");
    let text = std::fs::read_to_string(trust.folder.join("gateway.toml")).unwrap();
    let problems: Vec<&str> = err.split("error: ").skip(1).collect();
    for (key, written, named) in wrong {
        // The line on which the last word of it stands.
        let end = text.find(written).unwrap() + written.len();
        let line = text[..end].lines().count();
        let problem = problems.iter().find(|problem| problem.contains(key) && problem.contains(named));
        let problem = problem.unwrap_or_else(|| panic!("`{key}` is not named:\n{err}"));
        assert!(problem.contains(&format!("gateway.toml:{line}:")), "line {line}: {problem}");
        assert!(problem.contains("= help: "), "no cure: {problem}");
    }
    // In the order of the file.
    let places: Vec<usize> = err
        .lines()
        .filter_map(|line| line.trim().strip_prefix("--> gateway.toml:")?.split(':').next()?.parse().ok())
        .collect();
    assert!(places.len() >= wrong.len() && places.is_sorted(), "{places:?}");
}

#[tokio::test]
async fn the_log_is_searched_by_everything_that_an_auditor_knows() {
    let federation = TestFederation::new().await.start();
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let mut client = federation.revenues().await;
    let mut given = standard();
    given.insert("drawbridge-actor", "sw-7;role=social%20worker".parse().unwrap());
    given.insert("drawbridge-case", "case-7".parse().unwrap());
    given.insert("drawbridge-justification", "a%20reason".parse().unwrap());
    let answered = client.call(FIND, &given, &find).await.unwrap();
    let curious =
        metadata(&[("drawbridge-provider", TRUST), ("drawbridge-purpose", "curiosity"), ("drawbridge-case", "c")]);
    let refused = client.call(FIND, &curious, &find).await.unwrap();
    let streamed = federation.call("test.v1.Records/List", r#"{"count": "3"}"#).await;
    let mut planning = federation.member(COUNCIL).connect("planning").await.unwrap();
    let turned_away = planning.call(FIND, &standard(), &find).await.unwrap();
    let folder = &federation.member(COUNCIL).folder;
    let [answered, refused, streamed, turned_away] =
        [&answered, &refused, &streamed, &turned_away].map(drawbridge_tests::Reply::exchange);
    let all = [&answered, &refused, &streamed, &turned_away];
    let this = ["--exchange", answered.as_str()];
    let cases: Vec<(&[&str], Vec<&String>)> = vec![
        (&[], all.to_vec()),
        (&["--from", "1h"], all.to_vec()),
        (&["--until", "1h"], vec![]),
        (&["--from", "2020-01-01", "--until", "2020-01-02T00:00:00Z"], vec![]),
        (&["--member", TRUST], all.to_vec()),
        (&["--member", "police.example"], vec![]),
        (&["--system", "planning"], vec![&turned_away]),
        (&["--system", "council.example/revenues"], vec![&answered, &refused, &streamed]),
        (&["--method", "test.v1.Records/List"], vec![&streamed]),
        (&["--method", "test.v1.Records"], all.to_vec()),
        (&["--purpose", "curiosity"], vec![&refused]),
        (&["--actor", "sw-7"], vec![&answered]),
        (&["--actor", "sw-8"], vec![]),
        (&["--case", "case-7"], vec![&answered]),
        (&["--outcome", "answered"], vec![&answered, &streamed]),
        (&["--outcome", "refused"], vec![&refused, &turned_away]),
        (&["--outcome", "WRONG_PURPOSE"], vec![&refused]),
        (&this, vec![&answered]),
        (&["--limit", "1"], vec![&turned_away]),
        (&["--system", "revenues", "--outcome", "refused"], vec![&refused]),
    ];
    for (filters, expected) in cases {
        let found = list(folder, filters);
        let mut exchanges: Vec<&str> = found.iter().map(|view| view["exchange"].as_str().unwrap()).collect();
        // A stream has its intent under the same id.
        exchanges.dedup();
        assert_eq!(exchanges, expected, "{filters:?}");
    }
    let view = &list(folder, &["--exchange", &answered])[0];
    let shown = ["system", "provider", "method", "purpose", "actor", "role", "case", "outcome", "agreement"]
        .map(|key| view[key].as_str().unwrap_or_default());
    assert_eq!(
        shown,
        [
            "revenues",
            TRUST,
            "test.v1.Records/Find",
            "safeguarding",
            "sw-7",
            "social worker",
            "case-7",
            "answered",
            "standard"
        ]
    );
    // The other side finds the same exchange by the same words.
    let theirs = list(&federation.member(TRUST).folder, &["--member", COUNCIL, "--actor", "sw-7", "--case", "case-7"]);
    assert_eq!(theirs.iter().map(|view| view["exchange"].as_str().unwrap()).collect::<Vec<_>>(), [answered.as_str()]);
    let table = succeed(folder, ["log", "list", "--data", "data", "--wide"]);
    assert!(
        table.contains(&answered) && table.contains("WRONG_PURPOSE") && table.contains("PERSON (ASSERTED)"),
        "{table}"
    );
    let text = succeed(folder, ["log", "show", &answered, "--data", "data"]);
    for part in ["sw-7", "social worker", "case-7", "a reason", "Children Act 2004, section 11"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json: Value =
        serde_json::from_str(&succeed(folder, ["log", "show", &answered, "--data", "data", "--json"])).unwrap();
    assert_eq!(
        (json["justification"].as_str(), json["promise"]["origin"].as_str()),
        (Some("a reason"), Some("trust.example/log/main"))
    );
    let missing = run(folder, ["log", "show", "01890000-0000-7000-8000-000000000000", "--data", "data"]);
    assert!(!missing.status.success());
}

#[tokio::test]
async fn a_proof_of_a_record_is_checked_with_its_own_words_alone() {
    let federation = TestFederation::new().await.start();
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    let folder = &federation.member(TRUST).folder;
    let proof: Value = eventually("a checkpoint covers the record", 10, async || {
        let output = run(folder, ["log", "prove", &reply.exchange(), "--data", "data", "--json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    })
    .await;
    let text = |name: &str| proof[name].as_str().unwrap();
    let hash = |text: &str| ledger::Hash(STANDARD.decode(text).unwrap().try_into().unwrap());
    let key: note::VerifierKey = text("log_key").parse().unwrap();
    let checkpoint = note::Note::parse(text("checkpoint")).unwrap();
    assert_eq!(checkpoint.verified_by(std::slice::from_ref(&key)).unwrap(), [&key]);
    let mut lines = checkpoint.text().lines();
    assert_eq!(lines.next(), Some("trust.example/log/main"));
    let size: u64 = lines.next().unwrap().parse().unwrap();
    let root = hash(lines.next().unwrap());
    let path: Vec<_> = proof["path"].as_array().unwrap().iter().map(|step| hash(step.as_str().unwrap())).collect();
    let index = proof["index"].as_u64().unwrap();
    // RFC 9162: the hash of a leaf is over a zero byte and the entry.
    let entry = STANDARD.decode(text("entry")).unwrap();
    let leaf = ledger::Hash(exchange::digests::plain(&[&[0][..], &entry].concat()));
    assert_eq!(leaf, hash(text("leaf")));
    merkle::verify_inclusion(leaf, index, size, &path, root).unwrap();
    let mut forged = entry;
    *forged.last_mut().unwrap() ^= 1;
    let forged = ledger::Hash(exchange::digests::plain(&[&[0][..], &forged].concat()));
    assert!(merkle::verify_inclusion(forged, index, size, &path, root).is_err());
}

#[tokio::test]
async fn a_variable_of_the_environment_lies_over_the_file() {
    let mut federation = TestFederation::new().await;
    federation.restart(TRUST);
    let council = federation.member(COUNCIL);
    // The council's own ports are free as well so far.
    let free = drawbridge_tests::ports::free_ports::<4>();
    let clients =
        free.into_iter().find(|port| ![council.links, council.clients, council.operations].contains(port)).unwrap();
    let folder = council.folder.clone();
    let mut command = Command::new(binary());
    command.env("DRAWBRIDGE__CLIENTS__LISTEN", clients.to_string()).env("DRAWBRIDGE__LOG__FORMAT", "json");
    let process = Gateway::start_with(&folder, command).unwrap();
    assert!(process.log().contains(&clients.to_string()), "{}", process.log());
    federation.put(COUNCIL, process);
    let asked = call(&federation, &["test.v1.Records/Find", r#"{"id": "1"}"#, "--gateway", &clients.to_string()]);
    assert!(asked.status.success(), "{:?}", said(&asked));
    let wrong = Command::new(binary())
        .args(["check", "--config", "gateway.toml"])
        .current_dir(&folder)
        .env("DRAWBRIDGE__CLIENTS__LISTEN", "nowhere")
        .output()
        .unwrap();
    assert!(!wrong.status.success() && said(&wrong).1.contains("DRAWBRIDGE__CLIENTS__LISTEN"), "{:?}", said(&wrong));
}

#[tokio::test]
async fn a_clients_trace_goes_on_through_both_gateways() {
    let federation = TestFederation::new().await;
    for member in [COUNCIL, TRUST] {
        federation.member(member).configure("\n[log]\nformat = \"json\"\n");
    }
    let federation = federation.start();
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let mut given = standard();
    given.insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
    let reply = federation.revenues().await.call(FIND, &given, &find).await.unwrap();
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    for member in [COUNCIL, TRUST] {
        let line: Value = eventually("the exchange has its line", 10, async || {
            let log = federation.member(member).process().log();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.into_iter().find(|line| line["message"] == "exchange settled")
        })
        .await;
        assert_eq!(line["trace.id"], "0af7651916cd43dd8448eb211c80319c", "{member}: {line}");
        let text = line.to_string();
        assert!(text.contains(&reply.exchange()) && text.contains("test.v1.Records/Find"), "{member}: {line}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_asked_to_end_lets_open_calls_end_and_then_goes() {
    let mut federation = TestFederation::new().await.start();
    assert_eq!(federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.status.code, 0);
    let begun = Instant::now();
    for member in [COUNCIL, TRUST] {
        assert!(federation.take(member).terminate(), "{member} did not end well");
    }
    // `drain` is two seconds, each, and is not used up where nothing is open.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
