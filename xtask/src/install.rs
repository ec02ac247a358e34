//! Programs that tests and the comparison of speed need beside Rust and a C compiler.
//!
//! As root on Debian they are installed; anywhere else the command to type is shown. No service is left running: a
//! package that would start one is told not to.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::step;

/// A program and the Debian package that brings it.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    name: &'static str,
    package: &'static str,
    /// Installed when this holds.
    present: fn() -> bool,
}

const NGINX: Program = Program { name: "nginx", package: "nginx-light", present: || step::present("nginx") };
const HAPROXY: Program = Program { name: "haproxy", package: "haproxy", present: || step::present("haproxy") };
const STRACE: Program = Program { name: "strace", package: "strace", present: || step::present("strace") };
const PYTHON: Program =
    Program { name: "python3 with venv", package: "python3-venv", present: python_makes_environments };
const NODE: Program = Program { name: "node", package: "nodejs", present: || step::present("node") };
const NPM: Program = Program { name: "npm", package: "npm", present: || step::present("npm") };
const CURL: Program = Program { name: "curl", package: "curl", present: || step::present("curl") };
/// Its package makes a cluster of its own, which is not started. The tests make theirs in temporary folders.
const POSTGRESQL: Program =
    Program { name: "PostgreSQL's server", package: "postgresql", present: postgresql_makes_clusters };

const SYSTEMD: Program =
    Program { name: "systemd-analyze", package: "systemd", present: || step::present("systemd-analyze") };

/// Prometheus' package holds `promtool`, which judges metrics, alerts and their tests. The server itself is not started.
const PROMTOOL: Program = Program { name: "promtool", package: "prometheus", present: || step::present("promtool") };

/// What `cargo xtask test` needs.
pub(crate) const FOR_TESTS: &[Program] =
    &[PYTHON, NODE, NPM, CURL, STRACE, NGINX, HAPROXY, SYSTEMD, POSTGRESQL, PROMTOOL];
/// What `cargo xtask bench` needs.
pub(crate) const FOR_BENCH: &[Program] = &[NGINX, HAPROXY];

/// Where Debian's packages look up whether a service may start.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing of `programs`.
///
/// # Errors
///
/// When something is missing and cannot be installed here; the error says what to type.
pub(crate) fn ensure(programs: &[Program]) -> Result<()> {
    let missing: Vec<&Program> = programs.iter().filter(|program| !(program.present)()).collect();
    if missing.is_empty() {
        eprintln!("nothing is missing");
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|program| program.package).collect();
    let by_hand = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    let names: Vec<&str> = missing.iter().map(|program| program.name).collect();
    let names = names.join(", ");
    if !rustix::process::geteuid().is_root() || !step::present("apt-get") {
        bail!("missing: {names}\n  = help: as root on Debian: `{by_hand}`; elsewhere by the system's own means");
    }
    let policy = NoServices::declare()?;
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    step::run(apt().args(["update", "--quiet"]))?;
    step::run(apt().args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(&packages))?;
    drop(policy);
    match missing.iter().find(|program| !(program.present)()) {
        Some(program) => bail!("`{}` is still missing after `{by_hand}`", program.name),
        None => Ok(()),
    }
}

/// Says that no service is to be started, for as long as it lives.
///
/// A machine that has a policy of its own keeps it.
struct NoServices(bool);

impl NoServices {
    fn declare() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self(false));
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {POLICY} executable"))?;
        Ok(Self(true))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("warning: cannot remove {POLICY}: {error}; remove it, or no service will start");
        }
    }
}

/// Debian ships the module `venv` without `ensurepip`, which an environment with pip needs.
fn python_makes_environments() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import venv, ensurepip"]);
    python.output().is_ok_and(|output| output.status.success())
}

/// Debian keeps a server's programs in a folder for each version, and puts none of them on the path.
fn postgresql_makes_clusters() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    step::present("initdb") || versions.into_iter().any(|version| version.path().join("bin/initdb").exists())
}
