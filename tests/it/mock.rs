//! `drawbridge mock`: one command, and a partner's program has answers that fit the contract.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use contract::{Contracts, Format, Source};
use drawbridge_tests::{
    process::{binary, run, succeed},
    python,
};
use ledger::Reader;
use records::Record;
use serde_json::Value;

/// A mock that serves, with everything that it started in its process group.
pub(crate) struct Serving {
    child: Child,
    said: String,
}

impl Serving {
    /// Starts what a command says, and waits until it serves.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while !said.contains("the mock is ready") {
            if lines.read_line(&mut said).unwrap() == 0 {
                let mut complaint = String::new();
                child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
                panic!("the mock did not start:\n{said}\n{complaint}");
            }
        }
        Self { child, said }
    }

    /// Starts `drawbridge mock` with these arguments in a folder.
    fn of(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.arg("mock").args(arguments).current_dir(folder).env("NO_COLOR", "1").stdin(Stdio::null());
        Self::start(command.process_group(0))
    }

    /// The commands that it shows.
    fn commands(&self) -> Vec<&str> {
        self.said.lines().filter_map(|line| line.trim_start().strip_prefix("$ ")).collect()
    }

    /// Asks it to end, and waits for it. Returns whether it ended well.
    pub(crate) fn stop(mut self) -> bool {
        self.signal("-TERM");
        self.child.wait().unwrap().success()
    }

    /// Kills the mock alone, and none of its gateways.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal("-TERM");
            let _ = self.child.wait();
        }
    }
}

fn proto(name: &str) -> String {
    python::repository().join(name).to_str().unwrap().to_owned()
}

/// A contract with rules that are hard to keep, and one that cannot be.
const CONTRACT: &str = r#"
syntax = "proto3";
package housing.v1;
import "drawbridge/options/v1/options.proto";
import "google/protobuf/timestamp.proto";

service Tenancies {
  // What the contract does not say of its methods, the agreement does.
  rpc Find(FindRequest) returns (Tenancy);
  rpc List(FindRequest) returns (stream Tenancy) {
    option (drawbridge.options.v1.method) = { kind: KIND_QUERY };
  }
  rpc Close(FindRequest) returns (Tenancy) {
    option (drawbridge.options.v1.method) = { kind: KIND_COMMAND };
  }
}
message FindRequest {
  string number = 1 [(drawbridge.options.v1.field) = { required: true, pattern: "T-[0-9]{4}" }];
}
message Tenancy {
  string number = 1 [(drawbridge.options.v1.field) = { pattern: "T-[0-9]{4}" }];
  repeated Person tenants = 2 [(drawbridge.options.v1.field) = { min_items: 2, max_items: 3 }];
  string postcode = 3 [(drawbridge.options.v1.field) = { required: true, format: FORMAT_POSTCODE }];
  google.protobuf.Timestamp changed = 4;
  string odd = 5 [(drawbridge.options.v1.field) = { format: FORMAT_DATE, pattern: "[a-z]+" }];
  map<string, int32> rents = 6 [(drawbridge.options.v1.field) = { required: true, minimum: "50", maximum: "60" }];
}
message Person {
  string national_insurance_number = 1 [(drawbridge.options.v1.field) = {
    required: true
    format: FORMAT_NATIONAL_INSURANCE_NUMBER
  }];
  string name = 2;
}
"#;

const EXAMPLES: &str = r#"
[["housing.v1.Tenancies/Find"]]
request = { number = "T-0001" }
answer = { number = "T-0001", postcode = "YO1 7HH", tenants = [{ national_insurance_number = "AB123456C" }, { national_insurance_number = "AB123457C" }], rents = { march = 55 } }

[["housing.v1.Tenancies/Find"]]
request = { number = "T-0404" }
error = { code = "NOT_FOUND", message = "there is no such tenancy" }
"#;

fn call(folder: &Path, method: &str, request: &str) -> std::process::Output {
    call_with(folder, method, request, &[])
}

fn call_with(folder: &Path, method: &str, request: &str, more: &[&str]) -> std::process::Output {
    let asked =
        ["call", "--config", "partner/gateway.toml", "mock.example", method, "--purpose", "development", request];
    run(&folder.join("kept"), asked.iter().chain(more))
}

fn rows(output: &std::process::Output) -> Vec<Value> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    serde_json::Deserializer::from_str(&out).into_iter().map(Result::unwrap).collect()
}

#[test]
fn a_contract_is_mocked_by_rule_and_by_example_and_kept_from_one_start_to_the_next() {
    let root = tempfile::Builder::new().prefix("drawbridge-it-mock-").tempdir().unwrap();
    let folder = root.path();
    fs::create_dir_all(folder.join("contract/housing/v1")).unwrap();
    fs::write(folder.join("contract/housing/v1/tenancies.proto"), CONTRACT).unwrap();
    fs::write(folder.join("examples.toml"), EXAMPLES).unwrap();
    let arguments = ["contract", "--data", "kept", "--examples", "examples.toml", "--rows", "40", "--seed", "7"];
    let mock = Serving::of(folder, &arguments);
    for part in ["housing.v1.Tenancies/Find, `odd`", "`--examples`", "FORMAT_DATE"] {
        assert!(mock.said.contains(part), "{part}: {}", mock.said);
    }

    // What is made up keeps the rules of the contract, but for the field that cannot.
    let listed = rows(&call(folder, "housing.v1.Tenancies/List", r#"{"number":"T-1001"}"#));
    assert_eq!(listed.len(), 40);
    let files = vec![("housing/v1/tenancies.proto".to_owned(), CONTRACT.to_owned())];
    let contracts = Contracts::load(&[Source::Protos { name: "contract".to_owned(), files }]).unwrap();
    let method = contracts.method("/housing.v1.Tenancies/List").unwrap();
    for row in &listed {
        assert_eq!(row["number"], "T-1001");
        let person = row["tenants"][1]["nationalInsuranceNumber"].as_str().unwrap();
        assert!(Format::NationalInsuranceNumber.accepts(person), "{row}");
        assert!(Format::DateTime.accepts(row["changed"].as_str().unwrap()), "{row}");
        let message = method.answer_from_json(&row.to_string()).unwrap();
        method.check_made_up_answer(&prost::Message::encode_to_vec(&message)).unwrap();
    }

    // Examples come first.
    let found = rows(&call(folder, "housing.v1.Tenancies/Find", r#"{"number":"T-0001"}"#));
    assert_eq!(found[0]["rents"], serde_json::json!({ "march": 55 }));
    let missing = call(folder, "housing.v1.Tenancies/Find", r#"{"number":"T-0404"}"#);
    let complaint = String::from_utf8_lossy(&missing.stderr);
    assert!(!missing.status.success() && complaint.contains("there is no such tenancy"), "{complaint}");

    // The gateways are real: a request that breaks a rule is refused, and all of it is on record.
    let refused = call(folder, "housing.v1.Tenancies/Find", r#"{"number":"1"}"#);
    let complaint = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && complaint.contains("MALFORMED"), "{complaint}");
    let made = rows(&call(folder, "housing.v1.Tenancies/Find", r#"{"number":"T-2002"}"#));
    assert!(mock.stop(), "the mock did not end well");
    let reader = Reader::open(folder.join("kept/provider/data/ledger")).unwrap();
    let settled = reader.entries().map(|stored| Record::open(stored.unwrap()).unwrap()).filter(Record::settles).count();
    assert_eq!(settled, 4, "one refusal was the partner's own");

    // Taken up again, it is the same members, and the same answer to the same question.
    let entry = fs::read_to_string(folder.join("kept/provider/entry.note")).unwrap();
    let mock = Serving::of(folder, &arguments);
    assert_eq!(rows(&call(folder, "housing.v1.Tenancies/Find", r#"{"number":"T-2002"}"#)), made);
    assert_eq!(fs::read_to_string(folder.join("kept/provider/entry.note")).unwrap(), entry);

    // A command is one: without a key it is refused, and with the same key it has the same answer.
    let (method, request) = ("housing.v1.Tenancies/Close", r#"{"number":"T-3003"}"#);
    let refused = call(folder, method, request);
    let complaint = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && complaint.contains("KEY_REQUIRED"), "{complaint}");
    let key = ["--idempotency-key", "close-1"];
    let closed = rows(&call_with(folder, method, request, &key));
    assert_eq!(rows(&call_with(folder, method, request, &key)), closed);
    assert!(mock.stop());
    let said = succeed(&folder.join("kept"), ["log", "compare", "partner/data", "provider/data"]);
    assert!(!said.contains("UNEXPLAINED"), "{said}");
}

#[test]
fn the_lines_that_a_mock_shows_can_be_pasted() {
    let root = tempfile::Builder::new().prefix("drawbridge-it-mock-").tempdir().unwrap();
    let mock = Serving::of(root.path(), &[&proto("proto"), "--data", "kept", "--service", "health.v1.Patients"]);
    let folder = root.path().join("kept");
    let mut ran = Vec::new();
    for command in mock.commands() {
        // Installed from a locked list, into `target/python`.
        if command.starts_with("python3 -m venv") {
            let made = python::interpreter().parent().unwrap().parent().unwrap().to_owned();
            fs::create_dir(folder.join("python")).unwrap();
            for part in ["bin", "lib", "pyvenv.cfg"] {
                std::os::unix::fs::symlink(made.join(part), folder.join("python").join(part)).unwrap();
            }
            continue;
        }
        if command.starts_with("cd ") || command.starts_with("alias ") {
            continue;
        }
        let line = format!("drawbridge() {{ {} \"$@\"; }}\n{command}", binary().display());
        let output =
            Command::new("sh").args(["-e", "-c", &line]).current_dir(&folder).stdin(Stdio::null()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command}\n{out}\n{err}");
        ran.push((command.split(' ').next().unwrap().to_owned(), out.into_owned()));
    }
    let said = |program: &str| {
        ran.iter().filter(|(name, _)| name == program).map(|(_, said)| said.as_str()).collect::<String>()
    };
    assert!(said("drawbridge").contains("nhsNumber"), "{ran:?}");
    assert!(said("PYTHONPATH=python").contains("nhs_number"), "{ran:?}");
    assert!(said("curl").contains("nhsNumber"), "{ran:?}");
    assert!(mock.stop());
}

#[test]
fn a_member_with_a_gateway_of_its_own_is_shown_what_to_do() {
    let root = tempfile::Builder::new().prefix("drawbridge-it-mock-").tempdir().unwrap();
    let folder = root.path();
    let [clients, operations] = drawbridge_tests::ports::free_ports().map(|port| port.to_string());
    let init = ["init", "--development", "--member", "pensions.example", "--system", "app", "--clients", &clients];
    succeed(folder, init.iter().chain(&["--operations", &operations, "YOURS"]));
    let contract = proto("proto/police/v1/neighbourhoods.proto");
    let mock = Serving::of(folder, &[&contract, "--entry", "YOURS/entry.note", "--data", "kept"]);
    fs::rename(folder.join("YOURS"), folder.join("kept/YOURS")).unwrap();
    let kept = folder.join("kept");
    fs::create_dir_all(kept.join("YOURS/proto/police/v1")).unwrap();
    fs::copy(&contract, kept.join("YOURS/proto/police/v1/neighbourhoods.proto")).unwrap();
    for command in mock.commands().into_iter().filter(|line| line.contains("YOURS")) {
        let line = format!("drawbridge() {{ {} \"$@\"; }}\n{command}", binary().display());
        let output = Command::new("sh").args(["-e", "-c", &line]).current_dir(&kept).output().unwrap();
        assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let yours = drawbridge_tests::Gateway::start(&kept.join("YOURS"));
    let asked = || {
        let config = ["call", "--config", "YOURS/gateway.toml", "mock.example", "police.v1.Stations/List"];
        run(&kept, config.iter().chain(&["--purpose", "development", "{\"force\":\"kent\"}"]))
    };
    // The mock's gateway notices the signed agreement within a second or two.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut output = asked();
    while !output.status.success() && std::time::Instant::now() < deadline {
        output = asked();
    }
    let listed = rows(&output);
    assert_eq!(listed.len(), 3, "{listed:?}");
    drop(yours);
    assert!(mock.stop());
}

#[test]
fn what_is_made_up_is_refused_outside_development() {
    let root = tempfile::Builder::new().prefix("drawbridge-it-mock-").tempdir().unwrap();
    succeed(root.path(), ["init", "--member", "county.example", "county"]);
    let file = root.path().join("county/gateway.toml");
    fs::create_dir_all(root.path().join("county/proto/housing/v1")).unwrap();
    fs::write(root.path().join("county/proto/housing/v1/tenancies.proto"), CONTRACT).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let binding = "\n[[binding]]\nmethod = \"housing.v1.Tenancies/Find\"\nconnector = { kind = \"mock\" }\n";
    fs::write(&file, format!("{text}{binding}")).unwrap();
    let output = run(root.path(), ["check", "county/gateway.toml"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && complaint.contains("for development only"), "{complaint}");
    assert!(complaint.contains("binding[0].connector.kind"), "{complaint}");
}

#[test]
fn the_gateways_of_a_mock_that_is_killed_end_with_it() {
    let root = tempfile::tempdir().unwrap();
    let contract = proto("proto");
    let arguments = [contract.as_str(), "--data", "kept", "--service", "health.v1.Patients"];
    Serving::of(root.path(), &arguments).kill();
    // Nothing tells when they have drained but that the logs are free again.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let is_open = |member: &str| ledger::in_use(&root.path().join(format!("kept/{member}/data/ledger")));
    while is_open("provider") || is_open("partner") {
        assert!(std::time::Instant::now() < until, "a gateway is left");
        std::thread::yield_now();
    }
    assert!(Serving::of(root.path(), &arguments).stop());
}

#[test]
fn a_contract_with_every_rule_is_mocked_by_what_is_shipped() {
    let root = tempfile::tempdir().unwrap();
    // Its patterns have `(?i)` and `\p{…}`.
    let mock = Serving::of(root.path(), &[&proto("crates/rest/tests/fixtures"), "--data", "kept"]);
    assert!(mock.said.contains("6 methods"), "{}", mock.said);
    assert!(mock.stop());
}

#[test]
fn a_single_file_is_mocked_whatever_lies_beside_it() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("x")).unwrap();
    fs::write(root.path().join("x/tenancies.proto"), CONTRACT).unwrap();
    fs::write(root.path().join("x/b.proto"), "this is no contract").unwrap();
    assert!(Serving::of(root.path(), &["x/tenancies.proto", "--data", "kept"]).stop());
}
