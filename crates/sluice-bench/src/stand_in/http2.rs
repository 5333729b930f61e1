//! The same over HTTP/2.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::header::HeaderValue;
use http::{Response, StatusCode};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{REQUEST_MAX_BYTES, job_number};
use crate::journal::Journal;

/// Requests on one connection at the same time: any number that a program here has.
const STREAMS_MAX: u32 = 100_000;
/// So that no client has to wait for room.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// One connection, as many requests at a time as the client likes.
pub(super) async fn serve(
    stream: TcpStream,
    journal: Arc<Journal>,
    latency: Duration,
) -> Result<(), h2::Error> {
    let mut connection = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .handshake::<_, Bytes>(stream)
        .await?;
    let mut answers = JoinSet::new();
    let mut is_woken = false;
    // How a request ends that its client gives up is nobody's concern.
    while let Some(request) = poll_fn(|context| {
        // What is to be answered at the same time goes into the same write.
        if std::mem::take(&mut is_woken) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        while let Poll::Ready(Some(_)) = answers.poll_join_next(context) {}
        let accepted = connection.poll_accept(context);
        is_woken = accepted.is_pending();
        accepted
    })
    .await
    {
        let (request, respond) = request?;
        let mut answer = Box::pin(answer(request.into_body(), respond, Arc::clone(&journal), latency));
        // Most requests are whole already, and need no task.
        if futures_util::poll!(&mut answer).is_pending() {
            answers.spawn(answer);
        }
    }
    Ok(())
}

async fn answer(
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    journal: Arc<Journal>,
    latency: Duration,
) -> Result<(), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await.transpose()? {
        body.flow_control().release_capacity(piece.len())?;
        if bytes.len() + piece.len() > REQUEST_MAX_BYTES {
            respond.send_reset(Reason::CANCEL);
            return Ok(());
        }
        bytes.extend_from_slice(&piece);
    }
    journal.record(job_number(&bytes));
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let mut accepted = Response::new(());
    *accepted.status_mut() = StatusCode::ACCEPTED;
    accepted.headers_mut().insert("x-message-id", HeaderValue::from_static("stand-in"));
    respond.send_response(accepted, true)?;
    Ok(())
}
