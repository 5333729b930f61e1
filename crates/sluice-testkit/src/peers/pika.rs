//! Publishing jobs through pika, a client that shares no code with ours.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::python::{peer_program, python};

/// What the broker said to the published messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PikaSummary {
    /// Confirmed and routed to a queue.
    pub confirmed: u64,
    /// Confirmed and returned: no queue was bound.
    pub returned: u64,
    /// Refused by the broker.
    pub nacked: u64,
}

/// Publishes the file `jobs` to the exchange `sluice.jobs` of the vhost `url`, one message a line, with confirms and
/// `mandatory`. A line is `{"routing_key": .., "body": {..}}`; instead of `body` it may have `raw` (text) or `raw_b64`
/// (any bytes), and beside it `properties`. See `tests/peers/publish.py`.
///
/// # Panics
/// If Python is missing, the file has a bad line, or the broker cannot be reached.
pub fn publish_with_pika(url: &str, jobs: &Path) -> PikaSummary {
    let output = Command::new(python())
        .arg(peer_program("publish.py"))
        .arg(url)
        .arg(jobs)
        .output()
        .unwrap_or_else(|error| panic!("cannot run Python: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "publish.py failed:\n{complaint}");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("publish.py prints JSON");
    let count = |name: &str| {
        summary.get(name).and_then(Value::as_u64).unwrap_or_else(|| panic!("publish.py does not tell {name}"))
    };
    PikaSummary { confirmed: count("confirmed"), returned: count("returned"), nacked: count("nacked") }
}

/// As [`publish_with_pika`], with the lines given as JSON.
///
/// # Panics
/// As [`publish_with_pika`].
pub fn publish_jobs_with_pika<'a>(url: &str, lines: impl IntoIterator<Item = &'a Value>) -> PikaSummary {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    for line in lines {
        writeln!(file, "{line}").expect("a temporary file can be written");
    }
    publish_with_pika(url, file.path())
}
