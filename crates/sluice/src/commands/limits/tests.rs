use std::collections::BTreeMap;

use sluice_engine::{Brake, Ramp};

use super::*;

fn limit(key: &str, spec: &str) -> RateLimit {
    RateLimit {
        key: key.to_owned(),
        scope: key.rsplit_once('/').unwrap().0.to_owned(),
        spec: Some(spec.to_owned()),
        configured: Some(spec.to_owned()),
        edited_by: None,
        edited_at: None,
        kind: LimitWord::Rate,
        used: Some(3),
        left: Some(7),
        next_slot_in_ms: Some(0),
        resets_in_ms: Some(1500),
        parked: 0,
        oldest: None,
        waiting: 2,
        holders: BTreeMap::new(),
        brake: None,
        ramp: None,
    }
}

fn check(it: &RateLimit, cells: [&str; 9]) {
    assert_eq!(row(it), cells.map(str::to_owned));
}

#[test]
fn a_limit_says_how_far_it_is_used_and_what_waits() {
    let plain = limit("esp:main/per:s", "10/s");
    check(&plain, ["esp:main/per:s", "10/s", "3", "7", "now", "1.5s", "2", "-", ""]);
    let busy = RateLimit { left: Some(0), next_slot_in_ms: Some(90_500), parked: 40, ..plain };
    check(&busy, ["esp:main/per:s", "10/s", "3", "0", "91s", "1.5s", "2 + 40 parked", "-", ""]);
}

#[test]
fn an_edit_tells_what_it_stands_for() {
    let edited = |configured: Option<&str>| RateLimit {
        edited_by: Some("ops".to_owned()),
        configured: configured.map(str::to_owned),
        ..limit("esp:main/per:s", "5/s")
    };
    assert_eq!(remark(&edited(Some("10/s"))), "configured 10/s");
    assert_eq!(remark(&edited(None)), "not configured");
    let gone = RateLimit { kind: LimitWord::Gone, ..edited(None) };
    assert_eq!(remark(&gone), "holds no more");
}

#[test]
fn what_slows_a_limit_is_told() {
    let brake = |hold_ms| Brake { share_percent: 50, hold_ms, off_in_ms: 300_000 };
    assert_eq!(brake_words(&brake(0)), "brake: 50% of the rate, off in 5min");
    assert_eq!(brake_words(&brake(30_000)), "brake: nothing for 30s, off in 5min");
    let ramp = |cap, held| Ramp { step: 2, cap, sent_today: 9, held };
    assert_eq!(ramp_words(&ramp(Some(500), false)), "sending day 3");
    assert_eq!(ramp_words(&ramp(Some(500), true)), "sending day 3, held by deferrals");
    assert_eq!(ramp_words(&ramp(None, false)), "done");
    let both = RateLimit {
        brake: Some(brake(0)),
        ramp: Some(ramp(Some(500), false)),
        ..limit("esp:a/warm-up", "1/s")
    };
    assert_eq!(remark(&both), "brake: 50% of the rate, off in 5min; sending day 3");
}
