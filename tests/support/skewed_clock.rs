//! A wall clock that is wrong, for one process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The library to preload; `SLUICE_CLOCK_SKEW` says by how many seconds the clock is ahead.
pub(crate) fn skewed_clock() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skewed_clock.so");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/skewed_clock.c"))
            .arg("-ldl")
            .status()
            .unwrap();
        assert!(compiled.success(), "the wrong clock could not be compiled");
        library
    })
}
