//! What the sandbox has taken: one JSON line a message, never an address.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// One message taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The job.
    pub job_id: String,
    /// Its attempt.
    pub attempt: u32,
    /// The recipient's domain.
    pub recipient_domain: String,
    /// When, in microseconds since the Unix epoch.
    pub at_us: i64,
}

/// A journal that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read.
    #[error("the journal cannot be read")]
    Read(#[source] io::Error),
    /// A line is not an entry.
    #[error("line {line} of the journal is not an entry")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

/// A file that is only appended to. Several processes may share it: each line is one `write` with `O_APPEND`.
///
/// Nothing is buffered, so a process that is killed loses no line that it has answered for. There is no `fsync`: a
/// machine that loses power may lose lines.
#[derive(Debug)]
pub(super) struct Journal {
    file: Mutex<File>,
}

impl Journal {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Appends one line. It goes to the page cache, which takes microseconds: not worth a thread of its own.
    pub(super) fn append(&self, entry: &JournalEntry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

/// Reads a journal whole. A last line without its end was never answered for and is left out.
///
/// # Errors
/// When the file cannot be read or a whole line is not an entry.
pub fn read_journal(path: &Path) -> Result<Vec<JournalEntry>, JournalError> {
    let text = std::fs::read(path).map_err(JournalError::Read)?;
    text.split_inclusive(|&b| b == b'\n')
        .filter_map(|line| line.strip_suffix(b"\n"))
        .enumerate()
        .map(|(at, line)| {
            serde_json::from_slice(line).map_err(|source| JournalError::Line { line: at + 1, source })
        })
        .collect()
}

/// Whether a line of the journal is about the job. Reads line by line: a journal may be large.
pub(super) fn has_job(path: &Path, id: &str) -> io::Result<bool> {
    for line in BufReader::new(File::open(path)?).lines() {
        let entry = serde_json::from_str::<JournalEntry>(&line?);
        if entry.is_ok_and(|entry| entry.job_id == id) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_reads_back_but_for_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let entry = |attempt| JournalEntry {
            job_id: "job-1".to_owned(),
            attempt,
            recipient_domain: "gmail.com".to_owned(),
            at_us: 17,
        };
        let journal = Journal::open(&path).unwrap();
        journal.append(&entry(1)).unwrap();
        Journal::open(&path).unwrap().append(&entry(2)).unwrap();
        assert_eq!(read_journal(&path).unwrap(), [entry(1), entry(2)]);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"job_id\":\"jo").unwrap();
        assert_eq!(read_journal(&path).unwrap(), [entry(1), entry(2)]);
        std::fs::write(&path, "{}\n").unwrap();
        assert!(matches!(read_journal(&path), Err(JournalError::Line { line: 1, .. })));
    }
}
