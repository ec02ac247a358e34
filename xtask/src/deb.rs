//! `cargo xtask deb`: a Debian package of the program, its manual, completions and service.
//!
//! Built by `dpkg-deb` from a staged folder; what `dpkg` runs is in `deploy/debian/`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    step::{self, cargo},
    workspace,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Take this program. Default: build it, in release.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Put the package into this folder.
    #[arg(long, value_name = "FOLDER", default_value = "target/debian")]
    out: PathBuf,
    /// How the package is compressed: `xz`, `zstd`, `gzip` or `none`, as `dpkg-deb` knows them.
    #[arg(long, value_name = "KIND", default_value = "xz")]
    compression: String,
    /// The package's version. Default: the program's own.
    #[arg(long)]
    version: Option<String>,
}

/// Where each file that is taken as it is goes to.
const FILES: &[(&str, &str)] = &[
    ("deploy/drawbridge.service", "usr/lib/systemd/system/drawbridge.service"),
    ("deploy/drawbridge.sysusers", "usr/lib/sysusers.d/drawbridge.conf"),
];
/// The documents, which lie beneath [`DOCUMENTATION`] as they do in the repository, so that their links to one another lead somewhere.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "crates/connectors/README.md",
    "crates/decisions/012-spans-after-the-fact.md",
    "crates/policy/AGREEMENTS.md",
    "crates/rest/README.md",
    "deploy/CLIENTS.md",
    "deploy/Containerfile",
    "deploy/README.md",
    "deploy/TELEMETRY.md",
    "deploy/compose.yaml",
    "deploy/drawbridge.service",
    "deploy/drawbridge.sysusers",
    "deploy/grafana/dashboard.json",
    "deploy/log.schema.json",
    "deploy/prometheus/alerts.test.yaml",
    "deploy/prometheus/alerts.yaml",
];
const DOCUMENTATION: &str = "usr/share/doc/drawbridge";
/// Where each shell looks for completions.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/drawbridge"),
    ("zsh", "usr/share/zsh/vendor-completions/_drawbridge"),
    ("fish", "usr/share/fish/vendor_completions.d/drawbridge.fish"),
];
/// What `dpkg` runs.
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];
const MANUAL: &str = "usr/share/man/man1";

/// Builds the package and says where it is.
///
/// # Errors
///
/// When a step of it fails, for example because `dpkg-deb` is not installed.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !step::present("dpkg-deb") {
        bail!("`dpkg-deb` is missing\n  = help: on Debian it is there; elsewhere install the package `dpkg`");
    }
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => built()?,
    };
    fs::create_dir_all(&options.out).with_context(|| format!("cannot make `{}`", options.out.display()))?;
    let stage = Stage::make(&options.out.join("stage"))?;
    let own = stage.program(&binary)?;
    let version = options.version.clone().unwrap_or(own);
    stage.files()?;
    stage.manual()?;
    stage.completions()?;
    stage.control(&version)?;
    let package = options.out.join(format!("drawbridge_{version}_{}.deb", architecture()?));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", &format!("-Z{}", options.compression), "--build"]);
    step::run(build.arg(&stage.root).arg(&package))?;
    println!("{}", package.display());
    Ok(())
}

fn built() -> Result<PathBuf> {
    step::run(&mut cargo(["build", "--release", "--locked", "--package", "drawbridge-cli"]))?;
    Ok(workspace::target()?.join("release/drawbridge"))
}

fn architecture() -> Result<String> {
    Ok(step::output(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned())
}

/// The folder that becomes the package.
struct Stage {
    root: PathBuf,
}

impl Stage {
    fn make(root: &Path) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(root).with_context(|| format!("cannot remove `{}`", root.display()))?;
        }
        fs::create_dir_all(root).with_context(|| format!("cannot make `{}`", root.display()))?;
        let root = root.canonicalize().context("cannot find the staged folder")?;
        Ok(Self { root })
    }

    /// Copies the program, without what only a debugger reads, and returns its version.
    fn program(&self, binary: &Path) -> Result<String> {
        let to = self.place("usr/bin/drawbridge")?;
        fs::copy(binary, &to).with_context(|| format!("cannot copy `{}`", binary.display()))?;
        if step::present("strip") {
            step::run(Command::new("strip").arg(&to))?;
        }
        allow(&to, 0o755)?;
        let said = step::output(self.drawbridge().arg("--version"))?;
        let version = said.trim().strip_prefix("drawbridge ").context("the program tells no version")?;
        Ok(version.to_owned())
    }

    fn files(&self) -> Result<()> {
        for (from, to) in FILES {
            let text = fs::read(workspace::root().join(from)).with_context(|| format!("cannot read `{from}`"))?;
            self.write(to, &text)?;
        }
        let read = |name: &str| {
            fs::read_to_string(workspace::root().join(name)).with_context(|| format!("cannot read `{name}`"))
        };
        for name in DOCUMENTS {
            let text = read(name)?;
            let text =
                if Path::new(name).extension().is_some_and(|e| e == "md") { unlinked(&text, name) } else { text };
            self.write(&format!("{DOCUMENTATION}/{name}"), text.as_bytes())?;
        }
        let copyright = format!(
            "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: drawbridge\n\nFiles: *\nCopyright: The Drawbridge contributors\nLicense: Apache-2.0\n{}",
            indented(&read("LICENSE")?)
        );
        self.write(&format!("{DOCUMENTATION}/copyright"), copyright.as_bytes())?;
        self.write(&format!("{DOCUMENTATION}/CHANGELOG.md.gz"), &gzipped(read("CHANGELOG.md")?.into_bytes())?)
    }

    fn manual(&self) -> Result<()> {
        let folder = self.place(MANUAL)?;
        step::output(self.drawbridge().arg("man").arg(&folder))?;
        for entry in fs::read_dir(&folder).context("cannot read the manual")? {
            let page = entry?.path();
            let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.write(&format!("{MANUAL}/{name}.gz"), &gzipped(fs::read(&page)?)?)?;
            fs::remove_file(&page)?;
        }
        Ok(())
    }

    fn completions(&self) -> Result<()> {
        for (shell, to) in COMPLETIONS {
            let script = step::output(self.drawbridge().args(["completions", shell]))?;
            self.write(to, script.as_bytes())?;
        }
        Ok(())
    }

    /// Writes what `dpkg` goes by.
    fn control(&self, version: &str) -> Result<()> {
        let glibc = newest_glibc(&fs::read(self.root.join("usr/bin/drawbridge"))?);
        let glibc = glibc.map_or_else(String::new, |(major, minor)| format!(" (>= {major}.{minor})"));
        let (mut bytes, mut sums) = (0, String::new());
        for file in files_below(&self.root)? {
            bytes += fs::metadata(&file)?.len();
            let sum = step::output(Command::new("md5sum").arg(&file))?;
            let sum = sum.split(' ').next().unwrap_or_default();
            sums = format!("{sums}{sum}  {}\n", file.strip_prefix(&self.root)?.display());
        }
        let control = format!(
            "Package: drawbridge\nVersion: {version}\nArchitecture: {}\nMaintainer: The Drawbridge contributors <drawbridge@example.invalid>\nInstalled-Size: {}\nDepends: libc6{glibc}, libgcc-s1, systemd | systemd-standalone-sysusers\nSection: net\nPriority: optional\nDescription: federated data exchange between public bodies\n A gateway that puts a member's own systems behind gRPC contracts, asks other\n members' gateways over mutual TLS under signed agreements, and records every\n exchange in a log that anybody can verify.\n",
            architecture()?,
            bytes.div_ceil(1024),
        );
        self.write("DEBIAN/control", control.as_bytes())?;
        self.write("DEBIAN/md5sums", sums.as_bytes())?;
        for script in SCRIPTS {
            let from = workspace::root().join("deploy/debian").join(script);
            let text = fs::read(&from).with_context(|| format!("cannot read `{}`", from.display()))?;
            self.write(&format!("DEBIAN/{script}"), &text)?;
            allow(&self.root.join("DEBIAN").join(script), 0o755)?;
        }
        Ok(())
    }

    fn drawbridge(&self) -> Command {
        let mut command = Command::new(self.root.join("usr/bin/drawbridge"));
        command.stdin(Stdio::null());
        command
    }

    /// Returns a path in the folder, whose parents are there.
    fn place(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        let mut folder = self.root.clone();
        allow(&folder, 0o755)?;
        let parents = Path::new(name).parent().into_iter().flat_map(Path::components);
        for part in parents {
            folder.push(part);
            if !folder.is_dir() {
                fs::create_dir(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
            }
            allow(&folder, 0o755)?;
        }
        Ok(path)
    }

    fn write(&self, name: &str, text: &[u8]) -> Result<()> {
        let path = self.place(name)?;
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
        allow(&path, 0o644)
    }
}

/// Returns a document in which what links to files of the repository that are not in the package is plain text.
fn unlinked(text: &str, document: &str) -> String {
    let (mut written, mut rest) = (String::new(), text);
    while let Some((before, (target, after))) =
        rest.split_once("](").and_then(|(before, behind)| Some((before, behind.split_once(')')?)))
    {
        rest = after;
        let path = linked(document, target);
        let is_missing = path.is_some_and(|path| {
            workspace::root().join(&path).exists() && !DOCUMENTS.iter().any(|packaged| path == Path::new(packaged))
        });
        match before.rsplit_once('[').filter(|_| is_missing) {
            Some((before, words)) => written.extend([before, words]),
            None => written.extend([before, "](", target, ")"]),
        }
    }
    written + rest
}

/// Returns which file of the repository a link in a document leads to. None for what is elsewhere, or in the document itself.
fn linked(document: &str, target: &str) -> Option<PathBuf> {
    let target = target.split('#').next().filter(|target| !target.is_empty() && !target.contains("://"))?;
    let mut path = Path::new(document).parent()?.to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(path)
}

/// Sets the mode, whatever the umask.
fn allow(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of `{}`", path.display()))
}

/// All files below a folder, sorted.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn gzipped(text: Vec<u8>) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let mut gzip = Command::new("gzip");
    // Without name and time, so that the same text gives the same bytes.
    let mut child = gzip.args(["-9", "-n"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("gzip takes no input")?;
    let writer = std::thread::spawn(move || input.write_all(&text));
    let output = child.wait_with_output()?;
    if !output.status.success() || !matches!(writer.join(), Ok(Ok(()))) {
        bail!("gzip failed");
    }
    Ok(output.stdout)
}

/// A licence as the copyright format has it: each line begins with a blank, an empty one is a dot.
fn indented(text: &str) -> String {
    text.lines().map(|line| if line.trim().is_empty() { " .\n".to_owned() } else { format!(" {line}\n") }).collect()
}

/// Returns the newest version of the C library whose symbols a program names.
fn newest_glibc(program: &[u8]) -> Option<(u32, u32)> {
    const MARK: &[u8] = b"GLIBC_";
    let versions = program.windows(MARK.len() + 8).filter_map(|window| {
        let digits = window.strip_prefix(MARK)?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
        let text = std::str::from_utf8(digits.get(..end)?).ok()?;
        let (major, rest) = text.split_once('.')?;
        let minor = rest.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    versions.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_of_the_c_library_is_found() {
        let program = b"\0GLIBC_2.2.5\0.......GLIBC_2.34\0.........GLIBC_2.9\0........GLIBC_PRIVATE\0........";
        assert_eq!(newest_glibc(program), Some((2, 34)));
        assert_eq!(newest_glibc(b"static"), None);
    }

    #[test]
    fn a_link_to_what_is_not_in_the_package_is_plain_text() {
        let text = "[a](CLIENTS.md), [b](../README.md#ask), [`c`](../crates/README.md), [d](https://x.example/), [e](#f) and x[0](y)";
        let expected = "[a](CLIENTS.md), [b](../README.md#ask), `c`, [d](https://x.example/), [e](#f) and x[0](y)";
        assert_eq!(unlinked(text, "deploy/README.md"), expected);
        for document in DOCUMENTS {
            assert!(workspace::root().join(document).is_file(), "{document}");
        }
    }

    #[test]
    fn a_licence_is_indented_as_the_format_has_it() {
        assert_eq!(indented("One\n\n  two\n"), " One\n .\n   two\n");
    }
}
