//! How the files that a configuration names stand on the disk: by it is seen that one of them has changed.
//!
//! Folders of agreements and revocation lists are not among them: they are looked after by themselves.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::config::ConfigFile;

/// Every file with what the file system says of it; nothing of one that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stand(BTreeMap<PathBuf, Option<Mark>>);

/// What changes when a file is written, or another is put in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
}

impl Stand {
    /// Looks at all files of these configurations, the configurations themselves included.
    pub(crate) fn of<'a>(files: impl IntoIterator<Item = &'a ConfigFile>) -> Self {
        let mut stand = Self::default();
        for file in files {
            stand.add(file.toml.name());
            let config = &file.config;
            let own = [&config.directory.file, &config.tls.certificate, &config.tls.key];
            let keys = [&config.keys.gateway, &config.keys.log];
            let back_ends = config.binding.iter().map(|binding| &binding.connector);
            let back_ends = back_ends.flat_map(|connector| [&connector.ca, &connector.certificate, &connector.key]);
            let databases = config.database.values();
            let databases = databases.flat_map(|base| [&base.password_file, &base.ca, &base.certificate, &base.key]);
            for path in own.into_iter().chain(keys).chain(back_ends.flatten()).chain(databases.flatten()) {
                stand.add(&file.path(path));
            }
            for source in config.contracts.sources.iter().chain(&config.contracts.earlier) {
                stand.add_contracts(&file.path(source));
            }
        }
        stand
    }

    /// Says of the files that are also in `earlier` what it says.
    pub(crate) fn overlaid(mut self, earlier: &Self) -> Self {
        for (path, mark) in &mut self.0 {
            if let Some(before) = earlier.0.get(path) {
                mark.clone_from(before);
            }
        }
        self
    }

    fn add(&mut self, path: &Path) {
        self.0.insert(path.to_owned(), Mark::of(path));
    }

    /// A file, or every `.proto` file below a folder.
    fn add_contracts(&mut self, path: &Path) {
        if !path.is_dir() {
            self.add(path);
            return;
        }
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                self.add_contracts(&path);
            } else if path.extension().is_some_and(|ending| ending == "proto") {
                self.add(&path);
            }
        }
    }
}

impl Mark {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let modified = metadata.modified().ok();
        Some(Self { device: metadata.dev(), inode: metadata.ino(), length: metadata.len(), modified })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_is_named_is_seen_to_change() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "gateway.toml",
            "format = \"drawbridge.gateway/v1\"\nmember = \"county.example\"\ngateway = \"main\"\n\
             [[binding]]\nmethod = \"a.B/C\"\nconnector = { kind = \"grpc\", ca = \"ca.pem\" }\n\
             [database.legacy]\nurl = \"postgres://r@h/d\"\npassword_file = \"password\"\n",
        );
        let file = ConfigFile::read(&folder.path().join("gateway.toml"), []).unwrap();
        let mut before = Stand::of([&file]);
        for name in [
            "directory.note",
            "tls/gateway.pem",
            "tls/gateway.key.pem",
            "keys/gateway.key",
            "keys/log.key",
            "ca.pem",
            "password",
            "proto/a/b.proto",
            "gateway.toml",
        ] {
            write(name, "changed");
            let after = Stand::of([&file]);
            assert!(before != after, "{name}");
            // Another file of the same length in its place.
            write("other", "changed");
            fs::rename(folder.path().join("other"), folder.path().join(name)).unwrap();
            assert!(after != Stand::of([&file]), "{name} replaced");
            before = Stand::of([&file]);
        }
        write("proto/a/notes.txt", "of no account");
        assert!(before == Stand::of([&file]));
    }
}
