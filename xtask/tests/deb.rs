//! The Debian package, installed, upgraded, removed and purged in a root of its own: the machine's own packages are not touched.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

/// The program that was built beside this test.
fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("drawbridge");
    assert!(program.exists(), "`{}` is missing: run `cargo build -p drawbridge-cli` first", program.display());
    program
}

fn package(out: &Path, version: &str) -> PathBuf {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["deb", "--compression", "none", "--version", version, "--binary"])
        .arg(program())
        .arg("--out")
        .arg(out)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().lines().last().unwrap())
}

/// A root that `dpkg` takes for an empty machine.
struct Root(PathBuf);

impl Root {
    fn make(folder: &Path) -> Self {
        let root = folder.join("root");
        for inner in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc"] {
            fs::create_dir_all(root.join(inner)).unwrap();
        }
        fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
        Self(root)
    }

    fn dpkg(&self, arguments: &[&str]) -> String {
        // What it depends on is not in this root; its scripts run here, on that root.
        let output = Command::new("dpkg")
            .arg(format!("--root={}", self.0.display()))
            .args(["--force-depends", "--force-script-chrootless"])
            .args(arguments)
            .output()
            .unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    /// What `dpkg` knows of packages.
    fn status(&self) -> String {
        fs::read_to_string(self.path("var/lib/dpkg/status")).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// All files below `usr`.
    fn installed(&self) -> BTreeSet<PathBuf> {
        fn look(folder: &Path, found: &mut BTreeSet<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    look(&path, found);
                } else {
                    found.insert(path);
                }
            }
        }
        let mut found = BTreeSet::new();
        look(&self.path("usr"), &mut found);
        found.into_iter().map(|path| path.strip_prefix(&self.0).unwrap().to_owned()).collect()
    }
}

#[test]
fn the_package_installs_upgrades_and_removes_cleanly_and_keeps_the_log_until_it_is_purged() {
    assert!(
        rustix::process::geteuid().is_root(),
        "dpkg gives files to users: run this test as root on Debian, for example in a container"
    );
    let folder = std::env::temp_dir().join(format!("drawbridge-deb-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (old, new) = (package(&folder, "0.1.0~test1"), package(&folder, "0.1.0~test2"));
    let root = Root::make(&folder);
    root.dpkg(&["--install", old.to_str().unwrap()]);

    let installed = root.installed();
    for file in [
        "usr/bin/drawbridge",
        "usr/lib/systemd/system/drawbridge.service",
        "usr/lib/sysusers.d/drawbridge.conf",
        "usr/share/man/man1/drawbridge.1.gz",
        "usr/share/man/man1/drawbridge-agreement-new.1.gz",
        "usr/share/bash-completion/completions/drawbridge",
        "usr/share/zsh/vendor-completions/_drawbridge",
        "usr/share/fish/vendor_completions.d/drawbridge.fish",
        "usr/share/doc/drawbridge/copyright",
        "usr/share/doc/drawbridge/deploy/README.md",
    ] {
        assert!(installed.contains(Path::new(file)), "{file}: {installed:?}");
    }
    for document in installed.iter().filter(|path| path.extension().is_some_and(|ending| ending == "md")) {
        let path = root.path(document.to_str().unwrap());
        let text = fs::read_to_string(&path).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            assert!(path.parent().unwrap().join(target).exists(), "{} links to {target}", document.display());
        }
    }
    let runs = Command::new(root.path("usr/bin/drawbridge")).arg("--version").output().unwrap();
    assert!(runs.status.success());
    let passwd = fs::read_to_string(root.path("etc/passwd")).unwrap();
    let user = passwd.lines().find(|line| line.starts_with("drawbridge:")).expect(&passwd).to_owned();
    let id: u32 = user.split(':').nth(2).unwrap().parse().unwrap();
    assert!(user.ends_with("nologin") && id != 0, "{user}");
    for (path, owner, mode) in
        [("var/lib/drawbridge", id, 0o700), ("etc/drawbridge", 0, 0o750), ("etc/drawbridge/agreements", id, 0o700)]
    {
        let metadata = fs::metadata(root.path(path)).unwrap();
        assert_eq!((metadata.uid(), metadata.permissions().mode() & 0o777), (owner, mode), "{path}");
    }

    // What an operator and a gateway put there.
    let kept = [root.path("etc/drawbridge/gateway.toml"), root.path("var/lib/drawbridge/ledger")];
    for path in &kept {
        fs::write(path, "kept").unwrap();
    }
    root.dpkg(&["--install", new.to_str().unwrap()]);
    assert!(root.status().contains("Version: 0.1.0~test2"));
    assert_eq!(root.installed(), installed);
    assert_eq!(fs::read_to_string(root.path("etc/passwd")).unwrap(), passwd, "an upgrade makes no second user");
    root.dpkg(&["--remove", "drawbridge"]);
    assert!(root.installed().is_empty(), "{:?}", root.installed());
    assert!(
        kept.iter().all(|path| fs::read_to_string(path).unwrap() == "kept"),
        "removing deletes nothing of the operator's"
    );
    root.dpkg(&["--install", new.to_str().unwrap()]);
    assert!(kept.iter().all(|path| path.exists()));
    root.dpkg(&["--purge", "drawbridge"]);
    for path in ["var/lib/drawbridge", "etc/drawbridge", "usr/bin"] {
        assert!(!root.path(path).exists(), "{path} is left");
    }
    assert!(!root.status().contains("Package: drawbridge"), "{}", root.status());
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_service_is_confined() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/drawbridge.service");
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", "--threshold=15"])
        .arg(&unit)
        .output()
        .expect("`systemd-analyze` is part of the Debian package `systemd`");
    let said = String::from_utf8_lossy(&output.stdout);
    // A threshold of 15 stands for 1.5; the README states the figure.
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let figure = said.lines().find_map(|line| line.split_once("drawbridge.service: ")?.1.split(' ').next()).unwrap();
    let readme = fs::read_to_string(unit.with_file_name("README.md")).unwrap();
    assert!(readme.contains(&format!("exposure level of {figure}")), "the README does not state {figure}");
}

#[test]
fn systemd_takes_every_line_of_the_service() {
    let unit = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/drawbridge.service")).unwrap();
    let folder = std::env::temp_dir().join(format!("drawbridge-unit-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let verify = |unit: &str| {
        let file = folder.join("drawbridge.service");
        // The program has to be where the unit says.
        fs::write(&file, unit.replace("/usr/bin/drawbridge", program().to_str().unwrap())).unwrap();
        // `--man=no`: the manual is not installed here.
        let mut command = Command::new("systemd-analyze");
        let output = command.args(["verify", "--man=no"]).arg(&file).output();
        let output = output.expect("`systemd-analyze` is part of the Debian package `systemd`");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // What it does not know, it only mentions.
    let (_, said) = verify(&unit.replace("KillMode=", "KillModes="));
    assert!(said.contains("KillModes"), "{said}");
    assert_eq!(verify(&unit), (true, String::new()));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_root_renews_still_belongs_to_the_gateways_user() {
    /// Nobody's here.
    const USER: u32 = 63_211;
    assert!(rustix::process::geteuid().is_root(), "only root can give files away: run this test as root");
    let folder = std::env::temp_dir().join(format!("drawbridge-renewal-{}", std::process::id()));
    let run = |arguments: &[&str]| {
        let output = Command::new(program()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&[
        "init",
        "--development",
        "--member",
        "county.example",
        "--address",
        "localhost:8443",
        folder.to_str().unwrap(),
    ]);
    let key = folder.join("tls/gateway.key.pem");
    chown(&key, Some(USER), Some(USER)).unwrap();
    let before = fs::read(&key).unwrap();
    run(&["certificate", "gateway", "--config", folder.join("gateway.toml").to_str().unwrap()]);
    let metadata = fs::metadata(&key).unwrap();
    assert_ne!(fs::read(&key).unwrap(), before);
    assert_eq!((metadata.uid(), metadata.gid(), metadata.permissions().mode() & 0o777), (USER, USER, 0o600));
    fs::remove_dir_all(&folder).unwrap();
}
