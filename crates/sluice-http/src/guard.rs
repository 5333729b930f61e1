//! Around every route: a panic is an answer, an answer comes in time, and no cache or browser makes more of it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use crate::error::ApiError;
use crate::state::Context;

/// Runs a request to its answer, whatever happens to it.
pub(crate) async fn guard(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let _running = context.requests.token();
    let method = request.method().clone();
    // The pattern, not the path: a path is the client's text.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match tokio::time::timeout(context.limits.request_timeout, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => {
            tracing::error!(%method, route, "a request panicked");
            ApiError::internal().into_response()
        }
        Err(_) => {
            tracing::warn!(%method, route, "a request took too long");
            ApiError::unavailable("timeout", "no answer in time; try again").into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    tracing::debug!(%method, route, status = response.status().as_u16(), "answered");
    response
}
