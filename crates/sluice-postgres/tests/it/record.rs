//! Records and their guard.

use sluice_engine::{Claim, ClaimVerdict, Console, Due, Ledger, NextStep, RecordVerdict};
use sluice_types::{Category, JobState, Outcome, WaitReason};

use crate::fixture::{
    Fixture, claim, claim_one, id, lapsing, lost, parked, record, record_one, retried, sent, unsent,
};

#[tokio::test]
async fn each_next_step_moves_the_job() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let rejected = record(
        "rejected",
        1,
        Some(Outcome::Rejected {
            category: Category::RecipientUnknown,
            detail: "550 no such user".to_owned(),
        }),
        NextStep::Final { state: JobState::Rejected, category: Some(Category::RecipientUnknown) },
    );
    let jobs = ["sent", "retried", "lost", "unsent", "rejected"];
    a.claim(&jobs.map(|job| claim(job, 1))).await.unwrap();
    let batch = [sent("sent", 1), retried("retried", 1), lost("lost", 1), unsent("unsent", 1), rejected];
    assert_eq!(a.record(&batch).await.unwrap(), [RecordVerdict::Recorded; 5]);
    for (job, row, pending, attempts) in [
        ("sent", "accepted/1/-/f", "", "1:accepted"),
        ("retried", "deferred/1/connect/f", "retry/2/{}", "1:faulted:connect"),
        ("lost", "unknown/1/answer_lost/f", "unknown/2/{}", "1:unknown:answer_lost"),
        ("unsent", "deferred/0/-/f", "esp_limit/1/{}", ""),
        ("rejected", "rejected/1/recipient_unknown/f", "", "1:rejected:recipient_unknown"),
    ] {
        assert_eq!(fixture.job(job).await, row, "{job}");
        assert_eq!(fixture.pending(job).await, pending, "{job}");
        assert_eq!(fixture.attempts(job).await, attempts, "{job}");
    }
    let view = a.job(&id("sent")).await.unwrap().unwrap();
    assert_eq!(view.provider_message_id.as_deref(), Some("pm-1"));
}

#[tokio::test]
async fn a_repeated_record_is_recorded_again_and_kept_once() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let jobs = ["sent", "retried", "lost", "unsent"];
    a.claim(&jobs.map(|job| claim(job, 1))).await.unwrap();
    let batch = [sent("sent", 1), retried("retried", 1), lost("lost", 1), unsent("unsent", 1)];
    for _ in 0..2 {
        assert_eq!(a.record(&batch).await.unwrap(), [RecordVerdict::Recorded; 4]);
        assert_eq!(fixture.text("select count(*)::text from sluice.attempt").await, "3");
        assert_eq!(fixture.text("select count(*)::text from sluice.pending").await, "3");
        assert_eq!(fixture.job("unsent").await, "deferred/0/-/f");
    }
}

#[tokio::test]
async fn a_zombie_does_not_move_the_job() {
    let fixture = Fixture::new().await;
    let (zombie, b) = (fixture.worker("zombie"), fixture.worker("b"));
    for job in ["sent", "retried", "lost", "unsent"] {
        claim_one(&zombie, lapsing(job, 1)).await;
        assert_eq!(claim_one(&b, claim(job, 1)).await, ClaimVerdict::Lost { attempt: 1 });
        let resend = Claim { resend: true, ..claim(job, 2) };
        assert_eq!(claim_one(&b, resend).await, ClaimVerdict::Go);
    }
    let late = [sent("sent", 1), retried("retried", 1), lost("lost", 1), unsent("unsent", 1)];
    assert_eq!(zombie.record(&late).await.unwrap(), [RecordVerdict::NotOurs; 4]);
    for job in ["sent", "retried", "lost", "unsent"] {
        assert_eq!(fixture.job(job).await, "sending/2/-/t");
        assert_eq!(fixture.pending(job).await, "");
    }
    assert_eq!(fixture.attempts("sent").await, "1:accepted 1:unknown:worker_lost");
    assert_eq!(record_one(&fixture.worker("c"), sent("sent", 2)).await, RecordVerdict::NotOurs);
    assert_eq!(record_one(&b, sent("sent", 2)).await, RecordVerdict::Recorded);
}

#[tokio::test]
async fn a_late_answer_settles_an_unknown_job() {
    let fixture = Fixture::new().await;
    let (slow, b) = (fixture.worker("slow"), fixture.worker("b"));
    claim_one(&slow, lapsing("j", 1)).await;
    claim_one(&b, claim("j", 1)).await;
    b.park(&[parked("j", 2, Due::Held, WaitReason::Unknown)]).await.unwrap();
    assert_eq!(record_one(&slow, retried("j", 1)).await, RecordVerdict::NotOurs);
    assert_eq!(record_one(&slow, lost("j", 1)).await, RecordVerdict::NotOurs);
    assert_eq!(fixture.job("j").await, "unknown/1/worker_lost/f");
    assert_eq!(record_one(&slow, sent("j", 1)).await, RecordVerdict::Recorded);
    assert_eq!(fixture.job("j").await, "accepted/1/-/f");
    assert_eq!(fixture.pending("j").await, "");
}

#[tokio::test]
async fn a_record_replaces_the_parked_copy() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    claim_one(&a, claim("j", 1)).await;
    a.park(&[parked("j", 1, Due::Held, WaitReason::InFlightElsewhere)]).await.unwrap();
    record_one(&a, retried("j", 1)).await;
    assert_eq!(fixture.pending("j").await, "retry/2/{}");
}

#[tokio::test]
async fn a_record_of_an_unknown_id_is_not_ours() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    assert_eq!(record_one(&a, sent("j", 1)).await, RecordVerdict::NotOurs);
    assert_eq!(fixture.attempts("j").await, "1:accepted", "but the attempt is kept");
    assert_eq!(a.record(&[]).await.unwrap(), []);
}
