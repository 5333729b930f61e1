//! Every route, and the scope that it needs.

mod health;
mod jobs;
mod metrics;
mod ready;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::auth;
use crate::error::ApiError;
use crate::guard::guard;
use crate::state::Context;

/// The routes of the contract. No path redirects, and nothing answers but in JSON (and the metrics' own format).
pub(crate) fn router(context: Arc<Context>) -> Router {
    let open = Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(ready::ready))
        .route("/metrics", get(metrics::metrics));
    let publish = Router::new()
        .route("/jobs", post(jobs::submit))
        .route_layer(from_fn_with_state(Arc::clone(&context), auth::publish));
    let read = Router::new()
        .route("/jobs/{id}", get(jobs::show))
        .route("/system/status", get(status::system))
        .route("/esp/status", get(status::esps))
        .route_layer(from_fn_with_state(Arc::clone(&context), auth::read));
    open.merge(publish)
        .merge(read)
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&context), guard))
        .with_state(context)
}

async fn unknown_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_route", "there is no such route")
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong_method",
        "this route does not take this method; see the header `Allow`",
    )
}
