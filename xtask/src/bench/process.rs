//! A contender's processes: started, watched through `/proc`, and ended whatever happens.
//!
//! Each is told by the kernel to die when this program does, and an interrupt ends those that are running first.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take until it listens, and until it ends when it is asked to.
const PATIENCE: Duration = Duration::from_secs(15);

/// As [`Process::stand_back`], for the thread that calls it.
///
/// # Errors
///
/// When the system does not allow it.
pub(crate) fn thread_stands_back() -> Result<()> {
    let thread = fs::read_link("/proc/thread-self").context("cannot read /proc/thread-self")?;
    let id = thread.file_name().and_then(|id| id.to_str()).context("/proc/thread-self names no thread")?;
    stand_back(&["--pid", "0", id])
}

fn stand_back(arguments: &[&str]) -> Result<()> {
    let status =
        Command::new("chrt").arg("--idle").args(arguments).status().context("cannot run `chrt`, of util-linux")?;
    if !status.success() {
        bail!("`chrt --idle` ended with {status}");
    }
    Ok(())
}

/// Processes that an interrupt must not leave behind.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// One process, with the children that it has when it is measured first: a master that listens may not have its
/// workers yet.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    family: OnceLock<Vec<Pid>>,
}

impl Process {
    /// Starts `command`; what it prints goes to the file `log`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(crate) fn start(command: &Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let (stdout, stderr) = (Stdio::from(file.try_clone()?), Stdio::from(file));
        let child = bound_to_this(command).stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn();
        Self::adopt(child, command, log)
    }

    /// Starts `command`, whose first line on standard output is the address where it listens.
    ///
    /// # Errors
    ///
    /// When it cannot be started or says something else.
    pub(crate) fn start_and_ask(command: &Command, log: PathBuf) -> Result<(Self, SocketAddr)> {
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let child = bound_to_this(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file).spawn();
        let mut process = Self::adopt(child, command, log)?;
        let mut line = String::new();
        if let Some(stdout) = process.child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address =
            line.trim().parse().with_context(|| format!("it printed `{}` instead of an address", line.trim()));
        let address = address.with_context(|| process.said())?;
        Ok((process, address))
    }

    fn adopt(child: std::io::Result<Child>, command: &Command, log: PathBuf) -> Result<Self> {
        let child = child.with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
        let process = Self { child, log, family: OnceLock::new() };
        running().push(process.pid()?);
        Ok(process)
    }

    /// Waits until something listens at `address`.
    ///
    /// # Errors
    ///
    /// When the process ends, or nothing listens in time; the error carries what it said.
    pub(crate) fn wait_for(&mut self, address: SocketAddr) -> Result<()> {
        let begun = Instant::now();
        while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}: {}", self.said());
            }
            if begun.elapsed() > PATIENCE {
                bail!("nothing listens at {address} after {} s: {}", PATIENCE.as_secs(), self.said());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The CPU time that the process and its children have used, all threads, user and system. In steps of 10 ms.
    ///
    /// # Errors
    ///
    /// When one of them is gone.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut all = Duration::ZERO;
        let now = self.members()?;
        for pid in self.family.get_or_init(|| now) {
            all += cpu_of(&pid.as_raw_nonzero().to_string()).with_context(|| self.said())?;
        }
        Ok(all)
    }

    /// Lets the process have a core only while nobody else wants it: in reality it runs on a machine of its own.
    ///
    /// # Errors
    ///
    /// When the system does not allow it.
    pub(crate) fn stand_back(&self) -> Result<()> {
        stand_back(&["--all-tasks", "--pid", "0", &self.pid()?.as_raw_nonzero().to_string()])
    }

    /// Resident memory of the process and its children now, and the sum of their largest, in bytes.
    ///
    /// # Errors
    ///
    /// When one of them is gone.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let mut all = Memory::default();
        for pid in self.members()? {
            let path = format!("/proc/{}/status", pid.as_raw_nonzero());
            let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}: {}", self.said()))?;
            all.now += field(&status, "VmRSS:")?;
            all.peak += field(&status, "VmHWM:")?;
        }
        Ok(all)
    }

    /// The last lines that the process printed.
    fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(8)..).unwrap_or_default();
        format!(
            "the end of {}: {}",
            self.log.display(),
            if last.is_empty() { "(empty)".to_owned() } else { last.join("\n") }
        )
    }

    /// The process and its children.
    fn members(&self) -> Result<Vec<Pid>> {
        match self.family.get() {
            Some(known) => Ok(known.clone()),
            None => family(self.pid()?),
        }
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process without an id")
    }
}

impl Drop for Process {
    /// Asks the process to end, waits, and ends it and its children by force if it does not.
    fn drop(&mut self) {
        let Ok(pid) = self.pid() else { return };
        drop(self.child.stdin.take());
        // It may be gone already, which is what is wanted.
        let _ = kill_process(pid, Signal::TERM);
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            eprintln!("warning: a process did not end when asked to: {}", self.said());
            for member in self.members().unwrap_or_default() {
                let _ = kill_process(member, Signal::KILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        running().retain(|running| *running != pid);
    }
}

/// Memory in bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

/// The CPU time of this very process.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub(crate) fn own_cpu() -> Result<Duration> {
    cpu_of("self")
}

/// On an interrupt, ends the processes that are running, removes `folder`, and ends this process.
///
/// # Errors
///
/// When signals cannot be listened for.
pub(crate) fn end_on_interrupt(folder: PathBuf) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        for pid in running().iter() {
            for member in family(*pid).unwrap_or_default() {
                let _ = kill_process(member, Signal::KILL);
            }
        }
        // What cannot be removed is in nobody's way.
        let _ = fs::remove_dir_all(&folder);
        eprintln!("interrupted");
        std::process::exit(130);
    })?;
    Ok(())
}

/// As many free ports on loopback, all different.
///
/// # Errors
///
/// When there are none.
pub(crate) fn free_ports<const N: usize>() -> Result<[SocketAddr; N]> {
    // All are held until all are known.
    let held: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>().context("no free port")?;
    let addresses: Vec<SocketAddr> = held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    addresses.try_into().map_err(|_| anyhow::anyhow!("no free port"))
}

/// `command`, to be ended by the kernel when the thread that starts it is gone.
///
/// By a signal that can be caught: an nginx that is killed leaves its workers behind.
fn bound_to_this(command: &Command) -> Command {
    let mut bound = if crate::step::present("setpriv") {
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program());
        bound
    } else {
        Command::new(command.get_program())
    };
    bound.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    bound
}

/// `pid` and its children.
fn family(pid: Pid) -> Result<Vec<Pid>> {
    let mut family = vec![pid];
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(each) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // Processes come and go while this looks.
        let Ok(fields) = stat(&Path::new("/proc").join(&name)) else {
            continue;
        };
        if fields.get(1).is_some_and(|parent| *parent == pid.as_raw_nonzero().to_string()) {
            family.push(each);
        }
    }
    Ok(family)
}

fn cpu_of(process: &str) -> Result<Duration> {
    let fields = stat(&Path::new("/proc").join(process))?;
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).context("no CPU time in /proc");
    let ticks = ticks(11)? + ticks(12)?;
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// The fields of `stat` from the third, the state, on: the second, the name, may hold anything.
///
/// Source: `proc_pid_stat(5)`.
fn stat(process: &Path) -> Result<Vec<String>> {
    let path = process.join("stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (_, fields) = text.rsplit_once(") ").with_context(|| format!("cannot understand {}", path.display()))?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

/// A field of `status` in bytes.
fn field(status: &str, name: &str) -> Result<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let kibibytes: u64 = value.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}

fn running() -> std::sync::MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
