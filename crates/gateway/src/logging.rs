//! The application log: human or JSON, to standard error, written behind the exchanges that it tells of.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use problem::{Problem, nearest};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{ConfigFile, LogFormat};

/// Lines wait at most so long.
const INTERVAL: Duration = Duration::from_millis(100);
/// Beyond so many waiting bytes a writer writes itself, so that memory stays bounded.
const MAX_WAITING: usize = 1024 * 1024;

/// What libraries say of their own running, below which nobody asked for it. The level that is set comes after it, and may say otherwise.
const LIBRARIES: &str = "opentelemetry_sdk=warn";

/// Levels by themselves. A word that is none of them would be taken for the name of a program's part, and silence all others.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// The level of what a filter says nothing of.
const LEVEL: &str = "info";

/// Reads a level, or directives `part=level` with commas between them and at most one level for all other parts.
fn filter(level: &str) -> Result<EnvFilter, Wrong> {
    let mut rest = LEVEL;
    for directive in level.split(',').map(str::trim) {
        match directive.rsplit_once('=') {
            None if is_level(directive) => rest = "",
            Some((part, level)) if is_level(level) && !part.trim().is_empty() => {}
            None | Some(_) => return Err(Wrong::of(directive)),
        }
    }
    let rest = if rest.is_empty() { String::new() } else { format!("{rest},") };
    EnvFilter::try_new(format!("{LIBRARIES},{rest}{level}")).map_err(|_| Wrong::of(level))
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word.trim()))
}

/// What of `log.level` is none, and what it may have been meant to be.
#[derive(Debug)]
struct Wrong {
    directive: String,
    meant: Option<&'static str>,
}

impl Wrong {
    fn of(directive: &str) -> Self {
        let level = directive.rsplit('=').next().unwrap_or(directive).trim().to_ascii_lowercase();
        Self { directive: directive.to_owned(), meant: nearest(&level, LEVELS) }
    }
}

/// Returns what is wrong with the level in a configuration.
#[must_use]
pub fn problem(file: &ConfigFile) -> Option<Problem> {
    let Wrong { directive, meant } = filter(file.config.log.level.as_deref()?).err()?;
    let mut help = "one of `off`, `error`, `warn`, `info`, `debug` and `trace`, or that and levels of parts, as in `info,drawbridge_link=debug`".to_owned();
    if let Some(meant) = meant {
        help = format!("{help}; did you mean `{meant}`?");
    }
    Some(file.problem("log.level", format!("`{directive}` is not a level of the log")).help(help))
}

/// Starts the application log. Dropping the guard writes what waits.
///
/// # Errors
///
/// When the level is none, or a log was started before.
pub fn start(file: &ConfigFile) -> Result<Guard, Problem> {
    let config = &file.config.log;
    let failed = |cause: String| Problem::new(file.toml.name(), "cannot start the application log").cause(cause);
    let filter = match problem(file) {
        Some(problem) => return Err(problem),
        None => filter(config.level.as_deref().unwrap_or(LEVEL)).map_err(|wrong| failed(wrong.directive))?,
    };
    let lines = Lines::default();
    let guard = Guard(lines.clone());
    let flusher = lines.clone();
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || flusher.run())
        .map_err(|error| failed(error.to_string()))?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = match config.format {
        LogFormat::Human => {
            let colour = io::IsTerminal::is_terminal(&io::stderr());
            registry.with(tracing_subscriber::fmt::layer().with_ansi(colour).with_writer(lines)).try_init()
        }
        LogFormat::Json => {
            // The schema of a line is `deploy/log.schema.json`.
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false);
            registry.with(layer.with_writer(lines)).try_init()
        }
    };
    started.map_err(|error| failed(error.to_string()))?;
    Ok(guard)
}

/// Writes what someone should look at, where there is no person to tell it to.
pub fn warning(what: &str) {
    tracing::warn!(event = "warning", what, "someone should look at this");
}

/// Writes what waits when dropped.
pub struct Guard(Lines);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Lines that wait to be written.
#[derive(Clone, Default)]
pub struct Lines {
    shared: Arc<(Mutex<Vec<u8>>, Condvar)>,
}

impl Lines {
    fn run(&self) {
        let (waiting, some) = &*self.shared;
        loop {
            {
                let guard = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let guard = some.wait_while(guard, |w| w.is_empty());
                drop(guard);
            }
            self.flush();
            std::thread::sleep(INTERVAL);
        }
    }

    fn flush(&self) {
        let lines = std::mem::take(&mut *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner));
        // There is nowhere to say that standard error is gone.
        let _ = io::stderr().write_all(&lines);
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (waiting, some) = &*self.shared;
        let full = {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let first = waiting.is_empty();
            waiting.extend_from_slice(line);
            if first {
                some.notify_one();
            }
            waiting.len() > MAX_WAITING
        };
        if full {
            Lines::flush(self);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_say_little_unless_they_are_asked() {
        let of = |level: &str| filter(level).unwrap().to_string();
        assert_eq!(of("info"), "opentelemetry_sdk=warn,info");
        assert_eq!(of("debug,opentelemetry_sdk=debug"), "opentelemetry_sdk=debug,debug");
        // What a filter does not name is not silent.
        assert_eq!(of("drawbridge_link=trace"), "opentelemetry_sdk=warn,drawbridge_link=trace,info");
    }

    #[test]
    fn what_is_no_level_is_told() {
        for good in ["info", "WARN", "off", "info,drawbridge_link=debug", "drawbridge_link=debug, warn"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for (wrong, meant) in [
            ("inof", Some("info")),
            ("info,drawbridge_link=debgu", Some("debug")),
            ("", None),
            ("info,", None),
            ("=warn", Some("warn")),
        ] {
            assert_eq!(filter(wrong).unwrap_err().meant, meant, "{wrong}");
        }
    }
}
