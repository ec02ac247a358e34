//! A gateway gets another key, in the order that the commands tell, and no call fails.

use std::{fs, path::Path};

use drawbridge_tests::{
    COUNCIL, Member, TRUST, TestFederation, eventually,
    process::{run, succeed},
};
use exchange::Reason;

/// Makes a new gateway key and signs an entry with it, as the operator does. Returns what `entry sign` said.
fn new_key(member: &Member, more: &[&str]) -> String {
    member.write_entry(1);
    let config = ["--config", "gateway.toml"];
    let made = ["key", "new", "gateway", "--output", "keys/next.key"];
    let said = succeed(&member.folder, made.iter().chain(&config));
    assert!(said.contains("set `keys.gateway` to it (keys/next.key)") && said.contains("do not restart"), "{said}");
    member.configure("\n[keys]\ngateway = \"keys/next.key\"\n");
    let sign = ["entry", "sign", "--key", "offline/member.key"];
    succeed(&member.folder, sign.iter().chain(&config).chain(more))
}

/// Has another member take the entry, and waits until it is in force there.
async fn taken(by: &Member, entry: &Path) {
    let before = by.status().await.reload.taken;
    succeed(&by.folder, ["directory", "add", "--config", "gateway.toml", entry.to_str().unwrap()]);
    by.reloaded_since(before).await;
}

async fn find(federation: &TestFederation) -> Option<Reason> {
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    let reason = reply.reason();
    assert_eq!(reply.status.code == 0, reason.is_none(), "{}", reply.status.message);
    reason
}

async fn repeat(federation: &TestFederation) -> i32 {
    federation.call("test.v1.Records/List", r#"{"count": "3"}"#).await.status.code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_gateway_key_is_taken_without_a_call_that_fails() {
    for (rotates, other) in [(TRUST, COUNCIL), (COUNCIL, TRUST)] {
        let mut federation = TestFederation::new().await.start();
        assert_eq!(find(&federation).await, None);
        let member = federation.member(rotates);
        let said = new_key(member, &[]);
        for part in ["counts beside the new one until", "1. give it to the other members", "2. once all have, restart"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        // It runs with its old key, and says that it is to be restarted, and by when.
        let refused = member.refused().await;
        assert!(
            refused.contains("(keys.gateway)") && refused.contains("restart the gateway then, before"),
            "{refused}"
        );
        assert_eq!((find(&federation).await, repeat(&federation).await), (None, 0), "{rotates}: before others took it");
        taken(federation.member(other), &member.folder.join("entry.note")).await;
        assert_eq!((find(&federation).await, repeat(&federation).await), (None, 0), "{rotates}: with the old key");
        federation.restart(rotates);
        assert_eq!((find(&federation).await, repeat(&federation).await), (None, 0), "{rotates}: with the new key");
        let told = federation.member(rotates).status().await;
        assert!(told.health.serving && told.reload.refused.is_none(), "{told:?}");
        // What was signed before still proves.
        let verified = run(&federation.member(rotates).folder, ["log", "verify", "--config", "gateway.toml"]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_others_may_have_counts_for_nobody_from_the_new_entry_on() {
    let mut federation = TestFederation::new().await.start();
    let trust = federation.member(TRUST);
    new_key(trust, &["--overlap", "0s"]);
    let entry = trust.folder.join("entry.note");
    let refused = eventually("the old key is over", 20, async || {
        let refused = trust.status().await.reload.refused?.problems.join("\n");
        refused.contains("restart the gateway NOW").then_some(refused)
    });
    // It is looked at again every 30 seconds, or when it is asked to.
    trust.refused().await;
    trust.process().signal("-HUP");
    refused.await;
    taken(federation.member(COUNCIL), &entry).await;
    assert_eq!(find(&federation).await, Some(Reason::EvidenceMismatch));
    federation.restart(TRUST);
    assert_eq!(find(&federation).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_keeps_its_former_key_says_until_when_that_counts() {
    let federation = TestFederation::new().await;
    let trust = federation.member(TRUST);
    new_key(trust, &["--overlap", "1h"]);
    trust.reconfigure("\n[keys]\ngateway = \"keys/next.key\"\n", "");
    let checked = run(&trust.folder, ["check", "--config", "gateway.toml"]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && said.contains("others take what this one signs until"), "{said}");
    // One that has been replaced for good is refused.
    fs::remove_file(trust.folder.join("keys/next.key")).unwrap();
    federation.publish(1);
    new_key(trust, &["--overlap", "0s"]);
    trust.reconfigure("\n[keys]\ngateway = \"keys/next.key\"\n", "");
    eventually("the second of the change is over", 10, async || {
        let checked = run(&trust.folder, ["check", "--config", "gateway.toml"]);
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        (!checked.status.success() && said.contains("is not the one that the directory lists")).then_some(())
    })
    .await;
}
