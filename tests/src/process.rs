//! Gateway processes and commands: the binary that is shipped, started as an operator starts it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// The binary `drawbridge`, built beside the tests.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            let mut folder = std::env::current_exe().unwrap();
            folder.pop();
            if folder.ends_with("deps") {
                folder.pop();
            }
            let binary = folder.join("drawbridge");
            assert!(
                binary.exists(),
                "`{}` is missing: run `cargo build -p drawbridge-cli` first, or `cargo xtask test`",
                binary.display()
            );
            binary
        })
        .clone()
}

/// Runs `drawbridge` with `arguments` in `folder` and returns what it said.
pub fn run<I: AsRef<std::ffi::OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = I>) -> Output {
    Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs `drawbridge`, expects success, and returns its standard output.
pub fn succeed<I: AsRef<std::ffi::OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = I>) -> String {
    let output = run(folder, arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// A gateway process. Killed when dropped.
pub struct Gateway {
    child: Child,
    log: PathBuf,
}

impl Gateway {
    /// Starts `drawbridge run` in `folder` and waits until it is ready.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, Command::new(binary()))
            .unwrap_or_else(|log| panic!("the gateway in {} did not start:\n{log}", folder.display()))
    }

    /// Starts a gateway through `command`, which is the binary or something that runs it.
    ///
    /// # Errors
    ///
    /// What it wrote, when it ended before it was ready.
    pub fn start_with(folder: &Path, mut command: Command) -> Result<Self, String> {
        let log = folder.join("gateway.log");
        let out = fs::File::options().create(true).append(true).open(&log).unwrap();
        let before = fs::read_to_string(&log).unwrap().len();
        let child = command
            .args(["run", "--config", "gateway.toml"])
            .current_dir(folder)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let mut gateway = Self { child, log };
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let text = gateway.log();
            let text = text.get(before..).unwrap_or_default();
            if text.contains("is ready") {
                return Ok(gateway);
            }
            if gateway.child.try_wait().unwrap().is_some() {
                return Err(gateway.log().get(before..).unwrap_or_default().to_owned());
            }
            assert!(Instant::now() < deadline, "the gateway is not ready after 60 s:\n{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All that it has written so far, over all starts in the same folder.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits until it has ended; returns whether it ended well.
    pub fn terminate(mut self) -> bool {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        self.child.wait().unwrap().success()
    }

    /// Waits until it has ended by itself; returns its exit code.
    pub fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
