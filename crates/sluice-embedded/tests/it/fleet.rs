//! The fleet's document: what is kept, what is written, and who may change it.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use sluice_embedded::Embedded;
use sluice_engine::{Fleet, FleetError};
use sluice_policy::{
    BreakerTurn, ConnectionWish, Edit, LimitEdit, Opening, Order, Presence, ReleaseWish, Report, SendVerdict,
    Sends, Throttle, Turn,
};

use crate::support::*;

const SECOND_NS: i64 = 1_000_000_000;
const TICK: Duration = Duration::from_millis(500);
const GARBAGE: [&str; 5] = ["", "not json", "null", "[1]", r#"{"replicas":{"a":7}}"#];

fn here() -> Report {
    let presence = Presence { version: "1".to_owned(), works: true, ..Presence::default() };
    Report { replica: "w".to_owned(), presence: Some(presence), ..Report::default() }
}

fn slower(key: &str) -> Edit {
    let edit =
        LimitEdit { spec: "5/s".to_owned(), by: "ada".to_owned(), at: "2026-11-24T12:00:00Z".to_owned() };
    Edit::Limit { key: key.to_owned(), edit: Some(edit) }
}

fn accepted_one() -> Report {
    let send = Sends {
        esp: "main".to_owned(),
        group: "gmail".to_owned(),
        word: "accepted".to_owned(),
        verdict: SendVerdict::Accepted,
        count: 1,
    };
    Report { sends: vec![send], ..here() }
}

fn throttle(rate: f64) -> Throttle {
    Throttle { scope: "esp:main".to_owned(), cut: true, hold_ns: 0, rate, recover_ns: 600 * SECOND_NS }
}

fn row(place: &Place) -> Option<String> {
    let file = Connection::open(place.path()).unwrap();
    file.query_row("select state from fleet", [], |row| row.get(0)).optional().unwrap()
}

fn set_row(place: &Place, text: &str) {
    let file = Connection::open(place.path()).unwrap();
    file.execute("insert or replace into fleet (id, state) values (1, ?1)", [text]).unwrap();
}

/// What a worker hands in when nothing happens: it is here, holds a connection, and has jobs in line.
fn idle(in_flight: u64) -> Report {
    let connection = ConnectionWish {
        key: "esp:main/connections".to_owned(),
        limit: 5,
        in_use: 1,
        wanted: 1,
        ttl_ns: 90 * SECOND_NS,
    };
    let release = ReleaseWish {
        key: "group:gmail/per:h".to_owned(),
        count: 4,
        ahead_ns: SECOND_NS,
        opening: Opening::Counted { left: 0 },
        beside: None,
    };
    let mut report = Report { connections: vec![connection], releases: vec![release], ..here() };
    report.presence.as_mut().unwrap().in_flight.insert("main".to_owned(), in_flight);
    report
}

#[tokio::test]
async fn an_idle_worker_writes_seldom_and_is_seen_all_the_same() {
    let place = Place::new();
    let store = place.open();
    store.exchange(&idle(0)).await.unwrap();
    let mut written = vec![row(&place).unwrap()];
    // Two minutes: the presence, the pace and the hold would all have run out.
    for n in 0..240 {
        place.clock.advance(TICK);
        let view = store.exchange(&idle(n)).await.unwrap();
        assert_eq!((view.replicas[0].seen_ago_ns, view.replicas[0].presence.in_flight["main"]), (0, n));
        let held = view.connections["esp:main/connections"].held["w"];
        assert_eq!((held.count, held.ttl_ns), (1, 90 * SECOND_NS));
        let text = row(&place).unwrap();
        if written.last() != Some(&text) {
            written.push(text);
        }
    }
    assert_eq!(written.len(), 13, "once in ten seconds");
    // People in this process see what is not written yet.
    let look = store.look().await.unwrap();
    assert_eq!((look.replicas[0].seen_ago_ns, look.replicas[0].presence.in_flight["main"]), (0, 239));
}

#[tokio::test]
async fn an_exchange_without_news_does_not_touch_the_disk() {
    let place = Place::new();
    let store = place.open();
    store.exchange(&idle(0)).await.unwrap();
    let other = Connection::open(place.path()).unwrap();
    let version = || -> i64 { other.query_row("pragma data_version", [], |row| row.get(0)).unwrap() };
    let before = version();
    let nobody = Report { presence: None, ..here() };
    for _ in 0..10 {
        store.exchange(&idle(0)).await.unwrap();
        store.exchange(&nobody).await.unwrap();
        store.look().await.unwrap();
    }
    assert_eq!(version(), before);
    store.exchange(&accepted_one()).await.unwrap();
    assert_ne!(version(), before);
}

#[tokio::test]
async fn news_are_durable_at_once() {
    let place = Place::new();
    let store = place.open();
    store.exchange(&here()).await.unwrap();
    let opened = Turn::Opened { for_ns: 60 * SECOND_NS, trips: 1 };
    let report = Report {
        turns: vec![BreakerTurn { esp: "main".to_owned(), turn: opened }],
        throttles: vec![throttle(10.0)],
        ..accepted_one()
    };
    let view = store.exchange(&report).await.unwrap();
    store.edit(slower("k")).await.unwrap();
    drop(store);
    let store = place.open();
    let again = store.look().await.unwrap();
    assert_eq!(again.breakers["main"].open_for_ns, Some(60 * SECOND_NS));
    assert_eq!((&again.brakes, &again.tally), (&view.brakes, &view.tally));
    assert_eq!(again.limit_edits["k"].spec, "5/s");
}

#[tokio::test]
async fn what_a_client_orders_is_seen_by_the_next_exchange() {
    let place = Place::new();
    let store = place.open();
    store.exchange(&accepted_one()).await.unwrap();
    let client = Embedded::open_client(&place.path()).unwrap();
    client.edit(slower("esp:main/per:s")).await.unwrap();
    client.edit(Edit::Breaker { esp: "main".to_owned(), open: Some(true) }).await.unwrap();
    let paused = Edit::Campaign {
        tenant: "acme".to_owned(),
        campaign: "spring".to_owned(),
        order: Some(Order::Paused),
    };
    client.edit(paused).await.unwrap();
    assert_eq!(store.look().await.unwrap().limit_edits.len(), 1);
    place.clock.advance(TICK);
    let view = store.exchange(&accepted_one()).await.unwrap();
    assert_eq!(view.limit_edits["esp:main/per:s"].by, "ada");
    assert_eq!(view.breakers["main"].order, Some(true));
    assert_eq!(view.campaigns.len(), 1);
    // The worker's own words are not lost over it, and reach the client.
    assert_eq!(view.tally["main"].last_ten_minutes["accepted"], 2);
    client.edit(Edit::Limit { key: "esp:main/per:s".to_owned(), edit: None }).await.unwrap();
    assert_eq!(store.exchange(&here()).await.unwrap().limit_edits.len(), 0);
}

#[tokio::test]
async fn a_client_looks_and_asks_but_is_no_replica() {
    let place = Place::new();
    let clock = Arc::new(sluice_engine::SystemClock::new());
    let store = Embedded::open(sluice_embedded::EmbeddedSettings { clock, ..place.settings() }).unwrap();
    let client = Embedded::open_client(&place.path()).unwrap();
    let view = client.look().await.unwrap();
    assert_eq!(view, sluice_policy::View { now_ns: view.now_ns, ..Default::default() });
    assert_eq!(row(&place), None);
    store.exchange(&accepted_one()).await.unwrap();
    let before = row(&place);
    let nobody = Report { replica: "cli".to_owned(), ..Report::default() };
    for view in [client.look().await.unwrap(), client.exchange(&nobody).await.unwrap()] {
        assert_eq!(view.replicas.len(), 1);
        assert!(view.replicas[0].seen_ago_ns < 20 * SECOND_NS);
        assert_eq!(view.tally["main"].last_ten_minutes["accepted"], 1);
    }
    assert_eq!(row(&place), before);
    let error = client.exchange(&here()).await.unwrap_err();
    assert!(error.0.to_string().contains("only the worker"), "{error:?}");
}

#[tokio::test]
async fn a_document_that_cannot_be_read_is_refused_and_kept() {
    let place = Place::new();
    let store = place.open();
    store.edit(slower("k")).await.unwrap();
    let good = row(&place).unwrap();
    let client = Embedded::open_client(&place.path()).unwrap();
    let is_named = |error: FleetError| {
        let text = error.0.to_string();
        assert!(text.contains("table fleet"), "{text}");
        assert!(error.0.source().is_some());
    };
    for garbage in GARBAGE {
        set_row(&place, garbage);
        for handle in [&store, &client] {
            is_named(handle.look().await.unwrap_err());
            is_named(handle.edit(slower("l")).await.unwrap_err());
            is_named(handle.exchange(&Report::default()).await.unwrap_err());
        }
        is_named(store.exchange(&accepted_one()).await.unwrap_err());
        assert_eq!(row(&place).as_deref(), Some(garbage));
    }
    // Once somebody has mended it, all goes on.
    set_row(&place, &good);
    let view = store.exchange(&here()).await.unwrap();
    assert_eq!((view.limit_edits.len(), view.tally.len()), (1, 0));
}

#[tokio::test]
async fn nothing_is_written_that_could_not_be_read() {
    let place = Place::new();
    let store = place.open();
    store.exchange(&here()).await.unwrap();
    let before = row(&place);
    // JSON knows no infinity.
    if store.exchange(&Report { throttles: vec![throttle(f64::INFINITY)], ..here() }).await.is_err() {
        assert_eq!(row(&place), before);
    }
    let view = store.exchange(&accepted_one()).await.unwrap();
    assert_eq!(view.tally["main"].last_ten_minutes["accepted"], 1);
}

#[tokio::test]
async fn what_another_version_keeps_there_is_handed_on() {
    let place = Place::new();
    let store = place.open();
    set_row(&place, r#"{"novelty":{"a":[1,2.5,"x"]},"limit_edits":{}}"#);
    store.edit(slower("k")).await.unwrap();
    let document: serde_json::Value = serde_json::from_str(&row(&place).unwrap()).unwrap();
    assert_eq!(document["novelty"], serde_json::json!({"a": [1, 2.5, "x"]}));
    assert_eq!(document["limit_edits"]["k"]["spec"], "5/s");
}

#[tokio::test]
async fn a_report_whose_transaction_failed_is_taken_once_when_it_is_handed_in_again() {
    let place = Place::new();
    let store = place.open();
    store.exchange(&accepted_one()).await.unwrap();
    let other = Connection::open(place.path()).unwrap();
    let trigger = "create trigger picky before update on fleet begin select raise(abort, 'not now'); end";
    other.execute_batch(trigger).unwrap();
    assert!(store.exchange(&accepted_one()).await.is_err());
    assert_eq!(store.look().await.unwrap().tally["main"].last_ten_minutes["accepted"], 1);
    other.execute_batch("drop trigger picky").unwrap();
    let view = store.exchange(&accepted_one()).await.unwrap();
    assert_eq!(view.tally["main"].last_ten_minutes["accepted"], 2);
}

#[tokio::test]
async fn the_clock_of_what_is_written_is_kept_for_the_next_worker() {
    let place = Place::new();
    let store = place.open();
    store.exchange(&here()).await.unwrap();
    let file = Connection::open(place.path()).unwrap();
    let kept: i64 =
        file.query_row("select value from meta where key = 'slot_clock'", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, place.clock.micros());
}

/// The worker learns from the view what time it is, and a day too late every job with an expiry has expired.
#[tokio::test]
async fn a_wall_clock_that_was_a_day_ahead_for_a_moment_leaves_the_time_of_the_store_right() {
    const DAY_MICROS: i64 = 86_400_000_000;
    let place = Place::new();
    let store = place.open();
    place.clock.step(DAY_MICROS);
    store.exchange(&accepted_one()).await.unwrap();
    let wall_ns = || place.clock.micros() * 1000;
    place.clock.step(-DAY_MICROS);
    place.clock.advance(TICK);
    assert_eq!(store.exchange(&here()).await.unwrap().now_ns, wall_ns());
    assert_eq!(store.look().await.unwrap().now_ns, wall_ns());
    // What the fleet keeps goes on at the pace of the slots, which never turn back.
    assert_eq!(store.exchange(&here()).await.unwrap().tally["main"].last_ten_minutes["accepted"], 1);
    drop(store);
    let again = place.open();
    assert_eq!(again.exchange(&here()).await.unwrap().now_ns, wall_ns());
}
