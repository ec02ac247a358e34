//! The application log: human or JSON, to standard error, written behind the exchanges that it tells of.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{LogConfig, LogFormat};

/// Lines wait at most so long.
const INTERVAL: Duration = Duration::from_millis(100);
/// Beyond so many waiting bytes a writer writes itself, so that memory stays bounded.
const MAX_WAITING: usize = 1024 * 1024;

/// What libraries say of their own running, below which nobody asked for it. The level that is set comes after it, and may say otherwise.
const LIBRARIES: &str = "opentelemetry_sdk=warn";

fn filter(level: &str) -> Result<EnvFilter, String> {
    let wrong = |error| format!("`log.level`: `{level}` is not a filter: {error}");
    EnvFilter::try_new(level).map_err(wrong)?;
    EnvFilter::try_new(format!("{LIBRARIES},{level}")).map_err(wrong)
}

/// Starts the application log. Dropping the guard writes what waits.
///
/// # Errors
///
/// When the level is not a filter, or a log was started before.
pub fn start(config: &LogConfig) -> Result<Guard, String> {
    let filter = filter(config.level.as_deref().unwrap_or("info"))?;
    let lines = Lines::default();
    let guard = Guard(lines.clone());
    let flusher = lines.clone();
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || flusher.run())
        .map_err(|error| format!("cannot start the log's thread: {error}"))?;
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
    started.map_err(|error| error.to_string())?;
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
        assert_eq!(of("opentelemetry_sdk=debug"), "opentelemetry_sdk=debug");
        assert!(filter("a=loud").unwrap_err().contains("`a=loud` is not a filter"));
    }
}
