//! What would keep a gateway from starting though its files are in order: a port that is taken, a data folder that cannot be written, a log
//! that another process has open.
//!
//! The running gateway of the same configuration rightly holds its ports and its log.

use std::{fs, io, net::SocketAddr, path::Path, time::Duration};

use link::server::{Sharing, listener};
use problem::Problem;

use crate::{
    access,
    config::ConfigFile,
    doctor::{cure_of_port, existing},
    running,
    status::{FetchError, Status},
};

/// How often a port is tried: another `drawbridge check` may be trying it.
const TRIES: usize = 5;
/// And how long after one another.
const BETWEEN: Duration = Duration::from_millis(40);

/// What stands in the way of a start.
#[derive(Clone, Debug, Default)]
pub struct Obstacles {
    /// Each with what mends it.
    pub problems: Vec<Problem>,
    /// The gateway that runs, where it is the one of this configuration.
    pub running: Option<String>,
}

/// Looks for what would keep the gateway of `file` from starting, as this user. Must run within a tokio runtime.
///
/// Ports are listened on for a moment, and a folder is made in the data folder and removed again.
pub async fn look(file: &ConfigFile) -> Obstacles {
    let mut problems = Vec::new();
    let (running, who) = match running::find(file).await {
        Ok(status) => (Some(status), None),
        // It is too busy to say; what it holds cannot be told from what others hold.
        Err(FetchError::Late { address }) if running::has_its_log_open(file) != Some(false) => {
            return Obstacles { problems, running: Some(format!("what listens on {address}, and did not answer,")) };
        }
        Err(error @ (FetchError::Another { .. } | FetchError::OtherFolder { .. })) => (None, Some(error.to_string())),
        Err(_) => (None, None),
    };
    for (setting, wanted) in ports(file) {
        let held = running.as_ref().and_then(|status| held(status, setting));
        if held != Some(wanted)
            && let Err(error) = try_port(wanted).await
        {
            let who = who.as_ref().filter(|_| error.kind() == io::ErrorKind::AddrInUse);
            let cause = who.map_or_else(|| error.to_string(), |who| format!("{error}; {who}"));
            let what = format!("cannot listen on {wanted}");
            problems.push(file.problem(setting, what).cause(cause).help(cure_of_port(setting, &error)));
        }
    }
    let data = file.path(&file.config.data.folder);
    problems.extend(folder(file, &data));
    if running.is_none() && ledger::in_use(&data.join("ledger")) {
        let what = format!("another process has the exchange log in `{}` open", data.display());
        let help = "stop that gateway first, if it is this one with other ports; or name another folder: each gateway has its own";
        problems.push(file.problem("data.folder", what).help(help));
    }
    Obstacles { problems, running: running.map(|status| format!("`{}`", status.gateway)) }
}

fn ports(file: &ConfigFile) -> Vec<(&'static str, SocketAddr)> {
    let config = &file.config;
    let all = [
        config.links.as_ref().map(|links| ("links.listen", links.listen)),
        config.clients.as_ref().map(|clients| ("clients.listen", clients.listen)),
        Some(("operations.listen", config.operations.listen)),
    ];
    all.into_iter().flatten().filter(|(_, address)| address.port() != 0).collect()
}

/// Where the running gateway listens for what a setting says.
fn held(status: &Status, setting: &str) -> Option<SocketAddr> {
    match setting {
        "links.listen" => status.ports.links,
        "clients.listen" => status.ports.clients,
        _ => Some(status.ports.operations),
    }
}

async fn try_port(address: SocketAddr) -> io::Result<()> {
    for _ in 1..TRIES {
        match listener(address, Sharing::Alone) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::time::sleep(BETWEEN).await,
            outcome => return outcome.map(drop),
        }
    }
    listener(address, Sharing::Alone).map(drop)
}

/// Whether the data folder can be written, or made.
fn folder(file: &ConfigFile, data: &Path) -> Option<Problem> {
    let (place, user) = (data.display(), access::name_of(rustix::process::geteuid().as_raw()));
    let problem = |what: String| file.problem("data.folder", what);
    if data.exists() && !data.is_dir() {
        return Some(problem(format!("`{place}` is not a folder")).help("name a folder"));
    }
    let ledger = data.join("ledger");
    let tried = if ledger.is_dir() { vec![data, &ledger] } else { vec![data] };
    for folder in tried {
        let Some(there) = existing(folder) else {
            return Some(problem(format!("there is no folder above `{place}`")).help("name a folder"));
        };
        if let Err(error) = try_folder(&there) {
            let what = if there == folder {
                format!("`{}` cannot be written by `{user}`, who runs this", folder.display())
            } else {
                format!("`{place}` is not there, and cannot be made by `{user}`, who runs this")
            };
            let help = format!(
                "run this as the gateway's own user; if it is that, as root: `install -d -m 0700 -o {user} {place}`, where `{}` can be written at all",
                there.display()
            );
            return Some(problem(what).cause(error.to_string()).help(help));
        }
    }
    None
}

fn try_folder(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".drawbridge-check-{}", std::process::id()));
    fs::create_dir(&path)?;
    fs::remove_dir(&path)
}
