//! A directory that is gone when its owner or the test process is gone.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::watchdog;

/// `/var/tmp` is a disk where `/tmp` may be memory: an fsync should cost what it costs. Both can be entered by the
/// account Postgres runs under, which a directory below the checkout may not be.
const PARENTS: [&str; 2] = ["/var/tmp", "/tmp"];

/// A temporary directory every account may enter.
#[derive(Debug)]
pub(crate) struct ScratchDir {
    path: PathBuf,
}

impl ScratchDir {
    /// Makes one whose name begins with `sluice-test-` and `kind`.
    pub(crate) fn new(kind: &str) -> Self {
        let parent = PARENTS.iter().find(|dir| Path::new(dir).is_dir()).expect("/var/tmp or /tmp is there");
        let path = tempfile::Builder::new()
            .prefix(&format!("sluice-test-{kind}-"))
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in(parent)
            .unwrap_or_else(|error| panic!("cannot make a directory in {parent}: {error}"))
            .keep();
        watchdog::guard_dir(&path);
        Self { path }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path below it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What cannot be removed now, the watchdog removes at the end.
        if std::fs::remove_dir_all(&self.path).is_ok() {
            watchdog::forget_dir(&self.path);
        }
    }
}
