//! What commands say: facts on stdout, as tables for people or JSON for machines; notes on stderr.
//!
//! A reader that has gone away (`sluice dead list | head`) is no error: what it did not want to read is not written.

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::Context;
use serde::Serialize;

/// Space between two columns.
const GAP: &str = "  ";

/// Form of the facts on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Text for people.
    #[default]
    Text,
    /// One JSON value for machines.
    Json,
}

/// `--format`, for every command that prints facts.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct FormatArg {
    /// Print the facts for people, or as one JSON value for machines
    #[arg(long, value_enum, default_value_t, value_name = "text|json", hide_possible_values = true)]
    pub(crate) format: Format,
}

/// Writes bytes to stdout as they are.
pub(crate) fn raw(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

/// Writes one line to stdout.
pub(crate) fn line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    raw(format!("{text}\n").as_bytes())
}

/// Writes one JSON value to stdout, indented.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(value).context("cannot write JSON")?;
    text.push(b'\n');
    raw(&text)
}

/// Writes one line to stderr; there is nobody to tell if that fails.
pub(crate) fn note(text: impl std::fmt::Display) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Whether a person sees what goes to stderr, so that a progress bar makes sense.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Asks a person on the terminal; anything but `y` or `yes` is a no.
pub(crate) fn confirm(question: &str) -> anyhow::Result<bool> {
    let mut err = std::io::stderr().lock();
    write!(err, "{question} [y/N] ").and_then(|()| err.flush()).context("cannot ask")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Text without control characters, so that a stored text cannot steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A table with aligned columns; a column of numbers is aligned to the right.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    columns: usize,
    has_head: bool,
}

impl Table {
    /// A table with a head.
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_uppercase).to_vec()], columns: N, has_head: true }
    }

    /// A table of names and values, without a head.
    pub(crate) const fn of_facts() -> Self {
        Self { rows: Vec::new(), columns: 2, has_head: false }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    /// Adds a name and its value, unless there is none.
    pub(crate) fn fact(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.row([name.to_owned(), value.to_string()]);
        }
    }

    /// Writes it to stdout.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        raw(self.to_string().as_bytes())
    }

    fn cells(&self, column: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(move |row| row.get(column).map(String::as_str))
    }

    fn is_numeric(&self, column: usize) -> bool {
        let is_number = |cell: &str| cell.is_empty() || cell.parse::<f64>().is_ok();
        self.has_head && self.cells(column).skip(1).all(is_number)
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |column| self.cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let form: Vec<(usize, bool)> =
            (0..self.columns).map(|column| (width(column), self.is_numeric(column))).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, (width, numeric)) in row.iter().zip(&form) {
                if !line.is_empty() {
                    line.push_str(GAP);
                }
                let padded = if *numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                line.push_str(&padded);
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right_and_words_to_the_left() {
        let mut table = Table::new(["state", "jobs"]);
        table.row(["accepted".to_owned(), "1200".to_owned()]);
        table.row(["sent".to_owned(), "7".to_owned()]);
        assert_eq!(table.to_string(), "STATE     JOBS\naccepted  1200\nsent         7\n");
    }

    #[test]
    fn a_stored_text_cannot_steer_the_terminal() {
        let mut table = Table::of_facts();
        table.fact("detail", Some("a\u{1b}[2Jb"));
        table.fact("esp", None::<String>);
        assert_eq!(table.to_string(), "detail  a\u{fffd}[2Jb\n");
    }
}
