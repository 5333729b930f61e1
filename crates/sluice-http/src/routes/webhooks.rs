//! `POST /webhooks/{esp}`: what an ESP reports of messages that it has taken.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use sluice_engine::{Reading, Webhook, WebhookCall};
use sluice_types::WebhookRefusal;
use utoipa::ToSchema;

use crate::body::{Sender, receive};
use crate::error::{ApiError, ErrorBody, log_store_error};
use crate::media_type::check_media_type;
use crate::state::Context;

/// What became of the events of a call.
#[derive(Serialize, ToSchema)]
pub(super) struct Taken {
    /// Events that are new and kept.
    taken: u64,
    /// Events that were known.
    duplicates: u64,
    /// Items on messages that are not ours, or that say nothing of a message's fate.
    foreign: u64,
    /// Items that name a job of ours and cannot be read.
    unreadable: u64,
}

/// Take what an ESP reports of messages
///
/// The ESP's own form and signature; no token. Only for ESPs whose webhook is configured (`webhook_public_key`).
/// A repeated call changes nothing, and an event that comes before its job's result is kept for it.
#[utoipa::path(
    post,
    path = "/webhooks/{esp}",
    tag = "events",
    params(
        ("esp" = String, Path, description = "the ESP's name in the configuration", example = "sendgrid-main"),
        ("x-twilio-email-event-webhook-signature" = Option<String>, Header, description = "`sendgrid`: base64 of \
            the ECDSA signature over the time and the body"),
        ("x-twilio-email-event-webhook-timestamp" = Option<String>, Header, description = "`sendgrid`: the time \
            that is signed, Unix seconds"),
    ),
    request_body(content = Vec<Object>, content_type = "application/json", description = "as the ESP sends it"),
    responses(
        (status = 200, description = "every event is kept, now or before", body = Taken),
        (status = 400, description = "not what this ESP sends (`malformed`), or broken off", body = ErrorBody),
        (status = 403, description = "it is not signed (`unsigned`), or the signature does not fit (`bad_signature`) or \
            is too old (`stale`)", body = ErrorBody),
        (status = 404, description = "no ESP of this name has a webhook (`no_webhook`)", body = ErrorBody),
        (status = 408, description = "the body came too slowly", body = ErrorBody),
        (status = 413, description = "too large, or too many events (`too_many`)", body = ErrorBody),
        (status = 415, description = "not plain JSON", body = ErrorBody),
        (status = 503, description = "the store does not answer; nothing is lost if the ESP tries again", body = ErrorBody),
    )
)]
pub(super) async fn take(
    State(context): State<Arc<Context>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Taken>, ApiError> {
    let app = &context.app;
    let refuse = |reason| refused(&context, reason);
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    let webhook = app.webhooks.iter().find(|webhook| webhook.esp().as_str() == name);
    let Some(webhook) = webhook else { return Err(refuse(WebhookRefusal::NoWebhook)) };
    let (parts, body) = request.into_parts();
    check_media_type(&parts.headers)?;
    let received = receive(&context, Sender::Webhook, &parts.headers, body).await?;
    let esp = webhook.esp();
    let read = read(webhook.as_ref(), &context, &parts.headers, &received.bytes);
    let Reading { events, foreign, unreadable } = read.map_err(|reason| {
        // By its configured name: the path is the client's text.
        tracing::warn!(%esp, %reason, "a webhook call was refused");
        refuse(reason)
    })?;
    let landed = app.events.land(esp, &events).await.inspect_err(log_store_error)?;
    for event in &events {
        app.metrics.event(esp, event.kind);
    }
    app.metrics.event_duplicates(esp, landed.duplicates);
    app.metrics.events_left_out(esp, foreign, unreadable);
    app.bounces.count(&landed.moved);
    Ok(Json(Taken { taken: landed.fresh, duplicates: landed.duplicates, foreign, unreadable }))
}

fn read(
    webhook: &dyn Webhook,
    context: &Context,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Reading, WebhookRefusal> {
    let headers: Vec<(&str, &[u8])> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    webhook.read(&WebhookCall { headers: &headers, body, now: context.app.clock.now() })
}

fn refused(context: &Context, reason: WebhookRefusal) -> ApiError {
    context.app.metrics.webhook_refused(reason);
    let (status, message) = match reason {
        WebhookRefusal::NoWebhook => {
            (StatusCode::NOT_FOUND, "no ESP of this name has a webhook; see `webhook_public_key` in [[esp]]")
        }
        WebhookRefusal::Unsigned => {
            (StatusCode::FORBIDDEN, "the call is not signed, or its signature is there more than once")
        }
        WebhookRefusal::BadSignature => {
            (StatusCode::FORBIDDEN, "the signature does not fit the body and the configured key")
        }
        WebhookRefusal::Stale => {
            (StatusCode::FORBIDDEN, "it was signed too long ago, or ahead of this machine's clock")
        }
        WebhookRefusal::Malformed => (StatusCode::BAD_REQUEST, "the body is not what this ESP sends"),
        WebhookRefusal::TooMany => (StatusCode::PAYLOAD_TOO_LARGE, "too many events in one call"),
    };
    ApiError::new(status, reason.as_str(), message)
}
