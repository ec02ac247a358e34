//! Partner systems and back ends in Python, from the environment that `cargo xtask test` makes.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
};

use crate::{Member, TRUST, TestFederation};

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The Python interpreter of the tests.
pub fn interpreter() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    while folder.file_name().is_some_and(|name| name != "target") {
        folder.pop();
    }
    let candidates = [folder.join("python/bin/python"), folder.join("venv/bin/python")];
    candidates
        .into_iter()
        .find(|path| path.exists())
        .expect("the Python environment is missing: run `cargo xtask test` (or `cargo xtask python`) once")
}

/// A command that runs a script of `tests/python/`.
pub fn command(script: &str) -> Command {
    let mut command = Command::new(interpreter());
    command.arg(repository().join("tests/python").join(script)).current_dir(repository()).stdin(Stdio::null());
    command
}

/// Runs a script and expects it to end well; returns what it printed.
pub fn run(script: &str, arguments: &[&str]) -> String {
    let output = command(script).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} failed: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// A script that runs until it is dropped.
pub struct Running(Child);

impl Running {
    /// Starts a script and waits for its first line, which it returns too.
    pub fn start(script: &str, arguments: &[&str]) -> (Self, String) {
        use std::io::BufRead as _;
        let mut child = command(script).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Self(child), line.trim().to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A script that is talked with, line by line. Killed when dropped.
pub struct Dialogue {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Dialogue {
    /// Starts a script.
    pub fn start(script: &str, arguments: &[&str]) -> Self {
        let mut child = command(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Waits for its next line.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the script ended before it said anything");
        line.trim().to_owned()
    }

    /// Says a line to it.
    pub fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until it has ended well.
    pub fn end(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Member {
    /// Binds both methods of `test.v1.Echo` to a gRPC connector.
    pub fn bind_echo(&self, connector: &str) {
        for method in ["Say", "Repeat"] {
            self.configure(&format!(
                "\n[[binding]]\nmethod = \"test.v1.Echo/{method}\"\nconnector = {{ kind = \"grpc\", {connector} }}\n"
            ));
        }
    }
}

/// A back end in Python. Killed when dropped.
pub struct Backend {
    child: Child,
    /// Its port on loopback.
    pub port: u16,
    events: Arc<Mutex<Vec<serde_json::Value>>>,
}

impl Backend {
    /// Starts it, with TLS where a certificate and its key are given.
    pub fn start(arguments: &[&str]) -> Self {
        Self::of("backend.py", arguments)
    }

    /// Starts another script that says the same: its port, then events as JSON, a line each.
    pub fn of(script: &str, arguments: &[&str]) -> Self {
        let mut child = command(script).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().expect("the back end starts").unwrap().trim().parse().unwrap();
        let events = Arc::<Mutex<Vec<_>>>::default();
        let heard = events.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, port, events }
    }

    /// Starts it, and puts it in plain text behind the trust's gateway, which has not started yet.
    pub fn behind(federation: &TestFederation) -> Self {
        let backend = Self::start(&[]);
        let trust = federation.member(TRUST);
        trust.reconfigure("gateway = \"main\"\n", "gateway = \"main\"\ndevelopment = true\n");
        trust.bind_echo(&format!("address = \"http://127.0.0.1:{}\", dangerous_plaintext = true", backend.port));
        backend
    }

    /// How often it was asked so far.
    pub fn asked(&self) -> usize {
        self.events().iter().filter(|event| event["event"] == "asked").count()
    }

    /// What happened to its calls so far.
    pub fn events(&self) -> Vec<serde_json::Value> {
        self.events.lock().unwrap().clone()
    }

    /// Waits until `event` happened to the call that said `text`, and returns it.
    pub async fn heard(&self, event: &str, text: &str) -> serde_json::Value {
        crate::eventually(&format!("the back end says `{event}` of `{text}`"), 20, async || {
            self.events().into_iter().find(|e| e["event"] == event && e["text"] == text)
        })
        .await
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
