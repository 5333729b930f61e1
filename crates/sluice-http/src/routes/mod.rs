//! Every route, and the scope that it needs.

mod dashboard;
mod document;
mod health;
mod jobs;
mod metrics;
mod orders;
mod ready;
mod status;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};

pub(crate) use document::Documented;

use crate::auth::{Scope, check_scope};
use crate::error::ApiError;
use crate::guard::guard;
use crate::state::Context;

/// One way to call one path.
pub(crate) struct Route {
    #[cfg_attr(not(test), expect(dead_code, reason = "compared with the document by a test"))]
    pub(crate) method: MethodFilter,
    pub(crate) path: &'static str,
    /// `None`: anybody may.
    pub(crate) needs: Option<Scope>,
    handler: MethodRouter<Arc<Context>>,
}

/// The routes of the contract.
pub(crate) fn routes() -> Vec<Route> {
    const GET: MethodFilter = MethodFilter::GET;
    const PUT: MethodFilter = MethodFilter::PUT;
    const POST: MethodFilter = MethodFilter::POST;
    const DELETE: MethodFilter = MethodFilter::DELETE;
    let (publish, read, operate) = (Some(Scope::Publish), Some(Scope::Read), Some(Scope::Operate));
    vec![
        // The page holds no data; the routes that it asks need their scope.
        route(GET, "/", None, dashboard::page),
        route(GET, "/dashboard.js", None, dashboard::script),
        route(GET, "/dashboard.css", None, dashboard::style),
        route(GET, "/health", None, health::health),
        route(GET, "/ready", None, ready::ready),
        route(GET, "/metrics", None, metrics::metrics),
        route(POST, "/jobs", publish, jobs::submit),
        route(GET, "/jobs/{id}", read, jobs::show),
        // Who calls is told by the ESP's signature, which only the handler can check.
        route(POST, "/webhooks/{esp}", None, webhooks::take),
        route(GET, "/system/status", read, status::system),
        route(GET, "/esp/status", read, status::esps),
        route(GET, "/rate-limits/status", read, status::rate_limits),
        route(GET, "/openapi.json", read, document::document),
        // A key has slashes; clients and proxies differ in whether they leave them alone, so both forms are taken.
        route(PUT, "/rate-limits/{*key}", operate, orders::set_limit),
        route(DELETE, "/rate-limits/{*key}", operate, orders::reset_limit),
        route(POST, "/esp/{name}/breaker", operate, orders::order_breaker),
        route(POST, "/campaigns/{tenant}/{campaign}/order", operate, orders::order_campaign),
    ]
}

fn route<T: 'static>(
    method: MethodFilter,
    path: &'static str,
    needs: Option<Scope>,
    handler: impl Handler<T, Arc<Context>>,
) -> Route {
    Route { method, path, needs, handler: on(method, handler) }
}

/// All routes over `context`. No path redirects, and nothing answers but in JSON (and the metrics and the dashboard in their own formats).
pub(crate) fn router(context: Arc<Context>) -> Router {
    let mut router = Router::new();
    for Route { path, needs, handler, .. } in routes() {
        // The layer of a route, not of its path: a wrong method is told to anybody.
        let handler = match needs {
            Some(scope) => {
                handler.route_layer(from_fn_with_state((Arc::clone(&context), scope), check_scope))
            }
            None => handler,
        };
        router = router.route(path, handler);
    }
    router
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
