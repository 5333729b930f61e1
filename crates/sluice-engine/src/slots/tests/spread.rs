//! Limits of so many slots a second that those for jobs to come are spread over the time ahead.

use super::*;

/// Jobs that come one by one, `pause` apart for `span`, and how long each waits for its slot after its claim.
async fn waits(replicas: &[Replica], limits: &[Limit], pause: Duration, span: Duration) -> Vec<Duration> {
    let limits: Arc<[Limit]> = limits.into();
    let until = Instant::now() + span;
    let mut waits = Vec::new();
    while Instant::now() < until {
        for it in replicas {
            let mut ticket = it.slots.draw(&line("other"), &limits);
            let far = Tick::from_nanos(u64::MAX);
            assert!(ticket.near(far).await);
            // The claim.
            tokio::time::sleep(Duration::from_millis(3)).await;
            let claimed = Instant::now();
            let grant = ticket.turn(far).await.unwrap();
            assert!(it.slots.clock.tick() <= grant.closes, "a slot is never given late");
            waits.push(claimed.elapsed());
            tokio::time::sleep(pause).await;
        }
    }
    waits
}

#[tokio::test(start_paused = true)]
async fn jobs_that_come_now_and_then_find_a_slot_open() {
    let store = Store::new(Duration::from_millis(4));
    let replicas: Vec<_> = (0..4).map(|_| replica(&store)).collect();
    let limits = [esp_limit("50000/s"), limit(LimitScope::Group("other".parse().unwrap()), "50000/s")];
    let pause = Duration::from_millis(4);
    waits(&replicas, &limits, pause, Duration::from_secs(2)).await;
    *store.leases.lock().unwrap() = 0;
    let waits = waits(&replicas, &limits, pause, Duration::from_secs(4)).await;
    let at_once = waits.iter().filter(|wait| **wait < Duration::from_millis(1)).count();
    assert!(at_once * 100 >= waits.len() * 95, "{at_once} of {} did not wait", waits.len());
    assert!(waits.iter().all(|wait| *wait < Duration::from_millis(25)), "{waits:?}");
    let leases = *store.leases.lock().unwrap();
    // One comes to a replica every 28 ms, and a lease reaches 80 ms.
    assert!(
        usize::try_from(leases).unwrap() * 10 < waits.len() * 6,
        "{leases} leases for {} jobs",
        waits.len()
    );
}

/// Where the clocks stand would be known no better than to its work, which is longer than a slot is open.
#[tokio::test(start_paused = true)]
async fn a_store_that_works_long_on_a_lease_is_used_as_any_other() {
    let store = Store::that_works(Duration::from_millis(4), Duration::from_millis(30));
    let replicas = [replica(&store)];
    let limits = [esp_limit("50000/s")];
    let span = Duration::from_secs(2);
    let waits = waits(&replicas, &limits, Duration::from_millis(4), span).await;
    let at_once = waits.iter().filter(|wait| **wait < Duration::from_millis(1)).count();
    assert!(at_once * 100 >= waits.len() * 80, "{at_once} of {} did not wait: {waits:?}", waits.len());
}

#[tokio::test(start_paused = true)]
async fn a_job_does_not_wait_for_a_slot_that_is_for_later() {
    let store = Store::new(Duration::from_millis(4));
    let (it, journal) = (replica(&store), Journal::default());
    let limits = [esp_limit("50000/s")];
    waits(std::slice::from_ref(&it), &limits, Duration::from_millis(4), Duration::from_secs(2)).await;
    // A crowd, where one job in 4 ms was expected.
    let came = Instant::now();
    backlog(&it, "other", &limits, 500, &journal);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sent = times(&journal, None);
    assert_eq!(sent.len(), 500);
    let last = *sent.iter().max().unwrap() - came;
    assert!(last < Duration::from_millis(40), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_backlog_keeps_to_its_share_of_a_wide_limit() {
    let store = Store::new(Duration::from_millis(4));
    let (it, journal, esp) = (replica(&store), Journal::default(), esp_limit("2000/s"));
    it.slots.set_sharers([(esp.key(), 4)].into());
    backlog(&it, "other", std::slice::from_ref(&esp), 4000, &journal);
    let mut most = 0;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let (_, left) = it.slots.totals(1);
        most = left.iter().map(|(_, left)| *left).max().unwrap_or(0).max(most);
    }
    // A quarter of what opens within 300 ms.
    assert!((100..=150).contains(&most), "{most}");
}

/// Replicas come, go and are killed while jobs come in crowds, at more than two limits let through.
async fn random_schedule(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let store = Store::new(Duration::from_micros(rng.u64(500..20_000)));
    let journal = Journal::default();
    let (esp, group) = (esp_limit("2000/s"), limit(LimitScope::Group("gmail".parse().unwrap()), "1000/s"));
    let mut replicas: Vec<Replica> = Vec::new();
    for _ in 0..20 {
        let any = rng.usize(0..replicas.len().max(1));
        match rng.u32(0..10) {
            0..=3 if replicas.len() < 5 => {
                replicas.push(replica_with_clock(&store, Duration::from_secs(rng.u64(0..100_000))));
            }
            4 if !replicas.is_empty() => replicas.swap_remove(any).kill(),
            5 if !replicas.is_empty() => {
                let gone = replicas.swap_remove(any);
                gone.kill();
                store.give_back(&gone.slots.take_unused()).await.unwrap();
            }
            _ => {
                if let Some(it) = replicas.get(any) {
                    backlog(it, "gmail", &[esp.clone(), group.clone()], rng.usize(0..400), &journal);
                    backlog(it, "other", std::slice::from_ref(&esp), rng.usize(0..600), &journal);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(0..200))).await;
    }
    for (group, most) in [(None, 2000), (Some("gmail"), 1000)] {
        let worst = worst_window(&times(&journal, group), Duration::from_secs(1));
        assert!(worst <= most, "seed {seed}: {worst} of {group:?} within a second");
    }
    for it in &replicas {
        it.kill();
    }
}

#[tokio::test(start_paused = true)]
async fn over_30_random_schedules_no_second_holds_more_than_a_wide_limit() {
    for seed in 0..30 {
        random_schedule(seed).await;
    }
}
