//! `GET /ready`: whether this process should be given work, and if not, for want of what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use sluice_telemetry::Dependency;
use utoipa::ToSchema;

use crate::state::{AppState, Context};

/// Whether the process should be given work.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    /// Whether every part is that is needed.
    pub(super) ready: bool,
    /// What that depends on.
    pub(super) parts: Vec<Part>,
}

/// One thing that readiness depends on.
#[derive(Serialize, ToSchema)]
pub(super) struct Part {
    /// `queue`, `store`, `configuration`, or `draining` while the process ends.
    #[schema(example = "store")]
    name: &'static str,
    /// Whether it is as it should be.
    ready: bool,
    /// Whether the process is unready without it. Not so for `configuration`: replicas differ for a while whenever a new
    /// one is rolled out, and each still keeps every limit that it knows.
    needed: bool,
    /// What is wrong, where the name does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// Whether the process should be given work
///
/// It is ready when the queue and the store answer and it does not drain.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "process",
    responses(
        (status = 200, description = "it is ready", body = Readiness),
        (status = 503, description = "it is not: see the parts", body = Readiness),
    )
)]
pub(super) async fn ready(State(context): State<Arc<Context>>) -> (StatusCode, Json<Readiness>) {
    let readiness = readiness(&context.app);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

/// The parts; a process that drains names that as one more, which is not ready.
pub(super) fn readiness(app: &AppState) -> Readiness {
    let part = |it: Dependency| Part::needed(it.as_str(), app.health.is_up(it));
    let mut parts = vec![part(Dependency::Queue), part(Dependency::Store)];
    parts.push(Part::configuration(app.health.configs_agree()));
    if app.draining.is_cancelled() {
        parts.push(Part::needed("draining", false));
    }
    Readiness::of(parts)
}

impl Readiness {
    fn of(parts: Vec<Part>) -> Self {
        Self { ready: parts.iter().all(|part| part.ready || !part.needed), parts }
    }
}

impl Part {
    const fn needed(name: &'static str, ready: bool) -> Self {
        Self { name, ready, needed: true, detail: None }
    }

    const fn configuration(agree: bool) -> Self {
        const DIFFER: &str =
            "replicas run with different limits, pools or groups; see `config_digest` in /system/status";
        let detail = if agree { None } else { Some(DIFFER) };
        Self { name: "configuration", ready: agree, needed: false, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differing_configurations_are_told_and_take_nobody_out_of_work() {
        let of = |store, agree| {
            let readiness = Readiness::of(vec![Part::needed("store", store), Part::configuration(agree)]);
            serde_json::to_value(readiness).unwrap()
        };
        let differ = of(true, false);
        assert_eq!(differ["ready"], true);
        assert_eq!(differ["parts"][1]["ready"], false);
        assert!(differ["parts"][1]["detail"].as_str().unwrap().contains("config_digest"));
        assert_eq!(of(false, true)["ready"], false);
    }
}
