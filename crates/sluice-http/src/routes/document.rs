//! `GET /openapi.json`: this API, described.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;

use super::{dashboard, health, jobs, metrics, orders, ready, status, webhooks};
use crate::error::ErrorBody;
use crate::openapi::{Common, openapi};

/// Every route that is described; a test compares them with those that are served.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sluice",
        description = "Takes jobs of one email each, and shows and steers how they are sent. Every answer is JSON but \
            for the metrics and the dashboard; an error is `{\"error\": {\"code\", \"message\", \"field\"?}}`.",
        version = env!("CARGO_PKG_VERSION"),
    ),
    paths(
        dashboard::page,
        dashboard::script,
        dashboard::style,
        health::health,
        ready::ready,
        metrics::metrics,
        jobs::submit,
        jobs::show,
        webhooks::take,
        status::system,
        status::esps,
        status::rate_limits,
        orders::set_limit,
        orders::reset_limit,
        orders::order_breaker,
        orders::order_campaign,
        document,
    ),
    components(schemas(ErrorBody)),
    tags(
        (name = "jobs", description = "Jobs in, and what became of them"),
        (name = "events", description = "What ESPs report of messages"),
        (name = "status", description = "How the fleet stands"),
        (name = "orders", description = "What an operator changes at run time"),
        (name = "process", description = "For probes and scrapers"),
    ),
    modifiers(&Common),
)]
pub(crate) struct Documented;

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "process",
    security(("token" = ["read"])),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json"))
)]
pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi()).into_response()
}
