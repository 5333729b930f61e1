//! Strikes with faults while a load goes on, and measures how long each takes to recover from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::faults::Fault;
use crate::site::Site;

/// Calmness between two strikes, milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 500..2_000;
/// Nobody waits longer than this for a sign of life.
const RECOVERY_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// One strike.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Strike {
    /// Which fault.
    pub fault: String,
    /// How long it lasted.
    pub lasted_ms: u128,
    /// From its end to the next call that the ESP saw; `None` when none came while the load went on.
    pub recovered_ms: Option<u128>,
}

/// Strikes with faults out of `faults`, again and again, at most `strikes_max` times, until `over` is
/// set.
pub(crate) fn strike_until(
    site: &Arc<Site>,
    faults: &[Fault],
    strikes_max: usize,
    mut rng: Rng,
    over: &AtomicBool,
) -> Vec<Strike> {
    let mut strikes = Vec::new();
    loop {
        std::thread::sleep(Duration::from_millis(rng.u64(PAUSE_MS)));
        if over.load(Ordering::SeqCst) || strikes.len() >= strikes_max {
            return strikes;
        }
        let Some(fault) = rng.choice(faults.iter()) else { return strikes };
        strikes.push(timed(site, fault.name, over, || (fault.strike)(site, &mut rng)));
    }
}

/// Does something, and measures how long it takes and how long the ESP then waits for another call.
pub(crate) fn timed(site: &Site, name: &str, over: &AtomicBool, work: impl FnOnce()) -> Strike {
    let begin = Instant::now();
    work();
    let lasted_ms = begin.elapsed().as_millis();
    let recovered_ms = recovery(site, over).map(|it| it.as_millis());
    Strike { fault: name.to_owned(), lasted_ms, recovered_ms }
}

/// How long until the ESP sees another call; `None` if the load ends first.
fn recovery(site: &Site, over: &AtomicBool) -> Option<Duration> {
    let (begin, calls) = (Instant::now(), site.esp.calls());
    while site.esp.calls() == calls {
        if begin.elapsed() >= RECOVERY_MAX || over.load(Ordering::SeqCst) {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Some(begin.elapsed())
}
