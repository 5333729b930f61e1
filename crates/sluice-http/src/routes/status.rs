//! `GET /system/status`, `GET /esp/status` and `GET /rate-limits/status`: for people and their scripts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ready::{Part, readiness};
use crate::error::{ApiError, ErrorBody, log_overview_error, log_store_error};
use crate::state::Context;
use crate::wire::{BreakerView, EspView, FleetView, Mirror, RateLimitsView, StatusView};

/// This process, the fleet, and the counts of the whole store.
#[derive(Serialize, ToSchema)]
pub(super) struct SystemStatus {
    /// Version of this process.
    version: &'static str,
    /// How long this process is up.
    uptime_seconds: u64,
    /// Whether this process should be given work.
    ready: bool,
    /// What that depends on.
    parts: Vec<Part>,
    /// Jobs in work in this process.
    in_flight: usize,
    /// `null` when the store could not be asked.
    counts: Option<StatusView>,
    /// `null` when the store could not be asked.
    fleet: Option<FleetView>,
}

/// This process, the fleet, and the counts of the store
///
/// While the store does not answer, what only it knows is `null`.
#[utoipa::path(
    get,
    path = "/system/status",
    tag = "status",
    security(("token" = ["read"])),
    responses((status = 200, description = "how it stands", body = SystemStatus))
)]
pub(super) async fn system(State(context): State<Arc<Context>>) -> Json<SystemStatus> {
    let app = &context.app;
    // The rest of the answer is worth having without what the store knows.
    let (counts, fleet) = tokio::join!(app.console.status(), app.overview.system());
    let readiness = readiness(app);
    Json(SystemStatus {
        version: app.version,
        uptime_seconds: app.clock.tick().since(app.started).as_secs(),
        ready: readiness.ready,
        parts: readiness.parts,
        in_flight: app.in_flight.count(),
        counts: counts.inspect_err(log_store_error).ok().mirror(),
        fleet: fleet.inspect_err(log_overview_error).ok().mirror(),
    })
}

/// The ESPs over the fleet, and the breakers of this process.
#[derive(Serialize, ToSchema)]
pub(super) struct EspStatus {
    /// Every configured ESP by name; `null` when the store could not be asked.
    esps: Option<Vec<EspView>>,
    /// The breakers as this process has them, which follow those of the fleet within a second; none in a process that
    /// works no lanes.
    here: Vec<BreakerView>,
}

/// The ESPs: breakers, brakes, calls, quotas, warm-ups
///
/// While the store does not answer, what only it knows is `null`; the breakers of this process are told all the same.
#[utoipa::path(
    get,
    path = "/esp/status",
    tag = "status",
    security(("token" = ["read"])),
    responses((status = 200, description = "how they stand", body = EspStatus))
)]
pub(super) async fn esps(State(context): State<Arc<Context>>) -> Json<EspStatus> {
    let app = &context.app;
    let esps = app.overview.esps().await.inspect_err(log_overview_error).ok();
    let here = app.breakers.as_ref().map(|it| it.view()).unwrap_or_default();
    Json(EspStatus { esps: esps.mirror(), here: here.mirror() })
}

/// Every limit that holds: how far it is used, and what waits under it
#[utoipa::path(
    get,
    path = "/rate-limits/status",
    tag = "status",
    security(("token" = ["read"])),
    responses(
        (status = 200, description = "how they stand", body = RateLimitsView),
        (status = 503, description = "the store does not answer", body = ErrorBody),
    )
)]
pub(super) async fn rate_limits(
    State(context): State<Arc<Context>>,
) -> Result<Json<RateLimitsView>, ApiError> {
    let view = context.app.overview.rate_limits().await.inspect_err(log_overview_error)?;
    Ok(Json(view.mirror()))
}
