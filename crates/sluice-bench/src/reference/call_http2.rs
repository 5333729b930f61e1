//! The same call over HTTP/2: all callers share one connection.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode, Uri, Version};
use tokio::net::TcpStream;

use super::call::{FIRST_FIELD, last_field};

/// The connection to the ESP, and what each request begins with.
#[derive(Clone, Debug)]
pub(super) struct CallerHttp2 {
    requests: SendRequest<Bytes>,
    uri: Uri,
    headers: HeaderMap,
}

impl CallerHttp2 {
    pub(super) async fn connect(esp: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(esp).await.context("cannot reach the ESP")?;
        stream.set_nodelay(true)?;
        let (requests, connection) = Builder::new().handshake(stream).await?;
        #[expect(
            clippy::disallowed_methods,
            reason = "it lives as long as the process, which nobody drains"
        )]
        tokio::spawn(connection);
        let headers = [
            (AUTHORIZATION, HeaderValue::from_static("Bearer bench")),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CONTENT_LENGTH, HeaderValue::from_static("0")),
        ];
        let uri = format!("http://{esp}/v3/mail/send").parse().context("an address is part of a URL")?;
        Ok(Self { requests, uri, headers: HeaderMap::from_iter(headers) })
    }

    /// Sends a job, its body as it came, and waits for the 202.
    pub(super) async fn post(&mut self, id: &str, job: &[u8]) -> anyhow::Result<()> {
        let body = Bytes::from([FIRST_FIELD.as_bytes(), job, last_field(id).as_bytes()].concat());
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let mut requests = self.requests.clone().ready().await.context("the ESP broke off")?;
        let (answer, mut rest) = requests.send_request(request, false)?;
        rest.send_data(body, true)?;
        match answer.await.context("the ESP broke off")?.status() {
            StatusCode::ACCEPTED => Ok(()),
            status => bail!("the ESP answered {status}"),
        }
    }
}
