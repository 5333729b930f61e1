//! Leases slots for whatever is in demand: all limits in one statement, once a tick or as soon as somebody waits.

use std::time::Duration;

use sluice_telemetry::Dependency;
use sluice_types::Tick;

use super::Slots;
use super::book::Wants;
use crate::health::{Health, chain};
use crate::ports::{SlotSource, Want};

/// Time between two leases while there is demand.
const TICK: Duration = Duration::from_millis(100);
/// Least time between two leases, however many ask.
const LEAST_PAUSE: Duration = Duration::from_millis(4);
/// So many wants that got something are a crowd.
const MANY: usize = 32;
/// Pause after a lease that failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

/// How often counts that are used up are looked at: a replica that ends gives back what it has.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Of so many limits at a time.
const LOOKS_MAX: usize = 200;

/// Keeps `slots` in stock, for ever. While the store is away nothing is leased: limits fail closed.
pub(crate) async fn keep_slots(slots: &Slots, source: &dyn SlotSource, health: &Health) {
    let mut last = slots.clock.tick();
    let mut looked = last;
    loop {
        tokio::select! {
            () = slots.wanted.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
        let now = slots.clock.tick();
        if now.since(last) >= TICK {
            slots.book().smooth(now.since(last));
            slots.count();
            last = now;
        }
        // While the store is away they are kept for it; but not those of a call that failed, which may have gone through.
        let is_up = health.is_up(Dependency::Store);
        let returned = if is_up { slots.book().take_returned() } else { Vec::new() };
        if !returned.is_empty()
            && let Err(error) = source.give_back(&returned).await
        {
            health.down(Dependency::Store, &error);
        }
        let now = slots.clock.tick();
        if is_up && now.since(looked) >= LOOK_EVERY {
            looked = now;
            look_for_returned(slots, source, now).await;
        }
        let Wants { wants, is_more } = slots.book().wants(now);
        if wants.is_empty() {
            continue;
        }
        if is_more {
            // The others are next, and not only with the next tick.
            slots.wanted.notify_one();
        }
        let asked: Vec<Want> = wants.iter().map(|(_, want)| want.clone()).collect();
        match source.lease(&asked).await {
            Ok(leases) => {
                slots.stock(&wants, &leases, now);
                let granted = leases.iter().filter(|leased| !leased.runs.is_empty()).count();
                // Others wait already to be asked for, and get something: nothing is gained by a pause.
                if granted < MANY {
                    tokio::time::sleep(LEAST_PAUSE).await;
                }
            }
            Err(error) => {
                health.down(Dependency::Store, &error);
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// Asks again for counts that the store has told of as used up until their window ends, if others have given some back.
async fn look_for_returned(slots: &Slots, source: &dyn SlotSource, now: Tick) {
    let shut = slots.book().shut_counts(now + LOOK_EVERY, LOOKS_MAX);
    if shut.is_empty() {
        return;
    }
    match source.look(&shut).await {
        Ok(looks) => {
            for (limit, look) in shut.iter().zip(&looks) {
                slots.book().reopen(limit, look);
            }
            slots.wanted.notify_one();
        }
        Err(error) => tracing::debug!(error = %chain(&error), "could not look at limits that are used up"),
    }
}
