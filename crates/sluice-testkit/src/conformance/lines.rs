//! Cases of parked jobs: lines under a limit, turns of tenants, and whole campaigns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluice_engine::{
    Clock as _, Due, DueBatch, DueQuery, NextStep, Parked, PendingJob, ReleaseQuery, SystemClock, WaitingKey,
};
use sluice_types::{Class, JobId, Timestamp, WaitReason};

use super::jobs::{claim, fresh_id, in_line, parked, record};
use super::store::{LATER, SOON, Store, up_to};

/// Longest wait for the rows of a batch that was dropped.
const VISIBLE_AGAIN: Duration = Duration::from_secs(60);

impl Store {
    async fn park(&self, jobs: &[Parked]) {
        self.ledger.park(jobs).await.unwrap();
    }

    async fn release(&self, counts: &[(&str, u32)]) -> Option<Box<dyn DueBatch>> {
        self.ledger.release(&from_lines(counts)).await.unwrap()
    }

    /// Parks `count` jobs of a tenant's campaign in the line `k`, first seen at and after `seen_s`.
    async fn park_in_line(&self, tenant: &str, campaign: &str, seen_s: i64, count: i64) {
        let job = |n| Parked {
            tenant: tenant.parse().unwrap(),
            campaign: campaign.parse().ok(),
            ..in_line(&fresh_id(tenant), "k", seen_s + n)
        };
        self.park(&(0..count).map(job).collect::<Vec<_>>()).await;
    }

    /// How many jobs of each tenant `query` releases, and what they are is gone. Ids begin with the tenant's name.
    async fn released(&self, query: &ReleaseQuery) -> BTreeMap<String, usize> {
        let Some(batch) = self.ledger.release(query).await.unwrap() else { return BTreeMap::new() };
        let released = ids(Some(&*batch));
        batch.published(&released).await.unwrap();
        by_tenant(&released)
    }

    /// Parks `count` due jobs of a tenant's campaign.
    async fn park_due(&self, tenant: &str, campaign: &str, count: usize) {
        let job = |_| Parked { campaign: campaign.parse().ok(), ..of(tenant, SOON) };
        self.park(&(0..count).map(job).collect::<Vec<_>>()).await;
    }

    /// How many jobs of each tenant are in one batch. Ids begin with the tenant's name.
    async fn turns(&self, query: &DueQuery) -> BTreeMap<String, usize> {
        let batch = self.ledger.due(query).await.unwrap();
        by_tenant(&ids(batch.as_deref()))
    }
}

/// The wish for jobs of lines.
fn from_lines(counts: &[(&str, u32)]) -> ReleaseQuery {
    let counts = counts.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect();
    ReleaseQuery { counts, ..ReleaseQuery::default() }
}

/// How many of each tenant, whose name they begin with.
fn by_tenant(ids: &[JobId]) -> BTreeMap<String, usize> {
    let mut tenants = BTreeMap::new();
    for id in ids {
        *tenants.entry(id.as_str().split('-').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    tenants
}

/// The campaign `spring` of `acme`.
fn spring_of_acme() -> Vec<(String, String)> {
    vec![("acme".to_owned(), "spring".to_owned())]
}

/// A job of `tenant` whose id begins with its name.
fn of(tenant: &str, due: Due) -> Parked {
    Parked { tenant: tenant.parse().unwrap(), ..parked(&fresh_id(tenant), due, WaitReason::Retry, 1) }
}

fn ids(batch: Option<&dyn DueBatch>) -> Vec<JobId> {
    batch.map(DueBatch::jobs).unwrap_or_default().iter().map(|job: &PendingJob| job.id.clone()).collect()
}

fn some_ids<const N: usize>(name: &str) -> [JobId; N] {
    std::array::from_fn(|_| fresh_id(name))
}

/// It goes when its turn comes, not by the clock.
pub async fn a_job_in_line_is_not_due(store: Store) {
    let id = fresh_id("job");
    store.park(&[in_line(&id, "group:gmail/per:h", 1)]).await;
    assert!(store.due_ids().await.is_empty());
    let pending = store.console.job(&id).await.unwrap().unwrap().pending.unwrap();
    assert_eq!((pending.reason.as_str(), pending.due_at), ("group_limit", None));
    assert_eq!((pending.limit_key.as_deref(), pending.ahead), (Some("group:gmail/per:h"), Some(0)));
    assert_eq!(store.console.status().await.unwrap().pending.get("group_limit"), Some(&1));
}

/// Even one that names a limit.
pub async fn a_held_job_is_in_no_line(store: Store) {
    let [held, timed] = some_ids("job");
    store.park(&[Parked { due: Due::Held, ..in_line(&held, "k", 1) }]).await;
    store.park(&[Parked { due: LATER, ..in_line(&timed, "k", 1) }]).await;
    assert_eq!(store.ledger.waiting(None, 10, 10_000).await.unwrap(), []);
    assert!(store.release(&[("k", 10)]).await.is_none());
    for id in [held, timed] {
        assert_eq!(store.console.job(&id).await.unwrap().unwrap().pending.unwrap().ahead, None);
    }
}

/// The relay needs it for the lane.
pub async fn a_parked_job_keeps_its_group(store: Store) {
    let [due, waiting] = some_ids("job");
    store.park(&[Parked { due: SOON, ..in_line(&due, "k", 1) }, in_line(&waiting, "k", 1)]).await;
    let batches = [store.ledger.due(&up_to(9)).await.unwrap(), store.release(&[("k", 9)]).await];
    for (batch, id) in batches.iter().zip([due, waiting]) {
        let [job] = batch.as_ref().unwrap().jobs() else { panic!("one job") };
        assert_eq!((job.id.clone(), job.group.as_str(), job.domain.as_str()), (id, "gmail", "gmail.com"));
    }
}

/// In key order, with how many and since when.
pub async fn waiting_lists_each_line(store: Store) {
    assert_eq!(store.ledger.waiting(None, 10, 10_000).await.unwrap(), []);
    let line = |key: &str, jobs, oldest_s: i64| WaitingKey {
        key: key.to_owned(),
        jobs,
        oldest: Timestamp::from_micros(oldest_s * 1_000_000),
    };
    let [a, b, c, d] = some_ids("job");
    store.park(&[in_line(&a, "esp:z/per:s", 7), in_line(&b, "domain:a.example/per:h", 9)]).await;
    store.park(&[in_line(&c, "esp:z/per:s", 5), in_line(&d, "esp:z/per:s", 6)]).await;
    let reasons = store.ledger.parked_by_reason().await.unwrap();
    assert_eq!(reasons.into_iter().collect::<Vec<_>>(), [("group_limit".to_owned(), 4)]);
    let lines = [line("domain:a.example/per:h", 1, 9), line("esp:z/per:s", 3, 5)];
    assert_eq!(store.ledger.waiting(None, 10, 10_000).await.unwrap(), lines);
    assert_eq!(store.ledger.waiting(None, 1, 10_000).await.unwrap(), lines[..1]);
    let batch = store.release(&[("domain:a.example/per:h", 1)]).await.unwrap();
    batch.published(&[b]).await.unwrap();
    assert_eq!(store.ledger.waiting(None, 10, 10_000).await.unwrap(), lines[1..]);
}

/// However few are looked at in one go.
pub async fn every_line_comes_up_in_turn(store: Store) {
    let keys = [
        "domain:a.example/per:h",
        "domain:b.example/per:h",
        "esp:z/per:s",
        "group:g/per:s",
        "tenant:é/per:s",
    ];
    for key in keys.iter().rev() {
        // Several strands of each.
        let jobs = ["a", "b"]
            .map(|tenant| Parked { tenant: tenant.parse().unwrap(), ..in_line(&fresh_id(tenant), key, 1) });
        store.park(&jobs).await;
    }
    let next = async |after: Option<&str>| -> Vec<String> {
        let lines = store.ledger.waiting(after, 2, 10_000).await.unwrap();
        assert!(lines.iter().all(|line| line.jobs == 2), "{lines:?}");
        lines.into_iter().map(|line| line.key).collect()
    };
    assert_eq!(next(None).await, keys[..2]);
    assert_eq!(next(Some(keys[1])).await, keys[2..4]);
    assert_eq!(next(Some(keys[3])).await, keys[4..]);
    assert_eq!(next(Some(keys[4])).await, [""; 0]);
    assert_eq!(
        next(Some("domain:a.example/per:hh")).await,
        keys[1..3],
        "that line need not be there any more"
    );
}

/// Whoever was parked first.
pub async fn a_line_is_released_first_seen_first(store: Store) {
    let line: [JobId; 5] = some_ids("job");
    for (id, seen_s) in line.iter().rev().zip([5, 4, 3, 2, 1]) {
        store.park(&[in_line(id, "k", seen_s)]).await;
    }
    let first = store.release(&[("k", 2)]).await;
    assert_eq!(ids(first.as_deref()), line[..2]);
    first.unwrap().published(&line[..2]).await.unwrap();
    assert_eq!(ids(store.release(&[("k", 9)]).await.as_deref()), line[2..]);
}

/// Two relays never release the same job, and a crash between loses nothing.
pub async fn what_is_released_is_hidden_until_it_is_published_or_dropped(store: Store) {
    let line: [JobId; 3] = some_ids("job");
    let jobs: Vec<Parked> = line.iter().zip(1..).map(|(id, seen_s)| in_line(id, "k", seen_s)).collect();
    store.park(&jobs).await;
    let first = store.release(&[("k", 2)]).await;
    assert_eq!(ids(first.as_deref()), line[..2]);
    let second = store.release(&[("k", 2)]).await;
    assert_eq!(ids(second.as_deref()), line[2..], "the first two are hidden");
    second.unwrap().published(&line[2..]).await.unwrap();
    drop(first);
    let again = async {
        loop {
            match store.release(&[("k", 5)]).await {
                Some(batch) if batch.jobs().len() == 2 => return batch,
                Some(_) | None => tokio::task::yield_now().await,
            }
        }
    };
    let again = tokio::time::timeout(VISIBLE_AGAIN, again).await.expect("visible again");
    again.published(&line[..1]).await.unwrap();
    assert_eq!(ids(store.release(&[("k", 5)]).await.as_deref()), line[1..2], "not confirmed");
}

/// Each up to its own count; a key without a line is no fault.
pub async fn several_lines_are_released_in_one_call(store: Store) {
    let [a, b, c, d] = some_ids("job");
    store.park(&[in_line(&a, "x", 1), in_line(&b, "x", 3), in_line(&c, "y", 2), in_line(&d, "z", 1)]).await;
    let batch = store.release(&[("y", 5), ("nothing", 5), ("x", 1), ("z", 0)]).await;
    assert_eq!(ids(batch.as_deref()), [a, c]);
    assert!(store.release(&[]).await.is_none());
}

/// For `sluice why`.
pub async fn a_job_in_line_knows_how_many_go_before_it(store: Store) {
    let [a, b, c, other] = some_ids("job");
    store
        .park(&[in_line(&c, "k", 9), in_line(&a, "k", 1), in_line(&b, "k", 5), in_line(&other, "l", 4)])
        .await;
    for (id, ahead) in [(a, 0), (b, 1), (c, 2), (other, 0)] {
        let pending = store.console.job(&id).await.unwrap().unwrap().pending.unwrap();
        assert_eq!(pending.ahead, Some(ahead));
    }
}

/// The last of a short campaign was told to wait for all of a long one.
pub async fn a_place_in_line_is_told_as_owners_take_turns(store: Store) {
    let long: [JobId; 6] = some_ids("long");
    let [first, second, urgent] = some_ids("short");
    let of_acme =
        |id, seen_s, class| Parked { tenant: "acme".parse().unwrap(), class, ..in_line(id, "k", seen_s) };
    let mut jobs: Vec<Parked> = long.iter().zip(1..).map(|(id, seen_s)| in_line(id, "k", seen_s)).collect();
    jobs.push(of_acme(&first, 10, Class::Bulk));
    jobs.push(of_acme(&second, 11, Class::Bulk));
    jobs.push(of_acme(&urgent, 12, Class::Transactional));
    store.park(&jobs).await;
    let [long_first, .., long_last] = long;
    for (id, own, others) in
        [(urgent, 0, 0), (first, 1, 1), (second, 2, 2), (long_first, 0, 0), (long_last, 5, 3)]
    {
        let pending = store.console.job(&id).await.unwrap().unwrap().pending.unwrap();
        assert_eq!(pending.ahead, Some(own + others), "{id}");
    }
}

/// What is in a lane cannot be overtaken, so it is not filled further.
pub async fn full_lanes_are_left_alone(store: Store) {
    let outlook = |job: Parked| Parked { group: "outlook".parse().unwrap(), ..job };
    let [a, b, c, d] = some_ids("job");
    store
        .park(&[
            Parked { due: SOON, ..in_line(&a, "k", 1) },
            outlook(Parked { due: SOON, ..in_line(&b, "k", 1) }),
        ])
        .await;
    store.park(&[in_line(&c, "k", 1), outlook(in_line(&d, "k", 2))]).await;
    let full = vec!["default.bulk.gmail".parse().unwrap(), "default.transactional.outlook".parse().unwrap()];
    for max in [9, 1] {
        let due = store.due_ids_of(&DueQuery { full: full.clone(), ..up_to(max) }).await;
        assert_eq!(due, std::slice::from_ref(&b), "up to {max}");
    }
    let query = ReleaseQuery { full, ..from_lines(&[("k", 1)]) };
    assert_eq!(ids(store.ledger.release(&query).await.unwrap().as_deref()), [d]);
}

/// However many of its jobs are first in line.
pub async fn a_full_lane_hides_no_other(store: Store) {
    let group = |name: &str, job| Parked { group: name.parse().unwrap(), ..job };
    let first: Vec<Parked> = (0..10_050).map(|n| in_line(&fresh_id("gmail"), "k", n)).collect();
    for jobs in first.chunks(1_000) {
        store.park(jobs).await;
    }
    let [a, b, c] = some_ids("job");
    let behind = [(&a, "outlook", 20_000), (&b, "yahoo", 20_001), (&c, "outlook", 20_002)];
    store.park(&behind.map(|(id, name, seen_s)| group(name, in_line(id, "k", seen_s)))).await;
    let query = ReleaseQuery { full: vec!["default.bulk.gmail".parse().unwrap()], ..from_lines(&[("k", 9)]) };
    assert_eq!(ids(store.ledger.release(&query).await.unwrap().as_deref()), [a, b, c]);
}

/// An owner's jobs go first seen first, whatever their lanes, and one that has most of them in a few lanes of many gets all
/// of its turns.
pub async fn lanes_of_an_owner_are_merged_by_age(store: Store) {
    let in_lane = |lane: i64, seen_s: i64| Parked {
        group: format!("g{lane}").parse().unwrap(),
        ..in_line(&fresh_id("job"), "k", seen_s)
    };
    let mut jobs: Vec<Parked> = (0..40).map(|lane| in_lane(lane, 1_000 - lane)).collect();
    jobs.extend((0..900).map(|n| in_lane(0, 2_000 + n)));
    jobs.extend((1..40 * 30).map(|n| in_lane(1 + n % 39, 3_000 + n)));
    store.park(&jobs).await;
    jobs.sort_by_key(|job| job.passport.first_seen);
    let wanted: Vec<JobId> = jobs.iter().take(960).map(|job| job.id.clone()).collect();
    let batch = store.ledger.release(&from_lines(&[("k", 960)])).await.unwrap();
    assert_eq!(ids(batch.as_deref()), wanted);
}

/// An owner's transactional jobs go before its bulk that was seen first, however much of it there is.
pub async fn transactional_jobs_of_an_owner_go_first(store: Store) {
    let urgent = |id: &JobId, name: &str, seen_s: i64| Parked {
        class: Class::Transactional,
        group: name.parse().unwrap(),
        ..in_line(id, "k", seen_s)
    };
    let bulk: Vec<Parked> = (0..2_000).map(|n| in_line(&fresh_id("job"), "k", n)).collect();
    for jobs in bulk.chunks(1_000) {
        store.park(jobs).await;
    }
    // Of one lane there are more than are looked at first, so that bulk is not next to those that were.
    let many: Vec<Parked> = (0..60).map(|n| urgent(&fresh_id("job"), "gmail", 10_000 + n)).collect();
    let [a, b] = some_ids("job");
    store.park(&many).await;
    store.park(&[urgent(&a, "yahoo", 9_000), urgent(&b, "yahoo", 20_000)]).await;
    let mut first: Vec<JobId> = many.iter().map(|job| job.id.clone()).collect();
    first.insert(0, a);
    first.push(b);
    let some = store.release(&[("k", 50)]).await.unwrap();
    let taken = ids(Some(&*some));
    assert_eq!(taken, first.drain(..50).collect::<Vec<_>>());
    some.published(&taken).await.unwrap();
    let rest: BTreeSet<JobId> = ids(store.release(&[("k", 15)]).await.as_deref()).into_iter().collect();
    first.extend(bulk.iter().take(3).map(|job| job.id.clone()));
    assert_eq!(rest, first.into_iter().collect());
}

/// Another relay may have taken the first jobs, and their slots are spoken for: what is behind them goes.
pub async fn what_a_relay_holds_hides_nothing_in_line(store: Store) {
    let jobs: Vec<Parked> = (0..400).map(|n| in_line(&fresh_id("job"), "k", n)).collect();
    store.park(&jobs).await;
    let held = store.release(&[("k", 300)]).await;
    assert_eq!(ids(held.as_deref()).len(), 300);
    let behind: Vec<JobId> = jobs.iter().skip(300).take(5).map(|job| job.id.clone()).collect();
    assert_eq!(ids(store.release(&[("k", 5)]).await.as_deref()), behind);
}

/// Whatever else waits there: closing them takes no slot.
pub async fn what_expires_in_line_leaves_it(store: Store) {
    let expires = |job: Parked, at| Parked { expires_at: Some(at), ..job };
    let soon = SystemClock::new().now() + Duration::from_millis(50);
    let later = soon + Duration::from_secs(600);
    let [a, b, c, timed, held] = some_ids("job");
    store.park(&[expires(in_line(&c, "k", 1), later), expires(in_line(&b, "k", 9), soon)]).await;
    store.park(&[expires(in_line(&a, "other", 2), soon + Duration::from_micros(1))]).await;
    store.park(&[expires(parked(&timed, LATER, WaitReason::Retry, 1), soon)]).await;
    store.park(&[expires(Parked { due: Due::Held, ..in_line(&held, "k", 1) }, soon)]).await;
    let both = async {
        loop {
            match store.ledger.expired(9, &[]).await.unwrap() {
                Some(batch) if batch.jobs().len() == 2 => return batch,
                Some(batch) => batch.published(&[]).await.unwrap(),
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let both = tokio::time::timeout(VISIBLE_AGAIN, both).await.expect("two expire");
    assert_eq!(ids(Some(&*both)), [b.clone(), a.clone()]);
    assert!(store.ledger.expired(9, &[]).await.unwrap().is_none(), "hidden from other relays");
    both.published(&[]).await.unwrap();
    assert_eq!(ids(store.release(&[("k", 9), ("other", 9)]).await.as_deref()), [c], "no release is theirs");
    assert_eq!(ids(store.ledger.expired(1, &[]).await.unwrap().as_deref()), [b]);
    let full = ["default.bulk.gmail".parse().unwrap()];
    assert!(store.ledger.expired(9, &full).await.unwrap().is_none());
}

/// Whichever way it came there.
pub async fn what_a_record_puts_in_line_expires_there(store: Store) {
    let id = fresh_id("job");
    store.ledger.claim(&[claim(&id)]).await.unwrap();
    let expires_at = Some(SystemClock::new().now() + Duration::from_millis(50));
    let next = NextStep::Unsent(Box::new(Parked { expires_at, ..in_line(&id, "k", 1) }));
    store.ledger.record(&[record(&id, 1, None, next)]).await.unwrap();
    let expired = async {
        loop {
            if let Some(batch) = store.ledger.expired(9, &[]).await.unwrap() {
                return ids(Some(&*batch));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert_eq!(tokio::time::timeout(VISIBLE_AGAIN, expired).await.expect("it expires"), [id]);
}

/// Then the clocks disagree, and the worker that gets it would only park it again.
pub async fn what_has_expired_when_it_is_parked_waits_for_its_turn(store: Store) {
    let id = fresh_id("job");
    store.park(&[Parked { expires_at: Some(Timestamp::from_micros(1)), ..in_line(&id, "k", 1) }]).await;
    assert!(store.ledger.expired(9, &[]).await.unwrap().is_none());
    assert_eq!(ids(store.release(&[("k", 9)]).await.as_deref()), [id]);
}

/// The campaign of one tenant, not that of the same name of another.
pub async fn paused_campaigns_are_left_alone(store: Store) {
    let spring = |tenant: &str| Parked { campaign: "spring".parse().ok(), ..of(tenant, SOON) };
    let jobs = [spring("acme"), spring("other"), of("acme", SOON)];
    store.park(&jobs).await;
    for max in [9, 2] {
        let paused = vec![("acme".to_owned(), "spring".to_owned())];
        let mut due = store.due_ids_of(&DueQuery { paused, ..up_to(max) }).await;
        due.sort_unstable();
        assert_eq!(due, [jobs[2].id.clone(), jobs[1].id.clone()], "up to {max}");
    }
}

/// However long its backlog is, it keeps nobody behind it from the slots of the line.
pub async fn a_paused_campaign_takes_no_release(store: Store) {
    store.park_in_line("acme", "spring", 1, 200).await;
    store.park_in_line("acme", "", 500, 2).await;
    store.park_in_line("other", "spring", 600, 2).await;
    let query = ReleaseQuery { paused: spring_of_acme(), ..from_lines(&[("k", 3)]) };
    let first = store.released(&query).await;
    assert_eq!(first.values().sum::<usize>(), 3, "{first:?}");
    let rest = store.released(&query).await;
    assert_eq!(rest.values().sum::<usize>(), 1, "{rest:?}");
    assert!(store.ledger.release(&query).await.unwrap().is_none());
    let resumed = store.released(&from_lines(&[("k", 500)])).await;
    assert_eq!(resumed, BTreeMap::from([("acme".to_owned(), 200)]));
}

/// Its jobs only go to be closed.
pub async fn a_cancelled_campaign_takes_no_release(store: Store) {
    store.park_in_line("acme", "spring", 1, 20).await;
    store.park_in_line("other", "spring", 600, 3).await;
    let query = ReleaseQuery { cancelled: spring_of_acme(), ..from_lines(&[("k", 2)]) };
    let expected = [("acme", 20), ("other", 2)].map(|(tenant, n)| (tenant.to_owned(), n));
    assert_eq!(store.released(&query).await, BTreeMap::from(expected));
}

/// Tenants in line take turns as they weigh, however long the backlog of one of them is, and the campaigns of one evenly.
pub async fn owners_take_turns_in_a_line(store: Store) {
    store.park_in_line("big", "", 1, 500).await;
    store.park_in_line("small", "", 1_000, 60).await;
    store.park_in_line("many", "spring", 2_000, 60).await;
    store.park_in_line("many", "summer", 2_100, 60).await;
    let weights = vec![("big".parse().unwrap(), 2)];
    let turns = store.released(&ReleaseQuery { weights, ..from_lines(&[("k", 40)]) }).await;
    assert!((18..=22).contains(&turns["big"]), "{turns:?}");
    assert!((8..=12).contains(&turns["small"]) && (8..=12).contains(&turns["many"]), "{turns:?}");
    assert_eq!(turns.values().sum::<usize>(), 40);
    // What the others have no jobs for is not lost.
    let turns = store.released(&from_lines(&[("k", 600)])).await;
    assert!(turns["big"] > 400 && turns["small"] + turns["many"] > 140, "{turns:?}");
}

/// Under a slow limit jobs go one by one.
pub async fn turns_in_a_line_come_round_one_by_one(store: Store) {
    store.park_in_line("big", "", 1, 200).await;
    store.park_in_line("small", "", 1_000, 40).await;
    let mut turns = BTreeMap::new();
    for _ in 0..60 {
        for (tenant, n) in store.released(&from_lines(&[("k", 1)])).await {
            *turns.entry(tenant).or_insert(0) += n;
        }
    }
    assert!((15..=45).contains(&turns["small"]), "{turns:?}");
}

/// However long the backlog of one of them is.
pub async fn tenants_take_turns(store: Store) {
    store.park_due("big", "", 500).await;
    store.park_due("small", "", 40).await;
    store.park_due("tiny", "", 40).await;
    let turns = store.turns(&up_to(30)).await;
    assert!(turns.len() == 3 && turns.values().all(|n| (8..=12).contains(n)), "{turns:?}");
    assert_eq!(turns.values().sum::<usize>(), 30);
}

/// As configured.
pub async fn a_weight_of_two_gets_twice_the_turns(store: Store) {
    for tenant in ["double", "one", "other"] {
        store.park_due(tenant, "", 100).await;
    }
    let turns = store.turns(&DueQuery { weights: vec![("double".parse().unwrap(), 2)], ..up_to(40) }).await;
    assert!((18..=22).contains(&turns["double"]), "{turns:?}");
    assert!((8..=12).contains(&turns["one"]) && (8..=12).contains(&turns["other"]), "{turns:?}");
}

/// Many campaigns do not make a tenant's turns more.
pub async fn campaigns_of_a_tenant_share_its_turns(store: Store) {
    for campaign in ["spring", "summer", "autumn", "winter"] {
        store.park_due("many", campaign, 50).await;
    }
    store.park_due("single", "", 50).await;
    let batch = store.ledger.due(&up_to(40)).await.unwrap();
    let of_many = ids(batch.as_deref()).iter().filter(|id| id.as_str().starts_with("many")).count();
    assert!((18..=22).contains(&of_many), "{of_many}");
    drop(batch);
}

/// Turns that nobody wants are not lost.
pub async fn a_hungry_tenant_fills_the_batch_alone(store: Store) {
    store.park_due("big", "spring", 100).await;
    store.park_due("small", "", 1).await;
    store.park_due("tiny", "", 1).await;
    let turns = store.turns(&up_to(30)).await;
    let expected = [("big", 28), ("small", 1), ("tiny", 1)].map(|(tenant, n)| (tenant.to_owned(), n));
    assert_eq!(turns, BTreeMap::from(expected));
}

/// More tenants than a batch has room for: each has its turn before long.
pub async fn no_tenant_starves_among_many(store: Store) {
    let jobs: Vec<Parked> =
        (0..60).flat_map(|n| [of(&format!("t{n}"), SOON), of(&format!("t{n}"), SOON)]).collect();
    store.park(&jobs).await;
    let mut seen = std::collections::BTreeSet::new();
    while let Some(batch) = store.ledger.due(&up_to(12)).await.unwrap() {
        assert!(batch.jobs().len() <= 12);
        let published = ids(Some(&*batch));
        batch.published(&published).await.unwrap();
        for id in published {
            assert!(seen.insert(id), "published twice");
        }
    }
    assert_eq!(seen.len(), 120);
}

/// In line, by time or held: all but what nobody knows the outcome of.
pub async fn a_woken_campaign_is_due_at_once(store: Store) {
    let spring =
        |job: Parked| Parked { campaign: "spring".parse().ok(), tenant: "acme".parse().unwrap(), ..job };
    let [a, b, c, d, unknown, others] = some_ids("job");
    let woken = [
        spring(in_line(&a, "campaign:acme/spring", 1)),
        spring(in_line(&b, "group:gmail/per:h", 1)),
        spring(parked(&c, LATER, WaitReason::Retry, 2)),
        spring(parked(&d, Due::Held, WaitReason::CampaignPaused, 1)),
    ];
    let left = [
        spring(parked(&unknown, Due::Held, WaitReason::Unknown, 2)),
        spring(parked(&fresh_id("unknown"), LATER, WaitReason::Unknown, 2)),
        Parked { tenant: "other".parse().unwrap(), ..spring(in_line(&others, "group:gmail/per:h", 1)) },
        Parked { campaign: None, ..spring(in_line(&fresh_id("none"), "group:gmail/per:h", 1)) },
        Parked { campaign: "autumn".parse().ok(), ..spring(in_line(&fresh_id("autumn"), "k", 1)) },
    ];
    store.park(&woken).await;
    store.park(&left).await;
    let (tenant, campaign) = ("acme".parse().unwrap(), "spring".parse().unwrap());
    assert_eq!(store.console.wake_campaign(&tenant, &campaign).await.unwrap(), 4);
    let mut due = store.due_ids().await;
    due.sort_unstable();
    let mut expected = [a, b, c, d];
    expected.sort_unstable();
    assert_eq!(due, expected);
    let pending = store.console.job(&expected[0]).await.unwrap().unwrap().pending.unwrap();
    assert_eq!((pending.limit_key, pending.ahead), (None, None));
    assert_eq!(store.console.wake_campaign(&tenant, &campaign).await.unwrap(), 0, "nothing is left to wake");
    let keys: Vec<String> =
        store.ledger.waiting(None, 9, 10_000).await.unwrap().into_iter().map(|line| line.key).collect();
    assert_eq!(keys, ["group:gmail/per:h", "k"]);
}

/// In as many statements as it takes.
pub async fn a_large_campaign_is_woken_whole(store: Store) {
    let spring = |job: Parked| Parked { campaign: "spring".parse().ok(), ..job };
    let jobs = |n: i64| spring(in_line(&fresh_id("job"), "k", n));
    for _ in 0..6 {
        store.park(&(0..1000).map(jobs).collect::<Vec<_>>()).await;
    }
    let later = |_| spring(parked(&fresh_id("job"), LATER, WaitReason::Retry, 2));
    store.park(&(0..1000).map(later).collect::<Vec<_>>()).await;
    let woken = store.console.wake_campaign(&"default".parse().unwrap(), &"spring".parse().unwrap()).await;
    assert_eq!(woken.unwrap(), 7000);
    assert_eq!(store.ledger.waiting(None, 9, 10_000).await.unwrap(), []);
    assert_eq!(ids(store.ledger.due(&up_to(5000)).await.unwrap().as_deref()).len(), 5000);
}
