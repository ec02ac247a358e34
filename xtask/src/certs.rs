//! `cargo xtask certs`: certificates to develop with, in `certs-dev/`.
//!
//! Each says NOT FOR PRODUCTION in its subject, and a gateway outside development mode refuses it. What is there and
//! good for another month stays as it is.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use federation::{
    GatewayId, MemberId, SystemId,
    authority::{Authority, Flavour, Issued},
    certificate::{self, Facts},
};

use crate::workspace;

/// The members of the samples.
const MEMBERS: [&str; 2] = ["council.example", "trust.example"];

/// Made anew when less than this is left.
const LEFT: Duration = Duration::from_hours(30 * 24);

/// Makes what is missing or soon to end, and says what it did.
///
/// # Errors
///
/// When a file cannot be written, or one that is there is not for development: nothing is written over it.
pub(crate) fn run() -> Result<()> {
    let folder = workspace::root().join("certs-dev");
    let made = fill(&folder, SystemTime::now())?;
    match made.as_slice() {
        [] => eprintln!("certs-dev: everything is there and good for a month or more"),
        made => made.iter().for_each(|path| eprintln!("made certs-dev/{}", path.display())),
    }
    Ok(())
}

/// Fills `folder` for all members, and returns the certificates made, relative to it.
fn fill(folder: &Path, now: SystemTime) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for name in MEMBERS {
        let member: MemberId = name.parse()?;
        let here = folder.join(name);
        fs::create_dir_all(&here).with_context(|| format!("cannot create {}", here.display()))?;
        made.extend(member_files(&here, &member, now)?.into_iter().map(|file| Path::new(name).join(file)));
    }
    Ok(made)
}

/// Makes what one member lacks, and returns the names of the certificates made.
fn member_files(folder: &Path, member: &MemberId, now: SystemTime) -> Result<Vec<&'static str>> {
    let mut made = Vec::new();
    let authority = if lasts(&folder.join("authority.pem"), now)? {
        open(folder)?
    } else {
        let authority = Authority::create(member, Flavour::Development, now)?;
        // What an earlier authority issued is worth nothing under this one.
        for leaf in ["gateway.pem", "system.pem"] {
            remove(&folder.join(leaf))?;
        }
        write(&folder.join("authority.key.pem"), &authority.key_pem())?;
        write(&folder.join("authority.pem"), &authority.certificate_pem())?;
        made.push("authority.pem");
        authority
    };
    if !lasts(&folder.join("gateway.pem"), now)? {
        let gateway = GatewayId::new(member.clone(), "main")?;
        let hosts = ["localhost", "127.0.0.1", "::1"];
        write_issued(folder, "gateway", &authority.issue_gateway(&gateway, &hosts, now)?)?;
        made.push("gateway.pem");
    }
    if !lasts(&folder.join("system.pem"), now)? {
        let system = SystemId::new(member.clone(), "sample")?;
        write_issued(folder, "system", &authority.issue_system(&system, now)?)?;
        made.push("system.pem");
    }
    Ok(made)
}

/// Opens the authority that is there.
fn open(folder: &Path) -> Result<Authority> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    Authority::open(&read("authority.pem")?, &read("authority.key.pem")?).with_context(|| {
        format!("the authority in {} is damaged: remove that folder and run this again", folder.display())
    })
}

/// Whether the certificate at `path` is there and good for long enough.
///
/// # Errors
///
/// When it is there and is not for development.
fn lasts(path: &Path, now: SystemTime) -> Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let damaged = || format!("{} is damaged: remove it and run this again", path.display());
    let chain = certificate::read_pem(&text).with_context(damaged)?;
    let first = chain.first().with_context(damaged)?;
    let facts = Facts::read(first).with_context(damaged)?;
    if !facts.is_development {
        bail!("{} is not for development: it does not belong here; move it away", path.display());
    }
    Ok(facts.not_after > now + LEFT)
}

fn write_issued(folder: &Path, name: &str, issued: &Issued) -> Result<()> {
    // The key first: a certificate that is there has its key.
    write(&folder.join(format!("{name}.key.pem")), &issued.key_pem)?;
    write(&folder.join(format!("{name}.pem")), &issued.certificate_pem)
}

/// Writes `text` to `path` whole or not at all; keys may be read by their owner only.
fn write(path: &Path, text: &str) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mode = if path.to_string_lossy().ends_with(".key.pem") { 0o600 } else { 0o644 };
    let new = path.with_extension("new");
    remove(&new)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)?;
    fs::rename(&new, path).with_context(context)
}

fn remove(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for a test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("drawbridge-certs-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_there_and_lasts_is_left_alone() {
        let folder = Folder::new("left-alone");
        let now = SystemTime::now();
        assert_eq!(fill(&folder.0, now).unwrap().len(), 6);
        let before = fs::read(folder.0.join("trust.example/gateway.pem")).unwrap();
        assert_eq!(fill(&folder.0, now + Duration::from_hours(24)).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(fs::read(folder.0.join("trust.example/gateway.pem")).unwrap(), before);
    }

    #[test]
    fn what_soon_ends_is_made_anew_under_the_same_authority() {
        let folder = Folder::new("renewed");
        let now = SystemTime::now();
        fill(&folder.0, now).unwrap();
        let root = fs::read(folder.0.join("council.example/authority.pem")).unwrap();
        let made = fill(&folder.0, now + Duration::from_hours(70 * 24)).unwrap();
        assert_eq!(made.len(), 4, "{made:?}");
        assert_eq!(fs::read(folder.0.join("council.example/authority.pem")).unwrap(), root);
    }

    #[test]
    fn everything_says_that_it_is_not_for_production_and_keys_are_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new("marked");
        fill(&folder.0, SystemTime::now()).unwrap();
        for name in ["authority", "gateway", "system"] {
            let path = folder.0.join("council.example").join(format!("{name}.pem"));
            let chain = certificate::read_pem(&fs::read_to_string(&path).unwrap()).unwrap();
            assert!(certificate::is_development(&chain[0]), "{name}");
            let key = path.with_extension("key.pem");
            assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_certificate_for_use_is_never_written_over() {
        let folder = Folder::new("real");
        let member: MemberId = "council.example".parse().unwrap();
        let real = Authority::create(&member, Flavour::Production, SystemTime::now()).unwrap();
        let here = folder.0.join("council.example");
        fs::create_dir_all(&here).unwrap();
        fs::write(here.join("authority.pem"), real.certificate_pem()).unwrap();
        let error = fill(&folder.0, SystemTime::now()).unwrap_err().to_string();
        assert!(error.contains("not for development"), "{error}");
    }
}
