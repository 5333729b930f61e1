use std::collections::BTreeMap;

use sluice_engine::{Brake, BreakerStatus, Quota, Ramp, ScopeBrake, WarmUp};

use super::*;

fn esp(name: &str) -> EspView {
    EspView {
        name: name.to_owned(),
        breaker: BreakerStatus { state: "closed", forced: None, open_for_ms: None, trips: 0, probing: 0 },
        brakes: Vec::new(),
        in_flight: 0,
        rates: BTreeMap::new(),
        recent: BTreeMap::new(),
        quotas: Vec::new(),
        warm_up: Vec::new(),
    }
}

#[test]
fn an_idle_esp_is_one_line() {
    assert_eq!(
        text(&[esp("main")]),
        "ESP   BREAKER  FORCED  OPEN FOR  IN FLIGHT  CALLS/S  ERRORS IN 10MIN\n\
         main  closed   -       -                 0      0.0  -\n"
    );
}

#[test]
fn all_that_is_known_is_told() {
    let counts =
        |pairs: &[(&str, u64)]| pairs.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
    let main = EspView {
        breaker: BreakerStatus { state: "open", forced: None, open_for_ms: Some(4100), trips: 2, probing: 0 },
        brakes: vec![ScopeBrake {
            scope: "esp:main/group:gmail".to_owned(),
            brake: Brake { share_percent: 50, hold_ms: 0, off_in_ms: 60_000 },
        }],
        in_flight: 12,
        rates: BTreeMap::from([("accepted".to_owned(), 9.5), ("timeout".to_owned(), 0.5)]),
        recent: counts(&[("connect", 3), ("timeout", 30)]),
        quotas: vec![Quota {
            key: "esp:main/per:h".to_owned(),
            spec: "500/h".to_owned(),
            used: 120,
            left: 380,
            resets_in_ms: None,
        }],
        warm_up: vec![WarmUp {
            scope: "esp:main".to_owned(),
            ramp: Ramp { step: 0, cap: Some(200), sent_today: 120, held: false },
        }],
        ..esp("main")
    };
    let spare = EspView {
        breaker: BreakerStatus {
            state: "closed",
            forced: Some("closed"),
            open_for_ms: None,
            trips: 0,
            probing: 0,
        },
        ..esp("spare")
    };
    let said = text(&[main, spare]);
    for line in [
        "main   open     -       4.1s             12     10.0  30 timeout, 3 connect",
        "spare  closed   closed  -                 0      0.0  -",
        "esp:main/per:h  500/h   120   380  -",
        "esp:main/group:gmail  brake: 50% of the rate, off in 60s",
        "esp:main              warm-up: sending day 1, 120 of 200 sent today",
    ] {
        assert!(said.lines().any(|it| it == line), "{line}\n{said}");
    }
}
