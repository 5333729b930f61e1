//! SendGrid as a caller of ours: it signs what it reports, and posts it over connections that stay open.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::Value;

/// DER before the point of a P-256 public key (RFC 5480).
const SPKI: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
/// For the answer to a call: it comes when all its events are committed.
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// Holds the private half of a verification key.
#[derive(Debug)]
pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| anyhow!("no key"))?;
        let pair =
            EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).map_err(|_| anyhow!("no key"))?;
        Ok(Self { pair, random })
    }

    /// What the configuration has as `webhook_public_key`.
    pub(crate) fn public_key(&self) -> String {
        BASE64_STANDARD.encode([SPKI, self.pair.public_key().as_ref()].concat())
    }

    /// A whole request to `path` with `body`, signed now.
    pub(crate) fn request(&self, path: &str, body: &str) -> anyhow::Result<Vec<u8>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
        let signed = format!("{now}{body}");
        let signature =
            self.pair.sign(&self.random, signed.as_bytes()).map_err(|_| anyhow!("cannot sign"))?;
        let signature = BASE64_STANDARD.encode(signature);
        let length = body.len();
        Ok(format!(
            "POST {path} HTTP/1.1\r\nhost: sluice\r\ncontent-type: application/json\r\n\
             x-twilio-email-event-webhook-signature: {signature}\r\n\
             x-twilio-email-event-webhook-timestamp: {now}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes())
    }
}

/// One connection that stays open.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Line {
    pub(crate) fn connect(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).context("cannot reach the worker")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, answer: Vec::new() })
    }

    /// Sends a request and waits for its answer: status and body.
    pub(crate) fn call(&mut self, request: &[u8]) -> anyhow::Result<(u16, Value)> {
        self.stream.write_all(request).context("cannot send")?;
        self.answer.clear();
        let mut part = [0; 4096];
        loop {
            let read = self.stream.read(&mut part).context("no answer")?;
            ensure!(read > 0 && self.answer.len() <= ANSWER_MAX_BYTES, "the worker broke off");
            self.answer.extend_from_slice(part.get(..read).unwrap_or_default());
            if let Some((status, body)) = whole(&self.answer)? {
                return Ok((status, serde_json::from_slice(body).context("the answer is not JSON")?));
            }
        }
    }
}

/// Status and body of an answer, once it is whole.
fn whole(answer: &[u8]) -> anyhow::Result<Option<(u16, &[u8])>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(answer).context("not HTTP/1.1")? else {
        return Ok(None);
    };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    let (Some(length), Some(status)) = (length, response.code) else { bail!("an answer without a length") };
    Ok(answer.get(head..head.saturating_add(length)).map(|body| (status, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_body() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(whole(answer).unwrap(), Some((200, &b"{}"[..])));
        assert_eq!(whole(&answer[..answer.len() - 1]).unwrap(), None);
        assert_eq!(whole(&answer[..20]).unwrap(), None);
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_is_signed_and_has_its_length() {
        let signer = Signer::new().unwrap();
        assert_eq!(BASE64_STANDARD.decode(signer.public_key()).unwrap().len(), SPKI.len() + 65);
        let request = String::from_utf8(signer.request("/webhooks/x", "[]").unwrap()).unwrap();
        assert!(request.contains("content-length: 2\r\n") && request.ends_with("\r\n\r\n[]"), "{request}");
    }
}
