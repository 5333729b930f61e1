//! A private Postgres server.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

use super::account::Account;
use super::guarded_child::{GuardedChild, Program};
use super::scratch_dir::ScratchDir;
use super::watchdog::Ending;
use super::{binaries, log_file, ports, process_tree};
use crate::background;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const PROBE_STEP: Duration = Duration::from_millis(50);
/// A port can be taken between our look and the server's bind.
const START_TRIES: u32 = 3;

/// A Postgres server of its own, with stock durability (fsync and synchronous commit on), `max_connections` 300,
/// on 127.0.0.1 only, superuser `postgres` without a password. Killed, and its data removed, on drop.
///
/// The calls block for as long as the server takes; stand-ins and proxies of this crate go on meanwhile.
#[derive(Debug)]
pub struct PrivatePostgres {
    server: Mutex<GuardedChild>,
    program: Program,
    dir: ScratchDir,
    port: u16,
    databases: AtomicU32,
}

impl PrivatePostgres {
    /// Makes a fresh cluster and starts a server on it, in about two seconds.
    ///
    /// # Panics
    /// If the programs are missing, or the server does not answer within a minute; the message has its log.
    pub fn start() -> Self {
        let bin = binaries::postgres_dir();
        let dir = ScratchDir::new("postgres");
        let account = Account::for_postgres();
        if let Some(account) = account {
            account.take_over(dir.path());
        }
        init_cluster(&bin, &dir, account);
        for _ in 0..START_TRIES {
            let port = ports::free_port();
            let program = server_program(&bin, &dir, account, port);
            if let Ok(server) = launch(&program, &dir, port) {
                return Self { server: Mutex::new(server), program, dir, port, databases: AtomicU32::new(0) };
            }
        }
        panic!("Postgres does not start; the end of its log:\n{}", log_file::tail(&dir.join("log")));
    }

    /// The url of the database `database`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The port it listens on, also while it is down.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's processes at this moment, the first one first.
    pub fn pids(&self) -> Vec<u32> {
        process_tree::tree(self.server().pid())
    }

    /// Makes an empty database with a name of its own, and answers its url.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let created = self.run_sql("postgres", format!("CREATE DATABASE {name}"));
        created.unwrap_or_else(|error| panic!("cannot create the database {name}: {error}"));
        self.url(&name)
    }

    /// SIGKILL to the server and its backends at once: a crash. Returns when it is gone.
    pub fn kill9(&self) {
        self.server().kill9();
    }

    /// An immediate shutdown (SIGQUIT): connections are cut, the next start recovers from the log.
    ///
    /// # Panics
    /// If it does not end within 20 seconds.
    pub fn stop_immediate(&self) {
        self.stop("QUIT");
    }

    /// SIGSTOP to the server and its backends: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.server().signal_tree("STOP");
    }

    /// SIGCONT after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.server().signal_tree("CONT");
    }

    /// Starts it again on the same port and data; one that still runs is shut down first (fast: clients are cut).
    ///
    /// # Panics
    /// If it does not answer within a minute.
    pub fn restart(&self) {
        self.stop("INT");
        let started = launch(&self.program, &self.dir, self.port);
        *self.server() = started.unwrap_or_else(|reason| {
            panic!(
                "Postgres does not start again: {reason}; the end of its log:\n{}",
                log_file::tail(&self.dir.join("log"))
            )
        });
    }

    /// What the server logged so far.
    pub fn log(&self) -> String {
        log_file::read(&self.dir.join("log"))
    }

    fn server(&self) -> MutexGuard<'_, GuardedChild> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self, signal: &str) {
        let mut server = self.server();
        server.signal_tree("CONT");
        server.signal(signal);
        let ended = server.wait(STOP_TIMEOUT);
        assert!(
            ended.is_some(),
            "Postgres does not end on SIG{signal}:\n{}",
            log_file::tail(&self.dir.join("log"))
        );
    }

    fn run_sql(&self, database: &str, sql: String) -> Result<(), tokio_postgres::Error> {
        background::wait_for(run_sql(self.url(database), sql))
    }
}

impl Drop for PrivatePostgres {
    /// An immediate shutdown frees the shared memory, which outlives a killed server.
    fn drop(&mut self) {
        let mut server = self.server();
        server.signal_tree("CONT");
        server.signal("QUIT");
        server.wait(Duration::from_secs(2));
        server.kill9();
        free_shared_memory(&self.dir);
    }
}

/// Frees the few bytes that a killed server leaves with the system, whose number of segments is limited. The last but
/// one line of its pid file has their key and id; an orderly end removes file and segment.
fn free_shared_memory(dir: &ScratchDir) {
    let file = log_file::read(&dir.join("data/postmaster.pid"));
    if let Some(id) = file.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
        Command::new("ipcrm").args(["-m", id]).stderr(Stdio::null()).status().ok();
    }
}

/// `--no-sync` spares only the first flush of the fresh files; the server itself runs with fsync.
fn init_cluster(bin: &std::path::Path, dir: &ScratchDir, account: Option<Account>) {
    let mut initdb = Command::new(bin.join("initdb"));
    initdb.args([
        "--no-sync",
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--pgdata",
    ]);
    initdb.arg(dir.join("data")).env_clear().envs(environment()).current_dir(dir.path());
    if let Some(account) = account {
        account.apply(&mut initdb);
    }
    let output = initdb.output().unwrap_or_else(|error| panic!("cannot run initdb: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "initdb failed:\n{complaint}");
}

fn server_program(bin: &std::path::Path, dir: &ScratchDir, account: Option<Account>, port: u16) -> Program {
    let sockets = dir.path().display();
    let settings = [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        format!("unix_socket_directories={sockets}"),
        "max_connections=300".to_owned(),
        // In the data directory, where it goes with it; the default would leave files in /dev/shm after a kill.
        "dynamic_shared_memory_type=mmap".to_owned(),
        "log_line_prefix=%m [%p] %d ".to_owned(),
    ];
    let mut args = vec!["-D".into(), dir.join("data").into_os_string()];
    for setting in settings {
        args.extend(["-c".into(), setting.into()]);
    }
    Program {
        path: bin.join("postgres"),
        args,
        env: environment(),
        dir: dir.path().to_owned(),
        account,
        ending: Ending::QuitFirst,
    }
}

/// Nothing of the caller's environment but PATH: a PGPORT or PGDATA set there must not reach our server.
fn environment() -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    vec![("PATH".into(), path), ("LC_ALL".into(), "C".into()), ("TZ".into(), "UTC".into())]
}

/// Starts the server and waits until it answers a query.
fn launch(program: &Program, dir: &ScratchDir, port: u16) -> Result<GuardedChild, String> {
    let log: PathBuf = dir.join("log");
    let mut server = GuardedChild::start(program, &log).map_err(|error| error.to_string())?;
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres?connect_timeout=2");
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let refusal = match background::wait_for(run_sql(url.clone(), "SELECT 1".to_owned())) {
            Ok(()) => return Ok(server),
            Err(error) => error,
        };
        if let Some(status) = server.status() {
            return Err(format!("it ended with {status}"));
        }
        if Instant::now() >= deadline {
            return Err(format!("no answer within {} s, last: {refusal}", START_TIMEOUT.as_secs()));
        }
        std::thread::sleep(PROBE_STEP);
    }
}

async fn run_sql(url: String, sql: String) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    let connection = background::spawn(connection);
    let ran = client.batch_execute(&sql).await;
    connection.abort();
    ran
}
