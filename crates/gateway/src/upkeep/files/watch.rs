//! When the files that are taken up together are due to be read: once they have changed and then not for one look, so that one that is
//! being written is not taken half; and from time to time while they are refused, since what is in the way may lie elsewhere.

use std::time::{Duration, Instant};

use crate::{config::ConfigFile, load::Stand};

/// How often files that were refused are read again, though they have not changed.
const AGAIN: Duration = Duration::from_secs(30);

/// How the files stand, as far as it is known.
pub(super) struct Watch {
    /// As they were last read.
    read: Stand,
    /// As they were last looked at.
    looked: Stand,
    /// As they were before they were read.
    before: Stand,
    refused: Option<Refused>,
}

/// What was refused.
struct Refused {
    /// The configuration that was refused, where there was one: its files are watched too.
    file: Option<Box<ConfigFile>>,
    at: Instant,
}

impl Watch {
    /// Begins with how the files stood when they were read for the start.
    pub(super) fn new(read: Stand) -> Self {
        Self { looked: read.clone(), before: read.clone(), read, refused: None }
    }

    /// Looks at the files, and returns whether they are due. `running` is the configuration in force.
    pub(super) fn due(&mut self, running: &ConfigFile) -> bool {
        let now = self.stand(running);
        let at_rest = now == self.looked;
        let again = self.refused.as_ref().is_some_and(|refused| refused.at.elapsed() >= AGAIN);
        let due = at_rest && (now != self.read || again);
        self.looked = now;
        due
    }

    /// The files are about to be read.
    pub(super) fn begin(&mut self, running: &ConfigFile) {
        self.before = self.stand(running);
    }

    /// What was read is in force: `running` is new.
    pub(super) fn taken(&mut self, running: &ConfigFile, stand: Stand) {
        self.refused = None;
        self.read = stand.overlaid(&self.before);
        self.looked = self.stand(running);
    }

    /// What was read is refused. `file` is the configuration, where it could be read at all.
    pub(super) fn refused(&mut self, running: &ConfigFile, file: Option<ConfigFile>) {
        self.refused = Some(Refused { file: file.map(Box::new), at: Instant::now() });
        self.looked = self.stand(running);
        self.read = self.looked.clone().overlaid(&self.before);
    }

    fn stand(&self, running: &ConfigFile) -> Stand {
        let refused = self.refused.as_ref().and_then(|refused| refused.file.as_deref());
        Stand::of(std::iter::once(running).chain(refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_due_once_they_have_changed_and_come_to_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        let text = "format = \"drawbridge.gateway/v1\"\nmember = \"county.example\"\ngateway = \"main\"\n";
        std::fs::write(&path, text).unwrap();
        let file = ConfigFile::read(&path, []).unwrap();
        let mut watch = Watch::new(Stand::of([&file]));
        assert!(!watch.due(&file));
        std::fs::write(&path, format!("{text}#")).unwrap();
        assert!(!watch.due(&file), "it has just changed");
        std::fs::write(&path, format!("{text}# more")).unwrap();
        assert!(!watch.due(&file), "it is still being written");
        assert!(watch.due(&file));
        watch.begin(&file);
        watch.refused(&file, None);
        assert!(!watch.due(&file), "it is as it was refused");
        // Changed while it was being read.
        watch.begin(&file);
        std::fs::write(&path, format!("{text}# even more")).unwrap();
        watch.refused(&file, None);
        assert!(watch.due(&file));
        watch.begin(&file);
        watch.taken(&file, Stand::of([&file]));
        assert!(!watch.due(&file));
    }

    #[test]
    fn files_that_a_refused_configuration_names_are_watched_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        let text = "format = \"drawbridge.gateway/v1\"\nmember = \"county.example\"\ngateway = \"main\"\n";
        std::fs::write(&path, text).unwrap();
        let file = ConfigFile::read(&path, []).unwrap();
        let mut watch = Watch::new(Stand::of([&file]));
        std::fs::write(&path, format!("{text}[directory]\nfile = \"other.note\"\n")).unwrap();
        let next = file.again().unwrap();
        watch.begin(&file);
        watch.refused(&file, Some(next));
        assert!(!watch.due(&file));
        std::fs::write(folder.path().join("other.note"), "it comes").unwrap();
        assert!(!watch.due(&file));
        assert!(watch.due(&file));
    }
}
