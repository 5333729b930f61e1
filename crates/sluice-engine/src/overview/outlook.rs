//! What lies ahead of a job. When one that waits in line is likely to go on: its place in the line divided by the rate.

use std::time::Duration;

use serde::Serialize;
use sluice_policy::{BrakeView, CampaignOrder, FleetBreaker, Order, Terms, permille};
use sluice_types::{Class, Limit, LimitScope, Timestamp};

use super::limits::look;
use super::{Now, OverviewError};
use crate::ports::{JobView, LimitLook, PendingView, SlotSource};
use crate::relay::is_paused;

/// When a parked job goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Until {
    /// RFC 3339.
    pub at: String,
    /// Whether it is worked out from the line and the limit, and may change with either; else it is the due time.
    pub estimated: bool,
}

/// What lies ahead of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outlook {
    /// When it goes on; `None` when it does not wait, or nobody can tell: an operator or an event decides.
    pub until: Option<Until>,
    /// Whether an operator has paused or cancelled its campaign.
    pub campaign_order: Option<Order>,
}

pub(super) async fn outlook(
    standing: &Now,
    job: &JobView,
    now: Timestamp,
    slot_source: &dyn SlotSource,
) -> Result<Outlook, OverviewError> {
    let campaigns = &standing.view.campaigns;
    let is_its = |it: &&CampaignOrder| it.tenant == job.tenant && job.campaign.as_ref() == Some(&it.campaign);
    let campaign_order = campaigns.iter().find(is_its).map(|it| it.order);
    let until = match (&job.pending, campaign_order) {
        // Whatever it waits for, it goes nowhere.
        (None, _) | (Some(_), Some(Order::Paused)) => None,
        (Some(PendingView { due_at: Some(at), .. }), _) => Some(Until { at: at.clone(), estimated: false }),
        (Some(PendingView { limit_key: Some(key), ahead: Some(ahead), .. }), _) => {
            let wait = wait(standing, key, *ahead, &job.class, slot_source).await?;
            wait.map(|wait| Until { at: (now + wait).to_string(), estimated: true })
        }
        (Some(_), _) => None,
    };
    Ok(Outlook { until, campaign_order })
}

/// How long the job of a class with so many before it in the line of `key` has to wait; `None` when that cannot be told.
async fn wait(
    now: &Now,
    key: &str,
    ahead: u64,
    class: &str,
    slot_source: &dyn SlotSource,
) -> Result<Option<Duration>, OverviewError> {
    let Some(limit) = now.plan.limit_of_key(key) else {
        // The line of a limit that is no more, or of a campaign that goes on, is on its way.
        return Ok((!is_paused(&now.view.campaigns, key)).then_some(Duration::ZERO));
    };
    let looks = look(std::slice::from_ref(&limit), slot_source).await?;
    let brake = now.view.brakes.get(&limit.scope.to_string());
    let breaker = match &limit.scope {
        LimitScope::Esp(esp) | LimitScope::EspGroup(esp, _) => now.view.breakers.get(esp.as_str()),
        LimitScope::Group(_) | LimitScope::Tenant(_) | LimitScope::Domain(_) => None,
    };
    let Some(opens_in) = breaker.map_or(Some(Duration::ZERO), lets_through_in) else { return Ok(None) };
    Ok(looks.into_iter().next().flatten().and_then(|look| {
        // Transactional jobs have the reserved share as well.
        let is_urgent = class == Class::Transactional.as_str();
        let reserved_permille = if is_urgent { 0 } else { now.plan.bounds().reserved_permille };
        let slot_in = in_line(&limit, &look, brake, Place { ahead, reserved_permille })?;
        Some(slot_in.max(opens_in))
    }))
}

/// When a breaker lets calls through; `None` when an operator holds it open.
fn lets_through_in(breaker: &FleetBreaker) -> Option<Duration> {
    match breaker.order {
        Some(true) => None,
        Some(false) => Some(Duration::ZERO),
        None => Some(Duration::from_nanos(u64::try_from(breaker.open_for_ns.unwrap_or(0)).unwrap_or(0))),
    }
}

/// A place in a line.
#[derive(Clone, Copy)]
struct Place {
    /// How many go before it.
    ahead: u64,
    /// The share of a counted limit that it may not use.
    reserved_permille: u32,
}

fn in_line(limit: &Limit, look: &LimitLook, brake: Option<&BrakeView>, place: Place) -> Option<Duration> {
    let Place { ahead, reserved_permille } = place;
    let held = Duration::from_nanos(brake.map_or(0, |it| u64::try_from(it.hold_ns).unwrap_or(0)));
    let ahead_u32 = u32::try_from(ahead).unwrap_or(u32::MAX);
    match Terms::of(&limit.spec)? {
        Terms::Spaced(terms) | Terms::Gcra(terms) => {
            let rate_permille = brake.map_or(1000, |it| permille(it.factor));
            let spacing_ns = u64::try_from(terms.at_rate(rate_permille).spacing_ns).unwrap_or(0);
            Some(look.next_in.max(held) + Duration::from_nanos(spacing_ns).saturating_mul(ahead_u32))
        }
        Terms::Counted(terms) => {
            if let Some(lent_in) = terms.lent_in(look.left, look.resets_in, reserved_permille, ahead) {
                return Some(lent_in.max(held));
            }
            let windows = (ahead - look.left) / u64::from(limit.spec.count.get());
            let later = limit.spec.window()?.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX));
            Some(look.resets_in.unwrap_or(look.next_in).max(held).saturating_add(later))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_of(limit: &str, look: LimitLook, brake: Option<BrakeView>, ahead: u64) -> u64 {
        wait_at(limit, look, brake, Place { ahead, reserved_permille: 0 })
    }

    fn wait_at(limit: &str, look: LimitLook, brake: Option<BrakeView>, place: Place) -> u64 {
        let limit = Limit { scope: "esp:main".parse().unwrap(), spec: limit.parse().unwrap() };
        in_line(&limit, &look, brake.as_ref(), place).unwrap().as_millis().try_into().unwrap()
    }

    #[test]
    fn the_place_in_the_line_over_the_rate() {
        let seconds = Duration::from_secs;
        let look = |left, next, resets| LimitLook {
            used: 0,
            left,
            next_in: Duration::from_millis(next),
            resets_in: Some(seconds(resets)),
        };
        let brake = |factor, hold_s: i64| {
            Some(BrakeView { factor, rate: 1.0, hold_ns: hold_s * 1_000_000_000, off_in_ns: 1 })
        };
        for (limit, look, brake, ahead, least_ms, most_ms) in [
            ("10/s", look(0, 100, 1), None, 0, 100, 100),
            ("10/s", look(0, 100, 1), None, 100, 10_000, 10_400),
            ("10/s burst 50", look(0, 100, 1), None, 100, 10_000, 10_400),
            ("6/h", look(2, 0, 1_800), None, 1, 0, 0),
            ("6/h", look(2, 0, 1_800), None, 2, 1_800_000, 1_800_000),
            (
                "6/h",
                look(0, 1_800_000, 1_800),
                None,
                13,
                1_800_000 + 2 * 3_600_000,
                1_800_000 + 2 * 3_600_000,
            ),
            ("6/day calendar", look(0, 0, 60), None, 6, 60_000 + 86_400_000, 60_000 + 86_400_000),
            // A brake: half the rate, or nothing for a while.
            ("10/s", look(0, 100, 1), brake(0.5, 0), 100, 20_000, 20_700),
            ("10/s", look(0, 100, 1), brake(1.0, 30), 0, 30_000, 30_000),
            ("6/h", look(6, 0, 1), brake(1.0, 30), 0, 30_000, 30_000),
        ] {
            let wait = wait_of(limit, look, brake, ahead);
            assert!((least_ms..=most_ms).contains(&wait), "{limit} {look:?} {ahead}: {wait}");
        }
    }

    /// What bulk jobs may not use any more they get as the reserve melts, and not now.
    #[test]
    fn a_bulk_job_waits_for_what_is_reserved() {
        const MIN_MS: u64 = 60_000;
        let look = |left, resets_min: u64| LimitLook {
            used: 1000 - left,
            left,
            next_in: Duration::ZERO,
            resets_in: Some(Duration::from_secs(resets_min * 60)),
        };
        for (reserved_permille, look, ahead, least_ms, most_ms) in [
            // A day's window is 61 parts of 24 min. 200 of 1,000 are kept, and melt in that time.
            (200, look(200, 61 * 24), 1, 7 * MIN_MS, 8 * MIN_MS),
            (200, look(200, 61 * 24), 100, 730 * MIN_MS, 740 * MIN_MS),
            (200, look(200, 61 * 24), 199, 1455 * MIN_MS, 1464 * MIN_MS),
            (200, look(200, 61 * 24), 200, 1464 * MIN_MS, 1464 * MIN_MS),
            (200, look(300, 61 * 24), 50, 0, 0),
            (200, look(200, 720), 50, 0, 0),
            // Transactional jobs have them all.
            (0, look(200, 61 * 24), 199, 0, 0),
        ] {
            let wait = wait_at("1000/day", look, None, Place { ahead, reserved_permille });
            assert!((least_ms..=most_ms).contains(&wait), "{reserved_permille} {look:?} {ahead}: {wait}");
        }
    }
}
