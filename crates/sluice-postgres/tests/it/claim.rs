//! Every verdict on a claim.

use std::collections::HashMap;
use std::time::Duration;

use sluice_engine::{
    Claim, ClaimVerdict, Console, Due, Intent, Ledger, NextStep, Record, RecordVerdict, SuppressionEntry,
};
use sluice_types::{Category, Class, EspId, JobState, Outcome, Tenant, WaitReason};

use crate::fixture::{
    Fixture, MINUTE, claim, claim_one, close, lapsing, lost, parked, record, record_one, retried, sent,
    unsent,
};

const SECOND: Duration = Duration::from_secs(1);

fn is_in_flight(verdict: ClaimVerdict) -> bool {
    matches!(verdict, ClaimVerdict::InFlight { remaining } if !remaining.is_zero() && remaining <= MINUTE)
}

#[tokio::test]
async fn a_new_job_goes_once() {
    let fixture = Fixture::new().await;
    let (a, b) = (fixture.worker("a"), fixture.worker("b"));
    assert_eq!(claim_one(&a, claim("j", 1)).await, ClaimVerdict::Go);
    assert!(is_in_flight(claim_one(&b, claim("j", 1)).await));
    assert!(is_in_flight(claim_one(&a, claim("j", 1)).await), "another token is another delivery");
    assert_eq!(fixture.job("j").await, "sending/1/-/f");
    record_one(&a, sent("j", 1)).await;
    assert_eq!(claim_one(&b, claim("j", 1)).await, ClaimVerdict::Done);
    assert_eq!(claim_one(&b, close("j", 1)).await, ClaimVerdict::Done);
}

/// Each kind of row is sent once for all of them.
#[tokio::test]
async fn each_job_of_a_mixed_batch_has_its_own_row() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let mixed = |attempt: u32| -> Vec<Claim> {
        let kinds = [("acme", Some("spring"), "shop", "main"), ("zeta", None, "default", "other")];
        let rows = (0..6).zip(kinds.into_iter().cycle());
        let claim = |(row, (tenant, campaign, pool, esp)): (u32, (&str, Option<&str>, &str, &str))| {
            let intent = Intent::Send { ttl: MINUTE, esp: EspId::new(esp).unwrap() };
            Claim {
                tenant: tenant.parse().unwrap(),
                campaign: campaign.map(|it| it.parse().unwrap()),
                pool: pool.parse().unwrap(),
                class: if row < 3 { Class::Bulk } else { Class::Transactional },
                fingerprint: 100 + i64::from(row),
                token: 10 + i64::from(row),
                intent,
                ..claim(&format!("j{row}"), attempt)
            }
        };
        rows.map(claim).collect()
    };
    let rows =
        "select string_agg(concat_ws('/', id, tenant, campaign, pool, class, esp, attempts), ' ' order by id)
        from sluice.job";
    assert_eq!(a.claim(&mixed(1)).await.unwrap(), [ClaimVerdict::Go; 6]);
    let expected = "j0/acme/spring/shop/bulk/main/1 j1/zeta/default/bulk/other/1 j2/acme/spring/shop/bulk/main/1 \
        j3/zeta/default/transactional/other/1 j4/acme/spring/shop/transactional/main/1 \
        j5/zeta/default/transactional/other/1";
    assert_eq!(fixture.text(rows).await, expected);
    let numbers =
        "select string_agg(concat_ws('/', claim_token, fingerprint), ' ' order by id) from sluice.job";
    assert_eq!(fixture.text(numbers).await, "10/100 11/101 12/102 13/103 14/104 15/105");

    let results: Vec<Record> = mixed(1)
        .into_iter()
        .zip(0_u32..)
        .map(|(it, row)| {
            let Intent::Send { esp, .. } = it.intent else { unreachable!() };
            let detail = format!("55{} no", row % 3);
            let outcome = Outcome::Rejected { category: Category::RecipientUnknown, detail };
            let next =
                NextStep::Final { state: JobState::Rejected, category: Some(Category::RecipientUnknown) };
            let result = record(it.id.as_str(), 1, Some(outcome), next);
            let (started_at, finished_at) =
                (result.started_at + SECOND * row, result.finished_at + SECOND * 2 * row);
            Record { tenant: it.tenant, token: Some(it.token), esp, started_at, finished_at, ..result }
        })
        .collect();
    assert_eq!(a.record(&results).await.unwrap(), [RecordVerdict::Recorded; 6]);
    let rows = "select string_agg(concat_ws('/', a.job_id, a.tenant, a.esp, a.detail, j.detail, j.state), ' '
        order by a.job_id) from sluice.attempt a join sluice.job j on j.id = a.job_id";
    let expected = "j0/acme/main/550 no/550 no/rejected j1/zeta/other/551 no/551 no/rejected \
        j2/acme/main/552 no/552 no/rejected j3/zeta/other/550 no/550 no/rejected \
        j4/acme/main/551 no/551 no/rejected j5/zeta/other/552 no/552 no/rejected";
    assert_eq!(fixture.text(rows).await, expected);
    let seconds = "select string_agg(extract(second from started_at)::int || '-' || extract(second from finished_at)::int,
        ' ' order by job_id) from sluice.attempt";
    assert_eq!(fixture.text(seconds).await, "0-1 1-3 2-5 3-7 4-9 5-11");
}

/// As two replicas have them that the broker has lent the same jobs, one after the other.
#[tokio::test]
async fn batches_with_the_same_jobs_in_another_order_do_not_deadlock() {
    let fixture = Fixture::new().await;
    let (a, b) = (fixture.worker("a"), fixture.worker("b"));
    for round in 0..20 {
        let one: Vec<Claim> = (0..400).map(|number| claim(&format!("j{round}-{number}"), 1)).collect();
        let other: Vec<Claim> =
            (0..400).rev().map(|number| claim(&format!("j{round}-{number}"), 1)).collect();
        let (one, other) = tokio::join!(a.claim(&one), b.claim(&other));
        let gone = one.unwrap().into_iter().chain(other.unwrap()).filter(|it| *it == ClaimVerdict::Go);
        assert_eq!(gone.count(), 400, "each went once");
    }
    // One that a deadlock has ended is tried again, which would hide it; and it is told after a while.
    tokio::time::sleep(SECOND).await;
    let deadlocks = "select deadlocks::text from pg_stat_database where datname = current_database()";
    assert_eq!(fixture.text(deadlocks).await, "0");
}

/// One that has a row fails the statement that inserts without a look; later batches look.
#[tokio::test]
async fn a_job_that_is_there_stops_no_other_of_its_batch() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    assert_eq!(claim_one(&a, claim("j", 1)).await, ClaimVerdict::Go);
    for (one, other) in [("k", "l"), ("m", "n")] {
        let verdicts = a.claim(&[claim(one, 1), claim("j", 1), claim(other, 1)]).await.unwrap();
        assert_eq!((verdicts[0], verdicts[2]), (ClaimVerdict::Go, ClaimVerdict::Go));
        assert!(is_in_flight(verdicts[1]), "{verdicts:?}");
    }
    assert_eq!(fixture.text("select count(*)::text from sluice.job where state = 'sending'").await, "5");
    // Where each row lies in the table tells of the ones that failed: `j` once more, before `k`, and not before `m`.
    let places = "select string_agg(id || ctid::text, ' ' order by id) from sluice.job";
    assert_eq!(fixture.text(places).await, "j(0,1) k(0,3) l(0,4) m(0,5) n(0,6)");
}

#[tokio::test]
async fn a_repeated_call_goes_again() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    for call in [claim("j", 1), lapsing("k", 1)] {
        assert_eq!(claim_one(&a, call.clone()).await, ClaimVerdict::Go);
        assert_eq!(claim_one(&a, call.clone()).await, ClaimVerdict::Go);
        assert!(matches!(
            claim_one(&fixture.worker("b"), call).await,
            ClaimVerdict::InFlight { .. } | ClaimVerdict::Lost { attempt: 1 }
        ));
    }
    let call = close("l", 1);
    assert_eq!(claim_one(&a, call.clone()).await, ClaimVerdict::Closed);
    assert_eq!(claim_one(&a, call).await, ClaimVerdict::Closed);
    assert_eq!(claim_one(&a, close("l", 1)).await, ClaimVerdict::Done);
}

#[tokio::test]
async fn a_deferred_job_goes_with_the_next_attempt_only() {
    let fixture = Fixture::new().await;
    let (a, b) = (fixture.worker("a"), fixture.worker("b"));
    claim_one(&a, claim("j", 1)).await;
    record_one(&a, retried("j", 1)).await;
    assert_eq!(claim_one(&b, claim("j", 1)).await, ClaimVerdict::Done);
    assert_eq!(claim_one(&b, claim("j", 2)).await, ClaimVerdict::Go);
    assert_eq!(fixture.job("j").await, "sending/2/-/f");
    assert_eq!(claim_one(&a, claim("j", 1)).await, ClaimVerdict::Done, "a later attempt is known");
    record_one(&b, unsent("j", 2)).await;
    assert_eq!(claim_one(&a, claim("j", 2)).await, ClaimVerdict::Go, "a claim given back counts for nothing");
}

#[tokio::test]
async fn a_lapsed_claim_leaves_the_job_unknown() {
    let fixture = Fixture::new().await;
    let (a, b) = (fixture.worker("a"), fixture.worker("b"));
    claim_one(&a, lapsing("j", 1)).await;
    assert_eq!(claim_one(&b, claim("j", 1)).await, ClaimVerdict::Lost { attempt: 1 });
    assert_eq!(fixture.job("j").await, "unknown/1/worker_lost/f");
    assert_eq!(fixture.attempts("j").await, "1:unknown:worker_lost");
    assert_eq!(claim_one(&b, claim("j", 1)).await, ClaimVerdict::Unknown { attempt: 1 });
    assert_eq!(claim_one(&b, claim("j", 2)).await, ClaimVerdict::Unknown { attempt: 1 });
    assert_eq!(fixture.attempts("j").await, "1:unknown:worker_lost");
    let resend = Claim { resend: true, ..claim("j", 2) };
    assert_eq!(claim_one(&b, resend).await, ClaimVerdict::Go);
    assert_eq!(fixture.job("j").await, "sending/2/-/t");
}

#[tokio::test]
async fn an_unknown_job_closes_with_a_resend_only() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    claim_one(&a, claim("j", 1)).await;
    record_one(&a, lost("j", 1)).await;
    assert_eq!(claim_one(&a, close("j", 2)).await, ClaimVerdict::Unknown { attempt: 1 });
    assert_eq!(fixture.pending("j").await, "unknown/2/{}");
    assert_eq!(claim_one(&a, Claim { resend: true, ..close("j", 2) }).await, ClaimVerdict::Closed);
    assert_eq!(fixture.job("j").await, "expired/1/expired/f");
    assert_eq!(fixture.pending("j").await, "", "a final job has no parked copy");
}

#[tokio::test]
async fn a_close_leaves_a_live_claim_alone() {
    let fixture = Fixture::new().await;
    let (a, b) = (fixture.worker("a"), fixture.worker("b"));
    claim_one(&a, claim("j", 1)).await;
    assert!(is_in_flight(claim_one(&b, close("j", 1)).await));
    claim_one(&a, lapsing("k", 1)).await;
    assert_eq!(claim_one(&b, close("k", 1)).await, ClaimVerdict::Lost { attempt: 1 });
    assert_eq!(claim_one(&a, close("l", 1)).await, ClaimVerdict::Closed);
    assert_eq!(fixture.job("l").await, "expired/0/expired/f");
    assert_eq!(fixture.attempts("l").await, "");
}

#[tokio::test]
async fn a_suppressed_recipient_closes_the_job() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let entry = |tenant, recipient: &str| SuppressionEntry {
        tenant,
        recipient: recipient.to_owned(),
        reason: "manual".to_owned(),
        source: "cli".to_owned(),
        created_at: None,
    };
    let acme = Tenant::new("acme").unwrap();
    let own = entry(Some(acme.clone()), "ada@gmail.com");
    assert_eq!(a.suppress(std::slice::from_ref(&own)).await.unwrap(), 1);
    assert_eq!(claim_one(&a, claim("other-tenant", 1)).await, ClaimVerdict::Go);
    let of_acme = Claim { tenant: acme, ..claim("own-tenant", 1) };
    assert_eq!(claim_one(&a, of_acme.clone()).await, ClaimVerdict::Suppressed);
    assert_eq!(claim_one(&a, of_acme).await, ClaimVerdict::Suppressed, "a repeated call");
    assert_eq!(fixture.job("own-tenant").await, "suppressed/0/suppressed/f");

    a.suppress(&[entry(None, "ADA@gmail.com")]).await.unwrap();
    a.park(&[parked("every", 1, Due::Held, WaitReason::Unknown)]).await.unwrap();
    assert_eq!(claim_one(&a, claim("every", 1)).await, ClaimVerdict::Suppressed);
    assert_eq!(fixture.pending("every").await, "");
    assert_eq!(claim_one(&a, claim("every", 1)).await, ClaimVerdict::Done);
    assert_eq!(claim_one(&a, close("closing", 1)).await, ClaimVerdict::Closed);

    record_one(&a, retried("other-tenant", 1)).await;
    assert_eq!(claim_one(&a, claim("other-tenant", 2)).await, ClaimVerdict::Suppressed);
    assert_eq!(fixture.job("other-tenant").await, "suppressed/1/suppressed/f");
}

#[tokio::test]
async fn another_body_under_the_same_id_is_a_conflict() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let other = || Claim { fingerprint: 8, ..claim("j", 1) };
    claim_one(&a, lapsing("j", 1)).await;
    assert_eq!(claim_one(&a, other()).await, ClaimVerdict::Conflict);
    assert_eq!(fixture.job("j").await, "sending/1/-/f", "the other body says nothing about this job's claim");
    let tenant = Tenant::new("acme").unwrap();
    assert_eq!(claim_one(&a, Claim { tenant, ..claim("j", 1) }).await, ClaimVerdict::Conflict);
    record_one(&a, sent("j", 1)).await;
    assert_eq!(claim_one(&a, other()).await, ClaimVerdict::Conflict);
}

#[tokio::test]
async fn a_job_whose_row_is_gone_goes_with_its_attempt() {
    let fixture = Fixture::new().await;
    assert_eq!(claim_one(&fixture.worker("a"), claim("j", 3)).await, ClaimVerdict::Go);
    assert_eq!(fixture.job("j").await, "sending/3/-/f");
}

#[tokio::test]
async fn verdicts_stand_in_the_order_of_the_claims() {
    let fixture = Fixture::new().await;
    let (a, b) = (fixture.worker("a"), fixture.worker("b"));
    claim_one(&a, claim("m", 1)).await;
    record_one(&a, sent("m", 1)).await;
    claim_one(&a, lapsing("c", 1)).await;
    let batch = [claim("z", 1), claim("m", 1), close("a", 1), claim("c", 1), claim("b", 1)];
    let verdicts = b.claim(&batch).await.unwrap();
    assert_eq!(
        verdicts,
        [
            ClaimVerdict::Go,
            ClaimVerdict::Done,
            ClaimVerdict::Closed,
            ClaimVerdict::Lost { attempt: 1 },
            ClaimVerdict::Go
        ]
    );
    assert_eq!(b.claim(&[]).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_concurrent_claims_exactly_one_goes() {
    let fixture = Fixture::new().await;
    let tasks = (0..4).map(|n| {
        let worker = fixture.worker(&format!("w{n}"));
        tokio::spawn(async move {
            let mut batch: Vec<Claim> = (0..200).map(|job| claim(&format!("j{job}"), 1)).collect();
            let turn = batch.len() / 4 * n;
            batch.rotate_left(turn);
            let verdicts = worker.claim(&batch).await.unwrap();
            batch.into_iter().map(|claim| claim.id).zip(verdicts).collect::<Vec<_>>()
        })
    });
    let mut goes: HashMap<_, u32> = HashMap::new();
    for task in tasks.collect::<Vec<_>>() {
        for (job, verdict) in task.await.unwrap() {
            match verdict {
                ClaimVerdict::Go => *goes.entry(job).or_default() += 1,
                other => assert!(is_in_flight(other), "{job}: {other:?}"),
            }
        }
    }
    assert_eq!(goes.len(), 200);
    assert!(goes.values().all(|times| *times == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_concurrent_finders_of_a_lapsed_claim_one_loses_it() {
    let fixture = Fixture::new().await;
    let jobs: Vec<String> = (0..50).map(|n| format!("j{n}")).collect();
    let lapse: Vec<Claim> = jobs.iter().map(|job| lapsing(job, 1)).collect();
    fixture.worker("dead").claim(&lapse).await.unwrap();
    let tasks = (0..4).map(|n| {
        let worker = fixture.worker(&format!("w{n}"));
        let batch: Vec<Claim> = jobs.iter().map(|job| claim(job, 1)).collect();
        tokio::spawn(async move { worker.claim(&batch).await.unwrap() })
    });
    let mut lost = 0;
    for task in tasks.collect::<Vec<_>>() {
        for verdict in task.await.unwrap() {
            match verdict {
                ClaimVerdict::Lost { attempt: 1 } => lost += 1,
                other => assert_eq!(other, ClaimVerdict::Unknown { attempt: 1 }),
            }
        }
    }
    assert_eq!(lost, 50);
    assert_eq!(fixture.text("select count(*)::text from sluice.attempt").await, "50");
}
