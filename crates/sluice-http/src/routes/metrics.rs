//! `GET /metrics`: for Prometheus, in its text format 0.0.4.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::state::Context;

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of this process, for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "process",
    responses((status = 200, description = "text format 0.0.4", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(context): State<Arc<Context>>) -> Result<Response, ApiError> {
    match context.app.metrics.render() {
        Ok(text) => Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response()),
        Err(error) => {
            tracing::error!(%error, "could not write the metrics");
            Err(ApiError::internal())
        }
    }
}
