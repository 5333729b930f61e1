//! A long backlog waits for few connections, or few places, of a slow ESP: it waits in the broker, and transactional jobs
//! pass it.

use std::time::{Duration, Instant};

use sluice_testkit::peers::SendGridAnswer;

use crate::support::{Options, Rig, job, line, until};

const CALL: Duration = Duration::from_secs(1);
/// Calls at the same time over both pools, ten each.
const AT_ONCE: u64 = 20;
/// Bulk jobs: half a minute's work.
const BULK: u64 = 600;
const URGENT: u64 = 40;
/// Largest prefetch of a lane: the calls of its pool, and two seconds of their rate.
const PREFETCH: u64 = 30;
/// One for each kind of bound; each has a lane for each domain, and one for transactional jobs.
const POOLS: [&str; 2] = ["connections", "places"];
const DOMAINS: [&str; 3] = ["gmail.com", "outlook.com", "beispiel.example"];
const LANES: u64 = 8;
/// Jobs that may go to either of two ESPs.
const EITHER: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_waits_in_the_broker_and_transactional_jobs_pass_it() {
    let more = r#"
        [[esp]]
        name = "connections"
        kind = "sendgrid"
        base_url = "SENDGRID"
        api_key = "KEY"
        timeout = "5s"
        limits = ["10 connections", "100/s"]

        [[pool]]
        name = "connections"
        members = [{ esp = "connections" }]

        [[esp]]
        name = "places"
        kind = "sendgrid"
        base_url = "SENDGRID"
        api_key = "KEY"
        timeout = "5s"
        max_in_flight = 10

        [[pool]]
        name = "places"
        members = [{ esp = "places" }]
    "#;
    let options = Options { more: more.to_owned(), lane_hold_max: "30s", alone: true, ..Options::default() };
    let rig = Rig::new(options);
    rig.sendgrid.answer_all(Some(SendGridAnswer::AcceptAfter(CALL)));
    let lanes = DOMAINS.iter().flat_map(|domain| POOLS.map(|pool| (pool, domain))).cycle();
    let mut jobs: Vec<_> = (0..BULK)
        .zip(lanes)
        .map(|(i, (pool, domain))| job(&format!("b-{i}"), pool, &format!("u{i}@{domain}")))
        .collect();
    let replicas = rig.start(1);
    rig.publish_backlog(&jobs.iter().map(line).collect::<Vec<_>>());
    let accepted = || u64::try_from(rig.sendgrid.accepted()).unwrap();
    until("sending has begun", async || accepted() >= 2 * AT_ONCE).await;

    let urgent: Vec<_> = (0..URGENT)
        .zip(POOLS.iter().cycle())
        .map(|(i, pool)| {
            let mut urgent = job(&format!("u-{i}"), pool, &format!("t{i}@gmail.com"));
            urgent["class"] = "transactional".into();
            urgent
        })
        .collect();
    rig.publish(&urgent.iter().map(line).collect::<Vec<_>>());
    let published = Instant::now();
    let urgent_accepted = || rig.sendgrid.accepted_by_job().keys().filter(|id| id.starts_with("u-")).count();
    until("transactional jobs are sent", async || u64::try_from(urgent_accepted()).unwrap() == URGENT).await;
    let (took, bulk_by_then) = (published.elapsed(), accepted() - URGENT);

    // Half of the backlog is enough to tell what a job costs.
    until("half is sent", async || accepted() >= BULK / 2 + URGENT).await;
    let written = rig.metric(&replicas, "sluice_parked_total");
    let delivered = BULK + URGENT - rig.ready();
    let sent = accepted();
    eprintln!(
        "{sent} sent, {delivered} delivered, {written} written to pending; transactional jobs took {took:?}, by then \
         {bulk_by_then} of bulk were sent"
    );
    let most = sent * 11 + 10 * LANES * PREFETCH;
    assert!(delivered * 10 <= most, "{delivered} deliveries for {sent} sends");
    assert!(written * 10.0 <= f64::from(u32::try_from(sent).unwrap()), "{written} written for {sent} sends");
    // Two rounds of calls would be enough; behind the jobs in hand alone it would be five.
    assert!(took <= 4 * CALL, "{took:?}");

    jobs.extend(urgent);
    until("all are sent", async || accepted() == BULK + URGENT).await;
    let redelivered = rig.metric(&replicas, "sluice_redeliveries_total");
    // What is on its way to a consumer that is closed comes again: a few, and more where calls take longer than usual, as on a
    // busy machine (20 were seen).
    assert!(redelivered <= 60.0, "{redelivered} redelivered");
    let verdict = rig.judge(&jobs, false).await;
    assert_eq!(verdict.states.get("accepted"), Some(&jobs.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_esp_takes_what_would_wait_long() {
    let more = r#"
        [[esp]]
        name = "narrow"
        kind = "sendgrid"
        base_url = "SENDGRID"
        api_key = "KEY"
        timeout = "5s"
        limits = ["2 connections"]

        [[esp]]
        name = "wide"
        kind = "sendgrid"
        base_url = "SENDGRID"
        api_key = "KEY"
        timeout = "5s"

        [[pool]]
        name = "both"
        members = [{ esp = "narrow", weight = 90 }, { esp = "wide", weight = 10 }]
    "#;
    let options = Options { more: more.to_owned(), lane_hold_max: "45s", alone: true, ..Options::default() };
    let rig = Rig::new(options);
    rig.sendgrid.answer_all(Some(SendGridAnswer::AcceptAfter(CALL)));
    let replicas = rig.start(1);
    let jobs: Vec<_> =
        (0..EITHER).map(|i| job(&format!("w-{i}"), "both", &format!("u{i}@gmail.com"))).collect();
    rig.publish_backlog(&jobs.iter().map(line).collect::<Vec<_>>());
    let began = Instant::now();
    let sent = || u64::try_from(rig.sendgrid.accepted()).unwrap();
    until("all are sent", async || sent() == EITHER).await;
    let took = began.elapsed();
    let narrow = rig.count("select count(*) from sluice.attempt where esp = 'narrow'").await;
    let written = rig.metric(&replicas, "sluice_parked_total");
    eprintln!(
        "{EITHER} sent in {took:?}, {narrow} of them over two connections, {written} written to pending"
    );
    // Nine tenths of the jobs over two connections would take more than two minutes.
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert!(narrow > 10, "{narrow}");
    assert!(written < 1.0, "{written}");
    let verdict = rig.judge(&jobs, false).await;
    assert_eq!(verdict.states.get("accepted"), Some(&jobs.len()));
}
