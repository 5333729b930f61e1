//! A child process the watchdog knows of before its program starts.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::account::Account;
use super::process_tree;
use super::watchdog::{self, Ending};

/// How often a child that should end is looked at.
const WAIT_STEP: Duration = Duration::from_millis(10);

/// The shell waits for one line. If the test process dies before it wrote that, the shell ends and the program
/// never starts: there is no instant at which a program runs and the watchdog does not know it.
const GATE: &str = r#"read -r go && exec "$@" </dev/null"#;

/// What to run. The environment is exactly `env`.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) dir: PathBuf,
    pub(crate) account: Option<Account>,
    pub(crate) ending: Ending,
}

impl Program {
    /// `path` with `args` and our PATH, in `dir`, as ourselves, killed at the end.
    pub(crate) fn plain(path: PathBuf, args: Vec<OsString>, dir: &Path) -> Self {
        let path_variable = std::env::var_os("PATH").unwrap_or_default();
        let env = vec![("PATH".into(), path_variable)];
        Self { path, args, env, dir: dir.to_owned(), account: None, ending: Ending::Kill }
    }
}

/// A running program in a process group of its own; on drop it is killed with everything below it.
#[derive(Debug)]
pub(crate) struct GuardedChild {
    child: Child,
    ended: Option<ExitStatus>,
}

impl GuardedChild {
    /// Starts `program`; its output and errors are appended to the file `log`.
    pub(crate) fn start(program: &Program, log: &Path) -> io::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let mut shell = Command::new("sh");
        shell
            .args(["-c", GATE, "sh"])
            .arg(&program.path)
            .args(&program.args)
            .env_clear()
            .envs(program.env.iter().cloned())
            .current_dir(&program.dir)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output);
        if let Some(account) = &program.account {
            account.apply(&mut shell);
        }
        let mut guarded = Self { child: shell.spawn()?, ended: None };
        watchdog::guard_tree(guarded.child.id(), program.ending);
        if let Some(mut gate) = guarded.child.stdin.take() {
            gate.write_all(b"go\n")?;
        }
        Ok(guarded)
    }

    /// The process id, as long as it runs.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("our own child can be waited for");
            if self.ended.is_some() {
                watchdog::forget_tree(self.child.id());
            }
        }
        self.ended
    }

    /// Waits for the end; `None` if it did not come within `timeout`.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            let status = self.status();
            if status.is_some() || Instant::now() >= deadline {
                return status;
            }
            std::thread::sleep(WAIT_STEP);
        }
    }

    /// Sends `signal` to the program alone.
    pub(crate) fn signal(&mut self, signal: &str) {
        if self.status().is_none() {
            process_tree::signal(signal, &[self.pid()]);
        }
    }

    /// Sends `signal` to the program and everything below it.
    pub(crate) fn signal_tree(&mut self, signal: &str) {
        if self.status().is_none() {
            process_tree::signal(signal, &process_tree::tree(self.pid()));
        }
    }

    /// SIGKILL to the program and everything below it; returns when the program is gone.
    pub(crate) fn kill9(&mut self) {
        if self.status().is_none() {
            process_tree::kill_tree(self.pid());
            self.wait(Duration::from_secs(10)).expect("a killed process ends");
        }
    }
}

impl Drop for GuardedChild {
    fn drop(&mut self) {
        self.kill9();
    }
}
