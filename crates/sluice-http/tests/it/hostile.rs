//! Input that wants to do harm.

use serde_json::json;

use crate::client::{exchange, get, post};
use crate::rig::{job, start};

#[tokio::test]
async fn ten_thousand_levels_are_refused_like_any_bad_job() {
    let rig = start().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let answer = post(rig.addr, format!("{{\"v\":1,\"id\":\"deep\",\"vars\":{deep}}}")).await;
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (422, Some("not_json")));
    let answer = post(rig.addr, &deep).await;
    assert_eq!((answer.status, answer.json()[0]["reason"].as_str()), (422, Some("not_json")));
    let answer = post(rig.addr, format!("[{}, {{\"vars\":{deep}}}]", job("a"))).await;
    assert_eq!((answer.status, answer.json()[0]["status"].as_str()), (207, Some("queued")));
    let answer = post(rig.addr, "[".repeat(8 * 1024 * 1024)).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "not_json"));
    assert_eq!(get(rig.addr, "/health").await.status, 200);
}

#[tokio::test]
async fn header_injection_is_refused_by_field() {
    let rig = start().await;
    for (at, value, field) in [
        ("/subject", json!("Hi\r\nBcc: all@acme.example"), "subject"),
        ("/to/email", json!("ada@gmail.com\r\nBcc: all@acme.example"), "to.email"),
        ("/from/name", json!("Acme\nX: y"), "from.name"),
        ("/headers", json!({"X-A": "b\r\nBcc: c@d.example"}), "headers.X-A"),
    ] {
        let mut bad = job("a");
        if let Some((parent, name)) = at.rsplit_once('/') {
            bad.pointer_mut(parent).unwrap()[name] = value;
        }
        let answer = post(rig.addr, bad.to_string()).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some(field)), "{at}");
    }
    assert!(rig.outbox.bodies().is_empty());
}

#[tokio::test]
async fn no_text_of_a_client_reaches_a_header_of_the_answer() {
    let rig = start().await;
    for path in ["/jobs/a%0d%0aX-Evil:%201", "/nowhere%0d%0aX-Evil:%201", "/jobs?x=%0d%0aX-Evil:%201"] {
        let answer = get(rig.addr, path).await;
        assert!(!answer.head.contains("evil"), "{answer:?}");
        assert!(!answer.body.contains("Evil"), "{answer:?}");
    }
}

#[tokio::test]
async fn bytes_that_are_not_utf_8_are_told_where() {
    let rig = start().await;
    for body in [&b"{\"v\":1,\"id\":\"\xff\"}"[..], b"[{\"id\":\"\xc3\x28\"}]", b"\xff\xfe{\x00}\x00"] {
        let answer = post(rig.addr, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "not_utf8"), "{body:?}");
    }
    let answer = post(rig.addr, b"[\"\xff\"]").await;
    insta::assert_snapshot!(
        answer.body,
        @r#"{"error":{"code":"not_utf8","message":"the body is not UTF-8 (first bad byte at 2)"}}"#
    );
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_the_server_goes_on() {
    let rig = start().await;
    let large = format!("GET /health HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let many = format!("GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(1_000));
    for (bytes, statuses) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], &[400][..]),
        (b"GET /health HTTP/1.1\r\nBad Header\r\n\r\n", &[400]),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", &[400]),
        (b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\n{}\n\n\n", &[400]),
        (b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}", &[400]),
        (b"POST /jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", &[400]),
        (large.as_bytes(), &[431]),
        (many.as_bytes(), &[431]),
    ] {
        let answer = exchange(rig.addr, bytes).await;
        assert!(statuses.contains(&answer.status), "{answer:?}");
    }
    assert_eq!(get(rig.addr, "/health").await.status, 200);
}

#[tokio::test]
async fn ten_thousand_headers_and_a_huge_body_cost_a_refusal_each() {
    let rig = start().await;
    let many = format!("GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(10_000));
    assert_eq!(exchange(rig.addr, many.as_bytes()).await.status, 431);
    let endless = "POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n".to_owned()
        + &"[".repeat(1_000);
    let answer = exchange(rig.addr, endless.as_bytes()).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    assert_eq!(get(rig.addr, "/health").await.status, 200);
}
