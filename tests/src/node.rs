//! Partner systems in Node, with the packages that `cargo xtask test` fetches.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use crate::{Member, python};

/// The folder `node_modules`.
pub fn modules() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    while folder.file_name().is_some_and(|name| name != "target") {
        folder.pop();
    }
    let modules = folder.join("node/node_modules");
    assert!(modules.exists(), "Node's packages are missing: run `cargo xtask test --only node` once");
    modules
}

/// Runs a script of `tests/node/` as the system `revenues` of a member, and returns what it found.
pub fn run(script: &str, member: &Member) -> serde_json::Value {
    // Node looks for packages beside the script.
    let folder = tempfile::Builder::new().prefix("drawbridge-it-node-").tempdir().unwrap();
    for file in ["partner.mjs", script] {
        fs::copy(python::repository().join("tests/node").join(file), folder.path().join(file)).unwrap();
    }
    symlink(modules(), folder.path().join("node_modules")).unwrap();
    let set = folder.path().join("contracts.binpb");
    python::run("descriptors.py", &[set.to_str().unwrap()]);
    let output = Command::new("node")
        .arg(folder.path().join(script))
        .arg(member.clients.port().to_string())
        .args([&member.folder, &set])
        .output()
        .expect("Node is needed: on Debian, `apt-get install nodejs`");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} failed: {}\n{out}\n{err}", output.status);
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}
