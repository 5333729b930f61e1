//! How far a command has come in a file: a bar for a person, a line now and then for a log.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::output::{is_watched, note};

/// Pause between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// The bar of a file, whose size is known, and that of a pipe.
const FILE_STYLE: &str = "{bar:32} {bytes}/{total_bytes}  {msg}  {eta} left";
const PIPE_STYLE: &str = "{spinner} {bytes}  {msg}  {elapsed}";

/// Progress in a file or pipe.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    total_bytes: Option<u64>,
    next_line: Instant,
}

impl Progress {
    /// Begins; `total_bytes` is the size of the file, if it is one.
    pub(crate) fn new(total_bytes: Option<u64>) -> Self {
        let bar = is_watched().then(|| {
            let bar = total_bytes.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let style = if total_bytes.is_some() { FILE_STYLE } else { PIPE_STYLE };
            match ProgressStyle::with_template(style) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self { bar, total_bytes, next_line: Instant::now() + LINE_EVERY }
    }

    /// So much of the file was read, and `what` came of it.
    pub(crate) fn at(&mut self, bytes: u64, what: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            bar.set_message(what());
        } else if Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            match self.total_bytes {
                Some(total) if total > 0 => {
                    note(format_args!("{}%: {}", bytes.saturating_mul(100) / total, what()));
                }
                _ => note(what()),
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Writes a line to stderr without tearing the bar.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
