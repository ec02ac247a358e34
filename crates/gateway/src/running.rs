//! Where a gateway that runs is found: by its configuration, or by what it has written into its data folder.
//!
//! The file there outlives a gateway that was killed, so it counts only once what it names answers. A name alone does not tell either: a
//! folder that was copied names the same gateway, so whoever answers is held against the lock on the log.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    config::ConfigFile,
    gateway::Serving,
    load,
    status::{FetchError, Status, fetch},
};

/// The `format` of a file with addresses.
const FORMAT: &str = "drawbridge.ports/v1";

/// Finds the running gateway of a configuration, and asks it how it stands.
///
/// Where nothing answers at `operations.listen`, or another gateway does, the address is taken that a gateway with the same data folder has
/// left there: it was started with another port than the file says by now. A gateway of the same name is another one where nobody has
/// the log in this data folder open.
///
/// # Errors
///
/// [`FetchError`], of `operations.listen`.
pub async fn find(file: &ConfigFile) -> Result<Status, FetchError> {
    let listen = file.config.operations.listen;
    let own = load::gateway(file).ok().map(|own| own.to_string());
    let asked = match listen.port() {
        0 => Err(FetchError::NoPort),
        _ => fetch(listen).await.and_then(|status| is_own(file, listen, own.as_ref(), status)),
    };
    if asked.is_ok() {
        return asked;
    }
    if let Some(left) = left_in(file).filter(|left| *left != listen)
        && let Ok(status) = fetch(left).await
        && let Ok(status) = is_own(file, left, own.as_ref(), status)
    {
        return Ok(status);
    }
    asked
}

/// Takes the answer of `address` where it is that of the gateway of this configuration, `own`, with this data folder.
fn is_own(file: &ConfigFile, address: SocketAddr, own: Option<&String>, status: Status) -> Result<Status, FetchError> {
    let found = status.gateway.clone();
    match own {
        Some(own) if *own != found => Err(FetchError::Another { address, found, own: own.clone() }),
        _ if has_its_log_open(file) == Some(false) => Err(FetchError::OtherFolder {
            address,
            found,
            data: file.path(&file.config.data.folder).display().to_string(),
        }),
        _ => Ok(status),
    }
}

/// Whether some process has the log in the data folder of this configuration open. None where this user cannot tell.
pub(crate) fn has_its_log_open(file: &ConfigFile) -> Option<bool> {
    let ledger = file.path(&file.config.data.folder).join("ledger");
    match fs::metadata(&ledger) {
        Ok(there) => {
            // The lock is its owner's alone.
            let user = rustix::process::geteuid();
            (user.is_root() || user.as_raw() == there.uid()).then(|| ledger::in_use(&ledger))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

/// Returns the addresses of a gateway as TOML.
#[must_use]
pub fn ports(serving: &Serving) -> String {
    let mut text = format!("format = \"{FORMAT}\"\n");
    let addresses: [(&str, Option<SocketAddr>); 3] = [
        ("links", serving.links),
        ("clients", serving.clients.map(|(address, _)| address)),
        ("operations", Some(serving.operations)),
    ];
    for (name, address) in addresses.into_iter().filter_map(|(name, address)| Some((name, address?))) {
        text = format!("{text}{name} = \"{address}\"\n");
    }
    text
}

/// Leaves the addresses in the data folder.
pub(crate) fn leave(data: &Path, serving: &Serving) {
    let path = path_in(data);
    if let Err(error) = crate::write_atomically(&path, &ports(serving)) {
        tracing::warn!(path = %path.display(), %error, "cannot leave the gateway's addresses in its data folder");
    }
}

/// Takes them away. A file that stays behind names what answers nobody.
pub(crate) fn take_away(data: &Path) {
    let _ = std::fs::remove_file(path_in(data));
}

fn path_in(data: &Path) -> PathBuf {
    data.join("ports.toml")
}

fn left_in(file: &ConfigFile) -> Option<SocketAddr> {
    #[derive(Deserialize)]
    struct Left {
        format: String,
        operations: SocketAddr,
    }
    let text = std::fs::read_to_string(path_in(&file.path(&file.config.data.folder))).ok()?;
    let left: Left = toml::from_str(&text).ok()?;
    (left.format == FORMAT).then_some(left.operations)
}
