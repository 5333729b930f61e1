use serde_json::{Value, json};

use super::*;

fn job(change: impl FnOnce(&mut Value)) -> Job {
    let mut document = json!({
        "v": 1, "id": "0192f0c1-6f0e", "tenant": "acme", "from": {"email": "news@acme.example", "name": "Acme Inc"},
        "to": {"email": "ada@gmail.com", "name": "Ädä"}, "reply_to": {"email": "help@acme.example"},
        "subject": "Grüße 🎉", "html": "<p>Hi</p>", "text": "Hi", "headers": {"X-Thing": "Größe"},
        "unsubscribe_url": "https://acme.example/u/abc"
    });
    change(&mut document);
    Job::parse(document.to_string().as_bytes()).unwrap()
}

const NOW: Timestamp = Timestamp::from_micros(1_764_000_000_000_000);

fn text(job: &Job) -> String {
    String::from_utf8(build(job, NOW).unwrap().bytes).unwrap()
}

/// The value of a header, unfolded.
fn header(message: &str, name: &str) -> Option<String> {
    let head = message.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
    head.split("\r\n").find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned))
}

#[test]
fn every_header_is_there_and_all_is_ascii() {
    let message = text(&job(|_| {}));
    assert!(message.is_ascii());
    for (name, value) in [
        ("From", "\"Acme Inc\" <news@acme.example>"),
        ("To", "=?utf-8?b?w4Rkw6Q=?= <ada@gmail.com>"),
        ("Reply-To", "help@acme.example"),
        ("Subject", "=?utf-8?b?R3LDvMOfZSDwn46J?="),
        ("X-Thing", "=?utf-8?b?R3LDtsOfZQ==?="),
        ("X-Sluice-Job-Id", "0192f0c1-6f0e"),
        ("List-Unsubscribe", "<https://acme.example/u/abc>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("MIME-Version", "1.0"),
    ] {
        assert_eq!(header(&message, name).as_deref(), Some(value), "{name}\n{message}");
    }
    assert!(header(&message, "Date").unwrap().starts_with("Mon, 24 Nov 2025 16:00:00"));
    assert!(header(&message, "Content-Type").unwrap().starts_with("multipart/alternative"));
    assert!(message.find("text/plain").unwrap() < message.find("text/html").unwrap());
}

#[test]
fn one_body_is_one_part() {
    let html = text(&job(|it| drop(it.as_object_mut().unwrap().remove("text"))));
    assert_eq!(header(&html, "Content-Type").as_deref(), Some("text/html; charset=utf-8"));
    let plain = text(&job(|it| drop(it.as_object_mut().unwrap().remove("html"))));
    assert_eq!(header(&plain, "Content-Type").as_deref(), Some("text/plain; charset=utf-8"));
}

#[test]
fn a_message_id_is_the_same_for_each_attempt_and_never_shared() {
    let id = |id: &str, tenant: &str| {
        message_id(&job(|it| {
            it["id"] = json!(id);
            it["tenant"] = json!(tenant);
        }))
    };
    let message = text(&job(|_| {}));
    assert_eq!(header(&message, "Message-ID"), Some(id("0192f0c1-6f0e", "acme")));
    assert_eq!(id("a-b_c+d.e", "acme"), format!("<a-b_c+d.e.{:016x}@acme.example>", fnv1a(b"acme")));
    let ids = ["a", "a:", "a@", "a=", "a=3A", "a.", ".a", "a..b", "a.b", "..", ".", "=2E", "A"];
    let mut seen = std::collections::BTreeSet::new();
    for (text, tenant) in ids.iter().flat_map(|text| [(text, "acme"), (text, "other")]) {
        let id = id(text, tenant);
        let left = id.strip_prefix('<').unwrap().strip_suffix("@acme.example>").unwrap();
        let dot_atom = left.split('.').all(|atom| {
            !atom.is_empty() && atom.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=-".contains(&b))
        });
        assert!(dot_atom, "{id}");
        assert!(seen.insert(id.clone()), "{id}");
    }
}

#[test]
fn the_longest_ids_and_urls_keep_to_the_line_length() {
    let job = job(|it| {
        it["id"] = json!(":".repeat(128));
        it["unsubscribe_url"] = json!(format!("https://acme.example/{}", "u".repeat(2000)));
        it["text"] = json!("x".repeat(5000));
    });
    let message = text(&job);
    assert!(message.split("\r\n").all(|line| line.len() <= LINE_MAX_BYTES));
    assert_eq!(
        header(&message, "List-Unsubscribe").unwrap().replace(' ', ""),
        format!("<{}>", job.unsubscribe_url.unwrap())
    );
}

#[test]
fn a_header_that_cannot_be_folded_is_refused() {
    let job = job(|it| it["headers"]["X-Thing"] = json!("x".repeat(998)));
    assert!(matches!(build(&job, NOW), Err(MessageError::LongLine)));
}

#[test]
fn no_line_break_gets_in_even_if_the_job_was_changed_after_its_checks() {
    let breaks = "a\r\nBcc: eve@evil.example";
    let changes: [fn(&mut Job, String); 6] = [
        |job, it| job.subject = it,
        |job, it| job.from.name = Some(it),
        |job, it| job.to.name = Some(it),
        |job, it| job.reply_to.as_mut().unwrap().name = Some(it),
        |job, it| drop(job.headers.insert("X-Other".to_owned(), it)),
        |job, it| job.unsubscribe_url = Some(it),
    ];
    for change in changes {
        for bad in [breaks, "a\nb", "a\rb", "a\0b"] {
            let mut job = job(|_| {});
            change(&mut job, bad.to_owned());
            assert!(matches!(build(&job, NOW), Err(MessageError::ControlCharacter(_))), "{bad:?}");
        }
    }
    let mut job = job(|_| {});
    job.headers.insert("X-A: b\r\nBcc".to_owned(), "x".to_owned());
    assert!(matches!(build(&job, NOW), Err(MessageError::HeaderName)));
}

#[test]
fn a_body_has_no_bare_line_end() {
    for body in ["a\n.\nb", "a\r.\rb", "a\r\n.\r\nb", "\r", "\n", "\r\n\r", "a\r\r\nb", "x\0y\rz"] {
        let message = text(&job(|it| {
            it["text"] = json!(body);
            it.as_object_mut().unwrap().remove("html");
        }));
        let rest = message.replace("\r\n", "");
        assert!(!rest.contains(['\r', '\n', '\0']), "{body:?}: {message:?}");
    }
}
