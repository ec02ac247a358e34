//! What is personal appears in answers and in the exchange log, and nowhere else.
//!
//! A canary stands in everything that a partner system, a database and a back end can say. Then all that both processes wrote,
//! at the finest level there is, all that they count, and all that a collector of telemetry got is searched for it.

use std::collections::BTreeMap;

use drawbridge_tests::{
    Agreement, CANARY, COUNCIL, Client, Reply, TRUST, TestFederation,
    client::metadata,
    eventually,
    process::{run, succeed},
    python::Backend,
};
use exchange::Reason;
use http::HeaderMap;

/// A number that is as good a canary in an identifier.
const NUMBER: &str = "730730730731";

/// Everything that can be set beside a request, each with a canary.
const PERSONAL: &[(&str, &str)] = &[
    ("drawbridge-provider", TRUST),
    ("drawbridge-purpose", "safeguarding"),
    ("drawbridge-actor", "canary-7f3a-actor;role=canary-7f3a-role"),
    ("drawbridge-case", "canary-7f3a-case"),
    ("drawbridge-justification", "canary-7f3a-justification"),
    ("authorization", "Bearer canary-7f3a-token"),
    ("cookie", "canary-7f3a=1"),
    ("user-agent", "canary-7f3a-agent"),
    ("x-application", "canary-7f3a-application"),
];

const GRANTS: &str = r#"
[[grant]]
service = "test.v1.Records"
digest = "@digest:test.v1.Records@"
methods = ["Hidden"]
systems = ["revenues"]
purposes = ["safeguarding"]
fields = "all"
"#;

/// A statement whose error message holds data, and one whose row does not fit: text where the contract has a number.
const FAILING: &str = r#"
[[binding]]
method = "test.v1.Records/Unbound"
connector = { kind = "sql", database = "legacy", query = '''SELECT json_extract(sec || :id, '$.a') AS note FROM rec WHERE id = 1''' }
"#;
const UNFIT: &str = "SELECT CASE WHEN :id > 0 THEN sec ELSE 1 END AS id FROM rec LIMIT 1";

/// Two gateways that write and export all they can, before a database and a back end full of canaries.
async fn federation(format: &str, protocol: &str) -> (TestFederation, Backend, Backend) {
    let federation = TestFederation::without_agreement().await;
    let standard = Agreement::default();
    // The last grant of the standard agreement is the back end's.
    let grants = format!("{}application_metadata = [\"x-application\"]\n", standard.grants);
    federation.agree(&Agreement { grants, ..standard });
    federation.agree(&Agreement { id: "hidden".to_owned(), grants: GRANTS.to_owned(), ..Agreement::default() });
    let backend = Backend::start(&[]);
    let trust = federation.member(TRUST);
    trust.reconfigure("gateway = \"main\"\n", "gateway = \"main\"\ndevelopment = true\n");
    trust.reconfigure("SELECT id FROM rec WHERE id = :id", UNFIT);
    trust.configure(FAILING);
    for method in ["Say", "Repeat"] {
        trust.configure(&format!(
            "\n[[binding]]\nmethod = \"test.v1.Echo/{method}\"\nconnector = {{ kind = \"grpc\", address = \"http://127.0.0.1:{}\", dangerous_plaintext = true }}\n",
            backend.port
        ));
    }
    let collector = Backend::of("collector.py", if protocol == "http" { &["--http"] } else { &[] });
    for member in [COUNCIL, TRUST] {
        let member = federation.member(member);
        member.configure(&format!("\n[log]\nlevel = \"trace\"\nformat = \"{format}\"\n"));
        // Every exchange is traced; what opens the collector is a secret too.
        std::fs::write(member.folder.join("headers"), format!("authorization: Bearer {CANARY}\n")).unwrap();
        member.configure(&format!(
            "\n[telemetry]\nendpoint = \"http://127.0.0.1:{}\"\nprotocol = \"{protocol}\"\nheaders = \"headers\"\nsample = 1.0\ninterval = \"1s\"\n",
            collector.port
        ));
    }
    (federation.start(), backend, collector)
}

/// Replaces or removes one pair.
fn with(name: &str, value: Option<&str>) -> HeaderMap {
    let pairs = PERSONAL.iter().copied().filter(|(key, _)| *key != name).chain(value.map(|v| (name, v)));
    metadata(&pairs.collect::<Vec<_>>())
}

/// Asks everything that is answered, declined, or goes wrong. Returns exchanges by what came of them.
async fn provoke(federation: &TestFederation) -> BTreeMap<String, Vec<String>> {
    let personal = metadata(PERSONAL);
    let find = federation.request("test.v1.Records/Find", &format!("{{\"id\": \"{NUMBER}\"}}"));
    let known = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let say = |json: &str| federation.request("test.v1.Echo/Say", json);
    let mut client = federation.revenues().await;
    let mut planning = federation.member(COUNCIL).connect("planning").await.unwrap();
    let mut found = BTreeMap::<String, Vec<String>>::new();
    let mut note = |reply: Reply, ours: bool| {
        let what =
            reply.reason().map_or_else(|| format!("status {}", reply.status.code), |reason| reason.as_str().to_owned());
        if ours {
            let told = format!("{:?} {:?}", reply.headers, reply.trailers);
            let details = String::from_utf8_lossy(&reply.status.details).into_owned();
            for text in [&reply.status.message, &details, &told] {
                // Purpose and provider are the caller's own words for what it wants, and it is told them back.
                let text = text.replace("canary-7f3a-purpose", "").replace("canary-7f3a.example", "");
                assert!(!text.contains(CANARY) && !text.contains(NUMBER), "the refusal says it: {text}");
            }
        }
        found.entry(what).or_default().push(reply.exchange());
    };
    let ours: Vec<(&str, &str, HeaderMap, Vec<u8>)> = vec![
        ("Records/Find", "nothing is found", personal.clone(), find.clone()),
        ("Records/Hidden", "a row does not fit", personal.clone(), known.clone()),
        ("Records/Unbound", "the database fails", personal.clone(), known.clone()),
        ("Records/canary-7f3a", "no such method", personal.clone(), find.clone()),
        ("canary-7f3a/Find", "no such contract", personal.clone(), find.clone()),
        ("Records/Find", "wrong purpose", with("drawbridge-purpose", Some("canary-7f3a-purpose")), find.clone()),
        ("Records/Find", "no agreement", with("drawbridge-provider", Some("canary-7f3a.example")), find.clone()),
        ("Records/Find", "not a member id", with("drawbridge-provider", Some("canary-7f3a!")), find.clone()),
        ("Records/Find", "no case", with("drawbridge-case", None), find.clone()),
        ("Records/Find", "long case", with("drawbridge-case", Some(&CANARY.repeat(30))), find.clone()),
        ("Records/Find", "control", with("drawbridge-case", Some("%0acanary-7f3a")), find.clone()),
        ("Records/Find", "actor", with("drawbridge-actor", Some("canary-7f3a;canary=canary-7f3a")), find.clone()),
        ("Records/Find", "unknown key", with("drawbridge-unheard-of", Some(CANARY)), find.clone()),
        ("Records/Find", "unknown field", personal.clone(), [b"\x9a\x06\x0c", CANARY.as_bytes()].concat()),
        ("Records/Find", "not a message", personal.clone(), CANARY.into()),
        ("Echo/Say", "too large", personal.clone(), say(&format!("{{\"text\": \"{}\"}}", CANARY.repeat(400_000)))),
    ];
    for (method, _what, metadata, message) in ours {
        let path = if method.starts_with(CANARY) { format!("/{method}") } else { format!("/test.v1.{method}") };
        note(client.call(&path, &metadata, &message).await.unwrap(), true);
    }
    note(planning.call("/test.v1.Records/Find", &personal, &find).await.unwrap(), true);
    // What the back end says of itself belongs to the answer; it crosses, and is not ours to repeat.
    let failing = say(&format!("{{\"text\": \"{CANARY} {NUMBER}\", \"status\": 9}}"));
    note(client.call("/test.v1.Echo/Say", &personal, &failing).await.unwrap(), false);
    note(
        client
            .call("/test.v1.Echo/Say", &personal, &say(&format!("{{\"text\": \"{CANARY} {NUMBER}\"}}")))
            .await
            .unwrap(),
        false,
    );
    note(
        client
            .call("/test.v1.Echo/Repeat", &personal, &say(&format!("{{\"text\": \"{CANARY}\", \"times\": \"50\"}}")))
            .await
            .unwrap(),
        false,
    );
    let late = say(&format!("{{\"text\": \"{CANARY}\", \"delayMs\": \"60000\"}}"));
    for (path, message) in [("/test.v1.Echo/Say", &late), ("/test.v1.Records/Slow", &find)] {
        let (head, body) =
            client.open(path, &personal, message, Some(std::time::Duration::from_millis(500))).await.unwrap();
        note(drawbridge_tests::client::read(head, body).await.unwrap(), path.ends_with("Slow"));
    }
    unusual(&mut client, &personal).await;
    found
}

/// What is not even a call.
async fn unusual(client: &mut Client, personal: &HeaderMap) {
    // Framing that is not gRPC's, a service of the gateway's own that it does not have, an id that is none.
    let _ = client.open_raw("/test.v1.Echo/Say", personal, CANARY.as_bytes().into(), None).await.unwrap();
    let _ = client.call("/drawbridge.canary-7f3a/Get", personal, CANARY.as_bytes()).await.unwrap();
    let _ = client
        .call("/drawbridge.exchange.v1.Receipts/Get", personal, &[&[10, 11][..], b"canary-7f3a"].concat())
        .await
        .unwrap();
    let _ = client.call("/drawbridge.exchange.v1.Receipts/Get", personal, CANARY.as_bytes()).await.unwrap();
    let _ =
        client.call("/grpc.health.v1.Health/Check", personal, &[&[10, 11][..], b"canary-7f3a"].concat()).await.unwrap();
    let reflected = [&[0x22, 11][..], b"canary-7f3a"].concat();
    let _ =
        client.call("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", personal, &reflected).await.unwrap();
}

fn clean(what: &str, text: &str) {
    for (at, line) in text.lines().enumerate() {
        let found = [CANARY, NUMBER].into_iter().find(|canary| line.contains(canary));
        assert!(found.is_none(), "{what}, line {}: {line}", at + 1);
    }
    // Percent-encoding, base64 and hexadecimal hide nothing either.
    for coded in
        ["Y2FuYXJ5LTdmM2", "NhbmFyeS03ZjNh", "jYW5hcnktN2YzY", "63616e6172792d37663361", "canary%2D7f3a", "panicked"]
    {
        assert!(!text.contains(coded), "{what} holds `{coded}`");
    }
}

/// Looks at all that a collector got, which has all exchanges of both sides.
async fn look_at(collector: &Backend, exchanges: &BTreeMap<String, Vec<String>>) {
    let wanted: Vec<&String> = exchanges.values().flatten().collect();
    let got = eventually("the collector has every exchange", 20, async || {
        let got: Vec<String> = collector.events().iter().map(|event| event["whole"].to_string()).collect();
        let all = got.concat();
        wanted.iter().all(|exchange| all.contains(exchange.as_str())).then_some(got)
    })
    .await;
    let all = got.concat();
    for part in ["\"provider\"", "NO_AGREEMENT", "drawbridge.exchange.duration", "test.v1.Records/Find"] {
        assert!(all.contains(part), "the collector did not get `{part}`");
    }
    for one in got {
        clean("what the collector got", &one);
    }
    // It was let in, or the test says nothing of the secret that opens it.
    let opened = |event: &serde_json::Value| event["headers"]["authorization"] == format!("Bearer {CANARY}");
    assert!(collector.events().iter().all(opened));
}

async fn look_everywhere(format: &str, protocol: &str) {
    let (mut federation, _backend, collector) = federation(format, protocol).await;
    let found = provoke(&federation).await;
    let expected = [
        Reason::NoAgreement,
        Reason::WrongPurpose,
        Reason::UnknownMethod,
        Reason::Malformed,
        Reason::TooLarge,
        Reason::Metadata,
        Reason::ConnectorFailed,
        Reason::ConnectorTimeout,
    ];
    for reason in expected {
        assert!(found.contains_key(reason.as_str()), "{reason} was not brought about: {found:?}");
    }
    assert!(found.contains_key("status 0") && found.contains_key("status 9"), "{found:?}");
    for member in [COUNCIL, TRUST] {
        let folder = &federation.member(member).folder;
        clean(&format!("metrics of {member}"), &federation.member(member).metrics());
        let checked = run(folder, ["check", "--config", "gateway.toml"]);
        clean(&format!("check of {member}"), &String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()));
    }
    // What an auditor has to see is there, at both.
    let answered = &found["status 0"][0];
    for member in [COUNCIL, TRUST] {
        let shown = succeed(&federation.member(member).folder, ["log", "show", answered, "--data", "data"]);
        for personal in ["canary-7f3a-actor", "canary-7f3a-role", "canary-7f3a-case", "canary-7f3a-justification"] {
            assert!(shown.contains(personal), "{member}, {personal}: {shown}");
        }
        // Yet nothing of what was asked and answered.
        assert!(
            !shown.contains(NUMBER) && !shown.contains("canary-7f3a-agent") && !shown.contains("canary-7f3a-token"),
            "{shown}"
        );
        // Of metadata that the agreement lets cross the key alone.
        assert!(shown.contains("x-application") && !shown.contains("canary-7f3a-application"), "{shown}");
    }
    federation.take(TRUST).terminate();
    let reply =
        federation.revenues().await.call("/test.v1.Records/Find", &metadata(PERSONAL), b"\x08\x01").await.unwrap();
    assert_eq!(reply.reason(), Some(Reason::LinkDown), "{}", reply.status.message);
    federation.take(COUNCIL).terminate();
    look_at(&collector, &found).await;
    for member in [COUNCIL, TRUST] {
        let file = federation.member(member).folder.join("gateway.log");
        let log = eventually("the log is written", 10, async || {
            let log = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
            log.contains("exchange settled").then_some(log)
        })
        .await;
        // It was the finest level, or the test says nothing.
        assert!(log.contains("TRACE") && log.contains("h2::"), "{member} did not write all it can");
        clean(&format!("log of {member}"), &log);
    }
}

#[tokio::test]
async fn nothing_personal_is_in_a_log_for_people_a_metric_a_trace_or_a_refusal() {
    look_everywhere("human", "grpc").await;
}

#[tokio::test]
async fn nothing_personal_is_in_a_log_for_machines_a_metric_a_trace_or_a_refusal() {
    look_everywhere("json", "http").await;
}

/// What a person writes into the configuration by mistake is told by its place, not by its text: the reason why files are refused is
/// in the application log, and in the status that anybody on the operators' network may read.
#[tokio::test]
async fn a_password_in_the_configuration_reaches_neither_log_nor_status() {
    let federation = TestFederation::new().await.start();
    let trust = federation.member(TRUST);
    let config = std::fs::read_to_string(trust.folder.join("gateway.toml")).unwrap();
    let database = |lines: &str| format!("\n[database.other]\n{lines}\n");
    for (wrong, says) in [
        (database(&format!("url = \"postgres://gateway:{CANARY}@127.0.0.1/other\"")), "the URL holds a password"),
        (database(&format!("url = \"postgres://gateway@127.0.0.1/other?password={CANARY}\"")), "database.other.url"),
        (database(&format!("url = \"sqlite:other.db\"\npassword = \"{CANARY}\"")), "`password`"),
        (database(&format!("url = \"sqlite:other.db\"\npassword = \"{CANARY}")), "gateway.toml"),
        (format!("\n[telemetry]\nendpoint = \"https://user:{CANARY}@collector.example\"\n"), "telemetry.headers"),
        (format!("\n[telemetry]\nendpoint = \"user:{CANARY}@collector.example\"\n"), "telemetry.endpoint"),
    ] {
        gateway::write_atomically(&trust.folder.join("gateway.toml"), &(config.clone() + &wrong)).unwrap();
        trust.process().signal("-HUP");
        let why = eventually("the files are refused for it", 30, async || {
            trust
                .status()
                .await
                .reload
                .refused
                .map(|refused| refused.problems.join("\n"))
                .filter(|why| why.contains(says))
        })
        .await;
        let table = succeed(&trust.folder, ["status", "--address", &trust.operations.to_string()]);
        let checked = run(&trust.folder, ["check"]);
        let checked = String::from_utf8(checked.stderr).unwrap();
        assert!(table.contains("REFUSED") && checked.contains(says), "{table}{checked}");
        for told in [why, table, checked, trust.process().log()] {
            assert!(!told.contains(CANARY), "{wrong}: {told}");
        }
    }
}
