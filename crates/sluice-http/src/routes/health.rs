//! `GET /health`: the process is alive. It asks nobody.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::state::Context;

#[derive(Serialize)]
pub(super) struct Alive {
    status: &'static str,
    version: &'static str,
}

pub(super) async fn health(State(context): State<Arc<Context>>) -> Json<Alive> {
    Json(Alive { status: "alive", version: context.app.version })
}
