//! The fleet's document.

use std::time::Duration;

use sluice_engine::Fleet;
use sluice_policy::{Edit, LimitEdit, Presence, Report};

use crate::fixture::Fixture;

fn here(replica: &str) -> Report {
    Report { replica: replica.to_owned(), presence: Some(Presence::default()), ..Report::default() }
}

fn slower(key: &str) -> Edit {
    let edit =
        LimitEdit { spec: "5/s".to_owned(), by: "ada".to_owned(), at: "2026-11-24T12:00:00Z".to_owned() };
    Edit::Limit { key: key.to_owned(), edit: Some(edit) }
}

const STATE: &str = "select state from sluice.fleet";

#[tokio::test]
async fn a_document_that_does_not_read_is_left_as_it_is() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    for bad in ["no json", "[]", "{\"replicas\": 7}"] {
        fixture.sql().await.execute("update sluice.fleet set state = $1", &[&bad]).await.unwrap();
        let errors = [
            a.exchange(&here("a")).await.unwrap_err(),
            a.edit(slower("k")).await.unwrap_err(),
            a.look().await.unwrap_err(),
        ];
        for error in errors {
            assert!(error.0.to_string().contains("sluice.fleet"), "{error:?}");
        }
        assert_eq!(fixture.text(STATE).await, bad);
    }
    fixture.sql().await.batch_execute("update sluice.fleet set state = '{}'").await.unwrap();
    assert_eq!(a.exchange(&here("a")).await.unwrap().replicas.len(), 1, "the lock was let go");
}

#[tokio::test]
async fn a_document_that_is_gone_is_made_again() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    fixture.sql().await.batch_execute("delete from sluice.fleet").await.unwrap();
    assert!(a.look().await.unwrap().replicas.is_empty());
    assert_eq!(a.exchange(&here("a")).await.unwrap().replicas.len(), 1);
    assert_eq!(a.look().await.unwrap().replicas.len(), 1);
}

#[tokio::test]
async fn what_another_version_keeps_is_handed_on() {
    let fixture = Fixture::new().await;
    let newer = "update sluice.fleet set state = '{\"weather\": {\"sun\": [1, 2.5, null]}}'";
    fixture.sql().await.batch_execute(newer).await.unwrap();
    fixture.worker("a").exchange(&here("a")).await.unwrap();
    let kept =
        "select (state::jsonb -> 'weather' = '{\"sun\": [1, 2.5, null]}'::jsonb)::text from sluice.fleet";
    assert_eq!(fixture.text(kept).await, "true");
}

#[tokio::test]
async fn what_changes_nothing_writes_nothing() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let version = "select xmin::text from sluice.fleet";
    let before = fixture.text(version).await;
    a.exchange(&Report { replica: "cli".to_owned(), ..Report::default() }).await.unwrap();
    a.edit(Edit::Limit { key: "k".to_owned(), edit: None }).await.unwrap();
    a.look().await.unwrap();
    assert_eq!(fixture.text(version).await, before);
    a.exchange(&here("a")).await.unwrap();
    assert_ne!(fixture.text(version).await, before);
}

/// Its own clock does not matter, and the instant is that after the wait for the lock.
#[tokio::test]
async fn the_clock_is_read_behind_the_lock() {
    let fixture = Fixture::new().await;
    let (a, sql) = (fixture.worker("a"), fixture.sql().await);
    a.exchange(&here("a")).await.unwrap();
    sql.batch_execute("begin; select from sluice.fleet for update").await.unwrap();
    let waiting = tokio::spawn({
        let b = fixture.worker("b");
        async move { b.exchange(&here("b")).await }
    });
    let held = "select count(*)::text from pg_stat_activity where wait_event_type = 'Lock' and application_name = 'sluice' \
                and datname = current_database()";
    while fixture.text(held).await == "0" {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Let go without a change: then the waiting statement does not begin anew by itself.
    let now_ns = "select ((extract(epoch from clock_timestamp()) * 1000000)::bigint * 1000)::text";
    let let_go_ns: i64 = fixture.text(now_ns).await.parse().unwrap();
    sql.batch_execute("commit").await.unwrap();
    waiting.await.unwrap().unwrap();
    let seen = "select state::jsonb -> 'replicas' -> 'b' ->> 'seen_ns' from sluice.fleet";
    let seen_ns: i64 = fixture.text(seen).await.parse().unwrap();
    assert!(seen_ns >= let_go_ns, "{seen_ns} {let_go_ns}");
}
