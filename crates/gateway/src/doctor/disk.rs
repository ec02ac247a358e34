//! Whether the disk of the exchange log has room, and how fast it syncs: no answer leaves a gateway before a sync.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Finding, files};
use crate::{config::ConfigFile, when};

const CHECK: &str = "disk";
/// Syncs that are timed.
const SYNCS: usize = 25;
/// Bytes of each, a batch of a few records.
const BLOCK: [u8; 4096] = [0x5a; 4096];
/// Slower than this is told: one exchange after another takes at least as long on each side.
const SLOW: Duration = Duration::from_millis(10);
/// Less than this free is an error: a segment of the journal takes 64 MiB, and the next is laid out ahead.
const FULL: u64 = 256 << 20;
/// Less than this free is a warning.
const NEARLY_FULL: u64 = 2 << 30;
/// So few files that can still be made are a warning: 256 records take one of the log's tiles.
const FEW_FILES: u64 = 10_000;

pub(super) async fn examine(file: &ConfigFile) -> Vec<Finding> {
    let data = file.path(&file.config.data.folder);
    let Some(folder) = files::existing(&data) else { return Vec::new() };
    let place = folder.display().to_string();
    let measured = {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || median_sync(&folder)).await
    };
    let mut findings = vec![room(&folder)];
    findings.push(match measured {
        Ok(Ok(median)) => speed(place, median),
        Ok(Err(error)) => Finding::error(
            CHECK,
            place,
            format!("cannot write and sync a file: {error}"),
            "see that the gateway's user can write there, and that the disk is sound (`dmesg`)",
        ),
        Err(_) => return findings,
    });
    findings
}

fn room(folder: &Path) -> Finding {
    let place = folder.display().to_string();
    let Ok(disk) = rustix::fs::statvfs(folder) else {
        let what = "cannot tell how much room there is";
        return Finding::warning(CHECK, place, what, "look with `df`, as the gateway's user");
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let (what, cure) = (
        format!("{} free", when::bytes(free)),
        "make room or enlarge the disk; without room the gateway refuses every exchange",
    );
    if free < FULL {
        Finding::error(CHECK, place, what, cure)
    } else if free < NEARLY_FULL {
        Finding::warning(CHECK, place, what, cure)
    } else if disk.f_files > 0 && disk.f_favail < FEW_FILES {
        let what = format!("the file system can hold only {} more files", disk.f_favail);
        Finding::warning(CHECK, place, what, "use a file system with more inodes")
    } else {
        Finding::fine(CHECK, place, what)
    }
}

fn speed(place: String, median: Duration) -> Finding {
    let what = format!("a sync takes {:.2} ms (median of {SYNCS})", median.as_secs_f64() * 1000.0);
    if median > SLOW {
        let cure = "put `data.folder` on a disk that syncs faster: local solid-state storage with power-loss protection, no network file system";
        Finding::warning(CHECK, place, what, cure)
    } else {
        Finding::fine(CHECK, place, what)
    }
}

/// Returns the median time of a write with `fdatasync`, as the journal does them: over room that is there already.
fn median_sync(folder: &Path) -> io::Result<Duration> {
    let file = Temporary::create(folder)?;
    let mut writer = &file.file;
    for _ in 0..SYNCS {
        writer.write_all(&BLOCK)?;
    }
    file.file.sync_all()?;
    io::Seek::rewind(&mut writer)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begun = Instant::now();
        writer.write_all(&BLOCK)?;
        file.file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times.get(SYNCS / 2).copied().unwrap_or_default())
}

/// A file that is gone when this is.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn create(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!(".drawbridge-doctor-{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It holds nothing; whoever finds it may remove it.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn the_disk_is_measured_and_nothing_stays_behind() {
        let folder = tempfile::tempdir().unwrap();
        assert!(median_sync(folder.path()).unwrap() > Duration::ZERO);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(median_sync(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_disk_that_syncs_slowly_is_told() {
        assert_eq!(speed("data".into(), Duration::from_millis(10)).severity, Severity::Fine);
        let slow = speed("data".into(), Duration::from_micros(10_500));
        assert_eq!((slow.severity, slow.what.as_str()), (Severity::Warning, "a sync takes 10.50 ms (median of 25)"));
    }
}
