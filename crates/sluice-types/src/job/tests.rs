use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::Class;

fn good() -> serde_json::Value {
    json!({
        "v": 1, "id": "0192f0c1-6f0e-7c3a-b0de-3f1d0a7c1e55", "tenant": "acme", "class": "bulk", "pool": "default",
        "campaign": "spring-sale", "from": {"email": "news@acme.example", "name": "Acme"},
        "to": {"email": "ada@gmail.com", "name": "Ada"}, "reply_to": {"email": "help@acme.example"},
        "subject": "Hello {{ first_name }}", "html": "<p>Hello {{ first_name }}</p>", "text": "Hello {{ first_name }}",
        "vars": {"first_name": "Ada"}, "headers": {"X-Thing": "1"}, "unsubscribe_url": "https://acme.example/u/abc",
        "metadata": {"order": "17"}, "send_at": "2026-11-24T12:00:00Z", "expires_at": "2026-11-25T12:00:00Z"
    })
}

fn parse(value: &serde_json::Value) -> Result<Job, Refusal> {
    Job::parse(value.to_string().as_bytes())
}

#[test]
fn the_contract_s_example_is_taken() {
    let job = parse(&good()).unwrap();
    assert_eq!(job.class, Class::Bulk);
    assert_eq!(job.to.email.domain(), "gmail.com");
    assert_eq!(job.expires_at.unwrap().as_micros() - job.send_at.unwrap().as_micros(), 86_400_000_000);
}

#[test]
fn what_is_left_out_has_its_default() {
    let job = parse(&json!({"v": 1, "id": "a", "from": {"email": "a@b.cc"}, "to": {"email": "d@e.ff"}, "subject": "s", "text": "t"})).unwrap();
    assert_eq!(
        (job.tenant.as_str(), job.class, job.pool.as_str()),
        ("default", Class::Transactional, "default")
    );
}

#[test]
fn a_bad_field_is_named() {
    let set = |path: &str, value: serde_json::Value| {
        let mut job = good();
        if value.is_null() {
            let (parent, key) = path.rsplit_once('/').unwrap();
            job.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
        } else if let Some(place) = job.pointer_mut(path) {
            *place = value;
        } else {
            let (parent, key) = path.rsplit_once('/').unwrap();
            job.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key.into(), value);
        }
        job
    };
    use RefusalReason::*;
    for (path, value, reason, field) in [
        ("/v", json!(2), UnknownVersion, "v"),
        ("/v", json!("1"), UnknownVersion, "v"),
        ("/v", json!(null), MissingField, "v"),
        ("/id", json!(null), MissingField, "id"),
        ("/id", json!(17), WrongType, "id"),
        ("/id", json!("a b"), InvalidValue, "id"),
        ("/tenant", json!(""), InvalidValue, "tenant"),
        ("/class", json!("express"), InvalidValue, "class"),
        ("/pool", json!("No.Such"), InvalidValue, "pool"),
        ("/from", json!(null), MissingField, "from"),
        ("/from", json!("news@acme.example"), WrongType, "from"),
        ("/to/email", json!(null), MissingField, "to.email"),
        ("/to/email", json!(["a@b.cc"]), WrongType, "to.email"),
        ("/to/email", json!("ada"), InvalidValue, "to.email"),
        ("/to/email", json!("ada\r\nBcc: x@y.zz@gmail.com"), InvalidValue, "to.email"),
        ("/to", json!(["a@b.cc", null]), WrongType, "to"),
        ("/from", json!([]), WrongType, "from"),
        ("/reply_to", json!(["a@b.cc"]), WrongType, "reply_to"),
        ("/to/cc", json!("x"), UnknownField, "to.cc"),
        ("/to/name", json!("Ada\r\nBcc: x@y.zz"), InvalidValue, "to.name"),
        ("/from/name", json!("A\u{0}"), InvalidValue, "from.name"),
        ("/subject", json!(null), MissingField, "subject"),
        ("/subject", json!("a\nBcc: x@y.zz"), InvalidValue, "subject"),
        ("/subject", json!("x".repeat(999)), InvalidValue, "subject"),
        ("/html", json!(5), WrongType, "html"),
        ("/headers/Subject", json!("x"), InvalidValue, "headers.Subject"),
        ("/headers/content-type", json!("x"), InvalidValue, "headers.content-type"),
        ("/headers/X-A:b", json!("x"), InvalidValue, "headers.X-A:b"),
        ("/headers/X-Thing", json!("1\r\nBcc: x@y.zz"), InvalidValue, "headers.X-Thing"),
        ("/headers/X-Thing", json!(1), WrongType, "headers.X-Thing"),
        ("/headers/x-thing", json!("2"), InvalidValue, "headers.x-thing"),
        ("/unsubscribe_url", json!("http://acme.example/u"), InvalidValue, "unsubscribe_url"),
        ("/unsubscribe_url", json!("https://acme.example/>,<mailto:x@y.zz"), InvalidValue, "unsubscribe_url"),
        ("/unsubscribe_url", json!("https:///u"), InvalidValue, "unsubscribe_url"),
        ("/unsubscribe_url", json!("https://?u=1"), InvalidValue, "unsubscribe_url"),
        ("/unsubscribe_url", json!("https://:443/"), InvalidValue, "unsubscribe_url"),
        ("/metadata/job_id", json!("x"), InvalidValue, "metadata.job_id"),
        ("/metadata/sluice_job_id", json!("x"), InvalidValue, "metadata.sluice_job_id"),
        ("/send_at", json!("tomorrow"), InvalidValue, "send_at"),
        ("/expires_at", json!("2026-11-25 12:00"), InvalidValue, "expires_at"),
        ("/send_at", json!("2026-11-24T12:00:00-05:00[America/New_York]"), InvalidValue, "send_at"),
        ("/send_at", json!("2026-11-24T12:00Z"), InvalidValue, "send_at"),
        ("/send_at", json!("2026-11-24T12:00:00.Z"), InvalidValue, "send_at"),
        ("/send_at", json!("2026-11-24T12:00:00+01"), InvalidValue, "send_at"),
        ("/send_at", json!("2026-11-24T12:00:00"), InvalidValue, "send_at"),
        ("/send_at", json!("2026-11-24T12:00:0\u{e9}Z"), InvalidValue, "send_at"),
        ("/expire_at", json!("2026-11-25T12:00:00Z"), UnknownField, "expire_at"),
    ] {
        let refusal = parse(&set(path, value.clone())).expect_err(&format!("{path} {value}"));
        assert_eq!((refusal.reason, refusal.field.as_str()), (reason, field), "{path} {value}: {refusal}");
        assert!(!refusal.to_string().contains("ada@"), "{refusal}");
    }
}

#[test]
fn a_job_without_any_body_is_refused() {
    let mut job = good();
    job.as_object_mut().unwrap().retain(|key, _| key != "html" && key != "text");
    assert_eq!(parse(&job).unwrap_err().field, "html");
    job["text"] = "".into();
    job["html"] = "".into();
    assert_eq!(parse(&job).unwrap_err().reason, RefusalReason::MissingField);
    job["text"] = "Hello".into();
    let parsed = parse(&job).unwrap();
    assert_eq!((parsed.html.as_deref(), parsed.text.as_deref()), (None, Some("Hello")));
}

#[test]
fn bytes_that_are_no_job_are_refused() {
    let deep = format!("{{\"v\":1,\"vars\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let two = format!("{}{}", good(), good());
    // The values of all fields, in the order in which the document has them.
    let in_order = json!([1, "x", null, null, null, null, {"email": "a@b.cc"}, {"email": "ada@gmail.com"}, null, "Hi", null, "text",
        null, null, null, null, null, null])
    .to_string();
    for (body, reason) in [
        (&b"hello"[..], RefusalReason::NotJson),
        (b"", RefusalReason::NotJson),
        (b"\xff\xfe{}", RefusalReason::NotUtf8),
        (b"[1,2]", RefusalReason::WrongType),
        (b"null", RefusalReason::WrongType),
        (in_order.as_bytes(), RefusalReason::WrongType),
        (deep.as_bytes(), RefusalReason::NotJson),
        (two.as_bytes(), RefusalReason::NotJson),
        (b"{\"v\":1,\"v\":1}", RefusalReason::WrongType),
        (&vec![b' '; BODY_MAX_BYTES + 1], RefusalReason::TooLarge),
    ] {
        assert_eq!(Job::parse(body).unwrap_err().reason, reason);
    }
}

#[test]
fn without_its_content_a_job_is_still_told_apart_routed_and_ended() {
    let whole = parse(&good()).unwrap();
    let mut job = whole.clone();
    job.forget_content();
    assert_eq!((job.subject.as_str(), &job.html, &job.text, job.headers.len()), ("", &None, &None, 0));
    let kept = |it: &Job| {
        let limited = (it.id.clone(), it.tenant.clone(), it.campaign.clone(), it.pool.clone(), it.class);
        (limited, it.to.email.as_str().to_owned(), it.send_at, it.expires_at, it.fingerprint)
    };
    assert_eq!(kept(&job), kept(&whole));
}

#[test]
fn the_same_body_has_the_same_fingerprint_and_another_has_not() {
    let mut changed = good();
    changed["subject"] = json!("Other");
    assert_eq!(parse(&good()).unwrap().fingerprint, parse(&good()).unwrap().fingerprint);
    assert_ne!(parse(&good()).unwrap().fingerprint, parse(&changed).unwrap().fingerprint);
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_taken_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _unused = Job::parse(&body);
    }

    #[test]
    fn any_change_of_one_byte_is_refused_or_taken_without_a_panic(at in 0_usize..600, byte in any::<u8>()) {
        let mut body = good().to_string().into_bytes();
        if let Some(place) = body.get_mut(at) {
            *place = byte;
        }
        if let Ok(job) = Job::parse(&body) {
            prop_assert!(!job.subject.contains(['\r', '\n']));
        }
    }
}
