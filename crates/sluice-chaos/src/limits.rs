//! The limits of a run, and how far they were exceeded.

use std::collections::BTreeMap;

use sluice_testkit::peers::busiest_window;

pub(crate) const GRID_PER_SECOND: usize = 2000;
pub(crate) const GRID_BURST: usize = 200;
pub(crate) const SLOW_PER_SECOND: usize = 50;
pub(crate) const GMAIL_PER_SECOND: usize = 100;

const SECOND_US: i64 = 1_000_000;

/// One call: the ESP, the recipient's domain, and when its replica began it, in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    pub(crate) esp: String,
    pub(crate) domain: String,
    pub(crate) at_us: i64,
}

/// How many calls the busiest second of each limit had beyond what it allows. Windows are half open and begin anywhere.
pub(crate) fn overshoot(calls: &[Begun]) -> BTreeMap<String, usize> {
    let busiest = |filter: &dyn Fn(&Begun) -> bool| {
        busiest_window(calls.iter().filter(|it| filter(it)).map(|it| it.at_us), SECOND_US)
    };
    let limits: [(&str, usize, usize); 3] = [
        ("esp grid", busiest(&|it| it.esp == "grid"), GRID_PER_SECOND + GRID_BURST),
        ("esp slow", busiest(&|it| it.esp == "slow"), SLOW_PER_SECOND),
        ("group gmail", busiest(&|it| it.domain == "gmail.com"), GMAIL_PER_SECOND),
    ];
    limits
        .into_iter()
        .filter(|(_, busiest, allowed)| busiest > allowed)
        .map(|(name, busiest, allowed)| (name.to_owned(), busiest - allowed))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_too_many_in_any_second_is_seen() {
        let call = |at_us: i64| Begun { esp: "slow".to_owned(), domain: "a.example".to_owned(), at_us };
        let mut calls: Vec<Begun> = (0..200).map(|i| call(i * 20_000)).collect();
        assert!(overshoot(&calls).is_empty());
        calls.push(call(1_500_001));
        assert_eq!(overshoot(&calls), BTreeMap::from([("esp slow".to_owned(), 1)]));
    }
}
