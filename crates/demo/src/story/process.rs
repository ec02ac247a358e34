//! One gateway process: started, waited for, killed and started again.

use std::{
    fs::{File, OpenOptions},
    io,
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::command::Place;

/// Longest time until a gateway serves.
const START: Duration = Duration::from_secs(20);
/// Longest time that a gateway may take to drain.
const STOP: Duration = Duration::from_secs(15);
/// A gateway is asked this often whether it serves.
const PAUSE: Duration = Duration::from_millis(20);

/// A gateway process of the demonstration.
pub(crate) struct Process {
    place: Place,
    /// The folder of its member, as commands name it.
    folder: &'static str,
    operations: SocketAddr,
    child: Option<Child>,
}

/// Why a gateway does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// It cannot be started at all.
    #[error("cannot start the gateway of `{folder}`")]
    Start { folder: &'static str, source: io::Error },
    /// It ended while it was waited for.
    #[error("the gateway of `{folder}` ended with {status}; its last words: {words}")]
    Ended { folder: &'static str, status: ExitStatus, words: String },
    /// It runs, and does not serve.
    #[error("the gateway of `{folder}` does not serve after {} s; its last words: {words}", START.as_secs())]
    Slow { folder: &'static str, words: String },
}

impl Process {
    pub(crate) fn new(place: Place, folder: &'static str, operations: SocketAddr) -> Self {
        Process { place, folder, operations, child: None }
    }

    /// Starts the process and waits until it serves. Returns how long that took.
    pub(crate) async fn start(&mut self) -> Result<Duration, ProcessError> {
        let started = Instant::now();
        let child = self.spawn().map_err(|source| ProcessError::Start { folder: self.folder, source })?;
        let child = self.child.insert(child);
        loop {
            let ended = child.try_wait().map_err(|source| ProcessError::Start { folder: self.folder, source })?;
            if let Some(status) = ended {
                self.child = None;
                return Err(ProcessError::Ended { folder: self.folder, status, words: self.last_words() });
            }
            if serves(self.operations).await {
                return Ok(started.elapsed());
            }
            if started.elapsed() > START {
                return Err(ProcessError::Slow { folder: self.folder, words: self.last_words() });
            }
            sleep(PAUSE).await;
        }
    }

    /// The process's number, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Waits until the process ends by itself, and tells what it said last.
    pub(crate) async fn ended(&mut self) -> String {
        let Some(child) = self.child.as_mut() else { return std::future::pending().await };
        let status = child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("the gateway of `{}` ended ({status}); its last words: {}", self.folder, self.last_words())
    }

    /// Ends the process as a power cut would: SIGKILL, no chance to write anything.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        match self.child.take() {
            Some(mut child) => child.kill().await,
            None => Ok(()),
        }
    }

    /// Asks the process to drain and end, and kills it when it does not. Returns whether it ended by itself.
    pub(crate) async fn stop(&mut self) -> io::Result<bool> {
        let Some(mut child) = self.child.take() else { return Ok(true) };
        if let Some(id) = child.id() {
            Command::new("kill").arg("-TERM").arg(id.to_string()).stdin(Stdio::null()).status().await?;
        }
        if let Ok(status) = timeout(STOP, child.wait()).await {
            return Ok(status?.success());
        }
        child.kill().await?;
        Ok(false)
    }

    /// Processor time that the process has used; `None` where the system does not tell (only Linux does).
    pub(crate) fn processor_time(&self) -> Option<Duration> {
        /// Ticks a second in `/proc`, the same on every Linux. Source: `proc_pid_stat(5)`, `USER_HZ`.
        const TICKS: u64 = 100;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()?)).ok()?;
        // The name in brackets may hold anything; the numbers begin after it. `utime` and `stime` are fields 14 and 15.
        let numbers: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = numbers.get(11)?.parse::<u64>().ok()? + numbers.get(12)?.parse::<u64>().ok()?;
        Some(Duration::from_millis(ticks * 1000 / TICKS))
    }

    /// The file that holds what the process has said.
    pub(crate) fn words_file(&self) -> PathBuf {
        self.place.folder.join(self.folder).join("gateway.out")
    }

    fn spawn(&self) -> io::Result<Child> {
        let words = OpenOptions::new().create(true).append(true).open(self.words_file())?;
        Command::new(&self.place.binary)
            .args(["run", "--config", &format!("{}/gateway.toml", self.folder)])
            // It ends with the story, also where that is killed: else it would keep its log and its ports.
            .args(["--ends-with", &std::process::id().to_string()])
            .current_dir(&self.place.folder)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            // Ctrl-C is for the story, which then asks the gateways to end.
            .process_group(0)
            .stdout(File::try_clone(&words)?)
            .stderr(words)
            .kill_on_drop(true)
            .spawn()
    }

    fn last_words(&self) -> String {
        let said = std::fs::read_to_string(self.words_file()).unwrap_or_default();
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.iter().skip(lines.len().saturating_sub(3)).copied().collect::<Vec<_>>().join(" | ")
    }
}

/// Whether the operations port says that the gateway serves.
async fn serves(operations: SocketAddr) -> bool {
    timeout(Duration::from_secs(1), health(operations)).await.is_ok_and(|answer| answer.is_ok_and(|serving| serving))
}

async fn health(operations: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(operations).await?;
    let request = format!("GET /health HTTP/1.1\r\nhost: {operations}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    Ok(answer == *b"HTTP/1.1 200")
}
