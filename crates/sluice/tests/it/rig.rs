//! A folder with a store of its own, and the binary run in it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder in which commands run.
pub(crate) struct Rig {
    dir: TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The store that the commands make.
    pub(crate) fn store(&self) -> PathBuf {
        self.path().join("sluice.db")
    }

    /// Writes a file into the folder.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), bytes).unwrap();
    }

    /// The binary with arguments, without this process's configuration.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SLUICE") {
                command.env_remove(name);
            }
        }
        command.env_remove("COLUMNS").env("NO_COLOR", "1");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.command(args).output().unwrap().into()
    }

    /// Runs with `input` on stdin.
    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Said {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        // A command that ends before it has read everything is what some tests are about.
        drop(child.stdin.take().unwrap().write_all(input));
        child.wait_with_output().unwrap().into()
    }

    /// Runs a command that must succeed and print one JSON value.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let said = self.run(&[args, &["--format", "json"]].concat());
        assert_eq!(said.code, 0, "{said:?}");
        said.json()
    }

    /// Starts a command that goes on until it is told to stop.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let log = std::fs::File::create(self.path().join("log")).unwrap();
        let mut command = self.command(args);
        command.stdout(Stdio::null()).stderr(log).env("SLUICE__HTTP__LISTEN", "off");
        Running { child: command.spawn().unwrap() }
    }
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A command that goes on; killed when dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Sends SIGTERM and waits; answers the exit code.
    pub(crate) fn terminate(mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A job for `to`, as one line of JSON.
pub(crate) fn job_line(id: &str, to: &str) -> String {
    serde_json::json!({
        "v": 1, "id": id, "from": {"email": "news@acme.example"}, "to": {"email": to},
        "subject": "Hello", "text": "Hello",
    })
    .to_string()
}
