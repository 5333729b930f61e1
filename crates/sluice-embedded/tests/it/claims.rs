//! Every verdict on a claim, and what it leaves behind.

use std::time::Duration;

use sluice_engine::{
    Claim, ClaimVerdict, Console, Due, Intent, Ledger, LedgerError, NextStep, SuppressionEntry,
};
use sluice_types::{Address, Category, JobState, Tenant};

use crate::support::*;

#[tokio::test]
async fn a_new_job_is_claimed_and_a_repeated_call_is_go_again() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(claim_one(&store, claim("a", 1, 7)).await, ClaimVerdict::Go);
    assert_eq!(claim_one(&store, claim("a", 1, 7)).await, ClaimVerdict::Go);
    let view = store.job(&id("a")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.attempts, view.esp.as_deref()), ("sending", 1, Some("main")));
}

#[tokio::test]
async fn verdicts_come_in_the_order_of_the_claims() {
    let place = Place::new();
    let store = place.open();
    claim_one(&store, claim("b", 1, 1)).await;
    record_one(&store, accept("b", 1)).await;
    let batch = [claim("c", 1, 2), claim("b", 1, 3), claim("a", 1, 4)];
    let verdicts = store.claim(&batch).await.unwrap();
    assert_eq!(verdicts, [ClaimVerdict::Go, ClaimVerdict::Done, ClaimVerdict::Go]);
}

#[tokio::test]
async fn a_live_claim_says_how_long_it_stands() {
    let place = Place::new();
    let store = place.open();
    claim_one(&store, claim("a", 1, 7)).await;
    place.clock.advance(Duration::from_secs(20));
    let remaining = Duration::from_secs(40);
    assert_eq!(claim_one(&store, claim("a", 1, 8)).await, ClaimVerdict::InFlight { remaining });
}

#[tokio::test]
async fn a_claim_past_its_deadline_leaves_the_job_unknown() {
    let place = Place::new();
    let store = place.open();
    claim_one(&store, claim("a", 1, 7)).await;
    place.clock.advance(TTL);
    assert_eq!(claim_one(&store, claim("a", 1, 8)).await, ClaimVerdict::Lost { attempt: 1 });
    // And so it stays, until somebody wants it sent again.
    assert_eq!(claim_one(&store, claim("a", 1, 9)).await, ClaimVerdict::Unknown { attempt: 1 });
    let view = store.job(&id("a")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.category.as_deref()), ("unknown", Some("worker_lost")));
    assert_eq!(view.attempt_list.len(), 1);
    assert_eq!(view.attempt_list[0].outcome, "unknown");

    let resend = Claim { resend: true, ..claim("a", 2, 10) };
    assert_eq!(claim_one(&store, resend).await, ClaimVerdict::Go);
    let view = store.job(&id("a")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.attempts, view.category), ("sending", 2, None));
}

#[tokio::test]
async fn a_claim_of_a_former_process_is_dead_at_once() {
    let place = Place::new();
    // The same name and the same token: only the opening differs.
    assert_eq!(claim_one(&place.open(), claim("a", 1, 7)).await, ClaimVerdict::Go);
    let store = place.open();
    assert_eq!(claim_one(&store, claim("a", 1, 7)).await, ClaimVerdict::Lost { attempt: 1 });
}

#[tokio::test]
async fn a_deferred_job_is_claimed_by_its_next_attempt_only() {
    let place = Place::new();
    let store = place.open();
    claim_one(&store, claim("a", 1, 1)).await;
    let retry = NextStep::Retry(Box::new(parked("a", 2, Due::In(Duration::ZERO))));
    record_one(&store, record("a", 1, Some(faulted()), retry)).await;
    assert_eq!(claim_one(&store, claim("a", 1, 2)).await, ClaimVerdict::Done);
    assert_eq!(claim_one(&store, claim("a", 3, 3)).await, ClaimVerdict::Done);
    assert_eq!(claim_one(&store, claim("a", 2, 4)).await, ClaimVerdict::Go);
}

#[tokio::test]
async fn another_body_under_a_known_id_is_a_conflict() {
    let place = Place::new();
    let store = place.open();
    claim_one(&store, claim("a", 1, 1)).await;
    let other = Claim { fingerprint: 2, ..claim("a", 1, 2) };
    assert_eq!(claim_one(&store, other).await, ClaimVerdict::Conflict);
}

#[tokio::test]
async fn a_suppressed_recipient_closes_the_job() {
    let place = Place::new();
    let store = place.open();
    let entry = |tenant: Option<&str>, recipient: &str| SuppressionEntry {
        tenant: tenant.map(|name| Tenant::new(name).unwrap()),
        recipient: recipient.to_owned(),
        reason: "manual".to_owned(),
        source: "cli".to_owned(),
        created_at: None,
    };
    let entries = [entry(None, "ADA.L@gmail.com"), entry(Some("acme"), "bob@gmail.com")];
    assert_eq!(store.suppress(&entries).await.unwrap(), 2);
    assert_eq!(store.suppress(&entries).await.unwrap(), 0);
    store.park(&[parked("a", 1, Due::Held)]).await.unwrap();

    // For every tenant, whatever the case.
    assert_eq!(claim_one(&store, claim("a", 1, 1)).await, ClaimVerdict::Suppressed);
    let view = store.job(&id("a")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.attempts, view.pending), ("suppressed", 0, None));
    assert_eq!(claim_one(&store, claim("a", 1, 2)).await, ClaimVerdict::Done);

    // For one tenant.
    let to_bob = |job: &str, tenant: &str| Claim {
        recipient: Address::parse("bob@gmail.com").unwrap(),
        tenant: Tenant::new(tenant).unwrap(),
        ..claim(job, 1, 3)
    };
    assert_eq!(claim_one(&store, to_bob("b", "acme")).await, ClaimVerdict::Suppressed);
    assert_eq!(claim_one(&store, to_bob("c", "other")).await, ClaimVerdict::Go);

    assert_eq!(store.unsuppress(None, &["ada.l@gmail.com".to_owned()]).await.unwrap(), 1);
    assert_eq!(claim_one(&store, claim("d", 1, 4)).await, ClaimVerdict::Go);
}

#[tokio::test]
async fn a_suppression_does_not_rewrite_what_has_happened() {
    let place = Place::new();
    let store = place.open();
    claim_one(&store, claim("a", 1, 1)).await;
    record_one(&store, accept("a", 1)).await;
    let entry = SuppressionEntry {
        tenant: None,
        recipient: "ada.l@gmail.com".to_owned(),
        reason: "manual".to_owned(),
        source: "cli".to_owned(),
        created_at: None,
    };
    store.suppress(&[entry]).await.unwrap();
    assert_eq!(claim_one(&store, claim("a", 1, 2)).await, ClaimVerdict::Done);
    assert_eq!(store.job(&id("a")).await.unwrap().unwrap().state, "accepted");
}

#[tokio::test]
async fn a_job_can_be_closed_unsent() {
    let place = Place::new();
    let store = place.open();
    let close = Intent::Close { state: JobState::Expired, category: Category::Expired };
    store.park(&[parked("a", 1, Due::Held)]).await.unwrap();
    assert_eq!(
        claim_one(&store, Claim { intent: close.clone(), ..claim("a", 1, 1) }).await,
        ClaimVerdict::Closed
    );
    let view = store.job(&id("a")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.category.as_deref()), ("expired", Some("expired")));
    assert_eq!((view.attempts, view.pending), (0, None));

    // After a first attempt too.
    claim_one(&store, claim("b", 1, 2)).await;
    let retry = NextStep::Retry(Box::new(parked("b", 2, Due::Held)));
    record_one(&store, record("b", 1, Some(faulted()), retry)).await;
    assert_eq!(claim_one(&store, Claim { intent: close, ..claim("b", 2, 3) }).await, ClaimVerdict::Closed);
    let view = store.job(&id("b")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.attempts, view.pending), ("expired", 1, None));
}

#[tokio::test]
async fn a_client_claims_nothing() {
    let place = Place::new();
    let client = sluice_embedded::Embedded::open_client(&place.path()).unwrap();
    let refused = client.claim(&[claim("a", 1, 1)]).await;
    assert!(matches!(refused, Err(LedgerError::Refused(_))), "{refused:?}");
}
