//! `GET /system/status` and `GET /esp/status`: for people and their scripts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sluice_engine::{BreakerView, StatusView};

use super::ready::{Part, readiness};
use crate::error::log_store_error;
use crate::state::Context;

/// This process, and the counts of the whole store.
#[derive(Serialize)]
pub(super) struct SystemStatus {
    version: &'static str,
    uptime_seconds: u64,
    ready: bool,
    parts: Vec<Part>,
    in_flight: usize,
    /// `None` when the store could not be asked.
    counts: Option<StatusView>,
}

pub(super) async fn system(State(context): State<Arc<Context>>) -> Json<SystemStatus> {
    let app = &context.app;
    // The rest of the answer is worth having without the counts.
    let counts = app.console.status().await.inspect_err(log_store_error).ok();
    let readiness = readiness(app);
    Json(SystemStatus {
        version: app.version,
        uptime_seconds: app.clock.tick().since(app.started).as_secs(),
        ready: readiness.ready,
        parts: readiness.parts,
        in_flight: app.in_flight.count(),
        counts,
    })
}

/// The breakers of this process.
#[derive(Serialize)]
pub(super) struct EspStatus {
    /// Whether this process works lanes; if not, it has no breakers.
    worker: bool,
    esps: Vec<BreakerView>,
}

pub(super) async fn esps(State(context): State<Arc<Context>>) -> Json<EspStatus> {
    let breakers = context.app.breakers.as_ref();
    Json(EspStatus { worker: breakers.is_some(), esps: breakers.map(|it| it.view()).unwrap_or_default() })
}
