//! Buckets and counts, whose slots open many at once.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_bucket_that_is_far_from_its_limit_costs_a_spaced_one_no_slots() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let (bucket, slow) =
        (esp_limit("2000/s burst 200"), limit(LimitScope::Group("gmail".parse().unwrap()), "10/s"));
    let replicas: Vec<_> = (0..2).map(|_| replica(&store)).collect();
    for it in &replicas {
        it.slots.set_sharers([(bucket.key(), 2), (slow.key(), 2)].into());
        backlog(it, "gmail", &[bucket.clone(), slow.clone()], 300, &journal);
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let sent = times(&journal, None);
    assert!(worst_window(&sent, Duration::from_secs(1)) <= 10);
    assert!(sent.len() >= 175, "{} of 200", sent.len());
}

#[tokio::test(start_paused = true)]
async fn a_count_over_a_longer_window_is_used_well_beside_spaced_limits() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let (esp, long) = (esp_limit("50/s"), esp_limit("300/10s rolling"));
    let group = limit(LimitScope::Group("gmail".parse().unwrap()), "20/s");
    let replicas: Vec<_> = (0..4).map(|_| replica(&store)).collect();
    for it in &replicas {
        it.slots.set_sharers([(esp.key(), 4), (group.key(), 4), (long.key(), 4)].into());
        backlog(it, "gmail", &[esp.clone(), long.clone(), group.clone()], 1000, &journal);
        backlog(it, "other", &[esp.clone(), long.clone()], 1000, &journal);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let sent = times(&journal, None);
    assert!(worst_window(&sent, Duration::from_secs(1)) <= 50);
    assert!(worst_window(&sent, Duration::from_secs(10)) <= 300);
    // Each window loses a sub-bucket, of which there are sixty, and what is on its way back.
    eprintln!("{} of 1800", sent.len());
    assert!(sent.len() >= 1800 * 90 / 100, "{} of 1800", sent.len());
}

#[tokio::test(start_paused = true)]
async fn a_count_that_is_used_up_is_told_as_shut() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let it = replica(&store);
    let day = limit(LimitScope::Tenant("acme".parse().unwrap()), "2/h");
    let limits = [esp_limit("100/s"), day.clone()];
    // More are asked for than there are: two come, and these are used.
    backlog(&it, "other", &limits, 5, &journal);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(times(&journal, None).len(), 2);
    let estimate = it.slots.estimate(Class::Bulk, &limits, it.slots.clock.tick());
    assert_eq!(estimate.limit, Some(day.clone()));
    assert!(estimate.wait > Duration::from_secs(600), "{estimate:?}");
    assert!(
        it.slots.shut(Class::Bulk, &limits, it.slots.clock.tick()).is_some_and(|(_, limit)| limit == day)
    );
    assert!(it.slots.shut(Class::Bulk, &limits[..1], it.slots.clock.tick()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_was_not_used_costs_a_count_nothing() {
    let store = Store::new(Duration::from_millis(4));
    let it = replica(&store);
    let day = limit(LimitScope::Tenant("acme".parse().unwrap()), "3/h");
    let limits: Arc<[Limit]> = Arc::from([day.clone()]);
    let far = Tick::from_nanos(u64::MAX);
    for round in 0..10 {
        let mut ticket = it.slots.draw(&line("other"), &limits);
        assert!(ticket.near(far).await);
        let grant = tokio::time::timeout(Duration::from_secs(5), ticket.turn(far)).await;
        ticket.unused(grant.unwrap_or_else(|_| panic!("no turn in round {round}")).unwrap());
        drop(ticket);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(store.look(std::slice::from_ref(&day)).await.unwrap()[0].left, 3);
    assert!(it.slots.shut(Class::Bulk, &limits, it.slots.clock.tick()).is_none(), "there are slots again");
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_after_the_rest_is_used_is_used_too() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let it = replica(&store);
    let limits = [limit(LimitScope::Tenant("acme".parse().unwrap()), "5/h")];
    let far = Tick::from_nanos(u64::MAX);
    let mut ticket = it.slots.draw(&line("other"), &Arc::from(limits.clone()));
    assert!(ticket.near(far).await);
    let late = ticket.turn(far).await.unwrap();
    backlog(&it, "other", &limits, 20, &journal);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(times(&journal, None).len(), 4);
    ticket.unused(late);
    drop(ticket);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(times(&journal, None).len(), 5);
}

/// It went back to the store, and came with another lease.
#[tokio::test(start_paused = true)]
async fn a_turn_that_was_not_used_is_for_whoever_waits_here() {
    let store = Store::new(Duration::from_millis(4));
    let it = replica(&store);
    let limits: Arc<[Limit]> = Arc::from([limit(LimitScope::Tenant("acme".parse().unwrap()), "3/h")]);
    let far = Tick::from_nanos(u64::MAX);
    let [mut one, mut two, mut three, mut last] = [(); 4].map(|()| it.slots.draw(&line("other"), &limits));
    let (late, _used) = (one.turn(far).await.unwrap(), two.turn(far).await.unwrap());
    // Nothing is given back then.
    it.health.down(sluice_telemetry::Dependency::Store, &SlotError("away".into()));
    one.unused(late);
    for ticket in [&mut three, &mut last] {
        assert!(ticket.turn(it.slots.clock.tick() + Duration::from_secs(5)).await.is_some());
    }
}

/// Each lease of other slots filled them up.
#[tokio::test(start_paused = true)]
async fn counts_are_leased_when_half_of_what_is_soon_needed_is_used() {
    let store = Store::new(Duration::from_millis(4));
    let it = replica(&store);
    let limits: Arc<[Limit]> = Arc::from([esp_limit("50000/s"), esp_limit("1000000/h")]);
    let far = Tick::from_nanos(u64::MAX);
    for _ in 0..2000 {
        it.slots.draw(&line("other"), &limits).turn(far).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (leases, counted) = (*store.leases.lock().unwrap(), *store.counted.lock().unwrap());
    assert!(counted > 10 && counted * 3 < leases * 2, "{counted} wants of the count in {leases} leases");
}

/// Leases slots of a counted limit for three jobs, none of which uses one.
async fn lease_three(it: &Replica, store: &Store, limits: &Arc<[Limit]>) {
    let tickets: Vec<_> = (0..3).map(|_| it.slots.draw(&line("other"), limits)).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(tickets);
    assert_eq!(store.look(limits).await.unwrap()[0].used, 3);
}

#[tokio::test(start_paused = true)]
async fn what_an_idle_replica_has_of_a_count_goes_back() {
    let store = Store::new(Duration::from_millis(4));
    let it = replica(&store);
    let limits: Arc<[Limit]> =
        Arc::from([limit(LimitScope::Tenant("acme".parse().unwrap()), "30/day calendar")]);
    lease_three(&it, &store, &limits).await;
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(store.look(&limits).await.unwrap()[0].used, 0);
    assert_eq!(it.slots.take_unused().len(), 0, "and once");
}

#[tokio::test(start_paused = true)]
async fn what_was_leased_of_a_count_before_an_edit_goes_back() {
    let store = Store::new(Duration::from_millis(4));
    let it = replica(&store);
    let day = |spec| Arc::from([limit(LimitScope::Tenant("acme".parse().unwrap()), spec)]);
    lease_three(&it, &store, &day("30/day")).await;
    let edited: Arc<[Limit]> = day("20/day");
    it.slots.relimit(|_| Some(Arc::clone(&edited)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.look(&edited).await.unwrap()[0].used, 0);
}

/// They were given back to nobody, and stayed charged.
#[tokio::test(start_paused = true)]
async fn what_lapses_while_the_store_is_away_goes_back_when_it_answers() {
    let store = Store::new(Duration::from_millis(4));
    let limits: Arc<[Limit]> = Arc::from([esp_limit("100/h")]);
    let it = replica(&store);
    lease_three(&it, &store, &limits).await;
    it.health.down(sluice_telemetry::Dependency::Store, &SlotError("away".into()));
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(store.look(&limits).await.unwrap()[0].used, 3);
    it.health.up(sluice_telemetry::Dependency::Store);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.look(&limits).await.unwrap()[0].used, 0);
}

/// It was not asked for again before the end of the day.
#[tokio::test(start_paused = true)]
async fn what_a_replica_gives_back_as_it_ends_is_there_for_those_who_were_told_that_there_is_none() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let (a, b) = (replica(&store), replica(&store));
    let limits: Arc<[Limit]> =
        Arc::from([limit(LimitScope::Tenant("acme".parse().unwrap()), "10/day calendar")]);
    let tickets: Vec<_> = (0..12).map(|_| a.slots.draw(&line("other"), &limits)).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    backlog(&b, "other", &limits, 12, &journal);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(times(&journal, None).len(), 0, "all of it is leased");
    drop(tickets);
    a.kill();
    store.give_back(&a.slots.take_unused()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(31)).await;
    let sent = times(&journal, None).len();
    assert!((8..=10).contains(&sent), "{sent}");
}
