//! A plan that can be replaced while others read it.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::{Plan, Sides};

/// The plan of the configuration as it was read last; those who hold it see a new one at once.
///
/// Each job looks at it at every step: nobody waits for another who reads it, nor counts that he does.
#[derive(Debug)]
pub struct LivePlan {
    live: ArcSwap<Plan>,
    /// Held by who sets it: one plan is made of the last one.
    changes: Mutex<()>,
}

impl LivePlan {
    /// Begins with `plan`.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { live: ArcSwap::new(plan), changes: Mutex::default() }
    }

    /// The plan that holds now.
    #[must_use]
    pub fn get(&self) -> Guard<Arc<Plan>> {
        self.live.load()
    }

    /// From now on `plan` holds, with the side lanes that there are.
    pub fn set(&self, plan: Arc<Plan>) {
        let _alone = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.live.load();
        let has_them = plan.sides() == live.sides();
        self.live.store(if has_them { plan } else { Arc::new(plan.with_sides(Arc::clone(live.sides()))) });
    }

    /// From now on there are these side lanes.
    pub fn set_sides(&self, sides: &Sides) {
        let _alone = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.live.load();
        if live.sides() != sides {
            self.live.store(Arc::new(live.with_sides(Arc::clone(sides))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_configuration_keeps_the_side_lanes() {
        let config = sluice_config::Config::load("", &[], &|_| Err(String::new())).unwrap();
        let live = LivePlan::new(Arc::new(Plan::of(&config)));
        let sides: Sides =
            Arc::new([("a.example".to_owned(), sluice_types::Side::all().next().unwrap())].into());
        live.set_sides(&sides);
        live.set(Arc::new(Plan::of(&config)));
        assert_eq!(live.get().sides(), &sides);
    }
}
