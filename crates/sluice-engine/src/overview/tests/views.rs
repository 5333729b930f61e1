//! What is shown.

use sluice_policy::{BreakerTurn, ConnectionWish, RampTerms, SendVerdict, Sends, Throttle, Turn};

use super::*;
use crate::ports::{JobView, PendingView};

async fn limit(overview: &Overview, key: &str) -> RateLimit {
    let view = overview.rate_limits().await.unwrap();
    view.limits.into_iter().find(|it| it.key == key).unwrap_or_else(|| panic!("{key} is not listed"))
}

fn throttle(scope: &str, cut: bool, hold_s: i64) -> Throttle {
    Throttle {
        scope: scope.to_owned(),
        cut,
        hold_ns: hold_s * SECOND_NS,
        rate: 40.0,
        recover_ns: 60 * SECOND_NS,
    }
}

fn sends(word: &str, verdict: SendVerdict, count: u64) -> Sends {
    Sends { esp: "main".to_owned(), group: "gmail".to_owned(), word: word.to_owned(), verdict, count }
}

#[tokio::test]
async fn every_limit_that_holds_is_listed_with_its_kind() {
    let store = Store::new();
    store.report(&Report {
        ramps: vec![RampTerms { scope: "esp:main".to_owned(), caps: vec![50, 100], hold_above: 0.05 }],
        throttles: vec![throttle("esp:spare", true, 0), throttle("domain:slow.example", true, 0)],
        ..Report::default()
    });
    store.has_line("campaign:acme/sale", 3);
    store.has_line("domain:quick.example/per:s", 2);
    store.has_line("esp:gone/per:s", 1);
    let parked = counts(&[("campaign_paused", 3), ("domain_limit", 2), ("retry", 1)]);
    *store.parked.lock().unwrap() = parked.clone();
    let view = overview(TWO_ESPS, &store).rate_limits().await.unwrap();
    let listed: Vec<_> =
        view.limits.iter().map(|it| (it.key.as_str(), it.spec.as_deref(), it.kind)).collect();
    assert_eq!(
        listed,
        [
            ("esp:main/per:s", Some("100/s"), LimitWord::Rate),
            ("esp:main/per:h", Some("50000/h"), LimitWord::Counted),
            ("esp:main/connections", Some("10 connections"), LimitWord::Connections),
            ("esp:main/warm-up", Some("50/day warm-up"), LimitWord::WarmUp),
            ("esp:spare/per:s", Some("40/s"), LimitWord::Brake),
            ("group:gmail/per:s", Some("50/s"), LimitWord::Rate),
            ("esp:main/group:gmail/per:s", Some("20/s"), LimitWord::Rate),
            ("esp:spare/group:gmail/per:s", Some("20/s"), LimitWord::Rate),
            ("tenant:acme/per:s", Some("10/s burst 20"), LimitWord::Bucket),
            ("domain:quick.example/per:s", Some("5/s"), LimitWord::Rate),
            ("domain:slow.example/per:s", Some("5/s"), LimitWord::Rate),
            ("campaign:acme/sale", None, LimitWord::Campaign),
            ("esp:gone/per:s", None, LimitWord::Gone),
        ]
    );
    assert_eq!(view.per_domain, ["5/s"]);
    assert_eq!(view.waiting_by_reason, parked);
    assert_eq!(view.left_out, 0);
}

#[tokio::test]
async fn a_limit_shows_its_use_and_what_waits_under_it() {
    let store = Store::new();
    store.looks_like("esp:main/per:h", 49_999, 1, 0);
    store.looks_like("esp:main/per:s", 100, 0, 2);
    store.has_line("esp:main/per:h", 7);
    for (name, waiting, slots) in [("a", 3, 5), ("b", 4, 0)] {
        store.report(&worker(
            name,
            Presence {
                waiting: counts(&[("esp:main/per:h", waiting)]),
                slots: counts(&[("esp:main/per:h", slots)]),
                ..Presence::default()
            },
        ));
    }
    store.report(&Report { throttles: vec![throttle("esp:main", true, 30)], ..Report::default() });
    let overview = overview(TWO_ESPS, &store);
    let it = limit(&overview, "esp:main/per:h").await;
    assert_eq!((it.used, it.left, it.resets_in_ms), (Some(49_999), Some(1), Some(9_000)));
    assert_eq!((it.parked, it.oldest.as_deref(), it.waiting), (7, Some("2026-11-24T12:00:00Z"), 7));
    assert_eq!(it.holders, counts(&[("a", 5)]));
    // A count is not slowed, but held it is.
    let held = Brake { share_percent: 100, hold_ms: 30_000, off_in_ms: 60_000 };
    assert_eq!((it.brake, it.next_slot_in_ms), (Some(held), Some(30_000)));
    let it = limit(&overview, "esp:main/per:s").await;
    assert_eq!(it.brake, Some(Brake { share_percent: 50, ..held }));
    assert_eq!(it.next_slot_in_ms, Some(30_000));
    store.now_ns.fetch_add(31 * SECOND_NS, Ordering::Relaxed);
    assert_eq!(limit(&overview, "esp:main/per:h").await.brake, None);
    assert_eq!(limit(&overview, "esp:main/per:s").await.next_slot_in_ms, Some(2_000));
}

#[tokio::test]
async fn an_edit_is_shown_beside_what_is_configured() {
    let overview = overview(TWO_ESPS, &Store::new());
    let at = Timestamp::parse("2026-11-24T12:00:00Z").unwrap();
    overview.set_limit("esp:main", Some("7/s"), "ada", at).await.unwrap();
    overview.set_limit("esp:main", Some("8/min"), "ada", at).await.unwrap();
    for (key, spec, configured) in
        [("esp:main/per:s", "7/s", Some("100/s")), ("esp:main/per:min", "8/min", None)]
    {
        let it = limit(&overview, key).await;
        assert_eq!((it.spec.as_deref(), it.configured.as_deref()), (Some(spec), configured));
        assert_eq!(
            (it.edited_by.as_deref(), it.edited_at.as_deref()),
            (Some("ada"), Some("2026-11-24T12:00:00Z"))
        );
    }
    let untouched = limit(&overview, "esp:main/per:h").await;
    assert_eq!((untouched.configured.as_deref(), untouched.edited_by), (Some("50000/h"), None));
}

#[tokio::test]
async fn connections_are_shown_by_who_holds_them() {
    let store = Store::new();
    let wish = |name: &str, wanted| Report {
        connections: vec![ConnectionWish {
            key: "esp:main/connections".to_owned(),
            limit: 10,
            in_use: 0,
            wanted,
            ttl_ns: SECOND_NS,
        }],
        ..worker(name, Presence::default())
    };
    store.report(&wish("a", 3));
    store.report(&wish("b", 4));
    let it = limit(&overview(TWO_ESPS, &store), "esp:main/connections").await;
    assert_eq!((it.used, it.left, it.next_slot_in_ms), (Some(7), Some(3), None));
    assert_eq!(it.holders, counts(&[("a", 3), ("b", 4)]));
}

#[tokio::test]
async fn keys_without_end_are_cut_and_the_cut_is_told() {
    let store = Store::new();
    for number in 0..2_000 {
        store.has_line(&format!("domain:d{number:04}.example/per:s"), 1);
    }
    let waiting = counts(&[("domain:d0001.example/per:s", 1), ("domain:late.example/per:s", 1)]);
    store.report(&worker("a", Presence { waiting, ..Presence::default() }));
    let view = overview(TWO_ESPS, &store).rate_limits().await.unwrap();
    assert_eq!(view.left_out, 1);
    assert_eq!(view.limits.iter().filter(|it| it.key.starts_with("domain:")).count(), 2_000);
}

#[tokio::test]
async fn an_esp_shows_its_breaker_brakes_calls_and_quotas() {
    let store = Store::new();
    store.looks_like("esp:main/per:h", 20, 49_980, 0);
    let ramp = |scope: &str| RampTerms { scope: scope.to_owned(), caps: vec![50, 100], hold_above: 0.05 };
    store.report(&Report {
        ramps: vec![ramp("esp:main"), ramp("esp:gone")],
        turns: vec![BreakerTurn {
            esp: "main".to_owned(),
            turn: Turn::Opened { for_ns: 90 * SECOND_NS, trips: 2 },
        }],
        throttles: vec![throttle("esp:main/group:gmail", true, 0), throttle("esp:mainland", true, 0)],
        sends: vec![
            sends("accepted", SendVerdict::Accepted, 30),
            sends("throttled", SendVerdict::Troubled, 6),
        ],
        ..worker("a", Presence { in_flight: counts(&[("main", 4)]), ..Presence::default() })
    });
    store.report(&worker("b", Presence { in_flight: counts(&[("main", 5)]), ..Presence::default() }));
    store.now_ns.fetch_add(60 * SECOND_NS, Ordering::Relaxed);
    store.report(&worker("b", Presence { in_flight: counts(&[("main", 5)]), ..Presence::default() }));
    let overview = overview(TWO_ESPS, &store);
    let esps = overview.esps().await.unwrap();
    let names: Vec<_> = esps.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["main", "spare"]);
    let main = &esps[0];
    assert_eq!(
        main.breaker,
        BreakerStatus { state: "open", forced: None, open_for_ms: Some(30_000), trips: 2, probing: 0 }
    );
    assert_eq!(main.in_flight, 5);
    assert_eq!(main.rates, BTreeMap::from([("accepted".to_owned(), 0.5), ("throttled".to_owned(), 0.1)]));
    assert_eq!(main.recent, counts(&[("throttled", 6)]));
    let quotas: Vec<_> = main.quotas.iter().map(|it| (it.key.as_str(), it.used, it.left)).collect();
    assert_eq!(
        quotas,
        [("esp:main/per:s", 0, 0), ("esp:main/per:h", 20, 49_980), ("esp:main/group:gmail/per:s", 0, 0)]
    );
    assert_eq!(
        main.warm_up,
        [WarmUp {
            scope: "esp:main".to_owned(),
            ramp: Ramp { step: 0, cap: Some(50), sent_today: 36, held: false },
        }]
    );
    assert_eq!((esps[1].breaker.state, esps[1].brakes.len(), esps[1].in_flight), ("closed", 0, 0));

    store.now_ns.fetch_add(30 * SECOND_NS, Ordering::Relaxed);
    assert_eq!(overview.esps().await.unwrap()[0].breaker.state, "half_open");
}

#[tokio::test]
async fn a_brake_on_a_group_shows_at_its_esp() {
    let store = Store::new();
    store.report(&Report {
        throttles: vec![throttle("esp:main/group:gmail", true, 0), throttle("domain:a.example", true, 0)],
        ..Report::default()
    });
    let esps = overview(TWO_ESPS, &store).esps().await.unwrap();
    let brake = Brake { share_percent: 50, hold_ms: 0, off_in_ms: 30_000 };
    assert_eq!(esps[0].brakes, [ScopeBrake { scope: "esp:main/group:gmail".to_owned(), brake }]);
    assert!(esps[1].brakes.is_empty());
}

#[tokio::test]
async fn the_fleet_shows_who_is_here_and_whether_they_agree() {
    let store = Store::new();
    let presence = |digest: &str| Presence { config_digest: digest.to_owned(), ..Presence::default() };
    store.report(&worker("a", Presence { in_flight: counts(&[("main", 2), ("spare", 3)]), ..presence("x") }));
    store.now_ns.fetch_add(2 * SECOND_NS, Ordering::Relaxed);
    store.report(&worker("b", presence("x")));
    let mut http = worker("h", presence("y"));
    http.presence.as_mut().unwrap().works = false;
    store.report(&http);
    let overview = overview(TWO_ESPS, &store);
    let view = overview.system().await.unwrap();
    assert!(view.configs_agree, "one that works no lane may differ");
    assert_eq!(
        view.replicas[0],
        Replica {
            name: "a".to_owned(),
            version: "1.2.3".to_owned(),
            config_digest: "x".to_owned(),
            up_seconds: 2,
            seen_ago_ms: 2_000,
            works: true,
            in_flight: 5,
        }
    );
    store.report(&worker("b", presence("z")));
    assert!(!overview.system().await.unwrap().configs_agree);
}

fn waiting(campaign: &str, pending: PendingView) -> JobView {
    JobView {
        id: "j1".to_owned(),
        tenant: "acme".to_owned(),
        campaign: Some(campaign.to_owned()),
        class: "bulk".to_owned(),
        state: "pending".to_owned(),
        attempts: 0,
        esp: None,
        provider_message_id: None,
        category: None,
        detail: None,
        updated_at: None,
        attempt_list: Vec::new(),
        pending: Some(pending),
        events: Vec::new(),
        resolutions: Vec::new(),
    }
}

#[tokio::test]
async fn a_waiting_job_is_told_until_when() {
    let store = Store::new();
    store.looks_like("esp:main/per:s", 100, 0, 1);
    let overview = overview(TWO_ESPS, &store);
    let now = Timestamp::parse("2026-11-24T12:00:00Z").unwrap();
    let pending = |key: Option<&str>, due_at: Option<&str>, ahead| PendingView {
        reason: "esp_limit".to_owned(),
        limit_key: key.map(str::to_owned),
        due_at: due_at.map(str::to_owned),
        ahead,
    };
    let until = async |pending: PendingView| {
        let outlook = overview.outlook(&waiting("shop", pending), now).await.unwrap();
        outlook.until.map(|it| (it.at, it.estimated))
    };
    let due = pending(None, Some("2026-11-24T13:00:00Z"), None);
    assert_eq!(until(due).await, Some(("2026-11-24T13:00:00Z".to_owned(), false)));
    assert_eq!(until(pending(None, None, None)).await, None);
    // At 100/s less the headroom.
    let (at, estimated) = until(pending(Some("esp:main/per:s"), None, Some(1_000))).await.unwrap();
    assert!(at.starts_with("2026-11-24T12:00:11"), "{at}");
    assert!(estimated);
    // An edit counts, a limit that is no more does not, and a paused campaign waits for a person.
    overview.set_limit("esp:main", Some("10/s"), "ada", now).await.unwrap();
    let (at, _) = until(pending(Some("esp:main/per:s"), None, Some(1_000))).await.unwrap();
    assert!(at.starts_with("2026-11-24T12:01:4"), "{at}");
    let gone = until(pending(Some("esp:gone/per:s"), None, Some(1_000))).await;
    assert_eq!(gone, Some(("2026-11-24T12:00:00Z".to_owned(), true)));
    let of_campaign = || pending(Some("campaign:acme/sale"), None, Some(5));
    assert_eq!(until(of_campaign()).await.unwrap().0, "2026-11-24T12:00:00Z");
    overview.order_campaign("acme", "sale", Some(Order::Paused)).await.unwrap();
    assert_eq!(until(of_campaign()).await, None);
    // Wherever its jobs wait.
    for pending in
        [pending(Some("esp:main/per:s"), None, Some(9)), pending(None, Some("2026-11-24T13:00:00Z"), None)]
    {
        let outlook = overview.outlook(&waiting("sale", pending), now).await.unwrap();
        assert_eq!(outlook, Outlook { until: None, campaign_order: Some(Order::Paused) });
    }
    assert_eq!(until(pending(Some("esp:main/connections"), None, Some(5))).await, None);
}

#[tokio::test]
async fn nothing_goes_to_an_esp_before_its_breaker_lets_it_through() {
    let store = Store::new();
    store.looks_like("esp:main/per:s", 100, 0, 1);
    let opened = Turn::Opened { for_ns: 90 * SECOND_NS, trips: 1 };
    store.report(&Report {
        turns: vec![BreakerTurn { esp: "main".to_owned(), turn: opened }],
        ..Report::default()
    });
    let overview = overview(TWO_ESPS, &store);
    let now = Timestamp::parse("2026-11-24T12:00:00Z").unwrap();
    let until = async |key: &str| {
        let (limit_key, ahead) = (Some(key.to_owned()), Some(0));
        let pending = PendingView { reason: "esp_limit".to_owned(), limit_key, due_at: None, ahead };
        let outlook = overview.outlook(&waiting("shop", pending), now).await.unwrap();
        outlook.until.map(|it| it.at)
    };
    let order = |open| {
        store.state.lock().unwrap().edit(store.now_ns(), Edit::Breaker { esp: "main".to_owned(), open })
    };
    assert_eq!(until("esp:main/per:s").await.unwrap(), "2026-11-24T12:01:30Z");
    order(Some(true));
    assert_eq!(until("esp:main/per:s").await, None, "a person decides");
    assert!(until("group:gmail/per:s").await.is_some(), "which need not go through that one");
    order(Some(false));
    assert!(until("esp:main/per:s").await.unwrap().starts_with("2026-11-24T12:00:0"));
}

#[tokio::test]
async fn a_replica_that_was_killed_is_shown_and_counts_no_more() {
    let store = Store::new();
    let key = "group:gmail/per:s";
    let presence = |digest: &str, count| Presence {
        config_digest: digest.to_owned(),
        in_flight: counts(&[("main", count)]),
        waiting: counts(&[(key, count)]),
        slots: counts(&[(key, count)]),
        ..Presence::default()
    };
    store.report(&worker("killed", presence("old", 4)));
    store.now_ns.fetch_add(3 * SECOND_NS, Ordering::Relaxed);
    store.report(&worker("new", presence("new", 2)));
    let overview = overview(TWO_ESPS, &store);
    let fleet = overview.system().await.unwrap();
    assert_eq!(fleet.replicas.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["killed", "new"]);
    assert!(fleet.configs_agree);
    assert_eq!(overview.esps().await.unwrap()[0].in_flight, 2);
    let it = limit(&overview, key).await;
    assert_eq!((it.holders, it.waiting), (counts(&[("new", 2)]), 2));
}
