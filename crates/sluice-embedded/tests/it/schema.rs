//! Files that an earlier build has written.

use std::time::Duration;

use rusqlite::Connection;
use sluice_engine::{Console, Due, Ledger, SlotSource, Want};
use sluice_types::{Limit, LimitScope};

use crate::support::*;

const FIRST: &str = include_str!("../../src/schema/001.sql");

fn park(connection: &Connection, job: &str, due_at: Option<i64>, limit_key: Option<&str>) {
    connection
        .execute(
            "insert into pending (job_id, tenant, pool, class, domain, due_at, reason, limit_key, attempt, first_seen,
                 resend, created_at, body)
             values (?1, 'acme', 'default', 'bulk', 'gmail.com', ?2, 'group_limit', ?3, 2, null, 0, 4, x'7b7d')",
            (job, due_at, limit_key),
        )
        .unwrap();
}

#[tokio::test]
async fn a_file_of_the_first_schema_is_brought_up_to_date() {
    let place = Place::new();
    let old = Connection::open(place.path()).unwrap();
    old.execute_batch(FIRST).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    let now = place.clock.micros();
    park(&old, "due", Some(now - 5), Some("k"));
    park(&old, "later", Some(now + 5), None);
    park(&old, "held", None, Some("k"));
    let tat_ns = (now + 100_000) * 1000;
    old.execute("insert into limit_gcra (key, tat_ns) values ('esp:main/per:s', ?1)", [tat_ns]).unwrap();
    drop(old);

    let store = place.open();
    assert_eq!(due_ids(&store).await, ["due"]);
    assert_eq!(store.waiting(9, 10_000).await.unwrap(), [], "what was held stays so");
    assert_eq!(store.job(&id("held")).await.unwrap().unwrap().pending.unwrap().limit_key, None);
    let batch = store.due(&up_to(9)).await.unwrap().unwrap();
    let job = &batch.jobs()[0];
    assert_eq!((job.group.as_str(), job.domain.as_str(), job.passport.attempt), ("other", "gmail.com", 2));
    drop(batch);
    place.clock.advance(Duration::from_micros(5));
    assert_eq!(due_ids(&store).await, ["due", "later"]);

    let limit = Limit { scope: LimitScope::Esp(esp()), spec: "10/s".parse().unwrap() };
    let look = store.look(std::slice::from_ref(&limit)).await.unwrap()[0];
    assert_eq!((look.used, look.next_in), (0, Duration::from_micros(99_995)), "the arrival time is kept");
    let want = Want { limit, count: 1, urgent: 0, reserved_permille: 0, rate_permille: 1000 };
    assert_eq!(store.lease(&[want]).await.unwrap()[0].runs[0].opens_in, Duration::from_micros(99_995));
}

#[tokio::test]
async fn a_process_of_the_first_schema_may_go_on_beside_the_new_one() {
    let place = Place::new();
    let store = place.open();
    let old = Connection::open(place.path()).unwrap();
    park(&old, "a", Some(place.clock.micros()), None);
    old.execute("insert into limit_gcra (key, tat_ns) values ('k', 1)", []).unwrap();
    assert_eq!(due_ids(&store).await, ["a"]);
    store.park(&[parked("b", 1, Due::In(Duration::ZERO))]).await.unwrap();
    assert_eq!(due_ids(&store).await.len(), 2);
}
