//! The handle: opens the file, starts the threads, ends them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use sluice_engine::{Clock, SystemClock};
use sluice_types::Timestamp;

use crate::batch::DueLeases;
use crate::clock::StoreClock;
use crate::due::Rounds;
use crate::fleet::FleetBook;
use crate::lanes::{Acks, LaneBook};
use crate::reader::Reader;
use crate::release::Lines;
use crate::slots::SLOT_CLOCK;
use crate::watch::WatchLoop;
use crate::writer::Writer;
use crate::{EmbeddedError, StoreError, schema};

/// How to open the file as its worker.
#[derive(Clone, Debug)]
pub struct EmbeddedSettings {
    /// The file; it and its folder are created when they are not there.
    pub path: PathBuf,
    /// The worker's name, for `job.worker`. The opening's number is added, so it need not be unique.
    pub worker: String,
    /// The store's clock.
    pub clock: Arc<dyn Clock>,
}

/// Every port on one SQLite file.
///
/// When the last handle is dropped, everything that was asked is finished first, which takes a commit or two;
/// [`Embedded::close`] does the same without blocking.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held until the threads have ended; the system releases it when the process dies.
    lock: Mutex<Option<File>>,
}

/// What every port needs.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) writer: Writer,
    /// Reads for the feeds.
    pub(crate) feeds: Reader,
    /// Reads for the relay.
    pub(crate) relay: Reader,
    /// Reads for people.
    pub(crate) questions: Reader,
    pub(crate) lanes: Arc<LaneBook>,
    pub(crate) acks: Arc<Acks>,
    pub(crate) due: Arc<DueLeases>,
    pub(crate) rounds: Rounds,
    /// The turns of lines, from batch to batch.
    pub(crate) lines: Lines,
    pub(crate) fleet: FleetBook,
    pub(crate) clock: StoreClock,
    /// The name under which jobs are claimed: the worker's, and the number of this opening. `None` for a client.
    pub(crate) worker: Option<Arc<str>>,
    /// Messages up to here were in the file when it was opened.
    pub(crate) old_until: i64,
    pub(crate) slots_pruned_at: AtomicI64,
    stopping: Arc<AtomicBool>,
}

impl Embedded {
    /// Opens the file as its one worker. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// When another worker has the file, or it cannot be opened or brought up to date.
    pub fn open(settings: EmbeddedSettings) -> Result<Arc<Self>, EmbeddedError> {
        let path = prepare_path(&settings.path)?;
        let lock = lock_for_worker(&path)?;
        Self::start(&path, settings.clock, Some((settings.worker, lock)))
    }

    /// Opens the file beside its worker: to publish, park, look, suppress and give orders to the fleet. What only its
    /// worker may do is refused: claims, feeds, due jobs, leasing slots.
    ///
    /// # Errors
    /// When the file cannot be opened or brought up to date.
    pub fn open_client(path: &Path) -> Result<Arc<Self>, EmbeddedError> {
        let path = prepare_path(path)?;
        Self::start(&path, Arc::new(SystemClock::new()), None)
    }

    /// Finishes what was asked, keeps every ack and ends. Later calls are answered with an error, feeds end.
    pub async fn close(self: &Arc<Self>) {
        let this = self.clone();
        // It fails only when the runtime is going down, and then the last drop does the same.
        drop(tokio::task::spawn_blocking(move || this.end()).await);
    }

    fn start(
        path: &Path,
        clock: Arc<dyn Clock>,
        worker: Option<(String, File)>,
    ) -> Result<Arc<Self>, EmbeddedError> {
        let mut connection = schema::connect(path)?;
        schema::migrate(&mut connection)?;
        let (worker, lock) = worker.unzip();
        let found = Found::read(&connection, worker.is_some())
            .map_err(|source| EmbeddedError::Open { path: path.to_owned(), source })?;

        let acks = Arc::new(Acks::default());
        let (writer, writer_loop) = Writer::new(connection, acks.clone());
        let (feeds, feeds_loop) = Reader::new(schema::connect(path)?);
        let (relay, relay_loop) = Reader::new(schema::connect(path)?);
        let (questions, questions_loop) = Reader::new(schema::connect(path)?);
        let shared = Arc::new(Shared {
            writer,
            feeds,
            relay,
            questions,
            lanes: Arc::new(LaneBook::default()),
            acks,
            due: Arc::new(DueLeases::default()),
            rounds: Rounds::default(),
            lines: Lines::default(),
            fleet: FleetBook::default(),
            clock: StoreClock::new(clock, found.slot_clock),
            worker: worker.map(|name| Arc::from(format!("{name}/{}", found.run))),
            old_until: found.last_seq,
            slots_pruned_at: AtomicI64::new(0),
            stopping: Arc::new(AtomicBool::new(false)),
        });
        // From here on the handle ends what was started, should the rest fail.
        let this = Self { shared, threads: Mutex::default(), lock: Mutex::new(lock) };
        this.spawn("sluice-store", move || writer_loop.run())?;
        this.spawn("sluice-ask", move || questions_loop.run())?;
        if this.shared.worker.is_some() {
            let watch = WatchLoop {
                connection: schema::connect(path)?,
                lanes: this.shared.lanes.clone(),
                stopping: this.shared.stopping.clone(),
                known: found.last_seq,
            };
            this.spawn("sluice-feed", move || feeds_loop.run())?;
            this.spawn("sluice-relay", move || relay_loop.run())?;
            this.spawn("sluice-watch", move || watch.run())?;
        }
        Ok(Arc::new(this))
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), EmbeddedError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        let thread = thread.map_err(EmbeddedError::Thread)?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The same, for what only the worker may do.
    pub(crate) fn worker_shared(&self) -> Result<&Arc<Shared>, StoreError> {
        if self.shared.worker.is_some() { Ok(&self.shared) } else { Err(StoreError::NotTheWorker) }
    }

    /// Stops the threads, waits for them, and only then lets another worker in.
    fn end(&self) {
        self.shared.stop();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("a thread of the store has panicked");
            }
        }
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    /// Whether the store was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.writer.stop();
        self.feeds.stop();
        self.relay.stop();
        self.questions.stop();
    }
}

/// What the file says when it is opened.
struct Found {
    run: i64,
    slot_clock: Timestamp,
    last_seq: i64,
}

impl Found {
    fn read(connection: &Connection, as_worker: bool) -> rusqlite::Result<Self> {
        let run = if as_worker { schema::count_run(connection)? } else { 0 };
        let last_seq = "select coalesce(max(seq), 0) from lane_message";
        Ok(Self {
            run,
            slot_clock: Timestamp::from_micros(schema::meta(connection, SLOT_CLOCK)?),
            last_seq: connection.query_row(last_seq, [], |row| row.get(0))?,
        })
    }
}

/// The absolute path of a file that is there, and that only its owner may read: it holds addresses and bodies.
fn prepare_path(path: &Path) -> Result<PathBuf, EmbeddedError> {
    let error = |source| EmbeddedError::File { path: path.to_owned(), source };
    let path = std::path::absolute(path).map_err(error)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(error)?;
    }
    create_private(&path).map_err(error)?;
    Ok(path)
}

/// Creates the file unless it is there. One that is there must not be opened here: to close it again would drop the
/// locks that SQLite may hold on it in this process (POSIX locks belong to the process, not to the descriptor).
fn create_private(path: &Path) -> std::io::Result<()> {
    match private().create_new(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Takes the lock file beside the database. It stays there for ever: removing it would let two workers lock two files.
fn lock_for_worker(path: &Path) -> Result<File, EmbeddedError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let error = |source| EmbeddedError::File { path: lock_path.clone(), source };
    let file = private().create(true).open(&lock_path).map_err(error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EmbeddedError::WorkerRunning { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(error(source)),
    }
}
