//! The packages of partner systems in Node, which `cargo xtask test` fetches.

use std::path::PathBuf;

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
