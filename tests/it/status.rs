//! What `drawbridge status` and `/status` tell of a running gateway.

use std::{path::Path, time::SystemTime};

use drawbridge_tests::{
    Agreement, CANARY, COUNCIL, TRUST, TestFederation, eventually,
    federation::standard,
    process::{run, succeed},
};
use serde_json::Value;

fn status(folder: &Path) -> Value {
    serde_json::from_str(&succeed(folder, ["status", "--config", "gateway.toml", "--json"])).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_tells_who_is_connected_and_how_its_log_stands() {
    let federation = TestFederation::new().await.start();
    let (council, trust) = (federation.member(COUNCIL), federation.member(TRUST));
    let mut client = federation.revenues().await;
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let reply = client.call("/test.v1.Records/Find", &standard(), &find).await.unwrap();
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    let told = eventually("a checkpoint covers the record", 10, async || {
        let told = status(&council.folder);
        (told["log"]["checkpoint_records"] == told["log"]["records"]).then_some(told)
    })
    .await;
    assert_eq!(
        (told["gateway"].as_str(), told["health"]["serving"].as_bool()),
        (Some("council.example/main"), Some(true))
    );
    assert_eq!(told["ports"]["links"], council.links.to_string());
    assert!(
        told["log"]["records"].as_u64().unwrap() >= 2 && told["log"]["journal_bytes"].as_u64().unwrap() > 0,
        "{told}"
    );
    assert!(told["log"]["checkpoint_age_seconds"].as_u64().unwrap() < 60, "{told}");
    let peer = &told["peers"][0];
    assert_eq!((peer["gateway"].as_str(), peer["accepted"].is_null()), (Some("trust.example/main"), true), "{told}");
    assert!(peer["dialled"]["connections"].as_u64().unwrap() >= 1 && peer["dialled"]["down"].is_null(), "{told}");
    assert_eq!(peer["dialled"]["key_exchange"], "X25519MLKEM768");
    assert_eq!(told["systems"][0]["system"], "council.example/revenues");
    // The standard agreement ends tomorrow.
    assert_eq!((told["agreements"]["in_force"].as_u64(), told["agreements"]["ended"].as_u64()), (Some(1), Some(0)));
    let agreement = &told["agreements"]["each"][0];
    assert_eq!(
        (agreement["agreement"].as_str(), agreement["state"].as_str()),
        (Some("standard"), Some("near_its_end"))
    );
    assert_eq!(
        (agreement["look_at"].as_bool(), agreement["grants"][0]["contract"].as_str()),
        (Some(true), Some("same"))
    );
    let certificates: Vec<&str> =
        told["certificates"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert_eq!(certificates[..2], ["this gateway's certificate", "the directory entry of `council.example`"]);
    let there = status(&trust.folder);
    assert_eq!(there["peers"][0]["gateway"], "council.example/main");
    assert!(there["peers"][0]["accepted"]["connections"].as_u64().unwrap() >= 1, "{there}");
    let table = succeed(&council.folder, ["status", "--config", "gateway.toml", "--all"]);
    for part in
        ["council.example/main: serving", "trust.example/main", "X25519MLKEM768", "standard", "due on", "ends in"]
    {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_that_go_on_are_counted_and_nothing_of_them_is_told() {
    let federation = TestFederation::new().await.start();
    let slow = federation.request("test.v1.Records/Slow", r#"{"id": "1"}"#);
    let mut client = federation.revenues().await;
    let mut given = standard();
    given.insert("drawbridge-actor", format!("{CANARY};role=nurse").parse().unwrap());
    given.insert("drawbridge-case", CANARY.parse().unwrap());
    let call = tokio::spawn(async move { client.open("/test.v1.Records/Slow", &given, &slow, None).await.map(drop) });
    for member in [COUNCIL, TRUST] {
        let told = eventually("the exchange is counted", 10, async || {
            let told = status(&federation.member(member).folder);
            (told["exchanges"]["now"] == 1).then_some(told)
        })
        .await;
        assert!(!told.to_string().contains(CANARY) && !told.to_string().contains("Slow"), "{told}");
    }
    call.abort();
    eventually("the exchange is over", 10, async || {
        (status(&federation.member(TRUST).folder)["exchanges"]["now"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_down_is_told_with_the_reason() {
    let mut federation = TestFederation::new().await.start();
    federation.take(TRUST).kill();
    let refused = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    assert_ne!(refused.status.code, 0);
    let council = federation.member(COUNCIL);
    let down = &status(&council.folder)["peers"][0]["dialled"]["down"];
    assert_eq!(down["why"], "nothing listens at this address", "{down}");
    assert!(down["cure"].as_str().unwrap().contains("whether the gateway there runs"), "{down}");
    let table = succeed(&council.folder, ["status", "--address", &council.operations.to_string()]);
    assert!(table.contains("DOWN: nothing listens"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agreements_past_their_review_are_told_and_those_that_ended_are_counted() {
    let federation = TestFederation::without_agreement().await;
    let now = SystemTime::now();
    let day = std::time::Duration::from_hours(24);
    let agreement = |id: &str, from, until| Agreement { id: id.to_owned(), from, until, ..Agreement::default() };
    // The harness puts the review on the second day.
    federation.agree(&agreement("reviewed-late", now - 400 * day, now + 400 * day));
    federation.agree(&agreement("ended-lately", now - 300 * day, now - 2 * day));
    federation.agree(&agreement("long-ago", now - 300 * day, now - 200 * day));
    federation.agree(&agreement("to-come", now + 100 * day, now + 300 * day));
    std::fs::write(federation.member(TRUST).folder.join("agreements/broken.note"), "no agreement\n").unwrap();
    let federation = federation.start();
    let told = eventually("the broken note is told", 10, async || {
        let told = status(&federation.member(TRUST).folder);
        (!told["agreements"]["broken"].as_array().unwrap().is_empty()).then_some(told)
    })
    .await;
    assert!(told["agreements"]["broken"][0].as_str().unwrap().contains("agreements/broken.note"), "{told}");
    let table = succeed(&federation.member(TRUST).folder, ["status", "--config", "gateway.toml"]);
    assert!(table.contains("BROKEN") && table.contains("broken.note"), "{table}");
    let agreements = &told["agreements"];
    let counts = ["in_force", "to_come", "ended"].map(|count| agreements[count].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 2], "{agreements}");
    let each: Vec<_> = agreements["each"].as_array().unwrap().iter().collect();
    let named: Vec<(&str, &str, bool)> = each
        .iter()
        .map(|one| (one["agreement"].as_str().unwrap(), one["state"].as_str().unwrap(), one["look_at"] == true))
        .collect();
    let expected = [
        ("ended-lately", "ended", true),
        ("reviewed-late", "in_force", true),
        ("long-ago", "ended", false),
        ("to-come", "to_come", false),
    ];
    assert_eq!(named, expected, "{agreements}");
    assert_eq!(each[1]["review_overdue"], true);
    assert!(each[0]["ends_in_seconds"].as_i64().unwrap() < 0);
    let folder = &federation.member(TRUST).folder;
    let table = succeed(folder, ["status", "--config", "gateway.toml"]);
    for told in ["ended 2 days ago: its time is over", "OVERDUE since", "in force, ends in", "not in force yet, from"] {
        assert!(table.contains(told), "{told}: {table}");
    }
    assert!(!table.contains("long-ago"), "{table}");
    assert!(succeed(folder, ["status", "--config", "gateway.toml", "--all"]).contains("long-ago"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agreement_that_a_loaded_contract_keeps_from_being_served_is_told_by_status_and_by_agreement() {
    let mut federation = TestFederation::new().await.start();
    let file = federation.member(COUNCIL).folder.join("proto/test/v1/records.proto");
    let rewrite = |from: &str, to: &str| {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(&file, text.replace(from, to)).unwrap();
    };
    // A gateway that runs does not take that up.
    rewrite("string note = 4", "string note = 9");
    let why = federation.member(COUNCIL).refused().await;
    assert!(why.contains("could no longer be served") && why.contains("renumbered from 4 to 9"), "{why}");
    assert_eq!(federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.status.code, 0);
    assert!(federation.take(COUNCIL).terminate());
    federation.restart(COUNCIL);
    let council = federation.member(COUNCIL);
    let told = status(&council.folder);
    let agreement = &told["agreements"]["each"][0];
    assert_eq!((agreement["state"].as_str(), agreement["look_at"].as_bool()), (Some("served_in_part"), Some(true)));
    let grants = agreement["grants"].as_array().unwrap();
    let contracts: Vec<_> = grants.iter().map(|grant| grant["contract"].as_str().unwrap()).collect();
    assert_eq!(contracts, ["different", "different", "same"], "{agreement}");
    assert!(grants[0]["agreed"] != grants[0]["loaded"] && grants[2]["agreed"] == grants[2]["loaded"], "{agreement}");
    assert!(grants[0]["why"].as_str().unwrap().contains("renumbered from 4 to 9"), "{agreement}");
    assert!(grants[0]["cure"].as_str().unwrap().contains("`drawbridge contract diff`"), "{agreement}");
    assert_eq!((grants[0]["served"].as_bool(), grants[2]["served"].as_bool()), (Some(false), Some(true)));
    let table = succeed(&council.folder, ["status", "--config", "gateway.toml"]);
    let agreed = grants[0]["agreed"].as_str().unwrap();
    for part in [
        "1 in force (1 of them SERVED IN PART), 0 to come",
        "SERVED IN PART, ends in",
        &format!("grant 1, of {agreed}: "),
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }

    rewrite("string text = 1", "string text = 8");
    assert!(federation.take(COUNCIL).terminate());
    federation.restart(COUNCIL);
    let council = federation.member(COUNCIL);
    let told = status(&council.folder);
    assert_eq!(told["agreements"]["each"][0]["state"], "not_served", "{told}");
    let counts = ["in_force", "not_served"].map(|count| told["agreements"][count].as_u64().unwrap());
    assert_eq!(counts, [0, 1], "{told}");
    let table = succeed(&council.folder, ["status", "--config", "gateway.toml"]);
    for part in ["0 in force, 1 CANNOT BE SERVED", "CANNOT BE SERVED, ends in", "renumbered from 4 to 9", "= help: "] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let told = |arguments: &[&str]| {
        let output = run(&council.folder, [arguments, &["--config", "gateway.toml"]].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, shown) = told(&["agreement", "show", "standard"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("NEAR ITS END, in 23 hours; CANNOT BE SERVED here"), "{shown}");
    assert!(shown.contains("NOT SERVED   the agreement is about another version of `test.v1.Records`"), "{shown}");
    for (arguments, code) in [(&["agreement", "check", "agreements/standard.note"][..], 1), (&["agreement", "list"], 1)]
    {
        let (ended, said) = told(arguments);
        assert!(ended == Some(code) && said.contains("CANNOT BE SERVED here"), "{arguments:?}: {ended:?}: {said}");
    }
}

#[tokio::test]
async fn a_gateway_that_does_not_run_is_told_as_such() {
    let federation = TestFederation::new().await;
    let output = run(&federation.member(COUNCIL).folder, ["status", "--config", "gateway.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("nothing listens on") && said.contains("drawbridge doctor"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_file_is_broken_is_found_and_tells_what_is_refused() {
    let federation = TestFederation::new().await.start();
    let council = federation.member(COUNCIL);
    let good = std::fs::read_to_string(council.folder.join("gateway.toml")).unwrap();
    let listen = format!("[operations]\nlisten = \"{}\"", council.operations);
    let elsewhere = good.replace(&listen, "[operations]\nlisten = \"127.0.0.1:1\"");
    for (broken, named) in [
        (format!("{good}unknwon = 3\n"), "unknwon"),
        (good.replace("drain = \"2s\"", "drain = 2"), "(limits.drain)"),
        (format!("{good}[clients\n"), "gateway.toml:"),
        // Not where it says any more: the running gateway has left its addresses in its data folder.
        (good.replace(&listen, "[operations]\nlisten = \"nowhere\""), "nowhere"),
        (elsewhere, "(operations.listen)"),
        (format!("{good}= = =\n").replace(&listen, ""), "gateway.toml:"),
    ] {
        std::fs::write(council.folder.join("gateway.toml"), &broken).unwrap();
        // The same word as before is no news to wait for.
        let output = eventually("the refusal is told", 20, async || {
            let output = run(&council.folder, ["status", "--config", "gateway.toml"]);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            (said.contains("REFUSED") && said.contains(named)).then_some(output)
        })
        .await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{broken}\n{out}\n{err}");
        assert!(out.contains("council.example/main: serving"), "{out}");
        let examined = run(&council.folder, ["doctor", "--config", "gateway.toml"]);
        let found = String::from_utf8_lossy(&examined.stdout).into_owned();
        assert_eq!(examined.status.code(), Some(1), "{found}");
        assert!(found.contains("ERROR") && found.contains(named.trim_matches(['(', ')'])), "{found}");
        // The rest is examined all the same: the harness leaves the member's own keys there.
        assert!(found.contains("the member's own keys lie on this machine"), "{found}");
    }
    federation.member(COUNCIL).process().signal("-KILL");
    eventually("nobody answers", 10, async || {
        let output = run(&council.folder, ["status", "--config", "gateway.toml"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code() == Some(1) && said.contains("nothing listens on")).then_some(())
    })
    .await;
}
