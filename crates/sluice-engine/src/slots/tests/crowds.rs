//! More lines than one lease asks for.

use super::*;

/// So many jobs for each of 3,000 domains with a limit of their own, all under that of one ESP.
fn crowd(jobs: usize) -> (Arc<Store>, Replica, Journal) {
    let store = Store::new(Duration::from_millis(4));
    let it = replica(&store);
    let journal = Journal::default();
    for number in 0..3000 {
        let domain: Arc<str> = format!("d{number}.example").into();
        let line = LineKey { domain: Some(Arc::clone(&domain)), ..line("other") };
        let own = limit(LimitScope::Domain(domain), "50/s");
        backlog_of(&it, &line, "other", &[esp_limit("100000/s"), own], jobs, &journal);
    }
    (store, it, journal)
}

#[tokio::test(start_paused = true)]
async fn thousands_of_domains_with_limits_of_their_own_go_side_by_side() {
    let (store, _replica, journal) = crowd(2);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(times(&journal, None).len(), 6_000, "47 statements without a pause between them");
    let most = book::WANTS_MAX / book::WEIGHT_ALONE;
    assert!(*store.widest_alone.lock().unwrap() <= most, "no lease takes the rows of all domains");
    assert!(*store.widest.lock().unwrap() <= book::WANTS_MAX);
}

/// A slot each, under one ESP: the store leases for them as one, so that a lease takes more of them.
#[tokio::test(start_paused = true)]
async fn a_job_for_each_of_thousands_of_domains_is_leased_for_with_many_others() {
    let (store, _replica, journal) = crowd(1);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(times(&journal, None).len(), 3_000, "12 statements");
    assert_eq!(*store.widest.lock().unwrap(), book::WANTS_MAX);
}

#[tokio::test(start_paused = true)]
async fn who_could_send_at_once_is_leased_for_first() {
    let store = Store::new(Duration::ZERO);
    let metrics = Arc::new(Metrics::new("test").unwrap());
    let slots = Arc::new(Slots::new(Arc::new(PausedClock(store.start, Duration::ZERO)), metrics, 200));
    let count = book::WANTS_MAX + 20;
    let tickets: Vec<Ticket> = (0..count)
        .map(|number| {
            let domain: Arc<str> = format!("d{number}.example").into();
            let own = limit(LimitScope::Domain(Arc::clone(&domain)), "50/s");
            slots.draw(&LineKey { domain: Some(domain), ..line("other") }, &Arc::from([own]))
        })
        .collect();
    let now = slots.clock.tick();
    for ticket in &tickets[count - 5..] {
        let place = ticket.place.as_ref().unwrap();
        assert!(matches!(slots.book().ready(place.line, place.number, now), book::Ready::Wait(_)));
    }
    let wants = slots.book().wants(now).wants;
    assert_eq!(wants.len(), book::WANTS_MAX);
    for number in count - 5..count {
        let scope = LimitScope::Domain(format!("d{number}.example").into());
        assert!(wants.iter().any(|(_, want)| want.limits[0].scope == scope), "{scope:?}");
    }
}

/// Those of 64 tenants took every lease as long as there were any.
#[tokio::test(start_paused = true)]
async fn bulk_is_leased_for_beside_any_number_of_transactional_lines() {
    let store = Store::new(Duration::ZERO);
    let metrics = Arc::new(Metrics::new("test").unwrap());
    let slots = Arc::new(Slots::new(Arc::new(PausedClock(store.start, Duration::ZERO)), metrics, 200));
    let of_tenant = |number: usize, class| {
        let tenant: Tenant = format!("t{number}").parse().unwrap();
        let own = limit(LimitScope::Tenant(tenant.clone()), "50/s");
        slots.draw(&LineKey { class, tenant: Some(tenant), ..line("other") }, &Arc::from([own]))
    };
    let count = book::WANTS_MAX + 20;
    let _tickets: Vec<Ticket> = (0..count)
        .map(|number| of_tenant(number, Class::Transactional))
        .chain((count..count + 9).map(|number| of_tenant(number, Class::Bulk)))
        .collect();
    let wants = slots.book().wants(slots.clock.tick()).wants;
    assert_eq!(wants.len(), book::WANTS_MAX);
    assert_eq!(wants.iter().filter(|(_, want)| want.urgent == 0).count(), 9);
}
