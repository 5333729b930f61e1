//! Replaces the replicas of an older binary by ones of this build, one by one and under load: the schema is migrated while the
//! old ones work, one of them starts anew on the newer schema, and one of this build gives way to an old one again, as when an
//! operator goes back.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use fastrand::Rng;
use sluice_testkit::services::SluiceProcess;

use crate::driver::{Strike, timed};
use crate::fleet::{Fleet, READY_MAX, Version};
use crate::site::Site;

/// Both versions work side by side for so long between two steps, milliseconds.
const BESIDE_MS: std::ops::Range<u64> = 1_500..4_000;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Takes all steps, also when the load is over before; each is a strike.
pub(crate) fn upgrade(site: &Site, mut rng: Rng, over: &AtomicBool) -> Vec<Strike> {
    let fleet = &site.fleet;
    let mut strikes = Vec::new();
    let mut step = |name: &str, rng: &mut Rng, work: &mut dyn FnMut(&mut Rng)| {
        std::thread::sleep(Duration::from_millis(rng.u64(BESIDE_MS)));
        strikes.push(timed(site, name, over, || work(rng)));
    };
    step("schema_migrated", &mut rng, &mut |_| fleet.migrate());
    step("old_restarted", &mut rng, &mut |_| {
        if let Some(old) = fleet.one_of(Version::Old) {
            fleet.kill(&old);
            come(fleet, Version::Old);
        }
    });
    fleet.starts_now(Version::New);
    while let Some(old) = fleet.one_of(Version::Old) {
        replace(&mut step, &mut rng, fleet, &old, Version::New);
    }
    if let Some(new) = fleet.one_of(Version::New) {
        replace(&mut step, &mut rng, fleet, &new, Version::Old);
    }
    while let Some(old) = fleet.one_of(Version::Old) {
        replace(&mut step, &mut rng, fleet, &old, Version::New);
    }
    strikes
}

/// Starts one of `version`, and when it is ready ends `leaving`: by kill -9 or by SIGTERM.
fn replace(
    step: &mut impl FnMut(&str, &mut Rng, &mut dyn FnMut(&mut Rng)),
    rng: &mut Rng,
    fleet: &Fleet,
    leaving: &Arc<SluiceProcess>,
    version: Version,
) {
    let is_killed = rng.bool();
    let name = match (version, is_killed) {
        (Version::New, true) => "old_killed_for_new",
        (Version::New, false) => "old_drained_for_new",
        (Version::Old, true) => "new_killed_for_old",
        (Version::Old, false) => "new_drained_for_old",
    };
    step(name, rng, &mut |_| {
        come(fleet, version);
        if is_killed { fleet.kill(leaving) } else { fleet.drain(leaving) }
    });
}

/// Starts one and waits until it is ready, or gone by another fault.
fn come(fleet: &Fleet, version: Version) {
    let replica = fleet.start_of(version);
    let begin = Instant::now();
    while !matches!(replica.get("/ready"), Ok((200, _))) && replica.status().is_none() {
        if begin.elapsed() >= READY_MAX {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
