//! Whether folders and keys belong to the gateway alone.

use std::{
    fs::Metadata,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::Access;

use super::Finding;
use crate::{access, config::ConfigFile};

const CHECK: &str = "files";

pub(super) fn examine(file: &ConfigFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let data = file.path(&file.config.data.folder);
    findings.push(data_folder(&data));
    for (setting, path) in key_files(file) {
        findings.extend(key(&setting, &path, &data));
    }
    for (setting, path, mode) in access::open_secrets(file) {
        let what = format!("others can read the password (mode {mode:03o})");
        let cure = format!("`chmod 600 {}`, and if they may have read it, set another", path.display());
        findings.push(Finding::warning(CHECK, format!("{} ({setting})", path.display()), what, cure));
    }
    let agreements = file.path(&file.config.agreements.folder);
    if agreements.is_dir() && !may_write(&agreements) {
        findings.push(Finding::warning(
            CHECK,
            agreements.display().to_string(),
            "the folder cannot be written, so end notes of other members cannot be kept",
            format!("as root: `chown -R <the gateway's user> {}`", agreements.display()),
        ));
    }
    let offline = file.folder.join("offline");
    if offline.exists() && !file.config.development {
        findings.push(Finding::warning(
            CHECK,
            offline.display().to_string(),
            "the member's own keys lie on this machine: whoever takes it over can speak for the member",
            "move the folder to a medium that is not connected to this machine",
        ));
    }
    findings
}

fn data_folder(data: &Path) -> Finding {
    let place = data.display().to_string();
    let ledger = data.join("ledger");
    let Ok(metadata) = std::fs::metadata(data) else {
        return match existing(data) {
            Some(parent) if may_write(&parent) => {
                Finding::fine(CHECK, place, "the data folder is not there yet; `drawbridge run` makes it")
            }
            Some(_) | None => Finding::error(
                CHECK,
                place.as_str(),
                "the data folder is not there, and cannot be made by this user",
                format!("as root: `install -d -m 0700 -o <the gateway's user> {place}`"),
            ),
        };
    };
    if !metadata.is_dir() {
        return Finding::error(CHECK, place, "this is not a folder", "set `data.folder` to a folder");
    }
    let written = [data, ledger.as_path()].into_iter().filter(|folder| folder.exists());
    if let Some(folder) = written.into_iter().find(|folder| !may_write(folder)) {
        let what = format!("`{}` cannot be written by this user", folder.display());
        let cure = format!("as root: `chown -R <the gateway's user> {place}`; or run this as the gateway's own user");
        return Finding::error(CHECK, place, what, cure);
    }
    let open = [ledger.as_path(), data].into_iter().find_map(|folder| std::fs::metadata(folder).ok());
    if open.is_some_and(|metadata| is_open(&metadata)) && !is_private(data) {
        let what = "others can look into the exchange log";
        return Finding::warning(CHECK, place.as_str(), what, format!("`chmod 700 {place}`"));
    }
    Finding::fine(CHECK, place, "the data folder is the gateway's own")
}

/// The private keys that the configuration names, with their settings.
fn key_files(file: &ConfigFile) -> Vec<(String, PathBuf)> {
    let config = &file.config;
    let own = [("keys.gateway", &config.keys.gateway), ("keys.log", &config.keys.log), ("tls.key", &config.tls.key)];
    let headers = config.telemetry.headers.as_ref().map(|path| ("telemetry.headers", path));
    let own = own.into_iter().chain(headers).map(|(setting, path)| (setting.to_owned(), file.path(path)));
    let bindings = config.binding.iter().enumerate().filter_map(|(at, binding)| {
        Some((format!("binding[{at}].connector.key"), file.path(binding.connector.key.as_ref()?)))
    });
    own.chain(bindings).collect()
}

/// A key that is not there is a problem of the configuration.
fn key(setting: &str, path: &Path, data: &Path) -> Vec<Finding> {
    let Ok(metadata) = std::fs::metadata(path) else { return Vec::new() };
    let place = format!("{} ({setting})", path.display());
    if is_open(&metadata) {
        let mode = mode(&metadata);
        let what = format!("others can use the private key (mode {mode:03o})");
        let cure = format!("`chmod 600 {}`, and if they may have read it, make a new one", path.display());
        return vec![Finding::error(CHECK, place, what, cure)];
    }
    let keeper = std::fs::metadata(data).ok().filter(|folder| folder.uid() != metadata.uid());
    if let Some(folder) = keeper {
        let what = format!("the key belongs to user {}, and the data folder to user {}", metadata.uid(), folder.uid());
        let cure = format!("give both to the gateway's user: `chown <user> {}`", path.display());
        return vec![Finding::warning(CHECK, place, what, cure)];
    }
    vec![Finding::fine(CHECK, place, "only its owner can read the key")]
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}

/// Whether anybody but the owner may do anything with it.
fn is_open(metadata: &Metadata) -> bool {
    mode(metadata) & 0o077 != 0
}

fn is_private(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|metadata| !is_open(&metadata))
}

fn may_write(folder: &Path) -> bool {
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Returns the nearest folder above `path` that is there.
pub(crate) fn existing(path: &Path) -> Option<PathBuf> {
    let above = path.ancestors().find(|folder| folder.is_dir() || folder.as_os_str().is_empty())?;
    Some(if above.as_os_str().is_empty() { PathBuf::from(".") } else { above.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};

    use super::super::Severity;
    use super::*;

    #[test]
    fn a_key_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.key.pem");
        write(&path, "a key").unwrap();
        for (mode, severity) in
            [(0o600, Severity::Fine), (0o400, Severity::Fine), (0o640, Severity::Error), (0o604, Severity::Error)]
        {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let [finding] = key("tls.key", &path, folder.path()).try_into().unwrap();
            assert_eq!(finding.severity, severity, "{mode:o}: {finding:?}");
        }
        assert!(key("tls.key", &folder.path().join("none"), folder.path()).is_empty());
    }

    #[test]
    fn a_data_folder_that_others_can_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        assert!(data_folder(&data).what.contains("is not there yet"));
        create_dir(&data).unwrap();
        for (mode, severity) in [(0o755, Severity::Warning), (0o700, Severity::Fine)] {
            set_permissions(&data, Permissions::from_mode(mode)).unwrap();
            assert_eq!(data_folder(&data).severity, severity, "{mode:o}");
        }
        // The ledger's own folder keeps others out.
        set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
        create_dir(data.join("ledger")).unwrap();
        set_permissions(data.join("ledger"), Permissions::from_mode(0o700)).unwrap();
        assert_eq!(data_folder(&data).severity, Severity::Fine);
        write(folder.path().join("file"), "").unwrap();
        assert_eq!(data_folder(&folder.path().join("file")).severity, Severity::Error);
    }
}
