//! The real `sluice` binary as a child process.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::guarded_child::{GuardedChild, Program};
use super::scratch_dir::ScratchDir;
use super::watchdog::Ending;
use super::{leaks, log_file, ports};

const PROBE_STEP: Duration = Duration::from_millis(20);
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

/// What to start, and how.
#[derive(Debug)]
pub struct SluiceCommand {
    binary: Option<PathBuf>,
    config: String,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl SluiceCommand {
    /// The program to start instead of the one `SLUICE_BIN` names or that lies next to the test binary.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// The arguments instead of `run`. The configuration file is given through `SLUICE_CONFIG`.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// One more variable of the environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// If there is no such program.
    pub fn start(self) -> SluiceProcess {
        let dir = ScratchDir::new("sluice");
        let config = dir.join("sluice.toml");
        std::fs::write(&config, &self.config).expect("the scratch directory can be written");
        let http_addr = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free_port()));
        let mut env = inherited_environment();
        env.push(("SLUICE_CONFIG".into(), config.into_os_string()));
        env.push(("SLUICE__HTTP__LISTEN".into(), http_addr.to_string().into()));
        env.extend(self.env);
        let program = Program {
            path: self.binary.unwrap_or_else(sluice_binary),
            args: self.args,
            env,
            dir: dir.path().to_owned(),
            account: None,
            ending: Ending::Kill,
        };
        assert!(
            program.path.is_file(),
            "no {}: run `cargo build -p sluice` or scripts/test",
            program.path.display()
        );
        let child = GuardedChild::start(&program, &dir.join("log")).expect("sh starts");
        SluiceProcess { child: Mutex::new(child), config: self.config, dir, http_addr }
    }
}

/// A running `sluice`, in a directory of its own, its HTTP port chosen by us. Killed on drop.
///
/// On drop all that it wrote, and its metrics if it still answers, are searched for addresses and for the secrets of its
/// configuration: a test whose process wrote one fails.
#[derive(Debug)]
pub struct SluiceProcess {
    child: Mutex<GuardedChild>,
    config: String,
    dir: ScratchDir,
    http_addr: SocketAddr,
}

impl SluiceProcess {
    /// Starts `sluice run` with `config` (TOML). Its `http.listen` is overruled; see [`http_addr`](Self::http_addr).
    ///
    /// # Panics
    /// As [`SluiceCommand::start`].
    pub fn start(config: &str) -> Self {
        Self::command(config).start()
    }

    /// As [`start`](Self::start), with more to choose.
    pub fn command(config: &str) -> SluiceCommand {
        SluiceCommand { binary: None, config: config.to_owned(), args: vec!["run".into()], env: Vec::new() }
    }

    /// Where its HTTP interface listens.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child().pid()
    }

    /// Its working directory, gone when this value is dropped.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it wrote to standard output and standard error so far.
    pub fn log(&self) -> String {
        log_file::read(&self.dir.join("log"))
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill9(&self) {
        self.child().kill9();
    }

    /// SIGTERM, the order to drain; see [`wait`](Self::wait).
    pub fn sigterm(&self) {
        self.child().signal("TERM");
    }

    /// SIGHUP, the order to read its configuration again.
    pub fn sighup(&self) {
        self.child().signal("HUP");
    }

    /// SIGSTOP: a process that hangs with its connections open.
    pub fn pause(&self) {
        self.child().signal_tree("STOP");
    }

    /// SIGCONT after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.child().signal_tree("CONT");
    }

    /// Rewrites its configuration file, for a later [`sighup`](Self::sighup).
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn rewrite_config(&self, config: &str) {
        std::fs::write(self.dir.join("sluice.toml"), config).expect("the scratch directory can be written");
    }

    /// How it ended, if it did.
    pub fn status(&self) -> Option<ExitStatus> {
        self.child().status()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it still runs after `timeout`; the message has the end of its log.
    pub fn wait(&self, timeout: Duration) -> ExitStatus {
        self.child()
            .wait(timeout)
            .unwrap_or_else(|| panic!("sluice still runs after {timeout:?}\n{}", self.log_tail()))
    }

    /// Waits until `GET /ready` answers 200.
    ///
    /// # Panics
    /// If it ends, or is not ready after `timeout`; the message has the end of its log.
    pub fn wait_ready(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        loop {
            let last = match self.get("/ready") {
                Ok((200, _)) => return,
                Ok((status, body)) => format!("{status} {body}"),
                Err(error) => error.to_string(),
            };
            if let Some(status) = self.status() {
                panic!("sluice ended with {status} before it was ready\n{}", self.log_tail());
            }
            assert!(Instant::now() < deadline, "not ready after {timeout:?}: {last}\n{}", self.log_tail());
            std::thread::sleep(PROBE_STEP);
        }
    }

    /// One plain `GET`; the status and the body.
    ///
    /// # Errors
    /// If there is no connection, no answer within five seconds, or no HTTP in it.
    pub fn get(&self, path: &str) -> io::Result<(u16, String)> {
        self.ask(&format!("GET {path} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http_addr))
    }

    /// One plain `POST` of JSON; the status and the body.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn post(&self, path: &str, json: &str) -> io::Result<(u16, String)> {
        let length = json.len();
        self.ask(&format!(
            "POST {path} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{json}",
            self.http_addr
        ))
    }

    fn ask(&self, request: &str) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.http_addr, HTTP_TIMEOUT)?;
        stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
        stream.set_write_timeout(Some(HTTP_TIMEOUT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
        let status =
            head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        Ok((status, body.to_owned()))
    }

    fn child(&self) -> MutexGuard<'_, GuardedChild> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_tail(&self) -> String {
        log_file::tail(&self.dir.join("log"))
    }

    /// For whoever reads why a test has failed.
    fn tell_how_it_stood(&self) {
        eprintln!("-- sluice at {}, the end of its log:\n{}", self.http_addr, self.log_tail());
        if self.status().is_none() {
            for path in ["/ready", "/rate-limits/status"] {
                match self.get(path) {
                    Ok((status, body)) => eprintln!("-- GET {path}: {status} {body}"),
                    Err(error) => eprintln!("-- GET {path}: {error}"),
                }
            }
        }
    }
}

impl Drop for SluiceProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell_how_it_stood();
            return;
        }
        let mut written = self.log();
        if self.status().is_none()
            && let Ok((_, metrics)) = self.get("/metrics")
        {
            written.push_str(&metrics);
        }
        let leaks = leaks::leaks(&self.config, &written);
        assert!(leaks.is_empty(), "sluice wrote an address or a secret:\n{}", leaks.join("\n"));
    }
}

/// Ours, without what would configure a sluice.
fn inherited_environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| !name.as_encoded_bytes().starts_with(b"SLUICE_")).collect()
}

/// `SLUICE_BIN`, else the binary cargo built next to this test's `deps` directory.
///
/// # Panics
/// If this program has no path.
pub fn sluice_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SLUICE_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("a running program has a path");
    let dir = test.ancestors().skip(1).find(|dir| dir.file_name() != Some(OsStr::new("deps")));
    dir.expect("a program lies in a directory").join("sluice")
}
