//! SendGrid as a caller of ours: it signs what it reports.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

/// DER before the point of a P-256 public key (RFC 5480).
const SPKI: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

/// Holds the private half of a verification key.
pub(crate) struct WebhookSender {
    pair: EcdsaKeyPair,
    http: reqwest::Client,
}

impl WebhookSender {
    pub(crate) fn new() -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Self { pair, http: reqwest::Client::new() }
    }

    /// What the configuration has as `webhook_public_key`.
    pub(crate) fn public_key(&self) -> String {
        BASE64_STANDARD.encode([SPKI, self.pair.public_key().as_ref()].concat())
    }

    /// Posts events, signed now; answers status and body.
    pub(crate) async fn post(&self, to: SocketAddr, esp: &str, events: &[Value]) -> (u16, Value) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        self.post_signed_at(to, esp, events, now).await
    }

    /// The same, signed at another time.
    pub(crate) async fn post_signed_at(
        &self,
        to: SocketAddr,
        esp: &str,
        events: &[Value],
        at: u64,
    ) -> (u16, Value) {
        let body = format!("{}\r\n", Value::from(events));
        let signed = format!("{at}{body}");
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        let call = self
            .http
            .post(format!("http://{to}/webhooks/{esp}"))
            .header("content-type", "application/json")
            .header("X-Twilio-Email-Event-Webhook-Signature", BASE64_STANDARD.encode(signature))
            .header("X-Twilio-Email-Event-Webhook-Timestamp", at.to_string())
            .body(body);
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Posts events without a signature; answers the status.
    pub(crate) async fn post_unsigned(&self, to: SocketAddr, esp: &str, events: &[Value]) -> u16 {
        let call = self.http.post(format!("http://{to}/webhooks/{esp}")).json(events);
        call.send().await.unwrap().status().as_u16()
    }
}

/// An event on the first attempt of a job, as SendGrid writes it.
pub(crate) fn event(kind: &str, job: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({
        "email": "ada@gmail.com", "timestamp": now, "event": kind, "sg_event_id": format!("{job}-{kind}"),
        "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
        "job_id": job, "tenant": "default", "attempt": "1"
    })
}
