//! The replicas of a run: started, killed, paused and told to stop; and how each of them ended.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_testkit::services::SluiceProcess;

/// The longest drain of the configuration, and a little more.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(40);
/// No replica takes longer to be ready.
pub(crate) const READY_MAX: Duration = Duration::from_secs(180);
/// No migration takes longer.
const MIGRATE_MAX: Duration = Duration::from_secs(120);

/// Which binary a replica is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// The one that a run with an upgrade begins with.
    Old,
    /// This build's.
    New,
}

/// How the replicas ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endings {
    /// Killed by us.
    pub(crate) killed: usize,
    /// Told to stop, and drained.
    pub(crate) drained: usize,
    /// Anything else, with the end of the log.
    pub(crate) unclean: Vec<String>,
    /// Panics in logs.
    pub(crate) panics: Vec<String>,
}

/// All replicas that run.
#[derive(Debug)]
pub(crate) struct Fleet {
    config: String,
    /// The binary of [`Version::Old`].
    old: Option<PathBuf>,
    /// Which version a replica is of that a fault starts.
    starts_old: AtomicBool,
    running: Mutex<Vec<(Version, Arc<SluiceProcess>)>>,
    endings: Mutex<Endings>,
}

impl Fleet {
    /// None yet. With the binary of an older version replicas are of that one at first.
    pub(crate) fn new(config: String, old: Option<PathBuf>) -> Self {
        let starts_old = AtomicBool::new(old.is_some());
        Self { config, old, starts_old, running: Mutex::default(), endings: Mutex::default() }
    }

    /// Starts one more; does not wait until it is ready.
    pub(crate) fn start(&self) -> Arc<SluiceProcess> {
        let is_old = self.starts_old.load(Ordering::SeqCst);
        self.start_of(if is_old { Version::Old } else { Version::New })
    }

    /// As [`start`](Self::start), of that version.
    pub(crate) fn start_of(&self, version: Version) -> Arc<SluiceProcess> {
        let command = SluiceProcess::command(&self.config);
        let command = match (&self.old, version) {
            (Some(old), Version::Old) => command.binary(old),
            (None, Version::Old) | (_, Version::New) => command,
        };
        let replica = Arc::new(command.start());
        self.running().push((version, Arc::clone(&replica)));
        replica
    }

    /// From now on replicas are of this version.
    pub(crate) fn starts_now(&self, version: Version) {
        self.starts_old.store(version == Version::Old, Ordering::SeqCst);
    }

    /// Runs `sluice migrate` of this build.
    pub(crate) fn migrate(&self) {
        let migration = SluiceProcess::command(&self.config).args(["migrate"]).start();
        let status = migration.wait(MIGRATE_MAX);
        if !status.success() {
            let text = format!("sluice migrate ended with {status}: {}", tail(&migration.log()));
            self.endings().unclean.push(text);
        }
    }

    /// Starts `count` and waits until each is ready.
    pub(crate) fn start_ready(&self, count: usize) {
        let started: Vec<_> = (0..count).map(|_| self.start()).collect();
        for replica in started {
            replica.wait_ready(READY_MAX);
        }
    }

    /// One that runs.
    pub(crate) fn any(&self, rng: &mut fastrand::Rng) -> Option<Arc<SluiceProcess>> {
        rng.choice(self.running().iter()).map(|(_, replica)| Arc::clone(replica))
    }

    /// The first of that version that runs.
    pub(crate) fn one_of(&self, version: Version) -> Option<Arc<SluiceProcess>> {
        self.running().iter().find(|(its, _)| *its == version).map(|(_, replica)| Arc::clone(replica))
    }

    /// The most memory that any of those that run has ever had resident, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        self.running().iter().map(|(_, it)| peak_mib_of(it.pid())).max().unwrap_or(0)
    }

    /// Kills one, and forgets it; nothing when somebody else ends it already.
    pub(crate) fn kill(&self, replica: &Arc<SluiceProcess>) {
        if !self.forget(replica) {
            return;
        }
        replica.kill9();
        self.look(replica);
        self.endings().killed += 1;
    }

    /// Tells one to stop, and waits until it has; nothing when somebody else ends it already.
    pub(crate) fn drain(&self, replica: &Arc<SluiceProcess>) {
        if !self.forget(replica) {
            return;
        }
        wait_listening(replica);
        replica.sigterm();
        let status = replica.wait(DRAIN_TIMEOUT);
        self.look(replica);
        let mut endings = self.endings();
        if status.success() {
            endings.drained += 1;
        } else {
            endings.unclean.push(format!("{status} after SIGTERM: {}", tail(&replica.log())));
        }
    }

    /// Tells all that are left to stop at once, waits, and says how all of this run ended.
    pub(crate) fn end(&self) -> Endings {
        let left = std::mem::take(&mut *self.running());
        for (_, replica) in &left {
            if let Some(status) = replica.status() {
                self.look(replica);
                self.endings().unclean.push(format!("ended by itself, {status}: {}", tail(&replica.log())));
            }
            wait_listening(replica);
            replica.sigterm();
        }
        for replica in
            left.iter().map(|(_, it)| it).filter(|it| it.status().is_none_or(|status| status.success()))
        {
            let status = replica.wait(DRAIN_TIMEOUT);
            self.look(replica);
            if status.success() {
                self.endings().drained += 1;
            } else {
                self.endings().unclean.push(format!("{status} after SIGTERM: {}", tail(&replica.log())));
            }
        }
        self.endings().clone()
    }

    /// Takes one out of those that run; whether it was there.
    fn forget(&self, replica: &Arc<SluiceProcess>) -> bool {
        let mut running = self.running();
        let before = running.len();
        running.retain(|(_, it)| !Arc::ptr_eq(it, replica));
        running.len() < before
    }

    /// Keeps what a log tells of panics.
    fn look(&self, replica: &SluiceProcess) {
        let log = replica.log();
        let panics = log.lines().filter(|line| line.contains("panicked at")).map(str::to_owned);
        self.endings().panics.extend(panics);
    }

    fn running(&self) -> MutexGuard<'_, Vec<(Version, Arc<SluiceProcess>)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn endings(&self) -> MutexGuard<'_, Endings> {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `VmHWM` of `/proc/PID/status`, in MiB; 0 for a process that is gone.
fn peak_mib_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: Option<u64> = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.map_or(0, |kib| kib / 1024)
}

/// A process that has not installed its handlers yet ends by the signal itself: nothing is lost, but it is no drain.
fn wait_listening(replica: &SluiceProcess) {
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    while replica.get("/health").is_err() && replica.status().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(100));
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.iter().rev().take(6).rev().copied().collect::<Vec<_>>().join(" / ")
}
