//! A folder in which commands run, and what they said.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A folder of its own, removed in the end.
pub struct Place {
    root: TempDir,
}

/// What a command did.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A contract, for agreements and bindings.
pub const CONTRACT: &str = r#"
syntax = "proto3";
package housing.v1;
import "drawbridge/options/v1/options.proto";

// Tenancies of the council's own houses.
service Tenancies {
  rpc Find(FindTenancyRequest) returns (Tenancy) {
    option idempotency_level = NO_SIDE_EFFECTS;
  }
}

message FindTenancyRequest {
  string number = 1;
}

message Tenancy {
  string number = 1 [(drawbridge.options.v1.field).classification = CLASSIFICATION_OFFICIAL];
  string tenant = 2 [(drawbridge.options.v1.field).classification = CLASSIFICATION_PERSONAL];
}
"#;

impl Place {
    pub fn new() -> Self {
        Self { root: tempfile::Builder::new().prefix("drawbridge-cli-").tempdir().unwrap() }
    }

    /// A place with two members who know one another: `county.example` in `county` and `trust.example` in `trust`.
    pub fn with_two_members() -> Self {
        let place = Self::new();
        for (id, folder, port) in [("county.example", "county", "28443"), ("trust.example", "trust", "28444")] {
            let links = format!("127.0.0.1:{port}");
            let arguments = ["init", "--member", id, "--development", "--links", &links, "--clients", "127.0.0.1:0"];
            place.does(arguments.iter().chain(&["--operations", "127.0.0.1:0", "--system", "housing", folder]));
            place.write(&format!("{folder}/proto/housing/v1/tenancies.proto"), CONTRACT);
        }
        place.does(["directory", "add", "--config", "county/gateway.toml", "trust/entry.note"]);
        place.does(["directory", "add", "--config", "trust/gateway.toml", "county/entry.note"]);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.root.path()
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Changes a file by replacing a text that it must hold.
    pub fn change(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no `{from}`:\n{text}");
        self.write(name, &text.replace(from, to));
    }

    /// Runs a command.
    pub fn run<I: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Ran {
        self.run_with(arguments, "")
    }

    /// Runs a command with something on its standard input.
    pub fn run_with<I: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = I>, input: &str) -> Ran {
        let output = assert_cmd::cargo::cargo_bin_cmd!("drawbridge")
            .args(arguments)
            .current_dir(self.folder())
            .env("NO_COLOR", "1")
            .write_stdin(input)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ran { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs a command that has to succeed, and returns what it wrote.
    pub fn does<I: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
        ran.out
    }

    /// Runs a command that has to be refused, and returns what it complained of.
    pub fn refuses<I: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 1, "{}\n{}", ran.out, ran.err);
        assert!(ran.err.contains("error: "), "{}", ran.err);
        ran.err
    }

    /// Runs a command whose line is wrong.
    pub fn misuses<I: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 2, "{}\n{}", ran.out, ran.err);
        ran.err
    }
}
