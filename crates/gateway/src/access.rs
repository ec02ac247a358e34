//! Why this user may not read a file, and what mends that: who asks, whose file it is, and which mode it has.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use note::KeyFileError;
use rustix::fs::Access;

use crate::config::ConfigFile;

/// Who should be able to read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Everybody.
    Open,
    /// Its owner alone.
    Secret,
}

/// Returns what lets this user read `path`, where `error` says that it may not.
#[must_use]
pub fn cure(path: &Path, error: &io::Error, kept: Kept) -> Option<String> {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return None;
    }
    let closed = closed_folder(path);
    let culprit = closed.as_deref().unwrap_or(path);
    let user = name_of(rustix::process::geteuid().as_raw());
    let Ok(metadata) = fs::metadata(culprit) else {
        return Some(format!("this runs as user `{user}`, who may not read it"));
    };
    let (owner, mode) = (name_of(metadata.uid()), metadata.permissions().mode() & 0o7777);
    let place = culprit.display();
    let mend = match (closed.is_some(), kept) {
        (true, _) => format!("as root, `chmod a+x {place}` lets others into the folder"),
        (false, Kept::Open) => {
            format!("as root, `chmod 644 {place}` lets everybody read it, and nothing in it is secret")
        }
        (false, Kept::Secret) => {
            format!("as root, `chown {user} {place}` gives it to this user, if it is the gateway's")
        }
    };
    Some(format!("this runs as user `{user}`, and `{place}` belongs to `{owner}` with mode {mode:03o}: {mend}"))
}

/// Returns what lets this user read a signing key, where that is what `error` is about.
#[must_use]
pub fn cure_of_key(path: &Path, error: &KeyFileError) -> Option<String> {
    match error {
        KeyFileError::Io { source, .. } => cure(path, source, Kept::Secret),
        KeyFileError::Exposed { .. } | KeyFileError::Exists { .. } | KeyFileError::Key { .. } => None,
    }
}

/// Returns the first file or folder in `path` that this user may not read, or `path` itself.
pub(crate) fn denied_in(path: &Path) -> PathBuf {
    let denied = |path: &Path| rustix::fs::access(path, Access::READ_OK).is_err();
    if denied(path) {
        return path.to_owned();
    }
    let inner = fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let found = inner.map(|inner| if inner.is_dir() { denied_in(&inner) } else { inner }).find(|inner| denied(inner));
    found.unwrap_or_else(|| path.to_owned())
}

/// Returns the outermost folder around `path` that this user may not look into.
fn closed_folder(path: &Path) -> Option<PathBuf> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()).collect();
    folders.reverse();
    let closed =
        |folder: &&&Path| fs::metadata(folder).is_ok() && rustix::fs::access(**folder, Access::EXEC_OK).is_err();
    folders.iter().find(closed).map(|folder| (*folder).to_owned())
}

/// Returns the name of a user, or the number where it has none on this machine.
#[must_use]
pub fn name_of(user: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, number) = (parts.next()?, parts.nth(1)?);
        (number.parse() == Ok(user)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| user.to_string())
}

/// Says which secrets others can read. They do not hinder the start, other than the gateway's own keys.
#[must_use]
pub fn warnings(file: &ConfigFile) -> Vec<String> {
    let told = |(setting, path, mode): (String, PathBuf, u32)| {
        let place = path.display();
        format!(
            "others than its owner can read the password in `{place}` (`{setting}`, mode {mode:03o}): `chmod 600 {place}`, and if they may have read it, set another"
        )
    };
    open_secrets(file).into_iter().map(told).collect()
}

/// Files that others can read though they hold what lets a program in somewhere, with their settings and modes.
pub(crate) fn open_secrets(file: &ConfigFile) -> Vec<(String, PathBuf, u32)> {
    let passwords = file.config.database.iter().filter_map(|(name, database)| {
        Some((format!("database.{name}.password_file"), file.path(database.password_file.as_ref()?)))
    });
    let open = |(setting, path): (String, PathBuf)| {
        let mode = fs::metadata(&path).ok()?.permissions().mode() & 0o777;
        (mode & 0o077 != 0).then_some((setting, path, mode))
    };
    passwords.filter_map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cure_names_user_owner_and_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.note");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let (user, place) = (name_of(rustix::process::geteuid().as_raw()), path.display().to_string());
        let open = cure(&path, &denied, Kept::Open).unwrap();
        assert!(
            open.contains(&format!("`{place}` belongs to `{user}` with mode 600: as root, `chmod 644 {place}`")),
            "{open}"
        );
        let secret = cure(&path, &denied, Kept::Secret).unwrap();
        assert!(secret.contains(&format!("`chown {user} {place}`")), "{secret}");
        assert_eq!(cure(&path, &io::Error::from(io::ErrorKind::NotFound), Kept::Open), None);
    }

    #[test]
    fn users_have_names() {
        assert_eq!(name_of(0), "root");
        assert_eq!(name_of(4_000_000_001), "4000000001");
    }
}
