//! `GET /ready`: whether this process should be given work, and if not, for want of what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use sluice_telemetry::Dependency;

use crate::state::{AppState, Context};

#[derive(Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    pub(super) parts: Vec<Part>,
}

#[derive(Serialize)]
pub(super) struct Part {
    name: &'static str,
    ready: bool,
}

pub(super) async fn ready(State(context): State<Arc<Context>>) -> (StatusCode, Json<Readiness>) {
    let readiness = readiness(&context.app);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

/// The parts that must be ready; a process that drains names that as one more, which is not.
pub(super) fn readiness(app: &AppState) -> Readiness {
    let mut parts: Vec<Part> = [Dependency::Queue, Dependency::Store]
        .map(|it| Part { name: it.as_str(), ready: app.health.is_up(it) })
        .into();
    if app.draining.is_cancelled() {
        parts.push(Part { name: "draining", ready: false });
    }
    Readiness { ready: parts.iter().all(|part| part.ready), parts }
}
