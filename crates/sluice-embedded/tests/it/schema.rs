//! Files that an earlier build has written.

use std::time::Duration;

use rusqlite::Connection;
use sluice_engine::{Console, Due, Ledger, SlotSource, Unused, Want};
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
    assert_eq!(store.waiting(None, 9, 10_000).await.unwrap(), [], "what was held stays so");
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
    assert_eq!(
        store.lease(&[Want::of(limit, 1)]).await.unwrap()[0].runs[0].opens_in,
        Duration::from_micros(99_995)
    );
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

/// One that knows no free slots moves the arrival time to another spacing and leaves them as they are.
#[tokio::test]
async fn free_slots_are_gone_when_an_older_process_has_changed_the_spacing() {
    let place = Place::new();
    let store = place.open();
    let limits =
        ["10/s", "3/s"].map(|spec| Limit { scope: LimitScope::Esp(esp()), spec: spec.parse().unwrap() });
    let [limit, slower] = limits;
    let spare = Limit { scope: LimitScope::Esp("spare".parse().unwrap()), ..slower };
    let both = Want {
        limits: [limit.clone(), spare].into(),
        rates_permille: vec![1000; 2],
        ..Want::of(limit.clone(), 2)
    };
    let leased = store.lease(&[both]).await.unwrap().remove(0);
    assert!(
        leased.runs.len() == 2
            && store.look(std::slice::from_ref(&limit)).await.unwrap()[0].next_in
                < Duration::from_millis(200)
    );

    let old = Connection::open(place.path()).unwrap();
    old.execute("update limit_gcra set tat_ns = tat_ns + 10, spacing_ns = spacing_ns + 10 where key = 'esp:main/per:s'", []).unwrap();
    let look = store.look(std::slice::from_ref(&limit)).await.unwrap()[0];
    assert!(look.next_in > Duration::from_millis(400), "{look:?}");
    let unused = Unused {
        limit: limit.clone(),
        count: 1,
        openings_ns: vec![leased.parts[2]],
        rate_permille: 1000,
        mark: leased.marks[0],
    };
    store.give_back(&[unused]).await.unwrap();
    assert_eq!(store.look(std::slice::from_ref(&limit)).await.unwrap()[0].next_in, look.next_in);
    let later = store.lease(&[Want::of(limit, 1)]).await.unwrap().remove(0);
    assert_eq!(later.marks[0], leased.marks[0] + 2);
}
