//! Deferrals, faults, schedules and expiry: everything that waits in `pending`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_testkit::peers::SendGridAnswer;

use crate::support::{Options, Rig, job, line, rfc3339};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_job_goes_through_pending_and_is_accepted_later() {
    let rig = Rig::new(Options::default());
    let replicas = rig.start(1);
    rig.sendgrid.script(|_| Some(SendGridAnswer::TooManyRequests(Duration::from_secs(2))));
    let jobs: Vec<_> =
        (0..20).map(|i| job(&format!("later-{i}"), "default", &format!("u{i}@gmail.com"))).collect();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    // The first reply stops the group for all: the others wait without a try of their own.
    crate::support::until("some are deferred", async || {
        rig.count("select count(*) from sluice.pending where reason = 'retry'").await > 0
    })
    .await;
    rig.sendgrid.script(|_| None);
    let verdict = rig.judge(&jobs, false).await;
    assert_eq!(verdict.states.get("accepted"), Some(&20));
    let tries = rig.count("select count(*) from sluice.attempt where outcome = 'deferred'").await;
    assert!(tries > 0, "{tries}");
    drop(replicas);
}

/// So many seconds from now.
fn ahead(seconds: u64) -> String {
    rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_at_is_waited_for_and_expires_at_ends_a_job() {
    let more = "[retry.transactional]\ninitial = \"100ms\"\nmax = \"500ms\"\ngive_up_after = \"1s\"";
    // Its next slot opens after 4.7 s, which a job waits for in the hands of a worker.
    let slow = "[[domain_group]]\nname = \"slow\"\ndomains = [\"slow.example\"]\nlimits = [\"13/min\"]";
    let options = Options { more: format!("{more}\n{slow}"), ..Options::default() };
    let rig = Rig::new(options);
    let replicas = rig.start(1);
    // What it has waited for its time is not counted to the second after which it is given up.
    let first = AtomicBool::new(true);
    rig.sendgrid.script(move |call| {
        let is_first = call.recipient.starts_with("ada@") && first.swap(false, Ordering::Relaxed);
        is_first.then_some(SendGridAnswer::Status(503))
    });
    let mut scheduled = job("scheduled", "default", "ada@gmail.com");
    scheduled["class"] = "transactional".into();
    let send_at = ahead(3);
    scheduled["send_at"] = send_at.clone().into();
    let mut expired = job("expired", "default", "bob@gmail.com");
    expired["expires_at"] = "2020-01-01T00:00:00Z".into();
    let mut never = job("never", "default", "eve@gmail.com");
    never["send_at"] = "2099-01-01T00:00:00Z".into();
    never["expires_at"] = ahead(4).into();
    let mut held = job("held", "default", "two@slow.example");
    held["expires_at"] = ahead(4).into();
    let all = [job("first", "default", "one@slow.example"), held, scheduled, expired, never];
    rig.publish(&all.each_ref().map(line));
    crate::support::until("they are parked", async || {
        rig.count("select count(*) from sluice.pending where reason = 'scheduled'").await == 2
            || rig.sendgrid.accepted() == 2
    })
    .await;
    let verdict = rig.judge(&all, false).await;
    assert_eq!((verdict.states.get("expired"), verdict.states.get("accepted")), (Some(&3), Some(&2)));
    assert_eq!(rig.sendgrid.journal().len(), 3);
    let early = format!(
        "select count(*) from sluice.attempt where job_id = 'scheduled' and started_at < '{send_at}'"
    );
    assert_eq!(rig.count(&early).await, 0, "sent before its time");
    drop(replicas);
}

/// A transactional job is given up after an hour; the ESP asks for two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_longer_than_the_job_lasts_is_not_the_end_of_it() {
    let both = "[[pool]]\nname = \"both\"\nmembers = [{ esp = \"grid\" }]\nfailover = [\"post\"]";
    let rig = Rig::new(Options { more: both.to_owned(), ..Options::default() });
    let replicas = rig.start(1);
    let transactional = |id: &str, pool: &str, to: &str| {
        let mut it = job(id, pool, to);
        it["class"] = "transactional".into();
        it
    };
    rig.sendgrid.script(|_| Some(SendGridAnswer::TooManyRequests(Duration::from_secs(7200))));
    rig.publish(&[line(&transactional("elsewhere", "both", "ada@gmail.com"))]);
    crate::support::until("it is sent elsewhere", async || rig.smtp.accepted_by_job().len() == 1).await;
    let tries = "select count(*) from sluice.attempt where job_id = 'elsewhere' and (attempt, esp, outcome) in \
                 ((1, 'grid', 'deferred'), (2, 'post', 'accepted'))";
    crate::support::until("both tries are recorded", async || rig.count(tries).await == 2).await;
    drop(replicas);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_esp_that_fails_is_failed_over() {
    let more = r#"
        [[pool]]
        name = "both"
        members = [{ esp = "grid" }]
        failover = ["post"]
        [breaker]
        min_calls = 5
    "#;
    let rig = Rig::new(Options { more: more.to_owned(), ..Options::default() });
    let replicas = rig.start(1);
    rig.sendgrid.answer_all(Some(SendGridAnswer::Status(500)));
    let jobs: Vec<_> =
        (0..200).map(|i| job(&format!("over-{i}"), "both", &format!("u{i}@gmail.com"))).collect();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    let verdict = rig.judge(&jobs, false).await;
    assert_eq!(verdict.states.get("accepted"), Some(&200));
    assert_eq!(rig.smtp.accepted_by_job().len(), 200);
    let (_, metrics) = replicas[0].get("/metrics").unwrap();
    assert!(metrics.contains("sluice_breaker_transitions_total{esp=\"grid\",to=\"open\"}"), "{metrics}");
}
