//! Runs this very binary, as a reader of the story would: what is printed is what ran.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// Longest time that one command of the story may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where commands run: the folder of the three members, and the binary.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) binary: PathBuf,
}

/// One command line of `drawbridge`.
#[derive(Clone, Debug)]
pub(crate) struct CommandLine {
    arguments: Vec<String>,
}

/// What a command did.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub(crate) succeeded: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Ran {
    /// The exchange that a call says it was.
    pub(crate) fn exchange(&self) -> String {
        exchange_in(&self.stderr)
    }
}

/// The id behind the word `exchange`; empty when there is none.
pub(crate) fn exchange_in(said: &str) -> String {
    let after = said.split_once("exchange ").map_or("", |(_, after)| after);
    after.chars().take_while(|c| c.is_ascii_hexdigit() || *c == '-').collect()
}

/// A command that is still running, and whose lines are read one at a time.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl CommandLine {
    pub(crate) fn new<S: Into<String>>(arguments: impl IntoIterator<Item = S>) -> Self {
        CommandLine { arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// Adds arguments.
    pub(crate) fn with<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or takes longer than a minute.
    pub(crate) async fn run(&self, place: &Place) -> io::Result<Ran> {
        let started = Instant::now();
        let mut child = self.prepared(place).spawn()?;
        let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let ended = async {
            let (said, complained, status) =
                tokio::join!(read(&mut out, &mut stdout), read(&mut err, &mut stderr), child.wait());
            said.and(complained).and(status)
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        match ended {
            Ok(status) => Ok(Ran { succeeded: status?.success(), stdout, stderr, took: started.elapsed() }),
            Err(_) => Err(self.too_slow(&child, &stdout, &stderr)),
        }
    }

    /// Starts the command; its output is read by the line, and not read means that it has to wait.
    pub(crate) fn start(&self, place: &Place) -> io::Result<Running> {
        let mut child = self.prepared(place).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("the command has no output"))?;
        Ok(Running { child, lines: BufReader::new(stdout).lines() })
    }

    fn prepared(&self, place: &Place) -> Command {
        let mut command = Command::new(&place.binary);
        command
            .args(&self.arguments)
            .current_dir(&place.folder)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Tells as much as there is: what did not end in a minute seldom does so twice.
    fn too_slow(&self, child: &Child, stdout: &str, stderr: &str) -> io::Error {
        let state = child.id().and_then(|id| std::fs::read_to_string(format!("/proc/{id}/stat")).ok());
        let state = state.unwrap_or_else(|| "unknown".to_owned());
        let what = format!(
            "`{self}` took longer than {} s; its state is `{}`; it wrote {stdout:?} and complained {stderr:?}",
            PATIENCE.as_secs(),
            state.trim_end(),
        );
        io::Error::new(io::ErrorKind::TimedOut, what)
    }
}

/// Reads a pipe to its end; what has come is in `bytes` even where the end never does.
async fn read(pipe: &mut Option<impl AsyncRead + Unpin>, bytes: &mut Vec<u8>) -> io::Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    while pipe.read_buf(bytes).await? > 0 {}
    Ok(())
}

impl fmt::Display for CommandLine {
    /// As a shell reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("drawbridge")?;
        for argument in &self.arguments {
            write!(f, " {}", quoted(argument))?;
        }
        Ok(())
    }
}

impl Running {
    /// The next line; `None` at the end.
    pub(crate) async fn line(&mut self) -> io::Result<Option<String>> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line());
        line.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no line came within a minute"))?
    }

    /// Reads what is left, then waits for the end: how many lines there were, whether it succeeded, and what it complained of.
    pub(crate) async fn finish(mut self) -> io::Result<(u64, ExitStatus, String)> {
        let mut lines = 0;
        while self.line().await?.is_some() {
            lines += 1;
        }
        let mut stderr = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).await?;
            stderr = String::from_utf8_lossy(&bytes).into_owned();
        }
        let status = tokio::time::timeout(PATIENCE, self.child.wait());
        let status = status.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the command did not end"))??;
        Ok((lines, status, stderr))
    }
}

/// `text` as one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// `path` as a command run in `folder` names it.
pub(crate) fn relative(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_written_as_a_shell_reads_it() {
        let command = CommandLine::new(["call", "trust.example", "@requests/patient.json"]).with([
            "--actor",
            "sw-1042;role=social worker",
            "--case",
            "it's",
            "",
        ]);
        assert_eq!(
            command.to_string(),
            r"drawbridge call trust.example @requests/patient.json --actor 'sw-1042;role=social worker' --case 'it'\''s' ''"
        );
    }

    #[test]
    fn the_exchange_is_read_out_of_what_a_call_says() {
        let id = "01a20b14-1c82-71ba-9e97-43e22cbecfc6";
        assert_eq!(exchange_in(&format!("NO_AGREEMENT (PERMISSION_DENIED, exchange {id}):\n")), id);
        assert_eq!(exchange_in(&format!("exchange {id}: answered")), id);
        assert_eq!(exchange_in("error: cannot ask"), "");
    }

    #[tokio::test]
    async fn a_command_that_fails_says_so_with_its_own_words() {
        let place = Place { folder: std::env::temp_dir(), binary: "/bin/sh".into() };
        let ran = CommandLine::new(["-c", "echo out; echo err >&2; exit 3"]).run(&place).await.unwrap();
        assert_eq!((ran.succeeded, ran.stdout.as_str(), ran.stderr.as_str()), (false, "out\n", "err\n"));
    }

    #[tokio::test]
    async fn a_running_command_is_read_line_by_line() {
        let place = Place { folder: std::env::temp_dir(), binary: "/bin/sh".into() };
        let mut running =
            CommandLine::new(["-c", "echo one; echo two; echo three; echo no >&2; exit 1"]).start(&place).unwrap();
        assert_eq!(running.line().await.unwrap().as_deref(), Some("one"));
        let (rest, status, stderr) = running.finish().await.unwrap();
        assert_eq!((rest, status.success(), stderr.as_str()), (2, false, "no\n"));
    }
}
