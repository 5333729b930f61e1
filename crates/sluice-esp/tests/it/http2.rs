//! SendGrid over HTTP/2, against a server that is not ours.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use sluice_engine::Esp;
use sluice_esp::{HttpVersion, SendGridEsp};
use sluice_testkit::peers::{Http2Call, Http2Options, Http2StandIn};
use sluice_testkit::services::TcpProxy;
use sluice_types::{AttemptOutcome, Category, Job, Outcome};

use crate::jobs::{clock, job};
use crate::raw_http::RawHttp;
use crate::sendgrid::settings;

const PATIENCE: Duration = Duration::from_secs(20);
const IMPATIENCE: Duration = Duration::from_secs(1);

fn plain() -> Http2StandIn {
    Http2StandIn::start(Http2Options::default())
}

fn esp_with(server: &Http2StandIn, http_version: HttpVersion, timeout: Duration) -> SendGridEsp {
    let mut settings = settings(&server.url(), timeout);
    settings.http_version = http_version;
    settings.tls_ca_file = server.ca_file().map(Into::into);
    SendGridEsp::new(&settings, clock()).unwrap()
}

fn esp(server: &Http2StandIn) -> SendGridEsp {
    esp_with(server, HttpVersion::Http2, PATIENCE)
}

async fn send(esp: &SendGridEsp, word: &str, number: usize) -> Outcome {
    esp.send(&job(&format!("job-{number}"), &format!("{word}+{number}@gmail.com")), 1).await.outcome
}

async fn send_at_once(esp: &SendGridEsp, word: &str, numbers: std::ops::Range<usize>) -> Vec<Outcome> {
    join_all(numbers.map(|number| send(esp, word, number))).await
}

/// Makes no call before each has a line, so that none is answered early and leaves its own to another.
async fn send_after_all_have_a_line(esp: &SendGridEsp, count: usize) {
    let jobs: Vec<_> = (0..count).map(|number| job(&format!("job-{number}"), "ada@gmail.com")).collect();
    let lines = join_all(jobs.iter().map(|job| esp.write(job, 1).ok().unwrap().ready())).await;
    let calls = lines
        .into_iter()
        .map(|line| line.unwrap_or_else(|answer| unreachable!("no line: {:?}", answer.outcome)).make());
    let answers = join_all(calls).await;
    assert_all_accepted(&answers.into_iter().map(|answer| answer.outcome).collect::<Vec<_>>());
}

fn assert_all_accepted(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|it| it.kind() == AttemptOutcome::Accepted), "{outcomes:?}");
}

fn assert_is(outcome: &Outcome, kind: AttemptOutcome, category: Category) {
    assert_eq!((outcome.kind(), outcome.category()), (kind, Some(category)), "{outcome:?}");
}

/// A job with a text of so many bytes, which is answered after a second.
fn long_job((number, bytes): (usize, usize)) -> Job {
    let mut job = job(&format!("job-{number}"), &format!("slow1000+{number}@gmail.com"));
    job.text = Some("x".repeat(bytes));
    job
}

/// How many requests came over each connection.
fn by_connection(journal: &[Http2Call]) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for call in journal {
        *counts.entry(call.connection).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn a_request_carries_what_it_does_over_http1() {
    let server = plain();
    let outcome = send(&esp(&server), "ada", 1).await;
    assert_eq!(outcome, Outcome::Accepted { provider_message_id: Some("peer-1-1".to_owned()) });
    let call = server.journal().remove(0);
    let header = |name: &str| call.headers.get(name).map(String::as_str);
    assert_eq!((header(":method"), header(":path")), (Some("POST"), Some("/v3/mail/send")));
    assert_eq!(header(":authority"), server.url().strip_prefix("http://"));
    assert_eq!(header("authorization"), Some("Bearer SG.very-secret"));
    assert_eq!(header("content-type"), Some("application/json"));
    assert!(header("accept").is_some() && header("user-agent").is_some());
    assert_eq!(header("host"), None, "it is the authority");
    assert_eq!(call.body["subject"], "Hello Ada");
    let length: usize = header("content-length").unwrap().parse().unwrap();
    assert!(length > 100, "{length}");
}

#[tokio::test]
async fn calls_share_a_connection() {
    let server = plain();
    let esp = esp(&server);
    for round in 0..5 {
        assert_all_accepted(&send_at_once(&esp, "slow50", round * 40..round * 40 + 40).await);
    }
    assert_eq!(by_connection(&server.journal()), BTreeMap::from([(1, 200)]));
}

/// What is in doubt when a connection is lost has a bound.
#[tokio::test]
async fn no_more_than_256_share_one() {
    let server = Http2StandIn::start(Http2Options { streams: Some(1_000), ..Http2Options::default() });
    let esp = esp(&server);
    assert_all_accepted(&send_at_once(&esp, "slow2000", 0..300).await);
    assert_eq!(by_connection(&server.journal()), BTreeMap::from([(1, 256), (2, 44)]));
}

/// They would wait for each other where a server takes a little at a time.
#[tokio::test]
async fn large_bodies_have_connections_with_few_others_and_one_that_is_larger_still_its_own() {
    let server = plain();
    let esp = esp(&server);
    let jobs: Vec<_> = (0..12).map(|number| (number, 100_000)).chain([(12, 900_000)]).map(long_job).collect();
    let answers = join_all(jobs.iter().map(|job| esp.send(job, 1))).await;
    assert_all_accepted(&answers.into_iter().map(|answer| answer.outcome).collect::<Vec<_>>());
    assert_eq!(by_connection(&server.journal()), BTreeMap::from([(1, 5), (2, 5), (3, 2), (4, 1)]));
}

#[tokio::test]
async fn no_more_share_one_than_the_server_allows() {
    let server = Http2StandIn::start(Http2Options { streams: Some(3), ..Http2Options::default() });
    let esp = esp(&server);
    assert_all_accepted(&send_at_once(&esp, "slow1000", 0..10).await);
    assert_eq!(by_connection(&server.journal()), BTreeMap::from([(1, 3), (2, 3), (3, 3), (4, 1)]));
}

#[tokio::test]
async fn the_handshake_decides() {
    use HttpVersion::{Auto, Http1, Http2};
    for (alpn, version, spoken, connections) in [
        ("h2,http/1.1", Auto, "2", 1),
        ("http/1.1", Auto, "1.1", 20),
        ("h2,http/1.1", Http1, "1.1", 20),
        ("h2", Http2, "2", 1),
    ] {
        let server = Http2StandIn::start(Http2Options { alpn: Some(alpn), ..Http2Options::default() });
        let esp = esp_with(&server, version, PATIENCE);
        send_after_all_have_a_line(&esp, 20).await;
        let journal = server.journal();
        assert!(journal.iter().all(|call| call.version == spoken), "{alpn} {version:?}");
        assert_eq!(by_connection(&journal).len(), connections, "{alpn} {version:?}");
    }
}

/// One after the other they would take longer than a connection may.
#[tokio::test]
async fn once_nothing_can_be_shared_those_who_waited_connect_side_by_side() {
    let server = Http2StandIn::start(Http2Options { alpn: Some("http/1.1"), ..Http2Options::default() });
    let proxy = TcpProxy::start(server.addr());
    proxy.delay(Duration::from_millis(150));
    let mut settings =
        settings(&format!("https://localhost:{}", proxy.addr().port()), Duration::from_secs(6));
    settings.tls_ca_file = server.ca_file().map(Into::into);
    let esp = SendGridEsp::new(&settings, clock()).unwrap();
    send_after_all_have_a_line(&esp, 30).await;
}

#[tokio::test]
async fn who_asks_for_http2_alone_sends_nothing_over_anything_else() {
    let server = Http2StandIn::start(Http2Options { alpn: Some("http/1.1"), ..Http2Options::default() });
    let outcome = send(&esp(&server), "ada", 1).await;
    assert_eq!(outcome.kind(), AttemptOutcome::Faulted, "{outcome:?}");
    assert_eq!(server.journal().len(), 0);
    let server = RawHttp::answering(400, "", "what?");
    let mut settings = settings(&server.url(), IMPATIENCE);
    settings.http_version = HttpVersion::Http2;
    let outcome = send(&SendGridEsp::new(&settings, clock()).unwrap(), "ada", 1).await;
    assert_is(&outcome, AttemptOutcome::Faulted, Category::Connect);
}

#[tokio::test]
async fn a_refused_stream_is_sent_over_another_connection() {
    let server = plain();
    let esp = esp(&server);
    assert_all_accepted(&[send(&esp, "refused", 1).await]);
    let journal = server.journal();
    let actions: Vec<_> = journal.iter().map(|call| (call.connection, call.action.as_str())).collect();
    assert_eq!(actions, [(1, "refused"), (2, "accepted")]);
    // A server that refuses all has two tries, and took nothing.
    let outcome = send(&esp, "always-refused", 2).await;
    assert_is(&outcome, AttemptOutcome::Faulted, Category::Connect);
    assert_eq!(server.journal().len(), 4);
}

#[tokio::test]
async fn what_a_server_leaves_out_as_it_goes_away_is_sent_again_and_nothing_else() {
    let server = plain();
    let esp = esp(&server);
    let both = tokio::join!(send(&esp, "slow5000", 1), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        send(&esp, "away", 2).await
    });
    assert_is(&both.0, AttemptOutcome::Unknown, Category::AnswerLost);
    assert_all_accepted(&[both.1]);
    let journal = server.journal();
    let actions: Vec<_> = journal.iter().map(|call| (call.connection, call.action.as_str())).collect();
    assert_eq!(actions, [(1, "slow5000"), (1, "away"), (2, "accepted")]);
}

/// A stream may have been acted upon before it was reset, and a server with an error may not know.
#[tokio::test]
async fn any_other_end_is_unknown() {
    let server = plain();
    let esp = esp(&server);
    for (number, word) in (0..).zip(["reset", "away-amiss", "cut"]) {
        let outcome = send(&esp, word, number).await;
        assert_is(&outcome, AttemptOutcome::Unknown, Category::AnswerLost);
        assert_eq!(server.journal().len(), number + 1, "{word}: once");
    }
}

#[tokio::test]
async fn a_lost_connection_leaves_all_that_it_carried_in_doubt_and_nothing_more() {
    let server = plain();
    let esp = esp(&server);
    let both = tokio::join!(send_at_once(&esp, "slow5000", 0..10), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        send(&esp, "cut", 10).await
    });
    for outcome in both.0.iter().chain([&both.1]) {
        assert_is(outcome, AttemptOutcome::Unknown, Category::AnswerLost);
    }
    assert_all_accepted(&send_at_once(&esp, "ada", 11..31).await);
    assert_eq!(by_connection(&server.journal()), BTreeMap::from([(1, 11), (2, 20)]));
}

/// It may be dead for all that is known, or one request hangs: who is on it may still have an answer.
#[tokio::test]
async fn a_connection_on_which_a_call_gave_up_carries_no_further_one() {
    let server = plain();
    let esp = esp_with(&server, HttpVersion::Http2, IMPATIENCE);
    let both = tokio::join!(send(&esp, "hang", 1), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        send(&esp, "slow700", 2).await
    });
    assert_is(&both.0, AttemptOutcome::Unknown, Category::AnswerLost);
    assert_all_accepted(&[both.1, send(&esp, "ada", 3).await]);
    let calls: Vec<_> = server.journal().into_iter().filter(|call| !call.job_id.is_empty()).collect();
    assert_eq!(by_connection(&calls), BTreeMap::from([(1, 2), (2, 1)]));
}

/// Servers count resets, and close on whom has many.
#[tokio::test]
async fn an_answer_is_read_to_its_end() {
    let server = plain();
    let esp = esp(&server);
    assert_all_accepted(&send_at_once(&esp, "ends-late", 0..10).await);
    let outcome = send(&esp, "rejected", 10).await;
    assert_is(&outcome, AttemptOutcome::Rejected, Category::Content);
    assert_all_accepted(&[send(&esp, "ada", 11).await]);
    let journal = server.journal();
    assert_eq!((journal.len(), by_connection(&journal).len()), (12, 1), "{journal:?}");
}
