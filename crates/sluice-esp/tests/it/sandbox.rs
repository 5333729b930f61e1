//! The sandbox: what it answers, what it keeps, and how fast.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_engine::Esp;
use sluice_esp::{SandboxEsp, SandboxSettings, SettingsError, read_journal};
use sluice_types::{AttemptOutcome, Category, DeferralScope, Outcome};

use crate::jobs::{clock, esp_id, job};

#[tokio::test]
async fn recipients_say_what_happens_and_only_what_was_taken_is_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut settings = SandboxSettings::new(esp_id());
    settings.journal = Some(path.clone());
    let sandbox = SandboxEsp::new(&settings, clock()).unwrap();
    for (recipient, kind) in [
        ("ada@gmail.com", AttemptOutcome::Accepted),
        ("reject+1@gmail.com", AttemptOutcome::Rejected),
        ("defer+1@gmail.com", AttemptOutcome::Deferred),
        ("throttle+1@gmail.com", AttemptOutcome::Deferred),
        ("unknown+1@yahoo.com", AttemptOutcome::Unknown),
    ] {
        let outcome = sandbox.send(&job(recipient, recipient), 2).await.outcome;
        assert_eq!(outcome.kind(), kind, "{recipient}: {outcome:?}");
    }
    let journal = read_journal(&path).unwrap();
    let seen: Vec<_> = journal
        .iter()
        .map(|it| (it.job_id.as_str(), it.attempt, it.recipient_domain.as_str(), it.at_us > 0))
        .collect();
    assert_eq!(
        seen,
        [("ada@gmail.com", 2, "gmail.com", true), ("unknown+1@yahoo.com", 2, "yahoo.com", true)]
    );
}

#[tokio::test]
async fn a_throttled_recipient_asks_its_domain_group_to_slow_down() {
    let sandbox = SandboxEsp::new(&SandboxSettings::new(esp_id()), clock()).unwrap();
    let answer = sandbox.send(&job("job-1", "throttle+1@gmail.com"), 1).await;
    let Outcome::Deferred { retry_after, scope, category, .. } = answer.outcome else { unreachable!() };
    let seen = (retry_after, scope, category);
    assert_eq!(seen, (Some(Duration::from_secs(2)), DeferralScope::DomainGroup, Category::Throttled));
}

#[tokio::test]
async fn the_calls_of_the_failing_window_fail() {
    let mut settings = SandboxSettings::new(esp_id());
    (settings.fail_from, settings.fail_count) = (Some(3), 2);
    let sandbox = SandboxEsp::new(&settings, clock()).unwrap();
    let mut failed = Vec::new();
    for call in 1..=6 {
        let outcome = sandbox.send(&job("job-1", "ada@gmail.com"), call).await.outcome;
        if outcome.category() == Some(Category::ServerError) {
            failed.push(call);
        }
    }
    assert_eq!(failed, [3, 4]);
    assert_eq!(sandbox.calls(), 6);
}

#[tokio::test]
async fn a_send_takes_its_latency() {
    let mut settings = SandboxSettings::new(esp_id());
    settings.latency = Duration::from_millis(80);
    let sandbox = SandboxEsp::new(&settings, clock()).unwrap();
    let start = tokio::time::Instant::now();
    sandbox.send(&job("job-1", "ada@gmail.com"), 1).await;
    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[test]
fn a_journal_that_cannot_be_opened_is_said() {
    let mut settings = SandboxSettings::new(esp_id());
    settings.journal = Some("/no/such/folder/journal".into());
    let error = SandboxEsp::new(&settings, clock()).unwrap_err();
    assert!(matches!(error, SettingsError::Journal { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "this measures real time")]
async fn twenty_thousand_sends_a_second_are_all_in_the_journal() {
    const TASKS: u32 = 8;
    const EACH: u32 = 5_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut settings = SandboxSettings::new(esp_id());
    settings.journal = Some(path.clone());
    let sandbox = Arc::new(SandboxEsp::new(&settings, clock()).unwrap());
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let sandbox = Arc::clone(&sandbox);
        tasks.spawn(async move {
            let job = job(&format!("job-{task}"), "ada@gmail.com");
            for attempt in 0..EACH {
                let outcome = sandbox.send(&job, attempt).await.outcome;
                assert!(matches!(outcome, Outcome::Accepted { .. }));
            }
        });
    }
    tasks.join_all().await;
    let rate = f64::from(TASKS * EACH) / start.elapsed().as_secs_f64();
    println!("{rate:.0} sends/s");
    assert_eq!(read_journal(&path).unwrap().len(), (TASKS * EACH) as usize);
    // The promise is 20,000; a busy test machine gets some slack.
    assert!(rate > 10_000.0, "{rate}");
}

#[tokio::test]
async fn an_idempotent_sandbox_takes_a_job_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut settings = SandboxSettings::new(esp_id());
    settings.journal = Some(path.clone());
    assert!(!SandboxEsp::new(&settings, clock()).unwrap().is_idempotent());
    settings.idempotent = true;
    let send = |id: &'static str, attempt| {
        // Another process each time: the journal is the memory.
        let sandbox = SandboxEsp::new(&settings, clock()).unwrap();
        assert!(sandbox.is_idempotent());
        async move { sandbox.send(&job(id, "unknown@gmail.com"), attempt).await.outcome.kind() }
    };
    assert_eq!(send("job-1", 1).await, AttemptOutcome::Unknown);
    assert_eq!(send("job-1", 2).await, AttemptOutcome::Accepted);
    assert_eq!(send("job-2", 2).await, AttemptOutcome::Unknown, "what it has not taken it takes");
    let ids: Vec<String> = read_journal(&path).unwrap().into_iter().map(|it| it.job_id).collect();
    assert_eq!(ids, ["job-1", "job-2"]);
}
