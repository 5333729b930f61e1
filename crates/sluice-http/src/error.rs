//! The one form of an error that a client sees: `{"error": {"code", "message", "field"?}}`.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sluice_engine::{LedgerError, OverviewError};
use utoipa::ToSchema;

/// A request that cannot be served, for its client.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    field: Option<&'static str>,
    header: Option<(HeaderName, &'static str)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), field: None, header: None }
    }

    /// Names the header or parameter at fault.
    pub(crate) fn field(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }

    /// Adds a header to the answer.
    pub(crate) fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request failed; the log says why")
    }

    pub(crate) fn store_unavailable() -> Self {
        Self::unavailable("store_unavailable", "the store does not answer; try again")
    }

    pub(crate) fn unavailable(code: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).header(header::RETRY_AFTER, "1")
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Unavailable(_) => Self::store_unavailable(),
            LedgerError::Refused(_) => Self::internal(),
        }
    }
}

impl From<OverviewError> for ApiError {
    fn from(error: OverviewError) -> Self {
        const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;
        const UNPROCESSABLE: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
        let (status, code, field) = match &error {
            OverviewError::Fleet(_) | OverviewError::Slots(_) => return Self::store_unavailable(),
            OverviewError::Ledger(LedgerError::Unavailable(_)) => return Self::store_unavailable(),
            OverviewError::Ledger(LedgerError::Refused(_)) => return Self::internal(),
            OverviewError::Key { .. } | OverviewError::Window { .. } => (UNPROCESSABLE, "bad_key", "key"),
            OverviewError::Domain { .. } | OverviewError::DomainOfGroup { .. } => {
                (UNPROCESSABLE, "bad_key", "key")
            }
            OverviewError::UnknownEsp { .. } => (NOT_FOUND, "unknown_esp", "esp"),
            OverviewError::UnknownGroup { .. } => (NOT_FOUND, "unknown_group", "key"),
            OverviewError::NotSet { .. } => (NOT_FOUND, "not_set", "key"),
            OverviewError::Ambiguous { .. } => (StatusCode::CONFLICT, "ambiguous", "key"),
            OverviewError::WarmUp { .. } => (UNPROCESSABLE, "warm_up", "key"),
            OverviewError::Spec { .. } => (UNPROCESSABLE, "bad_limit", "limit"),
            OverviewError::WindowDiffers { .. } => (UNPROCESSABLE, "window_differs", "limit"),
            OverviewError::NoConnections { .. } => (UNPROCESSABLE, "no_connections", "limit"),
            OverviewError::Tenant { .. } => (UNPROCESSABLE, "bad_name", "tenant"),
            OverviewError::Campaign { .. } => (UNPROCESSABLE, "bad_name", "campaign"),
        };
        Self::new(status, code, error.to_string()).field(field)
    }
}

/// Logs that the store could not be asked, with the cause, where the request ends.
pub(crate) fn log_store_error(error: &LedgerError) {
    let (LedgerError::Unavailable(cause) | LedgerError::Refused(cause)) = error;
    tracing::warn!(%error, %cause, "could not ask the store for a client");
}

/// The same for the overview; what the client itself got wrong is for the client alone.
pub(crate) fn log_overview_error(error: &OverviewError) {
    if !error.is_refusal() {
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(%error, cause, "could not ask the store for a client");
    }
}

/// Why a request was not served.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorDetail,
}

/// One word for programs, one sentence for people.
#[derive(Serialize, ToSchema)]
struct ErrorDetail {
    /// From a list that only grows.
    #[schema(example = "store_unavailable")]
    code: &'static str,
    /// What was wrong, and what to do.
    #[schema(example = "the store does not answer; try again")]
    message: Cow<'static, str>,
    /// The header, parameter or member at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = ErrorDetail { code: self.code, message: self.message, field: self.field };
        let mut response = (self.status, Json(ErrorBody { error })).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
