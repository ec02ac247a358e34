//! Reading, proving, verifying and comparing logs that were written with the same crates as a gateway's.

use std::fs;

use serde_json::Value;

use crate::{
    exchange::{exchanged, refused_by},
    support::Place,
};

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_log_is_listed_by_who_asked_what_and_why() {
    let place = exchanged().place;
    let list = place.does(["log", "list", "--data", "county/data"]);
    insta::assert_snapshot!(list);
    let wide = place.does(["log", "list", "--config", "county/gateway.toml", "--wide"]);
    assert!(wide.contains("ho-1, housing officer") && wide.contains("CASE-9") && wide.contains("tenancies"), "{wide}");
}

#[test]
fn each_condition_finds_what_it_names() {
    let exchanged = exchanged();
    let (place, id) = (exchanged.place, exchanged.id.to_string());
    for (conditions, expected) in [
        (vec![], 2),
        (vec!["--member", "trust.example"], 2),
        (vec!["--member", "police.example"], 0),
        (vec!["--system", "county.example/housing"], 2),
        (vec!["--method", "housing.v1.Tenancies/Find"], 2),
        (vec!["--method", "housing.v1.Tenancies"], 2),
        (vec!["--purpose", "curiosity"], 1),
        (vec!["--actor", "ho-1"], 1),
        (vec!["--case", "CASE-9", "--outcome", "answered"], 1),
        (vec!["--outcome", "wrong_purpose"], 1),
        (vec!["--exchange", &id], 1),
        (vec!["--from", "2027-01-15T08:00:30Z"], 1),
        (vec!["--until", "2027-01-15 08:00:30"], 1),
        (vec!["--from", "2027-01-16"], 0),
        (vec!["--limit", "1"], 1),
    ] {
        let out = place.does(["log", "list", "--data", "county/data", "--json"].iter().chain(&conditions));
        assert_eq!(json_lines(&out).len(), expected, "{conditions:?}\n{out}");
    }
    let newest = place.does(["log", "list", "--data", "county/data", "--json", "--limit", "1"]);
    assert_eq!(json_lines(&newest)[0]["reason"], "WRONG_PURPOSE");
    place.misuses(["log", "list", "--data", "county/data", "--from", "yesterday"]);
    for (from, until) in [("2h", "3h"), ("2027-01-02", "2027-01-01"), ("2027-01-02", "2027-01-02")] {
        let said = place.misuses(["log", "list", "--data", "county/data", "--from", from, "--until", until]);
        assert!(said.contains("nothing is from"), "{said}");
    }
    let listed = |conditions: &[&str]| {
        json_lines(&place.does(["log", "list", "--data", "county/data", "--json"].iter().chain(conditions))).len()
    };
    for (condition, as_written) in [
        (["--member", "TRUST.example"], ["--member", "trust.example"]),
        (["--system", "County.Example/HOUSING"], ["--system", "county.example/housing"]),
        (["--actor", "ho-1;role=housing officer"], ["--actor", "ho-1"]),
    ] {
        assert_eq!(listed(&condition), listed(&as_written), "{condition:?}");
        assert!(listed(&condition) > 0, "{condition:?}");
    }
    assert_eq!(listed(&["--actor", "ho-1;role=clerk"]), 0);
    for wrong in [["--member", "trust example"], ["--system", "hou sing"], ["--system", "a/b/c"]] {
        place.misuses(["log", "list", "--data", "county/data"].iter().chain(&wrong));
    }
    // A slip of the pen is no log without refusals.
    let said = place.misuses(["log", "list", "--data", "county/data", "--outcome", "NO_AGREMENT"]);
    assert!(said.contains("did you mean `NO_AGREEMENT`?"), "{said}");
    let said = place.misuses(["log", "list", "--data", "county/data", "--outcome", "anything"]);
    assert!(said.contains("answered, refused, cancelled, unanswered, failed"), "{said}");
}

#[test]
fn an_exchange_is_shown_with_what_was_signed_and_what_was_only_said() {
    let exchanged = exchanged();
    let (place, id) = (exchanged.place, exchanged.id.to_string());
    let shown = place.does(["log", "show", "--data", "county/data", &id]);
    for expected in [
        "county.example, system housing (as its gateway main asserts)",
        "ho-1, housing officer (as the system asserts)",
        "CASE-9 (as the system asserts)",
        "Housing Act 1996, part 6",
        "record 0 of trust.example/log/main",
    ] {
        assert!(shown.contains(expected), "`{expected}` is missing:\n{shown}");
    }
    let json = json_lines(&place.does(["log", "show", "--data", "county/data", "0", "--json"]));
    assert_eq!(json[0]["consumer_claims"]["asserted_actor"], "ho-1");
    assert_eq!(json[0]["provider_claims"]["messages"], 1);
    assert_eq!(json[0]["exchange"], id.as_str());
    let refused = place.does(["log", "show", "--data", "county/data", "1"]);
    assert!(refused.contains("refused WRONG_PURPOSE") && refused.contains("ho-2"), "{refused}");
    let said = place.refuses(["log", "show", "--data", "county/data", "7"]);
    assert!(said.contains("there is no record 7"), "{said}");
    let other = id.replace(&id[..8], "01a20b0c");
    place.refuses(["log", "show", "--data", "county/data", &other]);
    place.misuses(["log", "show", "--data", "county/data", "a-thing"]);
}

#[test]
fn a_whole_log_verifies_and_its_signatures_by_the_directory() {
    let place = exchanged().place;
    let said = place.does(["log", "verify", "--data", "trust/data"]);
    assert!(said.contains("the log trust.example/log/main is whole") && said.contains("--directory"), "{said}");
    let said = place.does(["log", "verify", "--data", "trust/data", "--directory", "county/directory.note"]);
    assert!(said.contains("signatures  2 of both sides' gateways"), "{said}");
    let said = place.does(["log", "verify", "--config", "county/gateway.toml", "--explain"]);
    // The answered exchange has both sides' signatures, the refusal that of its own gateway.
    assert!(said.contains("signatures  3 of both sides' gateways") && said.contains("RFC 9162"), "{said}");
}

#[test]
fn what_was_verified_is_there_for_programs_too() {
    let place = exchanged().place;
    let command = ["log", "verify", "--data", "county/data", "--directory", "trust/directory.note", "--json"];
    let verified = &json_lines(&place.does(command))[0];
    assert_eq!(verified["log"], "county.example/log/main");
    assert_eq!(
        (&verified["whole"], &verified["key_listed"], &verified["unfinished"]),
        (&true.into(), &true.into(), &Value::Null)
    );
    assert_eq!((&verified["records"], &verified["erased"], &verified["signatures"]), (&2.into(), &0.into(), &3.into()));
    assert_eq!(verified["checkpoint"]["size"], 2);
    assert_eq!(verified["checkpoint"]["root"].as_str().unwrap().len(), 64);
    let unlisted = &json_lines(&place.does(["log", "verify", "--data", "county/data", "--json"]))[0];
    assert_eq!((&unlisted["key_listed"], &unlisted["signatures"]), (&false.into(), &Value::Null));
    place.does(["directory", "remove", "--directory", "trust/directory.note", "trust.example"]);
    let ran = place.run(command);
    assert!(ran.code == 1 && ran.err.contains("do not verify"), "{}", ran.err);
    let fault = &json_lines(&ran.out)[0];
    assert_eq!(fault["whole"], false);
    let problem = fault["problems"][0].as_str().unwrap();
    assert!(problem.contains("signatures of record 0 do not verify"), "{problem}");
    place.misuses(["log", "verify", "--data", "county/data", "--json", "--explain"]);
}

#[test]
fn a_refusal_that_somebody_else_signed_is_named() {
    let place = exchanged().place;
    // The trust's gateway key in the place of the county's: claims and refusal are then nobody's of that name.
    let forged = refused_by(&place, "trust/keys/gateway.key");
    let said = place.refuses(["log", "verify", "--data", &forged, "--directory", "trust/directory.note"]);
    assert!(said.contains("signatures of record 0 do not verify") && said.contains("county.example/main"), "{said}");
    let honest = refused_by(&place, "county/keys/gateway.key");
    let said = place.does(["log", "verify", "--data", &honest, "--directory", "trust/directory.note"]);
    assert!(said.contains("signatures  1 of both sides' gateways"), "{said}");
}

#[test]
fn a_directory_without_the_keys_that_signed_does_not_verify_a_log() {
    let place = exchanged().place;
    place.does(["init", "--member", "county.example", "--development", "stranger"]);
    let said = place.refuses(["log", "verify", "--data", "county/data", "--directory", "stranger/directory.note"]);
    assert!(said.contains("does not list the key of the log"), "{said}");
    place.does(["directory", "remove", "--directory", "county/directory.note", "trust.example"]);
    let said = place.refuses(["log", "verify", "--data", "county/data", "--directory", "county/directory.note"]);
    assert!(said.contains("signatures of record 0 do not verify") && said.contains("trust.example/main"), "{said}");
}

#[test]
fn a_changed_byte_is_named_by_file_record_and_byte() {
    let place = exchanged().place;
    let segment =
        files_below(&place, "county/data/ledger/journal").into_iter().find(|name| name.contains("0000")).unwrap();
    let mut bytes = fs::read(place.path(&segment)).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[written / 2] ^= 1;
    fs::write(place.path(&segment), bytes).unwrap();
    let said = place.refuses(["log", "verify", "--data", "county/data", "--explain"]);
    let name = std::path::Path::new(&segment).file_name().unwrap().to_str().unwrap();
    assert!(said.contains(name) && said.contains("byte "), "{said}");
    assert!(said.contains("stop; do not delete anything"), "{said}");
    place.refuses(["log", "list", "--data", "county/data"]);
}

#[test]
fn a_changed_checkpoint_or_tile_is_named() {
    for changed in ["tlog/checkpoint", "tlog/tile"] {
        let place = exchanged().place;
        let files = files_below(&place, "county/data/ledger/tlog");
        // The widest partial tile is the one that the checkpoint covers.
        let file = files.iter().rfind(|name| name.contains(changed)).unwrap_or_else(|| panic!("{files:?}"));
        let mut bytes = fs::read(place.path(file)).unwrap();
        let last = bytes.len() - 8;
        bytes[last] ^= 1;
        fs::write(place.path(file), bytes).unwrap();
        let said = place.refuses(["log", "verify", "--data", "county/data"]);
        assert!(said.contains(file.as_str()), "{said}");
    }
}

#[test]
fn a_proof_is_one_that_others_can_check() {
    let exchanged = exchanged();
    let (place, id) = (exchanged.place, exchanged.id.to_string());
    place.does(["log", "prove", "--data", "county/data", &id, "-o", "proof.json"]);
    let proof: Value = serde_json::from_str(&place.read("proof.json")).unwrap();
    let text = |key: &str| proof[key].as_str().unwrap().to_owned();
    let note = note::Note::parse(&text("checkpoint")).unwrap();
    assert_eq!(note.verified_by(&[text("log_key").parse().unwrap()]).unwrap().len(), 1);
    let checkpoint = ledger::Checkpoint::parse(note.text()).unwrap();
    let leaf = ledger::Hash::from_base64(&text("leaf")).unwrap();
    let path: Vec<ledger::Hash> = proof["path"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hash| ledger::Hash::from_base64(hash.as_str().unwrap()).unwrap())
        .collect();
    let index = proof["index"].as_u64().unwrap();
    ledger::merkle::verify_inclusion(leaf, index, checkpoint.size, &path, checkpoint.root).unwrap();
    assert_eq!(text("origin"), "county.example/log/main");
    place.refuses(["log", "prove", "--data", "county/data", &id, "-o", "proof.json"]);
    let printed: Value =
        serde_json::from_str(&place.does(["log", "prove", "--data", "county/data", &id, "--json"])).unwrap();
    assert_eq!(printed, proof);
    let table = place.does(["log", "prove", "--data", "county/data", &id]);
    assert!(table.starts_with("record 0 is in the log county.example/log/main\n"), "{table}");
    for value in ["entry", "leaf", "log_key", "exchange"] {
        assert!(table.contains(proof[value].as_str().unwrap()), "`{value}` is missing:\n{table}");
    }
    for line in proof["checkpoint"].as_str().unwrap().lines().chain(proof["path"][0].as_str()) {
        assert!(table.contains(line), "`{line}` is missing:\n{table}");
    }
}

#[test]
fn two_logs_that_tell_the_same_have_no_unexplained_difference() {
    let place = exchanged().place;
    let said = place.does(["log", "compare", "county/data", "trust/data"]);
    assert!(
        said.contains("both logs tell 1 exchange alike")
            && said.contains("explained    ")
            && !said.contains("UNEXPLAINED"),
        "{said}"
    );
    place.misuses(["log", "compare", "county/data", "county/data"]);
}

#[test]
fn an_exchange_that_one_log_hides_is_named() {
    let exchanged = exchanged();
    let (place, id) = (exchanged.place, exchanged.id.to_string());
    fs::remove_dir_all(place.path("trust/data")).unwrap();
    // Another log of the same gateway, in which nothing happened.
    fs::create_dir_all(place.path("trust/data")).unwrap();
    let key = |name: &str| note::SigningKey::read_file(&place.path(name)).unwrap();
    let config = ledger::Config::new(
        place.path("trust/data/ledger"),
        "trust.example/log/main".to_owned(),
        key("trust/keys/log.key"),
        key("trust/keys/gateway.key"),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { ledger::Ledger::open(config).unwrap().0.close().await });
    let ran = place.run(["log", "compare", "county/data", "trust/data"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.out.contains(&format!("UNEXPLAINED  {id}  only the consumer has it")), "{}", ran.out);
}

#[test]
fn a_folder_without_a_log_says_so() {
    let place = Place::new();
    let said = place.refuses(["log", "list", "--data", "nowhere"]);
    assert!(said.contains("there is no log in this folder") && said.contains("--data"), "{said}");
}

fn files_below(place: &Place, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(place.path(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() { found.extend(files_below(place, &name)) } else { found.push(name) }
    }
    found.sort();
    found
}
