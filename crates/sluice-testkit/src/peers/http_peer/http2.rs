//! A connection of HTTP/2, with as many requests at a time as the client likes.

use std::future::pending;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{HttpAnswer, HttpRequest, Service};
use crate::peers::http_request::MAX_BODY_BYTES;

/// Whether the connection lives on.
#[derive(PartialEq, Eq)]
enum Then {
    GoOn,
    Cut,
}

pub(super) async fn serve(stream: TcpStream, service: Service) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            Some(answered) = answers.join_next() => {
                // One that broke off concerns its stream alone.
                if matches!(answered, Ok(Ok(Then::Cut))) {
                    return Ok(());
                }
            }
            request = connection.accept() => {
                let Some(request) = request else { return Ok(()) };
                let (request, respond) = request?;
                answers.spawn(answer(request, respond, service.clone()));
            }
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    service: Service,
) -> Result<Then, h2::Error> {
    if service.cut_at_head.load(Ordering::SeqCst) {
        return Ok(Then::Cut);
    }
    let Some(request) = read(request).await? else {
        respond.send_reset(Reason::CANCEL);
        return Ok(Then::GoOn);
    };
    match (service.handler)(request) {
        HttpAnswer::Reply { status, headers, body, after } => {
            tokio::time::sleep(after).await;
            let mut reply = Response::builder().status(status);
            for (name, value) in headers {
                reply = reply.header(name, value);
            }
            let reply = reply.body(()).expect("what a script answers is HTTP");
            let mut rest = respond.send_response(reply, body.is_empty())?;
            if !body.is_empty() {
                rest.send_data(body.into(), true)?;
            }
            Ok(Then::GoOn)
        }
        HttpAnswer::Raw { .. } | HttpAnswer::Cut => Ok(Then::Cut),
        HttpAnswer::Hang => pending().await,
    }
}

/// A whole request; `None` when it is larger than any.
async fn read(request: Request<RecvStream>) -> Result<Option<HttpRequest>, h2::Error> {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await.transpose()? {
        stream.flow_control().release_capacity(piece.len())?;
        if body.len() + piece.len() > MAX_BODY_BYTES {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    Ok(Some(HttpRequest {
        version: "2",
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
            .collect(),
        body,
        received: Instant::now(),
    }))
}
