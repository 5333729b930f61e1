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
/// a long line while another of its tier has none: failover ESPs stand in for members that are down, not for slow ones.
pub(crate) fn route(worker: &Worker, case: &Case<'_>) -> Route {
    let now = worker.clock.tick();
    let plan = worker.plan();
    let Some(pool) = plan.pool(&case.job.pool) else { return Route::Broken { until: now } };
    let hold_max = plan.bounds().hold_max;
    let mut opens_first: Option<(Tick, Limit)> = None;
    let availability = |esp: &EspId| match worker.standing(esp, &case.group, case.job.class, now) {
        Standing::Up { weight } => Availability::Up { weight },
        Standing::Broken { until } => Availability::Down { until },
        Standing::Shut { until, limit } => {
            if opens_first.as_ref().is_none_or(|(known, _)| until < *known) {
                opens_first = Some((until, limit));
            }
            Availability::Down { until }
        }
    };
    // A tenant stays where it is, however long that takes.
    let is_long = |esp: &EspId| pool.sticky == Sticky::None && line_at(worker, case, &plan, esp) > hold_max;
    let mut rng = fastrand::Rng::new();
    let luck = match pool.sticky {
        Sticky::Tenant => Luck::Sticky(number_of(&case.job.tenant)),
        Sticky::None => Luck::Random(&mut rng),
    };
    let choice = choose(&pool.members, availability, is_long, &case.passport.faulted, luck);
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
    let limits = plan.shared_limits(esp, &case.group);
    let slot = worker.slots.estimate(case.job.class, &limits, worker.clock.tick()).wait;
    slot.max(worker.call_wait(plan, esp, &case.group, case.job.class))
}

/// Whether a job that this limit holds could go through another ESP at once: the limit is one ESP's own, and another of
/// the pool is up. Where the held one has only a long line, the other must have none; where it is down or shut for longer than
/// jobs are held, any other is better, and a tenant that stays with one moves as its fresh jobs do.
pub(crate) fn has_way_around(worker: &Worker, case: &Case<'_>, limit: &Limit) -> bool {
    let (LimitScope::Esp(held) | LimitScope::EspGroup(held, _)) = &limit.scope else { return false };
    if is_up(worker, case, held) {
        return another_takes(worker, case, held);
    }
    let plan = worker.plan();
    plan.pool(&case.job.pool)
        .is_some_and(|pool| pool.esps().any(|esp| esp != held && is_up(worker, case, esp)))
}

/// Whether this limit is of an ESP that takes no job like this one: it is down, or shut for longer than jobs are held.
pub(crate) fn is_shut_for(worker: &Worker, case: &Case<'_>, limit: &Limit) -> bool {
    match &limit.scope {
        LimitScope::Esp(esp) | LimitScope::EspGroup(esp, _) => !is_up(worker, case, esp),
        LimitScope::Group(_) | LimitScope::Domain(_) | LimitScope::Tenant(_) => false,
    }
}

fn is_up(worker: &Worker, case: &Case<'_>, esp: &EspId) -> bool {
    matches!(worker.standing(esp, &case.group, case.job.class, worker.clock.tick()), Standing::Up { .. })
}

/// Whether another ESP of the pool than `held` is up and has no long line, and would be chosen for that: it has not faulted on
/// this job, and is no failover ESP while a member is up.
fn another_takes(worker: &Worker, case: &Case<'_>, held: &EspId) -> bool {
    let plan = worker.plan();
    let hold_max = plan.bounds().hold_max;
    let Some(pool) = plan.pool(&case.job.pool) else { return false };
    let is_fresh = |esp: &EspId| !case.passport.faulted.contains(esp) && is_up(worker, case, esp);
    let takes = |esp: &EspId| esp != held && is_fresh(esp) && line_at(worker, case, &plan, esp) <= hold_max;
    let mut members = pool.members.members.iter().map(|(esp, _)| esp);
    pool.sticky == Sticky::None
        && (members.clone().any(takes) || (!members.any(is_fresh) && pool.members.failover.iter().any(takes)))
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
    use std::collections::BTreeSet;

    use sluice_types::Class;

    use super::*;
    use crate::ports::Passport;
    use crate::worker::Borrows;
    use crate::worker::rig::{self, Rig, limit};

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

    /// `a` and `b` share the traffic, `f` and `g` take over; each does 9/s.
    const TWO_TIERS: &str = r#"
        esp = [
            { name = "a", kind = "sandbox", limits = ["9/s"] }, { name = "b", kind = "sandbox", limits = ["9/s"] },
            { name = "f", kind = "sandbox", limits = ["9/s"] }, { name = "g", kind = "sandbox", limits = ["9/s"] },
        ]
        pool = [{ name = "default", members = [{ esp = "a" }, { esp = "b" }], failover = ["f", "g"] }]
    "#;

    /// Every ESP that jobs go to, in 50 tries.
    fn routes(worker: &Worker, case: &Case<'_>) -> String {
        let seen: BTreeSet<String> = (0..50)
            .map(|_| match route(worker, case) {
                Route::To(esp) => esp.to_string(),
                other => format!("{other:?}"),
            })
            .collect();
        seen.into_iter().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_backlog_at_the_members_takes_no_work_to_the_failover() {
        for (long, down, to, from_a) in [
            (&["a"] as &[&str], &[] as &[&str], "b", true),
            (&["a", "b"], &[], "ab", false),
            (&["a"], &["b"], "a", false),
            (&[], &["a", "b"], "f", true),
            (&["f"], &["a", "b"], "g", true),
        ] {
            let rig = Rig::new(TWO_TIERS);
            rig.open(&down.iter().map(|esp| (*esp, Duration::from_secs(60))).collect::<Vec<_>>());
            rig.with_case(&Passport::default(), |case| {
                let _tickets = rig.long_lines(long);
                assert_eq!(routes(&rig.worker, case), to, "long at {long:?}, {down:?} down");
                let around = has_way_around(&rig.worker, case, &limit("a", "9/s"));
                assert_eq!(around, from_a, "long at {long:?}, {down:?} down");
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_in_hand_leaves_an_esp_that_is_out_of_its_day_for_any_that_is_up() {
        let sticky = TWO_TIERS.replace("failover", "sticky = \"tenant\", failover");
        for toml in [TWO_TIERS, sticky.as_str()] {
            let rig = Rig::new(toml);
            rig.with_case(&Passport::default(), |case| {
                let around = || has_way_around(&rig.worker, case, &limit("a", "9/s"));
                let _tickets = rig.long_lines(&["a", "b", "f", "g"]);
                assert!(!around(), "it is no better elsewhere");
                let hour = Duration::from_secs(3600);
                rig.shut(&[("a", hour)]);
                assert!(around());
                assert_eq!(routes(&rig.worker, case), "b");
                rig.shut(&[("a", hour), ("b", hour)]);
                assert!(around());
                assert_eq!(routes(&rig.worker, case), "f");
                rig.shut(&[("a", hour), ("b", hour), ("f", hour), ("g", hour)]);
                assert!(!around(), "none is up");
            });
        }
    }

    /// What was known of its calls was from before it hung, and so jobs waited there until they timed out.
    #[tokio::test(start_paused = true)]
    async fn jobs_that_wait_for_an_esp_that_hangs_go_elsewhere_and_no_more_are_borrowed() {
        let rig = Rig::new(
            r#"
            esp = [{ name = "a", kind = "sandbox", max_in_flight = 1 }, { name = "b", kind = "sandbox", max_in_flight = 1 }]
            pool = [{ name = "default", members = [{ esp = "a" }, { esp = "b" }] }]
            "#,
        );
        let places = |name: &str| &rig.worker.esps[&name.parse::<EspId>().unwrap()].places;
        places("a").took(Duration::from_millis(20));
        let hung = (places("a").try_take(Class::Bulk).unwrap(), places("a").begin());
        let _waits = places("a").join(Class::Bulk);
        let busy = || {
            let a = "a".parse().unwrap();
            rig.with_case(&Passport::default(), |case| is_better_off_elsewhere(&rig.worker, case, &a))
        };
        let lane = rig::lane(&rig.worker);
        assert!(!busy());
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(busy());
        assert!(matches!(rig.worker.borrows(&lane), Borrows::UpTo(_)), "for the other one");
        let b = places("b");
        let _others = (b.try_take(Class::Bulk).unwrap(), b.begin(), b.join(Class::Bulk));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(!busy());
        assert_eq!(rig.worker.borrows(&lane), Borrows::Enough);
        hung.1.ends(None, Duration::from_secs(12));
        assert!(matches!(rig.worker.borrows(&lane), Borrows::UpTo(_)), "it answers");
    }
}
