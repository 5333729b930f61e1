//! What operators order: `PUT` and `DELETE /rate-limits/{key}`, `POST /esp/{name}/breaker`,
//! `POST /campaigns/{tenant}/{campaign}/order`. Every order holds for the fleet, and repeating one changes nothing more.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use sluice_types::{Campaign, Tenant};
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::body::receive_order;
use crate::error::{ApiError, ErrorBody, log_overview_error, log_store_error};
use crate::state::Context;
use crate::wire::{LimitChange, Mirror, Order};

/// A limit to be set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitOrder {
    /// The limit as a sentence.
    #[schema(example = "50/s burst 100")]
    limit: String,
}

/// Set a limit at run time
///
/// In place of the configured one, or beside it when the scope has none of this window. It holds for all replicas within
/// a second, keeps what was already spent, and stays until it is deleted, over restarts and new configurations.
#[utoipa::path(
    put,
    path = "/rate-limits/{key}",
    tag = "orders",
    security(("token" = ["operate"])),
    params(("key" = String, Path, description = "the key as `GET /rate-limits/status` shows it, such as \
        `esp:main/per:s`, or the scope alone; slashes may be percent-encoded", example = "esp:main/per:s")),
    request_body = LimitOrder,
    responses(
        (status = 200, description = "it is set; `before` is `null` when the scope had no limit of this window",
            body = LimitChange),
        (status = 404, description = "no such ESP (`unknown_esp`) or group (`unknown_group`)", body = ErrorBody),
        (status = 422, description = "the key (`bad_key`, `warm_up`) or the limit (`bad_limit`, `window_differs`, \
            `no_connections`) is none", body = ErrorBody),
        (status = 503, description = "the store does not answer; try again", body = ErrorBody),
    )
)]
pub(super) async fn set_limit(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    key: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<LimitChange>, ApiError> {
    let Path(key) = key.map_err(not_utf8)?;
    let LimitOrder { limit } = receive_order(&context, request).await?;
    change_limit(&context, &caller, &key, Some(&limit)).await
}

/// Go back to the configured limit
#[utoipa::path(
    delete,
    path = "/rate-limits/{key}",
    tag = "orders",
    security(("token" = ["operate"])),
    params(("key" = String, Path, description = "the key, or the scope alone where only one of its limits was set; \
        slashes may be percent-encoded", example = "esp:main/per:s")),
    responses(
        (status = 200, description = "the configured limit holds again; `after` is `null` when there is none",
            body = LimitChange),
        (status = 404, description = "it was not set at run time (`not_set`)", body = ErrorBody),
        (status = 409, description = "several limits of the scope were set (`ambiguous`)", body = ErrorBody),
        (status = 422, description = "the key is none (`bad_key`, `warm_up`)", body = ErrorBody),
        (status = 503, description = "the store does not answer; try again", body = ErrorBody),
    )
)]
pub(super) async fn reset_limit(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    key: Result<Path<String>, PathRejection>,
) -> Result<Json<LimitChange>, ApiError> {
    let Path(key) = key.map_err(not_utf8)?;
    change_limit(&context, &caller, &key, None).await
}

async fn change_limit(
    context: &Context,
    caller: &Caller,
    key: &str,
    spec: Option<&str>,
) -> Result<Json<LimitChange>, ApiError> {
    let app = &context.app;
    let change = app.overview.set_limit(key, spec, caller.name(), app.clock.now()).await;
    let change = change.inspect_err(log_overview_error)?;
    let (key, before, after) = (&change.key, &change.before, &change.after);
    tracing::info!(by = caller.name(), key, ?before, ?after, "a limit was changed");
    Ok(Json(change.mirror()))
}

/// What shall be of a breaker.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BreakerOrder {
    order: BreakerState,
}

/// `open` (nothing is sent there), `closed` (everything is, whatever comes back), `auto` (it decides itself).
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BreakerState {
    Open,
    Closed,
    Auto,
}

/// Hold the breaker of an ESP open or closed, or let it decide itself again
///
/// It holds for all replicas within a second, and until the next order. Let go from open it begins with probes.
#[utoipa::path(
    post,
    path = "/esp/{name}/breaker",
    tag = "orders",
    security(("token" = ["operate"])),
    params(("name" = String, Path, description = "the ESP", example = "main")),
    request_body = BreakerOrder,
    responses(
        (status = 200, description = "it is ordered", body = BreakerOrder),
        (status = 404, description = "no such ESP (`unknown_esp`)", body = ErrorBody),
        (status = 422, description = "the order is none (`bad_body`)", body = ErrorBody),
        (status = 503, description = "the store does not answer; try again", body = ErrorBody),
    )
)]
pub(super) async fn order_breaker(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<BreakerOrder>, ApiError> {
    let Path(esp) = name.map_err(not_utf8)?;
    let BreakerOrder { order } = receive_order(&context, request).await?;
    let open = match order {
        BreakerState::Open => Some(true),
        BreakerState::Closed => Some(false),
        BreakerState::Auto => None,
    };
    context.app.overview.order_breaker(&esp, open).await.inspect_err(log_overview_error)?;
    tracing::info!(by = caller.name(), esp, ?order, "a breaker was ordered");
    Ok(Json(BreakerOrder { order }))
}

/// What shall be of a campaign.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CampaignOrder {
    order: Order,
}

/// What was ordered for a campaign.
#[derive(Serialize, ToSchema)]
pub(super) struct CampaignOrdered {
    order: Order,
    /// Jobs that were parked and are on their way to be closed; `null` but for a cancellation.
    woken: Option<u64>,
}

/// Pause, cancel or resume a campaign
///
/// It need not be known yet. Answered when all replicas have taken the order up, which takes about a second: until then
/// single jobs may still go.
#[utoipa::path(
    post,
    path = "/campaigns/{tenant}/{campaign}/order",
    tag = "orders",
    security(("token" = ["operate"])),
    params(
        ("tenant" = String, Path, description = "whose campaign", example = "acme"),
        ("campaign" = String, Path, description = "its name", example = "spring-sale"),
    ),
    request_body = CampaignOrder,
    responses(
        (status = 200, description = "it is ordered", body = CampaignOrdered),
        (status = 422, description = "a name (`bad_name`) or the order (`bad_body`) is none", body = ErrorBody),
        (status = 503, description = "the store does not answer; try again", body = ErrorBody),
    )
)]
pub(super) async fn order_campaign(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    names: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Json<CampaignOrdered>, ApiError> {
    let Path((tenant, campaign)) = names.map_err(not_utf8)?;
    let CampaignOrder { order } = receive_order(&context, request).await?;
    let app = &context.app;
    let ordered = app.overview.order_campaign(&tenant, &campaign, order.of_engine()).await;
    ordered.inspect_err(log_overview_error)?;
    tracing::info!(by = caller.name(), tenant, campaign, ?order, "a campaign was ordered");
    let woken = match (order, Tenant::new(&tenant), Campaign::new(&campaign)) {
        (Order::Cancelled, Ok(tenant), Ok(campaign)) => {
            Some(app.console.wake_campaign(&tenant, &campaign).await.inspect_err(log_store_error)?)
        }
        _ => None,
    };
    Ok(Json(CampaignOrdered { order, woken }))
}

fn not_utf8(_: PathRejection) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_route", "there is no such route")
}
