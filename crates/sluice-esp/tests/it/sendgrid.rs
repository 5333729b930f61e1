//! Every way in which SendGrid, or what stands before it, can answer or not answer.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_engine::{Answer, Clock, Esp, SystemClock};
use sluice_esp::{HttpVersion, SendGridEsp, SendGridSettings};
use sluice_types::{AttemptOutcome, Category, DeferralScope, Outcome};

use crate::jobs::{clock, esp_id, job};
use crate::raw_http::{Act, RawHttp, answer};

const KEY: &str = "SG.very-secret";
const PATIENCE: Duration = Duration::from_secs(20);
const IMPATIENCE: Duration = Duration::from_millis(400);

pub(crate) fn settings(base_url: &str, timeout: Duration) -> SendGridSettings {
    SendGridSettings {
        id: esp_id(),
        base_url: base_url.to_owned(),
        allow_plain_http: false,
        api_key: KEY.into(),
        http_version: HttpVersion::Auto,
        timeout,
        tls_ca_file: None,
    }
}

async fn ask(server: &RawHttp, timeout: Duration) -> Answer {
    let esp = SendGridEsp::new(&settings(&server.url(), timeout), clock()).unwrap();
    let answer = esp.send(&job("job-1", "ada@gmail.com"), 3).await;
    let shown = format!("{esp:?} {answer:?}");
    assert!(!shown.contains("secret") && !shown.contains("ada@"), "{shown}");
    answer
}

async fn send(server: &RawHttp, timeout: Duration) -> Outcome {
    ask(server, timeout).await.outcome
}

fn assert_is(outcome: &Outcome, kind: AttemptOutcome, category: Category, at: &str) {
    assert_eq!((outcome.kind(), outcome.category()), (kind, Some(category)), "{at}: {outcome:?}");
}

#[tokio::test]
async fn the_request_carries_every_field() {
    let server = RawHttp::answering(202, "X-Message-Id: abc.123\r\n", "");
    let outcome = send(&server, PATIENCE).await;
    assert_eq!(outcome, Outcome::Accepted { provider_message_id: Some("abc.123".to_owned()) });
    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /v3/mail/send HTTP/1.1");
    let header = |name: &str| request.headers.get(name).map(String::as_str);
    assert_eq!(header("host"), server.url().strip_prefix("http://"));
    assert_eq!(header("authorization"), Some("Bearer SG.very-secret"));
    assert_eq!(header("content-type"), Some("application/json"));
    assert!(header("accept").is_some(), "without Accept SendGrid answers 406");
    assert_eq!(header("accept-encoding"), None);
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(
        body,
        json!({
            "personalizations": [{"to": [{"email": "ada@gmail.com", "name": "Ada"}]}],
            "from": {"email": "news@acme.example", "name": "Acme"},
            "reply_to": {"email": "help@acme.example"},
            "subject": "Hello Ada",
            "content": [{"type": "text/plain", "value": "Hello"}, {"type": "text/html", "value": "<p>Hello</p>"}],
            "headers": {
                "X-Thing": "1", "List-Unsubscribe": "<https://acme.example/u/abc>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"
            },
            "custom_args": {
                "job_id": "job-1", "sluice_job_id": "job-1", "sluice_tenant": "acme", "sluice_attempt": "3", "order": "17"
            }
        })
    );
}

#[tokio::test]
async fn connections_are_kept() {
    let server = RawHttp::answering(202, "", "");
    let esp = SendGridEsp::new(&settings(&server.url(), PATIENCE), clock()).unwrap();
    for attempt in 1..=20 {
        esp.send(&job("job-1", "ada@gmail.com"), attempt).await;
    }
    assert_eq!((server.requests().len(), server.connections()), (20, 1));
}

/// It was opened in the call, so that calls with slots a handshake apart came together.
#[tokio::test]
async fn a_call_has_its_connection_before_it_is_made() {
    let server = RawHttp::answering(202, "", "");
    let esp = SendGridEsp::new(&settings(&server.url(), PATIENCE), clock()).unwrap();
    let job = job("job-1", "ada@gmail.com");
    let first = esp.write(&job, 1).ok().unwrap().ready().await.ok().unwrap();
    let second = esp.write(&job, 2).ok().unwrap().ready().await.ok().unwrap();
    for _ in 0..100 {
        if server.connections() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((server.requests().len(), server.connections()), (0, 2));
    for call in [first, second] {
        assert_eq!(call.make().await.outcome.kind(), AttemptOutcome::Accepted);
    }
    assert_eq!((server.requests().len(), server.connections()), (2, 2));
}

#[tokio::test]
async fn a_connection_that_the_server_closes_after_its_answer_costs_nothing() {
    for headers in ["", "Connection: close\r\n"] {
        let server = RawHttp::start(Act::WriteAndClose(answer(202, headers, "")));
        let esp = SendGridEsp::new(&settings(&server.url(), PATIENCE), clock()).unwrap();
        for attempt in 1..=10 {
            let outcome = esp.send(&job("job-1", "ada@gmail.com"), attempt).await.outcome;
            assert_eq!(outcome.kind(), AttemptOutcome::Accepted, "{attempt}: {outcome:?}");
            // Its end arrives.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!((server.requests().len(), server.connections()), (10, 10));
    }
}

#[tokio::test]
async fn calls_at_the_same_time_have_a_connection_each_and_leave_it_to_the_next() {
    let server = RawHttp::answering(202, "", "");
    let esp = SendGridEsp::new(&settings(&server.url(), PATIENCE), clock()).unwrap();
    let job = job("job-1", "ada@gmail.com");
    for _ in 0..20 {
        let answers = futures_util::future::join_all((1..=4).map(|attempt| esp.send(&job, attempt))).await;
        assert!(answers.iter().all(|answer| answer.outcome.kind() == AttemptOutcome::Accepted));
    }
    assert_eq!((server.requests().len(), server.connections()), (80, 4));
}

#[tokio::test]
async fn what_an_answer_leaves_unread_is_never_taken_for_the_next_answer() {
    let rest = [answer(202, "", ""), answer(500, "", "nobody asked")].concat();
    let server = RawHttp::start(Act::Write(rest));
    let esp = SendGridEsp::new(&settings(&server.url(), PATIENCE), clock()).unwrap();
    for attempt in 1..=5 {
        let outcome = esp.send(&job("job-1", "ada@gmail.com"), attempt).await.outcome;
        assert_eq!(outcome.kind(), AttemptOutcome::Accepted, "{attempt}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_web_page_in_place_of_an_answer_neither_accepts_nor_rejects() {
    let page = "<html><body>Sign in</body></html>";
    for status in [200, 400, 403, 413] {
        let server = RawHttp::answering(status, "Content-Type: Text/HTML; charset=utf-8\r\n", page);
        let esp = SendGridEsp::new(&settings(&server.url(), PATIENCE), clock()).unwrap();
        for attempt in 1..=2 {
            let outcome = esp.send(&job("job-1", "ada@gmail.com"), attempt).await.outcome;
            assert_eq!(outcome.kind(), AttemptOutcome::Faulted, "{status}: {outcome:?}");
            assert_eq!(outcome.category(), Some(Category::Protocol), "{status}");
        }
        assert_eq!(server.connections(), 1);
    }
    let server = RawHttp::answering(202, "Content-Type: text/html; charset=utf-8\r\n", "");
    let esp = SendGridEsp::new(&settings(&server.url(), PATIENCE), clock()).unwrap();
    let outcome = esp.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
    assert_eq!(outcome.kind(), AttemptOutcome::Accepted, "{outcome:?}");
}

#[tokio::test]
async fn every_status_has_its_outcome() {
    use AttemptOutcome::{Faulted, Rejected};
    let recipient = r#"{"errors":[{"message":"bad ada@gmail.com","field":"personalizations.0.to.0.email"}]}"#;
    for (status, body, kind, category) in [
        (400, r#"{"errors":[{"message":"m","field":"content"}]}"#, Rejected, Category::Content),
        (400, recipient, Rejected, Category::RecipientUnknown),
        (400, "{\"errors\": [{\"mess", Rejected, Category::Content),
        (400, "[[[[", Rejected, Category::Content),
        (401, "", Faulted, Category::Auth),
        (403, "<html>", Faulted, Category::Account),
        (404, "", Faulted, Category::Protocol),
        (405, "", Faulted, Category::Protocol),
        (406, "", Faulted, Category::Protocol),
        (413, "", Rejected, Category::Content),
        (500, "", Faulted, Category::ServerError),
        (503, "", Faulted, Category::ServerError),
    ] {
        let outcome = send(&RawHttp::answering(status, "", body), PATIENCE).await;
        assert_is(&outcome, kind, category, &format!("{status} {body}"));
    }
}

#[tokio::test]
async fn a_throttle_keeps_the_hint() {
    let reset = "X-RateLimit-Reset: 4102444800\r\n";
    for (headers, hint) in [
        ("Retry-After: 7\r\n".to_owned(), Some(Duration::from_secs(7))),
        (format!("Retry-After: 7\r\n{reset}"), Some(Duration::from_secs(7))),
        (format!("Retry-After: soon\r\n{reset}"), Some(Duration::from_secs(86_400))),
        (reset.to_owned(), Some(Duration::from_secs(86_400))),
        ("X-RateLimit-Reset: 1000000000\r\n".to_owned(), None),
        ("X-RateLimit-Reset: 30\r\n".to_owned(), Some(Duration::from_secs(30))),
        (String::new(), None),
    ] {
        let outcome = send(&RawHttp::answering(429, &headers, "{}"), PATIENCE).await;
        let Outcome::Deferred { retry_after, scope, category, .. } = outcome else {
            unreachable!("{outcome:?}")
        };
        let seen = (retry_after, scope, category);
        assert_eq!(seen, (hint, DeferralScope::Esp, Category::Throttled), "{headers}");
    }
}

#[tokio::test]
async fn every_answer_may_say_how_much_is_left() {
    let soon = SystemClock::new().now().as_micros() / 1_000_000 + 600;
    let headers = |remaining: &str, reset: &str| {
        format!(
            "X-RateLimit-Limit: 600\r\nX-RateLimit-Remaining: {remaining}\r\nX-RateLimit-Reset: {reset}\r\n"
        )
    };
    for status in [202, 429, 500] {
        let answer = ask(&RawHttp::answering(status, &headers("7", &soon.to_string()), "{}"), PATIENCE).await;
        let quota = answer.quota.unwrap();
        assert_eq!(quota.remaining, 7, "{status}");
        let range = Duration::from_secs(570)..=Duration::from_secs(600);
        assert!(range.contains(&quota.resets_in), "{status}: {quota:?}");
    }
    for headers in [headers("x", "30"), headers("601", "30"), headers("7", "9999999999"), String::new()] {
        let answer = ask(&RawHttp::answering(202, &headers, ""), PATIENCE).await;
        assert_eq!((answer.outcome.kind(), answer.quota), (AttemptOutcome::Accepted, None), "{headers}");
    }
}

#[tokio::test]
async fn a_service_that_is_away_says_for_how_long() {
    let hint = |seconds| Some((0, Duration::from_secs(seconds)));
    for (status, headers, quota) in [
        (503, "Retry-After: 7\r\n", hint(7)),
        (503, "Retry-After: 7\r\nX-RateLimit-Remaining: 5\r\nX-RateLimit-Reset: 30\r\n", hint(7)),
        (503, "Retry-After: 9999999\r\n", hint(86_400)),
        (503, "Retry-After: 0\r\n", None),
        (503, "Retry-After: soon\r\n", None),
        (503, "", None),
        // It means a service that is away in this answer alone; a throttle has its hint in the outcome.
        (500, "Retry-After: 7\r\n", None),
        (429, "Retry-After: 7\r\n", None),
    ] {
        let answer = ask(&RawHttp::answering(status, headers, "{}"), PATIENCE).await;
        let seen = answer.quota.map(|it| (it.remaining, it.resets_in));
        assert_eq!(seen, quota, "{status} {headers}");
        let kind = if status == 429 { AttemptOutcome::Deferred } else { AttemptOutcome::Faulted };
        assert_eq!(answer.outcome.kind(), kind, "{status} {headers}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = RawHttp::answering(202, "", "");
    for status in [301, 302, 307, 308] {
        let location = format!("Location: {}/v3/mail/send\r\n", other.url());
        let outcome = send(&RawHttp::answering(status, &location, ""), PATIENCE).await;
        assert_is(&outcome, AttemptOutcome::Faulted, Category::Protocol, "redirect");
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_unknown() {
    let started = b"HTTP/1.1 202 Acc".to_vec();
    for (act, timeout) in [
        (Act::WriteAndHang(Vec::new()), IMPATIENCE),
        (Act::WriteAndHang(started.clone()), IMPATIENCE),
        (Act::WriteAndClose(Vec::new()), PATIENCE),
        (Act::WriteAndClose(started), PATIENCE),
        (Act::WriteAndClose(b"SSH-2.0-OpenSSH\r\n".to_vec()), PATIENCE),
        (Act::CloseAtHead, PATIENCE),
    ] {
        let shown = format!("{act:?}");
        let outcome = send(&RawHttp::start(act), timeout).await;
        assert_is(&outcome, AttemptOutcome::Unknown, Category::AnswerLost, &shown);
    }
}

#[tokio::test]
async fn a_status_that_was_read_counts_whatever_becomes_of_the_body() {
    let head = |status: u16, length: &str| {
        format!("HTTP/1.1 {status} Status\r\nX-Message-Id: abc\r\nContent-Length: {length}\r\n\r\n")
            .into_bytes()
    };
    for act in [
        Act::WriteAndClose(head(202, "500")),
        Act::WriteAndHang(head(202, "500")),
        Act::WriteAndFlood(head(202, "99999999999")),
    ] {
        let outcome = send(&RawHttp::start(act), PATIENCE).await;
        assert_eq!(outcome, Outcome::Accepted { provider_message_id: Some("abc".to_owned()) });
    }
    for act in [
        Act::WriteAndClose(head(500, "500")),
        Act::WriteAndHang(head(500, "500")),
        Act::WriteAndFlood(head(500, "99999999999")),
    ] {
        let outcome = send(&RawHttp::start(act), PATIENCE).await;
        assert_is(&outcome, AttemptOutcome::Faulted, Category::ServerError, "cut body");
    }
}

#[tokio::test]
async fn a_compressed_answer_is_not_unpacked() {
    // Ten bytes of a gzip head; whatever follows is read as text, up to the bound.
    let bomb = b"HTTP/1.1 400 Bad\r\nContent-Encoding: gzip\r\nContent-Length: 9999999999\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\x03";
    let outcome = send(&RawHttp::start(Act::WriteAndFlood(bomb.to_vec())), PATIENCE).await;
    assert_is(&outcome, AttemptOutcome::Rejected, Category::Content, "bomb");
}

#[tokio::test]
async fn headers_without_an_end_are_unknown() {
    let flood = Act::WriteAndFlood(b"HTTP/1.1 202 Accepted\r\nX-A: ".to_vec());
    let outcome = send(&RawHttp::start(flood), PATIENCE).await;
    assert_is(&outcome, AttemptOutcome::Unknown, Category::AnswerLost, "head");
}

#[tokio::test]
async fn what_fails_before_the_request_is_a_fault() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = RawHttp::start(Act::WriteAndClose(answer(400, "", "")));
    let not_tls = plain.url().replace("http://", "https://");
    // The kernel takes the connection, and nobody ever answers the handshake.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stalls = format!("https://{}", mute.local_addr().unwrap());
    for (url, timeout, category, said) in [
        (format!("http://{closed}"), PATIENCE, Category::Connect, "could not connect"),
        ("https://no-such-host.invalid".to_owned(), PATIENCE, Category::Connect, "was not resolved"),
        (not_tls, PATIENCE, Category::Tls, "the TLS handshake failed"),
        (stalls, IMPATIENCE, Category::Connect, "connecting took too long"),
    ] {
        let esp = SendGridEsp::new(&settings(&url, timeout), clock()).unwrap();
        let outcome = esp.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
        assert_is(&outcome, AttemptOutcome::Faulted, category, &url);
        assert!(outcome.detail().contains(said), "{outcome:?}");
    }
}

#[test]
fn settings_show_no_secret_and_say_what_is_wrong() {
    let good = settings("https://api.sendgrid.com", PATIENCE);
    assert!(!format!("{good:?}").contains("secret"));
    SendGridEsp::new(&good, clock()).unwrap();
    let error = |change: fn(&mut SendGridSettings)| {
        let mut settings = good.clone();
        change(&mut settings);
        let error = SendGridEsp::new(&settings, clock()).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("secret"), "{text}");
        error.to_string()
    };
    assert!(error(|it| it.timeout = Duration::ZERO).contains("timeout"));
    assert!(error(|it| it.api_key = " \n".into()).contains("api_key"));
    assert!(error(|it| it.api_key = "secret\nX-Other: 1".into()).contains("api_key"));
    assert!(error(|it| it.base_url = "http://api.sendgrid.com".to_owned()).contains("base_url"));
}
