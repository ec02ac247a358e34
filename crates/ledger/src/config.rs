//! What a ledger needs to know.

use std::path::PathBuf;
use std::time::Duration;

use note::SigningKey;

/// Where a ledger lies, who signs for it, and how it paces itself.
#[derive(Debug, Clone)]
pub struct Config {
    /// The ledger's own folder; made when it is not there.
    pub folder: PathBuf,
    /// The name of the log, `<member>/log/<gateway>`; at most 200 bytes, and the name of `log_key`.
    pub origin: String,
    /// Signs checkpoints.
    pub log_key: SigningKey,
    /// Signs claims with promises, see [`crate::SealInput`]: the gateway key.
    pub seal_key: SigningKey,
    /// Longest time after which a leaf is covered by a checkpoint, while the disk keeps up. Default: 1 s.
    pub checkpoint_interval: Duration,
    /// Largest segment, in bytes. Default: 64 MiB. The first is 256 KiB, and each is twice as large as the one before, so that a
    /// small log stays small. At least 64 KiB.
    pub segment_bytes: u64,
    /// Most leaves in one batch. Default: 1024, which is also the most it may be.
    pub batch_max: usize,
    /// Largest batch, in bytes; a single larger leaf goes alone. Default: 4 MiB. At most 6 MiB.
    pub batch_bytes: usize,
    /// Largest body, in bytes. Default: 1 MiB. At most 1 MiB.
    pub body_max: usize,
    /// Most appends that may wait; further ones are refused. Default: 8192.
    pub queue_max: usize,
    /// Most bytes of bodies and claims that may wait; further ones are refused. Default: 64 MiB.
    pub queue_bytes: usize,
    /// From how many callers on a commit is held back to gather more. Default: 16.
    ///
    /// A commit costs the same CPU time for one leaf as for fifty. With few callers nobody else would come, so it is begun at once.
    pub pace_from: usize,
    /// A commit is held no longer once so many wait. Default: 32.
    pub pace_until: usize,
    /// A commit is held no longer than this. Default: 400 µs. Zero: never held.
    pub pace_hold: Duration,
}

impl Config {
    /// Makes a configuration with the defaults.
    #[must_use]
    pub fn new(
        folder: impl Into<PathBuf>,
        origin: impl Into<String>,
        log_key: SigningKey,
        seal_key: SigningKey,
    ) -> Self {
        Self {
            folder: folder.into(),
            origin: origin.into(),
            log_key,
            seal_key,
            checkpoint_interval: Duration::from_secs(1),
            segment_bytes: 64 << 20,
            batch_max: 1024,
            batch_bytes: 4 << 20,
            body_max: 1 << 20,
            queue_max: 8192,
            queue_bytes: 64 << 20,
            pace_from: 16,
            pace_until: 32,
            pace_hold: Duration::from_micros(400),
        }
    }

    /// Says what is wrong with it, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        let Self { origin, log_key, .. } = self;
        if origin.len() > crate::journal::segment::MAX_ORIGIN {
            return Some(format!("the origin `{origin}` is longer than {} bytes", crate::journal::segment::MAX_ORIGIN));
        }
        if log_key.name() != origin {
            return Some(format!(
                "the origin is `{origin}`, but the log key is called `{}`; they must be the same",
                log_key.name()
            ));
        }
        let limits = [
            ("segment_bytes", self.segment_bytes < 64 << 10),
            ("batch_max", !(1..=1024).contains(&self.batch_max)),
            ("batch_bytes", self.batch_bytes == 0 || self.batch_bytes > 6 << 20),
            ("body_max", self.body_max > 1 << 20),
            ("queue_max", self.queue_max == 0),
        ];
        limits.iter().find(|(_, wrong)| *wrong).map(|(name, _)| format!("`{name}` is outside its range"))
    }
}
