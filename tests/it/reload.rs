//! Files are taken up by gateways that run: whole, or not at all, and without a call that fails.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use contract::Contracts;
use drawbridge_tests::{
    Agreement, COUNCIL, Client, Member, Reply, TRUST, TestFederation, client::certificate_at, eventually,
    federation::standard,
};
use exchange::{Reason, Status, framing};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

const FIND: &str = "/test.v1.Records/Find";

/// What has a gateway read its files again.
#[derive(Clone, Copy, Debug)]
enum Trigger {
    Signal,
    Watching,
}

const BOTH: [Trigger; 2] = [Trigger::Signal, Trigger::Watching];

/// Makes changes in the files of a member, and waits until its gateway has taken them up.
async fn change(member: &Member, trigger: Trigger, change: impl FnOnce()) {
    let before = member.status().await.reload.taken;
    change();
    if let Trigger::Signal = trigger {
        member.process().signal("-HUP");
    }
    member.reloaded_since(before).await;
}

/// Whether a gateway has a file open.
fn has_open(member: &Member, name: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{}/fd", member.process().id())).unwrap();
    let mut files = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    files.any(|file| file.ends_with(name))
}

/// A contract that no gateway has at its start.
const NOTES: &str = r#"
syntax = "proto3";
package extra.v1;
import "drawbridge/options/v1/options.proto";
service Notes {
  rpc Read(ReadRequest) returns (Note) {
    option (drawbridge.options.v1.method) = { kind: KIND_QUERY };
  }
}
message ReadRequest { int64 id = 1; }
message Note { string text = 1; }
"#;

const NOTES_BINDING: &str = r#"
[database.other]
url = "sqlite:other.db"

[[binding]]
method = "extra.v1.Notes/Read"
connector = { kind = "sql", database = "other", query = "SELECT fm AS text FROM rec WHERE id = :id" }
"#;

fn notes(member: &Member) -> std::path::PathBuf {
    member.folder.join("proto/extra.proto")
}

fn contracts_of(folder: &Path) -> Contracts {
    Contracts::load(&[gateway::load::contract_source(&folder.join("proto")).unwrap()]).unwrap()
}

async fn ask_notes(federation: &TestFederation, contracts: &Contracts) -> Reply {
    let request = contracts.method("/extra.v1.Notes/Read").unwrap().request_from_json(r#"{"id": "2"}"#).unwrap();
    federation.revenues().await.call("/extra.v1.Notes/Read", &standard(), &request).await.unwrap()
}

#[tokio::test]
async fn a_contract_with_its_binding_is_callable_once_it_is_there_and_refused_once_it_is_gone() {
    for trigger in BOTH {
        let federation = TestFederation::new().await.start();
        let (council, trust) = (federation.member(COUNCIL), federation.member(TRUST));
        fs::copy(trust.folder.join("legacy.db"), trust.folder.join("other.db")).unwrap();
        for (member, binding) in [(council, ""), (trust, NOTES_BINDING)] {
            change(member, trigger, || {
                fs::write(notes(member), NOTES).unwrap();
                member.configure(binding);
            })
            .await;
        }
        let contracts = contracts_of(&council.folder);
        let before = ask_notes(&federation, &contracts).await;
        assert_eq!(before.reason(), Some(Reason::NoAgreement), "{trigger:?}");
        agree_on_notes(&federation, &contracts);
        let reply = eventually("the new method is answered", 10, async || {
            let reply = ask_notes(&federation, &contracts).await;
            (reply.status.code == 0).then_some(reply)
        })
        .await;
        let method = contracts.method("/extra.v1.Notes/Read").unwrap();
        assert!(method.answer_to_json(&reply.messages[0]).unwrap().contains("Brook"), "{trigger:?}");

        assert!(has_open(trust, "other.db"), "{trigger:?}");
        change(trust, trigger, || trust.reconfigure(NOTES_BINDING, "")).await;
        eventually("the database is let go", 10, async || (!has_open(trust, "other.db")).then_some(())).await;
        let unbound = ask_notes(&federation, &contracts).await;
        assert_eq!(unbound.reason(), Some(Reason::NoAgreement), "{trigger:?}");
        assert_eq!(unbound.trailers["drawbridge-hop"], "provider", "{trigger:?}");
        change(council, trigger, || fs::remove_file(notes(council)).unwrap()).await;
        let unknown = ask_notes(&federation, &contracts).await;
        assert_eq!(
            (unknown.reason(), &unknown.trailers["drawbridge-hop"]),
            (Some(Reason::NoAgreement), &"consumer".parse().unwrap())
        );
        // What has not changed is as it was.
        assert_eq!(federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.status.code, 0, "{trigger:?}");
    }
}

/// An agreement on the contract as it lies in a member's files.
fn agree_on_notes(federation: &TestFederation, contracts: &Contracts) {
    let digest = contracts.service("extra.v1.Notes").unwrap().digest;
    federation.agree(&Agreement {
        id: "notes".to_owned(),
        grants: format!(
            "[[grant]]\nservice = \"extra.v1.Notes\"\ndigest = \"{digest}\"\nmethods = [\"Read\"]\n\
             systems = [\"revenues\"]\npurposes = [\"safeguarding\"]\nfields = \"all\"\n"
        ),
        ..Agreement::default()
    });
}

/// Agrees on the contract as it lies in the council's files, and waits until its gateway asks under that.
async fn agreed_on_notes(federation: &TestFederation) {
    let contracts = contracts_of(&federation.member(COUNCIL).folder);
    agree_on_notes(federation, &contracts);
    eventually("the agreement is in force where it is asked under", 10, async || {
        (ask_notes(federation, &contracts).await.trailers["drawbridge-hop"] == "provider").then_some(())
    })
    .await;
}

/// What gRPC's reflection of one version answers to a request that is one text in a field.
async fn reflected(client: &mut Client, version: &str, field: u8, text: &str) -> String {
    let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
    let request = [&[field << 3 | 2, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let reply = client.call(&path, &standard(), &request).await.unwrap();
    reply.messages.iter().map(|message| String::from_utf8_lossy(message).into_owned()).collect()
}

/// What a system is shown of the notes: whether reflection lists the service, and whether each of the message's fields is in its file and
/// in the OpenAPI document. All that a connection has been shown before, it is shown anew.
async fn shown(federation: &TestFederation, client: &mut Client) -> (bool, Vec<&'static str>) {
    const FIELDS: [&str; 2] = ["text", "written_by"];
    // Source: grpc/reflection/v1/reflection.proto, `list_services` and `file_containing_symbol`.
    let (lists, file) = (7, 4);
    let (_, _, document) = crate::rest::curl(federation, "/openapi.json", &[]);
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let path = &document["paths"]["/extra.v1.Notes/Read"];
    let schema = &document["components"]["schemas"]["extra.v1.Note"]["properties"];
    let mut found = Vec::new();
    for version in ["v1", "v1alpha"] {
        let listed = reflected(client, version, lists, "*").await.contains("extra.v1.Notes");
        assert_eq!(listed, path.is_object(), "{version}: {path}");
        let file = reflected(client, version, file, "extra.v1.Notes").await;
        let fields: Vec<_> = FIELDS.into_iter().filter(|field| file.contains(field)).collect();
        let documented: Vec<_> = [("text", FIELDS[0]), ("writtenBy", FIELDS[1])]
            .into_iter()
            .filter(|(name, _)| schema[name].is_object())
            .map(|(_, field)| field)
            .collect();
        assert_eq!(fields, documented, "{version}: {schema}");
        found.push((listed, fields));
    }
    assert_eq!(found[0], found[1]);
    found.remove(0)
}

#[tokio::test]
async fn reflection_and_the_document_follow_contracts_that_come_change_and_go() {
    for trigger in BOTH {
        let federation = TestFederation::new().await.start();
        let council = federation.member(COUNCIL);
        let mut client = federation.revenues().await;
        assert_eq!(shown(&federation, &mut client).await, (false, vec![]), "{trigger:?}");
        change(council, trigger, || fs::write(notes(council), NOTES).unwrap()).await;
        // There, and nobody has agreed on it.
        assert_eq!(shown(&federation, &mut client).await, (false, vec![]), "{trigger:?}");
        agreed_on_notes(&federation).await;
        assert_eq!(shown(&federation, &mut client).await, (true, vec!["text"]), "{trigger:?}");
        let more = NOTES.replace("string text = 1;", "string text = 1; string written_by = 2;");
        change(council, trigger, || fs::write(notes(council), more).unwrap()).await;
        // The agreement is about the contract as it was, and goes on: this one only adds to it. What may be asked is what is shown.
        assert_eq!(shown(&federation, &mut client).await, (true, vec!["text"]), "{trigger:?}");
        let other = NOTES.replace("string text = 1;", "bytes text = 1;");
        // One that breaks what was agreed on is not taken up.
        fs::write(notes(council), other).unwrap();
        let why = council.refused().await;
        assert!(why.contains("the agreement `notes`, which is in force, could no longer be served"), "{why}");
        assert_eq!(shown(&federation, &mut client).await, (true, vec!["text"]), "{trigger:?}");
        let more = NOTES.replace("string text = 1;", "string text = 1; string written_by = 2;");
        change(council, trigger, || fs::write(notes(council), more).unwrap()).await;
        agreed_on_notes(&federation).await;
        // The one before the other: a reload may come between them.
        eventually("the document shows what was agreed on anew", 10, async || {
            crate::rest::curl(&federation, "/openapi.json", &[]).2.contains("writtenBy").then_some(())
        })
        .await;
        assert_eq!(shown(&federation, &mut client).await, (true, vec!["text", "written_by"]), "{trigger:?}");
        change(council, trigger, || fs::remove_file(notes(council)).unwrap()).await;
        assert_eq!(shown(&federation, &mut client).await, (false, vec![]), "{trigger:?}");
        // What has not changed is shown as before.
        assert!(reflected(&mut client, "v1", 7, "*").await.contains("test.v1.Records"), "{trigger:?}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    for trigger in BOTH {
        let federation = TestFederation::new().await.start();
        let (council, trust) = (federation.member(COUNCIL), federation.member(TRUST));
        let root = council.authority.certificate_pem();
        let before = certificate_at(council.clients, &root).await.unwrap();
        let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
        let mut old = federation.revenues().await;
        assert_eq!(old.call(FIND, &standard(), &find).await.unwrap().status.code, 0);
        let mut renewed = String::new();
        let (first, _) = council.gateway_tls();
        change(council, trigger, || renewed = council.renew()).await;
        let renewed = federation::certificate::read_pem(&renewed).unwrap().remove(0);
        assert_ne!(before, renewed);
        for port in [council.clients, council.links] {
            assert_eq!(certificate_at(port, &root).await.unwrap(), renewed, "{trigger:?} {port}");
        }
        // The connection of the system, and the link with its session.
        assert_eq!(old.call(FIND, &standard(), &find).await.unwrap().status.code, 0, "{trigger:?}");
        assert_eq!(federation.revenues().await.call(FIND, &standard(), &find).await.unwrap().status.code, 0);
        // Without the first certificate the link needs another connection, with the new one.
        council.revoke(&first, trust);
        eventually("the old connection is closed", 10, async || {
            trust.process().log().contains("certificates are no longer trusted").then_some(())
        })
        .await;
        eventually("the link is back with the new certificate", 10, async || {
            (old.call(FIND, &standard(), &find).await.unwrap().status.code == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_not_taken_up_and_the_key_is_waited_for() {
    let federation = TestFederation::new().await.start();
    let council = federation.member(COUNCIL);
    let root = council.authority.certificate_pem();
    let before = certificate_at(council.clients, &root).await.unwrap();
    let (_, key) = council.gateway_tls();
    let renewed = council.renew();
    let next = council.gateway_tls().1;
    fs::write(council.folder.join("tls/gateway.key.pem"), key).unwrap();
    council.process().signal("-HUP");
    let why = council.refused().await;
    assert!(why.contains("the private key is not the key of the first certificate"), "{why}");
    assert_eq!(certificate_at(council.clients, &root).await.unwrap(), before);
    fs::write(council.folder.join("tls/gateway.key.pem"), next).unwrap();
    council.reloaded_since(0).await;
    let renewed = federation::certificate::read_pem(&renewed).unwrap().remove(0);
    assert_eq!(certificate_at(council.clients, &root).await.unwrap(), renewed);
}

#[tokio::test]
async fn a_new_directory_is_followed_and_an_older_one_is_refused() {
    for trigger in BOTH {
        let mut federation = TestFederation::new().await;
        // Nobody listens there.
        federation.announce(TRUST, "127.0.0.1:9", 2);
        let mut federation = federation.start();
        let lost = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
        assert_eq!(lost.reason(), Some(Reason::LinkDown), "{trigger:?}");
        let address = federation.member(TRUST).links.to_string();
        let before = federation.member(TRUST).status().await.reload.taken;
        federation.announce(TRUST, &address, 3);
        if let Trigger::Signal = trigger {
            for member in [COUNCIL, TRUST] {
                federation.member(member).process().signal("-HUP");
            }
        }
        for member in [COUNCIL, TRUST] {
            federation.member(member).reloaded_since(before).await;
        }
        eventually("the new address is dialled", 10, async || {
            (federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.status.code == 0).then_some(())
        })
        .await;
        federation.publish(2);
        let council = federation.member(COUNCIL);
        let why = council.refused().await;
        assert!(why.contains("directory.note") && why.contains("version"), "{why}");
        assert_eq!(federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.status.code, 0);
        federation.publish(4);
        council.reloaded_since(1).await;
    }
}

#[tokio::test]
async fn limits_and_settings_of_systems_are_taken_up() {
    for trigger in BOTH {
        let federation = TestFederation::new().await.start();
        let council = federation.member(COUNCIL);
        let mut client = federation.revenues().await;
        let call = async |client: &mut Client, length: usize| {
            client.call(FIND, &standard(), &vec![0xff; length]).await.unwrap().reason()
        };
        assert_eq!(call(&mut client, 2000).await, Some(Reason::Malformed));
        change(council, trigger, || {
            council.reconfigure("drain = \"2s\"", "drain = \"2s\"\nmessage = \"1KiB\"\nexchanges = 7");
            council.configure(&format!("[[system]]\nname = \"revenues\"\nprovider = \"{TRUST}\"\n"));
        })
        .await;
        // On the connection that was open.
        assert_eq!(call(&mut client, 2000).await, Some(Reason::TooLarge), "{trigger:?}");
        assert_eq!(council.status().await.exchanges.most, 7, "{trigger:?}");
        let mut metadata = standard();
        metadata.remove("drawbridge-provider");
        let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
        assert_eq!(client.call(FIND, &metadata, &find).await.unwrap().status.code, 0, "{trigger:?}");
    }
}

/// The metric that is 1 while what lies in the files is in force.
fn current(member: &Member) -> String {
    let metrics = member.metrics();
    let line =
        metrics.lines().find(|line| line.starts_with("drawbridge_reload_current{")).expect("there is the metric");
    line.rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_state_with_a_problem_is_refused_whole_and_the_reason_is_told() {
    let federation = TestFederation::new().await.start();
    let trust = federation.member(TRUST);
    let config = fs::read_to_string(trust.folder.join("gateway.toml")).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(config.contains(from), "{from}");
        config.replace(from, to)
    };
    let cases = [
        (BOTH[0], changed("[links]", "[links\n"), "gateway.toml:4"),
        (BOTH[1], changed("drain =", "drian ="), "drian"),
        (BOTH[0], changed("SELECT id FROM rec", "SELECT id FROM nowhere"), "does not take the statement"),
        (BOTH[0], changed(&trust.operations.to_string(), "127.0.0.1:9464"), "`operations.listen` differs"),
        (BOTH[0], changed("gateway = \"main\"", "gateway = \"second\""), "`gateway` differs"),
        (BOTH[1], format!("{config}[data]\nfolder = \"elsewhere\"\n"), "restart the gateway"),
    ];
    for (at, (trigger, text, says)) in cases.into_iter().enumerate() {
        let before = trust.status().await.reload.taken;
        // A good change beside it, which is not taken up either.
        fs::write(notes(trust), NOTES).unwrap();
        gateway::write_atomically(&trust.folder.join("gateway.toml"), &text).unwrap();
        if let Trigger::Signal = trigger {
            trust.process().signal("-HUP");
        }
        let why = trust.refused().await;
        assert!(why.contains(says), "{at}: {why}");
        assert_eq!(trust.status().await.reload.taken, before, "{at}");
        assert_eq!(federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.status.code, 0, "{at}");
        eventually("the log says why", 10, async || {
            let log = trust.process().log();
            (log.contains(says) && log.contains("what was in force before stays in force")).then_some(())
        })
        .await;
        assert_eq!(current(trust), "0", "{at}");
        let table =
            drawbridge_tests::process::succeed(&trust.folder, ["status", "--address", &trust.operations.to_string()]);
        assert!(table.contains("REFUSED") && table.contains(says), "{at}: {table}");
        fs::remove_file(notes(trust)).unwrap();
        change(trust, Trigger::Signal, || {
            gateway::write_atomically(&trust.folder.join("gateway.toml"), &config).unwrap();
        })
        .await;
        assert_eq!(current(trust), "1", "{at}");
    }
    fs::write(notes(trust), NOTES.replace("int64 id", "int65 id")).unwrap();
    let why = trust.refused().await;
    assert!(why.contains("extra.proto") && why.contains("int65"), "{why}");
    assert_eq!(federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.status.code, 0);
}

#[tokio::test]
async fn agreements_end_and_certificates_are_revoked_while_the_rest_is_refused() {
    let federation = TestFederation::without_agreement().await;
    let agreement = Agreement::default();
    federation.agree(&agreement);
    let federation = federation.start();
    let trust = federation.member(TRUST);
    fs::write(notes(trust), "no contract").unwrap();
    trust.refused().await;
    assert_eq!(federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.status.code, 0);
    federation.end(&agreement, TRUST);
    eventually("the agreement is over", 10, async || {
        let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
        (reply.reason() == Some(Reason::AgreementEnded)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn agreements_stay_in_force_where_their_folder_is_taken_away_or_their_note_is_damaged() {
    let federation = TestFederation::new().await.start();
    let trust = federation.member(TRUST);
    let asked = async || federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.status.code;
    let broken = async |says: &str| {
        eventually("status says so", 10, async || {
            trust.status().await.agreements.broken.iter().any(|problem| problem.contains(says)).then_some(())
        })
        .await;
    };
    let (folder, aside) = (trust.folder.join("agreements"), trust.folder.join("aside"));
    fs::rename(&folder, &aside).unwrap();
    broken("the folder is gone").await;
    assert_eq!(asked().await, 0);
    fs::rename(&aside, &folder).unwrap();
    eventually("nothing is wrong any more", 10, async || {
        trust.status().await.agreements.broken.is_empty().then_some(())
    })
    .await;

    let note = folder.join("standard.note");
    let text = fs::read_to_string(&note).unwrap();
    fs::write(&note, &text[..text.len() / 2]).unwrap();
    broken("standard.note").await;
    assert_eq!(asked().await, 0);
    // Nor does a reload of everything else take it back.
    trust.reload().await;
    assert_eq!(asked().await, 0);
    fs::remove_file(&note).unwrap();
    eventually("whoever removes the note withdraws it", 10, async || (asked().await != 0).then_some(())).await;
}

/// Calls without end, until it is told to stop; a call that fails is a panic.
async fn call_on(mut client: Client, find: Vec<u8>, stop: Arc<AtomicBool>, calls: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let reply = client.call(FIND, &standard(), &find).await.expect("the connection carries it");
        let status = &reply.status;
        assert_eq!(status.code, 0, "{:?}: {}", status.reason(), status.message);
        assert_eq!(reply.messages.len(), 1);
        calls.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes something else of the files of a member in each round.
fn disturb(member: &Member, round: u64) {
    let exchanges = |round: u64| format!("drain = \"2s\"\nexchanges = {}\n", 500 + round);
    match round.checked_sub(1) {
        None => member.reconfigure("drain = \"2s\"\n", &exchanges(0)),
        Some(last) => member.reconfigure(&exchanges(last), &exchanges(round)),
    }
    let more = round.is_multiple_of(2);
    if more {
        fs::write(notes(member), NOTES).unwrap();
    } else {
        fs::remove_file(notes(member)).unwrap();
    }
    match (member.id.as_ref(), more) {
        (TRUST, true) => member.configure(NOTES_BINDING),
        (TRUST, false) => member.reconfigure(NOTES_BINDING, ""),
        _ => {}
    }
    if round % 3 == 1 {
        member.renew();
    }
}

/// Reads a stream to its end, and returns how many messages came, with those that have `begun`, and how it ended.
async fn ending(mut begun: Vec<u8>, mut stream: Incoming) -> (usize, Status) {
    let status = loop {
        match stream.frame().await.expect("trailers come").unwrap().into_data() {
            Ok(data) => begun.extend_from_slice(&data),
            Err(trailers) => {
                break exchange::headers::read_status(&trailers.into_trailers().unwrap()).unwrap();
            }
        }
    };
    let (mut messages, mut rest) = (0, &begun[..]);
    while let Some((prefix, message)) = rest.split_first_chunk::<{ framing::PREFIX }>() {
        let [_, length @ ..] = *prefix;
        rest = &message[u32::from_be_bytes(length) as usize..];
        messages += 1;
    }
    (messages, status)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_and_no_stream_breaks_while_files_are_taken_up_ten_times() {
    let federation = TestFederation::new().await.start();
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let trust = federation.member(TRUST);
    fs::copy(trust.folder.join("legacy.db"), trust.folder.join("other.db")).unwrap();
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = Vec::new();
    for _ in 0..8 {
        let client = federation.revenues().await;
        callers.push(tokio::spawn(call_on(client, find.clone(), stop.clone(), calls.clone())));
    }
    let rows = 40_000;
    let list = federation.request("test.v1.Records/List", &format!(r#"{{"count": "{rows}"}}"#));
    let mut reader = federation.member(COUNCIL).connect_with_window("revenues", 64 * 1024).await;
    let (_, mut stream) = reader.open("/test.v1.Records/List", &standard(), &list, None).await.unwrap();
    let mut begun = Vec::new();
    for round in 0..10 {
        let before = calls.load(Ordering::Relaxed);
        federation.publish(round + 2);
        for member in [COUNCIL, TRUST].map(|member| federation.member(member)) {
            disturb(member, round);
            member.reload().await;
        }
        begun.extend_from_slice(&stream.frame().await.unwrap().unwrap().into_data().unwrap());
        eventually("calls go on", 10, async || {
            let failed = callers.iter().any(tokio::task::JoinHandle::is_finished);
            (failed || calls.load(Ordering::Relaxed) > before + 8).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    eprintln!("{} calls while files were taken up", calls.load(Ordering::Relaxed));
    let (messages, status) = ending(begun, stream).await;
    assert_eq!((messages, status.code), (rows, 0), "{}", status.message);
    for member in [COUNCIL, TRUST] {
        let (reload, log) =
            (federation.member(member).status().await.reload, federation.member(member).process().log());
        assert!(reload.taken >= 10 && reload.refused.is_none(), "{reload:?}");
        assert!(!log.contains("promise was broken") && !log.contains("no longer trusted"), "{log}");
    }
}
