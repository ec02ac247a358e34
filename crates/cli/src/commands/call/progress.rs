//! How far a stream has come, for whoever waits at a terminal.

use std::{
    fmt::Write,
    io::{self, IsTerminal as _},
    time::Duration,
};

use contract::Shape;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// A line that counts rows. Silent unless standard error is a terminal and the rows go elsewhere.
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(super) fn start(shape: Shape) -> Self {
        let seen = io::stderr().is_terminal() && !io::stdout().is_terminal();
        if shape == Shape::Unary || !seen {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} rows, {rate}/s, {elapsed}") {
            let rate = |state: &ProgressState, out: &mut dyn Write| {
                // A line that cannot be drawn is drawn anew with the next row.
                let _ = write!(out, "{:.0}", state.per_sec());
            };
            bar.set_style(style.with_key("rate", rate));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(Some(bar))
    }

    pub(super) fn rows(&self, count: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(count);
        }
    }

    pub(super) fn end(self) {
        if let Some(bar) = self.0 {
            bar.finish();
        }
    }
}
