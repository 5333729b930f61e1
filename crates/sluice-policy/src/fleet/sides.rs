//! Side lanes: which domain of the group `other` has which.
//!
//! A domain that an operator has given a limit of its own gets the next free number, and keeps it: also when the limit is taken
//! back, since its jobs may still be there. It is given to another domain only when there is no free one, and then by an order
//! alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_types::{Limit, LimitScope, Side};

use super::LimitEdit;

/// Gives a number to each domain that has a limit of its own and no number, as long as there are free ones. With `may_replace`
/// also those of domains whose limit was taken back.
pub(super) fn assign(
    sides: &mut BTreeMap<String, u8>,
    edits: &BTreeMap<String, LimitEdit>,
    may_replace: bool,
) {
    if edits.is_empty() || (sides.len() >= usize::from(Side::MAX) && !may_replace) {
        return;
    }
    for domain in edits.keys().filter_map(|key| domain_of(key)) {
        if sides.contains_key(&*domain) {
            continue;
        }
        let free = Side::all().find(|side| !sides.values().any(|taken| *taken == side.number()));
        let free =
            free.map(Side::number).or_else(|| if may_replace { take_back(sides, edits) } else { None });
        let Some(number) = free else { return };
        sides.insert(domain.to_string(), number);
    }
}

/// Takes the lowest number whose domain has no limit of its own any more.
fn take_back(sides: &mut BTreeMap<String, u8>, edits: &BTreeMap<String, LimitEdit>) -> Option<u8> {
    let has_limit = |domain: &str| edits.keys().filter_map(|key| domain_of(key)).any(|it| *it == *domain);
    let idle = sides.iter().filter(|(domain, _)| !has_limit(domain));
    let (domain, number) = idle.map(|(domain, number)| (domain.clone(), *number)).min_by_key(|it| it.1)?;
    sides.remove(&domain);
    Some(number)
}

fn domain_of(key: &str) -> Option<Arc<str>> {
    // Most keys are none: looked at first, since this is asked at every exchange.
    if !key.starts_with("domain:") {
        return None;
    }
    match Limit::scope_of_key(key)? {
        LimitScope::Domain(domain) => Some(domain),
        _ => None,
    }
}

/// What of it this version knows.
pub(super) fn view(sides: &BTreeMap<String, u8>) -> BTreeMap<String, Side> {
    sides.iter().filter_map(|(domain, number)| Some((domain.clone(), Side::new(*number)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Edit, FleetState, Report};
    use super::*;

    const START: i64 = 1_700_000_000_000_000_000;

    #[test]
    fn a_domain_with_a_limit_of_its_own_has_a_side_lane_as_long_as_no_other_needs_it() {
        let mut state = FleetState::default();
        let limit = |key: &str, is_on: bool| {
            let edit = LimitEdit { spec: "1/s".to_owned(), by: "ada".to_owned(), at: "now".to_owned() };
            Edit::Limit { key: key.to_owned(), edit: is_on.then_some(edit) }
        };
        let side =
            |state: &FleetState, domain: &str| state.look(START).sides.get(domain).map(|it| it.number());
        for key in ["esp:main/per:s", "tenant:acme/per:s", "domain:b.example/per:s", "domain:a.example/per:s"]
        {
            state.edit(START, limit(key, true));
        }
        assert_eq!(state.look(START).sides.len(), 2);
        assert_eq!((side(&state, "b.example"), side(&state, "a.example")), (Some(1), Some(2)));
        // A second limit of a domain, and one that is taken back, move nobody.
        state.edit(START, limit("domain:b.example/per:h", true));
        state.edit(START, limit("domain:b.example/per:s", false));
        state.edit(START, limit("domain:a.example/per:s", false));
        assert_eq!((side(&state, "b.example"), side(&state, "a.example")), (Some(1), Some(2)));
        for number in 3..=Side::MAX {
            state.edit(START, limit(&format!("domain:d{number}.example/per:s"), true));
        }
        assert_eq!(side(&state, "a.example"), Some(2));
        // One more than there are: that of the domain without a limit goes to it, and the next one has none.
        state.edit(START, limit("domain:late.example/per:s", true));
        assert_eq!((side(&state, "late.example"), side(&state, "a.example")), (Some(2), None));
        state.edit(START, limit("domain:later.example/per:s", true));
        assert_eq!((side(&state, "later.example"), state.look(START).sides.len()), (None, 16));
        // An exchange takes nobody's away.
        state.edit(START, limit("domain:b.example/per:h", false));
        assert_eq!(state.exchange(START, &Report::default()).sides, state.look(START).sides);
        assert_eq!(side(&state, "b.example"), Some(1));
    }

    #[test]
    fn a_limit_of_a_domain_that_an_older_replica_took_gets_a_side_lane_at_the_next_exchange() {
        let text = r#"{"limit_edits":{"domain:a.example/per:s":{"spec":"1/s","by":"ada","at":"now"}},"sides":{"x.example":99}}"#;
        let mut state: FleetState = serde_json::from_str(text).unwrap();
        assert!(state.look(START).sides.is_empty(), "no number of this version");
        let view = state.exchange(START, &Report::default());
        assert_eq!(view.sides.get("a.example"), Side::new(1).as_ref());
    }
}
