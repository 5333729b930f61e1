//! Side lanes: which domain of the group `other` has which.
//!
//! A domain that an operator has given a limit of its own gets the next free number, and keeps it: also when the limit is taken
//! back, since its jobs may still be there. It is given to another domain only when there is no free one, and then by an order
//! alone.

use std::collections::BTreeMap;

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

fn domain_of(key: &str) -> Option<std::sync::Arc<str>> {
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
