//! `POST /jobs`: takes one job or a list of them. `GET /jobs/{id}`: what became of one.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sluice_engine::IntakeAnswer;
use sluice_types::JobId;

use crate::body::{Sender, receive};
use crate::error::{ApiError, ErrorBody, log_overview_error, log_store_error};
use crate::media_type::check_media_type;
use crate::split::{Jobs, SplitError, split};
use crate::state::Context;
use crate::wire::{AnswersSchema, JobAnswer, JobView, JobsSchema, Mirror};

/// Take one job or a list of them
///
/// A list is answered by a list, in order. A job is taken when it is in its lane, durably; the same id twice is sent
/// once. What a job may hold is the same as for jobs that are published to the queue.
#[utoipa::path(
    post,
    path = "/jobs",
    tag = "jobs",
    security(("token" = ["publish"])),
    request_body(content = JobsSchema, content_type = "application/json"),
    responses(
        (status = 202, description = "all are taken, now or before", body = AnswersSchema),
        (status = 200, description = "the one job was taken before", body = JobAnswer),
        (status = 207, description = "of a list, some are taken: see each", body = [JobAnswer]),
        (status = 400, description = "not JSON, not UTF-8, or broken off", body = ErrorBody),
        (status = 408, description = "the body came too slowly", body = ErrorBody),
        (status = 413, description = "too many jobs, or too large", body = ErrorBody),
        (status = 415, description = "not plain JSON", body = ErrorBody),
        (status = 422, description = "none can be taken: see each; or the list is empty", body = AnswersSchema),
        (status = 503, description = "none could be queued now; try again", body = AnswersSchema),
    )
)]
pub(super) async fn submit(
    State(context): State<Arc<Context>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    check_media_type(&parts.headers)?;
    let received = receive(&context, Sender::Caller, &parts.headers, body).await?;
    let intake = &context.app.intake;
    let (status, mut response) = match split(&received.bytes)? {
        Jobs::One(body) => {
            let Some(answer) = intake.submit(vec![body]).await.pop() else {
                tracing::error!("the intake gave no answer for a job");
                return Err(ApiError::internal());
            };
            let status = status_of_one(&answer);
            let answer: JobAnswer = answer.mirror();
            (status, Json(answer).into_response())
        }
        Jobs::Many(bodies) => {
            let answers = intake.submit(bodies).await;
            let status = status_of_many(&answers);
            let answers: Vec<JobAnswer> = answers.mirror();
            (status, Json(answers).into_response())
        }
    };
    *response.status_mut() = status;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}

/// What became of one job, and if it waits, why and until when
#[utoipa::path(
    get,
    path = "/jobs/{id}",
    tag = "jobs",
    security(("token" = ["read"])),
    params(("id" = String, Path, description = "the job's id")),
    responses(
        (status = 200, description = "the job", body = JobView),
        (status = 404, description = "no job with this id is known; one that still is in its lane is not", body = ErrorBody),
        (status = 503, description = "the store does not answer", body = ErrorBody),
    )
)]
pub(super) async fn show(
    State(context): State<Arc<Context>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<JobView>, ApiError> {
    let unknown =
        || ApiError::new(StatusCode::NOT_FOUND, "unknown_job", "no job with this id is known").field("id");
    // A text that cannot be an id is not the id of a job.
    let id = id.ok().and_then(|Path(text)| JobId::new(&text).ok()).ok_or_else(unknown)?;
    let app = &context.app;
    let job = app.console.job(&id).await.inspect_err(log_store_error)?.ok_or_else(unknown)?;
    // The rest of the answer is worth having without the estimate.
    let outlook = app.overview.outlook(&job, app.clock.now()).await;
    let outlook = outlook.inspect_err(log_overview_error).unwrap_or_default();
    Ok(Json(JobView::of(job, outlook)))
}

const fn status_of_one(answer: &IntakeAnswer) -> StatusCode {
    match answer {
        IntakeAnswer::Queued { .. } => StatusCode::ACCEPTED,
        IntakeAnswer::Duplicate { .. } => StatusCode::OK,
        IntakeAnswer::Error { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        IntakeAnswer::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// One word for a list: all taken, none for the same reason, or a mixture that has to be read.
fn status_of_many(answers: &[IntakeAnswer]) -> StatusCode {
    let (mut taken, mut refused, mut unavailable) = (0, 0, 0);
    for answer in answers {
        match answer {
            IntakeAnswer::Queued { .. } | IntakeAnswer::Duplicate { .. } => taken += 1,
            IntakeAnswer::Error { .. } => refused += 1,
            IntakeAnswer::Unavailable { .. } => unavailable += 1,
        }
    }
    match (taken, refused, unavailable) {
        (_, 0, 0) => StatusCode::ACCEPTED,
        (0, _, 0) => StatusCode::UNPROCESSABLE_ENTITY,
        (0, 0, _) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::MULTI_STATUS,
    }
}

impl From<SplitError> for ApiError {
    fn from(error: SplitError) -> Self {
        let (status, code) = match error {
            SplitError::Empty | SplitError::NotJson { .. } => (StatusCode::BAD_REQUEST, "not_json"),
            SplitError::NotUtf8(_) => (StatusCode::BAD_REQUEST, "not_utf8"),
            SplitError::NoJobs => (StatusCode::UNPROCESSABLE_ENTITY, "no_jobs"),
            SplitError::TooMany(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_jobs"),
        };
        Self::new(status, code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use sluice_types::{Refusal, RefusalReason};

    use super::*;

    #[test]
    fn a_list_has_one_status() {
        let id = || "a".to_owned();
        let (queued, duplicate) = (IntakeAnswer::Queued { id: id() }, IntakeAnswer::Duplicate { id: id() });
        let refusal = Refusal::new(RefusalReason::MissingField, "to", "is missing");
        let refused = IntakeAnswer::Error { id: None, refusal };
        let unavailable = IntakeAnswer::Unavailable { id: id() };
        for (answers, status) in [
            (vec![&queued, &queued], 202),
            (vec![&queued, &duplicate], 202),
            (vec![&duplicate], 202),
            (vec![&queued, &refused], 207),
            (vec![&unavailable, &duplicate], 207),
            (vec![&unavailable, &refused], 207),
            (vec![&refused, &refused], 422),
            (vec![&unavailable, &unavailable], 503),
        ] {
            let answers: Vec<_> = answers.into_iter().cloned().collect();
            assert_eq!(status_of_many(&answers).as_u16(), status, "{answers:?}");
        }
    }
}
