//! The Python interpreter of the foreign peers, with pika, aiosmtpd and h2.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::services::{GuardedChild, Program, ScratchDir, log_tail};

const START_TIMEOUT: Duration = Duration::from_secs(30);
const PROBE_STEP: Duration = Duration::from_millis(20);

/// The interpreter `SLUICE_TEST_PYTHON` names, else the one of the environment that `scripts/test` makes.
///
/// # Panics
/// If there is none.
pub fn python() -> PathBuf {
    let named = std::env::var_os("SLUICE_TEST_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| repository().join("target/test-venv/bin/python"));
    assert!(
        python.is_file(),
        "no Python with the foreign peers at {}: run scripts/test, which makes it, or name one in SLUICE_TEST_PYTHON",
        python.display()
    );
    python
}

/// A program of `tests/peers`.
pub(crate) fn peer_program(name: &str) -> PathBuf {
    repository().join("tests/peers").join(name)
}

/// Starts a server of `tests/peers`, which prints its port when it listens.
///
/// # Panics
/// If Python is missing, or it does not listen within 30 seconds; the message has its log.
pub(crate) fn start_peer(name: &str, args: Vec<OsString>, dir: &ScratchDir) -> (GuardedChild, SocketAddr) {
    let args = std::iter::once(peer_program(name).into_os_string()).chain(args).collect();
    let log = dir.join("log");
    let program = Program::plain(python(), args, dir.path());
    let mut child = GuardedChild::start(&program, &log).expect("sh starts");
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if let Some(port) = text.lines().find_map(|line| line.strip_prefix("listening on ")?.parse().ok()) {
            return (child, SocketAddr::from(([127, 0, 0, 1], port)));
        }
        let ended = child.status();
        assert!(ended.is_none() && Instant::now() < deadline, "{name} does not listen:\n{}", log_tail(&log));
        std::thread::sleep(PROBE_STEP);
    }
}

/// What a server of `tests/peers` has noted in the file `journal` of `dir`, in the order it came.
///
/// # Panics
/// If a line cannot be read.
pub(crate) fn read_journal<T>(dir: &ScratchDir, entry: impl Fn(&str) -> Option<T>) -> Vec<T> {
    let text = std::fs::read_to_string(dir.join("journal")).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rsplit_once('\n').map(|(whole, _)| whole).unwrap_or_default();
    whole.lines().map(|line| entry(line).unwrap_or_else(|| panic!("bad journal line {line}"))).collect()
}

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the crate lies in crates/ of the repository").to_owned()
}
