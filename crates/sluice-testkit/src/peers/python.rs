//! The Python interpreter of the foreign peers, with pika and aiosmtpd.

use std::path::{Path, PathBuf};

/// The interpreter `SLUICE_TEST_PYTHON` names, else the one of the environment that `scripts/test` makes.
///
/// # Panics
/// If there is none.
pub fn python() -> PathBuf {
    let named = std::env::var_os("SLUICE_TEST_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| repository().join("target/test-venv/bin/python"));
    assert!(
        python.is_file(),
        "no Python with pika and aiosmtpd at {}: run scripts/test, which makes it, or name one in SLUICE_TEST_PYTHON",
        python.display()
    );
    python
}

/// A program of `tests/peers`.
pub(crate) fn peer_program(name: &str) -> PathBuf {
    repository().join("tests/peers").join(name)
}

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the crate lies in crates/ of the repository").to_owned()
}
