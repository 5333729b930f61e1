//! The console's answers.

use bytes::Bytes;
use secrecy::SecretString;
use sluice_engine::{Console, DeadLetter, Due, KnownJob, Ledger, PendingView, SuppressionEntry};
use sluice_postgres::{Postgres, PostgresSettings};
use sluice_types::{Refusal, RefusalReason, Tenant, WaitReason};

use crate::fixture::{Fixture, NOON, claim, claim_one, id, parked, record_one, retried, sent};

#[tokio::test]
async fn known_tells_jobs_from_parked_from_new() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    claim_one(&a, claim("sent", 1)).await;
    record_one(&a, sent("sent", 1)).await;
    a.park(&[parked("parked", 1, Due::Held, WaitReason::Scheduled)]).await.unwrap();
    let known = a.known(&[id("parked"), id("new"), id("sent")]).await.unwrap();
    let job = |fingerprint, state: &str| Some(KnownJob { fingerprint, state: state.to_owned() });
    let of_body = Some(sluice_types::fingerprint(b"{}"));
    assert_eq!(known, [job(of_body, "pending"), None, job(Some(7), "accepted")]);
    assert_eq!(a.known(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_job_is_shown_with_its_attempts_and_its_parked_copy() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    assert!(a.job(&id("j")).await.unwrap().is_none());
    a.park(&[parked("j", 1, Due::At(NOON), WaitReason::Scheduled)]).await.unwrap();
    let view = a.job(&id("j")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.attempts, view.class.as_str()), ("pending", 0, "bulk"));
    let due_at = Some("2026-11-24T12:00:00Z".to_owned());
    assert_eq!(
        view.pending,
        Some(PendingView { reason: "scheduled".to_owned(), limit_key: None, due_at, ahead: None })
    );

    claim_one(&a, claim("j", 1)).await;
    record_one(&a, retried("j", 1)).await;
    let view = a.job(&id("j")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.attempts), ("deferred", 1));
    assert_eq!((view.esp.as_deref(), view.category.as_deref()), (Some("main"), Some("connect")));
    assert_eq!(view.pending.unwrap().reason, "retry");
    let [attempt] = view.attempt_list.as_slice() else { panic!("one attempt") };
    assert_eq!((attempt.attempt, attempt.outcome.as_str()), (1, "faulted"));
    assert_eq!(attempt.started_at, "2026-11-24T12:00:00Z");
    assert_eq!(attempt.finished_at, "2026-11-24T12:00:01Z");
    assert!(view.updated_at.unwrap().ends_with('Z'));
}

#[tokio::test]
async fn dead_letters_are_listed_shown_and_dropped() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let letter = |reason| DeadLetter {
        job_id: None,
        lane: "default.bulk.other".parse().unwrap(),
        refusal: Refusal::new(reason, "to.email", "is no address"),
        body: Bytes::from_static(b"{}"),
    };
    a.refuse(&[letter(RefusalReason::NotJson), letter(RefusalReason::InvalidValue)]).await.unwrap();
    let all = a.dead_list(None, 10).await.unwrap();
    assert_eq!(all.iter().map(|it| it.reason.as_str()).collect::<Vec<_>>(), ["invalid_value", "not_json"]);
    assert_eq!((all[0].field.as_str(), all[0].body_bytes), ("to.email", 2));
    assert_eq!(a.dead_list(None, 1).await.unwrap(), all[..1]);
    assert_eq!(a.dead_list(Some("not_json"), 10).await.unwrap(), all[1..]);
    let (shown, body) = a.dead_show(all[0].id).await.unwrap().unwrap();
    assert_eq!((&shown, body.as_ref()), (&all[0], b"{}".as_slice()));
    assert_eq!(a.dead_drop(&[all[0].id, 999_999]).await.unwrap(), 1);
    assert!(a.dead_show(all[0].id).await.unwrap().is_none());
}

#[tokio::test]
async fn suppressions_are_added_once_and_removed_by_tenant() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let acme = Tenant::new("acme").unwrap();
    let entry = |tenant: Option<&Tenant>, reason: &str| SuppressionEntry {
        tenant: tenant.cloned(),
        recipient: "Ada@Gmail.com".to_owned(),
        reason: reason.to_owned(),
        source: "cli".to_owned(),
        created_at: None,
    };
    let entries = [entry(None, "manual"), entry(Some(&acme), "bounce"), entry(None, "complaint")];
    assert_eq!(a.suppress(&entries).await.unwrap(), 2);
    assert_eq!(a.suppress(&entries[..1]).await.unwrap(), 0, "replaced");
    let listed = a.suppressions(10).await.unwrap();
    let short: Vec<_> =
        listed.iter().map(|it| (it.tenant.as_ref(), it.recipient.as_str(), it.reason.as_str())).collect();
    assert_eq!(short, [(None, "ada@gmail.com", "manual"), (Some(&acme), "ada@gmail.com", "bounce")]);
    assert!(listed[0].created_at.is_some());
    let recipients = ["ADA@gmail.com".to_owned()];
    assert_eq!(a.unsuppress(None, &recipients).await.unwrap(), 1);
    assert_eq!(a.unsuppress(None, &recipients).await.unwrap(), 0);
    assert_eq!(a.unsuppress(Some(&acme), &recipients).await.unwrap(), 1);
}

#[tokio::test]
async fn status_counts_everything() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    assert_eq!(a.status().await.unwrap(), sluice_engine::StatusView::default());
    a.claim(&[claim("a", 1), claim("b", 1), claim("c", 1)]).await.unwrap();
    a.record(&[sent("a", 1), retried("b", 1)]).await.unwrap();
    let status = a.status().await.unwrap();
    let jobs = [("accepted", 1), ("deferred", 1), ("sending", 1)];
    assert_eq!(status.jobs, jobs.map(|(state, n)| (state.to_owned(), n)).into());
    assert_eq!(status.pending, [("retry".to_owned(), 1)].into());
    assert_eq!((status.dead.len(), status.suppressions), (0, 0));
}

#[tokio::test]
async fn long_tables_are_counted_by_a_sample_and_say_so() {
    let fixture = Fixture::new().await;
    let fill = "insert into sluice.job (id, tenant, class, pool, recipient, state, attempts)
        select 'j' || n, 'acme', 'bulk', 'default', 'ada@gmail.com', case when n % 4 = 0 then 'rejected' else 'accepted' end, 1
        from generate_series(1, 40000) n";
    fixture.sql().await.batch_execute(fill).await.unwrap();
    let exact = fixture.worker("a").status().await.unwrap();
    assert_eq!((exact.jobs["accepted"], exact.jobs["rejected"], exact.estimated), (30_000, 10_000, false));

    let settings = PostgresSettings {
        count_max_bytes: 2 << 20,
        ..PostgresSettings::new(SecretString::from(fixture.url.as_str()), "b")
    };
    let sampled = Postgres::connect(settings).unwrap().status().await.unwrap();
    assert!(sampled.estimated);
    // 256 of some 1,500 pages: the standard error is about 6 %.
    for (state, count) in exact.jobs {
        let estimate = sampled.jobs[&state];
        assert!((count / 2..count * 2).contains(&estimate), "{state}: {estimate} of {count}");
    }
}
