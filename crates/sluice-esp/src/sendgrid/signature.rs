//! SendGrid's signed event webhook: ECDSA P-256 over SHA-256 of the time and the body.
//!
//! Source: `helpers/eventwebhook` of SendGrid's own libraries, whose test vector is tested here (November 2026).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use sluice_engine::WebhookCall;
use sluice_types::{Timestamp, WebhookRefusal};

use crate::webhook::from_unix_seconds;

/// Base64 of a DER signature.
const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";
/// Unix seconds as text; its bytes are signed before the body's.
const TIMESTAMP: &str = "x-twilio-email-event-webhook-timestamp";
/// The longest header that is looked at: a DER signature over P-256 has at most 72 bytes, 96 in base64.
const HEADER_MAX_BYTES: usize = 128;
/// What stands before the point in every `SubjectPublicKeyInfo` of an uncompressed P-256 key (RFC 5480).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point: 4, then both coordinates.
const POINT_BYTES: usize = 65;

/// The key that SendGrid shows as "verification key".
#[derive(Clone, Debug)]
pub(super) struct VerificationKey(UnparsedPublicKey<Vec<u8>>);

impl VerificationKey {
    /// Reads base64 of a DER `SubjectPublicKeyInfo`; `None` when it is no P-256 key.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let der = BASE64_STANDARD.decode(text.trim()).ok()?;
        let point = der.strip_prefix(&SPKI_PREFIX)?;
        if point.len() != POINT_BYTES || point.first() != Some(&4) {
            return None;
        }
        Some(Self(UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point.to_vec())))
    }

    /// Checks that the call was signed with the key's other half; answers when.
    ///
    /// # Errors
    /// When a header is missing, or the signature does not fit.
    pub(super) fn check(&self, call: &WebhookCall<'_>) -> Result<Timestamp, WebhookRefusal> {
        let header = |name| call.header(name).filter(|text| text.len() <= HEADER_MAX_BYTES);
        let (Some(signature), Some(time)) = (header(SIGNATURE), header(TIMESTAMP)) else {
            return Err(WebhookRefusal::Unsigned);
        };
        let signature = BASE64_STANDARD.decode(signature).map_err(|_| WebhookRefusal::BadSignature)?;
        let mut signed = Vec::with_capacity(time.len() + call.body.len());
        signed.extend_from_slice(time.as_bytes());
        signed.extend_from_slice(call.body);
        self.0.verify(&signed, &signature).map_err(|_| WebhookRefusal::BadSignature)?;
        // Signed and yet no time: it is SendGrid's, and not of the form that we know.
        time.parse().ok().and_then(from_unix_seconds).ok_or(WebhookRefusal::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
    const SIGNED: &[u8] =
        b"MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=";
    const AT: &[u8] = b"1600112502";
    const BODY: &[u8] = b"[{\"email\":\"hello@world.com\",\"event\":\"dropped\",\"reason\":\"Bounced Address\",\"sg_event_id\":\"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA\",\"sg_message_id\":\"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0\",\"smtp-id\":\"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>\",\"timestamp\":1600112492}]\r\n";

    fn check(headers: &[(&str, &[u8])], body: &[u8]) -> Result<i64, WebhookRefusal> {
        let call = WebhookCall { headers, body, now: Timestamp::from_micros(0) };
        VerificationKey::parse(KEY).unwrap().check(&call).map(Timestamp::as_micros)
    }

    #[test]
    fn sendgrids_own_test_vector_is_taken() {
        assert_eq!(check(&[(SIGNATURE, SIGNED), (TIMESTAMP, AT)], BODY), Ok(1_600_112_502_000_000));
    }

    #[test]
    fn what_is_not_signed_is_told_apart_from_what_is_signed_wrongly() {
        use WebhookRefusal::{BadSignature, Unsigned};
        let long = vec![b'A'; 1_000];
        for (headers, refusal) in [
            (&[][..], Unsigned),
            (&[(SIGNATURE, SIGNED)], Unsigned),
            (&[(TIMESTAMP, AT)], Unsigned),
            (&[(SIGNATURE, SIGNED), (SIGNATURE, SIGNED), (TIMESTAMP, AT)], Unsigned),
            (&[(SIGNATURE, &long[..]), (TIMESTAMP, AT)], Unsigned),
            (&[(SIGNATURE, SIGNED), (TIMESTAMP, b"1600112503")], BadSignature),
            (&[(SIGNATURE, b"%%%"), (TIMESTAMP, AT)], BadSignature),
            (&[(SIGNATURE, b""), (TIMESTAMP, AT)], BadSignature),
        ] {
            assert_eq!(check(headers, BODY), Err(refusal), "{headers:?}");
        }
        let mut other = BODY.to_vec();
        other[5] ^= 1;
        assert_eq!(check(&[(SIGNATURE, SIGNED), (TIMESTAMP, AT)], &other), Err(BadSignature));
    }

    #[test]
    fn only_a_p256_key_is_a_key() {
        let short = KEY.get(..80).unwrap();
        for text in ["", "x", "AAAA", short, "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="] {
            assert!(VerificationKey::parse(text).is_none(), "{text}");
        }
        assert!(VerificationKey::parse(&format!(" {KEY}\n")).is_some());
    }
}
