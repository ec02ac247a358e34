//! A gateway that runs, and calls that do not get far. Whole exchanges are in the package of end-to-end tests.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::support::Place;

/// A gateway process, killed when dropped.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("drawbridge"));
        command.env_remove("NOTIFY_SOCKET");
        Self::start_with(place, arguments, command)
    }

    fn start_with(place: &Place, arguments: &[&str], mut command: Command) -> Self {
        let mut child = command
            .args(["run", "--config", "county/gateway.toml"])
            .args(arguments)
            .current_dir(place.folder())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads what it says until it is ready.
    fn ready(&mut self) -> String {
        let mut said = String::new();
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            said = format!("{said}{line}\n");
            if line == "drawbridge: county.example/main is ready" {
                return said;
            }
        }
        panic!("it ended before it was ready:\n{said}");
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A place whose county.example listens on free ports only.
fn place() -> Place {
    let place = Place::with_two_members();
    place.change("county/gateway.toml", "[links]\nlisten = \"127.0.0.1:28443\"", "[links]\nlisten = \"127.0.0.1:0\"");
    place
}

#[test]
fn a_gateway_says_what_it_serves_and_ends_when_asked_to() {
    let place = place();
    let mut running = Running::start(&place, &["--ports-file", "ports.toml"]);
    let said = running.ready();
    assert!(said.contains("for systems of county.example with a certificate") && said.contains("2 members"), "{said}");
    let ports = place.read("ports.toml");
    assert!(ports.starts_with("format = \"drawbridge.ports/v1\"\n") && !ports.contains(":0\""), "{ports}");
    for name in ["links", "clients", "operations"] {
        assert!(ports.lines().any(|line| line.starts_with(&format!("{name} = \"127.0.0.1:"))), "{ports}");
    }
    // Its log is read while it runs.
    place.does(["log", "verify", "--config", "county/gateway.toml"]);
    running.signal("-TERM");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_gateway_goes_on_when_nobody_reads_what_it_says() {
    let place = place();
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("drawbridge"))
        .args(["run", "--config", "county/gateway.toml", "--ports-file", "ports.toml"])
        .current_dir(place.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    // It says when it has been asked to stop, which it can be once it runs.
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    while !place.path("ports.toml").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert!(said.any(|line| line.unwrap().starts_with("stopping")));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_gateway_on_the_same_log_does_not_start() {
    let place = place();
    let mut running = Running::start(&place, &[]);
    running.ready();
    let said = place.refuses(["run", "--config", "county/gateway.toml"]);
    assert!(said.contains("cannot open the exchange log"), "{said}");
    // `check` finds the gateway of this configuration by what it has left in its data folder, and knows what it rightly holds.
    let said = place.does(["check", "county/gateway.toml"]);
    assert!(said.contains("`county.example/main` runs with this data folder"), "{said}");
    // Another gateway's configuration with the same data folder is told.
    place.change("trust/gateway.toml", "# folder = \"data\"", "folder = \"../county/data\"");
    let said = place.refuses(["check", "trust/gateway.toml"]);
    assert!(said.contains("another process has the exchange log") && said.contains("(data.folder)"), "{said}");
}

#[test]
fn a_copied_folder_is_not_taken_for_that_of_the_gateway_that_runs() {
    let place = place();
    let mut running = Running::start(&place, &["--ports-file", "ports.toml"]);
    running.ready();
    let copied = Command::new("cp").args(["-a", "county", "copy"]).current_dir(place.folder()).status().unwrap();
    assert!(copied.success());
    // What was copied of the data folder names the ports of the gateway that runs, and that one has another log open.
    let said = place.does(["check", "copy/gateway.toml"]);
    assert!(!said.contains("runs with this data folder"), "{said}");
    let operations = place.read("ports.toml");
    let operations = operations.lines().find_map(|line| line.strip_prefix("operations = ")).unwrap().to_owned();
    for folder in ["copy", "county"] {
        let listen = format!("[operations]\nlisten = {operations}");
        place.change(&format!("{folder}/gateway.toml"), "[operations]\nlisten = \"127.0.0.1:0\"", &listen);
    }
    for data in ["copied", "empty"] {
        if data == "empty" {
            std::fs::remove_dir_all(place.path("copy/data")).unwrap();
            std::fs::create_dir(place.path("copy/data")).unwrap();
        }
        let said = place.refuses(["check", "copy/gateway.toml"]);
        assert!(said.contains("(operations.listen)") && said.contains("in use"), "{data}: {said}");
        assert!(said.contains("runs with another data folder than `copy/data`"), "{data}: {said}");
        let said = place.refuses(["status", "--config", "copy/gateway.toml"]);
        assert!(said.contains("runs with another data folder"), "{data}: {said}");
        let ran = place.run(["doctor", "--config", "copy/gateway.toml"]);
        assert_eq!(ran.code, 1, "{}", ran.out);
        assert!(ran.out.contains("runs with another data folder") && !ran.out.contains("held by"), "{}", ran.out);
    }
    let said = place.does(["check", "county/gateway.toml"]);
    assert!(said.contains("`county.example/main` runs with this data folder"), "{said}");
    place.does(["status", "--config", "county/gateway.toml"]);
}

#[test]
fn a_call_reaches_the_gateway_and_its_refusal_is_told() {
    let place = place();
    let mut running = Running::start(&place, &["--ports-file", "ports.toml"]);
    running.ready();
    let ports = place.read("ports.toml");
    let clients = ports.lines().find_map(|line| line.strip_prefix("clients = ")).unwrap().trim_matches('"').to_owned();
    let call = [
        "call",
        "--config",
        "county/gateway.toml",
        "--gateway",
        &clients,
        "trust.example",
        "housing.v1.Tenancies/Find",
    ];
    let ran = place.run_with(call.iter().chain(&["--purpose", "allocation", "-"]), "{\"number\": \"7\"}");
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    assert!(
        ran.err.starts_with("NO_AGREEMENT (PERMISSION_DENIED, refused by the consumer's gateway, exchange "),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("`drawbridge explain NO_AGREEMENT`"), "{}", ran.err);
    let listed = place.does(["log", "list", "--data", "county/data", "--json"]);
    assert!(listed.contains("\"reason\":\"NO_AGREEMENT\""), "{listed}");
    // With somebody else's certificate it does not get so far.
    let with = [
        "--purpose",
        "p",
        "--certificate",
        "trust/tls/systems/housing.pem",
        "--key",
        "trust/tls/systems/housing.key.pem",
    ];
    let said = place.refuses(call.iter().chain(&with));
    assert!(said.contains("cannot ask the own gateway") && said.contains("cause: "), "{said}");
}

#[test]
fn a_call_that_cannot_be_made_says_why_before_anything_is_sent() {
    let place = Place::with_two_members();
    let call = ["call", "--config", "county/gateway.toml", "trust.example"];
    let port = ["--gateway", "127.0.0.1:9"];
    let said = place.misuses(call.iter().chain(&["housing.v1.Tenancies/Find"]));
    assert!(said.contains("--gateway"), "{said}");
    let said = place.refuses(call.iter().chain(&port).chain(&["housing.v1.Tenancies/Fnd"]));
    assert!(said.contains("did you mean `housing.v1.Tenancies/Find`?"), "{said}");
    place.write("request.json", "{\n  \"nummer\": \"canary\"\n}\n");
    let said = place.refuses(call.iter().chain(&port).chain(&["housing.v1.Tenancies/Find", "@request.json"]));
    assert!(
        said.contains("request.json:2:") && said.contains("unknown field `nummer`") && !said.contains("canary"),
        "{said}"
    );
    let said = place.refuses(call.iter().chain(&port).chain(&["housing.v1.Tenancies/Find", "--system", "revenues"]));
    assert!(said.contains("the system `revenues` has no certificate here") && said.contains("`housing`"), "{said}");
    let said = place.refuses(call.iter().chain(&port).chain(&["housing.v1.Tenancies/Find"]));
    assert!(said.contains("nothing listens at this address"), "{said}");
}

#[test]
fn a_service_manager_is_told_when_it_is_ready_when_it_reloads_and_when_it_stops() {
    let place = place();
    let socket = std::os::unix::net::UnixDatagram::bind(place.path("notify")).unwrap();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("drawbridge"));
    command.env("NOTIFY_SOCKET", place.path("notify"));
    let mut running = Running::start_with(&place, &[], command);
    let told = || {
        let mut read = [0; 64];
        let length = socket.recv(&mut read).unwrap();
        String::from_utf8(read[..length].to_vec()).unwrap()
    };
    assert_eq!(told(), "READY=1");
    assert!(running.ready().contains("links"));
    running.signal("-HUP");
    assert_eq!([told(), told()], ["RELOADING=1", "READY=1"]);
    running.signal("-TERM");
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}
