//! Jobs in line under a limit.

use std::time::Duration;

use sluice_embedded::Embedded;
use sluice_engine::{Console, Due, Ledger, LedgerError, Parked, ReleaseQuery};
use sluice_types::{Class, Timestamp, WaitReason};

use crate::support::*;

const KEY: &str = "group:gmail/per:h";

fn waits(job: &str, first_seen: Option<i64>) -> Parked {
    let mut waits = parked(job, 1, Due::InLine);
    waits.limit_key = Some(KEY.to_owned());
    waits.passport.first_seen = first_seen.map(Timestamp::from_micros);
    waits
}

async fn release(store: &Embedded, key: &str, count: u32, full: &[&str]) -> Vec<String> {
    let full = full.iter().map(|name| lane(name)).collect();
    ids(store.release(&ReleaseQuery { full, ..from_line(key, count) }).await.unwrap().as_deref())
}

#[tokio::test]
async fn a_job_without_a_first_sight_was_first_seen_when_it_was_parked() {
    let place = Place::new();
    let store = place.open();
    let now = place.clock.micros();
    store.park(&[waits("c", Some(now + 1)), waits("b", None), waits("a", Some(now - 1))]).await.unwrap();
    assert_eq!(release(&store, KEY, 9, &[]).await, ["a", "b", "c"]);
    let waiting = store.waiting(None, 9, 10_000).await.unwrap();
    assert_eq!((waiting[0].jobs, waiting[0].oldest.as_micros()), (3, now - 1));
}

#[tokio::test]
async fn a_line_is_one_over_all_its_lanes() {
    let place = Place::new();
    let store = place.open();
    let jobs: Vec<Parked> = (0..12)
        .map(|n| Parked {
            class: if n % 2 == 0 { Class::Bulk } else { Class::Transactional },
            group: if n % 3 == 0 { "gmail" } else { "other" }.parse().unwrap(),
            ..waits(&format!("j{n:02}"), Some(n))
        })
        .collect();
    store.park(&jobs).await.unwrap();
    let all: Vec<String> = (0..12).map(|n| format!("j{n:02}")).collect();
    assert_eq!(release(&store, KEY, 99, &[]).await, all);
    let full = ["default.bulk.other", "default.transactional.gmail"];
    assert_eq!(
        release(&store, KEY, 4, &full).await,
        ["j01", "j05", "j07", "j11"],
        "transactional ones first"
    );
    assert_eq!(release(&store, KEY, 5, &full).await, ["j00", "j01", "j05", "j07", "j11"]);
    assert_eq!(store.waiting(None, 9, 10_000).await.unwrap()[0].jobs, 12);
}

#[tokio::test]
async fn the_same_key_twice_in_one_call_releases_no_job_twice() {
    let place = Place::new();
    let store = place.open();
    store.park(&[waits("a", Some(1)), waits("b", Some(2)), waits("c", Some(3))]).await.unwrap();
    let counts = vec![(KEY.to_owned(), 1), (KEY.to_owned(), 1)];
    let query = ReleaseQuery { counts, ..ReleaseQuery::default() };
    assert_eq!(ids(store.release(&query).await.unwrap().as_deref()), ["a", "b"]);
}

#[tokio::test]
async fn a_job_parked_again_while_the_relay_holds_it_is_not_lost() {
    let place = Place::new();
    let store = place.open();
    store.park(&[waits("a", Some(1))]).await.unwrap();
    let batch = store.release(&from_line(KEY, 1)).await.unwrap().unwrap();
    store.park(&[waits("a", Some(1))]).await.unwrap();
    batch.published(&[id("a")]).await.unwrap();
    assert_eq!(release(&store, KEY, 1, &[]).await, ["a"]);
}

#[tokio::test]
async fn a_line_without_a_name_is_none() {
    let place = Place::new();
    let store = place.open();
    let nameless = |job: &str, key: Option<&str>| Parked {
        limit_key: key.map(str::to_owned),
        ..parked(job, 1, Due::InLine)
    };
    store.park(&[nameless("a", None), nameless("b", Some(""))]).await.unwrap();
    assert_eq!(store.waiting(None, 9, 10_000).await.unwrap(), []);
    assert_eq!(due_ids(&store).await, ["a", "b"]);
}

#[tokio::test]
async fn a_long_line_is_counted_so_far() {
    let place = Place::new();
    let store = place.open();
    for round in 0..6 {
        let jobs: Vec<Parked> =
            (0..2_000).map(|n| waits(&format!("j{round}-{n}"), Some(round * 2_000 + n))).collect();
        store.park(&jobs).await.unwrap();
    }
    assert_eq!(store.waiting(None, 9, 10_000).await.unwrap()[0].jobs, 10_000);
    let ahead = async |job: &str| store.job(&id(job)).await.unwrap().unwrap().pending.unwrap().ahead;
    assert_eq!(ahead("j0-7").await, Some(7));
    assert_eq!(ahead("j5-1999").await, Some(11_999));
}

#[tokio::test]
async fn a_client_looks_at_lines_and_wakes_campaigns_but_releases_nothing() {
    let place = Place::new();
    let store = place.open();
    let mut job = waits("a", Some(1));
    job.campaign = "spring".parse().ok();
    job.reason = WaitReason::CampaignPaused;
    store.park(&[job]).await.unwrap();
    let client = Embedded::open_client(&place.path()).unwrap();
    assert_eq!(client.waiting(None, 9, 10_000).await.unwrap().len(), 1);
    let refused = client.release(&from_line(KEY, 1)).await;
    assert!(matches!(refused, Err(LedgerError::Refused(_))));
    let (tenant, campaign) = ("default".parse().unwrap(), "spring".parse().unwrap());
    assert_eq!(client.wake_campaign(&tenant, &campaign).await.unwrap(), 1);
    // The client's clock is the real one, which is ahead of the test's.
    place.clock.advance(Duration::from_secs(100 * 365 * 24 * 3600));
    assert_eq!(due_ids(&store).await, ["a"]);
}
