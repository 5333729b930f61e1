//! Whether the broker can be used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sluice_telemetry::{Dependency, Metrics};

/// The state of both connections as one fact.
#[derive(Debug)]
pub(crate) struct Health {
    metrics: Arc<Metrics>,
    consuming: AtomicBool,
    publishing: AtomicBool,
    blocked: AtomicBool,
}

impl Health {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            consuming: AtomicBool::new(false),
            publishing: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
        }
    }

    /// Both connections stand and the broker takes publications.
    pub(crate) fn up(&self) -> bool {
        self.consuming.load(Ordering::Acquire)
            && self.publishing.load(Ordering::Acquire)
            && !self.blocked.load(Ordering::Acquire)
    }

    pub(crate) fn consuming(&self, up: bool) {
        self.consuming.store(up, Ordering::Release);
    }

    pub(crate) fn publishing(&self, up: bool) {
        self.publishing.store(up, Ordering::Release);
    }

    pub(crate) fn blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Release);
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Acquire)
    }

    pub(crate) fn reconnected(&self) {
        self.metrics.reconnect(Dependency::Queue);
    }
}
