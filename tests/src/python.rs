//! Partner systems and back ends in Python, from the environment that `cargo xtask test` makes.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

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
    candidates.into_iter().find(|path| path.exists()).expect("the Python environment is missing: run `cargo xtask test` (or `cargo xtask python`) once")
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
