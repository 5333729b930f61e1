use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The time of the events here, 2020-09-14.
const NOW_S: i64 = 1_600_112_600;

fn read(body: &[u8]) -> Result<Reading, WebhookRefusal> {
    let settings = SendGridWebhookSettings {
        id: "grid".parse().unwrap(),
        public_key: None,
        max_age: Duration::from_secs(60),
    };
    let now = from_unix_seconds(NOW_S).unwrap();
    SendGridWebhook::new(&settings).unwrap().read(&WebhookCall { headers: &[], body, now })
}

/// One event of a job of ours, sent by a version before, with these fields beside.
fn one(fields: &Value) -> Reading {
    let mut event = json!({
        "email": "Ada@gmail.com", "timestamp": 1_600_112_492, "sg_event_id": "e1", "job_id": "job-1",
        "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
        "tenant": "acme", "attempt": "2", "order": "17", "ip": "10.0.0.1"
    });
    event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    read(json!([event]).to_string().as_bytes()).unwrap()
}

#[test]
fn every_field_of_an_event_is_read() {
    let reading = one(
        &json!({"event": "bounce", "type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 <ada@gmail.com>\r\nno such user"}),
    );
    let expected = EspEvent {
        job: "job-1".parse().unwrap(),
        tenant: Some("acme".parse().unwrap()),
        attempt: Some(2),
        kind: EventKind::Bounced,
        event_id: "e1".to_owned(),
        provider_message_id: Some("LRzXl_NHStOGhQ4kofSm_A".to_owned()),
        occurred_at: from_unix_seconds(1_600_112_492).unwrap(),
        category: Some(Category::RecipientUnknown),
        detail: Some("550 5.1.1 [address] no such user".to_owned()),
        suppress: Some(Suppress {
            recipient: Address::parse("Ada@gmail.com").unwrap(),
            reason: SuppressReason::Bounce,
        }),
    };
    assert_eq!(reading, Reading { events: vec![expected], foreign: 0, unreadable: 0 });
}

#[test]
fn every_kind_has_its_meaning() {
    use Category::{Content, Policy, RecipientUnavailable, RecipientUnknown, Suppressed, Temporary};
    use EventKind::{
        Bounced, Clicked, Complained, Deferred, Delivered, Dropped, Opened, Processed, Unsubscribed,
    };
    use SuppressReason::{Bounce, Complaint, Unsubscribe};
    for (fields, kind, category, suppress) in [
        (json!({"event": "processed"}), Processed, None, None),
        (json!({"event": "deferred", "response": "450 later"}), Deferred, Some(Temporary), None),
        (json!({"event": "delivered"}), Delivered, None, None),
        (json!({"event": "open"}), Opened, None, None),
        (json!({"event": "click"}), Clicked, None, None),
        (json!({"event": "spamreport"}), Complained, None, Some(Complaint)),
        (json!({"event": "unsubscribe"}), Unsubscribed, None, Some(Unsubscribe)),
        (json!({"event": "group_unsubscribe"}), Unsubscribed, None, Some(Unsubscribe)),
        (json!({"event": "bounce"}), Bounced, Some(RecipientUnknown), Some(Bounce)),
        (
            json!({"event": "bounce", "status": "5.0.0", "type": "bounce"}),
            Bounced,
            Some(RecipientUnknown),
            Some(Bounce),
        ),
        (
            json!({"event": "bounce", "status": "5.2.2", "type": "bounce"}),
            Bounced,
            Some(RecipientUnavailable),
            None,
        ),
        (json!({"event": "bounce", "status": "4.2.2"}), Bounced, Some(RecipientUnavailable), None),
        (json!({"event": "bounce", "status": "5.7.1", "type": "blocked"}), Bounced, Some(Policy), None),
        (json!({"event": "bounce", "type": "blocked"}), Bounced, Some(Policy), None),
        (json!({"event": "bounce", "bounce_classification": "Content"}), Bounced, Some(Content), None),
        (json!({"event": "bounce", "bounce_classification": "Reputation"}), Bounced, Some(Policy), None),
        (json!({"event": "dropped", "reason": "Bounced Address"}), Dropped, Some(Suppressed), Some(Bounce)),
        (
            json!({"event": "dropped", "reason": "Unsubscribed Address"}),
            Dropped,
            Some(Suppressed),
            Some(Unsubscribe),
        ),
        (
            json!({"event": "dropped", "reason": "Spam Reporting Address"}),
            Dropped,
            Some(Suppressed),
            Some(Complaint),
        ),
        (
            json!({"event": "dropped", "reason": "Recipient List over Package Quota"}),
            Dropped,
            Some(Policy),
            None,
        ),
        (json!({"event": "dropped"}), Dropped, Some(Policy), None),
    ] {
        let reading = one(&fields);
        let [event] = reading.events.as_slice() else { panic!("{fields}: {reading:?}") };
        let reason = event.suppress.as_ref().map(|it| it.reason);
        assert_eq!((event.kind, event.category, reason), (kind, category, suppress), "{fields}");
    }
}

#[test]
fn only_a_bounce_that_is_the_mailbox_s_fault_suppresses() {
    use Category::{
        Content, Policy, Protocol, RecipientUnavailable, RecipientUnknown, SenderConfig, Temporary,
    };
    for (status, category, suppresses) in [
        ("5.1.1", RecipientUnknown, true),
        ("5.1.2", RecipientUnknown, true),
        ("5.1.7", SenderConfig, false),
        ("5.1.8", SenderConfig, false),
        ("5.1.10", RecipientUnknown, true),
        ("5.2.1", RecipientUnknown, true),
        ("5.2.2", RecipientUnavailable, false),
        ("5.2.3", Content, false),
        ("5.3.0", Policy, false),
        ("5.3.2", Temporary, false),
        ("5.3.4", Content, false),
        ("5.4.1", RecipientUnknown, true),
        ("5.4.4", RecipientUnknown, true),
        ("5.4.6", RecipientUnavailable, false),
        ("5.5.0", RecipientUnknown, true),
        ("5.5.3", Protocol, false),
        ("5.6.1", Content, false),
        ("5.7.1", Policy, false),
        ("5.7.17", RecipientUnknown, true),
        ("5.7.26", Policy, false),
        ("", RecipientUnknown, true),
        ("550", RecipientUnknown, true),
    ] {
        let event =
            one(&json!({"event": "bounce", "type": "bounce", "status": status})).events.pop().unwrap();
        assert_eq!((event.category, event.suppress.is_some()), (Some(category), suppresses), "{status:?}");
    }
}

#[test]
fn what_is_not_ours_or_says_nothing_is_counted_and_left() {
    for (fields, foreign, unreadable) in [
        (json!({"event": "group_resubscribe"}), 1, 0),
        (json!({"event": "a new kind"}), 1, 0),
        (json!({"event": "delivered", "job_id": null}), 1, 0),
        (json!({"event": "delivered", "job_id": ""}), 1, 0),
        (json!({"event": "delivered", "job_id": 17}), 1, 0),
        (json!({"event": null}), 0, 1),
        (json!({"event": "delivered", "job_id": "a b"}), 0, 1),
        (json!({"event": "delivered", "job_id": "x".repeat(200)}), 0, 1),
        (json!({"event": "delivered", "tenant": "no tenant!"}), 0, 1),
    ] {
        let reading = one(&fields);
        assert_eq!((reading.foreign, reading.unreadable), (foreign, unreadable), "{fields}");
        assert!(reading.events.is_empty());
    }
    let mixed = read(br#"[1, null, "x", [], {"job_id": "j", "event": "delivered"}]"#).unwrap();
    assert_eq!((mixed.events.len(), mixed.unreadable), (1, 4));
}

/// Whose it is, the store finds by the job; to say "default" here kept it from the job of any other tenant.
#[test]
fn an_event_without_a_tenant_says_none() {
    for (tenant, expected) in [
        (json!(null), None),
        (json!(""), None),
        (json!("default"), Some("default")),
        (json!("acme"), Some("acme")),
    ] {
        let event = one(&json!({"event": "bounce", "tenant": tenant})).events.pop().unwrap();
        assert_eq!(event.tenant.as_ref().map(Tenant::as_str), expected, "{tenant}");
    }
    let bare = read(br#"[{"event": "bounce", "job_id": "j", "email": "ada@gmail.com"}]"#).unwrap();
    assert_eq!(bare.events[0].tenant, None);
}

/// The event of a job with such metadata: what SendGrid itself writes stands in the fields of these names.
#[test]
fn neither_metadata_nor_sendgrid_s_own_count_is_taken_for_ours() {
    let job = json!({
        "v": 1, "id": "job-1", "tenant": "acme", "from": {"email": "a@b.cc"}, "to": {"email": "d@e.ff"}, "subject": "s",
        "text": "t", "metadata": {"tenant": "other", "attempt": "99", "reason": "spring", "order": "17"}
    });
    let job = sluice_types::Job::parse(job.to_string().as_bytes()).unwrap();
    let mut event: Map<String, Value> = super::super::custom_args::custom_args(&job, "3")
        .into_iter()
        .map(|(name, value)| (name.into_owned(), value.into()))
        .collect();
    for (name, value) in
        [("meta_tenant", "other"), ("meta_attempt", "99"), ("meta_reason", "spring"), ("order", "17")]
    {
        assert_eq!(event.get(name), Some(&json!(value)), "{event:?}");
    }
    let own = json!({"event": "deferred", "attempt": "5", "response": "450 later", "sg_event_id": "e1"});
    event.extend(own.as_object().unwrap().clone());
    let read =
        read(Value::from(vec![Value::Object(event)]).to_string().as_bytes()).unwrap().events.pop().unwrap();
    assert_eq!((read.job.as_str(), read.tenant.as_ref().map(Tenant::as_str)), ("job-1", Some("acme")));
    assert_eq!((read.attempt, read.detail.as_deref()), (Some(3), Some("450 later")));
}

#[test]
fn the_names_of_versions_before_are_read_where_ours_are_missing() {
    let attempt = |fields: Value| one(&fields).events.pop().unwrap().attempt;
    assert_eq!(attempt(json!({"event": "delivered"})), Some(2));
    assert_eq!(attempt(json!({"event": "deferred", "attempt": "5"})), None);
    assert_eq!(attempt(json!({"event": "delivered", "sluice_job_id": "job-1"})), None);
    let both = json!({"event": "delivered", "sluice_job_id": "job-2", "sluice_attempt": "7"});
    let event = one(&both).events.pop().unwrap();
    assert_eq!((event.job.as_str(), event.tenant, event.attempt), ("job-2", None, Some(7)));
}

#[test]
fn odd_fields_do_not_spoil_an_event() {
    for fields in [
        json!({"timestamp": "1600112492"}),
        json!({"timestamp": i64::MAX, "sg_message_id": "x".repeat(300)}),
        json!({"timestamp": 1.5e300, "attempt": -1, "reason": {"a": []}}),
        json!({"timestamp": null, "sg_event_id": 7, "attempt": "many", "email": "no address"}),
        json!({"sg_message_id": ".", "tenant": null}),
    ] {
        let mut fields = fields;
        fields["event"] = "bounce".into();
        let event = one(&fields).events.pop().unwrap();
        let at = event.occurred_at.as_micros() / 1_000_000;
        assert!([1_600_112_492, NOW_S].contains(&at), "{fields}: {event:?}");
    }
    assert_eq!(one(&json!({"event": "bounce", "email": "no address"})).events[0].suppress, None);
}

#[test]
fn a_call_that_is_no_list_of_events_is_refused() {
    let deep = "[".repeat(100_000);
    for body in ["", "{}", "[", "[{}", "null", "[]x", "\u{feff}[]", deep.as_str()] {
        assert_eq!(read(body.as_bytes()), Err(WebhookRefusal::Malformed), "{:.20}", body);
    }
    assert_eq!(read(b"[]"), Ok(Reading::default()));
}

#[test]
fn a_call_with_too_many_events_is_refused_whole() {
    let list = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    assert_eq!(read(list(EVENTS_MAX).as_bytes()).map(|it| it.foreign), Ok(EVENTS_MAX as u64));
    assert_eq!(read(list(EVENTS_MAX + 1).as_bytes()), Err(WebhookRefusal::TooMany));
}

#[test]
fn a_signed_call_is_taken_as_long_as_it_is_fresh() {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
    let random = ring::rand::SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let mut spki = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00".to_vec();
    spki.extend_from_slice(pair.public_key().as_ref());
    let settings = SendGridWebhookSettings {
        id: "grid".parse().unwrap(),
        public_key: Some(BASE64_STANDARD.encode(spki)),
        max_age: Duration::from_secs(3600),
    };
    let webhook = SendGridWebhook::new(&settings).unwrap();
    let body = br#"[{"job_id": "j", "event": "delivered"}]"#;
    let call = |at: i64, now: i64| {
        let time = at.to_string();
        let signed = [time.as_bytes(), body].concat();
        let signature = BASE64_STANDARD.encode(pair.sign(&random, &signed).unwrap());
        let headers: [(&str, &[u8]); 2] = [
            ("x-twilio-email-event-webhook-signature", signature.as_bytes()),
            ("x-twilio-email-event-webhook-timestamp", time.as_bytes()),
        ];
        webhook.read(&WebhookCall { headers: &headers, body, now: from_unix_seconds(now).unwrap() })
    };
    assert_eq!(call(NOW_S, NOW_S).map(|it| it.events.len()), Ok(1));
    assert_eq!(call(NOW_S, NOW_S + 3_601), Err(WebhookRefusal::Stale));
    assert_eq!(call(NOW_S + 301, NOW_S), Err(WebhookRefusal::Stale));
    let unsigned = WebhookCall { headers: &[], body, now: from_unix_seconds(NOW_S).unwrap() };
    assert_eq!(webhook.read(&unsigned), Err(WebhookRefusal::Unsigned));
    let bad = SendGridWebhookSettings { public_key: Some("AAAA".to_owned()), ..settings };
    assert!(SendGridWebhook::new(&bad).unwrap_err().to_string().contains("webhook_public_key"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        read(&body).ok();
    }

    /// Whatever stands in the fields, an event is ours, foreign or unreadable, within bounds, and shows no address.
    #[test]
    fn any_values_make_one_reading(
        word in prop_oneof![Just("bounce".to_owned()), Just("dropped".to_owned()), Just("spamreport".to_owned()), ".*"],
        values in proptest::collection::vec(prop_oneof![
            Just(Value::Null), any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from),
            ".{0,40}".prop_map(Value::from), "[a-z]{1,9}@[a-z]{1,9}\\.com".prop_map(Value::from)], 11),
    ) {
        let keys = ["job_id", "tenant", "attempt", "email", "timestamp", "sg_event_id", "sg_message_id", "reason", "status",
            "sluice_job_id", "sluice_attempt"];
        let mut fields: Map<String, Value> = keys.iter().map(|it| (*it).to_owned()).zip(values).collect();
        fields.insert("event".to_owned(), word.into());
        let reading = read(Value::from(vec![Value::Object(fields)]).to_string().as_bytes()).unwrap();
        let events = reading.events.len() as u64;
        prop_assert_eq!(events + reading.foreign + reading.unreadable, 1);
        for event in reading.events {
            prop_assert!(!event.event_id.is_empty() && event.event_id.len() <= 200);
            prop_assert!(event.detail.is_none_or(|it| !it.contains('@') && it.chars().count() <= 300));
            prop_assert!((event.occurred_at.as_micros() / 1_000_000 - NOW_S).abs() <= 90 * 24 * 3600);
        }
    }
}
