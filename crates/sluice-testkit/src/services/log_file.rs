//! Reading what a child process wrote.

use std::path::Path;

/// Enough to hold the reason of a failed start.
const TAIL_LINES: usize = 40;

/// The whole file, empty if it is not there.
pub(crate) fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The last lines of the file, for a panic message.
pub(crate) fn tail(path: &Path) -> String {
    let text = read(path);
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)).copied().collect::<Vec<_>>().join("\n")
}
