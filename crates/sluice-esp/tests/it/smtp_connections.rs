//! How connections are kept, reused and given up.

use std::sync::Arc;
use std::time::Duration;

use sluice_engine::{Clock, Esp};
use sluice_esp::SmtpEsp;
use sluice_types::{AttemptOutcome, Category, Outcome, Tick, Timestamp};

use crate::jobs::{clock, job};
use crate::raw_smtp::{Act, RawSmtp};
use crate::smtp::{PATIENCE, relay, settings};

async fn accepted(relay: &SmtpEsp, id: &str) {
    let outcome = relay.send(&job(id, "ada@gmail.com"), 1).await.outcome;
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{id}: {outcome:?}");
}

#[tokio::test]
async fn a_connection_carries_one_message_after_another() {
    let server = RawSmtp::start(|_| None);
    let relay = relay(&server, PATIENCE);
    for id in ["job-1", "job-2", "job-3"] {
        accepted(&relay, id).await;
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(server.messages().len(), 3);
    assert!(!server.verbs(1).contains(&"RSET".to_owned()));
    relay.close().await;
    assert_eq!(server.verbs(1).last().map(String::as_str), Some("QUIT"));
    accepted(&relay, "job-4").await;
}

#[tokio::test]
async fn a_refusal_resets_the_transaction_and_keeps_the_connection() {
    for verb in ["MAIL", "RCPT", "DATA"] {
        let server = RawSmtp::start(move |step| {
            (step.verb == verb && step.before == 0).then_some(Act::Say("550 5.7.1 no"))
        });
        let relay = relay(&server, PATIENCE);
        assert_eq!(
            relay.send(&job("job-1", "ada@gmail.com"), 1).await.outcome.kind(),
            AttemptOutcome::Rejected
        );
        accepted(&relay, "job-2").await;
        assert_eq!(server.connections(), 1, "{verb}");
        assert_eq!(server.verbs(1).iter().filter(|it| *it == "RSET").count(), 1, "{verb}");
    }
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_costs_nothing() {
    for act in [Act::Close, Act::SayAndClose("421 4.4.2 idle too long")] {
        let server =
            RawSmtp::start(move |step| (step.verb == "MAIL" && step.before == 1).then(|| act.clone()));
        let relay = relay(&server, PATIENCE);
        for id in ["job-1", "job-2"] {
            accepted(&relay, id).await;
        }
        assert_eq!((server.connections(), server.messages().len()), (2, 2));
    }
}

#[tokio::test]
async fn a_connection_that_has_carried_its_last_message_is_replaced() {
    for verb in ["MAIL", "RCPT"] {
        let used_up = Act::Say("451 4.7.1 Max message per connection reached");
        let server =
            RawSmtp::start(move |step| (step.verb == verb && step.before == 1).then(|| used_up.clone()));
        let relay = relay(&server, PATIENCE);
        for id in ["job-1", "job-2", "job-3"] {
            accepted(&relay, id).await;
        }
        // Each of its connections takes one message.
        assert_eq!((server.connections(), server.messages().len()), (3, 3), "{verb}");
    }
}

#[tokio::test]
async fn a_new_connection_that_takes_no_message_is_left_after_one_try() {
    let server = RawSmtp::at("RCPT", Act::Say("451 Max message per connection reached"));
    let relay = relay(&server, PATIENCE);
    for connections in 1..=2 {
        let outcome = relay.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
        assert_eq!(outcome.category(), Some(Category::Temporary), "{outcome:?}");
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn a_message_is_never_repeated_once_its_data_was_begun() {
    for (verb, kind) in [("DATA", AttemptOutcome::Faulted), ("DOT", AttemptOutcome::Unknown)] {
        let server =
            RawSmtp::start(move |step| (step.verb == verb && step.before == 1).then_some(Act::Close));
        let relay = relay(&server, PATIENCE);
        accepted(&relay, "job-1").await;
        assert_eq!(relay.send(&job("job-2", "ada@gmail.com"), 1).await.outcome.kind(), kind, "{verb}");
        assert_eq!(server.connections(), 1, "{verb}");
    }
}

#[tokio::test]
async fn after_a_hundred_messages_a_connection_is_left_whatever_the_goodbye() {
    let server = RawSmtp::at("QUIT", Act::Hang);
    let relay = relay(&server, PATIENCE);
    for number in 0..101 {
        accepted(&relay, &format!("job-{number}")).await;
    }
    assert_eq!((server.connections(), server.messages().len()), (2, 101));
    assert_eq!(server.verbs(1).last().map(String::as_str), Some("QUIT"));
}

#[tokio::test]
async fn there_are_never_more_connections_than_allowed() {
    let server = RawSmtp::start(|step| {
        if step.verb == "RCPT" {
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    });
    let mut settings = settings(&format!("smtp://{}", server.addr()), PATIENCE);
    settings.max_connections = 3;
    let relay = Arc::new(SmtpEsp::new(&settings, clock()).unwrap());
    let mut sends = tokio::task::JoinSet::new();
    for number in 0..40 {
        let relay = Arc::clone(&relay);
        sends.spawn(async move { accepted(&relay, &format!("job-{number}")).await });
    }
    sends.join_all().await;
    assert_eq!(server.messages().len(), 40);
    assert_eq!((server.most_open(), server.connections()), (3, 3));
}

#[tokio::test]
async fn a_message_that_gets_no_connection_in_time_is_deferred() {
    let server = RawSmtp::at("RCPT", Act::Hang);
    let mut short = settings(&format!("smtp://{}", server.addr()), Duration::from_millis(500));
    short.max_connections = 1;
    let relay = SmtpEsp::new(&short, clock()).unwrap();
    let (first, second) = (job("job-1", "ada@gmail.com"), job("job-2", "bob@gmail.com"));
    let (first, second) = tokio::join!(relay.send(&first, 1), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // It waits 450 ms for the first, and would then have 50 ms left.
        relay.send(&second, 1).await
    });
    let (first, second) = (first.outcome, second.outcome);
    assert_eq!(first.category(), Some(Category::Timeout), "{first:?}");
    assert!(matches!(second.kind(), AttemptOutcome::Deferred | AttemptOutcome::Faulted), "{second:?}");
}

/// A clock that the test turns.
#[derive(Debug, Default)]
struct HandClock(std::sync::atomic::AtomicU64);

impl Clock for HandClock {
    fn tick(&self) -> Tick {
        Tick::from_nanos(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_764_000_000_000_000)
    }
}

#[tokio::test]
async fn a_connection_that_was_idle_for_a_minute_is_not_used_again() {
    let server = RawSmtp::start(|_| None);
    let clock = Arc::new(HandClock::default());
    let address = format!("smtp://{}", server.addr());
    let relay = SmtpEsp::new(&settings(&address, PATIENCE), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    for (id, seconds, connections) in [("job-1", 0, 1), ("job-2", 59, 1), ("job-3", 119, 2)] {
        clock.0.store(seconds * 1_000_000_000, std::sync::atomic::Ordering::Relaxed);
        accepted(&relay, id).await;
        assert_eq!(server.connections(), connections, "{id}");
    }
}
