//! Which outside systems answer. Lanes pull only while both do; `/ready` tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sluice_telemetry::{Dependency, Metrics};
use tokio::sync::watch;

use crate::ports::Ledger;

/// First and longest pause between two questions to a store that is away; doubles, with jitter.
const PROBE_PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

/// The state of the broker and the store, as this process sees it.
#[derive(Debug)]
pub struct Health {
    queue: watch::Sender<bool>,
    store: watch::Sender<bool>,
    closing: AtomicBool,
    /// The store has answered once, so the next time is a reconnect.
    store_seen: AtomicBool,
    configs_differ: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Health {
    /// Both down until somebody has reached them.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            queue: watch::Sender::new(false),
            store: watch::Sender::new(false),
            closing: AtomicBool::new(false),
            store_seen: AtomicBool::new(false),
            configs_differ: AtomicBool::new(false),
            metrics,
        }
    }

    fn of(&self, dependency: Dependency) -> &watch::Sender<bool> {
        match dependency {
            Dependency::Queue => &self.queue,
            Dependency::Store => &self.store,
        }
    }

    /// Whether it answered last time.
    #[must_use]
    pub fn is_up(&self, dependency: Dependency) -> bool {
        *self.of(dependency).borrow()
    }

    /// It answers.
    pub fn up(&self, dependency: Dependency) {
        self.metrics.dependency_up(dependency, true);
        if !self.of(dependency).send_replace(true) {
            tracing::info!(dependency = dependency.as_str(), "dependency is up");
            // The queue's adapter counts its own.
            if dependency == Dependency::Store && self.store_seen.swap(true, Ordering::Relaxed) {
                self.metrics.reconnect(dependency);
            }
        }
    }

    /// It does not; logged once per outage.
    pub fn down(&self, dependency: Dependency, error: &(dyn std::error::Error + 'static)) {
        self.metrics.dependency_up(dependency, false);
        if self.of(dependency).send_replace(false) {
            tracing::error!(dependency = dependency.as_str(), error = %chain(error), "dependency is down");
        }
    }

    /// Whether the replicas of the fleet run with different configurations; answers whether that is news, and bad.
    pub(crate) fn configs_differ(&self, differ: bool) -> bool {
        !self.configs_differ.swap(differ, Ordering::Relaxed) && differ
    }

    /// Whether the replicas of the fleet agree on limits, pools and groups.
    #[must_use]
    pub fn configs_agree(&self) -> bool {
        !self.configs_differ.load(Ordering::Relaxed)
    }

    /// Waits until it answers.
    pub(crate) async fn wait_up(&self, dependency: Dependency) {
        let mut seen = self.of(dependency).subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        if seen.wait_for(|up| *up).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until it stops to answer.
    pub(crate) async fn wait_down(&self, dependency: Dependency) {
        let mut seen = self.of(dependency).subscribe();
        if seen.wait_for(|up| !*up).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The drain deadline has passed: whoever still waits for the store shall give up.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Asks the store again and again while it is away.
    pub(crate) async fn watch_store(&self, ledger: &dyn Ledger) {
        let mut pause = PROBE_PAUSES.0;
        loop {
            match ledger.ping().await {
                Ok(()) => {
                    self.up(Dependency::Store);
                    pause = PROBE_PAUSES.0;
                    self.wait_down(Dependency::Store).await;
                }
                Err(error) => self.down(Dependency::Store, &error),
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(PROBE_PAUSES.1);
        }
    }
}

/// Between half of `pause` and all of it, so that replicas do not ask in step.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(it) = cause {
        text.push_str(": ");
        text.push_str(&it.to_string());
        cause = it.source();
    }
    text
}
