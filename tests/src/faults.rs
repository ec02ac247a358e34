//! Faults that a test brings about from outside: randomness that repeats, a disk that is small, system calls that fail, a
//! start that is refused.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::process::binary;

/// Random numbers that are the same for the same seed.
///
/// Source: `SplitMix64`, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts with the seed in the environment variable `variable`, or with `seed`; says which, so that a failure can be
    /// repeated.
    pub fn seeded(variable: &str, seed: u64) -> Self {
        let seed = std::env::var(variable).map_or(seed, |text| text.parse().expect("a seed is a number"));
        eprintln!("{variable}={seed}");
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `from` to `to`, both included.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.draw() % (to - from + 1)
    }
}

/// A small file system of its own on a folder. Unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts `kibibytes` of memory on `folder`.
    ///
    /// # Panics
    ///
    /// Without root: a full disk cannot be made then.
    pub fn mount(folder: &Path, kibibytes: u64) -> Self {
        let size = format!("size={kibibytes}k");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "drawbridge-test"]).arg(folder).output();
        let said = output.map(|o| (o.status.success(), String::from_utf8_lossy(&o.stderr).into_owned()));
        match said {
            Ok((true, _)) => Self(folder.to_owned()),
            Ok((false, why)) => {
                panic!("a full disk needs a small tmpfs, and that needs root: run the tests as root ({})", why.trim())
            }
            Err(error) => panic!("a full disk needs `mount`: install the package `mount` ({error})"),
        }
    }

    /// Fills up what is left with a file of its own.
    pub fn fill(&self) {
        use std::io::Write as _;
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        // Page by page, so that not one is left.
        while file.write_all(&[b'x'; 4096]).is_ok() {}
    }

    /// Removes that file.
    pub fn make_space(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }

    /// Gives the file system another size.
    pub fn resize(&self, kibibytes: u64) {
        let status = Command::new("mount").args(["-o", &format!("remount,size={kibibytes}k")]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there keeps it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// `strace`, which lets system calls of a running process fail or take long. Ends when dropped, and the process goes on.
pub struct Interference(Child);

impl Interference {
    /// Does `what` to a system call of a process, as in `fdatasync:error=EIO:when=2`; returns once it is in force.
    ///
    /// # Panics
    ///
    /// Where `strace` is missing or may not trace.
    pub fn begin(process: u32, what: &str) -> Self {
        let call = what.split(':').next().unwrap();
        let mut child = Command::new("strace")
            .args(["-f", "-e", &format!("trace={call}"), "-e", &format!("inject={what}"), "-p", &process.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("`strace` makes system calls fail: install it (`apt-get install strace`): {error}")
            });
        let mut said = String::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        while lines.read_line(&mut said).unwrap() > 0 && !said.contains("attached") {}
        assert!(
            said.contains("attached"),
            "`strace` may not trace: run the tests as root, with ptrace allowed: {said}"
        );
        // It writes down every call; somebody has to read that.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self(child)
    }
}

impl Interference {
    /// Kills a process together with what holds it in a system call; waits for neither, they are gone at once.
    pub fn end_with(mut self, process: crate::Gateway) {
        process.signal("-KILL");
        let _ = self.0.kill();
        let _ = self.0.wait();
        process.kill();
    }
}

impl Drop for Interference {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// Runs `drawbridge run` in `folder`, which is to refuse the start, and returns its exit code with what it said.
///
/// # Errors
///
/// What it said when it started all the same; it is killed then.
pub fn refused_start(folder: &Path) -> Result<(i32, String), String> {
    let log = folder.join("refused.log");
    let out = fs::File::create(&log).unwrap();
    let mut child = Command::new(binary())
        .args(["run", "--config", "gateway.toml"])
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let said = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
        if let Some(status) = child.try_wait().unwrap() {
            let said = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
            return Ok((status.code().unwrap_or(-1), said));
        }
        if said.contains("is ready") || Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(said);
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}
