//! Every way in which a relay can answer, or not answer, at every step.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sluice_engine::Esp;
use sluice_esp::{SmtpEsp, SmtpSettings};
use sluice_types::{AttemptOutcome, Category, DeferralScope, Outcome};

use crate::jobs::{clock, esp_id, job};
use crate::raw_smtp::{Act, RawSmtp};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const IMPATIENCE: Duration = Duration::from_millis(400);

pub(crate) fn settings(url: &str, timeout: Duration) -> SmtpSettings {
    SmtpSettings {
        id: esp_id(),
        url: url.into(),
        tls_ca_file: None,
        hello_name: Some("worker.example".to_owned()),
        timeout,
        max_connections: 4,
    }
}

pub(crate) fn relay(server: &RawSmtp, timeout: Duration) -> SmtpEsp {
    SmtpEsp::new(&settings(&format!("smtp://{}", server.addr()), timeout), clock()).unwrap()
}

async fn send(server: &RawSmtp, timeout: Duration) -> Outcome {
    relay(server, timeout).send(&job("job-1", "ada@gmail.com"), 1).await.outcome
}

fn assert_is(outcome: &Outcome, kind: AttemptOutcome, category: Category, at: &str) {
    assert_eq!((outcome.kind(), outcome.category()), (kind, Some(category)), "{at}: {outcome:?}");
    assert!(!outcome.detail().contains("ada"), "{at}: {outcome:?}");
}

#[tokio::test]
async fn a_message_is_handed_over_whole() {
    let server = RawSmtp::start(|_| None);
    let relay = relay(&server, PATIENCE);
    let mut job = job("job-1", "ada@gmail.com");
    job.text = Some("first\n.\n..\nlast".to_owned());
    job.html = None;
    let outcome = relay.send(&job, 1).await.outcome;
    assert_eq!(outcome, Outcome::Accepted { provider_message_id: Some("4XyZ12abc".to_owned()) });
    assert_eq!(
        server.lines(),
        ["EHLO worker.example", "MAIL FROM:<news@acme.example>", "RCPT TO:<ada@gmail.com>", "DATA"]
    );
    let messages = server.messages();
    let (head, body) = messages[0].split_once("\r\n\r\n").unwrap();
    assert!(head.contains("X-Sluice-Job-Id: job-1\r\n"), "{head}");
    assert!(head.contains("List-Unsubscribe: <https://acme.example/u/abc>\r\n"), "{head}");
    assert_eq!(body, "first\r\n.\r\n..\r\nlast\r\n");
}

#[tokio::test]
async fn a_call_has_its_connection_before_it_is_made() {
    let server = RawSmtp::start(|_| None);
    let relay = relay(&server, PATIENCE);
    let job = job("job-1", "ada@gmail.com");
    let call = relay.write(&job, 1).ok().unwrap().ready().await.ok().unwrap();
    assert_eq!(server.lines(), ["EHLO worker.example"]);
    assert_eq!(call.make().await.outcome.kind(), AttemptOutcome::Accepted);
    assert_eq!(server.connections(), 1);
}

/// A call may wait longer for its turn than the relay waits for a command.
#[tokio::test]
async fn a_connection_that_is_closed_while_its_call_waits_costs_nothing() {
    let greeted = AtomicU32::new(0);
    let server = RawSmtp::start(move |step| {
        let first = step.verb == "EHLO" && greeted.fetch_add(1, Ordering::Relaxed) == 0;
        first.then_some(Act::SayAndClose("250 raw.example"))
    });
    let relay = relay(&server, PATIENCE);
    let job = job("job-1", "ada@gmail.com");
    let call = relay.write(&job, 1).ok().unwrap().ready().await.ok().unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(call.make().await.outcome.kind(), AttemptOutcome::Accepted);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn each_attempt_has_the_same_message_id() {
    let server = RawSmtp::start(|_| None);
    let relay = relay(&server, PATIENCE);
    for attempt in 1..=2 {
        relay.send(&job("job:1", "ada@gmail.com"), attempt).await;
    }
    let id = |message: &str| {
        message.lines().find(|line| line.starts_with("Message-ID: <job=3A1.")).map(str::to_owned)
    };
    let messages = server.messages();
    assert!(id(&messages[0]).is_some(), "{}", messages[0]);
    assert_eq!(id(&messages[0]), id(&messages[1]));
}

#[tokio::test]
async fn a_reply_is_understood_at_the_step_where_it_comes() {
    use AttemptOutcome::{Deferred, Faulted, Rejected};
    for (verb, reply, kind, category) in [
        ("GREETING", "421 4.3.2 too many connections", Deferred, Category::Throttled),
        ("GREETING", "554 5.7.1 blocked", Faulted, Category::Account),
        ("EHLO", "550 no", Faulted, Category::ServerError),
        ("MAIL", "421 4.7.0 slow down", Deferred, Category::Throttled),
        ("MAIL", "530 5.7.0 log in first", Faulted, Category::Auth),
        ("MAIL", "553 5.1.8 <news@acme.example>", Rejected, Category::SenderConfig),
        ("RCPT", "421 4.7.28 unusual rate", Deferred, Category::Throttled),
        ("RCPT", "450-4.2.1 <ada@gmail.com>\r\n450 4.2.1 busy", Deferred, Category::RecipientUnavailable),
        ("RCPT", "550 5.1.1 <ada@gmail.com>", Rejected, Category::RecipientUnknown),
        ("RCPT", "552 5.2.2 full", Rejected, Category::RecipientUnavailable),
        ("DATA", "451 4.3.0 later", Deferred, Category::Temporary),
        ("DATA", "554 5.7.1 no", Rejected, Category::Policy),
        ("DOT", "421 4.7.0 later", Deferred, Category::Throttled),
        ("DOT", "550 5.7.1 spam", Rejected, Category::Policy),
        ("DOT", "550 5.7.26 DMARC", Rejected, Category::SenderConfig),
        ("DOT", "552 5.3.4 too large", Rejected, Category::Content),
    ] {
        for act in [Act::Say(reply), Act::SayAndClose(reply)] {
            let outcome = send(&RawSmtp::at(verb, act), PATIENCE).await;
            assert_is(&outcome, kind, category, &format!("{verb} {reply}"));
        }
    }
}

#[tokio::test]
async fn a_throttle_at_rcpt_concerns_the_domain_group_or_the_recipient() {
    let ten_minutes = Duration::from_secs(600);
    for (reply, expected) in [
        ("421 4.7.28 unusual rate", (DeferralScope::DomainGroup, Some(ten_minutes))),
        (
            "450-4.2.1 The user you are trying to contact is receiving mail\r\n450 4.2.1 at a rate that prevents",
            (DeferralScope::Recipient, Some(ten_minutes)),
        ),
        ("451 4.7.1 slow down", (DeferralScope::DomainGroup, None)),
    ] {
        let outcome = send(&RawSmtp::at("RCPT", Act::SayAndClose(reply)), PATIENCE).await;
        let Outcome::Deferred { scope, retry_after, category, .. } = outcome else {
            unreachable!("{outcome:?}")
        };
        assert_eq!(((scope, retry_after), category), (expected, Category::Throttled), "{reply}");
    }
}

#[tokio::test]
async fn a_connection_lost_before_the_final_dot_is_a_fault() {
    for verb in ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"] {
        let outcome = send(&RawSmtp::at(verb, Act::Close), PATIENCE).await;
        assert_eq!(outcome.kind(), AttemptOutcome::Faulted, "{verb}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_connection_lost_while_the_message_is_written_is_a_fault() {
    let server = RawSmtp::at("BODY", Act::Close);
    let mut job = job("job-1", "ada@gmail.com");
    // More than the sockets' buffers hold, so that the final dot cannot be written.
    job.html = Some("a line of text\n".repeat(1024 * 1024));
    let outcome = relay(&server, Duration::from_secs(60)).send(&job, 1).await.outcome;
    assert_is(&outcome, AttemptOutcome::Faulted, Category::Connect, "mid DATA");
}

#[tokio::test]
async fn a_connection_lost_after_the_final_dot_is_unknown() {
    let server = RawSmtp::at("DOT", Act::Close);
    let outcome = send(&server, PATIENCE).await;
    assert_is(&outcome, AttemptOutcome::Unknown, Category::AnswerLost, "after the dot");
    assert_eq!(server.messages().len(), 1);
}

#[tokio::test]
async fn a_slow_answer_is_a_fault_before_the_final_dot_and_unknown_after_it() {
    for verb in ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"] {
        let outcome = send(&RawSmtp::at(verb, Act::Hang), IMPATIENCE).await;
        assert_is(&outcome, AttemptOutcome::Faulted, Category::Timeout, verb);
    }
    let outcome = send(&RawSmtp::at("DOT", Act::Hang), IMPATIENCE).await;
    assert_is(&outcome, AttemptOutcome::Unknown, Category::AnswerLost, "DOT");
}

#[tokio::test]
async fn an_answer_that_is_no_reply_is_a_fault_before_the_final_dot_and_unknown_after_it() {
    let junk = [
        "HTTP/1.1 200 OK",
        "250",
        "999 9.9.9 what",
        "250-first\r\n550 other",
        "\u{1}\u{2}",
        "\r\n",
        "2500 Ok",
    ];
    for text in junk {
        for verb in ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"] {
            let outcome = send(&RawSmtp::at(verb, Act::SayAndClose(text)), PATIENCE).await;
            assert_eq!(outcome.kind(), AttemptOutcome::Faulted, "{verb} {text:?}: {outcome:?}");
        }
        let outcome = send(&RawSmtp::at("DOT", Act::SayAndClose(text)), PATIENCE).await;
        assert_eq!(outcome.kind(), AttemptOutcome::Unknown, "{text:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_dialogue_out_of_step_is_never_taken_for_success() {
    for (verb, reply) in [("MAIL", "354 go on"), ("RCPT", "235 welcome"), ("DATA", "250 Ok")] {
        let outcome = send(&RawSmtp::at(verb, Act::Say(reply)), PATIENCE).await;
        assert_is(&outcome, AttemptOutcome::Faulted, Category::Protocol, verb);
    }
    let outcome = send(&RawSmtp::at("DOT", Act::Say("354 go on")), PATIENCE).await;
    assert_is(&outcome, AttemptOutcome::Unknown, Category::AnswerLost, "DOT");
}

#[tokio::test]
async fn a_reply_without_an_end_does_not_fill_the_memory() {
    for verb in ["GREETING", "RCPT"] {
        let outcome = send(&RawSmtp::at(verb, Act::Babble), PATIENCE).await;
        assert_is(&outcome, AttemptOutcome::Faulted, Category::Protocol, verb);
    }
    let outcome = send(&RawSmtp::at("DOT", Act::Babble), PATIENCE).await;
    assert_eq!(outcome.kind(), AttemptOutcome::Unknown, "{outcome:?}");
}

#[tokio::test]
async fn a_refused_login_is_an_auth_fault_and_sends_nothing() {
    for (reply, category) in [("535 5.7.8 wrong", Category::Auth), ("454 4.7.0 later", Category::ServerError)]
    {
        let server = RawSmtp::at("AUTH", Act::Say(reply));
        let url = format!("smtp://us%65r:top%20secret@{}", server.addr());
        let relay = SmtpEsp::new(&settings(&url, PATIENCE), clock()).unwrap();
        let outcome = relay.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
        assert_is(&outcome, AttemptOutcome::Faulted, category, reply);
        // base64 of NUL user NUL "top secret"
        assert!(server.lines().contains(&"AUTH PLAIN AHVzZXIAdG9wIHNlY3JldA==".to_owned()));
        assert!(!server.verbs(1).contains(&"MAIL".to_owned()));
        assert!(!format!("{relay:?} {outcome:?}").contains("secret"));
    }
}

#[tokio::test]
async fn a_server_without_auth_is_an_auth_fault() {
    let server = RawSmtp::at("EHLO", Act::Say("250 raw.example"));
    let url = format!("smtp://user:secret@{}", server.addr());
    let relay = SmtpEsp::new(&settings(&url, PATIENCE), clock()).unwrap();
    let outcome = relay.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
    assert_is(&outcome, AttemptOutcome::Faulted, Category::Auth, "no AUTH");
}

#[tokio::test]
async fn a_reply_in_another_encoding_keeps_its_code() {
    // GBK at RCPT, Latin-1 after the dot.
    for (verb, reply, kind, category) in [
        (
            "RCPT",
            b"550-5.1.1 \xd3\xca\xcf\xe4\r\n550 5.1.1 \xb2\xbb\xff".as_slice(),
            AttemptOutcome::Rejected,
            Some(Category::RecipientUnknown),
        ),
        ("DOT", b"250 2.0.0 empf\xe4ngt, queued as 4XyZ12abc", AttemptOutcome::Accepted, None),
        ("EHLO", b"250-raw.example gr\xfc\xdft\r\n250 8BITMIME", AttemptOutcome::Accepted, None),
    ] {
        let server = RawSmtp::start(move |step| (step.verb == verb).then_some(Act::SayBytes(reply)));
        let relay = SmtpEsp::new(&settings(&format!("smtp://{}?tls=none", server.addr()), PATIENCE), clock())
            .unwrap();
        let outcome = relay.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
        assert_eq!((outcome.kind(), outcome.category()), (kind, category), "{verb}: {outcome:?}");
    }
}

#[tokio::test]
async fn nothing_is_sent_in_clear_when_tls_is_required() {
    let offered = "250-raw.example\r\n250 STARTTLS";
    for (ehlo, starttls) in [
        ("250 raw.example", "502 no"),
        (offered, "454 4.7.0 not now"),
        (offered, "220 but no handshake follows"),
        // What an attacker puts behind the reply must not be taken for one that came encrypted.
        (offered, "220 go on\r\n250 AUTH PLAIN\r\n250 Ok\r\n250 Ok\r\n354 go on\r\n250 Ok"),
    ] {
        let server = RawSmtp::start(move |step| match step.verb {
            "EHLO" => Some(Act::Say(ehlo)),
            "STARTTLS" => Some(Act::SayAndClose(starttls)),
            _ => None,
        });
        let url = format!("smtp://user:secret@{}?tls=required", server.addr());
        let relay = SmtpEsp::new(&settings(&url, PATIENCE), clock()).unwrap();
        let outcome = relay.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
        assert_is(&outcome, AttemptOutcome::Faulted, Category::Tls, starttls);
        assert!(server.verbs(1).iter().all(|verb| !["AUTH", "MAIL", "DATA"].contains(&verb.as_str())));
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_a_tls_fault() {
    let server = RawSmtp::start(|_| None);
    let relay = SmtpEsp::new(&settings(&format!("smtps://{}", server.addr()), PATIENCE), clock()).unwrap();
    let outcome = relay.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
    assert_is(&outcome, AttemptOutcome::Faulted, Category::Tls, "smtps");
}

#[tokio::test]
async fn a_port_without_a_server_is_a_connect_fault() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in [format!("smtp://127.0.0.1:{port}"), "smtp://no-such-host.invalid?tls=none".to_owned()] {
        let relay = SmtpEsp::new(&settings(&url, PATIENCE), clock()).unwrap();
        let outcome = relay.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
        assert_is(&outcome, AttemptOutcome::Faulted, Category::Connect, &url);
    }
}

#[test]
fn settings_show_no_secret_and_say_what_is_wrong() {
    let good = settings("smtps://user:topsecret@mx.example", PATIENCE);
    assert!(!format!("{good:?}").contains("topsecret"));
    let error = |change: fn(&mut SmtpSettings)| {
        let mut settings = good.clone();
        change(&mut settings);
        let error = SmtpEsp::new(&settings, clock()).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("topsecret"), "{text}");
        error.to_string()
    };
    assert!(error(|it| it.timeout = Duration::ZERO).contains("timeout"));
    assert!(error(|it| it.max_connections = 0).contains("max_connections"));
    assert!(error(|it| it.hello_name = Some("a\r\nMAIL".to_owned())).contains("hello_name"));
    assert!(error(|it| it.tls_ca_file = Some("/no/such/file".into())).contains("tls_ca_file"));
    assert!(error(|it| it.tls_ca_file = Some("/proc/self/status".into())).contains("no usable PEM"));
}
