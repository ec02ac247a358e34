//! End notes: taken from a link, and handed on over links.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use exchange::Rules;
use federation::{GatewayId, MemberId};
use policy::{End, EndNote};

/// What became of an end note.
pub(crate) enum Accepted {
    /// It is in the agreements folder now.
    New(String),
    /// It was there already.
    Known,
}

/// Why an end note was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAccepted {
    #[error("it is not an end note: {0}")]
    Malformed(String),
    #[error("its signature does not verify: {0}")]
    Signature(String),
    #[error("no agreement here is the one that it ends")]
    Unknown,
    #[error("it comes from a gateway of a member that is no party to the agreement")]
    Stranger,
    #[error("it cannot be written to the agreements folder")]
    Write(#[source] std::io::Error),
}

/// Checks an end note that came over a link and puts it into the agreements folder, where the next look finds it.
pub(crate) fn accept(text: &str, peer: &GatewayId, rules: &Rules, folder: &Path) -> Result<Accepted, NotAccepted> {
    let first = |problems: Vec<problem::Problem>| problems.into_iter().next().map_or_else(String::new, |p| p.what);
    let note = EndNote::parse("end note from a link", text).map_err(|p| NotAccepted::Malformed(first(p)))?;
    let keys = |member: &MemberId| rules.federation.member_keys(member);
    let end = note.verified(&keys).map_err(|p| NotAccepted::Signature(first(p)))?;
    let agreement = rules.agreements.get(&end.agreement()).ok_or(NotAccepted::Unknown)?;
    if !end.ends(agreement) {
        return Err(NotAccepted::Unknown);
    }
    if !agreement.is_party(peer.member()) {
        return Err(NotAccepted::Stranger);
    }
    let path = folder.join(end.file_name());
    if path.exists() {
        return Ok(Accepted::Known);
    }
    write_atomically(&path, text).map_err(NotAccepted::Write)?;
    Ok(Accepted::New(end.agreement_id().to_owned()))
}

/// Writes a file so that it is there whole or not at all, and survives a crash.
///
/// # Errors
///
/// What the file system says.
pub fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    write_bytes_atomically(path, text.as_bytes())
}

/// Tells the temporary names of two workers that write the same file at once apart.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// As [`write_atomically`], for what is no text.
pub(crate) fn write_bytes_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("note");
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!(".{name}.{}.{number}", std::process::id()));
    let mut file = fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(folder)?.sync_all()
}

/// Returns the members to whom an end note is to be handed on, and the file it lies in.
pub(crate) fn to_hand_on(end: &End, own: &MemberId, folder: &Path) -> Option<(MemberId, PathBuf)> {
    let other = if end.consumer() == own { end.provider() } else { end.consumer() };
    (other != own).then(|| (other.clone(), folder.join(end.file_name())))
}
