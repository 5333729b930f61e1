//! An ESP allows three connections: three replicas together hold no more.

use std::time::Duration;

use sluice_testkit::peers::{SendGridAnswer, busiest_window};

use crate::support::{Options, Rig, job, line, until};

const CALL: Duration = Duration::from_millis(300);
/// Calls shorter than they are by what the stand-in's own scheduling may shift.
const NOISE: Duration = Duration::from_millis(50);
const JOBS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_calls_at_once_than_connections() {
    let more = r#"
        [[esp]]
        name = "narrow"
        kind = "sendgrid"
        base_url = "SENDGRID"
        api_key = "KEY"
        timeout = "5s"
        limits = ["3 connections"]

        [[pool]]
        name = "narrow"
        members = [{ esp = "narrow" }]
    "#;
    let rig = Rig::new(Options { more: more.to_owned(), alone: true, ..Options::default() });
    rig.sendgrid.answer_all(Some(SendGridAnswer::AcceptAfter(CALL)));
    let replicas = rig.start(3);
    let jobs: Vec<_> =
        (0..JOBS).map(|i| job(&format!("c-{i}"), "narrow", &format!("u{i}@gmail.com"))).collect();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    until("all are sent", async || rig.sendgrid.accepted() == JOBS).await;
    let times = rig.sendgrid.accepted_at(|_| true);
    let at_once = busiest_window(times.clone(), CALL - NOISE);
    let span = times.iter().max().unwrap().duration_since(*times.iter().min().unwrap());
    eprintln!("{at_once} at once, {JOBS} calls of {CALL:?} in {span:?}");
    assert!(at_once <= 3, "{at_once} at once");
    let verdict = rig.judge(&jobs, false).await;
    assert_eq!(verdict.states.get("accepted"), Some(&JOBS));
    drop(replicas);
}
