//! Step 2: which ESP. Pool tiers, breakers, quotas, weights, and what has faulted on this job before.

use std::time::Duration;

use sluice_config::Sticky;
use sluice_policy::{Availability, Choice, Luck, choose};
use sluice_types::{EspId, Limit, LimitScope, Tenant, Tick};

use crate::case::Case;
use crate::plan::Plan;
use crate::worker::{Standing, Worker};

/// Where a job goes.
#[derive(Debug)]
pub(crate) enum Route {
    /// To this ESP.
    To(EspId),
    /// Nowhere: the breaker of every ESP of the pool refuses, at least until then.
    Broken {
        /// When the first of them lets a probe through.
        until: Tick,
    },
    /// Nowhere: no ESP of the pool takes more of these for longer than jobs are held.
    Shut {
        /// The limit that opens first.
        limit: Limit,
    },
}

/// Chooses the ESP for a job. One that has no slots left in its day is passed over while another has, and so is one with
/// a long line while another has none.
pub(crate) fn route(worker: &Worker, case: &Case<'_>) -> Route {
    let now = worker.clock.tick();
    let plan = worker.plan();
    let Some(pool) = plan.pool(&case.job.pool) else { return Route::Broken { until: now } };
    let hold_max = plan.bounds().hold_max;
    let mut opens_first: Option<(Tick, Limit)> = None;
    let mut availability = |esp: &EspId| match worker.standing(esp, &case.group, case.job.class) {
        Standing::Up { weight } => Availability::Up { weight },
        Standing::Broken { until } => Availability::Down { until },
        Standing::Shut { until, limit } => {
            if opens_first.as_ref().is_none_or(|(known, _)| until < *known) {
                opens_first = Some((until, limit));
            }
            Availability::Down { until }
        }
    };
    let mut rng = fastrand::Rng::new();
    let choice = match pool.sticky {
        Sticky::Tenant => {
            let luck = Luck::Sticky(number_of(&case.job.tenant));
            choose(&pool.members, availability, &case.passport.faulted, luck)
        }
        // Where there is no other, the length of the line says nothing.
        Sticky::None if pool.esps().nth(1).is_none() => {
            choose(&pool.members, availability, &case.passport.faulted, Luck::Random(&mut rng))
        }
        Sticky::None => {
            let short = |esp: &EspId| match availability(esp) {
                up @ Availability::Up { .. } => {
                    let wait = line_at(worker, case, &plan, esp);
                    if wait > hold_max { Availability::Down { until: now + wait } } else { up }
                }
                down @ Availability::Down { .. } => down,
            };
            match choose(&pool.members, short, &case.passport.faulted, Luck::Random(&mut rng)) {
                Choice::Wait { .. } => {
                    choose(&pool.members, availability, &case.passport.faulted, Luck::Random(&mut rng))
                }
                chosen @ Choice::Esp { .. } => chosen,
            }
        }
    };
    match choice {
        Choice::Esp { esp, failover } => {
            if failover {
                worker.metrics.failover(&esp);
                tracing::debug!(job = %case.job.id, %esp, "failover");
            }
            Route::To(esp)
        }
        Choice::Wait { until } => nowhere(until.unwrap_or(now), opens_first),
    }
}

/// What a job waits for that no ESP of its pool takes: whichever comes first, a breaker that lets a probe through or a limit that
/// opens. `until` is the first instant of either.
fn nowhere(until: Tick, opens_first: Option<(Tick, Limit)>) -> Route {
    match opens_first {
        Some((opens, limit)) if opens <= until => Route::Shut { limit },
        Some(_) | None => Route::Broken { until },
    }
}

/// How long a job of this kind would wait for the limits of an ESP, or for a call.
fn line_at(worker: &Worker, case: &Case<'_>, plan: &Plan, esp: &EspId) -> Duration {
    let slot = worker.slots.estimate(case.job.class, &plan.shared_limits(esp, &case.group)).wait;
    slot.max(worker.call_wait(plan, esp, &case.group, case.job.class))
}

/// Whether a job that this limit holds could go through another ESP at once: the limit is one ESP's own, and another of
/// the pool is up and has no long line.
pub(crate) fn has_way_around(worker: &Worker, case: &Case<'_>, limit: &Limit) -> bool {
    let (LimitScope::Esp(held) | LimitScope::EspGroup(held, _)) = &limit.scope else { return false };
    another_takes(worker, case, held)
}

/// Whether another ESP of the pool than `held` is up and has no long line.
fn another_takes(worker: &Worker, case: &Case<'_>, held: &EspId) -> bool {
    let plan = worker.plan();
    let hold_max = plan.bounds().hold_max;
    plan.pool(&case.job.pool).is_some_and(|pool| {
        pool.sticky == Sticky::None
            && pool.esps().filter(|esp| *esp != held).any(|esp| {
                matches!(worker.standing(esp, &case.group, case.job.class), Standing::Up { .. })
                    && line_at(worker, case, &plan, esp) <= hold_max
            })
    })
}

/// Whether a job that waits for a call at `held` does better elsewhere: its line there has become long, and another ESP of
/// the pool has none.
pub(crate) fn is_better_off_elsewhere(worker: &Worker, case: &Case<'_>, held: &EspId) -> bool {
    let plan = worker.plan();
    worker.call_wait(&plan, held, &case.group, case.job.class) > plan.bounds().hold_max
        && another_takes(worker, case, held)
}

/// The same in every process and version: FNV-1a.
fn number_of(tenant: &Tenant) -> u64 {
    tenant.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_waits_for_what_comes_first() {
        let at = |seconds| Tick::ZERO + Duration::from_secs(seconds);
        let used_up =
            || Limit { scope: LimitScope::Esp("b".parse().unwrap()), spec: "5/day".parse().unwrap() };
        // One ESP is broken for 5 s, the other out of its day for 5,000.
        assert!(
            matches!(nowhere(at(5), Some((at(5_000), used_up()))), Route::Broken { until } if until == at(5))
        );
        assert!(matches!(nowhere(at(5), Some((at(5), used_up()))), Route::Shut { .. }));
        assert!(matches!(nowhere(at(5), None), Route::Broken { .. }));
    }
}
