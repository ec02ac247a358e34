//! Whether each port can be listened on, or is held by the running gateway; and how that one says it is.

use std::{io, net::SocketAddr};

use link::server::{Sharing, listener};

use super::Finding;
use crate::{
    config::ConfigFile,
    running,
    status::{FetchError, Ports, Status},
};

const CHECK: &str = "ports";

pub(super) async fn examine(file: &ConfigFile) -> Vec<Finding> {
    let config = &file.config;
    let operations = config.operations.listen;
    let mut findings = Vec::new();
    let mut running = None;
    match running::find(file).await {
        Ok(status) => running = Some(status),
        Err(FetchError::Another { found, .. }) => findings.push(Finding::error(
            CHECK,
            "operations.listen",
            format!("the gateway `{found}` answers on {operations}"),
            "give each gateway of this machine ports of its own",
        )),
        Err(error @ FetchError::OtherFolder { .. }) => findings.push(Finding::error(
            CHECK,
            "operations.listen",
            error.to_string(),
            "stop that gateway before this one takes its place, or give this one ports of its own; two of one name are not to run at once",
        )),
        Err(error @ FetchError::Late { .. }) => findings.push(Finding::error(
            "gateway",
            "operations.listen",
            error.to_string(),
            "look at the log of what listens there, and at the load of this machine",
        )),
        // Whether another program has the port is seen below.
        Err(FetchError::Nobody { .. } | FetchError::Other { .. } | FetchError::NoPort) => {}
    }
    if let Some(running) = &running {
        findings.extend(health(running));
    }
    let ports = running.as_ref().map(|status| &status.ports);
    let held = |port: fn(&Ports) -> Option<SocketAddr>| match ports {
        None => Held::NoneRuns,
        Some(ports) => port(ports).map_or(Held::NotAtAll, Held::At),
    };
    let settings = [
        ("links.listen", config.links.as_ref().map(|links| links.listen), held(|ports| ports.links)),
        ("clients.listen", config.clients.as_ref().map(|clients| clients.listen), held(|ports| ports.clients)),
        ("operations.listen", Some(operations), held(|ports| Some(ports.operations))),
    ];
    for (setting, wanted, held) in settings {
        findings.extend(wanted.map(|wanted| port(setting, wanted, held)));
    }
    findings
}

/// What the running gateway says of itself.
fn health(running: &Status) -> Vec<Finding> {
    let (check, gateway) = ("gateway", running.gateway.as_str());
    let mut findings = Vec::new();
    match &running.health.why {
        None => findings.push(Finding::fine(check, gateway, format!("runs, version {}, and serves", running.version))),
        Some(why) => findings.push(Finding::error(
            check,
            gateway,
            format!("runs, and does not serve: {why}"),
            "look at its log; after a failure of the disk, mend that and start the gateway again",
        )),
    }
    if let Some(refused) = &running.reload.refused {
        findings.push(Finding::error(
            check,
            gateway,
            format!("refuses what lies in its files since {}; what was there before is in force", refused.since),
            "`drawbridge status` and `drawbridge check` tell why; mend that, and it is taken up",
        ));
    }
    let own = env!("CARGO_PKG_VERSION");
    if running.version != own {
        findings.push(Finding::warning(
            check,
            gateway,
            format!("runs version {}, and this program is version {own}", running.version),
            "restart the gateway to take the installed version",
        ));
    }
    findings
}

/// What the running gateway does about a port.
#[derive(Clone, Copy)]
enum Held {
    /// No gateway runs, as far as can be seen.
    NoneRuns,
    /// It listens here.
    At(SocketAddr),
    /// It does not listen for this.
    NotAtAll,
}

fn port(setting: &'static str, wanted: SocketAddr, held: Held) -> Finding {
    let restart = "restart it to take the configuration, or change that back";
    match held {
        Held::At(held) if held == wanted || wanted.port() == 0 => {
            return Finding::fine(CHECK, setting, format!("{held} is held by the running gateway"));
        }
        Held::At(held) => {
            let what = format!("the running gateway listens on {held}, not on {wanted}");
            return Finding::warning(CHECK, setting, what, restart);
        }
        Held::NotAtAll => {
            let what = format!("the running gateway does not listen for this, and the configuration says {wanted}");
            return Finding::warning(CHECK, setting, what, restart);
        }
        Held::NoneRuns => {}
    }
    match listener(wanted, Sharing::Alone) {
        Ok(_) if wanted.port() == 0 => Finding::fine(CHECK, setting, "the system gives a free port"),
        Ok(_) => Finding::fine(CHECK, setting, format!("{wanted} is free; no gateway runs")),
        Err(error) => {
            Finding::error(CHECK, setting, format!("cannot listen on {wanted}: {error}"), cure(setting, &error))
        }
    }
}

pub(crate) fn cure(setting: &str, error: &io::Error) -> String {
    #[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is open-ended")]
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("`ss -ltnp` shows which program listens there; stop it, or set `{setting}` to another port")
        }
        io::ErrorKind::PermissionDenied => format!(
            "set `{setting}` to a port from 1024 up, or give the service `AmbientCapabilities=CAP_NET_BIND_SERVICE`"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("set `{setting}` to an address of this machine (`ip addr`), or to 0.0.0.0 for all of them")
        }
        _ => format!("set `{setting}` to an address and port that this user may listen on"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn a_port_is_free_taken_or_held_by_the_gateway() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let other: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let check = |wanted, held, severity, what: &str| {
            let finding = port("links.listen", wanted, held);
            assert_eq!(finding.severity, severity, "{finding:?}");
            assert!(
                finding.what.contains(what) && finding.cure.is_some() == (severity != Severity::Fine),
                "{finding:?}"
            );
        };
        check(address, Held::NoneRuns, Severity::Error, "cannot listen");
        check(address, Held::At(address), Severity::Fine, "held by the running gateway");
        check(address, Held::At(other), Severity::Warning, "not on");
        check(address, Held::NotAtAll, Severity::Warning, "does not listen");
        check("127.0.0.1:0".parse().unwrap(), Held::NoneRuns, Severity::Fine, "free port");
        // An address of the documentation, which no machine has. Source: RFC 5737.
        check("192.0.2.1:8443".parse().unwrap(), Held::NoneRuns, Severity::Error, "cannot listen");
        drop(taken);
        check(address, Held::NoneRuns, Severity::Fine, "is free");
    }
}
