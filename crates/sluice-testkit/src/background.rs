//! One runtime beside the tests' own, for stand-ins, proxies and probes.
//!
//! A test may block its runtime (it starts a server, waits for a child); the stand-ins it talks to must go on
//! answering meanwhile. So they never run on the runtime of the test.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// One more than needed to go on, so that a script of a stand-in that blocks does not stop the others.
const THREADS: usize = 2;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Runs `future` in the background.
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    RUNTIME.get_or_init(start).spawn(future)
}

/// Runs `future` in the background and waits for it, from a thread with or without a runtime of its own.
///
/// # Panics
/// If `future` panics.
pub(crate) fn wait_for<F>(future: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (answer, answered) = std::sync::mpsc::sync_channel(1);
    spawn(async move { answer.send(future.await).expect("the caller waits for the answer") });
    answered.recv().expect("the background task ends without a panic")
}

fn start() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("testkit")
        .enable_all()
        .build()
        .expect("threads can be started")
}
