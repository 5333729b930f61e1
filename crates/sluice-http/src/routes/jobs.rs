//! `POST /jobs`: takes one job or a list of them. `GET /jobs/{id}`: what became of one.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sluice_engine::{IntakeAnswer, JobView};
use sluice_types::JobId;

use crate::body::receive;
use crate::error::{ApiError, log_store_error};
use crate::split::{Jobs, SplitError, split};
use crate::state::Context;

/// Takes jobs; one answer per job, in order.
pub(super) async fn submit(
    State(context): State<Arc<Context>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    check_encoding(&parts.headers)?;
    let received = receive(&context, &parts.headers, body).await?;
    let intake = &context.app.intake;
    let (status, mut response) = match split(&received.bytes)? {
        Jobs::One(body) => {
            let Some(answer) = intake.submit(vec![body]).await.pop() else {
                tracing::error!("the intake gave no answer for a job");
                return Err(ApiError::internal());
            };
            (status_of_one(&answer), Json(answer).into_response())
        }
        Jobs::Many(bodies) => {
            let answers = intake.submit(bodies).await;
            (status_of_many(&answers), Json(answers).into_response())
        }
    };
    *response.status_mut() = status;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}

/// One job.
pub(super) async fn show(
    State(context): State<Arc<Context>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<JobView>, ApiError> {
    let unknown =
        || ApiError::new(StatusCode::NOT_FOUND, "unknown_job", "no job with this id is known").field("id");
    // A text that cannot be an id is not the id of a job.
    let id = id.ok().and_then(|Path(text)| JobId::new(&text).ok()).ok_or_else(unknown)?;
    let job = context.app.console.job(&id).await.inspect_err(log_store_error)?;
    job.map(Json).ok_or_else(unknown)
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

/// Only plain JSON is read. A request may leave its type out, unless a browser sent it for a page: a page of anybody can
/// make a browser post without a type to this machine, but must ask first before it may post JSON.
fn check_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let unsupported = |message: &'static str| {
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    };
    if headers.get(header::CONTENT_ENCODING).is_some_and(|it| it != "identity") {
        return Err(unsupported("compressed bodies are not read").field("content-encoding"));
    }
    let json = match headers.get(header::CONTENT_TYPE) {
        Some(value) => value.to_str().is_ok_and(is_json),
        None => !headers.contains_key(header::ORIGIN),
    };
    if json { Ok(()) } else { Err(unsupported("the body must be application/json").field("content-type")) }
}

/// `application/json` or `application/<something>+json`, with or without parameters.
fn is_json(value: &str) -> bool {
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.strip_prefix("application/").is_some_and(|subtype| {
        subtype == "json" || subtype.strip_suffix("+json").is_some_and(|it| !it.is_empty())
    })
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

    #[test]
    fn json_by_any_of_its_names() {
        for (value, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.acme+json", true),
            ("application/+json", false),
            ("text/plain", false),
            ("application/jsonx", false),
            ("text/json", false),
            ("", false),
        ] {
            assert_eq!(is_json(value), json, "{value}");
        }
    }
}
