//! `GET /health`: the process is alive. It asks nobody.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::Context;

/// The process is alive.
#[derive(Serialize, ToSchema)]
pub(super) struct Alive {
    #[schema(example = "alive")]
    status: &'static str,
    /// Version of the program.
    version: &'static str,
}

/// Whether the process is alive
///
/// It asks nobody, so it answers when the queue and the store do not.
#[utoipa::path(
    get,
    path = "/health",
    tag = "process",
    responses((status = 200, description = "it is", body = Alive))
)]
pub(super) async fn health(State(context): State<Arc<Context>>) -> Json<Alive> {
    Json(Alive { status: "alive", version: context.app.version })
}
