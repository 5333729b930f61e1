//! Lines that share a limit: nobody starves another.

use super::*;

fn group(name: &str, spec: &str) -> Limit {
    limit(LimitScope::Group(name.parse().unwrap()), spec)
}

fn counts(journal: &Journal, names: &[&'static str]) -> Vec<usize> {
    names.iter().map(|name| times(journal, Some(name)).len()).collect()
}

#[tokio::test(start_paused = true)]
async fn lines_under_one_limit_go_in_the_order_in_which_their_jobs_came() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let it = replica(&store);
    let esp = esp_limit("50/s");
    // As lanes bring them: the next ones while the first wait.
    for _ in 0..10 {
        backlog(&it, "gmail", std::slice::from_ref(&esp), 100, &journal);
        backlog(&it, "yahoo", std::slice::from_ref(&esp), 100, &journal);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let sent = counts(&journal, &["gmail", "yahoo"]);
    assert!(sent.iter().all(|sent| (190..=310).contains(sent)), "{sent:?}");
    assert!(sent.iter().sum::<usize>() >= 480, "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_with_a_wide_limit_of_its_own_leaves_others_their_part_of_the_esp() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let it = replica(&store);
    let esp = esp_limit("50/s");
    backlog(&it, "gmail", &[esp.clone(), group("gmail", "100/s")], 1000, &journal);
    backlog(&it, "yahoo", &[esp.clone(), group("yahoo", "100/s")], 1000, &journal);
    backlog(&it, "other", std::slice::from_ref(&esp), 1000, &journal);
    tokio::time::sleep(Duration::from_secs(15)).await;
    let sent = counts(&journal, &["gmail", "yahoo", "other"]);
    assert!(sent.iter().all(|sent| *sent >= 150), "{sent:?}");
    assert!(sent.iter().sum::<usize>() >= 720, "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn what_others_do_not_need_is_used() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let it = replica(&store);
    let esp = esp_limit("50/s");
    backlog(&it, "gmail", &[esp.clone(), group("gmail", "45/s")], 1000, &journal);
    for _ in 0..100 {
        backlog(&it, "other", std::slice::from_ref(&esp), 1, &journal);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let sent = counts(&journal, &["gmail", "other"]);
    assert!(sent[0] >= 800 && sent[1] >= 97, "{sent:?}");
}

/// The brake of an ESP recovers, and with it its spacing, twice a second.
#[tokio::test(start_paused = true)]
async fn slow_limits_leave_an_esp_its_slots_while_its_rate_changes() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let it = replica(&store);
    let esp = esp_limit("100/s");
    backlog(&it, "slow", &[esp.clone(), group("slow", "1/s")], 500, &journal);
    backlog(&it, "other", std::slice::from_ref(&esp), 2000, &journal);
    for permille in 500..520 {
        let scope = LimitScope::Esp("main".parse().unwrap());
        it.slots.set_brakes([(scope, permille, Tick::ZERO)]);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let sent = counts(&journal, &["slow", "other"]);
    assert!(sent[0] >= 8 && sent[1] >= 420, "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn many_slow_limits_leave_an_esp_its_slots() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let it = replica(&store);
    let esp = esp_limit("400/s");
    for i in 0..100 {
        let domain: Arc<str> = format!("d{i}.example").into();
        let own = limit(LimitScope::Domain(Arc::clone(&domain)), "2/s");
        let line = LineKey { domain: Some(domain), ..line("other") };
        backlog_of(&it, &line, "slow", &[esp.clone(), own], 60, &journal);
        tokio::time::sleep(Duration::from_millis(13 + i % 11)).await;
    }
    backlog(&it, "gmail", std::slice::from_ref(&esp), 3000, &journal);
    tokio::time::sleep(Duration::from_secs(15)).await;
    let sent = counts(&journal, &["slow", "gmail"]);
    assert!(sent[0] >= 100 * 2 * 14 && sent[1] >= 2500, "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn transactional_jobs_that_come_one_by_one_use_a_slow_limit_in_full() {
    let store = Store::new(Duration::from_millis(4));
    let (journal, line) = (Journal::default(), LineKey { class: Class::Transactional, ..line("other") });
    let replicas = [replica(&store), replica(&store)];
    let limits = [esp_limit("100/s"), group("other", "10/min")];
    // The relay releases one whenever a slot is near, to either replica.
    for at in 0..60 {
        let look = store.look(&limits[1..]).await.unwrap();
        if look[0].next_in < Duration::from_secs(5) {
            backlog_of(&replicas[at % 2], &line, "urgent", &limits, 1, &journal);
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let sent = times(&journal, None).len();
    assert!(sent >= 40, "{sent} of 50");
}
