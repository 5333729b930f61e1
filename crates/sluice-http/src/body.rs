//! Reads the body of a request: so long, so large, and with all others together within a bound.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::ApiError;
use crate::media_type::check_media_type;
use crate::state::Context;

/// Of a body that is too large, so many bytes are still read and forgotten, because a client that is cut off while it
/// writes never sees the answer.
const DISCARD_MAX_BYTES: usize = 64 * 1024 * 1024;
/// And for so long.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest body that orders something; it is a sentence or a word.
const ORDER_MAX_BYTES: usize = 4 * 1024;

/// A whole body, and its share of the bound over all bodies, which is given back with it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _shares: Vec<OwnedSemaphorePermit>,
}

/// Whose bodies are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Somebody whose token was checked, where one is needed.
    Caller,
    /// Somebody who says to be an ESP.
    Webhook,
}

impl Sender {
    /// The bounds that a body of theirs counts under.
    fn rooms(self, context: &Context) -> Vec<&Arc<Semaphore>> {
        match self {
            Self::Caller => vec![&context.body_bytes],
            Self::Webhook => vec![&context.webhook_bytes, &context.body_bytes],
        }
    }
}

/// Why a body was not read to its end.
enum Stop {
    TooLarge,
    NoRoom,
    Broken,
}

/// Reads a small JSON body that orders something.
///
/// # Errors
/// The answer for the client: as for any body, or it is not what the route takes.
pub(crate) async fn receive_order<T: DeserializeOwned>(
    context: &Context,
    request: Request,
) -> Result<T, ApiError> {
    let (parts, body) = request.into_parts();
    check_media_type(&parts.headers)?;
    let received = receive(context, Sender::Caller, &parts.headers, body).await?;
    if received.bytes.len() > ORDER_MAX_BYTES {
        return Err(too_large(&format!("{ORDER_MAX_BYTES} bytes, more than any order needs")));
    }
    let refused = |status, code, error: serde_json::Error| {
        ApiError::new(status, code, format!("the body is not what this route takes: {error}"))
    };
    let json: serde_json::Value = serde_json::from_slice(&received.bytes)
        .map_err(|error| refused(StatusCode::BAD_REQUEST, "not_json", error))?;
    // Serde reads a struct from a list of its values, too.
    if !json.is_object() {
        let message = "the body is not a JSON object".to_owned();
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", message));
    }
    T::deserialize(json).map_err(|error| refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", error))
}

/// Reads the body.
///
/// # Errors
/// The answer for the client: too large, too slow, broken off, or no room now.
pub(crate) async fn receive(
    context: &Context,
    sender: Sender,
    headers: &HeaderMap,
    body: Body,
) -> Result<Received, ApiError> {
    let max = context.limits.body_max_bytes;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let waits_for_leave = headers.contains_key(header::EXPECT);
    let mut stream = body.into_data_stream();
    let read = if announced > max {
        Err(Stop::TooLarge)
    } else {
        match timeout(context.limits.body_timeout, read(context, sender, &mut stream)).await {
            Ok(read) => read,
            Err(_) => return Err(too_slow(context.limits.body_timeout)),
        }
    };
    match read {
        Ok(received) => Ok(received),
        Err(Stop::TooLarge) => {
            let hopeless = announced > max.saturating_add(DISCARD_MAX_BYTES);
            if !waits_for_leave && !hopeless {
                discard(&mut stream).await;
            }
            Err(too_large(&format!("{max} bytes (`http.body_max_bytes`); send fewer jobs at once")))
        }
        Err(Stop::NoRoom) => {
            discard(&mut stream).await;
            Err(ApiError::unavailable("busy", "too many bodies are being read; try again"))
        }
        Err(Stop::Broken) => Err(broken()),
    }
}

async fn read(context: &Context, sender: Sender, stream: &mut BodyDataStream) -> Result<Received, Stop> {
    let mut bytes = BytesMut::new();
    let mut shares = Vec::new();
    for room in sender.rooms(context) {
        shares.push(Arc::clone(room).try_acquire_many_owned(0).map_err(|_| Stop::NoRoom)?);
    }
    while let Some(chunk) = stream.next().await {
        let Ok(chunk) = chunk else { return Err(Stop::Broken) };
        if chunk.len() > context.limits.body_max_bytes - bytes.len() {
            return Err(Stop::TooLarge);
        }
        let permits = u32::try_from(chunk.len()).map_err(|_| Stop::TooLarge)?;
        for share in &mut shares {
            let more = Arc::clone(share.semaphore()).try_acquire_many_owned(permits);
            share.merge(more.map_err(|_| Stop::NoRoom)?);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Received { bytes: bytes.freeze(), _shares: shares })
}

async fn discard(stream: &mut BodyDataStream) {
    let all = async {
        let mut left = DISCARD_MAX_BYTES;
        while let Some(Ok(chunk)) = stream.next().await {
            let Some(rest) = left.checked_sub(chunk.len()) else { return };
            left = rest;
        }
    };
    if timeout(DISCARD_TIMEOUT, all).await.is_err() {
        tracing::debug!("gave up on the rest of a body that is refused");
    }
}

fn too_large(than: &str) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("the body is larger than {than}"))
}

fn too_slow(within: Duration) -> ApiError {
    let message = format!("the body was not complete within {} s", within.as_secs_f32());
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message).header(header::CONNECTION, "close")
}

fn broken() -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "broken_body",
        "the body broke off or is not encoded as its headers say",
    )
    .header(header::CONNECTION, "close")
}
