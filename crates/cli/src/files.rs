//! Files that a person keeps: never overwritten unless that is the point, and then whole or not at all.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::Path,
};

use gateway::access::{self, Kept};
use problem::Problem;
use zeroize::Zeroizing;

use crate::failure::Outcome;

/// Anybody may read it.
pub(crate) const PUBLIC: u32 = 0o644;
/// Its owner only may read it.
pub(crate) const SECRET: u32 = 0o600;

/// Writes a file that must not be there yet.
pub(crate) fn create(path: &Path, text: &str, mode: u32) -> Outcome {
    make_parent(path)?;
    let opened = OpenOptions::new().write(true).create_new(true).mode(SECRET).open(path);
    let outcome = opened.and_then(|mut file| {
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    outcome.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            Problem::new(path, "there is such a file already, and it is not overwritten")
                .help("name another file, or move this one away first")
                .into()
        } else {
            Problem::new(path, "cannot write the file").cause(error.to_string()).into()
        }
    })
}

/// Writes a file in the place of the one that may be there, so that it is there whole or not at all, and its owner's as before.
///
/// A public file keeps the mode of the one that it replaces; a new one has `mode`, whatever the umask.
pub(crate) fn replace(path: &Path, text: &str, mode: u32) -> Outcome {
    make_parent(path)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let outcome = OpenOptions::new().write(true).create(true).truncate(true).mode(SECRET).open(&temporary).and_then(
        |mut file| {
            file.write_all(text.as_bytes())?;
            keep_owner(path, &file)?;
            let before = fs::metadata(path).ok().filter(|_| mode != SECRET);
            let mode = before.map_or(mode, |before| before.permissions().mode() & 0o777);
            file.set_permissions(Permissions::from_mode(mode))?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            fs::File::open(parent(path))?.sync_all()
        },
    );
    outcome.map_err(|error| {
        // What is left of it is of no use, and a hidden file is read by nobody.
        let _ = fs::remove_file(&temporary);
        Problem::new(path, "cannot write the file").cause(error.to_string()).into()
    })
}

/// Gives a file to the owner of the one that it replaces: a key that root renews is still the gateway's own.
///
/// Only root can; what another user replaces becomes that user's.
fn keep_owner(replaced: &Path, file: &fs::File) -> io::Result<()> {
    let (Ok(old), new) = (fs::metadata(replaced), file.metadata()?) else { return Ok(()) };
    if (old.uid(), old.gid()) == (new.uid(), new.gid()) {
        return Ok(());
    }
    match fchown(file, Some(old.uid()), Some(old.gid())) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        outcome => outcome,
    }
}

/// Makes a folder, and those above it, whatever the umask. One that is there stays as it is.
pub(crate) fn make_folder(path: &Path, mode: u32) -> Outcome {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()).collect();
    let outcome =
        missing.into_iter().rev().try_for_each(|folder| match fs::DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => fs::set_permissions(folder, Permissions::from_mode(mode)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
            Err(error) => Err(error),
        });
    outcome.map_err(|error| Problem::new(path, "cannot make the folder").cause(error.to_string()).into())
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Outcome<String> {
    read_kept(path, Kept::Open)
}

/// Reads a private key. It is overwritten in memory when dropped.
pub(crate) fn read_secret(path: &Path) -> Outcome<Zeroizing<String>> {
    read_kept(path, Kept::Secret).map(Zeroizing::new)
}

fn read_kept(path: &Path, kept: Kept) -> Outcome<String> {
    fs::read_to_string(path).map_err(|error| {
        let problem = Problem::new(path, "cannot read the file").cause(error.to_string());
        match access::cure(path, &error, kept) {
            Some(help) => problem.help(help).into(),
            None => problem.into(),
        }
    })
}

fn make_parent(path: &Path) -> Outcome {
    make_folder(parent(path), 0o755)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/er/secret");
        create(&file, "one", SECRET).unwrap();
        let refused = create(&file, "two", SECRET).unwrap_err().into_problems();
        assert!(refused[0].what.contains("not overwritten"), "{refused:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, SECRET);
    }

    #[test]
    fn what_is_replaced_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("directory.note");
        replace(&file, "one", PUBLIC).unwrap();
        replace(&file, "two", PUBLIC).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_public_file_keeps_its_mode_and_a_secret_one_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (before, kind, after) in
            [(0o640, PUBLIC, 0o640), (0o644, PUBLIC, 0o644), (0o644, SECRET, 0o600), (0o400, SECRET, 0o600)]
        {
            let file = folder.path().join(format!("{before:o}-{kind:o}"));
            fs::write(&file, "one").unwrap();
            fs::set_permissions(&file, Permissions::from_mode(before)).unwrap();
            replace(&file, "two", kind).unwrap();
            assert_eq!(mode(&file), after, "{before:o}");
        }
    }
}
