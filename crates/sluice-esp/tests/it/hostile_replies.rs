//! Servers that answer with broken replies: every one has an outcome in time, and `Accepted` only what was accepted.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use sluice_engine::Esp;
use sluice_esp::{SendGridEsp, SmtpEsp};
use sluice_testkit::mutated;
use sluice_types::{DETAIL_MAX_CHARS, Outcome};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::jobs::{clock, job};
use crate::raw_http::{Act, RawHttp};

const CASES: u64 = 160;
/// At the same time; each waits mostly.
const AT_ONCE: u64 = 20;
const TIMEOUT: Duration = Duration::from_millis(400);
/// A send has several steps, each with the timeout; nothing takes longer than this.
const LONGEST: Duration = Duration::from_secs(10);

fn check(outcome: &Outcome, case: u64) {
    let detail = outcome.detail();
    assert!(detail.chars().count() <= DETAIL_MAX_CHARS, "case {case}: {detail}");
    assert!(!detail.contains(['\r', '\n', '\0']) && !detail.contains("ada@"), "case {case}: {detail:?}");
}

/// An SMTP server whose reply at one step is broken; what it said to the final dot.
async fn serve(listener: TcpListener, case: u64, dot: &Mutex<Option<Vec<u8>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        drop(converse(stream, case, dot).await);
    }
}

async fn converse(stream: TcpStream, case: u64, dot: &Mutex<Option<Vec<u8>>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut step = 0;
    let mut reply = |good: &str| {
        let broken_at = case % 6;
        let bytes = if step == broken_at { mutated(good.as_bytes(), case) } else { good.as_bytes().to_vec() };
        step += 1;
        bytes
    };
    stream.get_mut().write_all(&reply("220 raw.example ready\r\n")).await?;
    let mut line = Vec::new();
    let mut in_body = false;
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line).to_ascii_uppercase();
        let said = match text.trim_end() {
            "." if in_body => {
                in_body = false;
                let said = reply("250 2.0.0 Ok: queued as 4XyZ12abc\r\n");
                *dot.lock().unwrap() = Some(said.clone());
                said
            }
            _ if in_body => continue,
            "DATA" => {
                let said = reply("354 go on\r\n");
                in_body = said.starts_with(b"3");
                said
            }
            it if it.starts_with("EHLO") => reply("250-raw.example\r\n250-SIZE 1000000\r\n250 8BITMIME\r\n"),
            it if it.starts_with("MAIL") => reply("250 2.1.0 Ok\r\n"),
            it if it.starts_with("RCPT") => reply("250 2.1.5 Ok\r\n"),
            _ => b"221 bye\r\n".to_vec(),
        };
        stream.get_mut().write_all(&said).await?;
    }
}

async fn smtp_case(case: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}?tls=none", listener.local_addr().unwrap());
    let dot = Mutex::new(None);
    let esp = SmtpEsp::new(&crate::smtp::settings(&url, TIMEOUT), clock()).unwrap();
    let job = job("job-1", "ada@gmail.com");
    let sent = tokio::select! {
        sent = tokio::time::timeout(LONGEST, esp.send(&job, 1)) => sent,
        () = serve(listener, case, &dot) => unreachable!("case {case}: the server has ended"),
    };
    let outcome = sent.unwrap_or_else(|_| unreachable!("case {case}: no outcome in time")).outcome;
    check(&outcome, case);
    if matches!(outcome, Outcome::Accepted { .. }) {
        let said = dot.lock().unwrap().clone().unwrap_or_default();
        assert!(said.starts_with(b"2"), "case {case}: accepted after {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_smtp_reply_has_an_outcome() {
    for from in (0..CASES).step_by(usize::try_from(AT_ONCE).unwrap()) {
        join_all((from..from + AT_ONCE).map(smtp_case)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_http_reply_has_an_outcome() {
    let bodies = [
        r#"{"errors":[{"message":"bad ada@gmail.com","field":"personalizations.0.to.0.email","help":null}]}"#,
        r#"{"errors":[{"message":"Maximum credits exceeded","field":null,"help":null}]}"#,
        "",
    ];
    let statuses = [200, 202, 400, 401, 403, 413, 429, 500, 503, 301];
    let one = async |case: u64| {
        let at = usize::try_from(case).unwrap();
        let (status, body) = (statuses[at % statuses.len()], bodies[at % bodies.len()]);
        let good = format!(
            "HTTP/1.1 {status} X\r\nX-Message-Id: abc.123\r\nRetry-After: 7\r\nX-RateLimit-Remaining: 0\r\n\
             X-RateLimit-Reset: 1795521600\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let bytes = mutated(good.as_bytes(), case);
        let server = RawHttp::start(Act::WriteAndClose(bytes.clone()));
        let esp = SendGridEsp::new(&crate::sendgrid::settings(&server.url(), TIMEOUT), clock()).unwrap();
        let job = job("job-1", "ada@gmail.com");
        let sent = tokio::time::timeout(LONGEST, esp.send(&job, 1)).await;
        let outcome = sent.unwrap_or_else(|_| unreachable!("case {case}: no outcome in time")).outcome;
        check(&outcome, case);
        if let Outcome::Accepted { provider_message_id } = outcome {
            assert!(String::from_utf8_lossy(&bytes).contains(" 2"), "case {case}: accepted after {bytes:?}");
            let id = provider_message_id.unwrap_or_default();
            assert!(!id.contains(['\r', '\n']) && id.len() < 1_000, "case {case}: {id:?}");
        }
    };
    for from in (0..CASES).step_by(usize::try_from(AT_ONCE).unwrap()) {
        join_all((from..from + AT_ONCE).map(&one)).await;
    }
}
