//! An ESP answers 500, then nothing at all, then 401: traffic moves to the next tier, few calls are spent on it, and it
//! comes back by degrees.

use std::time::{Duration, Instant};

use sluice_testkit::peers::SendGridAnswer;

use crate::support::{Options, Rig, job, line, until};

const REPLICAS: usize = 8;
const MIN_CALLS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_moves_on_and_comes_back() {
    let more = r#"
        [[pool]]
        name = "both"
        members = [{ esp = "grid" }]
        failover = ["post"]
        [breaker]
        min_calls = 5
        window = "10s"
        open = "2s"
        probes = 2
    "#;
    let rig = Rig::new(Options { more: more.to_owned(), timeout: "1s", alone: true, ..Options::default() });
    let replicas = rig.start(REPLICAS);
    let mut number = 0;
    let mut publish = |count: usize| {
        let jobs: Vec<_> = (0..count)
            .map(|i| job(&format!("b-{}", number + i), "both", &format!("u{}@gmail.com", number + i)))
            .collect();
        number += count;
        rig.publish_backlog(&jobs.iter().map(line).collect::<Vec<_>>());
        jobs
    };
    let mut jobs = publish(50);
    until("it works at first", Duration::from_secs(30), async || rig.sendgrid.accepted() == 50).await;
    for answer in [SendGridAnswer::Status(500), SendGridAnswer::Hang, SendGridAnswer::Status(401)] {
        let (calls, taken) = (rig.sendgrid.calls(), rig.smtp.accepted_by_job().len());
        rig.sendgrid.answer_all(Some(answer));
        let turned = Instant::now();
        let mut moved = None;
        // A steady stream: what goes in the first second of silence has no other way.
        for _ in 0..30 {
            jobs.extend(publish(10));
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                if moved.is_none() && rig.smtp.accepted_by_job().len() > taken + 5 {
                    moved = Some(turned.elapsed());
                }
            }
        }
        until("traffic has moved", Duration::from_secs(30), async || {
            rig.smtp.accepted_by_job().len() >= taken + 100
        })
        .await;
        let spent = rig.sendgrid.calls() - calls;
        eprintln!("{answer:?}: {spent} calls spent, moved after {moved:?}");
        assert!(moved.is_some_and(|after| after < Duration::from_secs(5)), "{moved:?}");
        // Calls that were on their way when it opened come on top: a breaker cannot call them back, and a silent ESP is
        // found out only after its timeout of a second.
        let on_the_way = if answer == SendGridAnswer::Hang { 250 } else { REPLICAS * 10 };
        let most = REPLICAS * MIN_CALLS + 2 * 10 + on_the_way;
        assert!(spent <= most, "{spent} calls on an ESP that is away");
        // While it is open, probes are granted over the fleet: two at a time, once in 2 s and then less often.
        let quiet = rig.sendgrid.calls();
        jobs.extend(publish(100));
        tokio::time::sleep(Duration::from_secs(3)).await;
        let probes = rig.sendgrid.calls() - quiet;
        assert!(probes <= 2 * 2, "{probes} probes of {REPLICAS} replicas in 3 s");
        rig.sendgrid.answer_all(None);
        let healed = rig.sendgrid.accepted();
        until("it comes back", Duration::from_secs(90), async || {
            jobs.extend(publish(10));
            tokio::time::sleep(Duration::from_millis(300)).await;
            rig.sendgrid.accepted() >= healed + 20
        })
        .await;
    }
    // What the hanging calls left is unknown for bulk: flagged, and nobody has it twice without a flag.
    let verdict = rig.judge(&jobs, true, Duration::from_secs(90)).await;
    let accepted = verdict.states.get("accepted").copied().unwrap_or(0);
    let unknown = verdict.states.get("unknown").copied().unwrap_or(0);
    assert_eq!(accepted + unknown, jobs.len(), "{:?}", verdict.states);
    drop(replicas);
}
